//! A session: what outlives connections. Frames and time go in, frames and events come out.
//!
//! A driver does, for each connection: `handle_connected`; then, as things happen, `handle_frame` and
//! `handle_timeout` (at `poll_timeout`), each followed by `poll_transmit` until it gives nothing and by
//! `poll_close`; at the end `handle_disconnected`, which says what next.
//!
//! Invariants: `Hello` goes first and once on each connection; something is sent at least every half
//! heartbeat; an idle session has no heap but names and ticket; time never goes back.
//! Not here: what frames mean (`receive`), moving to another connection (`migration`), delays (`retry`),
//! cursors (`room`), what waits for answers (`outbox`).

use std::cell::RefCell;

use grandstand_protocol::close::{CloseCode, Retry};
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Kind, Publish, React, SetState, Subscribe};
use grandstand_protocol::limits::REACTION_COUNT_MAX;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::is_reaction_key;
use grandstand_protocol::version::capability;

use super::history::HistoryRequest;
use super::migration::Migration;
use super::outbox::Outbox;
use super::retry::{Backoff, verdict};
use super::room::{RoomState, Stage};
use super::{Ending, Event, Full, Next, Options, Publication, Reason, RoomId, SubscribeOptions};

/// From `handle_connected` to `Welcome`. The node allows as long for its part.
pub(super) const WELCOME_WAIT_US: u64 = 10_000_000;

/// A connection that lived so long was good: the next delay begins small again. Longer than a node takes to
/// refuse.
const HELD_US: u64 = 5_000_000;

/// After `close`, how long to wait for answers to publications.
const LINGER_US: u64 = 2_000_000;

/// Heartbeats are taken within these bounds, whatever `Welcome` says: neither a flood of pings nor none at
/// all.
pub(super) const HEARTBEAT_US: std::ops::RangeInclusive<u64> = 100_000..=3_600_000_000;

/// What the other side did wrong so far; each was an [`Event::Fault`](super::EventOf::Fault) too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Messages that came again, and were dropped.
    pub duplicates: u64,
    /// Offsets that went missing without a gap notice.
    pub skipped: u64,
    /// Batches that did not continue the position.
    pub desyncs: u64,
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    /// `Hello` is sent or due; `Welcome` is not here.
    Greeting,
    Up,
}

/// What an `Error` frame announced.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) code: u16,
    pub(super) retry: Retry,
    pub(super) after_us: u64,
    pub(super) detail: Box<str>,
}

/// A session. See the module's head for how it is driven.
#[derive(Debug)]
pub struct Session {
    pub(super) options: Options,
    pub(super) rooms: Vec<RoomState>,
    pub(super) outbox: Outbox,
    pub(super) history_requests: Vec<HistoryRequest>,
    pub(super) faults: Faults,
    pub(super) link: Link,
    pub(super) ticket: Box<[u8]>,
    pub(super) told: Option<Box<Told>>,
    pub(super) migration: Option<Box<Migration>>,
    /// On this connection batches may come compressed.
    pub(super) takes_compressed: bool,
    pub(super) heartbeat_us: u64,
    pub(super) heard_us: u64,
    /// The driver holds two connections while it moves.
    pub(super) overlaps: bool,
    pub(super) fell_back: bool,
    backoff: Backoff,
    pub(super) reason: Option<Reason>,
    close_due: Option<CloseCode>,
    closing_at_us: Option<u64>,
    connected_us: u64,
    sent_us: u64,
    pinged_us: u64,
    next_nonce: u64,
    next_request: u32,
    next_room: u32,
    pub(super) hello_due: bool,
    ping_due: bool,
    reading_held: bool,
}

impl Session {
    /// A session without a connection.
    pub fn new(options: Options) -> Session {
        let mut backoff = Backoff::new(options.seed);
        // Nonces must be new for the user, whose other sessions choose theirs alike: a random start keeps
        // them apart.
        let next_nonce = backoff.random() >> 1;
        Session {
            options,
            rooms: Vec::new(),
            outbox: Outbox::default(),
            history_requests: Vec::new(),
            faults: Faults::default(),
            link: Link::Down,
            ticket: Box::default(),
            told: None,
            migration: None,
            takes_compressed: false,
            heartbeat_us: *HEARTBEAT_US.end(),
            heard_us: 0,
            overlaps: false,
            fell_back: false,
            backoff,
            reason: None,
            close_due: None,
            closing_at_us: None,
            connected_us: 0,
            sent_us: 0,
            pinged_us: 0,
            next_nonce,
            next_request: 1,
            next_room: 0,
            hello_due: false,
            ping_due: false,
            reading_held: false,
        }
    }

