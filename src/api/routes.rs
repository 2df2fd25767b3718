//! What can be asked for over the control socket: one table, by which the server finds its way and from which
//! `schemas/openapi.json` is made.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::command::{
    Done, DownReply, DownRequest, Names, PlanRequest, UpgradeRequest, WaitReply, WaitRequest,
};
use super::logs::LogEntry;
use super::plan::PlanReport;
use super::status::{Status, Usage, Version};
use super::why::Why;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// How everything is.
    Status,
    /// Which orch it is.
    Version,
    /// What the components take.
    Usage,
    /// The description of all this.
    Openapi,
    /// What happened, and what happens.
    Events,
    /// Why a component is in its state.
    Why,
    /// What components write, and have written.
    Logs,
    /// Start components.
    Start,
    /// Stop components.
    Stop,
    /// Restart components.
    Restart,
    /// Wait for components.
    Wait,
    /// End the project.
    Down,
    /// Read the YAML file again.
    Reload,
    /// What an edit would do.
    Plan,
    /// Become another program.
    Upgrade,
}

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It changes nothing.
    Get,
    /// It may change something.
    Post,
}

impl Method {
    /// As it is written in a request.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Route {
    /// What.
    pub call: Call,
    /// How.
    pub method: Method,
    /// The path; a segment in braces stands for any name.
    pub path: &'static str,
    /// What it is, in a line.
    pub(super) summary: &'static str,
    /// The rest of what is to be said of it.
    pub(super) description: &'static str,
    /// What may stand behind the `?`.
    pub(super) query: &'static [Parameter],
    /// The body of the request.
    pub(super) request: Option<Shape>,
    /// The good answer.
    pub(super) answer: Answer,
    /// With which other statuses it may be refused, beside those of [`ALWAYS`].
    pub(super) refusals: &'static [u16],
}

/// A key behind the `?`.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) of: ParameterType,
}

/// What its value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum ParameterType {
    Number,
    Truth,
    Text,
    /// It may stand there several times.
    Names,
}

