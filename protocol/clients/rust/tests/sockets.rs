//! The driver and the client over real loopback sockets, against the scripted node: all three transports.
//!
//! Why beside the tests against the real node (`edge`): this crate must not need it, and the scripted node
//! can be made to misbehave.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use common::ScriptedNode;
use grandstand_client::core::{Ending, Event, Options, OwnedEvent, Reason, Session, SubscribeOptions};
use grandstand_client::net::{
    Again, Client, ClientOptions, Connector, Control, Driver, Handler, OwnedPublication, Trust, Url, now_us,
};
use grandstand_client::protocol::stream::{read_header, write_header};
use grandstand_client::protocol::websocket::handshake::{parse_request, write_response};
use grandstand_client::protocol::websocket::{self, Input, Limits, Opcode, Reader, Role};

type Node = Arc<Mutex<ScriptedNode>>;

/// A server that gives each connection in turn to the one node; connections counted.
struct Server {
    url: Url,
    trust: Trust,
    node: Node,
    connections: Arc<AtomicUsize>,
}

fn node() -> Node {
    Arc::new(Mutex::new(ScriptedNode::new()))
}

fn certificate() -> (Vec<u8>, Vec<u8>, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.der().to_vec(), made.signing_key.serialize_der(), made.cert.pem())
}

fn tls(alpn: &[u8]) -> (Arc<rustls::ServerConfig>, Trust) {
    let (cert, key, pem) = certificate();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.into()], rustls_pki_types::PrivatePkcs8KeyDer::from(key).into())
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    (Arc::new(config), Trust::Pem(pem.into_bytes()))
}

fn serve_tcp(scheme: &str, tls: Option<Arc<rustls::ServerConfig>>, trust: Trust) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://localhost:{}/v1", listener.local_addr().unwrap().port()).parse().unwrap();
    let (node, connections) = (node(), Arc::new(AtomicUsize::new(0)));
    let server = Server { url, trust, node: node.clone(), connections: connections.clone() };
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let (node, connections, tls) = (node.clone(), connections.clone(), tls.clone());
            std::thread::spawn(move || {
                let newest = Newest::new(&connections);
                match tls {
                    None => serve_websocket(tcp, &node, &newest),
                    Some(config) => {
                        let tls = rustls::ServerConnection::new(config).unwrap();
                        serve_websocket(rustls::StreamOwned::new(tls, tcp), &node, &newest);
                    }
                }
            });
        }
    });
    server
}

/// The node has one viewer: what older connections still bring is lost on the way.
struct Newest {
    number: usize,
    connections: Arc<AtomicUsize>,
}

impl Newest {
    fn new(connections: &Arc<AtomicUsize>) -> Newest {
        Newest { number: connections.fetch_add(1, Ordering::SeqCst) + 1, connections: connections.clone() }
    }

    fn is_it(&self) -> bool {
        self.connections.load(Ordering::SeqCst) == self.number
    }
}

fn serve_websocket(mut stream: impl Read + Write, node: &Node, newest: &Newest) {
    let (mut head, mut scratch) = (Vec::new(), vec![0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut scratch) {
            Ok(read) if read > 0 => head.extend_from_slice(&scratch[..read]),
            _ => return,
        }
    }
    let request = parse_request(&head, 4096).unwrap().unwrap();
    let mut out = Vec::new();
    node.lock().unwrap().handle_disconnected();
    write_response(request.key, Some("grandstand.v1"), &mut out);
    let limits = Limits { message_bytes_max: 16_384, fragments_max: 1, control_frames_max: 4 };
    let mut reader = Reader::new(Role::Server);
    loop {
        if stream.write_all(&out).and_then(|()| stream.flush()).is_err() {
            return;
        }
        out.clear();
        let Ok(read @ 1..) = stream.read(&mut scratch) else { return };
        let mut input = Input::new(&mut scratch[..read]);
        let mut node = node.lock().unwrap();
        if !newest.is_it() {
            return;
        }
        while let Some(event) = reader.poll_event(&mut input, &limits).unwrap() {
            match event {
                websocket::Event::Message { binary, payload } => {
                    assert!(binary);
                    node.handle_frame(payload);
                }
                websocket::Event::Close { code, .. } => {
                    assert_eq!(code, Some(4000));
                    websocket::write_frame(Opcode::Close, &websocket::close_payload(4000, ""), &mut out);
                    let _ = stream.write_all(&out);
                    return;
                }
                _ => {}
            }
        }
        node.pump(5);
        // A proxy may cut messages and put pings between.
        for frame in std::mem::take(&mut node.to_client) {
            let (first, rest) = frame.split_at(frame.len() / 2);
            let header = |fin, opcode, len| websocket::Header { fin, opcode, mask: None, len };
            header(false, Opcode::Binary, first.len() as u64).write(&mut out);
            out.extend_from_slice(first);
            websocket::write_frame(Opcode::Ping, b"between", &mut out);
            header(true, Opcode::Continuation, rest.len() as u64).write(&mut out);
            out.extend_from_slice(rest);
        }
    }
}

