//! The reader: bytes of a WebSocket connection in, messages and control frames out (RFC 6455 §5 to §8).
//!
//! Why incremental and bufferless: the caller reads every socket into one scratch buffer of its own. The
//! reader unmasks a whole message there and lends it out. It copies only an incomplete message, into memory
//! that lives as long as the message.
//! Invariants: between messages a reader holds no heap memory; memory grows only by bytes that arrived, never
//! by a header's announced length; after a Close event or a fault there are no more events.
//! Not here: the buffer of an unfinished message (`partial`); answers (Pong, Close), timeouts and frame rates
//! (the caller).
//!
//! ```
//! use grandstand_protocol::websocket::{Event, Input, Limits, Opcode, Reader, Role, write_masked};
//!
//! let limits = Limits { message_bytes_max: 4096, fragments_max: 64, control_frames_max: 16 };
//! let mut scratch = Vec::new(); // what a socket gave
//! write_masked(Opcode::Text, b"hello", [1, 2, 3, 4], &mut scratch);
//!
//! let mut reader = Reader::new(Role::Server);
//! let mut input = Input::new(&mut scratch);
//! while let Some(event) = reader.poll_event(&mut input, &limits)? {
//!     assert_eq!(event, Event::Message { binary: false, payload: b"hello" });
//! }
//! # Ok::<(), grandstand_protocol::websocket::Fault>(())
//! ```

use std::ops::Range;

use super::Fault;
use super::close::parse_close;
use super::header::{HEADER_LEN_MAX, Header, Opcode};
use super::mask::unmask;
use super::partial::Partial;

/// The side of the connection, which decides whether frames are masked (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads what a client sent: every frame must be masked.
    Server,
    /// Reads what a server sent: no frame may be masked.
    Client,
}

/// Limits on what a peer sends. The caller passes them with each call, so that no connection holds a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Payload bytes of one message, over all its fragments. A header that announces more is refused at once.
    pub message_bytes_max: usize,
    /// Frames of one message. A limit beside that of bytes, since empty fragments cost time and no bytes.
    pub fragments_max: u32,
    /// Control frames within one fragmented message; outside of one, control frames in a row within one
    /// [`Input`]. A quiet viewer that only answers pings stays far below it, for any length of connection.
    pub control_frames_max: u32,
}

/// An event: a message or control frame from the peer. It borrows until the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message {
        /// Whether it is binary; a text message is valid UTF-8.
        binary: bool,
        /// Its bytes, unmasked.
        payload: &'a [u8],
    },
    /// A Ping. The caller answers with a Pong of the same payload (at most 125 bytes).
    Ping(&'a [u8]),
    /// A Pong: an answer to a Ping, or unsolicited.
    Pong(&'a [u8]),
    /// A Close, the last event. The caller answers with a Close frame unless it has already sent one (RFC
    /// 6455 §5.5.1).
    Close {
        /// The status code, if there was one; always one that is valid in a Close frame.
        code: Option<u16>,
        /// The reason, often empty.
        reason: &'a str,
    },
}

/// Bytes from one read of the socket, consumed by [`Reader::poll_event`]. The reader unmasks them in place.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a mut [u8],
    at: usize,
    /// Control frames in a row, outside of a fragmented message.
    controls: u32,
}

impl<'a> Input<'a> {
    /// Bytes as they came from the socket.
    pub fn new(bytes: &'a mut [u8]) -> Input<'a> {
        Input { bytes, at: 0, controls: 0 }
    }

    /// The number of bytes that are not yet consumed.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn take(&mut self, len: usize) -> Range<usize> {
        let range = self.at..self.at + len;
        self.at = range.end;
        range
    }

    /// The next `len` bytes, for the buffer of an unfinished message.
    pub(super) fn take_mut(&mut self, len: usize) -> &mut [u8] {
        let range = self.take(len);
        &mut self.bytes[range]
    }
}

/// The state of one connection's incoming direction: 32 bytes, and a buffer while a message is incomplete.
#[derive(Debug)]
pub struct Reader {
    /// Present while a frame or a message is unfinished, and while an event from it is lent out.
    partial: Option<Box<Partial>>,
    /// The beginning of an incomplete header.
    head: [u8; HEADER_LEN_MAX],
    head_len: u8,
    role: Role,
    ended: bool,
}

/// The place of an event's payload.
pub(super) enum Place {
    Input(Range<usize>),
    PartialMessage,
    PartialControl,
}

/// An event before it borrows anything.
pub(super) struct Found {
    pub(super) opcode: Opcode,
    pub(super) place: Place,
}

impl Reader {
    /// A reader for a connection just after its handshake.
    #[must_use]
    pub fn new(role: Role) -> Reader {
        Reader { partial: None, head: [0; HEADER_LEN_MAX], head_len: 0, role, ended: false }
    }