    // --- what the application asks for
    // ------------------------------------------------------------------------------

    /// Follow a room, now and after every reconnect. A room that is followed already keeps its options.
    pub fn subscribe(&mut self, room: &str, options: SubscribeOptions) -> RoomId {
        if let Some(known) = self.rooms.iter_mut().find(|r| *r.name == *room && r.is_wanted()) {
            return known.id;
        }
        let id = RoomId(self.next_room);
        self.next_room += 1;
        self.rooms.push(RoomState::new(id, room, options, self.options.keep_state));
        id
    }

    /// Stop following a room. What was said in it and not answered is refused, by this side; where the room
    /// was not followed yet, it is forgotten.
    pub fn unsubscribe(&mut self, room: RoomId) {
        let Some(at) = self.rooms.iter().position(|r| r.id == room) else { return };
        let room = &mut self.rooms[at];
        match (room.stage, room.stale_alias.take()) {
            (Stage::Live, _) | (Stage::Wanted, Some(_)) => room.stage = Stage::Unwanted,
            (Stage::Unwanted | Stage::Leaving, _) => {}
            (Stage::Asked, _) => room.leave = true,
            (Stage::Wanted | Stage::Waiting(_), _) => {
                let room = self.rooms.remove(at);
                self.outbox.take_room(room.id);
                self.refuse_history(room.id, &mut |_| {});
            }
        }
    }

    /// Say something: the nonce under which the answer will come.
    ///
    /// # Errors
    /// [`Full`] while too much waits for an answer.
    pub fn publish(&mut self, now_us: u64, room: RoomId, publication: &Publication<'_>) -> Result<u64, Full> {
        self.check_room_left()?;
        let nonce = publication.nonce.unwrap_or(self.next_nonce);
        if publication.nonce.is_none() {
            self.next_nonce = self.next_nonce.wrapping_add(1);
        }
        self.outbox.publish(nonce, room, now_us, publication);
        Ok(nonce)
    }

    /// React. Reactions that wait are added up; those that wait when the connection ends are forgotten. One
    /// with a key that the protocol does not allow is forgotten too: a server would close the connection.
    pub fn react(&mut self, room: RoomId, key: &str, count: u32) {
        if self.link == Link::Up && count > 0 && is_reaction_key(key) {
            self.outbox.react(room, key, count);
        }
    }

    /// Set a key of the room's state, or remove it: the number under which the answer will come. Sent again
    /// after a reconnect if there was no answer.
    ///
    /// # Errors
    /// [`Full`] while too much waits for an answer.
    pub fn set_state(&mut self, room: RoomId, key: &str, value: Option<&[u8]>) -> Result<u32, Full> {
        self.check_room_left()?;
        let request = self.take_request();
        self.outbox.set_state(request, room, key, value);
        Ok(request)
    }

    /// Use this token from the next connection on.
    pub fn set_token(&mut self, token: &str) {
        self.options.token = token.into();
    }

    /// End the session: once all publications are answered, two seconds from now at the latest.
    pub fn close(&mut self, now_us: u64) {
        self.closing_at_us.get_or_insert(now_us.saturating_add(LINGER_US));
        self.settle_close(now_us);
    }

    // --- what the application can look at
    // ---------------------------------------------------------------------------

    /// The number of a followed room.
    pub fn room_id(&self, name: &str) -> Option<RoomId> {
        self.rooms.iter().find(|r| *r.name == *name && r.is_wanted()).map(|r| r.id)
    }

    /// Epoch and next offset of a room: what to give as [`SubscribeOptions::resume`] in a later run.
    pub fn position(&self, room: RoomId) -> Option<(u64, u64)> {
        self.rooms.iter().find(|r| r.id == room)?.resume_point()
    }

    /// The value of a key of the room's state.
    pub fn state(&self, room: RoomId, key: &str) -> Option<&[u8]> {
        self.rooms.iter().find(|r| r.id == room)?.lane.get(key)
    }

    /// All keys and values of the room's state, in the order of the keys.
    pub fn states(&self, room: RoomId) -> impl Iterator<Item = (&str, &[u8])> {
        self.rooms.iter().filter(move |r| r.id == room).flat_map(|r| r.lane.iter())
    }

    /// What the other side did wrong so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Is the node's `Welcome` here, on a connection that stands?
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// Is this room followed at this moment?
    pub fn is_live(&self, room: RoomId) -> bool {
        self.link == Link::Up && self.rooms.iter().any(|r| r.id == room && r.stage == Stage::Live)
    }

