//! Class of each character: the runs of the table, in a form that is searched fast, and shortcuts before it.
//!
//! Why shortcuts: most characters of a chat are letters of a few scripts, and a search takes eleven steps.
//! Invariant: the runs cover every character; the shortcuts say what the runs say (a test compares them).
//! Not here: what a class means (`scan`).

use super::class::Class;
use super::runs::RUNS;

impl Class {
    /// The class of a character.
    #[inline]
    pub(super) fn of(c: char) -> Class {
        match c {
            ' ' => Class::Space,
            '!'..='~' | '\u{b0}'..='\u{2ff}' | '\u{400}'..='\u{482}' => Class::Visible,
            '\u{3041}'..='\u{3096}' | '\u{309b}'..='\u{30ff}' | '\u{ac00}'..='\u{d7a3}' => Class::Visible,
            '\u{4e00}'..='\u{9fff}' => Class::Han,
            c => Class::looked_up(c),
        }
    }

    fn looked_up(c: char) -> Class {
        // The first run begins with U+0000, so that one begins before every character.
        CLASSES[BEGINNINGS.partition_point(|&begins| begins <= u32::from(c)) - 1]
    }
}

/// The runs in two arrays, which take five bytes a run in place of eight.
static BEGINNINGS: [u32; RUNS.len()] = {
    let mut beginnings = [0; RUNS.len()];
    let mut at = 0;
    while at < RUNS.len() {
        beginnings[at] = RUNS[at].0;
        at += 1;
    }
    beginnings
};

static CLASSES: [Class; RUNS.len()] = {
    let mut classes = [Class::Hidden; RUNS.len()];
    let mut at = 0;
    while at < RUNS.len() {
        classes[at] = RUNS[at].1;
        at += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortcuts_say_what_the_table_says() {
        for c in '\0'..=char::MAX {
            assert_eq!(Class::of(c), Class::looked_up(c), "{c:?}");
        }
    }

    /// The standard library has Unicode's data as well, in another form.
    #[test]
    fn letters_and_digits_are_seen_and_controls_are_not() {
        for c in '\0'..=char::MAX {
            let class = Class::of(c);
            assert!(!c.is_control() || class == Class::Hidden, "{c:?}");
            if c.is_whitespace() && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}') {
                assert_eq!(class, Class::Space, "{c:?}");
            }
            // Fillers and an unseen joiner that Unicode counts as letters.
            let is_blank = matches!(
                c,
                '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{34f}' | '\u{13441}' | '\u{13442}'
            );
            if c.is_alphanumeric() && !is_blank {
                assert_ne!(class, Class::Hidden, "{c:?}");
            }
        }
    }
}