    /// The next event in `input`, or `None` when all of it is consumed. Call until `None`; by then the reader
    /// has copied all bytes that it needs later. After a Close event or a fault it discards all input.
    ///
    /// # Errors
    /// A [`Fault`] of the peer, reported once.
    pub fn poll_event<'e>(
        &'e mut self,
        input: &'e mut Input<'_>,
        limits: &Limits,
    ) -> Result<Option<Event<'e>>, Fault> {
        match self.poll_found(input, limits) {
            Ok(Some(found)) => {
                self.ended = found.opcode == Opcode::Close;
                self.lend(found, input).map(Some)
            }
            Ok(None) => Ok(None),
            Err(fault) => {
                self.ended = true;
                self.partial = None;
                Err(fault)
            }
        }
    }

    /// Whether a Close event or a fault has ended this direction.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the peer has sent only a part of a header, a frame or a fragmented message. A caller may set a
    /// timeout for that.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.head_len > 0 || self.partial.as_ref().is_some_and(|partial| !partial.is_done())
    }

    /// Bytes on the heap that belong to this reader.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| size_of::<Partial>() + partial.message_capacity())
    }

    fn poll_found(&mut self, input: &mut Input<'_>, limits: &Limits) -> Result<Option<Found>, Fault> {
        self.partial.take_if(|partial| partial.is_done());
        if self.ended {
            self.partial = None;
            input.take(input.remaining());
            return Ok(None);
        }
        loop {
            if let Some(partial) = self.partial.as_mut().filter(|partial| partial.is_mid_frame()) {
                let found = partial.handle_payload(input, limits)?;
                if found.is_some() || partial.is_mid_frame() {
                    return Ok(found);
                }
            }
            let Some(header) = self.take_header(input)? else { return Ok(None) };
            self.admit(&header, input, limits)?;
            if self.is_whole(&header, input) {
                return take_whole(&header, input).map(Some);
            }
            self.partial.get_or_insert_default().begin_frame(&header);
        }
    }

    /// The next header; the reader keeps the bytes of an incomplete one.
    fn take_header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Fault> {
        if self.head_len == 0
            && let Some((header, len)) = Header::parse(input.rest())?
        {
            input.take(len);
            return Ok(Some(header));
        }
        while input.remaining() > 0 {
            self.head[usize::from(self.head_len)] = input.take_mut(1)[0];
            self.head_len += 1;
            if let Some((header, _)) = Header::parse(&self.head[..usize::from(self.head_len)])? {
                self.head_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Checks a header against the role, the unfinished message and the limits.
    fn admit(&mut self, header: &Header, input: &mut Input<'_>, limits: &Limits) -> Result<(), Fault> {
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(Fault::ProtocolError("frame from a client not masked")),
            (Role::Client, Some(_)) => return Err(Fault::ProtocolError("frame from a server masked")),
            _ => {}
        }
        let open = self.partial.as_mut().filter(|partial| partial.is_open());
        if header.opcode.is_control() {
            let controls = open.map_or(&mut input.controls, |partial| partial.controls_mut());
            *controls += 1;
            return if *controls > limits.control_frames_max {
                Err(Fault::TooManyControlFrames)
            } else {
                Ok(())
            };
        }
        input.controls = 0;
        let (bytes, fragments) = match (open, header.opcode) {
            (None, Opcode::Continuation) => {
                return Err(Fault::ProtocolError("continuation without a message"));
            }
            (None, _) => (0, 0),
            (Some(partial), Opcode::Continuation) => (partial.message_len(), partial.fragments()),
            (Some(_), _) => return Err(Fault::ProtocolError("new message before the last one ended")),
        };
        check_size(bytes as u64 + header.len, limits)?;
        if fragments >= limits.fragments_max { Err(Fault::TooManyFragments) } else { Ok(()) }
    }

    /// Whether the frame is an event by itself and has arrived whole.
    fn is_whole(&self, header: &Header, input: &Input<'_>) -> bool {
        header.fin && header.opcode != Opcode::Continuation && header.len <= input.remaining() as u64
    }

    fn lend<'e>(&'e self, found: Found, input: &'e Input<'_>) -> Result<Event<'e>, Fault> {
        let payload = match (found.place, &self.partial) {
            (Place::Input(range), _) => &input.bytes[range],
            (Place::PartialMessage, Some(partial)) => partial.message(),
            (Place::PartialControl, Some(partial)) => partial.control(),
            (_, None) => unreachable!("found in a buffer that is not there"),
        };
        Ok(match found.opcode {
            Opcode::Text => Event::Message { binary: false, payload },
            Opcode::Binary => Event::Message { binary: true, payload },
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            Opcode::Close => {
                let (code, reason) = parse_close(payload)?;
                Event::Close { code, reason }
            }
            Opcode::Continuation => unreachable!("a continuation is no event"),
        })
    }
}

/// Unmasks and checks a frame in place.
fn take_whole(header: &Header, input: &mut Input<'_>) -> Result<Found, Fault> {
    let range = input.take(header.len as usize);
    let payload = &mut input.bytes[range.clone()];
    if let Some(key) = header.mask {
        unmask(payload, key, 0);
    }
    if header.opcode == Opcode::Text && std::str::from_utf8(payload).is_err() {
        return Err(Fault::InvalidUtf8);
    }
    Ok(Found { opcode: header.opcode, place: Place::Input(range) })
}

fn check_size(bytes: u64, limits: &Limits) -> Result<(), Fault> {
    let bytes_max = limits.message_bytes_max as u64;
    if bytes > bytes_max { Err(Fault::MessageTooBig { bytes, bytes_max }) } else { Ok(()) }
}
