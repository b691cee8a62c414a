//! Tests of senders: where frames are cut, what is written once, and what is too long.
//!
//! Why real sizes: the bounds are those of the network, and a frame over them is lost.

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::*;
use grandstand_protocol::compress::Compressor;
use grandstand_protocol::frame::{Kind, Phase};
use proptest::prelude::*;

use super::any;
use crate::id::{Incarnation, NodeId, Term};
use crate::link::*;
use crate::membership::Heartbeat;
use crate::seat::{Answer as Promise, AnswerVerdict, ShownEntry};
use crate::time::{OwnTime, PeerTime};

const NOW: OwnTime = OwnTime(1000);

fn batch(seq: u64, bytes: usize) -> Arc<Batch> {
    let text: Vec<u8> = (0..bytes).map(|at| b"the same words "[at % 15]).collect();
    Arc::new(Batch {
        seq,
        first_offset: seq,
        next_offset: seq + 1,
        messages: 1,
        base_time_ms: 1,
        time_ms: 2,
        wire: any::framed(Kind::Batch, &[&[1], &text[..]].concat()),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    })
}

fn shown(worker: u16, batch: &Arc<Batch>) -> DownItem {
    let output = Output::Batch { alias: Alias(1), batch: batch.clone() };
    DownItem::Output { workers: [WorkerId(worker)].into(), output }
}

fn entry(index: u64, bytes: usize) -> DownItem {
    DownItem::Entry(ShownEntry { term: Term(3), index, bytes: Bytes::from(vec![7; bytes]) })
}

fn sender() -> DownSender {
    let mut sender = DownSender::new(NodeId(1), Incarnation(9));
    sender.begin(NOW, Term(3));
    sender
}

/// All frames that are due, decoded, each within the bound.
fn frames(sender: &mut DownSender) -> Vec<DownFrame> {
    let due = std::iter::from_fn(|| sender.poll(NOW));
    let frames: Vec<_> = due
        .map(|bytes| {
            assert!(bytes.len() <= MESSAGE_BYTES_MAX);
            DownFrame::decode(&bytes).unwrap()
        })
        .collect();
    assert!(frames.iter().zip(1..).all(|(frame, seq)| frame.seq == seq));
    frames
}

fn items(sender: &mut DownSender) -> Vec<DownItem> {
    frames(sender).into_iter().flat_map(|frame| frame.items).collect()
}

#[test]
fn frames_are_cut_at_the_bound_and_keep_the_order() {
    let mut sender = sender();
    let all: Vec<_> = (1..=30).map(|index| entry(index, 100_000)).collect();
    all.iter().for_each(|item| sender.push(item).unwrap());
    let frames = frames(&mut sender);
    assert_eq!(frames.len(), 6, "five of 100,000 bytes in each");
    assert!(frames[0].begins && frames[1..].iter().all(|frame| !frame.begins));
    assert_eq!(frames.into_iter().flat_map(|frame| frame.items).collect::<Vec<_>>(), all);
}

#[test]
fn one_item_over_the_bound_is_a_frame_of_its_own_and_one_over_a_message_is_an_error() {
    let mut sender = sender();
    let all = [entry(1, 10), entry(2, 700_000), entry(3, 10)];
    all.iter().for_each(|item| sender.push(item).unwrap());
    let too_long = sender.push(&entry(4, MESSAGE_BYTES_MAX)).unwrap_err();
    assert!(too_long.to_string().starts_with("an item of a frame of 1044"), "{too_long}");
    let frames = frames(&mut sender);
    let sizes: Vec<_> = frames.iter().map(|frame| frame.items.len()).collect();
    assert_eq!((sizes, sender.counts().too_long), (vec![1, 1, 1], 1));
    assert_eq!(frames.into_iter().flat_map(|frame| frame.items).collect::<Vec<_>>(), all);
}

/// The longest item that is taken fits into a message with its table, and the next byte is refused.
#[test]
fn what_is_taken_fits_to_the_byte() {
    let is_taken = |bytes| {
        let mut sender = sender();
        let taken = sender.push(&entry(u64::MAX, bytes)).is_ok();
        assert_eq!(frames(&mut sender).len(), 1, "a frame or a keepalive");
        taken
    };
    let (mut taken, mut refused) = (MESSAGE_BYTES_MAX - 1000, MESSAGE_BYTES_MAX);
    while refused - taken > 1 {
        let middle = usize::midpoint(taken, refused);
        *(if is_taken(middle) { &mut taken } else { &mut refused }) = middle;
    }
    assert!(MESSAGE_BYTES_MAX - taken < 200, "{taken}");
}

