//! Dependencies: known, not of oneself, in no cycle, and such that they can come true.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Lowering;
use crate::config::code;
use crate::config::decode::{Depends, Step};
use crate::config::model::{Component, Condition, Dependency, RestartPolicy};
use crate::config::report::Mistake;
use crate::config::text::shown;
use crate::config::tree::{NodeId, Shape};
use crate::graph::{Cycles, Graph};
use crate::types::Name;

/// A dependency as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    from: u32,
    to: u32,
    node: NodeId,
    /// Its place in a list; `None` in a map.
    listed: Option<u32>,
    completed: bool,
}

impl<'t> Lowering<'t> {
    pub(super) fn dependency(
        &mut self,
        index: usize,
        listed: bool,
        position: usize,
        entry: &Depends,
        seen: &mut BTreeSet<usize>,
    ) -> Option<Dependency> {
        let name = entry.name.as_deref()?;
        let step = match self.decoder.tree.shape(entry.node) {
            Shape::Scalar(key, _) if !listed => Step::Key(key),
            _ => Step::Index(position),
        };
        self.decoder.enter(step);
        let found = self.target(index, name, entry.node);
        self.decoder.leave();
        let to = found?;
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let completed = entry.condition == Condition::Completed;
        let listed = listed.then(|| number(position));
        let edge = Edge { from: number(index), to: number(to), node: entry.node, listed, completed };
        if !seen.insert(to) {
            let message = format!("`{name}` is in the list twice");
            self.within(step, |lowering| lowering.mistake(entry.node, Mistake::new(code::REPEATED, message)));
            return None;
        }
        self.edges.push(edge);
        let name = Name::new(name).ok()?;
        Some(Dependency { name, condition: entry.condition, restart: entry.restart })
    }

    fn target(&mut self, from: usize, name: &str, node: NodeId) -> Option<usize> {
        match self.names.get(name) {
            Some(to) if *to == from => {
                let message = format!("`{}` depends on itself", shown(name));
                self.mistake(node, Mistake::new(code::SELF_DEPENDENCY, message).help("delete this entry"));
                None
            }
            Some(to) => Some(*to),
            None => {
                let help = self.decoder.suggester.did_you_mean(name, self.names.keys().copied());
                let message = format!("there is no component `{}`", shown(name));
                self.mistake(node, Mistake::new(code::UNKNOWN_DEPENDENCY, message).maybe_help(help));
                None
            }
        }
    }

    /// The rules that need all components.
    pub(super) fn check_edges(&mut self, names: &[&'t str], lowered: &[Option<Arc<Component>>]) {
        let edges = std::mem::take(&mut self.edges);
        for edge in edges.iter().filter(|edge| edge.completed) {
            let target = lowered.get(edge.to as usize).and_then(Option::as_ref);
            if target.is_some_and(|target| target.restart.policy == RestartPolicy::Always) {
                let name = names[edge.to as usize];
                let message = format!("`{name}` never completes: it is always restarted");
                let help = format!("give `{name}` another restart policy, or wait for `ready`");
                self.mistake_on_edge(names, edge, Mistake::new(code::NEVER_COMPLETES, message).help(help));
            }
        }
        let graph = Graph::new(names.len(), edges.iter().map(|edge| (edge.from as usize, edge.to as usize)));
        let Cycles { whole, more } = graph.cycles();
        for cycle in whole {
            self.cycle(names, &edges, &cycle);
        }
        for (from, to) in more {
            let message = format!(
                "`{}` depends on `{}`, which depends on it by a way too long to be shown beside the others",
                names[from], names[to]
            );
            self.cycle_error(names, &edges, (from, to), message);
        }
    }

    fn cycle(&mut self, names: &[&'t str], edges: &[Edge], cycle: &[usize]) {
        let [first, ..] = *cycle else { return };
        let second = cycle.get(1).copied().unwrap_or(first);
        let way: Vec<&str> = cycle.iter().chain([&first]).map(|node| names[*node]).collect();
        let message = format!("components depend on each other in a cycle: {}", way.join(" → "));
        self.cycle_error(names, edges, (first, second), message);
    }

    fn cycle_error(
        &mut self,
        names: &[&'t str],
        edges: &[Edge],
        (from, to): (usize, usize),
        message: String,
    ) {
        // Edges are in the order of their components.
        let begin = edges.partition_point(|edge| (edge.from as usize) < from);
        let own = edges[begin..].iter().take_while(|edge| edge.from as usize == from);
        let Some(edge) = own.into_iter().find(|edge| edge.to as usize == to) else { return };
        let mistake = Mistake::new(code::CYCLE, message).help("take one of these edges out");
        self.mistake_on_edge(names, edge, mistake);
    }

    fn mistake_on_edge(&mut self, names: &[&'t str], edge: &Edge, mistake: Mistake) {
        let last = match edge.listed {
            Some(position) => Step::Index(position as usize),
            None => Step::Key(names[edge.to as usize]),
        };
        let steps = [Step::Key(names[edge.from as usize]), Step::Key("depends_on"), last];
        for step in steps {
            self.decoder.enter(step);
        }
        self.mistake(edge.node, mistake);
        for _ in steps {
            self.decoder.leave();
        }
    }
}
