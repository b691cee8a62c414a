//! Appender: gathers an owner's entries into records, and sends one record at a time.
//!
//! Why one in flight: the log compares the expected sequence number with what it has *proposed*. If a new
//! term takes the place of the first of two records, the second expects just the sequence number that the
//! term took, and is let through: acknowledged, and void for every reader. With one in flight that cannot
//! happen (0 of 1,952 measured, 63 of 4,130 with four).
//! Why gathered: the number of appends is what the log costs, not their bytes. The first entry of a quiet
//! shard goes at once, so nobody waits for company that does not come.
//! Invariants: entries are kept in the order of their indices, without a gap. At most
//! [`AppenderConfig::unkept_bytes_max`] bytes wait, beyond an entry that is alone. Each index is reported as
//! kept once, and as overdue at most once and before that.
//! Not here: whether this node may append at all (`seat`).

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use grandstand_engine::link::ShardId;

use crate::flight::{Attempt, Attempts, Flight, FlightAction, Outcome, Reply};
use crate::id::{Position, Term};
use crate::planted::{self, Fault};
use crate::record::{BODY_BYTES_MAX, Body, Chain, ENTRY_BYTES_MIN, Encoded, EntriesBuilder, Place, encode};
use crate::time::OwnTime;

/// How an appender gathers and how much it holds.
#[derive(Clone, Copy, Debug)]
pub struct AppenderConfig {
    /// The least time between two records of a busy shard.
    pub append_every_ms: u64,
    /// Entries that the log has not kept; beyond, new ones are refused.
    pub unkept_bytes_max: usize,
    /// The time within which a publisher is answered, in one way or the other.
    pub answer_within_ms: u64,
}

impl Default for AppenderConfig {
    fn default() -> Self {
        AppenderConfig { append_every_ms: 40, unkept_bytes_max: 8 << 20, answer_within_ms: 10_000 }
    }
}

/// Why an entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushRefusal {
    /// Too much waits for the log.
    Full {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The log has kept nothing for the time within which a publisher is answered.
    Stalled {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The entry fits into no record, or is not one entry. A retry does not help.
    Malformed,
}

impl fmt::Display for PushRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PushRefusal::Full { retry_after_ms } => {
                write!(f, "too much waits for the log: retry in {retry_after_ms} ms")
            }
            PushRefusal::Stalled { retry_after_ms } => {
                write!(f, "the log keeps nothing: retry in {retry_after_ms} ms")
            }
            PushRefusal::Malformed => {
                write!(f, "not one entry of at most {BODY_BYTES_MAX} bytes: split it, a retry does not help")
            }
        }
    }
}

impl std::error::Error for PushRefusal {}

/// What came of an answer of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A record is kept: all entries up to an index are.
    Kept {
        /// Where.
        position: Position,
        /// The record.
        bytes: Bytes,
        /// The index of its last entry.
        through: u64,
    },
    /// The log has another message at this position. What was in flight waits again.
    Taken {
        /// Where.
        position: Position,
    },
}

#[derive(Debug)]
struct Waiting {
    entry: Bytes,
    since: OwnTime,
}

#[derive(Debug)]
struct Sent {
    flight: Flight,
    entries: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct Appender {
    config: AppenderConfig,
    shard: ShardId,
    term: Term,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The index of the last kept entry: entries of a term are counted from 1.
    kept: u64,
    overdue: u64,
    sent: VecDeque<Sent>,
    last_sent: Option<OwnTime>,
}

impl Appender {
    /// Of a shard that this node owns under a term.
    #[must_use]
    pub fn new(config: AppenderConfig, shard: ShardId, term: Term) -> Self {
        Appender {
            config,
            shard,
            term,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            kept: 0,
            overdue: 0,
            sent: VecDeque::new(),
            last_sent: None,
        }
    }

    /// Take an entry, with its length in front. Returns its index in the term.
    ///
    /// # Errors
    /// See [`PushRefusal`].
    pub fn push(&mut self, now: OwnTime, entry: Bytes) -> Result<u64, PushRefusal> {
        check(&entry)?;
        self.has_room(now, entry.len())?;
        Ok(self.put(now, entry))
    }

