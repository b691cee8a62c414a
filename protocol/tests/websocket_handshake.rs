//! The WebSocket handshake, both sides, rule by rule of RFC 6455 §4 and RFC 9112 §3.2.
//!
//! Why: browsers and proxies send whatever the RFCs allow, and attackers the rest.

use grandstand_protocol::websocket::handshake::{
    HEADERS_MAX, HandshakeFault, Request, Response, ResponseFault, parse_request, parse_response,
    write_refusal, write_request, write_response,
};
use proptest::prelude::*;

const BYTES_MAX: usize = 4096;
const KEY: [u8; 16] = *b"the sample nonce";

/// The lines of a good request; the first is the request line.
const LINES: [&str; 6] = [
    "GET /chat?room=main HTTP/1.1",
    "Host: server.example.com:8080",
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn head(lines: &[&str]) -> String {
    lines.join("\r\n") + "\r\n\r\n"
}

fn parse(text: &str) -> Result<Option<Request<'_>>, HandshakeFault> {
    parse_request(text.as_bytes(), BYTES_MAX)
}

/// The good request with the line that begins as `instead_of` does replaced by `lines`.
fn with(instead_of: &str, lines: &[&str]) -> String {
    let mut all = LINES.to_vec();
    let at = all.iter().position(|line| line.starts_with(instead_of)).expect("a line of the good request");
    all.splice(at..=at, lines.iter().copied());
    head(&all)
}

fn with_more(lines: &[&str]) -> String {
    head(&[&LINES[..], lines].concat())
}

fn status(text: &str) -> u16 {
    parse(text).expect_err(text).status()
}

#[test]
fn a_good_request() {
    let text = with_more(&[
        "Origin: https://example.com",
        "Sec-WebSocket-Protocol: grandstand.1, other",
        "sec-websocket-protocol: third",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "X-Forwarded-For: 203.0.113.9, 10.0.0.1",
        "X-Forwarded-For: 10.0.0.2",
        "forwarded: for=\"[2001:db8::1]\"",
    ]);
    let expected = Request {
        path: "/chat?room=main",
        host: "server.example.com:8080",
        origin: Some("https://example.com"),
        subprotocols: vec!["grandstand.1", "other", "third"],
        key: "dGhlIHNhbXBsZSBub25jZQ==",
        x_forwarded_for: vec![b"203.0.113.9, 10.0.0.1", b"10.0.0.2"],
        forwarded: vec![b"for=\"[2001:db8::1]\""],
        len: text.len(),
    };
    assert_eq!(parse(&text), Ok(Some(expected.clone())));
    assert_eq!(parse(&(text.clone() + "frames")), Ok(Some(expected)));
    for cut in 0..text.len() {
        assert_eq!(parse(&text[..cut]), Ok(None), "cut at {cut}");
    }
}

#[test]
fn the_request_line() {
    // §4.2.1: GET, at least HTTP/1.1.
    assert_eq!(status(&with("GET", &["POST / HTTP/1.1"])), 405);
    assert_eq!(status(&with("GET", &["get / HTTP/1.1"])), 405);
    assert_eq!(status(&with("GET", &["GET / HTTP/1.0"])), 505);
    assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    for target in ["*", "chat", "/chat#part", "ftp://host/", "http://", "http:///x", "http://host?x"] {
        assert_eq!(status(&with("GET", &[&format!("GET {target} HTTP/1.1")])), 400, "{target}");
    }
}

#[test]
fn a_target_that_is_a_whole_uri() {
    // RFC 9112 §3.2.2: its authority stands above Host.
    for (target, path) in [("ws://other:9/chat?x", "/chat?x"), ("HTTPS://other:9", "/")] {
        let text = with("GET", &[&format!("GET {target} HTTP/1.1")]);
        let request = parse(&text).unwrap().unwrap();
        assert_eq!((request.host, request.path), ("other:9", path));
    }
}

#[test]
fn one_host() {
    // RFC 9112 §3.2: a missing, repeated or invalid Host is answered by 400.
    assert_eq!(status(&with("Host", &[])), 400);
    assert_eq!(status(&with("Host", &["Host: a", "Host: a"])), 400);
    assert_eq!(status(&with("Host", &["Host: a", "hOST: b"])), 400);
    for host in ["", "a,b", "a b", "user@a", "a/b", "\u{e9}"] {
        assert_eq!(status(&with("Host", &[&format!("Host: {host}")])), 400, "{host}");
    }
    assert!(parse(&with("Host", &["Host: [::1]:8080"])).unwrap().is_some());
}

