//! Migration: the change from one connection to the next. The next one is made before this one is closed, so
//! that a viewer sees neither a pause nor a message twice.
//!
//! At the time in `GoAway`, plus a little jitter, the session asks its driver for a second connection. It
//! leads to the address that the node named or, when no node answers there, to the one that the application
//! gave. The session sends `Hello` over it while the old connection goes on delivering. The session changes
//! over in one step when `Welcome` has arrived and all publications are answered, or had time for an answer.
//! It subscribes again after the last message that it delivered, retries unanswered publications under their
//! nonces, and closes the old connection. A driver that can hold only one connection closes it first and
//! reconnects.
//! A session that doubts whether its node lives does the same at once, to any other address: whoever is heard
//! first, the old node or the new one, has the session.
//! Invariants: the session acts on the frames of one connection at a time; it keeps the old connection until
//! the next one is ready; a migration ends before the node's own deadline if a node answers.
//! Not here: the meaning of frames (`receive`), the change-over itself (`session`), connecting (the driver).

use grandstand_protocol::frame::{Encoder, GoAway, ServerFrame};

use super::retry::Backoff;
use super::session::{Link, WELCOME_WAIT_US, encode_hello};
use super::{Reason, Session};

/// The client's own jitter: at most a part of the time that the node gave, so that the node's spread keeps
/// its shape, ...
const JITTER_PART: u64 = 8;
/// ... at least a little, for nodes that give every client the same time, ...
const JITTER_MIN_US: u64 = 20_000;
/// ... and never so long that the node closes first.
const JITTER_MAX_US: u64 = 1_000_000;

/// How long the session waits for answers once the next connection is established: a disk write and a round
/// trip. Then it retries the publications there. When another process has taken over, the old one has no
/// answer to give, and the viewer waits this long for nothing.
const ANSWER_WAIT_US: u64 = 250_000;

/// Most frames after `Welcome` before the change-over: a node sends none unasked except a `GoAway`.
const FRAMES_MAX: usize = 8;

/// The content of a `GoAway`, or a doubt.
#[derive(Debug)]
struct Migration {
    at_us: u64,
    where_to: Box<str>,
    next: Next,
    /// The node has not asked for it: it has not answered.
    is_doubt: bool,
}

/// The state of the next connection.
#[derive(Debug)]
enum Next {
    /// It is not time for it yet.
    Later,
    /// The session is about to ask the driver for it.
    Wanted,
    /// The session has asked the driver for it.
    Opening,
    /// It is established; `Hello` is due or sent.
    Greeting { hello_due: bool, since_us: u64 },
    /// `Welcome` has arrived, the first of these frames.
    Greeted { since_us: u64, frames: Vec<Box<[u8]>> },
}

/// The migration that a node asked for, if any. See the file's head.
#[derive(Debug, Default)]
pub(super) struct Migrations {
    current: Option<Box<Migration>>,
    /// Whether the driver can hold two connections during a migration.
    overlaps: bool,
    fell_back: bool,
}

impl Migrations {
    pub(super) fn overlap(&mut self) {
        self.overlaps = true;
    }

    pub(super) fn handle_go_away(&mut self, now_us: u64, g: &GoAway<'_>, backoff: &mut Backoff) {
        if self.current.as_ref().is_some_and(|m| !matches!(m.next, Next::Later)) {
            return;
        }
        let after_us = u64::from(g.after_ms) * 1000;
        let left_us = u64::from(g.deadline_ms.saturating_sub(g.after_ms)) * 1000 / 2;
        let bound_us = (after_us / JITTER_PART).clamp(JITTER_MIN_US, JITTER_MAX_US).min(left_us);
        let at_us = now_us.saturating_add(after_us).saturating_add(backoff.jitter_us(bound_us));
        let where_to = g.where_to.into();
        self.current = Some(Box::new(Migration { at_us, where_to, next: Next::Later, is_doubt: false }));
    }

    /// The node may be dead: ask for the next connection now. `false`: the driver cannot hold two.
    pub(super) fn doubt(&mut self, now_us: u64) -> bool {
        match self.current.as_mut() {
            _ if !self.overlaps => return false,
            None => {
                let (where_to, next) = (Box::default(), Next::Wanted);
                self.current = Some(Box::new(Migration { at_us: now_us, where_to, next, is_doubt: true }));
            }
            Some(migration) if matches!(migration.next, Next::Later) => {
                (migration.at_us, migration.next) = (now_us, Next::Wanted);
            }
            Some(_) => {}
        }
        true
    }

    /// The node was heard: what was begun because of a doubt is given up.
    pub(super) fn end_doubt(&mut self) {
        if self.current.as_ref().is_some_and(|migration| migration.is_doubt) {
            (self.current, self.fell_back) = (None, false);
        }
    }

    /// It is (at least) [`Migrations::due_us`]. `true`: the driver must close this connection before there is
    /// a next one.
    pub(super) fn handle_timeout(&mut self, now_us: u64) -> bool {
        let Some(migration) = self.current.as_mut() else { return false };
        let is_time = matches!(migration.next, Next::Later) && now_us >= migration.at_us;
        if is_time && self.overlaps {
            migration.next = Next::Wanted;
        }
        is_time && !self.overlaps
    }

    /// Whether the next connection's time for `Welcome` has passed.
    pub(super) fn is_next_late(&self, now_us: u64) -> bool {
        let is_late = |m: &Migration| matches!(m.next, Next::Greeting { since_us, .. } if now_us >= since_us + WELCOME_WAIT_US);
        self.current.as_ref().is_some_and(|m| is_late(m))
    }