    /// Would the shortest entry be taken?
    ///
    /// # Errors
    /// See [`PushRefusal`].
    pub fn may_push(&self, now: OwnTime) -> Result<(), PushRefusal> {
        self.has_room(now, ENTRY_BYTES_MIN)
    }

    /// Take an entry whose publisher was accepted when there was room, whatever waits by now.
    ///
    /// # Errors
    /// If it is not one entry.
    pub fn push_accepted(&mut self, now: OwnTime, entry: Bytes) -> Result<u64, PushRefusal> {
        check(&entry)?;
        Ok(self.put(now, entry))
    }

    fn has_room(&self, now: OwnTime, bytes: usize) -> Result<(), PushRefusal> {
        let age = self.waiting.front().map_or(0, |oldest| now.since(oldest.since));
        if age >= self.config.answer_within_ms {
            return Err(PushRefusal::Stalled { retry_after_ms: self.retry_after(age) });
        }
        if !self.waiting.is_empty() && self.waiting_bytes + bytes > self.config.unkept_bytes_max {
            return Err(PushRefusal::Full { retry_after_ms: self.retry_after(age) });
        }
        Ok(())
    }

    fn put(&mut self, now: OwnTime, entry: Bytes) -> u64 {
        self.waiting_bytes += entry.len();
        self.waiting.push_back(Waiting { entry, since: now });
        self.kept + self.waiting.len() as u64
    }

    /// A log that is only busy has room after a record or two. One that has kept nothing for a second is
    /// electing a leader, which takes 4 to 9 s.
    fn retry_after(&self, age: u64) -> u64 {
        if age < 1_000 { 2 * self.config.append_every_ms } else { 2_000 }
    }

    /// What is due. `chain` is this node's judgement of the log up to its end, if it has read that far:
    /// without it no record is begun. `hurry` gathers no longer.
    pub fn poll(
        &mut self,
        now: OwnTime,
        chain: Option<&Chain>,
        hurry: bool,
        attempts: &mut Attempts,
    ) -> Option<FlightAction> {
        if let Some(chain) = chain.filter(|_| self.may_begin(now, hurry)) {
            self.begin(now, chain);
        }
        self.sent.iter_mut().find_map(|sent| sent.flight.poll(now, attempts))
    }

    fn may_begin(&self, now: OwnTime, hurry: bool) -> bool {
        let in_flight_max = if planted::is(Fault::TwoInFlight) { 2 } else { 1 };
        let in_flight: u64 = self.sent.iter().map(|sent| sent.entries).sum();
        let is_due = hurry
            || self.last_sent.is_none_or(|last| now.since(last) >= self.config.append_every_ms)
            || self.waiting_bytes >= BODY_BYTES_MAX;
        self.sent.len() < in_flight_max && in_flight < self.waiting.len() as u64 && is_due
    }

    fn begin(&mut self, now: OwnTime, chain: &Chain) {
        let (mut position, mut base) = (chain.next(), chain.head().sum);
        if let Some(sent) = self.sent.back() {
            (position, base) = (sent.flight.record().place.position.next(), sent.flight.record().sum);
        }
        let in_flight: u64 = self.sent.iter().map(|sent| sent.entries).sum();
        let mut entries = EntriesBuilder::default();
        for waiting in self.waiting.iter().skip(in_flight as usize) {
            if entries.push(&waiting.entry, BODY_BYTES_MAX) != Ok(true) {
                break;
            }
        }
        let entries = entries.finish();
        let count = entries.count();
        let place = Place { shard: self.shard, term: self.term, position, base };
        let record = encode(place, &Body::Entries(entries)).expect("gathered up to a record's bound");
        self.last_sent = Some(now);
        self.sent.push_back(Sent { flight: Flight::begin(now, record), entries: count });
    }

