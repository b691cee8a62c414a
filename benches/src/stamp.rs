//! The stamp of a text: the time at which a message was due, and its number.
//!
//! Why in the text: viewers measure latency in another process than the publisher's, whatever the server
//! between them keeps of a message.
//! Not here: texts of real logs, which have no stamp (`Viewers::due`).

/// Digits of a time in a text.
const DIGITS: usize = 20;

/// A text of `size` bytes that says when it was due; at least `DIGITS` and a blank.
pub fn stamp(due_ns: u64, number: u64, size: usize, out: &mut String) {
    use std::fmt::Write as _;
    out.clear();
    // Writing to a string cannot fail. The number makes texts differ, as people's do, so that folding finds
    // no equal ones.
    let _ = write!(out, "{due_ns:020} {number:010} ");
    let filler = b"the quick brown fox jumps over the lazy dog and on it goes ";
    out.extend((out.len()..size).map(|n| char::from(filler[n % filler.len()])));
    out.truncate(size.max(DIGITS + 1));
}

/// When a text says that it was due.
#[must_use]
pub fn due_of(text: &str) -> Option<u64> {
    let (digits, rest) = text.as_bytes().split_at_checked(DIGITS)?;
    if rest.first() != Some(&b' ') {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_its_size_and_is_read_back() {
        let mut text = String::new();
        for size in [21, 40, 128] {
            stamp(1_234_567_890_123, 7, size, &mut text);
            assert_eq!((text.len(), due_of(&text)), (size, Some(1_234_567_890_123)));
        }
        let due = [due_of("hello"), due_of(&"9".repeat(21)), due_of(&format!("{} ", "9".repeat(20)))];
        assert_eq!(due, [None; 3]);
    }
}
