//! Moving from one connection to the next in virtual time, between two scripted nodes with one log.
//!
//! The property at the end is the promise: whenever the old connection ends, however frames of both come, and
//! whatever does not answer, each message comes once and in order, and each publication stands in the log
//! once and is acknowledged once.
//!
//! Why: a drain must not be noticed, and nothing else tests two connections of one session.

mod common;

use std::collections::VecDeque;

use common::{HEARTBEAT_MS, ScriptedNode};
use grandstand_client::core::{
    Ending, Next, Options, OwnedEvent as E, Publication, Reason, RoomId, Session, SubscribeOptions,
};
use grandstand_client::protocol::frame::{GoAway, Kind, ServerFrame};
use proptest::prelude::*;

/// A session between the node that it is at and the one that it moves to.
struct Road {
    now_us: u64,
    session: Session,
    room: RoomId,
    old: ScriptedNode,
    new: ScriptedNode,
    to_old: VecDeque<Vec<u8>>,
    to_new: VecDeque<Vec<u8>>,
    events: Vec<E>,
    changed: bool,
}

impl Road {
    fn up(seed: u64) -> Road {
        let mut session = Session::new(Options { seed, ..Options::default() });
        session.overlap_migrations();
        let room = session.subscribe("show", SubscribeOptions::default()).unwrap();
        session.handle_connected(1_000_000);
        let mut road = Road {
            now_us: 1_000_000,
            session,
            room,
            old: ScriptedNode::new(),
            new: ScriptedNode::new(),
            to_old: VecDeque::new(),
            to_new: VecDeque::new(),
            events: Vec::new(),
            changed: false,
        };
        road.settle();
        assert!(road.session.is_live(room));
        road
    }

    /// Both nodes have one log.
    fn share(&mut self) {
        let (a, b) = (&mut self.old, &mut self.new);
        let (from, to) = if a.log.len() >= b.log.len() { (a, b) } else { (b, a) };
        to.log.clone_from(&from.log);
        to.nonces.extend(from.nonces.iter().map(|(&nonce, &offset)| (nonce, offset)));
    }

    fn say(&mut self) {
        self.share();
        let text = self.old.head().to_string();
        self.old.say(&text);
        self.share();
    }

    fn publish(&mut self, text: &str) -> u64 {
        self.session.publish(self.now_us, self.room, &Publication { text, ..Publication::default() }).unwrap()
    }

    fn go_away(&mut self, where_to: &str, after_ms: u32) {
        let deadline_ms = after_ms + 5_000;
        self.old.send(&ServerFrame::GoAway(GoAway { where_to, after_ms, deadline_ms, detail: "" }));
    }

    fn transmit(&mut self) {
        let mut frame = Vec::new();
        while self.session.poll_transmit(self.now_us, &mut frame) {
            self.to_old.push_back(std::mem::take(&mut frame));
        }
        while self.session.next_connection().poll_transmit(&mut frame) {
            self.to_new.push_back(std::mem::take(&mut frame));
        }
    }

    fn old_hears(&mut self, frames_max: usize) {
        for frame in self.to_old.drain(..frames_max.min(self.to_old.len())) {
            self.old.handle_frame(&frame);
        }
        self.share();
    }

    fn new_hears(&mut self) {
        self.share();
        self.to_new.drain(..).for_each(|frame| self.new.handle_frame(&frame));
    }

    fn client_hears_old(&mut self, frames_max: usize) {
        for _ in 0..frames_max {
            let Some(frame) = self.old.to_client.pop_front() else { break };
            self.session.handle_frame(self.now_us, &frame, &mut |event| self.events.push(event.to_owned()));
        }
        self.transmit();
    }

    fn client_hears_new(&mut self) {
        while !self.session.next_connection().is_greeted()
            && let Some(frame) = self.new.to_client.pop_front()
        {
            self.session.next_connection().handle_frame(self.now_us, &frame);
        }
    }

    /// Change over if it is time: the new node is the one from then on.
    fn change(&mut self, ended: bool) -> bool {
        let changed =
            self.session.poll_change(self.now_us, ended, &mut |event| self.events.push(event.to_owned()));
        if changed {
            self.share();
            self.old.handle_disconnected();
            std::mem::swap(&mut self.old, &mut self.new);
            self.to_old = std::mem::take(&mut self.to_new);
            self.changed = true;
            self.transmit();
        }
        changed
    }

