//! A list: rules for words and patterns under one name, ready to judge.
//!
//! Why built as a whole: a list is made beside the rooms' way and handed over when it is good.
//! Invariants: a list does not change once it is built; its rules are in the order of its lines.
//! Not here: which rooms it concerns (`filter`), searching (`terms`).

mod expressions;
mod parse;
mod rule;
#[cfg(test)]
mod tests;

pub use expressions::{EXPRESSION_CHARS_MAX, EXPRESSIONS_MAX};
pub use parse::{Fault, LIST_BYTES_MAX, LIST_RULES_MAX};
pub use rule::{Action, Marks, Rule, TIMEOUT_S_MAX};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regex::Regex;

use crate::terms::{Pattern, Terms};

/// See the file's head.
pub struct List {
    name: Box<str>,
    /// Rules of words, then those of regular expressions.
    rules: Vec<Rule>,
    /// The words of the first rules, and exceptions.
    pub(crate) terms: Terms,
    /// Which rule a term is of; `None` for an exception.
    pub(crate) rule_of: Box<[Option<u32>]>,
    /// How many rules are words.
    pub(crate) words: u32,
    /// Of the last rules, one each.
    pub(crate) expressions: Vec<Regex>,
    /// Does a rule concern moderators?
    pub(crate) concerns_moderators: bool,
    counts: Arc<Counts>,
}

/// How many texts a list decided on, by action. They outlive the list, so that a reload loses none.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Action::ALL.len()]);

impl Counts {
    /// Each action, and how many texts it befell.
    pub fn read(&self) -> impl Iterator<Item = (Action, u64)> + '_ {
        Action::ALL.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(crate) fn add(&self, action: Action) {
        self.0[action.index()].fetch_add(1, Ordering::Relaxed);
    }
}

impl List {
    /// Build the list that this text describes.
    ///
    /// # Errors
    /// Every fault with its line, 20 at most.
    pub fn parse(name: &str, text: &str) -> Result<List, Vec<Fault>> {
        let parse::Parsed { words: mut rules, patterns, expressions } = parse::parse(text)?;
        let compiled = expressions::compile(&expressions)?;
        let words = rules.len() as u32;
        rules.extend(expressions);
        let (patterns, rule_of): (Vec<Pattern>, Vec<Option<u32>>) = patterns.into_iter().unzip();
        let rule_of = rule_of.into();
        let terms = Terms::new(patterns).map_err(|says| vec![Fault { line: 0, says }])?;
        let concerns_moderators = rules.iter().any(|rule| rule.marks.concerns_moderators);
        Ok(List {
            name: name.into(),
            rules,
            terms,
            rule_of,
            words,
            expressions: compiled,
            concerns_moderators,
            counts: Arc::default(),
        })
    }

    /// It counts on where another list stopped.
    #[must_use]
    pub fn with_counts(self, counts: Arc<Counts>) -> List {
        List { counts, ..self }
    }

    /// How many texts it decided on.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Its name, for moderators and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules: words in the order of their lines, then regular expressions.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Bytes of its automaton.
    pub fn automaton_bytes(&self) -> usize {
        self.terms.bytes()
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List").field("name", &self.name).field("rules", &self.rules.len()).finish()
    }
}
