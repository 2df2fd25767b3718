//! The guarantees of the contract's section 3, as seen from the world.

use std::collections::BTreeSet;
use std::sync::Arc;

use orch::config::model::{Component, Condition, Dependency, Kind, RestartPolicy};
use orch::plan::StepAction;
use orch::supervisor::{Record, What};
use orch::types::{Exit, Name, RunId, Scope};

use super::world::{Life, World};

/// Guarantees 1 and 3, and that nothing starts that is not wanted.
pub(crate) fn may_spawn(world: &World, run: RunId, spec: &Arc<Component>) {
    let name = &spec.name;
    for (other, life) in world.lives.iter().filter(|(_, life)| life.name == *name) {
        assert!(!life.unit_alive, "{name}: {run} starts while {other} lives");
        assert!(life.told_gone, "{name}: {run} starts before {other} is known to be gone");
        assert!(*other < run, "{name}: {run} is not newer than {other}");
    }
    let quiet = world.quiet_at.get(&run.component).is_none_or(|at| *at <= world.now);
    assert!(quiet, "{name} starts on files that are not quiet");
    for (other, life) in world.lives.iter().filter(|(_, life)| life.name != *name && !life.told_gone) {
        let file = |spec: &Component| spec.state.as_ref().map(|state| state.file.clone());
        let shared = file(spec).is_some() && file(spec) == file(&life.spec);
        assert!(!shared, "{name} starts while {other}, once {}, has its state file", life.name);
    }
    assert_eq!(world.shutting, 0, "{name} starts during the shutdown");
    assert!(!world.replacing, "{name} starts while a new image is made");
    let thread = matches!(spec.kind, Kind::Thread { .. });
    assert!(!thread || !world.core.is_replacing(), "the thread {name} starts in an image that is to go");
    assert!(!world.down.contains(name), "{name} starts although it was stopped by command");
    for edge in &spec.depends_on {
        assert!(
            meets(world, &edge.name, edge.condition),
            "{name} starts, but {} is not {:?}",
            edge.name,
            edge.condition
        );
    }
}

/// A new image takes nothing with it that it would have to wait for in vain, but what took too long.
pub(crate) fn may_reexec(world: &World) {
    assert!(!world.replacing, "a second new image is asked for before the first one is there");
    assert!(world.core.is_replacing(), "a new image that the core knows nothing of");
}

/// Only what runs is asked for its state.
pub(crate) fn may_ask(world: &World, run: RunId) {
    let Some(life) = world.lives.get(&run) else {
        panic!("{run}: what was never started is asked for its state")
    };
    assert!(
        life.told_spawned && life.told_exit.is_none(),
        "{}: it is asked for its state, but is gone",
        life.name
    );
}

/// Whether a dependency meets a condition by what the core was told.
fn meets(world: &World, name: &Name, condition: Condition) -> bool {
    let Some((_, life)) = world.lives.iter().rev().find(|(_, life)| life.name == *name) else { return false };
    if completed(world, life) {
        return true;
    }
    let ready = life.told_ready || life.spec.ready.is_none();
    let running = life.told_spawned && life.told_exit.is_none() && !life.asked && !life.told_gone;
    let running = running && !life.pulse.leaving;
    match condition {
        Condition::Started => running,
        Condition::Ready => running && ready && !life.pulse.reloading,
        Condition::Completed => false,
    }
}

/// The policy may have been edited before or after the end: either may have counted.
fn completed(world: &World, life: &Life) -> bool {
    let specs = [Some(&life.spec), world.declared.get(&life.name)];
    let once = specs.into_iter().flatten().any(|spec| spec.restart.policy != RestartPolicy::Always);
    let ready = life.told_ready || life.spec.ready.is_none();
    // One that said itself that it stops has ended by itself, also if it was signalled when it took too long.
    let own = !life.asked || life.pulse.leaving;
    life.told_gone && own && ready && life.told_exit == Some(Exit::Code(0)) && once
}

/// What `watch.action` sends reaches only what runs, and has not been told to stop.
pub(crate) fn may_change_signal(world: &World, run: RunId) {
    let Some(life) = world.lives.get(&run) else { panic!("{run}: a signal to what was never started") };
    assert!(life.told_spawned && !life.asked && !life.told_gone, "{}: signalled at its end", life.name);
}

/// Guarantee 2: in an ordered stop, a component is told only when all that depend on it are gone.
pub(crate) fn may_signal(world: &World, run: RunId, scope: Scope) {
    let Some(life) = world.lives.get(&run) else { panic!("{run}: a signal to what was never started") };
    assert!(!life.told_gone, "{}: a signal to what is known to be gone", life.name);
    // One whose stop command failed was told when that began.
    if scope != Scope::Group || life.asked {
        return;
    }
    let reason = world.last_stop_reason.get(&life.name).map(String::as_str).unwrap_or_default();
    let ending = world.shutting > 0 || reason == "the project is shut down";
    if !ending && !matches!(reason, "stopped by command" | "removed from the file") {
        return;
    }
    let name = life.name.clone();
    if let Some(other) = lives_above(world, &name, ending) {
        panic!("{name} is told to stop ({reason}) while {other} depends on it");
    }
}

