//! What the proxy says itself: in plain text, for the developer who looks at the browser.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::super::light::Seen;
use super::super::registry::chain;
use super::reach::{Away, Way};

/// An answer of the proxy's own.
pub(super) type Own = Response<Full<Bytes>>;

/// Says this, after `orch: `.
pub(super) fn say(status: StatusCode, text: &str) -> Own {
    let mut answer = Response::new(Full::new(Bytes::from(format!("orch: {text}\n"))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// Why nobody is reached: what was attempted, on what, and what to do.
pub(super) fn away(way: &Way, why: &Away) -> Own {
    let plan = way.plan();
    let (to, hold) = (&plan.settings.to, humantime::format_duration(plan.settings.hold));
    let waited = format!("this request waited {hold} (`hold`) and was not sent");
    let text = match why {
        Away::Down(seen) => {
            let name = &seen.name;
            format!("{}; this request was not sent; see `orch why {name}`", standing(seen))
        }
        Away::Held(Some(seen)) => {
            let name = &seen.name;
            format!("{}; {waited}; load again when it is ready, or see `orch why {name}`", standing(seen))
        }
        Away::Held(None) => format!("nobody was ready at {to}; {waited}"),
        Away::Refused(error) => match way.light.seen() {
            Some(seen) => {
                let name = &seen.name;
                format!(
                    "{}, but nothing answers at {to} ({error}); {waited}; check that {name} listens there, or \
                     correct `to`",
                    standing(&seen)
                )
            }
            None => format!(
                "nothing answers at {to} ({error}); {waited}; start what is to listen there, or correct `to`"
            ),
        },
        Away::Crowded => format!(
            "too many requests wait for {} already; this one was not sent; load again in a moment",
            who(way)
        ),
        Away::Paused => {
            format!("the proxy itself is restarted, and is not back yet; {waited}; see `orch ps`")
        }
        Away::Leaving => "orch replaces itself; this request was not sent; load again in a moment".to_owned(),
        Away::Closing => {
            "the proxy is stopped; this request was not sent; `orch start` starts it again".to_owned()
        }
    };
    say(StatusCode::SERVICE_UNAVAILABLE, &text)
}

/// The request was sent, and is not answered.
pub(super) fn unanswered(way: &Way, error: &hyper::Error, why_not: &str) -> Own {
    let look = match way.light.seen() {
        Some(Seen { name, .. }) => format!("see `orch logs {name}`"),
        None => "see what its log says".to_owned(),
    };
    let text = format!(
        "{} was sent this request and did not answer it ({}); {why_not}; {look}",
        who(way),
        chain(error)
    );
    say(StatusCode::BAD_GATEWAY, &text)
}

/// Who is behind, for a sentence.
pub(super) fn who(way: &Way) -> String {
    way.light.seen().map_or_else(|| way.plan().settings.to.to_string(), |seen| seen.name.to_string())
}

fn standing(seen: &Seen) -> String {
    let Seen { name, state, reason, .. } = seen;
    if reason.is_empty() || reason == state.word() {
        format!("{name} is {state}")
    } else {
        format!("{name} is {state}: {reason}")
    }
}
