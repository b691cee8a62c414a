//! Cleaning: makes text from strangers safe for a terminal.
//!
//! Why: an escape sequence in a chat message could retitle the window, rewrite the screen or
//! answer in the user's name. Nodes refuse control characters, but a terminal must not depend on the node.
//! Invariants: the output has no control characters (C0, DEL, C1), no characters that change the writing
//! direction, and no towers of combining marks. [`clean`] leaves no line ends either, [`clean_lines`] leaves
//! line feeds and tabs. Harmless text is unchanged.
//! Not here: judging the content of a message (the room's filters).

use ratatui::text::Span;

/// Most combining marks in a row: Scotland's flag has seven after its base.
const MARKS_MAX: usize = 8;

/// Make a text safe for a terminal, on one line.
pub(super) fn clean(text: &str) -> String {
    clean_lines(text).replace(['\n', '\t'], " ")
}

/// Make a text safe for a terminal, and keep its line feeds and tabs.
pub(super) fn clean_lines(text: &str) -> String {
    // A carriage return is an end of line too: terminals paste it for one.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut cleaned = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars().filter_map(harmless) {
        marks = if is_mark(c) { marks + 1 } else { 0 };
        if marks <= MARKS_MAX {
            cleaned.push(c);
        }
    }
    cleaned
}

/// Number of columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

fn harmless(c: char) -> Option<char> {
    match c {
        '\n' | '\t' => Some(c),
        // Other ends of lines.
        '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        c if c.is_control() => None,
        // Unicode's bidirectional controls (UAX 9), and interlinear annotation.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        '\u{fff9}'..='\u{fffb}' => None,
        c => Some(c),
    }
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && width(c.encode_utf8(&mut [0; 4])) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(clean(&tower).chars().count(), 2 + MARKS_MAX);
    }

    #[test]
    fn nothing_that_moves_a_cursor_survives() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert!(!clean(&all).contains(char::is_control));
    }
}
