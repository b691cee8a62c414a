//! The limits of the node that a session talks to: the protocol's, until `Welcome` names lower ones.
//!
//! Why checked here: a node closes the connection of a client that sends a frame over its limit, and tells it
//! not to return. So no such frame may leave a session, whatever an application asks for.
//! Not here: the protocol's own numbers and rules (`grandstand_protocol::limits`, `rules`).

use grandstand_protocol::frame::{ClientFrame, Encoder, Publish, SetState, Welcome};
use grandstand_protocol::limits;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;

use super::Publication;

/// More than a `Publish` or `SetState` frame has beside its texts and values.
const FRAME_REST_BYTES_MAX: usize = 192;

/// See the file's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeLimits {
    text_bytes_max: u32,
    frame_bytes_max: u32,
    rooms_max: u32,
}

impl Default for NodeLimits {
    fn default() -> NodeLimits {
        let (text_bytes_max, frame_bytes_max) = (limits::TEXT_BYTES_MAX, limits::CLIENT_FRAME_BYTES_MAX);
        NodeLimits {
            text_bytes_max: text_bytes_max as u32,
            frame_bytes_max: frame_bytes_max as u32,
            rooms_max: u32::MAX,
        }
    }
}

impl NodeLimits {
    /// Those of a `Welcome`; a field that is missing there leaves the protocol's limit.
    pub(super) fn of(w: &Welcome<'_>) -> NodeLimits {
        let most = NodeLimits::default();
        let told = |told: u32, most: u32| if told == 0 { most } else { told.min(most) };
        NodeLimits {
            text_bytes_max: told(w.text_bytes_max, most.text_bytes_max),
            frame_bytes_max: told(w.frame_bytes_max, most.frame_bytes_max),
            rooms_max: told(w.rooms_max, most.rooms_max),
        }
    }

    /// # Errors
    /// The refusal that a node would send, or `TooLarge` where it would close the connection.
    pub(super) fn check_publication(&self, p: &Publication<'_>) -> Result<(), Refusal> {
        p.check(self.text_bytes_max as usize)?;
        self.check_frame(p.text.len() + p.attachment.len() + p.author.len(), || publish_frame(p))
    }

    /// # Errors
    /// As [`NodeLimits::check_publication`].
    pub(super) fn check_state(&self, key: &str, value: Option<&[u8]>) -> Result<(), Refusal> {
        rules::check_state(key, value, limits::STATE_VALUE_BYTES_MAX)?;
        self.check_frame(key.len() + value.map_or(0, <[u8]>::len), || state_frame(key, value))
    }

    /// # Errors
    /// `TooManyRooms` when so many rooms are followed already.
    pub(super) fn check_rooms(&self, followed: usize) -> Result<(), Refusal> {
        if followed < self.rooms_max as usize { Ok(()) } else { Err(Refusal::TooManyRooms) }
    }

    /// The frame is encoded and measured only if it may be too large.
    fn check_frame<'a>(&self, bytes: usize, frame: impl FnOnce() -> ClientFrame<'a>) -> Result<(), Refusal> {
        let frame_bytes_max = self.frame_bytes_max as usize;
        if bytes + FRAME_REST_BYTES_MAX <= frame_bytes_max {
            return Ok(());
        }
        let mut out = Vec::new();
        Encoder::new().client(&frame(), &mut out);
        if out.len() <= frame_bytes_max { Ok(()) } else { Err(Refusal::TooLarge) }
    }
}

/// The largest frame of a publication: no number is left out.
fn publish_frame<'a>(p: &Publication<'a>) -> ClientFrame<'a> {
    let Publication { text, attachment, author, .. } = *p;
    ClientFrame::Publish(Publish {
        alias: u32::MAX,
        nonce: u64::MAX,
        text,
        reply_to: Some(u64::MAX),
        attachment,
        author,
        role: grandstand_protocol::frame::Role::Bot,
        age_ms: u32::MAX,
    })
}

fn state_frame<'a>(key: &'a str, value: Option<&'a [u8]>) -> ClientFrame<'a> {
    ClientFrame::SetState(SetState { request: u32::MAX, alias: u32::MAX, key, value })
}
