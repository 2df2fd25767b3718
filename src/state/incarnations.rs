//! The numbers of incarnations: 1, 2, 3 … for each component over the life of the state directory.
//!
//! A start must not wait for the disk. So each number is appended to one file without fsync: a killed orch
//! loses nothing by that, and only a crash of the machine may lose the last ones. After a boot that nobody
//! closed the file before, every counter therefore leaps ahead by more than can have been lost.
//!
//! The same file says which generation a run has become ready with. The ledger says so, too, but only after an
//! fsync: an orch that is killed before that would offer the generation to another run.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;

use super::generation::{read_small, write_all};
use super::shelf::create_anew;
use super::vfs::Vfs;
use crate::types::Name;

const FILE: &str = ".incarnations";
const NEW_FILE: &str = ".incarnations.new";
const MAGIC: &str = "orch-incarnations 1";
const MAX_FILE: u64 = 1 << 30;
/// More starts than a component makes within the half minute that the system may keep data back.
const LEAP: u64 = 1000;

/// A run became ready with a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) incarnation: u64,
    pub(crate) generation: u64,
}

/// The counters, and the file that they are kept in.
pub(crate) struct Incarnations<V: Vfs> {
    last: HashMap<Name, u64>,
    used: HashMap<Name, Use>,
    /// The open file and where its next line goes; `None` while it can't be written.
    file: Option<(V::File, u64)>,
}

impl<V: Vfs> Incarnations<V> {
    /// Reads the counters, and begins a file of this boot.
    pub(crate) fn open(vfs: &V, dir: &V::Dir, boot_id: &str) -> io::Result<Self> {
        let (last, used) = parse(&read(vfs, dir)?, boot_id);
        let mut counters = Self { last, used, file: None };
        // Without it the numbers hold in memory, and each start tries again.
        if let Err(error) = counters.rewrite(vfs, dir, boot_id) {
            tracing::warn!(%error, "the incarnations' numbers can't be written down");
        }
        Ok(counters)
    }

    /// The number that was given out last; 0 if none was.
    pub(crate) fn last(&self, name: &Name) -> u64 {
        self.last.get(name).copied().unwrap_or(0)
    }

    /// The numbers of all components.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Name, &u64)> {
        self.last.iter()
    }

    /// Notes that numbers up to this one are given out.
    pub(crate) fn note(
        &mut self,
        vfs: &V,
        dir: &V::Dir,
        boot_id: &str,
        name: &Name,
        number: u64,
    ) -> io::Result<()> {
        self.last.insert(name.clone(), number);
        self.append((vfs, dir), boot_id, &format!("{name} {number}\n"))
    }

    /// The last use of a component's generation that was noted.
    pub(crate) fn used(&self, name: &Name) -> Option<Use> {
        self.used.get(name).copied()
    }

    /// Notes that a run has become ready with a generation.
    pub(crate) fn note_use(
        &mut self,
        (vfs, dir): (&V, &V::Dir),
        boot_id: &str,
        name: &Name,
        used: Use,
    ) -> io::Result<()> {
        self.used.insert(name.clone(), used);
        self.append((vfs, dir), boot_id, &line_of(name, used))
    }

    fn append(&mut self, (vfs, dir): (&V, &V::Dir), boot_id: &str, line: &str) -> io::Result<()> {
        let Some((file, end)) = &mut self.file else { return self.rewrite(vfs, dir, boot_id) };
        if let Err(error) = write_all(vfs, file, line.as_bytes(), *end) {
            // There may be half a line; the next one begins a new file.
            self.file = None;
            return Err(error);
        }
        *end += line.len() as u64;
        Ok(())
    }

    /// Makes the file durable and notes in it that nothing is missing.
    pub(crate) fn close(&mut self, vfs: &V, dir: &V::Dir) -> io::Result<()> {
        self.file = None;
        self.rewrite(vfs, dir, "closed")
    }

    fn rewrite(&mut self, vfs: &V, dir: &V::Dir, boot: &str) -> io::Result<()> {
        let mut text = format!("{MAGIC} {boot}\n");
        for (name, number) in &self.last {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} {number}");
        }
        self.used.iter().for_each(|(name, used)| text.push_str(&line_of(name, *used)));
        let (new, file) = (OsStr::new(NEW_FILE), OsStr::new(FILE));
        let opened = create_anew(vfs, dir, new, 0o600)?;
        write_all(vfs, &opened, text.as_bytes(), 0)?;
        vfs.sync(&opened)?;
        vfs.rename(dir, new, dir, file)?;
        vfs.sync_dir(dir)?;
        self.file = Some((opened, text.len() as u64));
        Ok(())
    }
}

