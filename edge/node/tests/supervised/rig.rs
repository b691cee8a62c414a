//! What these tests share: a folder, a node process, its signals, and clients of every transport.
//!
//! Not here: what a test expects.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use grandstand_harness::http;
use grandstand_harness::node::{Node, NodePlan};
use grandstand_harness::wait::until;
use grandstand_protocol::frame::{ClientFrame, Hello, ServerFrame};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::frame;
use crate::common::quic::Quic;
use crate::common::ws::Ws;

/// A folder that is removed when its test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gs-super-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node that drains at once unless a key says otherwise. A QUIC client that is dropped says nothing, so the
/// node closes it after a short grace.
pub(crate) fn plan() -> NodePlan {
    let plan = NodePlan::new(Path::new(env!("CARGO_BIN_EXE_grandstand"))).key("node.workers", 2);
    plan.key("drain.spread_ms", 10).key("drain.grace_ms", 500)
}

pub(crate) fn send(node: &Node, signal: Signal) {
    kill_process(Pid::from_raw(node.pid() as i32).unwrap(), signal).unwrap();
}

pub(crate) fn admin(node: &Node) -> SocketAddr {
    node.address("http://").unwrap()
}

/// Waits until the node's log has so many lines with these words.
pub(crate) fn says(node: &Node, words: &str, times: usize) {
    until(words, || node.log().unwrap().matches(words).count() >= times);
}

/// The exit code of a node that ends by itself.
pub(crate) fn code(node: &mut Node) -> Option<i32> {
    let mut status = None;
    until("the node ends", || {
        status = node.has_ended().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

/// Status and body of `GET /readyz`.
pub(crate) fn is_ready(node: &Node) -> bool {
    http::request(admin(node), "GET", "/readyz").is_ok()
}

/// The three transports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Ws,
    Wss,
    Quic,
}

pub(crate) const ALL: [Transport; 3] = [Transport::Ws, Transport::Wss, Transport::Quic];

/// A raw client of one transport.
pub(crate) enum Client {
    Ws(Box<Ws>),
    Quic(Box<Quic>),
}

impl Client {
    pub(crate) fn open(node: &Node, transport: Transport) -> Client {
        match transport {
            Transport::Ws => Client::Ws(Box::new(Ws::open(node.address("ws://").unwrap(), "/v1"))),
            Transport::Wss => Client::Ws(Box::new(Ws::open_tls(node.address("wss://").unwrap(), "/v1"))),
            Transport::Quic => Client::Quic(Box::new(Quic::open(node.address("quic://").unwrap()))),
        }
    }

    /// Says hello with this token and ticket: is it welcomed, and with which ticket and session?
    pub(crate) fn hello(&mut self, token: &str, ticket: &[u8]) -> Option<(Vec<u8>, u64)> {
        self.send(&ClientFrame::Hello(Hello { token, ticket, ..Hello::default() }));
        match ServerFrame::decode(&self.next()).unwrap() {
            ServerFrame::Welcome(welcome) => Some((welcome.ticket.to_vec(), welcome.session)),
            _ => None,
        }
    }

    pub(crate) fn welcomed(node: &Node, transport: Transport) -> Client {
        let mut client = Client::open(node, transport);
        assert!(client.hello("", b"").is_some(), "a welcome over {transport:?}");
        client
    }

    pub(crate) fn send(&mut self, message: &ClientFrame<'_>) {
        match self {
            Client::Ws(ws) => ws.send(&frame(message)),
            Client::Quic(quic) => quic.send(&frame(message)),
        }
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        match self {
            Client::Ws(ws) => ws.next_frame(),
            Client::Quic(quic) => quic.next_frame(),
        }
    }

    /// Is the session answered?
    pub(crate) fn is_served(&mut self) {
        self.send(&ClientFrame::Ping { client_us: 9 });
        let answer = self.next();
        assert!(matches!(ServerFrame::decode(&answer).unwrap(), ServerFrame::Pong { client_us: 9, .. }));
    }

    pub(crate) fn is_sent_away(&mut self) {
        let answer = self.next();
        assert!(matches!(ServerFrame::decode(&answer).unwrap(), ServerFrame::GoAway(_)));
    }
}

/// The leaf that the node shows over TLS on TCP, and over QUIC.
pub(crate) fn leaves(node: &Node) -> [Vec<u8>; 2] {
    [leaf_over_tcp(node.address("wss://").unwrap()), leaf_over_quic(node.address("quic://").unwrap())]
}

fn leaf_over_tcp(at: SocketAddr) -> Vec<u8> {
    let tls = Arc::new(grandstand_harness::trust::client_config(&[b"http/1.1"]));
    let mut client = rustls::ClientConnection::new(tls, "localhost".try_into().unwrap()).unwrap();
    let mut socket = std::net::TcpStream::connect(at).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut socket).unwrap();
    }
    client.peer_certificates().unwrap()[0].to_vec()
}

fn leaf_over_quic(at: SocketAddr) -> Vec<u8> {
    let quic = Quic::open(at);
    let chain = quic.connection.peer_identity().unwrap();
    chain.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap()[0].to_vec()
}
