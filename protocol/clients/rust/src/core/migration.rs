//! Moving: the next connection is made before this one is left, so that a viewer sees neither silence nor a
//! message twice.
//!
//! At the time that `GoAway` gave, and a little jitter, the driver is asked for a second connection, to the
//! address that the node named or, when nobody answers there, to the one that the application gave. `Hello`
//! goes over it while this one goes on delivering. When `Welcome` is there and what was published has its
//! answer, or had time for it, the session changes over in one step: rooms are subscribed to again after the
//! last message that was given out, what has no answer is said again under its nonce, the old connection is
//! closed. A driver that holds one connection only leaves first and comes back.
//! Invariants: frames of one connection at a time mean something; while the next one is not there, nothing is
//! given up; a move is over before the node's own deadline where somebody answers.
//! Not here: what the frames mean (`receive`), connecting (the driver).

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Encoder, GoAway, Hello, ServerFrame};

use super::session::{Link, WELCOME_WAIT_US};
use super::{Event, Options, Reason, Session};

/// The client's own jitter: at most a part of the time that the node gave, so that the node's spread stays
/// what it is, ...
const JITTER_PART: u64 = 8;
/// ... a little more than nothing, for nodes that tell everybody the same, ...
const JITTER_MIN_US: u64 = 20_000;
/// ... and never so long that the node closes first.
const JITTER_MAX_US: u64 = 1_000_000;

/// So long an answer is waited for once the next connection stands: a disk and a round trip. Then it is said
/// again there. Where another process has taken over, the old one has none to give, and this is how long the
/// viewer waits for nothing.
const ANSWER_WAIT_US: u64 = 250_000;

/// Frames that may follow `Welcome` before the change: a node sends none that was not asked, but for a
/// `GoAway`.
const FRAMES_MAX: usize = 8;

/// What `GoAway` asked for.
#[derive(Debug)]
pub(super) struct Migration {
    pub(super) at_us: u64,
    pub(super) where_to: Box<str>,
    next: Next,
}

/// How far the next connection is.
#[derive(Debug)]
enum Next {
    /// It is not time.
    Later,
    /// The driver is to be asked for it.
    Wanted,
    /// The driver was.
    Opening,
    /// It stands; `Hello` is due or out.
    Greeting { hello_due: bool, since_us: u64 },
    /// `Welcome` is here, first of these frames.
    Greeted { since_us: u64, frames: Vec<Box<[u8]>> },
}

impl Session {
    /// The driver can hold two connections at a time: see [`Session::poll_next_connection`].
    pub fn overlap_migrations(&mut self) {
        self.overlaps = true;
    }

