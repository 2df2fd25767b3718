//! Every crash state of every save, restore and use: what a kill of orch leaves after each operation, and
//! everything that a crash of the machine may leave. On each of them the next orch starts; it is made to
//! crash at each of its own operations, too; and then the component's life goes on.

use std::collections::BTreeSet;

use super::memory::{Disk, Failure, Fraud, Memory};
use super::*;
use crate::state::arrival::Arrival;
use crate::state::generation;
use crate::state::seal::Spot;
use crate::state::tracks::FolderId;

mod failures;
mod judge;
mod mutants;
mod scenarios;

use judge::{Fact, History, judge};
use scenarios::{SCENARIOS, Scenario};

const SHELF: &str = "/project/.orch/state/api";

/// One component under an orch whose disk is in memory.
struct Run {
    disk: Memory,
    clock: FakeClock,
    store: Store<Memory>,
    spec: State,
    name: Name,
    incarnation: u64,
    /// What the run in hand was given, and whether it has become ready.
    given: Option<(Handed, String)>,
    ready: bool,
    /// Whether a call has failed.
    failed: bool,
    /// What is true from which moment on: the number of disks that were recorded before.
    facts: Vec<(usize, Fact)>,
}

/// How orch's life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    /// It is killed; the page cache stays.
    Kill,
    /// The machine goes down.
    Machine,
}

impl Run {
    fn new(scenario: &Scenario, fraud: Fraud) -> Self {
        let (now, folder) = (1_800_000_000, if scenario.apart { "other" } else { "data" });
        let clock = FakeClock {
            boottime_s: Arc::new(AtomicU64::new(1_000_000)),
            real_s: Arc::new(AtomicI64::new(now)),
            boot: "boot-1".into(),
        };
        let disk = Memory::new(i128::from(now - 5) * 1_000_000_000);
        disk.make_path(Path::new("/project/.orch"), true).unwrap();
        disk.make_path(&Path::new("/project").join(folder), true).unwrap();
        disk.settle();
        disk.cheat(fraud);
        let spec = State {
            file: Path::new("/project").join(folder).join("state.json"),
            max_age: None,
            once: true,
            atomic: scenario.atomic,
            keep: scenario.keep,
            max_size: 64 << 20,
            snapshot: None,
            restart_args: Vec::new(),
            required: false,
        };
        let store = open_in(&disk, &clock).unwrap();
        let name = Name::new("api").unwrap();
        let (incarnation, given, ready, failed, facts) = (0, None, false, false, Vec::new());
        Self { disk, clock, store, spec, name, incarnation, given, ready, failed, facts }
    }

    /// The next orch on what is left.
    fn after(&self, left: &Disk, crash: Crash, record: bool) -> Result<Self, String> {
        let (disk, mut clock) = (Memory::of(left.clone()), self.clock.clone());
        if crash == Crash::Machine {
            clock.boot.push('+');
        }
        if record {
            disk.record();
        }
        let store =
            open_in(&disk, &clock).map_err(|error| format!("the store can't be opened: {error:?}"))?;
        Ok(Self {
            disk,
            clock,
            store,
            spec: self.spec.clone(),
            name: self.name.clone(),
            incarnation: self.incarnation,
            given: None,
            ready: false,
            failed: false,
            facts: Vec::new(),
        })
    }

    fn note(&mut self, fact: Fact) {
        self.facts.push((self.disk.recorded(), fact));
    }

    fn try_start(&mut self) -> Result<Restore, String> {
        self.note(Fact::Starting);
        self.incarnation = self.store.next_incarnation(&self.name);
        let restored = self.store.restore(&self.name, &self.spec, self.incarnation, true);
        let restore = restored.map_err(|error| format!("the restore fails: {error:?}"))?;
        self.given = restore.from.as_ref().map(|from| (from.source, self.state().unwrap_or_default()));
        self.ready = false;
        let fact = Fact::Started(self.given.clone());
        self.note(fact);
        Ok(restore)
    }

    /// As [`Run::try_start`]; that it failed is remembered.
    fn start(&mut self) -> Restore {
        self.try_start().unwrap_or_else(|_| {
            self.failed = true;
            self.given = None;
            Restore::default()
        })
    }

    fn become_ready(&mut self, restore: &Restore) {
        if let Some((_, state)) = self.given.clone() {
            self.note(Fact::Using(state));
        }
        let used = restore.from.as_ref().map(|from| self.store.used(&self.name, from.generation));
        self.ready = true;
        self.failed |= matches!(used, Some(Err(_)));
        if let (Some(Ok(())), Some((source, state))) = (used, self.given.clone()) {
            self.note(Fact::Used(source, state));
        }
    }

    fn write(&mut self, state: &str) {
        self.disk.write_in_place(&self.spec.file, &long(state));
        self.note(Fact::Wrote(state.to_owned()));
    }

    fn replace(&mut self, state: &str) {
        self.disk.replace(&self.spec.file, &long(state));
        self.note(Fact::Wrote(state.to_owned()));
    }

