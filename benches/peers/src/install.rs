//! Installing the peers, each by its package name, pinned, under target/peers; and finding what is installed.
//!
//! Invariants: the pins are `versions.toml` and the lock files that it names; what is there and current is
//! left as it is; what cannot be installed holds up nothing else, and is said.
//! Not here: who needs what (`servers`).

use anyhow::{Context, Result, bail};
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

pub(crate) fn moq_program(name: &str) -> PathBuf {
    home("moq/release").join(name)
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

/// Installs all peers; fails at the end if one could not be.
pub(crate) fn all() -> Result<()> {
    let python = attempt("NATS and uWebSockets (Python 3 with venv)", python);
    let node = attempt("Socket.IO and ws (Node, npm)", node);
    let moq = attempt("moq-relay (cargo)", moq);
    if python && node && moq { Ok(()) } else { bail!("not everything could be installed") }
}

fn attempt(what: &str, install: impl FnOnce() -> Result<()>) -> bool {
    eprintln!("{what}");
    let done = install();
    if let Err(error) = &done {
        eprintln!("  not installed: {error:#}");
    }
    done.is_ok()
}

fn python() -> Result<()> {
    let (list, home) = (source("requirements.txt"), home("py"));
    once(&list, &home, || {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        let mut pip = Command::new(python_program("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
        run(pip.arg("--requirement").arg(&list))
    })
}

fn node() -> Result<()> {
    let (lock, home) = (source("node/package-lock.json"), home("node"));
    once(&lock, &home, || {
        fs::create_dir_all(&home)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(source("node").join(name), home.join(name))?;
        }
        // bufferutil brings its compiled part along, so that no script has to run.
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        run(npm.current_dir(&home))
    })
}

/// 400 crates, one at a time: some ten minutes of one core.
fn moq() -> Result<()> {
    let mut cargo = Command::new("nice");
    cargo.args(["-n", "10", "cargo", "build", "--release", "--locked", "-j1"]);
    let own = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|begin| name.starts_with(begin))
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| own(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    run(cargo.current_dir(source("moq")).env("CARGO_TARGET_DIR", home("moq")))
}

/// Runs an installation unless the last one that went through had the same list.
fn once(list: &Path, home: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let (stamp, wanted) = (home.join("installed.txt"), fs::read(list)?);
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    Ok(fs::write(stamp, wanted)?)
}

fn run(command: &mut Command) -> Result<()> {
    let line = format!("{command:?}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {line}"))?;
    if status.success() { Ok(()) } else { bail!("{line} failed ({status})") }
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
        let (package, version) = pinned("moq");
        let entry = format!("name = \"{package}\"\nversion = \"{version}\"");
        assert!(read("moq/Cargo.lock").contains(&entry));
    }
}