    fn settle(&mut self) {
        self.transmit();
        while !self.to_old.is_empty() || !self.old.to_client.is_empty() {
            self.old_hears(usize::MAX);
            self.client_hears_old(usize::MAX);
        }
    }

    fn advance(&mut self, by_us: u64) {
        self.now_us += by_us;
        self.session.handle_timeout(self.now_us);
        self.transmit();
    }

    /// The next connection is made and greeted.
    fn greet(&mut self) {
        assert!(self.session.next_connection().poll_open().is_some());
        self.session.next_connection().handle_connected(self.now_us);
        self.transmit();
        self.new_hears();
        self.client_hears_new();
        assert!(self.session.next_connection().is_greeted());
    }

    fn offsets(&self) -> Vec<u64> {
        let offset = |e: &E| if let E::Message { offset, .. } = e { Some(*offset) } else { None };
        self.events.iter().filter_map(offset).collect()
    }

    fn published(&self, nonce: u64) -> usize {
        self.events.iter().filter(|e| matches!(e, E::Published { nonce: n, .. } if *n == nonce)).count()
    }

    fn has_faults(&self) -> bool {
        self.events.iter().any(|e| matches!(e, E::Fault { .. } | E::Gap { .. }))
    }
}

/// As long as after_ms of 800 and the client's own jitter on it.
const MOVE_US: u64 = 900_001;

#[test]
fn the_old_connection_delivers_until_the_new_one_stands() {
    let mut road = Road::up(1);
    road.go_away("b:1", 800);
    road.settle();
    road.advance(799_999);
    assert_eq!(road.session.next_connection().poll_open(), None, "not before its time");
    road.advance(MOVE_US - 799_999);
    assert_eq!(road.session.poll_close(), None, "nothing is given up");
    assert_eq!(road.session.next_connection().poll_open().as_deref(), Some("b:1"));
    assert_eq!(road.session.next_connection().poll_open(), None, "once");
    road.say();
    road.old.pump(9);
    road.settle();
    road.session.next_connection().handle_connected(road.now_us);
    road.transmit();
    road.say();
    road.old.pump(9);
    road.settle();
    assert_eq!(road.offsets(), [0, 1], "while the next one is greeted");
    road.new_hears();
    road.client_hears_new();
    assert!(road.change(false) && road.session.is_up());
    // What was said meanwhile comes from there, and what the old one still had under way is not read.
    road.say();
    road.settle();
    road.old.pump(9);
    road.settle();
    assert_eq!(road.offsets(), [0, 1, 2]);
    assert!(!road.has_faults());
    assert_eq!(road.old.seen[..2], [Kind::Hello, Kind::Subscribe], "the new node, once");
    let reasons: Vec<_> = road.events.iter().filter(|e| matches!(e, E::Disconnected { .. })).collect();
    assert_eq!(reasons, [&E::Disconnected { reason: Reason::GoAway }]);
}

#[test]
fn a_publication_under_way_is_waited_for_and_new_ones_wait_for_the_change() {
    let mut road = Road::up(2);
    road.go_away("", 800);
    road.settle();
    road.advance(MOVE_US);
    let nonce = road.publish("under way");
    road.transmit();
    road.greet();
    let later = road.publish("later");
    road.transmit();
    assert!(!road.change(false), "its answer may come");
    road.settle();
    assert_eq!((road.published(nonce), road.old.log.len()), (1, 1), "the second waits");
    assert!(road.change(false));
    road.settle();
    assert_eq!((road.published(later), road.old.log.len()), (1, 2));
}

#[test]
fn a_publication_without_an_answer_is_said_again_under_its_nonce() {
    let mut road = Road::up(3);
    road.go_away("", 800);
    road.settle();
    road.advance(MOVE_US);
    let taken = road.publish("taken, and the answer is lost");
    road.transmit();
    road.old_hears(usize::MAX);
    let lost = road.publish("never heard");
    road.transmit();
    road.to_old.clear();
    road.old.to_client.clear();
    road.greet();
    road.advance(249_999);
    assert!(!road.change(false));
    road.advance(1);
    assert!(road.change(false), "no longer than a quarter of a second");
    road.settle();
    assert_eq!((road.published(taken), road.published(lost), road.old.log.len()), (1, 1, 2));
    assert!(
        road.events
            .iter()
            .any(|e| matches!(e, E::Published { nonce, repeated: true, .. } if *nonce == taken))
    );
}

