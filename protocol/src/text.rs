//! What may stand in names and texts that strangers send.
//!
//! Why: names and texts end with NUL in a batch, go to terminals and logs, and are compared; so control
//! characters stay out, but for the line feed and tab that people type.

/// May this stand in a chat text? UTF-8 is already known; control characters other than line feed and tab are
/// refused.
pub fn is_text(s: &str) -> bool {
    s.bytes().all(|b| (b >= 0x20 && b != 0x7f) || b == b'\n' || b == b'\t')
}

/// May this be a display name, a room name or a key? Not empty, no control characters, no space at either
/// end.
pub fn is_name(s: &str) -> bool {
    !s.is_empty()
        && s.bytes().all(|b| b >= 0x20 && b != 0x7f)
        && !s.starts_with(char::is_whitespace)
        && !s.ends_with(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_refused() {
        assert!(is_text("two\nlines\tand a tab 🎉"));
        assert!(!is_text("a\0b") && !is_text("\x1b[2J") && !is_text("\r") && !is_text("\x7f"));
        assert!(is_name("BBC One/EastEnders"));
        assert!(!is_name("") && !is_name(" a") && !is_name("a\n"));
        assert!(!is_name("a\u{3000}") && !is_name("\u{a0}a") && is_name("a\u{3000}b"));
    }
}
