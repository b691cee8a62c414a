//! The handling of each frame that a session receives.
//!
//! Invariants: bytes that are not a frame end the connection, never the process. The session ignores frames
//! about rooms that it no longer follows: the node sent them before it processed `Unsubscribe`.
//! Not here: batches (`batch`), rooms' cursors (`room`), sending and time (`session`).

use std::cell::Cell;

use grandstand_protocol::batch::BatchReader;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::compress::{COMPRESSED_BATCH, Decompressor};
use grandstand_protocol::frame::{
    FrameFault, Kind, Personal, Published, Refused, ServerFrame, Subscribed, Welcome, is_ignorable,
};
use grandstand_protocol::limits::{NODES_BYTES_MAX, TICKET_BYTES_MAX};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream;
use grandstand_protocol::version::capability;

use super::batch::BatchError;
use super::limits::NodeLimits;
use super::room::{RoomState, SubscriptionState};
use super::session::{Link, offered};
use super::{Event, Session, outcomes};

/// Number of batches in a row that do not continue the position, after which the session ends the connection.
const DESYNCS_MAX: u8 = 3;

/// A breach by the node: no room's state is so large.
const STATE_TOO_LARGE: &str = "a room's state that fits into no snapshot";

/// Delay before a refused subscription is tried again, if the node named none.
const SUBSCRIBE_WAIT_MS: u32 = 1000;

/// Handles one frame for a session.
pub(super) struct Receiver<'s> {
    pub(super) session: &'s mut Session,
    pub(super) now_us: u64,
}

