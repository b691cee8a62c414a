//! The state of a room at some record of its log: its facts, its state lane and the end of the log.
//!
//! Why one type: compaction, recovery and verification advance through the same records.
//! Invariants: a record is accepted only if it follows: its base is the checksum of the record before, and
//! its offsets do not decrease. A record that begins a log anew (another epoch, or after a removal) has base
//! 0.
//! Not here: rows (`tables`), which records there are (`recovery`, `compaction`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::RoomSettings;
use grandstand_engine::link::{Lineage, PreviousEpoch};
use grandstand_engine::log::{Entry, RoomEntry};
use grandstand_protocol::frame::Phase;

use crate::codec::{Decoder, Malformed, put_sized, put_varint};
use crate::record::{Record, Sealed, phase_of, put_settings, room_flags, take_room_flags, take_settings};

/// A room's log, up to some record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomState {
    /// The latest description of the room.
    pub(crate) room: RoomEntry,
    /// The shard whose copy it is in. `None`: the log of a single node, which does not record it.
    pub(crate) shard: Option<u16>,
    pub(crate) previous: Lineage,
    pub(crate) oldest_offset: u64,
    pub(crate) next_offset: u64,
    /// Time of the last batch with chat.
    pub(crate) time_ms: u64,
    /// Number of segments kept, and bytes of records in them.
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    /// Checksum of its newest record.
    pub(crate) checksum: u64,
    pub(crate) state_version: u64,
    pub(crate) values: BTreeMap<Box<str>, Bytes>,
}

/// The form of a room's facts that has its slot and several epochs. The first form has a flag of 0 or 1 here.
const FORM_WITH_SLOT: u8 = 2;

/// The same, with the shard after the slot.
const FORM_WITH_SHARD: u8 = 3;

/// The effect of a record on a room's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It continues the log.
    On,
    /// It begins the room's log: earlier records no longer belong to it.
    Anew,
    /// It removes the room.
    Gone,
}

/// The record does not follow the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfOrder;

impl RoomState {
    /// A room without messages.
    pub(crate) fn new(room: Arc<str>, epoch: u64, next_offset: u64) -> Self {
        let settings = RoomSettings::default();
        RoomState {
            room: RoomEntry {
                room,
                epoch,
                next_offset,
                slot: None,
                is_operators: false,
                is_head: false,
                phase: Phase::Open,
                settings,
            },
            shard: None,
            previous: Lineage::default(),
            oldest_offset: next_offset,
            next_offset,
            time_ms: 0,
            segments: 0,
            bytes: 0,
            checksum: 0,
            state_version: 0,
            values: BTreeMap::new(),
        }
    }

    /// Advance `room_state` (`None`: no such room) by one record.
    ///
    /// # Errors
    /// The record does not follow; the state is unchanged.
    pub(crate) fn advance(state: &mut Option<RoomState>, sealed: &Sealed) -> Result<Step, OutOfOrder> {
        let record = &sealed.record;
        let step = match state {
            Some(state) if sealed.base == state.checksum && state.takes(record) => Step::On,
            _ if sealed.base == 0 && !matches!(record, Record::Epoch { .. }) => Step::Anew,
            _ => return Err(OutOfOrder),
        };
        if let Record::Entry(Entry::Removed { .. }) = record {
            *state = None;
            return Ok(Step::Gone);
        }
        if step == Step::Anew {
            let first_offset = match record {
                Record::Entry(Entry::Batch(entry)) => entry.batch.first_offset,
                Record::Entry(Entry::Room(entry)) => entry.next_offset,
                _ => 0,
            };
            *state = Some(RoomState::new(record.room().clone(), record.epoch(), first_offset));
        }
        let state = state.as_mut().expect("made above where it was not there");
        state.take(record);
        state.checksum = sealed.checksum;
        Ok(step)
    }

    /// Go on by a record that has this state's checksum as its base. `false`: it does not follow, and the
    /// state is unchanged.
    pub(crate) fn go_on(&mut self, sealed: &Sealed) -> bool {
        let follows = sealed.base == self.checksum && self.takes(&sealed.record);
        if follows {
            self.take(&sealed.record);
            self.checksum = sealed.checksum;
        }
        follows
    }

