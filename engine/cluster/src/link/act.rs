//! Acts and notices as packed items.
//!
//! Invariant: every field travels; a notice of a kind that this release does not know is left out.
//! Not here: answers to acts (`output`).

use grandstand_engine::link::{
    ActRequest, Actor, Alias, HeldPerson, Moderated, PersonId, Recipient, Reported, RoomNotice, UserId,
};
use grandstand_protocol::frame::{ActKind, Category, NoticeKind};

use super::input::{pack_reply_to, take_alias, take_reply_to};
use super::pack::Packer;
use super::unpack::{Fields, Stop, Taken};

/// Whom a notice is for, by number.
mod recipient {
    pub(super) const PERSON: u8 = 1;
    pub(super) const MODERATORS: u8 = 2;
}

pub(super) fn pack(act: &ActRequest, p: &mut Packer) {
    let ActRequest { from, request, alias, by, act, epoch, target, seconds, category, text } = act;
    let Actor { user, person, name, may_moderate } = by;
    pack_reply_to(*from, p);
    p.number(*request);
    p.number(alias.0);
    p.word(user.0);
    p.word(person.0);
    p.text(name);
    p.flag(*may_moderate);
    p.byte(*act as u8);
    p.word(*epoch);
    p.option(*target, Packer::number);
    p.number(*seconds);
    p.byte(*category as u8);
    p.text(text);
}

pub(super) fn take(f: &mut Fields<'_>) -> Taken<ActRequest> {
    Ok(ActRequest {
        from: take_reply_to(f)?,
        request: f.number()?,
        alias: take_alias(f)?,
        by: Actor {
            user: UserId(f.word()?),
            person: PersonId(f.word()?),
            name: f.text()?.into(),
            may_moderate: f.flag()?,
        },
        act: ActKind::from_wire(f.byte()?),
        epoch: f.word()?,
        target: f.option(Fields::number)?,
        seconds: f.number()?,
        category: Category::from_wire(f.byte()?),
        text: f.text()?.into(),
    })
}

pub(super) fn pack_notice(notice: &RoomNotice, p: &mut Packer) {
    let RoomNotice { alias, to, notice, id, until_ms, text } = notice;
    p.number(alias.0);
    match to {
        Recipient::Person(person) => {
            p.byte(recipient::PERSON);
            p.word(person.0);
        }
        Recipient::Moderators => p.byte(recipient::MODERATORS),
    }
    p.byte(*notice as u8);
    p.word(*id);
    p.number(*until_ms);
    p.text(text);
}

/// Notices of a later release are left out.
pub(super) fn take_notices(f: &mut Fields<'_>) -> Taken<Vec<RoomNotice>> {
    let all = f.list(|f| match f.framed(take_notice) {
        Err(Stop::Unknown) => Ok(None),
        notice => notice.map(Some),
    })?;
    Ok(all.into_iter().flatten().collect())
}

fn take_notice(f: &mut Fields<'_>) -> Taken<RoomNotice> {
    let alias: Alias = take_alias(f)?;
    let to = match f.byte()? {
        recipient::PERSON => Recipient::Person(PersonId(f.word()?)),
        recipient::MODERATORS => Recipient::Moderators,
        _ => return Err(Stop::Unknown),
    };
    Ok(RoomNotice {
        alias,
        to,
        notice: NoticeKind::from_wire(f.byte()?),
        id: f.word()?,
        until_ms: f.number()?,
        text: f.text()?.into(),
    })
}

pub(super) fn pack_moderated(Moderated { held, reported }: &Moderated, p: &mut Packer) {
    p.list(held, |p, one| {
        let HeldPerson { person, timeout_ms, ban_ms, shadow_ms, warning } = one;
        p.word(person.0);
        for end in [timeout_ms, ban_ms, shadow_ms] {
            p.option(*end, Packer::number);
        }
        p.option(warning.as_deref(), Packer::text);
    });
    p.list(reported, |p, Reported { offset, reports }| {
        p.number(*offset);
        p.list(reports, |p, (category, text)| {
            p.byte(*category as u8);
            p.text(text);
        });
    });
}

pub(super) fn take_moderated(f: &mut Fields<'_>) -> Taken<Moderated> {
    let take_held = |f: &mut Fields<'_>| {
        Ok(HeldPerson {
            person: PersonId(f.word()?),
            timeout_ms: f.option(Fields::number)?,
            ban_ms: f.option(Fields::number)?,
            shadow_ms: f.option(Fields::number)?,
            warning: f.option(Fields::text)?.map(Box::from),
        })
    };
    let take_report = |f: &mut Fields<'_>| Ok((Category::from_wire(f.byte()?), f.text()?.into()));
    let take_reported =
        |f: &mut Fields<'_>| Ok(Reported { offset: f.number()?, reports: f.list(take_report)? });
    Ok(Moderated { held: f.list(take_held)?, reported: f.list(take_reported)? })
}
