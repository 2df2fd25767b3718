//! What the end of a command beside a run leads to: it is recorded, once for each beginning, and perhaps another one of
//! its kind follows.

use super::Supervisor;
use super::builds::BUILDING;
use super::ending::{LOST, explain};
use super::phase::Phase;
use super::record::What;
use super::slot::{Why, is_thread};
use super::tasks::{QUIETLY, Quietly, Step, Task, ToEnd};
use crate::types::{Cid, TaskEnd, TaskFailure, TaskId};

/// Why one is not awaited any more that was told to end.
const GIVEN_UP: &str = "it was killed, and has not ended";

impl Supervisor {
    /// A task has ended; one that nobody knows any more changes nothing.
    pub(super) fn task_ended(&mut self, id: TaskId, end: TaskEnd) {
        let cid = id.component;
        let Some(slot) = self.slot_mut(cid) else { return };
        if slot.stop_task.as_ref().is_some_and(|task| task.id == id) {
            return self.stop_task_ended(cid, end);
        }
        for kind in QUIETLY {
            let Some(slot) = self.slot_mut(cid) else { return };
            let beside = slot.beside(kind);
            let Some(task) = beside.task().filter(|task| task.id == id).cloned() else { continue };
            beside.step = Step::Idle;
            let again = std::mem::take(&mut beside.again);
            self.recount_tasks(cid);
            // What waits for the end of it alone: to be forgotten, to end the project.
            self.wake(cid);
            return self.beside_ended(cid, kind, &task, end, again);
        }
    }

    fn beside_ended(&mut self, cid: Cid, kind: Quietly, task: &Task, end: TaskEnd, again: bool) {
        let Some(slot) = self.slot_mut(cid) else { return };
        // What a change runs has lost its run, too, if that is a process.
        let stays = kind == Quietly::Build || is_thread(&slot.spec);
        let counts = task.end == ToEnd::No;
        let lost = counts && end == TaskEnd::Lost;
        // Who kills the keeper each time is not begun for ever.
        let twice = std::mem::replace(&mut slot.beside(kind).lost, lost) && lost;
        let failed = |reason: String| Some(TaskFailure { reason, ..TaskFailure::default() });
        let failure = match end {
            _ if !counts => return self.said_nothing(cid, kind, task, again),
            TaskEnd::Lost if stays && !twice => return self.task_lost(cid, kind, task),
            TaskEnd::Lost => failed(explain(&Why::Lost)),
            TaskEnd::Done => None,
            TaskEnd::Failed(failure) => Some(failure),
            TaskEnd::Ended => failed("it was ended".to_owned()),
        };
        slot.beside(kind).lost = false;
        let told = self.tell_end(cid, kind, task, failure);
        match kind {
            Quietly::Build => self.built(cid, told),
            Quietly::OnChange if again => self.begin_again(cid, kind),
            Quietly::OnChange => {}
        }
    }

    /// One that was told to end has ended, however that was.
    fn said_nothing(&mut self, cid: Cid, kind: Quietly, task: &Task, again: bool) {
        let reason = if again { "it is to begin anew" } else { "it is not wanted any more" };
        self.tell_ended(cid, kind, task, reason, None);
        if again {
            // It may have been given up, and waited for.
            self.building_because(cid, BUILDING.to_owned());
            self.begin_again(cid, kind);
        }
    }

    /// One was lost with the keeper, and begins anew: it says nothing of what it is for.
    fn task_lost(&mut self, cid: Cid, kind: Quietly, task: &Task) {
        let told = self.tell_ended(cid, kind, task, LOST, None);
        let Some(slot) = self.slot_mut(cid) else { return };
        slot.beside(kind).cause = told;
        self.building_because(cid, format!("{LOST}, and its build with it, which begins anew"));
        self.begin_again(cid, kind);
    }

    /// Another one follows, if it is still wanted.
    fn begin_again(&mut self, cid: Cid, kind: Quietly) {
        let Some(slot) = self.slot(cid) else { return };
        // A build that is not wanted any more is not to begin again, since nothing is.
        if kind == Quietly::Build || slot.may_follow() {
            self.settle_task(cid, kind);
        }
    }

    /// Records the end of a task that says nothing, unless that was done when it was given up.
    fn tell_ended(
        &mut self,
        cid: Cid,
        kind: Quietly,
        task: &Task,
        reason: &'static str,
        cause: Option<u64>,
    ) -> Option<u64> {
        let (took, of) = (self.now.since(task.since), kind.of());
        let began = self.slot_mut(cid)?.beside(kind).began.take()?;
        Some(self.tell_task(cid, cause.or(Some(began)), What::TaskEnded { kind: of, took, reason }))
    }

    /// The project ends, and waits for no task any more.
    pub(super) fn tasks_left(&mut self, cause: Option<u64>) {
        for cid in self.cids() {
            for kind in QUIETLY {
                let Some(slot) = self.slot_mut(cid) else { continue };
                if let Some(task) = slot.beside(kind).task().cloned() {
                    self.tell_ended(cid, kind, &task, "the project has ended", cause);
                }
            }
        }
    }

    /// Records how a task ended.
    fn tell_end(
        &mut self,
        cid: Cid,
        kind: Quietly,
        task: &Task,
        failure: Option<TaskFailure>,
    ) -> Option<u64> {
        let (took, of) = (self.now.since(task.since), kind.of());
        let slot = self.slot_mut(cid)?;
        let beside = slot.beside(kind);
        let began = beside.began.take();
        beside.failed.clone_from(&failure);
        let what = match failure {
            None => What::TaskSucceeded { kind: of, took },
            Some(failure) => What::TaskFailed { kind: of, took, failure },
        };
        Some(self.tell_task(cid, began, what))
    }

    /// One that was told to end does not, and holds up nothing but the next of its kind any more.
    pub(super) fn task_given_up(&mut self, cid: Cid, kind: Quietly, task: &Task) {
        self.tell_ended(cid, kind, task, GIVEN_UP, None);
        if kind == Quietly::Build {
            self.building_because(cid, format!("the next build waits for the last one: {GIVEN_UP}"));
        }
        self.recount_tasks(cid);
    }

    /// How it is with the build of one that waits for that.
    fn building_because(&mut self, cid: Cid, reason: String) {
        if self.slot(cid).is_some_and(|slot| matches!(slot.phase, Phase::Building(_))) {
            self.show(cid, reason, None);
        }
    }
}
