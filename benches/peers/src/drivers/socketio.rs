//! Socket.IO on Node: a room, and `io.to(room).emit` for every message; `batched` emits what was said within
//! a tick as one event.
//!
//! Both forms are tuned as its documentation says (`node/server.mjs`). Its other WebSocket engines are no
//! choice here: eiows wants a newer Node than distributions carry, and uWebSockets.js is in no registry (its
//! core is measured by itself: `uwebsockets`).

use super::server::Server;
use super::{BATCH_MS, Peer, Site, Stand, install, websocket};
use anyhow::Result;

pub(super) fn forms() -> Vec<Peer> {
    let form = |form| Peer { name: "socketio", form, transport: "ws", viewers_max: None, find, open };
    ["plain", "batched"].map(form).into()
}

fn find() -> Result<String, String> {
    install::found("socketio", &install::node_package("socket.io"))
}

fn open(site: &Site, form: &'static str) -> Result<Box<dyn Stand>> {
    let batch_ms = if form == "batched" { BATCH_MS } else { 0 };
    let server = Server::start(install::node_server("socketio", batch_ms)?, site.server_core, "listening ")?;
    websocket::open(server, site, "socketio", 0)
}
