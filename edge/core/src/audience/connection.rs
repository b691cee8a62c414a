//! One connection as the audience sees it: where its bytes go, what still has to go out, and its session.
//!
//! Why small: an idle viewer is one of these, a session and a member; all three together stay under 300
//! bytes.
//! Invariant: `out` is present only while bytes wait; batches come after it.

use grandstand_engine::link::ConnectionToken;

use super::frame_sink::LinkKey;
use super::outgoing::Outgoing;
use super::session::Session;
use crate::people::AddressBlock;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: LinkKey,
    generation: u32,
    /// Where it comes from: who an anonymous session on it is to the limits.
    pub(super) block: AddressBlock,
    /// Last frame from the peer, or the opening: seconds of the monotonic clock.
    pub(super) heard_s: u32,
    /// The transport did not take everything; wait for `handle_writable`.
    pub(super) blocked: bool,
    /// In the list of connections to flush.
    pub(super) queued: bool,
    /// Its end has been decided; nothing more is read.
    pub(super) closing: bool,
    /// Its peer opens compressed batches: agreed in `Welcome`.
    pub(super) takes_compressed: bool,
    pub(super) out: Option<Box<Outgoing>>,
    pub(super) session: Option<Box<Session>>,
}

impl Connection {
    pub(super) fn new(wire: LinkKey, generation: u32, block: AddressBlock, now_s: u32) -> Self {
        Connection {
            wire,
            generation,
            block,
            heard_s: now_s,
            blocked: false,
            queued: false,
            closing: false,
            takes_compressed: false,
            out: None,
            session: None,
        }
    }

    /// Names this connection, and no later one in its place.
    pub(super) fn token(&self, ix: u32) -> ConnectionToken {
        ConnectionToken(u64::from(self.generation) << 32 | u64::from(ix))
    }

    /// Bytes of control frames that wait.
    pub(super) fn control_bytes(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.control.len())
    }

    /// Is it too slow for what it can do without? Its queue, of at most so many bytes, is half full.
    pub(super) fn is_backed_up(&self, control_queue_bytes_max: usize) -> bool {
        self.blocked || self.control_bytes() > control_queue_bytes_max / 2
    }

    pub(super) fn is(&self, token: ConnectionToken) -> bool {
        (token.0 >> 32) as u32 == self.generation
    }
}

/// The slot that a token names.
pub(super) fn slot(token: ConnectionToken) -> u32 {
    token.0 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 40, "{}", size_of::<Connection>());
    }
}
