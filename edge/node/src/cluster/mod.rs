//! The cluster's part of a node: its copies of the shards' logs, its stands, and the network's thread.
//!
//! Why one file: a start promises an order. The cluster's facts are read first, since names belong to shards
//! by them. Copies are opened before stands are made of them, and the network comes last, since it brings
//! what the stands answer.
//! Invariants: a node that stands alone needs nothing of this. A node whose set-up differs from the cluster's
//! does not start, and says which key is wrong.
//! Not here: who owns a shard and what stands do (`grandstand_cluster`), NATS (`grandstand_nats`).

mod control;
mod copies;
mod copy;
mod heirs;
mod incarnation;
mod numbers;
mod view;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use grandstand_cluster::appender::AppenderConfig;
use grandstand_cluster::house::Ban;
use grandstand_cluster::id::NodeId;
use grandstand_cluster::link::VERSIONS;
use grandstand_cluster::membership::{self, Facts, Membership, Versions};
use grandstand_cluster::stand::{Board, ClusterStand, StandConfig, StandParts, own};
use grandstand_cluster::time::OwnTime;
use grandstand_edge::config::Config;
use grandstand_edge::workers::Bells;
use grandstand_engine::link::ShardId;
use grandstand_engine::runtime::clock::Clock;
use grandstand_engine::runtime::pulse::Pulses;
use grandstand_engine::runtime::{Engine, EngineConfig, WorkerPort};
use grandstand_nats::admin::{self, AdminFault, Agreed};
use grandstand_nats::exchange::Exchange;
use grandstand_nats::{Credentials, Nats, Plan, ToNodes};
use grandstand_queue::inbox;
use grandstand_store::Store;
use tokio::sync::oneshot;

use crate::NodeError;
use crate::settings::store_config;
use copy::StoreCopy;
pub(crate) use watch::{Clients, GIVEN_AWAY_WITHIN, Watch};

/// Messages of the network that may wait for a shard's stand; above this, they are lost, and nodes restate
/// them.
const ARRIVALS_MAX: usize = 8_192;

/// How long a starting node asks servers that do not answer; each question takes up to some seconds more.
const SERVERS_WITHIN: Duration = Duration::from_secs(30);

/// Between two of its questions.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The cluster's part of a running node.
pub(crate) struct Cluster {
    /// `None` once the node has left the cluster.
    nats: Mutex<Option<Nats>>,
    board: Board,
    clock: Clock,
    name: String,
    node: u8,
    /// Where clients reach each node.
    addresses: Vec<String>,
    /// Snapshots to and from other nodes; `None` once the node has left the cluster.
    exchange: Mutex<Option<Exchange>>,
    /// What became of the snapshots that were needed.
    notes: Arc<copies::Notes>,
    /// How many shards the cluster has.
    shards: u16,
    /// How the servers are reached, for commands.
    servers: grandstand_nats::Config,
    /// How the copies do.
    copies: Arc<grandstand_store::Status>,
}

/// A node's engine whose seats hold stands.
pub(crate) struct Started {
    pub(crate) engine: Engine,
    pub(crate) ports: Vec<WorkerPort>,
    pub(crate) store: Store,
    pub(crate) cluster: Arc<Cluster>,
}

impl Cluster {
    /// Leave the network: the stands have ended, and nobody may take this process for the node any more.
    pub(crate) fn leave(&self) {
        let nats = self.nats.lock().unwrap_or_else(PoisonError::into_inner).take();
        nats.into_iter().for_each(Nats::stop);
        let exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(exchange);
    }

