//! Shared state of a node's workers: configuration, limiter, clock, command inboxes, and loads.
//!
//! Invariant: only the limiter and the list of proxies that name nobody have locks here. A full inbox gives
//! the command back.
//! Not here: the state of one worker (`Worker`).

use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use grandstand_edge_core::admission::limits::{Address, ConnectionLimiter, Permit};
use grandstand_edge_core::audience::{Drain, PresenceQuery, Present};
use grandstand_edge_core::auth::Ended;
use grandstand_queue::{Sender, inbox};

use super::unnamed::UnnamedProxies;
use crate::clock::Clock;
use crate::config::Config;
use crate::quic::Datagram;

/// A command of the node or of another worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take a new connection.
    Adopt(Adoption),
    /// Take a datagram that reached the wrong socket.
    Datagram(Datagram),
    /// Tell clients to leave. Refuse new connections too, unless another process has the sockets.
    Drain(Drain),
    /// Close the connections of what an operator has ended.
    End(Arc<[Ended]>),
    /// These sessions have come to another node: they count as viewers there.
    CountElsewhere(Arc<[u64]>),
    /// Say which sessions are here.
    Presence(PresenceRequest),
    /// The drain is over, and the node goes on: take new connections again.
    DrainOver,
    /// The shards are about to stop: submit nothing to them any more, and accept no new connections.
    Release(Release),
    /// The node is full, and a connection of this address has come elsewhere: one that waits here gives way.
    GiveWay(Address),
    /// This address has as many connections as it may, and a new one was refused elsewhere: one of its own
    /// that waits here gives way to the next.
    GiveWayToOwn(Address),
    /// Close everything and end.
    Stop,
}

/// A TCP connection that was accepted.
#[derive(Debug)]
pub(crate) struct Adoption {
    pub(crate) stream: TcpStream,
    pub(crate) peer: IpAddr,
    pub(crate) is_tls: bool,
    pub(crate) permit: Permit,
    /// The node is full: a connection of the worker that adopts it must give way to it.
    pub(crate) is_in_place: bool,
}

/// See [`Command::Presence`].
pub(crate) struct PresenceRequest {
    pub(crate) query: Arc<PresenceQuery>,
    /// Called with the answer, on the worker's thread: it must not block.
    pub(crate) reply: Box<dyn FnOnce(Vec<Present>) + Send>,
}

impl std::fmt::Debug for PresenceRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PresenceRequest").field("query", &self.query).finish_non_exhaustive()
    }
}

/// See [`Command::Release`].
#[derive(Debug)]
pub(crate) struct Release {
    /// The datagrams, if another process reads the socket from now on.
    pub(crate) datagrams: Option<UnixStream>,
    /// Notified when the release is done.
    pub(crate) done: std::sync::mpsc::Sender<()>,
}

/// The state that all workers of a node share.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) limiter: ConnectionLimiter,
    /// For WebSocket over TLS.
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) commands: Vec<Sender<Command>>,
    /// Connections of each worker: a new one goes to the least loaded.
    pub(crate) loads: Vec<AtomicUsize>,
    /// Connections of each worker that are not a session yet, and could give way.
    pub(crate) waiting: Vec<AtomicUsize>,
    pub(crate) clock: Clock,
    /// Does the node take new sessions, as probes are told?
    pub(crate) ready: Arc<AtomicBool>,
    /// The generation of this process, which is part of its QUIC connection IDs.
    pub(crate) generation: u16,
    /// Proxies that the log told of.
    pub(crate) unnamed: UnnamedProxies,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("workers", &self.loads.len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The worker with the fewest connections; `own` among equals, since it needs no passing on.
    pub(crate) fn least_loaded(&self, own: usize) -> usize {
        let load = |worker: usize| self.loads[worker].load(Ordering::Relaxed);
        (0..self.loads.len()).min_by_key(|&worker| (load(worker), worker != own)).unwrap_or(own)
    }

    /// The other worker with the most connections that could give way, if any has one.
    pub(crate) fn most_waiting(&self, own: usize) -> Option<usize> {
        let waiting = |worker: usize| self.waiting[worker].load(Ordering::Relaxed);
        let others = (0..self.waiting.len()).filter(|&worker| worker != own && waiting(worker) > 0);
        others.max_by_key(|&worker| waiting(worker))
    }
}

impl Shared {
    /// A connection was refused since its address has as many as it may: one that waits at another worker
    /// gives way, and the next one gets in.
    pub(crate) fn ask_own_to_leave(&self, own: usize, address: Option<Address>) {
        if let (Some(address), Some(worker)) = (address, self.most_waiting(own)) {
            // A worker that has no room for it has connections to close already.
            let _ = self.commands[worker].try_send(Command::GiveWayToOwn(address));
        }
    }
}

/// Commands that may wait for a worker: a rush of new connections between two of its turns.
const COMMANDS_MAX: usize = 4096;

/// A worker's command inbox.
pub(crate) fn command_inbox(
    bell: Arc<grandstand_queue::Doorbell>,
) -> (Sender<Command>, grandstand_queue::Receiver<Command>) {
    inbox(COMMANDS_MAX, bell)
}