    fn takes(&self, record: &Record) -> bool {
        match record {
            Record::Entry(Entry::Batch(entry)) => {
                // A gap that a shard pushed is kept as it is. A gap that came later breaks the chain.
                entry.epoch == self.room.epoch && entry.batch.first_offset >= self.next_offset
            }
            Record::Entry(_) => record.epoch() == self.room.epoch,
            Record::Epoch { previous, .. } => previous.epoch == self.room.epoch,
        }
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Entry(Entry::Batch(entry)) => {
                if entry.batch.has_chat() {
                    self.next_offset = entry.batch.next_offset;
                    self.time_ms = entry.batch.time_ms;
                }
                if let Some(state) = &entry.state {
                    self.state_version = state.version;
                    for (key, value) in &state.changes {
                        match value {
                            Some(value) => self.values.insert(key.clone(), value.clone()),
                            None => self.values.remove(key),
                        };
                    }
                }
            }
            Record::Entry(Entry::Room(entry)) => {
                // Offsets above this end, if the room was kept in memory for a while.
                self.next_offset = self.next_offset.max(entry.next_offset);
                self.room = entry.clone();
            }
            Record::Entry(Entry::Removed { .. }) => {}
            Record::Epoch { epoch, previous, .. } => {
                self.room.epoch = *epoch;
                self.previous = self.previous.continued(*previous);
            }
        }
    }

    /// The row's form of everything except name and state.
    pub(crate) fn facts(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(&self.room.epoch.to_le_bytes());
        out.push(room_flags(&self.room));
        out.push(self.room.phase as u8);
        put_settings(&self.room.settings, &mut out);
        out.push(if self.shard.is_some() { FORM_WITH_SHARD } else { FORM_WITH_SLOT });
        let epochs = self.previous.epochs();
        put_varint(epochs.len() as u64, &mut out);
        for previous in epochs {
            out.extend_from_slice(&previous.epoch.to_le_bytes());
            put_varint(previous.next_offset, &mut out);
        }
        put_varint(self.room.slot.map_or(0, |slot| u64::from(slot) + 1), &mut out);
        if let Some(shard) = self.shard {
            put_varint(shard.into(), &mut out);
        }
        let keys = self.values.len() as u64;
        let (oldest, next) = (self.oldest_offset, self.next_offset);
        for n in [oldest, next, self.time_ms, self.segments, self.bytes, self.state_version, keys] {
            put_varint(n, &mut out);
        }
        out.extend_from_slice(&self.checksum.to_le_bytes());
        out
    }

    /// Decode a row's facts, without the state; with the number of keys of the state.
    pub(crate) fn from_facts(name: Arc<str>, facts: Bytes) -> Result<(RoomState, u64), Malformed> {
        let mut source = Decoder::new(facts);
        let mut state = RoomState::new(name, source.u64("an epoch")?, 0);
        (state.room.is_operators, state.room.is_head) = take_room_flags(&mut source)?;
        state.room.phase = phase_of(source.u8("a phase")?)?;
        state.room.settings = take_settings(&mut source)?;
        (state.previous, state.room.slot) = match source.u8("a form of facts")? {
            form @ (FORM_WITH_SLOT | FORM_WITH_SHARD) => {
                let mut epochs = Vec::new();
                for _ in 0..source.count(9, "a count of epochs")? {
                    let (epoch, next_offset) = (source.u64("an epoch")?, source.varint("an offset")?);
                    epochs.push(PreviousEpoch { epoch, next_offset });
                }
                let slot = source.varint("a slot")?.checked_sub(1).map(u32::try_from).transpose();
                if form == FORM_WITH_SHARD {
                    let shard = u16::try_from(source.varint("a shard")?);
                    state.shard = Some(shard.map_err(|_| Malformed("a shard"))?);
                }
                (epochs.into_iter().collect(), slot.map_err(|_| Malformed("a slot"))?)
            }
            // The first form: one epoch or none, after this flag, and no slot.
            has_previous @ (0 | 1) => {
                let (epoch, next_offset) = (source.u64("an epoch")?, source.varint("an offset")?);
                let previous = PreviousEpoch { epoch, next_offset };
                ((has_previous == 1).then_some(previous).into_iter().collect(), None)
            }
            _ => return Err(Malformed("a known form of facts")),
        };
        state.oldest_offset = source.varint("an offset")?;
        state.next_offset = source.varint("an offset")?;
        state.room.next_offset = state.next_offset;
        state.time_ms = source.varint("a time")?;
        state.segments = source.varint("a count of segments")?;
        state.bytes = source.varint("a count of bytes")?;
        state.state_version = source.varint("a version")?;
        let keys = source.varint("a count of keys")?;
        state.checksum = source.u64("a sum")?;
        source.end("the end of a room's facts")?;
        Ok((state, keys))
    }

    /// The row's form of the state.
    pub(crate) fn values_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(self.values.len() as u64, &mut out);
        for (key, value) in &self.values {
            put_sized(key.as_bytes(), &mut out);
            put_sized(value, &mut out);
        }
        out
    }

    /// Decode the state of a row.
    pub(crate) fn values_from(bytes: Bytes) -> Result<BTreeMap<Box<str>, Bytes>, Malformed> {
        let mut source = Decoder::new(bytes);
        let mut state = BTreeMap::new();
        for _ in 0..source.count(2, "a count of keys")? {
            state.insert(source.text("a key")?, source.sized("a value")?);
        }
        source.end("the end of a state")?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A room's facts as the first version wrote them.
    fn first_form(state: &RoomState, previous: Option<PreviousEpoch>) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&state.room.epoch.to_le_bytes());
        out.extend_from_slice(&[u8::from(state.room.is_operators), state.room.phase as u8]);
        put_settings(&state.room.settings, &mut out);
        out.push(u8::from(previous.is_some()));
        let previous = previous.unwrap_or(PreviousEpoch { epoch: 0, next_offset: 0 });
        out.extend_from_slice(&previous.epoch.to_le_bytes());
        let (oldest, next, keys) = (state.oldest_offset, state.next_offset, state.values.len() as u64);
        let kept = [state.segments, state.bytes];
        for n in
            [previous.next_offset, oldest, next, state.time_ms, kept[0], kept[1], state.state_version, keys]
        {
            put_varint(n, &mut out);
        }
        out.extend_from_slice(&state.checksum.to_le_bytes());
        out
    }

    #[test]
    fn facts_of_the_first_form_are_read_and_written_in_the_new_one() {
        let mut state = RoomState::new("show".into(), 7, 100);
        (state.oldest_offset, state.time_ms, state.segments, state.bytes) = (10, 1_700_000_000_000, 3, 4096);
        (state.checksum, state.state_version, state.room.is_operators) = (99, 5, true);
        let before = PreviousEpoch { epoch: 6, next_offset: 80 };
        for previous in [None, Some(before)] {
            let old = first_form(&state, previous);
            let (read, keys) = RoomState::from_facts("show".into(), old.into()).unwrap();
            let expected = RoomState { previous: previous.into_iter().collect(), ..state.clone() };
            assert_eq!((&read, keys, read.room.slot), (&expected, 0, None));
            let mut moved = read;
            moved.room.slot = Some(12);
            moved.previous = moved.previous.continued(PreviousEpoch { epoch: 7, next_offset: 100 });
            let (again, _) = RoomState::from_facts("show".into(), moved.facts().into()).unwrap();
            assert_eq!(again, moved);
            (moved.shard, moved.room.is_head) = (Some(300), true);
            let (again, _) = RoomState::from_facts("show".into(), moved.facts().into()).unwrap();
            assert_eq!(again, moved);
        }
        let mut unknown = state.facts();
        unknown[8 + 2 + 4] = 9;
        assert!(RoomState::from_facts("show".into(), unknown.into()).is_err());
    }
}
