//! NATS: its server's own WebSocket port, one subject, a subscription for each viewer.
//!
//! `plain` is the documented configuration; `best` lifts what would cut slow viewers off (`nats/best.conf`);
//! `batched` is `best` with an application that joins its messages. The server joins what waits for a
//! connection by itself.
//! Go sees one core when it is pinned to one, so GOMAXPROCS needs no setting.

use super::server::Server;
use super::{BATCH_MS, Peer, Site, Stand, install, websocket};
use anyhow::Result;
use std::process::Command;

pub(super) fn forms() -> Vec<Peer> {
    let form = |form| Peer { name: "nats", form, transport: "ws", viewers_max: None, find, open };
    ["plain", "best", "batched"].map(form).into()
}

fn find() -> Result<String, String> {
    install::found("nats", &install::python_program("nats-server"))
}

fn open(site: &Site, form: &'static str) -> Result<Box<dyn Stand>> {
    let configuration = if form == "plain" { "nats/plain.conf" } else { "nats/best.conf" };
    let mut command = Command::new(install::python_program("nats-server"));
    command.arg("-c").arg(install::source(configuration));
    let server = Server::start(command, site.server_core, "ws://127.0.0.1:")?;
    websocket::open(server, site, "nats", if form == "batched" { BATCH_MS } else { 0 })
}
