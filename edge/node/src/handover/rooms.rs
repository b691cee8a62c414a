//! Rooms on their way to the successor: the bytes, and the file in memory that holds them.
//!
//! Why a file in memory (memfd) and not messages: all rooms pass at once with one descriptor, the successor
//! sees their size before it reads, and neither process waits for the other.
//! Layout, all numbers little-endian: magic, version u32, time of the monotonic clock in microseconds u64,
//! number of rooms u32, the rooms, SHA-256 of all bytes before it. A text or a run of bytes is its length u32
//! and its bytes; an option is a byte 0 or 1, and the value.
//! Invariants: bytes that are cut, changed or of another version are refused as a whole. No length is
//! believed beyond the bytes that are there. The file is sealed against changes before it is passed.
//! Not here: what of a room is kept (`grandstand_engine::shard`), the conversation (`incoming`, `outgoing`).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use grandstand_engine::link::{Batch, Compressed, Lineage, PersonId, PreviousEpoch, RoomSettings, UserId};
use grandstand_engine::log::{Handed, HandedLive, HandedNonces, HandedRoom, RoomEntry, StoredNonce};
use grandstand_protocol::batch::alias_of;
use grandstand_protocol::frame::{Durability, Phase};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::time::{ClockId, clock_gettime};

/// Version of the layout; any other is refused.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"gs-rooms";
const HASH_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// The largest file that is read: all histories of the largest node, and as much again.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// Put rooms into a file in memory.
///
/// # Errors
/// The system gives no memory.
pub(super) fn write(rooms: &[HandedRoom]) -> io::Result<OwnedFd> {
    let mut file =
        File::from(memfd_create("grandstand-rooms", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(&encode(rooms, monotonic_us()))?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Read the rooms of such a file.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn read(file: OwnedFd) -> io::Result<Handed> {
    let mut file = File::from(file);
    if file.metadata()?.len() > FILE_BYTES_MAX {
        return Err(fault("it is too large"));
    }
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let (rooms, taken_us) =
        decode(&Bytes::from(bytes)).ok_or_else(|| fault("it is damaged, or of another version"))?;
    Ok(Handed { rooms, elapsed_us: monotonic_us().saturating_sub(taken_us) })
}

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The clock that both processes share.
fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

fn encode(rooms: &[HandedRoom], taken_us: u64) -> Vec<u8> {
    let mut out = Out(MAGIC.to_vec());
    out.u32(VERSION);
    out.u64(taken_us);
    out.list(rooms, Out::room);
    let hash = digest::digest(&digest::SHA256, &out.0);
    out.0.extend_from_slice(hash.as_ref());
    out.0
}

fn decode(bytes: &Bytes) -> Option<(Vec<HandedRoom>, u64)> {
    let content = bytes.slice(..bytes.len().checked_sub(HASH_BYTES)?);
    if digest::digest(&digest::SHA256, &content).as_ref() != &bytes[content.len()..] {
        return None;
    }
    let mut from = In(content);
    let is_known = from.take(MAGIC.len())?[..] == MAGIC[..] && from.u32()? == VERSION;
    let taken_us = from.u64().filter(|_| is_known)?;
    let rooms = from.list(In::room)?;
    from.0.is_empty().then_some((rooms, taken_us))
}

/// Bytes that are being written.
struct Out(Vec<u8>);

impl Out {
    fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.u32(values.len() as u32);
        values.iter().for_each(|value| write(self, value));
    }

    fn room(&mut self, room: &HandedRoom) {
        let HandedRoom { room: entry, is_on_disk, live, batches } = room;
        // A log that keeps heads is a cluster's, whose shards go to other nodes before this.
        let RoomEntry { room, epoch, next_offset, slot, is_operators, is_head: _, phase, settings } = entry;
        self.bytes(room.as_bytes());
        [*epoch, *next_offset].into_iter().for_each(|n| self.u64(n));
        self.option(*slot, Self::u32);
        [u8::from(*is_operators), *phase as u8, u8::from(*is_on_disk)].into_iter().for_each(|n| self.u8(n));
        let RoomSettings { tick_min_ms, tick_max_ms, pacing_per_s, durability } = settings;
        [tick_min_ms, tick_max_ms, pacing_per_s].into_iter().for_each(|n| self.option(*n, Self::u32));
        self.option(*durability, |out, level| out.u8(level as u8));
        self.option(live.as_ref(), Self::live);
        self.list(batches, |out, (batch, full)| {
            out.batch(batch);
            out.option(full.as_ref(), |out, full| out.bytes(full));
        });
    }

    fn live(&mut self, live: &HandedLive) {
        let HandedLive { time_ms, accepted_ms, state, state_version, previous, nonces, spoke } = live;
        [*time_ms, *accepted_ms, *state_version].into_iter().for_each(|n| self.u64(n));
        self.list(state, |out, (key, value)| {
            out.bytes(key.as_bytes());
            out.bytes(value);
        });
        self.list(previous.epochs(), |out, p| {
            out.u64(p.epoch);
            out.u64(p.next_offset);
        });
        self.option(nonces.complete_for_us, |out, us| out.u64(us as u64));
        self.list(&nonces.entries, |out, n| {
            [n.user.0, n.nonce, n.time_ms].into_iter().for_each(|n| out.u64(n));
        });
        self.list(spoke, |out, (person, ago_us)| {
            out.u64(person.0);
            out.u64(*ago_us);
        });
    }

    fn batch(&mut self, batch: &Batch) {
        // Its number, its compressed form and its image are of the process.
        let Batch { first_offset, next_offset, messages, base_time_ms, time_ms, wire, .. } = batch;
        [*first_offset, *next_offset, *base_time_ms, *time_ms].into_iter().for_each(|n| self.u64(n));
        self.u32(*messages);
        self.bytes(wire);
    }
}

/// Bytes that are being read: every part is taken off the front.
struct In(Bytes);

impl In {
    fn take(&mut self, bytes: usize) -> Option<Bytes> {
        (bytes <= self.0.len()).then(|| self.0.split_to(bytes))
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| Some(u32::from_le_bytes(bytes[..].try_into().ok()?)))
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8).and_then(|bytes| Some(u64::from_le_bytes(bytes[..].try_into().ok()?)))
    }

    fn flag(&mut self) -> Option<bool> {
        self.u8().filter(|n| *n < 2).map(|n| n == 1)
    }

    /// A copy: it must not keep the whole file.
    fn bytes(&mut self) -> Option<Bytes> {
        let length = self.u32()? as usize;
        self.take(length).map(|bytes| Bytes::copy_from_slice(&bytes))
    }

    fn text(&mut self) -> Option<Box<str>> {
        String::from_utf8(self.bytes()?.to_vec()).ok().map(String::into_boxed_str)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    /// Every value takes a byte at least, so a length beyond the bytes ends the reading and takes no memory.
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        let mut values = Vec::with_capacity(count.min(self.0.len() / size_of::<T>().max(1)));
        for _ in 0..count {
            values.push(read(self)?);
        }
        Some(values)
    }

    fn room(&mut self) -> Option<HandedRoom> {
        let room = Arc::from(self.text()?);
        let (epoch, next_offset) = (self.u64()?, self.u64()?);
        let slot = self.option(Self::u32)?;
        let is_operators = self.flag()?;
        let phase = self.u8()?;
        let phase = Phase::known(phase)?;
        let is_on_disk = self.flag()?;
        let settings = RoomSettings {
            tick_min_ms: self.option(Self::u32)?,
            tick_max_ms: self.option(Self::u32)?,
            pacing_per_s: self.option(Self::u32)?,
            durability: self.option(Self::durability)?,
        };
        let is_head = false;
        let entry = RoomEntry { room, epoch, next_offset, slot, is_operators, is_head, phase, settings };
        let live = self.option(Self::live)?;
        let batches = self.list(|from| Some((Arc::new(from.batch()?), from.option(Self::bytes)?)))?;
        is_continuous(&batches, next_offset).then_some(HandedRoom { room: entry, is_on_disk, live, batches })
    }

    fn durability(&mut self) -> Option<Durability> {
        let all = [Durability::Memory, Durability::Disk, Durability::Replicated];
        let n = self.u8()?;
        all.into_iter().find(|level| *level as u8 == n)
    }

    fn live(&mut self) -> Option<HandedLive> {
        Some(HandedLive {
            time_ms: self.u64()?,
            accepted_ms: self.u64()?,
            state_version: self.u64()?,
            state: self.list(|from| Some((from.text()?, from.bytes()?)))?,
            previous: self.lineage()?,
            nonces: HandedNonces {
                complete_for_us: self.option(Self::u64)?.map(|us| us as i64),
                entries: self.list(|from| {
                    Some(StoredNonce { user: UserId(from.u64()?), nonce: from.u64()?, time_ms: from.u64()? })
                })?,
            },
            spoke: self.list(|from| Some((PersonId(from.u64()?), from.u64()?)))?,
        })
    }

    fn lineage(&mut self) -> Option<Lineage> {
        let epochs =
            self.list(|from| Some(PreviousEpoch { epoch: from.u64()?, next_offset: from.u64()? }))?;
        Some(epochs.into_iter().collect())
    }

    fn batch(&mut self) -> Option<Batch> {
        let (first_offset, next_offset) = (self.u64()?, self.u64()?);
        let (base_time_ms, time_ms) = (self.u64()?, self.u64()?);
        let (messages, wire) = (self.u32()?, self.bytes()?);
        let (compressed, snapshot) = (Compressed::default(), None);
        Some(Batch {
            seq: 0,
            first_offset,
            next_offset,
            messages,
            base_time_ms,
            time_ms,
            wire,
            has_acts: false,
            compressed,
            snapshot,
        })
    }
}

