//! Import: lists of other projects in the form of ours.
//!
//! Why as text: whoever takes a list over reads it, changes it, and keeps it in the form that the node reads.
//! Invariant: what is made is a list that [`List::parse`](crate::List::parse) takes, or the fault is told.
//! Not here: the form itself (`list::parse`).

mod dsojevic;

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::terms::Pattern;

/// What an import made.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The list.
    pub text: String,
    /// Rules and exceptions in it.
    pub rules: usize,
    /// What was left out, and why.
    pub left_out: Vec<String>,
    words: BTreeSet<String>,
}

/// How a list is imported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Words are caught inside of other words, too.
    pub glued: bool,
}

/// Import a list: JSON of dsojevic's profanity lists, or a plain text with a word a line.
///
/// # Errors
/// When the text is JSON of another form.
pub fn import(text: &str, options: Options) -> Result<Imported, String> {
    match text.trim_start().starts_with(['[', '{']) {
        true => dsojevic::import(text, options),
        false => Ok(plain(text, options)),
    }
}

fn plain(text: &str, options: Options) -> Imported {
    let mut imported = Imported::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        imported.add(line, options);
    }
    imported
}

impl Imported {
    fn add(&mut self, word: &str, options: Options) {
        // Characters with a meaning in our form.
        let word: String = word.chars().map(|c| if c == '|' { ' ' } else { c }).collect();
        match Pattern::parse(&word) {
            Ok(_) => {
                let escape = if word.starts_with(['#', '@', '!', '/', '\\']) { "\\" } else { "" };
                let star = if options.glued { "*" } else { "" };
                let _ = writeln!(self.text, "{escape}{star}{word}{star}");
                self.rules += 1;
                self.words.insert(word.replace('*', ""));
            }
            Err(says) => self.left_out.push(says),
        }
    }
}
