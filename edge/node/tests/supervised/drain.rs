//! The phases of a drain, as a load balancer and late clients meet them.
//!
//! Why on the binary: the end of a drain is the end of a process.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use grandstand_harness::http;
use grandstand_harness::node::Node;
use grandstand_harness::wait::until;
use rustix::process::Signal;

use crate::common::PATIENCE;
use crate::rig::{ALL, Client, admin, code, is_ready, plan, send};

#[test]
fn a_node_without_viewers_is_announced_then_refuses_and_then_ends() {
    let plan = plan().key("drain.announce_ms", 1_500).key("drain.refuse_ms", 1_500);
    let mut node = Node::start(&plan).unwrap();
    let ws = node.address("ws://").unwrap();
    let begin = Instant::now();
    send(&node, Signal::TERM);
    until("it is not ready", || !is_ready(&node));
    // Clients that are still sent here are served, over every transport.
    for transport in ALL {
        drop(Client::welcomed(&node, transport));
    }
    let status = http::request(admin(&node), "GET", "/drain").unwrap();
    assert!(status.contains(r#""phase":"announce""#), "{status}");
    // Then late connections get an answer, and no closed port.
    let mut told = String::new();
    until("new connections are refused with an answer", || {
        let mut late = TcpStream::connect(ws).unwrap();
        late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        told.clear();
        let _ = late.read_to_string(&mut told);
        told.starts_with("HTTP/1.1 503 ")
    });
    assert!(told.contains("\r\nRetry-After: "), "{told}");
    assert_eq!(code(&mut node), Some(0));
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(3_000) && took < PATIENCE, "{took:?}");
}

#[test]
fn viewers_are_moved_after_the_announcement_and_a_request_may_leave_it_out() {
    let plan = plan().key("drain.announce_ms", 1_000).key("drain.refuse_ms", 0).key("drain.spread_ms", 10);
    for asked in [r#"{}"#, r#"{"announce_ms":0}"#, r#"{"announce_ms":3000}"#] {
        let mut node = Node::start(&plan).unwrap();
        let mut viewers = ALL.map(|transport| Client::welcomed(&node, transport));
        let begin = Instant::now();
        http::request_with(admin(&node), "POST", "/drain", asked).unwrap();
        viewers.iter_mut().for_each(Client::is_sent_away);
        let told = begin.elapsed();
        match asked {
            r#"{"announce_ms":0}"# => {}
            r#"{"announce_ms":3000}"# => assert!(told >= Duration::from_millis(2_900), "{told:?}"),
            _ => assert!(told >= Duration::from_millis(900), "{told:?}"),
        }
        drop(viewers);
        assert_eq!(code(&mut node), Some(0));
    }
}