    fn pretend(&self, arrival: Arrival) {
        self.disk.undisturbed(|| {
            let spot = Spot::open(&self.disk, &self.spec.file).unwrap().unwrap();
            let folder = FolderId::of(&self.disk.dir_meta(&spot.dir).unwrap());
            self.store.tracker.pretend(&self.name, (folder, &spot.name), self.incarnation, arrival);
        });
    }

    /// The end of a run whose file came so, as far as anybody has seen.
    fn end(&mut self, ending: Ending, arrival: Arrival) -> Result<Seal, StateError> {
        if arrival != Arrival::Unknown {
            self.pretend(arrival);
        }
        let seal = self.store.seal(&self.name, &self.spec, self.incarnation, ending);
        if let Ok(Seal::Sealed(sealed)) = &seal {
            self.note_sealed(*sealed);
        }
        self.failed |= seal.is_err();
        if ending == Ending::Ordered && !self.ready {
            self.note(Fact::TakenBack);
        }
        seal
    }

    fn snapshot(&mut self) {
        self.pretend(Arrival::Whole);
        let seal = self.store.snapshot(&self.name, &self.spec, self.incarnation);
        if let Ok(Seal::Sealed(sealed)) = seal {
            self.note_sealed(sealed);
        }
    }

    fn note_sealed(&mut self, sealed: Sealed) {
        let state = self.state().unwrap();
        self.note(Fact::Sealed { number: sealed.generation, source: sealed.source, state });
    }

    /// A whole run that hands this state over.
    fn hand_over(&mut self, state: &str) {
        let restore = self.start();
        self.become_ready(&restore);
        self.write(state);
        drop(self.end(Ending::Ordered, Arrival::InPlace));
    }

    fn generation(&self, number: u64) -> String {
        format!("{SHELF}/{number:020}.orst")
    }

    /// The word for the state in place; what is torn is shown as it is.
    fn state(&self) -> Option<String> {
        self.disk.read(self.spec.file.to_str().unwrap()).map(|bytes| short(&bytes))
    }

    /// Whether these bytes are anywhere: in place, in the store, in quarantine.
    fn has(&self, state: &str) -> bool {
        let in_folder = |folder: &str| {
            let paths = self.disk.names(folder).into_iter().map(|name| format!("{folder}/{name}"));
            paths.filter_map(|path| self.disk.read(&path)).any(|bytes| bytes.ends_with(&long(state)))
        };
        self.state().as_deref() == Some(state)
            || in_folder(SHELF)
            || in_folder(&format!("{SHELF}/quarantine"))
    }

    /// What was true when so many disks had been recorded.
    fn history(&self, recorded: usize) -> History {
        let facts = self.facts.iter().filter(|(from, _)| *from <= recorded);
        History::new(facts.map(|(_, fact)| fact.clone()).collect())
    }

