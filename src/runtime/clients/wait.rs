//! Those who wait until something has come of components, and the judgement whether it has.

use super::{Commanded, Deed, Reply, Unmet};
use crate::supervisor::{Glance, HeldNow, Record, Standing, State, Supervisor, What};
use crate::types::{Cid, Name};

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Wait {
    /// By name.
    goals: Vec<Goal>,
    asker: Asker,
}

/// Who waits, and what for.
#[derive(Debug)]
pub(super) enum Asker {
    /// Whoever has commanded, for the end of it; what was commanded did this.
    Command {
        /// The action done to each.
        did: Vec<(Name, &'static str)>,
        /// Where it is told.
        reply: Reply<Result<Commanded, Unmet>>,
    },
    /// Somebody who looks on.
    Onlooker(Reply<Result<Vec<Waited>, Unmet>>),
}

/// A component that is waited for, as it is.
#[derive(Debug, Clone)]
pub(crate) struct Waited {
    pub(crate) name: Name,
    /// `None`: it was removed.
    pub(crate) state: Option<State>,
    pub(crate) reason: String,
    /// Whether it has got there; `None`: not yet.
    pub(crate) met: Option<bool>,
}

/// What is waited for of one component.
#[derive(Debug)]
pub(super) struct Goal {
    name: Name,
    cid: Option<Cid>,
    kind: Kind,
    /// A state that is waited for may come and go between two looks: it was seen in a record.
    came: bool,
    /// Whether it is only taken along by another one that was named: where that one's build fails, nothing is done
    /// to it.
    along: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// It is ready or completed, in a run with a higher number than this; and no more of its builds have failed.
    Up { after: u64, failed: u64 },
    /// Nothing of it runs.
    Down,
    /// It is ready or completed.
    Good,
    /// It is in exactly this state.
    In(State),
}

/// Whether what is waited for has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Met,
    NotYet,
    Unmet,
}

impl Goal {
    pub(super) fn new(core: &Supervisor, name: Name, kind: Kind) -> Self {
        Self { cid: core.find(name.as_str()), name, kind, came: false, along: false }
    }

    /// The same, of one that goes with one that was named.
    pub(super) fn along(self) -> Self {
        Self { along: true, ..self }
    }

    /// Whether the build that a command asked for has failed.
    fn is_refused(&self, core: &Supervisor, held: &HeldNow) -> bool {
        let Kind::Up { failed, .. } = self.kind else { return false };
        self.place(core, held).is_some_and(|(_, glance)| glance.refused > failed)
    }

    /// Whether nothing is awaited of it any more, where the build of one of those that it goes with was `refused`.
    fn is_decided(&self, refused: bool, core: &Supervisor, held: &HeldNow) -> bool {
        let verdict = self.verdict(core, held);
        let untouched = || self.place(core, held).is_some_and(|(_, glance)| glance.standing == Standing::Up);
        verdict != Verdict::NotYet || (refused && self.along && untouched())
    }

    /// Where it is now: an edit may have taken it away and brought another one of its name.
    fn place(&self, core: &Supervisor, held: &HeldNow) -> Option<(Cid, Glance)> {
        let at = |cid: Cid| core.glance(cid, held).map(|glance| (cid, glance));
        self.cid.and_then(at).or_else(|| core.find(self.name.as_str()).and_then(at))
    }

    fn verdict(&self, core: &Supervisor, held: &HeldNow) -> Verdict {
        let glance = self.place(core, held).map(|(_, glance)| glance);
        match (self.kind, glance) {
            (Kind::Down, None) => Verdict::Met,
            (Kind::In(_), _) if self.came => Verdict::Met,
            (Kind::Up { .. } | Kind::Good | Kind::In(_), None) => Verdict::Unmet,
            (Kind::Down, Some(glance)) => match glance.standing {
                Standing::Stopped | Standing::Completed | Standing::Failed => Verdict::Met,
                Standing::Underway => Verdict::NotYet,
                Standing::Up | Standing::Stuck | Standing::Held => Verdict::Unmet,
            },
            (Kind::Up { failed, .. }, Some(glance)) if glance.refused > failed => Verdict::Unmet,
            (Kind::Up { after, .. }, Some(glance)) => match glance.standing {
                Standing::Up | Standing::Completed if glance.incarnation > after => Verdict::Met,
                Standing::Up | Standing::Completed | Standing::Underway => Verdict::NotYet,
                Standing::Stopped | Standing::Failed | Standing::Stuck | Standing::Held => Verdict::Unmet,
            },
            (Kind::Good, Some(glance)) => match (glance.state, glance.standing) {
                (_, Standing::Completed) | (State::Ready, Standing::Up) => Verdict::Met,
                (_, Standing::Up | Standing::Underway) => Verdict::NotYet,
                (_, Standing::Stopped | Standing::Failed | Standing::Stuck | Standing::Held) => {
                    Verdict::Unmet
                }
            },
            (Kind::In(state), Some(glance)) => match glance.standing {
                _ if glance.state == state => Verdict::Met,
                Standing::Up | Standing::Underway => Verdict::NotYet,
                Standing::Completed | Standing::Failed | Standing::Stopped => Verdict::Unmet,
                Standing::Held | Standing::Stuck => Verdict::Unmet,
            },
        }
    }

