//! Inputs as packed items.
//!
//! Invariant: every field of every input travels. A field or a variant that is added to an input does not
//! compile here until it travels too.
//! Not here: what a shard does with an input, administration (`admin`).

use grandstand_engine::link::{
    Alias, ConnectionToken, Input, Load, Opener, PageOf, PersonId, Publication, ReplyTo, StateChange, UserId,
    WorkerId,
};
use grandstand_protocol::frame::Role;
use grandstand_protocol::text::Likeness;

use super::admin;
use super::pack::{Packer, kind::up};
use super::unpack::{Fields, Stop, Taken};

/// Bits of a publication's flags.
mod flag {
    pub(super) const EXEMPT: u8 = 1;
    pub(super) const BRIDGED: u8 = 2;
}

/// What a page holds, by number.
mod page {
    pub(super) const SHOWN: u8 = 0;
    pub(super) const FULL: u8 = 1;
}

/// Write the fields of an input; returns its kind.
pub(super) fn pack(input: &Input, p: &mut Packer) -> u8 {
    match input {
        Input::Attach { worker, room, opener: Opener { person, is_trusted } } => {
            p.number(worker.0);
            p.text(room);
            p.word(person.0);
            p.flag(*is_trusted);
            up::ATTACH
        }
        Input::Reattach { worker, room, opener: Opener { person, is_trusted }, alias } => {
            p.number(worker.0);
            p.text(room);
            p.word(person.0);
            p.flag(*is_trusted);
            p.number(alias.0);
            up::REATTACH
        }
        Input::Detach { worker, alias } => {
            p.number(worker.0);
            p.number(alias.0);
            up::DETACH
        }
        Input::Viewers { worker, alias, count } => {
            p.number(worker.0);
            p.number(alias.0);
            p.number(*count);
            up::VIEWERS
        }
        Input::Staff { worker, alias, names } => {
            p.number(worker.0);
            p.number(alias.0);
            p.list(names, |p, name| p.word(name.number()));
            up::STAFF
        }
        Input::Publish(publication) => {
            pack_publication(publication, p);
            up::PUBLISH
        }
        Input::React { alias, tallies } => {
            p.number(alias.0);
            p.list(tallies, |p, (key, count)| {
                p.text(key);
                p.number(*count);
            });
            up::REACT
        }
        Input::SetState(change) => {
            let StateChange { from, request, alias, key, value } = &**change;
            pack_reply_to(*from, p);
            p.number(*request);
            p.number(alias.0);
            p.text(key);
            p.option(value.as_deref(), Packer::run);
            up::SET_STATE
        }
        Input::Act(act) => {
            super::act::pack(act, p);
            up::ACT
        }
        Input::History { worker, request, alias, epoch, from, of } => {
            p.number(worker.0);
            p.number(*request);
            p.number(alias.0);
            p.word(*epoch);
            p.number(*from);
            match of {
                PageOf::Shown => p.byte(page::SHOWN),
                PageOf::Full { messages_max } => {
                    p.byte(page::FULL);
                    p.number(*messages_max);
                }
            }
            up::HISTORY
        }
        Input::Load { worker, load: Load { elapsed_us, fanout_us, writes } } => {
            p.number(worker.0);
            p.number(*elapsed_us);
            p.number(*fanout_us);
            p.number(*writes);
            up::LOAD
        }
        Input::Admin { from, request } => {
            pack_reply_to(*from, p);
            admin::pack_request(request, p);
            up::ADMIN
        }
    }
}

