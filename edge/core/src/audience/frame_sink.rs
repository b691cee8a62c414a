//! A frame sink: what the audience writes frames to. Sockets in a node, a model in a simulation.
//!
//! Why a trait: the audience decides what is sent, and must not know by what.

use bytes::Bytes;

/// A connection, as its driver names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkKey(pub u32);

/// Takes bytes for connections without ever blocking.
pub trait FrameSink {
    /// Offer whole or begun frames, in order. Returns how many bytes were taken, from the front. When that is
    /// less than was offered, the driver calls [`super::Audience::handle_writable`] once there is room again.
    ///
    /// A frame that was taken in part is finished before any other byte goes to this connection: the
    /// audience sees to it.
    fn send(&mut self, link: LinkKey, frames: &[&Bytes]) -> usize;
}
