//! The word lists of generated chat: a neutral, friendly crowd at a show, in seven languages. All words were
//! invented for this folder: `emotes.txt`, and one file per language, a word or a saying a line.
//!
//! Why sayings beside words: sentences of subject and predicate lack the phrases that are common in chats.
//! Generated chat needs both, and so does the compression dictionary.
//! Invariants: every subject of a language goes with every predicate, and every tail may follow; shorts begin
//! with the likeliest, sayings end with it; none is in a list twice; nobody's name, nobody's quotation,
//! nothing unfriendly.
//! Not here: building texts and the dictionary from them (`texts`, `dictionary`).

use std::sync::LazyLock;

use clap::ValueEnum;

/// A language that the generator has words in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// English.
    En,
    /// Spanish.
    Es,
    /// Portuguese.
    Pt,
    /// French.
    Fr,
    /// German.
    De,
    /// Japanese.
    Ja,
    /// Korean.
    Ko,
}

/// The words of one language.
#[derive(Debug)]
pub(super) struct Lexicon {
    /// Said alone.
    pub(super) shorts: Vec<&'static str>,
    /// What is spoken of.
    pub(super) subjects: Vec<&'static str>,
    /// What is said of it.
    pub(super) predicates: Vec<&'static str>,
    /// What may come after.
    pub(super) tails: Vec<&'static str>,
    /// Whole sayings.
    pub(super) sayings: Vec<&'static str>,
    /// Between subject and predicate, and between words.
    pub(super) space: &'static str,
    /// Between clauses.
    pub(super) comma: &'static str,
    /// Half of the texts are shorter than this.
    pub(super) median_bytes: f64,
}

/// Said in any language. The words are emotes of no site; a client may draw them or not.
pub(super) static EMOTES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("emotes.txt").lines().collect());

/// In the order of [`Language`].
static LEXICONS: LazyLock<[Lexicon; 7]> = LazyLock::new(|| {
    [
        Lexicon::parse(include_str!("en.txt"), " ", ", ", 21.0),
        Lexicon::parse(include_str!("es.txt"), " ", ", ", 22.0),
        Lexicon::parse(include_str!("pt.txt"), " ", ", ", 22.0),
        Lexicon::parse(include_str!("fr.txt"), " ", ", ", 23.0),
        Lexicon::parse(include_str!("de.txt"), " ", ", ", 22.0),
        Lexicon::parse(include_str!("ja.txt"), "", "、", 25.0),
        Lexicon::parse(include_str!("ko.txt"), " ", ", ", 25.0),
    ]
});

pub(super) fn lexicon(language: Language) -> &'static Lexicon {
    &LEXICONS[language as usize]
}

impl Lexicon {
    /// From lists of lines, each under its name in brackets.
    fn parse(file: &'static str, space: &'static str, comma: &'static str, median_bytes: f64) -> Lexicon {
        let list = |name: &str| {
            let lines = file.lines().skip_while(|line| line.trim_matches(['[', ']']) != name).skip(1);
            lines.take_while(|line| !line.starts_with('[')).collect()
        };
        Lexicon {
            shorts: list("shorts"),
            subjects: list("subjects"),
            predicates: list("predicates"),
            tails: list("tails"),
            sayings: list("sayings"),
            space,
            comma,
            median_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
