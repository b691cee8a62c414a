//! Folds: the letters that the word filter takes a character for, beyond decomposition and lower case.
//!
//! Why other than the look-alikes of names: a filter folds whole texts. So a letter never becomes a digit,
//! currency signs stay signs, and a capital is taken for what its small letter is taken for, if anything.
//! Why only other characters than ASCII: the skeleton of UTS #39 takes `m` for `rn`, and "burn" is no "bum".
//! Not here: marks that are dropped, characters that nobody sees (`engine/filter/src/fold`).

use crate::{SMALL_CAPITALS, Table, bare, class, one_ascii};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// What people write for a letter, and UTS #39 does not say: Cyrillic and Greek letters by their shape, signs
/// of mathematics, letters that are turned around.
const OWN: &[(&str, &str)] = &[
    ("вкмнтВКМНТ", "bkmhtbkmht"),
    ("αβγεζηικμνρτυχωΑΒΕΖΗΙΚΜΝΡΤΥΧ", "abyeznikuvptuxwabezhikmnptyx"),
    ("ıłŁøØđĐßµ∪∩ʍ", "illooddbuunm"),
    ("ɐɔǝɟƃɥɾʞɯɹʇʌʎ", "acefghjkmrtvy"),
];

/// Scripts whose letters nobody reads as Latin ones: Hebrew to Ethiopic, those of South-East Asia, of East
/// Asia, of India.
const FAR: &[std::ops::RangeInclusive<u32>] =
    &[0x590..=0x139f, 0x1700..=0x1cff, 0x3000..=0xa4cf, 0xa800..=0xab2f];

fn own(c: char) -> Option<char> {
    OWN.iter().flat_map(|(from, to)| from.chars().zip(to.chars())).find(|(from, _)| *from == c).map(|f| f.1)
}

/// The one ASCII letter that a reader takes a character for.
fn seen_as(c: char) -> Option<char> {
    let letter = one_ascii(bare(&c.to_string()))?;
    letter.is_ascii_alphabetic().then_some(letter)
}

fn fold(c: char) -> Option<char> {
    let at = c as u32;
    let plain = c.to_string();
    let folded = plain.nfkd().filter(|&c| !is_combining_mark(c)).flat_map(char::to_lowercase);
    let letter_of = |first: u32| char::from_u32(at - first + u32::from('a'));
    match at {
        // In parentheses, in circles, in squares, and the halves of flags.
        0x249c..=0x24b5 => return letter_of(0x249c),
        0x1f110..=0x1f129 => return letter_of(0x1f110),
        0x1f150..=0x1f169 => return letter_of(0x1f150),
        0x1f170..=0x1f189 => return letter_of(0x1f170),
        0x1f1e6..=0x1f1ff => return letter_of(0x1f1e6),
        _ => {}
    }
    if let Some(letter) = own(c) {
        return Some(letter);
    }
    let is_said = one_ascii(folded).is_some() || plain.nfkd().ne(plain.chars());
    let is_far = FAR.iter().any(|range| range.contains(&at));
    if c.is_ascii() || is_said || is_far || !c.is_alphabetic() {
        return None;
    }
    if let Some((_, letter)) = SMALL_CAPITALS.chars().zip('a'..='z').find(|(small, _)| *small == c) {
        return Some(letter);
    }
    // The same for both cases: what is said of the small letter, otherwise what is said of the capital.
    let small = c.to_lowercase().next().unwrap_or(c);
    let capital = small.to_uppercase().next().unwrap_or(small);
    [small, capital, c].into_iter().find_map(|c| own(c).or_else(|| seen_as(c)))
}

/// The file.
pub(crate) fn table() -> String {
    let mut table = Table::default();
    for c in '\u{80}'..=char::MAX {
        if !["Hidden", "Mark", "DeepMark"].contains(&class(c))
            && let Some(letter) = fold(c)
        {
            table.push(&format!("({:#x}, b'{letter}'), ", c as u32));
        }
    }
    let (major, minor, _) = unicode_security::UNICODE_VERSION;
    table.after(&format!(
        "//! Table of folds: written by `protocol/unicode`, not by hand.\n\
         //!\n\
         //! Source: the confusables of UTS #39, version {major}.{minor}, as of unicode-security 0.1.3, and\n\
         //! letters in circles, squares and flags.\n\
         //! Not here: what decomposition and lower case already say (`super`).\n\n\
         /// Characters that a reader takes for one ASCII letter, with it, in order.\n\
         #[rustfmt::skip]\n\
         pub(super) const FOLDS: &[(u32, u8)] = &[\n"
    ))
}
