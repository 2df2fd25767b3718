//! Whom a command concerns, and what it does to each. Asked before the step, it is what the step then does: the
//! command goes through this same list.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::event::Command;
use super::phase::Phase;
use super::slot::{Slot, Wanted};
use crate::config::model::Condition;
use crate::types::{Cid, Name};

/// A component that a command concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// Which.
    pub component: Name,
    /// What is done to it.
    pub effect: Effect,
}

/// What a command does to one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// It starts, or starts again when what is ending of it is gone.
    Start,
    /// It stops, or is no longer to start.
    Stop,
    /// Its run ends, and another one follows.
    Restart,
    /// It is as it was wanted, or on its way there.
    Nothing,
}

impl Effect {
    /// The word for it: `start`, `stop`, `restart`, `none`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Nothing => "none",
        }
    }
}

impl Supervisor {
    /// Which components a start, a stop or a restart concerns, as of now, in the order in which they are seen
    /// to: the named in any case, others only if something is done to them. Nothing for a shutdown and an
    /// upgrade, and while the project ends.
    #[must_use]
    pub fn affected(&self, command: &Command) -> Vec<Affected> {
        self.tell_affected(&self.concerns(command))
    }

    /// The same, with names in place of slots.
    pub(super) fn tell_affected(&self, concerned: &[(Cid, Effect)]) -> Vec<Affected> {
        let told = concerned.iter().filter_map(|(cid, effect)| {
            Some(Affected { component: self.slot(*cid)?.spec.name.clone(), effect: *effect })
        });
        told.collect()
    }

    /// The components that a command goes through.
    pub(super) fn concerns(&self, command: &Command) -> Vec<(Cid, Effect)> {
        match command {
            _ if self.shutdown.is_some() => Vec::new(),
            Command::Start(names) => self.to_start(&self.named(names)),
            Command::Stop(names) => self.to_stop(&self.named(names)),
            Command::Restart(names) => self.to_restart(&self.named(names)),
            Command::Shutdown | Command::Upgrade(_) => Vec::new(),
        }
    }

    /// The named that are declared, each once; what an edit removed is on its way out, and nobody's any more.
    pub(super) fn named(&self, names: &[Name]) -> Vec<Cid> {
        let declared = |cid: &Cid| self.slot(*cid).is_some_and(|slot| slot.wanted != Wanted::Removed);
        let mut seen = BTreeSet::new();
        let found = names.iter().filter_map(|name| self.names.get(name).copied());
        found.filter(|cid| declared(cid) && seen.insert(*cid)).collect()
    }

    /// The named and what they need that neither runs nor has completed, each after what it needs itself; then
    /// those that restart with one that starts.
    fn to_start(&self, named: &[Cid]) -> Vec<(Cid, Effect)> {
        let by_name: BTreeSet<Cid> = named.iter().copied().collect();
        let told = self.walk_needs(named).into_iter().filter_map(|cid| {
            let slot = self.slot(cid)?;
            let effect = start_effect(slot, by_name.contains(&cid));
            (effect != Effect::Nothing || by_name.contains(&cid)).then_some((cid, effect))
        });
        let mut told: Vec<_> = told.collect();
        let leads = |slot: &Slot| {
            matches!(slot.phase, Phase::Stopped | Phase::Failed | Phase::Backoff { .. })
                || matches!(slot.phase, Phase::Completed | Phase::Blocked)
        };
        let started = told.iter().filter(|(_, effect)| *effect == Effect::Start).map(|(cid, _)| *cid);
        let leaders = started.filter(|cid| self.slot(*cid).is_some_and(leads)).collect();
        self.add_followers(&mut told, leaders);
        told
    }

    /// The named and what runs and needs them, also by way of what does not run; dependents first.
    pub(super) fn to_stop(&self, named: &[Cid]) -> Vec<(Cid, Effect)> {
        let by_name: BTreeSet<Cid> = named.iter().copied().collect();
        let order = self.stop_order(named);
        let told = order.into_iter().filter_map(|cid| {
            let slot = self.slot(cid)?;
            let takes = slot.phase.state().runs() && slot.wanted == Wanted::Up;
            (takes || by_name.contains(&cid)).then(|| (cid, stop_effect(slot)))
        });
        told.collect()
    }

    /// Those that a stop of these goes through, dependents first.
    fn stop_order(&self, named: &[Cid]) -> Vec<Cid> {
        let by_name: BTreeSet<Cid> = named.iter().copied().collect();
        let above = |cid: Cid, slot: &Slot| {
            // What has completed holds nobody up.
            let through = !matches!(slot.phase, Phase::Completed) || by_name.contains(&cid);
            let needing = slot.dependents.iter().filter(|edge| edge.condition != Condition::Completed);
            if through { needing.map(|edge| edge.to).collect() } else { Vec::new() }
        };
        self.walk(named, above)
    }

