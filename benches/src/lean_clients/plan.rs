//! The plan of lean clients, and the results of their joins: the data that their process exchanges with the
//! bench.
//!
//! Not here: carrying the plan out (`super`, `viewers`).

use anyhow::{Result, bail};
use grandstand_harness::histogram::Summary;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How clients reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS 1.3.
    Wss,
    /// QUIC, one stream.
    Quic,
}

impl Transport {
    /// All of ours.
    pub const ALL: [Transport; 3] = [Transport::Ws, Transport::Wss, Transport::Quic];

    /// The beginning of its URLs.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Transport::Ws => "ws://",
            Transport::Wss => "wss://",
            Transport::Quic => "quic://",
        }
    }

    /// As in rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Quic => "quic",
        }
    }
}

/// Where clients go, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientsPlan {
    /// The application protocol, by its name.
    pub protocol: String,
    /// How to reach the server.
    pub transport: Transport,
    /// Where it listens.
    pub address: SocketAddr,
    /// Rooms that there are.
    pub rooms: Vec<String>,
    /// Clients resume their TLS sessions when they come again.
    pub resume_tls: bool,
    /// Clients that connect again resume their session and their places in rooms.
    pub resumes: bool,
    /// Clients ping now and then, so that the server does not take them for gone.
    pub keep_alive: bool,
    /// Bare datagrams in place of the transport, for the floor: clients only listen, at [`Joined::ports`].
    pub datagrams: bool,
}

impl ClientsPlan {
    /// Grandstand's protocol, these rooms.
    #[must_use]
    pub fn new(transport: Transport, address: SocketAddr, rooms: Vec<String>) -> ClientsPlan {
        ClientsPlan {
            protocol: "grandstand".into(),
            transport,
            address,
            rooms,
            resume_tls: false,
            resumes: false,
            keep_alive: true,
            datagrams: false,
        }
    }
}

/// How a coming went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Joined {
    /// Clients that follow their rooms.
    pub joined: u64,
    /// Clients that did not get there.
    pub failed: u64,
    /// Times that a client was told to come back later (HTTP 429 and 503).
    pub told_to_retry: u64,
    /// Times that a connection ended before the client followed its rooms, without such an answer.
    pub cut_early: u64,
    /// The first such end.
    pub first_failure: Option<String>,
    /// From the first connection's begin to the last one's end.
    pub took_us: u64,
    /// From a client's begin until it follows its rooms.
    pub join: Summary,
    /// Where the clients of bare datagrams listen.
    pub ports: Vec<u16>,
}

/// Where clients stand when all were to have everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Memberships that stand before their room's head.
    pub behind: u64,
    /// Messages that they lack.
    pub lacking: u64,
    /// How long it took until nobody was behind, or the bound.
    pub took_us: u64,
}

impl Joined {
    /// Checks that this number of clients joined.
    ///
    /// # Errors
    /// Some did not.
    pub fn check(&self, count: usize) -> Result<()> {
        if self.joined < count as u64 {
            let why = self.first_failure.as_deref().unwrap_or("refused at every try");
            bail!("{} of {count} clients joined: {why}", self.joined);
        }
        Ok(())
    }
}
