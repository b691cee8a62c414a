//! Text from strangers' pages: one line, visible characters, a bounded length.
//!
//! Why: a title is shown beside messages, where a mark of direction or a thousand accents would change what
//! stands around it.
//! Invariant: what comes out has no control characters, no marks of direction and no zero-width characters.

/// Combining marks in a row that are kept; no script needs more.
const MARKS_MAX: usize = 4;

/// The text in one line of at most `max` characters, or nothing.
pub(super) fn line(text: &str, max: usize) -> Option<String> {
    let mut line = String::new();
    let (mut count, mut marks) = (0, 0);
    for c in text.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        if is_hidden(c) || (c == ' ' && (line.is_empty() || line.ends_with(' '))) {
            continue;
        }
        marks = if is_mark(c) { marks + 1 } else { 0 };
        if marks > MARKS_MAX {
            continue;
        }
        if count == max {
            line.truncate(line.trim_end().len());
            line.push('\u{2026}');
            return Some(line);
        }
        line.push(c);
        count += 1;
    }
    line.truncate(line.trim_end().len());
    (!line.is_empty()).then_some(line)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{10ffff}')
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}
