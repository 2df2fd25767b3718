//! From an event in a real folder to the files and folders that it concerns.

use std::fs;
use std::path::Path;

use super::engine::Engine;
use super::judge::Entry;
use super::native::{Happening, What};
use super::places::Target;
use super::print::Print;

/// What stands at a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    File,
    /// A folder, a link, or something else that is looked at again.
    Other,
}

impl Engine {
    pub(super) fn happened(&mut self, happening: &Happening) {
        let path = &happening.path;
        let lost = match happening.what {
            What::Gone => self.places.lose(path),
            _ => Default::default(),
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let targets = self.places.targets(folder, name);
        if name == ".gitignore" && happening.what != What::Touched && !targets.is_empty() {
            self.is_git_stale = true;
        }
        for owner in lost {
            // A folder moved away of which only the inside is known, such as the project's folder.
            if !targets.iter().any(|target| target.owner == owner) {
                self.look_at_base(owner);
            }
        }
        if targets.is_empty() {
            return;
        }
        let kind = match happening.what {
            What::Written | What::Touched => Kind::File,
            What::Placed | What::Created | What::Gone => kind(path),
        };
        for target in targets {
            self.concerns(&target, happening.what, kind);
        }
    }

    fn concerns(&mut self, target: &Target, what: What, kind: Kind) {
        let is_known = self.files.contains_key(&target.path);
        let is_placed = matches!(what, What::Placed | What::Created | What::Gone);
        match kind {
            Kind::File if is_known || !target.is_link => self.file(target, what),
            Kind::Nothing if is_known => self.on_file(&target.path, What::Gone),
            _ => {}
        }
        let was_other = self.places.knows(target.owner, &target.path);
        let is_plain = kind == Kind::File && is_known && target.is_link;
        if is_placed && !is_plain && (was_other || kind == Kind::Other) {
            self.rescan(target.owner, &target.path);
        }
    }

    /// Something happened to a file, perhaps a new one.
    fn file(&mut self, target: &Target, what: What) {
        let Target { owner, path, .. } = target;
        let known = self.files.get(path);
        if !known.is_some_and(|entry| entry.owners.contains(owner)) && !target.is_link {
            let rules = self.rules.get(&owner.key).cloned();
            if !rules.is_some_and(|rules| rules.admits(&mut self.git, owner.base, path, false)) {
                return;
            }
            if known.is_none() && what == What::Gone {
                return;
            }
            let entry = self.files.entry(path.clone());
            entry.or_insert_with(|| Entry::new(Print::Absent, *owner)).owners.insert(*owner);
        }
        self.on_file(path, what);
    }
}

fn kind(path: &Path) -> Kind {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Kind::File,
        Ok(_) => Kind::Other,
        Err(_) => Kind::Nothing,
    }
}
