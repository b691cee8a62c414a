//! Reads: from a position of a shard's log towards its end, one part per request.
//!
//! Why in three steps: the stream's leader names the end; any replica gives batches, since what it has is
//! committed; and the last messages come from the leader one by one, since a stand takes what it finds at its
//! record's place for proof.
//! Invariants: a part has at most [`PART_BYTES`] and one message more. Positions rise in it. A hole inside it
//! ends the part, since it may be a loss on the way; a hole at its beginning is what the stream no longer
//! has. One read per shard is under way. What is not answered is forgotten: the stand asks again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::Message;
use bytes::Bytes;
use grandstand_cluster::id::Position;
use grandstand_cluster::stand::FromWire;
use grandstand_engine::link::ShardId;

use super::Driver;
use crate::replies::{self, Found, StreamEnd};
use crate::subjects::Answered;

/// Bytes of messages after which a part ends.
const PART_BYTES: usize = 2 << 20;
/// Messages of one batch.
const BATCH_MAX: u64 = 2_000;
/// A part with so many bytes is not asked for more.
const PART_FULL: usize = PART_BYTES / 2;
/// The status that ends a batch.
const END_OF_BATCH: u16 = 204;
/// The status of a replica that has nothing there, yet or any more.
const NOTHING_THERE: u16 = 404;
/// So many messages before the end are read by the leader.
const BY_LEADER: u64 = 4;
/// A read that takes longer gives way to the next request.
const PATIENCE: Duration = Duration::from_millis(250);
/// A read that takes longer is over.
const READ_WITHIN: Duration = Duration::from_secs(2);
/// The same read again, after one that found nothing new at its beginning.
const SAME_AGAIN: Duration = Duration::from_millis(100);
/// The same read again, if the stream no longer has its beginning: only a snapshot helps.
const TRIMMED_AGAIN: Duration = Duration::from_millis(1_000);

/// Where the one read of a shard is.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Names the read in the subjects of its answers.
    token: u64,
    now: Option<Read>,
    /// Asked for while another one was under way.
    next: Option<Position>,
    /// The last one that found a hole at its beginning, and until when it is not repeated.
    hole: Option<(Position, Instant)>,
}

#[derive(Debug)]
struct Read {
    from: Position,
    began: Instant,
    end: u64,
    /// The position that is expected next.
    expected: u64,
    /// The stream begins behind where the reading begins.
    is_trimmed: bool,
    /// Where the batch under way begins.
    batch_at: u64,
    bytes: usize,
    messages: Vec<(Position, Bytes)>,
    /// By the leader, one by one: how many are missing, and those that came.
    missing: usize,
    found: BTreeMap<u64, Option<Bytes>>,
}

impl Read {
    fn take(&mut self, position: u64, bytes: Bytes) {
        self.bytes += bytes.len();
        self.expected = position + 1;
        self.messages.push((Position(position), bytes));
    }
}

impl Driver {
    pub(super) fn read(&mut self, shard: ShardId, from: Position) {
        let Some(known) = self.shards.get_mut(usize::from(shard.0)) else { return };
        let reading = &mut known.reading;
        let is_busy = reading.now.as_ref().is_some_and(|read| read.began.elapsed() < PATIENCE);
        let is_hole = reading.hole.is_some_and(|(at, until)| at == from && Instant::now() < until);
        if is_busy || is_hole {
            reading.next = Some(from);
            return;
        }
        reading.token += 1;
        let token = reading.token;
        reading.next = None;
        reading.now = Some(Read {
            from,
            began: Instant::now(),
            end: 0,
            expected: from.0,
            is_trimmed: false,
            batch_at: 0,
            bytes: 0,
            messages: Vec::new(),
            missing: 0,
            found: BTreeMap::new(),
        });
        let reply = Answered::Info(shard, token).subject(&self.inbox);
        if !self.request(self.subjects.info(shard), reply, Bytes::new()) {
            self.shards[usize::from(shard.0)].reading.now = None;
        }
    }

    /// What waited for its turn, and what has taken too long.
    pub(super) fn poll_reads(&mut self) {
        for shard in 0..self.shards.len() {
            let reading = &mut self.shards[shard].reading;
            if reading.now.as_ref().is_some_and(|read| read.began.elapsed() >= READ_WITHIN) {
                reading.now = None;
            }
            if reading.now.is_none()
                && let Some(from) = reading.next.take()
            {
                self.read(ShardId(shard as u16), from);
            }
        }
    }

    fn reading(&mut self, shard: ShardId, token: u64) -> Option<&mut Read> {
        let reading = &mut self.shards.get_mut(usize::from(shard.0))?.reading;
        if reading.token == token { reading.now.as_mut() } else { None }
    }

    pub(super) fn handle_info(&mut self, shard: ShardId, token: u64, message: &Message) {
        let end = if message.status.is_some() { None } else { replies::of_info(&message.payload) };
        self.show_stream(shard, end.as_ref());
        if self.reading(shard, token).is_none() {
            return;
        }
        self.deliver_ends(shard, end.as_ref(), message);
        let Some(StreamEnd { first, last, .. }) = end else { return self.give_up(shard, token) };
        let Some(read) = self.reading(shard, token) else { return };
        read.is_trimmed = first > read.from.0;
        read.end = last;
        read.expected = read.expected.max(first);
        self.go_on(shard, token);
    }

