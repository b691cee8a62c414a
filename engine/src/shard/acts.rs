//! Acts: a shard's handling of what moderators do.
//!
//! Why they wait for the seal: an act takes effect within a tick, in the same order for everybody, and many
//! of them cost one batch.
//! Invariants: every act is answered exactly once, after its batch has left. What it changes in the hidden
//! state goes into the log with its batch, as one entry. It takes its offset after the messages of its tick.
//! Not here: what an act means (`moderation`), the batch (`room::seal`).

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::batch::{BatchReader, Item};
use grandstand_protocol::frame::{ActKind, Category, NoticeKind};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream;

use super::Shard;
use super::publish::Refused;
use crate::link::{
    ActRequest, Alias, AnswerKind, Batch, Now, Output, PersonId, Recipient, ReplyTo, RoomNotice, UserId,
    WorkerId,
};
use crate::log::{BatchEntry, Entry, Log, StoredNonce};
use crate::moderation::people::{self, FOR_EVER, Sanction};
use crate::moderation::{Scope, Waiting};
use crate::room::Live;
use crate::room::removals::Removed;
use crate::room::seal::{Lanes, Sealed, SealedAct};
use crate::room::state::Waiter;

/// Acts that may wait in one room for a seal.
const WAITING_MAX: usize = 256;

/// The longest timeout: 14 days.
const TIMEOUT_SECONDS_MAX: u32 = 1_209_600;

/// Bytes of a reason, a warning or an appeal.
const TEXT_BYTES_MAX: usize = 512;

/// When moderators may have handled some reports.
const REPORT_RETRY_MS: u32 = 60_000;

/// The user of an act in the memory of nonces; its nonce is its offset.
const NOBODY: UserId = UserId(u64::MAX);

/// A shard's handling of acts.
pub(super) struct Acts<'a>(pub(super) &'a mut Shard);

