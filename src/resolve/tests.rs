use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{ADDRESSES, Resolver, addresses};

const PATIENCE: Duration = Duration::from_secs(60);

/// A system that answers only when it is let: how often each name was asked, and how many at the same time.
#[derive(Default)]
struct Slow {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    asked: BTreeMap<String, usize>,
    now: usize,
    most: usize,
    open: bool,
}

impl Slow {
    fn lookup(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let mut seen = self.seen.lock().unwrap();
        *seen.asked.entry(host.to_owned()).or_default() += 1;
        seen.now += 1;
        seen.most = seen.most.max(seen.now);
        self.changed.notify_all();
        let (mut seen, timed_out) =
            self.changed.wait_timeout_while(seen, PATIENCE, |seen| !seen.open).unwrap();
        assert!(!timed_out.timed_out());
        seen.now -= 1;
        if host == "nobody" { Ok(Vec::new()) } else { Ok(vec!["192.0.2.1:0".parse().unwrap(); 40]) }
    }

    fn open(&self) {
        self.seen.lock().unwrap().open = true;
        self.changed.notify_all();
    }
}

fn slow(at_once: usize) -> (Arc<Slow>, Arc<Resolver>) {
    let slow = Arc::new(Slow::default());
    let asked = Arc::clone(&slow);
    (slow, Arc::new(Resolver::new(at_once, move |host| asked.lookup(host))))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, test).await.unwrap() })
}

async fn asking(slow: &Arc<Slow>, names: usize) {
    let slow = Arc::clone(slow);
    let waited = tokio::task::spawn_blocking(move || {
        let seen = slow.seen.lock().unwrap();
        let (_seen, late) =
            slow.changed.wait_timeout_while(seen, PATIENCE, |seen| seen.asked.len() < names).unwrap();
        assert!(!late.timed_out());
    });
    waited.await.unwrap();
}

#[test]
fn a_system_that_hangs_has_so_many_threads_and_no_more() {
    run(async {
        let (slow, resolver) = slow(3);
        // Askers that give up, as probes do, over and over.
        for round in 0..20 {
            let mut askers = JoinSet::new();
            for name in 0..5 {
                let resolver = Arc::clone(&resolver);
                askers.spawn(async move { resolver.ask(&format!("host-{name}")).await });
            }
            if round == 0 {
                asking(&slow, 3).await;
            }
            tokio::task::yield_now().await;
        }
        let seen = {
            let seen = slow.seen.lock().unwrap();
            (seen.most, seen.now, seen.asked.values().copied().max())
        };
        assert_eq!(seen, (3, 3, Some(1)));
        slow.open();
        // And it serves again, the names that had no place as well.
        for name in 0..5 {
            assert_eq!(resolver.ask(&format!("host-{name}")).await.unwrap().len(), ADDRESSES);
        }
    });
}

#[test]
fn who_asks_for_the_same_name_gets_the_same_answer_and_the_next_one_asks_anew() {
    run(async {
        let (slow, resolver) = slow(1);
        let mut askers = JoinSet::new();
        for _ in 0..8 {
            let resolver = Arc::clone(&resolver);
            askers.spawn(async move { resolver.ask("host").await.unwrap().len() });
        }
        asking(&slow, 1).await;
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        slow.open();
        assert_eq!(askers.join_all().await, [ADDRESSES; 8]);
        let before = slow.seen.lock().unwrap().asked["host"];
        resolver.ask("host").await.unwrap();
        assert_eq!(slow.seen.lock().unwrap().asked["host"], before + 1);
        assert_eq!(resolver.ask("nobody").await.unwrap_err().to_string(), "the name has no address");
    });
}

#[test]
fn what_needs_no_asking_is_not_asked() {
    run(async {
        let shown = async |host| {
            let found = addresses(host, 80).await.unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown("LocalHost").await, ["127.0.0.1:80", "[::1]:80"]);
        assert_eq!(shown("192.0.2.7").await, ["192.0.2.7:80"]);
        assert_eq!(shown("2001:db8::1").await, ["[2001:db8::1]:80"]);
    });
}