    /// What a log has, by its leader; nothing, if there is no such stream.
    pub(super) fn deliver_ends(&self, shard: ShardId, end: Option<&StreamEnd>, message: &Message) {
        let ends =
            |first, end, renewed| FromWire::Ends { first: Position(first), end: Position(end), renewed };
        match end {
            Some(end) => {
                self.deliver(shard, ends(end.first, end.last, end.renewed));
            }
            None if replies::is_missing(&message.payload) => {
                self.deliver(shard, ends(1, 0, None));
            }
            None => {}
        }
    }

    /// The next step of a read, whose part may be complete.
    fn go_on(&mut self, shard: ShardId, token: u64) {
        let Some(read) = self.reading(shard, token) else { return };
        let left = (read.end + 1).saturating_sub(read.expected);
        if left == 0 || read.bytes >= PART_FULL {
            return self.finish(shard, token);
        }
        if left > BY_LEADER {
            let batch = (left - BY_LEADER).min(BATCH_MAX);
            let most = PART_BYTES - read.bytes;
            read.batch_at = read.expected;
            let body = format!(r#"{{"seq":{},"batch":{batch},"max_bytes":{most}}}"#, read.expected);
            let reply = Answered::Batch(shard, token).subject(&self.inbox);
            if !self.request(self.subjects.batch(shard), reply, body) {
                self.give_up(shard, token);
            }
            return;
        }
        self.ask_leader(shard, token);
    }

    /// Asks the leader for the next messages, all at once.
    fn ask_leader(&mut self, shard: ShardId, token: u64) {
        let Some(read) = self.reading(shard, token) else { return };
        let sequences = read.expected..=read.end.min(read.expected + BY_LEADER - 1);
        read.found.clear();
        read.missing = sequences.clone().count();
        for sequence in sequences {
            let reply = Answered::Message(shard, token, sequence).subject(&self.inbox);
            let body = format!(r#"{{"seq":{sequence}}}"#);
            if !self.request(self.subjects.message(shard), reply, body) {
                return self.give_up(shard, token);
            }
        }
    }

    /// A message of a batch, or its end.
    pub(super) fn handle_batch(&mut self, shard: ShardId, token: u64, message: Message) {
        let Some(read) = self.reading(shard, token) else { return };
        if let Some(status) = message.status {
            let is_empty = read.expected == read.batch_at;
            match status.as_u16() {
                END_OF_BATCH if !is_empty => self.go_on(shard, token),
                END_OF_BATCH | NOTHING_THERE if !read.messages.is_empty() => self.finish(shard, token),
                END_OF_BATCH | NOTHING_THERE => self.ask_leader(shard, token),
                _ => self.give_up(shard, token),
            }
            return;
        }
        let headers = message.headers.as_ref();
        let sequence = headers.and_then(|headers| headers.get("Nats-Sequence")?.as_str().parse::<u64>().ok());
        let Some(sequence) = sequence else { return };
        let is_next = sequence == read.expected || read.messages.is_empty() && sequence > read.expected;
        if is_next {
            read.take(sequence, message.payload);
        } else if sequence > read.expected {
            self.finish(shard, token);
        }
    }

    /// A message by the leader.
    pub(super) fn handle_message(&mut self, shard: ShardId, token: u64, sequence: u64, message: &Message) {
        let found =
            if message.status.is_some() { Found::Failed } else { replies::of_message(&message.payload) };
        let Some(read) = self.reading(shard, token) else { return };
        let bytes = match found {
            Found::Message(at, bytes) if at == sequence => Some(bytes),
            Found::Nothing => None,
            Found::Message(..) | Found::Failed => return self.give_up(shard, token),
        };
        if read.found.insert(sequence, bytes).is_none() {
            read.missing = read.missing.saturating_sub(1);
        }
        if read.missing > 0 {
            return;
        }
        for (sequence, bytes) in std::mem::take(&mut read.found) {
            match bytes {
                Some(bytes) => read.take(sequence, bytes),
                None => read.expected = sequence + 1,
            }
        }
        self.go_on(shard, token);
    }

    fn finish(&mut self, shard: ShardId, token: u64) {
        let Some(known) = self.shards.get_mut(usize::from(shard.0)) else { return };
        let reading = &mut known.reading;
        let Some(read) = reading.now.take().filter(|_| reading.token == token) else { return };
        // What still comes of it is not of the next one.
        reading.token += 1;
        let begins_with = read.messages.first().map_or(read.end + 1, |(position, _)| position.0);
        let has_hole = begins_with > read.from.0 && read.end >= read.from.0;
        let again = if read.is_trimmed { TRIMMED_AGAIN } else { SAME_AGAIN };
        reading.hole = has_hole.then(|| (read.from, Instant::now() + again));
        self.shared.counters.read.fetch_add(read.messages.len() as u64, Ordering::Relaxed);
        let Read { from, messages, end, .. } = read;
        self.deliver(shard, FromWire::Read { from, messages, end: Position(end) });
        self.poll_reads();
    }

    fn give_up(&mut self, shard: ShardId, token: u64) {
        if self.reading(shard, token).is_some() {
            self.shards[usize::from(shard.0)].reading.now = None;
        }
    }
}
