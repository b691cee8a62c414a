//! Timeouts: a shard's actions that are due, and those that must happen at once.
//!
//! Invariant: the handling of a due room (seal, count, remove) changes the time at which it is due, so no
//! room is due twice at the same time.
//! Not here: the contents of a batch (`seal`).

use bytes::Bytes;
use grandstand_protocol::frame;

use super::acts::Acts;
use super::history::Past;
use super::outbox::Outbox;
use super::pending_acks::AckPolicy;
use super::shows::Shows;
use super::{Followed, Shard};
use crate::link::{Alias, AnswerKind, Now, Opener, Output, Personal, Publication, WorkerId};
use crate::log::{BatchEntry, Entry};
use crate::room::pacing::{Fate, Pacing};
use crate::room::seal::{self, Lanes, Said, Sealed};
use crate::room::state::{VIEWERS_KEY, Waiter};
use crate::room::{Live, Origin, Room};

/// Bytes of a dormant room's newest batches: some dozens of messages for the next viewer.
const DORMANT_BYTES_MAX: usize = 16 << 10;

impl Shard {
    /// Do everything that is due now.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(slot) = self.rooms.due(now.us) {
            Due(self).publish_viewers(slot, now);
            Due(self).seal_if_due(slot, now);
            Due(self).follow_show_if_due(slot, now);
            Due(self).end_if_idle(slot, now);
            self.rooms.arm(slot, &self.config);
        }
        self.acks.handle_timeout(now, &mut self.outbox);
        let past = Past { rooms: &self.rooms, log: &*self.log };
        self.pages.end_late(now.us, past, &mut self.outbox);
    }

    /// The node is about to stop: seal everything that waits, whatever the tick.
    pub fn handle_shutdown(&mut self, now: Now) {
        for slot in self.rooms.slots() {
            self.seal_now(slot, now);
        }
    }

    /// Another owner is to take the shard: seal everything that waits, and take no more inputs. The log is
    /// told the present end of each room whose chat it does not keep, so that no offset is given twice.
    pub fn handle_handing(&mut self, now: Now) {
        self.handle_shutdown(now);
        if self.acks.keeps_heads() {
            let is_new = |room: &Room| !room.keeping.is_announced() && room.is_worth_announcing();
            let is_due = |room: &Room| is_new(room) || room.is_ahead_of_head();
            let rooms = self.rooms.iter().filter(|(_, room)| is_due(room));
            let slots: Vec<u32> = rooms.map(|(slot, _)| slot).collect();
            slots.into_iter().for_each(|slot| self.announce(slot));
        }
        self.is_handing = true;
    }

    /// Whether the handing over is complete: the log has everything, every answer was given, and every output
    /// was taken.
    pub fn is_handed(&self) -> bool {
        self.is_handing && self.is_flushed() && self.outbox.is_empty()
    }

    /// The followed rooms, which a seat tells the next owner.
    pub fn followed(&self) -> Vec<Followed> {
        let live = self.rooms.iter().filter_map(|(_, room)| Some((room, room.live.as_deref()?)));
        let followed = live.filter(|(_, live)| !live.viewers.is_unfollowed());
        let one = |(room, live): (&Room, &Live)| Followed {
            room: room.name.clone(),
            followers: live.viewers.members().collect(),
        };
        followed.map(one).collect()
    }

    /// The rooms that workers followed under the previous owner. Each worker gets `Attached` again if the
    /// room exists.
    pub fn handle_followed(&mut self, now: Now, followed: &Followed) {
        for &(worker, members) in &followed.followers {
            self.attach(now, worker, followed.room.clone(), Opener::UNKNOWN, None);
            if let Some(slot) = self.rooms.find(&followed.room) {
                self.viewers(now, worker, self.rooms.alias(slot), members);
            }
        }
    }

    /// A worker is gone: remove it from every room.
    pub fn handle_worker_gone(&mut self, now: Now, worker: WorkerId) {
        for slot in self.rooms.slots() {
            self.detach(now, worker, self.rooms.alias(slot));
        }
        self.ticks.forget(worker);
    }

    /// Seal a room at once, if anything waits in it.
    pub(super) fn seal_now(&mut self, slot: u32, now: Now) {
        let live = self.rooms.get(slot).and_then(|room| room.live.as_ref());
        if live.is_some_and(|live| live.seal_due_us.is_some()) {
            self.seal(slot, now);
            self.rooms.arm(slot, &self.config);
        }
    }

    /// Seal what waits into one batch, or into as many as the bound of a batch needs. Append the batches,
    /// send them, and answer what was not answered yet.
    fn seal(&mut self, slot: u32, now: Now) {
        let alias = self.rooms.alias(slot);
        let room = self.rooms.get(slot).expect("only rooms seal");
        let (policy, name) = (AckPolicy::of(room), room.name.clone());
        let (is_kept, keeps_state) = (policy.waits, room.is_in_log());
        if keeps_state && !room.keeping.is_announced() && room.must_announce(self.acks.check().is_ok()) {
            self.announce(slot);
        }
        let room = self.rooms.get_mut(slot).expect("only rooms seal");
        let pacing_per_s = room.pace(now, &self.config, self.seed);
        let (epoch, live) = (room.epoch, room.live.as_mut().expect("only live rooms seal"));
        (live.seal_due_us, live.sealed_us) = (None, Some(now.us));
        let now = Now { unix_ms: now.unix_ms.max(live.accepted_ms), ..now };
        let (messages, repeats) = live.chat.take();
        let fates = pacing_per_s
            .zip(live.pacing.as_mut())
            .and_then(|(per_s, pacing)| self.selector.select(pacing, &messages, now.us, per_s));
        let shadowed = live.moderation.as_mut().map_or_else(Vec::new, |m| std::mem::take(&mut m.shadowed));
        let (shown, in_full) = omit(fates, messages.len(), live.next_offset, &shadowed);
        let fates = shown.as_deref().or(fates);
        let mut rest_in_full = in_full.as_deref();
        self.counters.count_fates(messages.len(), fates);
        let first_offset = live.next_offset;
        let has_acts = live.has_acts() || live.state.hides_changes();
        let mut rest = &messages[..];
        let mut rest_fates = fates;
        while !(has_acts && rest.is_empty()) {
            let fitting = seal::fitting(rest, self.config.batch_bytes_max);
            let (now_sealed, later) = rest.split_at(fitting);
            let said = Said {
                messages: now_sealed,
                fates: rest_fates.map(|fates| &fates[..fitting]),
                in_full: rest_in_full.map(|fates| &fates[..fitting]),
            };
            rest_fates = rest_fates.map(|fates| &fates[fitting..]);
            rest_in_full = rest_in_full.map(|fates| &fates[fitting..]);
            let is_last = later.is_empty() && !has_acts;
            let lanes = if is_last { Lanes::All { tally_top: self.config.tally_top } } else { Lanes::Chat };
            let state = if keeps_state && is_last { live.state.to_keep() } else { None };
            let Sealed { batch, full, waiters } =
                self.sealer.seal((alias, epoch), live, said, now.unix_ms, lanes);
            if is_kept && (batch.has_chat() || state.is_some()) {
                let nonces = now_sealed.iter().map(|p| (p.user, p.nonce)).collect();
                let (room, batch, full) = (name.clone(), batch.clone(), full.clone());
                self.acks.push_batch(slot, BatchEntry { room, epoch, batch, full, nonces, state });
                live.disk.unsynced += 1;
            } else if let Some(state) = state {
                let batch = self.sealer.state_alone(alias, &batch, &state);
                let (room, nonces) = (name.clone(), Box::default());
                let entry = BatchEntry { room, epoch, batch, full: None, nonces, state: Some(state) };
                self.acks.push(Entry::Batch(Box::new(entry)));
            }
            self.log.append(alias, epoch, &batch, full);
            self.counters.batches_sealed += 1;
            self.counters.bytes_sealed += batch.wire.len() as u64;
            for worker in live.viewers.followers() {
                self.outbox.push(worker, Output::Batch { alias, batch: batch.clone() });
            }
            let unanswered = if is_kept { now_sealed } else { &[] };
            for (offset, p) in (batch.first_offset..).zip(unanswered) {
                let answer = policy.published(p.nonce, offset, batch.time_ms, false);
                self.acks.answer(now, is_kept, p.from, answer, &mut self.outbox);
            }
            for Waiter { from, request, version } in waiters {
                let answer = AnswerKind::StateSet { request, version };
                self.acks.answer(now, keeps_state, from, answer, &mut self.outbox);
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let tick = PacedTick {
            alias,
            epoch,
            first_offset,
            time_ms: live.time_ms,
            messages: &messages,
            fates,
            shadowed: &shadowed,
        };
        tick.show_shadowed(&mut self.sealer.encoder, &mut self.outbox);
        if let (Some(pacing), Some(_)) = (live.pacing.as_mut(), pacing_per_s) {
            let personals = tick.personals(pacing, &mut self.sealer.encoder, &mut self.outbox);
            self.counters.personals += personals;
        }
        self.counters.publications_repeated += repeats.len() as u64;
        for repeat in repeats {
            let answer = policy.published(repeat.nonce, repeat.offset, live.time_ms, true);
            self.acks.answer(now, is_kept, repeat.from, answer, &mut self.outbox);
        }
        if live.authors.has_grown()
            && let Some(oldest) = self.log.oldest_offset(alias)
        {
            live.authors.forget_before(oldest);
        }
        if has_acts {
            Acts(self).seal_acts(slot, now);
        }
    }

    /// Remove a room: seal what waits, tell the followers, free the slot.
    pub(super) fn remove(&mut self, slot: u32, now: Now) {
        self.seal_now(slot, now);
        let alias = self.rooms.alias(slot);
        self.state_bytes -= self.rooms.get(slot).map_or(0, Room::state_bytes);
        for worker in self.rooms.take_live(slot).iter().flat_map(|live| live.viewers.followers()) {
            self.outbox.push(worker, Output::Removed { alias });
        }
        let Some(room) = self.rooms.remove(slot, now.us) else { return };
        if room.keeping.is_announced() {
            self.acks.push(Entry::Removed { room: room.name, epoch: room.epoch });
        }
        self.log.remove(alias);
        self.counters.rooms_removed += 1;
    }

    /// Make a room without viewers dormant. A room in the durable log keeps its end and its newest batches.
    /// A room in memory without messages keeps its name; its sequence begins anew, and so its epoch changes.
    fn make_dormant(&mut self, slot: u32, now: Now) {
        let alias = self.rooms.alias(slot);
        let live = self.rooms.take_live(slot);
        let room = self.rooms.get_mut(slot).expect("only rooms go dormant");
        if room.is_in_log() {
            if let Some(live) = live {
                room.dormant = Some(Box::new(live.rest()));
            }
            return self.log.shrink(alias, DORMANT_BYTES_MAX);
        }
        if live.is_some() {
            room.epoch = self.epochs.make(now.unix_ms);
        }
        self.log.remove(alias);
    }
}

/// A shard's handling of due rooms.
struct Due<'a>(&'a mut Shard);

