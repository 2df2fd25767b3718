//! What the components' diary says of every state that they were given. It owes nothing to what orch believes,
//! but for one thing: whether orch took a run for ready is known from its events alone.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::harness::{Project, wait_until};

/// How a component treats its state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habit {
    pub(super) name: &'static str,
    /// It replaces its file by rename, always.
    pub(super) renames: bool,
    /// And orch knows.
    pub(super) atomic: bool,
    /// It is ready when it says so, not as soon as it runs.
    pub(super) probed: bool,
    pub(super) max_age: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill {
    Orch,
    Keeper,
    Component(u32),
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kills_of_orch: usize,
    kills_of_the_keeper: usize,
    kills_of_a_component: usize,
    runs: usize,
    states_saved: usize,
    states_given: usize,
    /// Runs that started afresh, and had to or could.
    afresh: usize,
    /// Of what was in place, and was not given to the next run: in all, and in number of runs.
    saves_lost: u64,
    runs_that_lost: u64,
    /// Losses that only a state's poisoning allows.
    perhaps_poisoned: usize,
    pub(super) slowest_end: Duration,
}

impl Tally {
    /// Whether there was anything to judge.
    pub(super) fn is_telling(&self) -> bool {
        self.states_given > self.kills_of_orch && self.kills_of_orch > 0 && self.afresh > 0
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.kills_of_orch += other.kills_of_orch;
        self.kills_of_the_keeper += other.kills_of_the_keeper;
        self.kills_of_a_component += other.kills_of_a_component;
        self.runs += other.runs;
        self.states_saved += other.states_saved;
        self.states_given += other.states_given;
        self.afresh += other.afresh;
        self.saves_lost += other.saves_lost;
        self.runs_that_lost += other.runs_that_lost;
        self.perhaps_poisoned += other.perhaps_poisoned;
        self.slowest_end = self.slowest_end.max(other.slowest_end);
    }
}

/// One run of a component, by its own word.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) pid: u32,
    start: u64,
    /// The time of its last word.
    last: u64,
    /// When it has looked, and what it has found: a serial number, and where it comes from.
    pub(super) given: Option<(u64, Option<(u64, String)>)>,
    says_ready: bool,
    /// The states that it has written whole, and the last that it has put in place.
    whole: Vec<u64>,
    saved: Option<u64>,
    exited: bool,
}

/// What was done to a project.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) kills: Vec<(u64, Kill)>,
    /// When an orch was started after one that was killed. What started before it, the killed one has started.
    ups: Vec<u64>,
    /// After each end of orch: when, and the newest state of each component in the store.
    disk: Vec<(u64, BTreeMap<&'static str, u64>)>,
    pub(super) tally: Tally,
}

/// The clock of the diary.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Longer than a component takes to be spawned, and to look for its state.
const MOMENT: u64 = 1_000_000_000;

impl History {
    /// Notes a kill, which is about to come.
    pub(super) fn kill(&mut self, what: Kill) {
        match what {
            Kill::Orch => self.tally.kills_of_orch += 1,
            Kill::Keeper => self.tally.kills_of_the_keeper += 1,
            Kill::Component(_) => self.tally.kills_of_a_component += 1,
        }
        self.kills.push((now(), what));
    }

    /// Reads the newest generation of each component, as the contract describes the file.
    pub(super) fn look_at_disk(&mut self, project: &Project, habits: &[Habit]) {
        wait_until("the keeper is done", || project.orchs().is_empty());
        let newest = |habit: &Habit| Some((habit.name, newest_on_disk(project, habit.name)?));
        self.disk.push((now(), habits.iter().filter_map(newest).collect()));
    }

