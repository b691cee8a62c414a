//! The handshake: from HTTP/1.1 to WebSocket, both sides (RFC 6455 §4).
//!
//! - [`request`]: the server's side: parses and checks a request, and writes the answer;
//! - [`response`]: the client's side: writes a request, and parses and checks the answer;
//! - [`probe`]: health probes, which come to the same port.
//!
//! Invariants: the parser stops at a limit of bytes and at [`HEADERS_MAX`] headers; it refuses bad bytes as
//! soon as they show a fault; neither side offers or accepts an extension.
//! Not here: timeouts, allowed origins and subprotocols, TLS (the caller).

mod head;
pub mod probe;
pub mod request;
pub mod response;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

pub use probe::{LIVE_PATH, Probe, READY_PATH, parse_probe};
pub use request::{HandshakeFault, Request, parse_request, requested_path, write_refusal, write_response};
pub use response::{Response, ResponseFault, parse_response, write_request};

/// Most headers in one request or response. Browsers behind two proxies send about 25, and proxies take some
/// 100.
pub const HEADERS_MAX: usize = 128;

/// Length of `Sec-WebSocket-Accept`: 20 bytes in base64.
pub const ACCEPT_LEN: usize = 28;

/// The fixed string of RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept` for the `Sec-WebSocket-Key` of the request, unchanged (RFC 6455
/// §4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> [u8; ACCEPT_LEN] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_LEN];
    let len = STANDARD.encode_slice(digest, &mut accept).expect("20 bytes are 28 in base64");
    assert_eq!(len, ACCEPT_LEN);
    accept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_example() {
        // §1.3.
        assert_eq!(&accept_key("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