impl Due<'_> {
    fn publish_viewers(&mut self, slot: u32, now: Now) {
        let Some(live) = self.0.rooms.get_mut(slot).and_then(|room| room.live.as_mut()) else { return };
        let due_us = live.viewers.due_us(self.0.config.viewers_every_ms.saturating_mul(1000));
        if due_us.is_some_and(|us| us <= now.us) {
            let count = live.viewers.publish(now.us).to_string();
            let set =
                live.state.set(VIEWERS_KEY.into(), Some(Bytes::from(count)), self.0.config.state_keys_max);
            set.expect("the viewer count is not one of the keys that are bounded");
            live.plan_seal(now.us, &self.0.config, &mut self.0.ticks);
        }
    }

    fn seal_if_due(&mut self, slot: u32, now: Now) {
        let live = self.0.rooms.get(slot).and_then(|room| room.live.as_ref());
        if live.and_then(|live| live.seal_due_us).is_some_and(|us| us <= now.us) {
            self.0.seal(slot, now);
        }
    }

    fn follow_show_if_due(&mut self, slot: u32, now: Now) {
        let live = self.0.rooms.get(slot).and_then(|room| room.live.as_ref());
        if live.and_then(|live| live.show_due_us).is_some_and(|us| us <= now.us) {
            Shows(self.0).follow_show(now, slot);
        }
    }

    fn end_if_idle(&mut self, slot: u32, now: Now) {
        let Some(room) = self.0.rooms.get(slot) else { return };
        if room.idle_due_us(&self.0.config).is_none_or(|us| us > now.us) {
            return;
        }
        match room.origin {
            Origin::FirstUse if !room.is_on_disk() || room.is_forgettable() => self.0.remove(slot, now),
            _ => self.0.make_dormant(slot, now),
        }
    }
}

