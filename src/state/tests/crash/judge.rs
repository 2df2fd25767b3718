//! What the contract says of a start after a crash, told from what had been reported before it.

use super::*;

/// Something that was reported, or that a component did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// The component, or a person, has written this state whole.
    Wrote(String),
    /// The store has reported that it is sealed.
    Sealed { number: u64, source: Source, state: String },
    /// A start was begun; without the next fact it was cut short.
    Starting,
    /// A run was given this state, or none.
    Started(Option<(Handed, String)>),
    /// The store has reported that it has noted that the run became ready with it.
    Used(Handed, String),
    /// A run becomes ready with this; whether that is noted is open until it is reported.
    Using(String),
    /// The run was stopped before it was ready.
    TakenBack,
    /// This generation is damaged.
    Damaged(u64),
    /// This must be kept somewhere, also after a crash of the machine.
    Precious(String),
}

/// What is known at a moment, and how often a start was cut short since.
#[derive(Debug, Clone)]
pub(super) struct History {
    facts: Vec<Fact>,
    interrupted: u32,
}

impl History {
    pub(super) fn new(facts: Vec<Fact>) -> Self {
        Self { facts, interrupted: 0 }
    }

    /// A key: histories of one run that are as long are the same.
    pub(super) fn len(&self) -> u64 {
        self.facts.len() as u64
    }

    pub(super) fn interrupted(mut self) -> Self {
        self.interrupted += 1;
        self
    }

    /// How often a start was cut short: such an offer counts, though nobody got it.
    fn cut_short(&self) -> u32 {
        let (mut cut_short, mut pending) = (self.interrupted, false);
        for fact in &self.facts {
            match fact {
                Fact::Starting => {
                    cut_short += u32::from(pending);
                    pending = true;
                }
                Fact::Started(_) => pending = false,
                _ => {}
            }
        }
        cut_short + u32::from(pending)
    }

    pub(super) fn extend(&mut self, run: &mut Run) {
        self.facts.extend(run.facts.drain(..).map(|(_, fact)| fact));
    }

    pub(super) fn damaged(&self, generation: u64) -> bool {
        self.facts.contains(&Fact::Damaged(generation))
    }

    fn any_damage(&self) -> bool {
        self.facts.iter().any(|fact| matches!(fact, Fact::Damaged(_)))
    }

    pub(super) fn highest(&self) -> u64 {
        let number = |fact: &Fact| if let Fact::Sealed { number, .. } = fact { *number } else { 0 };
        self.facts.iter().map(number).max().unwrap_or(0)
    }

    /// How late a state was written; later ones are newer.
    fn rank(&self, state: &str) -> Option<usize> {
        self.facts.iter().rposition(|fact| matches!(fact, Fact::Wrote(written) if written == state))
    }

    /// The newest state that a run became ready with, and whether that has used it up.
    fn used(&self) -> Option<(&str, bool)> {
        let used = self.facts.iter().filter_map(|fact| match fact {
            Fact::Used(Handed::Backup, _) => None,
            Fact::Used(source, state) => Some((state.as_str(), *source == Handed::Restart)),
            _ => None,
        });
        used.max_by_key(|(state, up)| (self.rank(state), *up))
    }

    /// How often a state was given to a run that did not become ready.
    fn offers(&self, state: &str) -> u32 {
        let mut offers = 0_u32;
        let mut last = false;
        for fact in &self.facts {
            match fact {
                Fact::Started(given) => {
                    last = given.as_ref().is_some_and(|(_, given)| given == state);
                    offers += u32::from(last);
                }
                Fact::Used(_, used) if used == state => offers = 0,
                Fact::TakenBack if last => offers = offers.saturating_sub(1),
                _ => {}
            }
        }
        offers
    }

    /// The state that has to be offered, or a newer one: what was reported as sealed, is not used up and not
    /// poisoned.
    fn due(&self) -> Option<&str> {
        let above = self.used().map(|(state, up)| (self.rank(state), up));
        let open = |state: &str| {
            above.is_none_or(|(rank, up)| self.rank(state) > rank || (!up && self.rank(state) == rank))
                && self.offers(state) + self.cut_short() < 2
                && !self.facts.iter().any(|fact| matches!(fact, Fact::Using(used) if used == state))
        };
        let sealed = self.facts.iter().filter_map(|fact| match fact {
            Fact::Sealed { number, state, .. } if open(state) && !self.damaged(*number) => {
                Some(state.as_str())
            }
            _ => None,
        });
        sealed.max_by_key(|state| self.rank(state))
    }
}

/// Judges a start.
pub(super) fn judge(run: &Run, restore: &Restore, history: &History, crash: Crash) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {restore:?}, in place {:?}, {history:?}", run.state()));
    for rejected in &restore.rejected {
        let allowed = match rejected.reason {
            Reason::UnknownProvenance | Reason::WrittenInPlace => !run.spec.atomic,
            Reason::Poisoned => true,
            Reason::Damaged(_) => history.any_damage() && rejected.generation.is_some(),
            _ => false,
        };
        if !allowed {
            return wrong("something is rejected that is sound");
        }
        // Its number came back, or it was never counted.
        if let (Reason::Poisoned, Some(number)) = (&rejected.reason, rejected.generation) {
            let of = |fact: &Fact| match fact {
                Fact::Sealed { number: sealed, state, .. } if *sealed == number => Some(state.clone()),
                _ => None,
            };
            let state = history.facts.iter().find_map(of);
            if state.is_some_and(|state| history.offers(&state) + history.cut_short() < 2) {
                return wrong("a state is poisoned that was not offered twice");
            }
        }
    }
    let precious = history.facts.iter().filter_map(|fact| match fact {
        Fact::Precious(state) => Some(state),
        _ => None,
    });
    for state in precious {
        if !run.has(state) && history.used().is_none_or(|(used, _)| history.rank(used) < history.rank(state))
        {
            return wrong("something is lost that was nobody's to delete");
        }
    }
    let due = history.due();
    let Some(from) = &restore.from else {
        return match (run.state(), due) {
            (Some(_), _) => wrong("a file is in place, and nothing was restored"),
            (None, Some(due)) => wrong(&format!("{due} is lost")),
            (None, None) => Ok(()),
        };
    };
    let Some(state) = run.state() else { return wrong("nothing is in place") };
    if history.rank(&state).is_none() {
        return wrong("what is in place was never written whole");
    }
    if history.offers(&state) >= 2 {
        return wrong("it is offered a third time");
    }
    if from.source == Handed::Backup {
        return if history.any_damage() { Ok(()) } else { wrong("a backup stands in for nothing") };
    }
    if let Some((used, up)) = history.used() {
        if history.rank(&state) < history.rank(used) {
            return wrong("it is stale");
        }
        if up && state == used {
            return wrong("it is used twice");
        }
    }
    if let Some(due) = due
        && history.rank(&state) < history.rank(due)
        && !history.any_damage()
        && !(crash == Crash::Kill && is_restart(history, &state))
    {
        return wrong(&format!("{due} is newer"));
    }
    Ok(())
}

/// What a stop handed over goes before newer snapshots until it is used.
fn is_restart(history: &History, state: &str) -> bool {
    let restart = |fact: &Fact| matches!(fact, Fact::Sealed { source: Source::Restart, state: sealed, .. } if sealed == state);
    history.facts.iter().any(restart)
}
