//! The scene: what nodes and people share. That is the plan, virtual time, chance, the network and the
//! checker.
//!
//! Invariant: everything that happens later is an [`Event`] in the scene's queue, so nodes and people never
//! call each other.
//! Not here: who handles an event (`world`).

use bytes::Bytes;
use grandstand_client::core::Ending;

use crate::checker::Checker;
use crate::cluster::{Cluster, FromNet, Later, NetEvent};
use crate::network::{Network, To};
use crate::plan::Plan;
use crate::queue::Queue;
use crate::random::Random;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A turn of a shard.
    Shard { node: usize, life: u64, shard: usize },
    /// A turn of a worker.
    Worker { node: usize, life: u64, worker: usize },
    /// The disk has something to do.
    Disk { node: usize, life: u64 },
    /// A process that was to die dies now.
    FuseOut { node: usize, life: u64 },
    /// The clients of a draining process are gone.
    DrainEnds { node: usize, life: u64, down_us: u64 },
    /// A draining process ends once its log is synced.
    DrainStops { node: usize, life: u64, down_us: u64, is_late: bool },
    /// The next process starts.
    Up { node: usize },
    /// The network's thread of a node in a cluster looks around.
    Upkeep { node: usize, life: u64 },
    /// A message of the cluster reaches a node.
    FromNet { node: usize, life: u64, message: FromNet },
    /// Something between servers of a cluster.
    Net(NetEvent),
    /// A frame reaches the node.
    ToNode { connection: usize, frame: Bytes },
    /// The node learns that the viewer has read.
    Read { connection: usize, bytes: usize },
    /// The node learns that the connection is over.
    NodeHears { connection: usize },
    /// Bytes reach the viewer.
    ToViewer { connection: usize, bytes: Bytes },
    /// The viewer learns that the connection is over.
    ViewerHears { connection: usize, ending: Ending },
    /// A viewer dials, unless its app has restarted since.
    Dial { viewer: usize, restarts: u64 },
    /// The node's answer to a dial arrives.
    Dialed { viewer: usize, connection: usize },
    /// A viewer's timer.
    Viewer { viewer: usize },
    /// A viewer follows rooms again that it was sent out of.
    JoinAgain { viewer: usize },
}

impl From<Later> for Event {
    fn from(later: Later) -> Event {
        match later {
            Later::Net(event) => Event::Net(event),
            Later::Arrival { node, life, message } => Event::FromNet { node, life, message },
        }
    }
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) queue: Queue<Event>,
    /// The stream of the newest step of the story.
    pub(crate) random: Random,
    pub(crate) network: Network,
    pub(crate) checker: Checker,
    /// Processes that have started, on all nodes.
    pub(crate) lives: u64,
    /// What joins the nodes, if they are a cluster.
    pub(crate) cluster: Option<Cluster>,
}

impl Scene<'_> {
    /// The beginning of a world.
    pub(crate) fn new(plan: &Plan) -> Scene<'_> {
        Scene {
            plan,
            queue: Queue::new(1_000_000),
            random: Random::new(plan.seed ^ 1),
            network: Network::new(plan.clients, plan.delay_us_max),
            checker: Checker::new(plan.is_cluster),
            lives: 0,
            cluster: plan.is_cluster.then(|| Cluster::new(plan)),
        }
    }

    /// Virtual time.
    pub(crate) fn now_us(&self) -> u64 {
        self.queue.now_us()
    }

    /// Plan an event.
    pub(crate) fn push(&mut self, after_us: u64, event: Event) {
        self.queue.push(after_us, event);
    }

    /// Send something over a connection: it arrives after what was sent before it.
    pub(crate) fn send(&mut self, connection: usize, to: To, event: Event) {
        let after_us = self.network.delay(self.queue.now_us(), &mut self.random, connection, to);
        self.queue.push(after_us, event);
    }
}

/// The name of a node's room. Nodes that are no cluster share no room.
pub(crate) fn room_name(plan: &Plan, node: usize, room: usize) -> String {
    if node == 0 || plan.is_cluster { format!("room{room}") } else { format!("node{node}room{room}") }
}
