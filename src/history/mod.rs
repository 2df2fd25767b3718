//! A hand that reads what was recorded, while something runs and when nothing does. It changes nothing.

pub mod events;
pub mod logs;