/// Needs a runtime around it.
fn serve_quic() -> Server {
    let (config, trust) = tls(grandstand_client::protocol::version::ALPN);
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let url = format!("quic://localhost:{}", endpoint.local_addr().unwrap().port()).parse().unwrap();
    let (node, connections) = (node(), Arc::new(AtomicUsize::new(0)));
    let server = Server { url, trust, node: node.clone(), connections: connections.clone() };
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else { continue };
            let (node, newest) = (node.clone(), Newest::new(&connections));
            node.lock().unwrap().handle_disconnected();
            tokio::spawn(async move { serve_quic_connection(&connection, &node, &newest).await });
        }
    });
    server
}

async fn serve_quic_connection(connection: &quinn::Connection, node: &Node, newest: &Newest) {
    let Ok((mut send, mut recv)) = connection.accept_bi().await else { return };
    let mut all = Vec::new();
    while let Ok(Some(chunk)) = recv.read_chunk(usize::MAX, true).await {
        all.extend_from_slice(&chunk.bytes);
        let mut out = Vec::new();
        {
            let mut node = node.lock().unwrap();
            if !newest.is_it() {
                return;
            }
            while let Some((header, len)) =
                read_header(&all, 16_384).unwrap().filter(|(h, l)| h + l <= all.len())
            {
                node.handle_frame(&all[header..header + len]);
                all.drain(..header + len);
            }
            node.pump(5);
            for frame in std::mem::take(&mut node.to_client) {
                write_header(frame.len(), &mut out);
                out.extend_from_slice(&frame);
            }
        }
        if send.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn connector(server: &Server) -> Connector {
    Connector::new(&server.trust).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// The app's way: subscribe, say ten things, read them all, close.
async fn chat(server: Server) {
    let client = Client::connect(&connector(&server), &server.url, ClientOptions::default()).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    let (mut acks, mut texts, mut said) = (0, Vec::new(), 0);
    while texts.len() < 10 || acks < 10 {
        match within(client.next_event()).await.expect("not over yet") {
            OwnedEvent::Subscribed { .. } => {
                for n in 0..10 {
                    let text = n.to_string();
                    client.try_publish("show", OwnedPublication { text, ..Default::default() }).unwrap();
                    said += 1;
                }
            }
            OwnedEvent::Published { .. } => acks += 1,
            OwnedEvent::Message { text, .. } => texts.push(text),
            OwnedEvent::Fault { fault, .. } => panic!("{fault:?}"),
            OwnedEvent::Disconnected { reason } => panic!("{reason}"),
            _ => {}
        }
    }
    assert_eq!((said, texts.concat()), (10, "0123456789".into()));
    client.close();
    let mut last = None;
    while let Some(event) = within(client.next_event()).await {
        last = Some(event);
    }
    assert_eq!(last, Some(OwnedEvent::Closed { reason: Reason::Asked }));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_app_chats_over_websocket() {
    chat(serve_tcp("ws", None, Trust::Nobody)).await;
}

#[tokio::test]
async fn an_app_chats_over_websocket_with_tls() {
    let (config, trust) = tls(b"http/1.1");
    chat(serve_tcp("wss", Some(config), trust)).await;
}

#[tokio::test]
async fn an_app_chats_over_quic() {
    chat(serve_quic()).await;
}

/// A viewer that says something, is cut off when it is acknowledged, and comes back, over and over.
struct Restless {
    said: u64,
    drops: u64,
    next: u64,
    held: bool,
}

const DROPS: u64 = 30;

impl Handler for Restless {
    fn handle_event(&mut self, _: u64, event: &Event<'_>) {
        match event {
            Event::Message { offset, .. } => {
                assert_eq!(*offset, self.next);
                self.next += 1;
            }
            Event::Fault { fault, .. } => panic!("{fault:?}"),
            _ => {}
        }
    }

    fn poll_control(&mut self, _: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let room = control.session.room_id("show").unwrap();
        if !control.session.is_live(room) {
            return None;
        }
        if self.drops < self.said {
            // The publication is on its way, or lost; its answer is.
            self.drops += 1;
            control.drop_connection();
        } else if self.next == DROPS {
            control.session.close(control.now_us);
        } else if !self.held {
            self.held = true;
            control.hold_reading_until(control.now_us + 20_000);
        } else if self.said == self.next {
            let publication = grandstand_client::core::Publication { text: "x", ..Default::default() };
            control.session.publish(control.now_us, room, &publication).unwrap();
            self.said += 1;
            return Some(control.now_us);
        }
        None
    }
}

async fn drop_and_resume(server: Server) {
    let mut session = Session::new(Options { seed: 9, ..Options::default() });
    session.subscribe("show", SubscribeOptions::default()).unwrap();
    let handler = Restless { said: 0, drops: 0, next: 0, held: false };
    let run = Driver::new(&connector(&server), &server.url, session, handler).run();
    let finished = within(run).await;
    assert_eq!(finished.reason, Reason::Asked);
    assert_eq!(finished.stats.connects, DROPS + 1);
    assert_eq!((finished.handler.next, finished.session.unanswered()), (DROPS, 0));
    assert_eq!(server.node.lock().unwrap().log.len() as u64, DROPS);
    assert!(finished.stats.frames_in > DROPS && finished.stats.bytes_in > finished.stats.frames_in);
}

#[tokio::test]
async fn a_viewer_that_drops_its_websocket_misses_nothing() {
    drop_and_resume(serve_tcp("ws", None, Trust::Nobody)).await;
}

#[tokio::test]
async fn a_viewer_that_drops_its_tls_misses_nothing() {
    let (config, trust) = tls(b"http/1.1");
    drop_and_resume(serve_tcp("wss", Some(config), trust)).await;
}

#[tokio::test]
async fn a_viewer_that_drops_its_quic_connection_misses_nothing() {
    drop_and_resume(serve_quic()).await;
}

#[tokio::test]
async fn what_is_said_again_under_its_nonce_stands_once() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    let client = Client::connect(&connector(&server), &server.url, ClientOptions::default()).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    let first = OwnedPublication { text: "once".into(), ..Default::default() };
    let nonce = client.try_publish("show", first.clone()).unwrap();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        if let OwnedEvent::Published { nonce, offset, repeated, .. } =
            within(client.next_event()).await.expect("not over yet")
        {
            answers.push((nonce, offset, repeated));
            let again = Some(Again { nonce, age: Duration::from_secs(2) });
            client.try_publish("show", OwnedPublication { again, ..first.clone() }).unwrap();
        }
    }
    assert_eq!(answers, [(nonce, 0, false), (nonce, 0, true)]);
    let node = server.node.lock().unwrap();
    assert_eq!((node.log.len(), node.ages_ms[0]), (1, 0));
    assert!(node.ages_ms[1] >= 2_000);
}

async fn reason_of(url: &Url, trust: &Trust) -> Reason {
    let session = Session::new(Options { retries_max: 0, ..Options::default() });
    let connector = Connector::new(trust).unwrap();
    within(Driver::new(&connector, url, session, |_: u64, _: &Event<'_>| {}).run()).await.reason
}

#[tokio::test]
async fn strangers_are_not_believed() {
    let (config, trust) = tls(b"http/1.1");
    let wss = serve_tcp("wss", Some(config), trust);
    let quic = serve_quic();
    let (_, _, other) = certificate();
    for trust in [Trust::Fingerprint([0; 32]), Trust::Pem(other.into_bytes()), Trust::Nobody] {
        for url in [&wss.url, &quic.url] {
            let reason = reason_of(url, &trust).await;
            assert!(matches!(reason, Reason::Transport(Ending::Untrusted(_))), "{url} {trust:?}: {reason:?}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://127.0.0.1:{}/v1", listener.local_addr().unwrap().port()).parse().unwrap();
    drop(listener);
    let refused = Reason::Transport(Ending::Broken(std::io::ErrorKind::ConnectionRefused));
    assert_eq!(reason_of(&url, &Trust::Nobody).await, refused);
}

#[test]
fn a_viewer_is_small() {
    let session = Session::new(Options::default());
    let connector = Connector::new(&Trust::Nobody).unwrap();
    let url: Url = "ws://127.0.0.1:1/v1".parse().unwrap();
    let run = Driver::new(&connector, &url, session, |_: u64, _: &Event<'_>| {}).run();
    let bytes = size_of_val(&run);
    // With heap, socket and task: `memory.rs`.
    assert!(bytes <= 1500, "the future has {bytes} bytes");
    assert!(now_us() < 1_000_000_000);
}
