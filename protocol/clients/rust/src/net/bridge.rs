//! The bridge: the session's side of an app's queues.
//!
//! Invariants: commands reach the session in the order in which the app gave them. What the session does not
//! take ends in an event. When the session's task is stopped, every publication still gets its outcome, and
//! nobody waits for ever.
//! Not here: the app's side (`client`), the queues (`queues`).

use std::sync::Arc;
use std::task::{Context, Poll};

use grandstand_protocol::frame::Kind;
use grandstand_protocol::refusal::Refusal;

use super::acts::Acts;
use super::history::HistoryError;
use super::queues::{Command, Queues, Shared};
use super::tokens::TokenRequests;
use super::{Control, Handler, Url};
use crate::core::{CLOSE_WAIT_US, Event, OwnedEvent, Reason, RequestError, RoomId, Session};

/// See the file's head.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) shared: Arc<Shared>,
    pub(super) renews_token: bool,
    pub(super) tokens: TokenRequests,
}

impl Handler for Bridge {
    fn handle_connected(&mut self, url: &Url) {
        self.shared.lock().url = Some(url.clone());
    }

    fn handle_event(&mut self, _: u64, event: &Event<'_>) {
        if matches!(event, Event::BatchEnd { .. }) {
            return;
        }
        if matches!(event, Event::TokenExpires { .. }) {
            self.tokens.begin();
        }
        let mut queues = self.shared.lock();
        if !queues.history.take(event) {
            let mut event = event.to_owned();
            if !Acts::is_outcome(&event) || queues.acts.rename(&mut event) {
                queues.push_event(event);
            }
        }
        if matches!(event, Event::TokenExpires { .. })
            && let Some(session) = queues.session.take()
        {
            // The provider's answer is waited for there.
            session.wake();
        }
    }

    fn is_full(&self) -> bool {
        self.shared.lock().is_full()
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let provided = self.tokens.poll(cx);
        let mut queues = self.shared.lock();
        queues.session = Some(cx.waker().clone());
        if let Poll::Ready(Some(token)) = provided {
            queues.token.set(token);
        }
        if let Some(token) = queues.token.poll() {
            // Of the app, which was told if it is too long; of a provider, then the old one holds.
            let _ = control.session.set_token(&token);
        }
        if std::mem::take(&mut queues.network_changed) {
            control.network_changed();
        }
        while let Some(command) = queues.commands.pop_front() {
            if let Some(again) = execute(command, control, &mut queues) {
                queues.commands.push_front(again);
                break;
            }
        }
        while let Some(request) = queues.history.poll_stopped() {
            control.session.cancel_history(request);
        }
        let mut due = None;
        if let Some(asked_us) = queues.close_us {
            let by_us = asked_us.saturating_add(CLOSE_WAIT_US);
            if queues.commands.is_empty() || control.now_us >= by_us {
                control.session.close(asked_us);
            } else {
                due = Some(by_us);
            }
        }
        if queues.is_full() {
            control.hold_reading_until(u64::MAX);
        } else if queues.events.len() <= queues.low_water() || queues.close_us.is_some() {
            control.hold_reading_until(0);
        }
        due
    }

    fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        if !self.renews_token {
            return Poll::Ready(None);
        }
        self.tokens.begin();
        if let Poll::Ready(provided) = self.tokens.poll(cx) {
            return Poll::Ready(provided);
        }
        let mut queues = self.shared.lock();
        queues.session = Some(cx.waker().clone());
        queues.token.take().map_or(Poll::Pending, |token| Poll::Ready(Some(token)))
    }
}

impl Drop for Bridge {
    /// Also when the runtime stops or the task panics.
    fn drop(&mut self) {
        self.shared.lock().push_event(OwnedEvent::Closed { reason: Reason::Stopped });
    }
}

/// Returns the command if the session is full.
fn execute(command: Command, control: &mut Control<'_>, queues: &mut Queues) -> Option<Command> {
    let session = &mut *control.session;
    match &command {
        Command::Subscribe(room, options) => match session.subscribe(room, *options) {
            Ok(id) => queues.view.number(room, id),
            Err(error) => {
                queues.view.unsubscribe(room);
                queues.push_event(refused(Kind::Subscribe, 0, error));
            }
        },
        Command::Unsubscribe(room) => {
            if let Some(id) = session.room_id(room) {
                session.unsubscribe(id, &mut |event| {
                    let mut event = event.to_owned();
                    if !Acts::is_outcome(&event) || queues.acts.rename(&mut event) {
                        queues.push_event(event);
                    }
                });
            }
        }
        Command::Publish(room, nonce, given_us, p) => {
            let publication = p.borrowed(*nonce, control.now_us.saturating_sub(*given_us));
            let id = followed(session, room);
            match id.and_then(|id| session.publish(control.now_us, id, &publication)) {
                Ok(_) => queues.answers.give(*nonce),
                Err(RequestError::Full) => return Some(command),
                Err(RequestError::Over | RequestError::Waiting) => {
                    let (nonce, text) = (*nonce, p.text.as_str().into());
                    queues.push_event(OwnedEvent::NotSent { nonce, text });
                }
                Err(error) => queues.push_event(refused(Kind::Publish, *nonce, error)),
            }
        }
        Command::React(room, key, count) => {
            // A reaction has no answer: one that cannot be sent now is dropped.
            if let Some(id) = session.room_id(room) {
                let _ = session.react(id, key, *count);
            }
        }
        Command::SetState(room, key, value) => {
            let id = followed(session, room);
            match id.and_then(|id| session.set_state(id, key, value.as_deref())) {
                Ok(_) => {}
                Err(RequestError::Full) => return Some(command),
                Err(error) => queues.push_event(refused(Kind::SetState, 0, error)),
            }
        }
        Command::Act(room, number, act) => {
            let id = followed(session, room);
            match id.and_then(|id| session.act(id, &act.borrowed())) {
                Ok(request) => queues.acts.made(*number, request),
                Err(RequestError::Full) => return Some(command),
                Err(RequestError::Over | RequestError::Waiting) => {
                    let (request, act) = (*number, act.act);
                    queues.push_event(OwnedEvent::ActUnanswered { request, act, sent: false });
                }
                Err(error) => queues.push_event(refused(Kind::Act, u64::from(*number), error)),
            }
        }
        Command::History(room, ticket, from, count) => {
            let id = followed(session, room);
            let made = id.and_then(|id| session.history(id, *from, *count));
            queues.history.made(*ticket, made.map_err(HistoryError::Request));
        }
    }
    None
}

fn followed(session: &Session, room: &str) -> Result<RoomId, RequestError> {
    session.room_id(room).ok_or(RequestError::Refused(Refusal::NotSubscribed))
}

/// A refusal by this client: no request is sent.
fn refused(kind: Kind, id: u64, error: RequestError) -> OwnedEvent {
    let reason = if let RequestError::Refused(reason) = error { reason } else { Refusal::Other };
    let (kind, detail) = (kind as u8, error.to_string().into());
    OwnedEvent::Refused { kind, id, room: None, reason, retry_after_ms: None, detail }
}
