//! What people do in a room: publish, react, and set its state.
//!
//! Invariant: each publication and each change of state is answered exactly once.
//! Not here: the judgement of a publication (`room::judge`), sealing (`timeouts`), answers that wait for the
//! durable log (`pending_acks`).

use bytes::Bytes;
use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;

use super::Shard;
use crate::link::{Alias, Answer, AnswerKind, ConnectionToken, Now, Publication, WorkerId};
use crate::log::Unavailable;
use crate::room::judge::{self, Verdict};
use crate::room::state::{RESERVED_PREFIX, Waiter};

/// Why not, and when it may be worth another try.
type Refused = (Refusal, Option<u32>);

impl Shard {
    pub(super) fn publish(&mut self, now: Now, p: Box<Publication>) {
        let (worker, connection, nonce) = (self.known(p.worker), p.connection, p.nonce);
        let Some(slot) = self.slot(p.alias) else {
            return self.refuse_publication(worker, connection, nonce, Refusal::UnknownRoom, None);
        };
        let room = self.rooms.get_mut(slot).expect("just found");
        let (phase, epoch, durability, at_once) =
            (room.phase, room.epoch, room.durability(), !room.is_on_disk());
        let live = room.wake(now, &self.config, self.seed);
        let published = |offset, time_ms, durability, repeated| Answer {
            connection,
            kind: AnswerKind::Published { nonce, epoch, offset, time_ms, durability, repeated },
        };
        match judge::judge(live, phase, &p, now, at_once, &self.config) {
            Verdict::Accepted if !at_once && self.pending_acks.check().is_err() => {
                self.refuse_for_disk(worker, connection, nonce);
            }
            Verdict::Accepted => {
                let offset = live.free_offset();
                live.nonces.take(p.user, nonce, offset, now.us);
                live.slow_mode.spoke(p.user, now.us);
                live.chat.push(p);
                live.active_us = now.us;
                live.plan_seal(now.us, &self.config, &mut self.ticks);
                self.counters.publications_accepted += 1;
                if at_once {
                    let time_ms = live.accept_ms(now.unix_ms);
                    self.outbox.answer(worker, published(offset, time_ms, durability, false));
                }
            }
            Verdict::Waits { offset } if at_once => {
                let time_ms = live.accept_ms(now.unix_ms);
                self.counters.publications_repeated += 1;
                self.outbox.answer(worker, published(offset, time_ms, durability, true));
            }
            Verdict::Waits { offset } => live.chat.repeat(offset, &p),
            Verdict::Repeated { offset, .. }
                if live.disk.is_on_its_way(offset) && self.pending_acks.is_full() && !at_once =>
            {
                self.refuse_for_disk(worker, connection, nonce);
            }
            Verdict::Repeated { offset, time_ms } => {
                self.counters.publications_repeated += 1;
                let durability = if at_once { durability } else { live.disk.durability_of(offset) };
                let answer = published(offset, time_ms, durability, true);
                if !at_once && live.disk.is_on_its_way(offset) {
                    self.pending_acks.answer(now, worker, answer, &mut self.outbox);
                } else {
                    self.outbox.answer(worker, answer);
                }
            }
            Verdict::Refused { reason, retry_after_ms } => {
                self.refuse_publication(worker, connection, nonce, reason, retry_after_ms);
            }
        }
        self.arm(slot);
    }

    fn refuse_for_disk(&mut self, worker: WorkerId, connection: ConnectionToken, nonce: u64) {
        let retry_after_ms = Some(self.pending_acks.retry_after_ms());
        self.refuse_publication(worker, connection, nonce, Refusal::StorageUnavailable, retry_after_ms);
    }

    fn refuse_publication(
        &mut self,
        worker: WorkerId,
        connection: ConnectionToken,
        nonce: u64,
        reason: Refusal,
        retry_after_ms: Option<u32>,
    ) {
        self.counters.refuse_publication(reason);
        let kind = AnswerKind::PublishRefused { nonce, reason, retry_after_ms };
        self.outbox.answer(worker, Answer { connection, kind });
    }

    pub(super) fn react(&mut self, now: Now, alias: Alias, tallies: Vec<(Box<str>, u64)>) {
        let open =
            self.slot(alias).filter(|&slot| self.rooms.get(slot).is_some_and(|r| r.phase != Phase::Closed));
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
        self.arm(slot);
    }

    pub(super) fn set_state(
        &mut self,
        now: Now,
        (worker, connection, request): (WorkerId, ConnectionToken, u32),
        alias: Alias,
        key: Box<str>,
        value: Option<Bytes>,
    ) {
        match self.try_set_state(now, alias, key, value) {
            Ok((slot, version)) => {
                let room = self.rooms.get_mut(slot).expect("just set");
                let is_on_disk = room.is_on_disk();
                let live = room.live.as_mut().expect("just set");
                let answer = Answer { connection, kind: AnswerKind::StateSet { request, version } };
                if live.state.is_changed() {
                    live.state.wait(Waiter { worker, connection, request, version });
                } else if is_on_disk && live.disk.unsynced > 0 {
                    self.pending_acks.answer(now, worker, answer, &mut self.outbox);
                } else {
                    self.outbox.answer(worker, answer);
                }
                self.arm(slot);
            }
            Err((reason, retry_after_ms)) => {
                self.counters.state_refused += 1;
                let kind = AnswerKind::StateRefused { request, reason, retry_after_ms };
                self.outbox.answer(worker, Answer { connection, kind });
            }
        }
    }

    fn try_set_state(
        &mut self,
        now: Now,
        alias: Alias,
        key: Box<str>,
        value: Option<Bytes>,
    ) -> Result<(u32, u64), Refused> {
        let slot = self.slot(alias).ok_or((Refusal::UnknownRoom, None))?;
        if key.starts_with(RESERVED_PREFIX) {
            return Err((Refusal::Forbidden, None));
        }
        Ok((slot, self.change_state(now, slot, key, value)?))
    }

    /// Change a room's state; the version of the change.
    pub(super) fn change_state(
        &mut self,
        now: Now,
        slot: u32,
        key: Box<str>,
        value: Option<Bytes>,
    ) -> Result<u64, Refused> {
        let never = |reason| (reason, None);
        rules::check_state(&key, value.as_deref(), self.config.state_value_bytes_max).map_err(never)?;
        let room = self.rooms.get_mut(slot).ok_or((Refusal::UnknownRoom, None))?;
        if room.is_on_disk() {
            let later = |u: Unavailable| (Refusal::StorageUnavailable, Some(u.retry_after_ms));
            self.pending_acks.check().map_err(later)?;
        }
        let live = room.wake(now, &self.config, self.seed);
        if live.state.waiting() >= self.config.pending_messages_max {
            return Err((Refusal::Overloaded, None));
        }
        let version = live.state.set(key, value, self.config.state_keys_max).map_err(never)?;
        self.counters.state_changes += 1;
        live.active_us = now.us;
        if live.state.is_changed() {
            live.plan_seal(now.us, &self.config, &mut self.ticks);
        }
        Ok(version)
    }
}
