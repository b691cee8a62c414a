//! Tests of membership and leases: who is heard, missed, gone or refused, and until when an owner may act.
//!
//! Why against a naive reader: it keeps all events and looks at them anew, so it has no state to get wrong.

use proptest::prelude::*;

use super::*;
use crate::id::Position;

const SHARD: ShardId = ShardId(0);

fn config(me: u8, life: u64) -> Config {
    Config {
        me: NodeId(me),
        incarnation: Incarnation(life),
        nodes: [0, 1, 2].map(NodeId).to_vec(),
        facts: Facts { seed: 1, shards: 6, ticket_key_print: 2 },
        versions: Versions { min: 2, max: 4 },
    }
}

fn member(me: u8, life: u64, started: u64) -> Membership {
    Membership::new(OwnTime(started), config(me, life)).unwrap()
}

/// What node 1 sends in a life, at a time of its own clock.
fn beat(life: u64, sent: u64) -> Heartbeat {
    member(1, life, 0).heartbeat(OwnTime(sent), Vec::new())
}

const ONE: NodeId = NodeId(1);
const LIFE: Incarnation = Incarnation(5);

#[test]
fn only_a_list_of_three_or_five_different_nodes_with_this_one_is_a_cluster() {
    let of = |me: u8, nodes: &[u8]| {
        let nodes = nodes.iter().copied().map(NodeId).collect();
        let config = Config { nodes, ..config(me, 1) };
        Membership::new(OwnTime(0), config).map(|membership| membership.majority())
    };
    assert_eq!(of(0, &[0, 1, 2]).unwrap(), 2);
    assert_eq!(of(9, &[0, 1, 2, 5, 9]).unwrap(), 3);
    let text = |result: Result<usize, ConfigFault>| result.unwrap_err().to_string();
    for n in [0, 1, 2, 4, 6] {
        let nodes: Vec<u8> = (0..n).collect();
        let says = format!("got {n} nodes, expected 3 or 5: list that many in cluster.nodes");
        assert_eq!(text(of(0, &nodes)), says);
    }
    let twice = "node 1 is listed twice: give each node of cluster.nodes a number of its own";
    assert_eq!(text(of(0, &[0, 1, 1])), twice);
    let not = "node 3 is not in the list: add it to cluster.nodes, or correct cluster.node";
    assert_eq!(text(of(3, &[0, 1, 2])), not);
}

#[test]
fn a_peer_that_cannot_be_of_this_cluster_is_refused_with_the_remedy_and_not_heard() {
    type Change = fn(&mut Heartbeat);
    let cases: [(PeerRefusal, &str, Change); 9] = [
        (PeerRefusal::NotAMember, "cluster.nodes", |beat| beat.node = NodeId(3)),
        (PeerRefusal::NotAMember, "cluster.node", |beat| beat.node = NodeId(0)),
        (PeerRefusal::OldIncarnation, "stop it", |beat| beat.incarnation = Incarnation(4)),
        (PeerRefusal::Seed, "cluster.name", |beat| beat.facts.seed = 9),
        (PeerRefusal::Shards, "cluster.name", |beat| beat.facts.shards = 12),
        (PeerRefusal::TicketKey, "auth.ticket_key_file", |beat| beat.facts.ticket_key_print = 9),
        (PeerRefusal::Nodes, "cluster.nodes", |beat| beat.about.nodes = 5),
        (PeerRefusal::Versions, "upgrade", |beat| beat.versions = Versions { min: 5, max: 6 }),
        (PeerRefusal::Versions, "upgrade", |beat| beat.versions = Versions { min: 1, max: 1 }),
    ];
    for (refusal, remedy, change) in cases {
        let mut membership = member(0, 1, 0);
        membership.handle_heartbeat(OwnTime(10), &beat(5, 10)).unwrap();
        let mut wrong = beat(5, 20);
        change(&mut wrong);
        assert_eq!(membership.handle_heartbeat(OwnTime(20), &wrong), Err(refusal));
        assert!(refusal.to_string().contains(remedy), "{refusal}");
        assert_eq!(membership.refused().collect::<Vec<_>>(), [(wrong.node, refusal)]);
        assert_eq!(membership.heard_at(ONE), Some(OwnTime(10)), "{refusal}");
        // Mended, it is heard, and no longer named.
        membership.handle_heartbeat(OwnTime(30), &beat(5, 30)).unwrap();
        assert_eq!(membership.heard_at(ONE), Some(OwnTime(30)));
        assert_eq!(membership.refused().count(), usize::from(wrong.node != ONE));
    }
}

