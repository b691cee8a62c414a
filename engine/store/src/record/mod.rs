//! Records: the one byte layout of every entry of a room's log.
//!
//! Why one: an entry is encoded once, when it is pushed. The same bytes are written to the crash log, to the
//! journal and, with their neighbours, to the segments of the room, and the same checksum holds in all three.
//!
//! ```text
//! record = length:u32  base:u64  sum:u64  kind:u8  body          length: bytes behind itself
//! sum    = XXH3-64 of kind and body, seeded with base   base: checksum of the record before, 0 for the first
//! ```
//!
//! Invariants: [`read`] returns what [`encode`] wrote. Any other bytes give a [`RecordFault`], never a panic.
//! The checksums reveal a record that was changed, or that does not follow the one before.
//! Not here: where records are stored (`crash_log`, `journal`, `tables`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::RoomSettings;
use grandstand_engine::link::PreviousEpoch;
use grandstand_engine::link::{Batch, Compressed, UserId};
use grandstand_engine::log::{BatchEntry, Entry, RoomEntry, StateEntry};
use grandstand_protocol::frame::{Durability, Phase};

use crate::checksum::checksum;
use crate::codec::{Decoder, Malformed, put_option, put_sized, put_varint};

/// Bytes of length, base and sum.
const HEAD_BYTES: usize = 4 + 8 + 8;

/// The contents of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// An entry of a shard.
    Entry(Entry),
    /// Written by the store at its start: the room gets a new epoch.
    Epoch { room: Arc<str>, epoch: u64, previous: PreviousEpoch },
}

impl Record {
    pub(crate) fn room(&self) -> &Arc<str> {
        match self {
            Record::Entry(Entry::Batch(batch)) => &batch.room,
            Record::Entry(Entry::Room(entry)) => &entry.room,
            Record::Entry(Entry::Removed { room, .. }) | Record::Epoch { room, .. } => room,
        }
    }

    /// Offset after it, if it contains one; else 0.
    pub(crate) fn next_offset(&self) -> u64 {
        match self {
            Record::Entry(Entry::Batch(entry)) => entry.batch.next_offset,
            Record::Entry(Entry::Room(entry)) => entry.next_offset,
            Record::Entry(_) => 0,
            Record::Epoch { previous, .. } => previous.next_offset,
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Record::Entry(Entry::Batch(batch)) => batch.epoch,
            Record::Entry(Entry::Room(entry)) => entry.epoch,
            Record::Entry(Entry::Removed { epoch, .. }) | Record::Epoch { epoch, .. } => *epoch,
        }
    }
}

/// A record with its checksums, as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) base: u64,
    pub(crate) checksum: u64,
    pub(crate) record: Record,
    /// All of its bytes.
    pub(crate) bytes: Bytes,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordFault {
    /// Cut off, or an impossible length.
    Short,
    /// Its checksum is wrong; `bytes` is the length that it claims.
    Checksum { bytes: usize },
    /// Its checksum is right, but its contents are not understood: another program wrote it.
    Malformed { bytes: usize, expected: &'static str },
}

/// Encode a record. Returns exactly its bytes, and its checksum.
pub(crate) fn encode(record: &Record, base: u64) -> (Bytes, u64) {
    let mut out = Vec::with_capacity(HEAD_BYTES + 64 + weight(record));
    out.resize(HEAD_BYTES, 0);
    put_body(record, &mut out);
    let own = checksum(base, &out[HEAD_BYTES..]);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..12].copy_from_slice(&base.to_le_bytes());
    out[12..HEAD_BYTES].copy_from_slice(&own.to_le_bytes());
    (Bytes::from(out), own)
}

/// The same record with another record before it. Its bytes are a copy, and its values share that copy.
pub(crate) fn rebase(sealed: &Sealed, base: u64) -> Sealed {
    let mut out = sealed.bytes.to_vec();
    let own = checksum(base, &out[HEAD_BYTES..]);
    out[4..12].copy_from_slice(&base.to_le_bytes());
    out[12..HEAD_BYTES].copy_from_slice(&own.to_le_bytes());
    read(&Bytes::from(out)).expect("the record that was just read, with the checksum that it has now")
}

/// The record at the beginning of `bytes`.
///
/// # Errors
/// See [`RecordFault`].
pub(crate) fn read(bytes: &Bytes) -> Result<Sealed, RecordFault> {
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let length = bytes.get(..4).ok_or(RecordFault::Short)?;
    let len = 4 + u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    if len <= HEAD_BYTES || len > bytes.len() {
        return Err(RecordFault::Short);
    }
    let (base, own) = (u64_at(4), u64_at(12));
    let body = bytes.slice(HEAD_BYTES..len);
    if checksum(base, &body) != own {
        return Err(RecordFault::Checksum { bytes: len });
    }
    let record = take_body(&mut Decoder::new(body))
        .map_err(|Malformed(expected)| RecordFault::Malformed { bytes: len, expected })?;
    Ok(Sealed { base, checksum: own, record, bytes: bytes.slice(..len) })
}

