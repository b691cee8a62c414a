//! The stage: what all viewers of a crowd share: rooms, known frames, counts, what is to be said next.
//!
//! Not here: how it is said (`viewer`), what (`talk`).

use super::canon::Canon;
use super::{CrowdPlan, Reading};
use crate::histogram::Times;
use grandstand_protocol::websocket::Opcode;
use std::collections::HashMap;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Stage {
    /// Names of the rooms.
    pub rooms: Vec<String>,
    /// Messages from before a viewer's coming that it asks for.
    pub replay: u32,
    /// The time, about: read once for a few viewers.
    pub now_ns: u64,
    /// Frames that were seen.
    pub canon: Canon,
    /// What was counted since the mark.
    pub tally: Tally,
    /// When messages were due that do not say so: by room, the first offset and times from there on.
    pub due: HashMap<u32, (u64, Vec<u64>)>,
    /// What the present viewer says: kinds and ends of pieces of `said`.
    pieces: Vec<(Opcode, usize)>,
    said: Vec<u8>,
}

/// Counts since the mark.
#[derive(Debug, Default)]
pub struct Tally {
    /// See [`Reading`], also for those below.
    pub deliveries: u64,
    /// Frames with messages.
    pub frames: u64,
    /// Frames without.
    pub other_frames: u64,
    /// Bytes from the kernel.
    pub wire_bytes: u64,
    /// Lost without a word.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came late.
    pub out_of_order: u64,
    /// Not what others got.
    pub wrong: u64,
    /// Told to be left out.
    pub omitted: u64,
    /// Notices of gaps.
    pub gaps: u64,
    /// Connections that ended.
    pub ended: u64,
    /// The first fault.
    pub first_fault: Option<String>,
    /// From due to delivered.
    pub latency: Times,
}

impl Stage {
    pub(super) fn new(plan: &CrowdPlan) -> Stage {
        Stage { rooms: plan.rooms.clone(), replay: plan.replay, ..Stage::default() }
    }

    /// The present viewer says this, as one message.
    pub fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        self.said.extend_from_slice(payload);
        self.pieces.push((opcode, self.said.len()));
    }

    /// What was said, taken.
    pub(super) fn take_said(&mut self, mut each: impl FnMut(Opcode, &[u8])) {
        let mut begin = 0;
        for (opcode, end) in self.pieces.drain(..) {
            each(opcode, &self.said[begin..end]);
            begin = end;
        }
        self.said.clear();
    }

    pub(super) fn has_said(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// When the message at an offset was due, if that was told.
    #[must_use]
    pub fn due_ns(&self, room: u32, offset: u64) -> Option<u64> {
        let (first, due) = self.due.get(&room)?;
        due.get(usize::try_from(offset.checked_sub(*first)?).ok()?).copied()
    }

    /// A window begins.
    pub(super) fn mark(&mut self) {
        self.canon.flush(&mut self.tally);
        self.tally = Tally::default();
    }

    /// What this window has so far; times, viewers and CPU are the caller's to add.
    pub(super) fn read(&mut self) -> Reading {
        self.canon.flush(&mut self.tally);
        let t = &self.tally;
        Reading {
            deliveries: t.deliveries,
            frames: t.frames,
            other_frames: t.other_frames,
            wire_bytes: t.wire_bytes,
            lost: t.lost,
            duplicated: t.duplicated,
            out_of_order: t.out_of_order,
            wrong: t.wrong,
            omitted: t.omitted,
            gaps: t.gaps,
            ended: t.ended,
            first_fault: t.first_fault.clone(),
            latency: t.latency.summary(),
            ..Reading::default()
        }
    }
}

impl Tally {
    /// Keeps the first fault's text.
    pub fn fault(&mut self, text: impl FnOnce() -> String) {
        self.first_fault.get_or_insert_with(text);
    }
}
