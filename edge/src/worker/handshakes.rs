//! The handshakes of one worker: the queue of those that have not begun, and the list of those that have.
//!
//! Invariants: handshakes that have begun take precedence over those that have not, so that few are half
//! done. A queued connection holds no place of a line (`lines`), since it waits for the node and not the
//! node for it.
//! Not here: when they get time (`begin`), the order of the queue (`admission`).

use std::collections::VecDeque;

use grandstand_edge_core::admission::queue::{HandshakeKind, HandshakeQueue, QueueSettings};

use crate::config;
use crate::stats::Stats;

/// A queued connection: the epoll token of its link, or the number of its QUIC connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    Link(u64),
    Quic(u64),
}

/// The queue and the list of one worker's handshakes.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// Tokens of links whose handshake has begun and can continue.
    pub(super) due: VecDeque<u64>,
    pub(super) queue: HandshakeQueue<Pending>,
    /// All places for unfinished handshakes are taken, by connections that have had little time.
    pub(super) is_blocked: bool,
}

impl Handshakes {
    pub(super) fn new(limits: &config::Limits, seed: u64) -> Self {
        let settings = QueueSettings {
            share_percent: limits.handshake_share_percent,
            waiting_max: limits.handshakes_waiting_max,
            patience_us: limits.handshake_patience_ms * 1_000,
            seed,
        };
        Handshakes { due: VecDeque::new(), queue: HandshakeQueue::new(settings), is_blocked: false }
    }

    /// Copy the queue's counters to the metrics.
    pub(super) fn publish(&self, stats: &Stats) {
        for kind in HandshakeKind::ALL {
            stats.admissions_waiting.of(kind).set(self.queue.waiting_of(kind) as u64);
            stats.admission_cost_ns.of(kind).set(self.queue.cost_ns(kind));
        }
        stats.admission_wait_ns.set(self.queue.wait_us(HandshakeKind::TlsFull) * 1_000);
    }

    /// Bytes for a handshake that has begun have arrived.
    pub(super) fn push(&mut self, token: u64) {
        self.due.push_back(token);
    }
}
