//! Proxies before a node, spoken by hand: whose word about a client's address counts, and for what.
//!
//! Why by hand: a real proxy sends neither a wrong header nor one byte at a time; `proxies_real` has the real
//! ones. Peers are told apart by their address on loopback: 127.0.0.9 is the trusted proxy.
//! Not here: the syntax of the headers (`grandstand_protocol::proxy`).
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use common::node;
use common::ws::{Got, Ws, socket_from};
use grandstand::Node;
use grandstand_edge::stats::TurnedAway;
use grandstand_harness::wait::until;
use grandstand_protocol::frame::{ClientFrame, Publish, ServerFrame};
use grandstand_protocol::proxy::{HEADER_BYTES_MAX, write_v1, write_v2};

const PROXY: &str = "127.0.0.9";
const STRANGER: &str = "127.0.0.8";

/// A node on which an address may have two connections, loopback included, and `PROXY` is trusted.
fn limited(more: &[(&str, &str)]) -> Node {
    let keys = [
        ("limits.loopback_exempt", "false"),
        ("limits.connections_per_address_max", "2"),
        ("proxy.trusted", PROXY),
    ];
    node(&[&keys, more].concat())
}

fn port(node: &Node, is_tls: bool) -> SocketAddr {
    let addresses = node.addresses();
    if is_tls { addresses.wss.unwrap() } else { addresses.ws.unwrap() }
}

/// Upgrade over a connection from this address, with this before all else and these headers.
fn open(node: &Node, is_tls: bool, from: &str, first: &[u8], headers: &str) -> Result<Ws, String> {
    let mut socket = socket_from(from, port(node, is_tls));
    socket.write_all(first).unwrap();
    Ws::over(socket, is_tls, "/v1", headers)
}

fn welcome(mut ws: Ws) -> Ws {
    ws.send(&common::hello());
    assert!(matches!(ws.next(), Got::Frame(frame) if frame[0] == 0x41), "a welcome");
    ws
}

fn is_limited(answer: &Result<Ws, String>) -> bool {
    answer.as_ref().is_err_and(|said| said.starts_with("HTTP/1.1 429") && said.contains("Retry-After"))
}

fn refused(node: &Node, why: TurnedAway) -> u64 {
    node.stats().iter().map(|stats| stats.turned_away.of(why).get()).sum()
}

#[test]
fn a_header_of_a_trusted_proxy_names_the_client_and_nobody_else_s_does() {
    for (kind, header) in
        [("proxy.x_forwarded_for", "X-Forwarded-For: "), ("proxy.forwarded", "Forwarded: for=")]
    {
        let node = limited(&[(kind, "true")]);
        for is_tls in [false, true] {
            let open = |from, client: &str| open(&node, is_tls, from, b"", &format!("{header}{client}\r\n"));
            // Many clients, one proxy.
            let many: Vec<_> =
                (0..40).map(|n| welcome(open(PROXY, &format!("198.51.100.{n}")).unwrap())).collect();
            // One client is limited, whatever it wrote before the proxy's entry.
            let one: Vec<_> = (0..2).map(|_| welcome(open(PROXY, "203.0.113.5").unwrap())).collect();
            assert!(is_limited(&open(PROXY, "203.0.113.5")), "the third of one client");
            let entry = header.split_once(": ").unwrap().1;
            for forged in ["192.0.2.1", "unknown", "127.0.0.9", "127.0.0.1"] {
                assert!(is_limited(&open(PROXY, &format!("{forged}, {entry}203.0.113.5"))), "{forged}");
            }
            let lines = format!("192.0.2.1\r\n{header}203.0.113.5");
            assert!(is_limited(&open(PROXY, &lines)), "in two lines");
            // The header of anybody else says nothing.
            let own: Vec<_> =
                (0..2).map(|n| welcome(open(STRANGER, &format!("192.0.2.{n}")).unwrap())).collect();
            assert!(!own.is_empty());
            let third = open(STRANGER, "192.0.2.99");
            // It is refused as it is accepted: over TLS it is closed.
            assert!(if is_tls { third.is_err() } else { is_limited(&third) }, "a stranger's third");
            assert_eq!(node.connections(), 44, "who is refused holds no place");
            drop((many, one, own));
            until("all have gone", || node.connections() == 0);
        }
        node.stop();
    }
}

