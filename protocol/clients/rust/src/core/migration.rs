//! Migration: the next connection is made before this one is left, so that a viewer sees neither silence nor
//! a message twice.
//!
//! At the time that `GoAway` gave, and a little jitter, the driver is asked for a second connection. It leads
//! to the address that the node named or, when nobody answers there, to the one that the application gave.
//! `Hello` is sent over it while this one goes on delivering. When `Welcome` is there and what was published
//! has its answer, or had time for it, the session changes over in one step: it subscribes again after the
//! last message that it gave out, sends again what has no answer under its nonce, and closes the old
//! connection. A driver that holds one connection only leaves first and comes back.
//! Invariants: frames of one connection at a time mean something; while the next one is not there, nothing is
//! given up; a migration is over before the node's own deadline where somebody answers.
//! Not here: what the frames mean (`receive`), changing over (`session`), connecting (the driver).

use grandstand_protocol::frame::{Encoder, GoAway, ServerFrame};

use super::Session;
use super::retry::Backoff;
use super::session::{Link, WELCOME_WAIT_US};

/// The client's own jitter: at most a part of the time that the node gave, so that the node's spread stays
/// what it is, ...
const JITTER_PART: u64 = 8;
/// ... a little more than nothing, for nodes that tell everybody the same, ...
const JITTER_MIN_US: u64 = 20_000;
/// ... and never so long that the node closes first.
const JITTER_MAX_US: u64 = 1_000_000;

/// An answer is waited for this long once the next connection is established: a disk and a round trip. Then
/// the request is sent again there. Where another process has taken over, the old one has no answer to give,
/// and the viewer waits this long for nothing.
const ANSWER_WAIT_US: u64 = 250_000;

/// Frames that may follow `Welcome` before the change: a node sends none that was not asked, but for a
/// `GoAway`.
const FRAMES_MAX: usize = 8;

/// What `GoAway` asked for.
#[derive(Debug)]
struct Migration {
    at_us: u64,
    where_to: Box<str>,
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
    /// It is established; `Hello` is due or sent.
    Greeting { hello_due: bool, since_us: u64 },
    /// `Welcome` is here, first of these frames.
    Greeted { since_us: u64, frames: Vec<Box<[u8]>> },
}

/// The migration that a node asked for, if it did. See the file's head.
#[derive(Debug, Default)]
pub(super) struct Migrations {
    current: Option<Box<Migration>>,
    /// The driver holds two connections while it migrates.
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
        self.current = Some(Box::new(Migration { at_us, where_to: g.where_to.into(), next: Next::Later }));
    }

    /// It is (at least) [`Migrations::due_us`]. `true`: this connection is to be left without a next one.
    pub(super) fn handle_timeout(&mut self, now_us: u64) -> bool {
        let Some(migration) = self.current.as_mut() else { return false };
        let is_time = matches!(migration.next, Next::Later) && now_us >= migration.at_us;
        if is_time && self.overlaps {
            migration.next = Next::Wanted;
        }
        is_time && !self.overlaps
    }

    /// Has the next connection had its time for `Welcome`?
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

    /// Publications are held back while the next connection is about to take over.
    pub(super) fn is_changing(&self) -> bool {
        self.current.as_ref().is_some_and(|m| matches!(m.next, Next::Greeting { .. } | Next::Greeted { .. }))
    }

    /// The frames of the next connection, when it is to take over: `Welcome` is the first. `has_in_flight`:
    /// answers are waited for.
    pub(super) fn poll_change(&mut self, now_us: u64, has_in_flight: bool) -> Option<Vec<Box<[u8]>>> {
        let Some(Next::Greeted { since_us, frames }) = self.current.as_mut().map(|m| &mut m.next) else {
            return None;
        };
        if has_in_flight && now_us < *since_us + ANSWER_WAIT_US {
            return None;
        }
        let frames = std::mem::take(frames);
        (self.current, self.fell_back) = (None, false);
        Some(frames)
    }

    /// When this connection is, or was, to be left.
    pub(super) fn planned_us(&self) -> Option<u64> {
        self.current.as_ref().map(|m| m.at_us)
    }

    /// Where `GoAway` wants the next connection to lead; given once.
    pub(super) fn take_where_to(&mut self) -> Option<Box<str>> {
        self.current.take().map(|m| m.where_to).filter(|where_to| !where_to.is_empty())
    }

    /// The session has a new connection.
    pub(super) fn forget(&mut self) {
        self.current = None;
    }

    /// The connection is gone: so is what was begun beside it.
    pub(super) fn forget_next(&mut self) {
        if let Some(migration) = self.current.as_mut() {
            migration.next = Next::Later;
        }
    }
}

/// The connection that is to follow the present one, as its driver sees it.
#[derive(Debug)]
pub struct NextConnection<'s>(pub(super) &'s mut Session);

impl NextConnection<'_> {
    /// It is to be made, while the present one goes on: where to, empty for where the present one leads. To
    /// be followed by [`NextConnection::handle_connected`] or [`NextConnection::handle_failed`].
    pub fn poll_open(&mut self) -> Option<Box<str>> {
        let is_up = self.0.link == Link::Up;
        let migration = self.current().filter(|m| is_up && matches!(m.next, Next::Wanted))?;
        migration.next = Next::Opening;
        Some(migration.where_to.clone())
    }

    /// Is it still of use? Otherwise it is to be dropped.
    pub fn is_wanted(&self) -> bool {
        let is_under_way = |m: &Migration| !matches!(m.next, Next::Later | Next::Wanted);
        self.0.migrations.current.as_ref().is_some_and(|migration| is_under_way(migration))
    }

    /// It is established.
    pub fn handle_connected(&mut self, now_us: u64) {
        if let Some(migration) = self.current() {
            migration.next = Next::Greeting { hello_due: true, since_us: now_us };
        }
    }

    /// It could not be made, or ended: it is tried again later, at the address that the application gave.
    pub fn handle_failed(&mut self, now_us: u64) {
        let (first_ms, max_ms) = (self.0.options.backoff_ms, self.0.options.backoff_max_ms);
        let delay_us = self.0.backoff.delay_us(first_ms, max_ms);
        if let Some(migration) = self.current() {
            (migration.next, migration.at_us) = (Next::Later, now_us.saturating_add(delay_us));
            migration.where_to = Box::default();
            self.0.migrations.fell_back = true;
        }
    }

    /// Nobody answered where `GoAway` pointed: the address that the application gave is to be tried.
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
            self.0.encode_hello(&mut Encoder::new(), out);
        }
        is_due
    }

    /// A frame came over it.
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

    /// Has `Welcome` come over it? From then on it is not to be read before the change.
    pub fn is_greeted(&self) -> bool {
        let current = self.0.migrations.current.as_ref();
        current.is_some_and(|m| matches!(m.next, Next::Greeted { .. }))
    }

    fn current(&mut self) -> Option<&mut Migration> {
        self.0.migrations.current.as_deref_mut()
    }
}
