//! A whole node: listeners, shards, workers and the admin port, started in one place and stopped in order.
//!
//! Start: bind everything, load certificates and keys, start the engine, then the workers, then the admin
//! port; only then is the node ready. Whatever fails says what and what to do, before anything has been
//! served.
//! Where a process before this one hands over (`handover`), its sockets are taken in place of binding, and
//! its log is waited for once everything that can fail has been done. Stopping and its order: `drain`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_edge::auth::{Authority, Tickets};
use grandstand_edge::config::{Config, Effective};
use grandstand_edge::stats::Stats;
use grandstand_edge::workers::{Bells, Setup, Sockets, StartError, WORKERS_MAX, WorkerThreads, Workers};
use grandstand_engine::log::LogSource;
use grandstand_engine::runtime::Engine;
use grandstand_store::Store;

use crate::certificates::Certificates;
use crate::drain::{Departure, Owned};
use crate::handover::{self, Found, Given, Giver};
use crate::http::admin::{self, AdminState, DrainAsk, DrainState, Drains};
use crate::metrics::Metrics;
use crate::settings::{audience_settings, engine_config};
use crate::{NodeError, durable_log, listen};

/// A resume ticket is good for this long after its last renewal: a phone that was in a tunnel or a pocket.
const TICKET_TTL_MS: u64 = 600_000;

/// Where a node listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// WebSocket without TLS.
    pub ws: Option<SocketAddr>,
    /// WebSocket over TLS.
    pub wss: Option<SocketAddr>,
    /// QUIC.
    pub quic: Option<SocketAddr>,
    /// Admin API, metrics and health.
    pub admin: Option<SocketAddr>,
}

struct Admin {
    stop: tokio::sync::watch::Sender<bool>,
    thread: JoinHandle<()>,
}

struct Listeners {
    ws: Option<TcpListener>,
    wss: Option<TcpListener>,
    quic: Vec<UdpSocket>,
    admin: Option<TcpListener>,
    /// To the workers of the process before, whose connections still get datagrams by our UDP sockets.
    passing: Vec<UnixStream>,
    /// Of the processes before that still have connections, the newest first.
    generations: Vec<u16>,
}

impl Listeners {
    fn of_workers(&self) -> Sockets<'_> {
        Sockets {
            ws: self.ws.as_ref(),
            wss: self.wss.as_ref(),
            quic: &self.quic,
            forwarding: &self.passing,
            generations: &self.generations,
        }
    }
}

/// A running node.
pub struct Node {
    addresses: Addresses,
    fingerprint: String,
    runs_open: bool,
    config: Arc<Config>,
    ready: Arc<AtomicBool>,
    workers: Arc<Workers>,
    threads: WorkerThreads,
    admin: Option<Admin>,
    departure: Arc<Departure>,
    giver: Option<Giver>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Node {
    /// Start a node; it serves when this returns.
    ///
    /// # Errors
    /// A port, file or key that cannot be used, with a hint.
    pub fn start(config: Config) -> Result<Node, NodeError> {
        let (predecessor, found) = match handover::path(&config) {
            Some(path) => handover::find(&path, &config)?.unzip(),
            None => (None, None),
        };
        let worker_count = worker_count(&config, found.as_ref());
        let listeners = bind(&config, worker_count, found.unwrap_or_default())?;
        let addresses = addresses(&listeners).map_err(|e| NodeError::new(e.to_string(), "try again"))?;
        let certificates =
            Certificates::load(&config.tls).map_err(|e| NodeError::new(e, "see tls.cert and tls.key"))?;
        let authority =
            Authority::from_config(&config.auth).map_err(|e| NodeError::new(e, "see the keys under auth"))?;
        let (runs_open, authority) = (authority.runs_open(), Arc::new(authority));
        let tickets = Tickets::from_config(&config, TICKET_TTL_MS)
            .map_err(|e| NodeError::new(e, "see auth.ticket_key_file and log.dir"))?;
        let tickets = Arc::new(tickets);
        let bells = Bells::new(worker_count)
            .map_err(|e| NodeError::new(e.to_string(), "raise the limit of open files"))?;
        if let Some(predecessor) = &predecessor {
            predecessor.take(!listeners.passing.is_empty())?;
        }
        let mut store = durable_log::open(&config)?;
        let log = store.as_mut().map(|store| store as &mut dyn LogSource);
        let engine_config = engine_config(&config, worker_count);
        let (engine, ports) = Engine::start_with_log(engine_config, bells.doorbells(), log).map_err(|e| {
            NodeError::new(format!("the engine does not start: {e}"), "see the keys under rooms")
        })?;
        let config = Arc::new(config);
        let ticket_ttl_ms = tickets.ttl_ms();
        let setup = Setup {
            config: config.clone(),
            tcp_tls: certificates.tcp_config(),
            quic_tls: certificates.quic_config(),
            authority,
            tickets,
            generation: generation(&listeners.generations)?,
            bells,
            ports,
        };
        let settings = |worker| audience_settings(&config, worker, ticket_ttl_ms);
        let (workers, threads) =
            Workers::start(setup, listeners.of_workers(), settings).map_err(|e| worker_error(&e))?;
        let workers = Arc::new(workers);
        let ready = Arc::new(AtomicBool::new(false));
        let departure = Arc::new(Departure::new(config.clone(), workers.clone(), ready.clone()));
        let mut node = Node {
            addresses,
            fingerprint: certificates.fingerprint_sha256_hex(),
            runs_open,
            config,
            ready,
            workers,
            threads,
            admin: None,
            departure,
            giver: None,
        };
        node.start_admin(&listeners, &engine, store.as_ref())?;
        node.departure.own(Owned { engine, store });
        node.ready.store(true, Ordering::Release);
        node.start_giver(listeners)?;
        if let Some(predecessor) = predecessor {
            predecessor.serving();
        }
        Ok(node)
    }

    /// Where it listens: with the real ports where 0 was configured.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// SHA-256 of the leaf certificate, in hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What its workers count.
    pub fn stats(&self) -> &[Arc<Stats>] {
        self.workers.stats()
    }

    /// Connections that stand.
    pub fn connections(&self) -> usize {
        self.workers.connections()
    }

    /// Send clients away, as the configuration says, and take no new ones.
    pub fn drain(&self) {
        self.departure.drain(&DrainAsk::default());
    }

    /// How far it is with leaving.
    pub fn drain_state(&self) -> DrainState {
        self.departure.state()
    }

    /// Has it drained, or handed over, and have all left or had their time? Then it is to be stopped.
    pub fn is_over(&self) -> bool {
        self.departure.is_over()
    }

    /// Close everything, flush, and end the threads.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.giver = None;
        self.departure.stop();
        self.threads.join();
        if let Some(admin) = self.admin.take() {
            // Both fail only when the port's thread has ended by itself.
            let _ = admin.stop.send(true);
            let _ = admin.thread.join();
        }
    }

