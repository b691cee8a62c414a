//! The acceptance program for images, run as it is run by hand, so that it cannot rot.
//!
//! Why the program: its figures are those of a process of its own.

#[path = "../examples/acceptance.rs"]
#[allow(dead_code, unreachable_pub)]
mod acceptance;

/// Its own test binary: no other test adds to the process's memory.
#[test]
fn no_bomb_takes_a_second_or_64_mb() {
    let (report, held) = acceptance::report();
    assert!(held, "{report:#}");
}
