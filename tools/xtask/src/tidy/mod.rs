//! `tidy`: checks the text of the checkout against rules of the house that no compiler checks.
//!
//! Why: people break an unchecked rule as soon as they are in a hurry. Each rule here was broken once: a head
//! named a removed module, a type grew to 89 methods, clocks were read in 14 files that said "in one place".
//! Invariants: a rule is a function from a [`Tree`] to findings, so each is tested on a few lines of text,
//! and its tests show it fail (`locks` also asks cargo). An exception is in [`lists`] with its reason, and an
//! unneeded exception is a finding itself: lists only shrink.
//! Not here: formatting (rustfmt), lints (clippy), dependencies (`deny`).

mod circles;
mod effects;
mod heads;
mod lists;
mod locks;
mod names;
mod prose;
mod sizes;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod words;

use anyhow::{Result, bail};
use tree::Tree;

/// Check the rules of the house: names that exist, widths, lengths, words, heads, clocks, circles, locks.
///
/// Each finding names a file, a line and the rule. It takes a few seconds and builds nothing.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    text: String,
}

impl Finding {
    fn new(rule: &'static str, path: &str, line: usize, text: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, rule, text: text.into() }
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

/// All rules, in the order in which their findings are easiest to mend.
const RULES: &[Rule] = &[
    heads::heads,
    prose::width,
    prose::sentences,
    sizes::files,
    sizes::types,
    sizes::modules,
    names::paths,
    names::tests_of_the_specification,
    names::numbers,
    names::where_is,
    words::words,
    effects::effects,
    circles::circles,
    locks::locks,
];

pub(crate) fn go(_: &Args) -> Result<()> {
    let tree = Tree::of_the_checkout()?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.sort();
    findings.dedup();
    for Finding { path, line, rule, text } in &findings {
        println!("{path}:{line}: {rule}: {text}");
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("{n} findings"),
    }
}
