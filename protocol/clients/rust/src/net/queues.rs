//! The queues between an app's tasks and its session's task: events to the app, commands to the session.
//!
//! Why no unbounded queue: when an app does not take its events, its session stops reading. The viewer's
//! cursor then lags at the node, where lag costs nothing, and no events pile up here.
//! Invariants: at most `events_max` events and those of one frame wait, besides one outcome per accepted
//! publication and act. After `close` the session reads on for its answers; once `events_max` events wait,
//! the others are left out to the end. At most [`COMMANDS_MAX`] commands wait; `Closed` is the last event.
//! Not here: the app's side (`client`), the session's side (`bridge`).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use grandstand_protocol::frame::Kind;
use grandstand_protocol::limits;

use super::Url;
use super::acts::{Acts, OwnedAct};
use super::answers::Answers;
use super::history::HistoryRequests;
use super::publication::OwnedPublication;
use super::tokens::NewToken;
use super::view::View;
use crate::core::{OwnedEvent, RequestError, SubscribeOptions};

/// Most commands that wait for the session: those of a person, or of a bridge in a burst, while a connection
/// is down.
const COMMANDS_MAX: usize = 1024;

#[derive(Debug)]
pub(super) enum Command {
    Subscribe(Box<str>, SubscribeOptions),
    Unsubscribe(Box<str>),
    /// The nonce, and when the app gave it.
    Publish(Box<str>, u64, u64, Box<OwnedPublication>),
    React(Box<str>, Box<str>, u32),
    SetState(Box<str>, Box<str>, Option<Box<[u8]>>),
    /// The app's number of it.
    Act(Box<str>, u32, Box<OwnedAct>),
    History(Box<str>, u64, u64, u64),
}

/// The queues, shared by the app's tasks and the session's.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Queues>);

#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) events: VecDeque<OwnedEvent>,
    pub(super) events_max: usize,
    pub(super) commands: VecDeque<Command>,
    pub(super) answers: Answers,
    pub(super) acts: Acts,
    pub(super) history: HistoryRequests,
    pub(super) view: View,
    pub(super) token: NewToken,
    /// The tasks that wait for an event, by the number of the wait.
    apps: Vec<(u64, Waker)>,
    next_wait: u64,
    pub(super) session: Option<Waker>,
    /// Longest text and most rooms, as far as the node has said.
    pub(super) text_bytes_max: usize,
    pub(super) rooms_max: usize,
    /// Of the present connection, or the last one.
    pub(super) url: Option<Url>,
    pub(super) network_changed: bool,
    /// When the app asked for the end, by the session's clock.
    pub(super) close_us: Option<u64>,
    /// Since the close events have been left out: none but outcomes may follow, or there would be a hole.
    leaves_out: bool,
    pub(super) over: bool,
}

