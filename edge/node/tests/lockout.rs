//! Lock-outs: strangers that hold connections at any stage before the session keep nobody else out.
//!
//! Why over sockets: each transport and stage takes and leaves its place in a line somewhere else.
//! The sizes are small by configuration, and nothing ends by its own time within a test.
//! Not here: the rules of a line, and attacks of thousands (`edge/core/src/admission/waiting/tests.rs`).
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use common::quic::Quic;
use common::ws::{Got, Ws, socket_from};
use common::{frame, node};
use grandstand::Node;
use grandstand_edge::stats::WaitedFor;
use grandstand_harness::trust::client_config;
use grandstand_harness::wait::until;
use grandstand_protocol::frame::{ClientFrame, Hello, ServerFrame};
use grandstand_protocol::version;
use quinn::crypto::rustls::QuicClientConfig;

/// Attackers, and the connections that each wants to hold.
const ATTACKERS: u8 = 5;
const EACH: usize = 30;

/// Places of a line over all workers.
const PLACES: usize = 64;

/// How far an attacker's connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SilentTcp,
    HalfUpgrade,
    SilentWebSocket,
    SilentTls,
    OneByteOfTls,
    HalfClientHello,
    SilentAfterTls,
    HalfUpgradeInTls,
    SilentWebSocketInTls,
    HalfQuic,
    QuicWithoutHello,
}

const KINDS: [Kind; 11] = [
    Kind::SilentTcp,
    Kind::HalfUpgrade,
    Kind::SilentWebSocket,
    Kind::SilentTls,
    Kind::OneByteOfTls,
    Kind::HalfClientHello,
    Kind::SilentAfterTls,
    Kind::HalfUpgradeInTls,
    Kind::SilentWebSocketInTls,
    Kind::HalfQuic,
    Kind::QuicWithoutHello,
];

const HALF_UPGRADE: &[u8] = b"GET /v1 HTTP/1.1\r\nHost: a\r\n";