    /// The node serves: from now on its house hears the others.
    pub(crate) fn serve(&self, house: Arc<dyn grandstand_nats::House>) {
        let nats = self.nats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nats) = &*nats {
            nats.serve(house);
        }
    }

    /// Tell all other nodes of bans.
    pub(crate) fn tell(&self, bans: Vec<Ban>, asks: u64) -> bool {
        let nats = self.nats.lock().unwrap_or_else(PoisonError::into_inner);
        nats.as_ref().is_some_and(|nats| nats.tell(ToNodes::Bans { bans, asks }))
    }

    /// Put a ban into the cluster's bucket.
    pub(crate) fn keep(&self, (kind, id): (u8, u64), kept: oneshot::Sender<()>) -> bool {
        let nats = self.nats.lock().unwrap_or_else(PoisonError::into_inner);
        nats.as_ref().is_some_and(|nats| nats.tell(ToNodes::Keep { kind, id, kept }))
    }

    /// This node's number.
    pub(crate) fn number(&self) -> u8 {
        self.node
    }

    /// The other nodes: those that live, and those that are not heard.
    pub(crate) fn others(&self) -> (Vec<u8>, Vec<u8>) {
        let live = self.live();
        let others = (0..self.nodes()).filter(|node| *node != self.node);
        others.partition(|node| live.iter().any(|(id, _)| id.0 == *node))
    }

    /// How many nodes the cluster has.
    fn nodes(&self) -> u8 {
        self.addresses.len() as u8
    }

    fn now(&self) -> OwnTime {
        own(self.clock.now())
    }

    fn network(&self) -> grandstand_nats::Status {
        let nats = self.nats.lock().unwrap_or_else(PoisonError::into_inner);
        nats.as_ref().map(Nats::status).unwrap_or_default()
    }
}

/// Read the facts of the cluster, check the set-up, and start the shards.
///
/// # Errors
/// The servers are not to be reached, or something is not as the cluster needs it. The hint names the key.
pub(crate) fn start(
    config: &Config,
    mut engine_config: EngineConfig,
    bells: &Bells,
    pulses: &Pulses,
    ticket_key_prints: &[u64],
) -> Result<Started, NodeError> {
    let clock = engine_config.clock;
    let network = network(config, clock)?;
    let facts = facts(&network, ticket_key_prints)?;
    let agreed = agreed(&network, config.cluster.nodes.len())?;
    check(&network, &facts)?;
    check_room(config, facts.shards)?;
    tracing::info!(
        cluster = config.cluster.name,
        node = config.cluster.node,
        shards = facts.shards,
        "cluster"
    );
    engine_config.shards = facts.shards;
    engine_config.seed = facts.seed;
    engine_config.node = config.cluster.node as u8;
    engine_config.shard.answer_within_ms = config.cluster.answer_within_ms;

    let store_config = store_config(config).expect("a cluster needs log.dir");
    let folder = store_config.dir.clone();
    let copies_config = store_config.clone();
    let exchange_network = network.clone();
    let (store, copies) = Store::open_copies_watched(store_config, facts.shards, pulses)
        .map_err(|error| NodeError::new(error.to_string(), "see log.dir"))?;
    let members = membership::Config {
        me: NodeId(config.cluster.node as u8),
        incarnation: incarnation::next(&folder)?,
        nodes: (0..config.cluster.nodes.len() as u8).map(NodeId).collect(),
        facts,
        versions: VERSIONS,
    };
    let rooms = engine_config.shard.clone();
    let (mut engine, ports) = Engine::start_empty(engine_config, bells.doorbells()).map_err(|error| {
        NodeError::new(format!("the engine does not start: {error}"), "see the keys under rooms")
    })?;

    let gone = |error: grandstand_engine::runtime::SeatError| {
        NodeError::new(format!("a shard does not start: {error}"), "restart the node")
    };
    let (mut outlets, mut inlets) = (Vec::new(), Vec::new());
    for shard in (0..facts.shards).map(ShardId) {
        let (sender, receiver) = inbox(ARRIVALS_MAX, engine.bell(shard).map_err(gone)?);
        outlets.push(sender);
        inlets.push(receiver);
    }
    let servers = network.clone();
    let nats = apart(|| Nats::start(network, members.clone(), outlets))
        .map_err(|fault| NodeError::new(fault.to_string(), "see the keys under cluster"))?;
    nats.agree(agreed.version);
    let board = Board::default();
    let mut slots = Vec::new();
    for ((shard, arrivals), mut copy) in (0..).map(ShardId).zip(inlets).zip(copies) {
        copy.set_bell(engine.bell(shard).map_err(gone)?);
        let slot = Arc::<copy::Slot>::default();
        slots.push(slot.clone());
        let now = clock.now();
        let mut membership = Membership::new(own(now), members.clone())
            .map_err(|fault| NodeError::new(fault.to_string(), "see cluster.nodes"))?;
        membership.agree(agreed.version);
        let stand_config = StandConfig {
            shard,
            shards: facts.shards,
            seed: facts.seed,
            rooms: rooms.clone(),
            appender: AppenderConfig {
                append_every_ms: config.cluster.append_every_ms,
                unkept_bytes_max: config.cluster.unkept_bytes_max,
                answer_within_ms: config.cluster.answer_within_ms,
            },
            give_up_ms: config.cluster.answer_within_ms + 1_000,
            rebalances: config.cluster.rebalance,
        };
        let parts = StandParts {
            membership,
            copy: Box::new(StoreCopy(copy, slot)),
            wire: nats.wire(shard),
            arrivals,
            board: board.clone(),
        };
        let stand = ClusterStand::new(now, stand_config, parts);
        engine.sit(shard, Box::new(stand)).map_err(gone)?;
    }
    let notes = Arc::<copies::Notes>::default();
    let own_copies = copies::OwnCopies::new(copies_config, board.clone(), slots, notes.clone());
    let (me, nodes) = (members.me, members.nodes.clone());
    let exchange = apart(|| Exchange::start(&exchange_network, me, nodes, Arc::new(own_copies)))
        .map_err(|fault| NodeError::new(fault.to_string(), "see the keys under cluster"))?;
    let cluster = Arc::new(Cluster {
        exchange: Mutex::new(Some(exchange)),
        notes,
        nats: Mutex::new(Some(nats)),
        board,
        clock,
        name: config.cluster.name.clone(),
        node: config.cluster.node as u8,
        addresses: config.cluster.nodes.clone(),
        shards: facts.shards,
        servers,
        copies: store.status(),
    });
    Ok(Started { engine, ports, store, cluster })
}

