//! `orch upgrade`: the running orch becomes another program, once that has said that it can.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::driver::{Driver, Purpose};
use super::handover::FORM;
use super::inbox::Message;
use crate::runner::keeper::ProcessSpec;
use crate::supervisor::{Command, Event, Supervisor};

/// The word by which a program is asked; hidden from those who read the help.
pub const QUESTION: &str = "takes-over";
/// So long it may take to answer.
const LIMIT: Duration = Duration::from_secs(20);
/// A longer answer is none. Bytes.
const LONGEST: u64 = 4096;

/// What is shown to the program: the part of the handover that is the most of it.
#[derive(Deserialize)]
struct Shown {
    form: u32,
    core: Supervisor,
}

/// The same, as it is written.
#[derive(Serialize)]
struct Showing<'a> {
    form: u32,
    core: &'a Supervisor,
}

/// Answers, on standard output, whether this program can go on from what is on its standard input.
///
/// # Errors
/// It can't: why.
pub fn answer() -> Result<(), String> {
    let shown: Shown = serde_json::from_reader(io::stdin().lock())
        .map_err(|error| format!("what the running orch is can't be read: {error}"))?;
    if shown.form != FORM {
        return Err(format!("the running orch hands over form {}, and this one reads {FORM}", shown.form));
    }
    shown.core.check()?;
    let mut out = io::stdout();
    out.write_all(promise().as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())
}

/// What a program says that can.
fn promise() -> String {
    format!("orch takes over form {FORM}\n")
}

impl Driver {
    /// Asks the program; if it agrees, the core is told to become it.
    pub(super) fn upgrade(&mut self, program: PathBuf, reply: oneshot::Sender<String>) {
        if let Err(error) = self.ask_candidate(program, reply) {
            let (reply, error) = error;
            let _ = reply.send(error);
        }
    }

    fn ask_candidate(
        &mut self,
        program: PathBuf,
        reply: oneshot::Sender<String>,
    ) -> Result<(), (oneshot::Sender<String>, String)> {
        if !self.parts.options.upgrade {
            return Err((
                reply,
                "it is a program with orch in it, and no orch can take its place".to_owned(),
            ));
        }
        if self.parts.core.is_replacing() || self.parts.core.is_ending() || self.clients.is_upgrading() {
            return Err((reply, "orch is ending, or becoming another image already".to_owned()));
        }
        let (stdin, (read, write)) = match self.show_core().and_then(|shown| Ok((shown, pipe()?))) {
            Ok(ready) => ready,
            Err(error) => return Err((reply, format!("can't show the program what orch is: {error}"))),
        };
        let ticket = self.tickets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (end, ended) = oneshot::channel();
        let unit = self.new_unit(Purpose::Help { ticket, reply: Some(end) });
        self.helping.insert(ticket, unit);
        let spec = ProcessSpec {
            program: program.clone(),
            argv: vec![program.clone().into(), QUESTION.into()],
            env: self.parts.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: self.parts.core.project().dir.clone(),
            stdin: Some(stdin),
            output: write,
            extra: Vec::new(),
        };
        self.parts.keeper.spawn(unit, spec);
        self.clients.upgrading(reply);
        let inbox = self.parts.inbox.clone();
        tokio::spawn(async move {
            let verdict = match tokio::time::timeout(LIMIT, ended).await {
                Ok(Ok(Ok(_))) => judge(read),
                Ok(Ok(Err(error))) => Err(error.to_string()),
                Ok(Err(_)) => Err("it was ended".to_owned()),
                Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
            };
            drop(inbox.send(Message::EndHelp { ticket }));
            drop(inbox.send(Message::Candidate { program, verdict }));
        });
        Ok(())
    }

    /// The core, as it is written, from the beginning of a file.
    fn show_core(&self) -> io::Result<OwnedFd> {
        let file = rustix::fs::memfd_create("orch-core", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = io::BufWriter::new(std::fs::File::from(file));
        serde_json::to_writer(&mut file, &Showing { form: FORM, core: &self.parts.core })?;
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        io::Seek::rewind(&mut file)?;
        Ok(file.into())
    }

    /// The program has answered.
    pub(super) fn candidate(&mut self, program: PathBuf, verdict: Result<(), String>) {
        match verdict {
            Ok(()) if self.parts.core.is_ending() => self.clients.not_upgraded("orch is ending"),
            Ok(()) => self.step(Event::Command(Command::Upgrade(program))),
            Err(error) => {
                self.clients.not_upgraded(&format!("{} can't take over: {error}", program.display()));
            }
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?)
}

/// Whether the program, which has ended, has said that it can.
fn judge(output: OwnedFd) -> Result<(), String> {
    let mut said = Vec::new();
    // Somebody else may hold the pipe open: what is there is all that counts.
    let _ = std::fs::File::from(output).take(LONGEST).read_to_end(&mut said);
    if said == promise().as_bytes() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let line: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
    Err(if line.is_empty() { "it does not say so".to_owned() } else { format!("it says {line:?}") })
}
