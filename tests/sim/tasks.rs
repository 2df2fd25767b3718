//! Commands beside the runs, as they really are, and what components say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use orch::config::model::{Component, HealthCheck, WatchAction};
use orch::supervisor::{Course, Event, RunEvent};
use orch::types::{Cid, Exit, Name, Notice, RunId, TaskEnd, TaskFailure, TaskId, TaskKind, Time};

use super::dice::Dice;
use super::world::{Life, World};

/// A command that runs.
pub(crate) struct Chore {
    pub(crate) name: Name,
    pub(crate) kind: TaskKind,
    run: Option<RunId>,
    /// In which step it began.
    began: u64,
    /// As it was declared then.
    spec: Arc<Component>,
    /// When it was told to end.
    pub(crate) told: Option<Time>,
}

/// What is known of the commands of all components.
#[derive(Default)]
pub(crate) struct Chores {
    pub(crate) living: BTreeMap<TaskId, Chore>,
    seen: BTreeSet<TaskId>,
    /// In which step the last build began that ended by itself, and whether it was good.
    judged: BTreeMap<Cid, (u64, bool)>,
    /// As what it was built when its last build failed.
    failed_as: BTreeMap<Cid, Arc<Component>>,
    /// In which step files changed last that a build has to see.
    changed: BTreeMap<Cid, u64>,
    /// Built well, or started, since it was stopped last.
    sound: BTreeSet<Cid>,
    pub(crate) failed: u64,
    pub(crate) good: u64,
    /// What was recorded to have begun, and not yet to have ended.
    open: BTreeSet<(Name, TaskKind)>,
}

impl Chores {
    /// Each record of a beginning has one of its end before the next.
    pub(crate) fn opened(&mut self, name: &Name, kind: TaskKind) {
        assert!(self.open.insert((name.clone(), kind)), "{name}: {kind:?} begins twice, and ended once");
    }

    pub(crate) fn closed(&mut self, name: &Name, kind: TaskKind) {
        // Only the end of a stop command that failed is recorded.
        let open = self.open.remove(&(name.clone(), kind)) || kind == TaskKind::Stop;
        assert!(open, "{name}: {kind:?} ends, and never began");
    }
}

/// What a run that is ready says of its life.
#[derive(Default)]
pub(crate) struct Pulse {
    /// So many failed checks in a row were told.
    row: u32,
    /// Counts what it was asked for: what was asked before says no more.
    asked: u64,
    every: Option<Duration>,
    /// When it has been silent for too long.
    silent_at: Option<Time>,
    pub(crate) reloading: bool,
    /// It says that it is on its way out.
    pub(crate) leaving: bool,
}

pub(crate) enum TaskTodo {
    Ends(TaskId, TaskEnd),
    /// A try of the health check; so many follow.
    Check(RunId, u64, u64),
    /// A word to the watchdog; so many follow.
    Ping(RunId, u64),
}

fn failure() -> TaskEnd {
    TaskEnd::Failed(TaskFailure { reason: "exit code 1".to_owned(), ..TaskFailure::default() })
}

fn some_end(dice: &mut Dice, calm: bool, timeout: Duration) -> (Duration, TaskEnd) {
    let good = (Duration::from_millis(dice.upto(400)), TaskEnd::Done);
    match dice.upto(19) {
        _ if calm => good,
        0..4 => (Duration::from_millis(dice.upto(400)), failure()),
        4 => (timeout.min(Duration::from_millis(dice.upto(8_000))), TaskEnd::Done),
        5 => (timeout, failure()),
        _ => good,
    }
}

fn builds_the_same(one: &Component, other: &Component) -> bool {
    one.build == other.build && one.cwd == other.cwd && one.env == other.env
}

fn restarts_on_change(spec: &Component) -> bool {
    spec.watch.as_ref().is_some_and(|watch| watch.action == WatchAction::Restart)
}

