//! Membership: which nodes of the static list live, as this node hears them.
//!
//! Why no votes: whether a node lives decides nothing by itself. It lets a node ask for promises, and lets
//! one give them; the log decides. So a wrong suspicion costs a claim, and never a message.
//! Two ways to miss a node: *silent*, no heartbeat for [`SILENCE_MS`]; and *gone*, two pings at least
//! [`GONE_AFTER_MS`] apart that nobody could receive, with no sign of life between. Two, since a client that
//! moves to another server of NATS also looks absent, for some 50 ms.
//! Invariants: silence is counted from this node's start at the earliest, so a restarted node that echoed in
//! its last life keeps the same distance. A peer that differs in a fact of the cluster is not heard at all.
//! Not here: leases (`Lease`), promises (`seat`), the network.

mod heartbeat;
mod lease;
mod peer;

use std::collections::BTreeMap;
use std::fmt;

use grandstand_engine::link::ShardId;

use crate::id::{Incarnation, NodeId, Term};
use crate::time::{OwnTime, PeerTime};
use peer::Peer;

pub use heartbeat::{About, Echo, Facts, Heartbeat, ShardReport, Versions};
pub use lease::{LEASE_MS, Lease};

/// The time between two heartbeats.
pub const HEARTBEAT_MS: u64 = 200;
/// A node that was not heard for this long is suspected, and others may be promised its shards.
pub const SILENCE_MS: u64 = 1_500;
/// The time between the two pings that show a node gone.
pub const GONE_AFTER_MS: u64 = 250;
/// A node that was heard within this time lives, for whoever counts a majority.
pub const ALIVE_MS: u64 = 500;

// Clocks may differ by a third over a lease, and an owner still stops before another one begins.
const _: () = assert!(LEASE_MS + LEASE_MS / 3 <= SILENCE_MS - SILENCE_MS / 9);

/// What a node of a cluster knows of itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// This life of it: higher than that of every earlier one.
    pub incarnation: Incarnation,
    /// All nodes, this one included: three or five.
    pub nodes: Vec<NodeId>,
    /// What all nodes agree on.
    pub facts: Facts,
    /// Which versions of messages this node reads and writes.
    pub versions: Versions,
}

/// A configuration of which no cluster can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigFault {
    /// Not three or five nodes.
    Nodes(usize),
    /// A node is in the list twice.
    Twice(NodeId),
    /// This node is not in the list.
    NotAMember(NodeId),
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigFault::Nodes(n) => {
                write!(f, "got {n} nodes, expected 3 or 5: list that many in cluster.nodes")
            }
            ConfigFault::Twice(node) => {
                write!(f, "{node} is listed twice: give each node of cluster.nodes a number of its own")
            }
            ConfigFault::NotAMember(node) => {
                write!(f, "{node} is not in the list: add it to cluster.nodes, or correct cluster.node")
            }
        }
    }
}

impl std::error::Error for ConfigFault {}

/// Why a peer is not heard. It says so in the log, with the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRefusal {
    /// Not in the list, or this node's own number.
    NotAMember,
    /// An earlier life of it, or a second process under its number.
    OldIncarnation,
    /// Another seed: the two would look for a room in different shards.
    Seed,
    /// Another number of shards.
    Shards,
    /// Another key of tickets: its viewers could not move here.
    TicketKey,
    /// Another number of nodes: each would count another majority.
    Nodes,
    /// No version of the messages that both know, or the cluster writes a version that the peer cannot read.
    Versions,
}

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerRefusal::NotAMember => {
                "not another node of this cluster: give all nodes the same cluster.nodes, and each a \
                 cluster.node of its own"
            }
            PeerRefusal::OldIncarnation => "an earlier process of that node: stop it if it still runs",
            PeerRefusal::Seed => {
                "another seed, of another cluster: give the node the cluster.name and cluster.servers of this \
                 one, or stop it"
            }
            PeerRefusal::Shards => {
                "another number of shards, of another cluster: give the node the cluster.name and \
                 cluster.servers of this one, or stop it"
            }
            PeerRefusal::TicketKey => "another ticket key: give all nodes the same auth.ticket_key_file",
            PeerRefusal::Nodes => {
                "another number of nodes in its list: give all nodes the same cluster.nodes, as many as the \
                 cluster was made with"
            }
            PeerRefusal::Versions => "no common version: upgrade the older node first to a release between",
        })
    }
}

impl std::error::Error for PeerRefusal {}

/// See the file's head.
#[derive(Debug)]
pub struct Membership {
    config: Config,
    started: OwnTime,
    peers: BTreeMap<NodeId, Peer>,
    refused: BTreeMap<NodeId, PeerRefusal>,
    is_draining: bool,
    /// The version that the cluster writes.
    written: u16,
}

