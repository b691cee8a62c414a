//! The server's side of the handshake: a request in, `101 Switching Protocols` or a refusal out (RFC 6455
//! §4.2).
//!
//! Why strict about `Host`, bodies and repeated headers: attackers smuggle requests past a proxy by means of
//! a request that two parsers read differently (RFC 9112 §11.2).
//! Invariants: a [`Request`] has passed every rule of RFC 6455 §4.2.1; no header of an answer repeats bytes
//! that a peer sent.
//! Not here: which origins, paths and peers are allowed. The caller decides, and refuses with
//! [`write_refusal`].

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::head::{Head, is_token};
use super::{HEADERS_MAX, accept_key};

/// The last character of a key has bits that no byte uses. All browsers clear them, some tools do not, so
/// they may be set.
const KEY_BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// A checked upgrade request. Borrows from the bytes that it was parsed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Path and query, beginning with `/`.
    pub path: &'a str,
    /// The authority that the client named: a host, with a port unless it is the default.
    pub host: &'a str,
    /// The origin that a browser sends (RFC 6455 §10.2); `null` is a valid origin. Other clients send none.
    pub origin: Option<&'a str>,
    /// Subprotocols that the client speaks, best first.
    pub subprotocols: Vec<&'a str>,
    /// `Sec-WebSocket-Key`, for [`write_response`].
    pub key: &'a str,
    /// The lines of `X-Forwarded-For`, in order. They are reliable only if the peer is ([`crate::proxy`]).
    pub x_forwarded_for: Vec<&'a [u8]>,
    /// The lines of `Forwarded`, in order.
    pub forwarded: Vec<&'a [u8]>,
    /// The length of the request in bytes; the bytes after it belong to the WebSocket.
    pub len: usize,
}

/// Why the server refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// 400: the request is not HTTP, or breaks a rule.
    BadRequest(&'static str),
    /// 405: a method other than GET.
    WrongMethod,
    /// 426: the request does not ask for a WebSocket, or asks for another version than 13.
    UpgradeRequired(&'static str),
    /// 431: too many bytes or headers.
    TooLarge,
    /// 505: not HTTP/1.1.
    WrongHttpVersion,
}

impl HandshakeFault {
    /// The HTTP status for [`write_refusal`].
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            HandshakeFault::BadRequest(_) => 400,
            HandshakeFault::WrongMethod => 405,
            HandshakeFault::UpgradeRequired(_) => 426,
            HandshakeFault::TooLarge => 431,
            HandshakeFault::WrongHttpVersion => 505,
        }
    }

    /// What was wrong, for the body of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            HandshakeFault::BadRequest(reason) | HandshakeFault::UpgradeRequired(reason) => reason,
            HandshakeFault::WrongMethod => "a WebSocket opens with GET",
            HandshakeFault::TooLarge => "too many header bytes or headers",
            HandshakeFault::WrongHttpVersion => "a WebSocket opens with HTTP/1.1",
        }
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for HandshakeFault {}

const fn bad(reason: &'static str) -> HandshakeFault {
    HandshakeFault::BadRequest(reason)
}

/// The request at the start of `bytes`, or `None` while more bytes are needed. This function limits their
/// number; the caller must limit the time.
///
/// # Errors
/// A [`HandshakeFault`], which the caller answers with [`write_refusal`].
pub fn parse_request(bytes: &[u8], header_bytes_max: usize) -> Result<Option<Request<'_>>, HandshakeFault> {
    let bytes = &bytes[..bytes.len().min(header_bytes_max)];
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => check(&parsed, len).map(Some),
        Ok(httparse::Status::Partial) if bytes.len() == header_bytes_max => Err(HandshakeFault::TooLarge),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(HandshakeFault::TooLarge),
        Err(httparse::Error::Version) => Err(HandshakeFault::WrongHttpVersion),
        Err(_) => Err(bad("not an HTTP request")),
    }
}

/// The path that the request at the start of `bytes` names, without its query, if its first line is whole.
#[must_use]
pub fn requested_path(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let target = std::str::from_utf8(&bytes[..end]).ok()?.split(' ').nth(1)?;
    let (_, path) = split_target(target).ok()?;
    path.split('?').next()
}

/// Appends the answer that accepts the WebSocket. `subprotocol` is one of the request's, or none.
pub fn write_response(key: &str, subprotocol: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_key(key));
    if let Some(subprotocol) = subprotocol {
        assert!(is_token(subprotocol), "subprotocol {subprotocol:?} is not a token");
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(subprotocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends a refusal: the status, `reason` as a plain-text body, and `Retry-After` in seconds. The caller
/// must close the connection after it.
pub fn write_refusal(status: u16, reason: &str, retry_after_s: Option<u32>, out: &mut Vec<u8>) {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", phrase(status));
    head.push_str(match status {
        405 => "Allow: GET\r\nConnection: close\r\n",
        // RFC 9110 §15.5.22, RFC 6455 §4.4.
        426 => "Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n",
        _ => "Connection: close\r\n",
    });
    if let Some(seconds) = retry_after_s {
        head.push_str(&format!("Retry-After: {seconds}\r\n"));
    }
    let len = reason.len() + 1;
    head.push_str(&format!(
        "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\n\r\n{reason}\n"
    ));
    out.extend_from_slice(head.as_bytes());
}

/// The phrases of RFC 9110 for the statuses that an edge answers with.
const fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    }
}

