//! Tests of the node's QUIC parameters against quinn's own client, over a path in virtual time that loses
//! chosen datagrams. They check how often the client acknowledges, when a lost frame is sent again, and how
//! the node refuses a client with another protocol or too many streams.
//!
//! Why virtual time: seconds of a slow path take milliseconds, and each run is the same.
//! Not here: the endpoint over real sockets (the node's tests of conformance and of hostile clients).

use std::any::Any;
use std::collections::VecDeque;
use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use grandstand_protocol::version::ALPN;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::crypto::{self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{
    ClientConfig, ConnectError, Connection, ConnectionError, ConnectionHandle, ConnectionId, DatagramEvent,
    Dir, Endpoint, EndpointConfig, Event, StreamId, TransportError, TransportErrorCode, VarInt,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs as provider;

use crate::config;

/// Delay in one direction.
const DELAY: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(100);
const FRAME: [u8; 150] = [7; 150];

struct Side {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    address: SocketAddr,
    /// Datagrams on their way to this side.
    inbox: VecDeque<(Instant, Vec<u8>)>,
    /// Answers of the endpoint itself to connections that it does not accept.
    answers: Vec<Vec<u8>>,
    sent: usize,
}

/// A node and a client.
struct Pair {
    now: Instant,
    node: Side,
    client: Side,
    stream: StreamId,
    /// Number of the node's next datagrams that are lost.
    lose: usize,
    received: usize,
    /// The test expects the client's connection to end; then the reason is stored.
    expects_end: bool,
    end: Option<ConnectionError>,
}

impl Side {
    fn new(endpoint: Endpoint, port: u16) -> Side {
        let address = (IpAddr::from([127, 0, 0, 1]), port).into();
        Side { endpoint, connection: None, address, inbox: VecDeque::new(), answers: Vec::new(), sent: 0 }
    }

    fn handle(&mut self, now: Instant, from: SocketAddr) {
        while self.inbox.front().is_some_and(|(at, _)| *at <= now) {
            let (_, datagram) = self.inbox.pop_front().unwrap();
            let mut answer = Vec::new();
            match self.endpoint.handle(now, from, None, None, BytesMut::from(&datagram[..]), &mut answer) {
                Some(DatagramEvent::NewConnection(incoming)) => {
                    self.connection = self.endpoint.accept(incoming, now, &mut answer, None).ok();
                    if self.connection.is_none() {
                        self.answers.push(answer);
                    }
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
        to.extend(self.answers.drain(..).map(|answer| (now + DELAY, answer)));
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

impl Pair {
    /// A client that begins to connect with this TLS.
    fn connecting(
        quic: &config::Quic,
        crypto: impl FnOnce(QuicClientConfig) -> Arc<dyn crypto::ClientConfig>,
        alpn: &[u8],
    ) -> Pair {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let tickets = crate::auth::Tickets::new([7; 32], 1_000);
        let config =
            super::settings::server_config(&server_tls(&made), tickets.quic_token_key(), quic).unwrap();
        let node_config = Arc::new(super::settings::endpoint_config(0, 0, tickets.quic_reset_key()));
        let node = Side::new(Endpoint::new(node_config, Some(Arc::new(config)), true, None), 1);
        let mut client = Side::new(Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None), 2);
        let now = Instant::now();
        let config = ClientConfig::new(crypto(client_tls(&made.cert, alpn)));
        client.connection = client.endpoint.connect(now, config, node.address, "localhost").ok();
        let stream = StreamId::new(quinn_proto::Side::Client, Dir::Bi, 0);
        Pair { now, node, client, stream, lose: 0, received: 0, expects_end: false, end: None }
    }

    /// A client that has opened the session's stream.
    fn new(quic: &config::Quic) -> Pair {
        let mut pair = Pair::connecting(quic, |tls| Arc::new(tls), ALPN);
        pair.open();
        // Until path MTU discovery is done too.
        pair.run(Duration::from_secs(3));
        pair
    }

    /// The handshake, and the session's stream.
    fn open(&mut self) {
        self.run(Duration::from_millis(500));
        let client = self.client();
        assert!(!client.is_handshaking());
        let stream = client.streams().open(Dir::Bi).unwrap();
        client.send_stream(stream).write(b"hello").unwrap();
        self.stream = stream;
    }

    fn client(&mut self) -> &mut Connection {
        &mut self.client.connection.as_mut().unwrap().1
    }

    /// The code with which the node closes the client's connection.
    fn end_code(&mut self) -> TransportErrorCode {
        self.expects_end = true;
        self.run(Duration::from_millis(500));
        match self.end.take() {
            Some(ConnectionError::ConnectionClosed(close)) => close.error_code,
            other => panic!("the node did not close the connection: {other:?}"),
        }
    }

    /// Let time pass.
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
                if let Event::ConnectionLost { reason } = event {
                    assert!(self.expects_end, "{reason:?}");
                    self.end = if is_client { Some(reason) } else { self.end.take() };
                }
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

    /// Send one frame each tick. Returns how many datagrams the client sent meanwhile.
    fn play(&mut self, frames: usize) -> usize {
        let before = self.client.sent;
        for _ in 0..frames {
            self.write();
            self.run(TICK);
        }
        self.client.sent - before
    }

    /// The time until the client has this number of bytes.
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

fn client_tls(trusted: &rcgen::Certificate, alpn: &[u8]) -> QuicClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    QuicClientConfig::try_from(tls).unwrap()
}

/// TLS of a client that assumes that it may open two streams, whatever the node says.
struct Greedy(Arc<QuicClientConfig>);

impl crypto::ClientConfig for Greedy {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        Ok(Box::new(GreedySession(self.0.clone().start_session(version, server_name, params)?)))
    }
}

struct GreedySession(Box<dyn Session>);

impl Session for GreedySession {
    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(params) = self.0.transport_parameters()? else { return Ok(None) };
        let mut bytes = Vec::new();
        params.write(&mut bytes);
        let bytes = with_two_streams(&bytes);
        let params = TransportParameters::read(quinn_proto::Side::Client, &mut Cursor::new(bytes)).unwrap();
        Ok(Some(params))
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: quinn_proto::Side) -> Keys {
        self.0.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.0.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.0.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.0.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.0.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.0.read_handshake(bytes)
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        self.0.write_handshake(out)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.0.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.0.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.0.export_keying_material(out, label, context)
    }
}

/// Transport parameters with `initial_max_streams_bidi` (RFC 9000, 18.2) raised from 1 to 2.
fn with_two_streams(params: &[u8]) -> Vec<u8> {
    const INITIAL_MAX_STREAMS_BIDI: [u8; 2] = [0x08, 1];
    let at = params.windows(2).position(|bytes| bytes == INITIAL_MAX_STREAMS_BIDI).unwrap();
    let mut params = params.to_vec();
    assert_eq!(std::mem::replace(&mut params[at + 2], 2), 1);
    params
}

fn asked(ack_delay_ms: u32) -> Pair {
    Pair::new(&config::Quic { ack_delay_ms, ..config::Config::default().quic })
}

#[test]
fn a_client_that_is_asked_to_acknowledges_several_frames_at_once() {
    let mut asked_for = asked(300);
    let rarely = asked_for.play(100);
    assert!(rarely <= 36, "{rarely} datagrams for 100 frames");
    assert_eq!(asked_for.received, 100 * FRAME.len());
    // A client without that request acknowledges nearly every packet, so the test can tell the difference.
    let often = asked(0).play(100);
    assert!(often >= 90, "{often} datagrams for 100 frames");
}

#[test]
fn a_lost_frame_that_another_follows_comes_a_tick_and_two_ways_later() {
    for ack_delay_ms in [0, 300] {
        let mut pair = asked(ack_delay_ms);
        pair.play(20);
        pair.lose = 1;
        pair.write();
        pair.run(TICK);
        pair.write();
        // The second arrives, its acknowledgement shows the gap, the first is sent again.
        let late = pair.wait_for(22 * FRAME.len());
        assert!(late <= 3 * DELAY + Duration::from_millis(5), "{late:?} at {ack_delay_ms} ms");
    }
}

#[test]
fn a_lost_frame_that_nothing_follows_comes_after_the_delay() {
    let late = |ack_delay_ms| {
        let mut pair = asked(ack_delay_ms);
        pair.play(20);
        pair.lose = 1;
        pair.write();
        pair.wait_for(21 * FRAME.len())
    };
    let (alone, asked_for) = (late(0), late(300));
    assert!(alone < Duration::from_millis(200), "{alone:?}");
    assert!(asked_for < alone + Duration::from_millis(300), "{asked_for:?}");
    assert!(asked_for > Duration::from_millis(300), "{asked_for:?}: it is the probe that brings it");
}

#[test]
fn keys_are_renewed_after_the_handshake_is_forgotten() {
    let mut pair = asked(300);
    for _ in 0..3 {
        pair.node.connection.as_mut().unwrap().1.force_key_update();
        pair.play(5);
        pair.client.connection.as_mut().unwrap().1.force_key_update();
        pair.play(5);
    }
    assert_eq!(pair.received, 30 * FRAME.len());
    let code = VarInt::from_u32(0);
    pair.client.connection.as_mut().unwrap().1.close(pair.now, code, "".into());
}

#[test]
fn a_client_of_another_protocol_is_refused_by_tls() {
    let quic = config::Config::default().quic;
    // RFC 7301, 3.2: `no_application_protocol`.
    let no_application_protocol = TransportErrorCode::crypto(120);
    for alpn in [&b"h3"[..], b"grandstand/2"] {
        let mut pair = Pair::connecting(&quic, |tls| Arc::new(tls), alpn);
        assert_eq!(pair.end_code(), no_application_protocol);
    }
}

#[test]
fn a_second_stream_ends_the_connection() {
    let quic = config::Config::default().quic;
    let mut honest = Pair::new(&quic);
    assert_eq!(honest.client().streams().open(Dir::Bi), None, "the node allows one");
    assert_eq!(honest.client().streams().open(Dir::Uni), None, "and none of this kind");
    let mut pair = Pair::connecting(&quic, |tls| Arc::new(Greedy(Arc::new(tls))), ALPN);
    pair.open();
    pair.run(Duration::from_millis(100));
    let second = pair.client().streams().open(Dir::Bi).unwrap();
    pair.client().send_stream(second).write(b"hello").unwrap();
    assert_eq!(pair.end_code(), TransportErrorCode::STREAM_LIMIT_ERROR);
}
