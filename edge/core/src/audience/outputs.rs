//! Outputs of shards: batches enter rings, answers reach their connections, phases reach members.
//!
//! Why apart from requests: a shard speaks to a worker, and the worker finds the connections that are meant.
//! Not here: pages of history (`history`), fan-out (`fanout`).

use std::sync::Arc;

use grandstand_engine::link::{Alias, Answer, AnswerKind, Batch, Output, Personal};
use grandstand_protocol::frame::{Acted, Kind, Phase, Published, ServerFrame};
use grandstand_protocol::refusal::Refusal;

use super::Audience;
use super::acts::handle_notice;
use super::reattach::Attachments;
use super::removals::apply_acts;
use super::room::Attached;
use super::subscriptions::Subscriptions;

impl Audience {
    /// One output of a shard.
    pub fn handle_output(&mut self, output: Output) {
        match output {
            Output::Batch { alias, batch } => self.handle_batch(alias, batch),
            Output::Answers(answers) => answers.iter().for_each(|answer| self.handle_answer(answer)),
            Output::Personals(personals) => personals.iter().for_each(|p| self.handle_personal(p)),
            Output::Notices(notices) => {
                notices.iter().for_each(|n| handle_notice(&mut self.subscriptions, n));
            }
            Output::Attached { room, result } => {
                Attachments(&mut self.subscriptions).handle_attached(&room, result);
            }
            Output::History { request, page } => self.subscriptions.handle_page(request, &page),
            Output::Phase { alias, phase, at_ms } => self.handle_phase(alias, phase, at_ms),
            Output::Removed { alias } => self.handle_removed(alias),
            // A worker asks nothing as an operator.
            Output::Admin(_) => {}
        }
    }

    fn handle_batch(&mut self, alias: Alias, batch: Arc<Batch>) {
        let batch = if batch.has_acts { redact_acts(&mut self.subscriptions, alias, batch) } else { batch };
        let Subscriptions { settings, connections, rooms, .. } = &mut self.subscriptions;
        let Some(key) = rooms.with_alias(alias) else { return };
        let room = &mut rooms[key];
        let Some(attached) = room.attached.as_mut() else { return };
        let continues = batch.seq == attached.ring.next_seq()
            && batch.seq < u64::MAX
            && batch.first_offset == attached.next_offset
            && batch.next_offset >= batch.first_offset;
        if !continues {
            // Outputs were lost, or the shard has another owner: what it sent is part of the answer.
            return Attachments(&mut self.subscriptions).ask_attach(key);
        }
        let is_compressed_here = self.compressor.compress(&batch, room.members_compressed, settings);
        connections.counters.batches_compressed += u64::from(is_compressed_here);
        attached.next_offset = batch.next_offset;
        attached.time_ms = batch.time_ms;
        if let Some(snapshot) = &batch.snapshot {
            attached.snapshot = Some(snapshot.clone());
        }
        attached.ring.push(batch, settings.ring_batches_max, settings.ring_bytes_max);
        connections.counters.batches += 1;
        rooms.mark_dirty(key);
    }

    fn handle_answer(&mut self, answer: &Answer) {
        let subscriptions = &mut self.subscriptions;
        let counters = &mut subscriptions.connections.counters;
        match answer.kind {
            AnswerKind::Published { .. } => counters.publications_accepted += 1,
            AnswerKind::PublishRefused { .. } => counters.publications_refused += 1,
            AnswerKind::StateSet { .. }
            | AnswerKind::StateRefused { .. }
            | AnswerKind::Acted { .. }
            | AnswerKind::ActRefused { .. } => {}
        }
        let Some((ix, _)) = subscriptions.connections.named(answer.connection) else { return };
        match answer.kind {
            AnswerKind::Published { nonce, epoch, offset, time_ms, durability, repeated } => {
                let published = Published { nonce, epoch, offset, time_ms, durability, repeated };
                subscriptions.send_control(ix, &ServerFrame::Published(published));
            }
            AnswerKind::PublishRefused { nonce, reason, retry_after_ms } => {
                subscriptions.refuse(ix, Kind::Publish, nonce, reason, retry_after_ms);
            }
            AnswerKind::StateSet { request, version } => {
                subscriptions.send_control(ix, &ServerFrame::StateSet { request, version });
            }
            AnswerKind::StateRefused { request, reason, retry_after_ms } => {
                subscriptions.refuse(ix, Kind::SetState, request.into(), reason, retry_after_ms);
            }
            AnswerKind::Acted { request, epoch, offset, count } => {
                let acted = Acted { request, epoch, offset, count };
                subscriptions.send_control(ix, &ServerFrame::Acted(acted));
            }
            AnswerKind::ActRefused { request, reason, retry_after_ms } => {
                subscriptions.refuse(ix, Kind::Act, request.into(), reason, retry_after_ms);
            }
        }
    }

    /// A message for one person. One whose connection does not take what it was sent learns of it as everyone
    /// does: by the batch that counts it; so nobody can be closed by what others say to them.
    fn handle_personal(&mut self, personal: &Personal) {
        let Subscriptions { settings, connections, rooms, .. } = &mut self.subscriptions;
        let named = connections.named(personal.connection);
        let Some((ix, connection)) = named.filter(|(_, c)| !c.closing) else { return };
        let place = connection.session.as_ref().and_then(|s| s.room(personal.alias.0));
        if place.is_none_or(|(key, place)| !rooms[key].is_told(place.member)) {
            return;
        }
        if connection.is_backed_up(settings.control_queue_bytes_max) {
            connections.counters.personals_dropped += 1;
            return;
        }
        connections.counters.personals += 1;
        connections.write_shared(ix, &personal.wire);
    }

    fn handle_phase(&mut self, alias: Alias, phase: Phase, at_ms: u64) {
        let Some(key) = self.subscriptions.rooms.with_alias(alias) else { return };
        let room = &mut self.subscriptions.rooms[key];
        let Some(attached) = room.attached.as_mut() else { return };
        (attached.phase, attached.until_ms) = (phase, at_ms);
        self.subscriptions.tell_phase(key);
    }

    fn handle_removed(&mut self, alias: Alias) {
        let Some(key) = self.subscriptions.rooms.with_alias(alias) else { return };
        Attachments(&mut self.subscriptions).lose_room(key, Refusal::UnknownRoom);
    }
}

/// A batch that holds acts, without what they remove from itself. If it is the next of its room, what
/// they remove is taken from everything that waits for viewers first.
#[cold]
fn redact_acts(subscriptions: &mut Subscriptions, alias: Alias, batch: Arc<Batch>) -> Arc<Batch> {
    let rooms = &subscriptions.rooms;
    let attached = |key| rooms.get(key).and_then(|room| room.attached.as_ref());
    let is_next = |attached: &Attached| {
        batch.seq == attached.ring.next_seq() && batch.first_offset == attached.next_offset
    };
    match rooms.with_alias(alias).filter(|key| attached(*key).is_some_and(is_next)) {
        Some(key) => apply_acts(subscriptions, key, &batch).unwrap_or(batch),
        None => batch,
    }
}