/// What all read is written as the cluster agreed; to one node, as that one reads.
#[test]
fn what_is_written_is_what_the_cluster_agreed_on_and_each_receiver_reads() {
    let mut membership = member(0, 1, 0);
    let hear = |membership: &mut Membership, life: u64, max: u16, written: u16| {
        let mut heartbeat = beat(life, 0);
        heartbeat.versions = Versions { min: 1, max };
        heartbeat.about.written = written;
        membership.handle_heartbeat(OwnTime(0), &heartbeat)
    };
    assert_eq!((membership.version(), membership.version_to(ONE)), (2, 2), "the lowest, until it is known");
    for (life, max, to_one) in [(5, 3, 3), (6, 9, 4), (7, 2, 2)] {
        hear(&mut membership, life, max, 2).unwrap();
        assert_eq!((membership.version(), membership.version_to(ONE)), (2, to_one), "{max}");
    }
    // Another node knows of the agreement, or this one is told.
    hear(&mut membership, 8, 4, 3).unwrap();
    assert_eq!(membership.version(), 3);
    membership.agree(2);
    assert_eq!(membership.version(), 3, "it never falls");
    membership.agree(9);
    assert_eq!(membership.version(), 4, "no higher than this node writes");
    // Who cannot read what is written is not heard.
    assert_eq!(hear(&mut membership, 9, 3, 3), Err(PeerRefusal::Versions));
}

#[test]
fn a_node_is_missed_after_silence_counted_from_the_start_at_the_earliest() {
    let mut membership = member(0, 1, 10_000);
    assert!(!membership.misses(OwnTime(11_499), ONE, LIFE));
    assert!(membership.misses(OwnTime(11_500), ONE, LIFE));
    membership.handle_heartbeat(OwnTime(11_600), &beat(5, 1)).unwrap();
    assert!(!membership.misses(OwnTime(13_099), ONE, LIFE));
    assert_eq!(membership.missed_at(ONE, LIFE), OwnTime(13_100));
    assert!(membership.misses(OwnTime(13_100), ONE, LIFE));
    // It lives, for a majority, only while it was heard lately.
    assert!(membership.hears(OwnTime(12_099), ONE) && !membership.hears(OwnTime(12_100), ONE));
    assert!(membership.hears_majority(OwnTime(12_099)) && !membership.hears_majority(OwnTime(12_100)));
    // Who is not in the list was never there; this life of this node always is, an earlier one never.
    assert!(membership.misses(OwnTime(10_000), NodeId(9), LIFE));
    assert!(!membership.misses(OwnTime(99_999), NodeId(0), Incarnation(1)));
    assert!(membership.misses(OwnTime(10_000), NodeId(0), Incarnation(0)));
}

#[test]
fn a_node_is_gone_by_two_unreceived_pings_far_enough_apart() {
    let gone = |events: &[(u64, &str)]| {
        let mut membership = member(0, 1, 0);
        membership.handle_heartbeat(OwnTime(0), &beat(5, 0)).unwrap();
        for (at, event) in events {
            match *event {
                "none" => membership.handle_no_responders(OwnTime(*at), ONE),
                "pong" => membership.handle_pong(ONE),
                "beat" => membership.handle_heartbeat(OwnTime(*at), &beat(5, *at)).unwrap(),
                // One that was sent before the last one.
                _ => membership.handle_heartbeat(OwnTime(*at), &beat(5, 0)).unwrap(),
            }
        }
        assert_eq!(membership.is_gone(ONE, LIFE), membership.misses(OwnTime(500), ONE, LIFE));
        membership.is_gone(ONE, LIFE)
    };
    assert!(!gone(&[(100, "none")]));
    assert!(!gone(&[(100, "none"), (200, "none"), (349, "none")]));
    assert!(gone(&[(100, "none"), (350, "none")]));
    // A sign of life between starts anew, and one after it takes it back.
    for sign in ["pong", "beat"] {
        assert!(!gone(&[(100, "none"), (200, sign), (350, "none")]), "{sign}");
        assert!(gone(&[(100, "none"), (200, sign), (350, "none"), (600, "none")]), "{sign}");
        assert!(!gone(&[(100, "none"), (350, "none"), (400, sign)]), "{sign}");
    }
    assert!(gone(&[(10, "beat"), (100, "none"), (200, "late"), (350, "none")]), "an old beat is no sign");
}

#[test]
fn another_life_of_a_node_ends_the_one_before() {
    let mut membership = member(0, 1, 0);
    membership.handle_heartbeat(OwnTime(0), &beat(5, 900)).unwrap();
    assert!(!membership.misses(OwnTime(1), ONE, LIFE));
    // The clock of the new life may be behind.
    membership.handle_heartbeat(OwnTime(1), &beat(6, 3)).unwrap();
    assert!(membership.misses(OwnTime(1), ONE, LIFE) && membership.is_gone(ONE, LIFE));
    assert!(!membership.misses(OwnTime(1), ONE, Incarnation(6)));
    assert_eq!(membership.incarnation_of(ONE), Some(Incarnation(6)));
    assert_eq!(membership.handle_heartbeat(OwnTime(2), &beat(5, 901)), Err(PeerRefusal::OldIncarnation));
    assert_eq!(membership.heard_at(ONE), Some(OwnTime(1)));
}

