//! HTTP on the ports of WebSocket, plain and under TLS: probes, usual requests, and the answers to others.
//!
//! Why over both: the same request must get the same answer, whatever carries it.
//! Not here: the admin port (`http::admin`), the bounds of WebSocket itself (`hostile`).

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use common::node;
use common::ws::{Ws, socket_from};
use grandstand::Node;
use grandstand_harness::trust::client_config;
use grandstand_harness::wait::until;
use grandstand_protocol::websocket::handshake::HEADERS_MAX;

const LOCAL: &str = "127.0.0.1";

fn port(node: &Node, is_tls: bool) -> SocketAddr {
    let addresses = node.addresses();
    if is_tls { addresses.wss.unwrap() } else { addresses.ws.unwrap() }
}

/// A TLS stream with these ALPN names, or why there is none.
fn tls(node: &Node, alpn: &[&[u8]]) -> Result<impl Read + Write, std::io::Error> {
    let socket = socket_from(LOCAL, port(node, true));
    let client =
        rustls::ClientConnection::new(Arc::new(client_config(alpn)), "localhost".try_into().unwrap());
    let mut stream = rustls::StreamOwned::new(client.unwrap(), socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The whole answer to these bytes.
fn ask(node: &Node, is_tls: bool, request: &[u8]) -> String {
    let mut answer = Vec::new();
    // A close without the alert of TLS is as good as an end.
    if is_tls {
        let mut stream = tls(node, &[b"http/1.1"]).unwrap();
        stream.write_all(request).unwrap();
        let _ = stream.read_to_end(&mut answer);
    } else {
        let mut stream = socket_from(LOCAL, port(node, false));
        stream.write_all(request).unwrap();
        let _ = stream.read_to_end(&mut answer);
    }
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[test]
fn probes_of_balancers_are_answered_on_both_ports() {
    let node = node(&[]);
    for is_tls in [false, true] {
        for request in [
            "OPTIONS / HTTP/1.0\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /healthz HTTP/1.0\r\n\r\n",
            "GET /readyz HTTP/1.0\r\n\r\n",
            "HEAD /readyz HTTP/1.1\r\nHost: chat.example.org\r\nConnection: close\r\n\r\n",
            "OPTIONS /readyz HTTP/1.0\r\n\r\n",
            "GET /readyz HTTP/1.1\r\nHost: 10.0.0.7:7400\r\nUser-Agent: kube-probe/1.30\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n",
        ] {
            let answer = ask(&node, is_tls, request.as_bytes());
            assert_eq!(status(&answer), 200, "{request:?}: {answer:?}");
            assert_eq!(answer.ends_with("\r\n\r\n"), request.starts_with("HEAD"), "{answer:?}");
            assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
        }
    }
    let answered: u64 = node.stats().iter().map(|stats| stats.probes.get()).sum();
    assert_eq!(answered, 16);
    until("their places are free again", || node.connections() == 0);
    let failed: u64 = node.stats().iter().map(|stats| stats.handshakes_failed.sum()).sum();
    assert_eq!(failed, 0, "a probe is no handshake that failed");
    node.stop();
}

#[test]
fn every_other_request_has_its_status() {
    let node = node(&[]);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        (426, "GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (426, "GET /v1 HTTP/1.1\r\nHost: a\r\n\r\nGET /v1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (426, format!("GET /v1 HTTP/1.1\r\nHost: a\r\n{}\r\n", upgrade.replace(": 13", ": 8"))),
        (404, format!("GET /other HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n")),
        (404, "GET /other HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (404, "GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (405, "POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned()),
        (405, "HEAD /v1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (405, "OPTIONS /v1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (405, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".to_owned()),
        (505, format!("GET /v1 HTTP/1.0\r\nHost: a\r\n{upgrade}\r\n")),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        (400, format!("GET /v1 HTTP/1.1\r\n{upgrade}\r\n")),
        (400, format!("GET /v1 HTTP/1.1\r\nHost: a\r\nHost: a\r\n{upgrade}\r\n")),
        (400, format!("GET /v1 HTTP/1.1\r\nHost: a b\r\n{upgrade}\r\n")),
        (400, format!("GET /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{upgrade}\r\nhello")),
        (400, format!("GET /v1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{upgrade}\r\n0\r\n\r\n")),
        (400, "\u{1}\u{2}\u{3}\r\n\r\n".to_owned()),
        (431, format!("GET /v1 HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000))),
    ];
    for is_tls in [false, true] {
        for (due, request) in &cases {
            let answer = ask(&node, is_tls, request.as_bytes());
            let shown = &request[..request.len().min(200)];
            assert_eq!(status(&answer), *due, "{shown:?}, TLS: {is_tls}: {answer:?}");
            assert!(
                answer.contains("\r\nConnection: close\r\n") || answer.contains("Upgrade, close"),
                "{answer}"
            );
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "the first is answered: {answer}");
        }
        let open = |path: &str, headers: &str| {
            Ws::over(socket_from(LOCAL, port(&node, is_tls)), is_tls, path, headers).map(drop)
        };
        open("/v1", "Content-Length: 0\r\nExpect: 100-continue\r\n").expect("it announces nothing");
        open("/v1?token=x", "").expect("a query is passed over");
        let absolute =
            format!("GET http://chat.example.org/v1 HTTP/1.1\r\nHost: chat.example.org\r\n{upgrade}\r\n");
        let mut stream = socket_from(LOCAL, port(&node, false));
        stream.write_all(absolute.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101", "a proxy may send the whole URI");
    }
    node.stop();
}

#[test]
fn usual_requests_of_browsers_and_proxies_fit() {
    let node = node(&[]);
    let chrome = "Cache-Control: no-cache\r\nPragma: no-cache\r\n\
                  User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36\r\n\
                  Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
                  Origin: https://chat.example.org\r\n";
    let many = |count: usize| (0..count).map(|n| format!("X-Header-{n}: value\r\n")).collect::<String>();
    // What the request has by itself.
    let own = 5;
    for is_tls in [false, true] {
        let open = |headers: &str| {
            Ws::over(socket_from(LOCAL, port(&node, is_tls)), is_tls, "/v1", headers).map(drop)
        };
        for headers in [
            chrome.to_owned(),
            many(HEADERS_MAX - own),
            format!("{chrome}Cookie: {}\r\n", "c".repeat(8_192)),
            format!("{}Cookie: a={}\r\nCookie: b={}\r\n", many(50), "c".repeat(8_000), "d".repeat(8_000)),
            format!("X: {}\r\n", "x".repeat(32_000)),
        ] {
            open(&headers).unwrap_or_else(|said| panic!("{said} to {:?}", &headers[..100]));
        }
        for headers in [many(HEADERS_MAX - own + 1), format!("X: {}\r\n", "x".repeat(32_768))] {
            assert_eq!(status(&open(&headers).unwrap_err()), 431);
        }
    }
    node.stop();
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let node = node(&[]);
    let mut stream = socket_from(LOCAL, port(&node, false));
    let headers: String = (0..100).map(|n| format!("X-Header-{n}: value\r\n")).collect();
    let request = format!("GET /readyz HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
    node.stop();
}

#[test]
fn a_draining_node_is_not_ready_on_its_public_ports() {
    let node = node(&[("drain.spread_ms", "60000")]);
    let _viewer = Ws::welcomed(port(&node, false));
    node.drain();
    until("the port says so", || {
        let answer = ask(&node, false, b"GET /readyz HTTP/1.0\r\n\r\n");
        status(&answer) == 503
    });
    node.stop();
}

#[test]
fn a_client_of_another_protocol_is_refused_by_tls_and_one_without_is_served() {
    let node = node(&[]);
    for alpn in [&[&b"http/1.1"[..]][..], &[b"h2", b"http/1.1"], &[]] {
        let mut stream = tls(&node, alpn).expect("it is served");
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{alpn:?}");
    }
    for alpn in [&b"h2"[..], b"grandstand/1", b"h3", b"http/1.0"] {
        let refused = tls(&node, &[alpn]).err().expect("no protocol in common").to_string();
        assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    }
    node.stop();
}
