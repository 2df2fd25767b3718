//! `GET /v1/why/NAME`: why a component is in its state, as the core has it.

use hyper::StatusCode;

use super::Shared;
use super::answer::{Answer, Refused, json};
use super::calls::{Asked, known};
use super::status::time;
use crate::api::Why;
use crate::runtime::clients::Explained;
use crate::runtime::inbox::Message;
use crate::supervisor::sentences;

pub(super) async fn answer(asked: &Asked, shared: &Shared) -> Answer {
    let name = asked.named.clone().unwrap_or_default();
    let mut names = known(&[name], shared).await?;
    let Some(name) = names.pop() else { return Err(Refused::ending()) };
    let explained = shared.control.ask(|reply| Message::Explain { name: name.clone(), reply }).await;
    match explained {
        Ok(Some(explained)) => Ok(json(StatusCode::OK, &why(&explained))),
        // An edit has removed it since it was looked for.
        Ok(None) => Err(Refused::new(
            StatusCode::NOT_FOUND,
            format!("the project has no component `{name}` any more"),
        )),
        Err(_) => Err(Refused::ending()),
    }
}

fn why(explained: &Explained) -> Why {
    let Explained { explanation, now, wall } = explained;
    Why {
        component: explanation.name.to_string(),
        state: explanation.state.word().to_owned(),
        since: time(explanation.since, *wall),
        reason: explanation.reason.clone(),
        sentences: sentences(explanation, *now),
        incarnation: explanation.incarnation,
        started: explanation.started,
        last: explanation.last,
    }
}
