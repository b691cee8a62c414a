//! What a link costs: time and bytes to encode and decode the items that nodes send most.
//!
//! Why not a count of instructions: a frame is built a few dozen times a second and shard, so its cost is a
//! figure for planning, and no hot path. Run with `cargo run --profile micro -p grandstand-micro --example
//! link`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use grandstand_cluster::id::{Incarnation, NodeId, Term};
use grandstand_cluster::link::{DownFrame, DownItem, DownSender, Message, UpFrame, UpItem, UpSender};
use grandstand_cluster::seat::ShownEntry;
use grandstand_cluster::time::OwnTime;
use grandstand_engine::link::*;
use grandstand_protocol::batch::{BatchWriter, MessageParts};
use grandstand_protocol::frame::{Durability, Encoder, Role};

/// Items in a frame: what a busy turn of a shard says to one node.
const ITEMS: usize = 64;
const ROUNDS: u32 = 200;
const RUNS: u32 = 20;

fn main() {
    let (batch, alias) = (batch(), Alias(300));
    let workers: Box<[_]> = [WorkerId::new(1, 0), WorkerId::new(1, 1)].into();
    let to = |output| DownItem::Output { workers: workers.clone(), output };
    let entry =
        ShownEntry { term: Term(4), index: 70_000, bytes: Bytes::from(vec![7; batch.wire.len() + 90]) };
    let answer = Answer {
        connection: ConnectionToken(70_000),
        kind: AnswerKind::Published {
            nonce: 0x1234_5678_9abc_def0,
            epoch: 0x1234_5678_9abc_def0,
            offset: 1_000_000,
            time_ms: 1_700_000_000_000,
            durability: Durability::Replicated,
            repeated: false,
        },
    };
    println!("{ITEMS} items in a frame; a batch of 20 messages has {} bytes", batch.wire.len());
    println!("{:<44}{:>10}{:>12}{:>12}", "item", "bytes", "encode ns", "decode ns");
    // Each its own: a batch that is named again costs nothing.
    let copies: Vec<_> = (0..ITEMS).map(|_| Arc::new(Batch::clone(&batch))).collect();
    down("batch of 20 messages", |at| to(Output::Batch { alias, batch: copies[at].clone() }));
    down("the same batch again", |_| to(Output::Batch { alias, batch: batch.clone() }));
    down("entry of such a batch", |_| DownItem::Entry(entry.clone()));
    down("one answer to a publication", |_| to(Output::Answers(vec![answer])));
    down("20 answers in one item", |_| to(Output::Answers(vec![answer; 20])));
    up("attach", |_| Input::Attach {
        worker: WorkerId::new(1, 0),
        room: "channel/evening-show".into(),
        opener: Opener { person: PersonId(0x1234_5678_9abc_def0), is_trusted: false },
    });
    up("publication of 44 bytes of text", |_| Input::Publish(Box::new(publication())));
}

fn down(name: &str, item: impl Fn(usize) -> DownItem) {
    let items: Vec<_> = (0..ITEMS).map(item).collect();
    let mut sender = DownSender::new(NodeId(0), Incarnation(1));
    sender.begin(OwnTime(1000), Term(4));
    sender.poll(OwnTime(1000));
    let encode = || {
        items.iter().for_each(|item| sender.push(black_box(item)).expect("it fits"));
        sender.poll(OwnTime(1000)).expect("there are items")
    };
    measure(name, encode, |frame| DownFrame::decode(frame).expect("just encoded").items.len());
}

fn up(name: &str, input: impl Fn(usize) -> Input) {
    let items: Vec<_> = (0..ITEMS).map(|at| UpItem::Input(input(at))).collect();
    let mut sender = UpSender::new(NodeId(1), Incarnation(1));
    sender.begin(OwnTime(1000), Term(4));
    sender.poll(OwnTime(1000));
    let encode = || {
        items.iter().for_each(|item| sender.push(black_box(item)).expect("it fits"));
        sender.poll(OwnTime(1000)).expect("there are items")
    };
    measure(name, encode, |frame| UpFrame::decode(frame).expect("just encoded").items.len());
}

fn measure(name: &str, mut encode: impl FnMut() -> Bytes, decode: impl Fn(&[u8]) -> usize) {
    let frame = encode();
    assert_eq!(decode(&frame), ITEMS, "one frame");
    let encode_ns = each_ns(|| drop(black_box(encode())));
    let decode_ns = each_ns(|| {
        black_box(decode(black_box(&frame)));
    });
    println!("{name:<44}{:>10.1}{encode_ns:>12.0}{decode_ns:>12.0}", frame.len() as f64 / ITEMS as f64);
}

/// Nanoseconds for each item, in the quickest of several runs: what others do on the machine only adds.
fn each_ns(mut work: impl FnMut()) -> f64 {
    let mut run = || {
        let began = Instant::now();
        (0..ROUNDS).for_each(|_| work());
        began.elapsed().as_nanos() as f64 / f64::from(ROUNDS) / ITEMS as f64
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn batch() -> Arc<Batch> {
    let mut body = Vec::new();
    let mut writer = BatchWriter::begin(&mut body, 300, 20, false, false, 0);
    writer.chat(1_000_000, 250, 0);
    for _ in 0..20 {
        writer.message(&MessageParts { author: "some_viewer", text: TEXT, ..MessageParts::default() });
    }
    writer.finish();
    let wire = Encoder::batch_framed(&body);
    Arc::new(Batch {
        seq: 70_000,
        first_offset: 1_000_000,
        next_offset: 1_000_020,
        messages: 20,
        base_time_ms: 1_700_000_000_000,
        time_ms: 1_700_000_000_250,
        wire,
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    })
}

const TEXT: &str = "what a goal, did you see how he turned there";

fn publication() -> Publication {
    Publication {
        from: ReplyTo { worker: WorkerId::new(1, 0), connection: ConnectionToken(70_000) },
        alias: Alias(300),
        user: UserId(0x1234_5678_9abc_def0),
        person: PersonId(0x1234_5678_9abc_def0),
        nonce: 0x1234_5678_9abc_def0,
        age_ms: 0,
        author: "some_viewer".into(),
        role: Role::Viewer,
        text: TEXT.into(),
        attachment: "".into(),
        reply_to: None,
        exempt: false,
        is_bridged: false,
    }
}
