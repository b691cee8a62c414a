//! Terms: the words of a list as one automaton over runs of letters, and what may stand around a match.
//!
//! How: the automaton (Aho-Corasick) reads one letter a run. A match is a candidate: then the counts of its
//! runs are compared, and the borders and cuts of its place. Cost: the text once, whatever the list's length.
//! Why the cuts decide: "as sole" and "push it" have a term's letters in a row and are none. Letters that are
//! all apart ("d a m n"), and words cut by signs ("da.mn"), are; two words are one where a reader knows them
//! not both ([`Common`]).
//! Invariants: nothing is allocated during a scan; a scan's work is bounded by the text's letters, times the
//! terms that end at one letter, times a constant.
//! Not here: actions of rules (`list`), the order of readings (`judge`).

mod hidden;
mod pattern;

pub(crate) use hidden::Hidden;
pub(crate) use pattern::Pattern;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};

use crate::common::Common;
use crate::fold::{Unit, is_letter};
use crate::letters::{Gap, Reading, Row, may_be};

/// Places within a run at which a match is tried to begin or end: a text of one letter stays linear.
const PLACES_MAX: u32 = 16;

/// The words of a list.
pub(crate) struct Terms {
    plain: Search,
    /// With one letter for `i` and `l`, for texts with digits for letters.
    merged: Search,
    hidden: Hidden,
}

/// Patterns, and what finds them.
struct Search {
    automaton: Option<NFA>,
    patterns: Box<[Pattern]>,
}

impl Search {
    fn new(patterns: Vec<Pattern>) -> Result<Search, String> {
        let keys = patterns.iter().map(Pattern::key);
        let build = || NFA::builder().match_kind(MatchKind::Standard).prefilter(false).build(keys);
        let automaton = (!patterns.is_empty()).then(build).transpose();
        let automaton = automaton.map_err(|error| format!("the list has too many words: {error}"))?;
        Ok(Search { automaton, patterns: patterns.into() })
    }
}

/// Where a pattern is in a row of letters: letters from, to.
type Place = (usize, usize);

impl Terms {
    pub(crate) fn new(patterns: Vec<Pattern>) -> Result<Terms, String> {
        let hidden = Hidden::of(&patterns);
        let merged = Search::new(patterns.iter().map(Pattern::merged).collect())?;
        Ok(Terms { plain: Search::new(patterns)?, merged, hidden })
    }

    /// Bytes of the automata.
    pub(crate) fn bytes(&self) -> usize {
        let automata = [&self.plain.automaton, &self.merged.automaton];
        automata.into_iter().flatten().map(Automaton::memory_usage).sum()
    }

    /// Tell of every term in the row: its number, units from, to.
    pub(crate) fn scan(
        &self,
        row: &Row,
        units: &[Unit],
        reading: Reading,
        common: &Common,
        mut found: impl FnMut(u32, usize, usize),
    ) {
        let Search { automaton, patterns } = match reading {
            Reading::Plain => &self.plain,
            Reading::AsLetters => &self.merged,
        };
        let Some(automaton) = automaton else { return };
        let text = Scanned { row, units, reading, common };
        let start = automaton.start_state(Anchored::No).expect("it searches anywhere");
        let (mut state, mut bytes) = (start, [0; 4]);
        for (last, run) in row.runs.iter().enumerate() {
            for &byte in run.c.encode_utf8(&mut bytes).as_bytes() {
                state = automaton.next_state(Anchored::No, state, byte);
            }
            if !automaton.is_match(state) {
                continue;
            }
            for ix in 0..automaton.match_len(state) {
                let id = automaton.match_pattern(state, ix);
                let place = text.place(&patterns[id.as_usize()], last);
                let place =
                    place.filter(|&place| text.is_spelled(&self.plain.patterns[id.as_usize()], place));
                if let Some((from, to)) = place {
                    let unit = |at: usize| row.letters[at].unit as usize;
                    found(id.as_u32(), unit(from), unit(to - 1) + 1);
                }
            }
        }
    }

    /// Tell of every term with hidden letters: its number, units from, to.
    pub(crate) fn scan_hidden(&self, units: &[Unit], found: impl FnMut(u32, usize, usize)) {
        self.hidden.scan(units, &self.plain.patterns, found);
    }
}

/// A text that is being searched.
struct Scanned<'a> {
    row: &'a Row,
    units: &'a [Unit],
    reading: Reading,
    common: &'a Common,
}

