//! Who is connected. When too many are, somebody is cut off in favour of whoever comes: first the one that has
//! been there longest and has not yet sent a whole request, then the one that has taken nothing of its answer for
//! longest. So no number of connections that say nothing, or never read, keeps anybody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::limits::{MOST_CONNECTIONS, MOST_UNSENT};

/// All that are connected, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: BTreeMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    /// Its whole request is here.
    asked: bool,
    /// So many bytes of an answer are held for it.
    unsent: usize,
    /// Since when it has taken nothing of that, if it is being waited for.
    stalled: Option<Instant>,
    cut: Arc<Notify>,
}

/// The place of one connection, for as long as that lives.
#[derive(Debug)]
pub(super) struct Seat {
    table: Arc<Table>,
    number: u64,
    cut: Arc<Notify>,
}

impl Table {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more in; `None`: everybody who is there waits for an answer that is still to come.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Seat> {
        let mut places = self.places();
        if places.taken.len() >= MOST_CONNECTIONS && !places.cut_one(Places::least_deserving) {
            return None;
        }
        let (number, cut) = (places.next, Arc::new(Notify::new()));
        places.next += 1;
        let place = Place { asked: false, unsent: 0, stalled: None, cut: Arc::clone(&cut) };
        places.taken.insert(number, place);
        Some(Seat { table: Arc::clone(self), number, cut })
    }

    /// Cuts off somebody who has not asked anything yet; so does whoever needs a descriptor.
    pub(super) fn make_room(&self) -> bool {
        self.places().cut_one(Places::oldest_silent)
    }

    /// Cuts off everybody who has not asked anything yet.
    pub(super) fn cut_silent(&self) {
        while self.make_room() {}
    }

    /// How many are connected.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.places().taken.len()
    }
}

impl Places {
    fn cut_one(&mut self, which: impl Fn(&Self) -> Option<u64>) -> bool {
        let place = which(self).and_then(|number| self.taken.remove(&number));
        place.inspect(|place| place.cut.notify_one()).is_some()
    }

    fn oldest_silent(&self) -> Option<u64> {
        self.taken.iter().find(|(_, place)| !place.asked).map(|(number, _)| *number)
    }

    fn longest_stalled(&self) -> Option<u64> {
        let stalled = self.taken.iter().filter_map(|(number, place)| Some((place.stalled?, *number)));
        stalled.min().map(|(_, number)| number)
    }

    fn least_deserving(&self) -> Option<u64> {
        self.oldest_silent().or_else(|| self.longest_stalled())
    }

    fn unsent(&self) -> usize {
        self.taken.values().map(|place| place.unsent).sum()
    }
}

impl Seat {
    /// Ends when this connection is to end in favour of another one.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut Place)) {
        if let Some(place) = self.table.places().taken.get_mut(&self.number) {
            change(place);
        }
    }

    /// Its whole request is here.
    pub(super) fn has_asked(&self) {
        self.change(|place| place.asked = true);
    }

    /// So many bytes are held for it from now on. If that is too much for all together, those are cut off that
    /// have taken nothing for longest.
    pub(super) fn owes(&self, bytes: usize) {
        self.change(|place| place.unsent = bytes);
        let mut places = self.table.places();
        while places.unsent() > MOST_UNSENT && places.cut_one(Places::longest_stalled) {}
    }

    /// It takes nothing at the moment.
    pub(super) fn stalls(&self) {
        self.change(|place| place.stalled = place.stalled.or(Some(Instant::now())));
    }

    /// It has taken something.
    pub(super) fn takes(&self) {
        self.change(|place| place.stalled = None);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.places().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_takes_the_place_of_the_one_that_has_been_silent_for_longest() {
        let table = Arc::new(Table::default());
        let seats: Vec<Seat> = (0..MOST_CONNECTIONS).map(|_| table.enter().unwrap()).collect();
        seats[0].has_asked();
        seats[2].has_asked();
        let mut late = vec![table.enter().unwrap(), table.enter().unwrap()];
        let kept = |number: usize| table.places().taken.contains_key(&(number as u64));
        assert!(kept(0) && !kept(1) && kept(2) && !kept(3) && kept(4));
        assert_eq!(table.len(), MOST_CONNECTIONS);
        // Those who were cut off leave nothing of theirs to be taken away a second time.
        drop(seats);
        assert_eq!(table.len(), 2);
        late.clear();
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn then_that_of_the_one_that_has_taken_nothing_for_longest_and_never_that_of_one_that_waits() {
        let table = Arc::new(Table::default());
        let seats: Vec<Seat> = (0..MOST_CONNECTIONS).map(|_| table.enter().unwrap()).collect();
        seats.iter().for_each(Seat::has_asked);
        assert!(table.enter().is_none());
        seats[7].stalls();
        seats[3].stalls();
        seats[7].stalls();
        let late = table.enter().unwrap();
        late.has_asked();
        assert!(!table.places().taken.contains_key(&7));
        seats[3].takes();
        assert!(table.enter().is_none());
    }

    #[test]
    fn what_is_held_for_those_who_take_nothing_is_bounded() {
        let table = Arc::new(Table::default());
        let seats: Vec<Seat> = (0..5).map(|_| table.enter().unwrap()).collect();
        for seat in &seats {
            seat.has_asked();
            seat.owes(MOST_UNSENT / 4);
            seat.stalls();
        }
        assert_eq!(table.places().taken.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