    /// Wait for the next process, where the configuration says where.
    fn start_giver(&mut self, listeners: Listeners) -> Result<(), NodeError> {
        let Some(path) = handover::path(&self.config) else { return Ok(()) };
        let Listeners { ws, wss, quic, admin, generations, passing: _ } = listeners;
        let generations = std::iter::once(self.workers.generation()).chain(generations).collect();
        let given = Given { ws, wss, admin, quic, generations };
        let admin = self.admin.as_ref().map(|admin| admin.stop.clone());
        let taken = move || {
            // It fails only where the port's thread has ended.
            let _ = admin.map(|stop| stop.send(true));
        };
        let giver = Giver::start(&path, given, self.departure.clone(), taken).map_err(|e| {
            NodeError::new(
                format!("cannot listen for the next process at {}: {e}", path.display()),
                "see node.handover and log.dir",
            )
        })?;
        self.giver = Some(giver);
        Ok(())
    }

    fn start_admin(
        &mut self,
        listeners: &Listeners,
        engine: &Engine,
        store: Option<&Store>,
    ) -> Result<(), NodeError> {
        let Some(listener) = &listeners.admin else { return Ok(()) };
        let listener = listener
            .try_clone()
            .map_err(|e| NodeError::new(e.to_string(), "raise the limit of open files"))?;
        let key = self.config.admin_key().map_err(|e| NodeError::new(e.to_string(), "see admin.key_file"))?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let backbone = engine.backbone();
        let state = AdminState {
            shards: backbone.shards(),
            backbone,
            stats: self.workers.stats().to_vec(),
            metrics: Metrics::new(&self.config.node.name),
            store: store.map(|store| durable_log::port(&self.config, store)),
            ready: self.ready.clone(),
            drains: self.departure.clone(),
            key,
            stop: stopped,
        };
        let thread = admin::start(listener, state)
            .map_err(|e| NodeError::new(format!("the admin port does not start: {e}"), "see admin.listen"))?;
        self.admin = Some(Admin { stop, thread });
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Run a node until it is told to stop (SIGTERM or SIGINT, or by the admin port) or another process takes
/// over, then drain it. A second signal ends it at once.
///
/// # Errors
/// See [`Node::start`].
pub fn run(effective: Effective) -> Result<(), NodeError> {
    let config = effective.config;
    let limit = raise_file_limit();
    let name = config.node.name.clone();
    if limit < config.limits.connections_max as u64 + 100 {
        tracing::warn!(
            files = limit,
            connections_max = config.limits.connections_max,
            "fewer open files than connections are allowed: raise `ulimit -n` or lower limits.connections_max"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| NodeError::new(e.to_string(), "the system gives no resources to start"))?;
    runtime.block_on(async move {
        let mut signals = Signals::new()?;
        let node = Node::start(config)?;
        announce(&node, &name);
        let mut leaving = node.departure.watch();
        tokio::select! {
            () = signals.next() => node.drain(),
            // Asked by the admin port, or by the process that takes over.
            _ = leaving.wait_for(Option::is_some) => {}
        }
        while !node.is_over() {
            tokio::select! {
                () = signals.next() => break,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
        node.stop();
        tracing::info!("stopped");
        Ok(())
    })
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, NodeError> {
        use tokio::signal::unix::{SignalKind, signal};
        let fault =
            |e: io::Error| NodeError::new(format!("cannot watch signals: {e}"), "check the system's limits");
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(fault)?,
            interrupt: signal(SignalKind::interrupt()).map_err(fault)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn announce(node: &Node, name: &str) {
    let a = node.addresses;
    if let Some(ws) = a.ws {
        tracing::info!("WebSocket          ws://{ws}{}", node.config.ws.path);
    }
    if let Some(wss) = a.wss {
        tracing::info!("WebSocket over TLS wss://{wss}{}", node.config.ws.path);
    }
    if let Some(quic) = a.quic {
        tracing::info!("QUIC               quic://{quic}");
    }
    if let Some(admin) = a.admin {
        tracing::info!("admin              http://{admin}/ (rooms, /metrics, /healthz, /readyz)");
    }
    if node.config.tls.cert.is_none() {
        tracing::info!("development certificate, SHA-256 {}", node.fingerprint);
    }
    if node.runs_open {
        tracing::warn!("no key is configured: the node runs open, everyone may do what auth.open_may lists");
    }
    tracing::info!(node = name, workers = node.threads.count(), "ready");
}

/// QUIC's sockets are one per worker: where they are taken over, there are as many workers as the process
/// before had.
fn worker_count(config: &Config, found: Option<&Found>) -> usize {
    let wanted = config.node.workers_or_cpus().min(WORKERS_MAX);
    match found.map(|found| found.quic.len()).filter(|&count| count > 0 && count != wanted) {
        Some(workers) => {
            tracing::info!(workers, wanted, "as many workers as the process before has QUIC sockets");
            workers
        }
        None => wanted,
    }
}

/// New with every process, and not that of one whose connections still stand.
fn generation(before: &[u16]) -> Result<u16, NodeError> {
    match before.first() {
        Some(newest) => Ok((1..=u16::MAX)
            .map(|step| newest.wrapping_add(step))
            .find(|generation| !before.contains(generation))
            .expect("fewer processes than numbers")),
        None => {
            let mut random = [0; 2];
            getrandom::fill(&mut random)
                .map_err(|e| NodeError::new(e.to_string(), "the system gives no random bytes"))?;
            Ok(u16::from_le_bytes(random))
        }
    }
}

/// Everything that the configuration names, taken over or bound.
fn bind(config: &Config, workers: usize, found: Found) -> Result<Listeners, NodeError> {
    let tcp = |key, address: Option<SocketAddr>, found: Option<TcpListener>| match found {
        Some(listener) => Ok(Some(listener)),
        None => address.map(|address| listen::tcp(key, address, &config.socket)).transpose(),
    };
    let quic = match config.quic.listen {
        Some(address) if found.quic.is_empty() => {
            listen::udp("quic.listen", address, workers, &config.socket)?
        }
        _ => found.quic,
    };
    Ok(Listeners {
        ws: tcp("ws.listen", config.ws.listen, found.ws)?,
        wss: tcp("wss.listen", config.wss.listen, found.wss)?,
        quic,
        admin: tcp("admin.listen", config.admin.listen, found.admin)?,
        passing: found.passing,
        generations: found.generations,
    })
}

fn addresses(listeners: &Listeners) -> io::Result<Addresses> {
    let of = |l: &Option<TcpListener>| l.as_ref().map(TcpListener::local_addr).transpose();
    Ok(Addresses {
        ws: of(&listeners.ws)?,
        wss: of(&listeners.wss)?,
        quic: listeners.quic.first().map(UdpSocket::local_addr).transpose()?,
        admin: of(&listeners.admin)?,
    })
}

fn worker_error(error: &StartError) -> NodeError {
    match error {
        StartError::QuicTls(error) => {
            NodeError::new(format!("QUIC cannot use this TLS configuration: {error}"), "see tls.cert")
        }
        StartError::Worker { id, error } => {
            NodeError::new(format!("worker {id} does not start: {error}"), "check the limits")
        }
    }
}

/// As many open files as we may have; how many that is.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum;
    limit.current = wanted;
    // Where it is not allowed, the warning about connections_max says so.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
