//! `orch down`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::exit::Exit;
use super::progress::{Interrupted, awaited, left_alone};
use super::target::{TargetArgs, unanswered};
use super::{tell, words};
use crate::api::{ComponentStatus, DownReply, DownRequest, Status, Version};
use crate::client::{Client, ClientError};

pub(super) const AFTER: &str = "\
Examples:
  orch down           stops everything in order, as Ctrl-C where it runs, and returns when nothing is left
  orch down --force   kills everything at once

Ends with 3 if no orch runs the project. Ctrl-C ends the waiting, not the shutdown.";

/// Between two looks at a lock that nobody tells of.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Args)]
pub(super) struct DownArgs {
    /// Force-kill everything at once; also while an ordered shutdown is under way
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn down(args: &DownArgs) -> Exit {
    let target = match args.target.find() {
        Ok(target) => target,
        Err(exit) => return exit,
    };
    let client = target.client();
    let asking = {
        let (client, lock, force) = (client.clone(), target.state_dir.join("lock"), args.force);
        move || ended(&client, &lock, force)
    };
    match awaited(&client, |status| left(status, SystemTime::now()), asking) {
        Ok(Ok(project)) => {
            tell(&format!("orch: {project} is down, and nothing of it is left\n"));
            Exit::Done
        }
        Ok(Err(error)) => unanswered(&error),
        Err(Interrupted) => {
            left_alone("stopping");
            Exit::Failed
        }
    }
}

/// What is not stopped yet: `stopping api 1.2 s, then db`.
fn left(status: &Status, now: SystemTime) -> String {
    let of = |is_meant: fn(&str) -> bool, tell: &dyn Fn(&ComponentStatus) -> String| {
        let meant = status.components.iter().filter(|component| is_meant(&component.state));
        meant.map(tell).collect::<Vec<String>>().join(", ")
    };
    let ending = of(|state| matches!(state, "stopping" | "stuck"), &|component| {
        let since = component.since.as_deref().and_then(|since| words::ago(since, now));
        let stuck = if component.state == "stuck" { ", stuck" } else { "" };
        format!("{} {}{stuck}", component.name, words::waited(since.unwrap_or_default()))
    });
    let next = of(|state| is_left(state) && !matches!(state, "stopping" | "stuck"), &|component| {
        component.name.clone()
    });
    match (ending.is_empty(), next.is_empty()) {
        (false, false) => format!("stopping {ending}, then {next}"),
        (false, true) => format!("stopping {ending}"),
        (true, false) => format!("stopping {next}"),
        (true, true) => "ending".to_owned(),
    }
}

/// Whether something of a component in this state may still run.
fn is_left(state: &str) -> bool {
    !matches!(state, "stopped" | "completed" | "failed" | "blocked" | "waiting")
}

/// Ends the project, and waits until orch and all that it started are gone. Gives the project's name.
fn ended(client: &Client, lock: &Path, force: bool) -> Result<String, ClientError> {
    let version: Version = client.get("/v1/version")?;
    let project =
        client.get::<Status>("/v1/status").map_or("the project".to_owned(), |status| status.project);
    // Before the request: afterwards its process id may be another's.
    let process = process(version.pid);
    match client.post::<DownReply>("/v1/down", &DownRequest { force }) {
        // It was faster than its answer.
        Ok(_) | Err(ClientError::Ended | ClientError::NotRunning) => {}
        Err(error) => return Err(error),
    }
    if let Some(process) = process {
        wait_for_end(&process);
    }
    // Its keeper may outlive it by a moment, and holds the lock until nothing is left.
    while is_held(lock, version.pid) {
        pause();
    }
    Ok(project)
}

/// A handle on a process; none, if it is in another process namespace or has ended.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn wait_for_end(process: &OwnedFd) {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    // A signal is no end.
    while let Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {}
}

/// Whether the project's lock is still that of the orch which had this process id. It is only looked at.
fn is_held(lock: &Path, pid: u32) -> bool {
    let Ok(file) = File::open(lock) else { return false };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        // Free; or there are no locks here.
        _ => return false,
    }
    // The next orch may have been quick: it has written its own number.
    let note = std::fs::read_to_string(lock).unwrap_or_default();
    note.split(' ').next().and_then(|word| word.parse().ok()).is_none_or(|owner: u32| owner == pid)
}

fn pause() {
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
    let _ = poll(&mut [], Some(&limit));
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{FlockOperation, flock};

    use super::{is_held, left};
    use crate::cli::ps::testing::{component, status};

    #[test]
    fn what_is_being_stopped_is_told_and_what_comes_then() {
        let now = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1250);
        let (api, db) = (component("api", "stopping"), component("db", "ready"));
        let all = vec![api.clone(), db.clone(), component("job", "completed"), component("web", "stopped")];
        assert_eq!(left(&status(all), now), "stopping api 1.2 s, then db");
        assert_eq!(left(&status(vec![api]), now), "stopping api 1.2 s");
        assert_eq!(left(&status(vec![db]), now), "stopping db");
        assert_eq!(left(&status(vec![]), now), "ending");
    }

    #[test]
    fn a_lock_is_held_by_whoever_holds_it_and_not_by_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!is_held(&path, 7));
        std::fs::write(&path, "7 1 boot\n").unwrap();
        assert!(!is_held(&path, 7));
        let holder = File::open(&path).unwrap();
        flock(&holder, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_held(&path, 7));
        assert!(!is_held(&path, 8), "another orch has it now");
        std::fs::write(&path, "").unwrap();
        assert!(is_held(&path, 7), "its note is taken away before the lock is");
        drop(holder);
        assert!(!is_held(&path, 7));
    }
}
