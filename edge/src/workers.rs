//! Workers: all workers of a node, which are started, commanded and joined together.
//!
//! Why here: the parts and commands of a worker stay inside this crate. The node passes listeners in, and
//! sees connections, counters and three commands.
//! Invariants: with QUIC, a worker has one UDP socket of its own. A command reaches every worker that has not
//! ended.
//! Not here: one worker's loop (`worker`), binding and the order of start and stop (the node's crate).

use std::fmt;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_edge_core::admission::limits::{ConnectionLimiter, ConnectionLimits};
use grandstand_edge_core::audience::{Audience, Drain, PresenceQuery, Present, Settings};
use grandstand_edge_core::auth::Ended;
use grandstand_edge_core::key::Key;
use grandstand_edge_core::people::{People, PeopleLimits};
use grandstand_engine::runtime::WorkerPort;
use grandstand_engine::runtime::pulse::Pulses;
use grandstand_queue::Doorbell;

use crate::auth::{Authority, Tickets};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::quic::{self, Forwarder, Quic, Socket};
use crate::stats::Stats;
use crate::worker::{
    Command, Parts, PresenceRequest, PreviousProcess, Release, Shared, Worker, command_inbox,
};

pub use crate::quic::{WORKERS_MAX, pair as forwarding_pair};
pub use crate::worker::{LINGER_S, reserved as connections_reserved};

/// The longest wait for a release. A worker answers within a turn; one that has panicked never does.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// The doorbells of workers that are to be started. The engine rings them.
pub struct Bells(Vec<(Arc<Doorbell>, OwnedFd)>);

impl Bells {
    /// Make one for each worker.
    ///
    /// # Errors
    /// The process has no file descriptors left.
    pub fn new(workers: usize) -> io::Result<Bells> {
        use rustix::event::{EventfdFlags, eventfd};
        let bell = |_| {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let ringing = fd.try_clone()?;
            let bell = Doorbell::new(move || {
                // It fails only after 2^64 rings without an answer.
                let _ = rustix::io::write(&ringing, &1u64.to_ne_bytes());
            });
            Ok((bell, fd))
        };
        (0..workers).map(bell).collect::<io::Result<_>>().map(Bells)
    }

    /// The engine's side of the bells, by worker.
    pub fn doorbells(&self) -> Vec<Arc<Doorbell>> {
        self.0.iter().map(|(bell, _)| bell.clone()).collect()
    }
}

impl fmt::Debug for Bells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bells").field("workers", &self.0.len()).finish_non_exhaustive()
    }
}

/// The listening sockets of all workers. Workers clone them; the caller keeps its own.
#[derive(Clone, Copy, Debug)]
pub struct Sockets<'a> {
    /// WebSocket without TLS.
    pub ws: Option<&'a TcpListener>,
    /// WebSocket over TLS.
    pub wss: Option<&'a TcpListener>,
    /// QUIC, one for each worker, all on one port; or none.
    pub quic: &'a [UdpSocket],
    /// Sockets to the predecessor's workers, which still get datagrams through these UDP sockets.
    pub forwarding: &'a [UnixStream],
    /// Generations of the predecessors that still have connections, the newest first.
    pub generations: &'a [u16],
}

/// The parts with which workers are started, besides their sockets.
pub struct Setup {
    /// The node's configuration.
    pub config: Arc<Config>,
    /// The clock that workers read.
    pub clock: Clock,
    /// TLS for WebSocket.
    pub tcp_tls: Arc<rustls::ServerConfig>,
    /// TLS for QUIC.
    pub quic_tls: Arc<rustls::ServerConfig>,
    /// Decides what sessions may do.
    pub authority: Arc<Authority>,
    /// Resume tickets, and the keys that QUIC derives from them.
    pub tickets: Arc<Tickets>,
    /// The generation of this process, which is part of its QUIC connection IDs.
    pub generation: u16,
    /// What people and their addresses are known by: a next process that has it knows them again.
    pub people_key: [u8; 16],
    /// The bells that the engine rings.
    pub bells: Bells,
    /// The engine's ports, one for each bell.
    pub ports: Vec<WorkerPort>,
    /// Where the workers' threads show that they turn.
    pub pulses: Pulses,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("bells", &self.bells).finish_non_exhaustive()
    }
}

/// Why workers were not started.
#[derive(Debug)]
pub enum StartError {
    /// QUIC cannot use the TLS configuration.
    QuicTls(String),
    /// The system refused a worker a resource.
    Worker {
        /// The worker's number.
        id: usize,
        /// The reason.
        error: io::Error,
    },
}

