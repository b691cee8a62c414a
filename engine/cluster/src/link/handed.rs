//! Handed rooms as packed fields: what only the memory of an owner has of a room, for the next owner.
//!
//! Invariants: every field travels. The batches that are taken have no gap and end with the room's next
//! offset.
//! Not here: which rooms are handed, and how much of each (`stand::handed`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{Batch, PersonId, PreviousEpoch, UserId};
use grandstand_engine::log::{HandedLive, HandedNonces, HandedRoom, RoomEntry, StoredNonce};
use grandstand_protocol::batch::alias_of;

use super::admin::{pack_settings, take_settings};
use super::pack::Packer;
use super::unpack::{Fields, Stop, Taken};

pub(super) fn pack(handed: &HandedRoom, p: &mut Packer) {
    let HandedRoom { room: entry, is_on_disk, live, batches } = handed;
    let RoomEntry { room, epoch, next_offset, slot, is_operators, is_head, phase, settings } = entry;
    p.text(room);
    p.word(*epoch);
    p.number(*next_offset);
    p.option(*slot, Packer::number);
    [is_operators, is_head, is_on_disk].into_iter().for_each(|flag| p.flag(*flag));
    p.byte(*phase as u8);
    pack_settings(settings, p);
    p.option(live.as_ref(), |p, live| pack_live(live, p));
    p.list(batches, |p, (batch, full)| {
        p.batch(batch);
        p.option(full.as_deref(), Packer::run);
    });
}

pub(super) fn take(f: &mut Fields<'_>) -> Taken<HandedRoom> {
    let (room, epoch, next_offset) = (f.text()?.into(), f.word()?, f.number()?);
    let slot = f.option(Fields::number)?;
    let (is_operators, is_head, is_on_disk) = (f.flag()?, f.flag()?, f.flag()?);
    let (phase, settings) = (f.phase()?, take_settings(f)?);
    let room = RoomEntry { room, epoch, next_offset, slot, is_operators, is_head, phase, settings };
    let live = f.option(take_live)?;
    let batches = f.list(|f| Ok((f.batch()?, f.option(take_full)?)))?;
    if !is_continuous(&batches, next_offset) {
        return Err(Stop::Expected("batches without a gap that end with the room's next offset"));
    }
    Ok(HandedRoom { room, is_on_disk, live, batches })
}

fn is_continuous(batches: &[(Arc<Batch>, Option<Bytes>)], next_offset: u64) -> bool {
    let follow = batches.windows(2).all(|pair| pair[0].0.next_offset == pair[1].0.first_offset);
    follow && batches.last().is_none_or(|(newest, _)| newest.next_offset == next_offset)
}

fn take_full(f: &mut Fields<'_>) -> Taken<Bytes> {
    let full = f.frame()?;
    if alias_of(&full).is_none() {
        return Err(Stop::Expected("one whole frame of a batch"));
    }
    Ok(full)
}

fn pack_live(live: &HandedLive, p: &mut Packer) {
    let HandedLive { time_ms, accepted_ms, state, state_version, previous, nonces, spoke } = live;
    [time_ms, accepted_ms, state_version].into_iter().for_each(|n| p.number(*n));
    p.list(state, |p, (key, value)| {
        p.text(key);
        p.run(value);
    });
    p.list(previous.epochs(), |p, PreviousEpoch { epoch, next_offset }| {
        p.word(*epoch);
        p.number(*next_offset);
    });
    let HandedNonces { complete_for_us, entries } = nonces;
    p.option(*complete_for_us, |p, us| p.word(us.cast_unsigned()));
    p.list(entries, |p, StoredNonce { user, nonce, time_ms }| {
        p.word(user.0);
        p.word(*nonce);
        p.number(*time_ms);
    });
    p.list(spoke, |p, (person, ago_us)| {
        p.word(person.0);
        p.number(*ago_us);
    });
}

fn take_live(f: &mut Fields<'_>) -> Taken<HandedLive> {
    let (time_ms, accepted_ms, state_version) = (f.number()?, f.number()?, f.number()?);
    let take_previous = |f: &mut Fields<'_>| Ok(PreviousEpoch { epoch: f.word()?, next_offset: f.number()? });
    let take_nonce = |f: &mut Fields<'_>| {
        Ok(StoredNonce { user: UserId(f.word()?), nonce: f.word()?, time_ms: f.number()? })
    };
    Ok(HandedLive {
        time_ms,
        accepted_ms,
        state_version,
        state: f.list(|f| Ok((f.text()?.into(), f.bytes()?)))?,
        previous: f.list(take_previous)?.into_iter().collect(),
        nonces: HandedNonces {
            complete_for_us: f.option(|f| f.word().map(u64::cast_signed))?,
            entries: f.list(take_nonce)?,
        },
        spoke: f.list(|f| Ok((PersonId(f.word()?), f.number()?)))?,
    })
}
