//! Visible text: the one rule of which characters a stranger's text or name may have, its mending, and which
//! names look alike.
//!
//! Why one rule: what readers cannot see can turn a line around, hide a message in a name, or make two names
//! out of one. A character that has no place of its own is not taken: a control (C0, C1), an override,
//! embedding or isolate of the direction, a separator of lines or paragraphs, a zero-width character, a
//! filler, a tag, a selector without what it selects, a code point that is unassigned or for private use, or
//! a tower of marks. What scripts and emoji need stays: joiners and selectors where they have an effect, and
//! marks of direction in texts of scripts written from right to left.
//!
//! - [`is_text`], [`is_name`]: the verdict; [`may_stand`]: of one character, whatever stands around it;
//! - [`mend_text`], [`mend_name`]: a text or a name without what has no place;
//! - [`Likeness`]: what a reader takes a name for.
//!
//! Invariants: what is mended passes, and mending it again changes nothing; what passes as a text is not
//! changed by mending.
//! Not here: limits of size of texts (`rules`), words that an operator does not want.

mod class;
mod class_table;
mod likeness;
mod look_alikes;
mod mend;
mod runs;
mod scan;

use class::Class;
use scan::{Scan, is_right_to_left};

pub use likeness::Likeness;
pub use mend::{mend_name, mend_text};

/// Whether this is visible text; line feed and tab are part of it. Any length, also none.
pub fn is_text(s: &str) -> bool {
    // All bytes are looked at, without a branch: that is faster for every text of usual length.
    let is_plain = |b: u8| (b' '..0x7f).contains(&b) | (b == b'\n') | (b == b'\t');
    s.bytes().fold(true, |ok, b| ok & is_plain(b)) || is_scanned_text(s)
}

/// Whether there is a text that may have this character: one that is typed may get its neighbours later.
pub fn may_stand(c: char) -> bool {
    matches!(c, '\n' | '\t') || Class::of(c) != Class::Hidden
}

/// Whether this is a name: visible text without line ends and tabs, not empty, without white space at either
/// end, and with nothing at either end that belongs to a letter outside. Any length.
pub fn is_name(s: &str) -> bool {
    let (first, last) = match s.as_bytes() {
        [] => return false,
        [first, .., last] => (*first, *last),
        [only] => (*only, *only),
    };
    if s.bytes().fold(true, |ok, b| ok & (b' '..0x7f).contains(&b)) {
        return first != b' ' && last != b' ';
    }
    is_scanned_name(s)
}

/// A name for somebody who has none, or whose own is kept for others, by a number that is theirs.
pub fn guest_name(number: u64) -> Box<str> {
    format!("guest-{:04x}", number as u16).into()
}

fn begins_a_name(c: char) -> bool {
    is_beginning(Class::of(c))
}

fn ends_a_name(c: char) -> bool {
    is_end(c, Class::of(c))
}

fn is_beginning(class: Class) -> bool {
    !matches!(class, Class::Space | Class::Mark | Class::DeepMark)
}

fn is_end(c: char, class: Class) -> bool {
    c != '\u{200c}' && class != Class::Space
}

fn is_scanned_text(s: &str) -> bool {
    let mut scan = Scan::new(s.chars().any(is_right_to_left));
    let mut chars = s.chars();
    while let Some(c) = chars.next() {
        if matches!(c, '\n' | '\t') {
            scan.take_break();
        } else if !scan.take(c, chars.as_str()) {
            return false;
        }
    }
    true
}

/// With one look-up a character, since most keys of reactions are one.
fn is_scanned_name(s: &str) -> bool {
    let mut scan = Scan::new(false);
    let mut chars = s.chars();
    let (mut is_first, mut ends) = (true, false);
    while let Some(c) = chars.next() {
        let class = Class::of(c);
        if (is_first && !is_beginning(class)) || !scan.take_of(c, class, chars.as_str()) {
            return false;
        }
        (is_first, ends) = (false, is_end(c, class));
    }
    ends
}
