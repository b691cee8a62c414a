//! A session: the state machine of a client, which outlives its connections. Frames and time go in, frames
//! and events come out.
//!
//! A driver calls, for each connection: `handle_connected`; then `handle_frame` for each frame and
//! `handle_timeout` at `poll_timeout`. After each of these it calls `poll_transmit` until that gives nothing,
//! and then `poll_close`. At the end it calls `handle_disconnected`, which returns the next step.
//!
//! Invariants: `Hello` is sent first and once on each connection; a frame is sent at least every half
//! heartbeat; an idle session has no heap memory except names and the ticket; time never goes back. After
//! `Closed` a session takes and sends nothing.
//! Not here: the application's requests (`requests`), the meaning of frames (`receive`), rooms
//! (`subscriptions`), unanswered publications (`outbox`, `outcomes`), requests for earlier messages
//! (`history`), the next connection (`migration`), timeouts (`heartbeat`), reasons of an end (`ending`),
//! delays (`retry`).

use std::cell::RefCell;

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Renew};
use grandstand_protocol::limits::{AGENT_BYTES_MAX, TOKEN_BYTES_MAX};
use grandstand_protocol::rules;
use grandstand_protocol::version::capability;

use super::ending::ConnectionEnd;
use super::heartbeat::Heartbeat;
use super::history::HistoryRequests;
use super::limits::NodeLimits;
use super::migration::Migrations;
use super::outbox::Outbox;
use super::receive::Receiver;
use super::retry::{Backoff, DOUBTS_MAX, Verdict};
use super::subscriptions::{RequestNumbers, Subscriptions};
use super::{Ending, Event, Next, NextConnection, Options, Reason, RoomId, outcomes};

/// Longest time from `handle_connected` to `Welcome`. The node allows the same time for `Hello`.
pub(super) const WELCOME_WAIT_US: u64 = 10_000_000;

/// How long a connection may take to answer after [`Session::probe`]: a few retransmissions on a slow
/// network.
pub const PROBE_WAIT_US: u64 = 3_000_000;

/// A connection that lasted this long was good: the next delay is small again. It is longer than a node takes
/// to refuse.
const HELD_US: u64 = 5_000_000;

/// How long the session waits for answers to publications after `close`.
pub const CLOSE_WAIT_US: u64 = 2_000_000;

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

