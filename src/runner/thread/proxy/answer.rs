//! What the proxy says itself: in plain text, for the developer who looks at the browser.

use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::super::light::Seen;
use super::super::registry::chain;
use super::body::Answer;
use super::reach::{Away, Way};

/// An answer of the proxy's own.
pub(super) fn say(status: StatusCode, text: &str) -> Response<Answer> {
    let mut answer = Response::new(Answer::Own(Bytes::from(format!("{text}\n")).into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// Why nobody is reached.
pub(super) fn away(way: &Way, why: &Away) -> Response<Answer> {
    let (to, hold) = (&way.settings.to, humantime::format_duration(way.settings.hold));
    let text = match why {
        Away::Down(seen) => format!("orch: {}", standing(seen)),
        Away::Held(Some(seen)) => format!("orch: {}, and was not ready within {hold}", standing(seen)),
        Away::Held(None) => format!("orch: {to} was not ready within {hold}"),
        Away::Refused(error) => match way.light.seen() {
            Some(seen) => {
                format!("orch: {}, but {to} did not answer within {hold}: {error}", standing(&seen))
            }
            None => format!("orch: {to} did not answer within {hold}: {error}"),
        },
        Away::Crowded => format!("orch: too many requests wait for {} already", who(way)),
        Away::Closing => "orch: the proxy stops".to_owned(),
    };
    say(StatusCode::SERVICE_UNAVAILABLE, &text)
}

/// The request was sent, and is not answered.
pub(super) fn unanswered(way: &Way, error: &hyper::Error, again: &str) -> Response<Answer> {
    let text = format!("orch: {} did not answer: {}; {again}", who(way), chain(error));
    say(StatusCode::BAD_GATEWAY, &text)
}

/// Who is behind, for a sentence.
pub(super) fn who(way: &Way) -> String {
    way.light.seen().map_or_else(|| way.settings.to.to_string(), |seen| seen.name.to_string())
}

fn standing(seen: &Seen) -> String {
    let Seen { name, state, reason, .. } = seen;
    if reason == state.word() { format!("{name} is {state}") } else { format!("{name} is {state}: {reason}") }
}
