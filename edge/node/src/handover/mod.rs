//! The hand-over: on one host the next process takes the listening sockets, and no newcomer is refused.
//!
//! Why sockets and not just the port: whoever is in a listener's queue, or sends to a UDP socket, waits there
//! while the processes change places. The conversation, over a unix socket whose path both are configured
//! with:
//!
//! | next process | this process |
//! |---|---|
//! | `Hello`: what it is configured to listen on | |
//! | | `Sockets`: what there is, then the descriptors |
//! | loads certificates, keys and all that can fail, then `Take` | |
//! | | takes nobody new, ends its rooms, closes its log, then `Released` |
//! | opens the log, starts, then `Serving` | |
//! | | sends its clients over, spread over a short time, and ends |
//!
//! Up to `Take` nothing has changed: a next process that ends leaves this one serving. After it there is no
//! way back, and a next process that ends leaves this one to drain. QUIC connections stay with the process
//! that they were made with: the next one reads the socket and passes their datagrams on (`quic::forward`).
//! Invariants: the log has one owner at any time; a socket whose address is not the configured one is not
//! taken.
//! Not here: how a node lets go (`drain`), binding where nobody hands over (`listen`).

mod giving;
mod link;
mod taking;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use giving::{Given, Giver};
pub(crate) use taking::{Found, find};

use grandstand_edge::config::Config;

/// Of this conversation: another one is not understood.
const VERSION: u32 = 1;

/// The file in `log.dir`.
const FILE: &str = "handover.sock";

/// Bytes of a path, with its ending while it is made: unix addresses hold 108.
const PATH_BYTES_MAX: usize = 100;

/// Where a node hands over, if it does.
pub(crate) fn path(config: &Config) -> Option<PathBuf> {
    config.node.handover.clone().or_else(|| config.log.dir.as_ref().map(|dir| dir.join(FILE)))
}

/// What is said. Descriptors follow `Sockets` in the order of its fields, so many at a time.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Hello {
        version: u32,
    },
    Sockets(Sockets),
    /// So many descriptors come with this message.
    Descriptors(usize),
    /// `quic`: the UDP sockets are read by the next process from now on.
    Take {
        quic: bool,
    },
    Released,
    Serving,
    /// Not with this one.
    No(String),
}

/// What a process can hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sockets {
    ws: Option<SocketAddr>,
    wss: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    quic: Option<SocketAddr>,
    /// UDP sockets, one per worker, and as many ways for datagrams.
    quic_count: usize,
    /// Of this process and those before it that still have connections, the newest first.
    generations: Vec<u16>,
}