/// Running workers.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    stats: Vec<Arc<Stats>>,
    people: Arc<People>,
}

/// The threads of running workers.
#[derive(Debug)]
pub struct WorkerThreads(Vec<JoinHandle<()>>);

impl WorkerThreads {
    /// Wait until all have ended.
    pub fn join(&mut self) {
        for thread in self.0.drain(..) {
            // A worker that panicked has reported it already.
            let _ = thread.join();
        }
    }

    /// The number of threads that were not joined yet.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Workers {
    /// Start a worker for each bell; `settings` returns the settings of a worker's audience.
    ///
    /// # Errors
    /// See [`StartError`]. Workers that had been started are stopped.
    pub fn start(
        setup: Setup,
        sockets: Sockets<'_>,
        settings: impl Fn(usize) -> Settings,
    ) -> Result<(Workers, WorkerThreads), StartError> {
        let Setup {
            config,
            clock,
            tcp_tls,
            quic_tls,
            authority,
            tickets,
            generation,
            bells,
            ports,
            pulses,
            people_key,
        } = setup;
        let quic_config = quic::server_config(&quic_tls, tickets.quic_token_key(), &config.quic)
            .map_err(|error| StartError::QuicTls(error.to_string()))?;
        let quic_config = Arc::new(quic_config);
        let (commands, inboxes): (Vec<_>, Vec<_>) = bells.doorbells().into_iter().map(command_inbox).unzip();
        let key = random_key().map_err(|error| StartError::Worker { id: 0, error })?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            limiter: ConnectionLimiter::new(&connection_limits(&config.limits), key),
            tls: tcp_tls,
            loads: commands.iter().map(|_| AtomicUsize::new(0)).collect(),
            waiting: commands.iter().map(|_| AtomicUsize::new(0)).collect(),
            commands,
            clock,
            ready: Arc::default(),
            generation,
            unnamed: Default::default(),
        });
        let people = Arc::new(People::new(people_limits(&config.limits), Key::new(people_key)));
        let stats = ports.iter().map(|_| Arc::default()).collect();
        let workers = Workers { shared, stats, people: people.clone() };
        let mut threads = WorkerThreads(Vec::new());
        let generations: Arc<[u16]> = sockets.generations.into();
        for (id, ((bell, port), commands)) in bells.0.into_iter().zip(ports).zip(inboxes).enumerate() {
            let start = || {
                let clone = |l: Option<&TcpListener>| l.map(TcpListener::try_clone).transpose();
                let quic = sockets.quic.get(id).map(|socket| {
                    let socket = Socket::new(socket.try_clone()?)?;
                    let endpoint = quic::endpoint_config(id as u8, generation, tickets.quic_reset_key());
                    let (frame_bytes_max, retry_above) =
                        (config.limits.frame_bytes_max, config.quic.retry_above);
                    io::Result::Ok(Quic::new(
                        clock.instant(),
                        socket,
                        endpoint,
                        quic_config.clone(),
                        frame_bytes_max,
                        retry_above,
                    ))
                });
                let previous = sockets.forwarding.get(id).map(|way| {
                    let forwarder = Forwarder::new(way.try_clone()?);
                    io::Result::Ok(PreviousProcess { generations: generations.clone(), forwarder })
                });
                let parts = Parts {
                    id,
                    shared: workers.shared.clone(),
                    audience: Audience::new(
                        settings(id),
                        authority.clone(),
                        tickets.clone(),
                        port.backbone.clone(),
                        people.clone(),
                        random_key()?,
                    ),
                    port,
                    commands,
                    bell: bell.0,
                    bell_fd: bell.1,
                    stats: workers.stats[id].clone(),
                    pulse: pulses.register(format!("worker-{id}")),
                    ws: clone(sockets.ws)?,
                    wss: clone(sockets.wss)?,
                    quic: quic.transpose()?,
                    previous: previous.transpose()?,
                    key: random_key()?,
                };
                spawn(parts, config.node.pin)
            };
            match start() {
                Ok(thread) => threads.0.push(thread),
                Err(error) => {
                    workers.stop();
                    threads.join();
                    return Err(StartError::Worker { id, error });
                }
            }
        }
        Ok((workers, threads))
    }

    /// The counters, by worker.
    pub fn stats(&self) -> &[Arc<Stats>] {
        &self.stats
    }

    /// Connections that are established now, or whose handshake is under way.
    pub fn connections(&self) -> usize {
        self.shared.limiter.connections()
    }

    /// What probes of the public ports are told: does the node take new sessions? False until it is set.
    pub fn ready(&self) -> Arc<AtomicBool> {
        self.shared.ready.clone()
    }

    /// The generation of this process, which is part of its QUIC connection IDs.
    pub fn generation(&self) -> u16 {
        self.shared.generation
    }

    /// Refuse new connections, and tell clients to leave, spread over a time.
    pub fn drain(&self, drain: &Drain) {
        self.tell_all(|_| Command::Drain(drain.clone()));
    }

    /// Close the connections of what an operator has ended: sorted by subject.
    pub fn end(&self, ended: &Arc<[Ended]>) {
        self.tell_all(|_| Command::End(ended.clone()));
    }

    /// These sessions, sorted, have come to another node: they count as viewers there.
    pub fn count_elsewhere(&self, sessions: &Arc<[u64]>) {
        for commands in &self.shared.commands {
            // Who counts twice for once is no reason to wait for a worker that hangs.
            let _ = commands.try_send(Command::CountElsewhere(sessions.clone()));
        }
    }

    /// Ask every worker which sessions are here. `reply` is called once for each worker that takes the
    /// request, on the worker's thread; a worker that hangs is left out.
    pub fn presence(&self, query: PresenceQuery, reply: impl Fn(Vec<Present>) + Clone + Send + 'static) {
        let query = Arc::new(query);
        for commands in &self.shared.commands {
            let reply: Box<dyn FnOnce(Vec<Present>) + Send> = Box::new(reply.clone());
            // Who asks is told less, and asks again.
            let _ = commands.try_send(Command::Presence(PresenceRequest { query: query.clone(), reply }));
        }
    }

    /// What all workers know of people.
    pub fn people(&self) -> &Arc<People> {
        &self.people
    }

    /// End a drain, and go on: take new connections again, and close nobody. Not after a release.
    pub fn end_drain(&self) {
        self.tell_all(|_| Command::DrainOver);
    }

    /// Stop submitting to the shards and accepting new connections. If another process reads the UDP sockets
    /// from now on, `forwarded` has a socket for each worker, over which that process forwards datagrams.
    /// Returns when every worker has done so.
    pub fn release(&self, forwarded: Vec<UnixStream>) {
        let (done, acknowledged) = mpsc::channel();
        let mut forwarded = forwarded.into_iter();
        self.tell_all(|_| Command::Release(Release { datagrams: forwarded.next(), done: done.clone() }));
        drop(done);
        let clock = self.shared.clock;
        let until = clock.instant() + RELEASE_WAIT;
        while let Ok(()) = acknowledged.recv_timeout(until.saturating_duration_since(clock.instant())) {}
    }

    /// Close everything and end the threads.
    pub fn stop(&self) {
        self.tell_all(|_| Command::Stop);
    }

    fn tell_all(&self, mut command: impl FnMut(usize) -> Command) {
        for worker in 0..self.shared.commands.len() {
            self.tell(worker, command(worker));
        }
    }

    /// Waits for space in the inbox, since the command must arrive; but not for a worker that hangs.
    fn tell(&self, worker: usize, mut command: Command) {
        let clock = self.shared.clock;
        let until = clock.instant() + RELEASE_WAIT;
        while clock.instant() < until {
            match self.shared.commands[worker].try_send(command) {
                Err(error) if error.is_full() => command = error.into_inner(),
                _ => return,
            }
            std::thread::yield_now();
        }
        tracing::error!(worker, "a worker takes no commands: it hangs, and goes on without this one");
    }
}

/// Start a worker's thread. All descriptors that it needs are there before, so a thread that has started
/// cannot end for want of them.
fn spawn(parts: Parts, pin: bool) -> io::Result<JoinHandle<()>> {
    let id = parts.id;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let worker = {
        let _entered = runtime.enter();
        Worker::new(parts)?
    };
    std::thread::Builder::new().name(format!("worker-{id}")).spawn(move || {
        if pin {
            pin_to(id);
        }
        if let Err(error) = runtime.block_on(worker.run()) {
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

/// The limits on connections that the configuration sets.
fn connection_limits(limits: &config::Limits) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_per_address_max,
        handshakes_per_address_per_s: limits.handshakes_per_address_per_s,
        handshakes_per_address_burst: limits.handshakes_per_address_burst,
        loopback_exempt: limits.loopback_exempt,
    }
}

/// The bounds of what workers know of people.
fn people_limits(limits: &config::Limits) -> PeopleLimits {
    PeopleLimits {
        places_per_address: limits.people_per_address as u32,
        remembered_max: limits.people_remembered_max,
        sessions_per_user: limits.sessions_per_user_max,
    }
}

/// A random key.
fn random_key() -> io::Result<Key> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Key::new(bytes))
}
