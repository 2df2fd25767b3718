//! The front half of `orch up --detach` and `--wait`: tells the user what comes of the background.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::exit::Exit;
use super::up::not_begun;
use super::{complain, tell};
use crate::api::{Status, WaitReply, WaitRequest, Waited};
use crate::client::{Client, ClientError};
use crate::config::render::harmless;
use crate::runtime::{Daemon, End, LOG, UpOptions, say_when_interrupted};

/// How often the line that tells what is awaited is renewed.
const RENEWAL: Duration = Duration::from_millis(250);

/// After orch did not answer, though it runs: it may become another image.
const PAUSE: Duration = Duration::from_millis(50);

/// So many names fit into the line that tells what is awaited.
const NAMES: usize = 4;

/// What the front half says and returns.
pub(super) fn answer(daemon: &Daemon, options: &UpOptions, wait: bool) -> Exit {
    match daemon.begun() {
        Ok(warnings) => tell(&warnings),
        Err(error) => return not_begun(&error),
    }
    if !wait {
        tell(&format!("orch: runs in the background, pid {}; `orch down` ends it\n", daemon.pid()));
        return Exit::Done;
    }
    say_when_interrupted("\norch: the project runs on in the background; `orch down` ends it\n".to_owned());
    let state_dir = options.state_dir.clone().unwrap_or_else(|| options.file.with_file_name(".orch"));
    let mut waiting = Waiting { daemon, client: Client::new(&state_dir), state_dir, begun: Instant::now() };
    waiting.until_up()
}

/// Somebody waits until all is ready or completed.
struct Waiting<'a> {
    daemon: &'a Daemon,
    client: Client,
    state_dir: PathBuf,
    begun: Instant,
}

impl Waiting<'_> {
    fn until_up(&mut self) -> Exit {
        let shows = std::io::stderr().is_terminal();
        let all = WaitRequest { names: Vec::new(), state: None };
        loop {
            let client = if shows { self.client.within(RENEWAL) } else { self.client.clone() };
            let reply = client.post::<WaitReply>("/v1/wait", &all);
            if shows {
                tell("\r\x1b[K");
            }
            match reply {
                Ok(reply) => return self.came(&reply),
                Err(ClientError::TimedOut) => self.show_progress(),
                // It has become another image, or has ended.
                Err(ClientError::Ended | ClientError::NotRunning) => {
                    if self.daemon.ends_within(PAUSE) {
                        return self.ended();
                    }
                }
                // It is ending.
                Err(ClientError::Refused(409, _)) => return self.ended(),
                Err(error) => {
                    complain(&format!(
                        "the project runs in the background, but: {}",
                        harmless(&error.to_string())
                    ));
                    return Exit::Failed;
                }
            }
        }
    }

    fn came(&self, reply: &WaitReply) -> Exit {
        if reply.met {
            let (count, time) = (reply.components.len(), rounded(self.begun.elapsed()));
            let pid = self.daemon.pid();
            tell(&format!(
                "orch: all is up after {time} ({count} components), in the background, pid {pid}; `orch down` ends it\n"
            ));
            return Exit::Done;
        }
        for one in reply.components.iter().filter(|one| one.met == Some(false)) {
            self.tell_failure(one);
        }
        complain("the rest runs on in the background; `orch down` ends it");
        Exit::Failed
    }

    fn tell_failure(&self, failed: &Waited) {
        let Waited { component, state, reason, .. } = failed;
        complain(&harmless(&format!("{component} is {state}: {reason}")));
    }

    /// What its end means to somebody who waits for it to be up.
    fn ended(&self) -> Exit {
        let log = self.state_dir.join(LOG);
        match self.daemon.ended() {
            Some(End::Code(0)) if !was_told_to_end(&self.state_dir) => {
                tell("orch: all is completed, and the project has ended\n");
                Exit::Done
            }
            Some(End::Code(0)) => complain("the project was ended before all was up"),
            Some(End::Code(_)) => {
                complain(&format!("the project has ended, and something failed; {} tells more", shown(&log)))
            }
            Some(End::Signal(signal)) => complain(&format!(
                "the orch in the background was ended by signal {signal}; see {}",
                shown(&log)
            )),
            None => complain(&format!("the orch in the background has ended; see {}", shown(&log))),
        }
    }

    /// One line, in place of the one before.
    fn show_progress(&self) {
        let Ok(status) = self.client.within(RENEWAL).get::<Status>("/v1/status") else { return };
        let awaited =
            status.components.iter().filter(|one| !matches!(&*one.state, "ready" | "completed" | "stopped"));
        let names: Vec<String> = awaited.map(|one| format!("{} ({})", one.name, one.state)).collect();
        let more = match names.len().saturating_sub(NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = harmless(&names[..names.len().min(NAMES)].join(", ")).into_owned();
        tell(&format!("orch: waiting for {shown}{more}, {}", rounded(self.begun.elapsed())));
    }
}

/// Whether the project that has ended was told to: the last run in the events.
fn was_told_to_end(state_dir: &Path) -> bool {
    let events = std::fs::read_to_string(state_dir.join("events.ndjson")).unwrap_or_default();
    let events = events.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut run = events.take_while(|event| event["event"] != "project.up");
    run.any(|event| {
        event["event"] == "command" && matches!(event["name"].as_str(), Some("shutdown" | "down"))
    })
}

fn rounded(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn shown(path: &Path) -> String {
    harmless(&path.display().to_string()).into_owned()
}
