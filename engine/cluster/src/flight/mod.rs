//! Flight: one record on its way into the log, until the log has it or has another one at its place.
//!
//! Why a type of its own: what proves that a record is kept is the same for entries and for a term, and it is
//! easily got wrong. Two answers prove it: an acknowledgement that names the record's position, and a read by
//! the stream's leader that returns exactly its bytes there. "Wrong last sequence" proves nothing: a leader
//! without a majority answers it for a record that it has only proposed.
//! Invariants: the same bytes are sent under the same identity until an outcome is known, so repetition is
//! harmless. A read that finds nothing is no outcome either, since the record may still be on its way.
//! Not here: what is sent (`appender`, `seat`), and the socket.

use bytes::Bytes;

use crate::id::{Incarnation, Position};
use crate::planted::{self, Fault};
use crate::record::Encoded;
use crate::time::OwnTime;

/// Silence of the log after which a record is sent again.
const SILENCE_MS: u64 = 250;
/// The log has no leader at the moment.
const NO_LEADER_MS: u64 = 20;
/// The log works on this very record.
const IN_PROCESS_MS: u64 = 50;
/// A refusal was read back and nothing is there yet.
const NOT_THERE_MS: u64 = 50;

/// What the log answers to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is in the log, at this position.
    Acknowledged(Position),
    /// Another message is, or is proposed, at its position.
    WrongLast,
    /// The same message is being worked on.
    InProcess,
    /// Nobody leads the log.
    NoResponders,
    /// Anything else: a full disk, a limit.
    Failed,
}

/// Names one attempt to append, over all lives of a node.
///
/// Why the life: the answer to an attempt of the last life may come to this one, and would otherwise be taken
/// for the answer to another record. That it names the same position proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The life of the node.
    pub life: Incarnation,
    /// The number of the attempt in it.
    pub number: u64,
}

/// Counts the attempts of a seat.
#[derive(Debug)]
pub struct Attempts {
    last: Attempt,
}

impl Attempts {
    /// Of this life of a node.
    #[must_use]
    pub fn new(life: Incarnation) -> Self {
        Attempts { last: Attempt { life, number: 0 } }
    }

    fn next(&mut self) -> Attempt {
        self.last.number += 1;
        self.last
    }
}

/// An attempt to append, as the driver sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Names the attempt in the answer.
    pub attempt: Attempt,
    /// The sequence number that must be the last one.
    pub expected_last: Position,
    /// The identity by which repetitions are dropped.
    pub message_id: String,
    /// The record.
    pub bytes: Bytes,
}

/// What to do for a flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlightAction {
    /// Send it.
    Append(Append),
    /// Read what is at its position, by the stream's leader.
    Read(Position),
}

/// How a flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The log has its bytes at its position.
    Kept,
    /// The log has other bytes at its position.
    Taken,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Flight {
    record: Encoded,
    began: OwnTime,
    first: Option<Attempt>,
    next_attempt: OwnTime,
    wants_read: bool,
}

impl Flight {
    /// A record that is to be sent now.
    #[must_use]
    pub fn begin(now: OwnTime, record: Encoded) -> Self {
        Flight { record, began: now, first: None, next_attempt: now, wants_read: false }
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &Encoded {
        &self.record
    }

    /// When it was sent first.
    #[must_use]
    pub fn began(&self) -> OwnTime {
        self.began
    }

    /// What is due. `attempts` counts those of the whole seat.
    pub fn poll(&mut self, now: OwnTime, attempts: &mut Attempts) -> Option<FlightAction> {
        let position = self.record.place.position;
        if std::mem::take(&mut self.wants_read) {
            self.next_attempt = now.plus(SILENCE_MS);
            return Some(FlightAction::Read(position));
        }
        if now < self.next_attempt {
            return None;
        }
        self.next_attempt = now.plus(SILENCE_MS);
        let attempt = attempts.next();
        self.first.get_or_insert(attempt);
        Some(FlightAction::Append(Append {
            attempt,
            expected_last: position.before(),
            message_id: self.record.message_id(),
            bytes: self.record.bytes.clone(),
        }))
    }

    /// The log answered an attempt, of this flight or of an earlier one.
    pub fn handle_reply(&mut self, now: OwnTime, attempt: Attempt, reply: Reply) -> Option<Outcome> {
        let first = self.first?;
        let is_own_life = attempt.life == first.life || planted::is(Fault::AttemptWithoutLife);
        if attempt.number < first.number || !is_own_life {
            return None;
        }
        match reply {
            Reply::Acknowledged(position) if position == self.record.place.position => {
                return Some(Outcome::Kept);
            }
            Reply::WrongLast if planted::is(Fault::WrongLastIsKept) => return Some(Outcome::Kept),
            // An acknowledgement of another position: whatever it is, it is not this record at its place.
            Reply::Acknowledged(_) | Reply::WrongLast => self.wants_read = true,
            Reply::InProcess => self.next_attempt = now.plus(IN_PROCESS_MS),
            Reply::NoResponders => self.next_attempt = now.plus(NO_LEADER_MS),
            Reply::Failed => self.next_attempt = now.plus(SILENCE_MS),
        }
        None
    }

    /// The stream's leader returned this message at the flight's position, or none.
    pub fn handle_read(&mut self, now: OwnTime, found: Option<&Bytes>) -> Option<Outcome> {
        match found {
            Some(bytes) if *bytes == self.record.bytes => Some(Outcome::Kept),
            Some(_) => Some(Outcome::Taken),
            None => {
                self.next_attempt = self.next_attempt.min(now.plus(NOT_THERE_MS));
                None
            }
        }
    }

    /// When [`Flight::poll`] is due next.
    #[must_use]
    pub fn due(&self) -> OwnTime {
        if self.wants_read { self.began } else { self.next_attempt }
    }
}

#[cfg(test)]
mod tests;
