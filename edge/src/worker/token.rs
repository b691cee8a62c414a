//! Epoll tokens of the descriptors that are not links.
//!
//! Invariant: a link's token never has all of its upper bits set, so no link has one of these tokens.
//! Not here: the tokens of links (`transport::links`).

/// The worker's doorbell.
pub(super) const BELL: u64 = u64::MAX;
/// The listener for WebSocket.
pub(super) const WS: u64 = u64::MAX - 1;
/// The listener for WebSocket over TLS.
pub(super) const WSS: u64 = u64::MAX - 2;
/// The UDP socket.
pub(super) const UDP: u64 = u64::MAX - 3;
/// Datagrams that the next process forwards.
pub(super) const FORWARDED: u64 = u64::MAX - 4;