    /// All runs, in the order of their starts.
    pub(super) fn runs(&self, project: &Project) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for entry in project.trace().0 {
            if entry.event == "start" {
                runs.push(Run {
                    number: entry.detail.parse().unwrap(),
                    name: entry.name,
                    pid: entry.pid,
                    start: entry.ns,
                    last: entry.ns,
                    given: None,
                    says_ready: false,
                    whole: Vec::new(),
                    saved: None,
                    exited: false,
                });
                continue;
            }
            let run = runs.iter_mut().rev().find(|run| run.pid == entry.pid && run.name == entry.name);
            let Some(run) = run else { continue };
            run.last = entry.ns;
            let serial = || entry.detail.parse::<u64>().unwrap();
            match entry.event.as_str() {
                "given" => {
                    let (what, from) = entry.detail.split_once(' ').unwrap();
                    run.given = Some((entry.ns, what.parse().ok().map(|serial| (serial, from.to_owned()))));
                }
                "says" => run.says_ready = true,
                "whole" => run.whole.push(serial()),
                "saved" => run.saved = Some(serial()),
                "exit" => run.exited = true,
                "bad" => panic!("{entry:?}"),
                _ => {}
            }
        }
        runs
    }

    /// Since `last`, there was an ordered stop, and a start: each component goes on with its last state.
    pub(super) fn expect_handed_over(&self, project: &Project, habits: &[Habit], last: &[Run]) {
        let runs = self.runs(project);
        for habit in habits.iter().filter(|habit| habit.max_age.is_none()) {
            let of = |runs: &[Run]| runs.iter().rev().find(|run| run.name == habit.name).cloned().unwrap();
            let (before, after) = (of(last), of(&runs));
            assert!(before.exited && after.number > before.number, "{before:?} {after:?}");
            let given = after.given.and_then(|(_, what)| what);
            assert_eq!(given, before.saved.map(|serial| (serial, "restart".to_owned())), "{}", habit.name);
        }
    }

    /// Looks at every state that was given.
    pub(super) fn judge(mut self, project: &Project, habits: &[Habit]) -> Tally {
        let runs = self.runs(project);
        let ready = ready(project);
        for habit in habits {
            let own: Vec<&Run> = runs.iter().filter(|run| run.name == habit.name).collect();
            let mut tally = Tally::default();
            Judge { habit, history: &self, ready: &ready, runs: &own }.judge(&mut tally);
            self.tally.add(&tally);
        }
        let kills = |kill: &Kill| *kill == Kill::Orch;
        let kills = self.kills.iter().filter(|(_, kill)| kills(kill)).count();
        judge_uses(&project.events());
        judge_ticks(&project.read(".orch/logs/clock.log"), kills);
        self.tally
    }

    /// Notes that orch is about to be started after one that was killed.
    pub(super) fn up_after_kill(&mut self) {
        self.ups.push(now());
    }

    /// How often orch was killed between two starts.
    fn orch_kills(&self, from: u64, to: u64) -> usize {
        self.ups.iter().filter(|at| (from..to).contains(at)).count()
    }

    /// Whether this process may have been killed in this time.
    fn is_victim(&self, pid: u32, from: u64, to: u64) -> bool {
        let fits = |kill: &Kill| [Kill::Orch, Kill::Keeper, Kill::Component(pid)].contains(kill);
        // The process may have been there before it said so.
        let time = from.saturating_sub(MOMENT)..to;
        self.kills.iter().any(|(at, kill)| time.contains(at) && fits(kill))
    }
}

/// When orch took which run for ready.
fn ready(project: &Project) -> BTreeMap<(String, u64), u64> {
    let events = project.events().into_iter().filter(|event| event["event"] == "component.ready");
    let key = |event: &serde_json::Value| {
        let (name, run) = (event["component"].as_str()?.to_owned(), event["incarnation"].as_u64()?);
        Some(((name, run), event["mono_ns"].as_u64()?))
    };
    // A run may become ready again after it was unhealthy; the first time counts.
    events.rev().filter_map(|event| key(&event)).collect()
}

/// The serial number of the newest generation's payload.
fn newest_on_disk(project: &Project, name: &str) -> Option<u64> {
    let folder = fs::read_dir(project.path(&format!(".orch/state/{name}"))).ok()?;
    let names = folder.flatten().map(|entry| entry.path());
    let newest = names.filter(|path| path.extension().is_some_and(|end| end == "orst")).max()?;
    let text = fs::read_to_string(&newest).unwrap();
    let payload = text.split_once('\n').unwrap().1;
    let mut words = payload.split_whitespace().skip(1);
    let serial = words.next().unwrap().parse().unwrap();
    assert_eq!(words.next(), Some(name), "a foreign state in {}", newest.display());
    Some(serial)
}

