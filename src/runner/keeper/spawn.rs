//! Starts a unit's leader: a child that shares the keeper's memory until it execs (as vfork does), so it
//! costs the same whatever the size of the parent, and says by that memory which step failed.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

use crate::types::UnitId;

use super::clone::Stack;
use super::protocol::Launch;
use super::tag::Tag;

/// Room for `LISTEN_PID=` and the digits of any process id.
const LISTEN_PID: &[u8] = b"LISTEN_PID=";
const LISTEN_PID_ROOM: usize = LISTEN_PID.len() + 11;

/// Starts leaders; holds what all of them share.
#[derive(Debug)]
pub(super) struct Spawner {
    instance: u32,
    stack: Stack,
    hard_open_files: u64,
    hard_real_time: u64,
}

/// A leader that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) pid: u32,
    pub(super) in_cgroup: bool,
}

/// The descriptors a leader gets.
#[derive(Debug)]
pub(super) struct Descriptors {
    /// `None`: the keeper's own, which is /dev/null.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) output: OwnedFd,
    /// To 3 and up, in this order.
    pub(super) extra: Vec<OwnedFd>,
}

/// What the child does, in its order; 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum Step {
    Group = 1,
    Lifeline = 2,
    Folder = 3,
    Descriptors = 4,
    Run = 5,
}

/// All that the child reads, and where it leaves its failure. Plain pointers: the parent is suspended until
/// the child has called exec or ended, so nothing moves and nothing races.
struct Plan {
    program: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    keeper: libc::pid_t,
    /// Where the child's own id is to be written, in decimal; null: nowhere.
    listen_pid: *mut u8,
    tag: libc::rlimit,
    open_files: libc::rlimit,
    stdin: RawFd,
    output: RawFd,
    extra: *const RawFd,
    extra_count: c_int,
    failed_step: c_int,
    errno: c_int,
}

impl Spawner {
    pub(super) fn new(instance: u32) -> Self {
        Self {
            instance,
            stack: Stack::new(),
            hard_open_files: hard_limit(libc::RLIMIT_NOFILE),
            hard_real_time: hard_limit(libc::RLIMIT_RTTIME),
        }
    }

