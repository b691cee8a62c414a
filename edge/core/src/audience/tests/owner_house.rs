//! A harness whose rooms have modelled owners, and what every viewer in it must be shown.
//!
//! Why: owners change, and outputs are lost, only between nodes. Here a test says when.
//! Invariant: what a viewer is shown is checked on each turn: no text twice, and another log from where it is
//! the one that was read.

use std::collections::{HashMap, HashSet};

use grandstand_engine::link::Output;
use grandstand_protocol::frame::{GapReason, Outcome};

use super::harness::{Harness, Plan, V};
use super::model_owner::{Change, ModelOwner};
use super::viewer::Seen;

/// A harness whose rooms have modelled owners in place of shards.
pub(super) struct House {
    pub(super) harness: Harness,
    pub(super) owners: Vec<ModelOwner>,
    /// Pages that come later than everything else.
    pub(super) late: Vec<Output>,
    pub(super) holds_pages: bool,
    read: HashMap<usize, Reading>,
}

/// What a viewer was shown.
#[derive(Debug, Default)]
struct Reading {
    /// Frames of this connection that were looked at.
    seen: usize,
    /// By room: texts since the last subscription that did not go on.
    texts: HashMap<String, HashSet<String>>,
    /// By alias: epoch and offset.
    at: HashMap<u32, (String, u64, u64)>,
    /// By room: how far it had read when it resumed from before.
    floor: HashMap<String, (u64, u64)>,
}

impl House {
    pub(super) fn new(plan: &Plan, ring_max: usize, kept_max: usize) -> House {
        let mut harness = Harness::new(plan);
        harness.shards.clear();
        let owners =
            vec![ModelOwner::new("a", 1, ring_max, kept_max), ModelOwner::new("b", 2, ring_max, kept_max)];
        House { harness, owners, late: Vec::new(), holds_pages: false, read: HashMap::new() }
    }

    pub(super) fn deliver(&mut self, outputs: Vec<Output>) {
        outputs.into_iter().for_each(|output| self.harness.audiences[0].handle_output(output));
    }

    /// Everything moves that can.
    pub(super) fn turn(&mut self) {
        for _ in 0..4 {
            while let Some(input) = self.harness.links.pop(0) {
                for at in 0..self.owners.len() {
                    let (outputs, page) = self.owners[at].handle_input(&input);
                    self.deliver(outputs);
                    self.late.extend(page);
                }
            }
            if !self.holds_pages {
                let late = std::mem::take(&mut self.late);
                self.deliver(late);
            }
            self.harness.turn();
        }
        self.harness.check_inside();
        (0..self.harness.viewers.len()).for_each(|v| self.look(v));
    }

    pub(super) fn wait_ms(&mut self, ms: u64) {
        self.harness.us += ms * 1_000;
        self.turn();
    }

    pub(super) fn member(&mut self, room: &str) -> V {
        let v = self.harness.guest(0);
        self.harness.viewers[v.0].owners_change = true;
        self.harness.subscribe(v, room, None, 0);
        self.turn();
        v
    }

    pub(super) fn say(&mut self, at: usize, messages: usize) {
        let said = self.owners[at].say(messages, false, None);
        self.deliver(said);
        self.turn();
    }

    pub(super) fn change(&mut self, at: usize, change: Change, base_seq: u64) {
        self.owners[at].change(change, base_seq);
        let told = self.owners[at].attached();
        self.deliver(told);
        self.turn();
    }

    pub(super) fn restarts(&self, v: V) -> Vec<(u64, u64, u64)> {
        let gaps = self.harness.viewers[v.0].gaps().into_iter();
        gaps.filter(|g| g.reason == GapReason::Restarted).map(|g| (g.from, g.to, g.count)).collect()
    }

