//! The log over three real servers while they die, hang and come back.
//!
//! Why every record is read back: what matters is that each acknowledged record is at its place, once.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use grandstand_cluster::flight::Reply;
use grandstand_cluster::id::Position;
use support::{Node, PATIENCE, cluster, config};

fn record(number: u64) -> Bytes {
    Bytes::from(format!("record {number}"))
}

/// Appends as a stand does, for this long at least and until the last one is kept.
fn keep_for(node: &mut Node, next: &mut u64, time: Duration) -> Duration {
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    while began.elapsed() < time {
        let sent = Instant::now();
        let position = node.keep(0, *next, &format!("r{next}"), &record(*next));
        assert_eq!(position, Position(*next + 1));
        longest = longest.max(sent.elapsed());
        *next += 1;
    }
    longest
}

fn check(node: &mut Node, count: u64) {
    let all = node.read_all(0, 1);
    assert_eq!(all.len() as u64, count);
    for (number, (position, bytes)) in (0..).zip(&all) {
        assert_eq!((position.0, bytes), (number + 1, &record(number)));
    }
}

#[test]
fn every_acknowledged_record_is_at_its_place_whatever_server_dies_or_hangs() {
    let Some(mut servers) = cluster(3, 1) else { return };
    // Its own server is the second one, so that it moves away and comes back in order.
    let mut node = Node::start(config(&servers), 1, 1);
    assert_eq!(node.nats.status().server, Some(servers.name(1)));
    let mut next = 0;
    keep_for(&mut node, &mut next, Duration::from_millis(300));
    let leader = servers.number_of(&node.leader(0)).expect("one of them");
    for (what, number) in [("leader", leader), ("follower", (leader + 1) % 3), ("follower", (leader + 2) % 3)]
    {
        servers.kill(number).expect("it runs");
        let longest = keep_for(&mut node, &mut next, Duration::from_millis(500));
        eprintln!(
            "{what} {} killed: the longest wait for an acknowledgement {longest:?}",
            servers.name(number)
        );
        if number == 1 {
            node.until("the next server in order", |node| node.nats.status().server == Some(servers.name(2)));
        }
        servers.restart(number).expect("it starts");
        servers.wait_ready().expect("it is ready");
    }
    let hung = servers.number_of(&node.leader(0)).expect("one of them");
    servers.pause(hung).expect("it runs");
    let longest = keep_for(&mut node, &mut next, Duration::from_millis(500));
    eprintln!("the leader paused: the longest wait for an acknowledgement {longest:?}");
    servers.resume(hung).expect("it runs");
    servers.stop(hung).expect("it ends");
    let longest = keep_for(&mut node, &mut next, Duration::from_millis(500));
    eprintln!("a server told to stop: the longest wait for an acknowledgement {longest:?}");
    check(&mut node, next);
    assert!(node.nats.status().connects > 1, "its own server died too");
}

#[test]
fn a_server_without_a_majority_acknowledges_nothing() {
    let Some(mut servers) = cluster(3, 1) else { return };
    let mut node = Node::start(config(&servers), 0, 1);
    let mut next = 0;
    keep_for(&mut node, &mut next, Duration::from_millis(300));
    let leader = servers.number_of(&node.leader(0)).expect("one of them");
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    for other in others {
        servers.kill(other).expect("it runs");
    }
    let began = Instant::now();
    let mut answers = Vec::new();
    while began.elapsed() < Duration::from_secs(8) {
        let id = format!("r{next}");
        answers.extend(node.append(0, next, &id, record(next), Duration::from_millis(250)));
        std::thread::sleep(Duration::from_millis(20));
    }
    let kept = answers.iter().filter(|reply| matches!(reply, Reply::Acknowledged(_))).count();
    assert_eq!(kept, 0, "{answers:?}");
    for other in others {
        servers.restart(other).expect("it starts");
    }
    // The same record, under the same identity: whether the lone leader's proposal came through or not.
    let position = node.keep(0, next, &format!("r{next}"), &record(next));
    assert_eq!(position, Position(next + 1));
    next += 1;
    keep_for(&mut node, &mut next, Duration::from_millis(300));
    check(&mut node, next);
    assert!(began.elapsed() < PATIENCE * 2);
}