#[test]
fn a_trusted_proxy_itself_is_not_limited_as_one_client() {
    let node = limited(&[("proxy.forwarded", "true")]);
    let hidden = "Forwarded: for=_hidden\r\n";
    let all: Vec<_> = (0..20)
        .map(|n| welcome(open(&node, n % 2 == 0, PROXY, b"", ["", hidden][n / 10]).unwrap()))
        .collect();
    let unnamed: u64 = node.stats().iter().map(|stats| stats.clients_unnamed.get()).sum();
    assert_eq!((node.connections(), unnamed), (20, 20));
    // What a client left open must not swallow the proxy's entry.
    let said = open(&node, false, PROXY, b"", "Forwarded: for=\"1.1.1.1, for=192.0.2.1\r\n").err().unwrap();
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    drop(all);
    node.stop();
}

/// Publish a number of times; returns how many publications were accepted.
fn accepted(ws: &mut Ws, times: u64) -> usize {
    ws.send(&common::subscribe(1, "show"));
    let ServerFrame::Subscribed(s) = ServerFrame::decode(&ws.next_frame()).unwrap() else {
        panic!("subscribed")
    };
    let alias = s.alias;
    let publish = |nonce| Publish { alias, nonce, text: "hello", ..Publish::default() };
    (1..=times).for_each(|nonce| ws.send(&common::frame(&ClientFrame::Publish(publish(nonce)))));
    let (mut accepted, mut answers) = (0, 0);
    while answers < times {
        match ServerFrame::decode(&ws.next_frame()).unwrap() {
            ServerFrame::Published(_) => (accepted, answers) = (accepted + 1, answers + 1),
            ServerFrame::Refused(_) => answers += 1,
            _ => {}
        }
    }
    accepted
}

#[test]
fn people_behind_a_proxy_that_names_nobody_are_not_one_person() {
    let node = limited(&[
        ("proxy.x_forwarded_for", "true"),
        ("limits.people_per_address", "1"),
        ("limits.publish_per_s", "1"),
        ("limits.publish_burst", "10"),
    ]);
    let join = || welcome(open(&node, false, PROXY, b"", "").unwrap());
    let (mut one, mut other) = (join(), join());
    assert!(accepted(&mut one, 30) < 30, "a person is limited");
    assert_eq!(accepted(&mut other, 10), 10, "another one by its own publications only");
    drop((one, other));
    node.stop();
}

fn header(version: u8, client: &str) -> Vec<u8> {
    let addresses = Some((client.parse().unwrap(), "192.0.2.80:443".parse().unwrap()));
    let mut out = Vec::new();
    match version {
        1 => write_v1(addresses, &mut out),
        // An ALPN and a NOOP behind the addresses.
        _ => write_v2(addresses, &[1, 0, 2, b'h', b'2', 4, 0, 1, 0], &mut out),
    }
    out
}

#[test]
fn the_proxy_protocol_names_clients_on_both_ports() {
    let node = limited(&[("proxy.protocol", "true"), ("node.workers", "2")]);
    for (is_tls, version) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
        let open = |client: &str| open(&node, is_tls, PROXY, &header(version, client), "");
        let many: Vec<_> =
            (0..40).map(|n| welcome(open(&format!("198.51.100.{n}:{}", 1000 + n)).unwrap())).collect();
        let one: Vec<_> = (0..2).map(|n| welcome(open(&format!("[2001:db8::{n}]:7")).unwrap())).collect();
        let third = open("[2001:db8::99]:7");
        assert!(if is_tls { third.is_err() } else { is_limited(&third) }, "one /64 is one client");
        // A health check of the proxy, in which it speaks for itself.
        let mut local = Vec::new();
        if version == 1 {
            write_v1(None, &mut local);
        } else {
            write_v2(None, b"", &mut local);
        }
        let own: Vec<_> =
            (0..4).map(|_| welcome(self::open(&node, is_tls, PROXY, &local, "").unwrap())).collect();
        // A client that is no proxy connects directly, under its own address.
        let direct = welcome(self::open(&node, is_tls, STRANGER, b"", "").unwrap());
        assert_eq!(node.connections(), 47);
        drop((many, one, own, direct));
        until("all have gone", || node.connections() == 0);
    }
    assert_eq!(refused(&node, TurnedAway::TooManyConnections), 4);
    node.stop();
}

