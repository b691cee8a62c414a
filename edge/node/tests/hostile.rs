//! Bad input and every limit on clients: the right close code, no panic, nobody else hurt.
//!
//! Why over sockets: limits of transports and of the whole node meet only here.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use common::quic::{End, Quic};
use common::ws::{Got, Ws};
use common::{PATIENCE, frame, node, subscribe};
use grandstand::Node;
use grandstand_edge::stats::WaitedFor;
use grandstand_harness::wait::until;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Publish, ServerFrame};
use grandstand_protocol::websocket::Opcode;
use grandstand_protocol::websocket::header::write_masked;

fn ws(node: &Node) -> SocketAddr {
    node.addresses().ws.unwrap()
}

/// A viewer that was there before, and still gets through: publishes, and is acknowledged.
struct Witness {
    ws: Ws,
    alias: u32,
    nonce: u64,
}

impl Witness {
    fn new(node: &Node) -> Witness {
        let mut ws = Ws::welcomed(ws(node));
        ws.send(&subscribe(1, "witness"));
        let ServerFrame::Subscribed(s) = ServerFrame::decode(&ws.next_frame()).unwrap() else {
            panic!("subscribed")
        };
        Witness { ws, alias: s.alias, nonce: 0 }
    }

    fn is_well(&mut self) {
        self.nonce += 1;
        let publish =
            Publish { alias: self.alias, nonce: self.nonce, text: "still here", ..Publish::default() };
        self.ws.send(&frame(&ClientFrame::Publish(publish)));
        loop {
            if let ServerFrame::Published(p) = ServerFrame::decode(&self.ws.next_frame()).unwrap() {
                assert_eq!(p.nonce, self.nonce);
                return;
            }
        }
    }
}

fn closed_with(peer: &mut Ws, code: u16) {
    match peer.until_close() {
        Got::Close(got, reason) => assert_eq!(got, code, "{reason}"),
        other => panic!("close {code} was due, but {other:?} came"),
    }
}

fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset behind the answer is as good as an end.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn upgrade_requests_are_judged() {
    let node = node(&[("ws.origins", "https://good.example")]);
    let cases = [
        ("404", format!("GET /nowhere HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n")),
        (
            "101",
            format!(
                "GET /v1 HTTP/1.1\r\nHost: a\r\nOrigin: https://good.example\r\nSec-WebSocket-Extensions: \
                         permessage-deflate\r\n{UPGRADE}\r\n\u{88}\u{80}"
            ),
        ),
        ("403", format!("GET /v1 HTTP/1.1\r\nHost: a\r\nOrigin: https://bad.example\r\n{UPGRADE}\r\n")),
        ("400", format!("GET /v1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n{UPGRADE}\r\n")),
        ("400", format!("GET /v1 HTTP/1.1\r\n{UPGRADE}\r\n")),
        ("400", format!("GET /v1 HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: other\r\n{UPGRADE}\r\n")),
        ("405", format!("POST /v1 HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n")),
        ("426", "GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("431", format!("GET /v1 HTTP/1.1\r\nHost: a\r\nX-Pad: {}\r\n{UPGRADE}\r\n", "x".repeat(33_000))),
        ("400", "\0\u{1}\u{2} nonsense\r\n\r\n".to_owned()),
    ];
    for (status, request) in cases.into_iter().filter(|(status, _)| *status != "101") {
        let answer = http(ws(&node), &request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{status} was due for {request:?}: {answer:?}"
        );
    }
    let mut good = TcpStream::connect(ws(&node)).unwrap();
    good.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /v1?x=1 HTTP/1.1\r\nHost: a\r\nOrigin: https://good.example\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n{UPGRADE}\r\n"
    );
    good.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 1024];
    let n = good.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..n]);
    assert!(answer.starts_with("HTTP/1.1 101") && !answer.to_lowercase().contains("extensions"), "{answer}");
    node.stop();
}

#[test]
fn more_connections_than_an_address_may_have_are_told_when_to_come_back() {
    let node = node(&[("limits.loopback_exempt", "false"), ("limits.connections_per_address_max", "2")]);
    let (first, _second) = (Ws::welcomed(ws(&node)), Ws::welcomed(ws(&node)));
    let answer = http(ws(&node), "");
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("Retry-After: "), "{answer:?}");
    let refused =
        Quic::try_open(node.addresses().quic.unwrap(), b"grandstand/1").err().expect("no third connection");
    assert!(refused.contains("refused"), "{refused}");
    drop(first);
    until("the first has gone", || node.connections() == 1);
    Ws::welcomed(ws(&node));
    node.stop();
}

#[test]
fn a_request_that_never_ends_is_timed_out() {
    let node = node(&[("limits.handshake_timeout_ms", "100")]);
    let answer = http(ws(&node), "GET /v1 HTTP/1.1\r\nHost: a\r\n");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    node.stop();
}

