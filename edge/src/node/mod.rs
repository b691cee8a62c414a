//! A whole node: listeners, shards, workers and the admin port, started in one place and stopped in order.
//!
//! Start: bind everything, load certificates and keys, start the engine, then the workers, then the admin
//! port; only then is the node ready. Whatever fails says what and what to do, before anything has been
//! served.
//! Where a process before this one hands over (`handover`), its sockets are taken in place of binding, and
//! its log is waited for once everything that can fail has been done. Stopping and its order: `drain`.

mod drain;
mod error;
mod handover;
mod settings;
mod store;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_engine::log::LogSource;
use grandstand_engine::runtime::{Engine, WorkerPort};
use grandstand_queue::{Doorbell, Receiver};
use grandstand_store::Store;

use crate::admin::{self, AdminState, DrainAsk, DrainState, Drains};
use crate::audience::Audience;
use crate::auth::{Authority, Tickets};
use crate::certificates::Certificates;
use crate::config::{Config, Effective};
use crate::gate::Gate;
use crate::listen;
use crate::metrics::{Metrics, Stats};
use crate::quic::{self, Forwarder, Quic, Socket, WORKERS_MAX};
use crate::worker::{Clock, Command, Parts, PreviousProcess, Shared, Worker, command_inbox};
use drain::{Departure, Owned};
pub use error::NodeError;
use handover::{Found, Given, Giver};
use settings::{audience_settings, engine_config};

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

