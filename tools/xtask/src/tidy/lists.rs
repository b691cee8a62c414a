//! Lists: the exceptions to the rules, each with its reason, and the words that were given up.
//!
//! Invariant: lists of exceptions only shrink: an entry that is not needed any more is a finding.

use super::Finding;

/// Files over 600 lines.
pub(super) const LONG_FILES: &[&str] = &[];

/// Documents with sentences of over 40 words.
pub(super) const LONG_SENTENCES: &[&str] = &[];

/// Rust files whose heads do not say why.
pub(super) const WITHOUT_A_REASON: &[&str] = &[];

/// Files that import each other in a circle, sorted, and why they may.
pub(super) const CIRCLES: &[(&[&str], &str)] = &[];

/// Where clocks, threads and random sources may be used: kind, file or folder, and why there.
pub(super) const EFFECTS: &[(&str, &str, &str)] = &[];

/// Names in code that were given up: in which folder, and what the thing is called now.
pub(super) const OLD_NAMES: &[(&str, &str, &str)] = &[];

/// Names of other people's things that heads mention: functions, options, crates.
pub(super) const FOREIGN_NAMES: &[&str] = &["memcpy", "rtrb", "serverCertificateHashes", "SO_REUSEPORT"];

/// Phrases in comments and documents that were given up, and the noun that replaces each.
pub(super) const OLD_PHRASES: &[(&str, &str)] = &[
    ("newcomer", "\"new connection\" or \"new client\""),
    ("newcomers", "\"new connections\" or \"new clients\""),
    ("said again", "\"retried\", \"a retry\""),
    ("says again", "\"retries\""),
    ("so often", "a number of times"),
    ("who was here", "\"returning client\""),
    ("whoever comes", "\"new connection\""),
    ("those who are inside", "\"connected viewers\""),
    ("what is left of", "the thing that is left"),
    ("sent away", "\"refused\""),
    ("send away", "\"refuse\""),
    ("turned away", "\"refused\""),
    ("turn away", "\"refuse\""),
    ("set aside", "\"reserved\""),
];

/// A finding for each entry of `list` of which `is_needed` says no.
pub(super) fn must_be_needed(
    rule: &'static str,
    list: &[&str],
    is_needed: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let unneeded = list.iter().filter(|path| !is_needed(path));
    unneeded.map(|path| Finding::new(rule, path, 1, "keeps the rule now: off the list (lists.rs)")).collect()
}