impl World {
    pub(crate) fn run_task(
        &mut self,
        id: TaskId,
        kind: TaskKind,
        spec: &Arc<Component>,
        run: Option<RunId>,
        (timeout, drain): (Duration, Duration),
    ) {
        let name = spec.name.clone();
        let most = if kind == TaskKind::Stop { spec.stop.timeout } else { Duration::ZERO };
        assert!(drain <= most, "{name}: {kind:?} is put off by {drain:?}");
        assert!(self.chores.seen.insert(id), "{name}: a task's number is given twice");
        let own = self.chores.living.iter().filter(|(other, _)| other.component == id.component);
        let twin = own.into_iter().find(|(_, chore)| chore.kind == kind && !self.given_up(chore));
        assert!(twin.is_none(), "{name}: a second task at once: {kind:?}");
        let alive = |life: &&Life| life.name == name && life.told_spawned && !life.told_gone;
        let lives = run.and_then(|run| self.lives.get(&run)).is_some_and(|life| alive(&life));
        assert!(kind == TaskKind::Build || lives, "{name}: {kind:?} for what does not run");
        assert_eq!(kind == TaskKind::Build, run.is_none(), "{name}: {kind:?} for {run:?}");
        if kind == TaskKind::Build {
            assert_eq!(self.shutting, 0, "{name} is built during the shutdown");
            assert!(!self.down.contains(&name), "{name} is built although it was stopped by command");
        }
        if kind != TaskKind::Stop {
            let quiet = self.quiet_at.get(&id.component).is_none_or(|at| *at <= self.now);
            assert!(quiet, "{name}: {kind:?} on files that are not quiet");
        }
        if let (TaskKind::Stop, Some(run)) = (kind, run) {
            self.asked_to_stop(run);
        }
        let (began, spec) = (self.steps(), Arc::clone(spec));
        self.chores.living.insert(id, Chore { name, kind, run, began, spec, told: None });
        let calm = self.is_calm();
        let (after, end) = some_end(&mut self.dice, calm, timeout);
        let ms = u64::try_from(after.as_millis()).unwrap();
        self.later_task(ms, TaskTodo::Ends(id, end));
    }

    /// What was told to end, and did not in time, is not waited for.
    fn given_up(&self, chore: &Chore) -> bool {
        chore.told.is_some_and(|told| told + chore.spec.stop.join_timeout <= self.now)
            && chore.kind == TaskKind::Stop
    }

    pub(crate) fn end_chore(&mut self, id: TaskId) {
        let now = self.now;
        // It may have ended, and the word of it be on its way.
        let Some(chore) = self.chores.living.get_mut(&id) else {
            return assert!(self.chores.seen.contains(&id), "{id:?}: an end of what never began");
        };
        assert!(chore.told.replace(now).is_none(), "{}: told twice to end", chore.name);
        let slow = !self.is_calm() && self.dice.percent(4);
        let ms = self.dice.upto(if slow { 6_000 } else { 40 });
        self.later_task(ms, TaskTodo::Ends(id, TaskEnd::Ended));
    }

    pub(crate) fn task_happens(&mut self, todo: TaskTodo) {
        match todo {
            TaskTodo::Ends(id, end) => self.chore_ends(id, end),
            TaskTodo::Check(run, asked, left) => self.health_tried(run, asked, left),
            TaskTodo::Ping(run, left) => self.pings(run, left),
        }
    }

    fn chore_ends(&mut self, id: TaskId, end: TaskEnd) {
        let Some(chore) = self.chores.living.remove(&id) else { return };
        if chore.kind == TaskKind::Build && chore.told.is_none() && end != TaskEnd::Lost {
            let good = end == TaskEnd::Done;
            self.chores.failed_as.remove(&id.component);
            if !good {
                self.chores.failed_as.insert(id.component, Arc::clone(&chore.spec));
            }
            self.chores.judged.insert(id.component, (chore.began, good));
            if good {
                self.chores.sound.insert(id.component);
            }
            *(if good { &mut self.chores.good } else { &mut self.chores.failed }) += 1;
        }
        if let (TaskKind::Stop, TaskEnd::Done, Some(run)) = (chore.kind, &end, chore.run) {
            self.heeds(run);
        }
        self.tell(Event::Task(id, end));
    }

