//! `GET /v1/events`: the lines of the event files, as they are.

use hyper::StatusCode;

use super::Shared;
use super::answer::{Answer, Refused, lines};
use super::query::Query;
use super::stream::{self, Following, Told, body};
use crate::history::events::{Cursor, Read};

pub(super) async fn answer(query: Option<&str>, shared: &Shared) -> Answer {
    let query = Query::parse(query, &["after", "follow"], &[])?;
    let (after, follow) = (query.number("after")?, query.truth("follow")?);
    let following = if follow { Some(Following::new(shared, &shared.events)?) } else { None };
    let state_dir = shared.state_dir.clone();
    let make = move || match (after, follow) {
        (None, true) => Cursor::at_end(&state_dir),
        _ => Cursor::after(&state_dir, after.unwrap_or(0)),
    };
    let cursor = shared.turns.take(make).await.ok_or_else(Refused::ending)?;
    let cursor = cursor.map_err(|error| {
        let error = format!("can't read the events in {}: {error}", shared.state_dir.display());
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    })?;
    Ok(lines(body(cursor, following, &shared.turns)))
}

impl stream::Cursor for Cursor {
    fn read(&mut self, most: usize) -> Result<Told, String> {
        match Self::read(self, most) {
            Ok(Read::Lines(lines)) if lines.is_empty() => Ok(Told::Busy),
            Ok(Read::Lines(lines)) => Ok(Told::Lines(lines)),
            Ok(Read::End) => Ok(Told::All),
            Ok(Read::Gone) => Err(format!("the events after {} are not kept any more", self.last())),
            Err(error) => Err(format!("can't read the events: {error}")),
        }
    }
}
