//! A node whose clients ask for everything and read nothing: what a connection makes its process hold, over
//! real sockets and with the past on a disk.
//!
//! Why beside the core's test, which has every kind of answer: pages from a disk are memory of their own, and
//! sockets have buffers.
#![allow(clippy::disallowed_methods, reason = "tests read clocks")]

mod common;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

use common::ws::Ws;
use common::{PATIENCE, frame, hello, subscribe};
use grandstand_harness::node::{Node, NodePlan};
use grandstand_harness::process::sample;
use grandstand_protocol::frame::{ClientFrame, History, Publish, ServerFrame, Subscribe};
use socket2::{Domain, Socket, Type};

const ROOMS: u32 = 12;
const MESSAGES: u64 = 200;
/// So many that a step of the allocator, 2 MiB, is little for each.
const CONNECTIONS: u64 = 120;

/// What one connection may make the node hold, as OPERATING says.
const HELD_MAX: u64 = 256 << 10;

fn room(n: u32) -> String {
    format!("room-{n}")
}

/// Fills every room with 380 KB; the epochs and aliases of the rooms.
fn talk(peer: &mut Ws) -> Vec<(u64, u32)> {
    let mut rooms = Vec::new();
    for n in 0..ROOMS {
        peer.send(&subscribe(n, &room(n)));
        loop {
            if let Ok(ServerFrame::Subscribed(s)) = ServerFrame::decode(&peer.next_frame()) {
                rooms.push((s.epoch, s.alias));
                break;
            }
        }
    }
    let filling = "x".repeat(1_900);
    for nonce in 0..MESSAGES {
        for (_, alias) in &rooms {
            let text = format!("{nonce} {filling}");
            let nonce = nonce * u64::from(ROOMS) + u64::from(*alias);
            let publish = Publish { alias: *alias, nonce, text: &text, ..Publish::default() };
            peer.send(&frame(&ClientFrame::Publish(publish)));
        }
        let mut answers = 0;
        while answers < ROOMS {
            answers +=
                u32::from(matches!(ServerFrame::decode(&peer.next_frame()), Ok(ServerFrame::Published(_))));
        }
    }
    rooms
}

/// A connection whose system takes next to nothing of what it is sent.
fn narrow(at: SocketAddr) -> Ws {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&at.into()).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut ws = Ws::over(socket, false, "/v1", "").expect("upgraded");
    ws.send(&hello());
    ws.next_frame();
    ws
}

/// Asks for the whole past of every room.
fn ask(peer: &mut Ws, rooms: &[(u64, u32)]) {
    for (n, &(epoch, _)) in (0..).zip(rooms) {
        let (name, resume) = (room(n), Some((epoch, 0)));
        let past = Subscribe { request: n, room: &name, resume, replay: 0 };
        peer.send(&frame(&ClientFrame::Subscribe(past)));
    }
}

/// One page of the past. The log reads pages in the order of the requests, so what was asked for before has
/// been read when this comes.
fn read_page(peer: &mut Ws, (epoch, alias): (u64, u32)) {
    let page = History { request: 7, alias, epoch, from: 0, count_max: 10 };
    peer.send(&frame(&ClientFrame::History(page)));
    loop {
        match ServerFrame::decode(&peer.next_frame()).unwrap() {
            ServerFrame::HistoryPage(page) => return assert_eq!(page.offset, 0),
            ServerFrame::Refused(refused) => panic!("{refused:?}"),
            _ => {}
        }
    }
}

#[test]
fn clients_that_ask_for_the_past_of_every_room_and_read_nothing_cost_a_bounded_part() {
    let dir = std::env::temp_dir().join(format!("gs-unread-{}", std::process::id()));
    let plan = NodePlan::new(Path::new(env!("CARGO_BIN_EXE_grandstand")))
        .key("log.dir", dir.to_str().unwrap())
        .key("node.workers", 1)
        .key("rooms.history_bytes_max", 65_536)
        .key("rooms.ring_bytes_max", 65_536)
        .key("rooms.tick_ms", 10);
    let node = Node::start(&plan).unwrap();
    let ws = node.address("ws://").unwrap();
    let mut witness = Ws::welcomed(ws);
    let rooms = talk(&mut witness);
    let before = sample(node.pid()).unwrap().anonymous_bytes;
    let mut peers: Vec<Ws> = (0..CONNECTIONS).map(|_| narrow(ws)).collect();
    peers.iter_mut().for_each(|peer| ask(peer, &rooms));
    let deadline = Instant::now() + PATIENCE;
    let lagging = || node.metric("grandstand_lagging_connections").unwrap();
    while lagging() < CONNECTIONS as f64 {
        assert!(Instant::now() < deadline, "{} connections take nothing more", lagging());
    }
    read_page(&mut witness, rooms[rooms.len() - 1]);
    let after = sample(node.pid()).unwrap().anonymous_bytes;
    drop(node);
    std::fs::remove_dir_all(&dir).unwrap();
    let each = after.saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes a connection");
    assert!(each <= HELD_MAX, "{each} bytes a connection");
}