/// The outcomes of a tick's messages, as they are shown and in full, when some are for their authors alone.
fn omit(
    fates: Option<&[Fate]>,
    messages: usize,
    first_offset: u64,
    shadowed: &[u64],
) -> (Option<Vec<Fate>>, Option<Vec<Fate>>) {
    if shadowed.is_empty() {
        return (None, None);
    }
    let in_full = vec![Fate::Shown { folded: 0 }; messages];
    let omitted = |mut fates: Vec<Fate>| {
        shadowed.iter().for_each(|offset| fates[(offset - first_offset) as usize] = Fate::Omitted);
        Some(fates)
    };
    (omitted(fates.map_or_else(|| in_full.clone(), <[Fate]>::to_vec)), omitted(in_full))
}

/// The sealed messages of one tick.
struct PacedTick<'a> {
    alias: Alias,
    epoch: u64,
    first_offset: u64,
    time_ms: u64,
    messages: &'a [Box<Publication>],
    fates: Option<&'a [Fate]>,
    /// The offsets of those that nobody but their authors is shown.
    shadowed: &'a [u64],
}

impl PacedTick<'_> {
    /// Send each author what nobody else is shown.
    fn show_shadowed(&self, encoder: &mut frame::Encoder, outbox: &mut Outbox) {
        for &offset in self.shadowed {
            let p = &self.messages[(offset - self.first_offset) as usize];
            if p.from.worker.is_node() || p.is_bridged {
                continue;
            }
            let wire = encoder.server_framed(&frame::ServerFrame::Personal(self.frame(p, offset)));
            let (alias, connection) = (self.alias, p.from.connection);
            outbox.address(p.from.worker, Personal { alias, connection, wire });
        }
    }

    /// Remember the speakers, and send omitted messages to the people whom they mean. Returns the number of
    /// frames.
    fn personals(&self, pacing: &mut Pacing, encoder: &mut frame::Encoder, outbox: &mut Outbox) -> u64 {
        let mut sent = 0;
        for p in self.messages {
            let author = pacing.author(p);
            pacing.mentions.note_speaker(author, p);
        }
        for (at, (offset, p)) in (self.first_offset..).zip(self.messages).enumerate() {
            if self.shadowed.contains(&offset) {
                continue;
            }
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