impl Receiver<'_> {
    pub(super) fn handle_frame(&mut self, frame: &[u8], emit: &mut impl FnMut(Event<'_>)) {
        let wire_bytes = (stream::header_len(frame.len()) + frame.len()) as u32;
        match ServerFrame::decode(frame) {
            Err(FrameFault::UnknownKind(COMPRESSED_BATCH)) if self.session.takes_compressed => {
                self.handle_compressed(&frame[1..], wire_bytes, emit);
            }
            Err(FrameFault::UnknownKind(kind)) if is_ignorable(kind) => {}
            Err(fault @ FrameFault::UnknownKind(_)) => {
                self.session.handle_malformed(CloseCode::UnknownKind, &fault.to_string());
            }
            Err(fault) => self.session.handle_malformed(CloseCode::Malformed, &fault.to_string()),
            Ok(frame) if self.is_out_of_order(&frame) => {
                let what = format!("{:?} out of order", frame.kind());
                self.session.handle_malformed(CloseCode::WrongOrder, &what);
            }
            Ok(frame) => self.handle_server_frame(frame, wire_bytes, emit),
        }
    }

    /// `Welcome` comes first and once; only a farewell may come before it.
    fn is_out_of_order(&self, frame: &ServerFrame<'_>) -> bool {
        match frame {
            ServerFrame::Error(_) | ServerFrame::GoAway(_) => self.session.link == Link::Down,
            ServerFrame::Welcome(_) => self.session.link != Link::Greeting,
            _ => self.session.link != Link::Up,
        }
    }

    fn handle_server_frame(
        &mut self,
        frame: ServerFrame<'_>,
        wire_bytes: u32,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        match frame {
            ServerFrame::Batch(body) => self.handle_batch(body, wire_bytes, emit),
            ServerFrame::Welcome(welcome) => self.handle_welcome(&welcome, emit),
            ServerFrame::Subscribed(subscribed) => self.handle_subscribed(&subscribed, emit),
            ServerFrame::Unsubscribed { request, alias, .. } => {
                self.handle_unsubscribed(request, alias, emit);
            }
            ServerFrame::Published(published) => self.handle_published(&published, emit),
            ServerFrame::StateSet { request, version } => {
                if self.session.outbox.take_state(request) {
                    emit(Event::StateSet { request, version });
                }
            }
            ServerFrame::Refused(refused) => self.handle_refused(&refused, emit),
            ServerFrame::Snapshot(snapshot) => {
                let room = self.session.subscriptions.live_alias(snapshot.alias);
                if room.is_some_and(|room| !room.handle_snapshot(&snapshot, emit)) {
                    self.session.handle_malformed(CloseCode::Malformed, STATE_TOO_LARGE);
                }
            }
            ServerFrame::Gap(gap) => {
                if let Some(room) = self.session.subscriptions.live_alias(gap.alias) {
                    room.handle_gap(&gap, &mut self.session.faults, emit);
                }
            }
            ServerFrame::RoomEvent(event) => {
                if let Some(room) = self.session.subscriptions.live_alias(event.alias) {
                    let (phase, at_ms, detail) = (event.phase, event.at_ms, event.detail);
                    emit(Event::Phase { room: room.room(), phase, at_ms, detail });
                }
            }
            ServerFrame::Pong { client_us, server_ms } => {
                emit(Event::Pong { rtt_us: self.now_us.saturating_sub(client_us), server_ms });
            }
            ServerFrame::GoAway(g) => {
                emit(Event::GoAway { where_to: g.where_to, after_ms: g.after_ms, detail: g.detail });
                self.session.migrations.handle_go_away(self.now_us, &g, &mut self.session.backoff);
            }
            // The close follows; this frame only gives the reason.
            ServerFrame::Error(error) => self.session.end.handle_error(&error),
            ServerFrame::HistoryPage(page) => {
                let session = &mut *self.session;
                if let Err(fault) = session.history.handle_page(&session.subscriptions, &page, emit) {
                    session.handle_malformed(CloseCode::Malformed, &fault);
                }
            }
            ServerFrame::Personal(personal) => self.handle_personal(&personal, emit),
            ServerFrame::Renewed(r) => {
                let (name, role, permissions) = (r.name, r.role, r.permissions);
                emit(Event::Renewed { name, role, permissions, expires_in_ms: r.expires_in_ms });
            }
            ServerFrame::Expiring { in_ms } => emit(Event::TokenExpires { in_ms }),
            ServerFrame::Acted(a) => {
                if self.session.outbox.acts.take(a.request) {
                    let (request, epoch, offset, count) = (a.request, a.epoch, a.offset, a.count);
                    emit(Event::Acted { request, epoch, offset, count });
                }
            }
            ServerFrame::Notice(n) => {
                let room = self.session.subscriptions.live_alias(n.alias).map(|room| room.room());
                let (notice, id, until_ms, text) = (n.notice, n.id, n.until_ms, n.text);
                emit(Event::Notice { room, notice, id, until_ms, text });
            }
        }
    }

    /// A compressed batch.
    fn handle_compressed(&mut self, payload: &[u8], wire_bytes: u32, emit: &mut impl FnMut(Event<'_>)) {
        thread_local! {
            // With its window a decompressor is larger than a session, so all sessions of a thread share one.
            static DECOMPRESSOR: Cell<Option<Box<Decompressor>>> = const { Cell::new(None) };
        }
        let mut decompressor = DECOMPRESSOR.take().unwrap_or_default();
        match decompressor.open(payload) {
            Ok(body) => self.handle_batch(body, wire_bytes, emit),
            Err(fault) => self.session.handle_malformed(fault.close_code(), &fault.to_string()),
        }
        DECOMPRESSOR.set(Some(decompressor));
    }

    fn handle_batch(&mut self, body: &[u8], wire_bytes: u32, emit: &mut impl FnMut(Event<'_>)) {
        let session = &mut *self.session;
        let batch = match BatchReader::new(body) {
            Ok(batch) => batch,
            Err(fault) => return session.handle_malformed(CloseCode::Malformed, &fault.to_string()),
        };
        let Some(room) = session.subscriptions.live_alias(batch.alias()) else { return };
        match room.handle_batch(batch, wire_bytes, &mut session.faults, emit) {
            Ok(()) => {}
            Err(BatchError::Malformed(fault)) => {
                session.handle_malformed(CloseCode::Malformed, &fault.to_string());
            }
            Err(BatchError::StateTooLarge) => {
                session.handle_malformed(CloseCode::Malformed, STATE_TOO_LARGE);
            }
            Err(BatchError::Desync) if room.desyncs < DESYNCS_MAX => room.resubscribe(),
            Err(BatchError::Desync) => {
                room.desyncs = 0;
                let what = "batches that do not continue the room's log";
                session.handle_malformed(CloseCode::Malformed, what);
            }
        }
    }

    fn handle_welcome(&mut self, w: &Welcome<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let session = &mut *self.session;
        session.link = Link::Up;
        session.migrations.forget();
        let is_first = !std::mem::replace(&mut session.was_welcomed, true);
        session.doubts = 0;
        session.renews = w.capabilities & capability::RENEW != 0;
        session.takes_compressed = w.capabilities & offered(&session.options) & capability::DEFLATE_1 != 0;
        // A longer one would end the next connection, and would be kept by every session.
        session.ticket = if w.ticket.len() <= TICKET_BYTES_MAX { w.ticket.into() } else { Box::default() };
        // The list is mostly the one of the connection before.
        if *session.nodes != *w.nodes {
            session.nodes = if w.nodes.len() <= NODES_BYTES_MAX { w.nodes.into() } else { Box::default() };
        }
        session.heartbeat.set_interval_ms(w.heartbeat_ms);
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
        // The node knows a nonce by its user. Unless a ticket or token names the old user, this session has a
        // new one. Before the first `Welcome` the node accepted no publication.
        if !w.resumed && !is_first && session.options.token.is_empty() {
            outcomes::end_sent(session, emit);
        }
        let limits = std::mem::replace(&mut session.limits, NodeLimits::of(w));
        if limits != session.limits {
            outcomes::end_oversized(session, emit);
        }
    }

    fn handle_subscribed(&mut self, s: &Subscribed, emit: &mut impl FnMut(Event<'_>)) {
        let subscriptions = &mut self.session.subscriptions;
        let asked = subscriptions.position(|r| r.state == SubscriptionState::Asked && r.request == s.request);
        if let Some(at) = asked {
            subscriptions.at(at).handle_subscribed(s, emit);
        }
    }

    fn handle_unsubscribed(&mut self, request: u32, alias: u32, emit: &mut impl FnMut(Event<'_>)) {
        let ended = self.session.subscriptions.position(|r| match r.state {
            SubscriptionState::Leaving => r.request == request || (request == 0 && r.alias == alias),
            SubscriptionState::Live | SubscriptionState::Unwanted => request == 0 && r.alias == alias,
            _ => false,
        });
        if let Some(at) = ended {
            let asked = self.session.subscriptions.at(at).state != SubscriptionState::Live;
            outcomes::end_room(self.session, at, asked, emit);
        }
    }

    fn handle_published(&mut self, p: &Published, emit: &mut impl FnMut(Event<'_>)) {
        let Some(publication) = self.session.outbox.take_publication(p.nonce) else { return };
        emit(Event::Published {
            nonce: p.nonce,
            epoch: p.epoch,
            offset: p.offset,
            durability: p.durability,
            repeated: p.repeated,
            rtt_us: self.now_us.saturating_sub(publication.queued_us),
        });
    }

    fn handle_refused(&mut self, r: &Refused<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let session = &mut *self.session;
        let kind = Kind::from_wire(r.kind);
        if kind == Some(Kind::History) && session.history.handle_refused(self.now_us, r, &mut session.backoff)
        {
            return;
        }
        let mut refused_room = None;
        match kind {
            Some(Kind::Subscribe) => {
                let asked = |room: &RoomState| {
                    room.state == SubscriptionState::Asked && u64::from(room.request) == r.id
                };
                refused_room = session.subscriptions.position(asked);
            }
            Some(Kind::Publish) => {
                let publication = session.outbox.take_publication(r.id);
                if let Some(p) = publication.filter(|_| r.reason == Refusal::Forgotten) {
                    return emit(Event::Uncertain { nonce: p.nonce, text: &p.text });
                }
            }
            Some(Kind::SetState) => drop(session.outbox.take_state(r.id as u32)),
            Some(Kind::Act) => drop(session.outbox.acts.take(r.id as u32)),
            _ => {}
        }
        emit(Event::Refused {
            kind: r.kind,
            id: r.id,
            room: refused_room.map(|at| session.subscriptions.at(at).room()),
            reason: r.reason,
            retry_after_ms: r.retry_after_ms,
            detail: r.detail,
        });
        if let Some(at) = refused_room {
            self.handle_subscription_refused(at, r, emit);
        }
    }

    /// Ask again later if that can help; otherwise stop following the room.
    fn handle_subscription_refused(&mut self, at: usize, r: &Refused<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let session = &mut *self.session;
        let room = session.subscriptions.at(at);
        if r.reason.may_retry() && !room.leave {
            let wait_us = u64::from(r.retry_after_ms.unwrap_or(SUBSCRIBE_WAIT_MS)) * 1000;
            room.state =
                SubscriptionState::Waiting(self.now_us + wait_us + session.backoff.jitter_us(wait_us / 2));
        } else {
            let asked = room.leave;
            outcomes::end_room(session, at, asked, emit);
        }
    }

    fn handle_personal(&mut self, p: &Personal<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let Some(room) = self.session.subscriptions.live_alias(p.alias) else { return };
        if room.position.epoch != p.epoch {
            return;
        }
        emit(Event::Personal {
            room: room.room(),
            offset: p.offset,
            time_ms: p.time_ms,
            author: p.author,
            role: p.role,
            text: p.text,
            attachment: p.attachment,
            reply_to: p.reply_to,
        });
    }
}