/// The last use of a component's generation that was noted, for who only looks.
pub(crate) fn last_use<V: Vfs>(vfs: &V, dir: &V::Dir, name: &Name) -> Option<Use> {
    let (_, used) = parse(&read(vfs, dir).ok()?, "");
    used.get(name).copied()
}

fn read<V: Vfs>(vfs: &V, dir: &V::Dir) -> io::Result<String> {
    let text = match vfs.open(dir, FILE.as_ref()) {
        Ok(file) => read_small(vfs, &file, MAX_FILE)?.unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn line_of(name: &Name, used: Use) -> String {
    format!("{name} {} used {}\n", used.incarnation, used.generation)
}

/// The highest number of each component, and its last use. Lines that a crash has cut short or blanked are passed over.
fn parse(text: &str, boot_id: &str) -> (HashMap<Name, u64>, HashMap<Name, Use>) {
    let mut lines = text.lines();
    let boot = lines.next().and_then(|line| line.strip_prefix(MAGIC)).map(str::trim);
    let complete = boot.is_some_and(|boot| boot == "closed" || (!boot.is_empty() && boot == boot_id));
    let mut last: HashMap<Name, u64> = HashMap::new();
    let mut used = HashMap::new();
    for line in lines {
        let Some((name, rest)) = line.split_once(' ') else { continue };
        let Ok(name) = Name::new(name) else { continue };
        if let Some((incarnation, generation)) = rest.split_once(" used ") {
            if let (Ok(incarnation), Ok(generation)) = (incarnation.parse(), generation.parse()) {
                used.insert(name, Use { incarnation, generation });
            }
            continue;
        }
        let Ok(number) = rest.parse::<u64>() else { continue };
        let known = last.entry(name).or_insert(0);
        *known = number.max(*known);
    }
    if !complete {
        last.values_mut().for_each(|number| *number = number.saturating_add(LEAP));
    }
    (last, used)
}

#[cfg(test)]
mod tests {
    use super::super::vfs::Os;
    use super::*;

    #[test]
    fn numbers_go_on_after_a_kill_and_leap_after_a_crash_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Os.open_path(folder.path()).unwrap();
        let (api, web) = (Name::new("api").unwrap(), Name::new("web").unwrap());
        let mut counters = Incarnations::open(&Os, &dir, "boot").unwrap();
        assert_eq!(counters.last(&api), 0);
        for number in 1..=3 {
            counters.note(&Os, &dir, "boot", &api, number).unwrap();
        }
        counters.note(&Os, &dir, "boot", &web, 1).unwrap();
        drop(counters);
        let used = Use { incarnation: 3, generation: 9 };
        let mut noting = Incarnations::open(&Os, &dir, "boot").unwrap();
        noting.note_use((&Os, &dir), "boot", &api, used).unwrap();
        drop(noting);
        let mut killed = Incarnations::open(&Os, &dir, "boot").unwrap();
        assert_eq!((killed.used(&api), killed.used(&web)), (Some(used), None));
        assert_eq!((killed.last(&api), killed.last(&web)), (3, 1));
        killed.note(&Os, &dir, "boot", &api, 4).unwrap();
        let mut crashed = Incarnations::open(&Os, &dir, "another").unwrap();
        assert_eq!((crashed.last(&api), crashed.last(&web)), (1004, 1001));
        crashed.close(&Os, &dir).unwrap();
        let closed = Incarnations::open(&Os, &dir, "third").unwrap();
        assert_eq!((closed.last(&api), closed.used(&api)), (1004, Some(used)));
    }

    #[test]
    fn torn_lines_are_passed_over() {
        let text = "orch-incarnations 1 b\napi 7\n\0\0\0\0\nweb 1x\napi 7 used 5\napi 3\napi 7 used \nweb";
        let (last, used) = parse(text, "b");
        let api = Name::new("api").unwrap();
        assert_eq!(last.into_iter().collect::<Vec<_>>(), [(api.clone(), 7)]);
        let expected = Use { incarnation: 7, generation: 5 };
        assert_eq!(used.into_iter().collect::<Vec<_>>(), [(api, expected)]);
    }
}
