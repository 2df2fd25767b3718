//! What only one component can have at a time: a state file, a log file, a socket, the address that it
//! answers on. The file gives each to one (or keeps them apart by profiles); but while an edit is being
//! applied, a run that is still to end has it, and another component, often the same by another name, is to
//! have it next. So the new one waits for the end of the old run, down to its sealed state.
//!
//! Such a wait can't be in vain: only runs are waited for that end whatever happens, and no end waits for a
//! start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::Supervisor;
use super::phase::Phase;
use super::slot::{Slot, Wanted};
use crate::config::model::{Component, HostPort, Kind, Probe, SocketAddress};
use crate::plan::{Plan, StepAction};
use crate::types::{Cid, Name};

/// Something that one component has for itself.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim<'c> {
    File(&'c Path),
    Port(String, u16),
    /// What runs the same, in the same place and surroundings, most likely wants the same.
    Program(String),
}

impl Supervisor {
    /// Notes whose runs are to end before whose next ones begin, from what an edit gives to others.
    pub(super) fn pass_claims(&mut self, plan: &Plan, declared: &BTreeMap<&Name, &Arc<Component>>) {
        for slot in self.slots.iter_mut().flatten() {
            slot.after.clear();
            slot.heirs.clear();
        }
        let leaving = self.leaving(plan);
        let mut free: BTreeMap<Claim<'_>, Vec<Cid>> = BTreeMap::new();
        for (cid, spec) in &leaving {
            let kept = declared.get(&spec.name).map(|spec| claims(spec)).unwrap_or_default();
            for claim in claims(spec).into_iter().filter(|claim| !kept.contains(claim)) {
                free.entry(claim).or_default().push(*cid);
            }
        }
        if free.is_empty() {
            return;
        }
        for (name, spec) in declared {
            let Some(heir) = self.names.get(*name).copied() else { continue };
            let from = claims(spec).into_iter().filter_map(|claim| free.get(&claim)).flatten();
            let after: BTreeSet<Cid> = from.copied().filter(|from| *from != heir).collect();
            for from in &after {
                if let Some(slot) = self.slot_mut(*from) {
                    slot.heirs.push(heir);
                }
            }
            if let Some(slot) = self.slot_mut(heir) {
                slot.after = after.into_iter().collect();
            }
        }
    }

    /// The components whose present run ends whatever comes, each as it was declared for that run.
    fn leaving(&self, plan: &Plan) -> Vec<(Cid, Arc<Component>)> {
        let ends = plan.steps.iter().filter(|step| match step.action {
            StepAction::Stop => true,
            // What only follows another stays as it is declared; what waits for a good build may go on for ever, and
            // gives up nothing.
            StepAction::Restart => !step.changed.is_empty() && !step.rebuild.gates(),
            StepAction::Start | StepAction::Update => false,
        });
        let ends: BTreeSet<&Name> = ends.map(|step| &step.component).collect();
        let all = self.slots.iter().zip(0..).filter_map(|(slot, index)| Some((slot.as_ref()?, Cid(index))));
        let leaving = all.filter(|(slot, _)| ends.contains(&slot.spec.name) || is_leaving(slot));
        leaving.filter_map(|(slot, cid)| Some((cid, Arc::clone(&slot.phase.run()?.spec)))).collect()
    }

    /// The present run of a component is over: who waited for that need not any more.
    pub(super) fn bequeath(&mut self, cid: Cid) {
        let Some(slot) = self.slot_mut(cid) else { return };
        let (heirs, last) = (std::mem::take(&mut slot.heirs), slot.last);
        for heir in heirs {
            let Some(slot) = self.slot_mut(heir) else { continue };
            slot.after.retain(|from| *from != cid);
            if matches!(slot.phase, Phase::Waiting) {
                slot.last = slot.last.max(last);
            }
            self.dirty.insert(heir);
        }
    }
}

/// Whether its run, if it has one, is ending or about to.
fn is_leaving(slot: &Slot) -> bool {
    match &slot.phase {
        Phase::Ending(_) | Phase::Sealing(_) => true,
        // What was prepared as it is no longer declared is not spawned.
        Phase::Preparing(run) => slot.wanted != Wanted::Up || run.spec != slot.spec,
        Phase::Spawning(_) | Phase::Starting(_) | Phase::Ready(_) => slot.wish.is_some() || slot.build.sure,
        Phase::Stopped | Phase::Waiting | Phase::Blocked | Phase::Building(_) | Phase::Backoff { .. } => {
            false
        }
        Phase::Settling { .. } | Phase::Held { .. } | Phase::Completed | Phase::Failed => false,
    }
}

fn claims(spec: &Component) -> BTreeSet<Claim<'_>> {
    let mut claims = BTreeSet::new();
    claims.extend(spec.state.as_ref().map(|state| Claim::File(&state.file)));
    claims.extend(spec.logs.file.as_deref().map(Claim::File));
    claims.extend(spec.sockets.iter().flat_map(|socket| match &socket.address {
        SocketAddress::Unix(path) => vec![Claim::File(path)],
        SocketAddress::Tcp(address) => bound(&address.ip().to_string(), address.port()),
    }));
    if let Kind::Thread { listens, .. } = &spec.kind {
        let bound = listens.iter().flat_map(|address| bound(&address.ip().to_string(), address.port()));
        claims.extend(bound);
    }
    let own = spec.ready.as_ref().filter(|ready| !ready.external);
    claims.extend(own.and_then(|ready| match &ready.probe {
        Probe::Tcp(HostPort { host, port: at }) => Some(port(host, *at)),
        Probe::Http(url) => Some(port(&url.at.host, url.at.port)),
        Probe::Exec(_) | Probe::Log(_) | Probe::File(_) | Probe::Notify | Probe::Delay(_) => None,
    }));
    claims.insert(Claim::Program(format!("{:?} {:?} {:?}", spec.kind, spec.cwd, spec.env.own)));
    claims
}

/// 0.0.0.0 takes in all others: who gets one waits for whoever had any.
fn bound(ip: &str, at: u16) -> Vec<Claim<'static>> {
    if at == 0 { Vec::new() } else { vec![port(ip, at), port("", at)] }
}

fn port(host: &str, port: u16) -> Claim<'static> {
    let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
    Claim::Port(host.to_owned(), port)
}
