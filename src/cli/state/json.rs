//! What `orch state` tells programs. The shapes are described in docs/state.md; what is there, stays.

use serde_json::{Value, json};

use super::render::Report;
use crate::runtime::states::{Entry, Fate, Handed, InPlace, Inventory, Payload, Record, SavedStates, What};

/// All that is saved, for programs.
pub(super) fn list(states: &SavedStates, inventories: &[Inventory]) -> Value {
    let components: Vec<Value> = inventories.iter().map(inventory_json).collect();
    json!({
        "project": states.project(),
        "state_dir": states.state_dir().to_string_lossy(),
        "components": components,
    })
}

fn inventory_json(inventory: &Inventory) -> Value {
    let generations: Vec<Value> = inventory.generations.iter().map(entry_json).collect();
    let aside = inventory.quarantine.iter().map(|aside| {
        json!({ "name": aside.name.to_string_lossy(), "path": aside.path.to_string_lossy(), "bytes": aside.bytes })
    });
    let record = match inventory.record {
        Record::None => "none",
        Record::Sound => "sound",
        Record::Lost => "lost",
    };
    json!({
        "name": inventory.component.as_str(),
        "declared": inventory.file.is_some(),
        "record": record,
        "running": inventory.running,
        "given": inventory.given,
        "file": inventory.file.as_ref().map(file_json),
        "generations": generations,
        "quarantine": aside.collect::<Vec<Value>>(),
    })
}

fn file_json(file: &InPlace) -> Value {
    let (is, generation, bytes, modified, reason) = match &file.what {
        What::Absent => ("absent", None, None, None, None),
        What::Known { generation, bytes } => ("sealed", Some(*generation), Some(*bytes), None, None),
        What::Changed { bytes, modified } => {
            ("unsealed", None, Some(*bytes), modified.map(|modified| format!("{modified:.6}")), None)
        }
        What::Refused(reason) => ("refused", None, None, None, Some(reason.to_string())),
    };
    json!({
        "path": file.path.to_string_lossy(),
        "is": is,
        "generation": generation,
        "bytes": bytes,
        "modified": modified,
        "reason": reason,
    })
}

fn entry_json(entry: &Entry) -> Value {
    let header = entry.header.as_ref();
    let restored_as = match &entry.fate {
        Fate::Next(handed) => Some(handed.as_str()),
        _ => None,
    };
    let reason = match &entry.fate {
        Fate::Flawed(reason) => Some(reason.to_string()),
        _ => None,
    };
    json!({
        "generation": entry.generation,
        "source": header.map(|header| header.source.as_str()),
        "incarnation": header.map(|header| header.incarnation),
        "time": header.map(|header| format!("{:.6}", header.timestamp)),
        "age_s": entry.age.map(|age| age.as_secs_f64()),
        "bytes": header.map(|header| header.payload_len),
        "is": entry.fate.as_str(),
        "restored_as": restored_as,
        "offers": entry.offers,
        "reason": reason,
        "checked": entry.checked,
        "path": entry.path.to_string_lossy(),
    })
}

/// What a payload is: the keys of the generation's own header, and what it is now.
pub(super) fn header(payload: &Payload) -> Value {
    let header = &payload.header;
    json!({
        "component": header.component,
        "incarnation": header.incarnation,
        "generation": header.generation,
        "source": header.source.as_str(),
        "time": format!("{:.6}", header.timestamp),
        "bytes": header.payload_len,
        "restored_as": payload.next.map(Handed::as_str),
    })
}

/// What `verify` has found.
pub(super) fn report(report: &Report<'_>) -> Value {
    let flaws = report.flaws.iter().map(|(name, flaw)| {
        json!({
            "component": name.as_str(),
            "generation": flaw.generation,
            "path": flaw.path.to_string_lossy(),
            "reason": flaw.reason.to_string(),
        })
    });
    let failures = report.failures.iter().map(|(name, error)| {
        json!({ "component": name.as_str(), "generation": null, "path": null, "reason": error })
    });
    json!({
        "sound": report.is_sound(),
        "generations": report.generations,
        "ledgers": report.records,
        "bytes": report.bytes,
        "flaws": flaws.chain(failures).collect::<Vec<Value>>(),
    })
}
