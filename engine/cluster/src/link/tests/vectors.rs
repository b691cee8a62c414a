//! Vectors: one message of each kind, with one item of each kind, as bytes in a file.
//!
//! Why: a round trip does not notice a change that encoder and decoder share. A node of the last release
//! does.
//! Not here: any values (`any`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::*;
use grandstand_engine::log::{HandedLive, HandedNonces, HandedRoom, RoomEntry, StoredNonce};
use grandstand_protocol::frame::{Durability, Kind, Phase, Role};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::text::Likeness;

use super::any::framed;
use super::body::cluster_message;
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::link::*;
use crate::membership::{About, Echo, Facts, Heartbeat, ShardReport, Versions};
use crate::order::{Order, Outcome};
use crate::seat::{Answer as Promise, AnswerVerdict, Ask, ShownEntry};
use crate::time::PeerTime;

fn inputs() -> Vec<Input> {
    let (worker, alias) = (WorkerId::new(2, 1), Alias(300));
    let from = ReplyTo { worker, connection: ConnectionToken(70_000) };
    let history = |of| Input::History { worker, request: 6, alias, epoch: 77, from: 12, of };
    let settings = RoomSettings {
        tick_min_ms: Some(50),
        durability: Some(Durability::Replicated),
        ..Default::default()
    };
    let room = || "show".to_owned();
    let asked = [
        AdminRequest::Create { room: room(), settings },
        AdminRequest::Open { room: room() },
        AdminRequest::Close { room: room() },
        AdminRequest::FollowShow { room: room() },
        AdminRequest::Remove { room: room() },
        AdminRequest::SetState { room: room(), key: "poll".into(), value: Some(b"1".to_vec()) },
        AdminRequest::Configure { room: room(), settings },
        AdminRequest::List { prefix: "s".into(), after: "sa".into(), limit: 100 },
        AdminRequest::Counters,
    ];
    let mut all = vec![
        Input::Attach {
            worker,
            room: "show".into(),
            opener: Opener { person: PersonId(5), is_trusted: true },
        },
        Input::Detach { worker, alias },
        Input::Viewers { worker, alias, count: 1000 },
        Input::Staff { worker, alias, names: [Likeness::from_number(9)].into() },
        Input::Publish(Box::new(Publication {
            from,
            alias,
            user: UserId(1),
            person: PersonId(2),
            nonce: 3,
            age_ms: 4,
            author: "Ada".into(),
            role: Role::Host,
            text: "hello".into(),
            attachment: "img".into(),
            reply_to: Some(200),
            exempt: true,
            is_bridged: true,
        })),
        Input::React { alias, tallies: vec![("+1".into(), 5), ("".into(), 300)] },
        Input::SetState(Box::new(StateChange {
            from,
            request: 8,
            alias,
            key: "poll".into(),
            value: Some(Bytes::from_static(b"yes")),
        })),
        history(PageOf::Shown),
        history(PageOf::Full { messages_max: 500 }),
        Input::Load { worker, load: Load { elapsed_us: 1000, fanout_us: 10, writes: 3 } },
        Input::Reattach {
            worker,
            room: "show".into(),
            opener: Opener { person: PersonId(5), is_trusted: false },
            alias,
        },
    ];
    all.extend(asked.map(|request| Input::Admin { from, request: Box::new(request) }));
    all
}

