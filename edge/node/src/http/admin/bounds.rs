//! Tests of the admin port's bounds: each is kept exactly, and docs/OPERATING.md names it.
//!
//! Why over sockets: the framework has bounds of its own, which must not be narrower than ours.
//! Not here: who gives way to a new connection (`http::server`).

use std::io::{Read, Write};
use std::net::TcpStream;

use grandstand_protocol::websocket::handshake::HEADERS_MAX;

use super::super::request::BODY_BYTES_MAX;
use super::super::server::REQUESTS_MAX;
use super::tests::{HEADER_BYTES_MAX, Node, raw};
use super::{HEAD, LIFE};

/// A request with so many bytes in its head, of which one header takes what the others leave.
fn head_of(bytes: usize, target: &str) -> String {
    let begin = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nCookie: ");
    format!("{begin}{}\r\n\r\n", "c".repeat(bytes - begin.len() - 4))
}

/// A request with so many headers.
fn headers_of(count: usize) -> String {
    let others: String = (1..count).map(|n| format!("x-{n}: y\r\n")).collect();
    format!("GET /rooms HTTP/1.1\r\nHost: localhost\r\n{others}\r\n")
}

/// A request with so many bytes in its body.
fn body_of(bytes: usize) -> String {
    let value = "v".repeat(bytes);
    format!("PUT /rooms/none/state/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n{value}")
}

/// A request whose target has so many bytes, which are counted as bytes of the head.
fn target_of(bytes: usize) -> String {
    format!(
        "GET /rooms?prefix={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "p".repeat(bytes - "/rooms?prefix=".len())
    )
}

/// What is bounded, the most of it, the status at the bound and over it, and a request with so much.
type Bound = (&'static str, usize, u16, u16, fn(usize) -> String);

#[test]
fn each_bound_of_a_request_is_kept_exactly() {
    let node = Node::with_shards(1, None);
    let rest = "GET  HTTP/1.1\r\nHost: localhost\r\n\r\n".len();
    let bounds: [Bound; 4] = [
        ("bytes of a head", HEADER_BYTES_MAX, 200, 431, |bytes| head_of(bytes, "/rooms")),
        ("bytes of a probe's head", HEADER_BYTES_MAX, 200, 431, |bytes| head_of(bytes, "/healthz")),
        ("headers", HEADERS_MAX, 200, 431, headers_of),
        // There is no such room, which is told after the body was taken.
        ("bytes of a body", BODY_BYTES_MAX, 404, 413, body_of),
    ];
    for (what, most, at, over, request) in bounds {
        let (status, answer) = raw(node.at, &request(most));
        assert_eq!(status, at, "{what}, {most}: {answer}");
        let (status, answer) = raw(node.at, &request(most + 1));
        assert_eq!(status, over, "{what}, {}: {answer}", most + 1);
        assert_eq!(answer.contains("a body has at most"), over == 413, "{what}: {answer}");
    }
    // No name of a room is so long: what is within the bound is judged by its content.
    let within = HEADER_BYTES_MAX - rest;
    assert_eq!([raw(node.at, &target_of(within)).0, raw(node.at, &target_of(within + 1)).0], [200, 431]);
    // The framework refuses what is far over the bound by itself.
    let far = [head_of(100_000, "/rooms"), head_of(150_000, "/rooms"), target_of(60_000), headers_of(1_000)];
    for request in far {
        assert_eq!(raw(node.at, &request).0, 431);
    }
    assert_eq!(raw(node.at, &target_of(66_000)).0, 414);
}

#[test]
fn as_many_requests_as_allowed_are_under_way() {
    let node = Node::with_shards(1, None);
    // Their bodies do not come, so each keeps its place.
    let open = || {
        let mut stream = TcpStream::connect(node.at).unwrap();
        let head = "PUT /rooms/a/state/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nv";
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut held: Vec<TcpStream> = (0..REQUESTS_MAX).map(|_| open()).collect();
    // The port takes connections in their order, and passes a request on before it reads the next.
    let (status, answer) = raw(node.at, "GET /rooms HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(status == 503 && answer.contains("ask again"), "{answer}");
    assert_eq!(raw(node.at, "GET /healthz HTTP/1.1\r\n\r\n").0, 200, "health has no such bound");
    let mut last = held.pop().unwrap();
    last.write_all(b"v").unwrap();
    let mut answered = String::new();
    last.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 404"), "{answered}");
    drop(last);
    grandstand_harness::wait::until("the place is free", || {
        raw(node.at, "GET /rooms HTTP/1.1\r\nHost: localhost\r\n\r\n").0 == 200
    });
}

#[test]
fn every_bound_is_named_for_operators() {
    let page = include_str!("../../../../../docs/OPERATING.md");
    let table = page.split("**Bounds of HTTP.**").nth(1).expect("a table of them");
    let table = table.split("\n\n**").next().unwrap();
    for due in [
        format!("{} bytes", BODY_BYTES_MAX),
        format!("{HEADERS_MAX} headers"),
        format!("`ws.header_bytes_max` ({} KiB)", HEADER_BYTES_MAX / 1024),
        format!("{} requests under way", REQUESTS_MAX),
        format!("{} s for the head", HEAD.as_secs()),
        format!("{} s in all", LIFE.as_secs()),
        format!(
            "{} to {} connections",
            crate::file_limit::admin_connections(0),
            crate::file_limit::admin_connections(u64::MAX)
        ),
        "a quarter of these from one address".to_owned(),
    ] {
        assert!(table.contains(&due), "docs/OPERATING.md, Bounds of HTTP: {due:?} is missing");
    }
}
