//! The lines of one worker: connections whose handshake is not finished, and those that have said no `Hello`.
//!
//! Why per worker: connections are spread evenly, so each worker has an equal part of the places, without a
//! lock.
//! Invariant: a connection is in one of the lines from its accept until its session or its end, except while
//! it waits in the handshake queue, where it waits for the node.
//! Not here: who gives way (`admission::waiting`), how it is closed (`displace`), the order in which
//! handshakes begin (`queue`).

use grandstand_edge_core::admission::address::Address;
use grandstand_edge_core::admission::waiting::Admission;
use grandstand_edge_core::admission::waiting::lines::WaitingLines;
use grandstand_edge_core::key::Key;
use grandstand_engine::link::Now;

use crate::config;
use crate::stats::WaitedFor;

/// Time after which a client that gave way, or that got no place, may retry.
pub(super) const RETRY_AFTER_S: u32 = 1;

/// What a client without a place is told.
pub(super) const NO_PLACE: &str = "many clients are connecting at once";

/// Of the time for a handshake, the part for which a silent connection gives way to none of its own address.
const GRACE_PART: u64 = 10;

/// A waiting connection: the epoll token of its link, or the slot of its QUIC connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Waiter {
    Link(u64),
    Quic(u32),
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) handshakes: WaitingLines<Waiter>,
    pub(super) greetings: WaitingLines<Waiter>,
    /// Those that gave way and are not closed yet.
    pub(super) leaving: Vec<(Waiter, WaitedFor)>,
}

impl Lines {
    /// This worker's part of the node's places.
    pub(super) fn new(limits: &config::Limits, workers: usize, key: Key) -> Lines {
        let places_max = limits.handshakes_pending_max.div_ceil(workers.max(1));
        let grace_us = limits.handshake_timeout_ms * 1_000 / GRACE_PART;
        let lines = || WaitingLines::new(places_max, grace_us, key);
        Lines { handshakes: lines(), greetings: lines(), leaving: Vec::new() }
    }

    /// The node is full: a connection gives way to a new one of this address. `false` if none does. It is
    /// closed by the driver (`end_leaving`).
    pub(super) fn give_way(&mut self, address: Option<Address>, now: Now) -> bool {
        let handshake = self.handshakes.give_way(address, now.us).map(|gone| (gone, WaitedFor::Handshake));
        let gone = handshake
            .or_else(|| self.greetings.give_way(address, now.us).map(|gone| (gone, WaitedFor::Hello)));
        self.leaving.extend(gone);
        gone.is_some()
    }

    /// The same, where the address has as many connections as it may: one of its own gives way.
    pub(super) fn give_way_to_own(&mut self, address: Option<Address>, now: Now) -> bool {
        let Some(address) = address else { return false };
        let handshake = self.handshakes.give_way_to_own(address, now.us);
        let gone = handshake
            .map(|gone| (gone, WaitedFor::Handshake))
            .or_else(|| self.greetings.give_way_to_own(address, now.us).map(|gone| (gone, WaitedFor::Hello)));
        self.leaving.extend(gone);
        gone.is_some()
    }

    /// How many wait, in the order of [`WaitedFor`].
    pub(super) fn lens(&self) -> [usize; 2] {
        [self.handshakes.len(), self.greetings.len()]
    }

    /// The connection is gone.
    pub(super) fn leave(&mut self, waiter: Waiter) {
        if self.handshakes.leave(waiter).is_none() {
            self.greetings.leave(waiter);
        }
    }

    /// Whether it has a place; whoever had it before is about to be closed.
    pub(super) fn settle(&mut self, admission: Admission<Waiter>, waited_for: WaitedFor) -> bool {
        if let Admission::Replaces(gone) = admission {
            self.leaving.push((gone, waited_for));
        }
        admission != Admission::Refused
    }
}