    /// What a build has to see.
    pub(crate) fn files_changed(&mut self, cid: Cid) {
        let name = self.core.view(cid).map(|view| view.name);
        let spec = name.and_then(|name| self.declared.get(&name));
        if spec.is_some_and(|spec| spec.build.is_some() && restarts_on_change(spec)) {
            self.chores.changed.insert(cid, self.steps());
        }
    }

    /// A component with a build starts: its last build has seen all that has changed, and something can run.
    pub(crate) fn may_start_unbuilt(&mut self, run: RunId, spec: &Component) {
        let (cid, name) = (run.component, &spec.name);
        if spec.build.is_some() {
            let judged = self.chores.judged.get(&cid).map(|(began, _)| *began);
            let changed = self.chores.changed.get(&cid).copied();
            assert!(
                changed.is_none_or(|changed| judged.is_some_and(|began| began >= changed)),
                "{name} starts on files that changed in step {changed:?}; the last build began in {judged:?}"
            );
            assert!(self.chores.sound.contains(&cid), "{name} starts without anything that was built");
            let building = |(id, chore): (&TaskId, &Chore)| {
                id.component == cid && chore.kind == TaskKind::Build && chore.told.is_none()
            };
            assert!(!self.chores.living.iter().any(building), "{name} starts while it is built");
        }
        self.chores.changed.remove(&cid);
        self.chores.sound.insert(cid);
    }

    /// A change may stop what runs only after a build that was good, and saw it.
    pub(crate) fn may_stop_for_a_change(&self, name: &Name) {
        let Some(cid) = self.core_find(name) else { return };
        let life = self.lives.iter().rev().find(|(run, _)| run.component == cid).map(|(_, life)| life);
        let built = |spec: &Arc<Component>| spec.build.is_some();
        if self.declared.get(name).is_some_and(built)
            && life.is_some_and(|life| built(&life.spec))
            && !self.edited
        {
            let good = self.chores.judged.get(&cid).is_some_and(|(_, good)| *good);
            assert!(good, "{name} is stopped by a change before a good build");
        }
    }

    /// It was stopped: what is started next is built as at first.
    pub(crate) fn stopped_for_good(&mut self, name: &Name) {
        if let Some(cid) = self.core_find(name) {
            self.chores.sound.remove(&cid);
        }
    }

    /// Only what rests lets go of what was held for it.
    pub(crate) fn may_release(&self, cid: Cid) {
        let lives = self.lives.iter().find(|(run, life)| run.component == cid && !life.told_gone);
        assert!(lives.is_none(), "{:?} is released while {:?} lives", cid, lives.map(|(run, _)| run));
    }

    /// What is being built is what is declared.
    pub(crate) fn nothing_else_is_built(&self) {
        let builds = self.chores.living.values().filter(|chore| chore.kind == TaskKind::Build);
        for chore in builds.filter(|chore| chore.told.is_none()) {
            let declared = self.project.components.iter().find(|spec| spec.name == chore.name);
            let same = declared.is_some_and(|spec| builds_the_same(spec, &chore.spec));
            assert!(same, "{} is built as it is not declared any more", chore.name);
        }
    }

    /// Nobody has failed by a build that is not declared any more.
    pub(crate) fn no_old_build_has_failed(&self) {
        for view in self.core.views().filter(|view| view.state.word() == "failed") {
            let Some(cid) = self.core_find(&view.name) else { continue };
            let (failed, now) = (self.chores.failed_as.get(&cid), self.declared.get(&view.name));
            let by_build = view.reason.starts_with("its build failed");
            if let (Some(failed), Some(now), true) = (failed, now, by_build) {
                assert!(builds_the_same(failed, now), "{} has failed by an old build", view.name);
            }
        }
    }

    /// Whether an edit of what is built waits for a good build, and what ran before goes on.
    pub(crate) fn waits_for_a_good_build(&self, ran: &Component, spec: &Component) -> bool {
        let failed = self.core_find(&spec.name).is_some_and(|cid| self.chores.failed_as.contains_key(&cid));
        spec.build.is_some() && failed && !builds_the_same(ran, spec)
    }

