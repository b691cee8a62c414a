//! A session: what outlives connections. Frames and time go in, frames and events come out.
//!
//! A driver does, for each connection: `handle_connected`; then, as things happen, `handle_frame` and
//! `handle_timeout` (at `poll_timeout`), each followed by `poll_transmit` until it gives nothing and by
//! `poll_close`; at the end `handle_disconnected`, which says what next.
//!
//! Invariants: `Hello` is sent first and once on each connection; something is sent at least every half
//! heartbeat; an idle session has no heap except names and ticket; time never goes back.
//! Not here: what frames mean (`receive`), the rooms (`subscriptions`), what waits for answers (`outbox`),
//! requests for the past (`history`), the next connection (`migration`), times of a connection (`heartbeat`),
//! reasons of its end (`ending`), delays (`retry`).

use std::cell::RefCell;

use grandstand_protocol::close::{CloseCode, Retry};
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Kind};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::is_reaction_key;
use grandstand_protocol::version::capability;

use super::ending::ConnectionEnd;
use super::heartbeat::Heartbeat;
use super::history::HistoryRequests;
use super::migration::Migrations;
use super::outbox::Outbox;
use super::receive::Receiver;
use super::retry::Backoff;
use super::subscriptions::{RequestNumbers, Subscriptions};
use super::{
    Ending, Event, Full, Next, NextConnection, Options, Publication, Reason, RoomId, SubscribeOptions,
};

/// From `handle_connected` to `Welcome`. The node allows as long for its part.
pub(super) const WELCOME_WAIT_US: u64 = 10_000_000;

/// A connection that lived so long was good: the next delay begins small again. Longer than a node takes to
/// refuse.
const HELD_US: u64 = 5_000_000;

/// After `close`, how long to wait for answers to publications.
const LINGER_US: u64 = 2_000_000;

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

