//! The client's side of the handshake: a request out, the server's answer in (RFC 6455 §4.1).
//!
//! Invariants: no value from a caller can end its line in a request. The client accepts an answer only if its
//! `Sec-WebSocket-Accept` proves that a WebSocket server read this request. An answer with an extension or
//! subprotocol that the client did not request is a fault.
//! Not here: URLs, proxies, redirects, TLS, the 16 fresh random bytes of the key (the caller).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::head::{Head, is_token};
use super::{HEADERS_MAX, accept_key};

/// Most header bytes of an answer. Real servers and their proxies send well under half of it.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// An answer that accepts the WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The subprotocol that the server chose; the requested one, or none.
    pub subprotocol: Option<&'a str>,
    /// The length of the answer in bytes; the bytes after it belong to the WebSocket.
    pub len: usize,
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFault {
    /// A value that the caller gave cannot be written in a header; the text names it.
    Unwritable(&'static str),
    /// The server refused with a valid HTTP answer.
    Refused {
        /// Its HTTP status.
        status: u16,
        /// The server's `Retry-After`, if it is in seconds.
        retry_after_s: Option<u32>,
    },
    /// The answer breaks a rule; the text says which.
    Malformed(&'static str),
    /// The answer has too many bytes or headers.
    TooLarge,
}

impl fmt::Display for ResponseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseFault::Unwritable(what) => write!(f, "{what} cannot stand in a request"),
            ResponseFault::Refused { status, retry_after_s: None } => {
                write!(f, "refused with HTTP status {status}")
            }
            ResponseFault::Refused { status, retry_after_s: Some(seconds) } => {
                write!(f, "refused with HTTP status {status}, try again in {seconds} s")
            }
            ResponseFault::Malformed(rule) => write!(f, "not a WebSocket answer: {rule}"),
            ResponseFault::TooLarge => f.write_str("answer with too many header bytes or headers"),
        }
    }
}

impl std::error::Error for ResponseFault {}

/// Appends the request. `host` includes the port unless it is the default; `path` begins with `/` and
/// includes the query.
///
/// # Errors
/// [`ResponseFault::Unwritable`] if a value cannot be written in its place; then nothing is appended.
pub fn write_request(
    host: &str,
    path: &str,
    origin: Option<&str>,
    subprotocol: Option<&str>,
    key: &[u8; 16],
    out: &mut Vec<u8>,
) -> Result<(), ResponseFault> {
    check_visible(host, "host")?;
    check_visible(path, "path")?;
    if !path.starts_with('/') || path.contains('#') {
        return Err(ResponseFault::Unwritable("path"));
    }
    origin.map_or(Ok(()), |origin| check_visible(origin, "origin"))?;
    if subprotocol.is_some_and(|subprotocol| !is_token(subprotocol)) {
        return Err(ResponseFault::Unwritable("subprotocol"));
    }
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n",
        STANDARD.encode(key)
    );
    for (name, value) in [("Origin", origin), ("Sec-WebSocket-Protocol", subprotocol)] {
        if let Some(value) = value {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("\r\n");
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The answer at the start of `bytes` to the request with `key` and `subprotocol`, or `None` while more bytes
/// are needed.
///
/// # Errors
/// Any [`ResponseFault`] but [`ResponseFault::Unwritable`].
pub fn parse_response<'a>(
    bytes: &'a [u8],
    key: &[u8; 16],
    subprotocol: Option<&str>,
) -> Result<Option<Response<'a>>, ResponseFault> {
    let bytes = &bytes[..bytes.len().min(RESPONSE_BYTES_MAX)];
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => check(&parsed, len, key, subprotocol).map(Some),
        Ok(httparse::Status::Partial) if bytes.len() == RESPONSE_BYTES_MAX => Err(ResponseFault::TooLarge),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(ResponseFault::TooLarge),
        Err(_) => Err(ResponseFault::Malformed("not an HTTP response")),
    }
}

fn check<'a>(
    parsed: &httparse::Response<'_, 'a>,
    len: usize,
    key: &[u8; 16],
    requested: Option<&str>,
) -> Result<Response<'a>, ResponseFault> {
    let head = Head { headers: parsed.headers };
    let status = parsed.code.unwrap_or_default();
    if status != 101 {
        let retry_after = head.at_most_one("Retry-After", ()).ok().flatten();
        return Err(ResponseFault::Refused {
            status,
            retry_after_s: retry_after.and_then(|text| text.parse().ok()),
        });
    }
    if parsed.version != Some(1) {
        return Err(ResponseFault::Malformed("not HTTP/1.1"));
    }
    check_upgrade(head, key)?;
    Ok(Response { subprotocol: check_subprotocol(head, requested)?, len })
}

/// RFC 6455 §4.1: checks the required headers, and that the answer grants no extension.
fn check_upgrade(head: Head<'_, '_>, key: &[u8; 16]) -> Result<(), ResponseFault> {
    use ResponseFault::Malformed;
    if !head.list_has("Upgrade", "websocket") {
        return Err(Malformed("Upgrade is not websocket"));
    }
    if !head.list_has("Connection", "upgrade") {
        return Err(Malformed("Connection without upgrade"));
    }
    let accept = head.at_most_one("Sec-WebSocket-Accept", Malformed("more than one Sec-WebSocket-Accept"))?;
    if accept.map(str::as_bytes) != Some(&accept_key(&STANDARD.encode(key))) {
        return Err(Malformed("Sec-WebSocket-Accept does not answer the key"));
    }
    if head.list("Sec-WebSocket-Extensions").next().is_some() {
        return Err(Malformed("an extension that was not asked for"));
    }
    Ok(())
}

fn check_subprotocol<'a>(
    head: Head<'_, 'a>,
    requested: Option<&str>,
) -> Result<Option<&'a str>, ResponseFault> {
    let fault = ResponseFault::Malformed("more than one Sec-WebSocket-Protocol");
    let chosen = head.at_most_one("Sec-WebSocket-Protocol", fault)?;
    if chosen.is_some() && chosen != requested {
        return Err(ResponseFault::Malformed("a subprotocol that was not asked for"));
    }
    Ok(chosen)
}

fn check_visible(text: &str, what: &'static str) -> Result<(), ResponseFault> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(ResponseFault::Unwritable(what))
    }
}