/// The bans that the cluster's bucket has. Without a leader there are none: the other nodes tell what this
/// one does not know as soon as they hear it.
pub(crate) fn bans(config: &Config) -> Result<Vec<Ban>, NodeError> {
    let network = network(config, Clock::start())?;
    Ok(apart(|| admin::bans(&network)).unwrap_or_else(|fault| {
        tracing::warn!("{fault}; bans come from this node's file, and from other nodes as they are heard");
        Vec::new()
    }))
}

/// What the nodes agreed on. A node that cannot write as the cluster does, or counts other nodes, would do
/// harm.
fn agreed(network: &grandstand_nats::Config, nodes: usize) -> Result<Agreed, NodeError> {
    let agreed = apart(|| patiently(|| admin::agreed(network)))
        .map_err(|fault| NodeError::new(fault.to_string(), "see cluster.servers"))?;
    let Versions { min, max } = VERSIONS;
    if !(min..=max).contains(&agreed.version) {
        let version = agreed.version;
        return Err(NodeError::new(
            format!("the cluster writes version {version}, and this release reads and writes {min} to {max}"),
            "install the release that the other nodes have",
        ));
    }
    if agreed.nodes != 0 && usize::from(agreed.nodes) != nodes {
        return Err(NodeError::new(
            format!("cluster.nodes lists {nodes} nodes, and the cluster has {}", agreed.nodes),
            "give all nodes the same list; `grandstand cluster grow` changes their number while all are stopped",
        ));
    }
    Ok(agreed)
}

/// Is a stream or a server set up so that the log could lose what it acknowledges? A server that is away is
/// no reason not to start.
fn check(network: &grandstand_nats::Config, facts: &Facts) -> Result<(), NodeError> {
    let faults = apart(|| admin::check(network, facts)).err().unwrap_or_default();
    let broken: Vec<String> =
        faults.iter().filter(|fault| fault.prevents_start()).map(ToString::to_string).collect();
    if broken.is_empty() {
        return Ok(());
    }
    Err(NodeError::new(broken.join("; "), "mend it; `grandstand cluster check` looks again"))
}

