//! What each route does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::answer::{Answer, Body, Refused, bytes, json};
use super::plan::{applied, planned};
use super::table::Seat;
use super::{Shared, events, logs, status, usage};
use crate::api::{
    Call, Did, Done, DownReply, DownRequest, Names, NotDone, PlanRequest, UpgradeRequest, Version, WaitReply,
    WaitRequest, Waited,
};
use crate::runtime::clients::{Commanded, Unmet};
use crate::runtime::inbox::Message;
use crate::supervisor::{Command, State};
use crate::types::{Name, nearest};

/// One request, whole.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) call: Call,
    /// The name in the path.
    pub(super) name: Option<String>,
    /// What stands behind the `?`.
    pub(super) query: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    /// The body; an empty one stands for an object without keys.
    fn body<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        let body = if self.body.is_empty() { b"{}" } else { self.body.as_slice() };
        // A list of its values, in their order, would do for serde.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Refused::bad("the body of the request is not a JSON object"));
        }
        serde_json::from_slice(body)
            .map_err(|error| Refused::bad(format!("the body of the request can't be read: {error}")))
    }
}

/// Answers.
pub(super) async fn answer(asked: &Asked, shared: &Shared, seat: &Seat) -> Answer {
    match asked.call {
        Call::Status => {
            let status = shared.lookout.status(&shared.control).await.ok_or_else(Refused::ending)?;
            seat.owes(status.len());
            Ok(bytes(StatusCode::OK, status))
        }
        Call::Version => version(shared).await,
        Call::Usage => usage::answer(shared, seat).await,
        Call::Openapi => Ok(json(StatusCode::OK, &crate::api::openapi())),
        Call::Events => events::answer(asked.query.as_deref(), shared).await,
        Call::Why => why(asked.name.as_deref().unwrap_or_default(), shared).await,
        Call::Logs => logs::answer(asked.query.as_deref(), shared).await,
        Call::Start => command(asked, shared, Command::Start).await,
        Call::Stop => command(asked, shared, Command::Stop).await,
        Call::Restart => command(asked, shared, Command::Restart).await,
        Call::Wait => wait(asked, shared).await,
        Call::Down => {
            let request: DownRequest = asked.body()?;
            shared.control.shut_down(request.force);
            Ok(json(StatusCode::ACCEPTED, &DownReply { pid: std::process::id() }))
        }
        Call::Reload => {
            asked.body::<Nothing>()?;
            let _permit = awaited(&shared.commands)?;
            let reloaded = shared.control.ask(|reply| Message::Reload { reply });
            applied(told(reloaded, shared).await?)
        }
        Call::Plan => plan(asked, shared).await,
        Call::Upgrade => upgrade(asked, shared).await,
    }
}

/// A body that says nothing.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What the loop answers.
async fn told<T>(answer: oneshot::Receiver<Result<T, Unmet>>, shared: &Shared) -> Result<T, Refused> {
    match answer.await.unwrap_or(Err(Unmet::Ending)) {
        Ok(told) => Ok(told),
        Err(Unmet::Unknown(name)) => Err(unknown_here(name.as_str(), shared).await),
        Err(unmet) => Err(unmet.into()),
    }
}

/// Lets so many wait at once.
fn awaited(commands: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refused> {
    let permit = Arc::clone(commands).try_acquire_owned();
    permit.map_err(|_| Refused::crowded("too many commands are awaited"))
}

/// The loop is asked, so that whoever is answered by a new image knows that it has taken over.
async fn version(shared: &Shared) -> Answer {
    let project = shared.control.ask(|reply| Message::Declared { reply }).await;
    let project = project.map_err(|_| Refused::ending())?;
    let version = Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        images: shared.images,
        file: project.file.display().to_string(),
        state_dir: project.state_dir.display().to_string(),
    };
    Ok(json(StatusCode::OK, &version))
}

async fn command(asked: &Asked, shared: &Shared, command: fn(Vec<Name>) -> Command) -> Answer {
    let Names { names } = asked.body()?;
    if names.is_empty() {
        return Err(Refused::bad("no component is named").help("name at least one"));
    }
    let names = named(&names, shared).await?;
    let _permit = awaited(&shared.commands)?;
    let done = shared.control.ask(|reply| Message::Command { command: command(names), reply });
    Ok(json(StatusCode::OK, &self::done(told(done, shared).await?)))
}

