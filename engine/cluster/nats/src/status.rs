//! Status: what the network's thread knows, for metrics and health, as plain data.
//!
//! Why one shared value: whoever reads it is on another thread and must not wait for this one.
//! Invariants: locks are held for a copy only, and counters only rise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use grandstand_cluster::id::{NodeId, Position};
use grandstand_cluster::membership::{ALIVE_MS, About, PeerRefusal, ShardReport, Versions};
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
    /// How many times this node asked a stream's leader to step down.
    pub leaders_moved: u64,
    /// Those of them because the leader acknowledged slowly.
    pub slow_leaders: u64,
    /// How many times this node moved to another server, since its own did not reach a log.
    pub connections_moved: u64,
    /// Shards whose streams this node's own server leads, as it saw last.
    pub leads: BTreeSet<u16>,
    /// The version by which the cluster writes; 0: not known yet.
    pub written: u16,
    /// Does the node give its shards away?
    pub is_draining: bool,
    /// Other nodes.
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// Streams of shards, in the order of shards.
    pub streams: Vec<StreamStatus>,
    /// Counts since the start.
    pub counters: Counters,
}

impl Status {
    pub(crate) fn note_leading(&mut self, shard: ShardId, is_own: bool) {
        if is_own {
            self.leads.insert(shard.0);
        } else {
            self.leads.remove(&shard.0);
        }
    }

    /// By shard, from the lowest bit: does another node that lives hear the log's leader?
    pub(crate) fn leaders_heard_by_others(&self, now: OwnTime) -> u64 {
        let lives = |peer: &&PeerStatus| {
            peer.refused.is_none() && peer.heard.is_some_and(|heard| now.since(heard) < ALIVE_MS)
        };
        self.peers.values().filter(lives).fold(0, |all, peer| all | peer.about.leaders)
    }
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
    /// What it said of itself last.
    pub about: About,
    /// Versions that it reads and writes.
    pub versions: Option<Versions>,
    /// How far its wall clock is ahead of this node's.
    pub clock_ahead_ms: Ahead,
}

/// How far another clock is ahead of this node's, in milliseconds: the least distance of the last seconds,
/// since a heartbeat that was late makes its clock look slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    shown: Option<i64>,
    least: Option<i64>,
    since: OwnTime,
}

/// The time over which the least distance is taken.
const AHEAD_OVER_MS: u64 = 3_000;

impl Ahead {
    /// The distance, once it is known.
    #[must_use]
    pub fn ms(&self) -> Option<i64> {
        self.shown
    }

    pub(crate) fn note(&mut self, now: OwnTime, ahead_ms: i64) {
        if self.least.is_none() {
            self.since = now;
        }
        if self.least.is_none_or(|least| ahead_ms.unsigned_abs() < least.unsigned_abs()) {
            self.least = Some(ahead_ms);
        }
        if now.since(self.since) >= AHEAD_OVER_MS {
            (self.shown, self.least) = (self.least, None);
        }
    }
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
    /// Within which time half of this owner's last records were acknowledged.
    pub acknowledged_ms: Option<u64>,
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
    is_draining: AtomicBool,
    agreed: AtomicU16,
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
            is_draining: AtomicBool::new(false),
            agreed: AtomicU16::new(0),
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
        (status.written, status.is_draining) = (self.agreed(), self.is_draining());
        status
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    pub(crate) fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::Relaxed);
    }

    /// The version by which the cluster writes, as this node knows; 0: not yet.
    pub(crate) fn agreed(&self) -> u16 {
        self.agreed.load(Ordering::Relaxed)
    }

    pub(crate) fn agree(&self, version: u16) {
        self.agreed.fetch_max(version, Ordering::Relaxed);
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