/// One component before the judge.
struct Judge<'a> {
    habit: &'a Habit,
    history: &'a History,
    ready: &'a BTreeMap<(String, u64), u64>,
    runs: &'a [&'a Run],
}

/// What the next run must be given, by what is known so far.
#[derive(Debug, Default)]
struct Due {
    /// At least this one.
    floor: Option<u64>,
    /// Nothing up to this one: an ordered stop handed it over, and it is used up.
    used_up: u64,
    /// So many starts may have been cut short since then. Twice is enough for a state to be poisoned.
    cut_short: usize,
    /// The last that was given to a run that did not become ready, and to how many.
    offers: (u64, usize),
}

/// Whether a run was ready, as far as can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    /// Orch has said so.
    Surely,
    /// It may have come to it, and not have said so.
    Perhaps,
    No,
}

impl Judge<'_> {
    fn judge(&self, tally: &mut Tally) {
        let mut due = Due::default();
        for (at, run) in self.runs.iter().enumerate() {
            tally.runs += 1;
            tally.states_saved += run.whole.len();
            if at > 0 && self.was_used_unseen(self.runs[at - 1].number, run.number) {
                due.floor = None;
            }
            let until = self.runs.get(at + 1).map_or(u64::MAX, |next| next.start);
            match &run.given {
                Some((when, Some((serial, from)))) => {
                    tally.states_given += 1;
                    self.given(at, (*when, *serial, from), &mut due, tally);
                }
                Some((_, None)) => {
                    tally.afresh += 1;
                    self.is_allowed_less(&due, None, at, tally);
                }
                None => {}
            }
            self.lost(at, tally);
            self.next(run, until, &mut due);
        }
    }

    /// Whether, between these two, one was ready and killed before it could say anything: without `ready`, it is
    /// so as soon as it runs.
    fn was_used_unseen(&self, from: u64, to: u64) -> bool {
        (from + 1..to).any(|number| self.ready.contains_key(&(self.habit.name.to_owned(), number)))
    }

    fn name(&self, run: &Run) -> String {
        format!("run {} of {}", run.number, run.name)
    }

    fn given(&self, at: usize, (when, serial, from): (u64, u64, &str), due: &mut Due, tally: &mut Tally) {
        let (run, name) = (self.runs[at], self.name(self.runs[at]));
        assert!(
            ["restart", "snapshot"].contains(&from),
            "{name} was given {serial} as {from}: nothing was damaged"
        );
        let writer = self.runs[..at].iter().find(|earlier| earlier.whole.contains(&serial));
        let writer =
            writer.unwrap_or_else(|| panic!("{name} was given {serial}, which nobody has written whole"));
        assert!(serial > due.used_up, "{name} was given {serial}, after {} was used up", due.used_up);
        self.is_allowed_less(due, Some(serial), at, tally);
        if let Some(limit) = self.habit.max_age {
            let age = Duration::from_nanos(when - writer.last);
            assert!(age < limit + Duration::from_nanos(MOMENT), "{name} was given {serial}, {age:?} old");
        }
        let offers = if due.offers.0 == serial { due.offers.1 } else { 0 };
        assert!(offers < 2, "{name} was given {serial}, as two before it that did not become ready");
        due.offers = match self.readiness(run, self.next_start(at)) {
            Ready::No => (serial, offers + 1),
            _ => (serial, 0),
        };
    }

    /// Whether a run may be given so little.
    fn is_allowed_less(&self, due: &Due, given: Option<u64>, at: usize, tally: &mut Tally) {
        if due.floor.is_none_or(|floor| given.is_some_and(|given| given >= floor)) {
            return;
        }
        if self.habit.max_age.is_some() && given.is_none() {
            return;
        }
        let name = self.name(self.runs[at]);
        assert!(
            due.cut_short >= 2,
            "{name} was given {given:?}: {due:?}\n{:#?}",
            &self.runs[at.saturating_sub(2)..=at]
        );
        tally.perhaps_poisoned += 1;
    }

    fn next_start(&self, at: usize) -> u64 {
        self.runs.get(at + 1).map_or(u64::MAX, |next| next.start)
    }

    fn lost(&self, at: usize, tally: &mut Tally) {
        let (Some(before), Some((_, given))) =
            (at.checked_sub(1).map(|at| self.runs[at]), &self.runs[at].given)
        else {
            return;
        };
        let given = given.as_ref().map_or(0, |(serial, _)| *serial);
        let lost =
            before.whole.iter().filter(|serial| **serial > given && Some(**serial) <= before.saved).count();
        tally.saves_lost += lost as u64;
        tally.runs_that_lost += u64::from(lost > 0);
    }

    fn readiness(&self, run: &Run, until: u64) -> Ready {
        let said = self.ready.get(&(run.name.clone(), run.number));
        match (said, self.history.orch_kills(run.start, until) > 0) {
            (Some(_), _) => Ready::Surely,
            // It was ready, and orch was killed before it could say so.
            (None, true) if run.says_ready || !self.habit.probed => Ready::Perhaps,
            (None, _) => Ready::No,
        }
    }

    /// What the run after this one must be given.
    fn next(&self, run: &Run, until: u64, due: &mut Due) {
        let Some((_, given)) = &run.given else {
            due.cut_short += 1 + self.history.orch_kills(run.start, until);
            if !self.habit.probed {
                // It was ready as soon as it ran, whether it has looked or not.
                due.floor = None;
            }
            return;
        };
        let ready = self.readiness(run, until);
        let kills = self.history.orch_kills(run.start, until);
        due.cut_short = kills + if ready == Ready::No { due.cut_short + 1 } else { 0 };
        let handed_over = given.as_ref().filter(|(_, from)| from == "restart").map(|(serial, _)| *serial);
        if let (Some(serial), Ready::Surely) = (handed_over, ready) {
            due.used_up = due.used_up.max(serial);
        }
        let base = match (given, handed_over) {
            (_, Some(_)) if ready != Ready::No => None,
            (given, _) => given.as_ref().map(|(serial, _)| *serial),
        };
        due.floor = match self.kept(run, until) {
            // What a stop has handed over comes first, as long as no run was ready with it.
            Some(_) if handed_over.is_some() && ready != Ready::Surely => base,
            kept => kept.max(base),
        };
    }

    /// Of what this run has put in place, the last that must not be lost.
    fn kept(&self, run: &Run, until: u64) -> Option<u64> {
        let killed = self.history.orch_kills(run.start, until) > 0;
        match (self.habit.renames, self.habit.atomic || !killed) {
            (true, true) => run.saved,
            // A kill may have come between its last word and its end.
            (false, true) => {
                run.saved.filter(|_| run.exited && !self.history.is_victim(run.pid, run.start, until))
            }
            // What was sealed, the test has seen in the store.
            (_, false) => {
                let seen = self.history.disk.iter().filter(|(at, _)| (run.start..until).contains(at));
                let newest = seen.filter_map(|(_, newest)| newest.get(self.habit.name)).max().copied();
                newest.filter(|serial| run.whole.contains(serial))
            }
        }
    }
}

/// By orch's own word: what an ordered stop has handed over, and a run was ready with, is given to no other one.
fn judge_uses(events: &[serde_json::Value]) {
    let (mut given, mut used) = (BTreeMap::new(), BTreeMap::new());
    for event in events {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let run = (text("component"), event["incarnation"].as_u64());
        if event["event"] == "state.restored" && event["source"] == "restart" {
            let state = (run.0.clone(), event["generation"].as_u64());
            assert_eq!(used.get(&state), None, "{event}: it was used by that run");
            given.insert(run, state);
        } else if event["event"] == "component.ready"
            && let Some(state) = given.get(&run)
        {
            used.insert(state.clone(), run.1);
        }
    }
}

/// The thread's own word: it counts on, and goes back only when orch was killed.
fn judge_ticks(log: &str, kills: usize) {
    let ticks: Vec<u64> = log.lines().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
    let back = ticks.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(!ticks.is_empty() && back <= kills, "{ticks:?}");
}