/// The room's name, the epoch and the next offset of a record that was encoded here, if it is a batch.
pub(crate) fn end_of_batch(bytes: &Bytes) -> Option<(Box<str>, u64, u64)> {
    let mut source = Decoder::new(bytes.get(HEAD_BYTES..).map(|body| bytes.slice_ref(body))?);
    if source.u8("a kind").ok()? != kind::BATCH {
        return None;
    }
    let epoch = source.u64("an epoch").ok()?;
    let room = source.text("a room's name").ok()?;
    source.varint("a number").ok()?;
    let first_offset = source.varint("an offset").ok()?;
    let count = source.varint("a count").ok()?;
    Some((room, epoch, first_offset.checked_add(count)?))
}

/// Bytes of the large parts, so that encoding allocates once.
fn weight(record: &Record) -> usize {
    let Record::Entry(Entry::Batch(entry)) = record else { return record.room().len() + 32 };
    let state = entry.state.as_ref().map_or(0, |state| {
        state.changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 8).sum()
    });
    entry.room.len()
        + entry.batch.wire.len()
        + entry.full.as_ref().map_or(0, Bytes::len)
        + 16 * entry.nonces.len()
        + state
}

mod kind {
    pub(super) const BATCH: u8 = 1;
    pub(super) const ROOM: u8 = 2;
    pub(super) const REMOVED: u8 = 3;
    pub(super) const EPOCH: u8 = 4;
    /// `ROOM` with a slot.
    pub(super) const ROOM_AT: u8 = 5;
}

fn put_body(record: &Record, out: &mut Vec<u8>) {
    out.push(match record {
        Record::Entry(Entry::Batch(_)) => kind::BATCH,
        Record::Entry(Entry::Room(RoomEntry { slot: None, .. })) => kind::ROOM,
        Record::Entry(Entry::Room(_)) => kind::ROOM_AT,
        Record::Entry(Entry::Removed { .. }) => kind::REMOVED,
        Record::Epoch { .. } => kind::EPOCH,
    });
    out.extend_from_slice(&record.epoch().to_le_bytes());
    put_sized(record.room().as_bytes(), out);
    match record {
        Record::Entry(Entry::Batch(entry)) => put_batch(entry, out),
        Record::Entry(Entry::Room(entry)) => put_room(entry, out),
        Record::Entry(Entry::Removed { .. }) => {}
        Record::Epoch { previous, .. } => {
            out.extend_from_slice(&previous.epoch.to_le_bytes());
            put_varint(previous.next_offset, out);
        }
    }
}

fn take_body(source: &mut Decoder) -> Result<Record, Malformed> {
    let kind = source.u8("a kind")?;
    let epoch = source.u64("an epoch")?;
    let room: Arc<str> = source.text("a room's name")?.into();
    let record = match kind {
        kind::BATCH => Record::Entry(Entry::Batch(Box::new(take_batch(room, epoch, source)?))),
        kind::ROOM => Record::Entry(Entry::Room(take_room(room, epoch, source)?)),
        kind::ROOM_AT => {
            let entry = take_room(room, epoch, source)?;
            Record::Entry(Entry::Room(RoomEntry { slot: Some(source.u32("a slot")?), ..entry }))
        }
        kind::REMOVED => Record::Entry(Entry::Removed { room, epoch }),
        kind::EPOCH => {
            let previous = source.u64("an epoch")?;
            let next_offset = source.varint("an offset")?;
            Record::Epoch { room, epoch, previous: PreviousEpoch { epoch: previous, next_offset } }
        }
        _ => return Err(Malformed("a known kind")),
    };
    source.end("the end of a record")?;
    Ok(record)
}

fn put_batch(entry: &BatchEntry, out: &mut Vec<u8>) {
    let batch = &entry.batch;
    for n in [
        batch.seq,
        batch.first_offset,
        batch.next_offset.saturating_sub(batch.first_offset),
        u64::from(batch.messages),
        batch.base_time_ms,
        batch.time_ms.saturating_sub(batch.base_time_ms),
    ] {
        put_varint(n, out);
    }
    put_sized(&batch.wire, out);
    put_option(entry.full.as_deref(), out);
    put_varint(entry.nonces.len() as u64, out);
    for (user, nonce) in &entry.nonces {
        out.extend_from_slice(&user.0.to_le_bytes());
        out.extend_from_slice(&nonce.to_le_bytes());
    }
    put_varint(u64::from(entry.state.is_some()), out);
    if let Some(state) = &entry.state {
        put_varint(state.version, out);
        put_varint(state.changes.len() as u64, out);
        for (key, value) in &state.changes {
            put_sized(key.as_bytes(), out);
            put_option(value.as_deref(), out);
        }
    }
}

