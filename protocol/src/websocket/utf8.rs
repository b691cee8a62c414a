//! An incremental UTF-8 check (RFC 6455 §8.1): it finds a wrong byte as soon as the byte arrives, even in an
//! unfinished frame.
//!
//! How: the message so far is in one buffer, so the check keeps only an offset, up to which the buffer has
//! whole characters. After the offset are at most three bytes of one unfinished character.
//! Not here: whole messages in one piece, for which `std::str::from_utf8` is enough (`reader`).

use super::Fault;

/// The length up to which a growing text is known to be valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// `text[..len]` is valid; `text[len..]` is the beginning of one character, at most 3 bytes.
    len: usize,
}

impl Checked {
    /// Checks the bytes that were appended to `text` since the last call.
    ///
    /// # Errors
    /// [`Fault::InvalidUtf8`] if no continuation could make `text` valid.
    pub fn advance(&mut self, text: &[u8]) -> Result<(), Fault> {
        match std::str::from_utf8(&text[self.len..]) {
            Ok(fresh) => self.len += fresh.len(),
            Err(error) if error.error_len().is_none() => self.len += error.valid_up_to(),
            Err(_) => return Err(Fault::InvalidUtf8),
        }
        Ok(())
    }

    /// Checks that `text` ends here, and not in the middle of a character.
    ///
    /// # Errors
    /// [`Fault::InvalidUtf8`] if it does.
    pub fn finish(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.advance(text)?;
        if self.len == text.len() { Ok(()) } else { Err(Fault::InvalidUtf8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Index of the first byte at which `text`, fed byte by byte, is refused.
    fn refused_at(text: &[u8]) -> Option<usize> {
        let mut checked = Checked::default();
        (0..text.len()).find(|&i| checked.advance(&text[..=i]).is_err())
    }

    #[test]
    fn refused_at_the_first_impossible_byte() {
        // RFC 3629 §3, §4: each wrong byte, at the earliest place where no continuation can help.
        assert_eq!(refused_at("κόσμε".as_bytes()), None);
        assert_eq!(refused_at(b"a\x80"), Some(1), "continuation without a start");
        assert_eq!(refused_at(b"\xc0"), Some(0), "overlong start");
        assert_eq!(refused_at(b"\xe0\x9f"), Some(1), "overlong in three");
        assert_eq!(refused_at(b"\xf0\x8f"), Some(1), "overlong in four");
        assert_eq!(refused_at(b"\xed\xa0"), Some(1), "surrogate");
        assert_eq!(refused_at(b"\xf4\x90"), Some(1), "above U+10FFFF");
        assert_eq!(refused_at(b"\xf5"), Some(0), "start above U+10FFFF");
        assert_eq!(refused_at(b"\xe2\x82a"), Some(2), "character cut short");
    }

    #[test]
    fn an_unfinished_character_is_fine_until_the_end() {
        let mut checked = Checked::default();
        assert_eq!(checked.advance(b"x\xf0\x9f\x8e"), Ok(()));
        assert_eq!(checked.len, 1);
        assert_eq!(checked.finish(b"x\xf0\x9f\x8e"), Err(Fault::InvalidUtf8));
        assert_eq!(checked.finish("x🎉".as_bytes()), Ok(()));
    }

    /// Bytes that are often UTF-8 and often nearly so.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
            1 => any::<char>().prop_map(|c| { let mut bytes = c.to_string().into_bytes(); bytes.pop(); bytes }),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn agrees_with_std_however_it_is_split(text in nearly_text(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            ends.sort_unstable();
            let mut checked = Checked::default();
            let stepwise = ends.iter().try_for_each(|&end| checked.advance(&text[..end])).and_then(|()| checked.finish(&text));
            prop_assert_eq!(stepwise.is_ok(), std::str::from_utf8(&text).is_ok());
        }

        #[test]
        fn refused_no_later_than_possible(text in nearly_text()) {
            // No continuation can make the prefix with the refused byte valid; some can for the prefix before
            // it.
            let expected = (0..text.len()).find(|&i| {
                std::str::from_utf8(&text[..=i]).is_err_and(|error| error.error_len().is_some())
            });
            prop_assert_eq!(refused_at(&text), expected);
        }
    }
}
