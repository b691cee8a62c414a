//! The meter: it marks the code whose instructions callgrind counts.
//!
//! Invariant: callgrind collects exactly while [`collected`] runs (`--toggle-collect`). So there is one such
//! function; it is never inlined or generic, and it is never left by a jump.
//! Not here: running callgrind (`cargo xtask bench micro`).

use std::hint::black_box;

/// Rounds before counting: rings, queues and buffers have their full size by then, and every code path was
/// run once.
const WARM_UP_ROUNDS: usize = 40;

/// Rounds counted: an allocation that comes once in a dozen of them still shows.
const COUNTED_ROUNDS: usize = 50;

/// Counts operations.
#[derive(Debug)]
pub(crate) struct Meter {
    counts: bool,
    operations: u64,
}

/// Runs `round` until it is warm and then as often as is counted; how many operations were counted.
pub(crate) fn repeat(mut round: impl FnMut(&mut Meter)) -> u64 {
    let mut meter = Meter { counts: false, operations: 0 };
    for at in 0..WARM_UP_ROUNDS + COUNTED_ROUNDS {
        meter.counts = at >= WARM_UP_ROUNDS;
        round(&mut meter);
    }
    meter.operations
}

impl Meter {
    /// Runs `routine`, which does so many operations, and counts it unless this round is for warming up. What
    /// a round does outside of it is not counted.
    pub(crate) fn count(&mut self, operations: u64, mut routine: impl FnMut()) {
        if self.counts {
            self.operations += operations;
            collected(&mut routine);
        } else {
            routine();
        }
    }
}

/// See the file's head. The call through a pointer costs a handful of instructions, the same ones always.
#[inline(never)]
fn collected(routine: &mut dyn FnMut()) {
    routine();
    // Something to do after the call, or it would become a jump.
    black_box(1u64);
}
