//! A client: a session in its own task, for apps.
//!
//! Why no unbounded queue: when an app does not take its events, its session stops reading. The viewer's
//! cursor then lags at the node, where lag costs nothing, and no events pile up here.
//! Invariants: at most `events_max` events and those of one read wait; at most [`COMMANDS_MAX`] commands
//! wait.
//! Not here: sessions (`core`), connections (`driver`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use grandstand_protocol::frame::{Kind, Role};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, rules};

use super::history::HistoryRequests;
use super::{Connector, Control, Driver, Handler, History, HistoryError, Url, seed};
use crate::core::{Event, Options, OwnedEvent, Publication, Session, SubscribeOptions};

/// Most commands that wait for the session: those of a person, or of a bridge in a burst, while a connection
/// is down.
const COMMANDS_MAX: usize = 1024;

/// The session reads again when at most this many events wait.
fn low_water(events_max: usize) -> usize {
    events_max / 2
}

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Settings of the session. A seed of 0 is replaced by a random one.
    pub session: Options,
    /// Number of waiting events at which the session stops reading.
    pub events_max: usize,
    /// Whether the app answers [`Event::TokenWanted`](crate::core::EventOf::TokenWanted) with
    /// [`Client::set_token`]; otherwise an expired token ends the session.
    pub renews_token: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        // A few screens' worth.
        ClientOptions { session: Options::default(), events_max: 1024, renews_token: false }
    }
}

/// A message to publish, which owns its texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedPublication {
    /// The text.
    pub text: String,
    /// Offset of the message that this one answers.
    pub reply_to: Option<u64>,
    /// Reference to an attachment; empty for none.
    pub attachment: String,
    /// A bridge's author; empty for the session's own name.
    pub author: String,
    /// A bridge's author's role.
    pub role: Role,
    /// Set on a retry after a temporary refusal: the message is then in the log once, whatever became of the
    /// first attempt. After the end of a connection the session itself retries unanswered publications.
    pub again: Option<Again>,
}

/// Marks a retry: the nonce of the publication, and the age of the first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The nonce that [`Client::publish`] returned for the first attempt.
    pub nonce: u64,
    /// Time since the first attempt.
    pub age: Duration,
}

/// Too many commands wait for the session, or the session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session has too much waiting, or is over")
    }
}

impl std::error::Error for Busy {}

/// A session in its own task. Clones share it; the session closes when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Client(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    next_nonce: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared(Mutex<Queues>);

#[derive(Debug, Default)]
struct Queues {
    events: VecDeque<OwnedEvent>,
    events_max: usize,
    commands: VecDeque<Command>,
    history: HistoryRequests,
    token: Option<String>,
    app: Option<Waker>,
    session: Option<Waker>,
    close: bool,
    over: bool,
}

#[derive(Debug)]
enum Command {
    Subscribe(Box<str>, SubscribeOptions),
    Unsubscribe(Box<str>),
    Publish(Box<str>, u64, Instant, Box<OwnedPublication>),
    React(Box<str>, Box<str>, u32),
    SetState(Box<str>, Box<str>, Option<Box<[u8]>>),
    History(Box<str>, u64, u64, u64),
}

/// A request for earlier messages that a caller waits for.
#[derive(Debug)]
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.lock().history.forget(self.ticket);
    }
}

impl Client {
    /// Begin a session, which connects and reconnects by itself. Must be called within a tokio runtime.
    pub fn connect(connector: &Connector, url: &Url, mut options: ClientOptions) -> Client {
        if options.session.seed == 0 {
            options.session.seed = seed();
        }
        let events_max = options.events_max.max(1);
        let shared = Arc::new(Shared(Mutex::new(Queues { events_max, ..Queues::default() })));
        let bridge = Bridge { shared: shared.clone(), renews_token: options.renews_token };
        let driver = Driver::new(connector, url, Session::new(options.session), bridge);
        tokio::spawn(driver.run());
        Client(Arc::new(Handle { shared, next_nonce: AtomicU64::new(seed() >> 1) }))
    }

