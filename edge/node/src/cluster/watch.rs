//! Watch: a thread that writes what happens in the cluster into the log, and carries an operator's drain out.
//!
//! Why a thread: stands and the network decide without a log and without clients, and both must not wait.
//! Invariants: each owner change, move and fault is logged once. An operator's drain first gives shards away,
//! then moves leaders off this node's server, then sends clients to the others; it ends nothing.
//! Not here: the drain that ends the process (`shutdown`).

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_cluster::stand::Notice;
use grandstand_cluster::time::OwnTime;
use grandstand_engine::runtime::pulse::Pulses;

use super::Cluster;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Shards and leaders have this much time before clients are told to go.
pub(crate) const GIVEN_AWAY_WITHIN: Duration = Duration::from_secs(3);

/// What an operator's drain does to the clients of this node. A drain that ends the process goes before it.
pub(crate) trait Clients: Send + Sync {
    /// Does the process end?
    fn is_draining(&self) -> bool;
    /// Ask load balancers for no more sessions.
    fn refuse_sessions(&self);
    /// Send clients to the other nodes of the cluster.
    fn set_aside(&self, cluster: &Cluster);
    /// Serve again.
    fn take_back(&self);
}

/// The thread. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        cluster: Arc<Cluster>,
        clients: Arc<dyn Clients>,
        pulses: &Pulses,
    ) -> io::Result<Watch> {
        let (stop, stopped) = mpsc::channel();
        let pulse = pulses.register("cluster");
        let thread = std::thread::Builder::new().name("cluster".to_owned()).spawn(move || {
            let mut seen = Seen { cluster, clients, faults: BTreeSet::new(), aside: Aside::No };
            while matches!(stopped.recv_timeout(LOOK_EVERY), Err(mpsc::RecvTimeoutError::Timeout)) {
                pulse.turn();
                seen.look();
            }
            pulse.end();
        })?;
        Ok(Watch { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}

/// How far an operator's drain is.
#[derive(Clone, Copy, Debug)]
enum Aside {
    No,
    /// Since when shards and leaders go.
    Giving(OwnTime),
    /// Clients were told to go.
    Yes,
}

struct Seen {
    cluster: Arc<Cluster>,
    clients: Arc<dyn Clients>,
    faults: BTreeSet<String>,
    aside: Aside,
}

impl Seen {
    fn look(&mut self) {
        while let Some(notice) = self.cluster.board.next_notice() {
            tell(notice);
        }
        self.tell_faults();
        self.follow_drain();
    }

    /// Faults that began or ended since the last look.
    fn tell_faults(&mut self) {
        let faults: BTreeSet<String> = self.cluster.lasting_faults().into_iter().collect();
        for fault in faults.difference(&self.faults) {
            tracing::warn!("{fault}");
        }
        for fault in self.faults.difference(&faults) {
            tracing::info!("no longer: {fault}");
        }
        self.faults = faults;
    }

    fn follow_drain(&mut self) {
        let is_ordered = self.cluster.is_ordered_to_drain() && !self.clients.is_draining();
        self.aside = match self.aside {
            Aside::No if is_ordered => {
                tracing::info!("an operator drains this node: it gives its shards away");
                self.clients.refuse_sessions();
                Aside::Giving(self.cluster.now())
            }
            Aside::Giving(since)
                if is_ordered
                    && (self.cluster.has_given_away()
                        || self.cluster.now().since(since) >= GIVEN_AWAY_WITHIN.as_millis() as u64) =>
            {
                tracing::info!("clients go to the other nodes");
                self.clients.set_aside(&self.cluster);
                Aside::Yes
            }
            Aside::Giving(_) | Aside::Yes if !is_ordered => {
                self.clients.take_back();
                tracing::info!("the drain is over: this node serves again");
                Aside::No
            }
            same => same,
        };
    }
}

fn tell(notice: Notice) {
    match notice {
        Notice::HandsOver { shard, to, cause } => {
            tracing::info!(shard = shard.0, to = to.0, cause = cause.word(), "hands a shard over");
        }
        Notice::Owned { shard, by, term, is_clean } => {
            let how = if is_clean { "handed over" } else { "claimed" };
            tracing::info!(shard = shard.0, owner = by.0, term = term.0, how, "a shard has another owner");
        }
        Notice::NotUnderstood { shard, position } => tracing::error!(
            shard = shard.0,
            position = position.0,
            "the log of a shard has a record of a later release: this node can own the shard no more; upgrade it"
        ),
        Notice::Withdrew { shard } => tracing::warn!(
            shard = shard.0,
            "this node does not reach the log of a shard, and others do: it leaves the shard to them"
        ),
    }
}