fn take_batch(room: Arc<str>, epoch: u64, source: &mut Decoder) -> Result<BatchEntry, Malformed> {
    let seq = source.varint("a number")?;
    let first_offset = source.varint("an offset")?;
    let next_offset = first_offset.checked_add(source.varint("a count")?).ok_or(Malformed("an offset"))?;
    let messages = source.u32("a count of messages")?;
    let base_time_ms = source.varint("a time")?;
    let time_ms = base_time_ms.checked_add(source.varint("a time")?).ok_or(Malformed("a time"))?;
    let wire = source.sized("a batch")?;
    let full = source.option("a batch in full")?;
    let mut nonces = Vec::with_capacity(source.count(16, "a count of nonces")?);
    for _ in 0..nonces.capacity() {
        nonces.push((UserId(source.u64("a user")?), source.u64("a nonce")?));
    }
    let state = match source.varint("a flag")? {
        0 => None,
        1 => Some(take_state(source)?),
        _ => return Err(Malformed("a flag of 0 or 1")),
    };
    let batch = Batch {
        seq,
        first_offset,
        next_offset,
        messages,
        base_time_ms,
        time_ms,
        wire,
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    };
    Ok(BatchEntry { room, epoch, batch: Arc::new(batch), full, nonces: nonces.into(), state })
}

fn take_state(source: &mut Decoder) -> Result<StateEntry, Malformed> {
    let version = source.varint("a version")?;
    let mut changes = Vec::new();
    for _ in 0..source.count(2, "a count of changes")? {
        changes.push((source.text("a key")?, source.option("a value")?));
    }
    Ok(StateEntry { version, changes })
}

fn put_room(entry: &RoomEntry, out: &mut Vec<u8>) {
    out.push(room_flags(entry));
    out.push(entry.phase as u8);
    put_settings(&entry.settings, out);
    put_varint(entry.next_offset, out);
    if let Some(slot) = entry.slot {
        put_varint(slot.into(), out);
    }
}

fn take_room(room: Arc<str>, epoch: u64, source: &mut Decoder) -> Result<RoomEntry, Malformed> {
    let (is_operators, is_head) = take_room_flags(source)?;
    let phase = phase_of(source.u8("a phase")?)?;
    let settings = take_settings(source)?;
    let next_offset = source.varint("an offset")?;
    Ok(RoomEntry { room, epoch, next_offset, slot: None, is_operators, is_head, phase, settings })
}

/// The flags of a room. Only copies of a cluster's log have heads.
pub(crate) fn room_flags(entry: &RoomEntry) -> u8 {
    u8::from(entry.is_operators) | u8::from(entry.is_head) << 1
}

/// Is the room its operator's, and is it a head?
pub(crate) fn take_room_flags(source: &mut Decoder) -> Result<(bool, bool), Malformed> {
    match source.u8("flags")? {
        flags @ 0..=3 => Ok((flags & 1 != 0, flags & 2 != 0)),
        _ => Err(Malformed("flags from 0 to 3")),
    }
}

/// The phase of a stored number.
pub(crate) fn phase_of(n: u8) -> Result<Phase, Malformed> {
    Phase::known(n).ok_or(Malformed("a phase"))
}

/// Each setting as 0, or as its value plus one.
pub(crate) fn put_settings(settings: &RoomSettings, out: &mut Vec<u8>) {
    for n in [
        settings.tick_min_ms,
        settings.tick_max_ms,
        settings.pacing_per_s,
        settings.durability.map(|durability| durability as u32),
    ] {
        put_varint(n.map_or(0, |n| u64::from(n) + 1), out);
    }
}

pub(crate) fn take_settings(source: &mut Decoder) -> Result<RoomSettings, Malformed> {
    let mut next = || match source.varint("a setting")? {
        0 => Ok(None),
        n => u32::try_from(n - 1).map(Some).map_err(|_| Malformed("a setting")),
    };
    let (tick_min_ms, tick_max_ms, pacing_per_s) = (next()?, next()?, next()?);
    let durability = next()?.map(|n| Durability::from_wire(n as u8));
    Ok(RoomSettings { tick_min_ms, tick_max_ms, pacing_per_s, durability })
}

#[cfg(test)]
mod tests;
