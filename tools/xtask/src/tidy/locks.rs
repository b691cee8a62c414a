//! Locks: the lock file of each package outside of the workspace is current.
//!
//! Why: cargo refreshes the workspace's lock file only. When `protocol` got two dependencies, the fuzz
//! targets and the peers no longer built with `--locked`, and nobody noticed.
//! Not here: versions and licences (deny.toml).

use super::{Finding, Tree};
use crate::run::{cargo, root};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The workspace's own lock file, which every command with `--locked` checks.
const WORKSPACE: &str = "Cargo.lock";

/// The program of the benches that shares the library of benches: its figures stand beside theirs, so it is
/// built from the same versions.
const PEERS: &str = "benches/peers/Cargo.lock";

/// Lock files that cargo would change, and versions of the peers that the workspace does not have.
pub(super) fn locks(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        tree.ending_with(WORKSPACE).filter_map(|path| stale(&root(), path)).collect();
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap_or_default();
    let other = differing(&read(PEERS), &read(WORKSPACE));
    findings.extend(other.into_iter().map(|package| {
        let text = format!(
            "{package} is not the workspace's version: copy its Cargo.lock here and run `cargo metadata`"
        );
        Finding::new("lock", PEERS, 1, text)
    }));
    findings
}

/// The finding of one lock file below `root`, if cargo would change it.
pub(super) fn stale(root: &Path, path: &str) -> Option<Finding> {
    let manifest = root.join(path).with_extension("toml");
    let mut metadata = cargo(["metadata", "--locked", "--format-version", "1", "--manifest-path"]);
    let output = metadata.arg(&manifest).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().find(|line| line.starts_with("error")).unwrap_or_default();
    let hint = path.replace(".lock", ".toml");
    let text = format!("{why} (`cargo metadata --manifest-path {hint}` refreshes it)");
    (!output.status.success()).then(|| Finding::new("lock", path, 1, text))
}

/// Packages of a lock file at versions that another one does not have, though it has the package.
pub(super) fn differing(lock: &str, of: &str) -> Vec<String> {
    let known = packages(of);
    let differs = |(name, version): (&str, &str)| {
        known
            .get(name)
            .is_some_and(|versions| !versions.contains(version))
            .then(|| format!("{name} {version}"))
    };
    packages(lock)
        .iter()
        .flat_map(|(name, versions)| versions.iter().map(|v| (*name, *v)))
        .filter_map(differs)
        .collect()
}

/// The versions of each package in a lock file.
fn packages(lock: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut packages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        match key {
            "name" => name = value.trim_matches('"'),
            "version" if !name.is_empty() => {
                packages.entry(name).or_default().insert(value.trim_matches('"'));
            }
            _ => {}
        }
    }
    packages
}