    /// What is wrong in the store, whatever was done.
    fn check_store(&self, history: &History) -> Result<(), String> {
        let known = ["ledger", "quarantine", ".ledger.new", ".generation.new", ".restore.new"];
        let dir = self.disk.open_path(Path::new(SHELF)).map_err(|error| error.to_string())?;
        for name in self.disk.names(SHELF) {
            match generation::number(name.as_ref()) {
                Some(number) if !history.damaged(number) => {
                    let (file, meta) =
                        generation::open(&self.disk, &dir, number).map_err(|flaw| format!("{flaw:?}"))?;
                    generation::verify(&self.disk, (&file, &meta), ("api", number), None)
                        .map_err(|flaw| format!("generation {number} is {flaw:?}"))?;
                }
                None if !known.contains(&name.as_str()) => {
                    return Err(format!("{name} is left in the store"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn open_in(disk: &Memory, clock: &FakeClock) -> Result<Store<Memory>, StateError> {
    Store::with(disk.clone(), Box::new(clock.clone()), Path::new("/project/.orch"), Arc::new(|_, _| {}))
}

/// A word as the bytes of a state, some blocks of them, so that a torn one shows.
fn long(word: &str) -> Vec<u8> {
    format!("{word}.").repeat(300 / (word.len() + 1)).into_bytes()
}

fn short(bytes: &[u8]) -> String {
    let word = bytes.split(|byte| *byte == b'.').next().unwrap_or_default();
    let word = String::from_utf8_lossy(word).into_owned();
    if long(&word) == bytes { word } else { format!("torn: {:?}", String::from_utf8_lossy(bytes)) }
}

/// How much was looked at.
#[derive(Debug, Default)]
struct Count {
    /// Crash states as they were enumerated.
    states: usize,
    /// Those that differ in anything.
    distinct: usize,
    /// Crash states of the orch that started on one of those, and the distinct ones of them.
    second: usize,
    second_distinct: usize,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.distinct += other.distinct;
        self.second += other.second;
        self.second_distinct += other.second_distinct;
    }
}

/// The disks that a crash at this moment may leave, but for those that were seen before with the same history.
fn crashes(
    disk: &Disk,
    count: &mut usize,
    seen: &mut BTreeSet<(u64, u64)>,
    history: &History,
) -> Vec<(Crash, Disk)> {
    let killed = std::iter::once((Crash::Kill, (disk.clone(), 1)));
    let crashed = disk.after_crash().into_iter().map(|left| (Crash::Machine, left));
    let mut left = Vec::new();
    for (crash, (disk, weight)) in killed.chain(crashed) {
        *count += weight;
        let fingerprint = disk.fingerprint() ^ u64::from(crash == Crash::Machine);
        if seen.insert((history.len(), fingerprint)) {
            left.push((crash, disk));
        }
    }
    left
}

/// A run up to where the calls of its scenario begin, with all that is on the disk durable.
fn prepared(scenario: &Scenario, fraud: Fraud) -> Run {
    let mut run = Run::new(scenario, fraud);
    (scenario.before)(&mut run);
    assert!(!run.failed, "{}", scenario.name);
    run.disk.settle();
    run.facts.iter_mut().for_each(|(from, _)| *from = 0);
    run
}

/// Enumerates all crash states of a scenario; gives the first thing that is wrong.
fn enumerate(scenario: &Scenario, fraud: Fraud, deep: bool) -> Result<Count, String> {
    let mut run = prepared(scenario, fraud);
    run.disk.record();
    (scenario.act)(&mut run);
    let record = run.disk.take_record();
    let mut count = Count::default();
    let (mut seen, mut seen_second) = (BTreeSet::new(), BTreeSet::new());
    for (at, disk) in record.iter().enumerate() {
        let history = run.history(at + 1);
        for (crash, left) in crashes(disk, &mut count.states, &mut seen, &history) {
            count.distinct += 1;
            let place = format!("{}, {crash:?} after operation {at}", scenario.name);
            let record =
                recover(&run, &left, crash, history.clone()).map_err(|wrong| format!("{place}: {wrong}"))?;
            let record = if deep { record } else { Vec::new() };
            let history = history.clone().interrupted();
            for (second, disk) in record.iter().enumerate() {
                for (again, left) in crashes(disk, &mut count.second, &mut seen_second, &history) {
                    count.second_distinct += 1;
                    // A boot that is over stays over.
                    let again = if crash == Crash::Machine { Crash::Machine } else { again };
                    start_after(&run, &left, again, &mut history.clone(), false)
                        .map_err(|wrong| format!("{place}, and again, {again:?} after {second}: {wrong}"))?;
                }
            }
        }
    }
    Ok(count)
}

/// Starts on what a crash has left, and judges; gives the record of the start.
fn start_after(
    run: &Run,
    left: &Disk,
    crash: Crash,
    history: &mut History,
    record: bool,
) -> Result<(Run, Restore, Vec<Disk>), String> {
    let mut next = run.after(left, crash, record)?;
    let restore = next.try_start()?;
    let record = next.disk.take_record();
    judge(&next, &restore, history, crash)?;
    next.check_store(history)?;
    history.extend(&mut next);
    Ok((next, restore, record))
}

/// Starts on what a crash has left, and lets life go on; gives the record of the start.
fn recover(run: &Run, left: &Disk, crash: Crash, mut history: History) -> Result<Vec<Disk>, String> {
    let (mut next, restore, record) = start_after(run, left, crash, &mut history, true)?;
    // It becomes ready and crashes; orch is killed with it.
    next.become_ready(&restore);
    next.end(Ending::Crashed, Arrival::Unknown).map_err(|error| format!("{error:?}"))?;
    history.extend(&mut next);
    next.store = open_in(&next.disk, &next.clock).map_err(|error| format!("{error:?}"))?;
    let restore = next.try_start()?;
    judge(&next, &restore, &history, Crash::Kill).map_err(|wrong| format!("when it was ready: {wrong}"))?;
    history.extend(&mut next);
    // An ordered stop.
    next.become_ready(&restore);
    next.write("afterwards");
    let seal = next.end(Ending::Ordered, Arrival::Unknown).map_err(|error| format!("{error:?}"))?;
    let Seal::Sealed(sealed) = seal else { return Err(format!("not sealed: {seal:?}")) };
    if sealed.generation <= history.highest() {
        return Err(format!("the number {} was given out before", sealed.generation));
    }
    history.extend(&mut next);
    let restore = next.try_start()?;
    judge(&next, &restore, &history, Crash::Kill).map_err(|wrong| format!("in the end: {wrong}"))?;
    Ok(record)
}

#[test]
fn every_crash_state_holds() {
    let total = Mutex::new(Count::default());
    let next = AtomicU64::new(0);
    let worker = || {
        let mut wrong = Vec::new();
        while let Some(scenario) =
            SCENARIOS.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap())
        {
            match enumerate(scenario, Fraud::None, true) {
                Ok(count) => {
                    println!("{}: {count:?}", scenario.name);
                    assert!(count.distinct > 3, "{}: {count:?}", scenario.name);
                    total.lock().unwrap().add(&count);
                }
                Err(what) => wrong.push(what),
            }
        }
        wrong
    };
    let wrong = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(worker));
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    let total = total.into_inner().unwrap();
    println!("all crash states: {total:?}");
    assert!(total.states > 2_000 && total.second > 50_000, "{total:?}");
    assert!(total.distinct > 500 && total.second_distinct > 5_000, "{total:?}");
}
