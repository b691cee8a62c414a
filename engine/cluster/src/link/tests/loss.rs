//! Tests of both directions under loss, repetition and reordering.
//!
//! Why so small a state: each side has a number that it raises, and tells every value of it in order. A side
//! that is asked for everything tells the present value first. A receiver then has to see each value once and
//! in order within a run, whatever the network does, and has the sender's value soon after the network does
//! no more harm.

use std::collections::BTreeMap;

use bytes::Bytes;
use grandstand_engine::link::{Alias, Input, WorkerId};
use proptest::prelude::*;

use crate::id::{Incarnation, NodeId, Position, Term};
use crate::link::*;
use crate::time::OwnTime;

const TERM: Term = Term(4);

/// What a network does to one frame.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice { after_ms: u64 },
    Late { by_ms: u64 },
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => (0..700_u64).prop_map(|after_ms| Fate::Twice { after_ms }),
        2 => (1..700_u64).prop_map(|by_ms| Fate::Late { by_ms }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Up,
    Down,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![3 => Just(Step::Up), 3 => Just(Step::Down), 2 => (1..300_u64).prop_map(Step::Wait)]
}

/// Frames under way, by time of arrival.
#[derive(Default)]
struct Network {
    frames: BTreeMap<(u64, u64), Bytes>,
    count: u64,
}

impl Network {
    fn send(&mut self, now: OwnTime, frame: Bytes, fate: Fate) {
        let mut put = |at: u64, frame: Bytes| {
            self.count += 1;
            self.frames.insert((at, self.count), frame);
        };
        match fate {
            Fate::Arrives => put(now.0 + 1, frame),
            Fate::Lost => {}
            Fate::Twice { after_ms } => {
                put(now.0 + 1, frame.clone());
                put(now.0 + 1 + after_ms, frame);
            }
            Fate::Late { by_ms } => put(now.0 + 1 + by_ms, frame),
        }
    }

    fn arrived(&mut self, now: OwnTime) -> Option<Bytes> {
        let entry = self.frames.first_entry().filter(|entry| entry.key().0 <= now.0)?;
        Some(entry.remove())
    }
}

/// The values that one side heard of the other one's number.
#[derive(Default)]
struct Heard {
    value: u64,
    /// Does the next value begin a run?
    jumps: bool,
    /// Numbers of the accepted frames.
    seqs: Vec<u64>,
}

impl Heard {
    fn frame(&mut self, head: Head) {
        let is_next = self.seqs.last().is_some_and(|last| head.seq == last + 1);
        assert!(head.begins || is_next, "a hole was accepted: {:?}, {head:?}", self.seqs.last());
        assert!(self.seqs.last().is_none_or(|last| head.seq > *last), "a frame was accepted again");
        self.seqs.push(head.seq);
        self.jumps |= head.begins;
    }

    fn value(&mut self, value: u64) {
        // A value that waited when everything was asked for is told twice in the new run.
        let is_next = value == self.value || value == self.value + 1;
        assert!(is_next || self.jumps && value > self.value, "{value} came after {}", self.value);
        self.value = value;
        self.jumps = false;
    }
}

struct Pair {
    now: OwnTime,
    fates: Vec<Fate>,
    sent: usize,
    up: UpSender,
    down: DownSender,
    up_network: Network,
    down_network: Network,
    at_owner: Receiver,
    at_follower: Receiver,
    /// Numbers of the follower and of the owner.
    numbers: [u64; 2],
    heard_by_owner: Heard,
    heard_by_follower: Heard,
}

impl Pair {
    fn new(fates: Vec<Fate>) -> Pair {
        let (owner, follower, life) = (NodeId(0), NodeId(1), Incarnation(7));
        let mut pair = Pair {
            now: OwnTime(1000),
            fates,
            sent: 0,
            up: UpSender::new(follower, life),
            down: DownSender::new(owner, life),
            up_network: Network::default(),
            down_network: Network::default(),
            at_owner: Receiver::new(follower, TERM),
            at_follower: Receiver::new(owner, TERM),
            numbers: [0, 0],
            heard_by_owner: Heard::default(),
            heard_by_follower: Heard::default(),
        };
        pair.up.begin(pair.now, TERM);
        pair.down.begin(pair.now, TERM);
        pair.tell_up();
        pair.tell_down();
        pair
    }

    fn tell_up(&mut self) {
        let count = self.numbers[0] as u32;
        let input = Input::Viewers { worker: WorkerId(0), alias: Alias(0), count };
        self.up.push(&UpItem::Input(input)).unwrap();
    }

    fn tell_down(&mut self) {
        let kept = DownItem::Kept { term: TERM, through: self.numbers[1], position: Position(0) };
        self.down.push(&kept).unwrap();
    }

    fn fate(&mut self) -> Fate {
        self.sent += 1;
        self.fates.get(self.sent - 1).copied().unwrap_or(Fate::Arrives)
    }