    /// All of them are lost with the keeper.
    pub(crate) fn chores_lost(&mut self) {
        for id in self.chores.living.keys().copied().collect::<Vec<_>>() {
            let ms = self.dice.upto(3);
            self.later_task(ms, TaskTodo::Ends(id, TaskEnd::Lost));
        }
    }

    pub(crate) fn no_chore_is_left(&self) {
        assert!(self.chores.open.is_empty(), "begun, and no end recorded: {:?}", self.chores.open);
        for chore in self.chores.living.values() {
            assert!(
                chore.told.is_some(),
                "{}: {:?} is left, and was never told to end",
                chore.name,
                chore.kind
            );
            assert_ne!(self.exited, Some(0), "{}: {:?} is left, but all is well", chore.name, chore.kind);
        }
    }

    // ── Health, and what a component says ──────────────────────────────────────────────────────────────

    pub(crate) fn check_health(&mut self, run: RunId, spec: &Component, asked: u64) {
        let Some(life) = self.lives.get_mut(&run) else { panic!("{run}: a check of what was never started") };
        assert!(life.told_spawned && !life.told_gone && !life.asked, "{}: checked at its end", life.name);
        assert!(asked > life.pulse.asked, "{}: asked for under a number that was given before", life.name);
        (life.pulse.row, life.pulse.asked) = (0, asked);
        if spec.health.as_ref().is_some_and(|health| !matches!(health.check, HealthCheck::Watchdog(_))) {
            let left = self.dice.upto(10);
            let ms = 1 + self.dice.upto(500);
            self.later_task(ms, TaskTodo::Check(run, asked, left));
        }
    }

    fn health_tried(&mut self, run: RunId, asked: u64, left: u64) {
        let Some(life) = self.lives.get_mut(&run) else { return };
        if !life.unit_alive || life.asked || left == 0 || self.is_calm() {
            return;
        }
        let unwell = self.dice.percent(60);
        let Some(life) = self.lives.get_mut(&run) else { return };
        // An answer to what was asked before an edit may still be on its way; it says nothing.
        let late = life.pulse.asked != asked;
        life.pulse.row = match unwell {
            _ if late => life.pulse.row,
            true => life.pulse.row + 1,
            false => 0,
        };
        let error = "refused".to_owned();
        let event = if unwell { RunEvent::Unwell { asked, error } } else { RunEvent::Well { asked } };
        let left = if late { 1 } else { left };
        self.tell(Event::Run(run, event));
        let ms = 1 + self.dice.upto(500);
        self.later_task(ms, TaskTodo::Check(run, asked, left - 1));
    }

    /// From now on it has to be heard of, if that is declared; mostly it is.
    pub(crate) fn pulse_begins(&mut self, run: RunId) {
        let now = self.now;
        let Some(life) = self.lives.get_mut(&run) else { return };
        life.pulse.silent_at = life.pulse.every.map(|every| now + every);
        if life.pulse.every.is_some() {
            let left = if self.is_calm() || self.dice.percent(50) { u64::MAX } else { self.dice.upto(10) };
            self.later_task(0, TaskTodo::Ping(run, left));
        }
    }

    fn pings(&mut self, run: RunId, left: u64) {
        let now = self.now;
        let Some(life) = self.lives.get_mut(&run).filter(|life| life.leader_alive && left > 0) else {
            return;
        };
        let Some(every) = life.pulse.every else { return };
        if life.pulse.silent_at.is_some() {
            life.pulse.silent_at = Some(now + every);
        }
        self.tell(Event::Run(run, RunEvent::Notice(Notice::Watchdog)));
        let ms = u64::try_from(every.as_millis() / 2).unwrap().max(50);
        self.later_task(ms, TaskTodo::Ping(run, left - 1));
    }

