//! What a unit has said and orch has not been told yet. It is told at once, unless the unit says more than
//! anybody could want to hear: then of each kind the last, some times a second.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::message::Said;
use crate::types::Notice;

/// So often it may be told in a row …
const BURST: u32 = 20;
/// … and then once in so long.
const EVERY: Duration = Duration::from_millis(50);
/// Pings come closer together than this only in a flood.
const SHORTEST_PING: Duration = Duration::from_millis(5);
/// How close together they count where no watchdog is declared.
const USUAL_PING: Duration = Duration::from_millis(100);

/// What was said since it was told last, of each kind the last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    main: Option<u32>,
    watchdog_every: Option<Duration>,
    extend: Option<Duration>,
    status: Option<String>,
    broken: bool,
    watchdog: bool,
    /// It has been ready meanwhile, whatever it is now.
    ready: bool,
    phase: Option<Phase>,
}

/// What it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Reloading,
    Ready,
    Stopping,
}

impl Pending {
    /// Adds what a datagram says.
    pub(super) fn add(&mut self, said: Said) {
        self.main = said.main.or(self.main);
        self.watchdog_every = said.watchdog_every.or(self.watchdog_every);
        self.extend = said.extend.or(self.extend);
        self.status = said.status.or(self.status.take());
        self.broken |= said.broken;
        self.watchdog |= said.watchdog;
        self.ready |= said.ready;
        // In the order in which one who says several at once can mean it.
        let phases = [
            (said.reloading, Phase::Reloading),
            (said.ready, Phase::Ready),
            (said.stopping, Phase::Stopping),
        ];
        self.phase = phases.iter().rev().find(|(said, _)| *said).map(|(_, phase)| *phase).or(self.phase);
    }

    /// Whether all but a ping is told.
    pub(super) fn is_told(&self) -> bool {
        Self { watchdog: false, ..self.clone() }.is_empty()
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All but the ping.
    fn take_words(&mut self) -> Vec<Notice> {
        let Self { main, watchdog_every, extend, status, broken, watchdog, ready, phase } =
            std::mem::take(self);
        self.watchdog = watchdog;
        let was_ready = ready && phase != Some(Phase::Ready);
        let phase = phase.map(|phase| match phase {
            Phase::Reloading => Notice::Reloading,
            Phase::Ready => Notice::Ready,
            Phase::Stopping => Notice::Stopping,
        });
        let words = [
            main.map(Notice::MainPid),
            watchdog_every.map(Notice::WatchdogEvery),
            extend.map(Notice::Extend),
            status.map(Notice::Status),
            broken.then_some(Notice::Broken),
            was_ready.then_some(Notice::Ready),
            phase,
        ];
        words.into_iter().flatten().collect()
    }
}

/// How often one unit may be heard.
#[derive(Debug)]
pub(super) struct Gate {
    left: u32,
    refilled: Instant,
    /// No ping is told before.
    ping_from: Instant,
    ping_every: Duration,
}

impl Gate {
    /// For a unit whose watchdog waits so long.
    pub(super) fn new(now: Instant, watchdog: Option<Duration>) -> Self {
        let mut gate = Self { left: BURST, refilled: now, ping_from: now, ping_every: USUAL_PING };
        if let Some(every) = watchdog {
            gate.watchdog(every);
        }
        gate
    }

    /// A ping within a tenth of the time that the watchdog waits is told at the end of that: the watchdog is
    /// then so much more patient, and never less.
    fn watchdog(&mut self, every: Duration) {
        self.ping_every = (every / 10).max(SHORTEST_PING);
    }

    /// How long the watchdog waits by which it goes.
    pub(super) fn watchdog_of(&self) -> Duration {
        self.ping_every * 10
    }

    /// What may be told now.
    pub(super) fn pass(&mut self, pending: &mut Pending, now: Instant) -> Vec<Notice> {
        self.refill(now);
        let ping = pending.watchdog && now >= self.ping_from;
        let mut told = Vec::new();
        if !pending.is_told() && self.left > 0 {
            self.left -= 1;
            told = self.all(pending, now, ping);
        } else if ping {
            pending.watchdog = false;
            self.ping_from = now + self.ping_every;
            told.push(Notice::Watchdog);
        }
        told
    }

    /// All that there is, whenever it is.
    pub(super) fn flush(&mut self, pending: &mut Pending, now: Instant) -> Vec<Notice> {
        let ping = pending.watchdog;
        self.all(pending, now, ping)
    }