#[test]
fn a_batch_is_one_in_a_frame_however_many_times_it_is_named() {
    let (one, mut sender) = (batch(4, 5000), sender());
    let page = HistoryPage { batches: vec![one.clone()], same_epoch: true, retry_after_ms: None };
    let attachment = Attachment {
        alias: Alias(1),
        epoch: 2,
        next_seq: 5,
        next_offset: 5,
        time_ms: 2,
        batches: vec![one.clone()],
        snapshot: None,
        phase: Phase::Open,
        until_ms: 1_700_000_900_000,
        previous: Lineage::default(),
    };
    let outputs = [
        Output::Attached { room: "a".into(), result: Ok(Box::new(attachment)) },
        Output::Batch { alias: Alias(1), batch: one.clone() },
        Output::History { request: 1, page: Box::new(page) },
    ];
    for output in outputs {
        sender.push(&DownItem::Output { workers: [WorkerId(1)].into(), output }).unwrap();
    }
    let bytes = sender.poll(NOW).unwrap();
    assert!(bytes.len() < 5400, "{}", bytes.len());
    let mut decoded = Vec::new();
    for item in DownFrame::decode(&bytes).unwrap().items {
        match item {
            DownItem::Output { output: Output::Attached { result, .. }, .. } => {
                decoded.extend(result.unwrap().batches);
            }
            DownItem::Output { output: Output::Batch { batch, .. }, .. } => decoded.push(batch),
            DownItem::Output { output: Output::History { page, .. }, .. } => decoded.extend(page.batches),
            _ => panic!("another item"),
        }
    }
    assert!(decoded.len() == 3 && decoded.iter().all(|batch| Arc::ptr_eq(batch, &decoded[0])));
    assert_eq!(decoded[0], one);
}

/// Viewers of every node get the same bytes, plain and compressed.
#[test]
fn a_batch_has_the_same_wire_forms_at_every_node() {
    let (one, mut sender, mut compressor) = (batch(4, 5000), sender(), Compressor::default());
    assert!(one.compress(&mut compressor));
    sender.push(&shown(1, &one)).unwrap();
    let Some(DownItem::Output { output: Output::Batch { batch, .. }, .. }) = items(&mut sender).pop() else {
        panic!("it was pushed")
    };
    assert_eq!(batch.wire, one.wire);
    assert_eq!(batch.compressed(), None, "each node makes its own");
    assert!(batch.compress(&mut compressor));
    assert!(batch.compressed().is_some() && batch.compressed() == one.compressed());
}

/// A value that dies while a frame is gathered must not lend its address to another one.
#[test]
fn batches_that_die_are_not_taken_for_others() {
    let mut sender = sender();
    for seq in 0..1000 {
        sender.push(&shown(1, &batch(seq, 10))).unwrap();
    }
    let seqs = items(&mut sender).into_iter().map(|item| match item {
        DownItem::Output { output: Output::Batch { batch, .. }, .. } => batch.seq,
        _ => panic!("another item"),
    });
    assert!(seqs.eq(0..1000));
}

#[test]
fn answers_and_personals_of_any_number_are_split() {
    let mut sender = sender();
    let kind = |n| AnswerKind::StateSet { request: n, version: u64::MAX };
    let answers: Vec<_> =
        (0..200_000).map(|n| Answer { connection: ConnectionToken(u64::MAX), kind: kind(n) }).collect();
    let wire = any::framed(Kind::Personal, &[1; 900]);
    let personal = |n| Personal { alias: Alias(n), connection: ConnectionToken(1), wire: wire.clone() };
    let personals: Vec<_> = (0..3000).map(personal).collect();
    for output in [Output::Answers(answers.clone()), Output::Personals(personals.clone())] {
        sender.push(&DownItem::Output { workers: [WorkerId(1)].into(), output }).unwrap();
    }
    let (mut all, mut rest) = (Vec::new(), Vec::new());
    for item in items(&mut sender) {
        match item {
            DownItem::Output { output: Output::Answers(some), .. } => all.extend(some),
            DownItem::Output { output: Output::Personals(some), .. } => rest.extend(some),
            _ => panic!("another item"),
        }
    }
    assert!(all == answers && rest == personals);
    assert_eq!(sender.counts().shortened, 0);
}

#[test]
fn a_ring_that_is_too_long_keeps_its_newest_batches() {
    let mut sender = sender();
    let attachment = Attachment {
        alias: Alias(1),
        epoch: 2,
        next_seq: 64,
        next_offset: 64,
        time_ms: 2,
        batches: (0..64).map(|seq| batch(seq, 100_000)).collect(),
        snapshot: None,
        phase: Phase::Open,
        until_ms: 1_700_000_900_000,
        previous: Lineage::default(),
    };
    let output = Output::Attached { room: "a".into(), result: Ok(Box::new(attachment)) };
    sender.push(&DownItem::Output { workers: [WorkerId(1)].into(), output }).unwrap();
    let all = items(&mut sender);
    let [DownItem::Output { output: Output::Attached { result: Ok(found), .. }, .. }] = &all[..] else {
        panic!("one attachment")
    };
    let seqs: Vec<_> = found.batches.iter().map(|batch| batch.seq).collect();
    assert_eq!(seqs, (56..64).collect::<Vec<_>>());
    assert!(found.next_seq == 64 && sender.counts().shortened == 3);
}

