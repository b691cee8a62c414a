//! A head: the header lines of a request or a response, and the look-ups that a handshake needs.
//!
//! Not here: the first line, and which header values are a fault.

use httparse::Header;

/// Parsed header lines.
#[derive(Clone, Copy)]
pub(super) struct Head<'h, 'a> {
    pub(super) headers: &'h [Header<'a>],
}

impl<'h, 'a> Head<'h, 'a> {
    /// The values of all lines of this name, in order.
    pub(super) fn all(self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// Whether there is a line of this name.
    pub(super) fn has(self, name: &'static str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of the one line of this name; `fault` if it is repeated or not text.
    pub(super) fn at_most_one<E>(self, name: &'static str, fault: E) -> Result<Option<&'a str>, E> {
        let mut all = self.all(name);
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                std::str::from_utf8(value).map(|value| Some(value.trim())).map_err(|_| fault)
            }
            (Some(_), Some(_)) => Err(fault),
        }
    }

    /// The elements of a comma-separated list over all lines of this name; elements that are not text are
    /// left out.
    pub(super) fn list(self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'h, 'a> {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .filter_map(|element| std::str::from_utf8(element).ok())
            .map(str::trim)
            .filter(|element| !element.is_empty())
    }

    /// Whether a comma-separated list has this token, without regard to case (RFC 6455 §4.2.1).
    pub(super) fn list_has(self, name: &'static str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token))
    }
}

/// Whether this is a token of RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
