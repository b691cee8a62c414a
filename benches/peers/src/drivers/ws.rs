//! `ws` on Node, alone: a loop of `send` over a set of sockets, as its documentation broadcasts. The floor of
//! Node.

use super::server::Server;
use super::{BATCH_MS, Peer, Site, Stand, install, websocket};
use anyhow::Result;

pub(super) fn forms() -> Vec<Peer> {
    let form = |form| Peer { name: "ws", form, transport: "ws", viewers_max: None, find, open };
    ["plain", "batched"].map(form).into()
}

fn find() -> Result<String, String> {
    install::found("ws", &install::node_package("ws"))
}

fn open(site: &Site, form: &'static str) -> Result<Box<dyn Stand>> {
    let batch_ms = if form == "batched" { BATCH_MS } else { 0 };
    let server = Server::start(install::node_server("ws", batch_ms)?, site.server_core, "listening ")?;
    websocket::open(server, site, "lines", 0)
}
