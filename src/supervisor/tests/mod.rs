//! One scenario for each rule of the contract's section 3. The simulation (tests/sim) looks for the orders of
//! events that nobody thought of; these say what is to happen in those that somebody did.

mod affected;
mod builds;
mod changes;
mod commands;
mod edits;
mod end;
mod explain;
mod health;
mod large;
mod lost;
mod notices;
mod plans;
mod play;
mod rebuilds;
mod reexec;
mod replay;
mod restarts;
mod standing;
mod starting;
mod stopping;
mod tasks;