/// A running node.
pub struct Node {
    addresses: Addresses,
    fingerprint: String,
    runs_open: bool,
    config: Arc<Config>,
    shared: Arc<Shared>,
    ready: Arc<AtomicBool>,
    stats: Vec<Arc<Stats>>,
    workers: Vec<JoinHandle<()>>,
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
        let bells = bells(worker_count)
            .map_err(|e| NodeError::new(e.to_string(), "raise the limit of open files"))?;
        let doorbells: Vec<_> = bells.iter().map(|b| b.bell.clone()).collect();
        if let Some(predecessor) = &predecessor {
            predecessor.take(!listeners.passing.is_empty())?;
        }
        let mut store = store::open(&config)?;
        let log = store.as_mut().map(|store| store as &mut dyn LogSource);
        let engine_config = engine_config(&config, worker_count);
        let (engine, ports) = Engine::start_with_log(engine_config, doorbells.clone(), log).map_err(|e| {
            NodeError::new(format!("the engine does not start: {e}"), "see the keys under rooms")
        })?;
        let (senders, receivers): (Vec<_>, Vec<_>) = doorbells.iter().cloned().map(command_inbox).unzip();
        let config = Arc::new(config);
        let shared = Arc::new(Shared {
            config: config.clone(),
            gate: Gate::new(&config.limits),
            tls: certificates.tcp_config(),
            commands: senders,
            loads: (0..worker_count).map(|_| AtomicUsize::new(0)).collect(),
            clock: Clock::new(),
            generation: generation(&listeners.generations)?,
        });
        let stats: Vec<Arc<Stats>> = (0..worker_count).map(|_| Arc::default()).collect();
        let ready = Arc::new(AtomicBool::new(false));
        let departure = Arc::new(Departure::new(config.clone(), shared.clone(), ready.clone()));
        let mut node = Node {
            addresses,
            fingerprint: certificates.fingerprint_sha256_hex(),
            runs_open,
            config: config.clone(),
            shared,
            ready,
            stats,
            workers: Vec::new(),
            admin: None,
            departure,
            giver: None,
        };
        let audience = AudienceParts { authority, tickets };
        node.start_workers(&listeners, &certificates, &audience, bells, ports, receivers)?;
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
        &self.stats
    }

    /// Connections that stand.
    pub fn connections(&self) -> usize {
        self.shared.gate.connections()
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
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
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
        let generations = std::iter::once(self.shared.generation).chain(generations).collect();
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

    fn start_workers(
        &mut self,
        listeners: &Listeners,
        certificates: &Certificates,
        audience: &AudienceParts,
        bells: Vec<WorkerBell>,
        ports: Vec<WorkerPort>,
        receivers: Vec<Receiver<Command>>,
    ) -> Result<(), NodeError> {
        let quic_config = quic::server_config(
            certificates.quic_config(),
            audience.tickets.quic_token_key(),
            &self.config.quic,
        )
        .map_err(|e| {
            NodeError::new(format!("QUIC cannot use this TLS configuration: {e}"), "see tls.cert")
        })?;
        let quic_config = Arc::new(quic_config);
        let generations: Arc<[u16]> = listeners.generations.as_slice().into();
        for (id, ((bell, port), commands)) in bells.into_iter().zip(ports).zip(receivers).enumerate() {
            let fault =
                |e: io::Error| NodeError::new(format!("worker {id} does not start: {e}"), "check the limits");
            let clone = |l: &Option<TcpListener>| l.as_ref().map(TcpListener::try_clone).transpose();
            let quic = listeners.quic.get(id).map(|socket| {
                let socket = Socket::new(socket.try_clone()?)?;
                let limits = (self.config.limits.frame_bytes_max, self.config.quic.retry_above);
                let reset_key = audience.tickets.quic_reset_key();
                let endpoint = quic::endpoint_config(id as u8, self.shared.generation, reset_key);
                io::Result::Ok(Quic::new(socket, endpoint, quic_config.clone(), limits.0, limits.1))
            });
            let previous = listeners.passing.get(id).map(|way| {
                let forwarder = Forwarder::new(way.try_clone()?);
                io::Result::Ok(PreviousProcess { generations: generations.clone(), forwarder })
            });
            let mut seed = [0; 8];
            getrandom::fill(&mut seed).map_err(|e| fault(io::Error::other(e.to_string())))?;
            let parts = Parts {
                id,
                shared: self.shared.clone(),
                audience: Audience::new(
                    audience_settings(&self.config, id, audience.tickets.ttl_ms()),
                    audience.authority.clone(),
                    audience.tickets.clone(),
                    port.backbone.clone(),
                    u64::from_le_bytes(seed),
                ),
                port,
                commands,
                bell: bell.bell,
                bell_fd: bell.fd,
                stats: self.stats[id].clone(),
                ws: clone(&listeners.ws).map_err(fault)?,
                wss: clone(&listeners.wss).map_err(fault)?,
                quic: quic.transpose().map_err(fault)?,
                previous: previous.transpose().map_err(fault)?,
            };
            self.workers.push(spawn_worker(parts, self.config.node.pin).map_err(fault)?);
        }
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
            stats: self.stats.clone(),
            metrics: Metrics::new(&self.config.node.name),
            log: store.map(|store| store::port(&self.config, store)),
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
    tracing::info!(node = name, workers = node.workers.len(), "ready");
}

struct AudienceParts {
    authority: Arc<Authority>,
    tickets: Arc<Tickets>,
}

struct WorkerBell {
    bell: Arc<Doorbell>,
    fd: std::os::fd::OwnedFd,
}

fn bells(workers: usize) -> io::Result<Vec<WorkerBell>> {
    use rustix::event::{EventfdFlags, eventfd};
    (0..workers)
        .map(|_| {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let ringing = fd.try_clone()?;
            let bell = Doorbell::new(move || {
                // It fails only when it has been rung 2^64 times without an answer.
                let _ = rustix::io::write(&ringing, &1u64.to_ne_bytes());
            });
            Ok(WorkerBell { bell, fd })
        })
        .collect()
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

fn spawn_worker(parts: Parts, pin: bool) -> io::Result<JoinHandle<()>> {
    let id = parts.id;
    let worker = Worker::new(parts)?;
    std::thread::Builder::new().name(format!("worker-{id}")).spawn(move || {
        if pin {
            pin_to(id);
        }
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| runtime.block_on(worker.run()));
        if let Err(error) = outcome {
            tracing::error!(worker = id, %error, "a worker ended");
        }
    })
}

fn pin_to(core: usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = rustix::thread::CpuSet::new();
    set.set(core % cores);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(core, %error, "the worker runs unpinned");
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