    pub(super) fn due_us(&self) -> Option<u64> {
        let migration = self.current.as_ref()?;
        match &migration.next {
            Next::Later => Some(migration.at_us),
            Next::Wanted | Next::Opening => None,
            Next::Greeting { since_us, .. } => Some(since_us + WELCOME_WAIT_US),
            Next::Greeted { since_us, .. } => Some(since_us + ANSWER_WAIT_US),
        }
    }

    /// Whether publications wait, because the next connection is about to take over.
    pub(super) fn is_changing(&self) -> bool {
        self.current.as_ref().is_some_and(|m| matches!(m.next, Next::Greeting { .. } | Next::Greeted { .. }))
    }

    /// The frames of the next connection, once it may take over, and why: `Welcome` is the first.
    /// `has_in_flight`: some publications have no answer yet.
    pub(super) fn poll_change(
        &mut self,
        now_us: u64,
        has_in_flight: bool,
    ) -> Option<(Vec<Box<[u8]>>, Reason)> {
        let is_doubt = self.current.as_ref().is_some_and(|migration| migration.is_doubt);
        let Some(Next::Greeted { since_us, frames }) = self.current.as_mut().map(|m| &mut m.next) else {
            return None;
        };
        if has_in_flight && !is_doubt && now_us < *since_us + ANSWER_WAIT_US {
            return None;
        }
        let frames = std::mem::take(frames);
        (self.current, self.fell_back) = (None, false);
        Some((frames, if is_doubt { Reason::Silent } else { Reason::GoAway }))
    }

    /// The time at which the session leaves, or should have left, this connection.
    pub(super) fn planned_us(&self) -> Option<u64> {
        self.current.as_ref().filter(|m| !m.is_doubt).map(|m| m.at_us)
    }

    /// The address that `GoAway` named for the next connection; returned once.
    pub(super) fn take_where_to(&mut self) -> Option<Box<str>> {
        self.current.take().map(|m| m.where_to).filter(|where_to| !where_to.is_empty())
    }

    /// The session has a new connection.
    pub(super) fn forget(&mut self) {
        self.current = None;
    }

    /// The connection has ended, and with it the next connection that was begun.
    pub(super) fn forget_next(&mut self) {
        if let Some(migration) = self.current.as_mut() {
            migration.next = Next::Later;
        }
    }
}

/// The next connection of a session, as its driver sees it.
#[derive(Debug)]
pub struct NextConnection<'s>(pub(super) &'s mut Session);

impl NextConnection<'_> {
    /// The driver must make it now, beside the present one. Returns its address; empty for the present one's
    /// address. The driver then calls [`NextConnection::handle_connected`] or
    /// [`NextConnection::handle_failed`].
    pub fn poll_open(&mut self) -> Option<Box<str>> {
        let is_up = self.0.link == Link::Up;
        let migration = self.current().filter(|m| is_up && matches!(m.next, Next::Wanted))?;
        migration.next = Next::Opening;
        Some(migration.where_to.clone())
    }

    /// Whether the session still wants it. If not, the driver drops it.
    pub fn is_wanted(&self) -> bool {
        let is_under_way = |m: &Migration| !matches!(m.next, Next::Later | Next::Wanted);
        self.0.migrations.current.as_ref().is_some_and(|migration| is_under_way(migration))
    }

    /// Whether it is wanted because the present node does not answer, so that the driver must make it to any
    /// other address.
    pub fn is_doubt(&self) -> bool {
        self.0.migrations.current.as_ref().is_some_and(|migration| migration.is_doubt)
    }

    /// It is established.
    pub fn handle_connected(&mut self, now_us: u64) {
        if let Some(migration) = self.current() {
            migration.next = Next::Greeting { hello_due: true, since_us: now_us };
        }
    }

    /// It could not be made, or has ended. The session tries again later, at the address that the application
    /// gave.
    pub fn handle_failed(&mut self, now_us: u64) {
        let (first_ms, max_ms) = (self.0.options.backoff_ms, self.0.options.backoff_max_ms);
        let delay_us = self.0.backoff.delay_us(first_ms, max_ms);
        if let Some(migration) = self.current() {
            (migration.next, migration.at_us) = (Next::Later, now_us.saturating_add(delay_us));
            migration.where_to = Box::default();
            self.0.migrations.fell_back = true;
        }
    }

    /// Whether no node answered at the address in `GoAway`, so that the driver must try the one that the
    /// application gave.
    pub fn has_fallen_back(&self) -> bool {
        self.0.migrations.fell_back
    }

    /// The next frame to send over it, appended to `out`; `false` if there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(Next::Greeting { hello_due, .. }) = self.current().map(|m| &mut m.next) else {
            return false;
        };
        let is_due = std::mem::take(hello_due);
        if is_due {
            encode_hello(self.0, &mut Encoder::new(), out);
        }
        is_due
    }

    /// A frame arrived on it.
    pub fn handle_frame(&mut self, now_us: u64, frame: &[u8]) {
        let Some(migration) = self.current() else { return };
        match &mut migration.next {
            Next::Greeting { .. } if matches!(ServerFrame::decode(frame), Ok(ServerFrame::Welcome(_))) => {
                migration.next = Next::Greeted { since_us: now_us, frames: vec![frame.into()] };
            }
            Next::Greeted { frames, .. } if frames.len() < FRAMES_MAX => frames.push(frame.into()),
            _ => self.handle_failed(now_us),
        }
    }

    /// Whether `Welcome` has arrived on it. From then on the driver must not read it before the change-over.
    pub fn is_greeted(&self) -> bool {
        let current = self.0.migrations.current.as_ref();
        current.is_some_and(|m| matches!(m.next, Next::Greeted { .. }))
    }

    fn current(&mut self) -> Option<&mut Migration> {
        self.0.migrations.current.as_deref_mut()
    }
}
