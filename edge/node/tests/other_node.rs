//! Clients that come from another node, or from the last process: what they bring is taken.
//!
//! Why the real client: its stores of tickets and tokens are half of what is tested.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use common::{PATIENCE, node};
use grandstand::Node;
use grandstand_client::core::{Event, Options, Reason, Session};
use grandstand_client::net::{Connector, Control, Driver, Handler, Trust, Url};
use grandstand_edge::stats::{Stats, Transport};
use grandstand_edge_core::admission::queue::HandshakeKind;

/// Closes as soon as it is welcome.
#[derive(Default)]
struct Caller {
    is_in: bool,
}

impl Handler for Caller {
    fn handle_event(&mut self, _: u64, event: &Event<'_>) {
        self.is_in |= matches!(event, Event::Welcome { .. });
    }

    fn poll_control(&mut self, _: &mut std::task::Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        if self.is_in {
            control.session.close(control.now_us);
        }
        None
    }
}

/// Connect to this address, with the tickets and tokens of this connector.
fn call(runtime: &tokio::runtime::Runtime, connector: &Connector, url: &str) {
    let url: Url = url.parse().expect("a URL");
    let session = Session::new(Options { seed: 5, ..Options::default() });
    let finished = runtime.block_on(async {
        let run = Driver::new(connector, &url, session, Caller::default()).run();
        tokio::time::timeout(PATIENCE, run).await.expect("within the test's patience")
    });
    assert_eq!(finished.reason, Reason::Asked);
}

fn url(scheme: &str, address: SocketAddr) -> String {
    if scheme == "quic" { format!("quic://{address}") } else { format!("wss://{address}/v1") }
}

fn address(node: &Node, scheme: &str) -> SocketAddr {
    let addresses = node.addresses();
    if scheme == "quic" { addresses.quic.unwrap() } else { addresses.wss.unwrap() }
}

/// Wait until a sum over the workers is this: they copy their counters at the end of each turn.
fn await_sum(node: &Node, what: &str, wanted: u64, of: impl Fn(&Arc<Stats>) -> u64) {
    let deadline = Instant::now() + PATIENCE;
    let sum = || node.stats().iter().map(&of).sum::<u64>();
    while sum() != wanted && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(sum(), wanted, "{what}");
}

/// A client of one node has no full handshake at another one, or at the next process, with the same key: its
/// TLS session resumes, and its QUIC address token shows who it is.
#[test]
fn a_client_of_one_node_is_no_stranger_to_another_one_with_the_same_key() {
    let folder = std::env::temp_dir().join(format!("grandstand-other-node-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (shared, foreign) = (folder.join("shared.key"), folder.join("foreign.key"));
    std::fs::write(&shared, format!("{}\n", "5a".repeat(32))).unwrap();
    std::fs::write(&foreign, format!("{}\n", "a5".repeat(32))).unwrap();
    let with = |key: &std::path::Path| node(&[("auth.ticket_key_file", key.to_str().unwrap())]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for scheme in ["wss", "quic"] {
        let connector = runtime.block_on(async { Connector::new(&Trust::AnyoneForTests).unwrap() });
        let first = with(&shared);
        call(&runtime, &connector, &url(scheme, address(&first, scheme)));
        first.stop();
        // The next node, and a restarted one, are each another process with a certificate of its own.
        for _ in 0..2 {
            let next = with(&shared);
            call(&runtime, &connector, &url(scheme, address(&next, scheme)));
            let kind =
                if scheme == "quic" { HandshakeKind::QuicReturning } else { HandshakeKind::TlsResumed };
            await_sum(&next, scheme, 1, |stats| stats.admissions.of(kind).get());
            let transport = if scheme == "quic" { Transport::Quic } else { Transport::WebSocketTls };
            await_sum(&next, "resumed", 1, |stats| stats.handshakes_resumed.of(transport).get());
            next.stop();
        }
        let stranger = with(&foreign);
        call(&runtime, &connector, &url(scheme, address(&stranger, scheme)));
        let kind = if scheme == "quic" { HandshakeKind::QuicNew } else { HandshakeKind::TlsFull };
        await_sum(&stranger, "another key", 1, |stats| stats.admissions.of(kind).get());
        stranger.stop();
    }
    std::fs::remove_dir_all(folder).unwrap();
}
