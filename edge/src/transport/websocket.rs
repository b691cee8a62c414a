//! WebSocket on a link: accepts upgrade requests, sets the limits of a conversation, and reads a session's
//! frames from it.
//!
//! Why without a socket: the worker calls it with bytes that it read. The server of the conformance suite
//! (`examples/autobahn_echo.rs`) calls it with its own, so the suite tests the same rules and limits.
//! Invariants: a session takes binary messages only. Every other fault of a peer ends with a close code.
//! Not here: the codec (`grandstand_protocol::websocket`), what frames mean (`audience`).

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::version;
use grandstand_protocol::websocket::handshake::{
    HandshakeFault, Request, parse_request, requested_path, write_response,
};
use grandstand_protocol::websocket::header::write_frame;
use grandstand_protocol::websocket::{Event, Fault, Input, Limits, Opcode, Reader};

use crate::config;

/// An answer to an upgrade request.
#[derive(Debug)]
pub enum Upgrade {
    /// The connection becomes a WebSocket: the answer, and the length of the request.
    Accept {
        /// `101 Switching Protocols`, whole.
        answer: Vec<u8>,
        /// The bytes after these belong to the WebSocket.
        request_len: usize,
    },
    /// An HTTP status and a reason.
    Refuse(u16, &'static str),
}

const NO_SUCH_PATH: Upgrade = Upgrade::Refuse(404, "no such path: see the node's ws.path");

/// Judge the upgrade request at the start of `bytes`; `None` while it is not whole.
///
/// # Errors
/// The request is not a WebSocket upgrade, or is larger than `ws.header_bytes_max`.
pub fn judge_request(ws: &config::Ws, bytes: &[u8]) -> Result<Option<Upgrade>, HandshakeFault> {
    Ok(parse_request(bytes, ws.header_bytes_max)?.map(|request| judge(ws, &request)))
}

/// The answer to a request that is not for a WebSocket. At any path but `ws.path` there is nothing at all.
pub(crate) fn refusal(ws: &config::Ws, bytes: &[u8], fault: HandshakeFault) -> Upgrade {
    let asks_what_is = matches!(fault, HandshakeFault::UpgradeRequired(_) | HandshakeFault::WrongMethod);
    if asks_what_is && requested_path(bytes).is_some_and(|path| path != ws.path) {
        return NO_SUCH_PATH;
    }
    Upgrade::Refuse(fault.status(), fault.reason())
}

/// Judge a request for a WebSocket.
pub(crate) fn judge(ws: &config::Ws, request: &Request<'_>) -> Upgrade {
    if request.path.split('?').next().unwrap_or("") != ws.path {
        return NO_SUCH_PATH;
    }
    if !ws.allows_origin(request.origin) {
        return Upgrade::Refuse(403, "this origin may not connect");
    }
    let is_ours = request.subprotocols.contains(&version::SUBPROTOCOL);
    if !request.subprotocols.is_empty() && !is_ours {
        return Upgrade::Refuse(400, "none of the subprotocols is grandstand.v1");
    }
    let mut answer = Vec::with_capacity(192);
    write_response(request.key, is_ours.then_some(version::SUBPROTOCOL), &mut answer);
    Upgrade::Accept { answer, request_len: request.len }
}

/// The limits of one conversation, from the configuration.
pub fn limits(limits: &config::Limits) -> Limits {
    Limits {
        message_bytes_max: limits.frame_bytes_max,
        fragments_max: limits.fragments_max as u32,
        control_frames_max: limits.control_frames_max as u32,
    }
}

/// A message that a session takes from its peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A frame of the protocol.
    Frame(&'a [u8]),
    /// A Ping; the Pong that answers it, whole.
    Ping { pong: &'a [u8] },
}

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer broke a rule: the audience's code for it, and WebSocket's.
    Fault { code: CloseCode, websocket: u16, detail: String },
    /// The peer sent its Close.
    Goodbye { websocket: u16 },
}

/// Take the messages in `bytes`; `None` while the conversation goes on.
pub(crate) fn read(
    reader: &mut Reader,
    bytes: &mut [u8],
    limits: &Limits,
    mut take: impl FnMut(Message<'_>),
) -> Option<End> {
    let mut input = Input::new(bytes);
    loop {
        match reader.poll_event(&mut input, limits) {
            Ok(None) => return None,
            Ok(Some(Event::Message { binary: true, payload })) => take(Message::Frame(payload)),
            Ok(Some(Event::Message { binary: false, .. })) => {
                let code = CloseCode::NotBinary;
                let (websocket, detail) = (code.websocket(), code.text().to_owned());
                return Some(End::Fault { code, websocket, detail });
            }
            Ok(Some(Event::Ping(payload))) => {
                let mut pong = Vec::with_capacity(payload.len() + 2);
                write_frame(Opcode::Pong, payload, &mut pong);
                take(Message::Ping { pong: &pong });
            }
            Ok(Some(Event::Pong(_))) => {}
            Ok(Some(Event::Close { code, .. })) => {
                return Some(End::Goodbye { websocket: code.unwrap_or(1000) });
            }
            Err(fault) => {
                let (code, websocket) = (close_code(&fault), fault.close_code());
                return Some(End::Fault { code, websocket, detail: fault.to_string() });
            }
        }
    }
}

fn close_code(fault: &Fault) -> CloseCode {
    match fault {
        Fault::ProtocolError(_) | Fault::InvalidUtf8 => CloseCode::Malformed,
        Fault::MessageTooBig { .. } => CloseCode::FrameTooLarge,
        Fault::TooManyFragments | Fault::TooManyControlFrames => CloseCode::Flooding,
    }
}

#[cfg(test)]
mod tests {
    use grandstand_protocol::websocket::{Role, write_masked};

    use super::*;

    fn taken(frames: &[(Opcode, &[u8])]) -> (Vec<Vec<u8>>, Option<End>) {
        let mut bytes = Vec::new();
        for (opcode, payload) in frames {
            write_masked(*opcode, payload, [1, 2, 3, 4], &mut bytes);
        }
        let mut got = Vec::new();
        let limits = limits(&config::Config::default().limits);
        let end = read(&mut Reader::new(Role::Server), &mut bytes, &limits, |message| match message {
            Message::Frame(frame) => got.push(frame.to_vec()),
            Message::Ping { pong } => got.push(pong.to_vec()),
        });
        (got, end)
    }

    #[test]
    fn a_session_takes_binary_messages_and_answers_pings() {
        let (got, end) = taken(&[(Opcode::Binary, b"one"), (Opcode::Ping, b"p"), (Opcode::Pong, b"")]);
        assert_eq!((got, end), (vec![b"one".to_vec(), vec![0x8a, 1, b'p']], None));
    }

    #[test]
    fn what_follows_an_end_is_not_taken() {
        let (got, end) = taken(&[(Opcode::Text, b"text"), (Opcode::Binary, b"late")]);
        assert!(got.is_empty());
        let code = CloseCode::NotBinary;
        let detail = code.text().to_owned();
        assert_eq!(end, Some(End::Fault { code, websocket: code.websocket(), detail }));
        let (got, end) = taken(&[(Opcode::Close, &1001u16.to_be_bytes()), (Opcode::Binary, b"late")]);
        assert_eq!((got.len(), end), (0, Some(End::Goodbye { websocket: 1001 })));
    }
}
