//! `clients`: installs third-party clients, with which the tests connect to a node, and readers of its
//! webhooks.
//!
//! Why: if only its authors' code can read a protocol, the protocol is not specified yet.
//! Invariants: tests find the interpreter at `target/tools/py/bin/python`, and packages of JavaScript in
//! `target/tools/js`. They are pinned, those by hash, these by a lock file.
//! Not here: the tests, the environment (`python`).

use crate::python;
use crate::run::{command, output, root, run, tools_dir};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// Install the third-party programs of the tests: clients (Python websockets and aioquic) and readers of
/// webhooks (standardwebhooks of Python and of JavaScript) into target/tools/py and target/tools/js, and S3
/// (moto) into target/tools/moto.
///
/// Needs Python 3.11 or newer with the venv module; without npm the tests leave JavaScript out, and say so.
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
    javascript()?;
    python::environment("py", "clients.txt")
}

/// The same for moto, whose program is beside the interpreter.
pub(crate) fn install_s3() -> Result<PathBuf> {
    python::environment("moto", "moto.txt")
}

/// Packages of JavaScript, if there is npm.
fn javascript() -> Result<()> {
    let (home, list) = (tools_dir().join("js"), root().join("tools/xtask/javascript"));
    let (from, to) = (list.join("package-lock.json"), home.join("package-lock.json"));
    let wanted = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
    if output(command("npm").arg("--version")).is_none()
        || fs::read(&to).is_ok_and(|installed| installed == wanted) && home.join("node_modules").exists()
    {
        return Ok(());
    }
    fs::create_dir_all(&home)?;
    fs::copy(list.join("package.json"), home.join("package.json"))?;
    fs::write(&to, wanted)?;
    run(command("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
        .current_dir(&home))
}
