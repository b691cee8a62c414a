//! The hand-over: on one host a successor takes the listening sockets, and no new connection is refused.
//!
//! Why sockets and not just the port: a client in a listener's queue, or one that sends to a UDP socket,
//! waits there while the processes change places. They talk over a unix socket at a configured path:
//!
//! | successor (`incoming`) | predecessor (`outgoing`) |
//! |---|---|
//! | `Hello`: which conversation it speaks | |
//! | | `Sockets`: what there is, then the descriptors |
//! | loads certificates, keys and all that can fail, then `Take` | |
//! | | takes no new connections, ends its rooms, closes its log, then `Rooms` and `Released` |
//! | opens the log, starts, then `Serving` | |
//! | | sends its clients over, spread over a short time, and ends |
//!
//! Up to `Take` nothing has changed: if the successor ends, the predecessor goes on serving. After `Take`
//! there is no way back: if the successor ends, the predecessor drains. QUIC connections stay with the
//! process that established them: the successor reads the socket and forwards their datagrams.
//!
//! Invariants: the log has one owner at any time. A socket whose address is not the configured one is not
//! taken.
//! Rooms that are in no log pass as bytes in a file in memory (`rooms`). If that fails, they are lost as
//! their process is, and both sides say so.
//! Not here: how a node releases its rooms (`shutdown`), binding without a predecessor (`listeners`), how
//! datagrams are forwarded (the edge).
//! datagrams are forwarded (the edge).

mod channel;
mod incoming;
mod outgoing;
mod rooms;
mod secrets;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use grandstand_edge::config::Config;
pub(crate) use incoming::{Inherited, find_predecessor};
pub(crate) use outgoing::{Handover, Offer};
pub(crate) use secrets::Secrets;

/// Version of this conversation; any other one is refused.
const VERSION: u32 = 1;

/// The file in `log.dir`.
const FILE: &str = "handover.sock";

/// Bytes of a path, with the suffix of its temporary name: unix addresses hold 108.
const PATH_BYTES_MAX: usize = 100;

/// The path at which a node hands over, if it does.
fn path(config: &Config) -> Option<PathBuf> {
    config.node.handover.clone().or_else(|| config.log.dir.as_ref().map(|dir| dir.join(FILE)))
}

/// A message of the conversation. Descriptors follow `Sockets` in the order of its fields, some in each
/// message.
#[derive(Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack of a hand-over")]
enum Message {
    Hello {
        version: u32,
    },
    Sockets(Sockets),
    /// The number of descriptors that come with this message.
    Descriptors(usize),
    /// `quic`: the successor reads the UDP sockets from now on. `rooms`: the version of handed rooms that it
    /// reads; 0, which an earlier program leaves out: none.
    Take {
        quic: bool,
        #[serde(default)]
        rooms: u32,
    },
    /// The file that comes with this message holds so many rooms.
    Rooms(usize),
    Released,
    Serving,
    /// The predecessor does not hand over to this successor, for this reason.
    No(String),
}

/// The sockets that a process can hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sockets {
    ws: Option<SocketAddr>,
    wss: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    /// An earlier program has none.
    #[serde(default)]
    api: Option<SocketAddr>,
    quic: Option<SocketAddr>,
    /// UDP sockets, one per worker, and as many sockets for forwarded datagrams.
    quic_count: usize,
    /// The generations of the predecessor and of earlier processes that still have connections, the newest
    /// first.
    generations: Vec<u16>,
    /// What ends with the predecessor otherwise; an earlier program has none.
    #[serde(default)]
    secrets: Secrets,
}
