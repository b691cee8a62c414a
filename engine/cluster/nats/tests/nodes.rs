//! Three nodes on three real servers: heartbeats, messages to one node and to all, and a node that dies.
//!
//! Not here: who owns a shard after that.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use grandstand_cluster::id::{Incarnation, NodeId, Position, Term};
use grandstand_cluster::membership::ShardReport;
use grandstand_cluster::seat::{Answer, AnswerVerdict, Ask, ShownEntry};
use grandstand_cluster::stand::{FromWire, ToWire};
use grandstand_cluster::time::PeerTime;
use grandstand_engine::link::ShardId;
use support::{Node, PATIENCE, cluster, config, facts};

#[test]
fn nodes_hear_each_other_and_notice_at_once_that_one_is_gone() {
    let Some(servers) = cluster(3, 2) else { return };
    let mut nodes: Vec<Node> = (0..3).map(|id| Node::start(config(&servers), id, 2)).collect();
    let report = ShardReport {
        shard: ShardId(1),
        term: Term(3),
        owns: true,
        claims: false,
        position: Position(9),
        can_own: true,
    };
    nodes[0].send(1, ToWire::Report(report));
    for node in &mut nodes[1..] {
        let me = node.id;
        for shard in 0..2 {
            let heard = node.next(shard, PATIENCE, |message| match message {
                FromWire::Heartbeat(heartbeat) if heartbeat.node == NodeId(0) => {
                    let has_echo = heartbeat.echo_of(me, Incarnation(1)).is_some();
                    (heartbeat.report(ShardId(1)) == Some(&report) && has_echo).then_some(())
                }
                _ => None,
            });
            assert!(heard.is_some(), "{me}, shard {shard}");
        }
    }

    let ask = Ask { candidate: NodeId(0), incarnation: Incarnation(1), term: Term(4), sent: PeerTime(77) };
    nodes[0].send(0, ToWire::AskAll(ask));
    nodes[0].send(0, ToWire::Announce { term: Term(4), position: Position(10) });
    let entry = ShownEntry { term: Term(3), index: 8, bytes: Bytes::from_static(&[1, 0, 0, 0, 9]) };
    for from in 1..3 {
        let asked =
            nodes[from].next(0, PATIENCE, |m| if let FromWire::Ask(ask) = m { Some(ask) } else { None });
        assert_eq!(asked, Some(ask));
        let announced = nodes[from].next(0, PATIENCE, |message| match message {
            FromWire::Announce { term, position } => Some((term, position)),
            _ => None,
        });
        assert_eq!(announced, Some((Term(4), Position(10))));
        let verdict = AnswerVerdict::Promised(vec![entry.clone()]);
        let answer = Answer { from: NodeId(from as u8), term: Term(4), asked: ask.sent, verdict };
        nodes[from].send(0, ToWire::Answer { to: NodeId(0), answer: answer.clone() });
        let got = nodes[0]
            .next(0, PATIENCE, |m| if let FromWire::Answer(answer) = m { Some(answer) } else { None });
        assert_eq!(got, Some(answer));
    }

    let frame = Bytes::from(vec![7; 500 << 10]);
    nodes[1].send(0, ToWire::Up { to: NodeId(0), frame: frame.clone() });
    nodes[0].send(0, ToWire::Down { to: NodeId(2), frame: frame.clone() });
    let up = nodes[0].next(0, PATIENCE, |m| if let FromWire::Up(frame) = m { Some(frame) } else { None });
    let down = nodes[2].next(0, PATIENCE, |m| if let FromWire::Down(frame) = m { Some(frame) } else { None });
    assert_eq!((up, down), (Some(frame.clone()), Some(frame)));
    let none = nodes[1].next(0, Duration::from_millis(50), |message| match message {
        FromWire::Up(_) | FromWire::Down(_) | FromWire::NoResponders(_) => Some(message),
        _ => None,
    });
    assert_eq!(none, None, "frames are for one node");

    // A new connection does not believe at once that somebody is away.
    std::thread::sleep(Duration::from_millis(1_100));
    let gone = nodes.pop().expect("three nodes");
    // The servers see what they see of a killed process: a closed connection.
    drop(gone);
    let began = Instant::now();
    let mut looks = Vec::new();
    while looks.len() < 3 {
        let look = nodes[0].next(0, PATIENCE, |message| match message {
            FromWire::NoResponders(node) => Some(node),
            _ => None,
        });
        looks.push((look.expect("a ping that nobody received"), began.elapsed()));
    }
    assert!(looks.iter().all(|(node, _)| *node == NodeId(2)), "{looks:?}");
    assert!(looks[0].1 < Duration::from_millis(500), "{looks:?}");
    let status = nodes[0].nats.status();
    assert!(status.peers[&NodeId(2)].is_unreachable && !status.peers[&NodeId(1)].is_unreachable);

    let back = Node::start_as(config(&servers), 2, 2, facts(2));
    let pong = nodes[0].next(0, PATIENCE, |m| if let FromWire::Pong(node) = m { Some(node) } else { None });
    assert_eq!(pong, Some(NodeId(2)));
    let heard = nodes[0].next(0, PATIENCE, |message| match message {
        FromWire::Heartbeat(heartbeat) => (heartbeat.incarnation == Incarnation(2)).then_some(()),
        _ => None,
    });
    assert!(heard.is_some(), "its next life");
    let status = nodes[0].nats.status();
    assert!(status.round_trip_us.is_some() && status.counters.undelivered == 0, "{status:?}");
    assert_eq!(status.counters.malformed, 0);
    back.nats.stop();
}