fn outputs() -> Vec<Output> {
    let alias = Alias(300);
    let image = Arc::new(StateImage { version: 4, wire: framed(Kind::Snapshot, &[1, 2]) });
    let batch = Arc::new(Batch {
        seq: 41,
        first_offset: 200,
        next_offset: 203,
        messages: 2,
        base_time_ms: 1_700_000_000_000,
        time_ms: 1_700_000_000_250,
        wire: framed(Kind::Batch, &[0xac, 2, 0]),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: Some(image.clone()),
    });
    let attachment = Attachment {
        alias,
        epoch: 77,
        next_seq: 42,
        next_offset: 203,
        time_ms: 1_700_000_000_250,
        batches: vec![batch.clone()],
        snapshot: Some(image),
        phase: Phase::Closing,
        until_ms: 1_700_000_900_000,
        previous: [PreviousEpoch { epoch: 76, next_offset: 100 }].into_iter().collect(),
    };
    let answer = |kind| Answer { connection: ConnectionToken(70_000), kind };
    let (reason, retry_after_ms) = (Refusal::SlowMode, Some(1500));
    let answers = vec![
        answer(AnswerKind::Published {
            nonce: 3,
            epoch: 77,
            offset: 202,
            time_ms: 1_700_000_000_250,
            durability: Durability::Replicated,
            repeated: true,
        }),
        answer(AnswerKind::PublishRefused { nonce: 4, reason, retry_after_ms }),
        answer(AnswerKind::StateSet { request: 8, version: 4 }),
        answer(AnswerKind::StateRefused { request: 9, reason, retry_after_ms: None }),
    ];
    let info = RoomInfo {
        name: "show".into(),
        alias,
        epoch: 77,
        phase: Phase::Open,
        next_offset: 203,
        oldest_offset: 10,
        viewers: 1000,
        history_bytes: 4096,
        state_version: 4,
        tick_ms: 250,
        settings: RoomSettings { tick_max_ms: Some(500), pacing_per_s: Some(20), ..Default::default() },
        durability: Durability::Replicated,
    };
    let page = HistoryPage { batches: vec![batch.clone()], same_epoch: true, retry_after_ms: Some(100) };
    let told = [
        Ok(AdminAnswer::Room(info.clone())),
        Ok(AdminAnswer::Rooms(vec![info])),
        Ok(AdminAnswer::Counters(vec![("rooms", 3)])),
        Err(Refusal::UnknownRoom),
    ];
    let personal = Personal { alias, connection: ConnectionToken(1), wire: framed(Kind::Personal, &[8, 9]) };
    let mut all = vec![
        Output::Attached { room: "show".into(), result: Ok(Box::new(attachment)) },
        Output::Attached { room: "no".into(), result: Err(Refusal::Overloaded) },
        Output::Batch { alias, batch },
        Output::Answers(answers),
        Output::Personals(vec![personal]),
        Output::History { request: 6, page: Box::new(page) },
        Output::Phase { alias, phase: Phase::Closed, at_ms: 1_700_000_000_500 },
        Output::Removed { alias },
    ];
    let reply = |answer| AdminReply { connection: ConnectionToken(7), answer };
    all.extend(told.map(|answer| Output::Admin(Box::new(reply(answer)))));
    all
}

fn handed() -> HandedRoom {
    let batch = Arc::new(Batch {
        seq: 1,
        first_offset: 7,
        next_offset: 9,
        messages: 2,
        base_time_ms: 5,
        time_ms: 6,
        wire: framed(Kind::Batch, &[0xac, 2, 0]),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    });
    let room = RoomEntry {
        room: "show".into(),
        epoch: 77,
        next_offset: 9,
        slot: Some(100),
        is_operators: true,
        is_head: true,
        phase: Phase::Closing,
        settings: RoomSettings { tick_max_ms: Some(500), ..Default::default() },
    };
    let live = HandedLive {
        time_ms: 6,
        accepted_ms: 8,
        state: vec![("poll".into(), Bytes::from_static(b"yes"))],
        state_version: 3,
        previous: [PreviousEpoch { epoch: 76, next_offset: 5 }].into_iter().collect(),
        nonces: HandedNonces {
            complete_for_us: Some(-9),
            entries: vec![StoredNonce { user: UserId(1), nonce: 2, time_ms: 6 }],
        },
        spoke: vec![(PersonId(4), 1_500_000)],
    };
    let full = Some(framed(Kind::Batch, &[0xac, 2, 1]));
    HandedRoom { room, is_on_disk: false, live: Some(live), batches: vec![(batch, full)] }
}

