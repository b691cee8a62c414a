//! Shutdown: the order in which a node releases its parts, whether a signal, the admin port or the successor
//! asks for it.
//!
//! **A drain** has phases, each with a time of its own:
//!
//! 1. *announce* (`drain.announce_ms`): `/readyz` fails, and everybody is accepted and served as before,
//!    until load balancers have seen it;
//! 2. *move* (`drain.spread_ms`, `drain.grace_ms`): each client is told when to leave. New connections are
//!    told to use another node. Rooms continue;
//! 3. *refuse* (`drain.refuse_ms`): when the last client has left early, new connections still get an answer;
//! 4. *flush* (`drain.flush_ms`): the stop, below.
//!
//! **A stop.** Workers submit nothing more to the shards (a release). The shards seal what they have, and
//! workers that still write send the answers. The log is closed. Only then are connections closed and threads
//! ended.
//!
//! **A hand-over** has another order: first the release and the log, since the successor waits for it; then
//! the move at once, since the successor has the sockets.
//!
//! **An operator's drain of a cluster's node** (`grandstand cluster drain`) is only the move, and can be
//! taken back: the process goes on.
//!
//! Invariants: a node drains once; its rooms are released once. A hand-over ends an announcement.
//! Not here: sockets and how they are passed (`handover`), signals (`run`), what a client is told (the edge).

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak, mpsc};
use std::time::{Duration, Instant};

use grandstand_edge::clock::Clock;
use grandstand_edge::config::{self, Config};
use grandstand_edge::workers::{LINGER_S, Workers};
use grandstand_edge_core::audience::{Drain, Heir};
use grandstand_engine::log::HandedRoom;
use grandstand_store::Store;
use tokio::sync::watch;

use crate::cluster::{Clients, Cluster, GIVEN_AWAY_WITHIN};
use crate::durable_log;
use crate::events::{Event, Events, Kind};
use crate::http::admin::{DrainControl, DrainRequest, DrainStatus};
use crate::rooms::Rooms;

/// Connections that the successor accepts per second, when `drain.handover_spread_ms` does not set the time.
const HANDOVER_PER_S: u64 = 2_000;

/// Between two looks whether the shards of a cluster's node have gone.
const GIVEN_AWAY_EVERY: Duration = Duration::from_millis(20);

/// Time after the last deadline: closed links linger, and a worker looks for late ones once a second.
const LINGER: Duration = Duration::from_secs(LINGER_S as u64 + 1);

/// A drain under way.
#[derive(Clone, Debug)]
pub(crate) struct Draining {
    since: Instant,
    announce: Duration,
    refuse: Duration,
    /// When clients were told to leave; `None` during the announcement.
    moving_since: Option<Instant>,
    drain: Drain,
    connections: usize,
}

impl Draining {
    /// The latest end of the drain.
    fn ends(&self) -> Instant {
        let moving = Duration::from_millis(u64::from(self.drain.spread_ms) + u64::from(self.drain.grace_ms));
        let moving_since = self.moving_since.unwrap_or(self.since + self.announce);
        moving_since + (moving + LINGER).max(self.refuse)
    }

    /// Is it over, with so many connections left?
    fn is_over(&self, now: Instant, connections: usize) -> bool {
        let Some(moving_since) = self.moving_since else { return false };
        now >= self.ends() || (connections == 0 && now >= moving_since + self.refuse)
    }

    fn phase(&self, connections: usize) -> &'static str {
        match self.moving_since {
            None => "announce",
            Some(_) if connections == 0 => "refuse",
            Some(_) => "move",
        }
    }
}

/// The drain and the release of one node.
pub(crate) struct Shutdown {
    clock: Clock,
    config: Arc<Config>,
    /// The times of a drain, which a reload changes.
    times: RwLock<config::Drain>,
    workers: Arc<Workers>,
    ready: Arc<AtomicBool>,
    rooms: Mutex<Option<Rooms>>,
    draining: watch::Sender<Option<Draining>>,
    /// Dropped to end the wait of an announcement.
    announcing: Mutex<Option<mpsc::Sender<()>>>,
    events: OnceLock<Events>,
    /// Itself, for the thread that waits.
    this: Weak<Shutdown>,
}

