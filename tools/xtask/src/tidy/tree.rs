//! The tree: the text of every file of the checkout that somebody wrote by hand.
//!
//! Why one tree: rules read files many times, and a test makes a small tree of its own.
//! Not here: the kind of a line (`syntax`), the faults (the rules).

use crate::run::{command, output, root};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Endings of files that people write.
const ENDINGS: &[&str] = &["rs", "md", "toml", "py", "sh", "mjs", "ts", "c", "fbs", "yml", "yaml"];

/// Folders and files that programs write, or that are data.
const NOT_BY_HAND: &[&str] =
    &["/generated/", "protocol/vectors/", "benches/results/", "Cargo.lock", "benches/peers/node/", "LICENSE"];

/// See the file's head.
pub(super) struct Tree {
    /// By path, with `/` between its parts.
    pub(super) files: BTreeMap<String, String>,
    /// Every path, written by hand or not, and every folder.
    paths: std::collections::BTreeSet<String>,
}

impl Tree {
    /// What git tracks, and what it would track: files that are ignored do not count.
    pub(super) fn of_the_checkout() -> Result<Tree> {
        let listed = output(command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))
            .context("`git ls-files` failed: tidy runs in a checkout")?;
        let mut files = Vec::new();
        for path in listed.lines().filter(|path| root().join(path).is_file()) {
            let text = std::fs::read(root().join(path)).with_context(|| format!("cannot read {path}"))?;
            files.push((path.to_owned(), String::from_utf8_lossy(&text).into_owned()));
        }
        Ok(Tree::new(files))
    }

    /// A tree of these files: path and text.
    pub(super) fn new(files: impl IntoIterator<Item = (String, String)>) -> Tree {
        let mut tree = Tree { files: BTreeMap::new(), paths: std::collections::BTreeSet::new() };
        for (path, text) in files {
            let mut folder = path.as_str();
            while let Some((above, _)) = folder.rsplit_once('/') {
                tree.paths.insert(above.to_owned());
                folder = above;
            }
            tree.paths.insert(path.clone());
            let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
            if ENDINGS.contains(&ending) && !NOT_BY_HAND.iter().any(|part| path.contains(part)) {
                tree.files.insert(path, text);
            }
        }
        tree
    }

    /// Is there such a file or folder?
    pub(super) fn has(&self, path: &str) -> bool {
        self.paths.contains(path.trim_end_matches('/'))
    }

    /// Paths that are `tail` or end with `/tail`.
    pub(super) fn ending_with<'a>(&'a self, tail: &'a str) -> impl Iterator<Item = &'a str> {
        self.paths.iter().map(String::as_str).filter(move |path| {
            path.strip_suffix(tail).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        })
    }

    /// Files with this ending.
    pub(super) fn with_ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let files = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        files.filter(move |(path, _)| path.rsplit_once('.').is_some_and(|(_, e)| e == ending))
    }

    /// Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_ending("rs")
    }
}

/// Does a file hold tests alone?
pub(super) fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs")
}