    /// The named, and those with `restart: true` on one whose run ends or begins for it.
    fn to_restart(&self, named: &[Cid]) -> Vec<(Cid, Effect)> {
        let told = named.iter().filter_map(|cid| Some((*cid, restart_effect(self.slot(*cid)?))));
        let mut told: Vec<_> = told.collect();
        let leads = |(_, effect): &&(Cid, Effect)| *effect != Effect::Nothing;
        let leaders = told.iter().filter(leads).map(|(cid, _)| *cid).collect();
        self.add_followers(&mut told, leaders);
        told
    }

    /// Adds those that go down with these.
    fn add_followers(&self, told: &mut Vec<(Cid, Effect)>, leaders: Vec<Cid>) {
        let places: BTreeMap<Cid, usize> = told.iter().enumerate().map(|(at, (cid, _))| (*cid, at)).collect();
        for (cid, _) in self.all_followers(leaders.into_iter().map(|leader| (leader, true)).collect()) {
            match places.get(&cid).and_then(|at| told.get_mut(*at)) {
                Some((_, effect)) if *effect == Effect::Nothing => *effect = Effect::Restart,
                Some(_) => {}
                None => told.push((cid, Effect::Restart)),
            }
        }
    }

    /// The named and all that they need, each behind what it needs itself; nobody while the project ends.
    pub(super) fn needs(&self, names: &[Name]) -> Vec<Cid> {
        if self.shutdown.is_some() { Vec::new() } else { self.walk_needs(&self.named(names)) }
    }

    fn walk_needs(&self, from: &[Cid]) -> Vec<Cid> {
        self.walk(from, |_, slot| slot.deps.iter().map(|edge| edge.to).collect())
    }

    /// All that is reached from these, each behind what is reached from it.
    fn walk(&self, from: &[Cid], next: impl Fn(Cid, &Slot) -> Vec<Cid>) -> Vec<Cid> {
        let onwards = |cid: Cid| self.slot(cid).map(|slot| next(cid, slot)).unwrap_or_default().into_iter();
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for first in from {
            if !seen.insert(*first) {
                continue;
            }
            let mut stack = vec![(*first, onwards(*first))];
            while let Some((cid, rest)) = stack.last_mut() {
                match rest.next() {
                    Some(to) if seen.insert(to) => stack.push((to, onwards(to))),
                    Some(_) => {}
                    None => {
                        order.push(*cid);
                        stack.pop();
                    }
                }
            }
        }
        order
    }
}

/// What `start` does to one that was named, or is needed by one.
fn start_effect(slot: &Slot, named: bool) -> Effect {
    let unwished = slot.wanted != Wanted::Up;
    let starts = match &slot.phase {
        Phase::Stopped | Phase::Failed | Phase::Backoff { .. } | Phase::Blocked | Phase::Waiting => true,
        Phase::Completed => named,
        // It is being stopped, or about to be. It is not spared, for it may be stale by now, and what depends
        // on it is being stopped, too: it starts again when it is gone.
        Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => unwished,
        // Its run is ending, by itself or not: the one that was asked for is the next.
        Phase::Ending(_) | Phase::Sealing(_) => unwished || named,
        Phase::Preparing(_) | Phase::Settling { .. } | Phase::Held { .. } | Phase::Building(_) => unwished,
    };
    if starts { Effect::Start } else { Effect::Nothing }
}

/// What `stop` does to one that was named, or needs one.
fn stop_effect(slot: &Slot) -> Effect {
    match &slot.phase {
        Phase::Stopped | Phase::Completed => Effect::Nothing,
        Phase::Waiting | Phase::Blocked | Phase::Backoff { .. } | Phase::Failed => Effect::Stop,
        _ if slot.wanted == Wanted::Up => Effect::Stop,
        _ => Effect::Nothing,
    }
}

/// What `restart` does to one that was named.
fn restart_effect(slot: &Slot) -> Effect {
    match &slot.phase {
        Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => Effect::Restart,
        Phase::Ending(_) | Phase::Sealing(_) => Effect::Restart,
        Phase::Stopped | Phase::Blocked | Phase::Backoff { .. } => Effect::Start,
        Phase::Completed | Phase::Failed => Effect::Start,
        // What is being prepared has executed nothing yet, and so is as new as can be.
        Phase::Waiting
        | Phase::Preparing(_)
        | Phase::Settling { .. }
        | Phase::Held { .. }
        | Phase::Building(_) => {
            if slot.wanted == Wanted::Up {
                Effect::Nothing
            } else {
                Effect::Start
            }
        }
    }
}
