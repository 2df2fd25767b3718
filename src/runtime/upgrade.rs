//! `orch upgrade`: the running orch becomes another program, once that has said that it can.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::control;
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
                Ok(Ok(Err(error))) => Err(error),
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

/// Why an upgrade was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeError {
    /// No orch runs the project.
    NotRunning,
    /// The running orch goes on as it was: why.
    Refused(String),
    /// Something could not be done: what.
    Failed(String),
}

/// Has the orch that runs the project of this state directory become `program`; gives the version of the new
/// image, when that serves.
///
/// # Errors
/// See [`UpgradeError`].
pub fn upgrade(state_dir: &Path, program: &Path) -> Result<String, UpgradeError> {
    let failed = |error: &dyn std::fmt::Display| UpgradeError::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| failed(&error))?.block_on(async {
        let program = program.to_str().ok_or_else(|| failed(&"its path is not UTF-8"))?;
        let body = json!({"path": program}).to_string();
        let ask = || Request::get("/v1/version").body(Full::default());
        let before = send(state_dir, ask()).await?.unwrap_or_default();
        let asked = Request::post("/v1/upgrade").body(Full::<Bytes>::from(body));
        if let Some(answer) = send(state_dir, asked).await? {
            let error = answer["error"].as_str().unwrap_or("it does not say why");
            return Err(UpgradeError::Refused(error.to_owned()));
        }
        // The old image has ended without a word, and the new one serves when it answers.
        let after = send(state_dir, ask()).await?.unwrap_or_default();
        let is_next = after["images"].as_u64() > before["images"].as_u64();
        let version = after["version"].as_str().filter(|_| is_next);
        version.map(str::to_owned).ok_or_else(|| failed(&"the new image does not answer"))
    })
}

/// The answer to a request; `None`: the connection ended without one.
async fn send(
    state_dir: &Path,
    request: hyper::http::Result<Request<Full<Bytes>>>,
) -> Result<Option<Value>, UpgradeError> {
    let failed = |error: &dyn std::fmt::Display| UpgradeError::Failed(error.to_string());
    let mut request = request.map_err(|error| failed(&error))?;
    request.headers_mut().insert(HOST, HeaderValue::from_static("orch"));
    let stream = control::connect(state_dir).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => UpgradeError::NotRunning,
        _ => failed(&error),
    })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let Ok(response) = sender.send_request(request).await else { return Ok(None) };
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    Ok(Some(serde_json::from_slice(&body).unwrap_or_default()))
}
