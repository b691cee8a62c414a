//! Hidden letters: words in which a sign stands for a letter, as in "d*mn".
//!
//! How: words that have a sign between letters are compared with the terms that have their first letter, last
//! letter and length. A `*` hides any letter; one other sign hides a vowel.
//! Why first and last must be seen: "a**" may be anything.
//! Invariant: the index is sorted by key. Terms of several words are not in it.
//! Not here: words that are cut by a sign with all letters there (`super`).

use super::pattern::Pattern;
use crate::fold::{Unit, is_letter};
use crate::letters::{letter_for, may_be};

/// Letters of a word that is looked at, at least and at most.
const LETTERS: std::ops::RangeInclusive<usize> = 3..=24;

/// Patterns by first letter, last letter and length.
#[derive(Debug, Default)]
pub(crate) struct Hidden(Box<[(u64, u32)]>);

fn key(first: char, last: char, letters: usize) -> u64 {
    u64::from(first as u32) << 32 | u64::from(last as u32) << 8 | letters as u64
}

impl Hidden {
    pub(crate) fn of(patterns: &[Pattern]) -> Hidden {
        let with_key = |(id, pattern): (usize, &Pattern)| {
            let letters = pattern.letters as usize;
            let is_word = pattern.cuts == 0 && LETTERS.contains(&letters);
            let (first, last) = (pattern.runs.first()?.c, pattern.runs.last()?.c);
            is_word.then(|| (key(first, last, letters), id as u32))
        };
        let mut index: Vec<_> = patterns.iter().enumerate().filter_map(with_key).collect();
        index.sort_unstable();
        Hidden(index.into())
    }

    /// Tell of every word of `units` that is a pattern with hidden letters: pattern, unit from, to.
    pub(crate) fn scan(
        &self,
        units: &[Unit],
        patterns: &[Pattern],
        mut found: impl FnMut(u32, usize, usize),
    ) {
        let mut at = 0;
        while at < units.len() {
            let from = at;
            while units.get(at).is_some_and(|unit| !unit.c.is_whitespace()) {
                at += 1;
            }
            self.look(&units[from..at], patterns, &mut |id, first, last| {
                found(id, from + first, from + last);
            });
            at += 1;
        }
    }

    fn look(&self, word: &[Unit], patterns: &[Pattern], found: &mut impl FnMut(u32, usize, usize)) {
        let is_seen = |unit: &Unit| is_letter(unit.c) || unit.c == '$' || unit.c == '@';
        let (Some(from), Some(to)) = (word.iter().position(is_seen), word.iter().rposition(is_seen)) else {
            return;
        };
        let inner = &word[from..=to];
        let hidden = inner.iter().filter(|unit| !is_seen(unit)).count();
        let is_bound = LETTERS.contains(&inner.len()) && hidden > 0 && hidden + 2 <= inner.len();
        let is_starred = inner.iter().all(|unit| is_seen(unit) || unit.c == '*');
        if !is_bound || !is_starred && (hidden > 1 || inner.len() < 4) {
            return;
        }
        let seen = |unit: &Unit| letter_for(unit.c).unwrap_or(unit.c);
        let wanted = key(seen(&inner[0]), seen(&inner[inner.len() - 1]), inner.len());
        let first = self.0.partition_point(|(key, _)| *key < wanted);
        for &(_, id) in self.0[first..].iter().take_while(|(key, _)| *key == wanted) {
            if inner.iter().zip(patterns[id as usize].expanded()).all(|(unit, c)| may_hide(unit.c, c)) {
                found(id, from, to + 1);
            }
        }
    }
}

/// May this character of a text stand for that letter of a term, or hide it?
fn may_hide(seen: char, letter: char) -> bool {
    let is_sign = !is_letter(seen) && seen != '\'' && seen != '\u{2019}';
    seen == '*' || may_be(seen, letter) || is_sign && "aeiouy".contains(letter)
}
