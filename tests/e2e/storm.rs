//! The storm: orch, its components and its keeper are killed again and again, at random moments of save and
//! restore, and at each system call of both; after each kill, and at the end, the [`oracle`] looks at every state
//! that a component was ever given.
//!
//! What may be lost, and when (contract, section 5):
//!
//! - A component is killed: what it wrote in place since its last ordered stop. What it put in place by rename
//!   counts, the last one, too.
//! - orch is killed: what was not sealed yet. What came by rename was sealed at once, but for the last moment:
//!   nobody can tell afterwards how a file came that orch did not see come, so it goes to quarantine. With
//!   `atomic: true` the component vouches for it, and nothing that it put in place is lost.
//! - What an ordered stop has handed over is used up when a run has become ready with it. Where that run has saved
//!   nothing, the next one starts afresh after a crash.
//! - What two starts were cut short with may be poisoned.
//! - Nothing else, never.

mod oracle;
mod syscalls;

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Orch, Project, SLACK, alive, kill_9, send, wait_for, wait_until};
use oracle::{Habit, History, Kill, Tally};

/// So many kills; `ORCH_KILLS=1000` for a long run.
fn kills() -> usize {
    std::env::var("ORCH_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(15)
}

/// The kills are dealt out to projects, each of which begins with nothing.
const KILLS_A_PROJECT: usize = 50;

const HABITS: [Habit; 5] = [
    Habit { name: "plain", renames: false, atomic: false, probed: false, max_age: None },
    Habit { name: "moved", renames: true, atomic: false, probed: true, max_age: None },
    Habit { name: "busy", renames: true, atomic: false, probed: false, max_age: None },
    Habit { name: "sure", renames: true, atomic: true, probed: true, max_age: None },
    Habit { name: "brief", renames: true, atomic: false, probed: false, max_age: Some(BRIEF) },
];

const BRIEF: Duration = Duration::from_millis(300);

const YAML: &str = "
defaults:
  restart: { backoff: { initial: 5ms, max: 5ms, jitter: 0 }, limit: { count: 1000000, within: 1h } }
  watch: { settle: 5ms }
components:
  plain: { process: ./faulty live place 0, watch: [source], state: plain.state }
  moved:
    process: ./faulty live rename 0
    watch: [source]
    state: moved.state
    ready: { file: moved.ready, interval: 10ms, timeout: 1m }
  busy: { process: ./faulty live rename 20, watch: [source], state: busy.state }
  sure:
    process: ./faulty live rename 25
    watch: [source]
    state: { file: sure.state, atomic: true, max_age: never }
    ready: { file: sure.ready, interval: 10ms, timeout: 1m }
  brief: { process: ./faulty live rename 30, watch: [source], state: { file: brief.state, max_age: 300ms } }
  clock: { thread: ticker, with: { every: 3ms }, watch: [source], state: true }
";

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn micros(&mut self, limit_ms: u64) -> Duration {
        Duration::from_micros(self.below(limit_ms * 1000))
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

#[test]
fn whatever_is_killed_whenever_no_state_is_torn_foreign_stale_or_used_twice() {
    let seed = std::env::var("ORCH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let (mut left, mut tally, begun) = (kills(), Tally::default(), Instant::now());
    while left > 0 {
        let count = left.min(KILLS_A_PROJECT);
        let seed = seed + left as u64;
        eprintln!("{count} kills with ORCH_SEED={seed}, {left} to go, {:.0?}", begun.elapsed());
        let project = Project::new(YAML);
        tally.add(&Storm::new(&project, seed).rage(count));
        left -= count;
    }
    eprintln!("{tally:#?} in {:.0?}", begun.elapsed());
    assert!(tally.is_telling(), "{tally:#?}");
}

/// A project in the storm.
struct Storm<'a> {
    project: &'a Project,
    orch: Orch<'a>,
    dice: Dice,
    history: History,
    saves: u64,
}

impl<'a> Storm<'a> {
    fn new(project: &'a Project, seed: u64) -> Self {
        let orch = project.up();
        Self { project, orch, dice: Dice(seed), history: History::default(), saves: 0 }
    }

    /// Kills so often, lets all come to rest, and judges.
    fn rage(mut self, count: usize) -> Tally {
        self.all_live();
        while self.history.kills.len() < count {
            self.round();
        }
        self.all_live();
        self.orch.stop();
        let last = self.history.runs(self.project);
        // All is calm now: whatever an ordered stop hands over is there at the next start.
        self.orch = self.project.up();
        self.all_live();
        self.orch.stop();
        self.history.expect_handed_over(self.project, &HABITS, &last);
        self.project.check_books();
        self.history.judge(self.project, &HABITS)
    }

    /// Something happens, and in the middle of it somebody is killed.
    fn round(&mut self) {
        match self.dice.below(100) {
            0..50 => self.save(),
            50..65 => self.orch.signal(Signal::TERM),
            // In the middle of what the last kill has led to, or of nothing.
            _ => {}
        }
        let delay = self.dice.micros(120);
        std::thread::sleep(delay);
        match self.dice.below(100) {
            0..40 => self.kill_orch(false, false),
            40..55 => self.kill_orch(true, false),
            55..60 => self.kill_orch(false, true),
            60..70 => self.kill_keeper(),
            _ => self.kill_component(),
        }
        if !self.orch.runs() {
            self.up_again();
        }
        if self.dice.percent(75) {
            self.all_live();
        }
    }

    fn save(&mut self) {
        self.saves += 1;
        self.project.write("source", self.saves.to_string());
        if self.dice.percent(50) {
            // As near as can be to what follows the save of one of them.
            let (before, name) = (self.count_saved(), self.dice.below(HABITS.len() as u64) as usize);
            let end = Instant::now() + Duration::from_millis(100);
            while self.count_saved()[name] == before[name] && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(self.dice.micros(10));
        }
    }

    /// How much there is of each one's state file, changed whenever it is replaced.
    fn count_saved(&self) -> Vec<Option<std::time::SystemTime>> {
        let modified = |habit: &Habit| {
            fs::metadata(self.project.path(&format!("{}.state", habit.name))).ok()?.modified().ok()
        };
        HABITS.iter().map(modified).collect()
    }

    fn kill_component(&mut self) {
        let units = self.project.units();
        if units.is_empty() {
            return;
        }
        let pid = units[self.dice.below(units.len() as u64) as usize];
        self.history.kill(Kill::Component(pid));
        kill_9(pid);
        wait_until("it is dead", || !alive(pid));
    }

    fn kill_keeper(&mut self) {
        if !self.orch.runs() {
            return;
        }
        let of_orch = self.project.orchs().into_iter().find(|pid| *pid != self.orch.pid());
        if let Some(keeper) = of_orch {
            let units = self.project.units();
            self.history.kill(Kill::Keeper);
            kill_9(keeper);
            wait_until("its units are dead", || !units.iter().any(|pid| alive(*pid)));
        }
    }

    /// Kills orch, and a component or the keeper in the same moment.
    fn kill_orch(&mut self, component: bool, keeper: bool) {
        if !self.orch.runs() {
            return;
        }
        if component {
            self.kill_component();
        }
        let others = self.project.orchs().into_iter().filter(|pid| *pid != self.orch.pid());
        let keepers: Vec<u32> = others.filter(|_| keeper).collect();
        self.history.kill(Kill::Orch);
        let since = Instant::now();
        if !keepers.is_empty() {
            // Stopped, neither sees the other's end.
            self.orch.signal(Signal::STOP);
            keepers.iter().for_each(|pid| send(*pid, Signal::STOP));
            self.history.kill(Kill::Keeper);
            keepers.iter().for_each(|pid| kill_9(*pid));
        }
        self.orch.kill();
        if keepers.is_empty() {
            self.project.wait_gone();
            let took = since.elapsed();
            self.history.tally.slowest_end = self.history.tally.slowest_end.max(took);
            assert!(took < SLACK * Duration::from_secs(1), "the units outlived orch by {took:?}");
        }
    }

    /// After orch's end: all that it has left is sound, and the next one goes on with it.
    fn up_again(&mut self) {
        let killed = !self.orch.exit_status().success();
        self.history.look_at_disk(self.project, &HABITS);
        verify(self.project);
        if self.dice.percent(8) {
            std::thread::sleep(BRIEF + Duration::from_millis(1300));
        }
        if killed {
            self.history.up_after_kill();
        }
        self.orch = self.project.up();
    }

    /// Waits until the last run of every component lives and has looked for its state.
    fn all_live(&mut self) {
        if !self.orch.runs() {
            // It was told to stop, and has.
            self.up_again();
        }
        let end = Instant::now() + Duration::from_secs(3);
        let live = |project: &Project, history: &History| {
            let runs = history.runs(project);
            HABITS.iter().all(|habit| {
                runs.iter()
                    .rev()
                    .find(|run| run.name == habit.name)
                    .is_some_and(|run| run.given.is_some() && alive(run.pid))
            })
        };
        wait_for("all live", || {
            if !self.orch.runs() && Instant::now() < end {
                self.up_again();
            }
            live(self.project, &self.history).then_some(())
        });
    }
}

/// `orch state verify` finds nothing.
fn verify(project: &Project) {
    let found = project.run(&["state", "verify"]);
    let said = String::from_utf8_lossy(&[found.stdout, found.stderr].concat()).into_owned();
    assert_eq!(found.status.code(), Some(0), "{said}");
    wait_until("the keeper is done", || project.orchs().is_empty());
}
