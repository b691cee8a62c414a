//! Kinds of handshakes as a label.
//!
//! Not here: what they mean (`admission`), the numbers (the table).

use std::borrow::Cow;

use grandstand_edge_core::admission::Kind;

use super::cell::Label;

impl Label for Kind {
    const NAME: &'static str = "kind";
    const COUNT: usize = Kind::ALL.len();

    fn index(self) -> usize {
        self as usize
    }

    fn word(index: usize) -> Cow<'static, str> {
        Cow::Borrowed(match Kind::ALL[index] {
            Kind::Upgrade => "upgrade",
            Kind::TlsResumed => "tls_resumed",
            Kind::TlsFull => "tls_full",
            Kind::QuicReturning => "quic_returning",
            Kind::QuicNew => "quic_new",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_and_word() {
        let words: std::collections::HashSet<_> = (0..Kind::COUNT).map(Kind::word).collect();
        assert_eq!(words.len(), Kind::COUNT);
        assert!(Kind::ALL.iter().enumerate().all(|(at, kind)| kind.index() == at));
    }
}
