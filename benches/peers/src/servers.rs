//! Servers: the peers that a user would choose for a room's chat, each configured for throughput by its
//! documentation.
//!
//! Forms: `plain` is one message per frame, as every user begins; `best` uses the options in the
//! documentation; `batched` adds a step of the application: it collects messages for [`BATCH_MS`] and sends
//! them as one, as Grandstand's tick does.
//! - NATS: its server's own WebSocket port, one subject, a subscription for each viewer; `best` raises the
//!   limits that would disconnect slow viewers (`nats/best.conf`). The server joins waiting messages of a
//!   connection by itself.
//! - uWebSockets: the fastest WebSocket server that installs by package name, through `socketify`, the Python
//!   package around it. Fan-out is its own topic tree, in C++; Python runs once per publication.
//! - `ws` on Node, alone: a loop of `send` over a set of sockets, as its documentation broadcasts.
//! - Socket.IO on Node: a room, and `io.to(room).emit` for every message. Its other WebSocket engines are no
//!   choice here: eiows wants a newer Node than distributions carry, and uWebSockets.js is in no registry.
//!
//! Invariants: versions are pinned (`versions.toml`, and the lock files that it names); servers listen on
//! loopback only; a server ends when its value is dropped.
//! Not here: installing (`install`), the rates of a run (the library's `search`).

use crate::server::Server;
use crate::{install, protocol};
use anyhow::Result;
use grandstand_benches::lean_clients::{ClientsPlan, Transport};
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::record::Row;
use grandstand_benches::search::Subject;
use grandstand_benches::trial::{Trial, node_plan};
use serde_json::json;
use std::process::Command;

/// What an application collects before it sends: Grandstand's tick in these benches.
const BATCH_MS: u64 = 100;

/// Viewers over QUIC: above, the generator's core is full before the server's.
const QUIC_VIEWERS_MAX: usize = 1_000;

/// One server in one form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) form: &'static str,
    pub(crate) transport: Transport,
}

const fn ws(name: &'static str, form: &'static str) -> Peer {
    Peer { name, form, transport: Transport::Ws }
}

const fn quic(name: &'static str, form: &'static str) -> Peer {
    Peer { name, form, transport: Transport::Quic }
}

/// All that there is, in the order in which it is measured: Grandstand beside what comes over the same
/// transport, at its defaults, where the tick grows to keep fan-out within its share, and with a tick as long
/// as the others' batches, for users to whom latency matters more.
pub(crate) const ALL: &[Peer] = &[
    ws("grandstand", "default"),
    ws("grandstand", "tick of 100 ms"),
    ws("nats", "plain"),
    ws("nats", "best"),
    ws("nats", "batched"),
    ws("uwebsockets", "plain"),
    ws("uwebsockets", "batched"),
    ws("ws", "plain"),
    ws("ws", "batched"),
    ws("socketio", "plain"),
    ws("socketio", "batched"),
    quic("grandstand", "default"),
    quic("grandstand", "tick of 100 ms"),
];

impl Peer {
    pub(crate) fn is_ours(&self) -> bool {
        self.name == "grandstand"
    }

    /// The beginning of every row about it.
    pub(crate) fn row(&self, version: &str, viewers: usize) -> Row {
        Row::of([
            ("peer", json!(self.name)),
            ("form", json!(self.form)),
            ("version", json!(version)),
            ("transport", json!(self.transport)),
            ("viewers", json!(viewers)),
        ])
    }

    /// The version, if it is installed, and else what is missing.
    pub(crate) fn find(&self) -> Result<String, String> {
        let program = match self.name {
            "grandstand" => return Ok(env!("CARGO_PKG_VERSION").to_owned()),
            "nats" => install::python_program("nats-server"),
            "uwebsockets" => install::python_package("socketify"),
            "ws" => install::node_package("ws"),
            _ => install::node_package("socket.io"),
        };
        install::found(self.name, &program)
    }

    /// As many viewers as were asked for; over QUIC at most as many as one core of the generator holds.
    pub(crate) fn viewers(&self, wanted: usize) -> usize {
        if self.transport == Transport::Quic { wanted.min(QUIC_VIEWERS_MAX) } else { wanted }
    }

    /// Starts it and brings its viewers.
    pub(crate) fn open(&self, plan: &Plan, cores: Cores, viewers: usize) -> Result<Box<dyn Subject>> {
        let viewers = self.viewers(viewers);
        let is_batched = self.form == "batched";
        let batch_ms = if is_batched { BATCH_MS } else { 0 };
        let (command, marker, protocol, join_ms) = match self.name {
            "grandstand" => {
                let tick_ms = if self.form == "default" { 0 } else { BATCH_MS };
                let node = node_plan(plan, cores, tick_ms)?;
                return Ok(Box::new(Trial::of_node(&node, cores, self.transport, viewers)?));
            }
            "nats" => {
                let configuration = if self.form == "plain" { "nats/plain.conf" } else { "nats/best.conf" };
                // Go sees one core when it is pinned to one, so GOMAXPROCS needs no setting.
                let mut command = Command::new(install::python_program("nats-server"));
                command.arg("-c").arg(install::source(configuration));
                (command, "ws://127.0.0.1:", "nats", batch_ms)
            }
            "uwebsockets" => {
                let mut command = Command::new(install::python_program("python"));
                command.arg(install::source("uwebsockets/server.py")).arg(batch_ms.to_string());
                (command, "listening ", "lines", 0)
            }
            name => {
                let protocol = if name == "ws" { "lines" } else { "socketio" };
                (install::node_server(name, batch_ms)?, "listening ", protocol, 0)
            }
        };
        let server = Server::start(command, cores.server, marker)?;
        let clients = ClientsPlan::new(Transport::Ws, server.address, vec!["room".into()]);
        let clients = ClientsPlan { protocol: protocol.into(), ..clients };
        let (pid, publishers) = (server.pid, clients.clone());
        let trial = Trial::open((server, pid), &clients, publishers, protocol::by_name, cores, viewers)?;
        Ok(Box::new(trial.joining(join_ms)))
    }
}
