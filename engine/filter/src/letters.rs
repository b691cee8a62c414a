//! Letters: a folded text as one row of letters, with the distance before each.
//!
//! Why one row: a word that is cut by spaces, dots or signs is still one row of letters. Where the cuts are
//! decides what it may be, so the search goes over the row once and looks at the cuts of what it found.
//! Why two readings: digits and signs may be themselves or letters. `1`, `!` and `|` stand for `i` and for
//! `l`, so where they are read as letters, `i` and `l` are one letter until a match says which.
//! A text without such signs has one reading.
//! Invariants: every letter knows its unit, so that a mask finds its place; a row is at most as long as the
//! text.
//! Not here: which rows are words of a list (`terms`).

use crate::fold::{Unit, is_letter, is_unspaced};

/// What stands before a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gap {
    /// Nothing: the letter before is of the same word.
    None,
    /// A border without a distance: between letters and digits, or in a script that writes no spaces.
    Soft,
    Apostrophe,
    Sign,
    Space,
}

/// How digits and signs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As themselves.
    Plain,
    /// As letters, and `i` as `l`.
    AsLetters,
}

/// A letter of the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter {
    pub(crate) c: char,
    /// Index of the unit that it comes from.
    pub(crate) unit: u32,
    pub(crate) gap: Gap,
}

/// Equal letters in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) c: char,
    /// The first of them.
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// A row of letters, and its runs.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) letters: Vec<Letter>,
    pub(crate) runs: Vec<Run>,
}

impl Row {
    /// Make the row of these units.
    pub(crate) fn fill(&mut self, units: &[Unit], reading: Reading) {
        self.letters.clear();
        self.runs.clear();
        let mut gap = Gap::Space;
        for (at, unit) in units.iter().enumerate() {
            let seen = match reading {
                Reading::Plain => is_letter(unit.c).then_some(unit.c),
                Reading::AsLetters => {
                    as_letter(units, at).or_else(|| is_letter(unit.c).then_some(unit.c)).map(merged)
                }
            };
            let Some(c) = seen else {
                gap = gap.max(gap_of(unit.c));
                continue;
            };
            if gap == Gap::None && at > 0 {
                gap = border(&units[at - 1], unit, reading);
            }
            self.push(Letter { c, unit: at as u32, gap });
            gap = Gap::None;
        }
    }

    fn push(&mut self, letter: Letter) {
        let first = self.letters.len() as u32;
        match self.runs.last_mut() {
            Some(run) if run.c == letter.c => run.count += 1,
            _ => self.runs.push(Run { c: letter.c, first, count: 1 }),
        }
        self.letters.push(letter);
    }

    /// The distance before a letter; before the first and behind the last is space.
    pub(crate) fn gap(&self, at: usize) -> Gap {
        self.letters.get(at).map_or(Gap::Space, |letter| letter.gap)
    }
}

fn gap_of(c: char) -> Gap {
    match c {
        '\'' | '`' | '\u{2018}' | '\u{2019}' | '\u{2bc}' | '\u{b4}' => Gap::Apostrophe,
        c if c.is_whitespace() => Gap::Space,
        _ => Gap::Sign,
    }
}

/// The border between two letters that touch.
fn border(before: &Unit, after: &Unit, reading: Reading) -> Gap {
    // Parts of one character, and the marks of Kana.
    if before.start == after.start || matches!(after.c, '\u{3099}' | '\u{309a}') {
        return Gap::None;
    }
    let is_soft = is_unspaced(before.c)
        || is_unspaced(after.c)
        || match reading {
            Reading::Plain => before.c.is_ascii_digit() != after.c.is_ascii_digit(),
            Reading::AsLetters => false,
        };
    if is_soft { Gap::Soft } else { Gap::None }
}

/// One letter for `i` and `l`.
pub(crate) fn merged(c: char) -> char {
    if c == 'i' { 'l' } else { c }
}

/// The letter that people write a digit or a sign for; `i` also for those that may be `l`.
pub(crate) fn letter_for(c: char) -> Option<char> {
    Some(match c {
        '0' => 'o',
        '1' | '!' | '|' | '\u{a1}' => 'i',
        '2' => 'z',
        '3' | '\u{20ac}' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '6' | '9' => 'g',
        '7' | '+' => 't',
        '8' => 'b',
        '(' | '<' | '\u{a2}' => 'c',
        '\u{a3}' => 'l',
        '\u{a5}' => 'y',
        _ => return None,
    })
}

/// May this character of a text stand for that letter of a term?
pub(crate) fn may_be(seen: char, letter: char) -> bool {
    match letter_for(seen) {
        Some('i') => letter == 'i' || letter == 'l' || letter == seen,
        Some(c) => letter == c || letter == seen,
        None => seen == letter,
    }
}

/// As `letter_for`, where the sign stands as in a word: a bracket or a bar only between letters, an
/// exclamation mark before one, a plus behind one.
fn as_letter(units: &[Unit], at: usize) -> Option<char> {
    let found = letter_for(units[at].c)?;
    let is_near = |at: Option<usize>| {
        at.and_then(|at| units.get(at)).is_some_and(|unit| is_letter(unit.c) || letter_for(unit.c).is_some())
    };
    let (before, after) = (is_near(at.checked_sub(1)), is_near(Some(at + 1)));
    let fits = match units[at].c {
        '(' | '<' | '|' => before && after,
        '!' => after,
        '+' => before,
        _ => true,
    };
    fits.then_some(found)
}

/// Which readings a text needs beside the plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readings {
    /// Digits or signs that may be letters, beside letters.
    pub(crate) as_letters: bool,
    /// A sign between two letters, which may hide one.
    pub(crate) hides: bool,
}

impl Readings {
    pub(crate) fn of(units: &[Unit]) -> Readings {
        let mut readings = Readings::default();
        let mut at = 0;
        while at < units.len() {
            let from = at;
            let (mut letters, mut signs, mut digits, mut between) = (0, 0, 0, false);
            while let Some(unit) = units.get(at).filter(|unit| !unit.c.is_whitespace()) {
                let c = unit.c;
                if c.is_alphabetic() || is_letter(c) && !c.is_ascii_digit() {
                    letters += 1;
                } else if as_letter(units, at).is_some() {
                    if c.is_ascii_digit() { digits += 1 } else { signs += 1 }
                }
                between |= !is_letter(c) && gap_of(c) == Gap::Sign && at > from;
                at += 1;
            }
            let is_alone = at - from == 1;
            let is_word = letters > 0 && signs + digits > 0;
            readings.as_letters |= is_word || signs > 1 || is_alone && signs + digits == 1;
            readings.hides |= between && letters > 1;
            at += 1;
        }
        readings
    }
}
