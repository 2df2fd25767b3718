//! The JSON schema, for editors: made from the declarations that the loader reads by.

use serde_json::{Value as Json, json};

use super::decode::{Value, command_schema, one_of, words_schema};
use super::keys::{ComponentKeys, HealthKeys, ProjectKeys, ReadyKeys};
use super::lower::{HEALTH_CHECKS, READY_PROBES};
use crate::types::Signal;

/// The JSON schema of a `devmode.yaml`, draft 2020-12.
///
/// What it refuses, [`load`](super::load()) refuses; the loader also knows rules that no schema can say.
#[must_use]
pub fn schema() -> Json {
    let mut project = ProjectKeys::schema();
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "devmode.yaml of orch, version 1",
        "description": "Components of a project: what orch starts, restarts and stops.",
        "required": ["version"],
        "patternProperties": { "^x-": { "description": "Ignored: a place for anchors." } },
    });
    if let (Some(root), Some(project)) = (root.as_object_mut(), project.as_object_mut()) {
        root.append(project);
        root.insert("$defs".into(), definitions());
    }
    root
}

fn definitions() -> Json {
    json!({
        "name": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" },
        "interpolated": {
            "description": "A text with variables, such as `${PORT:-8080}`.",
            "type": "string",
            "pattern": "\\$",
        },
        "duration": { "anyOf": [duration(), { "$ref": "#/$defs/interpolated" }] },
        "size": { "anyOf": [size(), { "type": "integer", "minimum": 1 }, { "$ref": "#/$defs/interpolated" }] },
        "signal": { "anyOf": [signal(), { "$ref": "#/$defs/interpolated" }] },
        "words": words_schema(),
        "command": command_schema(),
        "components": {
            "type": "object",
            "propertyNames": { "$ref": "#/$defs/name" },
            "additionalProperties": { "$ref": "#/$defs/component" },
        },
        "component": component(),
        "ready": one_of(ReadyKeys::schema(), READY_PROBES),
        "health": one_of(HealthKeys::schema(), HEALTH_CHECKS),
    })
}

fn component() -> Json {
    let mut component = ComponentKeys::schema();
    for section in ["ready", "health"] {
        let forms = &mut component["properties"][section]["anyOf"];
        forms[0] = json!({ "$ref": format!("#/$defs/{section}") });
    }
    component["oneOf"] = json!([
        { "required": ["process"], "properties": { "thread": false, "with": false } },
        { "required": ["thread"], "properties": { "process": false } },
    ]);
    component
}

fn duration() -> Json {
    let unit = "(ns|nsec|us|µs|usec|ms|msec|millis|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)";
    json!({
        "description": "Numbers with units, such as `250ms`, `5s` or `1m 30s`.",
        "type": "string",
        "pattern": format!("^\\s*([0-9]+(\\.[0-9]+)?\\s*{unit}\\s*)+$"),
    })
}

fn size() -> Json {
    json!({
        "description": "A whole number with a unit, such as `64KiB` or `10MiB`.",
        "type": "string",
        "pattern": "^\\s*[0-9]+\\s*(B|KiB|MiB|GiB|TiB)?\\s*$",
    })
}

fn signal() -> Json {
    let names: Vec<String> =
        Signal::names().flat_map(|name| [name.trim_start_matches("SIG").to_owned(), name]).collect();
    json!({ "anyOf": [
        { "description": "A signal's name.", "enum": names },
        { "type": "string", "pattern": "^(SIG)?RTMIN\\+[0-9]+$" },
    ] })
}

#[cfg(test)]
mod tests {
    use super::schema;

    #[test]
    fn every_key_has_docs() {
        let schema = schema();
        let component = &schema["$defs"]["component"]["properties"];
        for (key, value) in component.as_object().unwrap() {
            assert!(value["description"].as_str().is_some_and(|docs| docs.len() > 5), "{key}");
        }
        assert_eq!(component["autostart"]["default"], true);
    }
}
