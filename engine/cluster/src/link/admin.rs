//! Administration as packed fields: requests of operators, and their answers.
//!
//! Invariant: every field travels. A request or an answer of a later release is passed over; its asker waits
//! out its time.
//! Not here: what a shard does with a request.

use grandstand_engine::counter_name;
use grandstand_engine::link::{
    AdminAnswer, AdminReply, AdminRequest, ConnectionToken, PersonId, RoomInfo, RoomSettings,
};
use grandstand_protocol::frame::Durability;
use grandstand_protocol::refusal::Refusal;

use super::input::take_alias;
use super::pack::Packer;
use super::unpack::{Fields, Stop, Taken};

/// Requests, by number.
mod asked {
    pub(super) const CREATE: u8 = 1;
    pub(super) const OPEN: u8 = 2;
    pub(super) const CLOSE: u8 = 3;
    pub(super) const REMOVE: u8 = 4;
    pub(super) const SET_STATE: u8 = 5;
    pub(super) const CONFIGURE: u8 = 6;
    pub(super) const LIST: u8 = 7;
    pub(super) const COUNTERS: u8 = 8;
    pub(super) const MODERATION: u8 = 10;
    pub(super) const LIFT: u8 = 11;
    pub(super) const FOLLOW_SHOW: u8 = 9;
    pub(super) const STATE: u8 = 12;
}

/// Answers, by number.
mod told {
    pub(super) const ROOM: u8 = 1;
    pub(super) const ROOMS: u8 = 2;
    pub(super) const COUNTERS: u8 = 3;
    pub(super) const MODERATION: u8 = 4;
    pub(super) const STATE: u8 = 5;
}

pub(super) fn pack_request(request: &AdminRequest, p: &mut Packer) {
    let mut named = |kind, room: &str| {
        p.byte(kind);
        p.text(room);
    };
    match request {
        AdminRequest::Create { room, settings } => {
            named(asked::CREATE, room);
            pack_settings(settings, p);
        }
        AdminRequest::Open { room } => named(asked::OPEN, room),
        AdminRequest::Close { room } => named(asked::CLOSE, room),
        AdminRequest::FollowShow { room } => named(asked::FOLLOW_SHOW, room),
        AdminRequest::Remove { room } => named(asked::REMOVE, room),
        AdminRequest::State { room } => named(asked::STATE, room),
        AdminRequest::SetState { room, key, value } => {
            named(asked::SET_STATE, room);
            p.text(key);
            p.option(value.as_deref(), Packer::run);
        }
        AdminRequest::Configure { room, settings } => {
            named(asked::CONFIGURE, room);
            pack_settings(settings, p);
        }
        AdminRequest::List { prefix, after, limit } => {
            named(asked::LIST, prefix);
            p.text(after);
            p.number(*limit as u64);
        }
        AdminRequest::Moderation { room } => named(asked::MODERATION, room),
        AdminRequest::Lift { room, person } => {
            named(asked::LIFT, room);
            p.word(person.0);
        }
        AdminRequest::Counters => p.byte(asked::COUNTERS),
    }
}

pub(super) fn take_request(f: &mut Fields<'_>) -> Taken<AdminRequest> {
    let kind = f.byte()?;
    Ok(match kind {
        asked::CREATE => AdminRequest::Create { room: f.text()?.into(), settings: take_settings(f)? },
        asked::OPEN => AdminRequest::Open { room: f.text()?.into() },
        asked::FOLLOW_SHOW => AdminRequest::FollowShow { room: f.text()?.into() },
        asked::CLOSE => AdminRequest::Close { room: f.text()?.into() },
        asked::REMOVE => AdminRequest::Remove { room: f.text()?.into() },
        asked::SET_STATE => AdminRequest::SetState {
            room: f.text()?.into(),
            key: f.text()?.into(),
            value: f.option(|f| f.run().map(<[u8]>::to_vec))?,
        },
        asked::CONFIGURE => AdminRequest::Configure { room: f.text()?.into(), settings: take_settings(f)? },
        asked::LIST => {
            AdminRequest::List { prefix: f.text()?.into(), after: f.text()?.into(), limit: f.number()? }
        }
        asked::MODERATION => AdminRequest::Moderation { room: f.text()?.into() },
        asked::LIFT => AdminRequest::Lift { room: f.text()?.into(), person: PersonId(f.word()?) },
        asked::COUNTERS => AdminRequest::Counters,
        asked::STATE => AdminRequest::State { room: f.text()?.into() },
        _ => return Err(Stop::Unknown),
    })
}

