//! A session: the state machine of a client, which outlives its connections. Frames and time go in, frames
//! and events come out.
//!
//! A driver calls, for each connection: `handle_connected`; then `handle_frame` for each frame and
//! `handle_timeout` at `poll_timeout`. After each of these it calls `poll_transmit` until that gives nothing,
//! and then `poll_close`. At the end it calls `handle_disconnected`, which returns the next step.
//!
//! Invariants: `Hello` is sent first and once on each connection; a frame is sent at least every half
//! heartbeat; an idle session has no heap memory except names and the ticket; time never goes back.
//! Not here: the meaning of frames (`receive`), rooms (`subscriptions`), unanswered publications (`outbox`),
//! requests for earlier messages (`history`), the next connection (`migration`), timeouts (`heartbeat`),
//! reasons of an end (`ending`), delays (`retry`).

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

/// Longest time from `handle_connected` to `Welcome`. The node allows the same time for `Hello`.
pub(super) const WELCOME_WAIT_US: u64 = 10_000_000;

/// A connection that lasted this long was good: the next delay is small again. It is longer than a node takes
/// to refuse.
const HELD_US: u64 = 5_000_000;

/// How long the session waits for answers to publications after `close`.
const LINGER_US: u64 = 2_000_000;

/// Counts of the node's breaches of the protocol; each was an [`Event::Fault`](super::EventOf::Fault) too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Messages that the node delivered twice; the session dropped the second one.
    pub duplicates: u64,
    /// Missing offsets without a gap notice.
    pub skipped: u64,
    /// Batches that did not continue the position.
    pub desyncs: u64,
}

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    /// `Hello` is sent or due; `Welcome` has not arrived.
    Greeting,
    Up,
}