#[test]
fn where_nobody_answers_the_given_address_is_tried_and_this_connection_goes_on() {
    let mut road = Road::up(4);
    road.go_away("nowhere:1", 800);
    road.settle();
    road.advance(MOVE_US);
    assert_eq!(road.session.next_connection().poll_open().as_deref(), Some("nowhere:1"));
    road.session.next_connection().handle_failed(road.now_us);
    assert!(
        !road.session.next_connection().is_wanted()
            && road.session.is_up()
            && road.session.next_connection().has_fallen_back()
    );
    road.advance(500_000);
    assert_eq!(road.session.next_connection().poll_open().as_deref(), Some(""));
    // Somebody answers there, but never says welcome.
    road.session.next_connection().handle_connected(road.now_us);
    for _ in 0..21 {
        road.advance(HEARTBEAT_MS as u64 * 500);
        road.settle();
    }
    assert!(!road.session.next_connection().is_wanted() && road.session.is_up());
}

#[test]
fn the_old_connection_may_end_first() {
    for greeted in [false, true] {
        let mut road = Road::up(5);
        road.go_away("", 800);
        road.settle();
        road.advance(MOVE_US);
        if greeted {
            road.publish("under way");
            road.transmit();
            road.greet();
            assert!(!road.change(false) && road.change(true), "nothing is waited for");
            road.settle();
            assert!(road.session.is_live(road.room));
        } else {
            assert!(road.session.next_connection().poll_open().is_some());
            let next = road.session.handle_disconnected(road.now_us, Ending::Eof, &mut |_| {});
            assert!(matches!(next, Next::Reconnect { .. }));
            assert!(!road.session.next_connection().is_wanted());
        }
    }
}

/// As long as a ping may be without an answer before the session looks elsewhere.
const ANSWER_WAIT_US: u64 = 3_000_000;

impl Road {
    /// A connection with the usual heartbeat, over which batches came this often, and whose node then falls
    /// silent. Returns after how long the session wants another one.
    fn until_doubt(&mut self, every_us: u64) -> u64 {
        for _ in 0..40 {
            let until_us = self.now_us + every_us;
            while let Some(due_us) = self.session.poll_timeout().filter(|&due_us| due_us < until_us) {
                self.advance(due_us.saturating_sub(self.now_us));
                self.settle();
            }
            self.now_us = until_us;
            self.say();
            self.old.pump(1);
            self.settle();
        }
        let silent_us = self.now_us;
        while self.session.next_connection().poll_open().is_none() {
            let due_us = self.session.poll_timeout().unwrap();
            self.advance(due_us - self.now_us);
            assert!(self.now_us - silent_us < 60_000_000 && self.session.poll_close().is_none());
        }
        assert!(self.session.next_connection().is_doubt());
        self.now_us - silent_us
    }

    fn up_with_usual_heartbeat(seed: u64) -> Road {
        let mut road = Road::up(seed);
        road.old.heartbeat_ms = 25_000;
        road.new.heartbeat_ms = 25_000;
        assert!(matches!(
            road.session.handle_disconnected(road.now_us, Ending::Eof, &mut |_| {}),
            Next::Reconnect { .. }
        ));
        road.old.handle_disconnected();
        road.session.handle_connected(road.now_us);
        road.settle();
        road.events.clear();
        road
    }
}

#[test]
fn a_node_that_dies_without_a_word_is_left_within_seconds() {
    for (every_us, most_us) in [(50_000, 5_250_000), (1_000_000, 9_500_000), (20_000_000, 15_500_000)] {
        for seed in 0..20 {
            let mut road = Road::up_with_usual_heartbeat(seed);
            let after_us = road.until_doubt(every_us);
            assert!((ANSWER_WAIT_US..=most_us).contains(&after_us), "{every_us}: {after_us}");
            let nonce = road.publish("said into the silence");
            road.transmit();
            road.say();
            road.session.next_connection().handle_connected(road.now_us);
            road.transmit();
            road.new_hears();
            road.client_hears_new();
            assert!(road.change(false), "a publication without an answer is no reason to wait");
            road.settle();
            road.old.pump(9);
            road.settle();
            let head = road.old.head();
            assert_eq!(road.offsets(), (0..head).collect::<Vec<_>>(), "resumed and complete");
            assert_eq!(road.published(nonce), 1);
            assert!(road.events.contains(&E::Disconnected { reason: Reason::Silent }));
        }
    }
}

