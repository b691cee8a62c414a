//! Mending: takes out of a text or a name what the rule of visible text does not take.
//!
//! Why: a name comes from a profile elsewhere, and a paste brings characters that nobody sees. Neither is a
//! reason to refuse a person.
//! Invariants: what is mended passes the rule; mending twice is mending once; a name is in NFC and within its
//! limit, and is cut between what a reader sees as two characters.
//! Not here: whether a name is somebody else's (`likeness`).

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::class::Class;
use super::scan::{Scan, is_right_to_left};
use super::{begins_a_name, ends_a_name, is_name, is_text};
use crate::limits::NAME_BYTES_MAX;

/// A text without what is not visible; line ends of other systems become line feeds.
pub fn mend_text(text: &str) -> Cow<'_, str> {
    if is_text(text) {
        return Cow::Borrowed(text);
    }
    let mut text = text.replace("\r\n", "\n").replace(['\r', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    // What was taken because of its neighbour may have lost it.
    while !is_text(&text) {
        text = kept(&text, true);
    }
    Cow::Owned(text)
}

/// A display name without what is not visible: runs of white space are one space, none is at an end, letters
/// are composed (NFC), and it has at most [`NAME_BYTES_MAX`] bytes. `None` when nothing is left.
pub fn mend_name(name: &str) -> Option<Cow<'_, str>> {
    if is_mended(name) {
        return Some(Cow::Borrowed(name));
    }
    let mut name = name.to_owned();
    while !is_mended(&name) {
        let visible = kept(&spaced(&name), false);
        let trimmed = visible.trim_start_matches(|c| !begins_a_name(c)).trim_end_matches(|c| !ends_a_name(c));
        name = cut(&trimmed.nfc().collect::<String>()).to_owned();
        if name.is_empty() {
            return None;
        }
    }
    Some(Cow::Owned(name))
}

fn is_mended(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && is_name(name) && spaced(name) == name && name.nfc().eq(name.chars())
}

/// Every run of white space and line ends as one space; one white space alone stays what it is.
fn spaced(name: &str) -> String {
    let is_space = |c: char| c.is_whitespace() || Class::of(c) == Class::Space;
    let mut spaced = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        if !is_space(c) {
            spaced.push(c);
        } else if chars.next_if(|&c| is_space(c)).is_some() {
            while chars.next_if(|&c| is_space(c)).is_some() {}
            spaced.push(' ');
        } else {
            spaced.push(if Class::of(c) == Class::Space { c } else { ' ' });
        }
    }
    spaced
}

/// What a scan takes.
fn kept(s: &str, is_text: bool) -> String {
    let mut scan = Scan::new(is_text && s.chars().any(is_right_to_left));
    let mut kept = String::with_capacity(s.len());
    let mut chars = s.chars();
    while let Some(c) = chars.next() {
        if is_text && matches!(c, '\n' | '\t') {
            scan.take_break();
            kept.push(c);
        } else if scan.take(c, chars.as_str()) {
            kept.push(c);
        }
    }
    kept
}

/// The most of a name that its limit allows, cut before a grapheme.
fn cut(name: &str) -> &str {
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let ends = name.grapheme_indices(true).map(|(at, _)| at).take_while(|&at| at <= NAME_BYTES_MAX);
    &name[..ends.last().unwrap_or(0)]
}
