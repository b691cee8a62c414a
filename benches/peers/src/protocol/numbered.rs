//! Numbered messages: the texts that a publisher says to Grandstand, read again by their numbers.
//!
//! Why by number: these servers give their messages no offsets, so that the texts have to say what is
//! missing.

use anyhow::{Context, Result};
use grandstand_benches::publisher::{due_of, stamp};

/// Where a stamp's number stands.
const NUMBER: std::ops::Range<usize> = 21..31;

/// A message of `bytes` bytes, or of a stamp's length if that is more.
pub(crate) fn write(number: u64, due_ns: u64, bytes: usize, out: &mut String) {
    stamp(due_ns, number, bytes.max(NUMBER.end + 1), out);
}

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

    #[test]
    fn a_message_has_its_length_and_says_its_number_and_time() {
        let mut text = String::new();
        for bytes in [1, 32, 128] {
            write(258, 1 << 50, bytes, &mut text);
            assert_eq!((text.len(), read(text.as_bytes()).unwrap()), (bytes.max(32), (258, 1 << 50)));
        }
        assert!(read(b"hello").is_err() && read(&[b'x'; 128]).is_err() && read(&[0xff; 128]).is_err());
    }

    #[test]
    fn a_message_needs_no_escapes() {
        let mut text = String::new();
        write(u64::from(u32::MAX), u64::MAX, 400, &mut text);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' '), "{text}");
    }
}