    /// The next event; `None` after [`Closed`](crate::core::EventOf::Closed).
    /// [`BatchEnd`](crate::core::EventOf::BatchEnd) is left out. The future may be dropped and the function
    /// called again without loss.
    pub async fn next_event(&self) -> Option<OwnedEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The polled form of [`Client::next_event`]. Only one task at a time can wait.
    pub fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<OwnedEvent>> {
        let mut queues = self.0.shared.lock();
        if let Some(event) = queues.events.pop_front() {
            if queues.events.len() == low_water(queues.events_max) {
                queues.wake_session();
            }
            return Poll::Ready(Some(event));
        }
        if queues.over {
            return Poll::Ready(None);
        }
        queues.app = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Follow a room.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn subscribe(&self, room: &str, options: SubscribeOptions) -> Result<(), Busy> {
        self.command(Command::Subscribe(room.into(), options))
    }

    /// Stop following a room.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn unsubscribe(&self, room: &str) -> Result<(), Busy> {
        self.command(Command::Unsubscribe(room.into()))
    }

    /// Publish a message in a followed room. Returns the nonce of the
    /// [`Published`](crate::core::EventOf::Published), [`Refused`](crate::core::EventOf::Refused) or
    /// [`Uncertain`](crate::core::EventOf::Uncertain) that answers.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn publish(&self, room: &str, publication: OwnedPublication) -> Result<u64, Busy> {
        let nonce = match publication.again {
            Some(again) => again.nonce,
            None => self.0.next_nonce.fetch_add(1, Ordering::Relaxed),
        };
        self.command(Command::Publish(room.into(), nonce, Instant::now(), Box::new(publication)))?;
        Ok(nonce)
    }

    /// Send a reaction.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn react(&self, room: &str, key: &str, count: u32) -> Result<(), Busy> {
        self.command(Command::React(room.into(), key.into(), count))
    }

    /// Set a key of a room's state, or remove it.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn set_state(&self, room: &str, key: &str, value: Option<&[u8]>) -> Result<(), Busy> {
        self.command(Command::SetState(room.into(), key.into(), value.map(Box::from)))
    }

    /// Request at most `count` earlier messages of a followed room, from an offset on. They include those
    /// that pacing left out, and none are folded. The client handles pages, waits and reconnects. The future
    /// may be dropped.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn history(&self, room: &str, from: u64, count: u64) -> Result<History, HistoryError> {
        let ticket = self.0.shared.lock().history.begin();
        let waiting = Waiting { shared: &self.0.shared, ticket };
        self.command(Command::History(room.into(), ticket, from, count))
            .map_err(|Busy| HistoryError::Busy)?;
        std::future::poll_fn(|cx| waiting.shared.lock().history.poll(ticket, cx.waker())).await
    }

    /// Set a new token for the next connection.
    pub fn set_token(&self, token: &str) {
        let mut queues = self.0.shared.lock();
        queues.token = Some(token.into());
        queues.wake_session();
    }

    /// End the session as soon as publications are answered, within two seconds. [`Client::next_event`]
    /// reports the end.
    pub fn close(&self) {
        self.0.close();
    }

    fn command(&self, command: Command) -> Result<(), Busy> {
        let mut queues = self.0.shared.lock();
        if queues.over || queues.close || queues.commands.len() >= COMMANDS_MAX {
            return Err(Busy);
        }
        queues.commands.push_back(command);
        queues.wake_session();
        Ok(())
    }
}

impl Handle {
    fn close(&self) {
        let mut queues = self.shared.lock();
        queues.close = true;
        queues.wake_session();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn wake_session(&mut self) {
        if let Some(waker) = self.session.take() {
            waker.wake();
        }
    }

    fn push_event(&mut self, event: OwnedEvent) {
        if matches!(event, OwnedEvent::Closed { .. }) {
            self.over = true;
            self.history.fail_all();
        }
        self.events.push_back(event);
        if let Some(waker) = self.app.take() {
            waker.wake();
        }
    }
}

/// The session's side of the queues.
#[derive(Debug)]
struct Bridge {
    shared: Arc<Shared>,
    renews_token: bool,
}

impl Handler for Bridge {
    fn handle_event(&mut self, _: u64, event: &Event<'_>) {
        if matches!(event, Event::BatchEnd { .. }) {
            return;
        }
        let mut queues = self.shared.lock();
        if !queues.history.take(event) {
            queues.push_event(event.to_owned());
        }
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let mut queues = self.shared.lock();
        queues.session = Some(cx.waker().clone());
        while let Some(command) = queues.commands.pop_front() {
            if let Some(again) = execute(command, control, &mut queues) {
                queues.commands.push_front(again);
                break;
            }
        }
        if queues.close && queues.commands.is_empty() {
            control.session.close(control.now_us);
        }
        // An app that closes may not read events any more, so the close must not wait for that.
        if queues.events.len() >= queues.events_max && !queues.close {
            control.hold_reading_until(u64::MAX);
        } else if queues.events.len() <= low_water(queues.events_max) || queues.close {
            control.hold_reading_until(0);
        }
        None
    }

    fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        if !self.renews_token {
            return Poll::Ready(None);
        }
        let mut queues = self.shared.lock();
        queues.session = Some(cx.waker().clone());
        queues.token.take().map_or(Poll::Pending, |token| Poll::Ready(Some(token)))
    }
}

impl Drop for Bridge {
    /// The runtime stopped, or the task panicked: callers that wait for events must not wait for ever.
    fn drop(&mut self) {
        let mut queues = self.shared.lock();
        queues.over = true;
        queues.history.fail_all();
        if let Some(waker) = queues.app.take() {
            waker.wake();
        }
    }
}

/// Returns the command if the session is full.
fn execute(command: Command, control: &mut Control<'_>, queues: &mut Queues) -> Option<Command> {
    let session = &mut *control.session;
    match &command {
        Command::Subscribe(room, options) => drop(session.subscribe(room, *options)),
        Command::Unsubscribe(room) => {
            if let Some(id) = session.room_id(room) {
                session.unsubscribe(id);
            }
        }
        Command::Publish(room, nonce, given, p) => {
            let Some(id) = session.room_id(room) else {
                queues.push_event(refused(Kind::Publish, *nonce, Refusal::NotSubscribed));
                return None;
            };
            let (text, attachment, author) = (&*p.text, &*p.attachment, &*p.author);
            let (reply_to, role, nonce) = (p.reply_to, p.role, Some(*nonce));
            // Its age grows while it waits for the session.
            let age = p.again.map(|again| again.age + given.elapsed());
            let age_ms = age.map_or(0, |age| age.as_millis().clamp(1, u32::MAX.into()) as u32);
            let publication = Publication { text, reply_to, attachment, author, role, nonce, age_ms };
            if let Err(reason) = publication.check(limits::TEXT_BYTES_MAX) {
                queues.push_event(refused(Kind::Publish, publication.nonce.unwrap_or(0), reason));
                return None;
            }
            if session.publish(control.now_us, id, &publication).is_err() {
                return Some(command);
            }
        }
        Command::React(room, key, count) => {
            if let Some(id) = session.room_id(room) {
                session.react(id, key, *count);
            }
        }
        Command::SetState(room, key, value) => {
            let Some(id) = session.room_id(room) else {
                queues.push_event(refused(Kind::SetState, 0, Refusal::NotSubscribed));
                return None;
            };
            let value_bytes_max = limits::STATE_VALUE_BYTES_MAX;
            if let Err(reason) = rules::check_state(key, value.as_deref(), value_bytes_max) {
                queues.push_event(refused(Kind::SetState, 0, reason));
                return None;
            }
            if session.set_state(id, key, value.as_deref()).is_err() {
                return Some(command);
            }
        }
        Command::History(room, ticket, from, count) => {
            let made = match session.room_id(room) {
                None => Err(HistoryError::Refused(Refusal::NotSubscribed)),
                Some(id) => session.history(id, *from, *count).map_err(|_| HistoryError::Busy),
            };
            queues.history.made(*ticket, made);
        }
    }
    None
}

/// A refusal by this client: no request is sent.
fn refused(kind: Kind, id: u64, reason: Refusal) -> OwnedEvent {
    let kind = kind as u8;
    OwnedEvent::Refused { kind, id, room: None, reason, retry_after_ms: None, detail: Box::default() }
}
