//! Publishing: a shard's handling of publications, reactions and state changes.
//!
//! Invariant: each publication and each change of state is answered exactly once.
//! Not here: the judgement of a publication (`room::judge`), sealing (`timeouts`), answers that wait for the
//! durable log (`pending_acks`).

use bytes::Bytes;
use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;
use grandstand_protocol::text::guest_name;

use super::Shard;
use super::filtering::{self, Filtered};
use super::pending_acks::AckPolicy;
use crate::link::{Alias, AnswerKind, Now, Publication, ReplyTo, StateChange};
use crate::log::Unavailable;
use crate::room::judge::{self, Verdict};
use crate::room::state::{RESERVED_PREFIX, Waiter};

/// The reason of a refusal, and when a retry may succeed.
pub(super) type Refused = (Refusal, Option<u32>);

impl Shard {
    pub(super) fn publish(&mut self, now: Now, mut p: Box<Publication>) {
        let (from, nonce) = (p.from, p.nonce);
        let Some(slot) = self.rooms.slot(p.alias) else {
            return self.refuse_publication(from, nonce, (Refusal::UnknownRoom, None));
        };
        let room = self.rooms.get_mut(slot).expect("just found");
        let (phase, policy) = (room.phase, AckPolicy::of(room));
        let lists = self.config.filter.current().map(|filter| (filter, room.name.clone()));
        let live = room.wake(now, &self.config, self.seed);
        let verdict = judge::judge(live, phase, &p, now, !policy.waits, &self.config);
        match verdict {
            Verdict::Accepted | Verdict::Shadowed if policy.waits && self.acks.check().is_err() => {
                let later = Some(self.acks.retry_after_ms());
                self.refuse_publication(from, nonce, (Refusal::StorageUnavailable, later));
            }
            Verdict::Accepted | Verdict::Shadowed => {
                // A retry has the text as it was written.
                let content = live.nonces.content_of(&p);
                let lists = lists.filter(|_| verdict == Verdict::Accepted);
                let filtered = lists.map_or(Filtered::Through, |(lists, room)| {
                    filtering::filter(&lists, &room, &mut p, &mut self.scratch)
                });
                if let Filtered::Refused(reason) = filtered {
                    self.refuse_publication(from, nonce, (reason, None));
                    return self.rooms.arm(slot, &self.config);
                }
                self.counters.publications_masked += u64::from(filtered == Filtered::Masked);
                let offset = live.free_offset();
                if let Some(moderation) = live.moderation.as_mut().filter(|_| verdict == Verdict::Shadowed) {
                    moderation.shadowed.push(offset);
                } else if let Some(modes) = &mut live.modes {
                    modes.note(&p, now.us);
                }
                live.nonces.take((p.user, nonce), content, offset, now.us);
                live.slow_mode.spoke(judge::names(&p), now.us);
                if p.role.keeps_its_name() {
                    live.staff.spoke(&p.author, p.user, now.us);
                } else if live.staff.is_imitated_by(&p.author, (!p.exempt).then_some(p.user), now.us) {
                    p.author = guest_name(p.user.0);
                }
                live.authors.note(offset, &p);
                live.chat.push(p);
                live.active_us = now.us;
                live.plan_seal(now.us, &self.config, &mut self.ticks);
                self.counters.publications_accepted += 1;
                if !policy.waits {
                    let time_ms = live.accept_ms(now.unix_ms);
                    self.outbox.answer(from, policy.published(nonce, offset, time_ms, false));
                }
            }
            Verdict::Waits { offset } if policy.waits => live.chat.repeat(offset, &p),
            Verdict::Waits { offset } => {
                let time_ms = live.accept_ms(now.unix_ms);
                self.counters.publications_repeated += 1;
                self.outbox.answer(from, policy.published(nonce, offset, time_ms, true));
            }
            Verdict::Repeated { offset, time_ms } => {
                let waits = policy.waits && live.disk.is_on_its_way(offset);
                if waits && self.acks.is_full() {
                    let later = Some(self.acks.retry_after_ms());
                    self.refuse_publication(from, nonce, (Refusal::StorageUnavailable, later));
                } else {
                    self.counters.publications_repeated += 1;
                    let was_logged = policy.waits && !live.disk.is_before(offset);
                    let policy = if was_logged { policy } else { policy.of_memory() };
                    let answer = policy.published(nonce, offset, time_ms, true);
                    self.acks.answer(now, waits, from, answer, &mut self.outbox);
                }
            }
            Verdict::Refused { reason, retry_after_ms } => {
                self.refuse_publication(from, nonce, (reason, retry_after_ms));
            }
        }
        self.rooms.arm(slot, &self.config);
    }

