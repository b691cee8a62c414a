//! Cleaning: makes text from strangers safe for a terminal.
//!
//! Why: an escape sequence in a chat message could retitle the window, rewrite the screen or
//! answer in the user's name. Nodes take visible text only, but a terminal must not depend on the node.
//! Which characters are visible is the protocol's one rule (`protocol::text`), so a text that a node takes is
//! shown as it is. Beyond it a terminal needs two things. A line of the screen has no line ends and tabs. No
//! marks of direction stay: many terminals show them as a blank or a box, or let them turn what follows on
//! the same row.
//! Invariants: the output is visible text without marks of direction. [`clean`] leaves no line ends either,
//! [`clean_lines`] leaves line feeds and tabs. What is typed comes in pieces, so [`clean_typed`] judges each
//! character by itself, and the line is cleaned when it is complete.
//! Not here: judging the content of a message (the room's filters).

use grandstand_protocol::text::{may_stand, mend_text};
use ratatui::text::Span;

/// Marks of direction, which texts written from right to left may have.
const DIRECTION_MARKS: [char; 3] = ['\u{200e}', '\u{200f}', '\u{61c}'];

/// Make a text safe for a terminal, on one line.
pub(super) fn clean(text: &str) -> String {
    clean_lines(text).replace(['\n', '\t'], " ")
}

/// Make a text safe for a terminal, and keep its line feeds and tabs.
pub(super) fn clean_lines(text: &str) -> String {
    // What a mark stood between may be another text without it.
    mend_text(&text.replace(DIRECTION_MARKS, "")).into_owned()
}

/// What of a text may be typed or pasted: also what is visible only with what is typed next, as a joiner is.
pub(super) fn clean_typed(text: &str) -> String {
    // A carriage return is an end of line too: terminals paste it for one.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|&c| may_stand(c) && !DIRECTION_MARKS.contains(&c)).collect()
}

/// Number of columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::text::is_text;

    #[test]
    fn escapes_and_direction_go_text_stays() {
        assert_eq!(clean("\u{1b}[2J\u{1b}]0;title\u{7}hi\u{9b}31m"), "[2J]0;titlehi31m");
        assert_eq!(clean("a\r\nb\tc\u{2028}d"), "a b c d");
        assert_eq!(clean("\u{202e}evil\u{2069}"), "evil");
        for kept in [
            "grüße 日本語 안녕",
            "👩‍👩‍👧‍👦 family",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "e\u{301}",
        ] {
            assert_eq!(clean(kept), kept);
        }
    }

    #[test]
    fn lines_stay_lines_where_they_may() {
        assert_eq!(clean_lines("  a\r\n\tb\rc\u{2028}d\u{1b}[A"), "  a\n\tb\nc\nd[A");
    }

    #[test]
    fn towers_of_marks_are_cut() {
        let tower = format!("a{}b", "\u{301}".repeat(500));
        assert!(clean(&tower).chars().count() <= 2 + 8);
    }

    #[test]
    fn what_is_shown_is_what_a_node_takes() {
        // Characters alone, before a letter, after an emoji and between letters from right to left.
        let planes = ('\0'..='\u{30ff}').chain('\u{f000}'..='\u{fffd}').chain('\u{1f000}'..='\u{1faff}');
        for c in planes.chain('\u{e0000}'..='\u{e01ff}').filter(|c| *c != '\n' && *c != '\t') {
            for around in [["", ""], ["", "a"], ["👩", "👩"], ["\u{5d0}", "\u{5d0}"]] {
                let text = format!("{}{c}{}", around[0], around[1]);
                let shown = clean(&text);
                assert!(is_text(&shown) && !shown.contains(DIRECTION_MARKS), "{text:?}: {shown:?}");
                if is_text(&text) && !DIRECTION_MARKS.contains(&c) {
                    assert_eq!(shown, text);
                }
            }
        }
    }

    #[test]
    fn what_is_typed_in_pieces_is_what_is_typed_at_once() {
        for text in [
            "e\u{301}",
            "👩\u{200d}👩",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "क्षि",
            "a\r\nb",
        ] {
            let typed: String = text.chars().map(|c| clean_typed(c.encode_utf8(&mut [0; 4]))).collect();
            assert_eq!(clean_lines(&typed).replace("\n\n", "\n"), clean_lines(text));
        }
        assert_eq!(clean_typed("\u{1b}[A\u{202e}\u{200b}\u{200f}"), "[A");
    }

    #[test]
    fn nothing_that_moves_a_cursor_survives() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert!(!clean(&all).contains(char::is_control));
    }
}
