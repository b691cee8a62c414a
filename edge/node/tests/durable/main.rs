//! A node with a log on disk, as an operator meets it: the real binary, killed and restarted, on disks that
//! are full, read-only, stuck or broken, and under a clock that jumps.
//!
//! What is held each time: nothing acknowledged is lost, nothing stands twice, the node goes on serving,
//! health and metrics say what is wrong, and when it is over the node goes on by itself.
//! Disks are real where they can be (a small tmpfs, an ext4 on a loop device: only as root; else the test
//! says `skipped`). What cannot be undone on a real one, such as a disk that turns read-only under open
//! files, and a clock that jumps for one process alone, are done by a small C library under the process
//! (`shim`).
//! Not here: random moments, many times over (`cargo xtask soak`), the log by itself (`engine/store`).
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod closed;
mod disks;
mod machine;
mod operator;
mod people;
mod process;
mod removals;
mod restarts;
mod rot;
mod shim;
