//! Handed rooms: what only the memory of an owner has, on its way to the next one.
//!
//! Why beside the log: the log has neither the chat of rooms in memory nor who spoke when. A drain must not
//! be noticed, so they go along over the link, before the term of the next owner.
//! Invariants: what is sent has at most some [`BYTES_MAX`], shared so that a loud room does not take it from
//! the quiet ones; the newest stays. What is lost on the way is a named gap, since the log has each room's
//! next offset. Each item fits into a message.
//! Not here: what of a room is handed (`engine::shard::handing`), the bytes (`link::handed`).

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{Batch, Directory, Now};
use grandstand_engine::log::{HandedLive, HandedRoom};

use super::StandConfig;

/// Bytes of all rooms of a shard: 20 to 40 ms between two nodes.
const BYTES_MAX: usize = 4 << 20;

/// Bytes of one room's batches.
const ROOM_BYTES_MAX: usize = 256 << 10;

/// Nonces of one room, and people whom slow mode holds in one item: 180 and 260 KB.
const NONCES_MAX: usize = 8_192;
const PEOPLE_MAX: usize = 16_384;

/// Bytes of a nonce, a person and a batch beside its wire forms, as packed.
const NONCE_BYTES: usize = 23;
const PERSON_BYTES: usize = 12;
const BATCH_BYTES: usize = 48;

/// Bytes of a room without any of them, beside its name.
const HEAD_BYTES: usize = 96;

/// The rooms as they are sent: within the bounds, each item fit for a message.
pub(super) fn bounded(now: Now, mut rooms: Vec<HandedRoom>) -> Vec<HandedRoom> {
    // The log has everything of a room that nobody has woken, and every room's state.
    rooms.retain(|room| room.live.is_some());
    for live in rooms.iter_mut().filter_map(|room| room.live.as_mut()) {
        live.state.clear();
        keep_nonces(now, live, NONCES_MAX);
    }
    rooms.sort_by_cached_key(|room| memory(room) + batches(room));
    let (mut left, mut items, count) = (BYTES_MAX, Vec::new(), rooms.len());
    for (at, mut room) in rooms.into_iter().enumerate() {
        let share = left / (count - at);
        if left == 0 {
            break;
        }
        if memory(&room) > share
            && let Some(live) = &mut room.live
        {
            keep_nonces(now, live, share / 2 / NONCE_BYTES);
            let people = live.spoke.len().saturating_sub(share / 2 / PERSON_BYTES);
            live.spoke.drain(..people);
        }
        let for_batches = share.saturating_sub(memory(&room)).min(ROOM_BYTES_MAX);
        keep_newest(&mut room, for_batches);
        left = left.saturating_sub(memory(&room) + batches(&room));
        split(room, &mut items);
    }
    items
}

/// People whom slow mode holds may be too many for one message: the rest follows.
fn split(mut room: HandedRoom, items: &mut Vec<HandedRoom>) {
    let spoke = room.live.as_mut().map(|live| mem::take(&mut live.spoke)).unwrap_or_default();
    let mut parts = spoke.chunks(PEOPLE_MAX);
    if let Some(live) = &mut room.live {
        live.spoke = parts.next().unwrap_or_default().to_vec();
    }
    let entry = room.room.clone();
    items.push(room);
    for part in parts {
        let live = Some(HandedLive { spoke: part.to_vec(), ..HandedLive::default() });
        items.push(HandedRoom { room: entry.clone(), is_on_disk: true, live, batches: Vec::new() });
    }
}

/// Keep the newest nonces. The memory is then complete from the newest one on that is gone.
fn keep_nonces(now: Now, live: &mut HandedLive, most: usize) {
    let gone = live.nonces.entries.len().saturating_sub(most);
    let Some(newest) = live.nonces.entries.drain(..gone).next_back() else { return };
    let ago_us = now.unix_ms.saturating_sub(newest.time_ms).saturating_mul(1000);
    let ago_us = i64::try_from(ago_us).unwrap_or(i64::MAX);
    live.nonces.complete_for_us = Some(live.nonces.complete_for_us.map_or(ago_us, |us| us.min(ago_us)));
}

fn keep_newest(room: &mut HandedRoom, bytes_max: usize) {
    let mut bytes = 0;
    let fits = |batch: &&(Arc<Batch>, Option<Bytes>)| {
        bytes += bytes_of(batch);
        bytes <= bytes_max
    };
    let kept = room.batches.iter().rev().take_while(fits).count();
    room.batches.drain(..room.batches.len() - kept);
}

/// The rooms that the owner before handed to this node.
#[derive(Debug, Default)]
pub(super) struct Handed {
    rooms: Vec<HandedRoom>,
    bytes: usize,
    since_us: u64,
}

impl Handed {
    /// One came. A sender keeps the bound; what is beyond twice of it is of no sender that does.
    pub(super) fn push(&mut self, now_us: u64, room: HandedRoom) {
        let bytes = memory(&room) + batches(&room);
        if self.bytes + bytes > 2 * BYTES_MAX {
            return;
        }
        if self.rooms.is_empty() {
            self.since_us = now_us;
        }
        self.bytes += bytes;
        self.rooms.push(room);
    }

    /// Take them out, with the time for which they waited.
    pub(super) fn take(&mut self, now_us: u64, config: &StandConfig) -> (u64, Vec<HandedRoom>) {
        let Handed { mut rooms, since_us, .. } = mem::take(self);
        let directory = Directory::new(config.shards, config.seed);
        rooms.retain(|room| directory.shard_of(&room.room.room) == config.shard);
        (now_us.saturating_sub(since_us), rooms)
    }
}

fn memory(room: &HandedRoom) -> usize {
    let of_live =
        |live: &HandedLive| live.nonces.entries.len() * NONCE_BYTES + live.spoke.len() * PERSON_BYTES;
    HEAD_BYTES + room.room.room.len() + room.live.as_ref().map_or(0, of_live)
}

fn batches(room: &HandedRoom) -> usize {
    room.batches.iter().map(bytes_of).sum()
}

fn bytes_of((batch, full): &(Arc<Batch>, Option<Bytes>)) -> usize {
    BATCH_BYTES + batch.wire.len() + full.as_ref().map_or(0, Bytes::len)
}
