//! Processes, through a keeper.