pub(super) fn pack_reply(AdminReply { connection, answer }: &AdminReply, p: &mut Packer) {
    p.number(connection.0);
    match answer {
        Err(refusal) => pack_refused(*refusal, p),
        Ok(answer) => {
            p.flag(true);
            pack_answer(answer, p);
        }
    }
}

pub(super) fn take_reply(f: &mut Fields<'_>) -> Taken<AdminReply> {
    let connection = ConnectionToken(f.number()?);
    Ok(AdminReply { connection, answer: take_result(f, take_answer)? })
}

fn pack_answer(answer: &AdminAnswer, p: &mut Packer) {
    match answer {
        AdminAnswer::Room(info) => {
            p.byte(told::ROOM);
            pack_info(info, p);
        }
        AdminAnswer::Rooms(all) => {
            p.byte(told::ROOMS);
            p.list(all, |p, info| p.framed(|p| pack_info(info, p)));
        }
        AdminAnswer::Moderation(lists) => {
            p.byte(told::MODERATION);
            super::act::pack_moderated(lists, p);
        }
        AdminAnswer::State { version, entries } => {
            p.byte(told::STATE);
            p.number(*version);
            p.list(entries, |p, (key, value)| {
                p.text(key);
                p.run(value);
            });
        }
        AdminAnswer::Counters(all) => {
            p.byte(told::COUNTERS);
            p.list(all, |p, (name, n)| {
                p.text(name);
                p.number(*n);
            });
        }
    }
}

/// A counter that this release does not have is left out.
fn take_answer(f: &mut Fields<'_>) -> Taken<AdminAnswer> {
    Ok(match f.byte()? {
        told::ROOM => AdminAnswer::Room(take_info(f)?),
        told::ROOMS => AdminAnswer::Rooms(f.list(|f| f.framed(take_info))?),
        told::MODERATION => AdminAnswer::Moderation(super::act::take_moderated(f)?),
        told::COUNTERS => {
            let all = f.list(|f| Ok((counter_name(f.text()?), f.number()?)))?;
            AdminAnswer::Counters(all.into_iter().filter_map(|(name, n)| Some((name?, n))).collect())
        }
        told::STATE => AdminAnswer::State {
            version: f.number()?,
            entries: f.list(|f| Ok((f.text()?.into(), f.run()?.to_vec())))?,
        },
        _ => return Err(Stop::Unknown),
    })
}

fn pack_info(info: &RoomInfo, p: &mut Packer) {
    let RoomInfo {
        name,
        alias,
        epoch,
        phase,
        next_offset,
        oldest_offset,
        viewers,
        history_bytes,
        state_version,
        tick_ms,
        settings,
        durability,
    } = info;
    p.text(name);
    p.number(alias.0);
    p.word(*epoch);
    p.byte(*phase as u8);
    for n in [next_offset, oldest_offset, viewers, history_bytes, state_version, tick_ms] {
        p.number(*n);
    }
    pack_settings(settings, p);
    p.byte(*durability as u8);
}

fn take_info(f: &mut Fields<'_>) -> Taken<RoomInfo> {
    Ok(RoomInfo {
        name: f.text()?.into(),
        alias: take_alias(f)?,
        epoch: f.word()?,
        phase: f.phase()?,
        next_offset: f.number()?,
        oldest_offset: f.number()?,
        viewers: f.number()?,
        history_bytes: f.number()?,
        state_version: f.number()?,
        tick_ms: f.number()?,
        settings: take_settings(f)?,
        durability: f.durability()?,
    })
}

pub(super) fn pack_settings(settings: &RoomSettings, p: &mut Packer) {
    let RoomSettings { tick_min_ms, tick_max_ms, pacing_per_s, durability } = settings;
    for n in [tick_min_ms, tick_max_ms, pacing_per_s] {
        p.option(*n, Packer::number);
    }
    p.option(*durability, |p, level: Durability| p.byte(level as u8));
}

pub(super) fn take_settings(f: &mut Fields<'_>) -> Taken<RoomSettings> {
    Ok(RoomSettings {
        tick_min_ms: f.option(Fields::number)?,
        tick_max_ms: f.option(Fields::number)?,
        pacing_per_s: f.option(Fields::number)?,
        durability: f.option(Fields::durability)?,
    })
}

/// In place of a result.
pub(super) fn pack_refused(refusal: Refusal, p: &mut Packer) {
    p.flag(false);
    p.number(refusal.wire());
}

/// A result, or why there is none.
pub(super) fn take_result<T>(
    f: &mut Fields<'_>,
    take: impl FnOnce(&mut Fields<'_>) -> Taken<T>,
) -> Taken<Result<T, Refusal>> {
    if f.flag()? { take(f).map(Ok) } else { f.number().map(|code| Err(Refusal::from_wire(code))) }
}
