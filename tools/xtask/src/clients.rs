//! `clients`: installs third-party clients, with which the tests connect to a node.
//!
//! Why: if only its authors' code can read a protocol, the protocol is not specified yet.
//! Invariant: tests find the interpreter at `target/tools/py/bin/python`.
//! Not here: the tests, the environment (`python`).

use crate::python;
use crate::run::root;
use anyhow::Result;
use std::path::PathBuf;

/// Install the third-party programs of the tests: clients (Python websockets and aioquic) into
/// target/tools/py, and S3 (moto) into target/tools/moto.
///
/// Needs Python 3.11 or newer with the venv module.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn go(_: &Args) -> Result<()> {
    for python in [install()?, install_s3()?] {
        println!("{}", python.strip_prefix(root()).unwrap_or(&python).display());
    }
    Ok(())
}

/// Makes the environment unless it is there already; returns its interpreter.
pub(crate) fn install() -> Result<PathBuf> {
    python::environment("py", "clients.txt")
}

/// The same for moto, whose program is beside the interpreter.
pub(crate) fn install_s3() -> Result<PathBuf> {
    python::environment("moto", "moto.txt")
}
