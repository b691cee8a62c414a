//! Versions and capabilities, and the negotiation of both between two peers.
//!
//! Invariant: a released version never changes its meaning; an addition needs a capability bit, or is a new
//! field at a table's end (docs/PROTOCOL.md, clauses V).

/// The protocol version that this code speaks.
pub const VERSION: u16 = 1;

/// ALPN of the QUIC mapping.
pub const ALPN: &[u8] = b"grandstand/1";

/// The WebSocket subprotocol. A client that offers subprotocols must offer this one.
pub const SUBPROTOCOL: &str = "grandstand.v1";

/// Capability bits. A client offers bits in `Hello`; the server answers in `Welcome` with those that take
/// effect.
///
/// A bit names an algorithm and a dictionary together: another dictionary gets a bit of its own, so that old
/// clients keep what they have, and a server chooses the best one that both sides know.
pub mod capability {
    /// The server may compress batches (kind bit 7) by raw deflate with [`crate::compress::DICTIONARY_1`].
    pub const DEFLATE_1: u64 = 1;
    /// The server takes a new token while the session runs (`Renew`).
    pub const RENEW: u64 = 2;
    /// All bits that this code supports.
    pub const SUPPORTED: u64 = DEFLATE_1 | RENEW;
}

/// The highest version that both sides speak, if any.
///
/// ```
/// # use grandstand_protocol::version::negotiate;
/// assert_eq!(negotiate(1, 7), Some(1));
/// assert_eq!(negotiate(2, 7), None);
/// ```
pub fn negotiate(min: u16, max: u16) -> Option<u16> {
    (min <= VERSION && VERSION <= max).then_some(VERSION)
}
