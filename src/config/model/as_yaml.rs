//! YAML knows values that JSON does not (keys that are no strings, tags): as text they pass through anything.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(value: &serde_yaml::Value, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&serde_yaml::to_string(value).map_err(S::Error::custom)?)
}

pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<serde_yaml::Value, D::Error> {
    serde_yaml::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
}
