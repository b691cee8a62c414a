//! `clients`: installs third-party clients, with which the tests connect to a node.
//!
//! Why: if only its authors' code can read a protocol, the protocol is not specified yet.
//! Invariants: tests find the interpreter at `target/tools/py/bin/python`; packages are pinned by hash
//! (`python/clients.txt`), and the environment is made anew whenever that file changes.
//! Not here: the tests.

use crate::python::python3;
use crate::run::{command, root, run, tools_dir};
use anyhow::{Context, Result};
use std::fs;
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
    let home = tools_dir().join("py");
    let python = home.join("bin/python");
    let list = root().join("tools/xtask/python/clients.txt");
    let wanted = fs::read(&list).context("reading the list of clients")?;
    let stamp = home.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) && python.exists() {
        return Ok(python);
    }
    run(command(python3()?).args(["-m", "venv", "--clear"]).arg(&home))?;
    let mut pip = command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
    run(pip.args(["--only-binary", ":all:", "--requirement"]).arg(&list))?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}
