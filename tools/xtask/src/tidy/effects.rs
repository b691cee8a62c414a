//! Effects: a rule that allows clocks, threads and random numbers only in listed files.
//!
//! Why: a core that reads a clock cannot run in virtual time, and a failure that depended on chance cannot be
//! repeated. The crates enforce most of this (a core cannot name tokio); this rule finds std's own clocks.

use super::lists::EFFECTS;
use super::tree::{Tree, is_test};
use super::{Finding, syntax};

/// What counts as one, by the words in the code.
const KINDS: &[(&str, &[&str])] = &[
    ("clock", &["Instant::now(", "SystemTime::now("]),
    ("thread", &["thread::spawn(", "thread::Builder", "thread::sleep(", "thread::scope("]),
    ("chance", &["getrandom::", "SystemRandom", "RandomState::new(", "rand::"]),
];

/// No clock, thread or random source outside of [`EFFECTS`], whose entries are all needed.
pub(super) fn effects(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; EFFECTS.len()];
    for (path, text) in tree.rust().filter(|(path, _)| !is_test(path) && !path.contains("/examples/")) {
        for (number, line) in syntax::code(text) {
            for (kind, words) in KINDS {
                let Some(word) = words.iter().find(|word| line.contains(**word)) else { continue };
                let allowed = EFFECTS.iter().position(|(k, place, _)| k == kind && path.starts_with(place));
                match allowed {
                    Some(ix) => used[ix] = true,
                    None => findings.push(Finding::new(
                        "effect",
                        path,
                        number,
                        format!("a {kind} (`{word}`) outside of the list"),
                    )),
                }
            }
        }
    }
    for ((kind, place, _), _) in EFFECTS.iter().zip(used).filter(|(_, used)| !used) {
        // A tree without the place says nothing of it: small trees of tests.
        if tree.files.keys().any(|path| path.starts_with(place)) {
            findings.push(Finding::new(
                "effect",
                place,
                1,
                format!("no {kind} there any more: off the list"),
            ));
        }
    }
    findings
}
