//! Context: what all lean clients of one generator share: rooms, known frames, counts, what is to be sent next.
//!
//! Not here: what is said (`protocol`), who takes what was said to a socket (`link`, `quic`).

use super::frame_cache::FrameCache;
use super::framing::Framing;
use grandstand_harness::histogram::{Summary, Times};
use grandstand_protocol::websocket::Opcode;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Context {
    /// Names of the rooms.
    pub rooms: Vec<String>,
    /// By room: the offset behind the last message that is known to be in the log.
    pub heads: Vec<u64>,
    /// The time, about: read once for a few events.
    pub now_ns: u64,
    /// Frames that were seen.
    pub frames: FrameCache,
    /// What was counted since the mark.
    pub seen: Seen,
    /// When messages were due that do not say so: by room, the first offset and times from there on.
    pub due: HashMap<u32, (u64, Vec<u64>)>,
    /// Of the present client.
    pub(super) framing: Framing,
    /// What the present client says, framed.
    pub(super) said: Vec<u8>,
}

/// Counts and times since the mark.
#[derive(Debug, Default)]
pub struct Seen {
    /// The counts.
    pub counts: Reading,
    /// From due to delivered.
    pub latency: Times,
    /// From due to answered, of publications.
    pub answers: Times,
}

/// What clients saw since the mark.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Since the mark.
    pub elapsed_ns: u64,
    /// Clients that follow their rooms now.
    pub viewers: u64,
    /// Messages that reached clients.
    pub deliveries: u64,
    /// Frames that held messages.
    pub frames: u64,
    /// Frames that held none: tallies, answers, notices.
    pub other_frames: u64,
    /// Bytes as the kernel gave them: under TLS and QUIC the encrypted ones, without the headers of TCP, UDP
    /// and IP.
    pub wire_bytes: u64,
    /// Messages that a client ought to have had between others, and was not told of.
    pub lost: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came after later ones.
    pub out_of_order: u64,
    /// Messages or frames that differ from what others got at the same place.
    pub wrong: u64,
    /// Messages of which clients were told that they did not get them.
    pub omitted: u64,
    /// Notices of that kind.
    pub gaps: u64,
    /// Connections that ended and were not asked to.
    pub ended: u64,
    /// The first fault of any kind.
    pub first_fault: Option<String>,
    /// From when a message was due until a client had it.
    pub latency: Summary,
    /// Publications that were sent.
    pub published: u64,
    /// Of them, those answered with an offset.
    pub acknowledged: u64,
    /// Publications and reactions that were refused.
    pub refused: u64,
    /// The first refusal.
    pub first_refusal: Option<String>,
    /// From when a publication was due until its answer.
    pub answers: Summary,
    /// Pings that were answered.
    pub pongs: u64,
    /// The time in which the generator was at work, not looking whether there is any.
    pub busy_ns: u64,
    /// Looks at the sockets that found any ready, and of them those that found as many as a look takes.
    pub looks: u64,
    /// See `looks`: the receiver is full then.
    pub full_looks: u64,
}

impl Reading {
    /// Everything that must not be: lost, duplicated, out of order, wrong, ended.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.out_of_order + self.wrong + self.ended
    }

    /// The share of its time in which the generator was at work.
    #[must_use]
    pub fn core_share(&self) -> f64 {
        self.busy_ns as f64 / self.elapsed_ns.max(1) as f64
    }

    /// The share of looks that found as many sockets ready as one look takes.
    #[must_use]
    pub fn full_share(&self) -> f64 {
        self.full_looks as f64 / self.looks.max(1) as f64
    }

    /// Keeps the first fault's text.
    pub fn fault(&mut self, text: impl FnOnce() -> String) {
        self.first_fault.get_or_insert_with(text);
    }
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
        self.seen = Seen::default();
    }

    /// What this window has so far; elapsed time and clients are the caller's to add.
    pub(super) fn read(&mut self) -> Reading {
        self.frames.flush(&mut self.seen);
        let (latency, answers) = (self.seen.latency.summary(), self.seen.answers.summary());
        Reading { latency, answers, ..self.seen.counts.clone() }
    }
}
