//! Framing: the encoding of a client's message for its connection.
//!
//! Not here: received bytes (`conversation`).

use grandstand_protocol::stream;
use grandstand_protocol::websocket::{Opcode, write_masked};

/// The mask of every frame; it must be unpredictable where scripts of strangers choose what is sent, which is
/// not here.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x0f];

/// The framing of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// WebSocket, a client's: frames are masked.
    #[default]
    WebSocket,
    /// A stream of frames (docs/PROTOCOL.md, Q-3).
    Stream,
    /// Bare bytes in both directions.
    Bytes,
}

impl Framing {
    pub(super) fn write(self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Framing::WebSocket => write_masked(opcode, payload, MASK, out),
            Framing::Stream => {
                stream::write_header(payload.len(), out);
                out.extend_from_slice(payload);
            }
            Framing::Bytes => out.extend_from_slice(payload),
        }
    }
}
