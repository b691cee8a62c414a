//! The log over real servers: what each append is answered, and what is read back.
//!
//! Why real ones: what a repetition is answered differs between a lone server and three.

mod support;

use std::time::Duration;

use bytes::Bytes;
use grandstand_cluster::flight::Reply;
use grandstand_cluster::id::Position;
use grandstand_cluster::stand::FromWire;
use grandstand_nats::{Config, Plan};
use support::{Node, cluster, cluster_with, config};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn an_append_is_answered_as_what_it_is_and_repeated_it_is_one_record() {
    // Three servers, since a lone one judges the sequence before the identity.
    let Some(servers) = cluster(3, 2) else { return };
    let mut node = Node::start(config(&servers), 0, 2);
    let append =
        |node: &mut Node, expected, id, bytes: &'static str| node.append(0, expected, id, bytes, SOON);
    assert_eq!(append(&mut node, 0, "a", "one"), Some(Reply::Acknowledged(Position(1))));
    assert_eq!(append(&mut node, 1, "b", "two"), Some(Reply::Acknowledged(Position(2))));
    assert_eq!(
        append(&mut node, 0, "a", "one"),
        Some(Reply::Acknowledged(Position(1))),
        "the first one's place"
    );
    assert_eq!(append(&mut node, 0, "c", "three"), Some(Reply::WrongLast));
    assert_eq!(append(&mut node, 5, "c", "three"), Some(Reply::WrongLast));
    assert_eq!(
        node.append(1, 0, "a", "other", SOON),
        Some(Reply::Acknowledged(Position(1))),
        "another shard's"
    );
    let large = Bytes::from(vec![b'x'; 512 << 10]);
    assert_eq!(node.append(0, 2, "d", large.clone(), SOON), Some(Reply::Acknowledged(Position(3))));
    let too_large = Bytes::from(vec![b'x'; 2 << 20]);
    assert_eq!(node.append(0, 3, "e", too_large, SOON), Some(Reply::Failed), "at once, and it says why");
    assert!(node.nats.status().problem.is_some_and(|why| why.contains("max_payload")));
    let all = node.read_all(0, 1);
    let places: Vec<u64> = all.iter().map(|(position, _)| position.0).collect();
    assert_eq!(places, [1, 2, 3]);
    assert_eq!((&all[0].1[..], &all[1].1[..], &all[2].1), (&b"one"[..], &b"two"[..], &large));
    assert_eq!(node.read(0, 4), (Vec::new(), Position(3)), "nothing, and the end");
    assert_eq!(node.read(1, 1).0, [(Position(1), Bytes::from_static(b"other"))]);
}

#[test]
fn ten_thousand_records_are_read_back_in_bounded_parts_and_a_trim_shows() {
    const RECORDS: u64 = 10_000;
    const BYTES: usize = 1_000;
    let small = |config: Config| Config { plan: Plan { log_bytes: 6 << 20, ..config.plan }, ..config };
    let Some(servers) = cluster_with(1, 1, small) else { return };
    let mut node = Node::start(small(config(&servers)), 0, 1);
    let record = |number: u64| {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(BYTES, b'.');
        Bytes::from(bytes)
    };
    // A stand has one in flight; here they go in bursts, since one connection keeps their order.
    for burst in 0..RECORDS / 500 {
        let numbers = burst * 500..(burst + 1) * 500;
        for number in numbers.clone() {
            node.begin_append(0, number, &format!("r{number}"), record(number));
        }
        for number in numbers {
            let reply = node.next(0, SOON, |message| match message {
                FromWire::Reply { reply, .. } => Some(reply),
                _ => None,
            });
            assert_eq!(reply, Some(Reply::Acknowledged(Position(number + 1))));
        }
    }
    let mut from = 1;
    let mut parts = 0;
    let mut seen = Vec::new();
    loop {
        let (messages, end) = node.read(0, from);
        assert_eq!(end, Position(RECORDS));
        let bytes: usize = messages.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= (2 << 20) + BYTES, "{bytes} in one part");
        parts += 1;
        from = messages.last().expect("something at the end of the log").0.0 + 1;
        seen.extend(messages);
        if from > end.0 {
            break;
        }
    }
    let first = seen[0].0.0;
    assert!(first > 1 && first < RECORDS - 3_000, "the log is trimmed to 6 MB, and begins at {first}");
    assert!(parts > 2, "{parts} parts");
    for (number, (position, bytes)) in (first..).zip(&seen) {
        assert_eq!((position.0, bytes), (number, &record(number - 1)));
    }
    assert_eq!(seen.len() as u64, RECORDS + 1 - first);
    let (messages, _) = node.read(0, RECORDS);
    assert_eq!(messages, [(Position(RECORDS), record(RECORDS - 1))], "by the leader");
}