#[test]
fn the_upgrade() {
    // §4.2.1, items 3 and 4: tokens, in any case, among others.
    assert!(parse(&with("Upgrade", &["Upgrade: h2c, WebSocket"])).unwrap().is_some());
    assert!(
        parse(&with("Connection", &["Connection: keep-alive", "Connection: UPGRADE"])).unwrap().is_some()
    );
    assert_eq!(status(&with("Upgrade", &[])), 426);
    assert_eq!(status(&with("Upgrade", &["Upgrade: websocketx"])), 426);
    assert_eq!(status(&with("Connection", &[])), 400);
    assert_eq!(status(&with("Connection", &["Connection: keep-alive"])), 400);
}

#[test]
fn the_version() {
    // §4.2.2: 426 with the version that is spoken; §11.3.5: not more than once.
    assert_eq!(status(&with("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"])), 426);
    assert_eq!(status(&with("Sec-WebSocket-Version", &[])), 400);
    assert_eq!(status(&with_more(&["Sec-WebSocket-Version: 13"])), 400);
}

#[test]
fn the_key() {
    // §4.2.1, item 5: 16 bytes in base64; §11.3.1: not more than once.
    assert_eq!(status(&with("Sec-WebSocket-Key", &[])), 400);
    assert_eq!(status(&with_more(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="])), 400);
    for key in [
        "",
        "!",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZWVl",
        &"A".repeat(400),
    ] {
        assert_eq!(status(&with("Sec-WebSocket-Key", &[&format!("Sec-WebSocket-Key: {key}")])), 400, "{key}");
    }
}

#[test]
fn no_body_and_no_repeats() {
    assert_eq!(status(&with_more(&["Content-Length: 5"])), 400);
    assert_eq!(status(&with_more(&["Transfer-Encoding: chunked"])), 400);
    assert!(parse(&with_more(&["Content-Length: 0"])).unwrap().is_some());
    assert_eq!(status(&with_more(&["Origin: https://a", "Origin: https://b"])), 400);
    assert_eq!(status(&with_more(&["Sec-WebSocket-Protocol: a b"])), 400);
}

#[test]
fn the_limits() {
    let long = with_more(&[&format!("X-Filler: {}", "x".repeat(BYTES_MAX))]);
    assert_eq!(status(&long), 431);
    assert_eq!(status(&long[..BYTES_MAX]), 431);
    assert_eq!(parse(&long[..BYTES_MAX - 1]), Ok(None));
    let good = head(&LINES);
    assert!(parse_request(good.as_bytes(), good.len()).unwrap().is_some());
    assert_eq!(parse_request(good.as_bytes(), good.len() - 1), Err(HandshakeFault::TooLarge));

    // The good request's first line is no header.
    let filler = ["X: y"; HEADERS_MAX];
    let fits = HEADERS_MAX - (LINES.len() - 1);
    assert!(parse(&with_more(&filler[..fits])).unwrap().is_some());
    assert_eq!(status(&with_more(&filler[..fits + 1])), 431);
    assert_eq!(status(&with_more(&filler)), 431);
}

#[test]
fn what_is_not_http_is_refused_at_once() {
    // The beginning of a TLS ClientHello.
    assert_eq!(parse_request(&[0x16, 0x03, 0x01, 0x02], BYTES_MAX).unwrap_err().status(), 400);
    assert_eq!(status(&with_more(&["X : y"])), 400);
    assert_eq!(status(&with_more(&["X: a", " folded"])), 400);
    assert_eq!(status(&with_more(&["X: a\rb"])), 400);
}

#[test]
fn the_response() {
    // §1.3.
    let mut out = Vec::new();
    write_response("dGhlIHNhbXBsZSBub25jZQ==", Some("chat"), &mut out);
    let expected = head(&[
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Sec-WebSocket-Protocol: chat",
    ]);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn refusals() {
    let refusal = |status, retry_after_s| {
        let mut out = Vec::new();
        write_refusal(status, "not now", retry_after_s, &mut out);
        String::from_utf8(out).unwrap()
    };
    let expected = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 7\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n\r\nnot now\n";
    assert_eq!(refusal(503, Some(7)), expected);
    assert!(refusal(405, None).contains("\r\nAllow: GET\r\n"));
    let upgrade = refusal(426, None);
    assert!(upgrade.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    assert!(
        upgrade.contains("\r\nUpgrade: websocket\r\n")
            && upgrade.contains("\r\nSec-WebSocket-Version: 13\r\n")
    );
}

fn request(origin: Option<&str>, subprotocol: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    write_request("example.com", "/chat?x=1", origin, subprotocol, &KEY, &mut out).unwrap();
    out
}

#[test]
fn both_sides_agree() {
    for (origin, subprotocol) in [(None, None), (Some("https://a.example"), Some("grandstand.1"))] {
        let asked = request(origin, subprotocol);
        let request = parse_request(&asked, BYTES_MAX).unwrap().unwrap();
        assert_eq!((request.host, request.path, request.len), ("example.com", "/chat?x=1", asked.len()));
        assert_eq!(request.origin, origin);
        assert_eq!(request.subprotocols, Vec::from_iter(subprotocol));

        let mut answer = Vec::new();
        write_response(request.key, subprotocol, &mut answer);
        let len = answer.len();
        answer.extend_from_slice(b"\x81\x00");
        assert_eq!(parse_response(&answer, &KEY, subprotocol), Ok(Some(Response { subprotocol, len })));
        for cut in 0..len {
            assert_eq!(parse_response(&answer[..cut], &KEY, subprotocol), Ok(None));
        }
    }
}

#[test]
fn requests_that_cannot_be_written() {
    let mut out = Vec::new();
    for (host, path, origin, subprotocol, what) in [
        ("a\r\nX: y", "/", None, None, "host"),
        ("", "/", None, None, "host"),
        ("a", "x", None, None, "path"),
        ("a", "/x y", None, None, "path"),
        ("a", "/x#y", None, None, "path"),
        ("a", "/", Some("b\n"), None, "origin"),
        ("a", "/", None, Some("b, c"), "subprotocol"),
    ] {
        let result = write_request(host, path, origin, subprotocol, &KEY, &mut out);
        assert_eq!(result, Err(ResponseFault::Unwritable(what)));
    }
    assert_eq!(out, b"");
}

#[test]
fn answers_against_the_rules() {
    // §4.1, what a client must check.
    let mut good = Vec::new();
    let asked = request(None, None);
    write_response(parse_request(&asked, BYTES_MAX).unwrap().unwrap().key, None, &mut good);
    let good = String::from_utf8(good).unwrap();
    let answer =
        |text: &str| parse_response(text.as_bytes(), &KEY, Some("mine")).map(|response| response.is_some());
    assert_eq!(answer(&good), Ok(true));
    for (from, to) in [
        ("HTTP/1.1", "HTTP/1.0"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: close"),
        ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x"),
        ("Sec-WebSocket-Accept", "X-Accept"),
        ("Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate"),
        ("Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Protocol: other"),
        ("Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Accept: x"),
        ("HTTP/1.1 101", "SSH-2.0"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(matches!(answer(&bad), Err(ResponseFault::Malformed(_))), "{bad}");
    }
    assert_eq!(
        parse_response(good.as_bytes(), &[0; 16], None).unwrap_err().to_string(),
        "not a WebSocket answer: Sec-WebSocket-Accept does not answer the key"
    );
    let long = format!("HTTP/1.1 101 x\r\nX: {}", "x".repeat(20_000));
    assert_eq!(answer(&long), Err(ResponseFault::TooLarge));
}

#[test]
fn a_refusal_says_when_to_try_again() {
    for (retry_after_s, text) in [
        (Some(30), "refused with HTTP status 503, try again in 30 s"),
        (None, "refused with HTTP status 503"),
    ] {
        let mut answer = Vec::new();
        write_refusal(503, "full", retry_after_s, &mut answer);
        let fault = parse_response(&answer, &KEY, None).unwrap_err();
        assert_eq!(fault, ResponseFault::Refused { status: 503, retry_after_s });
        assert_eq!(fault.to_string(), text);
    }
}

proptest! {
    #[test]
    fn a_damaged_request_never_panics(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = with_more(&["Origin: https://a", "Sec-WebSocket-Protocol: a"]).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(Some(request)) = parse_request(&bytes, BYTES_MAX) {
            prop_assert!(request.path.starts_with('/') && request.len <= bytes.len());
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&bytes, 200);
        let _ = parse_response(&bytes, &KEY, None);
    }
}
