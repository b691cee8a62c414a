//! Class of each character: the runs of the table, in a form that is searched fast, and shortcuts before it.
//!
//! Why shortcuts: most characters of a chat are letters of a few scripts, and a search takes several steps.
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
            '\u{1f600}'..='\u{1f64f}' => Class::Pictograph,
            c => Class::looked_up(c),
        }
    }

    fn looked_up(c: char) -> Class {
        let page = c as usize >> 8;
        let (first, last) = (usize::from(PAGES[page]), usize::from(PAGES[page + 1]));
        // The first run of the page begins at the page or before.
        let later = BEGINNINGS[first + 1..=last].partition_point(|&begins| begins <= u32::from(c));
        CLASSES[first + later]
    }
}

/// The run in which each page of 256 characters begins, and behind them the last run: a search takes some
/// four steps in place of eleven.
static PAGES: [u16; (char::MAX as usize >> 8) + 2] = {
    let mut pages = [0; (char::MAX as usize >> 8) + 2];
    let (mut page, mut run) = (0, 0);
    while page < pages.len() {
        while run + 1 < RUNS.len() && RUNS[run + 1].0 as usize <= page << 8 {
            run += 1;
        }
        pages[page] = run as u16;
        page += 1;
    }
    pages
};

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
