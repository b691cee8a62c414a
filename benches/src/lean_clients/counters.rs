//! Counters: the counts of lean clients since the last mark.
//!
//! Why one record: a bench reads the same fields that a process of viewers counts.
//! Not here: the counting (`context`, `frame_cache`, the protocols).

use grandstand_harness::histogram::{Summary, Times};
use serde::{Deserialize, Serialize};

/// Counts and times since the mark.
#[derive(Debug, Default)]
pub struct Counters {
    /// The counts.
    pub counts: Reading,
    /// From due to delivered.
    pub latency: Times,
    /// From due to answered, of publications.
    pub answers: Times,
}

/// The clients' counts since the mark.
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
    /// Subscriptions that continued at their place, in a session that was continued.
    pub resumed: u64,
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
