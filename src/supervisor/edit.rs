//! An edit of the file while everything runs: a new target, reached in dependency order. It does not wait
//! for an earlier edit to be done; it changes the target.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::phase::Phase;
use super::record::What;
use super::slot::{Slot, Wanted, Why};
use super::{Action, Supervisor};
use crate::config::model::{Component, Project};
use crate::plan::{self, Builds, Now, Plan, Step, StepAction};
use crate::types::{Cid, Name};

/// How a component stands that there is not.
const ABSENT: Now = Now { runs: false, follows: false, rests: None, builds: Builds::Rest };

impl Supervisor {
    /// What an edit to `project` would do now, and does if it comes now; `chosen` are the components that run by
    /// themselves in it.
    #[must_use]
    pub fn plan(&self, project: &Project, chosen: &BTreeSet<Name>) -> Plan {
        let now = |name: &Name| {
            let slot = self.names.get(name).and_then(|cid| self.slot(*cid));
            slot.map_or(ABSENT, |slot| Now {
                runs: slot.phase.run().is_some(),
                follows: slot.may_follow() && self.shutdown.is_none(),
                rests: self.rests(slot),
                builds: self.builds(slot),
            })
        };
        let nobody = BTreeSet::new();
        let chosen = if self.shutdown.is_some() { &nobody } else { chosen };
        plan::plan_live(&self.project, project, chosen, now)
    }

    /// Why an edit does not start a component anew, if that is so.
    fn rests(&self, slot: &Slot) -> Option<&'static str> {
        if self.shutdown.is_some() {
            return Some("the project is being shut down");
        }
        match slot.wanted {
            Wanted::Up => {}
            Wanted::Down => return Some("it was stopped by command"),
            Wanted::Never => return Some("it is not started by itself"),
            Wanted::Removed => return Some("it is being removed"),
        }
        match &slot.phase {
            Phase::Waiting => Some("it waits"),
            Phase::Blocked => Some("it is blocked"),
            Phase::Preparing(_) | Phase::Settling { .. } | Phase::Held { .. } => Some("it is about to start"),
            Phase::Building(_) if !slot.build.good => Some("it is being built"),
            Phase::Building(meanwhile) if slot.starts_anyway(meanwhile) => Some("it is about to start"),
            Phase::Building(_) => None,
            Phase::Stopped => Some("it is stopped"),
            Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => None,
            Phase::Ending(_) | Phase::Sealing(_) => None,
            Phase::Backoff { .. } | Phase::Completed | Phase::Failed => None,
        }
    }

    pub(super) fn edit(&mut self, project: Arc<Project>, chosen: &BTreeSet<Name>) {
        let plan = Arc::new(self.plan(&project, chosen));
        self.project = Arc::clone(&project);
        self.generation += 1;
        let cause = self.record(None, None, What::ConfigReloaded { plan: Arc::clone(&plan) });
        let declared: BTreeMap<&Name, &Arc<Component>> =
            project.components.iter().map(|spec| (&spec.name, spec)).collect();
        // First what is declared, then what follows: a step sees the new graph.
        for step in &plan.steps {
            if let Some(spec) = declared.get(&step.component) {
                self.declare(step, spec, chosen);
            }
        }
        self.connect();
        self.pass_claims(&plan, &declared);
        // Those whose edges are gone are nobody's neighbours any more, but may have been waited for.
        self.dirty.extend(self.names.values());
        for step in &plan.steps {
            match self.names.get(&step.component).copied() {
                Some(cid) if declared.contains_key(&step.component) => self.apply(cid, step, cause, chosen),
                Some(cid) => self.unwant(cid, Wanted::Removed, "removed from the file", Some(cause)),
                None => {}
            }
        }
        self.stop_new_dependents(cause);
    }

    /// What is still to be stopped by command may have got dependents that are to be stopped first. Those of one
    /// command are gone through together: each look goes up the whole graph.
    fn stop_new_dependents(&mut self, edit: u64) {
        let mut commands: BTreeMap<u64, Vec<Cid>> = BTreeMap::new();
        for cid in self.cids() {
            let down = self.slot(cid).filter(|slot| slot.wanted == Wanted::Down);
            if let Some(wish) = down.and_then(|slot| slot.wish.as_ref()) {
                commands.entry(wish.cause.unwrap_or(edit)).or_default().push(cid);
            }
        }
        for (command, stopping) in commands {
            self.stop_all(self.to_stop(&stopping), command);
        }
    }

    fn declare(&mut self, step: &Step, spec: &Arc<Component>, chosen: &BTreeSet<Name>) {
        match self.names.get(&step.component).copied() {
            None => {
                self.add(Arc::clone(spec), chosen);
            }
            Some(cid) => {
                if let Some(slot) = self.slot_mut(cid) {
                    let before = std::mem::replace(&mut slot.spec, Arc::clone(spec));
                    self.re_ask(cid, &before);
                    self.re_check(cid, &before);
                }
            }
        }
    }

    /// What is declared now is done to one component, new or not.
    fn apply(&mut self, cid: Cid, step: &Step, cause: u64, chosen: &BTreeSet<Name>) {
        let Some(slot) = self.slot_mut(cid) else { return };
        match slot.phase {
            // What waits may have nothing to wait for any more.
            Phase::Waiting | Phase::Blocked => slot.last = Some(cause),
            // What was prepared for what is no longer declared is prepared anew.
            Phase::Preparing(_) => slot.meanwhile = Some(cause),
            _ => {}
        }
        // Also what is still on its way out, and is not chosen now.
        let new = step.action == StepAction::Start || slot.wanted == Wanted::Removed;
        let spec = Arc::clone(&slot.spec);
        self.out.push(Action::Observe { component: cid, spec });
        self.rebuild(cid, step.rebuild, cause);
        match step.action {
            _ if new => self.introduce(cid, cause, chosen),
            // What only follows another goes down with it.
            StepAction::Restart if step.changed.is_empty() => {}
            StepAction::Restart => {
                let reason = format!("the file was edited: {}", step.reason);
                let gated = step.rebuild.gates();
                self.restart_for(cid, if gated { Why::Build(reason) } else { Why::Edit(reason) }, cause);
            }
            StepAction::Start | StepAction::Update | StepAction::Stop => {}
        }
    }

    /// A component that the file did not have before, or that is still on its way out.
    fn introduce(&mut self, cid: Cid, cause: u64, chosen: &BTreeSet<Name>) {
        let shutdown = self.shutdown.is_some();
        let Some(slot) = self.slot_mut(cid) else { return };
        if matches!(slot.phase, Phase::Stopped) {
            slot.last = slot.last.max(Some(cause));
        } else {
            slot.meanwhile = Some(cause);
        }
        let up = chosen.contains(&slot.spec.name);
        slot.wanted = if up { Wanted::Up } else { Wanted::Never };
        if !up || shutdown {
            return;
        }
        match &slot.phase {
            Phase::Stopped => self.try_start(cid),
            Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => {
                (slot.wish, slot.meanwhile) = (None, None);
                self.wish(cid, Why::Edit("removed from the file, and added again".to_owned()), Some(cause));
            }
            Phase::Ending(_) | Phase::Sealing(_) => slot.again = true,
            // What is being prepared is looked at when it is, and nothing else of it is there to come back.
            Phase::Preparing(_) | Phase::Settling { .. } | Phase::Held { .. } => {}
            Phase::Waiting | Phase::Blocked | Phase::Building(_) => {}
            Phase::Backoff { .. } | Phase::Completed | Phase::Failed => {}
        }
    }
}
