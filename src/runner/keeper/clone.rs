//! The one system call that makes a leader: a child that shares the caller's memory until it execs or ends,
//! the caller being suspended meanwhile (as vfork does it).

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Enough for the child's few calls; it runs nothing else before exec.
const STACK_BYTES: usize = 64 * 1024;

/// What the child runs; it ends by exec or `_exit`, and never returns.
pub(super) type Child = extern "C" fn(*mut c_void) -> c_int;

/// The child's stack, used by one child at a time.
#[derive(Debug)]
pub(super) struct Stack(Vec<u128>);

impl Stack {
    pub(super) fn new() -> Self {
        Self(vec![0; STACK_BYTES / size_of::<u128>()])
    }

    /// Makes a child that runs `child(plan)`, and gives its id once it has called exec or ended.
    ///
    /// # Safety
    /// The caller's process has one thread. `child` makes nothing but system calls, and whatever it reads
    /// through `plan` is valid until this returns.
    pub(super) unsafe fn clone(&mut self, child: Child, plan: *mut c_void) -> io::Result<u32> {
        // Aligned to 16 bytes, the stack's elements being u128.
        let top = self.0.as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the child has a stack of its own, which nobody else uses while the caller is suspended.
        id(i64::from(unsafe { libc::clone(child, top.cast(), flags, plan) }))
    }

    /// The same, with the child in another cgroup from its first instruction on. Some systems refuse that
    /// (an old kernel, a container's filter of system calls); nothing has happened then.
    ///
    /// # Safety
    /// As for [`Stack::clone`].
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn clone_into(
        &mut self,
        cgroup: BorrowedFd<'_>,
        child: Child,
        plan: *mut c_void,
    ) -> io::Result<u32> {
        // SAFETY: a clone_args of zeros is one that asks for nothing.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        // As bits: the constants for signals and flags have several types.
        args.flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.exit_signal = libc::SIGCHLD as u64;
        args.stack = self.0.as_mut_ptr().expose_provenance() as u64;
        args.stack_size = size_of_val(&*self.0) as u64;
        args.cgroup = cgroup.as_raw_fd() as u64;
        let result: i64;
        // SAFETY: as for `clone`. The C library has no function for clone3, since the child comes back from the
        // call on another stack: so it must not return from here, and goes straight to `child`, with its
        // stack aligned as a call wants it. In the caller, only the result and what `syscall` spoils change.
        unsafe {
            std::arch::asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, r12",
                "call r13",
                "ud2",
                "2:",
                inlateout("rax") libc::SYS_clone3 => result,
                in("rdi") &raw const args,
                in("rsi") size_of::<libc::clone_args>(),
                in("r12") plan,
                in("r13") child,
                out("rcx") _,
                out("r11") _,
            );
        }
        if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { id(result) }
    }

    /// Where the call is not written yet, the other marks decide.
    ///
    /// # Safety
    /// None needed: it does nothing.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) unsafe fn clone_into(
        &mut self,
        _cgroup: BorrowedFd<'_>,
        _child: Child,
        _plan: *mut c_void,
    ) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn id(result: i64) -> io::Result<u32> {
    match u32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}
