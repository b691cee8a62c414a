//! Folding: the characters of a text as a reader takes them, each with its place in the text.
//!
//! Why: people who want to pass a filter write a word in other cases, with accents, in letters of other
//! scripts, in circles and squares, or with characters between that nobody sees.
//! How: ASCII by a shift; then the table of look-alikes; then decomposition (NFKD) and lower case. Characters
//! that nobody sees and marks on Latin, Greek and Cyrillic letters are dropped. Katakana becomes Hiragana,
//! and Hangul that came in parts becomes whole.
//! Invariants: places are borders of characters, in order; folding what was folded changes nothing; marks of
//! other scripts stay, since they are letters there; no letter becomes a digit.
//! Not here: letters written as digits and signs (`letters`), where a word begins (`letters`).

mod table;
#[cfg(test)]
mod tests;

use table::FOLDS;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// One folded character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// What a reader takes it for.
    pub(crate) c: char,
    /// Where it begins in the text, in bytes. Several units may come from one character.
    pub(crate) start: u32,
    /// Where it ends, with the dropped characters behind it.
    pub(crate) end: u32,
}

/// Part of a text that is shown from right to left by an override: units from, to.
pub(crate) type Turned = (u32, u32);

/// Fold a text into `units`, and note the parts that are shown the other way round.
pub(crate) fn fold(text: &str, units: &mut Vec<Unit>, turned: &mut Vec<Turned>) {
    units.clear();
    turned.clear();
    let mut opened = None;
    for (at, c) in text.char_indices() {
        let start = at as u32;
        if c.is_ascii() {
            units.push(Unit { c: c.to_ascii_lowercase(), start, end: start + 1 });
            continue;
        }
        let end = start + c.len_utf8() as u32;
        match c {
            '\u{202e}' => opened = opened.or(Some(units.len() as u32)),
            '\u{202c}' | '\u{202d}' => close(&mut opened, units, turned),
            _ => {}
        }
        match hidden_or_mark(c) {
            true => widen(units, end),
            false => fold_wide(c, start, end, units),
        }
    }
    close(&mut opened, units, turned);
}

fn close(opened: &mut Option<u32>, units: &[Unit], turned: &mut Vec<Turned>) {
    if let Some(from) = opened.take()
        && from < units.len() as u32
    {
        turned.push((from, units.len() as u32));
    }
}

/// A dropped character belongs to the one before it, so that a mask covers it.
fn widen(units: &mut [Unit], end: u32) {
    if let Some(last) = units.last_mut() {
        last.end = end;
    }
}

fn fold_wide(c: char, start: u32, end: u32, units: &mut Vec<Unit>) {
    let mut push = |c| match c {
        '\u{1161}'..='\u{1175}' | '\u{11a8}'..='\u{11c2}' => join_jamo(c, start, end, units),
        c => units.push(Unit { c, start, end }),
    };
    match c {
        // Without a fold of their own: ideographs, syllables of Hangul.
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{ac00}'..='\u{d7a3}' => push(c),
        _ => match look_alike(c) {
            Some(letter) => push(letter),
            None => decompose_compatible(c, |part| {
                if hidden_or_mark(part) {
                    return;
                }
                match look_alike(part) {
                    Some(letter) => push(letter),
                    None => part.to_lowercase().filter(|&c| !hidden_or_mark(c)).for_each(|c| {
                        push(hiragana(look_alike(c).unwrap_or(c)));
                    }),
                }
            }),
        },
    }
}

/// Hiragana for Katakana: one word in two ways of writing.
fn hiragana(c: char) -> char {
    match c {
        '\u{30a1}'..='\u{30f6}' => char::from_u32(c as u32 - 0x60).unwrap_or(c),
        c => c,
    }
}

/// A vowel or an end of a syllable of Hangul joins what stands before it (Unicode, 3.12).
fn join_jamo(c: char, start: u32, end: u32, units: &mut Vec<Unit>) {
    const SYLLABLES: u32 = 0xac00;
    let joined = units.last().and_then(|last| match (last.c as u32, c as u32) {
        (lead @ 0x1100..=0x1112, vowel @ 0x1161..=0x1175) => {
            char::from_u32(SYLLABLES + ((lead - 0x1100) * 21 + vowel - 0x1161) * 28)
        }
        (open @ 0xac00..=0xd7a3, tail @ 0x11a8..=0x11c2) if (open - SYLLABLES).is_multiple_of(28) => {
            char::from_u32(open + tail - 0x11a7)
        }
        _ => None,
    });
    match (joined, units.last_mut()) {
        (Some(syllable), Some(last)) => (last.c, last.end) = (syllable, end),
        _ => units.push(Unit { c, start, end }),
    }
}

/// Does nobody see it, or is it a mark on a Latin, Greek or Cyrillic letter? By block: marks of other scripts
/// make a letter another one.
fn hidden_or_mark(c: char) -> bool {
    matches!(c as u32,
        0xad | 0x34f | 0x61c | 0x640 | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f
        | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xfe00..=0xfe0f
        | 0xfeff | 0xffa0 | 0xfff0..=0xfff8 | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff
        | 0x300..=0x36f | 0x483..=0x489 | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff
        | 0xfe20..=0xfe2f)
}

/// Is it part of a word? Signs, spaces and emoji are not.
pub(crate) fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    c.is_alphanumeric() || is_combining_mark(c)
}

/// Does it stand without spaces between words? Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(c as u32,
        0xe00..=0xeff | 0x1000..=0x109f | 0x1100..=0x11ff | 0x1780..=0x17ff | 0x3040..=0x30ff
        | 0x3130..=0x318f | 0x3400..=0x9fff | 0xac00..=0xd7af | 0x20000..=0x3ffff)
}

fn look_alike(c: char) -> Option<char> {
    let at = c as usize;
    let page = usize::from(*PAGES.get(at >> 8)?);
    let letter = LETTERS[page][at & 0xff];
    (letter != 0).then_some(char::from(letter))
}

/// Pages of 256 characters that have a look-alike, and before them one that has none.
const PAGE_COUNT: usize = {
    let (mut count, mut at, mut last) = (1, 0, usize::MAX);
    while at < FOLDS.len() {
        let page = FOLDS[at].0 as usize >> 8;
        if page != last {
            count += 1;
            last = page;
        }
        at += 1;
    }
    count
};

static PAGES: [u8; char::MAX as usize >> 8] = {
    let mut pages = [0; char::MAX as usize >> 8];
    let (mut next, mut at) = (0, 0);
    while at < FOLDS.len() {
        let page = FOLDS[at].0 as usize >> 8;
        if pages[page] == 0 {
            next += 1;
            pages[page] = next;
        }
        at += 1;
    }
    pages
};

static LETTERS: [[u8; 256]; PAGE_COUNT] = {
    let mut letters = [[0; 256]; PAGE_COUNT];
    let mut at = 0;
    while at < FOLDS.len() {
        let (c, letter) = FOLDS[at];
        letters[PAGES[c as usize >> 8] as usize][c as usize & 0xff] = letter;
        at += 1;
    }
    letters
};
