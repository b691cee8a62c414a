//! What a whole node allocates per frame, over real sockets, on each transport.
//!
//! Why beside the core's test: between the audience and the kernel stand the worker, TLS and QUIC, and each
//! could allocate per frame without any behaviour changing.
//! How: a node with one worker, whose thread is watched; as many rounds with some frames and with twice as
//! many. What differs is what the additional frames cost; what a round costs by itself falls out. Each
//! allocation is put down to the crate that asked for it, by the innermost source line that is not a
//! container's.
//! Invariant: clients run on other threads than the worker, so nothing of theirs is counted.
//! Not here: the core alone (`allocations`), bytes per viewer (capacity tests of a whole node).

mod common;
#[path = "../../tests/counting/mod.rs"]
mod counting;

use std::collections::BTreeMap;
use std::sync::Mutex;

use common::quic::Quic;
use common::ws::Ws;
use common::{frame, node, subscribe};
use counting::{traced, watch};
use grandstand::Node;
use grandstand_protocol::batch::BatchReader;
use grandstand_protocol::frame::{ClientFrame, Publish, React, ServerFrame};

/// The watched thread is one for the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Viewers of the smaller round.
const VIEWERS: usize = 8;

/// Reactions of the smaller round.
const REACTIONS: u64 = 10;

/// Messages of the smaller round, where they are counted.
const MESSAGES: u64 = 5;

/// What counts as none: a table that grows or a timer that rings is not a cost per frame, which would be at
/// least 1.
const NONE: f64 = 0.1;

/// Allocations by who asks.
type Askers = BTreeMap<String, u64>;

/// Until rings, buffers and tables have their size.
const WARM_UP: u64 = 60;

/// Rounds that are counted: something that comes once a second must not look like something per frame.
const ROUNDS: u64 = 40;

enum Viewer {
    Ws(Ws),
    Quic(Quic),
}

impl Viewer {
    fn open(node: &Node, transport: &str) -> Viewer {
        let addresses = node.addresses();
        match transport {
            "ws" => Viewer::Ws(Ws::welcomed(addresses.ws.unwrap())),
            "wss" => Viewer::Ws(Ws::welcomed_tls(addresses.wss.unwrap())),
            _ => Viewer::Quic(Quic::welcomed(addresses.quic.unwrap())),
        }
    }

    fn send(&mut self, frame: &[u8]) {
        match self {
            Viewer::Ws(ws) => ws.send(frame),
            Viewer::Quic(quic) => quic.send(frame),
        }
    }

    fn next_frame(&mut self) -> Vec<u8> {
        match self {
            Viewer::Ws(ws) => ws.next_frame(),
            Viewer::Quic(quic) => quic.next_frame(),
        }
    }

    /// Read until a batch with this many messages in all has come.
    fn until_messages(&mut self, count: u64) {
        let mut seen = 0;
        while seen < count {
            let bytes = self.next_frame();
            if let ServerFrame::Batch(body) = ServerFrame::decode(&bytes).unwrap() {
                seen += BatchReader::new(body).unwrap().count();
            }
        }
    }
}

/// A node, somebody who speaks over WebSocket, and viewers who listen.
struct Hall {
    node: Node,
    speaker: Ws,
    alias: u32,
    viewers: Vec<Viewer>,
    next_nonce: u64,
}

impl Hall {
    fn new(transport: &str, viewers: usize) -> Hall {
        let node = node(&[
            ("auth.open_may", "publish,react,state,bridge"),
            ("node.workers", "1"),
            ("node.shards", "1"),
            ("rooms.tick_ms", "5"),
            // The rings are full after the warm-up.
            ("rooms.ring_batches_max", "16"),
            // Nothing but what is said.
            ("rooms.viewers_every_ms", "600000"),
            ("limits.reactions_per_s", "1000000"),
            ("limits.reactions_burst", "1000000"),
        ]);
        let mut speaker = Ws::welcomed(node.addresses().ws.unwrap());
        speaker.send(&subscribe(1, "show"));
        let alias = loop {
            if let ServerFrame::Subscribed(s) = ServerFrame::decode(&speaker.next_frame()).unwrap() {
                break s.alias;
            }
        };
        let mut viewers: Vec<_> = (0..viewers).map(|_| Viewer::open(&node, transport)).collect();
        for viewer in &mut viewers {
            viewer.send(&subscribe(1, "show"));
            while !matches!(ServerFrame::decode(&viewer.next_frame()), Ok(ServerFrame::Subscribed(_))) {}
        }
        watch("worker-0");
        let mut hall = Hall { node, speaker, alias, viewers, next_nonce: 0 };
        hall.rounds(WARM_UP, 1);
        hall
    }

    /// So many times: so many messages are said, reach everyone and are acknowledged.
    fn rounds(&mut self, count: u64, messages: u64) {
        for _ in 0..count {
            (0..messages).for_each(|_| self.say());
            self.viewers.iter_mut().for_each(|viewer| viewer.until_messages(messages));
            let (mut delivered, mut acknowledged) = (0, 0);
            while delivered < messages || acknowledged < messages {
                match ServerFrame::decode(&self.speaker.next_frame()).unwrap() {
                    ServerFrame::Published(_) => acknowledged += 1,
                    ServerFrame::Batch(body) => delivered += BatchReader::new(body).unwrap().count(),
                    ServerFrame::Refused(refused) => panic!("{refused:?}"),
                    _ => {}
                }
            }
        }
    }