#[test]
fn websocket_limits_have_their_codes() {
    let node = node(&[("limits.fragments_max", "8"), ("limits.control_frames_max", "4")]);
    let mut witness = Witness::new(&node);
    let masked = |opcode, payload: &[u8]| {
        let mut out = Vec::new();
        write_masked(opcode, payload, [9, 9, 9, 9], &mut out);
        out
    };
    let unmasked = vec![0x82, 1, 7];
    let reserved = {
        let mut bytes = masked(Opcode::Binary, b"x");
        bytes[0] |= 0x40;
        bytes
    };
    let fragments: Vec<u8> = (0..9)
        .flat_map(|i| {
            let mut bytes = masked(if i == 0 { Opcode::Binary } else { Opcode::Continuation }, b"");
            bytes[0] &= 0x7f;
            bytes
        })
        .collect();
    let pings: Vec<u8> = (0..5).flat_map(|_| masked(Opcode::Ping, b"p")).collect();
    let announced = {
        let mut bytes = vec![0x82, 0xff];
        bytes.extend_from_slice(&(1u64 << 40).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    };
    let bad_text = masked(Opcode::Text, &[0xff, 0xfe]);
    for (code, bytes) in [
        (1002, unmasked),
        (1002, reserved),
        (1008, fragments),
        (1008, pings),
        (1009, announced),
        (1007, bad_text),
    ] {
        let mut peer = Ws::welcomed(ws(&node));
        peer.send_raw(&bytes);
        closed_with(&mut peer, code);
    }
    witness.is_well();
    node.stop();
}

#[test]
fn too_many_frames_are_a_flood() {
    let node = node(&[("limits.frames_per_s", "10"), ("auth.open_may", "publish")]);
    let mut witness = Witness::new(&node);
    let mut peer = Ws::welcomed(ws(&node));
    for n in 0..40 {
        peer.send(&frame(&ClientFrame::Ping { client_us: n }));
    }
    closed_with(&mut peer, CloseCode::Flooding.websocket());
    witness.is_well();
    node.stop();
}

#[test]
fn silence_has_three_codes() {
    let node = node(&[
        ("limits.first_frame_timeout_ms", "100"),
        ("limits.heartbeat_ms", "1000"),
        ("quic.keep_alive_ms", "0"),
    ]);
    let mut silent = Ws::open(ws(&node), "/v1");
    let mut quiet = Ws::welcomed(ws(&node));
    let mut quic = Quic::welcomed(node.addresses().quic.unwrap());
    closed_with(&mut silent, CloseCode::HelloTimeout.websocket());
    closed_with(&mut quiet, CloseCode::HeartbeatTimeout.websocket());
    let End::Closed(code, reason) = quic.until_close() else { panic!("a code was due") };
    assert_eq!(code, u64::from(CloseCode::HeartbeatTimeout.wire()), "{reason}");
    node.stop();
}

#[test]
fn a_quic_connection_that_never_opens_its_stream_is_timed_out() {
    let node = node(&[("limits.handshake_timeout_ms", "100")]);
    let mut quic = Quic::open(node.addresses().quic.unwrap());
    let End::Closed(code, reason) = quic.until_close() else { panic!("a code was due") };
    assert_eq!(code, u64::from(CloseCode::HandshakeTimeout.wire()), "{reason}");
    until("its place is free again", || node.connections() == 0);
    node.stop();
}

#[test]
fn random_bytes_never_hurt_anybody() {
    let node = node(&[]);
    let mut witness = Witness::new(&node);
    let mut seed = 1u64;
    let mut random = move |n: usize| -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        (0..n).map(|_| next()).collect()
    };
    for round in 0..60 {
        let mut peer = if round % 2 == 0 { Ws::welcomed(ws(&node)) } else { Ws::open(ws(&node), "/v1") };
        let mut bytes = random(1 + round * 7);
        // A known kind in front gets the bytes past the first test, into the verifier.
        if round % 3 == 0 {
            bytes[0] = 1 + (round % 7) as u8;
        }
        // An unknown kind that may be ignored is no fault (F-4).
        if grandstand_protocol::frame::is_ignorable(bytes[0]) {
            bytes[0] = 0x1f;
        }
        peer.send(&bytes);
        assert!(matches!(peer.until_close(), Got::Close(4200..=4299, _)), "round {round}");
        let mut raw = Ws::open(ws(&node), "/v1");
        raw.send_raw(&random(200));
        let mut line = TcpStream::connect(ws(&node)).unwrap();
        // The node may have closed in the middle of it.
        let _ = line.write_all(&random(300));
    }
    let quic = node.addresses().quic.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..200 {
        let _ = socket.send_to(&random(1 + round * 5), quic);
    }
    witness.is_well();
    Quic::welcomed(quic);
    node.stop();
}

