//! Workers: all of a node's, started together, told together, joined together.
//!
//! Why here: what a worker is made of and what it can be told stays inside this crate; the node sees
//! listeners in, and connections, counters and three commands out.
//! Invariants: a worker has one UDP socket of its own where there is QUIC; a command reaches every worker, or
//! the worker has ended.
//! Not here: one worker's loop (`worker`), binding and the order of start and stop (the node's crate).

use std::fmt;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use grandstand_edge_core::admission::limits::{ConnectionLimiter, ConnectionLimits};
use grandstand_edge_core::audience::{Audience, Drain, Settings};
use grandstand_edge_core::key::Key;
use grandstand_engine::runtime::WorkerPort;
use grandstand_queue::Doorbell;

use crate::auth::{Authority, Tickets};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::quic::{self, Forwarder, Quic, Socket};
use crate::stats::Stats;
use crate::worker::{Command, Parts, PreviousProcess, Release, Shared, Worker, command_inbox};

pub use crate::quic::{WORKERS_MAX, pair as forwarding_pair};
pub use crate::worker::{LINGER_S, reserved as connections_reserved};

/// A worker answers within a turn; one that has panicked never does.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// The doorbells of workers that are to be started: the engine rings them.
pub struct Bells(Vec<(Arc<Doorbell>, OwnedFd)>);

impl Bells {
    /// One for each worker.
    ///
    /// # Errors
    /// No file descriptors are left.
    pub fn new(workers: usize) -> io::Result<Bells> {
        use rustix::event::{EventfdFlags, eventfd};
        let bell = |_| {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let ringing = fd.try_clone()?;
            let bell = Doorbell::new(move || {
                // It fails only when it has been rung 2^64 times without an answer.
                let _ = rustix::io::write(&ringing, &1u64.to_ne_bytes());
            });
            Ok((bell, fd))
        };
        (0..workers).map(bell).collect::<io::Result<_>>().map(Bells)
    }

    /// What the engine rings, by worker.
    pub fn doorbells(&self) -> Vec<Arc<Doorbell>> {
        self.0.iter().map(|(bell, _)| bell.clone()).collect()
    }
}

impl fmt::Debug for Bells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bells").field("workers", &self.0.len()).finish_non_exhaustive()
    }
}

/// What workers listen on. They clone it: the sockets stay the caller's.
#[derive(Clone, Copy, Debug)]
pub struct Sockets<'a> {
    /// WebSocket without TLS.
    pub ws: Option<&'a TcpListener>,
    /// WebSocket over TLS.
    pub wss: Option<&'a TcpListener>,
    /// QUIC, one for each worker, all on one port; or none.
    pub quic: &'a [UdpSocket],
    /// To the workers of the predecessor, whose connections still get datagrams by these UDP sockets.
    pub forwarding: &'a [UnixStream],
    /// Generations of the predecessors that still have connections, the newest first.
    pub generations: &'a [u16],
}

/// What workers are started with besides their sockets.
pub struct Setup {
    /// The node's configuration.
    pub config: Arc<Config>,
    /// Where workers read time.
    pub clock: Clock,
    /// TLS for WebSocket.
    pub tcp_tls: Arc<rustls::ServerConfig>,
    /// TLS for QUIC.
    pub quic_tls: Arc<rustls::ServerConfig>,
    /// Who may do what.
    pub authority: Arc<Authority>,
    /// Resume tickets, and the keys that QUIC takes from them.
    pub tickets: Arc<Tickets>,
    /// Of this process, in its QUIC connection IDs.
    pub generation: u16,
    /// By which the engine rings.
    pub bells: Bells,
    /// To the engine, one for each bell.
    pub ports: Vec<WorkerPort>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("bells", &self.bells).finish_non_exhaustive()
    }
}

/// Why workers do not start.
#[derive(Debug)]
pub enum StartError {
    /// QUIC cannot use the TLS configuration.
    QuicTls(String),
    /// The system does not give a worker what it needs.
    Worker {
        /// Which one.
        id: usize,
        /// Why.
        error: io::Error,
    },
}

/// Running workers.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    stats: Vec<Arc<Stats>>,
}

/// The threads of running workers.
#[derive(Debug)]
pub struct WorkerThreads(Vec<JoinHandle<()>>);

impl WorkerThreads {
    /// Waits until all have ended.
    pub fn join(&mut self) {
        for thread in self.0.drain(..) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }

    /// How many have not been waited for.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Workers {
    /// Starts a worker for each bell; `settings` says what the audience of a worker is started with.
    ///
    /// # Errors
    /// See [`StartError`]; workers that had been started have been stopped.
    pub fn start(
        setup: Setup,
        sockets: Sockets<'_>,
        settings: impl Fn(usize) -> Settings,
    ) -> Result<(Workers, WorkerThreads), StartError> {
        let Setup { config, clock, tcp_tls, quic_tls, authority, tickets, generation, bells, ports } = setup;
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
            commands,
            clock,
            generation,
        });
        let stats = ports.iter().map(|_| Arc::default()).collect();
        let workers = Workers { shared, stats };
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
                        random_key()?,
                    ),
                    port,
                    commands,
                    bell: bell.0,
                    bell_fd: bell.1,
                    stats: workers.stats[id].clone(),
                    ws: clone(sockets.ws)?,
                    wss: clone(sockets.wss)?,
                    quic: quic.transpose()?,
                    previous: previous.transpose()?,
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

    /// What they count, by worker.
    pub fn stats(&self) -> &[Arc<Stats>] {
        &self.stats
    }

    /// Connections that are established now, or whose handshake is under way.
    pub fn connections(&self) -> usize {
        self.shared.limiter.connections()
    }

    /// Of this process, in its QUIC connection IDs.
    pub fn generation(&self) -> u16 {
        self.shared.generation
    }

    /// New connections are refused, and clients are told to go, over a time.
    pub fn drain(&self, drain: &Drain) {
        self.tell_all(|_| Command::Drain(drain.clone()));
    }

    /// Nothing more is taken for the shards, nor are new connections. Where another process reads the UDP
    /// sockets from now on, `forwarded` has, for each worker, the way by which it forwards datagrams.
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

    /// Everything is closed, and the threads end.
    pub fn stop(&self) {
        self.tell_all(|_| Command::Stop);
    }

    fn tell_all(&self, mut command: impl FnMut(usize) -> Command) {
        for worker in 0..self.shared.commands.len() {
            self.tell(worker, command(worker));
        }
    }

    /// Waits for room, for the command must arrive.
    fn tell(&self, worker: usize, mut command: Command) {
        loop {
            match self.shared.commands[worker].try_send(command) {
                Err(error) if error.is_full() => command = error.into_inner(),
                _ => return,
            }
            std::thread::yield_now();
        }
    }
}

fn spawn(parts: Parts, pin: bool) -> io::Result<JoinHandle<()>> {
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

/// The limits on connections that the configuration sets.
fn connection_limits(limits: &config::Limits) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_per_address_max,
        handshakes_per_address_per_s: limits.handshakes_per_address_per_s,
        handshakes_per_address_burst: limits.handshakes_per_address_burst,
        handshakes_pending_max: limits.handshakes_pending_max,
        loopback_exempt: limits.loopback_exempt,
    }
}

/// A key that nobody else has.
fn random_key() -> io::Result<Key> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Key::new(bytes))
}
