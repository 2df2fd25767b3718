//! The front half of `orch up --detach` and `--wait`: tells the user what comes of the background.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::exit::Exit;
use super::progress::{Interrupted, awaited, awaited_of};
use super::terminal::is_screen;
use super::up::not_begun;
use super::{check, complain, tell, words};
use crate::api::{WaitReply, WaitRequest, Waited};
use crate::client::{Client, ClientError};
use crate::config::render::harmless;
use crate::history::events::Backward;
use crate::history::logs::{Log, Query, Reader, Span, Step};
use crate::paint::escape_line;
use crate::runtime::{Daemon, End, LOG, UpOptions, say_when_interrupted};
use crate::types::recorded::Kind;

/// After orch did not answer, though it runs: it may become another image.
const PAUSE: Duration = Duration::from_millis(50);

/// So long orch is asked whether it ends.
const LOOK: Duration = Duration::from_millis(500);

/// So many lines of a log are shown when a component has failed.
const LAST_LINES: u64 = 10;

const RUNS_ON: &str = "the project runs on in the background; `orch down` ends it";

/// What the front half says and returns.
pub(super) fn answer(daemon: Daemon, options: &UpOptions, wait: bool) -> Exit {
    let since = SystemTime::now();
    match daemon.begun() {
        Ok(warnings) => tell(&warnings),
        Err(error) => return not_begun(&error),
    }
    if !wait {
        tell(&format!("orch: runs in the background, pid {}; `orch down` ends it\n", daemon.pid()));
        return Exit::Done;
    }
    // With a terminal the progress listens to interrupts, and tidies up.
    if !is_screen(&std::io::stderr()) {
        say_when_interrupted(format!("\norch: {RUNS_ON}\n"));
    }
    let state_dir = options.state_dir.clone().unwrap_or_else(|| options.file.with_file_name(".orch"));
    let (client, daemon, begun) = (Client::new(&state_dir), Arc::new(daemon), Instant::now());
    let front = Front { daemon: Arc::clone(&daemon), file: options.file.clone(), state_dir, since };
    let asked = client.clone();
    let came =
        awaited(&client, |status| awaited_of(status, &[], SystemTime::now()), move || up(&asked, &daemon));
    match came {
        Ok(Came::Reply(reply)) if reply.met => front.all_up(&reply, begun.elapsed()),
        Ok(Came::Reply(reply)) => front.lost(&reply),
        Ok(Came::End(end)) => front.ended(end),
        Ok(Came::NoAnswer(error)) => complain(&format!("{}; {RUNS_ON}", harmless(&error.to_string()))),
        Err(Interrupted) => complain(RUNS_ON),
    }
}

/// What the front half has waited for.
enum Came {
    Reply(WaitReply),
    /// The background has ended.
    End(Option<End>),
    NoAnswer(ClientError),
}

/// Waits until all is ready or completed, or something can't be, or the project has ended.
fn up(client: &Client, daemon: &Daemon) -> Came {
    let all = WaitRequest { names: Vec::new(), state: None };
    loop {
        match client.post::<WaitReply>("/v1/wait", &all) {
            Ok(reply) => return Came::Reply(reply),
            // It has become another image, or has ended.
            Err(ClientError::Ended | ClientError::NotRunning) => {
                if daemon.ends_within(PAUSE) {
                    return Came::End(daemon.ended());
                }
            }
            // It is ending.
            Err(ClientError::Refused(409, _)) => return Came::End(daemon.ended()),
            Err(error) => return Came::NoAnswer(error),
        }
    }
}

/// What the front half knows.
struct Front {
    daemon: Arc<Daemon>,
    file: PathBuf,
    state_dir: PathBuf,
    /// What is older in the logs is another run's.
    since: SystemTime,
}

impl Front {
    fn all_up(&self, reply: &WaitReply, took: Duration) -> Exit {
        let (count, took, pid) = (reply.components.len(), words::waited(took), self.daemon.pid());
        let all = if count == 1 {
            "the component is up".to_owned()
        } else {
            format!("all {count} components are up")
        };
        tell(&format!("orch: {all} after {took}, in the background, pid {pid}; `orch down` ends it\n"));
        Exit::Done
    }

    fn lost(&self, reply: &WaitReply) -> Exit {
        let logs = self.logs();
        for Waited { component, state, reason, .. } in
            reply.components.iter().filter(|one| one.met == Some(false))
        {
            complain(&harmless(&format!("{component} is {state}: {reason}")));
            if let Some(log) = logs.iter().find(|log| log.component == *component && state == "failed") {
                tell_last_lines(log, self.since);
            }
        }
        complain(if self.is_ending() { "the project ends, or has ended" } else { RUNS_ON })
    }

    fn is_ending(&self) -> bool {
        let all = WaitRequest { names: Vec::new(), state: None };
        let asked = Client::new(&self.state_dir).within(LOOK).post::<WaitReply>("/v1/wait", &all);
        matches!(asked, Err(ClientError::Refused(409, _) | ClientError::NotRunning))
            || self.daemon.ends_within(PAUSE)
    }

    /// Where the components' logs are.
    fn logs(&self) -> Vec<Log> {
        let Some(project) = check::read(&self.file, Some(self.state_dir.clone())).project else {
            return Vec::new();
        };
        project.components.iter().map(|component| Log::of(component, &project.state_dir)).collect()
    }

    /// What its end means to somebody who waits for it to be up.
    fn ended(&self, end: Option<End>) -> Exit {
        let log = self.state_dir.join(LOG).display().to_string();
        let log = harmless(&log);
        match end {
            Some(End::Code(0)) if !was_told_to_end(&self.state_dir) => {
                tell("orch: all is completed, and the project has ended\n");
                Exit::Done
            }
            Some(End::Code(0)) => complain("the project was ended before all was up"),
            Some(End::Code(_)) => {
                complain(&format!("something has failed, and the project has ended; see {log}"))
            }
            Some(End::Signal(signal)) => {
                complain(&format!("the orch in the background was ended by signal {signal}; see {log}"))
            }
            None => complain(&format!("the orch in the background has ended; see {log}")),
        }
    }
}

fn tell_last_lines(log: &Log, since: SystemTime) {
    let query = Query { last: Some(LAST_LINES), since: since.try_into().ok(), ..Query::default() };
    let mut reader = Reader::of(&[(log.clone(), Span::default())], query);
    let mut text = Vec::new();
    loop {
        match reader.step() {
            Step::Line(line) => {
                text.extend_from_slice(b"  | ");
                escape_line(line.bytes, false, &mut text);
                text.push(b'\n');
            }
            Step::Busy | Step::Note(_) => {}
            Step::Dry => break,
        }
    }
    tell(&String::from_utf8_lossy(&text));
}

/// Whether the project that has ended was told to: the last run in the events.
fn was_told_to_end(state_dir: &Path) -> bool {
    let Ok(events) = Backward::open(state_dir) else { return false };
    let kinds = events.map_while(Result::ok).map(|event| event.kind);
    let mut run = kinds.take_while(|kind| !matches!(kind, Kind::ProjectUp { .. }));
    run.any(|kind| matches!(kind, Kind::Command { name, .. } if name == "down"))
}