    /// One millisecond.
    fn tick(&mut self) {
        self.now = self.now.plus(1);
        while let Some(frame) = self.up_network.arrived(self.now) {
            self.receive_up(&frame);
        }
        while let Some(frame) = self.down_network.arrived(self.now) {
            self.receive_down(&frame);
        }
        if self.at_follower.poll_restate(self.now) {
            self.up.restart();
            self.up.push(&UpItem::Restate { have_term: TERM, have_index: 0 }).unwrap();
            self.tell_up();
        }
        if self.at_owner.poll_restate(self.now) {
            self.down.push(&DownItem::Restate).unwrap();
        }
        while let Some(frame) = self.up.poll(self.now) {
            let fate = self.fate();
            self.up_network.send(self.now, frame, fate);
        }
        while let Some(frame) = self.down.poll(self.now) {
            let fate = self.fate();
            self.down_network.send(self.now, frame, fate);
        }
    }

    fn receive_up(&mut self, frame: &[u8]) {
        let frame = UpFrame::decode(frame).unwrap();
        if self.at_owner.receive(frame.head()) != Verdict::Accept {
            return;
        }
        self.heard_by_owner.frame(frame.head());
        for item in frame.items {
            match item {
                UpItem::Input(Input::Viewers { count, .. }) => self.heard_by_owner.value(count.into()),
                UpItem::Restate { .. } => {
                    self.down.restart();
                    self.tell_down();
                }
                UpItem::Input(_) => panic!("another input"),
            }
        }
    }

    fn receive_down(&mut self, frame: &[u8]) {
        let frame = DownFrame::decode(frame).unwrap();
        if self.at_follower.receive(frame.head()) != Verdict::Accept {
            return;
        }
        self.heard_by_follower.frame(frame.head());
        for item in frame.items {
            match item {
                DownItem::Kept { through, .. } => self.heard_by_follower.value(through),
                DownItem::Restate => {
                    self.up.restart();
                    self.tell_up();
                }
                _ => panic!("another item"),
            }
        }
    }

    fn is_agreed(&self) -> bool {
        let heard = [self.heard_by_owner.value, self.heard_by_follower.value];
        heard == self.numbers && self.at_owner.is_whole() && self.at_follower.is_whole()
    }
}

proptest! {
    #[test]
    fn what_is_taken_has_no_hole_and_every_loss_is_healed(
        fates in prop::collection::vec(fate(), 0..60),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut pair = Pair::new(fates);
        for step in steps {
            match step {
                Step::Up => {
                    pair.numbers[0] += 1;
                    pair.tell_up();
                }
                Step::Down => {
                    pair.numbers[1] += 1;
                    pair.tell_down();
                }
                Step::Wait(ms) => (0..ms).for_each(|_| pair.tick()),
            }
        }
        // Until the fates are used up, keepalives alone meet them.
        while pair.sent < pair.fates.len() {
            pair.tick();
        }
        // Late frames, one keepalive, one question, and a second one if the first was under way twice.
        (0..700 + KEEPALIVE_MS + 2 * 500 + 10).for_each(|_| pair.tick());
        prop_assert!(pair.is_agreed());
        // And a quiet link stays whole.
        let holes = (pair.at_owner.counts().holes, pair.at_follower.counts().holes);
        (0..2000).for_each(|_| pair.tick());
        prop_assert!(pair.is_agreed());
        prop_assert_eq!(holes, (pair.at_owner.counts().holes, pair.at_follower.counts().holes));
    }
}

#[test]
fn the_loss_of_the_last_frame_is_seen_with_the_next_keepalive() {
    let mut pair = Pair::new(Vec::new());
    (0..10).for_each(|_| pair.tick());
    assert!(pair.is_agreed());
    let lost_at = pair.now;
    pair.numbers[1] += 1;
    pair.tell_down();
    pair.fates = vec![Fate::Lost; pair.sent + 1];
    pair.tick();
    while pair.at_follower.counts().holes == 0 {
        pair.tick();
    }
    assert!(pair.now.since(lost_at) <= KEEPALIVE_MS + 3, "{}", pair.now.since(lost_at));
    (0..10).for_each(|_| pair.tick());
    assert!(pair.is_agreed());
    assert_eq!(pair.at_follower.counts().missing, 2, "the lost frame, and the one that showed the hole");
}