    fn all(&mut self, pending: &mut Pending, now: Instant, ping: bool) -> Vec<Notice> {
        let mut told = pending.take_words();
        for notice in &told {
            if let Notice::WatchdogEvery(every) = notice {
                self.watchdog(*every);
            }
        }
        if ping {
            pending.watchdog = false;
            self.ping_from = now + self.ping_every;
            told.push(Notice::Watchdog);
        }
        told
    }

    /// When something of this may be told that may not be told now.
    pub(super) fn next(&self, pending: &Pending) -> Option<Instant> {
        if pending.is_empty() {
            return None;
        }
        let ping = pending.watchdog.then_some(self.ping_from);
        let words = Pending { watchdog: false, ..pending.clone() };
        let words = (!words.is_empty()).then_some(self.refilled + EVERY);
        [ping, words].into_iter().flatten().min()
    }

    fn refill(&mut self, now: Instant) {
        let whole = now.saturating_duration_since(self.refilled).as_nanos() / EVERY.as_nanos();
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        if whole > 0 {
            self.left = self.left.saturating_add(whole).min(BURST);
            self.refilled = if self.left == BURST { now } else { self.refilled + EVERY * whole };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::parse;
    use super::*;

    fn said(text: &str) -> Pending {
        let mut pending = Pending::default();
        for datagram in text.split('|') {
            pending.add(parse(datagram.as_bytes()));
        }
        pending
    }

    #[test]
    fn of_each_kind_the_last_is_told_in_a_sensible_order() {
        let now = Instant::now();
        let mut gate = Gate::new(now, None);
        let mut pending = said("STATUS=a\nREADY=1|STATUS=b|MAINPID=9\nEXTEND_TIMEOUT_USEC=7");
        let told = gate.pass(&mut pending, now);
        let expected = [
            Notice::MainPid(9),
            Notice::Extend(Duration::from_micros(7)),
            Notice::Status("b".into()),
            Notice::Ready,
        ];
        assert_eq!(told, expected);
        assert_eq!((pending.is_empty(), gate.next(&pending)), (true, None));
        // Whoever was ready and is on its way out by now was ready.
        let both = [Notice::Ready, Notice::Stopping];
        assert_eq!(gate.pass(&mut said("READY=1|STOPPING=1"), now), both);
        assert_eq!(gate.pass(&mut said("READY=1\nSTOPPING=1"), now), both);
        assert_eq!(gate.pass(&mut said("RELOADING=1|READY=1"), now), [Notice::Ready]);
    }

    #[test]
    fn a_flood_is_heard_some_times_a_second_and_its_last_word_is_not_lost() {
        let begun = Instant::now();
        let mut gate = Gate::new(begun, None);
        let (mut pending, mut told) = (Pending::default(), Vec::new());
        for number in 0..10_000_u32 {
            let now = begun + Duration::from_micros(u64::from(number) * 100);
            pending.add(parse(format!("STATUS={number}").as_bytes()));
            told.extend(gate.pass(&mut pending, now));
        }
        assert!((20..=41).contains(&told.len()), "{}", told.len());
        let due = gate.next(&pending).unwrap();
        assert_eq!(gate.pass(&mut pending, due), [Notice::Status("9999".into())]);
    }

    #[test]
    fn pings_are_told_late_rather_than_dropped() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut gate = Gate::new(now, Some(ms(1000)));
        assert_eq!(gate.pass(&mut said("WATCHDOG=1"), now), [Notice::Watchdog]);
        let mut pending = said("WATCHDOG=1");
        assert_eq!(gate.pass(&mut pending, now + ms(50)), []);
        assert_eq!(gate.next(&pending), Some(now + ms(100)));
        assert_eq!(gate.pass(&mut pending, now + ms(100)), [Notice::Watchdog]);
        // However many pings there are, they take nothing from what else is said.
        for step in 0..1000 {
            gate.pass(&mut said("WATCHDOG=1"), now + ms(100 + step));
        }
        assert_eq!(gate.left, BURST);
        // A short watchdog is heard in time.
        let mut gate = Gate::new(now, Some(ms(20)));
        let heard = (0..100).flat_map(|step| gate.pass(&mut said("WATCHDOG=1"), now + ms(step * 5))).count();
        assert_eq!(heard, 100);
    }

    #[test]
    fn a_flush_holds_nothing_back() {
        let now = Instant::now();
        let mut gate = Gate::new(now, None);
        gate.left = 0;
        let mut pending = said("READY=1\nWATCHDOG=1");
        gate.ping_from = now + EVERY;
        assert_eq!(gate.pass(&mut pending, now), []);
        assert_eq!(gate.flush(&mut pending, now), [Notice::Ready, Notice::Watchdog]);
        assert!(pending.is_empty());
    }
}
