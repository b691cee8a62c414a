//! Kinds of handshakes as a label.
//!
//! Not here: what they mean (`admission`), the numbers (the table).

use std::borrow::Cow;

use grandstand_edge_core::admission::queue::HandshakeKind;

use super::cell::Label;

impl Label for HandshakeKind {
    const NAME: &'static str = "kind";
    const COUNT: usize = HandshakeKind::ALL.len();

    fn index(self) -> usize {
        self as usize
    }

    fn word(index: usize) -> Cow<'static, str> {
        Cow::Borrowed(match HandshakeKind::ALL[index] {
            HandshakeKind::Upgrade => "upgrade",
            HandshakeKind::TlsResumed => "tls_resumed",
            HandshakeKind::TlsFull => "tls_full",
            HandshakeKind::QuicReturning => "quic_returning",
            HandshakeKind::QuicNew => "quic_new",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_and_word() {
        let words: std::collections::HashSet<_> =
            (0..HandshakeKind::COUNT).map(HandshakeKind::word).collect();
        assert_eq!(words.len(), HandshakeKind::COUNT);
        assert!(HandshakeKind::ALL.iter().enumerate().all(|(at, kind)| kind.index() == at));
    }
}