    fn refuse_publication(&mut self, to: ReplyTo, nonce: u64, (reason, retry_after_ms): Refused) {
        self.counters.refuse_publication(reason);
        self.outbox.answer(to, AnswerKind::PublishRefused { nonce, reason, retry_after_ms });
    }

    pub(super) fn react(&mut self, now: Now, alias: Alias, tallies: Vec<(Box<str>, u64)>) {
        let slot = self.rooms.slot(alias);
        let open = slot.filter(|&slot| self.rooms.get(slot).is_some_and(|r| r.phase != Phase::Closed));
        let Some(slot) = open else {
            self.counters.reactions_refused += tallies.iter().map(|(_, n)| n).sum::<u64>();
            return;
        };
        let live = self.rooms.get_mut(slot).expect("just found").wake(now, &self.config, self.seed);
        for (key, count) in tallies {
            if count > 0 && rules::is_reaction_key(&key) {
                live.tallies.add(key, count, self.config.tally_keys_max);
                self.counters.reactions += count;
            } else {
                self.counters.reactions_refused += count;
            }
        }
        if !live.tallies.is_empty() {
            live.active_us = now.us;
            live.plan_seal(now.us, &self.config, &mut self.ticks);
        }
        self.rooms.arm(slot, &self.config);
    }

    pub(super) fn set_state(&mut self, now: Now, change: StateChange) {
        let StateChange { from, request, alias, key, value } = change;
        let set = match self.rooms.slot(alias) {
            None => Err((Refusal::UnknownRoom, None)),
            Some(_) if key.starts_with(RESERVED_PREFIX) => Err((Refusal::Forbidden, None)),
            Some(slot) => self.change_state(now, slot, key, value, false).map(|version| (slot, version)),
        };
        match set {
            Ok((slot, version)) => {
                let room = self.rooms.get_mut(slot).expect("just set");
                let (is_on_disk, is_in_log) = (room.is_on_disk(), room.is_in_log());
                let live = room.live.as_mut().expect("just set");
                if live.state.is_changed() {
                    live.state.wait(Waiter { from, request, version });
                } else {
                    let waits = if is_on_disk { live.disk.unsynced > 0 } else { is_in_log };
                    let answer = AnswerKind::StateSet { request, version };
                    self.acks.answer(now, waits, from, answer, &mut self.outbox);
                }
                self.rooms.arm(slot, &self.config);
            }
            Err((reason, retry_after_ms)) => {
                self.counters.state_refused += 1;
                self.outbox.answer(from, AnswerKind::StateRefused { request, reason, retry_after_ms });
            }
        }
    }

    /// Change a room's state. Returns the version of the change. Operators have a part of the bytes of all
    /// states for themselves.
    pub(super) fn change_state(
        &mut self,
        now: Now,
        slot: u32,
        key: Box<str>,
        value: Option<Bytes>,
        is_operators: bool,
    ) -> Result<u64, Refused> {
        let never = |reason| (reason, None);
        rules::check_state(&key, value.as_deref(), self.config.state_value_bytes_max).map_err(never)?;
        let room = self.rooms.get_mut(slot).ok_or((Refusal::UnknownRoom, None))?;
        if room.is_in_log() {
            let later = |u: Unavailable| (Refusal::StorageUnavailable, Some(u.retry_after_ms));
            self.acks.check().map_err(later)?;
        }
        let live = room.wake(now, &self.config, self.seed);
        if live.state.waiting() >= self.config.pending_messages_max {
            return Err((Refusal::Overloaded, None));
        }
        let (before, after) = (live.state.bytes(), live.state.bytes_with(&key, value.as_deref()));
        if after > before && after > self.config.state_bytes_max {
            return Err((Refusal::TooLarge, None));
        }
        let total = self.state_bytes - before + after;
        let total_max = if is_operators { self.state_bytes_max } else { self.state_bytes_max / 10 * 9 };
        if after > before && total > total_max {
            return Err((Refusal::Overloaded, None));
        }
        let version = live.state.set(key, value, self.config.state_keys_max).map_err(never)?;
        self.state_bytes = self.state_bytes - before + live.state.bytes();
        self.counters.state_changes += 1;
        live.active_us = now.us;
        if live.state.is_changed() {
            live.plan_seal(now.us, &self.config, &mut self.ticks);
        }
        Ok(version)
    }
}
