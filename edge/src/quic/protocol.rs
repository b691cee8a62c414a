//! The protocols of the QUIC endpoint, distinguished by ALPN (RFC 7301).
//!
//! Why a table: TLS offers exactly the entries of the table, so a client with any other ALPN is refused in
//! its handshake.
//! Invariant: every established connection has one of these protocols.
//! Not here: the state of a stream (`streams`), what frames mean (`audience`).

use grandstand_protocol::version;
use quinn_proto::{Dir, Side, StreamId};

/// A protocol over QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `grandstand/1`: one bidirectional stream of frames, opened by the client.
    Grandstand,
}

/// The purpose of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The session's frames, both ways.
    Session,
}

impl Protocol {
    /// In the order in which the node prefers them.
    pub(super) const ALL: [Protocol; 1] = [Protocol::Grandstand];

    pub(super) fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Grandstand => version::ALPN,
        }
    }

    pub(super) fn of_alpn(alpn: &[u8]) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|protocol| protocol.alpn() == alpn)
    }

    /// Streams of this direction that a client may have open. QUIC closes the connection of a client that
    /// opens more (`STREAM_LIMIT_ERROR`: RFC 9000, 4.6).
    pub(super) fn streams_max(self, dir: Dir) -> u32 {
        match (self, dir) {
            (Protocol::Grandstand, Dir::Bi) => 1,
            (Protocol::Grandstand, Dir::Uni) => 0,
        }
    }

    /// The purpose of a stream that the client opened; `None` for a stream that the protocol does not have.
    pub(super) fn role_of(self, id: StreamId) -> Option<Role> {
        match self {
            Protocol::Grandstand => (id == StreamId::new(Side::Client, Dir::Bi, 0)).then_some(Role::Session),
        }
    }
}

/// The ALPN names that TLS offers.
pub(super) fn alpn_protocols() -> Vec<Vec<u8>> {
    Protocol::ALL.iter().map(|protocol| protocol.alpn().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_known_by_its_alpn_alone() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::of_alpn(protocol.alpn()), Some(protocol));
        }
        for unknown in [&b"h3"[..], b"grandstand/2", b"grandstand/", b""] {
            assert_eq!(Protocol::of_alpn(unknown), None);
        }
    }

    #[test]
    fn the_first_bidirectional_stream_of_a_client_carries_the_session() {
        let role = |side, dir, index| Protocol::Grandstand.role_of(StreamId::new(side, dir, index));
        assert_eq!(role(Side::Client, Dir::Bi, 0), Some(Role::Session));
        assert_eq!(role(Side::Client, Dir::Bi, 1), None);
        assert_eq!(role(Side::Client, Dir::Uni, 0), None);
    }
}
