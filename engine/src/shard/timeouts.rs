//! A shard's turns: what happens because time passed, or must happen at once.
//!
//! Invariant: a room that is due is brought on (sealed, counted, removed) so that it is not due at the same
//! time again.
//! Not here: what a batch looks like (`seal`).

use bytes::Bytes;
use grandstand_protocol::frame;

use super::Shard;
use super::outbox::Outbox;
use crate::link::{Alias, Answer, AnswerKind, Now, Output, Personal, Publication, WorkerId};
use crate::log::{BatchEntry, Entry};
use crate::room::pacing::{Fate, Pacing};
use crate::room::seal::{self, Lanes, Said, Sealed};
use crate::room::state::{VIEWERS_KEY, Waiter};
use crate::room::{Keeping, Origin};

impl Shard {
    /// Do what is due by now.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(slot) = self.timers.due(now.us) {
            self.publish_viewers(slot, now);
            self.seal_if_due(slot, now);
            self.end_if_idle(slot, now);
            self.arm(slot);
        }
        self.pending_acks.handle_timeout(now, &mut self.outbox);
        self.end_late_reads(now.us);
    }

    /// Seal everything that waits, whatever the tick: the node is about to stop.
    pub fn handle_shutdown(&mut self, now: Now) {
        let slots: Vec<u32> = self.rooms.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.seal_now(slot, now);
        }
    }

    /// A worker is gone: it follows nothing any more.
    pub fn handle_worker_gone(&mut self, now: Now, worker: WorkerId) {
        let slots: Vec<u32> = self.rooms.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.detach(now, worker, self.alias(slot));
        }
    }

    /// Seal a room at once, if anything waits in it.
    pub(super) fn seal_now(&mut self, slot: u32, now: Now) {
        let live = self.rooms.get(slot).and_then(|room| room.live.as_ref());
        if live.is_some_and(|live| live.seal_due_us.is_some()) {
            self.seal(slot, now);
            self.arm(slot);
        }
    }

    fn publish_viewers(&mut self, slot: u32, now: Now) {
        let Some(live) = self.rooms.get_mut(slot).and_then(|room| room.live.as_mut()) else { return };
        let due_us = live.viewers.due_us(self.config.viewers_every_ms.saturating_mul(1000));
        if due_us.is_some_and(|us| us <= now.us) {
            let count = live.viewers.publish(now.us).to_string();
            let set =
                live.state.set(VIEWERS_KEY.into(), Some(Bytes::from(count)), self.config.state_keys_max);
            set.expect("the viewer count is not one of the keys that are bounded");
            live.plan_seal(now.us, &self.config, &mut self.ticks);
        }
    }

    fn seal_if_due(&mut self, slot: u32, now: Now) {
        let live = self.rooms.get(slot).and_then(|room| room.live.as_ref());
        if live.and_then(|live| live.seal_due_us).is_some_and(|us| us <= now.us) {
            self.seal(slot, now);
        }
    }

    /// Seal what waits into one batch, or into as many as the bound of a batch needs; append, send, answer
    /// what was not.
    fn seal(&mut self, slot: u32, now: Now) {
        let alias = self.alias(slot);
        let room = self.rooms.get_mut(slot).expect("only rooms seal");
        let (durability, is_kept, name) = (room.durability(), room.is_on_disk(), room.name.clone());
        if room.keeping == Keeping::Unannounced {
            room.keeping = Keeping::Disk;
            self.pending_acks.push(Entry::Room(room.entry()));
        }
        let pacing_per_s = room.pace(now, &self.config, self.seed);
        let (epoch, live) = (room.epoch, room.live.as_mut().expect("only live rooms seal"));
        (live.seal_due_us, live.sealed_us) = (None, Some(now.us));
        let now = Now { unix_ms: now.unix_ms.max(live.accepted_ms), ..now };
        let (messages, repeats) = live.chat.take();
        let published = |nonce, offset, time_ms, repeated| AnswerKind::Published {
            nonce,
            epoch,
            offset,
            time_ms,
            durability,
            repeated,
        };
        let fates = pacing_per_s
            .zip(live.pacing.as_mut())
            .and_then(|(per_s, pacing)| self.selector.select(pacing, &messages, now.us, per_s));
        self.counters.count_fates(messages.len(), fates);
        let first_offset = live.next_offset;
        let mut rest = &messages[..];
        let mut rest_fates = fates;
        loop {
            let fitting = seal::fitting(rest, self.config.batch_bytes_max);
            let (now_sealed, later) = rest.split_at(fitting);
            let said = Said { messages: now_sealed, fates: rest_fates.map(|fates| &fates[..fitting]) };
            rest_fates = rest_fates.map(|fates| &fates[fitting..]);
            let lanes =
                if later.is_empty() { Lanes::All { tally_top: self.config.tally_top } } else { Lanes::Chat };
            let state = if is_kept && later.is_empty() { live.state.to_keep() } else { None };
            let Sealed { batch, full, waiters } =
                self.sealer.seal((alias, epoch), live, said, now.unix_ms, lanes);
            if is_kept && (batch.has_chat() || state.is_some()) {
                let nonces = now_sealed.iter().map(|p| (p.user, p.nonce)).collect();
                let (room, batch, full) = (name.clone(), batch.clone(), full.clone());
                self.pending_acks.push_batch(slot, BatchEntry { room, epoch, batch, full, nonces, state });
                live.disk.unsynced += 1;
            }
            self.log.append(alias, epoch, &batch, full);
            self.counters.batches_sealed += 1;
            self.counters.bytes_sealed += batch.wire.len() as u64;
            for worker in live.viewers.followers() {
                self.outbox.push(worker, Output::Batch { alias, batch: batch.clone() });
            }
            let unanswered = if is_kept { now_sealed } else { &[] };
            for (offset, p) in (batch.first_offset..).zip(unanswered) {
                let kind = published(p.nonce, offset, batch.time_ms, false);
                self.pending_acks.answer(now, p.worker, answer_to(p, kind), &mut self.outbox);
            }
            for Waiter { worker, connection, request, version } in waiters {
                let answer = Answer { connection, kind: AnswerKind::StateSet { request, version } };
                if is_kept {
                    self.pending_acks.answer(now, worker, answer, &mut self.outbox);
                } else {
                    self.outbox.answer(worker, answer);
                }
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        if let (Some(pacing), Some(_)) = (live.pacing.as_mut(), pacing_per_s) {
            let tick =
                PacedTick { alias, epoch, first_offset, time_ms: live.time_ms, messages: &messages, fates };
            let personals = tick.personals(pacing, &mut self.sealer.encoder, &mut self.outbox);
            self.counters.personals += personals;
        }
        self.counters.publications_repeated += repeats.len() as u64;
        for repeat in repeats {
            let kind = published(repeat.nonce, repeat.offset, live.time_ms, true);
            let answer = Answer { connection: repeat.connection, kind };
            self.pending_acks.answer(now, repeat.worker, answer, &mut self.outbox);
        }
    }

    fn end_if_idle(&mut self, slot: u32, now: Now) {
        let Some(room) = self.rooms.get(slot) else { return };
        if room.idle_due_us(&self.config).is_none_or(|us| us > now.us) {
            return;
        }
        match room.origin {
            _ if room.is_on_disk() && !room.is_forgettable() => self.make_dormant_on_disk(slot),
            Origin::FirstUse => self.remove(slot, now),
            Origin::Operator => self.make_dormant(slot, now),
        }
    }

    /// Forget a room: seal what waits, tell who follows, free the slot.
    pub(super) fn remove(&mut self, slot: u32, now: Now) {
        self.seal_now(slot, now);
        let alias = self.alias(slot);
        let Some(mut room) = self.rooms.remove(slot, now.us) else { return };
        if let Some(live) = room.live.take() {
            self.timers.arm(slot, live.armed_us, None);
            for worker in live.viewers.followers() {
                self.outbox.push(worker, Output::Removed { alias });
            }
        }
        if room.keeping == Keeping::Disk {
            self.pending_acks.push(Entry::Removed { room: room.name, epoch: room.epoch });
        }
        self.log.remove(alias);
        self.counters.rooms_removed += 1;
    }

    /// Nobody is there and nobody ever spoke: keep the room, and nothing else. Its sequence begins anew, and
    /// so its epoch.
    fn make_dormant(&mut self, slot: u32, now: Now) {
        let alias = self.alias(slot);
        let epoch = self.epochs.make(now.unix_ms);
        let room = self.rooms.get_mut(slot).expect("only rooms go dormant");
        if let Some(live) = room.live.take() {
            self.timers.arm(slot, live.armed_us, None);
            room.epoch = epoch;
        }
        self.log.remove(alias);
    }
}

/// What a paced room sealed in one tick.
struct PacedTick<'a> {
    alias: Alias,
    epoch: u64,
    first_offset: u64,
    time_ms: u64,
    messages: &'a [Box<Publication>],
    fates: Option<&'a [Fate]>,
}