/// What lives and depends on this one, also by way of what does not live. In a stop by command, or by an
/// edit, what wants or has had an end only does not count.
fn lives_above(world: &World, name: &Name, ending: bool) -> Option<Name> {
    let (mut seen, mut stack) = (BTreeSet::new(), vec![name.clone()]);
    while let Some(below) = stack.pop() {
        let there = world.declared.iter().filter(|(name, _)| world.core.find(name.as_str()).is_some());
        for (other, spec) in there {
            let needs =
                |edge: &Dependency| edge.name == below && (ending || edge.condition != Condition::Completed);
            if !spec.depends_on.iter().any(needs) {
                continue;
            }
            if world.lives.values().any(|life| life.name == *other && !life.told_gone) {
                return Some(other.clone());
            }
            let through = ending || world.states.get(other) != Some(&"completed");
            if through && seen.insert(other.clone()) {
                stack.push(other.clone());
            }
        }
    }
    None
}

/// A state that was put in place for a run is given to a run, or handed back, before it is asked for again.
pub(crate) fn may_prepare(world: &World, run: RunId, spec: &Component) {
    assert!(
        !world.handed.contains(&run.component),
        "{}: a state is put in place twice for nothing",
        spec.name
    );
    let Some(state) = &spec.state else { return };
    let holder =
        world.states_of.iter().find(|(other, file)| other.component != run.component && **file == state.file);
    assert!(holder.is_none(), "{}: the state file of {holder:?} is put in place", spec.name);
}

/// Guarantee 4's other side: nothing is force-killed before its time.
pub(crate) fn may_kill(world: &World, run: RunId) {
    let Some(life) = world.lives.get(&run) else { panic!("{run}: force-kill of what was never started") };
    assert!(!life.told_gone, "{}: force-kill of what is gone", life.name);
    let timed_out = world.shutting > 0 || life.kill_by.is_some_and(|by| by <= world.now);
    let failing = world.states.values().any(|state| *state == "failed");
    assert!(timed_out || failing, "{}: force-killed before stop.timeout", life.name);
}

/// Records are numbered without a gap, and a cause comes before its effect.
pub(crate) fn record(world: &mut World, record: &Record) {
    if let (What::StopRequested { reason }, Some(name)) = (&record.what, &record.component) {
        let threads = world.lives.values().filter(|life| life.name == *name && life.unit_alive);
        let thread = threads.into_iter().any(|life| matches!(life.spec.kind, Kind::Thread { .. }));
        assert!(
            thread || reason != "orch replaces its own image",
            "{name}, a process, is stopped for a new image"
        );
    }
    assert_eq!(record.seq, world.last_seq + 1, "records are numbered without a gap");
    world.last_seq = record.seq;
    cause(world, record);
    world.records.push(record.clone());
}

/// What may be the cause of what.
fn cause(world: &World, record: &Record) {
    let Some(seq) = record.cause else {
        return assert!(is_root(&record.what), "nothing led to {record:?}");
    };
    assert!(seq < record.seq, "a cause comes before its effect: {record:?}");
    assert!(!is_root(&record.what), "what comes from outside has no cause: {record:?}");
    let cause = find(world, seq);
    let own = cause.component == record.component && !matches!(cause.what, What::Changed { .. });
    // The old image takes its threads along.
    let forced = matches!(cause.what, What::Command { name: "down", .. } | What::Reexec);
    let exited = matches!(record.what, What::Exited { .. });
    assert!(!exited || own || forced, "{record:?} was led to by {cause:?}");
    if let Some(root) = world.root {
        let mut seq = Some(seq);
        while let Some(above) = seq.filter(|seq| *seq > root) {
            seq = find(world, above).cause;
        }
        assert!(seq == Some(root), "{record:?} does not lead back to {:?}", find(world, root));
    }
}

fn find(world: &World, seq: u64) -> &Record {
    &world.records[usize::try_from(seq).unwrap() - 1]
}

/// What comes from outside.
pub(crate) fn is_root(what: &What) -> bool {
    matches!(
        what,
        What::ProjectUp
            | What::ConfigReloaded { .. }
            | What::ConfigRejected { .. }
            | What::Changed { .. }
            | What::Command { .. }
    )
}

/// After a force-kill by command, all that is heard of it leads back to that command.
pub(crate) fn forced(world: &World, record: &Record) {
    let (Some(by), What::ForceKilled { .. }) = (world.forced_by, &record.what) else { return };
    let mut seq = Some(record.seq);
    while let Some(above) = seq.filter(|seq| *seq > by) {
        seq = find(world, above).cause;
    }
    let killed = |life: &Life| Some(&life.name) == record.component.as_ref() && life.kill_forced;
    if world.lives.values().any(killed) {
        assert_eq!(seq, Some(by), "{record:?} does not lead back to the second `down`");
    }
}

