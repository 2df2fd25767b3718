//! Values of the core in the shapes that are spoken and recorded: the control socket and `events.ndjson` have the
//! same words for the same things.

use crate::api::{Exited, Step};
use crate::plan;
use crate::types::Exit;

/// How a run ended.
pub(super) fn exited(exit: &Exit) -> Exited {
    match exit {
        Exit::Code(code) => Exited::Code(*code),
        Exit::Signal(signal) => Exited::Signal(signal.to_string()),
        Exit::Panic(message) => Exited::Panic(message.clone()),
    }
}

/// What an edit does to one component.
pub(super) fn step(step: &plan::Step) -> Step {
    Step {
        component: step.component.to_string(),
        action: step.action.word().to_owned(),
        changed: step.changed.clone(),
        reason: step.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::plan::{Rebuild, Step, StepAction};
    use crate::types::{Exit, Name, Signal};

    #[test]
    fn the_shapes_are_the_contracts() {
        let of = |action, changed: &[&str]| {
            let (component, reason) = (Name::new("old").unwrap(), "it is no longer in the file".to_owned());
            let changed = changed.iter().map(ToString::to_string).collect();
            json!(super::step(&Step { component, action, changed, reason, rebuild: Rebuild::Nothing }))
        };
        let expected = json!({
            "component": "old", "action": "stop", "changed": [], "reason": "it is no longer in the file"
        });
        assert_eq!(of(StepAction::Stop, &[]), expected);
        let changed = ["env.A", "env.B", "env.C", "env.D", "stdin"];
        assert_eq!(of(StepAction::Restart, &changed)["changed"], json!(changed));
        let exits = [
            (Exit::Code(0), json!({"code": 0})),
            (Exit::Signal(Signal::KILL), json!({"signal": "SIGKILL"})),
            (Exit::Panic("no".to_owned()), json!({"panic": "no"})),
        ];
        for (exit, expected) in exits {
            assert_eq!(json!(super::exited(&exit)), expected);
        }
    }
}