    /// Starts the leader, in `cgroup` if the system allows it, or says what went wrong, in words for the user.
    pub(super) fn spawn(
        &mut self,
        launch: &Launch,
        fds: Descriptors,
        cgroup: Option<OwnedFd>,
    ) -> Result<Leader, String> {
        let program = launch.program.to_string_lossy();
        let fds = fds.out_of_the_way().map_err(|error| {
            format!("can't arrange the file descriptors of {program}: {}", reason(&error))
        })?;
        let extra: Vec<RawFd> = fds.extra.iter().map(AsRawFd::as_raw_fd).collect();
        let (env, mut own_pid) = split_listen_pid(&launch.env);
        let room = own_pid.as_mut().map(|room| room.as_mut_ptr());
        let env = vector(env.map(|item| item.as_ptr()).chain(room.map(|room| room.cast_const().cast())));
        let argv = vector(launch.argv.iter().map(|item| item.as_ptr()));
        let mut plan = Plan {
            program: launch.program.as_ptr(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            cwd: launch.cwd.as_ptr(),
            keeper: own_id(),
            listen_pid: room.map_or(ptr::null_mut(), |room| room.wrapping_add(LISTEN_PID.len())),
            tag: self.tag(launch.unit),
            open_files: self.open_files(launch.open_files),
            stdin: fds.stdin.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            output: fds.output.as_raw_fd(),
            extra: extra.as_ptr(),
            extra_count: c_int::try_from(extra.len()).unwrap_or(0),
            failed_step: 0,
            errno: 0,
        };
        let made = self.run(&mut plan, cgroup);
        let leader =
            made.map_err(|error| format!("can't make a process for {program}: {}", reason(&error)))?;
        if plan.failed_step == 0 {
            return Ok(leader);
        }
        // SAFETY: waitpid without a status; the child has ended by itself and is reaped here and only here.
        unsafe { libc::waitpid(leader.pid.cast_signed(), ptr::null_mut(), 0) };
        Err(explain(launch, plan.failed_step, &io::Error::from_raw_os_error(plan.errno)))
    }

    fn tag(&self, unit: UnitId) -> libc::rlimit {
        let tag = Tag { instance: self.instance, unit };
        libc::rlimit { rlim_cur: tag.limit(), rlim_max: self.hard_real_time }
    }

    fn open_files(&self, soft: u64) -> libc::rlimit {
        libc::rlimit { rlim_cur: soft.min(self.hard_open_files), rlim_max: self.hard_open_files }
    }

    /// Without a cgroup where the system refuses that one: the other marks are there all the same.
    fn run(&mut self, plan: &mut Plan, cgroup: Option<OwnedFd>) -> io::Result<Leader> {
        let shared = ptr::from_mut(plan).cast();
        if let Some(cgroup) = cgroup {
            // SAFETY: the keeper has one thread, `child` keeps to system calls, and the plan and all it points
            // to outlive the call.
            if let Ok(pid) = unsafe { self.stack.clone_into(cgroup.as_fd(), child, shared) } {
                return Ok(Leader { pid, in_cgroup: true });
            }
        }
        // SAFETY: the same.
        let pid = unsafe { self.stack.clone(child, shared) }?;
        Ok(Leader { pid, in_cgroup: false })
    }
}

impl Descriptors {
    /// Moves them above every number they go to, so that no dup2 in the child hits one still needed.
    fn out_of_the_way(self) -> io::Result<Self> {
        let floor = 3 + RawFd::try_from(self.extra.len()).unwrap_or(RawFd::MAX - 3);
        let lift = |fd: OwnedFd| -> io::Result<OwnedFd> {
            if fd.as_raw_fd() >= floor { Ok(fd) } else { Ok(rustix::io::fcntl_dupfd_cloexec(&fd, floor)?) }
        };
        Ok(Self {
            stdin: self.stdin.map(lift).transpose()?,
            output: lift(self.output)?,
            extra: self.extra.into_iter().map(lift).collect::<io::Result<_>>()?,
        })
    }
}

/// A vector as exec takes it: with a null at its end.
fn vector(items: impl Iterator<Item = *const c_char>) -> Vec<*const c_char> {
    items.chain([ptr::null()]).collect()
}

/// The environment without LISTEN_PID and, where it was in it, room for it with the leader's own id.
fn split_listen_pid(env: &[CString]) -> (impl Iterator<Item = &CString>, Option<[u8; LISTEN_PID_ROOM]>) {
    let is_listen_pid = |item: &CString| item.as_bytes().starts_with(LISTEN_PID);
    let room = env.iter().any(is_listen_pid).then(|| {
        let mut room = [0; LISTEN_PID_ROOM];
        room[..LISTEN_PID.len()].copy_from_slice(LISTEN_PID);
        room
    });
    (env.iter().filter(move |item| !is_listen_pid(item)), room)
}

fn hard_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: getrlimit writes one rlimit.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    limit.rlim_max
}

fn own_id() -> libc::pid_t {
    // SAFETY: getpid takes nothing and can't fail.
    unsafe { libc::getpid() }
}

/// The child. It shares all memory with its suspended parent: only system calls here, no allocation, no lock,
/// no panic.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `run` passes a Plan that outlives this, and nobody else touches it meanwhile.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    // SAFETY: plain system calls, on pointers that are valid as `Plan` says.
    unsafe {
        let failed = prepare(plan).err().unwrap_or_else(|| {
            libc::execve(plan.program, plan.argv, plan.env);
            Step::Run
        });
        plan.errno = *libc::__errno_location();
        plan.failed_step = failed as c_int;
        libc::_exit(127)
    }
}

