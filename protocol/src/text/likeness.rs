//! Likeness: what a reader takes a name for, so that nobody shows the name of a host or a moderator.
//!
//! How, after UTS #39, 4: decompose (NFKD), leave out accents, spaces and signs, replace look-alikes of ASCII
//! letters, fold case, and give one form to letters and digits that are written for one another (`l`, `1`,
//! `i`; `o`, `0`; `rn`, `m`). Names of other scripts keep their letters, so that they have a likeness too.
//! Why a hash: a likeness is compared for every message of a person without a role, and never shown.
//! Invariant: a likeness depends on the name alone; equal names are alike.
//! Not here: whose names are kept for them (`engine` for a room, the edge for reserved words).

use unicode_normalization::UnicodeNormalization;

use super::class::Class;
use super::look_alikes::LOOK_ALIKES;

/// What a reader takes a name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Likeness(u64);

/// What a sign in a name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signs {
    /// Nothing: `H.o.s.t`, `@Host`.
    Nothing,
    /// The letter that it is written for: `@dmin`.
    Letters,
}

impl Likeness {
    /// What a reader takes a name for, its signs for nothing.
    pub fn of(name: &str) -> Likeness {
        Likeness::with(name, Signs::Nothing)
    }

    /// What a reader may take a name for: its signs for nothing, for letters, or for letters but those at its
    /// end (`@dmin!`). Names are alike when they have one of these in common.
    pub fn all_of(name: &str) -> impl Iterator<Item = Likeness> + '_ {
        let has_signs = name.contains(|c| sign(c).is_some());
        let bare = name.trim_end_matches(|c: char| sign(c).is_some() || c.is_whitespace());
        let as_letters = [name, bare].into_iter().filter(move |_| has_signs);
        std::iter::once(Likeness::of(name)).chain(as_letters.map(|name| Likeness::with(name, Signs::Letters)))
    }

    /// A number that is the same for names that look the same.
    pub fn number(self) -> u64 {
        self.0
    }

    /// A likeness whose number another process sent.
    pub fn from_number(number: u64) -> Likeness {
        Likeness(number)
    }

    /// Is this name taken for one of those that are kept?
    pub fn is_among(name: &str, kept: &[Likeness]) -> bool {
        !kept.is_empty() && Likeness::all_of(name).any(|likeness| kept.contains(&likeness))
    }

    fn with(name: &str, signs: Signs) -> Likeness {
        let mut hash = Fnv::default();
        let seen = || name.chars().filter(|&c| !is_unseen(c));
        if name.is_ascii() {
            name.chars().for_each(|c| hash.take(c, signs));
        } else {
            seen().nfkd().for_each(|c| hash.take(c, signs));
        }
        if hash.is_empty() {
            // A name of signs alone is alike to what has the same signs.
            seen().nfkd().for_each(|c| hash.other(c));
        }
        Likeness(hash.value())
    }
}

enum Letter {
    Ascii(u8),
    Other(char),
}

/// What a character of a decomposed name is taken for; `None`: it is left out.
fn letter(c: char, signs: Signs) -> Option<Letter> {
    if let Some(letter) = sign(c).filter(|_| signs == Signs::Letters) {
        return Some(Letter::Ascii(letter));
    }
    if c.is_ascii() {
        return c.is_ascii_alphanumeric().then(|| Letter::Ascii(c.to_ascii_lowercase() as u8));
    }
    if let Some(letter) = look_alike(c) {
        return Some(Letter::Ascii(letter));
    }
    let is_letter = match Class::of(c) {
        Class::Mark => !is_accent(c),
        Class::DeepMark | Class::Joining | Class::Han => true,
        Class::Visible => c.is_alphanumeric(),
        _ => false,
    };
    is_letter.then_some(Letter::Other(c))
}

/// ASCII signs that are written for a letter.
fn sign(c: char) -> Option<u8> {
    Some(match c {
        '@' => b'a',
        '$' => b's',
        '|' | '!' => b'l',
        '(' => b'c',
        '+' => b't',
        _ => return None,
    })
}

/// Accents, which any letter can have.
fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}')
}

fn is_unseen(c: char) -> bool {
    matches!(
        Class::of(c),
        Class::Hidden
            | Class::Space
            | Class::Joiner
            | Class::EmojiSelector
            | Class::HanSelector
            | Class::MongolianSelector
            | Class::Tag
            | Class::DirectionMark
    )
}

fn look_alike(c: char) -> Option<u8> {
    let at = LOOK_ALIKES.binary_search_by_key(&c, |(c, _)| *c).ok()?;
    Some(LOOK_ALIKES[at].1)
}

/// FNV-1a, with one letter held back: two that are written for one make a third.
struct Fnv {
    hash: u64,
    held: Option<u8>,
}

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv { hash: Fnv::BASIS, held: None }
    }
}

impl Fnv {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;

    fn is_empty(&self) -> bool {
        self.hash == Fnv::BASIS && self.held.is_none()
    }

    fn take(&mut self, c: char, signs: Signs) {
        match letter(c, signs) {
            Some(Letter::Ascii(letter)) => self.letter(letter),
            Some(Letter::Other(c)) => c.to_lowercase().for_each(|c| match look_alike(c) {
                Some(letter) => self.letter(letter),
                None => self.other(c),
            }),
            None => {}
        }
    }

    fn letter(&mut self, letter: u8) {
        let letter = match letter {
            b'0' => b'o',
            b'1' | b'i' => b'l',
            b'3' => b'e',
            b'4' => b'a',
            b'5' => b's',
            b'7' => b't',
            b'8' => b'b',
            b'9' => b'g',
            letter => letter,
        };
        match (self.held, letter) {
            (Some(b'r'), b'n') => self.held = Some(b'm'),
            (Some(b'v'), b'v') => self.held = Some(b'w'),
            (held, letter) => {
                held.into_iter().for_each(|held| self.byte(held));
                self.held = Some(letter);
            }
        }
    }

    fn other(&mut self, c: char) {
        self.flush();
        u32::from(c).to_le_bytes().into_iter().for_each(|b| self.byte(b));
    }

    fn flush(&mut self) {
        if let Some(held) = self.held.take() {
            self.byte(held);
        }
    }

    fn byte(&mut self, b: u8) {
        self.hash = (self.hash ^ u64::from(b)).wrapping_mul(Fnv::PRIME);
    }

    fn value(mut self) -> u64 {
        self.flush();
        self.hash
    }
}