impl PacedTick<'_> {
    /// Remember who spoke, and send what is left out to those whom it means: how many frames.
    fn personals(&self, pacing: &mut Pacing, encoder: &mut frame::Encoder, outbox: &mut Outbox) -> u64 {
        let mut sent = 0;
        for p in self.messages {
            let author = pacing.author(p);
            pacing.mentions.note_speaker(author, p);
        }
        for (at, (offset, p)) in (self.first_offset..).zip(self.messages).enumerate() {
            let author = pacing.author(p);
            let is_left_out = match self.fates.map(|fates| fates[at]) {
                None | Some(Fate::Shown { .. }) => false,
                Some(Fate::Folded) => continue,
                Some(Fate::Omitted) => true,
            };
            if is_left_out {
                let meant = pacing.mentions.meant_by(p);
                if meant.is_empty() {
                    continue;
                }
                let wire = encoder.server_framed(&frame::ServerFrame::Personal(self.frame(p, offset)));
                for address in meant {
                    let (alias, connection, wire) = (self.alias, address.connection, wire.clone());
                    outbox.address(address.worker, Personal { alias, connection, wire });
                    sent += 1;
                }
            }
            pacing.mentions.note_said(offset, author);
        }
        sent
    }

    fn frame<'a>(&self, p: &'a Publication, offset: u64) -> frame::Personal<'a> {
        frame::Personal {
            alias: self.alias.0,
            epoch: self.epoch,
            offset,
            time_ms: self.time_ms,
            author: &p.author,
            role: p.role,
            text: &p.text,
            attachment: &p.attachment,
            reply_to: p.reply_to.filter(|&to| to < offset),
        }
    }
}

fn answer_to(p: &Publication, kind: AnswerKind) -> Answer {
    Answer { connection: p.connection, kind }
}