fn messages() -> Vec<(&'static str, Bytes)> {
    let (node, incarnation, term) = (NodeId(2), Incarnation(0x0102_0304_0506_0708), Term(5));
    let mut items: Vec<_> = inputs().into_iter().map(UpItem::Input).collect();
    items.push(UpItem::Restate { have_term: Term(4), have_index: 900 });
    let up = UpFrame { node, incarnation, term, seq: 17, begins: true, items, passed_over: 0 };
    let workers: Box<[_]> = [WorkerId::new(2, 0), WorkerId::of_node(2)].into();
    let entry = |index| ShownEntry { term, index, bytes: Bytes::from_static(b"\x02\0\0\0hi") };
    let mut items = vec![
        DownItem::Entry(entry(901)),
        DownItem::Restated { term, first: 901 },
        DownItem::Kept { term, through: 900, position: Position(65) },
        DownItem::Restate,
        DownItem::Handed(Box::new(handed())),
    ];
    items.extend(outputs().into_iter().map(|output| DownItem::Output { workers: workers.clone(), output }));
    let down = DownFrame { node, incarnation, term, seq: 18, begins: false, items, passed_over: 0 };
    let report = |shard, owns| ShardReport {
        shard: ShardId(shard),
        term,
        owns,
        claims: !owns,
        position: Position(65),
        can_own: true,
    };
    let heartbeat = Heartbeat {
        node,
        incarnation,
        sent: PeerTime(123_456),
        echoes: vec![Echo { node: NodeId(1), incarnation: Incarnation(9), sent: PeerTime(7) }],
        facts: Facts { seed: 11, shards: 6, ticket_key_print: 12 },
        versions: Versions { min: 1, max: 2 },
        reports: vec![report(0, true), report(1, false)],
        load: 0,
        house: 0,
        about: About { is_draining: true, unix_ms: 1_700_000_000_000, nodes: 3, leaders: 5, written: 1 },
    };
    let ask = Ask { candidate: node, incarnation, term, sent: PeerTime(8) };
    let answer = |verdict| {
        let answer = Promise { from: node, term, asked: PeerTime(8), verdict };
        encode_answer(&answer).unwrap().remove(0)
    };
    vec![
        ("up", up.encode().unwrap()),
        ("down", down.encode().unwrap()),
        ("keepalive", UpFrame { items: Vec::new(), begins: false, ..up }.encode().unwrap()),
        ("heartbeat", heartbeat.encode().unwrap()),
        ("ask", ask.encode().unwrap()),
        ("promised", answer(AnswerVerdict::Promised(vec![entry(1), entry(2)]))),
        ("hears", answer(AnswerVerdict::Hears(NodeId(1)))),
        ("not_ready", answer(AnswerVerdict::NotReady)),
        ("old_term", answer(AnswerVerdict::OldTerm(Term(6)))),
        ("announce", Announce { term, position: Position(65) }.encode().unwrap()),
        ("pong", Pong { node, incarnation }.encode().unwrap()),
        ("hand_over", Order::HandOver { shard: ShardId(3), to: node }.encode().unwrap()),
        ("drain", Order::Drain.encode().unwrap()),
        ("serve", Order::Serve.encode().unwrap()),
        ("taken", Outcome::default().encode().unwrap()),
        ("refused", Outcome::refused("the node drains").encode().unwrap()),
    ]
}

#[test]
fn messages_are_the_bytes_that_the_vectors_say() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let found: String = messages().iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    let vectors = include_str!("../vectors.txt");
    let expected: String =
        vectors.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
    assert!(found == expected, "encoded otherwise than in vectors.txt:\n{found}");
}

/// What a node of an earlier release says, which knows less of itself.
#[test]
fn a_heartbeat_without_the_later_fields_is_read() {
    let hex = concat!(
        "01200000001c003c0006000800050018002000100028000a0030000c000e0014001c0000000002010001000600",
        "010002003800000028000000080706050403020140e20100000000000b000000000000000c0000000000000000",
        "00000002000000480000001c000000010000006400000010001800060008000000040010000500100000000101",
        "01000500000000000000410000000000000010001e000000080006000000100007001000000000000101050000",
        "000000000041000000000000000000000000000a0018000700080010000a000000000000010900000000000000",
        "0700000000000000",
    );
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let heartbeat = Heartbeat::decode(&bytes).unwrap();
    assert_eq!((heartbeat.about, heartbeat.reports.len()), (About::default(), 2));
}

/// The fuzz target `cluster_message`, with the vectors as seeds.
#[test]
fn mutations_of_the_vectors_are_refused_or_valid() {
    let seeds: Vec<_> = messages().into_iter().map(|(_, bytes)| bytes.to_vec()).collect();
    super::smoke::smoke(cluster_message, &seeds, 50_000);
}

/// Every cut and every flipped bit of every vector is an error or a valid message.
#[test]
fn every_cut_and_every_flipped_bit_of_the_vectors_is_refused_or_valid() {
    for (_, message) in messages() {
        for at in 0..message.len() {
            cluster_message(&message[..at]);
            for bit in 0..8 {
                let mut changed = message.to_vec();
                changed[at] ^= 1 << bit;
                cluster_message(&changed);
            }
        }
    }
}

/// No length or count is believed: the longest of each is refused, whatever it is a length of.
#[test]
fn lengths_beyond_the_bytes_take_no_memory() {
    for (_, message) in messages() {
        for at in 0..message.len().saturating_sub(5) {
            let mut changed = message.to_vec();
            changed[at..at + 5].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
            cluster_message(&changed);
            changed[at..at + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
            cluster_message(&changed);
        }
    }
}
