//! Builds, and what a change runs, that are begun over and over because they write what their component watches.
//! Nothing can be done about that here, for a change during a build starts it again; but people are told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::announce::Paint;
use super::driver::Driver;
use crate::supervisor::{Record, State, What};
use crate::types::{Name, TaskKind, Time};

/// So soon after its end a change may be the command's own, that was told late.
const SOON: Duration = Duration::from_secs(1);
/// So often in a row it is no chance.
const TOLD: u32 = 5;

/// What the commands beside the runs have met.
#[derive(Debug, Default)]
pub(crate) struct Spins(BTreeMap<Name, Spin>);

/// Of one component.
#[derive(Debug, Default)]
struct Spin {
    runs: bool,
    ended: Option<Time>,
    /// A change has come since it was begun.
    changed: bool,
    /// In so many of them in a row.
    streak: u32,
}

impl Spins {
    /// Notes what happens; gives what is to be said, the first time that it is clear.
    fn note(&mut self, record: &Record) -> Option<String> {
        let name = record.component.as_ref()?;
        match &record.what {
            What::TaskStarted { kind: TaskKind::Build | TaskKind::OnChange } => {
                let spin = self.0.entry(name.clone()).or_default();
                (spin.runs, spin.changed) = (true, false);
            }
            What::TaskSucceeded { kind, .. } | What::TaskFailed { kind, .. } if *kind != TaskKind::Stop => {
                let spin = self.0.get_mut(name)?;
                (spin.runs, spin.ended) = (false, Some(record.at));
            }
            What::State { state: State::Stopped, .. } => drop(self.0.remove(name)),
            What::Changed { paths } => {
                let spin = self.0.get_mut(name)?;
                let soon = spin.ended.is_some_and(|ended| record.at.since(ended) < SOON);
                if !spin.runs && !soon {
                    spin.streak = 0;
                } else if !std::mem::replace(&mut spin.changed, true) {
                    spin.streak += 1;
                    let path = paths.first().filter(|_| spin.streak == TOLD)?;
                    return Some(format!(
                        "{name}: for the {TOLD}th time in a row {} changes while its command is at work, or right \
                         after; if it is the command that writes it, name it in `watch.ignore`",
                        path.display()
                    ));
                }
            }
            _ => {}
        }
        None
    }
}

impl Driver {
    /// Notes a record, and says what follows from it.
    pub(super) fn note_spin(&mut self, record: &Record) {
        if let Some(text) = self.spins.note(record) {
            self.say(Paint::Warn, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Spins, TOLD};
    use crate::supervisor::{Record, What};
    use crate::types::{Name, TaskKind, Time};

    /// The numbers of the changes after which something was said: each build takes a second, and changes come so
    /// long after its beginning.
    fn told(changes: u32, after: Duration) -> Vec<u32> {
        let (mut spins, mut at, mut told) = (Spins::default(), Time(0), Vec::new());
        for number in 1..=changes {
            let mut note = |at: Time, what: What| {
                let component = Some(Name::new("a").unwrap());
                let record = Record { seq: 1, cause: None, at, component, incarnation: None, what };
                spins.note(&record).is_some()
            };
            let (kind, took) = (TaskKind::Build, Duration::from_secs(1));
            let change = || What::Changed { paths: vec!["/p/out".into(), "/p/other".into()] };
            note(at, What::TaskStarted { kind });
            if after < took && note(at + after, change()) {
                told.push(number);
            }
            note(at + took, What::TaskSucceeded { kind, took });
            if after >= took && note(at + after, change()) {
                told.push(number);
            }
            // Once more: it is the same build's.
            assert!(!note(at + took.max(after), change()));
            at = at + took.max(after);
        }
        told
    }

    #[test]
    fn what_spins_is_told_of_once() {
        let ms = Duration::from_millis;
        assert_eq!(told(20, ms(500)), [TOLD], "while it builds");
        assert_eq!(told(20, ms(1_200)), [TOLD], "told late");
        assert!(told(20, ms(5_000)).is_empty(), "somebody saves now and then");
    }
}
