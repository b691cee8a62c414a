//! Acts: a shard's handling of what moderators do.
//!
//! Why they wait for the seal: an act takes effect within a tick, in the same order for everybody, and many
//! of them cost one batch.
//! Invariants: every act is answered exactly once, after its batch has left. What it changes in the hidden
//! state goes into the log with its batch, as one entry. It takes its offset after the messages of its tick.
//! Not here: what an act means (`moderation`), the batch (`room::seal`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::batch::{BatchReader, Item};
use grandstand_protocol::frame::ActKind;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream;

use super::Shard;
use super::publish::Refused;
use crate::link::{ActRequest, Alias, AnswerKind, Batch, Now, Output, ReplyTo, UserId};
use crate::log::{BatchEntry, Entry, Log, StoredNonce};
use crate::moderation::{Scope, Waiting};
use crate::room::Live;
use crate::room::removals::Removed;
use crate::room::seal::{Lanes, Sealed, SealedAct};
use crate::room::state::Waiter;

/// Acts that may wait in one room for a seal.
const WAITING_MAX: usize = 256;

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
        let never = |reason| (reason, None);
        let slot = self.0.rooms.slot(request.alias).ok_or(never(Refusal::UnknownRoom))?;
        let room = self.0.rooms.get_mut(slot).expect("just found");
        if !request.by.may_moderate && !request.act.is_for_everybody() {
            return Err(never(Refusal::Forbidden));
        }
        if room.is_in_log() {
            self.0.acks.check().map_err(|later| (Refusal::StorageUnavailable, Some(later.retry_after_ms)))?;
        }
        let (epoch, oldest) = (room.epoch, room.disk().map(|disk| disk.oldest_offset));
        let live = room.wake(now, &self.0.config, self.0.seed);
        let oldest = self.0.log.oldest_offset(request.alias).into_iter().chain(oldest).min();
        let kept = oldest.unwrap_or(live.next_offset)..live.free_offset();
        let target = || {
            if request.epoch != 0 && request.epoch != epoch {
                return Err(never(Refusal::UnknownEpoch));
            }
            let target = request.target.ok_or(never(Refusal::TooOld))?;
            if kept.contains(&target) { Ok(target) } else { Err(never(Refusal::TooOld)) }
        };
        let since = |seconds: u32, first: u64| match seconds {
            0 => first,
            seconds => {
                let ms = now.unix_ms.saturating_sub(u64::from(seconds) * 1000);
                self.0.log.offset_since(request.alias, ms).unwrap_or(live.next_offset).max(first)
            }
        };
        let scope = match request.act {
            ActKind::Remove => Scope::One(target()?),
            ActKind::RemoveAuthor => {
                let author = live.authors.get(target()?).ok_or(never(Refusal::TooOld))?;
                Scope::Of(author, since(request.seconds, live.authors.first_offset()))
            }
            ActKind::Clear => Scope::All(since(request.seconds, kept.start)),
            _ => return Err(never(Refusal::Forbidden)),
        };
        let moderation = live.moderation.get_or_insert_default();
        if moderation.waiting.len() >= WAITING_MAX {
            return Err((Refusal::Overloaded, Some(live.tick_us.div_ceil(1000) as u32)));
        }
        if moderation.removals.is_full() && request.act != ActKind::Clear {
            return Err(never(Refusal::TooManyKeys));
        }
        moderation.waiting.push(Waiting {
            from: request.from,
            request: request.request,
            by: request.by,
            note: request.text,
            scope: Some(scope),
        });
        live.active_us = now.us;
        live.plan_seal(now.us, &self.0.config, &mut self.0.ticks);
        Ok(slot)
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
        for act in std::mem::take(&mut moderation.waiting) {
            let (mut offset, mut count) = (None, 0);
            if let Some(scope) = &act.scope {
                let at = live.next_offset + self.acts.len() as u64;
                let (removal, runs) = self.removal(scope, live, log, at);
                count = moderation.removals.new_in(&runs);
                if count > 0 {
                    offset = Some(at);
                    for (key, value) in moderation.removals.act(at, &removal, &runs) {
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
                let names = said.names.iter().map(|&offset| self.name_at(log, offset));
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

    /// The name under which the message at an offset was said.
    fn name_at(&self, log: &dyn Log, offset: u64) -> Option<Box<str>> {
        let batch = log.read_full(self.alias, offset, 1, 1).into_iter().next()?;
        name_in(&batch, offset)
    }
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
