//! The client side of WebSocket on a byte stream: the upgrade, masked frames out, events in.
//!
//! Not here: the codec (`grandstand_protocol::websocket`), sockets (`link`).

use std::cell::RefCell;

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::limits::SERVER_FRAME_BYTES_MAX;
use grandstand_protocol::version::SUBPROTOCOL;
use grandstand_protocol::websocket::handshake::response::{ResponseFault, parse_response, write_request};
use grandstand_protocol::websocket::{
    Event, Fault, Input, Limits, Opcode, Reader, Role, close_payload, write_masked,
};

use super::Url;
use super::diagnosis::connect;
use super::link::{Incoming, Stream, ending_of};
use crate::core::{ConnectError, Ending};

/// Limits on frames from a node. Nodes send whole frames; proxies may fragment them.
const LIMITS: Limits =
    Limits { message_bytes_max: SERVER_FRAME_BYTES_MAX, fragments_max: 1024, control_frames_max: 64 };

/// Bytes that one read takes of the answer to the upgrade, which has about 200.
const ANSWER_STEP_BYTES: usize = 1024;

/// Bytes that wait to be sent, above which a Ping gets no Pong of its own: the peer does not read, and one
/// Pong answers all Pings before it (RFC 6455, 5.5.3).
const WAITING_BYTES_MAX: usize = 32 * 1024;

/// How a TLS server answers what is not TLS: the start of an alert record.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// Do the upgrade. Returns the bytes after the server's answer, which belong to the first frames.
pub(super) async fn upgrade(stream: &mut Stream, url: &Url) -> Result<Vec<u8>, Ending> {
    let mut key = [0; 16];
    fill_random(&mut key);
    let mut request = Vec::new();
    let not_a_node =
        |fault: ResponseFault| connect(ConnectError::NotANode { detail: fault.to_string().into() });
    write_request(&url.authority(), url.path(), None, Some(SUBPROTOCOL), &key, &mut request)
        .map_err(|fault| connect(ConnectError::Local { detail: format!("{url}: {fault}").into() }))?;
    stream.write_all(&request).await.map_err(|error| ending_of(&error))?;
    let mut answer = Vec::new();
    loop {
        let start = answer.len();
        answer.resize(start + ANSWER_STEP_BYTES, 0);
        let read = std::future::poll_fn(|cx| stream.poll_read(cx, &mut answer[start..]))
            .await
            .map_err(|error| ending_of(&error))?;
        answer.truncate(start + read);
        if answer.starts_with(&TLS_ALERT) {
            return Err(connect(ConnectError::OnlyTls));
        }
        match parse_response(&answer, &key, Some(SUBPROTOCOL)) {
            Ok(Some(response)) => return Ok(answer.split_off(response.len)),
            Ok(None) if read == 0 => return Err(Ending::Eof),
            Ok(None) => {}
            Err(ResponseFault::Refused { status, retry_after_s }) => {
                return Err(Ending::Http { status, retry_after_s });
            }
            Err(fault) => return Err(not_a_node(fault)),
        }
    }
}

/// Append a frame of Grandstand as one masked binary message.
pub(super) fn write_message(frame: &[u8], out: &mut Vec<u8>) {
    write_masked(Opcode::Binary, frame, mask_key(), out);
}

/// Append a Close.
pub(super) fn write_close(code: CloseCode, out: &mut Vec<u8>) {
    write_masked(Opcode::Close, &close_payload(code.websocket(), ""), mask_key(), out);
}

/// Read received bytes and call `on` for each message or fault, as long as it takes more; answers are
/// appended to `out`. Returns the number of bytes that were looked at.
///
/// # Errors
/// The node has closed the connection.
pub(super) fn read(
    reader: &mut Reader,
    bytes: &mut [u8],
    out: &mut Vec<u8>,
    on: &mut dyn FnMut(Incoming<'_>) -> bool,
) -> Result<usize, Ending> {
    let len = bytes.len();
    let mut input = Input::new(bytes);
    loop {
        let goes_on = match reader.poll_event(&mut input, &LIMITS) {
            Ok(None) => return Ok(len),
            Ok(Some(Event::Message { binary: true, payload })) => on(Incoming::Frame(payload)),
            Ok(Some(Event::Message { binary: false, .. })) => {
                on(Incoming::Fault(CloseCode::NotBinary, "a text message"))
            }
            Ok(Some(Event::Ping(payload))) => {
                if out.len() < WAITING_BYTES_MAX {
                    write_masked(Opcode::Pong, payload, mask_key(), out);
                }
                true
            }
            Ok(Some(Event::Pong(_))) => true,
            Ok(Some(Event::Close { code, .. })) => {
                let answer = code.map_or(Vec::new(), |code| close_payload(code, ""));
                write_masked(Opcode::Close, &answer, mask_key(), out);
                return Err(ending(code));
            }
            Err(fault) => {
                let code = match fault {
                    Fault::MessageTooBig { .. } => CloseCode::FrameTooLarge,
                    _ => CloseCode::Malformed,
                };
                on(Incoming::Fault(code, &fault.to_string()));
                return Ok(len);
            }
        };
        if !goes_on {
            return Ok(len - input.remaining());
        }
    }
}

fn ending(code: Option<u16>) -> Ending {
    match code {
        Some(code @ 4000..) => Ending::Code(code - 4000),
        Some(code) => Ending::WebSocket(code),
        None => Ending::Eof,
    }
}

pub(super) fn reader() -> Reader {
    Reader::new(Role::Client)
}

/// A fresh key for each frame (RFC 6455, 10.3), from the operating system, 64 at a time.
fn mask_key() -> [u8; 4] {
    thread_local! {
        static KEYS: RefCell<(usize, [u8; 256])> = const { RefCell::new((256, [0; 256])) };
    }
    KEYS.with_borrow_mut(|(at, keys)| {
        if *at == keys.len() {
            fill_random(keys);
            *at = 0;
        }
        *at += 4;
        keys[*at - 4..*at].try_into().expect("four bytes")
    })
}

fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