fn check<'a>(parsed: &httparse::Request<'_, 'a>, len: usize) -> Result<Request<'a>, HandshakeFault> {
    if parsed.version != Some(1) {
        return Err(HandshakeFault::WrongHttpVersion);
    }
    if parsed.method != Some("GET") {
        return Err(HandshakeFault::WrongMethod);
    }
    let head = Head { headers: parsed.headers };
    let host = check_host(head)?;
    let (authority, path) = split_target(parsed.path.unwrap_or_default())?;
    check_no_body(head)?;
    check_upgrade(head)?;
    Ok(Request {
        path,
        host: authority.unwrap_or(host),
        origin: head.at_most_one("Origin", bad("more than one Origin"))?,
        subprotocols: check_subprotocols(head)?,
        key: check_key(head)?,
        x_forwarded_for: head.all("X-Forwarded-For").collect(),
        forwarded: head.all("Forwarded").collect(),
        len,
    })
}

/// RFC 9112 §3.2: exactly one `Host`.
fn check_host<'a>(head: Head<'_, 'a>) -> Result<&'a str, HandshakeFault> {
    let host = head.at_most_one("Host", bad("more than one Host"))?.ok_or(bad("no Host"))?;
    if is_authority(host) { Ok(host) } else { Err(bad("Host is not a host")) }
}

fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@,\\\"<>".contains(&byte))
}

/// RFC 9112 §3.2: a path, or a whole URI, whose authority then takes precedence over `Host`.
fn split_target(target: &str) -> Result<(Option<&str>, &str), HandshakeFault> {
    if target.contains('#') {
        return Err(bad("request target with a fragment"));
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let lower = target.get(..8).unwrap_or(target).to_ascii_lowercase();
    let scheme =
        ["http://", "https://", "ws://", "wss://"].into_iter().find(|scheme| lower.starts_with(scheme));
    let rest = &target[scheme.ok_or(bad("request target is not a path"))?.len()..];
    let (authority, path) = rest.find(['/', '?']).map_or((rest, "/"), |at| rest.split_at(at));
    if !is_authority(authority) || !path.starts_with('/') {
        return Err(bad("request target is not a path"));
    }
    Ok((Some(authority), path))
}

fn check_no_body(head: Head<'_, '_>) -> Result<(), HandshakeFault> {
    if head.has("Transfer-Encoding") || head.all("Content-Length").any(|value| value != b"0") {
        return Err(bad("a handshake has no body"));
    }
    Ok(())
}

/// RFC 6455 §4.2.1: the upgrade, and the version.
fn check_upgrade(head: Head<'_, '_>) -> Result<(), HandshakeFault> {
    if !head.list_has("Upgrade", "websocket") {
        return Err(HandshakeFault::UpgradeRequired("this is a WebSocket endpoint"));
    }
    if !head.list_has("Connection", "upgrade") {
        return Err(bad("Connection without upgrade"));
    }
    match head.at_most_one("Sec-WebSocket-Version", bad("more than one Sec-WebSocket-Version"))? {
        Some("13") => Ok(()),
        Some(_) => Err(HandshakeFault::UpgradeRequired("the WebSocket version is 13")),
        None => Err(bad("no Sec-WebSocket-Version")),
    }
}

/// RFC 6455 §4.2.1: one key, of 16 bytes.
fn check_key<'a>(head: Head<'_, 'a>) -> Result<&'a str, HandshakeFault> {
    let key = head.at_most_one("Sec-WebSocket-Key", bad("more than one Sec-WebSocket-Key"))?;
    let key = key.ok_or(bad("no Sec-WebSocket-Key"))?;
    // 24 characters decode to at most 18 bytes.
    match KEY_BASE64.decode_slice(key, &mut [0; 18]) {
        Ok(16) => Ok(key),
        _ => Err(bad("Sec-WebSocket-Key is not 16 bytes in base64")),
    }
}

fn check_subprotocols<'a>(head: Head<'_, 'a>) -> Result<Vec<&'a str>, HandshakeFault> {
    let subprotocols: Vec<&str> = head.list("Sec-WebSocket-Protocol").collect();
    if subprotocols.iter().all(|name| is_token(name)) {
        Ok(subprotocols)
    } else {
        Err(bad("Sec-WebSocket-Protocol is not a list of tokens"))
    }
}
