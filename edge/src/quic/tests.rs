//! The node's QUIC parameters against quinn's own client, over a link in virtual time that loses what it is
//! told to: how often the client acknowledges, and when what was lost comes again.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use grandstand_protocol::version::ALPN;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event,
    StreamId, VarInt,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs as provider;

use crate::config;

/// One way.
const DELAY: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(100);
const FRAME: [u8; 150] = [7; 150];

struct Side {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    address: SocketAddr,
    /// Datagrams on their way to this side.
    inbox: VecDeque<(Instant, Vec<u8>)>,
    sent: usize,
}

struct Link {
    now: Instant,
    node: Side,
    client: Side,
    stream: StreamId,
    /// The next datagrams of the node that are lost.
    lose: usize,
    received: usize,
}

impl Side {
    fn new(endpoint: Endpoint, port: u16) -> Side {
        let address = (IpAddr::from([127, 0, 0, 1]), port).into();
        Side { endpoint, connection: None, address, inbox: VecDeque::new(), sent: 0 }
    }

    fn handle(&mut self, now: Instant, from: SocketAddr) {
        while self.inbox.front().is_some_and(|(at, _)| *at <= now) {
            let (_, datagram) = self.inbox.pop_front().unwrap();
            let mut answer = Vec::new();
            match self.endpoint.handle(now, from, None, None, BytesMut::from(&datagram[..]), &mut answer) {
                Some(DatagramEvent::NewConnection(incoming)) => {
                    self.connection = self.endpoint.accept(incoming, now, &mut answer, None).ok();
                }
                Some(DatagramEvent::ConnectionEvent(_, event)) => {
                    self.connection.as_mut().unwrap().1.handle_event(event);
                }
                _ => {}
            }
        }
        let Some((handle, connection)) = self.connection.as_mut() else { return };
        if connection.poll_timeout().is_some_and(|at| at <= now) {
            connection.handle_timeout(now);
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
    }

    fn transmit(&mut self, now: Instant, to: &mut VecDeque<(Instant, Vec<u8>)>, lose: &mut usize) {
        let Some((_, connection)) = self.connection.as_mut() else { return };
        let mut datagram = Vec::new();
        while connection.poll_transmit(now, 1, &mut datagram).is_some() {
            let datagram = std::mem::take(&mut datagram);
            self.sent += 1;
            if *lose > 0 {
                *lose -= 1;
            } else {
                to.push_back((now + DELAY, datagram));
            }
        }
    }
}

impl Link {
    /// A client that has opened the session's stream.
    fn new(quic: &config::Quic) -> Link {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let tickets = crate::auth::Tickets::new([7; 32], 1_000);
        let config =
            super::settings::server_config(server_tls(&made), tickets.quic_token_key(), quic).unwrap();
        let node_config = Arc::new(super::settings::endpoint_config(0, 0, tickets.quic_reset_key()));
        let node = Side::new(Endpoint::new(node_config, Some(Arc::new(config)), true, None), 1);
        let mut client = Side::new(Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None), 2);
        let now = Instant::now();
        let config = client_config(&made.cert);
        client.connection = client.endpoint.connect(now, config, node.address, "localhost").ok();
        let mut link = Link {
            now,
            node,
            client,
            stream: StreamId::new(quinn_proto::Side::Client, Dir::Bi, 0),
            lose: 0,
            received: 0,
        };
        link.run(Duration::from_millis(500));
        let client = &mut link.client.connection.as_mut().unwrap().1;
        assert!(!client.is_handshaking());
        link.stream = client.streams().open(Dir::Bi).unwrap();
        client.send_stream(link.stream).write(b"hello").unwrap();
        // Until path MTU discovery is done too.
        link.run(Duration::from_secs(3));
        link
    }