/// Whether the application has closed the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    No,
    /// It has; until this time the session waits for answers.
    Lingers(u64),
    /// The wait is over.
    Decided,
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
    pub(super) limits: NodeLimits,
    pub(super) link: Link,
    pub(super) close: Close,
    pub(super) ticket: Box<[u8]>,
    /// `Welcome.nodes`.
    pub(super) nodes: Box<str>,
    /// Whether the node may send compressed batches on this connection.
    pub(super) takes_compressed: bool,
    /// Whether any node has accepted the session.
    pub(super) was_welcomed: bool,
    /// Ends in a row, before that, which may be the word of something between.
    pub(super) doubts: u8,
    /// Whether `Closed` was given out.
    pub(super) over: bool,
    pub(super) next_nonce: u64,
    pub(super) requests: RequestNumbers,
    connected_us: u64,
    is_hello_due: bool,
    /// Whether the node takes a new token on this connection.
    pub(super) renews: bool,
    pub(super) is_renewal_due: bool,
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
            limits: NodeLimits::default(),
            link: Link::Down,
            close: Close::No,
            ticket: Box::default(),
            nodes: Box::default(),
            takes_compressed: false,
            was_welcomed: false,
            doubts: 0,
            over: false,
            next_nonce,
            requests: RequestNumbers::new(),
            connected_us: 0,
            is_hello_due: false,
            renews: false,
            is_renewal_due: false,
        }
    }

    // --- what the application can look at

    /// The number of a followed room.
    pub fn room_id(&self, name: &str) -> Option<RoomId> {
        self.subscriptions.id(name)
    }

    /// Epoch and next offset of a room, to give as `SubscribeOptions::resume` in a later run.
    pub fn position(&self, room: RoomId) -> Option<(u64, u64)> {
        self.subscriptions.get(room)?.resume_point()
    }

    /// The value of a key of the room's state.
    pub fn state(&self, room: RoomId, key: &str) -> Option<&[u8]> {
        self.subscriptions.get(room)?.lane.values.get(key)
    }

    /// All keys and values of the room's state, in the order of the keys.
    pub fn states(&self, room: RoomId) -> impl Iterator<Item = (&str, &[u8])> {
        self.subscriptions.get(room).into_iter().flat_map(|r| r.lane.values.iter())
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

    /// Whether the session is over: [`Closed`](super::EventOf::Closed) was its last event.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether [`Session::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.close != Close::No
    }

    /// Addresses of nodes that serve the same rooms over the same transport, as the last `Welcome` named
    /// them.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.split(',').filter(|node| !node.is_empty())
    }

    /// A random number, by which a driver spreads sessions over addresses.
    pub fn draw(&mut self) -> u64 {
        self.backoff.random()
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
        if self.heartbeat.handle_reading_held(now_us, held) {
            self.migrations.end_doubt();
        }
    }

    /// The time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now_us: u64) {
        settle_close(self, now_us);
        match self.link {
            Link::Down => return,
            Link::Greeting if now_us >= self.connected_us + WELCOME_WAIT_US => {
                self.end.decide(CloseCode::HandshakeTimeout, Reason::NoWelcome);
            }
            Link::Greeting => {}
            Link::Up => handle_up_timeout(self, now_us),
        }
        self.history.handle_timeout(now_us);
        self.subscriptions.handle_timeout(now_us);
    }

    /// The device woke up, or its network changed. A connection must prove within [`PROBE_WAIT_US`] that it
    /// still works, and the delays of reconnects begin anew.
    pub fn probe(&mut self, now_us: u64) {
        self.backoff.reset();
        match self.link {
            Link::Down => {}
            Link::Greeting => {
                let by_us = (self.connected_us + WELCOME_WAIT_US).min(now_us + PROBE_WAIT_US);
                self.connected_us = by_us.saturating_sub(WELCOME_WAIT_US);
            }
            Link::Up => self.heartbeat.probe(now_us, PROBE_WAIT_US),
        }
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
        let of_close = if let Close::Lingers(until_us) = self.close { Some(until_us) } else { None };
        [of_link, of_close].into_iter().flatten().chain(of_rooms).min()
    }

    /// The next frame to send, without any header, appended to `out`; `false` if there is none.
    pub fn poll_transmit(&mut self, now_us: u64, out: &mut Vec<u8>) -> bool {
        thread_local! {
            // An encoder's buffer is as large as the largest frame, so all sessions of a thread share one.
            static ENCODER: RefCell<Encoder> = RefCell::default();
        }
        let sent = ENCODER.with_borrow_mut(|encoder| encode_next(self, now_us, encoder, out));
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
        let (reason, verdict) = self.end.judge(ending);
        handle_link_down(self, emit);
        emit(Event::Disconnected { reason: reason.clone() });
        if held {
            self.backoff.reset();
        }
        if is_close_due(self, now_us) {
            return outcomes::give_up(self, Reason::Asked, emit);
        }
        let is_doubtful = matches!(verdict, Verdict::Doubtful { .. }) && !self.was_welcomed;
        self.doubts = self.doubts.saturating_add(u8::from(is_doubtful));
        if is_doubtful && self.doubts >= DOUBTS_MAX {
            return outcomes::give_up(self, reason, emit);
        }
        match verdict {
            Verdict::Never => outcomes::give_up(self, reason, emit),
            Verdict::Reauthenticate => {
                emit(Event::TokenWanted);
                Next::Reauthenticate
            }
            _ if was_dropped => reconnect(&self.backoff, 0, emit),
            Verdict::Backoff { after_us } | Verdict::Doubtful { after_us } => {
                match self.migrations.planned_us() {
                    // The node has spread its clients itself.
                    Some(at_us) if held => reconnect(&self.backoff, at_us.saturating_sub(now_us), emit),
                    _ if self.backoff.attempt >= self.options.retries_max => {
                        outcomes::give_up(self, reason, emit)
                    }
                    _ => {
                        let (first_ms, max_ms) = (self.options.backoff_ms, self.options.backoff_max_ms);
                        let delay_us = match after_us {
                            0 => self.backoff.delay_us(first_ms, max_ms),
                            told => self.backoff.delay_after_us(told, in_seconds, first_ms, max_ms),
                        };
                        reconnect(&self.backoff, delay_us, emit)
                    }
                }
            }
        }
    }

    /// Without a connection: whether the session is over, because it was closed and has nothing to wait for.
    /// The driver asks on every turn, and connects no more.
    pub fn poll_over(&mut self, now_us: u64, emit: &mut impl FnMut(Event<'_>)) -> Option<Reason> {
        let is_due = self.link == Link::Down && is_close_due(self, now_us) && !self.over;
        is_due.then(|| self.give_up(Reason::Asked, emit))
    }

    /// Without a connection: end the session for this reason. Returns it.
    pub fn give_up(&mut self, reason: Reason, emit: &mut impl FnMut(Event<'_>)) -> Reason {
        outcomes::give_up(self, reason.clone(), emit);
        reason
    }

    /// A frame arrived; it is given without its header.
    pub fn handle_frame(&mut self, now_us: u64, frame: &[u8], emit: &mut impl FnMut(Event<'_>)) {
        if self.end.is_decided() || self.over {
            return;
        }
        if self.heartbeat.handle_heard(now_us) {
            self.migrations.end_doubt();
        }
        Receiver { session: self, now_us }.handle_frame(frame, emit);
        settle_close(self, now_us);
    }

    /// The node broke the rules of the transport or the protocol.
    pub fn handle_malformed(&mut self, code: CloseCode, what: &str) {
        self.end.decide(code, Reason::Malformed(what.into()));
    }

    // --- the next connection, beside this one

    /// The driver declares that it can hold two connections at a time: see [`NextConnection::poll_open`].
    pub fn overlap_migrations(&mut self) {
        self.migrations.overlap();
        self.heartbeat.overlap();
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
        let Some((frames, reason)) = self.migrations.poll_change(now_us, waits) else { return false };
        handle_link_down(self, emit);
        self.end.forget_announced();
        emit(Event::Disconnected { reason });
        self.handle_connected(now_us);
        self.is_hello_due = false;
        for frame in &frames {
            self.handle_frame(now_us, frame, emit);
        }
        true
    }
}

/// After `close`: end the connection once every answer has arrived or the wait is over.
pub(super) fn settle_close(session: &mut Session, now_us: u64) {
    let Close::Lingers(until_us) = session.close else { return };
    if session.link != Link::Down && (session.outbox.is_empty() || now_us >= until_us) {
        session.close = Close::Decided;
        session.end.decide(CloseCode::Normal, Reason::Asked);
    }
}

/// After `close`, without a connection: whether there is nothing more to wait for.
fn is_close_due(session: &Session, now_us: u64) -> bool {
    match session.close {
        Close::No => false,
        Close::Lingers(until_us) => now_us >= until_us || session.outbox.unanswered() == 0,
        Close::Decided => true,
    }
}

fn handle_up_timeout(session: &mut Session, now_us: u64) {
    if session.heartbeat.is_dead(now_us) {
        session.end.decide(CloseCode::HeartbeatTimeout, Reason::Silent);
    } else if session.heartbeat.poll_doubt(now_us) {
        if !session.migrations.doubt(now_us) {
            session.end.decide(CloseCode::HeartbeatTimeout, Reason::Silent);
        }
    } else if session.migrations.handle_timeout(now_us) {
        session.end.decide(CloseCode::GoingAway, Reason::GoAway);
    } else if session.migrations.is_next_late(now_us) {
        session.next_connection().handle_failed(now_us);
    }
    session.heartbeat.handle_timeout(now_us);
}

fn handle_link_down(session: &mut Session, emit: &mut impl FnMut(Event<'_>)) {
    session.link = Link::Down;
    (session.is_hello_due, session.takes_compressed) = (false, false);
    (session.renews, session.is_renewal_due) = (false, false);
    session.migrations.forget_next();
    session.heartbeat.handle_disconnected();
    session.outbox.handle_disconnected();
    session.history.handle_disconnected();
    for at in session.subscriptions.handle_disconnected() {
        outcomes::end_room(session, at, true, emit);
    }
    outcomes::end_orphans(session, emit);
}

/// Capabilities that `Hello` offers.
pub(super) fn offered(options: &Options) -> u64 {
    capability::RENEW | if options.compression { capability::DEFLATE_1 } else { 0 }
}

/// Writes `Hello`, without a name or token for which a node would close the connection.
pub(super) fn encode_hello(session: &Session, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let Options { token, name, agent, .. } = &session.options;
    let name = if rules::is_display_name(name) { name } else { "" };
    let token = if token.len() <= TOKEN_BYTES_MAX { token } else { "" };
    let agent = if agent.len() <= AGENT_BYTES_MAX { agent } else { "" };
    let (capabilities, ticket) = (offered(&session.options), &*session.ticket);
    let hello = Hello { token, name, agent, ticket, capabilities, ..Hello::default() };
    encoder.client(&ClientFrame::Hello(hello), out);
}

fn encode_next(session: &mut Session, now_us: u64, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
    if session.link == Link::Down || session.end.is_decided() {
        return false;
    }
    if std::mem::take(&mut session.is_hello_due) {
        encode_hello(session, encoder, out);
        return true;
    }
    if session.subscriptions.encode_next(&mut session.requests, encoder, out) {
        return true;
    }
    if session.link != Link::Up {
        return false;
    }
    if std::mem::take(&mut session.is_renewal_due) {
        let (request, token) = (session.requests.take(), &*session.options.token);
        encoder.client(&ClientFrame::Renew(Renew { request, token }), out);
        return true;
    }
    let subscriptions = &session.subscriptions;
    let alias = |id: RoomId| subscriptions.live(id).map(|room| room.alias);
    if !session.migrations.is_changing() && session.outbox.encode_next(now_us, alias, encoder, out) {
        return true;
    }
    if let Some(history) = session.history.poll(&session.subscriptions) {
        encoder.client(&ClientFrame::History(history), out);
        return true;
    }
    let is_ping_due = session.heartbeat.poll_ping(now_us);
    if is_ping_due {
        encoder.client(&ClientFrame::Ping { client_us: now_us }, out);
    }
    is_ping_due
}

fn reconnect(backoff: &Backoff, after_us: u64, emit: &mut impl FnMut(Event<'_>)) -> Next {
    emit(Event::Reconnecting { after_us, attempt: backoff.attempt });
    Next::Reconnect { after_us }
}