/// A session. The file's head says how to drive it.
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
    /// Whether the node may send compressed batches on this connection.
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
        // Nonces must be new for the user, and the user's other sessions choose theirs in the same way. A
        // random start keeps them apart.
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

    /// Follow a room, now and after every reconnect. A room that is followed already keeps its options.
    pub fn subscribe(&mut self, room: &str, options: SubscribeOptions) -> RoomId {
        self.subscriptions.subscribe(room, options, self.options.keep_state)
    }

    /// Stop following a room. The session refuses its unanswered publications by itself. If the room was not
    /// followed yet, they are forgotten.
    pub fn unsubscribe(&mut self, room: RoomId) {
        if self.subscriptions.unsubscribe(room) {
            self.outbox.take_room(room);
            self.history.refuse_room(room, &mut |_| {});
        }
    }

    /// Publish a message. Returns the nonce of the answer.
    ///
    /// # Errors
    /// [`Full`] while too many requests are waiting for an answer.
    pub fn publish(&mut self, now_us: u64, room: RoomId, publication: &Publication<'_>) -> Result<u64, Full> {
        self.outbox.check_room_left(self.options.unanswered_max)?;
        let nonce = publication.nonce.unwrap_or(self.next_nonce);
        if publication.nonce.is_none() {
            self.next_nonce = self.next_nonce.wrapping_add(1);
        }
        self.outbox.publish(nonce, room, now_us, publication);
        Ok(nonce)
    }

    /// Send a reaction. Unsent reactions are added up, and dropped when the connection ends. A reaction with
    /// a key that the protocol does not allow is dropped too, since a server would close the connection.
    pub fn react(&mut self, room: RoomId, key: &str, count: u32) {
        if self.link == Link::Up && count > 0 && is_reaction_key(key) {
            self.outbox.react(room, key, count);
        }
    }

    /// Set a key of the room's state, or remove it. Returns the number of the answer. The session sends the
    /// request again after a reconnect if it has no answer.
    ///
    /// # Errors
    /// [`Full`] while too many requests are waiting for an answer.
    pub fn set_state(&mut self, room: RoomId, key: &str, value: Option<&[u8]>) -> Result<u32, Full> {
        self.outbox.check_room_left(self.options.unanswered_max)?;
        let request = self.requests.take();
        self.outbox.set_state(request, room, key, value);
        Ok(request)
    }

    /// Request earlier messages of a followed room from an offset on, including those that pacing left out.
    /// Returns the number of the answers, which are [`History`](super::EventOf::History) and
    /// [`HistoryEnd`](super::EventOf::HistoryEnd), or a refusal. Messages that the log no longer keeps are
    /// skipped.
    ///
    /// # Errors
    /// [`Full`] while too many requests are open.
    pub fn history(&mut self, room: RoomId, from: u64, count: u64) -> Result<u32, Full> {
        self.history.begin(&mut self.requests, room, from, count)
    }

    /// Use this token from the next connection on.
    pub fn set_token(&mut self, token: &str) {
        self.options.token = token.into();
    }

    /// End the session as soon as all publications are answered, at the latest in two seconds.
    pub fn close(&mut self, now_us: u64) {
        self.closing_at_us.get_or_insert(now_us.saturating_add(LINGER_US));
        self.settle_close(now_us);
    }

    // --- what the application can look at

    /// The number of a followed room.
    pub fn room_id(&self, name: &str) -> Option<RoomId> {
        self.subscriptions.id(name)
    }

    /// Epoch and next offset of a room, to give as [`SubscribeOptions::resume`] in a later run.
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

    /// Counts of the node's breaches of the protocol.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Whether the connection is established and `Welcome` has arrived.
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// Whether this room is followed at this moment.
    pub fn is_live(&self, room: RoomId) -> bool {
        self.link == Link::Up && self.subscriptions.live(room).is_some()
    }

    /// Number of publications and state changes without an answer.
    pub fn unanswered(&self) -> usize {
        self.outbox.unanswered()
    }

    /// Whether [`Session::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.closing_at_us.is_some()
    }

    /// The address that `GoAway` named for the next connection; returned once.
    pub fn take_where_to(&mut self) -> Option<Box<str>> {
        self.migrations.take_where_to()
    }

    // --- what the driver tells

    /// A connection is established.
    pub fn handle_connected(&mut self, now_us: u64) {
        assert!(self.link == Link::Down, "a connection within a connection");
        self.link = Link::Greeting;
        self.is_hello_due = true;
        self.connected_us = now_us;
        self.heartbeat.handle_connected(now_us);
    }

    /// The driver pauses or resumes reading. While it pauses, silence does not mean that the node is dead.
    pub fn handle_reading_held(&mut self, now_us: u64, held: bool) {
        self.heartbeat.handle_reading_held(now_us, held);
    }

    /// The time of `poll_timeout` has come.
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

    /// The time at which to call `handle_timeout`, if nothing happens before.
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
            // An encoder's buffer is as large as the largest frame, so all sessions of a thread share one.
            static ENCODER: RefCell<Encoder> = RefCell::default();
        }
        let sent = ENCODER.with_borrow_mut(|encoder| self.encode_next(now_us, encoder, out));
        if sent {
            self.heartbeat.handle_sent(now_us);
        }
        sent
    }

    /// The code with which the driver must close the connection. The session then ignores further news of
    /// that connection.
    pub fn poll_close(&mut self) -> Option<CloseCode> {
        self.end.poll_close()
    }

    /// The connection has ended, or could not be made.
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
                // The node has spread its clients itself.
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

    /// A frame arrived; it is given without its header.
    pub fn handle_frame(&mut self, now_us: u64, frame: &[u8], emit: &mut impl FnMut(Event<'_>)) {
        if self.end.is_decided() {
            return;
        }
        self.heartbeat.handle_heard(now_us);
        Receiver { session: self, now_us }.handle_frame(frame, emit);
        self.settle_close(now_us);
    }

    /// The node broke the rules of the transport or the protocol.
    pub fn handle_malformed(&mut self, code: CloseCode, what: &str) {
        self.end.decide(code, Reason::Malformed(what.into()));
    }

    // --- the next connection, beside this one

    /// The driver declares that it can hold two connections at a time: see [`NextConnection::poll_open`].
    pub fn overlap_migrations(&mut self) {
        self.migrations.overlap();
    }

    /// The connection that is to follow this one.
    pub fn next_connection(&mut self) -> NextConnection<'_> {
        NextConnection(self)
    }

    /// Change over to the next connection if it may take over. `true`: it has, and the driver must close the
    /// old one. `ended`: the old one has ended, so there is nothing to wait for.
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

    /// Forget a room, and refuse its publications.
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

    /// After `close`: end the connection once every answer has arrived or the wait is over.
    pub(super) fn settle_close(&mut self, now_us: u64) {
        let Some(at_us) = self.closing_at_us else { return };
        if self.link != Link::Down && (self.outbox.is_empty() || now_us >= at_us) {
            // A time in the past needs no timer: it must not fire again.
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
