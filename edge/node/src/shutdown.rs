//! Shutdown: the order in which a node releases its parts, whether a signal, the admin port or the successor
//! asks for it.
//!
//! **A drain.** The node is not ready. New connections are told to use another node, and each client is told
//! when to leave. Rooms continue until the end.
//!
//! **A stop.** Workers submit nothing more to the shards (a release). The shards seal what they have, and
//! workers that still write send the answers. The log is closed. Only then are connections closed and threads
//! ended.
//!
//! **A hand-over** has another order: first the release and the log, since the successor waits for it; then
//! the drain.
//!
//! Invariants: a node drains once; its rooms are released once.
//! Not here: sockets and how they are passed (`handover`), signals (`run`), what a client is told (the edge).

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_edge::workers::{LINGER_S, Workers};
use grandstand_edge_core::audience::Drain;
use tokio::sync::watch;

use crate::http::admin::{DrainControl, DrainRequest, DrainStatus};
use crate::rooms::Rooms;

/// Connections that the successor accepts per second, when `drain.handover_spread_ms` does not set the time.
const HANDOVER_PER_S: u64 = 2_000;

/// Time after the last deadline: closed links linger, and a worker looks for late ones once a second.
const LINGER: Duration = Duration::from_secs(LINGER_S as u64 + 1);

/// A drain under way.
#[derive(Clone, Debug)]
pub(crate) struct Draining {
    since: Instant,
    spread: Duration,
    grace: Duration,
    where_to: String,
    connections: usize,
    is_handed_over: bool,
}

impl Draining {
    fn ends(&self) -> Instant {
        self.since + self.spread + self.grace + LINGER
    }
}

/// The drain and the release of one node.
pub(crate) struct Shutdown {
    clock: Clock,
    config: Arc<Config>,
    workers: Arc<Workers>,
    ready: Arc<AtomicBool>,
    rooms: Mutex<Option<Rooms>>,
    draining: watch::Sender<Option<Draining>>,
}

impl Shutdown {
    pub(crate) fn new(
        clock: Clock,
        config: Arc<Config>,
        workers: Arc<Workers>,
        ready: Arc<AtomicBool>,
    ) -> Shutdown {
        let draining = watch::channel(None).0;
        Shutdown { clock, config, workers, ready, rooms: Mutex::default(), draining }
    }

    /// The clock for the end of this process.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// From now on this process owns the rooms.
    pub(crate) fn own(&self, rooms: Rooms) {
        *self.rooms() = Some(rooms);
    }

    fn rooms(&self) -> MutexGuard<'_, Option<Rooms>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watch for the beginning of a drain.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Draining>> {
        self.draining.subscribe()
    }

    /// All clients have left, or have reached their deadline.
    pub(crate) fn is_over(&self) -> bool {
        let draining = self.draining.borrow();
        draining.as_ref().is_some_and(|l| self.workers.connections() == 0 || self.clock.instant() >= l.ends())
    }

    /// Release the rooms. Their last answers are on their way to the workers when this returns.
    fn release_rooms(&self) {
        let rooms = self.rooms().take();
        if let Some(rooms) = rooms {
            rooms.release();
        }
    }

    /// Release everything that the successor waits for. `forwarded` has a socket for each worker whose
    /// datagrams the successor reads from now on, over which it forwards them. Connections stay until
    /// [`Self::send_over`].
    pub(crate) fn hand_over(&self, forwarded: Vec<UnixStream>) {
        self.ready.store(false, Ordering::Release);
        self.workers.release(forwarded);
        self.release_rooms();
    }

    /// The successor serves (or is gone): send all clients there.
    pub(crate) fn send_over(&self) {
        let connections = self.workers.connections();
        let longest_ms = self.config.drain.spread_ms;
        let spread_ms = match self.config.drain.handover_spread_ms {
            0 => connections as u64 * 1_000 / HANDOVER_PER_S,
            ms => ms,
        };
        self.begin(&Drain {
            where_to: String::new(),
            spread_ms: spread_ms.min(longest_ms) as u32,
            grace_ms: self.config.drain.grace_ms as u32,
            is_handed_over: true,
        });
    }

    /// Stop everything: answers first, then connections.
    pub(crate) fn stop(&self) {
        self.ready.store(false, Ordering::Release);
        self.workers.release(Vec::new());
        self.release_rooms();
        self.workers.stop();
    }

    /// Begin a drain, once; `false` when the node drains already.
    fn begin(&self, drain: &Drain) -> bool {
        let is_first = self.draining.send_if_modified(|draining| {
            let is_first = draining.is_none();
            if is_first {
                *draining = Some(Draining {
                    since: self.clock.instant(),
                    spread: Duration::from_millis(drain.spread_ms.into()),
                    grace: Duration::from_millis(drain.grace_ms.into()),
                    where_to: drain.where_to.clone(),
                    connections: self.workers.connections(),
                    is_handed_over: drain.is_handed_over,
                });
            }
            is_first
        });
        if is_first {
            self.ready.store(false, Ordering::Release);
            self.workers.drain(drain);
        }
        is_first
    }
}

impl DrainControl for Shutdown {
    fn drain(&self, request: &DrainRequest) -> DrainStatus {
        let drain = &self.config.drain;
        let spread_ms = request.spread_ms.unwrap_or(drain.spread_ms as u32);
        let deadline_ms = request.deadline_ms.unwrap_or(spread_ms.saturating_add(drain.grace_ms as u32));
        let spread_ms = spread_ms.min(deadline_ms);
        let is_new = self.begin(&Drain {
            where_to: request.where_to.clone().unwrap_or_else(|| drain.go_to.clone()),
            spread_ms,
            grace_ms: deadline_ms - spread_ms,
            is_handed_over: false,
        });
        if is_new {
            tracing::info!(connections = self.workers.connections(), spread_ms, deadline_ms, "draining");
        }
        self.status()
    }

    fn status(&self) -> DrainStatus {
        let connections = self.workers.connections();
        let draining = self.draining.borrow().clone();
        let Some(l) = draining else {
            return DrainStatus { state: "serving", connections, ..DrainStatus::default() };
        };
        DrainStatus {
            state: if l.is_handed_over { "handed_over" } else { "draining" },
            connections,
            connections_at_start: l.connections,
            where_to: l.where_to,
            elapsed_ms: self.clock.elapsed(l.since).as_millis() as u64,
            spread_ms: l.spread.as_millis() as u64,
            deadline_ms: (l.spread + l.grace).as_millis() as u64,
        }
    }
}