/// Take an input of this kind.
pub(super) fn take(kind: u8, f: &mut Fields<'_>) -> Taken<Input> {
    Ok(match kind {
        up::ATTACH => Input::Attach {
            worker: take_worker(f)?,
            room: f.text()?.into(),
            opener: Opener { person: PersonId(f.word()?), is_trusted: f.flag()? },
        },
        up::REATTACH => Input::Reattach {
            worker: take_worker(f)?,
            room: f.text()?.into(),
            opener: Opener { person: PersonId(f.word()?), is_trusted: f.flag()? },
            alias: take_alias(f)?,
        },
        up::DETACH => Input::Detach { worker: take_worker(f)?, alias: take_alias(f)? },
        up::VIEWERS => Input::Viewers { worker: take_worker(f)?, alias: take_alias(f)?, count: f.number()? },
        up::STAFF => Input::Staff {
            worker: take_worker(f)?,
            alias: take_alias(f)?,
            names: f.list(|f| f.word().map(Likeness::from_number))?.into(),
        },
        up::PUBLISH => Input::Publish(Box::new(take_publication(f)?)),
        up::REACT => {
            Input::React { alias: take_alias(f)?, tallies: f.list(|f| Ok((f.text()?.into(), f.number()?)))? }
        }
        up::SET_STATE => Input::SetState(Box::new(StateChange {
            from: take_reply_to(f)?,
            request: f.number()?,
            alias: take_alias(f)?,
            key: f.text()?.into(),
            value: f.option(Fields::bytes)?,
        })),
        up::ACT => Input::Act(Box::new(super::act::take(f)?)),
        up::HISTORY => Input::History {
            worker: take_worker(f)?,
            request: f.number()?,
            alias: take_alias(f)?,
            epoch: f.word()?,
            from: f.number()?,
            of: match f.byte()? {
                page::SHOWN => PageOf::Shown,
                page::FULL => PageOf::Full { messages_max: f.number()? },
                _ => return Err(Stop::Unknown),
            },
        },
        up::LOAD => Input::Load {
            worker: take_worker(f)?,
            load: Load { elapsed_us: f.number()?, fanout_us: f.number()?, writes: f.number()? },
        },
        up::ADMIN => Input::Admin { from: take_reply_to(f)?, request: Box::new(admin::take_request(f)?) },
        _ => return Err(Stop::Unknown),
    })
}

fn pack_publication(publication: &Publication, p: &mut Packer) {
    let Publication {
        from,
        alias,
        user,
        person,
        nonce,
        age_ms,
        author,
        role,
        text,
        attachment,
        reply_to,
        exempt,
        is_bridged,
    } = publication;
    pack_reply_to(*from, p);
    p.number(alias.0);
    p.word(user.0);
    p.word(person.0);
    p.word(*nonce);
    p.number(*age_ms);
    p.text(author);
    p.byte(*role as u8);
    p.text(text);
    p.text(attachment);
    p.option(*reply_to, Packer::number);
    let exempt = if *exempt { flag::EXEMPT } else { 0 };
    p.byte(exempt | if *is_bridged { flag::BRIDGED } else { 0 });
}

fn take_publication(f: &mut Fields<'_>) -> Taken<Publication> {
    let from = take_reply_to(f)?;
    let alias = take_alias(f)?;
    let (user, person) = (UserId(f.word()?), PersonId(f.word()?));
    let (nonce, age_ms) = (f.word()?, f.number()?);
    let author = f.text()?.into();
    let role = Role::from_wire(f.byte()?);
    let (text, attachment) = (f.text()?.into(), f.text()?.into());
    let reply_to = f.option(Fields::number)?;
    let flags = f.byte()?;
    let (exempt, is_bridged) = (flags & flag::EXEMPT != 0, flags & flag::BRIDGED != 0);
    Ok(Publication {
        from,
        alias,
        user,
        person,
        nonce,
        age_ms,
        author,
        role,
        text,
        attachment,
        reply_to,
        exempt,
        is_bridged,
    })
}

pub(super) fn pack_reply_to(ReplyTo { worker, connection }: ReplyTo, p: &mut Packer) {
    p.number(worker.0);
    p.number(connection.0);
}

pub(super) fn take_reply_to(f: &mut Fields<'_>) -> Taken<ReplyTo> {
    Ok(ReplyTo { worker: take_worker(f)?, connection: ConnectionToken(f.number()?) })
}

pub(super) fn take_worker(f: &mut Fields<'_>) -> Taken<WorkerId> {
    f.number().map(WorkerId)
}

pub(super) fn take_alias(f: &mut Fields<'_>) -> Taken<Alias> {
    f.number().map(Alias)
}