/// Has the disk of `log.dir` room for the copies? What the streams keep must fit, or what the log may have.
///
/// # Errors
/// It has not: the text names the keys.
pub(crate) fn check_room(config: &Config, shards: u16) -> Result<(), NodeError> {
    let Some(dir) = &config.log.dir else { return Ok(()) };
    // The folder may be made at the start.
    let there = dir.ancestors().find(|folder| folder.exists()).unwrap_or(dir);
    let Ok(room) = rustix::fs::statvfs(there) else { return Ok(()) };
    let used = std::fs::metadata(dir.join(grandstand_store::DATABASE)).map_or(0, |facts| facts.len());
    let free = room.f_bavail.saturating_mul(room.f_frsize).saturating_add(used);
    let streams = (config.cluster.log_mb << 20).saturating_mul(u64::from(shards));
    let kept = if config.log.node_mb == 0 { u64::MAX } else { config.log.node_mb << 20 };
    let needed = streams.min(kept);
    if free >= needed {
        return Ok(());
    }
    Err(NodeError::new(
        format!(
            "the disk of log.dir = {} has room for {} MB of copies, and the streams of {shards} shards keep {} MB \
             (cluster.log_mb = {})",
            dir.display(),
            free >> 20,
            needed >> 20,
            config.cluster.log_mb
        ),
        "make room, or lower cluster.log_mb with `nats stream edit`, or log.node_mb",
    ))
}

/// Ask until the servers answer: after the death of a machine they elect their leaders for some seconds, and
/// a server that starts with its node is not ready yet.
fn patiently<T>(ask: impl Fn() -> Result<T, AdminFault>) -> Result<T, AdminFault> {
    let tries = SERVERS_WITHIN.as_millis() / ASK_EVERY.as_millis();
    for left in (0..tries).rev() {
        match ask() {
            Err(fault) if left > 0 => {
                if left + 1 == tries {
                    tracing::warn!("{fault}; trying for {} s", SERVERS_WITHIN.as_secs());
                }
                thread::sleep(ASK_EVERY);
            }
            done => return done,
        }
    }
    ask()
}

/// Do this on a thread of its own: it waits for the network, and a node may be started within a runtime.
fn apart<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(wait).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// How the servers are reached.
pub(crate) fn network(config: &Config, clock: Clock) -> Result<grandstand_nats::Config, NodeError> {
    let cluster = &config.cluster;
    let read = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path);
        text.map(|text| text.trim_end().to_owned()).map_err(|error| {
            NodeError::new(format!("{} cannot be read: {error}", path.display()), "see cluster.password_file")
        })
    };
    let credentials = match (&cluster.credentials_file, &cluster.password_file) {
        (Some(file), _) => Credentials::File(file.clone()),
        (None, Some(file)) => Credentials::Password { user: cluster.user.clone(), password: read(file)? },
        (None, None) => Credentials::None,
    };
    Ok(grandstand_nats::Config {
        cluster: cluster.name.clone(),
        servers: cluster.servers.clone(),
        credentials,
        tls: cluster.servers.iter().any(|server| server.starts_with("tls://")),
        tls_ca: cluster.ca_file.clone(),
        plan: Plan { log_bytes: cluster.log_mb << 20, ..Plan::default() },
        origin: clock.started(),
    })
}

/// The cluster's facts. One of this node's ticket keys must be the one that the cluster was made with: so
/// keys are rotated while nodes restart one by one.
fn facts(network: &grandstand_nats::Config, ticket_key_prints: &[u64]) -> Result<Facts, NodeError> {
    let found = apart(|| patiently(|| admin::facts(network)))
        .map_err(|fault| NodeError::new(fault.to_string(), "see cluster.servers"))?;
    let Some(facts) = found else {
        return Err(NodeError::new(
            format!("the cluster {} was not made yet", network.cluster),
            "run `grandstand cluster init` once, with the same configuration",
        ));
    };
    if !ticket_key_prints.contains(&facts.ticket_key_print) {
        return Err(NodeError::new(
            "the ticket key is not the cluster's: sessions could not move between nodes",
            "give every node the same auth.ticket_key_file, and keep the key of `cluster init` in it, behind newer ones",
        ));
    }
    Ok(facts)
}
