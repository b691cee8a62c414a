//! `clients`: installs third-party clients, with which the tests connect to a node.
//!
//! Why: if only its authors' code can read a protocol, the protocol is not specified yet.
//! Invariant: tests find the interpreter at `target/tools/py/bin/python`.
//! Not here: the tests, the environment (`python`).

use crate::python;
use crate::run::root;
use anyhow::Result;
use std::path::PathBuf;

/// Install the third-party clients of the tests (Python websockets and aioquic) into target/tools/py.
///
/// Needs Python 3.11 or newer with the venv module.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn go(_: &Args) -> Result<()> {
    let python = install()?;
    println!("{}", python.strip_prefix(root()).unwrap_or(&python).display());
    Ok(())
}

/// Makes the environment unless it is there already; returns its interpreter.
pub(crate) fn install() -> Result<PathBuf> {
    python::environment("py", "clients.txt")
}
