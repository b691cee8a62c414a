//! A node's end, in its order, whoever asks for it: a signal, the admin port, the process that takes over.
//!
//! A drain: not ready, newcomers told to go elsewhere, each client told when to go (`audience::leaving`);
//! rooms go on until the end. The end of a node: nothing more is taken for the shards (a release), the shards
//! seal what they have and their answers go out over workers that still write, the log is closed, and only
//! then are connections closed and threads ended. A hand-over is the same in another order: first the release
//! and the log, for the next process waits for it; then the drain.
//! Invariants: a node drains once; what it owns alone (`Owned`) is released once.
//! Not here: sockets and how they are passed (`handover`), signals (`node`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grandstand_engine::runtime::Engine;
use grandstand_store::Store;
use std::os::unix::net::UnixStream;
use tokio::sync::watch;

use crate::http::admin::{DrainAsk, DrainState, Drains};
use grandstand_edge::audience::Drain;
use grandstand_edge::config::Config;
use grandstand_edge::workers::Workers;

/// Connections that the successor takes in per second, where `drain.handover_spread_ms` leaves it to us.
const HANDOVER_PER_S: u64 = 2_000;

/// After the last deadline: closed wires linger for two seconds.
const LINGER: Duration = Duration::from_secs(3);

/// What one process at a time has.
pub(crate) struct Owned {
    /// The rooms.
    pub(crate) engine: Engine,
    /// Their log, where there is one.
    pub(crate) store: Option<Store>,
}

impl Owned {
    /// Seal, answer, flush; when it returns another process may have it.
    fn release(self) {
        self.engine.shutdown();
        if let Some(store) = self.store {
            crate::durable_log::close(store);
        }
    }
}

/// A drain under way.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    since: Instant,
    spread: Duration,
    grace: Duration,
    where_to: String,
    connections: usize,
    is_handed_over: bool,
}

impl Leaving {
    fn ends(&self) -> Instant {
        self.since + self.spread + self.grace + LINGER
    }
}

/// See the file's head.
pub(crate) struct Departure {
    config: Arc<Config>,
    workers: Arc<Workers>,
    ready: Arc<AtomicBool>,
    owned: Mutex<Option<Owned>>,
    leaving: watch::Sender<Option<Leaving>>,
}

impl Departure {
    pub(crate) fn new(config: Arc<Config>, workers: Arc<Workers>, ready: Arc<AtomicBool>) -> Departure {
        let leaving = watch::channel(None).0;
        Departure { config, workers, ready, owned: Mutex::default(), leaving }
    }

    /// From now on this process has the rooms.
    pub(crate) fn own(&self, owned: Owned) {
        *self.owned() = Some(owned);
    }

    fn owned(&self) -> MutexGuard<'_, Option<Owned>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes when a drain begins.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Leaving>> {
        self.leaving.subscribe()
    }

    /// All have left, or had their time.
    pub(crate) fn is_over(&self) -> bool {
        let leaving = self.leaving.borrow();
        leaving.as_ref().is_some_and(|l| self.workers.connections() == 0 || Instant::now() >= l.ends())
    }

    /// The rooms end: their last answers are on their way to the workers when this returns.
    fn release_owned(&self) {
        let owned = self.owned().take();
        if let Some(owned) = owned {
            owned.release();
        }
    }

    /// Let go of everything that another process waits for. Connections stay, and are sent away by
    /// [`Self::send_over`].
    pub(crate) fn hand_over(&self, lent: Vec<UnixStream>) {
        self.ready.store(false, Ordering::Release);
        self.workers.release(lent);
        self.release_owned();
    }

    /// The next process serves (or is gone): send everybody there.
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

    /// Everything, to the end: answers first, then closes.
    pub(crate) fn stop(&self) {
        self.ready.store(false, Ordering::Release);
        self.workers.release(Vec::new());
        self.release_owned();
        self.workers.stop();
    }

    /// Begin, once; `false` when the node drains already.
    fn begin(&self, drain: &Drain) -> bool {
        let is_first = self.leaving.send_if_modified(|leaving| {
            let is_first = leaving.is_none();
            if is_first {
                *leaving = Some(Leaving {
                    since: Instant::now(),
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

impl Drains for Departure {
    fn drain(&self, ask: &DrainAsk) -> DrainState {
        let drain = &self.config.drain;
        let spread_ms = ask.spread_ms.unwrap_or(drain.spread_ms as u32);
        let deadline_ms = ask.deadline_ms.unwrap_or(spread_ms.saturating_add(drain.grace_ms as u32));
        let spread_ms = spread_ms.min(deadline_ms);
        let is_new = self.begin(&Drain {
            where_to: ask.where_to.clone().unwrap_or_else(|| drain.go_to.clone()),
            spread_ms,
            grace_ms: deadline_ms - spread_ms,
            is_handed_over: false,
        });
        if is_new {
            tracing::info!(connections = self.workers.connections(), spread_ms, deadline_ms, "draining");
        }
        self.state()
    }

    fn state(&self) -> DrainState {
        let connections = self.workers.connections();
        let leaving = self.leaving.borrow().clone();
        let Some(l) = leaving else {
            return DrainState { state: "serving", connections, ..DrainState::default() };
        };
        DrainState {
            state: if l.is_handed_over { "handed_over" } else { "draining" },
            connections,
            connections_at_start: l.connections,
            where_to: l.where_to,
            elapsed_ms: l.since.elapsed().as_millis() as u64,
            spread_ms: l.spread.as_millis() as u64,
            deadline_ms: (l.spread + l.grace).as_millis() as u64,
        }
    }
}