    /// Let time go by.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(1);
            self.node.handle(self.now, self.client.address);
            self.client.handle(self.now, self.node.address);
            self.read();
            self.transmit();
        }
    }

    fn transmit(&mut self) {
        self.node.transmit(self.now, &mut self.client.inbox, &mut self.lose);
        self.client.transmit(self.now, &mut self.node.inbox, &mut 0);
    }

    fn read(&mut self) {
        for (side, is_client) in [(&mut self.client, true), (&mut self.node, false)] {
            let Some((_, connection)) = side.connection.as_mut() else { continue };
            while let Some(event) = connection.poll() {
                assert!(!matches!(event, Event::ConnectionLost { .. }), "{event:?}");
            }
            let _ = connection.streams().accept(Dir::Bi);
            let mut stream = connection.recv_stream(self.stream);
            let Ok(mut chunks) = stream.read(true) else { continue };
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                self.received += if is_client { chunk.bytes.len() } else { 0 };
            }
            let _ = chunks.finalize();
        }
    }

    /// The node writes a frame.
    fn write(&mut self) {
        let connection = &mut self.node.connection.as_mut().unwrap().1;
        assert_eq!(connection.send_stream(self.stream).write(&FRAME), Ok(FRAME.len()));
        self.transmit();
    }

    /// One frame each tick; how many datagrams the client sent meanwhile.
    fn play(&mut self, frames: usize) -> usize {
        let before = self.client.sent;
        for _ in 0..frames {
            self.write();
            self.run(TICK);
        }
        self.client.sent - before
    }

    /// How long until the client has so many bytes.
    fn wait_for(&mut self, bytes: usize) -> Duration {
        let since = self.now;
        while self.received < bytes {
            self.run(Duration::from_millis(1));
            assert!(self.now - since < Duration::from_secs(10), "it never came");
        }
        self.now - since
    }
}

fn server_tls(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Arc<rustls::ServerConfig> {
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(tls)
}

fn client_config(trusted: &rcgen::Certificate) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn asked(ack_delay_ms: u32) -> Link {
    Link::new(&config::Quic { ack_delay_ms, ..config::Config::default().quic })
}

#[test]
fn a_client_that_is_asked_to_acknowledges_several_frames_at_once() {
    let mut asked_for = asked(300);
    let rarely = asked_for.play(100);
    assert!(rarely <= 36, "{rarely} datagrams for 100 frames");
    assert_eq!(asked_for.received, 100 * FRAME.len());
    // And one that is left alone acknowledges nearly every one: the test can tell.
    let often = asked(0).play(100);
    assert!(often >= 90, "{often} datagrams for 100 frames");
}

#[test]
fn a_lost_frame_that_another_follows_comes_a_tick_and_two_ways_later() {
    for ack_delay_ms in [0, 300] {
        let mut link = asked(ack_delay_ms);
        link.play(20);
        link.lose = 1;
        link.write();
        link.run(TICK);
        link.write();
        // The second arrives, its acknowledgement shows the gap, the first is sent again.
        let late = link.wait_for(22 * FRAME.len());
        assert!(late <= 3 * DELAY + Duration::from_millis(5), "{late:?} at {ack_delay_ms} ms");
    }
}

#[test]
fn a_lost_frame_that_nothing_follows_comes_after_the_delay() {
    let late = |ack_delay_ms| {
        let mut link = asked(ack_delay_ms);
        link.play(20);
        link.lose = 1;
        link.write();
        link.wait_for(21 * FRAME.len())
    };
    let (alone, asked_for) = (late(0), late(300));
    assert!(alone < Duration::from_millis(200), "{alone:?}");
    assert!(asked_for < alone + Duration::from_millis(300), "{asked_for:?}");
    assert!(asked_for > Duration::from_millis(300), "{asked_for:?}: it is the probe that brings it");
}

#[test]
fn keys_are_renewed_after_the_handshake_is_forgotten() {
    let mut link = asked(300);
    for _ in 0..3 {
        link.node.connection.as_mut().unwrap().1.force_key_update();
        link.play(5);
        link.client.connection.as_mut().unwrap().1.force_key_update();
        link.play(5);
    }
    assert_eq!(link.received, 30 * FRAME.len());
    let code = VarInt::from_u32(0);
    link.client.connection.as_mut().unwrap().1.close(link.now, code, "".into());
}