/// What holds after every step.
pub(crate) fn after_step(world: &World) {
    // What those who wait are told of one component at a time is what they are told of all at once.
    let held = world.core.held();
    for cid in world.declared.keys().filter_map(|name| world.core.find(name.as_str())) {
        let standing = world.core.glance(cid, &held).map(|glance| glance.standing);
        assert_eq!(standing, world.core.standing(cid), "{cid:?} at a glance");
    }
    if let Err(error) = world.core.check() {
        panic!("{error}");
    }
    if world.exited.is_some() {
        return;
    }
    if let Some(deadline) = world.core.next_deadline() {
        assert!(deadline > world.now, "a deadline that has come was left: a busy loop");
    }
    world.nobody_is_left_unwell();
    // Also one that `on_failure` has begun.
    if !world.core.is_ending() {
        world.nothing_else_is_built();
        world.no_old_build_has_failed();
    }
    for (run, life) in &world.lives {
        let spared = world.core.view(run.component).is_some_and(|view| view.state.word() == "stuck");
        let overdue = life.kill_by.is_some_and(|by| by < world.now) && !life.killed && !life.told_gone;
        assert!(!overdue || spared, "{}: guarantee 4: alive after stop.timeout, and not killed", life.name);
    }
}

/// Long after the last disturbance, nothing is on its way any more.
pub(crate) fn settled(world: &World) {
    assert!(!world.core.is_replacing() || world.replacing, "a new image is waited for, and not asked for");
    // What is stuck holds up those that must wait for it to be gone, for ever.
    let stuck = world.core.views().any(|other| other.state.word() == "stuck");
    for view in world.core.views() {
        let word = view.state.word();
        let up = matches!(word, "ready" | "starting" | "backoff" | "waiting" | "blocked");
        assert!(!up || stuck || !world.down.contains(&view.name), "{} was stopped, but is {word}", view.name);
        // The last word wins.
        let stopped = matches!(word, "stopped");
        assert!(
            !stopped || stuck || !world.up.contains(&view.name),
            "{} was started, but is {word}",
            view.name
        );
        let rests =
            matches!(word, "ready" | "completed" | "failed" | "blocked" | "stopped" | "stuck" | "waiting");
        let ticking = word == "backoff" || word == "starting" || word == "stopping";
        let always = world
            .project
            .components
            .iter()
            .any(|spec| spec.name == view.name && spec.restart.policy == RestartPolicy::Always);
        assert!(rests || stuck || (ticking && always), "{} is still {word}: {}", view.name, view.reason);
        if !world.core.is_ending() && !stuck && matches!(word, "ready" | "completed") {
            as_declared(world, &view.name);
        }
        if word == "waiting" && !stuck {
            waits_for_a_reason(world, &view.name);
        }
    }
}

/// What an edit starts in the step that applies it, or tells to stop, is no mere update in its plan.
pub(crate) fn is_planned(world: &World, name: &Name) {
    let Some((plan, before)) = &world.planned else { return };
    let update = plan.steps.iter().find(|step| step.component == *name);
    let update = update.filter(|step| step.action == StepAction::Update);
    // What waits may have nothing to wait for any more.
    let rests = matches!(before.get(name), Some(&("completed" | "failed" | "building")));
    assert!(update.is_none() || !rests, "{name} is only updated by the plan: {update:?}");
}

/// No edit that has to restart it was lost.
fn as_declared(world: &World, name: &Name) {
    let run = world.lives.values().rev().find(|life| life.name == *name && life.told_spawned);
    let spec = world.project.components.iter().find(|spec| spec.name == *name);
    let (Some(life), Some(spec)) = (run, spec) else { return };
    let same = life.spec.kind == spec.kind && life.spec.cwd == spec.cwd;
    let waits = world.waits_for_a_good_build(&life.spec, spec);
    assert!(same || waits, "{name} runs, or ran last, as it is not declared any more");
}

fn waits_for_a_reason(world: &World, name: &Name) {
    let Some(spec) = world.project.components.iter().find(|spec| spec.name == *name) else { return };
    // What had completed, and was to run again but did not get to it, has no newer life to tell of it.
    let up = |name| {
        world.states.get(name).is_some_and(|state| matches!(*state, "ready" | "completed" | "starting"))
    };
    let stopped = |name| !up(name) || world.down.contains(name);
    let unmet =
        spec.depends_on.iter().any(|edge| stopped(&edge.name) || !meets(world, &edge.name, edge.condition));
    let follower = world.lives.values().any(|life| {
        !life.told_gone && life.spec.depends_on.iter().any(|edge| edge.name == *name && edge.restart)
    });
    let reason = world.core.find(name.as_str()).and_then(|cid| world.core.view(cid)).map(|view| view.reason);
    assert!(unmet || follower, "{name} waits, but nothing is missing: {reason:?}");
}

/// After the end, only what can't be killed is left.
pub(crate) fn nothing_left(world: &World) {
    world.no_chore_is_left();
    for life in world.lives.values().filter(|life| life.unit_alive) {
        assert!(life.killed, "{} is left running, and was never killed", life.name);
        assert_ne!(world.exited, Some(0), "{} is left, but orch says that all is well", life.name);
    }
}