    /// Some component says something.
    pub(crate) fn somebody_speaks(&mut self) {
        let there = |(_, life): &(&RunId, &Life)| {
            (life.leader_alive || life.left && life.unit_alive)
                && life.told_spawned
                && life.temper_is_a_process()
        };
        let living: Vec<RunId> = self.lives.iter().filter(there).map(|(run, _)| *run).collect();
        let Some(run) = self.dice.pick(&living).copied() else { return };
        let some = Duration::from_millis(self.dice.upto(3_000));
        let notice = match self.dice.upto(9) {
            0 => Notice::Ready,
            1 => Notice::Reloading,
            2 => Notice::Stopping,
            3 => Notice::Status("busy".to_owned()),
            4 => Notice::Broken,
            5 => Notice::WatchdogEvery(some),
            6 => Notice::MainPid(8),
            7 => Notice::Watchdog,
            _ => Notice::Extend(some),
        };
        self.means(run, &notice);
        self.tell(Event::Run(run, RunEvent::Notice(notice)));
    }

    /// What is so from now on.
    fn means(&mut self, run: RunId, notice: &Notice) {
        let (now, stop) = (self.now, self.core_stop(run.component));
        let spoken = self.core_state(run.component);
        let Some(life) = self.lives.get_mut(&run) else { return };
        let up = !life.asked && !life.pulse.leaving && life.told_exit.is_none();
        match notice {
            Notice::Ready => life.pulse.reloading = false,
            Notice::Reloading => life.pulse.reloading |= up && spoken == Some("ready"),
            Notice::Stopping if up => {
                (life.pulse.leaving, life.kill_by) = (true, Some(now + stop));
                let ms = self.dice.upto(4_000);
                self.later_end(ms, run, Exit::Code(0));
            }
            Notice::WatchdogEvery(every) => {
                life.pulse.every = (!every.is_zero()).then_some(*every);
                if spoken == Some("ready") || life.pulse.silent_at.is_some() {
                    life.pulse.silent_at = life.pulse.every.map(|every| now + every);
                }
            }
            Notice::Watchdog if life.pulse.silent_at.is_some() => {
                life.pulse.silent_at = life.pulse.every.map(|every| now + every);
            }
            Notice::Extend(more) => {
                if let Some(by) = &mut life.kill_by {
                    *by = (now + *more).max(*by);
                }
            }
            _ => {}
        }
    }

    /// What does not live as it should is not left running, unless it is to end anyway.
    pub(crate) fn nobody_is_left_unwell(&self) {
        for (run, life) in &self.lives {
            if life.asked || life.pulse.leaving || life.told_exit.is_some() || life.told_gone || life.killed {
                continue;
            }
            let health = self.declared.get(&life.name).and_then(|spec| spec.health.as_ref());
            let unwell = health.is_some_and(|health| life.pulse.row >= health.retries);
            let silent = life.pulse.silent_at.is_some_and(|at| at < self.now);
            let to_end = || {
                let told = self.core.explain(run.component);
                told.is_some_and(|told| matches!(told.course, Course::ToEnd { .. }))
            };
            assert!(
                !(unwell || silent) || to_end(),
                "{}: left running, unwell {unwell}, silent {silent}",
                life.name
            );
        }
    }

    /// An edit of what is watched over; a watchdog that it adds is for the next run.
    pub(crate) fn pulses_edited(&mut self, before: &BTreeMap<Name, Arc<Component>>) {
        let watchdog = |spec: Option<&Arc<Component>>| {
            spec.and_then(|spec| spec.health.as_ref())
                .is_some_and(|health| matches!(health.check, HealthCheck::Watchdog(_)))
        };
        for life in self.lives.values_mut() {
            let (old, new) = (before.get(&life.name), self.declared.get(&life.name));
            if old.map(|spec| &spec.health) != new.map(|spec| &spec.health) {
                life.pulse.row = 0;
            }
            if watchdog(old) && !watchdog(new) {
                (life.pulse.every, life.pulse.silent_at) = (None, None);
            }
        }
    }

    pub(crate) fn pulse_of(spec: &Component) -> Pulse {
        let every = spec.health.as_ref().and_then(|health| match health.check {
            HealthCheck::Watchdog(every) => Some(every),
            _ => None,
        });
        Pulse { every, ..Pulse::default() }
    }

    /// A new image gives those that it watches over their time anew.
    pub(crate) fn pulses_anew(&mut self) {
        let now = self.now;
        for life in self.lives.values_mut() {
            if life.pulse.silent_at.is_some() {
                life.pulse.silent_at = life.pulse.every.map(|every| now + every);
            }
        }
    }
}
