//! What a virtual viewer costs: the load generator runs 15,000 of them in one process, at under 4 KB each.
//!
//! Measured as the growth of the process per viewer: future, task, socket, timer, session and the allocator's
//! own share; the peer keeps only the socket. The first viewers are not counted, for they pay for what all
//! share.
//!
//! Why: a load generator that needs more memory than the node cannot fill it from one machine.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::ScriptedNode;
use grandstand_client::core::{Event, Options, Session, SubscribeOptions};
use grandstand_client::net::{Connector, Driver, Trust, Url};
use grandstand_client::protocol::websocket::handshake::{parse_request, write_response};
use grandstand_client::protocol::websocket::{self, Input, Limits, Opcode, Reader, Role};

const WARM: usize = 100;
const VIEWERS: usize = 400;
const BYTES_MAX: usize = 4096;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Answer the upgrade, `Hello` and `Subscribe`, with a message to follow; then keep only the socket.
fn welcome(tcp: &mut TcpStream, scratch: &mut [u8]) {
    let (mut have, mut out) = (0, Vec::new());
    while !scratch[..have].ends_with(b"\r\n\r\n") {
        have += tcp.read(&mut scratch[have..]).unwrap();
    }
    write_response(parse_request(&scratch[..have], 4096).unwrap().unwrap().key, None, &mut out);
    tcp.write_all(&out).unwrap();
    let limits = Limits { message_bytes_max: 16_384, fragments_max: 1, control_frames_max: 4 };
    let (mut reader, mut node) = (Reader::new(Role::Server), ScriptedNode::new());
    while node.subscribes.is_empty() {
        let read = tcp.read(scratch).unwrap();
        let mut input = Input::new(&mut scratch[..read]);
        while let Some(event) = reader.poll_event(&mut input, &limits).unwrap() {
            let websocket::Event::Message { payload, .. } = event else { panic!("{event:?}") };
            node.handle_frame(payload);
        }
    }
    node.say(&"x".repeat(3000));
    node.pump(1);
    out.clear();
    node.to_client.iter().for_each(|frame| websocket::write_frame(Opcode::Binary, frame, &mut out));
    tcp.write_all(&out).unwrap();
}

#[tokio::test]
async fn a_viewer_over_websocket_costs_less_than_4_kb() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("ws://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    std::thread::spawn(move || {
        let (mut kept, mut scratch) = (Vec::with_capacity(WARM + VIEWERS), vec![0; 4096]);
        for mut tcp in listener.incoming().map_while(Result::ok) {
            welcome(&mut tcp, &mut scratch);
            kept.push(tcp);
        }
    });

    let connector = Connector::new(&Trust::Nobody).unwrap();
    let here = Arc::new(AtomicUsize::new(0));
    let mut before = 0;
    for n in 0..WARM + VIEWERS {
        if n == WARM {
            before = resident_bytes();
        }
        let mut session = Session::new(Options { seed: n as u64, keep_state: false, ..Options::default() });
        session.subscribe("a show with a name", SubscribeOptions::default()).unwrap();
        let (count, arrived) = (here.clone(), Arc::new(tokio::sync::Notify::new()));
        let arrive = arrived.clone();
        let handler = move |_: u64, event: &Event<'_>| match event {
            Event::Message { .. } => {
                count.fetch_add(1, Ordering::Relaxed);
                arrive.notify_one();
            }
            Event::Disconnected { reason } => panic!("{reason}"),
            _ => {}
        };
        tokio::spawn(Driver::new(&connector, &url, session, handler).run());
        tokio::time::timeout(Duration::from_secs(10), arrived.notified()).await.expect("in time");
    }
    let bytes = (resident_bytes() - before) / VIEWERS;
    println!("{bytes} bytes per viewer");
    assert_eq!(here.load(Ordering::Relaxed), WARM + VIEWERS);
    assert!(bytes < BYTES_MAX, "{bytes} bytes per viewer");
}