/// A session. See the file's head for how it is driven.
#[derive(Debug)]
pub struct Session {
    pub(super) options: Options,
    pub(super) subscriptions: Subscriptions,
    pub(super) outbox: Outbox,
    pub(super) history: HistoryRequests,
    pub(super) migrations: Migrations,
    pub(super) heartbeat: Heartbeat,
    pub(super) end: ConnectionEnd,
    pub(super) backoff: Backoff,
    pub(super) faults: Faults,
    pub(super) link: Link,
    pub(super) ticket: Box<[u8]>,
    /// On this connection batches may come compressed.
    pub(super) takes_compressed: bool,
    closing_at_us: Option<u64>,
    connected_us: u64,
    next_nonce: u64,
    requests: RequestNumbers,
    is_hello_due: bool,
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
            subscriptions: Subscriptions::default(),
            outbox: Outbox::default(),
            history: HistoryRequests::default(),
            migrations: Migrations::default(),
            heartbeat: Heartbeat::new(),
            end: ConnectionEnd::default(),
            backoff,
            faults: Faults::default(),
            link: Link::Down,
            ticket: Box::default(),
            takes_compressed: false,
            closing_at_us: None,
            connected_us: 0,
            next_nonce,
            requests: RequestNumbers::new(),
            is_hello_due: false,
        }
    }

    // --- what the application asks for
    // ------------------------------------------------------------------------------

    /// Follow a room, now and after every reconnect. A room that is followed already keeps its options.
    pub fn subscribe(&mut self, room: &str, options: SubscribeOptions) -> RoomId {
        self.subscriptions.subscribe(room, options, self.options.keep_state)
    }

    /// Stop following a room. What was said in it and not answered is refused, by this side; where the room
    /// was not followed yet, it is forgotten.
    pub fn unsubscribe(&mut self, room: RoomId) {
        if self.subscriptions.unsubscribe(room) {
            self.outbox.take_room(room);
            self.history.refuse_room(room, &mut |_| {});
        }
    }

    /// Say something: the nonce under which the answer will come.
    ///
    /// # Errors
    /// [`Full`] while too much waits for an answer.
    pub fn publish(&mut self, now_us: u64, room: RoomId, publication: &Publication<'_>) -> Result<u64, Full> {
        self.outbox.check_room_left(self.options.unanswered_max)?;
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
        self.outbox.check_room_left(self.options.unanswered_max)?;
        let request = self.requests.take();
        self.outbox.set_state(request, room, key, value);
        Ok(request)
    }

    /// Ask for messages of a followed room's past, from an offset on, those left out by pacing included: the
    /// number under which they come, as [`History`](super::EventOf::History) and
    /// [`HistoryEnd`](super::EventOf::HistoryEnd), or are refused. What is no longer kept is passed over.
    ///
    /// # Errors
    /// [`Full`] while too many requests are under way.
    pub fn history(&mut self, room: RoomId, from: u64, count: u64) -> Result<u32, Full> {
        self.history.begin(&mut self.requests, room, from, count)
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
        self.subscriptions.id(name)
    }

    /// Epoch and next offset of a room: what to give as [`SubscribeOptions::resume`] in a later run.
    pub fn position(&self, room: RoomId) -> Option<(u64, u64)> {
        self.subscriptions.get(room)?.resume_point()
    }

    /// The value of a key of the room's state.
    pub fn state(&self, room: RoomId, key: &str) -> Option<&[u8]> {
        self.subscriptions.get(room)?.lane.get(key)
    }

    /// All keys and values of the room's state, in the order of the keys.
    pub fn states(&self, room: RoomId) -> impl Iterator<Item = (&str, &[u8])> {
        self.subscriptions.get(room).into_iter().flat_map(|r| r.lane.iter())
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
        self.link == Link::Up && self.subscriptions.live(room).is_some()
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
        self.migrations.take_where_to()
    }

    // --- what the driver tells
    // --------------------------------------------------------------------------------------

    /// A connection stands.
    pub fn handle_connected(&mut self, now_us: u64) {
        assert!(self.link == Link::Down, "a connection within a connection");
        self.link = Link::Greeting;
        self.is_hello_due = true;
        self.connected_us = now_us;
        self.heartbeat.handle_connected(now_us);
    }

    /// While the driver does not read on purpose, silence is no sign.
    pub fn handle_reading_held(&mut self, now_us: u64, held: bool) {
        self.heartbeat.handle_reading_held(now_us, held);
    }

    /// It is (at least) `poll_timeout`.
    pub fn handle_timeout(&mut self, now_us: u64) {
        self.settle_close(now_us);
        match self.link {
            Link::Down => return,
            Link::Greeting if now_us >= self.connected_us + WELCOME_WAIT_US => {
                self.end.decide(CloseCode::HandshakeTimeout, Reason::NoWelcome);
            }
            Link::Greeting => {}
            Link::Up => self.handle_up_timeout(now_us),
        }
        self.history.handle_timeout(now_us);
        self.subscriptions.handle_timeout(now_us);
    }

    fn handle_up_timeout(&mut self, now_us: u64) {
        if self.heartbeat.is_dead(now_us) {
            self.end.decide(CloseCode::HeartbeatTimeout, Reason::Silent);
        } else if self.migrations.handle_timeout(now_us) {
            self.end.decide(CloseCode::GoingAway, Reason::GoAway);
        } else if self.migrations.is_next_late(now_us) {
            self.next_connection().handle_failed(now_us);
        }
        self.heartbeat.handle_timeout(now_us);
    }

    /// When to call `handle_timeout`, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<u64> {
        let of_link = match self.link {
            Link::Down => None,
            Link::Greeting => Some(self.connected_us + WELCOME_WAIT_US),
            Link::Up => Some(self.heartbeat.due_us()),
        };
        let of_rooms = [self.migrations.due_us(), self.history.due_us(), self.subscriptions.due_us()];
        let of_rooms = of_rooms.into_iter().flatten().filter(|_| self.link == Link::Up);
        [of_link, self.closing_at_us].into_iter().flatten().chain(of_rooms).min()
    }

    /// The next frame to send, without any header, appended to `out`; `false` if there is none.
    pub fn poll_transmit(&mut self, now_us: u64, out: &mut Vec<u8>) -> bool {
        thread_local! {
            // An encoder's buffer is as large as the largest frame: one for all sessions of a thread.
            static ENCODER: RefCell<Encoder> = RefCell::default();
        }
        let sent = ENCODER.with_borrow_mut(|encoder| self.encode_next(now_us, encoder, out));
        if sent {
            self.heartbeat.handle_sent(now_us);
        }
        sent
    }

    /// The connection is to be closed with this code: what the driver then hears of it does not matter any
    /// more.
    pub fn poll_close(&mut self) -> Option<CloseCode> {
        self.end.poll_close()
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
        let (reason, retry, after_us) = self.end.judge(ending);
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
            Retry::Backoff if was_dropped => reconnect(&self.backoff, 0, emit),
            Retry::Backoff => match self.migrations.planned_us() {
                // The node spread its clients itself.
                Some(at_us) if held => reconnect(&self.backoff, at_us.saturating_sub(now_us), emit),
                _ if self.backoff.attempt >= self.options.retries_max => give_up(reason, emit),
                _ => {
                    let (first_ms, max_ms) = (self.options.backoff_ms, self.options.backoff_max_ms);
                    let delay_us = match after_us {
                        0 => self.backoff.delay_us(first_ms, max_ms),
                        told => self.backoff.delay_after_us(told, in_seconds, first_ms, max_ms),
                    };
                    reconnect(&self.backoff, delay_us, emit)
                }
            },
        }
    }

    /// A frame came, without its header.
    pub fn handle_frame(&mut self, now_us: u64, frame: &[u8], emit: &mut impl FnMut(Event<'_>)) {
        if self.end.is_decided() {
            return;
        }
        self.heartbeat.handle_heard(now_us);
        Receiver { session: self, now_us }.handle_frame(frame, emit);
        self.settle_close(now_us);
    }

    /// The other side broke the rules of transport or protocol.
    pub fn handle_malformed(&mut self, code: CloseCode, what: &str) {
        self.end.decide(code, Reason::Malformed(what.into()));
    }

    // --- the next connection, beside this one
    // -----------------------------------------------------------------------

    /// The driver can hold two connections at a time: see [`NextConnection::poll_open`].
    pub fn overlap_migrations(&mut self) {
        self.migrations.overlap();
    }

    /// The connection that is to follow this one.
    pub fn next_connection(&mut self) -> NextConnection<'_> {
        NextConnection(self)
    }

    /// Change over, if it is time: `true`: the next connection is the connection now, and the old one is to
    /// be closed. `ended`: the old one has ended, so nothing is waited for.
    pub fn poll_change(&mut self, now_us: u64, ended: bool, emit: &mut impl FnMut(Event<'_>)) -> bool {
        let waits = self.outbox.has_in_flight() && !ended;
        if self.end.is_decided() {
            return false;
        }
        let Some(frames) = self.migrations.poll_change(now_us, waits) else { return false };
        self.handle_link_down(emit);
        self.end.forget_announced();
        emit(Event::Disconnected { reason: Reason::GoAway });
        self.handle_connected(now_us);
        self.is_hello_due = false;
        for frame in &frames {
            self.handle_frame(now_us, frame, emit);
        }
        true
    }

    // --- details
    // ----------------------------------------------------------------------------------------------------

    /// Forget a room, and refuse what was said in it.
    pub(super) fn remove_room(&mut self, at: usize, asked: bool, emit: &mut impl FnMut(Event<'_>)) {
        let room = self.subscriptions.remove(at);
        emit(Event::Unsubscribed { room: room.room(), asked });
        self.history.refuse_room(room.id, emit);
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

    /// `close` was called, and nothing stands in its way, or it waited long enough.
    pub(super) fn settle_close(&mut self, now_us: u64) {
        let Some(at_us) = self.closing_at_us else { return };
        if self.link != Link::Down && (self.outbox.is_empty() || now_us >= at_us) {
            // In the past nothing is waited for: the timer must not fire again.
            self.closing_at_us = Some(u64::MAX);
            self.end.decide(CloseCode::Normal, Reason::Asked);
        }
    }

    fn handle_link_down(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        self.link = Link::Down;
        (self.is_hello_due, self.takes_compressed) = (false, false);
        self.migrations.forget_next();
        self.heartbeat.handle_disconnected();
        self.outbox.handle_disconnected();
        self.history.handle_disconnected();
        for at in self.subscriptions.handle_disconnected() {
            self.remove_room(at, true, emit);
        }
    }

    /// Capabilities that `Hello` offers.
    pub(super) fn offered(&self) -> u64 {
        if self.options.compression { capability::DEFLATE_1 } else { 0 }
    }

    pub(super) fn encode_hello(&self, encoder: &mut Encoder, out: &mut Vec<u8>) {
        let Options { token, name, agent, .. } = &self.options;
        let (capabilities, ticket) = (self.offered(), &*self.ticket);
        let hello = Hello { token, name, agent, ticket, capabilities, ..Hello::default() };
        encoder.client(&ClientFrame::Hello(hello), out);
    }

    fn encode_next(&mut self, now_us: u64, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
        if self.link == Link::Down || self.end.is_decided() {
            return false;
        }
        if std::mem::take(&mut self.is_hello_due) {
            self.encode_hello(encoder, out);
            return true;
        }
        if self.subscriptions.encode_next(&mut self.requests, encoder, out) {
            return true;
        }
        if self.link != Link::Up {
            return false;
        }
        let subscriptions = &self.subscriptions;
        let alias = |id: RoomId| subscriptions.live(id).map(|room| room.alias);
        if !self.migrations.is_changing() && self.outbox.encode_next(now_us, alias, encoder, out) {
            return true;
        }
        if let Some(history) = self.history.poll(&self.subscriptions) {
            encoder.client(&ClientFrame::History(history), out);
            return true;
        }
        let is_ping_due = self.heartbeat.poll_ping(now_us);
        if is_ping_due {
            encoder.client(&ClientFrame::Ping { client_us: now_us }, out);
        }
        is_ping_due
    }
}

fn reconnect(backoff: &Backoff, after_us: u64, emit: &mut impl FnMut(Event<'_>)) -> Next {
    emit(Event::Reconnecting { after_us, attempt: backoff.attempt });
    Next::Reconnect { after_us }
}

fn give_up(reason: Reason, emit: &mut impl FnMut(Event<'_>)) -> Next {
    emit(Event::Closed { reason: reason.clone() });
    Next::GiveUp(reason)
}
