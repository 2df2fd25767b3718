//! Large states: how fast, in how much memory, and how long another component waits meanwhile. Measured by hand:
//! `cargo test --lib state::tests::large -- --ignored --nocapture`.

use std::io::Write as _;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::*;

const SIZE: u64 = 1 << 30;

fn report(what: &str, since: Instant) {
    let took = since.elapsed();
    println!("{what}: {took:?}, {} MB/s", u128::from(SIZE) / took.as_micros());
}

/// The most memory that this process has had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut piece = vec![0_u8; 1 << 20];
    for number in 0..SIZE >> 20 {
        let odd = u8::try_from(number & 0xff).unwrap() | 1;
        piece.iter_mut().step_by(512).for_each(|byte| *byte = byte.wrapping_add(odd));
        file.write_all(&piece).unwrap();
    }
}

/// The longest and the mean time that small saves of another component take until `done`.
fn small_saves(store: &Store, folder: &Path, done: &AtomicBool) -> (usize, Duration, Duration) {
    let name = Name::new("small").unwrap();
    let spec = State { file: folder.join("small/state"), ..World::new().spec };
    let mut times = Vec::new();
    for round in 1.. {
        store.restore(&name, &spec, round, true).unwrap();
        std::fs::write(&spec.file, format!("{round}")).unwrap();
        let begin = Instant::now();
        store.seal(&name, &spec, round, Ending::Ordered).unwrap();
        times.push(begin.elapsed());
        if done.load(Ordering::Relaxed) {
            break;
        }
    }
    let (longest, sum) = (times.iter().max().copied().unwrap(), times.iter().sum::<Duration>());
    (times.len(), longest, sum / u32::try_from(times.len()).unwrap())
}

#[test]
#[ignore = "it writes gigabytes; a measurement"]
fn a_gibibyte() {
    let folder = tempfile::tempdir().unwrap();
    let name = Name::new("large").unwrap();
    let file = folder.path().join("data/state");
    let spec = State { file, max_size: 2 << 30, keep: 1, max_age: None, ..World::new().spec };
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let begin = Instant::now();
    fill(&spec.file);
    std::fs::File::open(&spec.file).unwrap().sync_all().unwrap();
    report("written and synced by itself", begin);
    let store = Store::open(&folder.path().join(".orch"), Arc::new(|_, _| {})).unwrap();
    let before = peak();
    let alone = small_saves(&store, folder.path(), &AtomicBool::new(true));
    println!("a small save alone: {alone:?}");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let small = scope.spawn(|| small_saves(&store, folder.path(), &done));
        for (round, what) in [(1, "sealed as found, and left in place"), (2, "left in place"), (3, "copied")]
        {
            if what == "copied" {
                std::fs::remove_file(&spec.file).unwrap();
            }
            let begin = Instant::now();
            store.restore(&name, &spec, round, true).unwrap();
            report(what, begin);
            let mut changed = std::fs::OpenOptions::new().append(true).open(&spec.file).unwrap();
            changed.write_all(b"x").unwrap();
            let begin = Instant::now();
            assert!(matches!(store.seal(&name, &spec, round, Ending::Ordered).unwrap(), Seal::Sealed(_)));
            report("sealed", begin);
        }
        done.store(true, Ordering::Relaxed);
        println!("small saves meanwhile: count, longest, mean: {:?}", small.join().unwrap());
    });
    println!("peak memory: {} MiB, of which {before} MiB were there before", peak());
    let begin = Instant::now();
    let mut hasher = sha2::Sha256::default();
    let piece = vec![7_u8; 1 << 20];
    (0..SIZE >> 20).for_each(|_| sha2::Digest::update(&mut hasher, &piece));
    drop(hasher);
    report("hashed by itself", begin);
}

#[test]
#[ignore = "a measurement"]
fn a_small_cycle() {
    let folder = tempfile::tempdir().unwrap();
    let name = Name::new("small").unwrap();
    let spec = State { file: folder.path().join("data/state"), ..World::new().spec };
    let store = Store::open(&folder.path().join(".orch"), Arc::new(|_, _| {})).unwrap();
    store.restore(&name, &spec, 1, true).unwrap();
    // In turn with the file in place, and without it, which makes a copy necessary.
    let mut times = [Vec::new(), Vec::new()];
    for round in 2..=400 {
        std::fs::write(&spec.file, format!("{round}")).unwrap();
        let begin = Instant::now();
        store.seal(&name, &spec, round - 1, Ending::Ordered).unwrap();
        if round % 2 == 0 {
            std::fs::remove_file(&spec.file).unwrap();
        }
        let restore = store.restore(&name, &spec, round, true).unwrap();
        times[usize::from(round % 2 == 0)].push(begin.elapsed());
        store.used(&name, restore.from.unwrap().generation).unwrap();
    }
    for (what, mut times) in ["left in place", "copied"].into_iter().zip(times) {
        times.sort_unstable();
        let (median, late) = (times[times.len() / 2], times[times.len() * 9 / 10]);
        println!("small seal and restore, {what}: median {median:?}, 90 % {late:?}");
    }
}
