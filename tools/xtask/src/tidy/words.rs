//! Words: a rule against words that the vocabulary has replaced, so that one thing has one word.
//!
//! Why: two words for one thing confuse every reader, and an old name returns by copying.

use super::lists::{OLD_NAMES, OLD_PHRASES};
use super::tree::Tree;
use super::{Finding, syntax};

/// No name of [`OLD_NAMES`] in code, no phrase of [`OLD_PHRASES`] in comments and documents.
pub(super) fn words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.files {
        // The lists themselves, and the record of what changed.
        if path.starts_with("tools/xtask/src/tidy/") || path == "CHANGELOG.md" {
            continue;
        }
        for (ix, line) in text.lines().enumerate() {
            let prose =
                if path.ends_with(".md") { Some(line) } else { syntax::comment(path, line).map(|c| c.1) };
            if let Some(prose) = prose {
                // Code spans keep their names: tests are called what they prove.
                let outside: Vec<&str> = prose.split('`').step_by(2).collect();
                let lower = outside.join(" ").to_lowercase();
                for (phrase, instead) in OLD_PHRASES.iter().filter(|(phrase, _)| has_phrase(&lower, phrase)) {
                    let says = format!("\"{phrase}\": better {instead}");
                    findings.push(Finding::new("word", path, ix + 1, says));
                }
            } else if path.ends_with(".rs") {
                for (place, name, instead) in OLD_NAMES {
                    if path.starts_with(place) && syntax::identifiers(line).any(|word| word == *name) {
                        let says = format!("`{name}` is called {instead}");
                        findings.push(Finding::new("word", path, ix + 1, says));
                    }
                }
            }
        }
    }
    findings
}

/// Whole words only.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(phrase).any(|(at, _)| {
        is_edge(text[..at].chars().next_back()) && is_edge(text[at + phrase.len()..].chars().next())
    })
}