    /// Check what a viewer was shown since the last look.
    fn look(&mut self, v: usize) {
        let viewer = &self.harness.viewers[v];
        let reading = self.read.entry(v).or_default();
        if viewer.seen.len() < reading.seen {
            (reading.seen, reading.at) = (0, HashMap::new());
        }
        for seen in &viewer.seen[reading.seen..] {
            match seen {
                Seen::Subscribed(s) => {
                    let owner = self.owners.iter().find(|o| o.alias == s.alias || o.alias == s.alias + 100);
                    let room = owner.expect("a room of the house").name.to_string();
                    let owner = self.owners.iter().find(|o| *o.name == *room).expect("a room of the house");
                    if matches!(s.outcome, Outcome::Resumed | Outcome::Gapped) {
                        // What was on its way when it resumed comes again, and its client passes over it.
                        let (epoch, offset) = reading.floor.get(&room).copied().unwrap_or_default();
                        let same = if epoch == s.epoch { offset } else { owner.common(epoch, s.epoch) };
                        reading.floor.insert(room.clone(), (s.epoch, offset.min(same)));
                    } else {
                        reading.texts.remove(&room);
                        reading.floor.insert(room.clone(), (s.epoch, s.offset));
                    }
                    reading.at.insert(s.alias, (room, s.epoch, s.offset));
                }
                Seen::Unsubscribed { alias, .. } => {
                    reading.at.remove(alias);
                }
                Seen::Batch { alias, from, to, texts, .. } => {
                    let (room, epoch, offset) = reading.at.get_mut(alias).expect("it follows the room");
                    *offset = *to;
                    let floor = reading.floor.entry(room.clone()).or_default();
                    let is_again = *from < floor.1;
                    *floor = (*epoch, floor.1.max(*to));
                    for text in texts {
                        let is_new = reading.texts.entry(room.clone()).or_default().insert(text.clone());
                        assert!(is_new || is_again, "viewer {v} was shown {text:?} twice");
                    }
                }
                Seen::Gap(gap) => {
                    let (room, epoch, offset) = reading.at.get_mut(&gap.alias).expect("it follows the room");
                    if gap.reason == GapReason::Restarted {
                        let owner =
                            self.owners.iter().find(|o| *o.name == **room).expect("a room of the house");
                        let common = owner.common(*epoch, gap.epoch).min(*offset);
                        assert!(
                            gap.from == common || gap.from == 0,
                            "viewer {v} at {offset}: {gap:?}, {common}"
                        );
                        assert!(gap.from == gap.to || gap.from == 0, "{gap:?}");
                        reading.floor.insert(room.clone(), (gap.epoch, gap.to));
                    }
                    (*epoch, *offset) = (gap.epoch, gap.to);
                }
                _ => {}
            }
        }
        reading.seen = viewer.seen.len();
    }

    /// Nothing is lost any more, and everyone reads: all are where the owners are.
    pub(super) fn rest(&mut self) {
        self.holds_pages = false;
        for v in 0..self.harness.viewers.len() {
            self.harness.set_room(V(v), usize::MAX);
        }
        for at in 0..self.owners.len() {
            let owner = &mut self.owners[at];
            (owner.loses, owner.loses_pages, owner.refuses) = (false, false, None);
            // As a link does that has found out: it asks for what it follows.
            let told = owner.attached();
            self.deliver(told);
        }
        (0..20).for_each(|_| self.wait_ms(1_000));
        for (v, viewer) in self.harness.viewers.iter().enumerate() {
            if !self.harness.is_connected(V(v)) {
                continue;
            }
            assert_eq!(viewer.unanswered(), 0, "viewer {v} waits for an answer: {viewer:?}");
            assert!(!viewer.is_mid_frame());
            for f in viewer.following.values() {
                let owner = self.owners.iter().find(|o| *o.name == *f.room).expect("a room of the house");
                assert_eq!(
                    (f.at.epoch, f.at.offset, f.at.time_ms),
                    (owner.epoch, owner.next_offset, owner.time_ms),
                    "viewer {v} is not at the head of {}",
                    f.room
                );
                assert_eq!((f.version, &f.state), (owner.version, &owner.state), "the state, viewer {v}");
            }
        }
        for (at, text) in &self.harness.truth.said {
            assert!(self.owners.iter().any(|o| o.said.get(at) == Some(text)), "{text:?} is not at {at:?}");
        }
        let audience = &self.harness.audiences[0];
        assert!(!audience.has_work() && audience.subscriptions.shards.deferred() == 0);
        assert!(audience.subscriptions.pages.is_empty());
        for owner in &self.owners {
            assert_eq!(owner.is_followed(), audience.subscriptions.rooms.named(&owner.name).is_some());
        }
    }
}