    /// Publications and state changes without an answer.
    pub fn unanswered(&self) -> usize {
        self.outbox.unanswered()
    }

    /// Was [`Session::close`] called?
    pub fn is_closing(&self) -> bool {
        self.closing_at_us.is_some()
    }

    /// Where `GoAway` wants the next connection to go; given once.
    pub fn take_where_to(&mut self) -> Option<Box<str>> {
        self.migration.take().map(|migration| migration.where_to).filter(|where_to| !where_to.is_empty())
    }

    // --- what the driver tells
    // --------------------------------------------------------------------------------------

    /// A connection stands.
    pub fn handle_connected(&mut self, now_us: u64) {
        assert!(self.link == Link::Down, "a connection within a connection");
        self.link = Link::Greeting;
        self.hello_due = true;
        (self.connected_us, self.heard_us, self.sent_us, self.pinged_us) = (now_us, now_us, now_us, now_us);
    }

    /// While the driver does not read on purpose, silence is no sign.
    pub fn handle_reading_held(&mut self, now_us: u64, held: bool) {
        self.reading_held = held;
        self.heard_us = self.heard_us.max(now_us);
    }

    /// It is (at least) `poll_timeout`.
    pub fn handle_timeout(&mut self, now_us: u64) {
        self.settle_close(now_us);
        match self.link {
            Link::Down => return,
            Link::Greeting if now_us >= self.connected_us + WELCOME_WAIT_US => {
                self.fail(CloseCode::HandshakeTimeout, Reason::NoWelcome);
            }
            Link::Greeting => {}
            Link::Up => self.handle_up_timeout(now_us),
        }
        self.handle_history_timeout(now_us);
        for room in &mut self.rooms {
            if matches!(room.stage, Stage::Waiting(until_us) if now_us >= until_us) {
                room.stage = Stage::Wanted;
            }
        }
    }

    fn handle_up_timeout(&mut self, now_us: u64) {
        if now_us >= self.dead_at_us() {
            self.fail(CloseCode::HeartbeatTimeout, Reason::Silent);
        } else {
            self.handle_migration_timeout(now_us);
        }
        self.ping_due |= now_us >= self.ping_at_us();
    }