impl Acts<'_> {
    pub(super) fn act(&mut self, now: Now, request: ActRequest) {
        let (from, number) = (request.from, request.request);
        match self.begin_act(now, request) {
            Ok(slot) => self.0.rooms.arm(slot, &self.0.config),
            Err((reason, retry_after_ms)) => {
                self.0.counters.acts_refused += 1;
                let refused = AnswerKind::ActRefused { request: number, reason, retry_after_ms };
                self.0.outbox.answer(from, refused);
            }
        }
    }

    fn begin_act(&mut self, now: Now, request: ActRequest) -> Result<u32, Refused> {
        let slot = self.0.rooms.slot(request.alias).ok_or(never(Refusal::UnknownRoom))?;
        let room = self.0.rooms.get_mut(slot).expect("just found");
        if !request.by.may_moderate && !request.act.is_for_everybody() {
            return Err(never(Refusal::Forbidden));
        }
        check_text(&request.text)?;
        if room.is_in_log() {
            self.0.acks.check().map_err(|later| (Refusal::StorageUnavailable, Some(later.retry_after_ms)))?;
        }
        let (epoch, oldest) = (room.epoch, room.disk().map(|disk| disk.oldest_offset));
        let live = room.wake(now, &self.0.config, self.0.seed);
        let oldest = self.0.log.oldest_offset(request.alias).into_iter().chain(oldest).min();
        let kept = oldest.unwrap_or(live.next_offset)..live.free_offset();
        if live.moderation.as_ref().is_some_and(|moderation| moderation.waiting.len() >= WAITING_MAX) {
            return Err((Refusal::Overloaded, Some(live.tick_us.div_ceil(1000) as u32)));
        }
        let mut acting =
            Acting { now, live: &mut *live, log: &*self.0.log, epoch, kept, notices: Vec::new() };
        let (count, scope) = acting.act(&request)?;
        let notices = acting.notices;
        let moderation = live.moderation.get_or_insert_default();
        moderation.waiting.push(Waiting {
            from: request.from,
            request: request.request,
            by: request.by,
            note: request.text,
            count,
            scope,
        });
        live.active_us = now.us;
        live.plan_seal(now.us, &self.0.config, &mut self.0.ticks);
        self.notify(slot, &notices);
        Ok(slot)
    }

    /// Tell every worker that follows a room.
    fn notify(&mut self, slot: u32, notices: &[RoomNotice]) {
        let Some(live) = self.0.rooms.get(slot).and_then(|room| room.live.as_ref()) else { return };
        for worker in live.viewers.followers().filter(|_| !notices.is_empty()) {
            self.0.outbox.push(worker, Output::Notices(notices.to_vec()));
        }
    }

    /// Tell a worker that begins to follow a room who is banned there.
    pub(super) fn tell_bans(&mut self, now: Now, worker: WorkerId, slot: u32) {
        let alias = self.0.rooms.alias(slot);
        let live = self.0.rooms.get(slot).and_then(|room| room.live.as_ref());
        let Some(moderation) = live.and_then(|live| live.moderation.as_ref()) else { return };
        let banned = moderation.people.bans(now.unix_ms);
        let notice = |(person, until_ms)| notice(alias, person, NoticeKind::Banned, until_ms);
        let notices: Vec<RoomNotice> = banned.map(notice).collect();
        if !notices.is_empty() {
            self.0.outbox.push(worker, Output::Notices(notices));
        }
    }

    /// Take back what holds these numbers.
    pub(super) fn lift(&mut self, now: Now, slot: u32, numbers: &[PersonId]) -> Result<(), Refusal> {
        let alias = self.0.rooms.alias(slot);
        let room = self.0.rooms.get_mut(slot).ok_or(Refusal::UnknownRoom)?;
        if room.is_in_log() {
            self.0.acks.check().map_err(|_| Refusal::StorageUnavailable)?;
        }
        let live = room.wake(now, &self.0.config, self.0.seed);
        let notices = lift(live, alias, numbers);
        if live.state.hides_changes() {
            live.plan_seal(now.us, &self.0.config, &mut self.0.ticks);
        }
        self.notify(slot, &notices);
        self.0.rooms.arm(slot, &self.0.config);
        Ok(())
    }

    /// Seal what moderators did in this tick, behind its messages, and with the state and the tallies.
    pub(super) fn seal_acts(&mut self, slot: u32, now: Now) {
        let alias = self.0.rooms.alias(slot);
        let room = self.0.rooms.get_mut(slot).expect("only rooms seal");
        let (name, epoch) = (room.name.clone(), room.epoch);
        let (is_kept, keeps_state) = (room.is_on_disk(), room.is_in_log());
        let oldest = self.0.log.oldest_offset(alias).into_iter();
        let oldest = oldest.chain(room.disk().map(|disk| disk.oldest_offset)).min().unwrap_or(0);
        let live = room.live.as_mut().expect("only live rooms seal");
        let mut sealing = Sealing { alias, epoch, acts: Vec::new(), answers: Vec::new() };
        sealing.resolve(live, &*self.0.log, oldest);
        let Sealing { acts, answers, .. } = sealing;
        let state = live.state.to_keep().filter(|_| keeps_state);
        let nonces: Box<[_]> = (live.next_offset..).zip(&acts).map(|(at, _)| (NOBODY, at)).collect();
        for &(user, at) in &nonces {
            live.nonces.take_act((user, at), at, now.us);
            live.authors.note_act(at);
        }
        let is_shown = !acts.is_empty() || live.state.is_changed() || !live.tallies.is_empty();
        let lanes = Lanes::All { tally_top: self.0.config.tally_top };
        let (next_seq, said) = (live.next_seq, acts.len());
        let Sealed { batch, waiters, .. } =
            self.0.sealer.seal_acts((alias, epoch), live, &acts, now.unix_ms, lanes);
        if is_kept && (batch.has_chat() || (state.is_some() && is_shown)) {
            let entry = BatchEntry { room: name, epoch, batch: batch.clone(), full: None, nonces, state };
            self.0.acks.push_batch(slot, entry);
            live.disk.unsynced += 1;
        } else if let Some(state) = state {
            let batch = self.0.sealer.state_alone(alias, &batch, &state);
            let nonces = Box::default();
            let entry = BatchEntry { room: name, epoch, batch, full: None, nonces, state: Some(state) };
            self.0.acks.push(Entry::Batch(Box::new(entry)));
        }
        if is_shown {
            self.0.log.append(alias, epoch, &batch, None);
            self.0.counters.batches_sealed += 1;
            self.0.counters.bytes_sealed += batch.wire.len() as u64;
            for worker in live.viewers.followers() {
                self.0.outbox.push(worker, Output::Batch { alias, batch: batch.clone() });
            }
        } else {
            live.next_seq = next_seq;
        }
        self.0.counters.acts += (answers.len()) as u64;
        self.0.counters.removals += said as u64;
        for (from, answer) in answers {
            self.0.acks.answer(now, keeps_state, from, answer, &mut self.0.outbox);
        }
        for Waiter { from, request, version } in waiters {
            let answer = AnswerKind::StateSet { request, version };
            self.0.acks.answer(now, keeps_state, from, answer, &mut self.0.outbox);
        }
    }
}

