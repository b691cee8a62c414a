//! Outputs of shards: batches enter rings, answers reach their connections, phases reach members.
//!
//! Why apart from requests: a shard speaks to a worker, and the worker finds the connections that are meant.
//! Not here: pages of history (`history`), fan-out (`fanout`).

use std::sync::Arc;

use grandstand_engine::link::{Alias, Answer, AnswerKind, Batch, Output, Personal};
use grandstand_protocol::frame::{Kind, Phase, Published, RoomEvent, ServerFrame};
use grandstand_protocol::refusal::Refusal;

use super::Audience;
use super::connection::slot;

impl Audience {
    /// One output of a shard.
    pub fn handle_output(&mut self, output: Output) {
        match output {
            Output::Batch { alias, batch } => self.handle_batch(alias, batch),
            Output::Answers(answers) => answers.iter().for_each(|answer| self.handle_answer(answer)),
            Output::Personals(personals) => personals.iter().for_each(|p| self.handle_personal(p)),
            Output::Attached { room, result } => self.handle_attached(&room, result),
            Output::History { request, page } => self.handle_history(request, *page),
            Output::Phase { alias, phase, at_ms } => self.handle_phase(alias, phase, at_ms),
            Output::Removed { alias } => self.handle_removed(alias),
            // A worker asks nothing as an operator.
            Output::Admin(_) => {}
        }
    }

    fn handle_batch(&mut self, alias: Alias, batch: Arc<Batch>) {
        let Some(&key) = self.by_alias.get(&alias) else { return };
        let room = &mut self.rooms[key.0 as usize];
        let is_compressed_here = self.compressor.compress(&batch, room, &self.settings);
        self.counters.batches_compressed += u64::from(is_compressed_here);
        let Some(attached) = room.attached.as_mut() else { return };
        assert_eq!(batch.seq, attached.ring.next_seq(), "a hole in the batches of {}", room.name);
        attached.next_offset = batch.next_offset;
        attached.time_ms = batch.time_ms;
        if let Some(snapshot) = &batch.snapshot {
            attached.snapshot = Some(snapshot.clone());
        }
        attached.ring.push(batch, self.settings.ring_batches_max, self.settings.ring_bytes_max);
        self.counters.batches += 1;
        self.mark_dirty(key);
    }

    fn handle_answer(&mut self, answer: &Answer) {
        match answer.kind {
            AnswerKind::Published { .. } => self.counters.publications_accepted += 1,
            AnswerKind::PublishRefused { .. } => self.counters.publications_refused += 1,
            AnswerKind::StateSet { .. } | AnswerKind::StateRefused { .. } => {}
        }
        let ix = slot(answer.connection);
        if self.connections.get(ix as usize).is_none_or(|c| !c.is(answer.connection)) {
            return;
        }
        match answer.kind {
            AnswerKind::Published { nonce, epoch, offset, time_ms, durability, repeated } => {
                let published = Published { nonce, epoch, offset, time_ms, durability, repeated };
                self.send_control(ix, &ServerFrame::Published(published));
            }
            AnswerKind::PublishRefused { nonce, reason, retry_after_ms } => {
                self.refuse(ix, Kind::Publish as u8, nonce, reason, retry_after_ms);
            }
            AnswerKind::StateSet { request, version } => {
                self.send_control(ix, &ServerFrame::StateSet { request, version });
            }
            AnswerKind::StateRefused { request, reason, retry_after_ms } => {
                self.refuse(ix, Kind::SetState as u8, request.into(), reason, retry_after_ms);
            }
        }
    }

    /// A message for one person. One whose connection does not take what it was sent learns of it as everyone
    /// does: by the batch that counts it; so nobody can be closed by what others say to them.
    fn handle_personal(&mut self, personal: &Personal) {
        let ix = slot(personal.connection);
        let connection =
            self.connections.get(ix as usize).filter(|c| c.is(personal.connection) && !c.closing);
        let Some(connection) = connection else { return };
        let membership = connection.session.as_ref().and_then(|s| s.room(personal.alias.0));
        let Some(m) = membership.filter(|m| !self.rooms[m.room.0 as usize].is_unanswered(m.member)) else {
            return;
        };
        debug_assert_eq!(m.alias, personal.alias);
        let waiting_bytes = connection.out.as_ref().map_or(0, |out| out.control.len());
        if connection.blocked || waiting_bytes > self.settings.control_queue_bytes_max / 2 {
            self.counters.personals_dropped += 1;
            return;
        }
        self.counters.personals += 1;
        self.push_shared(ix, &personal.wire);
    }

    fn handle_phase(&mut self, alias: Alias, phase: Phase, at_ms: u64) {
        let Some(&key) = self.by_alias.get(&alias) else { return };
        let room = &mut self.rooms[key.0 as usize];
        let Some(attached) = room.attached.as_mut() else { return };
        attached.phase = phase;
        // Who waits for its subscription's answer learns the phase with it.
        let answered = (0..).zip(&room.members).filter(|(at, _)| !room.is_unanswered(*at));
        let members: Vec<u32> = answered.map(|(_, m)| m.connection).collect();
        for ix in members {
            self.send_control(
                ix,
                &ServerFrame::RoomEvent(RoomEvent { alias: alias.0, phase, at_ms, detail: "" }),
            );
        }
    }

    fn handle_removed(&mut self, alias: Alias) {
        let Some(key) = self.by_alias.remove(&alias) else { return };
        self.send_members_away(key, Refusal::UnknownRoom);
        let room = self.rooms.remove(key.0 as usize);
        self.by_name.remove(&room.name);
    }
}
