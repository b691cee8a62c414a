//! Status: what the network's thread knows, for metrics and health, as plain data.
//!
//! Why one shared value: whoever reads it is on another thread and must not wait for this one.
//! Invariants: locks are held for a copy only, and counters only rise.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use grandstand_cluster::id::{NodeId, Position};
use grandstand_cluster::membership::{PeerRefusal, ShardReport};
use grandstand_cluster::time::OwnTime;
use grandstand_engine::link::ShardId;

use crate::admin::AdminFault;
use crate::house::House;

/// What a node knows of its network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The server that the node is connected to, by its name; none while it is not connected.
    pub server: Option<String>,
    /// The version of that server.
    pub server_version: Option<String>,
    /// From this node to its server and back, as measured last.
    pub round_trip_us: Option<u64>,
    /// How many times the node connected to a server, the first time included.
    pub connects: u64,
    /// What went wrong last, and what to do.
    pub problem: Option<String>,
    /// What was wrong with streams, servers and facts at the last check; while there is anything, nothing
    /// is to be acknowledged as replicated.
    pub faults: Vec<AdminFault>,
    /// When that was looked at last, by this node's own time.
    pub checked: Option<OwnTime>,
    /// How many times a stream's leader was moved away from this node's own server.
    pub leaders_moved: u64,
    /// Other nodes.
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// Streams of shards, in the order of shards.
    pub streams: Vec<StreamStatus>,
    /// Counts since the start.
    pub counters: Counters,
}

/// What a node knows of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// When it was heard last, by this node's own time.
    pub heard: Option<OwnTime>,
    /// Why its heartbeats are not heard; its text says what to do.
    pub refused: Option<PeerRefusal>,
    /// Nobody could receive the last ping to it.
    pub is_unreachable: bool,
    /// How many connections it has.
    pub load: u32,
}

/// What a node knows of a shard's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamStatus {
    /// The server that leads it, by its name; none while it has no leader.
    pub leader: Option<String>,
    /// Its first message that is still there.
    pub first: Position,
    /// Its last message.
    pub last: Position,
    /// When the stream said so, by this node's own time; none if it never did.
    pub seen: Option<OwnTime>,
}

/// Counts since the start of the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages of stands that were lost: the thread was behind, or no server was connected.
    pub unsent: u64,
    /// Messages for stands that were lost, since the stand was behind.
    pub undelivered: u64,
    /// Messages of other nodes that could not be read.
    pub malformed: u64,
    /// Messages that the client dropped, since this thread was behind.
    pub dropped: u64,
    /// Appends that the log acknowledged.
    pub acknowledged: u64,
    /// Appends that the log answered by anything else.
    pub rejected: u64,
    /// Messages of the log that were read.
    pub read: u64,
}

#[derive(Debug, Default)]
pub(crate) struct AtomicCounters {
    pub(crate) unsent: AtomicU64,
    pub(crate) undelivered: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) read: AtomicU64,
}

/// What the thread shares with others.
pub(crate) struct Shared {
    pub(crate) house: OnceLock<Arc<dyn House>>,
    status: Mutex<Status>,
    reports: Mutex<Vec<Option<ShardReport>>>,
    pub(crate) counters: AtomicCounters,
    pub(crate) waiting_bytes: AtomicUsize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(shards: usize) -> Self {
        let status = Status { streams: vec![StreamStatus::default(); shards], ..Status::default() };
        Shared {
            house: OnceLock::new(),
            status: Mutex::new(status),
            reports: Mutex::new(vec![None; shards]),
            counters: AtomicCounters::default(),
            waiting_bytes: AtomicUsize::new(0),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = self.lock().clone();
        let counters = &self.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        status.counters = Counters {
            unsent: of(&counters.unsent),
            undelivered: of(&counters.undelivered),
            malformed: of(&counters.malformed),
            dropped: of(&counters.dropped),
            acknowledged: of(&counters.acknowledged),
            rejected: of(&counters.rejected),
            read: of(&counters.read),
        };
        status
    }

    /// For a change of what is shown. Nothing slow is done with it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Status> {
        // Plain data: whoever panicked with the lock left it readable.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_problem(&self, problem: String) {
        self.lock().problem = Some(problem);
    }

    pub(crate) fn set_report(&self, shard: ShardId, report: ShardReport) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = reports.get_mut(usize::from(shard.0)) {
            *slot = Some(report);
        }
    }

    pub(crate) fn reports(&self) -> Vec<ShardReport> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().copied().collect()
    }
}