#[test]
fn unfinished_connections_fill_nothing_but_their_own_bound() {
    let (count, bound, workers) = (10_000, 2_000, 2);
    let node = node(&[
        ("node.workers", "2"),
        ("limits.handshakes_pending_max", "2000"),
        // Longer than they take to come: who was timed out lingers for a moment beside those that are
        // pending.
        ("limits.handshake_timeout_ms", "6000"),
    ]);
    let mut witness = Witness::new(&node);
    let mut sockets = Vec::with_capacity(count);
    let (mut most, mut most_waiting) = (0, 0);
    let waiting = || node.stats().iter().map(|stats| stats.waiting.of(WaitedFor::Handshake).get()).sum();
    for i in 0..count {
        // What the node has no room for, it resets.
        if let Ok(socket) = TcpStream::connect(ws(&node)) {
            sockets.push(socket);
        }
        if i % 1000 == 0 {
            witness.is_well();
            most = most.max(node.connections());
            most_waiting = most_waiting.max(waiting());
        }
    }
    assert!(most_waiting <= bound as u64, "{most_waiting} connections waited");
    // The witness, and those that a worker accepts in a turn and passes on to the other, which refuses them.
    assert!(most <= bound + 1 + workers * 64, "{most} connections stood");
    until("the unfinished are gone", || node.connections() == 1);
    witness.is_well();
    Ws::welcomed(ws(&node));
    node.stop();
}

#[test]
fn a_flood_of_initials_meets_retry_and_a_real_client_gets_in() {
    let node = node(&[("quic.retry_above", "32"), ("node.workers", "1")]);
    let address = node.addresses().quic.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in initials(400, address) {
        socket.send_to(&datagram, address).unwrap();
    }
    until("Retry is asked for", || node.stats().iter().map(|s| s.retries_sent.get()).sum::<u64>() > 300);
    assert!(node.connections() <= 33, "{} connections stand", node.connections());
    Quic::welcomed(address);
    node.stop();
}

/// First datagrams of handshakes that go no further.
fn initials(count: usize, address: SocketAddr) -> Vec<Vec<u8>> {
    use quinn::crypto::rustls::QuicClientConfig;
    let tls = grandstand_harness::trust::client_config(&[b"grandstand/1"]);
    let client = quinn_proto::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut endpoint = quinn_proto::Endpoint::new(Arc::default(), None, true, None);
    let now = Instant::now();
    (0..count)
        .map(|_| {
            let (_, mut connection) = endpoint.connect(now, client.clone(), address, "localhost").unwrap();
            let mut datagram = Vec::new();
            assert!(connection.poll_transmit(now, 1, &mut datagram).is_some(), "an Initial");
            datagram
        })
        .collect()
}

#[test]
fn a_client_may_move_to_another_address() {
    let node = node(&[("node.workers", "2")]);
    for _ in 0..8 {
        let mut quic = Quic::welcomed(node.addresses().quic.unwrap());
        quic.migrate();
        quic.send(&frame(&ClientFrame::Ping { client_us: 5 }));
        let pong = quic.next_frame();
        assert!(matches!(ServerFrame::decode(&pong).unwrap(), ServerFrame::Pong { client_us: 5, .. }));
    }
    node.stop();
}

#[test]
fn another_protocol_or_version_is_refused() {
    let node = node(&[]);
    let refused = Quic::try_open(node.addresses().quic.unwrap(), b"h3").err().expect("no common protocol");
    assert!(refused.contains("ALPN") || refused.contains("protocol"), "{refused}");
    node.stop();
}

#[test]
fn only_version_1_of_quic_is_advertised() {
    let node = node(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // RFC 9000, 17.2: a long header of a draft version, two connection IDs of 8 bytes, padded to 1,200 bytes.
    let mut datagram = vec![0xc0, 0xff, 0, 0, 29, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9];
    datagram.resize(1200, 0);
    socket.send_to(&datagram, node.addresses().quic.unwrap()).unwrap();
    let mut answer = [0; 1500];
    let n = socket.recv(&mut answer).expect("version negotiation");
    assert!(answer[0] & 0x80 != 0 && answer[1..5] == [0; 4], "{:x?}", &answer[..n]);
    let versions: Vec<u32> =
        answer[23..n].chunks(4).map(|v| u32::from_be_bytes(v.try_into().expect("four bytes"))).collect();
    // RFC 9000, 15: versions of the form 0x?a?a?a?a are there to be ignored.
    let real: Vec<u32> = versions.into_iter().filter(|v| v & 0x0f0f_0f0f != 0x0a0a_0a0a).collect();
    assert_eq!(real, [1]);
    node.stop();
}