impl Scanned<'_> {
    /// The place of a pattern whose last run is this one, if its counts, borders and cuts are right.
    fn place(&self, pattern: &Pattern, last: usize) -> Option<Place> {
        let first = (last + 1).checked_sub(pattern.runs.len())?;
        let runs = &self.row.runs[first..=last];
        let middle = 1..runs.len().saturating_sub(1);
        let is_doubled = |at: usize| runs[at].count == 2 * u32::from(pattern.runs[at].count);
        let (mut fits, mut doubled) = (true, pattern.letters > 2);
        for at in middle {
            fits &= pattern.fits(at, runs[at].count);
            doubled &= is_doubled(at);
        }
        if !fits && !doubled {
            return None;
        }
        let fits_at = |at: usize, count: u32| {
            fits && pattern.fits(at, count) || doubled && count == 2 * u32::from(pattern.runs[at].count)
        };
        let (head, tail) = (runs[0], runs[runs.len() - 1]);
        let head_end = head.first + head.count;
        let starts = std::iter::once(head.first)
            .chain((head.first + 1..head_end).rev().take(PLACES_MAX as usize))
            .filter(|&at| pattern.is_open_left || self.is_border(at as usize, true));
        for from in starts {
            let ends = std::iter::once(tail.first + tail.count)
                .chain((tail.first + 1..tail.first + tail.count).take(PLACES_MAX as usize))
                .filter(|&at| pattern.is_open_right || self.is_border(at as usize, false));
            for to in ends {
                let counted = match runs.len() {
                    1 => to > from && self.fits_one(pattern, to - from),
                    n => {
                        let (head_count, tail_count) = (head_end - from, to - tail.first);
                        let open =
                            |is_open, count, at: usize| is_open && count >= u32::from(pattern.runs[at].count);
                        (fits_at(0, head_count) || open(pattern.is_open_left, head_count, 0))
                            && (fits_at(n - 1, tail_count) || open(pattern.is_open_right, tail_count, n - 1))
                    }
                };
                let place = (from as usize, to as usize);
                if counted && self.is_word(pattern, place) {
                    return Some(place);
                }
            }
        }
        None
    }

    fn fits_one(&self, pattern: &Pattern, count: u32) -> bool {
        let is_open = pattern.is_open_left || pattern.is_open_right;
        pattern.fits(0, count) || is_open && count >= u32::from(pattern.runs[0].count)
    }

    fn is_alphabetic(&self, at: usize) -> bool {
        let c = self.units[self.row.letters[at].unit as usize].c;
        is_letter(c) && !c.is_ascii_digit()
    }

    /// May a word begin, or end, before this letter? Where digits and signs are read as letters, they end a
    /// word of letters too.
    fn is_border(&self, at: usize, begins: bool) -> bool {
        if self.row.gap(at) != Gap::None || at == 0 {
            return true;
        }
        let (inside, outside) = if begins { (at, at - 1) } else { (at - 1, at) };
        self.reading != Reading::Plain && self.is_alphabetic(inside) && !self.is_alphabetic(outside)
    }

    /// Is what stands here the term, by what it is made of and how it is cut?
    fn is_word(&self, pattern: &Pattern, (from, to): Place) -> bool {
        if self.reading != Reading::Plain && !self.is_written_as_word((from, to)) {
            return false;
        }
        let cuts = Cuts::of(self, (from, to));
        if cuts.count == 0 {
            return true;
        }
        // What is cut is whole words: "can't it" has no "tit".
        let is_hard = |at: usize| self.row.gap(at) >= Gap::Sign;
        if !is_hard(from) || !is_hard(to) {
            return false;
        }
        if cuts.count == pattern.cuts {
            return true;
        }
        let are_apart = cuts.are_apart && cuts.count >= 2;
        if cuts.apostrophes > 0 || pattern.letters <= 3 || cuts.numbers > 0 && cuts.count < 2 {
            return are_apart && cuts.numbers * 2 <= cuts.count;
        }
        are_apart || cuts.spaces == 0 || !self.are_common((from, to))
    }

    /// Where `i` and `l` were one letter: is each the term's own, unless a sign stands for it? Where letters
    /// are repeated, nobody can say which is which.
    fn is_spelled(&self, pattern: &Pattern, (from, to): Place) -> bool {
        let seen = self.row.letters[from..to].iter().map(|letter| self.units[letter.unit as usize].c);
        self.reading == Reading::Plain
            || (to - from) as u32 != pattern.letters
            || seen.zip(pattern.expanded()).all(|(seen, letter)| may_be(seen, letter))
    }

    /// A number or a price is no word: a letter must be among the digits, or two signs.
    fn is_written_as_word(&self, (from, to): Place) -> bool {
        let mut signs = 0;
        (from..to).any(|at| {
            let c = self.units[self.row.letters[at].unit as usize].c;
            signs += u32::from(!is_letter(c));
            is_letter(c) && !c.is_ascii_digit() || signs == 2
        })
    }

    /// Are all of these words common ones?
    fn are_common(&self, (from, to): Place) -> bool {
        let letters = &self.row.letters[from..to];
        letters
            .chunk_by(|_, after| after.gap < Gap::Apostrophe)
            .all(|word| self.common.has(&word.iter().map(|letter| letter.c)))
    }
}

/// The cuts inside of a match.
struct Cuts {
    count: u32,
    spaces: u32,
    apostrophes: u32,
    /// Parts that are digits alone.
    numbers: u32,
    /// Every part is one letter, or one letter repeated.
    are_apart: bool,
}

impl Cuts {
    fn of(text: &Scanned<'_>, (from, to): Place) -> Cuts {
        let mut cuts = Cuts { count: 0, spaces: 0, apostrophes: 0, numbers: 0, are_apart: true };
        let mut start = from;
        for at in from + 1..=to {
            let gap = if at == to { Gap::Space } else { text.row.gap(at) };
            if gap < Gap::Apostrophe {
                continue;
            }
            let part = start..at;
            let first = text.row.letters[start].c;
            cuts.are_apart &= part.len() <= 3 && part.clone().all(|at| text.row.letters[at].c == first);
            cuts.numbers += u32::from(
                part.clone().all(|at| text.units[text.row.letters[at].unit as usize].c.is_ascii_digit()),
            );
            start = at;
            if at < to {
                cuts.count += 1;
                cuts.spaces += u32::from(gap == Gap::Space);
                cuts.apostrophes += u32::from(gap == Gap::Apostrophe);
            }
        }
        cuts
    }
}