    fn say(&mut self) {
        let (alias, nonce) = (self.alias, self.next_nonce);
        let text = "a text of some length, as people write it";
        self.next_nonce += 1;
        self.speaker.send(&frame(&ClientFrame::Publish(Publish {
            alias,
            nonce,
            text,
            ..Publish::default()
        })));
    }

    /// Several rounds: the first viewer reacts, and knows by an answer that all of it was read.
    fn react(&mut self, rounds: u64, reactions: u64) {
        let react = frame(&ClientFrame::React(React { alias: self.alias, key: "heart", count: 1 }));
        let ping = frame(&ClientFrame::Ping { client_us: 1 });
        let viewer = &mut self.viewers[0];
        for _ in 0..rounds {
            (0..reactions).for_each(|_| viewer.send(&react));
            viewer.send(&ping);
            while !matches!(ServerFrame::decode(&viewer.next_frame()), Ok(ServerFrame::Pong { .. })) {}
        }
    }
}

/// What one frame more costs, in allocations: what this workspace's code asks for, and what others' does.
#[derive(Debug)]
struct PerFrame {
    ours: f64,
    others: f64,
}

/// Crates of this workspace, by their directories.
const OURS: [&str; 4] = ["edge", "engine", "queue", "protocol"];

/// A datagram that comes is copied out of the receive buffer once: quinn-proto takes it by value.
/// Acknowledgements are such.
const RECEIVED_DATAGRAM: &str = "edge quic/socket.rs";

impl PerFrame {
    /// From who asked in some rounds and who asked in as many with `frames` more frames.
    fn between(few: &Askers, many: &Askers, frames: u64) -> PerFrame {
        let of_us = |place: &str| OURS.contains(&place.split(' ').next().unwrap_or_default());
        let sum = |askers: &Askers, is_ours: bool| {
            let counted = askers.iter().filter(|(place, _)| !place.starts_with(RECEIVED_DATAGRAM));
            counted.filter(|(place, _)| of_us(place) == is_ours).map(|(_, count)| *count as f64).sum::<f64>()
        };
        let per_frame = |is_ours| (sum(many, is_ours) - sum(few, is_ours)) / frames as f64;
        PerFrame { ours: per_frame(true), others: per_frame(false) }
    }
}

fn print(what: &str, few: &Askers, many: &Askers) {
    println!("{what}: allocations with fewer and with more frames, by who asks");
    for (place, count) in many {
        println!("{:>6} {count:>6}  {place}", few.get(place).copied().unwrap_or(0));
    }
}

/// Frames to viewers: the same rounds with some and with twice as many.
fn out(transport: &str) -> PerFrame {
    let asked = [VIEWERS, 2 * VIEWERS].map(|viewers| {
        let mut hall = Hall::new(transport, viewers);
        let askers = traced(|| hall.rounds(ROUNDS, 1));
        hall.node.stop();
        askers
    });
    print(&format!("{transport}, out"), &asked[0], &asked[1]);
    PerFrame::between(&asked[0], &asked[1], ROUNDS * VIEWERS as u64)
}

/// Frames from a viewer: the same rounds with some reactions and with twice as many.
fn inward(transport: &str) -> PerFrame {
    let mut hall = Hall::new(transport, 1);
    let asked = [REACTIONS, 2 * REACTIONS].map(|reactions| {
        hall.react(WARM_UP, reactions);
        traced(|| hall.react(ROUNDS, reactions))
    });
    hall.node.stop();
    print(&format!("{transport}, in"), &asked[0], &asked[1]);
    PerFrame::between(&asked[0], &asked[1], ROUNDS * REACTIONS)
}

#[test]
fn frames_over_websocket_cost_no_allocation() {
    let _alone = ONE_AT_A_TIME.lock();
    for cost in [out("ws"), inward("ws")] {
        assert!(cost.ours < NONE && cost.others < NONE, "{cost:?}");
    }
}

#[test]
fn frames_over_tls_cost_no_allocation_of_ours() {
    let _alone = ONE_AT_A_TIME.lock();
    for cost in [out("wss"), inward("wss")] {
        // rustls makes a buffer for each record that it seals.
        assert!(cost.ours < NONE && cost.others < 1.0 + NONE, "{cost:?}");
    }
}

#[test]
fn frames_over_quic_cost_no_allocation_of_ours_but_for_datagrams_that_come() {
    let _alone = ONE_AT_A_TIME.lock();
    for asked in [out("quic"), inward("quic")] {
        let PerFrame { ours, others } = asked;
        // quinn-proto keeps frames and what is in flight: one record of each, and one for each datagram that
        // comes.
        assert!(ours < NONE && others < 3.0, "{asked:?}");
    }
}

/// Not a promise but a figure, with a bound so that it does not grow unseen: admission keeps names and texts.
#[test]
fn a_publication_costs_a_handful_of_allocations() {
    let _alone = ONE_AT_A_TIME.lock();
    for (thread, at_most) in [("worker-0", 6.0), ("shard-0", 3.0)] {
        let mut hall = Hall::new("ws", 1);
        watch(thread);
        let asked = [MESSAGES, 2 * MESSAGES].map(|messages| {
            hall.rounds(WARM_UP, messages);
            traced(|| hall.rounds(ROUNDS, messages))
        });
        hall.node.stop();
        print(&format!("{thread}, publications"), &asked[0], &asked[1]);
        let cost = PerFrame::between(&asked[0], &asked[1], ROUNDS * MESSAGES);
        assert!(cost.ours < at_most && cost.others < NONE, "{cost:?}");
    }
}
