//! The installed peers: which of them are under target/peers, and their paths.
//!
//! Invariant: the pins are `versions.toml` and the lock files that it names.
//! Not here: the installation (`install.sh`), the needs of each server (`servers`).

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VERSIONS: &str = include_str!("../versions.toml");

/// A file of this directory.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Where peers live. It does not follow `CARGO_TARGET_DIR`, as target/tools does not.
fn home(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this package is two levels below the root");
    root.join("target/peers").join(name)
}

pub(crate) fn python_program(name: &str) -> PathBuf {
    home("py/bin").join(name)
}

/// The directory of an installed Python package; a path that is not there, if there is none.
pub(crate) fn python_package(name: &str) -> PathBuf {
    let versions = fs::read_dir(home("py/lib")).into_iter().flatten().flatten();
    let packages = versions.map(|version| version.path().join("site-packages").join(name));
    packages.into_iter().find(|path| path.exists()).unwrap_or_else(|| home("py/lib").join(name))
}

pub(crate) fn node_package(name: &str) -> PathBuf {
    home("node/node_modules").join(name)
}

/// Our server on Node, put where its packages are found.
pub(crate) fn node_server(kind: &str, batch_ms: u64) -> Result<Command> {
    let server = home("node").join("server.mjs");
    fs::copy(source("node/server.mjs"), &server).context("copying the server")?;
    let mut command = Command::new("node");
    command.arg(server).arg(kind).arg(batch_ms.to_string());
    Ok(command)
}

/// The pinned version of a peer whose file is there; else what is missing.
pub(crate) fn found(peer: &str, file: &Path) -> Result<String, String> {
    if file.exists() {
        Ok(version_of(peer))
    } else {
        Err("not installed: `cargo xtask bench peers -- --install`".into())
    }
}

/// What `versions.toml` says of a peer.
fn pin(peer: &str, key: &str) -> Option<String> {
    let (_, section) = VERSIONS.split_once(&format!("[{peer}]"))?;
    let section = section.split("\n[").next()?;
    let line = section.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='))?;
    Some(line.trim().trim_matches('"').to_owned())
}

fn version_of(peer: &str) -> String {
    pin(peer, "version").expect("versions.toml names every peer")
}

/// Installs all peers (`install.sh`); fails at the end if one could not be.
pub(crate) fn all() -> Result<()> {
    let status = Command::new("sh").arg(source("install.sh")).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "not everything could be installed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pins_agree_with_the_lock_files() {
        let read = |name: &str| fs::read_to_string(source(name)).unwrap();
        let pinned = |peer: &str| (pin(peer, "package").unwrap(), version_of(peer));
        for peer in ["nats", "uwebsockets"] {
            let (package, version) = pinned(peer);
            assert!(read("requirements.txt").contains(&format!("{package}=={version} ")), "{peer}");
        }
        let lock: serde_json::Value = serde_json::from_str(&read("node/package-lock.json")).unwrap();
        for peer in ["socketio", "ws"] {
            let (package, version) = pinned(peer);
            assert_eq!(lock["packages"][format!("node_modules/{package}")]["version"], version, "{peer}");
        }
    }
}