    /// When to call `handle_timeout`, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<u64> {
        let of_link = match self.link {
            Link::Down => None,
            Link::Greeting => Some(self.connected_us + WELCOME_WAIT_US),
            Link::Up => Some(self.dead_at_us().min(self.ping_at_us())),
        };
        let of_move = self.migration_due_us().filter(|_| self.link == Link::Up);
        let of_rooms = self.rooms.iter().filter_map(|room| match room.stage {
            Stage::Waiting(until_us) if self.link == Link::Up => Some(until_us),
            _ => None,
        });
        let of_past = self.history_due_us().filter(|_| self.link == Link::Up);
        [of_link, of_move, of_past, self.closing_at_us].into_iter().flatten().chain(of_rooms).min()
    }

    /// The next frame to send, without any header, appended to `out`; `false` if there is none.
    pub fn poll_transmit(&mut self, now_us: u64, out: &mut Vec<u8>) -> bool {
        thread_local! {
            // An encoder's buffer is as large as the largest frame: one for all sessions of a thread.
            static ENCODER: RefCell<Encoder> = RefCell::default();
        }
        let sent = ENCODER.with_borrow_mut(|encoder| self.encode_next(now_us, encoder, out));
        if sent {
            self.sent_us = now_us;
        }
        sent
    }

    /// The connection is to be closed with this code: what the driver then hears of it does not matter any
    /// more.
    pub fn poll_close(&mut self) -> Option<CloseCode> {
        self.close_due.take()
    }

    /// The connection is gone, or could not be made.
    pub fn handle_disconnected(
        &mut self,
        now_us: u64,
        ending: Ending,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Next {
        let held = self.link == Link::Up && now_us >= self.connected_us + HELD_US;
        let was_dropped = ending == Ending::Dropped;
        let in_seconds = matches!(ending, Ending::Http { .. });
        let (reason, retry, after_us) = self.judge(ending);
        self.handle_link_down(emit);
        emit(Event::Disconnected { reason: reason.clone() });
        if held {
            self.backoff.reset();
        }
        if self.is_closing() {
            return give_up(Reason::Asked, emit);
        }
        match retry {
            Retry::Never => give_up(reason, emit),
            Retry::Reauthenticate => {
                emit(Event::TokenWanted);
                Next::Reauthenticate
            }
            Retry::Backoff if was_dropped => self.reconnect(0, emit),
            Retry::Backoff => match &self.migration {
                // The node spread its clients itself.
                Some(migration) if held => self.reconnect(migration.at_us.saturating_sub(now_us), emit),
                _ if self.backoff.attempt >= self.options.retries_max => give_up(reason, emit),
                _ => {
                    let (first_ms, max_ms) = (self.options.backoff_ms, self.options.backoff_max_ms);
                    let delay_us = match after_us {
                        0 => self.backoff.delay_us(first_ms, max_ms),
                        told => self.backoff.delay_after_us(told, in_seconds, first_ms, max_ms),
                    };
                    self.reconnect(delay_us, emit)
                }
            },
        }
    }

    // --- details
    // ----------------------------------------------------------------------------------------------------

    /// Close the connection with `code`; `reason` is what the application will hear.
    pub(super) fn fail(&mut self, code: CloseCode, reason: Reason) {
        if self.reason.is_none() {
            self.reason = Some(reason);
            self.close_due = Some(code);
        }
    }

    /// The other side broke the rules of transport or protocol.
    pub fn handle_malformed(&mut self, code: CloseCode, what: &str) {
        self.fail(code, Reason::Malformed(what.into()));
    }

    /// This connection is to be closed: nothing of it counts any more.
    pub(super) fn is_failed(&self) -> bool {
        self.reason.is_some()
    }

    /// Number of a request: never 0, which means that the server began.
    pub(super) fn take_request(&mut self) -> u32 {
        let request = self.next_request;
        self.next_request = request.checked_add(1).unwrap_or(1);
        request
    }

    /// Forget a room, and refuse what was said in it.
    pub(super) fn remove_room(&mut self, at: usize, asked: bool, emit: &mut impl FnMut(Event<'_>)) {
        let room = self.rooms.remove(at);
        emit(Event::Unsubscribed { room: room.room(), asked });
        self.refuse_history(room.id, emit);
        for publication in self.outbox.take_room(room.id) {
            emit(Event::Refused {
                kind: Kind::Publish as u8,
                id: publication.nonce,
                room: None,
                reason: Refusal::NotSubscribed,
                retry_after_ms: None,
                detail: "",
            });
        }
    }

    /// Jitter for what is tried again on the same connection.
    pub(super) fn jitter_us(&mut self, below_us: u64) -> u64 {
        self.backoff.random() % below_us.max(1)
    }

    /// The delay before another try.
    pub(super) fn backoff_us(&mut self) -> u64 {
        self.backoff.delay_us(self.options.backoff_ms, self.options.backoff_max_ms)
    }

    /// `close` was called, and nothing stands in its way, or it waited long enough.
    pub(super) fn settle_close(&mut self, now_us: u64) {
        let Some(at_us) = self.closing_at_us else { return };
        if self.link != Link::Down && (self.outbox.is_empty() || now_us >= at_us) {
            // In the past nothing is waited for: the timer must not fire again.
            self.closing_at_us = Some(u64::MAX);
            self.fail(CloseCode::Normal, Reason::Asked);
        }
    }

    fn check_room_left(&self) -> Result<(), Full> {
        if self.outbox.unanswered() < self.options.unanswered_max as usize { Ok(()) } else { Err(Full) }
    }

    /// A node that is not heard for two heartbeats, though it was asked, is gone.
    fn dead_at_us(&self) -> u64 {
        if self.reading_held { u64::MAX } else { self.heard_us + 2 * self.heartbeat_us }
    }

    /// Half a heartbeat after the last frame sent; and a heartbeat after the last one heard, since reactions
    /// alone have no answer.
    fn ping_at_us(&self) -> u64 {
        let silence_at_us = self.heard_us.max(self.pinged_us) + self.heartbeat_us;
        (self.sent_us + self.heartbeat_us / 2).min(silence_at_us)
    }

    /// Why it ended, and what that allows. What this side decided goes before what the node said, and that
    /// before what the transport saw.
    fn judge(&mut self, ending: Ending) -> (Reason, Retry, u64) {
        let (own, told) = (self.reason.take(), self.told.take());
        self.close_due = None;
        match (own, told) {
            (Some(own), _) => {
                let (retry, after_us) = verdict(&own);
                (own, retry, after_us)
            }
            (None, Some(told)) => {
                (Reason::Told { code: told.code, detail: told.detail }, told.retry, told.after_us)
            }
            (None, None) => {
                let reason = match ending {
                    Ending::Code(code) => Reason::Told { code, detail: Box::default() },
                    other => Reason::Transport(other),
                };
                let (retry, after_us) = verdict(&reason);
                (reason, retry, after_us)
            }
        }
    }

    pub(super) fn handle_link_down(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        self.link = Link::Down;
        self.forget_next();
        (self.hello_due, self.ping_due, self.takes_compressed) = (false, false, false);
        self.outbox.handle_disconnected();
        self.handle_history_disconnected();
        for at in (0..self.rooms.len()).rev() {
            if !self.rooms[at].handle_disconnected() {
                self.remove_room(at, true, emit);
            }
        }
    }

    /// Capabilities that `Hello` offers.
    pub(super) fn offered(&self) -> u64 {
        if self.options.compression { capability::DEFLATE_1 } else { 0 }
    }

    fn reconnect(&mut self, after_us: u64, emit: &mut impl FnMut(Event<'_>)) -> Next {
        emit(Event::Reconnecting { after_us, attempt: self.backoff.attempt });
        Next::Reconnect { after_us }
    }

    fn encode_next(&mut self, now_us: u64, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
        if self.link == Link::Down || self.reason.is_some() {
            return false;
        }
        if std::mem::take(&mut self.hello_due) {
            let Options { token, name, agent, .. } = &self.options;
            let (capabilities, ticket) = (self.offered(), &*self.ticket);
            let hello = Hello { token, name, agent, ticket, capabilities, ..Hello::default() };
            encoder.client(&ClientFrame::Hello(hello), out);
            return true;
        }
        self.encode_room(encoder, out)
            || self.encode_outbox(now_us, encoder, out)
            || self.encode_history(encoder, out)
            || self.encode_ping(now_us, encoder, out)
    }

    fn encode_room(&mut self, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
        let is_due = |at: usize| match self.rooms[at].stage {
            Stage::Unwanted => true,
            // The node knows one subscription of a room: the one before, which is being left, goes first.
            Stage::Wanted => self.rooms[..at].iter().all(|before| before.name != self.rooms[at].name),
            _ => false,
        };
        let Some(at) = (0..self.rooms.len()).find(|&at| is_due(at)) else { return false };
        let request = self.take_request();
        let room = &mut self.rooms[at];
        if let Some(alias) = room.stale_alias.take() {
            encoder.client(&ClientFrame::Unsubscribe { request, alias }, out);
            return true;
        }
        room.request = request;
        if room.stage == Stage::Unwanted {
            room.stage = Stage::Leaving;
            encoder.client(&ClientFrame::Unsubscribe { request, alias: room.alias }, out);
        } else {
            room.stage = Stage::Asked;
            let (resume, replay) = room.wish();
            encoder.client(
                &ClientFrame::Subscribe(Subscribe { request, room: &room.name, resume, replay }),
                out,
            );
        }
        true
    }

    fn encode_outbox(&mut self, now_us: u64, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
        if self.link != Link::Up || self.outbox.is_empty() || self.is_changing() {
            return false;
        }
        let rooms = &self.rooms;
        let alias = |id: RoomId| rooms.iter().find(|r| r.id == id && r.stage == Stage::Live).map(|r| r.alias);
        if let Some((alias, age_ms, p)) = self.outbox.poll_publication(now_us, alias) {
            let publish = Publish {
                alias,
                nonce: p.nonce,
                text: &p.text,
                reply_to: p.reply_to,
                attachment: &p.attachment,
                author: &p.author,
                role: p.role,
                age_ms,
            };
            encoder.client(&ClientFrame::Publish(publish), out);
        } else if let Some((alias, s)) = self.outbox.poll_state(alias) {
            let set = SetState { request: s.request, alias, key: &s.key, value: s.value.as_deref() };
            encoder.client(&ClientFrame::SetState(set), out);
        } else if let Some((alias, r)) = self.outbox.poll_reaction(alias) {
            let count = r.count.min(REACTION_COUNT_MAX);
            encoder.client(&ClientFrame::React(React { alias, key: &r.key, count }), out);
            if r.count > count {
                self.outbox.react(r.room, &r.key, r.count - count);
            }
        } else {
            return false;
        }
        true
    }

    fn encode_history(&mut self, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
        let history = if self.link == Link::Up { self.poll_history() } else { None };
        if let Some(history) = history {
            encoder.client(&ClientFrame::History(history), out);
        }
        history.is_some()
    }

    fn encode_ping(&mut self, now_us: u64, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
        if self.link != Link::Up || !std::mem::take(&mut self.ping_due) {
            return false;
        }
        self.pinged_us = now_us;
        encoder.client(&ClientFrame::Ping { client_us: now_us }, out);
        true
    }
}

fn give_up(reason: Reason, emit: &mut impl FnMut(Event<'_>)) -> Next {
    emit(Event::Closed { reason: reason.clone() });
    Next::GiveUp(reason)
}
