//! Components to look at.

use crate::api::{ComponentStatus, Kind, Status};

pub(in crate::cli) fn component(name: &str, state: &str) -> ComponentStatus {
    ComponentStatus {
        name: name.into(),
        kind: Kind::Process,
        state: state.into(),
        pid: None,
        incarnation: 1,
        restarts: 0,
        exit: None,
        since: Some("1970-01-01T00:00:00Z".into()),
        status: None,
        restored: None,
        reason: None,
        sockets: None,
    }
}

pub(in crate::cli) fn status(components: Vec<ComponentStatus>) -> Status {
    Status { project: "shop".into(), pid: 99, config_generation: 1, components }
}