    /// The log answered an attempt.
    pub fn handle_reply(&mut self, now: OwnTime, attempt: Attempt, reply: Reply) -> Option<Progress> {
        let ended = self.sent.iter_mut().enumerate().find_map(|(ix, sent)| {
            sent.flight.handle_reply(now, attempt, reply).map(|outcome| (ix, outcome))
        });
        ended.map(|(ix, outcome)| self.end(ix, outcome))
    }

    /// The stream's leader returned this message at `position`, or none.
    pub fn handle_read(
        &mut self,
        now: OwnTime,
        position: Position,
        found: Option<&Bytes>,
    ) -> Option<Progress> {
        let is_it = |sent: &Sent| sent.flight.record().place.position == position;
        let ix = self.sent.iter().position(is_it)?;
        let outcome = self.sent[ix].flight.handle_read(now, found)?;
        Some(self.end(ix, outcome))
    }

    fn end(&mut self, ix: usize, outcome: Outcome) -> Progress {
        let sent = self.sent.remove(ix).expect("it was found");
        let Encoded { place, bytes, .. } = sent.flight.record().clone();
        match outcome {
            Outcome::Taken => Progress::Taken { position: place.position },
            Outcome::Kept => {
                for _ in 0..sent.entries {
                    let kept = self.waiting.pop_front().expect("it waited");
                    self.waiting_bytes -= kept.entry.len();
                }
                self.kept += sent.entries;
                self.overdue = self.overdue.max(self.kept);
                Progress::Kept { position: place.position, bytes, through: self.kept }
            }
        }
    }

    /// The index up to which publishers must be refused now, since the log has not kept their entries in
    /// time. The entries still wait: "not acknowledged" is not "not kept".
    pub fn take_overdue(&mut self, now: OwnTime) -> Option<u64> {
        let skip = (self.overdue - self.kept) as usize;
        let is_late = |waiting: &&Waiting| now.since(waiting.since) >= self.config.answer_within_ms;
        let late = self.waiting.iter().skip(skip).take_while(is_late).count() as u64;
        self.overdue += late;
        (late > 0).then_some(self.overdue)
    }

    /// The index of the last kept entry.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Entries that the log has not kept, with their indices.
    pub fn unkept(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.waiting.iter().enumerate().map(|(ix, waiting)| (self.kept + ix as u64 + 1, &waiting.entry))
    }

    /// Bytes of them.
    #[must_use]
    pub fn unkept_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The position of the record in flight.
    #[must_use]
    pub fn in_flight_position(&self) -> Option<Position> {
        self.sent.front().map(|sent| sent.flight.record().place.position)
    }

    /// How long the record in flight has been on its way.
    #[must_use]
    pub fn in_flight_ms(&self, now: OwnTime) -> Option<u64> {
        self.sent.front().map(|sent| now.since(sent.flight.began()))
    }

    /// Does nothing wait and is nothing in flight?
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// When [`Appender::poll`] is due next, if it is given a chain. `hurry` as there.
    #[must_use]
    pub fn due(&self, hurry: bool) -> Option<OwnTime> {
        let flight = self.sent.iter().map(|sent| sent.flight.due()).min();
        let is_full = hurry || self.waiting_bytes >= BODY_BYTES_MAX;
        let begin = || {
            let last = self.last_sent.filter(|_| !is_full);
            last.map_or(OwnTime(0), |last| last.plus(self.config.append_every_ms))
        };
        flight.or_else(|| (!self.waiting.is_empty()).then(begin))
    }

    /// When [`Appender::take_overdue`] is due next.
    #[must_use]
    pub fn overdue_at(&self) -> Option<OwnTime> {
        let next = self.waiting.get((self.overdue - self.kept) as usize)?;
        Some(next.since.plus(self.config.answer_within_ms))
    }
}

/// Is it one entry that fits into a record?
fn check(entry: &Bytes) -> Result<(), PushRefusal> {
    let is_one = EntriesBuilder::default().push(entry, BODY_BYTES_MAX);
    if is_one == Ok(true) { Ok(()) } else { Err(PushRefusal::Malformed) }
}

#[cfg(test)]
mod tests;