impl Shutdown {
    pub(crate) fn new(
        clock: Clock,
        config: Arc<Config>,
        workers: Arc<Workers>,
        ready: Arc<AtomicBool>,
    ) -> Arc<Shutdown> {
        Arc::new_cyclic(|this| Shutdown {
            clock,
            times: RwLock::new(config.drain.clone()),
            config,
            workers,
            ready,
            rooms: Mutex::default(),
            draining: watch::channel(None).0,
            announcing: Mutex::default(),
            events: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// From now on a drain is told there.
    pub(crate) fn tell_to(&self, events: &Events) {
        // It is set once.
        let _ = self.events.set(events.clone());
    }

    /// The times of a later drain.
    pub(crate) fn set_times(&self, times: &config::Drain) {
        times.clone_into(&mut self.times.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn times(&self) -> config::Drain {
        self.times.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The clock for the end of this process.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// From now on this process owns the rooms.
    pub(crate) fn own(&self, rooms: Rooms) {
        *self.rooms() = Some(rooms);
    }

    /// The durable log is open now: move the rooms onto it. A node that ends needs it no more.
    pub(crate) fn adopt_log(&self, store: Store) {
        match self.rooms().as_mut() {
            Some(rooms) => rooms.adopt(store),
            None => durable_log::close(store),
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Option<Rooms>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watch for the beginning of a drain.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Draining>> {
        self.draining.subscribe()
    }

    /// All clients have left, or have reached their deadline, and every phase had its time.
    pub(crate) fn is_over(&self) -> bool {
        let draining = self.draining.borrow();
        draining.as_ref().is_some_and(|l| l.is_over(self.clock.instant(), self.workers.connections()))
    }

    /// The longest time until the process has ended, flush included; `None` while it serves.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let ends = self.draining.borrow().as_ref()?.ends();
        let flush = Duration::from_millis(self.config.drain.flush_ms);
        Some(ends.saturating_duration_since(self.clock.instant()) + flush)
    }

    /// Does another process have the sockets?
    pub(crate) fn is_handed_over(&self) -> bool {
        self.draining.borrow().as_ref().is_some_and(|l| l.drain.is_handed_over)
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
    ///
    /// Returns the rooms that the successor does not find in the log.
    pub(crate) fn hand_over(&self, forwarded: Vec<UnixStream>) -> Vec<HandedRoom> {
        self.ready.store(false, Ordering::Release);
        self.workers.release(forwarded);
        let rooms = self.rooms().take();
        rooms.map(Rooms::release_and_hand).unwrap_or_default()
    }

    /// The successor serves (or is gone): send all clients there.
    pub(crate) fn send_over(&self) {
        let (connections, times) = (self.workers.connections(), self.times());
        let spread_ms = match times.handover_spread_ms {
            0 => connections as u64 * 1_000 / HANDOVER_PER_S,
            ms => ms,
        };
        let drain = Drain {
            where_to: String::new(),
            heirs: Vec::new(),
            spread_ms: spread_ms.min(times.spread_ms) as u32,
            grace_ms: times.grace_ms as u32,
            is_handed_over: true,
        };
        self.end_announcement();
        self.draining.send_if_modified(|draining| {
            let is_announced = draining.as_ref().is_none_or(|l| l.moving_since.is_none());
            if is_announced {
                *draining = Some(self.draining_by(drain, Duration::ZERO, Duration::ZERO));
            }
            is_announced
        });
        self.ready.store(false, Ordering::Release);
        self.move_away();
    }

    /// Stop everything: answers first, then connections.
    pub(crate) fn stop(&self) {
        self.end_announcement();
        self.ready.store(false, Ordering::Release);
        self.workers.release(Vec::new());
        self.release_rooms();
        self.workers.stop();
    }

    fn draining_by(&self, drain: Drain, announce: Duration, refuse: Duration) -> Draining {
        let (since, connections) = (self.clock.instant(), self.workers.connections());
        Draining { since, announce, refuse, moving_since: None, drain, connections }
    }

    /// Begin a drain, once; `false` when the node drains already.
    fn begin(&self, drain: Drain, announce: Duration, refuse: Duration) -> bool {
        let is_first = self.draining.send_if_modified(|draining| {
            let is_first = draining.is_none();
            if is_first {
                *draining = Some(self.draining_by(drain, announce, refuse));
            }
            is_first
        });
        if is_first {
            self.ready.store(false, Ordering::Release);
            self.announce_for(announce);
        }
        is_first
    }

    /// Move clients away when the time of the announcement is over. A thread waits, so that nobody has to
    /// look.
    fn announce_for(&self, announce: Duration) {
        let (cluster, clock) = (self.cluster(), self.clock);
        if announce.is_zero() && cluster.is_none() {
            return self.move_away();
        }
        let (end, ended) = mpsc::channel();
        *self.announcing() = Some(end);
        let this = self.this.clone();
        let waiting = std::thread::Builder::new().name("grandstand-drain".to_owned()).spawn(move || {
            // Clients go when the shards have gone, so that nobody joins a room that is about to move.
            let longest = clock.instant() + announce + GIVEN_AWAY_WITHIN;
            let mut wait = announce;
            while ended.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
                let has_given = cluster.as_ref().is_none_or(|cluster| cluster.has_given_away());
                if has_given || clock.instant() >= longest {
                    return this.upgrade().into_iter().for_each(|shutdown| shutdown.move_away());
                }
                wait = GIVEN_AWAY_EVERY;
            }
        });
        if let Err(error) = waiting {
            tracing::warn!(%error, "the system gives no thread for the announcement of a drain: it is left out");
            self.move_away();
        }
    }

    fn end_announcement(&self) {
        *self.announcing() = None;
    }

    fn announcing(&self) -> MutexGuard<'_, Option<mpsc::Sender<()>>> {
        self.announcing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tell clients to leave, once.
    fn move_away(&self) {
        let mut told = None;
        self.draining.send_if_modified(|draining| {
            let Some(l) = draining.as_mut().filter(|l| l.moving_since.is_none()) else { return false };
            l.moving_since = Some(self.clock.instant());
            told = Some(l.drain.clone());
            true
        });
        if let Some(drain) = told {
            self.workers.drain(&drain);
        }
    }
}

/// Where most clients go.
fn most_of(heirs: &[Heir]) -> Option<String> {
    heirs.iter().max_by_key(|heir| heir.weight).map(|heir| heir.where_to.clone())
}

impl Clients for Shutdown {
    fn is_draining(&self) -> bool {
        self.draining.borrow().is_some()
    }

    fn refuse_sessions(&self) {
        self.ready.store(false, Ordering::Release);
    }

    fn set_aside(&self, cluster: &Cluster) {
        if self.is_draining() {
            return;
        }
        let (times, heirs) = (self.times(), cluster.heirs(self.workers.connections()));
        let drain = Drain {
            where_to: most_of(&heirs).unwrap_or_else(|| self.config.next_node()),
            heirs,
            spread_ms: times.spread_ms as u32,
            grace_ms: times.grace_ms as u32,
            is_handed_over: false,
        };
        self.workers.drain(&drain);
    }

    fn take_back(&self) {
        if !self.is_draining() {
            self.workers.end_drain();
            self.ready.store(true, Ordering::Release);
        }
    }
}

impl Shutdown {
    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.cluster.clone()
    }
}

impl DrainControl for Shutdown {
    fn drain(&self, request: &DrainRequest) -> DrainStatus {
        let times = self.times();
        let spread_ms = request.spread_ms.unwrap_or(times.spread_ms as u32);
        let deadline_ms = request.deadline_ms.unwrap_or(spread_ms.saturating_add(times.grace_ms as u32));
        let spread_ms = spread_ms.min(deadline_ms);
        if let Some(cluster) = self.cluster() {
            cluster.set_draining(true);
        }
        let named = request.where_to.clone().or_else(|| Some(times.go_to).filter(|to| !to.is_empty()));
        let heirs = match (&named, self.cluster()) {
            (None, Some(cluster)) => cluster.heirs(self.workers.connections()),
            _ => Vec::new(),
        };
        let drain = Drain {
            where_to: named.or_else(|| most_of(&heirs)).unwrap_or_else(|| self.config.next_node()),
            heirs,
            spread_ms,
            grace_ms: deadline_ms - spread_ms,
            is_handed_over: false,
        };
        let announce_ms = request.announce_ms.map_or(times.announce_ms, u64::from);
        let refuse_ms = request.refuse_ms.map_or(times.refuse_ms, u64::from);
        let connections = self.workers.connections();
        if self.begin(drain, Duration::from_millis(announce_ms), Duration::from_millis(refuse_ms)) {
            tracing::info!(connections, announce_ms, spread_ms, deadline_ms, "draining");
            if let Some(events) = self.events.get() {
                let data = serde_json::json!({ "node": self.config.node.name, "deadline_ms": deadline_ms });
                events.tell(Event { kind: Kind::NodeDraining, room: None, data });
            }
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
            state: if l.drain.is_handed_over { "handed_over" } else { "draining" },
            phase: l.phase(connections),
            connections,
            connections_at_start: l.connections,
            elapsed_ms: self.clock.elapsed(l.since).as_millis() as u64,
            announce_ms: l.announce.as_millis() as u64,
            spread_ms: l.drain.spread_ms.into(),
            deadline_ms: u64::from(l.drain.spread_ms) + u64::from(l.drain.grace_ms),
            where_to: l.drain.where_to,
        }
    }
}