impl Membership {
    /// Of a node that starts now.
    ///
    /// # Errors
    /// If the list of nodes makes no cluster.
    pub fn new(now: OwnTime, config: Config) -> Result<Self, ConfigFault> {
        if ![3, 5].contains(&config.nodes.len()) {
            return Err(ConfigFault::Nodes(config.nodes.len()));
        }
        let mut nodes = config.nodes.clone();
        nodes.sort_unstable();
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigFault::Twice(pair[0]));
        }
        if !nodes.contains(&config.me) {
            return Err(ConfigFault::NotAMember(config.me));
        }
        let others = nodes.into_iter().filter(|node| *node != config.me);
        let peers = others.map(|node| (node, Peer::default())).collect();
        let (refused, written) = (BTreeMap::new(), config.versions.min);
        Ok(Membership { config, started: now, peers, refused, is_draining: false, written })
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.config.me
    }

    /// This life of it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.config.incarnation
    }

    /// The version that records and messages to all are written by: the one that the cluster agreed on. A
    /// node of the last release can come back, and read the log, until operators raise it.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.written
    }

    /// The cluster agreed on a version. It never falls, and is none that this node cannot write.
    pub fn agree(&mut self, version: u16) {
        self.written = self.written.max(version.min(self.config.versions.max));
    }

    /// The version by which this node writes to one other node: the highest that both know.
    #[must_use]
    pub fn version_to(&self, node: NodeId) -> u16 {
        let theirs = self.peers.get(&node).and_then(|peer| peer.last.as_ref()).map(|last| last.versions.max);
        theirs.map_or(self.written, |max| max.min(self.config.versions.max)).max(self.written)
    }

    /// Does this node give its shards away, and get none?
    pub fn set_draining(&mut self, is_draining: bool) {
        self.is_draining = is_draining;
    }

    /// Does a node give its shards away, as it said last?
    #[must_use]
    pub fn drains(&self, node: NodeId) -> bool {
        let last = self.peers.get(&node).and_then(|peer| peer.last.as_ref());
        if node == self.config.me {
            self.is_draining
        } else {
            last.is_some_and(|last| last.about.is_draining)
        }
    }

    /// How many nodes are a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.config.nodes.len() / 2 + 1
    }

    /// A peer was heard.
    ///
    /// # Errors
    /// If it cannot be of this cluster; then it was not heard.
    pub fn handle_heartbeat(&mut self, now: OwnTime, heartbeat: &Heartbeat) -> Result<(), PeerRefusal> {
        let verdict = self.judge(heartbeat);
        match verdict {
            Ok(()) => {
                self.refused.remove(&heartbeat.node);
                self.agree(heartbeat.about.written);
                let peer = self.peers.get_mut(&heartbeat.node).expect("it is a member");
                peer.hear(now, heartbeat.clone());
            }
            Err(refusal) => {
                self.refused.insert(heartbeat.node, refusal);
            }
        }
        verdict
    }

    fn judge(&self, heartbeat: &Heartbeat) -> Result<(), PeerRefusal> {
        let (mine, theirs) = (&self.config.facts, &heartbeat.facts);
        let peer = self.peers.get(&heartbeat.node).ok_or(PeerRefusal::NotAMember)?;
        let known = peer.last.as_ref().map(|last| last.incarnation);
        let (ours, others) = (self.config.versions, heartbeat.versions);
        if known.is_some_and(|known| heartbeat.incarnation < known) {
            Err(PeerRefusal::OldIncarnation)
        } else if mine.seed != theirs.seed {
            Err(PeerRefusal::Seed)
        } else if mine.shards != theirs.shards {
            Err(PeerRefusal::Shards)
        } else if mine.ticket_key_print != theirs.ticket_key_print {
            Err(PeerRefusal::TicketKey)
        } else if heartbeat.about.nodes != 0 && usize::from(heartbeat.about.nodes) != self.config.nodes.len()
        {
            Err(PeerRefusal::Nodes)
        } else if ours.min > others.max || others.min > ours.max || others.max < self.written {
            Err(PeerRefusal::Versions)
        } else {
            Ok(())
        }
    }

    /// Peers whose last heartbeat was refused, and why.
    pub fn refused(&self) -> impl Iterator<Item = (NodeId, PeerRefusal)> + '_ {
        self.refused.iter().map(|(node, refusal)| (*node, *refusal))
    }

    /// A ping was answered.
    pub fn handle_pong(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.first_unreceived = None;
            peer.is_gone = false;
        }
    }

    /// Nobody could receive a ping to this node.
    pub fn handle_no_responders(&mut self, now: OwnTime, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let first = *peer.first_unreceived.get_or_insert(now);
        peer.is_gone |= now.since(first) >= GONE_AFTER_MS;
    }

    /// What to tell all others now.
    #[must_use]
    pub fn heartbeat(&self, now: OwnTime, reports: Vec<ShardReport>) -> Heartbeat {
        let echo = |(node, peer): (&NodeId, &Peer)| {
            let last = peer.last.as_ref()?;
            Some(Echo { node: *node, incarnation: last.incarnation, sent: last.sent })
        };
        Heartbeat {
            node: self.config.me,
            incarnation: self.config.incarnation,
            sent: PeerTime::of_own(now),
            echoes: self.peers.iter().filter_map(echo).collect(),
            facts: self.config.facts,
            versions: self.config.versions,
            reports,
            load: 0,
            house: 0,
            about: About {
                is_draining: self.is_draining,
                unix_ms: 0,
                nodes: self.config.nodes.len() as u8,
                leaders: 0,
                written: self.written,
            },
        }
    }

    /// Is this life of a node missed: silent, gone, or followed by another life? This node misses itself only
    /// in an earlier life.
    #[must_use]
    pub fn misses(&self, now: OwnTime, node: NodeId, incarnation: Incarnation) -> bool {
        now >= self.missed_at(node, incarnation)
    }

    /// When this life of a node will be missed, if nothing is heard of it until then.
    #[must_use]
    pub fn missed_at(&self, node: NodeId, incarnation: Incarnation) -> OwnTime {
        let never = OwnTime(u64::MAX);
        match self.peers.get(&node) {
            None if (node, incarnation) == (self.config.me, self.config.incarnation) => never,
            Some(peer) if !self.is_gone(node, incarnation) => {
                peer.heard.unwrap_or(self.started).max(self.started).plus(SILENCE_MS)
            }
            _ => OwnTime(0),
        }
    }

    /// Is this life of a node known to be over, without waiting for silence?
    #[must_use]
    pub fn is_gone(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let Some(peer) = self.peers.get(&node) else { return false };
        peer.is_gone || peer.last.as_ref().is_some_and(|last| last.incarnation > incarnation)
    }

    /// What a node said last of a shard.
    #[must_use]
    pub fn report(&self, node: NodeId, shard: ShardId) -> Option<(&Heartbeat, &ShardReport)> {
        let last = self.peers.get(&node)?.last.as_ref()?;
        Some((last, last.report(shard)?))
    }

    /// When a node was heard last.
    #[must_use]
    pub fn heard_at(&self, node: NodeId) -> Option<OwnTime> {
        self.peers.get(&node)?.heard
    }

    /// Another node that is not missed and says that it owns a shard, under this term or a higher one.
    #[must_use]
    pub fn heard_owner(&self, now: OwnTime, shard: ShardId, term: Term) -> Option<NodeId> {
        let owns = |peer: &Peer| {
            let last = peer.last.as_ref()?;
            let report = last.report(shard)?;
            Some(report.owns && report.term >= term).filter(|owns| *owns).map(|_| last.incarnation)
        };
        let mut owners = self.peers.iter().filter_map(|(node, peer)| Some((*node, owns(peer)?)));
        owners.find(|(node, life)| !self.misses(now, *node, *life)).map(|(node, _)| node)
    }

    /// How long this life of the node has lasted.
    #[must_use]
    pub fn age(&self, now: OwnTime) -> u64 {
        now.since(self.started)
    }

    /// Was a node heard lately, in any life? This node always hears itself.
    #[must_use]
    pub fn hears(&self, now: OwnTime, node: NodeId) -> bool {
        let heard =
            |peer: &Peer| peer.heard.is_some_and(|heard| now.since(heard) < ALIVE_MS) && !peer.is_gone;
        node == self.config.me || self.peers.get(&node).is_some_and(heard)
    }

    /// Are so many nodes heard that a claim can succeed?
    #[must_use]
    pub fn hears_majority(&self, now: OwnTime) -> bool {
        1 + self.peers.keys().filter(|node| self.hears(now, **node)).count() >= self.majority()
    }

    /// The present life of a node, as it was heard last.
    #[must_use]
    pub fn incarnation_of(&self, node: NodeId) -> Option<Incarnation> {
        if node == self.config.me {
            return Some(self.config.incarnation);
        }
        self.peers.get(&node)?.last.as_ref().map(|last| last.incarnation)
    }

    /// The other nodes that live, and what each said last of its shards.
    pub fn live(&self, now: OwnTime) -> impl Iterator<Item = (NodeId, &[ShardReport])> {
        let live = self.peers.iter().filter(move |(node, _)| self.hears(now, **node));
        live.filter_map(|(node, peer)| Some((*node, &peer.last.as_ref()?.reports[..])))
    }
}

#[cfg(test)]
mod tests;