#[test]
fn a_node_that_only_stalls_is_not_left() {
    let mut road = Road::up_with_usual_heartbeat(3);
    road.until_doubt(50_000);
    road.session.next_connection().handle_connected(road.now_us);
    road.transmit();
    road.settle();
    assert!(!road.session.next_connection().is_wanted() && road.session.is_up());
    assert!(!road.change(false));
    // Nobody answers anywhere: it goes on asking around, and waits for the old one.
    let mut tries = 0;
    road.until_doubt(50_000);
    road.session.next_connection().handle_failed(road.now_us);
    for _ in 0..400 {
        road.advance(10_000);
        if road.session.next_connection().poll_open().is_some() {
            tries += 1;
            road.session.next_connection().handle_failed(road.now_us);
        }
    }
    assert!((2..60).contains(&tries) && road.session.is_up(), "{tries}");
    // One that reads nothing on purpose doubts nobody.
    let mut road = Road::up_with_usual_heartbeat(4);
    road.session.handle_reading_held(road.now_us, true);
    for _ in 0..40 {
        road.advance(1_000_000);
    }
    assert!(road.session.next_connection().poll_open().is_none() && road.session.poll_close().is_none());
}

#[test]
fn a_driver_that_holds_one_connection_gives_a_silent_one_up() {
    let mut session = Session::new(Options { seed: 6, ..Options::default() });
    let mut node = ScriptedNode::new();
    node.heartbeat_ms = 25_000;
    session.handle_connected(1_000_000);
    let mut frame = Vec::new();
    while session.poll_transmit(1_000_000, &mut frame) {
        node.handle_frame(&std::mem::take(&mut frame));
    }
    node.to_client.drain(..).for_each(|frame| session.handle_frame(1_000_000, &frame, &mut |_| {}));
    assert!(session.is_up());
    let mut now_us = 1_000_000;
    while session.poll_close().is_none() {
        now_us = session.poll_timeout().unwrap();
        session.handle_timeout(now_us);
        while session.poll_transmit(now_us, &mut frame) {
            frame.clear();
        }
    }
    assert!((6_000_000..19_500_000).contains(&(now_us - 1_000_000)), "{now_us}");
}

proptest! {
    #[test]
    fn whatever_happens_on_the_way_each_message_comes_once(
        seed: u64, steps in prop::collection::vec((0u8..10, 1usize..4), 1..120),
    ) {
        let mut road = Road::up(seed);
        let mut nonces = Vec::new();
        road.go_away("", 100);
        for (step, n) in steps {
            match step {
                0 => (0..n).for_each(|_| road.say()),
                1 => nonces.push(road.publish("mine")),
                2 => road.old.pump(n),
                3 => road.old_hears(n),
                4 => road.client_hears_old(n),
                5 => road.advance(n as u64 * 60_000),
                6 if road.session.next_connection().poll_open().is_some() => {
                    road.new.handle_disconnected();
                    road.to_new.clear();
                    road.session.next_connection().handle_connected(road.now_us);
                }
                7 => {
                    road.transmit();
                    road.new_hears();
                    road.client_hears_new();
                }
                8 if n == 1 && road.session.next_connection().is_wanted() => road.session.next_connection().handle_failed(road.now_us),
                9 => drop(road.change(n == 3)),
                _ => {}
            }
            road.transmit();
        }
        road.settle();
        road.share();
        road.old.pump(3);
        road.settle();
        let head = road.old.head();
        prop_assert_eq!(road.offsets(), (0..head).collect::<Vec<_>>());
        prop_assert!(!road.has_faults());
        for nonce in nonces {
            prop_assert!(road.old.nonces.contains_key(&nonce) || road.session.unanswered() > 0);
            prop_assert!(road.published(nonce) <= 1);
        }
        let said = road.old.log.iter().filter(|e| matches!(e, common::Entry::Message(t) if t == "mine")).count();
        prop_assert_eq!(said, road.old.nonces.len());
    }
}
