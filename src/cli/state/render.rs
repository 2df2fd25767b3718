//! What `orch state` tells people.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use crate::runtime::states::{
    Cleared, Entry, Fate, FlawFound, Handed, Header, InPlace, Inventory, Payload, Record, SavedStates,
    Verified, What,
};
use crate::types::Name;

/// All that is saved, for people.
pub(super) fn list(states: &SavedStates, inventories: &[Inventory]) -> String {
    if inventories.is_empty() {
        return "no component has a state\n".to_owned();
    }
    let blocks: Vec<String> = inventories.iter().map(|inventory| block(states, inventory)).collect();
    blocks.join("\n")
}

fn block(states: &SavedStates, inventory: &Inventory) -> String {
    let name = &inventory.component;
    let mut text = match (&inventory.file, states.project()) {
        (Some(file), _) => format!("{name}: {}\n", in_place(states, file, inventory.running)),
        (None, Some(_)) => format!("{name}: the project declares no state for it\n"),
        (None, None) => format!("{name}:\n"),
    };
    match inventory.record {
        Record::Lost => {
            text += "  its record is damaged or gone: the next start would offer used states, too\n"
        }
        Record::None | Record::Sound => {}
    }
    if let Some(run) = inventory.running {
        let given = inventory.given.map_or("nothing".to_owned(), |given| format!("generation {given}"));
        text += &format!("  run {run}, whose end is not recorded, was given {given}\n");
    }
    if inventory.generations.is_empty() {
        text += "  nothing is saved\n";
    } else {
        let head = ["GENERATION", "SOURCE", "RUN", "SEALED", "AGE", "SIZE", "NOW"].map(str::to_owned);
        let rows = inventory.generations.iter().rev().map(row);
        text += &table(std::iter::once(head).chain(rows).collect());
    }
    for aside in &inventory.quarantine {
        text += &format!("  quarantine  {}  ({})\n", plain(&aside.name), size(aside.bytes));
    }
    text
}

fn in_place(states: &SavedStates, file: &InPlace, running: Option<u64>) -> String {
    let path = near(states, &file.path);
    match &file.what {
        What::Absent => format!("{path} is not there"),
        What::Known { generation, bytes } => {
            format!("{path}, {}, as in generation {generation}", size(*bytes))
        }
        What::Changed { bytes, .. } => {
            let when = if running.is_some() { "when that run ends" } else { "before the next start" };
            format!("{path}, {}, not sealed yet; it is looked at {when}", size(*bytes))
        }
        What::Refused(reason) => format!("{path} can't be used: {reason}"),
    }
}

fn row(entry: &Entry) -> [String; 7] {
    let of = |tell: &dyn Fn(&Header) -> String| entry.header.as_ref().map_or("?".to_owned(), tell);
    [
        entry.generation.to_string(),
        of(&|header| header.source.as_str().to_owned()),
        of(&|header| header.incarnation.to_string()),
        of(&|header| format!("{:.0}", header.timestamp)),
        entry.age.map_or("?".to_owned(), ago),
        of(&|header| size(header.payload_len)),
        now(entry),
    ]
}

/// What a generation is now, in words.
fn now(entry: &Entry) -> String {
    let mut words = match &entry.fate {
        Fate::Next(Handed::Backup) => "next, standing in for a damaged one".to_owned(),
        Fate::Next(_) => "next".to_owned(),
        Fate::LaidAside => "laid aside".to_owned(),
        Fate::PassedOver(_) if entry.fate.as_str() == "future" => "from the future".to_owned(),
        Fate::PassedOver(_) => "too old".to_owned(),
        Fate::Flawed(reason) => reason.to_string(),
        Fate::Kept | Fate::Used | Fate::Poisoned => entry.fate.as_str().to_owned(),
    };
    if entry.offers > 0 {
        let times = if entry.offers == 1 { "once".to_owned() } else { format!("{} times", entry.offers) };
        words += &format!("; offered {times}");
    }
    if !entry.checked {
        words += "; its checksum was not looked at";
    }
    words
}

/// Columns, numbers to the right, words to the left.
fn table(rows: Vec<[String; 7]>) -> String {
    const RIGHT: [bool; 7] = [true, false, true, false, true, true, false];
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..RIGHT.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cell = |(column, cell): (usize, &String)| match RIGHT[column] {
            true => format!("{cell:>0$}", widths[column]),
            false => format!("{cell:<0$}", widths[column]),
        };
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        text += &format!("  {}\n", cells.join("  ").trim_end());
    }
    text
}