/// A connection that an attacker holds.
enum Held {
    Tcp(TcpStream),
    /// The socket, and its TLS.
    Tls(TcpStream, #[expect(dead_code, reason = "held")] Box<dyn Send>),
    Quic(quinn::Connection),
    /// It cannot tell whether the node holds it still.
    Initial,
}

impl Held {
    fn is_open(&self) -> bool {
        match self {
            Held::Tcp(socket) | Held::Tls(socket, _) => {
                socket.set_nonblocking(true).unwrap();
                let mut bytes = [0; 4096];
                loop {
                    match (&*socket).read(&mut bytes) {
                        // A ticket of TLS, or an answer to the upgrade.
                        Ok(n) if n > 0 && !bytes[..n].starts_with(b"HTTP/1.1 503") => {}
                        Err(error) => return error.kind() == ErrorKind::WouldBlock,
                        Ok(_) => return false,
                    }
                }
            }
            Held::Quic(connection) => connection.close_reason().is_none(),
            Held::Initial => false,
        }
    }
}

/// Strangers that open connections and say as little as they can.
struct Attack {
    kind: Kind,
    addresses: Vec<String>,
    at: (SocketAddr, SocketAddr, SocketAddr),
    held: Vec<Option<Held>>,
    runtime: tokio::runtime::Runtime,
    endpoints: Vec<quinn::Endpoint>,
    sockets: Vec<UdpSocket>,
}

impl Attack {
    fn new(node: &Node, kind: Kind, is_one_net: bool) -> Attack {
        let address =
            |n: u8| if is_one_net { format!("127.64.0.{}", n + 1) } else { format!("127.{}.0.1", 64 + n) };
        let addresses: Vec<String> = (0..ATTACKERS).map(address).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let endpoints = addresses.iter().map(|address| {
            let mut endpoint = quinn::Endpoint::client(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
            let tls = QuicClientConfig::try_from(client_config(&[version::ALPN])).unwrap();
            endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
            endpoint
        });
        let endpoints = endpoints.collect();
        let sockets =
            addresses.iter().map(|address| UdpSocket::bind((address.as_str(), 0)).unwrap()).collect();
        drop(_guard);
        let addresses_of = node.addresses();
        let at = (addresses_of.ws.unwrap(), addresses_of.wss.unwrap(), addresses_of.quic.unwrap());
        let held = (0..EACH * usize::from(ATTACKERS)).map(|_| None).collect();
        Attack { kind, addresses, at, held, runtime, endpoints, sockets }
    }

    /// Open a connection for each that is not open.
    fn fill(&mut self) {
        // What has come over QUIC is seen only while its runtime runs.
        self.runtime.block_on(async {
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
        });
        for n in 0..self.held.len() {
            if !self.held[n].as_ref().is_some_and(Held::is_open) {
                self.held[n] = self.open(n % self.addresses.len());
            }
        }
    }

    /// `None`: the node did not let it get so far.
    fn open(&self, attacker: usize) -> Option<Held> {
        let (ws, wss, quic) = self.at;
        let tcp = |at, bytes: &[u8]| {
            let mut socket = socket_from(&self.addresses[attacker], at);
            socket.write_all(bytes).ok()?;
            Some(Held::Tcp(socket))
        };
        match self.kind {
            Kind::SilentTcp => tcp(ws, b""),
            Kind::HalfUpgrade => tcp(ws, HALF_UPGRADE),
            Kind::SilentTls => tcp(wss, b""),
            Kind::OneByteOfTls => tcp(wss, &[22]),
            Kind::HalfClientHello => {
                let mut hello = Vec::new();
                tls().write_tls(&mut hello).unwrap();
                tcp(wss, &hello[..hello.len() / 2])
            }
            Kind::SilentAfterTls | Kind::HalfUpgradeInTls => {
                let mut socket = socket_from(&self.addresses[attacker], wss);
                let mut tls = tls();
                while tls.is_handshaking() {
                    tls.complete_io(&mut socket).ok()?;
                }
                if self.kind == Kind::HalfUpgradeInTls {
                    tls.writer().write_all(HALF_UPGRADE).unwrap();
                    tls.complete_io(&mut socket).ok()?;
                }
                Some(Held::Tls(socket, Box::new(tls)))
            }
            Kind::SilentWebSocket | Kind::SilentWebSocketInTls => {
                let is_tls = self.kind == Kind::SilentWebSocketInTls;
                let socket = socket_from(&self.addresses[attacker], if is_tls { wss } else { ws });
                let own = socket.try_clone().unwrap();
                let ws = Ws::over(socket, is_tls, "/v1", "").ok()?;
                Some(Held::Tls(own, Box::new(ws)))
            }
            Kind::HalfQuic => {
                self.sockets[attacker].send_to(&initial(quic), quic).unwrap();
                Some(Held::Initial)
            }
            Kind::QuicWithoutHello => {
                let endpoint = &self.endpoints[attacker];
                let connecting = self.runtime.block_on(async {
                    let connecting = endpoint.connect(quic, "localhost").unwrap();
                    tokio::time::timeout(common::PATIENCE, connecting).await
                });
                connecting.ok()?.ok().map(Held::Quic)
            }
        }
    }
}

fn tls() -> rustls::ClientConnection {
    let tls = Arc::new(client_config(&[b"http/1.1"]));
    rustls::ClientConnection::new(tls, "localhost".try_into().unwrap()).unwrap()
}

/// The first datagram of a handshake that goes no further.
fn initial(to: SocketAddr) -> Vec<u8> {
    let tls = client_config(&[version::ALPN]);
    let client = quinn_proto::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut endpoint = quinn_proto::Endpoint::new(Arc::default(), None, true, None);
    let now = Instant::now();
    let (_, mut connection) = endpoint.connect(now, client, to, "localhost").unwrap();
    let mut datagram = Vec::new();
    assert!(connection.poll_transmit(now, 1, &mut datagram).is_some(), "an Initial");
    datagram
}

/// A viewer from an address of its own, over one of the transports.
enum Viewer {
    Ws(Ws),
    Quic(Box<Quic>),
}

impl Viewer {
    /// Connect once, and say hello with this ticket.
    fn come(node: &Node, from: &str, transport: usize, ticket: &[u8]) -> Result<(Viewer, Vec<u8>), String> {
        let addresses = node.addresses();
        let mut viewer = match transport {
            0 => Viewer::Ws(Ws::over(socket_from(from, addresses.ws.unwrap()), false, "/v1", "")?),
            1 => Viewer::Ws(Ws::over(socket_from(from, addresses.wss.unwrap()), true, "/v1", "")?),
            _ => Viewer::Quic(Box::new(Quic::try_open_from(from, addresses.quic.unwrap(), version::ALPN)?)),
        };
        let hello = frame(&ClientFrame::Hello(Hello { ticket, ..Hello::default() }));
        let welcome = match &mut viewer {
            Viewer::Ws(ws) => {
                ws.send(&hello);
                match ws.next() {
                    Got::Frame(frame) => frame,
                    other => return Err(format!("{other:?}")),
                }
            }
            Viewer::Quic(quic) => {
                quic.send(&hello);
                quic.try_next_frame().map_err(|end| format!("{end:?}"))?
            }
        };
        match ServerFrame::decode(&welcome) {
            Ok(ServerFrame::Welcome(welcome)) if welcome.resumed != ticket.is_empty() => {
                Ok((viewer, welcome.ticket.to_vec()))
            }
            other => Err(format!("{other:?}")),
        }
    }
}

/// A session that was there before, and is answered still.
fn goes_on(inside: &mut Ws, client_us: u64) {
    inside.send(&frame(&ClientFrame::Ping { client_us }));
    let pong = inside.next_frame();
    assert!(
        matches!(ServerFrame::decode(&pong), Ok(ServerFrame::Pong { client_us: us, .. }) if us == client_us)
    );
}

fn displaced(node: &Node) -> u64 {
    let of = |waited_for| node.stats().iter().map(|s| s.displaced.of(waited_for).get()).sum::<u64>();
    of(WaitedFor::Handshake) + of(WaitedFor::Hello)
}

/// Viewers come while an attack of this kind goes on, stay, and come back with their tickets.
fn keeps_nobody_out(kind: Kind, is_one_net: bool, keys: &[(&str, &str)], attackers_max: usize) {
    let mut all = vec![
        ("node.workers", "2"),
        ("limits.loopback_exempt", "false"),
        // Nothing ends by its own time: whoever leaves gave way.
        ("limits.handshake_timeout_ms", "600000"),
        ("limits.first_frame_timeout_ms", "600000"),
        ("quic.retry_above", "100000"),
    ];
    all.extend_from_slice(keys);
    let node = node(&all);
    let mut inside = Ws::welcomed(node.addresses().ws.unwrap());
    let mut attack = Attack::new(&node, kind, is_one_net);
    until("the attackers hold their share", || {
        attack.fill();
        node.connections() > attackers_max / 2
    });
    let mut stayed = Vec::new();
    for n in 0..12 {
        attack.fill();
        let (from, transport) = (format!("127.{}.7.7", 100 + n), n % 3);
        let (viewer, ticket) = Viewer::come(&node, &from, transport, b"")
            .unwrap_or_else(|why| panic!("{kind:?}: new viewer {n}: {why}"));
        drop(viewer);
        attack.fill();
        let (viewer, _) = Viewer::come(&node, &from, transport, &ticket)
            .unwrap_or_else(|why| panic!("{kind:?}: viewer {n} comes back: {why}"));
        stayed.push(viewer);
        goes_on(&mut inside, n as u64);
    }
    // A third of those that left did so over QUIC, where a client that is dropped tells nobody.
    let others = 1 + stayed.len() + stayed.len() / 3;
    until("the attackers hold no more than their share", || node.connections() <= others + attackers_max);
    node.stop();
}

#[test]
fn no_wait_before_the_session_keeps_others_out() {
    let places = PLACES.to_string();
    // A neighbourhood may hold half of the places, and half of a quarter more where its clients come back.
    // Each worker may be about to refuse one.
    let share = PLACES / 2 + PLACES / 8 + 2;
    for kind in KINDS {
        keeps_nobody_out(kind, true, &[("limits.handshakes_pending_max", &places)], share);
    }
}

#[test]
fn nor_does_it_while_the_node_is_full() {
    for kind in KINDS {
        // The lines have room for all, and the node has not: who waits gives way to who comes.
        keeps_nobody_out(kind, false, &[("limits.connections_max", "40")], 39);
    }
}

/// An address with sessions and silent connections, as many as it may have: the silent ones go.
#[test]
fn an_address_that_has_all_it_may_gives_up_its_own_silent_ones() {
    const OWN: &str = "127.64.0.1";
    for kind in KINDS {
        let node = node(&[
            ("node.workers", "1"),
            ("limits.loopback_exempt", "false"),
            ("limits.connections_per_address_max", "6"),
            // A silent one has a tenth of it before it gives way to its own.
            ("limits.handshake_timeout_ms", "10000"),
            ("limits.first_frame_timeout_ms", "600000"),
            ("quic.retry_above", "100000"),
        ]);
        let mut inside = Ws::over(socket_from(OWN, node.addresses().ws.unwrap()), false, "/v1", "").unwrap();
        inside.send(&common::hello());
        inside.next_frame();
        let mut stayed: Vec<Viewer> =
            (0..2).map(|n| Viewer::come(&node, OWN, n, b"").expect("it has places").0).collect();
        let attack = Attack::new(&node, kind, false);
        assert_eq!(attack.addresses[0], OWN);
        let _held: Vec<_> = (0..3).map(|_| attack.open(0).expect("it has places")).collect();
        until("it has all that it may", || node.connections() == 6);
        for transport in 0..3 {
            until("a new one gets in", || {
                let come = Viewer::come(&node, OWN, transport, b"");
                come.map(|(viewer, _)| stayed.push(viewer)).is_ok()
            });
            assert!(displaced(&node) > 0, "{kind:?}: none ended by its own time");
            goes_on(&mut inside, transport as u64);
        }
        assert_eq!((stayed.len(), node.connections()), (5, 6));
        assert!(Viewer::come(&node, OWN, 0, b"").is_err(), "{kind:?}: no session gives way");
        goes_on(&mut inside, 9);
        node.stop();
    }
}

#[test]
fn who_gives_way_is_told_and_counted() {
    let node = node(&[
        ("node.workers", "1"),
        ("limits.loopback_exempt", "false"),
        ("limits.handshake_timeout_ms", "600000"),
        ("limits.connections_max", "8"),
    ]);
    let at = node.addresses().ws.unwrap();
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(socket_from("127.64.0.1", at));
    }
    until("they hold what they may", || node.connections() == 8);
    let viewer = Viewer::come(&node, "127.65.0.1", 0, b"").map(|(viewer, _)| viewer).unwrap();
    let mut told = String::new();
    silent[0].read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("Retry-After: 1"), "{told}");
    assert_eq!(displaced(&node), 1);
    // A WebSocket that says no hello is told by a close code.
    drop(silent);
    until("they are gone", || node.connections() == 1);
    let mut silent: Vec<Ws> =
        (0..7).map(|_| Ws::over(socket_from("127.64.0.1", at), false, "/v1", "").unwrap()).collect();
    let _second = Viewer::come(&node, "127.66.0.1", 0, b"").unwrap();
    let Got::Frame(error) = silent[0].next() else { panic!("an error is due") };
    assert!(matches!(ServerFrame::decode(&error), Ok(ServerFrame::Error(e)) if e.code == 104), "{error:?}");
    assert!(matches!(silent[0].until_close(), Got::Close(4104, _)));
    assert_eq!(displaced(&node), 2);
    drop(viewer);
    node.stop();
}
