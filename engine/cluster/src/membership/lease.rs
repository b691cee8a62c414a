//! Lease: until when an owner may act without being heard, by its own clock alone.
//!
//! Why: the log fences records, and rooms in memory have none. An owner that is cut off must stop showing
//! them before another node begins.
//! How: the lease runs to *the newest own time that a majority echoed* plus [`LEASE_MS`]. A node that echoed
//! promises nothing to another before [`SILENCE_MS`](super::SILENCE_MS) without a heartbeat, counted from
//! when it heard one, which is after that was sent.
//! Invariant: only monotonic clocks matter, and only that they differ by less than a third over a second. An
//! echo supports an owner only if the node that echoes has promised no higher term.
//! Not here: what freezes (`seat`).

use std::collections::BTreeMap;

use crate::id::NodeId;
use crate::time::OwnTime;

/// How long an owner acts after the last heartbeat that a majority heard.
pub const LEASE_MS: u64 = 1_000;

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Lease {
    /// How many nodes are a majority, this one included.
    majority: usize,
    echoed: BTreeMap<NodeId, OwnTime>,
}

impl Lease {
    /// A lease that nobody supports yet.
    #[must_use]
    pub fn new(majority: usize) -> Self {
        Lease { majority, echoed: BTreeMap::new() }
    }

    /// A node heard what this one sent at `own`, and has promised no higher term.
    pub fn support(&mut self, node: NodeId, own: OwnTime) {
        let newest = self.echoed.entry(node).or_insert(own);
        *newest = (*newest).max(own);
    }

    /// From here on only what is heard from now on counts.
    pub fn clear(&mut self) {
        self.echoed.clear();
    }

    /// When it ends; none if there was no majority yet.
    #[must_use]
    pub fn until(&self) -> Option<OwnTime> {
        // This node hears itself: one fewer than a majority is needed of the others.
        let needed = self.majority - 1;
        let echoed_by = |time: OwnTime| self.echoed.values().filter(|echo| **echo >= time).count();
        let newest = self.echoed.values().copied().filter(|time| echoed_by(*time) >= needed).max();
        newest.map(|time| time.plus(LEASE_MS))
    }

    /// May the owner act?
    #[must_use]
    pub fn holds(&self, now: OwnTime) -> bool {
        self.until().is_some_and(|until| now < until)
    }
}
