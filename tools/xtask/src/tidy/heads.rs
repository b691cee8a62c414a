//! Heads: a rule that every hand-written file opens with what it is, and a Rust file also with why it exists.
//!
//! Why: a reader in the wrong file notices it after ten lines; an author who changes the file knows its
//! invariants.

use super::lists::WITHOUT_A_REASON;
use super::tree::Tree;
use super::{Finding, lists, syntax};

/// Words by which a head gives a reason, an invariant or a border.
const REASONS: &[&str] =
    &["why", "so that", "because", "invariant", "since", "not here", ", so ", "otherwise"];

/// Every file has a head; every Rust file's says why.
pub(super) fn heads(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.files {
        if path.ends_with(".md") {
            if !text.starts_with("# ") {
                findings.push(Finding::new("head", path, 1, "a document begins with its title"));
            }
        } else if path.ends_with(".rs") {
            rust(path, text, &mut findings);
        } else {
            let first = text.lines().find(|line| !line.starts_with("#!") && !line.trim().is_empty());
            let has_head = first.is_some_and(|line| {
                syntax::comment(path, line).is_some() || line.starts_with("\"\"\"") || line.starts_with("/*")
            });
            if !has_head && !text.trim().is_empty() && !path.ends_with("Cargo.toml") {
                findings.push(Finding::new("head", path, 1, "begins without a comment that says what it is"));
            }
        }
    }
    lists::must_be_needed("head", WITHOUT_A_REASON, |path| {
        tree.files.get(path).is_some_and(|t| !has_reason(t))
    })
    .into_iter()
    .chain(findings)
    .collect()
}

fn rust(path: &str, text: &str, findings: &mut Vec<Finding>) {
    if syntax::head(text).next().is_none_or(str::is_empty) {
        findings.push(Finding::new("head", path, 1, "begins without `//!` and what the file is"));
    } else if !has_reason(text) && !WITHOUT_A_REASON.contains(&path) {
        let says = "says what it is and not why: a line with Why, Invariant or Not here";
        findings.push(Finding::new("head", path, 1, says));
    }
}

fn has_reason(text: &str) -> bool {
    let head = syntax::head(text).collect::<Vec<_>>().join(" ").to_lowercase();
    REASONS.iter().any(|reason| head.contains(reason))
}
