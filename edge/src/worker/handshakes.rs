//! TLS handshakes that are due: in the order in which they came, a few milliseconds of them per turn.
//!
//! Why apart: one costs as much as a hundred writes. A rush of thousands must not hold up those who are inside, whose batches
//! go out between two turns.
//! Invariants: nobody passes anybody; every turn does at least one; while many are due no newcomers are taken over TLS, and
//! they wait in the kernel's queue rather than be let in and time out here.
//! Not here: QUIC's (`quic`), how many may be unfinished (`gate`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use grandstand_engine::message::Now;

use super::Worker;

/// Time for handshakes in one turn: less than people notice, and enough that what else a turn does costs little beside it.
pub(super) const TURN: Duration = Duration::from_millis(4);

/// The same while a round of fan-out is under way: a round of ten thousand viewers is twenty turns, which this makes longer by
/// a fifth of a tick.
pub(super) const TURN_AMID_ROUND: Duration = Duration::from_millis(1);

/// Handshakes due beyond which no newcomers are taken: some turns' worth.
const DUE_MAX: usize = 64;

/// See the file's head: epoll tokens of wires.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    due: VecDeque<u64>,
}

impl Handshakes {
    /// There are bytes for a handshake.
    pub(super) fn push(&mut self, token: u64) {
        self.due.push_back(token);
    }

    /// Is there more to do than newcomers should be added to?
    pub(super) fn is_behind(&self) -> bool {
        self.due.len() >= DUE_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

impl Worker {
    /// Go on with the handshakes that are due, for as long as a turn has for them; `true` when more are.
    pub(super) fn shake_hands(&mut self, now: Now) -> bool {
        let (began, time) = (Instant::now(), self.handshake_time());
        while let Some(token) = self.handshakes.due.pop_front() {
            if let Some(ix) = self.wires.of_token(token) {
                // To its end: the event that told of it may be older than what is there now.
                self.handle_wire_readable(now, ix, true);
            }
            if began.elapsed() >= time {
                break;
            }
        }
        !self.handshakes.is_empty()
    }

    /// What a turn has for handshakes of one transport.
    pub(super) fn handshake_time(&self) -> Duration {
        if self.audience.has_work() { TURN_AMID_ROUND } else { TURN }
    }
}