#[test]
fn a_promise_of_megabytes_arrives_whole_in_parts_of_any_order() {
    let entry = |index| ShownEntry { term: Term(2), index, bytes: Bytes::from(vec![index as u8; 90_000]) };
    let answer = |asked, entries: Vec<_>| Promise {
        from: NodeId(2),
        term: Term(3),
        asked: PeerTime(asked),
        verdict: AnswerVerdict::Promised(entries),
    };
    let whole = answer(5, (1..=90).map(entry).collect());
    let messages = encode_answer(&whole).unwrap();
    assert!(messages.len() > 10 && messages.iter().all(|m| m.len() <= MESSAGE_BYTES_MAX));
    let mut parts = AnswerParts::default();
    // A part of an earlier question is lost: nothing comes of it. A repeated part changes nothing.
    let earlier = encode_answer(&answer(4, (1..=20).map(entry).collect())).unwrap();
    assert_eq!(parts.decode(&earlier[0]), Ok(None));
    let (last, rest) = messages.split_first().unwrap();
    for message in rest.iter().rev().chain(rest).chain(&earlier[1..]) {
        assert_eq!(parts.decode(message), Ok(None));
    }
    assert_eq!(parts.decode(last), Ok(Some(whole)));
    let too_long = encode_answer(&answer(6, (1..=400).map(entry).collect())).unwrap_err();
    assert!(too_long.to_string().starts_with("a promise with its entries of 36"), "{too_long}");
}

#[test]
fn a_heartbeat_of_many_shards_fits_and_one_of_too_many_is_an_error() {
    let mut heartbeat = Heartbeat {
        node: NodeId(1),
        incarnation: Incarnation(2),
        sent: PeerTime(3),
        echoes: Vec::new(),
        facts: crate::membership::Facts { seed: 1, shards: 256, ticket_key_print: 2 },
        versions: VERSIONS,
        reports: Vec::new(),
        load: 0,
        house: 0,
        about: crate::membership::About::default(),
    };
    let report = |shard| crate::membership::ShardReport {
        shard: ShardId(shard),
        term: Term(u64::MAX),
        owns: true,
        claims: true,
        position: crate::id::Position(u64::MAX),
        can_own: true,
    };
    heartbeat.reports = (0..1024).map(report).collect();
    assert_eq!(Heartbeat::decode(&heartbeat.encode().unwrap()), Ok(heartbeat.clone()));
    heartbeat.reports = (0..u16::MAX).map(report).collect();
    assert!(heartbeat.encode().unwrap_err().to_string().starts_with("a heartbeat of"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is cut and undone, no frame names a batch of another one.
    #[test]
    fn shared_batches_survive_every_cut(pushes in prop::collection::vec((0..8_usize, 0..3_usize), 1..30)) {
        let batches: Vec<_> = (0..8).map(|seq| batch(seq, 90_000)).collect();
        let mut sender = sender();
        let all: Vec<_> = pushes.iter().map(|&(at, kind)| match kind {
            0 => entry(at as u64, 60_000),
            _ => shown(at as u16, &batches[at]),
        }).collect();
        all.iter().for_each(|item| sender.push(item).unwrap());
        prop_assert_eq!(items(&mut sender), all);
    }
}

/// What an owner sends of a busy replicated room: each entry, and its batch for the workers of a node.
#[test]
fn the_bytes_of_a_batch_are_once_in_a_frame_that_has_its_entry() {
    let node = |sender: &mut DownSender| std::iter::from_fn(|| sender.poll(NOW)).collect::<Vec<_>>();
    let sent = |shares: bool, batches: &[Arc<Batch>]| {
        let mut sender = DownSender::new(NodeId(1), Incarnation(2));
        sender.begin(NOW, Term(3));
        for (index, batch) in (1..).zip(batches) {
            let bytes = [b"\xff\x04\0\0 name and numbers ", &batch.wire[..], b" nonces"].concat().into();
            let entry = ShownEntry { term: Term(3), index, bytes };
            sender.push_entry(&entry, shares.then_some(batch)).unwrap();
        }
        for batch in batches {
            let output = Output::Batch { alias: Alias(0), batch: batch.clone() };
            sender.push(&DownItem::Output { workers: [WorkerId(256)].into(), output }).unwrap();
        }
        node(&mut sender)
    };
    for (count, bytes) in [(1, 1_200), (64, 1_200), (700, 1_200), (3, 300_000)] {
        let batches: Vec<_> = (0..count).map(|seq| batch(seq, bytes)).collect();
        let (alone, shared) = (sent(false, &batches), sent(true, &batches));
        let items = |frames: &[Bytes]| -> Vec<DownItem> {
            frames.iter().flat_map(|frame| DownFrame::decode(frame).unwrap().items).collect()
        };
        assert_eq!(items(&alone), items(&shared), "said the same");
        let total = |frames: &[Bytes]| frames.iter().map(Bytes::len).sum::<usize>();
        if bytes < 10_000 && count <= 64 {
            assert!(total(&shared) * 100 < total(&alone) * 56, "{} of {}", total(&shared), total(&alone));
        }
    }
}
