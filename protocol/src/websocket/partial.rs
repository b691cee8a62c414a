//! A partial: the buffer of a connection whose peer has sent only a part of a frame or of a fragmented
//! message.
//!
//! Why apart from the reader: most connections have none most of the time, so a reader holds only a pointer
//! to it.
//! Invariants: the message never has more capacity than `message_bytes_max` (or [`CAPACITY_MIN`], if that is
//! more) and at most doubles when it grows; text in it is the beginning of valid UTF-8.
//! Not here: which headers are allowed: the reader decides before it calls `begin_frame`.

use super::Fault;
use super::header::{CONTROL_PAYLOAD_LEN_MAX, Header, Opcode};
use super::mask::unmask;
use super::reader::{Found, Input, Limits, Place};
use super::utf8;

/// The smallest buffer that is worth an allocation; most messages of viewers fit.
const CAPACITY_MIN: usize = 64;

/// An unfinished message, an unfinished frame, or both.
#[derive(Debug)]
pub(super) struct Partial {
    /// Payload of the message so far, unmasked.
    message: Vec<u8>,
    checked: utf8::Checked,
    /// Text or Binary from the first to the last fragment of a message.
    open: Option<Opcode>,
    fragments: u32,
    controls: u32,
    /// The frame whose payload has not arrived whole.
    frame: Option<Frame>,
    control: [u8; CONTROL_PAYLOAD_LEN_MAX],
    control_len: u8,
}

#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    mask: Option<[u8; 4]>,
    /// Payload bytes that have arrived.
    len: usize,
    /// Payload bytes that have not arrived.
    left: usize,
}

impl Default for Partial {
    fn default() -> Partial {
        Partial {
            message: Vec::new(),
            checked: utf8::Checked::default(),
            open: None,
            fragments: 0,
            controls: 0,
            frame: None,
            control: [0; CONTROL_PAYLOAD_LEN_MAX],
            control_len: 0,
        }
    }
}

impl Partial {
    /// Whether no frame and no message is unfinished. Only the payload that was lent out last is then kept.
    pub(super) fn is_done(&self) -> bool {
        self.frame.is_none() && self.open.is_none()
    }

    /// Whether a frame's payload has not arrived whole.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn fragments(&self) -> u32 {
        self.fragments
    }

    pub(super) fn controls_mut(&mut self) -> &mut u32 {
        &mut self.controls
    }

    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    pub(super) fn message_len(&self) -> usize {
        self.message.len()
    }

    pub(super) fn message_capacity(&self) -> usize {
        self.message.capacity()
    }

    pub(super) fn control(&self) -> &[u8] {
        &self.control[..usize::from(self.control_len)]
    }

    /// Begins a frame whose header the reader has allowed.
    pub(super) fn begin_frame(&mut self, header: &Header) {
        assert!(self.frame.is_none(), "a frame within a frame");
        if header.opcode.is_control() {
            self.control_len = 0;
        } else {
            self.open.get_or_insert(header.opcode);
            self.fragments += 1;
        }
        // The reader has checked that it is not above `message_bytes_max`, which is a usize.
        let left = header.len as usize;
        self.frame = Some(Frame { opcode: header.opcode, fin: header.fin, mask: header.mask, len: 0, left });
    }

    /// Takes the bytes of the frame's payload that `input` has. Returns an event if they end a control frame
    /// or a message.
    pub(super) fn handle_payload(
        &mut self,
        input: &mut Input<'_>,
        limits: &Limits,
    ) -> Result<Option<Found>, Fault> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let piece = input.take_mut(frame.left.min(input.remaining()));
        if let Some(key) = frame.mask {
            unmask(piece, key, frame.len);
        }
        frame.len += piece.len();
        frame.left -= piece.len();
        let (opcode, fin, left) = (frame.opcode, frame.fin, frame.left);
        if left == 0 {
            self.frame = None;
        }
        if opcode.is_control() {
            self.append_control(piece);
            return Ok((left == 0).then_some(Found { opcode, place: Place::PartialControl }));
        }
        self.reserve(piece.len(), if fin { left } else { usize::MAX }, limits);
        self.message.extend_from_slice(piece);
        self.end_piece(left == 0 && fin)
    }

    fn append_control(&mut self, piece: &[u8]) {
        let start = usize::from(self.control_len);
        self.control[start..start + piece.len()].copy_from_slice(piece);
        self.control_len += piece.len() as u8;
    }

    /// Checks the text, and ends the message if this was its last byte.
    fn end_piece(&mut self, last: bool) -> Result<Option<Found>, Fault> {
        if self.open == Some(Opcode::Text) {
            self.checked.advance(&self.message)?;
            if last {
                self.checked.finish(&self.message)?;
            }
        }
        let ended = if last { self.open.take() } else { None };
        Ok(ended.map(|opcode| Found { opcode, place: Place::PartialMessage }))
    }

    /// Makes room for `len` bytes: doubles the buffer, but neither above the limit nor above the bytes that
    /// can still arrive.
    fn reserve(&mut self, len: usize, left_max: usize, limits: &Limits) {
        let needed = self.message.len() + len;
        if needed <= self.message.capacity() {
            return;
        }
        let total_max = needed.saturating_add(left_max).min(limits.message_bytes_max);
        let doubled = (self.message.capacity() * 2).max(CAPACITY_MIN).min(total_max);
        self.message.reserve_exact(needed.max(doubled) - self.message.len());
    }
}
