//! Outputs as packed items.
//!
//! Invariant: every field of every output travels. A field or a variant that is added to an output does not
//! compile here until it travels too.
//! Not here: for whom an output is (`down`), administration (`admin`).

use grandstand_engine::link::{
    Answer, AnswerKind, Attachment, ConnectionToken, HistoryPage, Output, Personal, PreviousEpoch,
};
use grandstand_protocol::frame::Durability;
use grandstand_protocol::refusal::Refusal;

use super::admin::{pack_refused, pack_reply, take_reply, take_result};
use super::input::take_alias;
use super::pack::{Packer, kind::down};
use super::unpack::{Fields, Stop, Taken};

/// Answers, by number.
mod answer {
    pub(super) const PUBLISHED: u8 = 1;
    pub(super) const PUBLISH_REFUSED: u8 = 2;
    pub(super) const STATE_SET: u8 = 3;
    pub(super) const STATE_REFUSED: u8 = 4;
    pub(super) const ACTED: u8 = 5;
    pub(super) const ACT_REFUSED: u8 = 6;
}

/// Write the fields of an output; returns its kind.
pub(super) fn pack(output: &Output, p: &mut Packer) -> u8 {
    match output {
        Output::Attached { room, result } => {
            p.text(room);
            match result {
                Err(refusal) => pack_refused(*refusal, p),
                Ok(attachment) => {
                    p.flag(true);
                    pack_attachment(attachment, p);
                }
            }
            down::ATTACHED
        }
        Output::Batch { alias, batch } => {
            p.number(alias.0);
            p.batch(batch);
            down::BATCH
        }
        Output::Answers(answers) => {
            p.list(answers, |p, answer| p.framed(|p| pack_answer(answer, p)));
            down::ANSWERS
        }
        Output::Personals(personals) => {
            p.list(personals, |p, Personal { alias, connection, wire }| {
                p.number(alias.0);
                p.number(connection.0);
                p.run(wire);
            });
            down::PERSONALS
        }
        Output::Notices(notices) => {
            p.list(notices, |p, notice| p.framed(|p| super::act::pack_notice(notice, p)));
            down::NOTICES
        }
        Output::History { request, page } => {
            let HistoryPage { batches, same_epoch, retry_after_ms } = &**page;
            p.number(*request);
            p.list(batches, Packer::batch);
            p.flag(*same_epoch);
            p.option(*retry_after_ms, Packer::number);
            down::HISTORY
        }
        Output::Phase { alias, phase, at_ms } => {
            p.number(alias.0);
            p.byte(*phase as u8);
            p.number(*at_ms);
            down::PHASE
        }
        Output::Removed { alias } => {
            p.number(alias.0);
            down::REMOVED
        }
        Output::Admin(reply) => {
            pack_reply(reply, p);
            down::ADMIN
        }
    }
}

/// Take an output of this kind.
pub(super) fn take(kind: u8, f: &mut Fields<'_>) -> Taken<Output> {
    Ok(match kind {
        down::ATTACHED => {
            let room = f.text()?.into();
            Output::Attached { room, result: take_result(f, |f| take_attachment(f).map(Box::new))? }
        }
        down::BATCH => Output::Batch { alias: take_alias(f)?, batch: f.batch()? },
        down::ANSWERS => Output::Answers(take_answers(f)?),
        down::PERSONALS => Output::Personals(f.list(take_personal)?),
        down::NOTICES => Output::Notices(super::act::take_notices(f)?),
        down::HISTORY => Output::History {
            request: f.number()?,
            page: Box::new(HistoryPage {
                batches: f.list(Fields::batch)?,
                same_epoch: f.flag()?,
                retry_after_ms: f.option(Fields::number)?,
            }),
        },
        down::PHASE => Output::Phase { alias: take_alias(f)?, phase: f.phase()?, at_ms: f.number()? },
        down::REMOVED => Output::Removed { alias: take_alias(f)? },
        down::ADMIN => Output::Admin(Box::new(take_reply(f)?)),
        _ => return Err(Stop::Unknown),
    })
}

fn pack_attachment(attachment: &Attachment, p: &mut Packer) {
    let Attachment {
        alias,
        epoch,
        next_seq,
        next_offset,
        time_ms,
        batches,
        snapshot,
        phase,
        until_ms,
        previous,
    } = attachment;
    p.number(alias.0);
    p.word(*epoch);
    for n in [next_seq, next_offset, time_ms] {
        p.number(*n);
    }
    p.list(batches, Packer::batch);
    p.option(snapshot.as_ref(), Packer::image);
    p.byte(*phase as u8);
    p.number(*until_ms);
    p.list(previous.epochs(), |p, PreviousEpoch { epoch, next_offset }| {
        p.word(*epoch);
        p.number(*next_offset);
    });
}