#[test]
fn a_heartbeat_returns_what_was_heard_and_says_what_it_is_told() {
    let mut membership = member(0, 1, 0);
    let report = ShardReport {
        shard: SHARD,
        term: Term(3),
        owns: true,
        claims: false,
        position: Position(8),
        can_own: true,
    };
    assert!(membership.heartbeat(OwnTime(5), vec![report]).echoes.is_empty());
    membership.handle_heartbeat(OwnTime(10), &beat(5, 777)).unwrap();
    let heartbeat = membership.heartbeat(OwnTime(12), vec![report]);
    assert_eq!(heartbeat.echoes, [Echo { node: ONE, incarnation: LIFE, sent: PeerTime(777) }]);
    assert_eq!(heartbeat.echo_of(ONE, LIFE), Some(PeerTime(777)));
    assert_eq!(heartbeat.echo_of(ONE, Incarnation(6)), None, "an echo of another life says nothing");
    assert_eq!((heartbeat.sent, heartbeat.report(SHARD)), (PeerTime(12), Some(&report)));
    assert_eq!(heartbeat.report(ShardId(1)), None);
}

#[test]
fn an_owner_is_heard_only_under_its_term_and_while_it_is_not_missed() {
    let mut membership = member(0, 1, 0);
    let mut heartbeat = beat(5, 0);
    heartbeat.reports = vec![ShardReport {
        shard: SHARD,
        term: Term(3),
        owns: true,
        claims: false,
        position: Position(8),
        can_own: true,
    }];
    membership.handle_heartbeat(OwnTime(0), &heartbeat).unwrap();
    let owner = |at: u64, shard, term| membership.heard_owner(OwnTime(at), ShardId(shard), Term(term));
    assert_eq!((owner(0, 0, 3), owner(1_499, 0, 2)), (Some(ONE), Some(ONE)));
    assert_eq!((owner(0, 0, 4), owner(0, 1, 3), owner(1_500, 0, 3)), (None, None, None));
    assert_eq!(
        membership.live(OwnTime(0)).map(|(node, reports)| (node, reports.len())).collect::<Vec<_>>(),
        [(ONE, 1)]
    );
    assert_eq!(membership.live(OwnTime(ALIVE_MS)).count(), 0);
}

#[derive(Clone, Debug)]
enum Event {
    Beat { life: u64, sent: u64 },
    Pong,
    NoResponders,
    Wait(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (1..4_u64, 0..3_000_u64).prop_map(|(life, sent)| Event::Beat { life, sent }),
        1 => Just(Event::Pong),
        2 => Just(Event::NoResponders),
        3 => (0..900_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Against a second, naive reader that keeps all events.
    #[test]
    fn a_node_is_missed_exactly_when_it_is_silent_gone_or_past(events in proptest::collection::vec(any_event(), 1..30)) {
        let mut membership = member(0, 1, 0);
        let mut now = OwnTime(0);
        let (mut last, mut heard, mut unreceived) = ((0, 0), OwnTime(0), Vec::new());
        for event in events {
            match event {
                Event::Wait(ms) => now = now.plus(ms),
                Event::Pong => {
                    membership.handle_pong(ONE);
                    unreceived.clear();
                }
                Event::NoResponders => {
                    membership.handle_no_responders(now, ONE);
                    unreceived.push(now);
                }
                Event::Beat { life, sent } => {
                    let _ = membership.handle_heartbeat(now, &beat(life, sent));
                    if (life, sent) >= last {
                        (last, heard) = ((life, sent), now);
                        unreceived.clear();
                    }
                }
            }
            let is_gone = unreceived.iter().any(|at| at.since(unreceived[0]) >= GONE_AFTER_MS);
            for life in 1..4 {
                let is_missed = is_gone || last.0 > life || now.since(heard) >= SILENCE_MS;
                prop_assert_eq!(membership.misses(now, ONE, Incarnation(life)), is_missed);
                let missed_at = membership.missed_at(ONE, Incarnation(life));
                prop_assert_eq!(missed_at <= now, is_missed);
                if !is_missed {
                    prop_assert!(!membership.misses(OwnTime(missed_at.0 - 1), ONE, Incarnation(life)));
                }
            }
        }
    }

    /// A lease runs from the newest own time that enough nodes echoed, whatever the order of echoes.
    #[test]
    fn a_lease_is_what_a_majority_echoed(majority in 2..4_usize, echoes in proptest::collection::vec((1..5_u8, 0..5_000_u64), 0..20)) {
        let mut lease = Lease::new(majority);
        let mut newest = BTreeMap::new();
        for (node, at) in echoes {
            lease.support(NodeId(node), OwnTime(at));
            let known = newest.entry(node).or_insert(at);
            *known = at.max(*known);
            let mut times: Vec<u64> = newest.values().copied().collect();
            times.sort_unstable();
            let until = times.iter().rev().nth(majority - 2).map(|at| OwnTime(at + LEASE_MS));
            prop_assert_eq!(lease.until(), until);
            if let Some(until) = until {
                prop_assert!(lease.holds(OwnTime(until.0 - 1)) && !lease.holds(until));
            }
        }
        lease.clear();
        prop_assert_eq!(lease.until(), None);
    }
}
