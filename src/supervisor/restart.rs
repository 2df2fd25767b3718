//! Automatic restarts: whether, and after what wait (contract, section 3, "Restarts").

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

use super::explain::Restarts;
use super::rng::Rng;
use crate::config::model::Restart;
use crate::types::Time;

/// Having been ready for so long, a component that fails is restarted at once.
const SOUND: Duration = Duration::from_secs(1);

/// What a component's automatic restarts were so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Ends in a row.
    row: u32,
    /// When the restarts were that still count against the limit.
    recent: VecDeque<Time>,
    /// Automatic restarts since `up`, of those that came to be.
    pub(crate) total: u32,
    /// One was decided, and has not begun yet.
    due: bool,
}

/// What follows from an end that the policy answers with a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after so long; zero: at once.
    After(Duration),
    /// The limit is reached.
    GiveUp,
}

impl Ledger {
    /// Forgets the row and the limit's count, as a command does; the total stays.
    pub(crate) fn clear(&mut self) {
        self.row = 0;
        self.recent.clear();
        self.due = false;
    }

    /// Something else than the restart that was decided has it start.
    pub(crate) fn overtaken(&mut self) {
        // It was no automatic restart, and so counts for none.
        if std::mem::take(&mut self.due) {
            self.recent.pop_back();
        }
    }

    /// A run begins.
    pub(crate) fn begun(&mut self) {
        self.total = self.total.saturating_add(u32::from(std::mem::take(&mut self.due)));
    }

    /// Judges an end at `now` of a run that had been ready for `ready`.
    pub(crate) fn judge(&mut self, now: Time, ready: Duration, rules: &Restart, rng: &mut Rng) -> Verdict {
        if ready >= rules.backoff.max {
            self.clear();
        }
        while self.recent.front().is_some_and(|then| now.since(*then) > rules.limit.within) {
            self.recent.pop_front();
        }
        if self.recent.len() >= rules.limit.count as usize {
            return Verdict::GiveUp;
        }
        self.recent.push_back(now);
        self.row = self.row.saturating_add(1);
        self.due = true;
        Verdict::After(if ready >= SOUND { Duration::ZERO } else { self.wait(rules, rng) })
    }

    /// Counts a restart that was not judged.
    pub(crate) fn count(&mut self, now: Time) {
        self.recent.push_back(now);
        self.due = true;
    }

    /// How it stands at `now`.
    pub(crate) fn told(&self, now: Time, rules: &Restart) -> Restarts {
        let recent = self.recent.iter().filter(|then| now.since(**then) <= rules.limit.within).count();
        let recent = u32::try_from(recent).unwrap_or(u32::MAX);
        let (limit, within) = (rules.limit.count, rules.limit.within);
        Restarts { total: self.total, row: self.row, recent, limit, within }
    }

    fn wait(&self, rules: &Restart, rng: &mut Rng) -> Duration {
        let backoff = rules.backoff;
        let growth = backoff.factor.powf(f64::from(self.row.saturating_sub(1)));
        // An infinite growth of nothing is nothing.
        let seconds = (backoff.initial.as_secs_f64() * growth.min(f64::MAX)).min(backoff.max.as_secs_f64());
        let jitter = 1.0 + backoff.jitter * (2.0 * rng.unit() - 1.0);
        Duration::try_from_secs_f64(seconds * jitter).unwrap_or(backoff.max).min(backoff.max)
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Ledger, Restart, Rng, Time, Verdict};

    fn rules() -> Restart {
        let mut rules = Restart::default();
        rules.backoff.jitter = 0.0;
        rules
    }

    #[test]
    fn waits_grow_by_the_factor_and_the_limit_ends_them() {
        let (mut ledger, mut rng) = (Ledger::default(), Rng::new(1));
        for ms in [100, 200, 400, 800, 1600] {
            let verdict = ledger.judge(Time(0), Duration::ZERO, &rules(), &mut rng);
            assert_eq!(verdict, Verdict::After(Duration::from_millis(ms)));
        }
        assert_eq!(ledger.judge(Time(0), Duration::ZERO, &rules(), &mut rng), Verdict::GiveUp);
        let later = Time(0) + Duration::from_secs(61);
        let verdict = ledger.judge(later, Duration::ZERO, &rules(), &mut rng);
        assert_eq!(
            verdict,
            Verdict::After(Duration::from_millis(3200)),
            "the row goes on, the count does not"
        );
    }

    #[test]
    fn what_was_decided_and_never_came_is_no_restart() {
        let (mut ledger, mut rng) = (Ledger::default(), Rng::new(1));
        ledger.begun();
        let mut fail = |ledger: &mut Ledger| ledger.judge(Time(0), Duration::ZERO, &rules(), &mut rng);
        fail(&mut ledger);
        assert_eq!(ledger.total, 0, "it waits");
        ledger.begun();
        assert_eq!(ledger.total, 1);
        fail(&mut ledger);
        ledger.overtaken();
        assert_eq!(ledger.recent.len(), 1, "it does not count against the limit either");
        ledger.begun();
        fail(&mut ledger);
        ledger.clear();
        ledger.begun();
        assert_eq!(ledger.total, 1, "a change and a command came first");
    }

    #[test]
    fn a_sound_run_restarts_at_once_and_a_long_one_clears_the_row() {
        let (mut ledger, mut rng) = (Ledger::default(), Rng::new(1));
        let mut judge = |ready| ledger.judge(Time(0), Duration::from_millis(ready), &rules(), &mut rng);
        assert_eq!(judge(0), Verdict::After(Duration::from_millis(100)));
        assert_eq!(judge(1000), Verdict::After(Duration::ZERO));
        assert_eq!(judge(999), Verdict::After(Duration::from_millis(400)));
        assert_eq!(judge(10_000), Verdict::After(Duration::ZERO));
        assert_eq!(judge(0), Verdict::After(Duration::from_millis(200)));
    }

    #[test]
    fn jitter_stays_within_its_share_and_under_the_most() {
        let mut rng = Rng::new(7);
        let jittery = Restart::default();
        for _ in 0..100 {
            let Verdict::After(wait) = Ledger::default().judge(Time(0), Duration::ZERO, &jittery, &mut rng)
            else {
                panic!("no limit is reached");
            };
            assert!((90..=110).contains(&wait.as_millis()), "{wait:?}");
        }
    }
}