fn take_attachment(f: &mut Fields<'_>) -> Taken<Attachment> {
    let take_previous = |f: &mut Fields<'_>| Ok(PreviousEpoch { epoch: f.word()?, next_offset: f.number()? });
    Ok(Attachment {
        alias: take_alias(f)?,
        epoch: f.word()?,
        next_seq: f.number()?,
        next_offset: f.number()?,
        time_ms: f.number()?,
        batches: f.list(Fields::batch)?,
        snapshot: f.option(Fields::image)?,
        phase: f.phase()?,
        until_ms: f.number()?,
        previous: f.list(take_previous)?.into_iter().collect(),
    })
}

fn take_personal(f: &mut Fields<'_>) -> Taken<Personal> {
    let (alias, connection) = (take_alias(f)?, ConnectionToken(f.number()?));
    Ok(Personal { alias, connection, wire: f.frame()? })
}

fn pack_answer(Answer { connection, kind }: &Answer, p: &mut Packer) {
    let mut begin = |kind| {
        p.byte(kind);
        p.number(connection.0);
    };
    match kind {
        AnswerKind::Published { nonce, epoch, offset, time_ms, durability, repeated } => {
            begin(answer::PUBLISHED);
            p.word(*nonce);
            p.word(*epoch);
            p.number(*offset);
            p.number(*time_ms);
            p.byte(*durability as u8);
            p.flag(*repeated);
        }
        AnswerKind::PublishRefused { nonce, reason, retry_after_ms } => {
            begin(answer::PUBLISH_REFUSED);
            p.word(*nonce);
            p.number(reason.wire());
            p.option(*retry_after_ms, Packer::number);
        }
        AnswerKind::StateSet { request, version } => {
            begin(answer::STATE_SET);
            p.number(*request);
            p.number(*version);
        }
        AnswerKind::StateRefused { request, reason, retry_after_ms } => {
            begin(answer::STATE_REFUSED);
            p.number(*request);
            p.number(reason.wire());
            p.option(*retry_after_ms, Packer::number);
        }
        AnswerKind::Acted { request, epoch, offset, count } => {
            begin(answer::ACTED);
            p.number(*request);
            p.word(*epoch);
            p.option(*offset, Packer::number);
            p.number(*count);
        }
        AnswerKind::ActRefused { request, reason, retry_after_ms } => {
            begin(answer::ACT_REFUSED);
            p.number(*request);
            p.number(reason.wire());
            p.option(*retry_after_ms, Packer::number);
        }
    }
}

/// Answers of a later release are left out.
fn take_answers(f: &mut Fields<'_>) -> Taken<Vec<Answer>> {
    let all = f.list(|f| match f.framed(take_answer) {
        Err(Stop::Unknown) => Ok(None),
        answer => answer.map(Some),
    })?;
    Ok(all.into_iter().flatten().collect())
}

fn take_answer(f: &mut Fields<'_>) -> Taken<Answer> {
    let kind = f.byte()?;
    let connection = ConnectionToken(f.number()?);
    let take_reason = |f: &mut Fields<'_>| f.number().map(Refusal::from_wire);
    let kind = match kind {
        answer::PUBLISHED => AnswerKind::Published {
            nonce: f.word()?,
            epoch: f.word()?,
            offset: f.number()?,
            time_ms: f.number()?,
            durability: f.byte().map(Durability::from_wire)?,
            repeated: f.flag()?,
        },
        answer::PUBLISH_REFUSED => AnswerKind::PublishRefused {
            nonce: f.word()?,
            reason: take_reason(f)?,
            retry_after_ms: f.option(Fields::number)?,
        },
        answer::STATE_SET => AnswerKind::StateSet { request: f.number()?, version: f.number()? },
        answer::STATE_REFUSED => AnswerKind::StateRefused {
            request: f.number()?,
            reason: take_reason(f)?,
            retry_after_ms: f.option(Fields::number)?,
        },
        answer::ACTED => AnswerKind::Acted {
            request: f.number()?,
            epoch: f.word()?,
            offset: f.option(Fields::number)?,
            count: f.number()?,
        },
        answer::ACT_REFUSED => AnswerKind::ActRefused {
            request: f.number()?,
            reason: take_reason(f)?,
            retry_after_ms: f.option(Fields::number)?,
        },
        _ => return Err(Stop::Unknown),
    };
    Ok(Answer { connection, kind })
}
