//! Addresses of a QUIC connection: an address that has proven nothing gets at most three times what came from
//! it, and a client that moves goes on. Clients are made by hand over several loopback addresses, and bytes
//! are counted at each.
//!
//! Not here: the counting itself (`edge/src/quic/paths.rs`).
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::ws::Ws;
use common::{PATIENCE, frame, hello, node, subscribe};
use grandstand_protocol::frame::{ClientFrame, Publish, ServerFrame};
use grandstand_protocol::{stream, version};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, StreamId,
    TransportConfig,
};

/// Addresses that the attacker writes into its datagrams.
const VICTIMS: u8 = 200;

/// An address of a client, and what passed there.
struct Place {
    socket: UdpSocket,
    sent: usize,
    got: usize,
    /// What had been sent when the first datagram came, and that datagram's size.
    first: Option<(usize, usize)>,
}

/// A client by hand.
struct Hand {
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: Connection,
    node: SocketAddr,
    places: Vec<Place>,
    /// The place that sends.
    at: usize,
    /// The place whose datagrams the client gets; those of others are only counted.
    hears: usize,
    stream: Option<StreamId>,
    /// Bytes of frames.
    read: usize,
}

impl Hand {
    /// A client with a session.
    fn welcomed(node: SocketAddr, places: u8) -> Hand {
        let tls = grandstand_harness::trust::client_config(&[version::ALPN]);
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let mut transport = TransportConfig::default();
        transport.mtu_discovery_config(None);
        config.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::new(Arc::default(), None, true, None);
        let (handle, connection) = endpoint.connect(Instant::now(), config, node, "localhost").unwrap();
        let place = |n: u8| {
            let socket = UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 0, n + 1), 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            Place { socket, sent: 0, got: 0, first: None }
        };
        let places = (0..places).map(place).collect();
        let (at, hears) = (0, 0);
        let mut hand = Hand { endpoint, handle, connection, node, places, at, hears, stream: None, read: 0 };
        hand.until("the handshake", |hand| !hand.connection.is_handshaking());
        hand.stream = hand.connection.streams().open(Dir::Bi);
        hand.send(&hello());
        hand.until("a welcome", |hand| hand.read > 0);
        // The rest of the handshake, and the path's MTU.
        hand.run(Duration::from_millis(300));
        hand
    }

    fn send(&mut self, frame: &[u8]) {
        let mut out = Vec::new();
        stream::write_header(frame.len(), &mut out);
        out.extend_from_slice(frame);
        let stream = self.stream.unwrap();
        assert_eq!(self.connection.send_stream(stream).write(&out).unwrap(), out.len());
    }

    /// Send a packet of some 34 bytes.
    fn ping(&mut self) {
        self.connection.ping();
        self.turn();
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let mut buffer = [0; 2048];
        for (n, place) in self.places.iter_mut().enumerate() {
            while let Ok((bytes, _)) = place.socket.recv_from(&mut buffer) {
                place.got += bytes;
                place.first.get_or_insert((place.sent, bytes));
                if n != self.hears {
                    continue;
                }
                let datagram = BytesMut::from(&buffer[..bytes]);
                let event = self.endpoint.handle(now, self.node, None, None, datagram, &mut Vec::new());
                if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                    self.connection.handle_event(event);
                }
            }
        }
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
        }
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(event);
            }
        }
        while let Some(event) = self.connection.poll() {
            assert!(!matches!(event, Event::ConnectionLost { .. }), "{event:?}");
        }
        if let Some(stream) = self.stream
            && let Ok(mut chunks) = self.connection.recv_stream(stream).read(true)
        {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                self.read += chunk.bytes.len();
            }
            let _ = chunks.finalize();
        }
        let mut datagram = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(now, 1, &mut datagram) {
            let place = &mut self.places[self.at];
            place.sent += place.socket.send_to(&datagram[..transmit.size], self.node).unwrap();
            datagram.clear();
        }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Hand) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: not in time");
            self.turn();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn publish(ws: &mut Ws, alias: u32, nonce: u64) {
    let said = Publish { alias, nonce, text: "hello", ..Publish::default() };
    ws.send(&frame(&ClientFrame::Publish(said)));
}

#[test]
fn an_address_without_proof_gets_at_most_three_times_what_came() {
    let node = node(&[("node.workers", "1")]);
    let mut hand = Hand::welcomed(node.addresses().quic.unwrap(), VICTIMS + 1);
    let begin = Instant::now();
    for victim in 1..=usize::from(VICTIMS) {
        hand.at = victim;
        hand.ping();
    }
    // Two probe timeouts of a path that is not known, in which everything is sent again.
    hand.at = 0;
    hand.run(Duration::from_secs(3));
    let victims = &hand.places[1..];
    let (sent, got) = victims.iter().fold((0, 0), |(sent, got), place| (sent + place.sent, got + place.got));
    let reached = victims.iter().filter(|place| place.got > 0).count();
    println!("{sent} bytes sent, {got} bytes came to {reached} of {VICTIMS} addresses");
    for (n, place) in victims.iter().enumerate() {
        assert!(place.got <= 3 * place.sent, "{n}: {} bytes for {}", place.got, place.sent);
    }
    let most = 8 + begin.elapsed().as_secs() as usize / 2 + 1;
    assert!(reached >= 1 && reached <= most, "{reached} addresses were reached");
    let sum = |of: fn(&grandstand_edge::stats::Stats) -> u64| node.stats().iter().map(|s| of(s)).sum::<u64>();
    assert!(sum(|s| s.paths_refused.get()) > 0);
    node.stop();
}

#[test]
fn a_client_that_moves_goes_on_and_is_challenged_within_three_times_what_came() {
    let node = node(&[("node.workers", "1")]);
    let mut hand = Hand::welcomed(node.addresses().quic.unwrap(), 6);
    hand.send(&subscribe(1, "show"));
    let mut ws = Ws::welcomed(node.addresses().ws.unwrap());
    ws.send(&subscribe(1, "show"));
    let alias = loop {
        if let Ok(ServerFrame::Subscribed(s)) = ServerFrame::decode(&ws.next_frame()) {
            break s.alias;
        }
    };
    hand.run(Duration::from_millis(100));
    for (nonce, place) in (1..).zip(1..6) {
        // The address before is dead: what is sent there now is lost.
        (hand.at, hand.hears) = (place, place);
        publish(&mut ws, alias, nonce);
        let before = hand.read;
        hand.run(Duration::from_millis(200));
        let begin = Instant::now();
        hand.ping();
        hand.until("the message", |hand| hand.read > before);
        let (sent, first) = hand.places[place].first.unwrap();
        println!("move {place}: {first} bytes for {sent}, the message after {:?}", begin.elapsed());
        assert!(first <= 3 * sent, "{first} bytes for {sent}");
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
    node.stop();
}
