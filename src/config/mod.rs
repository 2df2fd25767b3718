//! L1, the configuration: text → model, with every mistake at once. Pure but for reading the files named,
//! and for looking whether the folders and programs named are there.
//!
//! The way of a file: [`Source`] (its bytes and lines) → `tree` (what YAML says, with places) → `decode` by
//! the declarations in `keys` (what is written, checked one by one) → `lower` (the typed [`model`], defaults
//! filled in, checked together). The [`schema()`] comes from the same declarations.

mod code;
mod decode;
mod edit;
mod env_file;
mod expand;
mod keys;
mod load;
mod lower;
pub mod model;
pub mod render;
mod report;
mod schema;
mod short;
mod source;
mod splice;
mod step;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod unit;
mod words;

pub use code::{ALL as CODES, Code};
pub use edit::{Edited, NotEdited, watch_more};
pub use load::{CheckWith, LoadOptions, Loaded, Threads, find, load, load_in_place_of};
pub use lower::absolute;
pub use schema::schema;
pub use source::{Source, Sources};
pub(crate) use unit::duration;
