//! What all workers of a node share: configuration, the gate, each other's command inboxes, and their loads.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use grandstand_edge_core::audience::Drain;
use grandstand_edge_core::gate::{Gate, Pass};
use grandstand_engine::link::Now;
use grandstand_queue::{Sender, inbox};

use crate::config::Config;
use crate::quic::Datagram;

/// What a worker is asked by the node or by another worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take a new connection.
    Adopt { stream: TcpStream, is_tls: bool, pass: Pass },
    /// Take a datagram that reached the wrong socket.
    Datagram(Datagram),
    /// Turn newcomers away and send clients away, unless another process has the sockets: then only the
    /// latter.
    Drain(Drain),
    /// The shards are about to stop: take nothing for them any more, and nobody new.
    Release(Release),
    /// Close everything and end.
    Stop,
}

/// See [`Command::Release`].
#[derive(Debug)]
pub(crate) struct Release {
    /// Where datagrams come from, if another process reads the socket from now on.
    pub(crate) datagrams: Option<UnixStream>,
    /// Told when it is done.
    pub(crate) done: std::sync::mpsc::Sender<()>,
}

/// See the file's head.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) gate: Gate,
    /// For WebSocket over TLS.
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) commands: Vec<Sender<Command>>,
    /// Connections of each worker: a newcomer goes to the least loaded.
    pub(crate) loads: Vec<AtomicUsize>,
    pub(crate) clock: Clock,
    /// Of this process: stands in its QUIC connection IDs.
    pub(crate) generation: u16,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("workers", &self.loads.len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The worker with the fewest connections; `own` among equals, for it needs no hand-over.
    pub(crate) fn least_loaded(&self, own: usize) -> usize {
        let load = |worker: usize| self.loads[worker].load(Ordering::Relaxed);
        (0..self.loads.len()).min_by_key(|&worker| (load(worker), worker != own)).unwrap_or(own)
    }
}

/// The one place where the edge reads clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { start: Instant::now() }
    }

    /// Both forms of the time: quinn's, and the cores'.
    pub(crate) fn now(&self) -> (Instant, Now) {
        let instant = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Zero means "never" to some; a monotonic clock that starts a second in avoids it.
        let us = (instant - self.start).as_micros() as u64 + 1_000_000;
        (instant, Now { us, unix_ms: unix.as_millis() as u64 })
    }
}

/// Commands that may wait for a worker: a rush of adoptions between two of its turns.
const COMMANDS_MAX: usize = 4096;

/// A worker's command inbox.
pub(crate) fn command_inbox(
    bell: Arc<grandstand_queue::Doorbell>,
) -> (Sender<Command>, grandstand_queue::Receiver<Command>) {
    inbox(COMMANDS_MAX, bell)
}
