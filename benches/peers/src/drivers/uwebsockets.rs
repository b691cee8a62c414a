//! uWebSockets: the fastest WebSocket server that installs by package name, through `socketify`, the Python
//! package around it.
//!
//! Fan-out is its own topic tree, in C++; Python runs once per publication (`uwebsockets/server.py`).

use super::server::Server;
use super::{BATCH_MS, Peer, Site, Stand, install, websocket};
use anyhow::Result;
use std::process::Command;

pub(super) fn forms() -> Vec<Peer> {
    let form = |form| Peer { name: "uwebsockets", form, transport: "ws", viewers_max: None, find, open };
    ["plain", "batched"].map(form).into()
}

fn find() -> Result<String, String> {
    install::found("uwebsockets", &install::python_package("socketify"))
}

fn open(site: &Site, form: &'static str) -> Result<Box<dyn Stand>> {
    let batch_ms = if form == "batched" { BATCH_MS } else { 0 };
    let mut command = Command::new(install::python_program("python"));
    command.arg(install::source("uwebsockets/server.py")).arg(batch_ms.to_string());
    let server = Server::start(command, site.server_core, "listening ")?;
    websocket::open(server, site, "lines", 0)
}
