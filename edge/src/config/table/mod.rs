//! The table: every key of the node's configuration, once.
//!
//! Why: a key that is declared in one place cannot have a flag without a help text, or a default that the
//! sample file contradicts. The macro makes the typed field, the TOML key, the environment name, the flag and
//! the texts from each line. A line has the form `field: type = default, [lowest, highest], "what it does;
//! what happens at the bound", "why this default";`. Bounds of a number limit its value, those of a text or
//! secret its length in bytes; `[]` sets no bounds.
//! Invariant: every default passes its own bounds and the rules between keys (`check`); tests/config.rs
//! checks this.
//! Not here: the lines, which are in a file for each subject; the macro that reads them (`keys`), parsing of
//! values (`value`).

mod clients;
mod connections;
mod defaults;
mod guide;
mod machine;
mod media;
mod rooms;

pub use clients::{Auth, Limits};
pub use connections::{Admin, Api, Node, Proxy, Quic, Tls, Webhooks, Ws, Wss};
pub use guide::Guide;
pub use machine::{Cluster, Drain, Log, Queues, Socket};
pub use media::{Gifs, Links, Uploads};
pub use rooms::{Fanout, Moderation, Rooms};

/// The node's configuration, by section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The node: threads and name.
    pub node: Node,
    /// WebSocket.
    pub ws: Ws,
    /// WebSocket over TLS.
    pub wss: Wss,
    /// Proxies before the node, which tell it their clients' addresses.
    pub proxy: Proxy,
    /// QUIC.
    pub quic: Quic,
    /// Admin port: rooms, metrics, health.
    pub admin: Admin,
    /// HTTP API for applications.
    pub api: Api,
    /// Webhooks: events go to applications' servers.
    pub webhooks: Webhooks,
    /// Certificates, for WebSocket over TLS and QUIC.
    pub tls: Tls,
    /// Permissions. Without any key the node runs open, and says so at start.
    pub auth: Auth,
    /// Limits on clients.
    pub limits: Limits,
    /// Rooms.
    pub rooms: Rooms,
    /// Moderation.
    pub moderation: Moderation,
    /// Fan-out: the work of one turn.
    pub fanout: Fanout,
    /// The guide: TV listings.
    pub guide: Guide,
    /// Previews of links, at the HTTP API.
    pub links: Links,
    /// Uploads of pictures, at the HTTP API.
    pub uploads: Uploads,
    /// GIF search, at the HTTP API.
    pub gifs: Gifs,
    /// Sockets.
    pub socket: Socket,
    /// Queues between threads.
    pub queues: Queues,
    /// Drain: on SIGTERM, on POST /drain, and when another process takes over.
    pub drain: Drain,
    /// Cluster: several nodes as one, over NATS.
    pub cluster: Cluster,
    /// Logs: log lines, and the durable log of rooms.
    pub log: Log,
}

/// Every key, in the order of the table.
pub(super) fn keys() -> Vec<crate::config::Key> {
    [connections::keys(), clients::keys(), rooms::keys(), guide::keys(), media::keys(), machine::keys()]
        .into_iter()
        .flatten()
        .collect()
}