#[test]
fn a_header_may_come_byte_by_byte_or_with_everything_behind_it() {
    let node = limited(&[("proxy.protocol", "true")]);
    for is_tls in [false, true] {
        for version in [1, 2] {
            let mut socket = socket_from(PROXY, port(&node, is_tls));
            for byte in header(version, "198.51.100.1:5") {
                socket.write_all(&[byte]).unwrap();
                // Loopback delivers at once; each byte is an event of its own.
                std::thread::yield_now();
            }
            let first = welcome(Ws::over(socket, is_tls, "/v1", "").unwrap());
            // The longest header there may be, with its request in the same write.
            let addresses = Some(("198.51.100.2:5".parse().unwrap(), "192.0.2.80:443".parse().unwrap()));
            let mut longest = Vec::new();
            write_v2(addresses, &vec![0; HEADER_BYTES_MAX - 28], &mut longest);
            assert_eq!(longest.len(), HEADER_BYTES_MAX);
            let second = welcome(open(&node, is_tls, PROXY, &longest, "").unwrap());
            let named: u64 = node.stats().iter().map(|stats| stats.clients_named.get()).sum();
            assert_eq!(named % 2, 0, "both were named");
            drop((first, second));
        }
    }
    let mut request = header(1, "198.51.100.1:5");
    request.extend_from_slice(b"GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(raw(socket_from(PROXY, port(&node, false)), &request).starts_with("HTTP/1.1 426"));
    node.stop();
}

/// Send bytes, and read to the end.
fn raw(mut socket: TcpStream, bytes: &[u8]) -> String {
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset behind the answer is as good as an end.
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_proxy_header_that_is_missing_wrong_or_nobody_s_is_refused() {
    let node = limited(&[("proxy.protocol", "true")]);
    let get = b"GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let too_long = {
        let mut bytes = header(2, "198.51.100.1:5");
        bytes[14..16].copy_from_slice(&(HEADER_BYTES_MAX as u16).to_be_bytes());
        bytes
    };
    let before = refused(&node, TurnedAway::ProxyHeader);
    let wrong = [
        (PROXY, get.clone()),
        (PROXY, b"PROXY TCP4 nonsense\r\n".to_vec()),
        (PROXY, b"PROXY TCP4 ".iter().copied().chain([b'1'; 200]).collect()),
        (PROXY, too_long),
        (PROXY, vec![0x16, 3, 1, 0, 5]),
        (STRANGER, header(1, "198.51.100.1:5")),
        (STRANGER, header(2, "198.51.100.1:5")),
    ];
    for (from, bytes) in &wrong {
        let answer = raw(socket_from(from, port(&node, false)), bytes);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?} to {bytes:x?} from {from}");
        assert_eq!(raw(socket_from(from, port(&node, true)), bytes), "", "{bytes:x?} from {from}");
    }
    // Over TLS a stranger's first bytes that are neither are the TLS layer's to refuse.
    assert_eq!(refused(&node, TurnedAway::ProxyHeader) - before, 2 * wrong.len() as u64);
    // Two headers: the second is a client's.
    let twice = [header(1, "198.51.100.1:5"), header(1, "203.0.113.1:5")].concat();
    assert!(raw(socket_from(PROXY, port(&node, false)), &twice).starts_with("HTTP/1.1 400"));
    until("all have gone", || node.connections() == 0);
    node.stop();
}

#[test]
fn a_header_of_http_counts_behind_a_proxy_header_of_a_trusted_proxy_only() {
    let node = limited(&[("proxy.protocol", "true"), ("proxy.x_forwarded_for", "true")]);
    let open = |source, header: &str| {
        let headers = format!("X-Forwarded-For: {header}\r\n");
        open(&node, false, PROXY, &self::header(1, source), &headers)
    };
    // A client that the first proxy names writes what it likes.
    let own: Vec<_> =
        (0..2).map(|n| welcome(open("198.51.100.1:5", &format!("203.0.113.{n}")).unwrap())).collect();
    assert!(is_limited(&open("198.51.100.1:5", "203.0.113.9")));
    // Another trusted proxy before the first one names many.
    let many: Vec<_> =
        (0..10).map(|n| welcome(open("127.0.0.9:5", &format!("203.0.113.{n}")).unwrap())).collect();
    assert_eq!(node.connections(), 12);
    drop((own, many));
    node.stop();
}

