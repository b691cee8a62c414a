//! Numbered messages: a parser of the numbers in the texts of the library's publisher.
//!
//! Why by number: these servers give messages no offsets, so only the texts can show which message is
//! missing.

use anyhow::{Context, Result};
use grandstand_benches::stamp::due_of;

/// Where a stamp's number stands.
const NUMBER: std::ops::Range<usize> = 21..31;

/// Number and due time.
///
/// # Errors
/// It is no numbered message.
pub(crate) fn read(text: &[u8]) -> Result<(u64, u64)> {
    let text = std::str::from_utf8(text).context("a message is not text")?;
    let number = text.get(NUMBER).and_then(|digits| digits.parse().ok());
    number.zip(due_of(text)).with_context(|| format!("no numbered message: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_benches::stamp::stamp;

    #[test]
    fn a_message_says_its_number_and_time_and_needs_no_escapes() {
        let mut text = String::new();
        stamp(1 << 50, 258, 128, &mut text);
        assert_eq!(read(text.as_bytes()).unwrap(), (258, 1 << 50));
        stamp(u64::MAX, u64::from(u32::MAX), 400, &mut text);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' '), "{text}");
        assert!(read(b"hello").is_err() && read(&[b'x'; 128]).is_err() && read(&[0xff; 128]).is_err());
    }
}