/// Makes the schema of a type.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// With this status, one value.
    One(u16, Shape),
    /// A line for each of many: objects. It may go on and on.
    Lines(&'static str),
    /// The same, where each is of this shape.
    EachLine(&'static str, Shape),
    /// Any JSON object.
    Object,
    /// Nothing: when it is done, the connection ends.
    End,
}

/// Statuses that any request may be refused with: a limit, another user, what is not understood, or
/// that the project ends.
pub(super) const ALWAYS: &[u16] = &[400, 403, 408, 409, 413, 431, 503];

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const AFTER: Parameter = Parameter {
    name: "after",
    description: "Only events with higher numbers; without it: all that are recorded, or with follow=true \
                  what happens from now on.",
    of: ParameterType::Number,
};

const FOLLOW: Parameter = Parameter {
    name: "follow",
    description: "Whether the answer goes on with what happens, until orch ends.",
    of: ParameterType::Truth,
};

/// What is asked of logs, as `orch logs` asks it.
const OF_LOGS: &[Parameter] = &[
    Parameter {
        name: "name",
        description: "A component; may stand there several times. Without it: all that the file declares, with \
                      follow=true also those that an edit adds.",
        of: ParameterType::Names,
    },
    Parameter {
        name: "n",
        description: "Only the last so many lines, of all these logs together.",
        of: ParameterType::Number,
    },
    Parameter {
        name: "since",
        description: "Only what came then or later: RFC 3339, a time of today, or how long ago (10m).",
        of: ParameterType::Text,
    },
    Parameter {
        name: "until",
        description: "Only what came then or earlier; not with follow=true.",
        of: ParameterType::Text,
    },
    Parameter {
        name: "grep",
        description: "Only lines that match this regular expression, colours removed.",
        of: ParameterType::Text,
    },
    Parameter {
        name: "follow",
        description: "Whether the answer goes on with what is written, until orch ends.",
        of: ParameterType::Truth,
    },
    Parameter {
        name: "exact",
        description: "Whether lines have the keys `bytes` and `at`, and where following begins is told by a line \
                      with `marks`: for whoever also reads the files.",
        of: ParameterType::Truth,
    },
];

/// A route without parameters and further refusals.
const fn route(call: Call, method: Method, path: &'static str, answer: Answer) -> Route {
    Route {
        call,
        method,
        path,
        summary: "",
        description: "",
        query: &[],
        request: None,
        answer,
        refusals: &[],
    }
}

/// All of them.
pub const ROUTES: &[Route] = &[
    Route {
        summary: "How the project is: what `orch ps --json` prints",
        ..route(Call::Status, Method::Get, "/v1/status", Answer::One(200, of::<Status>))
    },
    Route {
        summary: "Which orch runs here",
        ..route(Call::Version, Method::Get, "/v1/version", Answer::One(200, of::<Version>))
    },
    Route {
        summary: "What the components take that have processes",
        description: "Looked up when it is asked; who asks within 100 ms gets the same answer.",
        ..route(Call::Usage, Method::Get, "/v1/usage", Answer::One(200, of::<Usage>))
    },
    Route {
        summary: "This description",
        ..route(Call::Openapi, Method::Get, "/v1/openapi.json", Answer::Object)
    },
    Route {
        summary: "What happened, a line each, as it is in events.ndjson",
        description: "Whoever does not read in time, so that the place it has come to is rotated away, gets a \
                      last line with the key `error`.",
        query: &[AFTER, FOLLOW],
        refusals: &[500],
        ..route(
            Call::Events,
            Method::Get,
            "/v1/events",
            Answer::Lines("An event, or a last line with `error`."),
        )
    },
    Route {
        summary: "Why a component is in its state, what it waits for, and since when",
        refusals: &[404],
        ..route(Call::Why, Method::Get, "/v1/why/{name}", Answer::One(200, of::<Why>))
    },
    Route {
        summary: "What components have written, a line each, in the order in which it came",
        description: "Whoever does not read in time, so that the place it has come to is rotated away, gets a \
                      line with the key `note` there.",
        query: OF_LOGS,
        refusals: &[404],
        ..route(
            Call::Logs,
            Method::Get,
            "/v1/logs",
            Answer::EachLine("A line, a note or marks; or a last line with `error`.", of::<LogEntry>),
        )
    },
    Route {
        summary: "Start components, and what they need",
        description: "Answered when they are ready or completed, or can't be any more: see `failed`.",
        request: Some(of::<Names>),
        refusals: &[404],
        ..route(Call::Start, Method::Post, "/v1/start", Answer::One(200, of::<Done>))
    },
    Route {
        summary: "Stop components, and first what needs them",
        description: "Answered when nothing of the named runs, or that can't be: see `failed`.",
        request: Some(of::<Names>),
        refusals: &[404],
        ..route(Call::Stop, Method::Post, "/v1/stop", Answer::One(200, of::<Done>))
    },
    Route {
        summary: "Stop and start components, and those with `restart: true` on them",
        description: "Answered when the next run of each is ready or completed, or can't be: see `failed`.",
        request: Some(of::<Names>),
        refusals: &[404],
        ..route(Call::Restart, Method::Post, "/v1/restart", Answer::One(200, of::<Done>))
    },
    Route {
        summary: "Wait until components are ready or completed, or in a state",
        description: "Answered when all of them have got there, or one can't any more.",
        request: Some(of::<WaitRequest>),
        refusals: &[404],
        ..route(Call::Wait, Method::Post, "/v1/wait", Answer::One(200, of::<WaitReply>))
    },
    Route {
        summary: "End the project",
        description: "Answered at once: it is over when the process of that id has ended.",
        request: Some(of::<DownRequest>),
        ..route(Call::Down, Method::Post, "/v1/down", Answer::One(202, of::<DownReply>))
    },
    Route {
        summary: "Read the YAML file again, and apply it",
        description: "Answered when what it says is applied, or found not to be valid: see `valid`.",
        refusals: &[500],
        ..route(Call::Reload, Method::Post, "/v1/reload", Answer::One(200, of::<PlanReport>))
    },
    Route {
        summary: "What an edit of the YAML file would do",
        request: Some(of::<PlanRequest>),
        refusals: &[500],
        ..route(Call::Plan, Method::Post, "/v1/plan", Answer::One(200, of::<PlanReport>))
    },
    Route {
        summary: "Become another program, while every process runs on",
        description: "Answered only if it does not: else the connection ends, and the new program answers the \
                      next one.",
        request: Some(of::<UpgradeRequest>),
        ..route(Call::Upgrade, Method::Post, "/v1/upgrade", Answer::End)
    },
];

/// What a request asks for.
#[derive(Debug)]
pub enum Found<'a> {
    /// This; and the segment of the path that is in braces in the route's.
    Route(&'static Route, Option<&'a str>),
    /// Something that is there, by the other method.
    OtherMethod(Method),
    /// Nothing that is there.
    Nothing,
}

/// Finds the route of a request.
#[must_use]
pub fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let mut other = None;
    for route in ROUTES {
        if let Some(named) = fits(route.path, path) {
            if route.method.word() == method {
                return Found::Route(route, named);
            }
            other = Some(route.method);
        }
    }
    other.map_or(Found::Nothing, Found::OtherMethod)
}

/// Whether a path is of this form, and what stands for the segment in braces.
fn fits<'a>(form: &str, path: &'a str) -> Option<Option<&'a str>> {
    match form.split_once('{') {
        None => (form == path).then_some(None),
        Some((before, _)) => {
            let name = path.strip_prefix(before)?;
            (!name.is_empty() && !name.contains('/')).then_some(Some(name))
        }
    }
}