/// A node process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The log of a process names the client behind the proxy, the reason, and a proxy that is set up wrong.
#[test]
fn the_log_names_the_client_that_is_refused() {
    let ws = grandstand_harness::wait::free_port();
    let at = ws.to_string();
    let child = Command::new(env!("CARGO_BIN_EXE_grandstand"))
        .args(common::serve_ws_at(&at))
        .args([
            "--proxy-trusted",
            PROXY,
            "--proxy-protocol",
            "on",
            "--limits-connections-per-address-max",
            "1",
        ])
        .args(["--limits-loopback-exempt", "off", "--ws-origins", "https://good.example"])
        .env_remove("GRANDSTAND_CONFIG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut next = |part: &str| {
        lines.by_ref().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no line has {part}"))
    };
    next("ready");
    let open = |from: &str, first: &[u8], headers: &str| {
        let mut socket = socket_from(from, ws);
        socket.write_all(first).unwrap();
        Ws::over(socket, false, "/v1", headers)
    };
    let first = open(PROXY, &header(1, "198.51.100.7:5"), "").unwrap();
    assert!(is_limited(&open(PROXY, &header(2, "198.51.100.7:6"), "")));
    let line = next("a connection was refused");
    assert!(line.contains("client=198.51.100.7") && line.contains("too_many_connections"), "{line}");
    drop(open(PROXY, &header(2, "198.51.100.8:6"), "Origin: https://evil.example\r\n").err().expect("403"));
    let line = next("an upgrade was refused");
    assert!(line.contains("client=198.51.100.8") && line.contains("status=403"), "{line}");
    let mut wrong = open(PROXY, &header(2, "198.51.100.8:6"), "").unwrap();
    wrong.send(&[0x1f]);
    assert!(matches!(wrong.until_close(), Got::Close(..)));
    let line = next("a connection was closed");
    assert!(line.contains("client=198.51.100.8") && line.contains("code=unknown_kind"), "{line}");
    drop(open(PROXY, b"", "").err().expect("no header"));
    let line = next("no PROXY header came");
    assert!(line.contains("peer=127.0.0.9") && line.contains("proxy.protocol"), "{line}");
    drop(open(STRANGER, &header(1, "198.51.100.9:5"), "").err().expect("a stranger's header"));
    let line = next("a PROXY header came where none is due");
    assert!(line.contains("peer=127.0.0.8") && line.contains("proxy.trusted"), "{line}");
    drop(first);
}

/// Ten connections that name nobody, of each of two proxies: a line for each proxy.
#[test]
fn the_log_names_a_proxy_that_names_nobody_once() {
    let ws = grandstand_harness::wait::free_port();
    let at = ws.to_string();
    let child = Command::new(env!("CARGO_BIN_EXE_grandstand"))
        .args(common::serve_ws_at(&at))
        .args(["--proxy-trusted", "127.0.0.9, 127.0.0.10", "--proxy-x-forwarded-for", "on"])
        .args(["--node-workers", "2"])
        .env_remove("GRANDSTAND_CONFIG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.by_ref().find(|line| line.contains("ready")).expect("it is ready");
    for n in 0..20 {
        let from = if n % 2 == 0 { PROXY } else { "127.0.0.10" };
        drop(welcome(Ws::over(socket_from(from, ws), false, "/v1", "").unwrap()));
        drop(welcome(
            Ws::over(socket_from(from, ws), false, "/v1", "X-Forwarded-For: 198.51.100.1\r\n").unwrap(),
        ));
    }
    // The last line that it writes comes after all others.
    drop(process);
    let told: Vec<_> = lines.filter(|line| line.contains("names no client")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for proxy in ["proxy=127.0.0.9 ", "proxy=127.0.0.10 "] {
        assert_eq!(told.iter().filter(|line| format!("{line} ").contains(proxy)).count(), 1, "{told:?}");
    }
}

/// A proxy whose client leaves at once sends its header and its end together.
#[test]
fn who_leaves_right_behind_its_header_holds_no_place() {
    let node = limited(&[("proxy.protocol", "true"), ("limits.handshake_timeout_ms", "60000")]);
    for n in 0..100 {
        let is_tls = n % 2 == 0;
        let socket = socket_from(PROXY, port(&node, is_tls));
        (&socket).write_all(&header(1 + n / 50, &format!("198.51.100.{n}:5"))).unwrap();
        drop(socket);
    }
    until("all have gone", || node.connections() == 0);
    node.stop();
}

#[test]
fn a_silent_proxy_is_timed_out_and_harms_nobody() {
    let node = limited(&[("proxy.protocol", "true"), ("limits.handshake_timeout_ms", "100")]);
    let mut silent = socket_from(PROXY, port(&node, false));
    silent.write_all(b"PROXY TCP4 198.5").unwrap();
    let named = socket_from(PROXY, port(&node, false));
    (&named).write_all(&header(1, "198.51.100.1:5")).unwrap();
    assert!(raw(silent, b"").starts_with("HTTP/1.1 408"));
    assert!(raw(named, b"").starts_with("HTTP/1.1 408"));
    let closed = socket_from(PROXY, port(&node, false));
    (&closed).write_all(b"PROXY TCP4 198.5").unwrap();
    drop(closed);
    until("all have gone", || node.connections() == 0);
    node.stop();
}
