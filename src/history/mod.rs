//! The hand that reads what was recorded: of a project that runs, or of one that has ended.

pub mod logs;
