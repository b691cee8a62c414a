//! Peers: other servers that a user would pick for a room's chat, each configured as its documentation says
//! for throughput.
//!
//! One driver a file. A driver says what it needs, starts its server on one core and gives the crowd that
//! watches it; how fast it is asked to be, and what is made of it, is the bench's (`src/bin/bench/peers.rs`).
//! Forms: `plain` is a message a frame, as every user begins; `best` sets what the documentation offers;
//! `batched` adds what an application can do by itself: it collects for [`BATCH_MS`] and sends what it has as
//! one message, as Grandstand's tick does.
//! Invariants: versions are pinned (`versions.toml`, and the lock files that it names); nothing listens but
//! on loopback; a server ends with its value.
//! Not here: installing (`install`).

pub(crate) mod grandstand;
pub(crate) mod install;
mod moq;
mod nats;
mod server;
mod socketio;
mod uwebsockets;
mod websocket;
mod ws;

use anyhow::Result;
use grandstand_benches::record::Row;

/// What an application collects before it sends: Grandstand's tick in these benches.
pub(crate) const BATCH_MS: u64 = 100;

/// Bytes of a message.
pub(crate) const MESSAGE_BYTES: usize = 128;

/// One server in one form.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) form: &'static str,
    pub(crate) transport: &'static str,
    /// The most viewers that its client side can hold on one core; `None` for as many as are asked for.
    pub(crate) viewers_max: Option<usize>,
    /// The version, if it is installed, and else what is missing.
    pub(crate) find: fn() -> Result<String, String>,
    /// Starts it and brings its viewers.
    pub(crate) open: fn(&Site, &'static str) -> Result<Box<dyn Stand>>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) server_core: Option<usize>,
    pub(crate) crowd_core: Option<usize>,
    pub(crate) viewers: usize,
}

/// A server with its viewers, ready to be spoken to.
pub(crate) trait Stand {
    /// So many messages per second for so long, and a bounded wait for what is still on its way.
    fn step(&mut self, per_s: f64, seconds: f64) -> Result<Step>;

    /// After a step that was too much: waits until nothing of it is left. `false`: this server is of no more
    /// use.
    fn recover(&mut self) -> Result<bool>;
}

/// What was seen in one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) published: u64,
    pub(crate) deliveries: u64,
    /// Deliveries that had not come at the end, or never will.
    pub(crate) lost: u64,
    /// Viewers that were cut.
    pub(crate) cut: u64,
    /// Publications that the server refused.
    pub(crate) refused: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Length of the speech.
    pub(crate) seconds: f64,
    /// CPU time of the server, for all that the step brought.
    pub(crate) cpu_ns: u64,
    /// The share of its core while there was speech.
    pub(crate) core_share: f64,
    /// The share of its core that the generator used.
    pub(crate) crowd_core_share: f64,
    /// As the crowd's sockets gave them.
    pub(crate) wire_bytes: Option<u64>,
    /// The most memory that the server had.
    pub(crate) peak_bytes: u64,
    /// What went wrong, in words.
    pub(crate) fault: Option<String>,
}

/// All that there is, in the order in which it is measured: Grandstand beside what comes over the same
/// transport.
pub(crate) fn all() -> Vec<Peer> {
    let mut peers = Vec::from(grandstand::over_ws());
    peers.extend(nats::forms());
    peers.extend(uwebsockets::forms());
    peers.extend(ws::forms());
    peers.extend(socketio::forms());
    peers.extend(grandstand::over_quic());
    peers.extend(moq::forms());
    peers
}

impl Peer {
    /// The beginning of every row about it.
    pub(crate) fn row(&self, version: &str) -> Row {
        Row::new()
            .with("peer", self.name)
            .with("form", self.form)
            .with("version", version)
            .with("transport", self.transport)
    }
}