/// Are these batches, which follow each other up to the room's next offset?
fn is_continuous(batches: &[(Arc<Batch>, Option<Bytes>)], next_offset: u64) -> bool {
    let ends = batches.last().is_none_or(|(batch, _)| batch.next_offset == next_offset);
    let follow = batches.windows(2).all(|pair| pair[0].0.next_offset == pair[1].0.first_offset);
    let is_batch = |wire: &Bytes| alias_of(wire).is_some();
    let are_batches = batches.iter().all(|(batch, full)| {
        batch.first_offset < batch.next_offset && is_batch(&batch.wire) && full.as_ref().is_none_or(is_batch)
    });
    ends && follow && are_batches
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest frame of a batch.
    fn wire(alias: u8) -> Bytes {
        let mut wire = Vec::new();
        grandstand_protocol::stream::write_header(2, &mut wire);
        wire.extend([grandstand_protocol::frame::Kind::Batch as u8, alias]);
        wire.into()
    }

    fn rooms() -> Vec<HandedRoom> {
        let batch = |first_offset, next_offset| Batch {
            seq: 0,
            first_offset,
            next_offset,
            messages: 1,
            base_time_ms: 5,
            time_ms: 6,
            wire: wire(3),
            has_acts: false,
            compressed: Compressed::default(),
            snapshot: None,
        };
        let entry = |name: &str, slot| RoomEntry {
            room: name.into(),
            epoch: 77,
            next_offset: 9,
            slot,
            is_operators: slot.is_some(),
            is_head: false,
            phase: Phase::Closed,
            settings: RoomSettings {
                tick_max_ms: Some(5),
                durability: Some(Durability::Memory),
                ..Default::default()
            },
        };
        let live = HandedLive {
            time_ms: 1,
            accepted_ms: 2,
            state: vec![("gs.slow_ms".into(), Bytes::from_static(b"500")), ("pinned".into(), Bytes::new())],
            state_version: 4,
            previous: [PreviousEpoch { epoch: 3, next_offset: 2 }].into_iter().collect(),
            nonces: HandedNonces {
                complete_for_us: Some(-7),
                entries: vec![StoredNonce { user: UserId(8), nonce: 9, time_ms: 10 }],
            },
            spoke: vec![(PersonId(11), 12)],
        };
        let batches = vec![(Arc::new(batch(2, 5)), Some(wire(4))), (Arc::new(batch(5, 9)), None)];
        vec![
            HandedRoom {
                room: entry("show/ü", Some(3)),
                is_on_disk: false,
                live: Some(live.clone()),
                batches,
            },
            HandedRoom { room: entry("a", None), is_on_disk: false, live: None, batches: Vec::new() },
            HandedRoom { room: entry("b", Some(4)), is_on_disk: true, live: Some(live), batches: Vec::new() },
        ]
    }

    #[test]
    fn rooms_come_out_as_they_went_in_through_a_file_that_nobody_changes() {
        let file = write(&rooms()).unwrap();
        let copy = file.try_clone().unwrap();
        assert!(File::from(copy).write_all(b"x").is_err(), "sealed");
        let handed = read(file).unwrap();
        assert_eq!(handed.rooms, rooms());
        assert!(handed.elapsed_us < 60_000_000);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_is_refused_as_a_whole() {
        let whole = encode(&rooms(), 5);
        assert_eq!(decode(&Bytes::from(whole.clone())), Some((rooms(), 5)));
        for at in 0..whole.len() {
            assert_eq!(decode(&Bytes::copy_from_slice(&whole[..at])), None, "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(decode(&Bytes::from(changed)), None, "changed at {at}");
        }
    }

    /// A checksum is no secret: what it covers must not panic or take memory either.
    #[test]
    fn lengths_beyond_the_bytes_are_not_believed() {
        let whole = encode(&rooms(), 5);
        let content = whole.len() - HASH_BYTES;
        for at in 0..content - 4 {
            let mut changed = whole[..content].to_vec();
            changed[at..at + 4].copy_from_slice(&[0xff; 4]);
            let hash = digest::digest(&digest::SHA256, &changed);
            changed.extend_from_slice(hash.as_ref());
            let _ = decode(&Bytes::from(changed));
        }
    }
}