fn done(commanded: Commanded) -> Done {
    let did = commanded.did.into_iter().map(|deed| Did {
        component: deed.name.to_string(),
        action: deed.action.to_owned(),
        state: word(deed.state),
        reason: deed.reason,
    });
    let failed = commanded.failed.into_iter();
    let failed = failed.map(|(name, reason)| NotDone { component: name.to_string(), reason });
    Done { did: did.collect(), failed: failed.collect() }
}

/// What is removed is stopped: there is no word for what is not there.
fn word(state: Option<State>) -> String {
    state.unwrap_or(State::Stopped).word().to_owned()
}

/// The names, each once. Whether there are such components is for the loop to say.
async fn named(texts: &[String], shared: &Shared) -> Result<Vec<Name>, Refused> {
    let mut names = Vec::with_capacity(texts.len());
    let mut seen = BTreeSet::new();
    for text in texts {
        match Name::new(text) {
            Ok(name) if seen.insert(name.clone()) => names.push(name),
            Ok(_) => {}
            Err(_) => return Err(unknown_here(text, shared).await),
        }
    }
    Ok(names)
}

/// The same refusal, where the project has to be looked at first.
async fn unknown_here(text: &str, shared: &Shared) -> Refused {
    match shared.control.ask(|reply| Message::Declared { reply }).await {
        Ok(project) => unknown(text, project.components.iter().map(|spec| spec.name.as_str())),
        Err(_) => Refused::ending(),
    }
}

/// There is no component of this name; one of those may be meant.
pub(super) fn unknown<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Refused {
    let near = nearest(text, names);
    let refused = Refused::new(StatusCode::NOT_FOUND, format!("the project has no component {text:?}"));
    match near {
        Some(name) => refused.help(format!("did you mean `{name}`?")),
        None => refused.help("`orch ps` lists them"),
    }
}

async fn wait(asked: &Asked, shared: &Shared) -> Answer {
    let WaitRequest { names, state } = asked.body()?;
    let state = match state.as_deref() {
        None => None,
        Some(word) => Some(State::of_word(word).ok_or_else(|| {
            let words: Vec<&str> = State::ALL.into_iter().map(State::word).collect();
            Refused::bad(format!("{word:?} is not a state")).help(format!("one of: {}", words.join(", ")))
        })?),
    };
    let names = named(&names, shared).await?;
    let _permit = awaited(&shared.commands)?;
    let waited = shared.control.ask(|reply| Message::Wait { names, state, reply });
    let waited = told(waited, shared).await?;
    let met = waited.iter().all(|one| one.met == Some(true));
    let components = waited.into_iter().map(|one| Waited {
        component: one.name.to_string(),
        state: word(one.state),
        reason: one.reason,
        met: one.met,
    });
    Ok(json(StatusCode::OK, &WaitReply { met, components: components.collect() }))
}

async fn why(text: &str, shared: &Shared) -> Answer {
    let Ok(name) = Name::new(text) else { return Err(unknown_here(text, shared).await) };
    let explained = shared.control.ask(|reply| Message::Why { name, reply });
    match explained.await.map_err(|_| Refused::ending())? {
        Some((explanation, wall)) => Ok(json(StatusCode::OK, &status::why(&explanation, wall))),
        None => Err(unknown_here(text, shared).await),
    }
}

async fn plan(asked: &Asked, shared: &Shared) -> Answer {
    let PlanRequest { against } = asked.body()?;
    let against = against.map(PathBuf::from);
    if let Some(path) = against.as_ref().filter(|path| !path.is_absolute()) {
        return Err(Refused::bad(format!("{} is not an absolute path", path.display())));
    }
    let _permit = awaited(&shared.commands)?;
    planned(shared, against).await
}

/// Answered only if it fails: else the connection ends with the image.
async fn upgrade(asked: &Asked, shared: &Shared) -> Result<Response<Body>, Refused> {
    let UpgradeRequest { path } = asked.body()?;
    if !Path::new(&path).is_absolute() {
        return Err(Refused::bad(format!("{path} is not an absolute path")));
    }
    let _permit = awaited(&shared.commands)?;
    let (reply, failed) = oneshot::channel();
    shared.control.send(Message::Upgrade { program: path.into(), reply });
    let error = failed.await.unwrap_or_else(|_| "orch is ending".to_owned());
    Err(Refused::new(StatusCode::CONFLICT, error))
}
