//! Effective environments compared without being merged.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Change, Reaction};
use crate::config::model::{Env, EnvOverlay};

/// The names in which a layer differs. All components of a project share the project's layer, and many the one
/// of an env file, so the two are compared once, and not once for each component.
#[derive(Default)]
pub(in crate::plan) struct LayerCache {
    project: Compared,
    files: Compared,
}

/// Two layers that were compared last, and the names in which they differ.
#[derive(Default)]
struct Compared(Option<(Arc<EnvOverlay>, Arc<EnvOverlay>, Vec<String>)>);

impl Compared {
    fn differing(&mut self, old: &Arc<EnvOverlay>, new: &Arc<EnvOverlay>) -> &[String] {
        let same = |(a, b, _): &(Arc<EnvOverlay>, Arc<EnvOverlay>, Vec<String>)| {
            Arc::ptr_eq(a, old) && Arc::ptr_eq(b, new)
        };
        let known = self.0.take().filter(same);
        let known = known.unwrap_or_else(|| (Arc::clone(old), Arc::clone(new), differing(old, new)));
        &self.0.insert(known).2
    }
}

fn differing(old: &Arc<EnvOverlay>, new: &Arc<EnvOverlay>) -> Vec<String> {
    if Arc::ptr_eq(old, new) || old == new {
        return Vec::new();
    }
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}

/// What the component sees of `name`: `None` where no layer speaks of it.
fn effective<'a>(env: &'a Env, name: &str) -> Option<&'a Option<String>> {
    env.own.get(name).or_else(|| env.files.get(name)).or_else(|| env.project.get(name))
}

impl Change {
    pub(super) fn env(&mut self, old: &Env, new: &Env, layers: &mut LayerCache) {
        let project = layers.project.differing(&old.project, &new.project);
        let files = layers.files.differing(&old.files, &new.files);
        if project.is_empty() && files.is_empty() && old.own == new.own {
            return;
        }
        let own = old.own.keys().chain(new.own.keys());
        let names: BTreeSet<&String> = project.iter().chain(files).chain(own).collect();
        for name in names.into_iter().filter(|name| effective(old, name) != effective(new, name)) {
            self.note(format!("env.{name}"), Reaction::Restart);
        }
    }
}