/// An act, judged in its room.
struct Acting<'a> {
    now: Now,
    live: &'a mut Live,
    log: &'a dyn Log,
    epoch: u64,
    /// The offsets of messages that are kept.
    kept: Range<u64>,
    notices: Vec<RoomNotice>,
}

impl Acting<'_> {
    /// Do what takes effect at once. Returns how much that is, and what the act removes when it is sealed.
    fn act(&mut self, request: &ActRequest) -> Result<(u64, Option<Scope>), Refused> {
        let target = || {
            if request.epoch != 0 && request.epoch != self.epoch {
                return Err(never(Refusal::UnknownEpoch));
            }
            let target = request.target.filter(|target| self.kept.contains(target));
            target.ok_or(never(Refusal::TooOld))
        };
        let removals = self.live.moderation.as_ref().map(|moderation| &moderation.removals);
        let is_full = removals.is_some_and(|removals| removals.is_full());
        let scope = match request.act {
            ActKind::Remove | ActKind::RemoveAuthor if is_full => return Err(never(Refusal::TooManyKeys)),
            ActKind::Remove => Scope::One(target()?),
            ActKind::RemoveAuthor => {
                let author = self.live.authors.get(target()?).ok_or(never(Refusal::TooOld))?;
                Scope::Of(author, self.since(request, self.live.authors.first_offset()))
            }
            ActKind::Clear => Scope::All(self.since(request, self.kept.start)),
            ActKind::Timeout | ActKind::Ban | ActKind::Shadow | ActKind::Warn => {
                let numbers = self.numbers(request.alias, target()?)?;
                return Ok((self.hold(request, &numbers)?, None));
            }
            ActKind::Lift => {
                let numbers = self.numbers(request.alias, target()?)?;
                let notices = lift(self.live, request.alias, &numbers);
                let count = notices.len() as u64;
                self.notices.extend(notices);
                return Ok((count, None));
            }
            ActKind::Report => {
                let target = target()?;
                return Ok((self.report(request, target)?, None));
            }
            ActKind::Acknowledge => return Ok((self.acknowledge(request), None)),
            ActKind::Pin | ActKind::Unpin | ActKind::Approve | ActKind::Reject | ActKind::Appeal => {
                return Err(never(Refusal::Forbidden));
            }
            ActKind::Other => return Err(never(Refusal::Forbidden)),
        };
        Ok((0, Some(scope)))
    }

    /// The first offset of what was said in the last seconds.
    fn since(&self, request: &ActRequest, first: u64) -> u64 {
        if request.seconds == 0 {
            return first;
        }
        let ms = self.now.unix_ms.saturating_sub(u64::from(request.seconds) * 1000);
        self.log.offset_since(request.alias, ms).unwrap_or(self.live.next_offset).max(first)
    }

    /// The numbers of whoever said the message at an offset.
    fn numbers(&self, alias: Alias, offset: u64) -> Result<Vec<PersonId>, Refused> {
        let author = self.live.authors.get(offset).ok_or(never(Refusal::TooOld))?;
        let name = name_at(self.log, alias, offset).unwrap_or_default();
        Ok(self.live.authors.numbers(author, &name))
    }

    fn hold(&mut self, request: &ActRequest, numbers: &[PersonId]) -> Result<u64, Refused> {
        let (now_ms, seconds) = (self.now.unix_ms, request.seconds);
        let end = |seconds: u32| now_ms.saturating_add(u64::from(seconds) * 1000);
        let (sanction, kind, until_ms) = match request.act {
            ActKind::Timeout => {
                let until_ms = end(seconds.clamp(1, TIMEOUT_SECONDS_MAX));
                (Sanction::Timeout, Some(NoticeKind::TimedOut), until_ms)
            }
            ActKind::Warn if request.text.is_empty() => return Err(never(Refusal::Empty)),
            ActKind::Warn => {
                (Sanction::Warning(now_ms.max(1), request.text.clone()), Some(NoticeKind::Warned), 0)
            }
            ActKind::Ban => {
                let until_ms = if seconds == 0 { FOR_EVER } else { end(seconds) };
                (Sanction::Ban, Some(NoticeKind::Banned), until_ms)
            }
            // Who is shadowed is told nothing.
            _ => (Sanction::Shadow, None, if seconds == 0 { FOR_EVER } else { end(seconds) }),
        };
        let people = &mut self.live.moderation.get_or_insert_default().people;
        for &number in numbers {
            let changes = people.hold(number, sanction.clone(), until_ms, now_ms).map_err(never)?;
            changes.into_iter().for_each(|(key, value)| self.live.state.hide(key, value));
            if let Some(kind) = kind {
                let id = if kind == NoticeKind::Warned { now_ms.max(1) } else { 0 };
                let told = notice(request.alias, number, kind, people::shown(until_ms));
                self.notices.push(RoomNotice { id, text: request.text.clone(), ..told });
            }
        }
        Ok(1)
    }

    fn report(&mut self, request: &ActRequest, target: u64) -> Result<u64, Refused> {
        if request.category == Category::Other {
            return Err(never(Refusal::Empty));
        }
        let reports = &mut self.live.moderation.get_or_insert_default().reports;
        let reported = reports.report(target, request.by.person, request.category, &request.text);
        let later = |reason: Refusal| (reason, reason.may_retry().then_some(REPORT_RETRY_MS));
        let Some((key, value)) = reported.map_err(later)? else { return Ok(0) };
        self.live.state.hide(key, value);
        Ok(1)
    }

    fn acknowledge(&mut self, request: &ActRequest) -> u64 {
        let Some(moderation) = &mut self.live.moderation else { return 0 };
        let numbers = [PersonId::of_user(request.by.user), request.by.person];
        let id = request.target.unwrap_or(0);
        let changes = moderation.people.acknowledge(numbers, id, self.now.unix_ms);
        let count = u64::from(!changes.is_empty());
        changes.into_iter().for_each(|(key, value)| self.live.state.hide(key, value));
        count
    }
}