    /// Why it is not met, as a fragment of a sentence.
    fn failure(&self, core: &Supervisor, held: &HeldNow) -> String {
        let Some((cid, glance)) = self.place(core, held) else {
            return "it was removed from the file".to_owned();
        };
        let reason = core.view(cid).map(|view| view.reason).unwrap_or_default();
        match (self.kind, glance.standing) {
            (Kind::Down, Standing::Up) => "somebody started it again".to_owned(),
            (Kind::Down, Standing::Held) => format!("somebody started it again: {reason}"),
            (Kind::Up { .. }, Standing::Stopped) => format!("it is stopped: {reason}"),
            _ => reason,
        }
    }

    fn waited(&self, core: &Supervisor, held: &HeldNow) -> Waited {
        let met = match self.verdict(core, held) {
            Verdict::Met => Some(true),
            Verdict::NotYet => None,
            Verdict::Unmet => Some(false),
        };
        let view = self.place(core, held).and_then(|(cid, _)| core.view(cid));
        let (state, reason) = match view {
            Some(view) => (Some(view.state), view.reason),
            None => (None, "it was removed from the file".to_owned()),
        };
        Waited { name: self.name.clone(), state, reason, met }
    }
}

impl Wait {
    pub(super) fn new(mut goals: Vec<Goal>, asker: Asker) -> Self {
        goals.sort_by(|a, b| a.name.cmp(&b.name));
        Self { goals, asker }
    }

    /// How many components it is about.
    pub(super) fn len(&self) -> usize {
        self.goals.len()
    }

    /// Whether whoever asked has gone away.
    pub(super) fn is_abandoned(&self) -> bool {
        match &self.asker {
            Asker::Command { reply, .. } => reply.is_closed(),
            Asker::Onlooker(reply) => reply.is_closed(),
        }
    }

    /// Notes a state that somebody may wait for.
    pub(super) fn hear(&mut self, record: &Record) {
        let (What::State { state, .. }, Some(name)) = (&record.what, &record.component) else { return };
        if let Ok(at) = self.goals.binary_search_by(|goal| goal.name.cmp(name)) {
            let goal = &mut self.goals[at];
            goal.came |= matches!(goal.kind, Kind::In(wanted) if wanted == *state);
        }
    }

    /// A command is done when each of its goals is decided; who looks on is told of the first that can't come.
    pub(super) fn is_over(&self, core: &Supervisor, held: &HeldNow) -> bool {
        let verdicts = self.goals.iter().map(|goal| goal.verdict(core, held));
        match &self.asker {
            Asker::Command { .. } => {
                let refused = self.goals.iter().any(|goal| goal.is_refused(core, held));
                self.goals.iter().all(|goal| goal.is_decided(refused, core, held))
            }
            Asker::Onlooker(_) => {
                let mut all = true;
                for verdict in verdicts {
                    match verdict {
                        Verdict::Unmet => return true,
                        Verdict::NotYet => all = false,
                        Verdict::Met => {}
                    }
                }
                all
            }
        }
    }

    /// Tells what has come of it.
    pub(super) fn answer(self, core: &Supervisor, held: &HeldNow) {
        match self.asker {
            Asker::Command { did, reply } => {
                let unmet = |goal: &&Goal| goal.verdict(core, held) == Verdict::Unmet;
                let failed = self.goals.iter().filter(unmet);
                let failed = failed.map(|goal| (goal.name.clone(), goal.failure(core, held))).collect();
                // What stands although it was to go along was not done: what it was to go with was refused.
                let stands = |name: &Name| {
                    let of = |goal: &&Goal| goal.along && goal.name == *name;
                    self.goals.iter().find(of).is_some_and(|goal| goal.verdict(core, held) == Verdict::NotYet)
                };
                let did = did
                    .into_iter()
                    .filter(|(name, _)| !stands(name))
                    .map(|(name, action)| Deed::of(core, name, action))
                    .collect();
                reply.send(Ok(Commanded { did, failed }));
            }
            Asker::Onlooker(reply) => {
                reply.send(Ok(self.goals.iter().map(|goal| goal.waited(core, held)).collect()));
            }
        }
    }

    /// Tells that the project ends before anything has come.
    pub(super) fn give_up(self) {
        self.refuse(Unmet::Ending);
    }

    pub(super) fn refuse(self, why: Unmet) {
        match self.asker {
            Asker::Command { reply, .. } => reply.send(Err(why)),
            Asker::Onlooker(reply) => reply.send(Err(why)),
        }
    }
}
