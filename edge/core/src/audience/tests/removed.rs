//! What moderators removed, as each worker of a house knows it: the oracle that no frame which a worker
//! begins after it had an act shows what the act removed.
//!
//! Why by worker: a worker that has not heard of an act may still show what it removes; from the act's batch,
//! or from an attachment that comes after it, it may not.
//! Invariant: a frame of which a part was sent before the act is no breach (M-5).

use std::sync::Arc;

use grandstand_engine::link::{Batch, Output};
use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::{Act, ActKind, Category, ClientFrame};

use super::super::history::body;
use super::harness::{Harness, V};

/// An act: its log, its offset, and the batch that holds it.
#[derive(Clone, Debug)]
struct KnownAct {
    epoch: u64,
    at: u64,
    batch: Arc<Batch>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Removed {
    acts: Vec<KnownAct>,
    /// By worker: those that it has heard of.
    by_worker: Vec<Vec<KnownAct>>,
    /// The worker whose frames are read now.
    pub(super) reader: usize,
    /// The frame that is read now was begun before the last act came to its worker.
    pub(super) is_begun: bool,
    /// How often something would have been shown, had the worker not known of the act.
    pub(super) acts_met: usize,
}

impl Removed {
    /// An output reaches a worker, which has the room's log `epoch` then. `true`: it tells of acts, and what
    /// was sent before is to be read first.
    pub(super) fn tells(output: &Output) -> bool {
        match output {
            Output::Batch { batch, .. } => batch.has_acts,
            Output::Attached { result, .. } => result.is_ok(),
            _ => false,
        }
    }

    /// The worker has taken it.
    pub(super) fn note(&mut self, worker: usize, output: &Output, epoch: Option<u64>) {
        self.by_worker.resize_with(self.by_worker.len().max(worker + 1), Vec::new);
        match (output, epoch) {
            (Output::Batch { batch, .. }, Some(epoch)) if batch.has_acts => {
                for at in offsets_of_acts(batch) {
                    let act = KnownAct { epoch, at, batch: batch.clone() };
                    let is_known = |known: &KnownAct| (known.epoch, known.at) == (epoch, at);
                    if !self.acts.iter().any(is_known) {
                        self.acts_met += 1;
                        self.acts.push(act.clone());
                    }
                    self.by_worker[worker].push(act);
                }
            }
            (Output::Attached { result: Ok(attached), .. }, _) => {
                let is_before =
                    |act: &&KnownAct| act.epoch == attached.epoch && act.at < attached.next_offset;
                let known: Vec<KnownAct> = self.acts.iter().filter(is_before).cloned().collect();
                self.by_worker[worker].extend(known);
            }
            _ => {}
        }
    }

    /// A message is shown.
    pub(super) fn check(&self, epoch: u64, offset: u64, author: &str, text: &str) {
        let Some(known) = self.by_worker.get(self.reader).filter(|_| !self.is_begun) else { return };
        for act in known.iter().filter(|act| act.epoch == epoch) {
            let is_shown =
                each_act(&act.batch, |at, removal| at != act.at || !removal.covers(at, offset, author));
            assert!(is_shown, "{text:?} at {offset} is shown, though the act at {} removed it", act.at);
        }
    }
}

fn offsets_of_acts(batch: &Batch) -> Vec<u64> {
    let mut offsets = Vec::new();
    each_act(batch, |at, _| {
        offsets.push(at);
        true
    });
    offsets
}

/// Does it hold for each act of a batch?
fn each_act(
    batch: &Batch,
    mut holds: impl FnMut(u64, &grandstand_protocol::batch::Removal<'_>) -> bool,
) -> bool {
    let mut reader = BatchReader::new(body(batch).expect("a body")).expect("a batch");
    let mut at = Position { offset: batch.first_offset, ..Position::default() };
    while let Some(item) = reader.next_item().expect("a whole batch") {
        match item {
            Item::Message(m) => drop(at.message(&m)),
            Item::Removed(skip) => drop(at.entry(skip)),
            Item::Omitted(count) => at.omitted(count),
            Item::Act(act) => {
                let offset = at.entry(act.skip);
                if !holds(offset, &act.removal(offset)) {
                    return false;
                }
            }
            _ => {}
        }
    }
    true
}

impl Harness {
    /// An output reaches a worker.
    pub(super) fn take_output(&mut self, worker: usize, output: Output) {
        if !Removed::tells(&output) {
            return self.audiences[worker].handle_output(output);
        }
        // What was sent before is no breach.
        for v in (0..self.viewers.len()).map(V) {
            if self.worker(v) == Some(worker) {
                self.read(v);
                self.viewers[v.0].begun = self.viewers[v.0].is_mid_frame();
            }
        }
        self.audiences[worker].handle_output(output.clone());
        let rooms = &self.audiences[worker].subscriptions.rooms;
        let attached = match &output {
            Output::Batch { alias, .. } => {
                rooms.with_alias(*alias).and_then(|key| rooms[key].attached.as_ref())
            }
            _ => None,
        };
        let epoch = attached.map(|attached| attached.epoch);
        self.truth.removed.note(worker, &output, epoch);
    }

    /// Keep order in a room.
    pub(super) fn act(&mut self, v: V, alias: u32, act: ActKind, target: Option<u64>, seconds: u32) -> u32 {
        let request = self.viewers[v.0].next_request();
        let epoch = self.viewers[v.0].following.get(&alias).map_or(0, |f| f.at.epoch);
        let category = Category::Spam;
        let frame = Act { request, alias, act, epoch, target, seconds, category, ..Act::default() };
        self.send(v, &ClientFrame::Act(frame));
        request
    }
}
