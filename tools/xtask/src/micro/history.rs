//! The history of the baseline: its figures before this change, and the reason in a commit message for each
//! growth.
//!
//! Why: a new baseline must not hide a growth. The author of a growth names the bench and the reason in a
//! commit message. "Before this change" means the point where the branch left the main branch. On the main
//! branch itself, it means before the newest commit that changed the baseline.
//! Not here: counting. A checkout without history (a tarball, a shallow clone) cannot be checked.

use super::BASELINE;
use super::baseline::{Baseline, Finding};
use crate::run::{command, output, root};
use anyhow::{Context, Result};
use std::fs;

/// Names of a main branch, remote first: what a change will be merged into.
const MAIN: [&str; 5] = ["origin/HEAD", "origin/main", "origin/master", "main", "master"];

/// Benches whose baseline grew in this change without a word.
pub(super) fn unnamed() -> Result<Vec<String>> {
    let Some(before) = before() else {
        println!(
            "note: no earlier {BASELINE} in this checkout's history: nothing to compare the baseline with"
        );
        return Ok(Vec::new());
    };
    let now = fs::read_to_string(root().join(BASELINE)).with_context(|| format!("cannot read {BASELINE}"))?;
    let messages = git(&["log", "--format=%B", &format!("{before}..HEAD")]).unwrap_or_default();
    Ok(grown(&at(&before)?, &Baseline::parse(&now)?)
        .into_iter()
        .filter(|name| !names(&messages, name))
        .collect())
}

/// After an update: what the commit has to name.
pub(super) fn remind() -> Result<()> {
    let Some(head) = git(&["rev-parse", "HEAD"]).filter(|head| has_baseline(head)) else { return Ok(()) };
    let now = fs::read_to_string(root().join(BASELINE))?;
    let grown = grown(&at(&head)?, &Baseline::parse(&now)?);
    if !grown.is_empty() {
        println!("these grew; name each in the commit message and say why: {}", grown.join(" "));
    }
    Ok(())
}

fn grown(before: &Baseline, now: &Baseline) -> Vec<String> {
    // Another compiler's growth is nobody's.
    if !before.differing_facts(now).is_empty() {
        return Vec::new();
    }
    let grown = before.compare(now).into_iter().filter(|(_, f)| matches!(f, Finding::Grown(..)));
    grown.map(|(name, _)| name.to_owned()).collect()
}

/// Does a text name a bench? `seal/1` does not stand in `seal/10`.
fn names(text: &str, bench: &str) -> bool {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_';
    text.split(|c: char| !is_inside(c)).any(|word| word == bench)
}

/// The commit before this change, if it is here and has a baseline.
fn before() -> Option<String> {
    let head = git(&["rev-parse", "HEAD"])?;
    let main = MAIN.iter().find_map(|main| git(&["merge-base", "HEAD", main]));
    let commit = match main {
        Some(base) if base != head => base,
        _ => git(&[
            "rev-parse",
            "--verify",
            &format!("{}^", git(&["log", "-1", "--format=%H", "--", BASELINE])?),
        ])?,
    };
    has_baseline(&commit).then_some(commit)
}

fn has_baseline(commit: &str) -> bool {
    git(&["cat-file", "-e", &format!("{commit}:{BASELINE}")]).is_some()
}

fn at(commit: &str) -> Result<Baseline> {
    let text =
        git(&["show", &format!("{commit}:{BASELINE}")]).context("the earlier baseline is not there")?;
    Baseline::parse(&text).with_context(|| format!("{BASELINE} of {commit} does not read"))
}

fn git(args: &[&str]) -> Option<String> {
    output(command("git").args(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_whole_word() {
        let text = "Edge: checks of the author, so handle/publish grows by 4 %.\n\n(seal/10, too.)";
        assert!(names(text, "handle/publish") && names(text, "seal/10"));
        assert!(!names(text, "seal/1") && !names(text, "publish"));
    }

    #[test]
    fn growth_counts_only_with_the_same_compiler() {
        let of = |rustc: &str, count: f64| Baseline {
            facts: [("rustc".to_owned(), rustc.to_owned())].into(),
            benches: [("a".to_owned(), count)].into(),
        };
        assert_eq!(grown(&of("1", 100.0), &of("1", 104.0)), ["a"]);
        assert!(grown(&of("1", 100.0), &of("1", 102.0)).is_empty());
        assert!(grown(&of("1", 100.0), &of("2", 104.0)).is_empty());
    }
}