/// Makes the child what a leader has to be, short of running its program.
///
/// # Safety
/// Only in the child, with a valid plan.
unsafe fn prepare(plan: &mut Plan) -> Result<(), Step> {
    let done = |result: c_int, step: Step| if result < 0 { Err(step) } else { Ok(()) };
    // SAFETY: as for the function; each call takes numbers, or pointers that the plan keeps valid.
    unsafe {
        done(libc::setpgid(0, 0), Step::Group)?;
        done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), Step::Lifeline)?;
        if libc::getppid() != plan.keeper {
            // The keeper died before the line above could tell.
            libc::_exit(127);
        }
        // Neither limit is worth failing for: without the tag, descent and the output pipe still tell.
        libc::setrlimit(libc::RLIMIT_RTTIME, &raw const plan.tag);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const plan.open_files);
        done(libc::chdir(plan.cwd), Step::Folder)?;
        if plan.stdin >= 0 {
            done(libc::dup2(plan.stdin, 0), Step::Descriptors)?;
        }
        done(libc::dup2(plan.output, 1), Step::Descriptors)?;
        done(libc::dup2(plan.output, 2), Step::Descriptors)?;
        for at in 0..plan.extra_count {
            done(libc::dup2(*plan.extra.offset(at as isize), 3 + at), Step::Descriptors)?;
        }
        // All of the keeper's own are closed on exec, too; this is the second lock on that door.
        libc::syscall(libc::SYS_close_range, 3 + plan.extra_count, libc::c_uint::MAX, 0);
        if !plan.listen_pid.is_null() {
            write_decimal(plan.listen_pid, libc::getpid().unsigned_abs());
        }
        // The keeper has every signal at its default and blocked; only the mask needs clearing.
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        done(libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()), Step::Run)
    }
}

/// Writes a number's digits; the zero after them is there already.
///
/// # Safety
/// `to` has room for ten bytes.
unsafe fn write_decimal(to: *mut u8, number: u32) {
    let (mut digits, mut rest) = (1, number / 10);
    while rest > 0 {
        (digits, rest) = (digits + 1, rest / 10);
    }
    rest = number;
    for at in (0..digits).rev() {
        // SAFETY: a u32 has at most ten digits.
        unsafe { *to.add(at) = b'0' + (rest % 10) as u8 };
        rest /= 10;
    }
}

/// The failure in words: what was attempted, on what, why, and what may help.
fn explain(launch: &Launch, step: c_int, error: &io::Error) -> String {
    let (program, folder) = (launch.program.to_string_lossy(), launch.cwd.to_string_lossy());
    let why = reason(error);
    if step == Step::Folder as c_int {
        return format!("can't change to folder {folder}: {why}");
    }
    if step != Step::Run as c_int {
        return format!("can't prepare the process of {program}: {why}");
    }
    let help = match error.raw_os_error() {
        Some(libc::ENOEXEC) => " (neither a program for this machine nor a script: no #! line?)",
        Some(libc::ENOENT) if Path::new(&folder[..]).join(&program[..]).exists() => {
            " (the file is there, but not the interpreter that its #! line or its loader names)"
        }
        Some(libc::EACCES) => " (is it executable?)",
        Some(libc::E2BIG) => " (its arguments and environment together are too large for the system)",
        _ => "",
    };
    format!("can't run {program}: {why}{help}")
}

/// The system's words without the number behind them.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_digits_fill_the_room() {
        for number in [0, 7, 10, 32768, 4_194_304, u32::MAX] {
            let mut room = [0_u8; 11];
            // SAFETY: the room is eleven bytes long.
            unsafe { write_decimal(room.as_mut_ptr(), number) };
            let text = std::ffi::CStr::from_bytes_until_nul(&room).unwrap();
            assert_eq!(text.to_str().unwrap(), number.to_string());
        }
    }

    #[test]
    fn listen_pid_is_taken_out_and_given_room() {
        let env = [c"A=1".to_owned(), c"LISTEN_PID=x".to_owned(), c"B=2".to_owned()];
        let (rest, room) = split_listen_pid(&env);
        assert_eq!(rest.cloned().collect::<Vec<_>>(), [c"A=1".to_owned(), c"B=2".to_owned()]);
        assert!(room.unwrap().starts_with(LISTEN_PID));
        assert!(split_listen_pid(&env[..1]).1.is_none());
    }
}
