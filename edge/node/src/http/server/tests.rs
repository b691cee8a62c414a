//! Tests of a port under strangers: silent ones, slow ones and many.
//!
//! Why over sockets: who gives way depends on when bytes arrive.

use super::*;
use axum::routing::get;
use grandstand_engine::runtime::pulse::Pulses;
use std::io::{Read, Write};
use std::net::TcpStream as Client;
use std::time::Instant;

struct Port {
    at: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    fn new(bounds: Bounds) -> Port {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let app = Router::new().route("/", get(async || "here"));
        let pulse = Pulses::default().register("http");
        let thread = Some(start("http", listener, bounds, app, stopped, pulse).unwrap());
        Port { at, stop, thread }
    }

    fn ask(&self) -> String {
        let mut client = Client::connect(self.at).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.thread.take().unwrap().join().unwrap();
    }
}

const BOUNDS: Bounds = Bounds { silent_max: 8, head: Duration::from_secs(30), life: Duration::from_secs(60) };

/// Strangers that say nothing, or half of a request: whoever asks is answered at once.
#[test]
fn nobody_waits_for_who_says_nothing() {
    let port = Port::new(BOUNDS);
    for half in ["", "G", "GET / HTTP/1.1\r\nHost: local"] {
        let strangers: Vec<Client> = (0..50)
            .map(|_| {
                let mut stranger = Client::connect(port.at).unwrap();
                // An earlier one may have been closed for it already; this one is not yet.
                let _ = stranger.write_all(half.as_bytes());
                stranger
            })
            .collect();
        let begun = Instant::now();
        for _ in 0..20 {
            assert!(port.ask().starts_with("HTTP/1.1 200"));
        }
        assert!(begun.elapsed() < BOUNDS.head / 2, "{half:?}: {:?}", begun.elapsed());
        drop(strangers);
    }
}

#[test]
fn a_request_that_never_ends_is_cut_off() {
    let port = Port::new(Bounds { head: Duration::from_millis(50), ..BOUNDS });
    let mut slow = Client::connect(port.at).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(port.ask().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_stop_does_not_wait_for_who_says_nothing() {
    let port = Port::new(BOUNDS);
    let silent = Client::connect(port.at).unwrap();
    assert!(port.ask().starts_with("HTTP/1.1 200"));
    let begun = Instant::now();
    drop(port);
    assert!(begun.elapsed() < STOP_GRACE, "{:?}", begun.elapsed());
    drop(silent);
}

#[test]
fn a_request_whose_body_never_ends_is_cut_off() {
    let port = Port::new(Bounds { life: Duration::from_millis(100), ..BOUNDS });
    let mut slow = Client::connect(port.at).unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
    let begun = Instant::now();
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    assert!(begun.elapsed() < BOUNDS.life / 2, "{:?}", begun.elapsed());
    assert!(port.ask().starts_with("HTTP/1.1 200"));
}

/// Silent connections of addresses beyond loopback.
#[test]
fn one_address_holds_a_quarter_of_the_places_and_a_neighbourhood_half() {
    const PLACES: usize = 16;
    let connections = Arc::new(Connections::new(PLACES).unwrap());
    let open = |net: u8, host: u8, count: usize| -> Vec<Slot> {
        let peer = SocketAddr::from(([203, 0, net, host], 5_000));
        (0..count).filter_map(|_| connections.begin(peer)).collect()
    };
    let one = open(1, 1, PLACES);
    assert_eq!(one.len(), PLACES, "the newest takes the place of an older one of its own");
    assert_eq!(connections.waiting(), PLACES / 4);
    let neighbours: Vec<Slot> = (2..9).flat_map(|host| open(1, host, PLACES)).collect();
    assert_eq!(connections.waiting(), PLACES / 2);
    let others: Vec<Slot> = (2..10).flat_map(|net| open(net, 1, 1)).collect();
    assert_eq!((others.len(), connections.waiting()), (8, PLACES), "everybody else has the rest");
    drop((one, neighbours, others));
    assert_eq!(connections.waiting(), 0);
    // Operators' own machines are exempt, and fill the line at most.
    let local: Vec<Slot> =
        (0..2 * PLACES).filter_map(|_| connections.begin("[::1]:9".parse().unwrap())).collect();
    assert_eq!((local.len(), connections.waiting()), (2 * PLACES, PLACES));
}
