//! What each frame from a node means to a session.
//!
//! Invariants: bytes that are no frame end the connection, never the process; frames about rooms that are not
//! followed any more are passed over, for they were under way when we left.
//! Not here: batches (`batch`), rooms' cursors (`room`), sending and time (`session`).

use std::cell::Cell;

use grandstand_protocol::batch::BatchReader;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::compress::{COMPRESSED_BATCH, Decompressor};
use grandstand_protocol::frame::{
    ErrorFrame, FrameFault, Kind, Published, Refused, ServerFrame, Subscribed, Welcome, is_ignorable,
};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream;
use grandstand_protocol::version::capability;

use super::batch::BatchError;
use super::room::{RoomState, Stage};
use super::session::{HEARTBEAT_US, Link, Told};
use super::{Event, Session};

/// So many batches in a row that do not fit, and the connection itself is in doubt.
const DESYNCS_MAX: u8 = 3;

/// Before a refused subscription is tried again, where the node did not say when.
const SUBSCRIBE_WAIT_MS: u32 = 1000;

impl Session {
    /// A frame came, without its header.
    pub fn handle_frame(&mut self, now_us: u64, frame: &[u8], emit: &mut impl FnMut(Event<'_>)) {
        if self.is_failed() {
            return;
        }
        self.heard_us = self.heard_us.max(now_us);
        let wire_bytes = (stream::header_len(frame.len()) + frame.len()) as u32;
        match ServerFrame::decode(frame) {
            Err(FrameFault::UnknownKind(COMPRESSED_BATCH)) if self.takes_compressed => {
                self.handle_compressed(&frame[1..], wire_bytes, emit);
            }
            Err(FrameFault::UnknownKind(kind)) if is_ignorable(kind) => {}
            Err(fault @ FrameFault::UnknownKind(_)) => {
                self.handle_malformed(CloseCode::UnknownKind, &fault.to_string());
            }
            Err(fault) => self.handle_malformed(CloseCode::Malformed, &fault.to_string()),
            Ok(frame) if self.is_out_of_order(&frame) => {
                self.handle_malformed(CloseCode::WrongOrder, &format!("{:?} out of order", frame.kind()));
            }
            Ok(frame) => self.handle_server_frame(now_us, frame, wire_bytes, emit),
        }
        self.settle_close(now_us);
    }

    /// `Welcome` comes first and once; only a farewell may come before it.
    fn is_out_of_order(&self, frame: &ServerFrame<'_>) -> bool {
        match frame {
            ServerFrame::Error(_) | ServerFrame::GoAway(_) => self.link == Link::Down,
            ServerFrame::Welcome(_) => self.link != Link::Greeting,
            _ => self.link != Link::Up,
        }
    }

    fn handle_server_frame(
        &mut self,
        now_us: u64,
        frame: ServerFrame<'_>,
        wire_bytes: u32,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        match frame {
            ServerFrame::Batch(body) => self.handle_batch(body, wire_bytes, emit),
            ServerFrame::Welcome(welcome) => self.handle_welcome(&welcome, emit),
            ServerFrame::Subscribed(subscribed) => self.handle_subscribed(&subscribed, emit),
            ServerFrame::Unsubscribed { request, alias } => self.handle_unsubscribed(request, alias, emit),
            ServerFrame::Published(published) => self.handle_published(now_us, &published, emit),
            ServerFrame::StateSet { request, version } => {
                if self.outbox.take_state(request) {
                    emit(Event::StateSet { request, version });
                }
            }
            ServerFrame::Refused(refused) => self.handle_refused(now_us, &refused, emit),
            ServerFrame::Snapshot(snapshot) => {
                if let Some(at) = self.live(snapshot.alias) {
                    self.rooms[at].handle_snapshot(&snapshot, emit);
                }
            }
            ServerFrame::Gap(gap) => {
                if let Some(at) = self.live(gap.alias) {
                    self.rooms[at].handle_gap(&gap, &mut self.faults, emit);
                }
            }
            ServerFrame::RoomEvent(event) => {
                if let Some(at) = self.live(event.alias) {
                    let (phase, at_ms, detail) = (event.phase, event.at_ms, event.detail);
                    emit(Event::Phase { room: self.rooms[at].room(), phase, at_ms, detail });
                }
            }
            ServerFrame::Pong { client_us, server_ms } => {
                emit(Event::Pong { rtt_us: now_us.saturating_sub(client_us), server_ms });
            }
            ServerFrame::GoAway(go_away) => self.handle_go_away(now_us, &go_away, emit),
            ServerFrame::Error(error) => self.handle_error(&error),
            ServerFrame::HistoryPage(page) => self.handle_history_page(&page, emit),
            ServerFrame::Personal(personal) => self.handle_personal(&personal, emit),
        }
    }

    /// A batch as it was compressed for everybody.
    fn handle_compressed(&mut self, payload: &[u8], wire_bytes: u32, emit: &mut impl FnMut(Event<'_>)) {
        thread_local! {
            // With its window it is larger than a session: one for all sessions of a thread.
            static DECOMPRESSOR: Cell<Option<Box<Decompressor>>> = const { Cell::new(None) };
        }
        let mut decompressor = DECOMPRESSOR.take().unwrap_or_default();
        match decompressor.open(payload) {
            Ok(body) => self.handle_batch(body, wire_bytes, emit),
            Err(fault) => self.handle_malformed(fault.close_code(), &fault.to_string()),
        }
        DECOMPRESSOR.set(Some(decompressor));
    }

    fn handle_batch(&mut self, body: &[u8], wire_bytes: u32, emit: &mut impl FnMut(Event<'_>)) {
        let batch = match BatchReader::new(body) {
            Ok(batch) => batch,
            Err(fault) => return self.handle_malformed(CloseCode::Malformed, &fault.to_string()),
        };
        let Some(at) = self.live(batch.alias()) else { return };
        let room = &mut self.rooms[at];
        match room.handle_batch(batch, wire_bytes, &mut self.faults, emit) {
            Ok(()) => {}
            Err(BatchError::Malformed(fault)) => {
                self.handle_malformed(CloseCode::Malformed, &fault.to_string());
            }
            Err(BatchError::Desync) if room.desyncs < DESYNCS_MAX => room.resubscribe(),
            Err(BatchError::Desync) => {
                room.desyncs = 0;
                self.handle_malformed(CloseCode::Malformed, "batches that do not continue the room's log");
            }
        }
    }

    fn handle_welcome(&mut self, w: &Welcome<'_>, emit: &mut impl FnMut(Event<'_>)) {
        self.link = Link::Up;
        self.migration = None;
        self.takes_compressed = w.capabilities & self.offered() & capability::DEFLATE_1 != 0;
        let is_first = std::mem::replace(&mut self.ticket, w.ticket.into()).is_empty();
        self.heartbeat_us =
            (u64::from(w.heartbeat_ms) * 1000).clamp(*HEARTBEAT_US.start(), *HEARTBEAT_US.end());
        emit(Event::Welcome {
            session: w.session,
            node: w.node,
            name: w.name,
            role: w.role,
            permissions: w.permissions,
            heartbeat_ms: w.heartbeat_ms,
            text_bytes_max: w.text_bytes_max,
            rooms_max: w.rooms_max,
            server_ms: w.server_ms,
            resumed: w.resumed,
        });
        // A nonce is known to the node by its user, who is a new one now unless ticket or token says
        // otherwise. Before the first welcome nothing was taken.
        if !w.resumed && !is_first && self.options.token.is_empty() {
            for p in self.outbox.take_tried() {
                emit(Event::Uncertain { nonce: p.nonce, text: &p.text });
            }
        }
    }

    fn handle_subscribed(&mut self, s: &Subscribed, emit: &mut impl FnMut(Event<'_>)) {
        let asked = |r: &&mut RoomState| r.stage == Stage::Asked && r.request == s.request;
        if let Some(room) = self.rooms.iter_mut().find(asked) {
            room.handle_subscribed(s, emit);
        }
    }

    fn handle_unsubscribed(&mut self, request: u32, alias: u32, emit: &mut impl FnMut(Event<'_>)) {
        let ended = self.rooms.iter().position(|r| match r.stage {
            Stage::Leaving => r.request == request || (request == 0 && r.alias == alias),
            Stage::Live | Stage::Unwanted => request == 0 && r.alias == alias,
            _ => false,
        });
        if let Some(at) = ended {
            let asked = self.rooms[at].stage != Stage::Live;
            self.remove_room(at, asked, emit);
        }
    }

    fn handle_published(&mut self, now_us: u64, p: &Published, emit: &mut impl FnMut(Event<'_>)) {
        let Some(publication) = self.outbox.take_publication(p.nonce) else { return };
        emit(Event::Published {
            nonce: p.nonce,
            epoch: p.epoch,
            offset: p.offset,
            durability: p.durability,
            repeated: p.repeated,
            rtt_us: now_us.saturating_sub(publication.queued_us),
        });
    }

    fn handle_refused(&mut self, now_us: u64, r: &Refused<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let is_history = Kind::from_wire(r.kind) == Some(Kind::History);
        if is_history && self.handle_history_refused(now_us, r) {
            return;
        }
        let mut refused_room = None;
        match Kind::from_wire(r.kind) {
            Some(Kind::Subscribe) => {
                let asked = |room: &RoomState| room.stage == Stage::Asked && u64::from(room.request) == r.id;
                refused_room = self.rooms.iter().position(asked);
            }
            Some(Kind::Publish) => {
                let publication = self.outbox.take_publication(r.id);
                if let Some(p) = publication.filter(|_| r.reason == Refusal::Forgotten) {
                    return emit(Event::Uncertain { nonce: p.nonce, text: &p.text });
                }
            }
            Some(Kind::SetState) => drop(self.outbox.take_state(r.id as u32)),
            _ => {}
        }
        emit(Event::Refused {
            kind: r.kind,
            id: r.id,
            room: refused_room.map(|at| self.rooms[at].room()),
            reason: r.reason,
            retry_after_ms: r.retry_after_ms,
            detail: r.detail,
        });
        if let Some(at) = refused_room {
            self.handle_subscription_refused(now_us, at, r, emit);
        }
    }

    /// Ask again later where that can help; otherwise the room is not followed any more.
    fn handle_subscription_refused(
        &mut self,
        now_us: u64,
        at: usize,
        r: &Refused<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        if r.reason.may_retry() && !self.rooms[at].leave {
            let wait_us = u64::from(r.retry_after_ms.unwrap_or(SUBSCRIBE_WAIT_MS)) * 1000;
            let until_us = now_us + wait_us + self.jitter_us(wait_us / 2);
            self.rooms[at].stage = Stage::Waiting(until_us);
        } else {
            let asked = self.rooms[at].leave;
            self.remove_room(at, asked, emit);
        }
    }

    /// The close follows; this only says why.
    fn handle_error(&mut self, e: &ErrorFrame<'_>) {
        let after_us = u64::from(e.retry_after_ms) * 1000;
        self.told = Some(Box::new(Told { code: e.code, retry: e.retry, after_us, detail: e.detail.into() }));
    }

    fn live(&self, alias: u32) -> Option<usize> {
        self.rooms.iter().position(|r| r.alias == alias && r.stage == Stage::Live)
    }
}
