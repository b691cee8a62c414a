//! Escaping: clients' texts in a form that is safe in a log line.
//!
//! Why: a text with a line break, a quote or a control character could forge a line, or change how a terminal
//! shows the next ones. Invariant: what comes out is one line, without control characters and without
//! characters that move, hide or end text. Not here: the form of lines (`logging`).

use std::fmt;

use grandstand_protocol::text;

/// Characters of a client's text in a log line: enough to recognise a message, and too few to flood the log.
pub const ESCAPED_CHARS_MAX: usize = 200;

/// A client's text in a safe form for a log line, at most [`ESCAPED_CHARS_MAX`] characters long. Control
/// characters, quotes, backslashes, line separators and characters that change the writing direction are
/// escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(ESCAPED_CHARS_MAX) {
            match c {
                '"' | '\'' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if is_deceptive(c) => write!(f, "{}", c.escape_unicode())?,
                c => write!(f, "{c}")?,
            }
        }
        match chars.count() {
            0 => Ok(()),
            more => write!(f, "… ({more} more)"),
        }
    }
}

/// Characters that have no place of their own in visible text, controls included: they move, hide or end it.
fn is_deceptive(c: char) -> bool {
    !text::is_text(c.encode_utf8(&mut [0; 4]))
}
