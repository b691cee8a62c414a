//! Coming back: what the real client shows when it does, what a node makes of it, and what it says to those
//! who are too many.
//!
//! Why the real client: its tickets, tokens and backoff are half of what is tested.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::task::Context;
use std::time::Instant;

use common::{PATIENCE, node};
use grandstand::Node;
use grandstand_client::core::{Event, Options, Reason, Session, SubscribeOptions};
use grandstand_client::net::{Connector, Control, Driver, Handler, Trust, Url};
use grandstand_edge::stats::{Transport, TurnedAway};
use grandstand_edge_core::admission::queue::HandshakeKind;

/// Drops its connection once it is in the room, and closes when it is there again.
#[derive(Default)]
struct Restless {
    welcomes: Vec<bool>,
    has_dropped: bool,
}

impl Handler for Restless {
    fn handle_event(&mut self, _: u64, event: &Event<'_>) {
        if let Event::Welcome { resumed, .. } = event {
            self.welcomes.push(*resumed);
        }
    }

    fn poll_control(&mut self, _: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let room = control.session.room_id("show").expect("it is wanted");
        if control.session.is_live(room) {
            if std::mem::replace(&mut self.has_dropped, true) {
                control.session.close(control.now_us);
            } else {
                control.drop_connection_for(1_000);
            }
        }
        None
    }
}

fn drop_and_come_back(url: &str) {
    let url: Url = url.parse().expect("a URL");
    let mut session = Session::new(Options { seed: 9, ..Options::default() });
    session.subscribe("show", SubscribeOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let finished = runtime.block_on(async {
        let connector = Connector::new(&Trust::AnyoneForTests).unwrap();
        let run = Driver::new(&connector, &url, session, Restless::default()).run();
        tokio::time::timeout(PATIENCE, run).await.expect("within the test's patience")
    });
    assert_eq!(finished.reason, Reason::Asked);
    assert_eq!(finished.handler.welcomes, [false, true], "its ticket continued the session");
}

fn admissions(node: &Node, kind: HandshakeKind) -> u64 {
    node.stats().iter().map(|stats| stats.admissions.of(kind).get()).sum()
}

#[test]
fn who_comes_back_over_tls_shows_a_ticket_before_the_handshake() {
    let node = node(&[]);
    drop_and_come_back(&format!("wss://{}/v1", node.addresses().wss.unwrap()));
    assert_eq!(
        (admissions(&node, HandshakeKind::TlsFull), admissions(&node, HandshakeKind::TlsResumed)),
        (1, 1)
    );
    let resumed = |s: &std::sync::Arc<grandstand_edge::stats::Stats>| {
        s.handshakes_resumed.of(Transport::WebSocketTls).get()
    };
    assert_eq!(node.stats().iter().map(resumed).sum::<u64>(), 1, "and the handshake was the cheaper one");
    node.stop();
}

#[test]
fn who_comes_back_over_quic_shows_a_token_in_its_first_packet() {
    let node = node(&[]);
    drop_and_come_back(&format!("quic://{}", node.addresses().quic.unwrap()));
    assert_eq!(
        (admissions(&node, HandshakeKind::QuicNew), admissions(&node, HandshakeKind::QuicReturning)),
        (1, 1)
    );
    node.stop();
}

#[test]
fn who_is_known_by_a_token_is_not_asked_for_its_address_again() {
    let node = node(&[("quic.retry_above", "0")]);
    drop_and_come_back(&format!("quic://{}", node.addresses().quic.unwrap()));
    // The worker copies its counters at the end of each turn.
    let deadline = Instant::now() + PATIENCE;
    let retries = || node.stats().iter().map(|stats| stats.retries_sent.get()).sum::<u64>();
    while retries() == 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(retries(), 1, "the first time only");
    node.stop();
}

#[test]
fn those_who_are_too_many_are_told_times_that_rise() {
    let node = node(&[
        ("limits.handshakes_pending_max", "16"),
        // A tenth of it must pass before a silent connection gives way to one of its own address.
        ("limits.handshake_timeout_ms", "600000"),
        ("node.workers", "1"),
    ]);
    let at = node.addresses().ws.unwrap();
    // They have connected and say nothing: they hold every place.
    let idle: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(at).unwrap()).collect();
    let mut told = Vec::new();
    for _ in 0..4 {
        let mut late = TcpStream::connect(at).unwrap();
        late.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        // A reset behind the answer is as good as an end.
        let _ = late.write_all(b"");
        let _ = late.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer:?}");
        let after = answer.lines().find_map(|line| line.strip_prefix("Retry-After: ")).expect("a time");
        told.push(after.trim().parse::<u32>().unwrap());
    }
    assert!(told.is_sorted() && told[0] >= 1 && told[3] <= 3, "{told:?}");
    let turned_away =
        |why| node.stats().iter().map(move |stats| stats.turned_away.of(why).get()).sum::<u64>();
    assert_eq!(turned_away(TurnedAway::HandshakesPending), 4);
    drop(idle);
    drop_and_come_back(&format!("ws://{at}/v1"));
    node.stop();
}
