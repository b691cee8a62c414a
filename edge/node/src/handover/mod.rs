//! The hand-over: on one host a successor takes the listening sockets, and no new connection is refused.
//!
//! Why sockets and not just the port: a client that is in a listener's queue, or sends to a UDP socket, waits
//! there while the processes change places. They talk over a unix socket whose path both are configured with:
//!
//! | successor (`incoming`) | predecessor (`outgoing`) |
//! |---|---|
//! | `Hello`: which conversation it speaks | |
//! | | `Sockets`: what there is, then the descriptors |
//! | loads certificates, keys and all that can fail, then `Take` | |
//! | | takes no new connections, ends its rooms, closes its log, then `Released` |
//! | opens the log, starts, then `Serving` | |
//! | | sends its clients over, spread over a short time, and ends |
//!
//! Up to `Take` nothing has changed: a successor that ends leaves the predecessor serving. After it there is
//! no way back, and a successor that ends leaves the predecessor to drain. QUIC connections stay with the
//! process that they were made with: the successor reads the socket and forwards their datagrams.
//! Invariants: the log has one owner at any time; a socket whose address is not the configured one is not
//! taken.
//! Not here: how a node lets go (`shutdown`), binding where there is no predecessor (`listeners`), how
//! datagrams are forwarded (the edge).

mod channel;
mod incoming;
mod outgoing;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use grandstand_edge::config::Config;
pub(crate) use incoming::{Inherited, find_predecessor};
pub(crate) use outgoing::{Handover, Offer};

/// Of this conversation: another one is not understood.
const VERSION: u32 = 1;

/// The file in `log.dir`.
const FILE: &str = "handover.sock";

/// Bytes of a path, with its ending while it is made: unix addresses hold 108.
const PATH_BYTES_MAX: usize = 100;

/// Where a node hands over, if it does.
fn path(config: &Config) -> Option<PathBuf> {
    config.node.handover.clone().or_else(|| config.log.dir.as_ref().map(|dir| dir.join(FILE)))
}

/// A message of the conversation. Descriptors follow `Sockets` in the order of its fields, some in each
/// message.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Hello {
        version: u32,
    },
    Sockets(Sockets),
    /// How many descriptors come with this message.
    Descriptors(usize),
    /// `quic`: the successor reads the UDP sockets from now on.
    Take {
        quic: bool,
    },
    Released,
    Serving,
    /// The predecessor does not hand over to this successor, and why.
    No(String),
}

/// What a process can hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sockets {
    ws: Option<SocketAddr>,
    wss: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    quic: Option<SocketAddr>,
    /// UDP sockets, one per worker, and as many sockets for forwarded datagrams.
    quic_count: usize,
    /// Of the predecessor and those before it that still have connections, the newest first.
    generations: Vec<u16>,
}