/// Take back what holds these numbers. Returns a notice for each that was held.
fn lift(live: &mut Live, alias: Alias, numbers: &[PersonId]) -> Vec<RoomNotice> {
    let Some(moderation) = &mut live.moderation else { return Vec::new() };
    let mut notices = Vec::new();
    for &number in numbers {
        if let Some((key, value)) = moderation.people.lift(number) {
            live.state.hide(key, value);
            notices.push(notice(alias, number, NoticeKind::Lifted, 0));
        }
    }
    notices
}

fn notice(alias: Alias, person: PersonId, notice: NoticeKind, until_ms: u64) -> RoomNotice {
    RoomNotice { alias, to: Recipient::Person(person), notice, id: 0, until_ms, text: Box::default() }
}

fn never(reason: Refusal) -> Refused {
    (reason, None)
}

/// What people write with an act goes to people, and some of it into a batch.
fn check_text(text: &str) -> Result<(), Refused> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(never(Refusal::TooLarge));
    }
    if text.chars().any(char::is_control) { Err(never(Refusal::BadText)) } else { Ok(()) }
}

/// The acts of one tick, on their way to offsets.
struct Sealing {
    alias: Alias,
    epoch: u64,
    acts: Vec<SealedAct>,
    answers: Vec<(ReplyTo, AnswerKind)>,
}