/// What a payload is, in a line.
pub(super) fn header(payload: &Payload) -> String {
    let header = &payload.header;
    let next = match payload.next {
        Some(_) => ", given to the next start",
        None => ", not given to the next start as things are",
    };
    format!(
        "orch: generation {} of {}: {} of run {}, sealed {:.0}, {} bytes{next}\n",
        header.generation,
        header.component,
        header.source.as_str(),
        header.incarnation,
        header.timestamp,
        header.payload_len,
    )
}

/// What `verify` has found.
pub(super) struct Report<'r> {
    pub(super) generations: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) flaws: Vec<(&'r Name, &'r FlawFound)>,
    /// Components whose folders can't be read.
    pub(super) failures: Vec<(&'r Name, &'r str)>,
}

impl<'r> Report<'r> {
    pub(super) fn of(results: &'r [(Name, Result<Verified, String>)]) -> Self {
        let mut report = Self { generations: 0, records: 0, bytes: 0, flaws: vec![], failures: vec![] };
        for (name, result) in results {
            match result {
                Ok(verified) => {
                    report.generations += verified.generations;
                    report.records += verified.records;
                    report.bytes += verified.bytes;
                    report.flaws.extend(verified.flaws.iter().map(|flaw| (name, flaw)));
                }
                Err(error) => report.failures.push((name, error)),
            }
        }
        report
    }

    pub(super) fn is_sound(&self) -> bool {
        self.flaws.is_empty() && self.failures.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, flaw) in &self.flaws {
            let what = match flaw.generation {
                Some(generation) => format!("generation {generation} is {}", flaw.reason),
                None => "its ledger is damaged or gone".to_owned(),
            };
            text += &format!("{name}: {what}\n  {}\n", flaw.path.display());
        }
        for (name, error) in &self.failures {
            text += &format!("{name}: {error}\n");
        }
        let count = |count: u64, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let verdict = match self.flaws.len() + self.failures.len() {
            0 => "all sound".to_owned(),
            1 => "1 flaw".to_owned(),
            flaws => format!("{flaws} flaws"),
        };
        let (generations, records) = (count(self.generations, "generation"), count(self.records, "ledger"));
        text + &format!("read {} bytes: {generations}, {records}: {verdict}\n", self.bytes)
    }
}

/// What `clear` has done to a component.
pub(super) fn cleared(states: &SavedStates, name: &Name, cleared: &Cleared) -> String {
    let mut done = Vec::new();
    if !cleared.generations.is_empty() {
        let numbers: Vec<String> = cleared.generations.iter().map(|(number, _)| number.to_string()).collect();
        let bytes = cleared.generations.iter().map(|(_, bytes)| bytes).sum();
        let word = if numbers.len() == 1 { "generation" } else { "generations" };
        done.push(format!("removed {word} {} ({})", numbers.join(", "), size(bytes)));
    }
    if let Some(record) = &cleared.record {
        done.push(format!("its damaged record is now {}", near(states, record)));
    }
    if let Some((from, to)) = &cleared.set_aside {
        done.push(format!("moved {} to {}", near(states, from), near(states, to)));
    }
    if let Some(left) = &cleared.left {
        done.push(format!(
            "left {} alone, since no component that is cleared declares it",
            near(states, left)
        ));
    }
    if done.is_empty() {
        done.push("nothing to clear".to_owned());
    }
    format!("orch: {name}: {}\n", done.join("; "))
}

/// A path as short as can be: from the folder that the state directory is in.
fn near(states: &SavedStates, path: &Path) -> String {
    let folder = states.state_dir().parent();
    let short = folder.and_then(|folder| path.strip_prefix(folder).ok()).unwrap_or(path);
    plain(short.as_os_str())
}

/// A name without what a terminal would obey.
fn plain(name: &OsStr) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    name.to_string_lossy().chars().map(escaped).collect()
}

/// Bytes in the largest unit that leaves a number above 1.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes;
    let mut tenths = 0;
    let mut unit = "B";
    for next in UNITS {
        if scaled < 1024 {
            break;
        }
        tenths = scaled % 1024 * 10 / 1024;
        scaled /= 1024;
        unit = next;
    }
    if unit == "B" || scaled >= 100 {
        format!("{scaled} {unit}")
    } else {
        format!("{scaled}.{tenths} {unit}")
    }
}

/// A duration in its largest unit.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        let sizes =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB")];
        for (bytes, text) in sizes.into_iter().chain([(100 << 30, "100 GiB"), (u64::MAX, "16777215 TiB")]) {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")] {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_name_can_t_command_a_terminal() {
        assert_eq!(plain(OsStr::new("a\u{1b}[2J\u{9b}b é")), "a\\u{1b}[2J\\u{9b}b é");
    }
}
