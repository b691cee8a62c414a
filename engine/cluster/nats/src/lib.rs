//! The network of a cluster: what passes between nodes, and the logs of shards, over NATS.
//!
//! Why a crate of its own: it is the only one that knows NATS. Stands see plain data
//! (`grandstand_cluster::stand`), and a test of theirs needs no server.
//! Invariants: a stand never waits for the network. What cannot be sent or delivered is lost and counted. An
//! append is answered as what it is: only an acknowledgement with a sequence number is one.
//! Not here: who owns a shard, what a frame holds, what a node does with either.

pub mod admin;
mod config;
mod driver;
pub mod exchange;
mod house;
mod replies;
mod status;
mod subjects;
mod wire;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_cluster::id::NodeId;
use grandstand_cluster::membership::{self, Membership};
use grandstand_cluster::order::{Order, Outcome};
use grandstand_cluster::stand::{Arrived, Wire};
use grandstand_cluster::time::OwnTime;
use grandstand_engine::link::ShardId;
use grandstand_queue::Sender;

pub use config::{Config, Credentials, Fault, Plan};
pub use house::{House, ToNodes};
pub use status::{Ahead, Counters, PeerStatus, Status, StreamStatus};

use driver::Driver;
use status::Shared;
use wire::StandWire;

/// Messages of stands that may wait for the thread.
const WAITING_MAX: usize = 8_192;
/// Messages of the node, and an operator's orders, that may wait for the thread.
const ORDERS_MAX: usize = 1_024;
/// How long a stop waits for what is still to be sent.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// The network's thread of a node. It ends with this value.
#[derive(Debug)]
pub struct Nats {
    shared: Arc<Shared>,
    to_thread: tokio::sync::mpsc::Sender<wire::FromStand>,
    to_nodes: tokio::sync::mpsc::Sender<ToNodes>,
    orders: tokio::sync::mpsc::Sender<driver::Asked>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Nats {
    /// Starts the thread, which connects by itself for as long as it takes. `outlets` are the stands' ends,
    /// one per shard in the order of shards.
    ///
    /// # Errors
    /// The configuration makes no cluster or names a file that cannot be read, or no thread can be started.
    pub fn start(
        config: Config,
        membership: membership::Config,
        outlets: Vec<Sender<Arrived>>,
    ) -> Result<Nats, Fault> {
        config.check(&membership)?;
        if outlets.len() != usize::from(membership.facts.shards) {
            return Err(Fault::Shards { outlets: outlets.len(), shards: membership.facts.shards });
        }
        let now = OwnTime(config.origin.elapsed().as_millis() as u64);
        let own = Membership::new(now, membership.clone()).map_err(Fault::Membership)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Fault::Thread(error.to_string()))?;
        let options = runtime.block_on(config.options(membership.me))?;
        let shared = Arc::new(Shared::new(outlets.len()));
        let (to_thread, from_stands) = tokio::sync::mpsc::channel(WAITING_MAX);
        let (to_nodes, for_nodes) = tokio::sync::mpsc::channel(ORDERS_MAX);
        let (orders, asked) = tokio::sync::mpsc::channel(ORDERS_MAX);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let in_thread = shared.clone();
        let run = move || {
            runtime.block_on(async move {
                let driver = Driver::connect(config, membership, own, options, outlets, in_thread).await;
                match driver {
                    Ok(driver) => driver.run(from_stands, (for_nodes, asked), stopped).await,
                    Err((shared, why)) => shared.set_problem(why),
                }
            });
            // Tasks of the client that still try to connect end here.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("nats".to_owned()).spawn(run);
        let thread = thread.map_err(|error| Fault::Thread(error.to_string()))?;
        Ok(Nats { shared, to_thread, to_nodes, orders, stop: Some(stop), thread: Some(thread) })
    }

    /// The end of a shard's stand.
    #[must_use]
    pub fn wire(&self, shard: ShardId) -> Box<dyn Wire> {
        Box::new(StandWire::new(shard, self.to_thread.clone(), self.shared.clone()))
    }

    /// From now on the node hears of the house, and tells the others.
    pub fn serve(&self, house: Arc<dyn House>) {
        // It is set once, when the node serves.
        let _ = self.shared.house.set(house);
    }

    /// Tell other nodes, or keep something. `false`: too much waits already.
    #[must_use]
    pub fn tell(&self, order: ToNodes) -> bool {
        self.to_nodes.try_send(order).is_ok()
    }

    /// What the thread knows of the network, for metrics and health.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Gives an order to a node, which may be this one. The outcome comes within seconds, or the receiver
    /// ends: then the node did not answer.
    #[must_use]
    pub fn order(&self, node: NodeId, order: Order) -> tokio::sync::oneshot::Receiver<Outcome> {
        let (answer, outcome) = tokio::sync::oneshot::channel();
        // With a full queue the answer is dropped, and the receiver ends.
        let _ = self.orders.try_send(driver::Asked { node, order, answer });
        outcome
    }

    /// The node gives its shards away, or no longer. Stands and other nodes are told within 0.1 s.
    pub fn drain(&self, is_draining: bool) {
        self.shared.set_draining(is_draining);
    }

    /// The cluster agreed on a version to write. Stands and other nodes are told within a second.
    pub fn agree(&self, version: u16) {
        self.shared.agree(version);
    }

    /// Sends what waits, for at most two seconds, and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.shared.set_problem("the thread of the network panicked: report this".to_owned());
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.end();
    }
}
