//! Threads inside orch.