impl Shared {
    pub(super) fn new(events_max: usize, keeps_state: bool) -> Shared {
        let view = View::new(keeps_state);
        let (text_bytes_max, rooms_max) = (limits::TEXT_BYTES_MAX, usize::MAX);
        let events_max = events_max.max(1);
        Shared(Mutex::new(Queues { events_max, view, text_bytes_max, rooms_max, ..Queues::default() }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    pub(super) fn wake_session(&mut self) {
        if let Some(waker) = self.session.take() {
            waker.wake();
        }
    }

    /// Number of waiting events at which the session reads again.
    pub(super) fn low_water(&self) -> usize {
        self.events_max / 2
    }

    /// Whether so many events wait that the session must stop reading. An app that closes may not take events
    /// any more, so the close does not wait for that.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= self.events_max && self.close_us.is_none()
    }

    /// Whether an event is left out, since the app has closed the session and does not take its events.
    fn leaves_out(&mut self, event: &OwnedEvent) -> bool {
        self.leaves_out |= self.close_us.is_some() && self.events.len() >= self.events_max;
        let is_outcome = match event {
            OwnedEvent::Refused { kind, id, .. } if *kind == Kind::Publish as u8 => {
                self.answers.contains(*id)
            }
            OwnedEvent::Refused { kind, .. } if *kind == Kind::Act as u8 => true,
            OwnedEvent::Refused { .. } => self.events.len() < 2 * self.events_max,
            _ => matches!(
                event,
                OwnedEvent::Published { .. }
                    | OwnedEvent::Uncertain { .. }
                    | OwnedEvent::NotSent { .. }
                    | OwnedEvent::StateSet { .. }
                    | OwnedEvent::StateUnanswered { .. }
                    | OwnedEvent::Acted { .. }
                    | OwnedEvent::ActUnanswered { .. }
                    | OwnedEvent::Closed { .. }
            ),
        };
        self.leaves_out && !is_outcome
    }

    /// # Errors
    /// [`RequestError::Over`] or [`RequestError::Full`].
    pub(super) fn check_open(&self) -> Result<(), RequestError> {
        if self.over || self.close_us.is_some() {
            Err(RequestError::Over)
        } else if self.commands.len() >= COMMANDS_MAX {
            Err(RequestError::Full)
        } else {
            Ok(())
        }
    }

    /// Give a command to the session. The caller has checked that there is room.
    pub(super) fn push_command(&mut self, command: Command) {
        self.commands.push_back(command);
        self.wake_session();
    }

    /// Give an event to the app. Before `Closed` come the outcomes of all that the session never saw.
    pub(super) fn push_event(&mut self, event: OwnedEvent) {
        if self.over || self.leaves_out(&event) {
            return;
        }
        match &event {
            OwnedEvent::Closed { .. } => self.end(),
            OwnedEvent::Welcome { text_bytes_max, rooms_max, .. } => {
                let told = |told: u32, most: usize| if told == 0 { most } else { told as usize };
                self.text_bytes_max = told(*text_bytes_max, limits::TEXT_BYTES_MAX);
                self.rooms_max = told(*rooms_max, usize::MAX);
                self.token.handle_welcome();
            }
            other if Acts::is_outcome(other) => self.acts.handle_event(other),
            other => self.answers.handle_event(other),
        }
        self.events.push_back(event);
        self.apps.drain(..).for_each(|(_, waker)| waker.wake());
    }

    /// The session takes nothing any more.
    fn end(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            if let Command::SetState(_, key, _) = command {
                self.events.push_back(OwnedEvent::StateUnanswered { request: 0, key, sent: false });
            }
        }
        for outcome in self.answers.outcomes() {
            self.answers.handle_event(&outcome);
            self.events.push_back(outcome);
        }
        for outcome in self.acts.outcomes() {
            self.acts.handle_event(&outcome);
            self.events.push_back(outcome);
        }
        self.history.fail_all();
        self.over = true;
    }

    /// The next event for one of the app's tasks, each of which has a number of its own.
    pub(super) fn poll_event(&mut self, wait: u64, cx: &mut Context<'_>) -> Poll<Option<OwnedEvent>> {
        if let Some(event) = self.events.pop_front() {
            if self.events.len() == self.low_water() {
                self.wake_session();
            }
            self.view.handle_event(&event);
            return Poll::Ready(Some(event));
        }
        if self.over {
            return Poll::Ready(None);
        }
        self.forget_wait(wait);
        self.apps.push((wait, cx.waker().clone()));
        Poll::Pending
    }

    /// Nobody waits for this answer any more, and the session is to stop the request.
    pub(super) fn forget_history(&mut self, ticket: u64) {
        self.history.forget(ticket);
        self.wake_session();
    }

    /// A number for a task that is about to wait for events.
    pub(super) fn begin_wait(&mut self) -> u64 {
        self.next_wait += 1;
        self.next_wait
    }

    /// A task no longer waits.
    pub(super) fn forget_wait(&mut self, wait: u64) {
        self.apps.retain(|(number, _)| *number != wait);
    }
}