#[test]
fn a_silent_direction_sends_a_keepalive_and_a_busy_one_none() {
    let mut sender = UpSender::new(NodeId(1), Incarnation(1));
    let item = UpItem::Restate { have_term: TERM, have_index: 0 };
    assert_eq!((sender.poll(OwnTime(0)), sender.due()), (None, None), "no term, no frame");
    sender.push(&item).unwrap();
    sender.begin(OwnTime(1000), TERM);
    assert!(sender.due().is_some_and(|due| due <= OwnTime(1000)), "at once");
    let first = UpFrame::decode(&sender.poll(OwnTime(1000)).unwrap()).unwrap();
    assert!(first.begins && first.seq == 1 && first.items.is_empty());
    assert_eq!(sender.due(), Some(OwnTime(1250)));
    assert_eq!(sender.poll(OwnTime(1249)), None);
    sender.push(&item).unwrap();
    assert!(sender.due().is_some_and(|due| due <= OwnTime(1249)));
    let second = UpFrame::decode(&sender.poll(OwnTime(1249)).unwrap()).unwrap();
    assert!(!second.begins && second.seq == 2 && second.items == [item.clone()]);
    assert_eq!(sender.poll(OwnTime(1498)), None);
    assert!(sender.poll(OwnTime(1499)).is_some());
    let counts = sender.counts();
    assert_eq!((counts.frames, counts.keepalives, counts.items), (3, 2, 1));
    // What waits when the term ends is of no use in the next one.
    sender.push(&item).unwrap();
    sender.begin(OwnTime(1500), Term(5));
    let next = UpFrame::decode(&sender.poll(OwnTime(1500)).unwrap()).unwrap();
    assert!(next.term == Term(5) && next.seq == 1 && next.begins && next.items.is_empty());
    sender.end();
    assert_eq!((sender.poll(OwnTime(9000)), sender.due()), (None, None));
}

fn head(term: u64, incarnation: u64, seq: u64, begins: bool) -> Head {
    Head { node: NodeId(1), incarnation: Incarnation(incarnation), term: Term(term), seq, begins }
}

#[test]
fn nothing_of_another_term_or_an_earlier_life_is_taken() {
    let mut receiver = Receiver::new(NodeId(1), TERM);
    assert_eq!(receiver.receive(head(4, 7, 1, true)), Verdict::Accept);
    assert_eq!(receiver.receive(head(3, 7, 2, true)), Verdict::Old(OldCause::Term));
    assert_eq!(receiver.receive(head(4, 6, 2, true)), Verdict::Old(OldCause::Incarnation));
    assert_eq!(receiver.receive(head(4, 7, 1, true)), Verdict::Old(OldCause::Repeated));
    let other = Head { node: NodeId(2), ..head(4, 7, 2, true) };
    assert_eq!(receiver.receive(other), Verdict::Old(OldCause::Node));
    assert_eq!(receiver.receive(head(5, 7, 1, true)), Verdict::NewTerm(Term(5)));
    assert_eq!(receiver.receive(head(4, 7, 2, false)), Verdict::Accept, "until the seat follows it");
    receiver.begin(NodeId(1), Term(5));
    assert_eq!(receiver.receive(head(4, 7, 3, false)), Verdict::Old(OldCause::Term));
    assert_eq!(receiver.receive(head(5, 7, 2, false)), Verdict::Hole, "the first was dropped");
    assert_eq!(receiver.receive(head(5, 7, 3, true)), Verdict::Accept);
    // Another life: forget the last one, then the same frame again.
    assert_eq!(receiver.receive(head(5, 8, 1, true)), Verdict::NewIncarnation(Incarnation(8)));
    assert!(!receiver.is_whole());
    assert_eq!(receiver.receive(head(5, 8, 1, true)), Verdict::Accept);
    assert_eq!(receiver.receive(head(5, 7, 4, false)), Verdict::Old(OldCause::Incarnation));
    let counts = receiver.counts();
    assert_eq!((counts.accepted, counts.holes, counts.old), (4, 1, [2, 2, 1, 1]));
}

#[test]
fn everything_is_asked_for_at_once_and_again_when_it_does_not_come() {
    let mut receiver = Receiver::new(NodeId(1), TERM);
    assert!(
        !receiver.poll_restate(OwnTime(0)) && receiver.due().is_none(),
        "nothing came, nothing is missed"
    );
    assert_eq!(receiver.receive(head(4, 7, 3, false)), Verdict::Hole);
    assert!(receiver.due().is_some_and(|due| due <= OwnTime(1000)));
    assert!(receiver.poll_restate(OwnTime(1000)) && !receiver.poll_restate(OwnTime(1499)));
    assert_eq!(receiver.due(), Some(OwnTime(1500)));
    assert_eq!(receiver.receive(head(4, 7, 4, false)), Verdict::Hole, "one hole, not two");
    assert!(receiver.poll_restate(OwnTime(1500)));
    assert_eq!(receiver.receive(head(4, 7, 5, true)), Verdict::Accept);
    assert!(!receiver.poll_restate(OwnTime(9000)) && receiver.due().is_none());
    let counts = receiver.counts();
    assert_eq!((counts.holes, counts.dropped, counts.restates, counts.missing), (1, 2, 2, 4));
}
