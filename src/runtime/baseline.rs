//! Starts that wait for a baseline. A file is judged against its bytes at the start, so a component starts only
//! when the watcher knows them: what is saved between the two would otherwise never be seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::model::Component;
use crate::types::{Cid, RunId};

/// The start of a run.
type Start = (RunId, Arc<Component>);

/// The baselines that the watcher was asked for and has not told of.
#[derive(Debug, Default)]
pub(crate) struct Baselines(BTreeMap<Cid, Awaited>);

#[derive(Debug, Default)]
struct Awaited {
    /// How often it was asked; each is answered.
    asked: u32,
    start: Option<Start>,
    /// Whether that start is not to be made any more.
    given_up: bool,
}

impl Baselines {
    /// The watcher was asked.
    pub(crate) fn ask(&mut self, component: Cid) {
        self.0.entry(component).or_default().asked += 1;
    }

    /// Keeps a start until the baseline is known; gives it back if it is. A component has one start at most,
    /// so an earlier one is out of date.
    pub(crate) fn hold(&mut self, start: Start) -> Option<Start> {
        match self.0.get_mut(&start.0.component) {
            Some(awaited) => {
                (awaited.start, awaited.given_up) = (Some(start), false);
                None
            }
            None => Some(start),
        }
    }

    /// Makes none of the starts that are held: the end does not wait for them. Gives those that were to be made
    /// until now.
    pub(crate) fn give_up(&mut self) -> Vec<RunId> {
        let news = |awaited: &mut Awaited| !std::mem::replace(&mut awaited.given_up, true);
        let held = self
            .0
            .values_mut()
            .filter_map(|awaited| if news(awaited) { awaited.start.as_ref() } else { None });
        held.map(|(run, _)| *run).collect()
    }

    /// The watcher has answered; gives the start that can go on.
    pub(crate) fn known(&mut self, component: Cid) -> Option<Start> {
        let awaited = self.0.get_mut(&component)?;
        awaited.asked -= 1;
        if awaited.asked > 0 {
            return None;
        }
        let awaited = self.0.remove(&component)?;
        awaited.start.filter(|_| !awaited.given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Baselines, Cid, Component, RunId};
    use crate::config::{LoadOptions, load};

    fn component() -> Arc<Component> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("devmode.yaml");
        std::fs::write(&file, "version: 1\ncomponents: { a: { process: sh } }\n").unwrap();
        Arc::clone(&load(&file, &LoadOptions::default()).project.unwrap().components[0])
    }

    #[test]
    fn every_question_is_waited_for() {
        let mut baselines = Baselines::default();
        baselines.ask(Cid(1));
        baselines.ask(Cid(1));
        assert!(baselines.known(Cid(1)).is_none());
        assert!(baselines.0.contains_key(&Cid(1)), "one is open");
        assert!(baselines.known(Cid(1)).is_none());
        assert!(baselines.0.is_empty());
        assert!(baselines.known(Cid(2)).is_none());
    }

    #[test]
    fn what_is_given_up_is_not_started() {
        let mut baselines = Baselines::default();
        let run = RunId { component: Cid(1), incarnation: 1 };
        baselines.ask(Cid(1));
        assert!(baselines.hold((run, component())).is_none());
        assert_eq!((baselines.give_up(), baselines.give_up()), (vec![run], vec![]));
        assert!(baselines.known(Cid(1)).is_none());
    }
}
