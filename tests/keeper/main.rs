//! The keeper with real processes: whatever a unit does, it is told of truly and ended wholly. All of it twice:
//! where units have cgroups (if this machine lets us make any), and where only marks tell whose a process is.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test where the world fails them")]
#![expect(clippy::duplicate_mod, reason = "the same tests, once for each way of knowing whose a process is")]

#[path = "suite.rs"]
mod by_cgroup;
#[path = "suite.rs"]
mod by_marks;
mod cgroups;
mod deaf;
