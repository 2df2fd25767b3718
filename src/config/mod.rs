//! L1, the configuration: text → model, with every mistake at once. Pure but for reading the files named.

pub mod model;
