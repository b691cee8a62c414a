//! Servers around the scripted node, over real loopback sockets: WebSocket with and without TLS, and QUIC.
//!
//! Not here: what the node does (`common`).
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grandstand_client::net::{Connector, Trust, Url};
use grandstand_client::protocol::stream::{read_header, write_header};
use grandstand_client::protocol::websocket::handshake::{parse_request, write_response};
use grandstand_client::protocol::websocket::{self, Input, Limits, Opcode, Reader, Role};

use crate::common::ScriptedNode;

pub type Node = Arc<Mutex<ScriptedNode>>;

/// A server that gives each connection in turn to the one node; connections counted.
pub struct Server {
    pub url: Url,
    pub trust: Trust,
    pub node: Node,
    pub connections: Arc<AtomicUsize>,
}

pub fn node() -> Node {
    Arc::new(Mutex::new(ScriptedNode::new()))
}

pub fn certificate() -> (Vec<u8>, Vec<u8>, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.der().to_vec(), made.signing_key.serialize_der(), made.cert.pem())
}

pub fn tls(alpn: &[u8]) -> (Arc<rustls::ServerConfig>, Trust) {
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

pub fn serve_tcp(scheme: &str, tls: Option<Arc<rustls::ServerConfig>>, trust: Trust) -> Server {
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
pub struct Newest {
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

pub fn serve_websocket(mut stream: impl Read + Write, node: &Node, newest: &Newest) {
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
    let limits = Limits { message_bytes_max: 16_384, fragments_max: 1, control_frames_max: 64 };
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
pub fn serve_quic() -> Server {
    let (config, trust) = tls(grandstand_client::protocol::version::ALPN);
    serve_quic_with(config, trust)
}

/// Needs a runtime around it.
pub fn serve_quic_with(config: Arc<rustls::ServerConfig>, trust: Trust) -> Server {
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

pub fn connector(server: &Server) -> Connector {
    Connector::new(&server.trust).unwrap()
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}