impl Sealing {
    fn resolve(&mut self, live: &mut Live, log: &dyn Log, oldest: u64) {
        let Some(mut moderation) = live.moderation.take() else { return };
        for (key, value) in moderation.removals.forget_before(oldest) {
            live.state.hide(key, value);
        }
        for (key, value) in moderation.reports.forget(|offset| offset < oldest) {
            live.state.hide(key, value);
        }
        for act in std::mem::take(&mut moderation.waiting) {
            let (mut offset, mut count) = (None, act.count);
            if let Some(scope) = &act.scope {
                let at = live.next_offset + self.acts.len() as u64;
                let (removal, runs) = self.removal(scope, live, log, at);
                count = moderation.removals.new_in(&runs);
                if count > 0 {
                    offset = Some(at);
                    for (key, value) in moderation.removals.act(at, &removal, &runs) {
                        live.state.hide(key, value);
                    }
                    let removals = &moderation.removals;
                    for (key, value) in moderation.reports.forget(|offset| removals.covers(offset, "")) {
                        live.state.hide(key, value);
                    }
                    self.acts.push(SealedAct { note: act.note, removal });
                }
            }
            let (request, epoch) = (act.request, self.epoch);
            self.answers.push((act.from, AnswerKind::Acted { request, epoch, offset, count }));
        }
        live.moderation = Some(moderation);
    }

    /// The removal, and the runs that it covers, the newest first.
    fn removal(&self, scope: &Scope, live: &Live, log: &dyn Log, at: u64) -> (Removed, Vec<(u64, u64)>) {
        match *scope {
            Scope::One(offset) => (Removed::One(offset), vec![(offset, offset + 1)]),
            Scope::All(from) => (Removed::All(from), vec![(from, at.max(from))]),
            Scope::Of(author, from) => {
                let said = live.authors.said_by(author, from);
                let names = said.names.iter().map(|&offset| name_at(log, self.alias, offset));
                let names: Option<Vec<Box<str>>> = names.collect();
                let names = names.filter(|_| !said.is_vague && said.others.len() < said.runs.len());
                let removed = match names {
                    Some(names) => Removed::Names { from, names, but: said.others },
                    None => Removed::Runs(said.runs.clone()),
                };
                (removed, said.runs)
            }
        }
    }
}

/// The name under which the message at an offset was said.
fn name_at(log: &dyn Log, alias: Alias, offset: u64) -> Option<Box<str>> {
    let batch = log.read_full(alias, offset, 1, 1).into_iter().next()?;
    name_in(&batch, offset)
}

/// The name under which the message at an offset was said, in the batch that has it.
fn name_in(batch: &Arc<Batch>, offset: u64) -> Option<Box<str>> {
    names_in(batch.first_offset, &batch.wire, |at, name| (at == offset).then(|| name.into()))
}

/// Call `take` with the offset and the name of each message of a batch, until it returns something.
pub(super) fn names_in<T>(
    first_offset: u64,
    wire: &[u8],
    mut take: impl FnMut(u64, &str) -> Option<T>,
) -> Option<T> {
    let (header, _) = stream::read_header(wire, usize::MAX).ok()??;
    let mut reader = BatchReader::new(wire.get(header + 1..)?).ok()?;
    let mut offset = first_offset;
    while let Some(item) = reader.next_item().ok()? {
        let skip = match &item {
            Item::Message(m) => m.skip,
            Item::Removed(skip) => *skip,
            Item::Act(act) => act.skip,
            _ => break,
        };
        offset += skip;
        if let Item::Message(m) = &item
            && let Some(taken) = take(offset, m.author)
        {
            return Some(taken);
        }
        offset += 1;
    }
    None
}

/// Who said the last messages of a room that came back, by the nonces and the batches that came with it.
pub(super) fn restore_authors<'b>(
    live: &mut Live,
    nonces: &[StoredNonce],
    batches: impl Iterator<Item = &'b (Arc<Batch>, Option<Bytes>)>,
) {
    let mut names: Vec<(u64, Box<str>)> = Vec::new();
    for (batch, full) in batches {
        let note = |offset, name: &str| {
            names.push((offset, name.into()));
            None::<()>
        };
        names_in(batch.first_offset, full.as_ref().unwrap_or(&batch.wire), note);
    }
    let users = nonces.iter().map(|nonce| nonce.user);
    live.authors.restore(live.next_offset, users, names.iter().map(|(offset, name)| (*offset, &**name)));
}
