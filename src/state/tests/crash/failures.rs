//! Every operation fails in turn.