    pub(super) fn handle_go_away(&mut self, now_us: u64, g: &GoAway<'_>, emit: &mut impl FnMut(Event<'_>)) {
        emit(Event::GoAway { where_to: g.where_to, after_ms: g.after_ms, detail: g.detail });
        if self.migration.as_ref().is_some_and(|m| !matches!(m.next, Next::Later)) {
            return;
        }
        let after_us = u64::from(g.after_ms) * 1000;
        let left_us = u64::from(g.deadline_ms.saturating_sub(g.after_ms)) * 1000 / 2;
        let bound_us = (after_us / JITTER_PART).clamp(JITTER_MIN_US, JITTER_MAX_US).min(left_us);
        let at_us = now_us.saturating_add(after_us).saturating_add(self.jitter_us(bound_us));
        self.migration = Some(Box::new(Migration { at_us, where_to: g.where_to.into(), next: Next::Later }));
    }

    pub(super) fn handle_migration_timeout(&mut self, now_us: u64) {
        let Some(migration) = self.migration.as_mut() else { return };
        match migration.next {
            Next::Later if now_us < migration.at_us => {}
            Next::Later if self.overlaps => migration.next = Next::Wanted,
            Next::Later => self.fail(CloseCode::GoingAway, Reason::GoAway),
            Next::Greeting { since_us, .. } if now_us >= since_us + WELCOME_WAIT_US => {
                self.handle_next_failed(now_us);
            }
            _ => {}
        }
    }

    pub(super) fn migration_due_us(&self) -> Option<u64> {
        let migration = self.migration.as_ref()?;
        match &migration.next {
            Next::Later => Some(migration.at_us),
            Next::Wanted | Next::Opening => None,
            Next::Greeting { since_us, .. } => Some(since_us + WELCOME_WAIT_US),
            Next::Greeted { since_us, .. } => Some(since_us + ANSWER_WAIT_US),
        }
    }

    /// A second connection is to be made, this one goes on meanwhile: where to, empty for where this one came
    /// by. To be followed by [`Session::handle_next_connected`] or [`Session::handle_next_failed`].
    pub fn poll_next_connection(&mut self) -> Option<Box<str>> {
        let migration =
            self.migration.as_mut().filter(|m| self.link == Link::Up && matches!(m.next, Next::Wanted))?;
        migration.next = Next::Opening;
        Some(migration.where_to.clone())
    }

    /// Is the next connection still of use? Otherwise it is to be dropped.
    pub fn wants_next(&self) -> bool {
        let is_under_way = |m: &Migration| !matches!(m.next, Next::Later | Next::Wanted);
        self.migration.as_ref().is_some_and(|migration| is_under_way(migration))
    }

    /// The next connection stands.
    pub fn handle_next_connected(&mut self, now_us: u64) {
        if let Some(migration) = self.migration.as_mut() {
            migration.next = Next::Greeting { hello_due: true, since_us: now_us };
        }
    }

    /// The next connection could not be made, or ended: it is tried again later, at the address that the
    /// application gave.
    pub fn handle_next_failed(&mut self, now_us: u64) {
        let delay_us = self.backoff_us();
        if let Some(migration) = self.migration.as_mut() {
            (migration.next, migration.at_us) = (Next::Later, now_us.saturating_add(delay_us));
            migration.where_to = Box::default();
            self.fell_back = true;
        }
    }

    /// Nobody answered where `GoAway` pointed: the address that the application gave is to be tried.
    pub fn has_fallen_back(&self) -> bool {
        self.fell_back
    }

    /// The next frame to send over the next connection, appended to `out`; `false` if there is none.
    pub fn poll_next_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(Next::Greeting { hello_due, .. }) = self.migration.as_mut().map(|m| &mut m.next) else {
            return false;
        };
        if !std::mem::take(hello_due) {
            return false;
        }
        let capabilities = self.offered();
        let Options { token, name, agent, .. } = &self.options;
        let hello = Hello { token, name, agent, ticket: &self.ticket, capabilities, ..Hello::default() };
        Encoder::new().client(&ClientFrame::Hello(hello), out);
        true
    }

    /// A frame came over the next connection.
    pub fn handle_next_frame(&mut self, now_us: u64, frame: &[u8]) {
        let Some(migration) = self.migration.as_mut() else { return };
        match &mut migration.next {
            Next::Greeting { .. } if matches!(ServerFrame::decode(frame), Ok(ServerFrame::Welcome(_))) => {
                migration.next = Next::Greeted { since_us: now_us, frames: vec![frame.into()] };
            }
            Next::Greeted { frames, .. } if frames.len() < FRAMES_MAX => frames.push(frame.into()),
            _ => self.handle_next_failed(now_us),
        }
    }

    /// Has `Welcome` come over the next connection? From then on it is not to be read before the change.
    pub fn is_next_greeted(&self) -> bool {
        self.migration.as_ref().is_some_and(|m| matches!(m.next, Next::Greeted { .. }))
    }

    /// Publications are held back while the next connection is about to take over.
    pub(super) fn is_changing(&self) -> bool {
        self.migration
            .as_ref()
            .is_some_and(|m| matches!(m.next, Next::Greeting { .. } | Next::Greeted { .. }))
    }

    /// Change over, if it is time: `true`: the next connection is the connection now, and the old one is to
    /// be closed. `ended`: the old one has ended, so nothing is waited for.
    pub fn poll_change(&mut self, now_us: u64, ended: bool, emit: &mut impl FnMut(Event<'_>)) -> bool {
        let Some(Next::Greeted { since_us, frames }) = self.migration.as_mut().map(|m| &mut m.next) else {
            return false;
        };
        let waits = self.outbox.has_in_flight() && now_us < *since_us + ANSWER_WAIT_US;
        if self.reason.is_some() || (waits && !ended) {
            return false;
        }
        let frames = std::mem::take(frames);
        self.migration = None;
        self.change(now_us, &frames, emit);
        true
    }

    fn change(&mut self, now_us: u64, frames: &[Box<[u8]>], emit: &mut impl FnMut(Event<'_>)) {
        self.handle_link_down(emit);
        (self.told, self.fell_back) = (None, false);
        emit(Event::Disconnected { reason: Reason::GoAway });
        self.handle_connected(now_us);
        self.hello_due = false;
        for frame in frames {
            self.handle_frame(now_us, frame, emit);
        }
    }

    /// The connection is gone: so is what was begun beside it.
    pub(super) fn forget_next(&mut self) {
        if let Some(migration) = self.migration.as_mut() {
            migration.next = Next::Later;
        }
    }
}
