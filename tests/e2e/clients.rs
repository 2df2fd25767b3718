//! Sixteen clients command one project at random, while its files and its YAML are saved.
//!
//! At the end it is judged by three witnesses: the components' own diary (at most one run of each at any time),
//! orch's events (the last word about each component wins), and the record of all that the core was told, which
//! is played through the core once more with its invariants asked after each step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use orch::api::{Done, Names, WaitReply, WaitRequest};
use orch::client::{Client, ClientError};
use orch::supervisor::Replay;
use serde_json::Value;

use crate::harness::{PATIENCE, Project, wait_until};

const CLIENTS: u64 = 16;

/// The storm's length; `ORCH_STORM_SECONDS=180` for a long run.
fn length() -> Duration {
    let seconds = std::env::var("ORCH_STORM_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

const NAMES: [&str; 8] = ["db", "queue", "migrate", "api", "worker", "web", "tick", "mule"];

/// A chain, a diamond, a follower, a thread, one that completes, and one that has to be force-killed.
fn yaml(port: usize, watched: &str) -> String {
    format!(
        "
defaults:
  restart: {{ backoff: {{ initial: 5ms, max: 20ms, jitter: 0 }}, limit: {{ count: 1000000, within: 1h }} }}
  stop: {{ timeout: 300ms }}
components:
  db: {{ process: ./faulty linger 10 }}
  queue: {{ process: ./faulty linger 5, watch: [queue.src] }}
  migrate: {{ process: ./faulty wait 20 exit 0, depends_on: [db] }}
  api:
    process: ./faulty touch api.ready
    ready: {{ file: api.ready, interval: 5ms, timeout: 1m }}
    env: {{ PORT: \"{port}\" }}
    depends_on: {{ db: ready, queue: ready, migrate: completed }}
    watch: [api.src, {watched}]
  worker: {{ process: ./faulty linger 20, depends_on: {{ queue: started, api: ready }}, watch: [api.src] }}
  web: {{ process: ./faulty, depends_on: {{ api: {{ condition: ready, restart: true }} }} }}
  tick: {{ thread: ticker, with: {{ every: 5ms }}, state: true, depends_on: [queue] }}
  mule: {{ process: ./faulty deaf, stop: {{ timeout: 40ms }}, watch: [queue.src] }}
"
    )
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn names(&mut self) -> Names {
        let count = 1 + self.below(2);
        let one = |dice: &mut Self| NAMES[dice.below(NAMES.len() as u64) as usize].to_owned();
        Names { names: (0..count).map(|_| one(self)).collect() }
    }
}

/// What the clients met.
#[derive(Debug, Default)]
struct Tally {
    done: AtomicUsize,
    overruled: AtomicUsize,
    abandoned: AtomicUsize,
    saves: AtomicUsize,
    edits: AtomicUsize,
}

#[test]
fn sixteen_clients_at_once_and_the_last_word_wins() {
    let seed = std::env::var("ORCH_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("ORCH_SEED={seed}");
    let project = Project::new(&yaml(1, "a.src"));
    let mut command = project.command(&["up"]);
    command.env("ORCH_RECORD", project.path("record.ndjson"));
    let mut orch = project.start(command);
    let client = Client::new(&project.path(".orch"));
    wait_until("orch answers", || client.get::<Value>("/v1/status").is_ok());

    let (over, tally) = (AtomicBool::new(false), Tally::default());
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (project, over, tally) = (&project, &over, &tally);
            let dice = Dice(seed.wrapping_mul(31).wrapping_add(number));
            scope.spawn(move || rage(project, dice, over, tally));
        }
        let (project, over_for_saver, tally) = (&project, &over, &tally);
        scope.spawn(move || save(project, Dice(seed), over_for_saver, tally));
        std::thread::sleep(length());
        over.store(true, Ordering::Relaxed);
    });
    eprintln!("{tally:?}");
    assert!(tally.done.load(Ordering::Relaxed) > 20, "{tally:?}");

    expect_last_word(&project, &client);
    // Nothing is wedged: everything can be had again.
    let all = Names { names: NAMES.map(str::to_owned).to_vec() };
    let done: Done = client.within(PATIENCE).post("/v1/start", &all).unwrap();
    assert_eq!(done.failed, [], "{done:?}");
    orch.stop();
    replay(&project);
}

/// One client: commands at random, some of them abandoned.
fn rage(project: &Project, mut dice: Dice, over: &AtomicBool, tally: &Tally) {
    let client = Client::new(&project.path(".orch"));
    while !over.load(Ordering::Relaxed) {
        let names = dice.names();
        let patience = if dice.below(5) == 0 { Duration::from_millis(30) } else { PATIENCE };
        let client = client.within(patience);
        let answer = match dice.below(8) {
            0..3 => client.post::<Done>("/v1/start", &names),
            3..5 => client.post::<Done>("/v1/stop", &names),
            5..7 => client.post::<Done>("/v1/restart", &names),
            _ => {
                let wait = WaitRequest { names: names.names, state: None };
                let waited = client.within(Duration::from_millis(300)).post::<WaitReply>("/v1/wait", &wait);
                waited.map(|_| Done { did: Vec::new(), failed: Vec::new() })
            }
        };
        let count = match answer {
            Ok(done) if done.failed.is_empty() => &tally.done,
            // Another client has wanted something else meanwhile.
            Ok(_) => &tally.overruled,
            Err(ClientError::TimedOut) if patience < PATIENCE => &tally.abandoned,
            Err(ClientError::TimedOut) => &tally.abandoned,
            Err(error) => panic!("{error}"),
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Saves watched files and the YAML.
fn save(project: &Project, mut dice: Dice, over: &AtomicBool, tally: &Tally) {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        match dice.below(4) {
            0 => {
                let watched = if dice.below(2) == 0 { "a.src" } else { "b.src" };
                project.yaml(&yaml(dice.below(3) as usize, watched));
                tally.edits.fetch_add(1, Ordering::Relaxed);
            }
            kind => {
                project.save(if kind == 1 { "queue.src" } else { "api.src" }, format!("{number}"));
                tally.saves.fetch_add(1, Ordering::Relaxed);
            }
        }
        let next = Instant::now() + Duration::from_millis(20 + dice.below(200));
        wait_until("the next save is due", || Instant::now() >= next || over.load(Ordering::Relaxed));
    }
}

/// When all is quiet, each component is as the last command that concerned it wanted.
fn expect_last_word(project: &Project, client: &Client) {
    let resting = ["ready", "completed", "stopped", "waiting"];
    let states = || -> BTreeMap<String, String> {
        let status: Value = client.get("/v1/status").unwrap();
        let of = |one: &Value| (one["name"].as_str().unwrap().into(), one["state"].as_str().unwrap().into());
        status["components"].as_array().unwrap().iter().map(of).collect()
    };
    let recorded = || std::fs::metadata(project.path(".orch/events.ndjson")).unwrap().len();
    let mut quiet_since = (recorded(), Instant::now());
    wait_until("all is quiet", || {
        let count = recorded();
        if count != quiet_since.0 || !states().values().all(|state| resting.contains(&state.as_str())) {
            quiet_since = (count, Instant::now());
        }
        quiet_since.1.elapsed() > Duration::from_millis(500)
    });
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for event in project.events().iter().filter(|event| event["event"] == "command") {
        for one in event["affects"].as_array().unwrap() {
            let action = one["action"].as_str().unwrap();
            if action != "none" {
                last.insert(one["component"].as_str().unwrap().to_owned(), action.to_owned());
            }
        }
    }
    for (name, state) in states() {
        let wanted: &[&str] = match last.get(&name).map(String::as_str) {
            Some("stop") => &["stopped"],
            // What it needs may have been stopped after that.
            Some(_) | None => &["ready", "completed", "waiting"],
        };
        assert!(
            wanted.contains(&state.as_str()),
            "{name} is {state}; the last word was {:?}",
            last.get(&name)
        );
    }
}

/// Plays what the core was told through the core once more.
fn replay(project: &Project) {
    let mut replay = Replay::default();
    for line in project.read("record.ndjson").lines() {
        replay.line(line).unwrap();
    }
    eprintln!("replayed: {} steps, {} spawns", replay.steps(), replay.spawns());
    assert!(replay.spawns() > 20, "{}", replay.spawns());
    assert_eq!(replay.contradictions(), Vec::<String>::new());
}
