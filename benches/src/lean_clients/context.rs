//! The context: the state that all lean clients of one generator share: rooms, known frames, counts, queued
//! messages.
//!
//! Not here: the messages (`protocol`), writing them to a socket (`link`, `quic`).

use super::counters::{Counters, Reading};
use super::frame_cache::FrameCache;
use super::framing::Framing;
use grandstand_protocol::websocket::Opcode;
use std::collections::HashMap;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Context {
    /// Names of the rooms.
    pub rooms: Vec<String>,
    /// Whether clients that connect again resume their session and their places.
    pub resumes: bool,
    /// By room: the offset behind the last message that is known to be in the log.
    pub heads: Vec<u64>,
    /// The time, about: read once for a few events.
    pub now_ns: u64,
    /// Frames that were seen.
    pub frames: FrameCache,
    /// The counts since the mark.
    pub seen: Counters,
    /// When messages were due that do not say so: by room, the first offset and times from there on.
    pub due: HashMap<u32, (u64, Vec<u64>)>,
    /// Of the present client.
    pub(super) framing: Framing,
    /// The framed messages of the present client.
    pub(super) said: Vec<u8>,
}

impl Context {
    /// The present client says this, as one message.
    pub fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        self.framing.write(opcode, payload, &mut self.said);
    }

    /// When the message at an offset was due, if that was told.
    #[must_use]
    pub fn due_ns(&self, room: u32, offset: u64) -> Option<u64> {
        let (first, due) = self.due.get(&room)?;
        due.get(usize::try_from(offset.checked_sub(*first)?).ok()?).copied()
    }

    /// A publication of this client was answered with an offset, or refused.
    pub fn answered(&mut self, due_ns: Option<u64>, accepted: Option<(u32, u64)>) {
        let Some((room, offset)) = accepted else { return };
        self.seen.counts.acknowledged += 1;
        let head = &mut self.heads[room as usize];
        *head = (*head).max(offset + 1);
        if let Some(due_ns) = due_ns {
            self.seen.answers.record(self.now_ns.saturating_sub(due_ns) / 1_000);
        }
    }

    /// A window begins.
    pub(super) fn mark(&mut self) {
        self.frames.flush(&mut self.seen);
        self.seen = Counters::default();
    }

    /// The counts of this window; the caller adds elapsed time and clients.
    pub(super) fn read(&mut self) -> Reading {
        self.frames.flush(&mut self.seen);
        let (latency, answers) = (self.seen.latency.summary(), self.seen.answers.summary());
        Reading { latency, answers, ..self.seen.counts.clone() }
    }
}
