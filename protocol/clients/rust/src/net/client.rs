//! A client: a session in its own task, for apps.
//!
//! Why a task: a session must answer heartbeats and reconnect while its app does something else.
//! Invariants: what an app or a person gives is checked at once and refused as a value; each publication that
//! was accepted ends in exactly one event. Each event goes to one of the tasks that wait for one, and all of
//! them learn of the end.
//! Not here: sessions (`core`), connections (`driver`), the queues between the tasks (`queues`, `bridge`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, rules};

use super::acts::{ActError, ActReceipt, OwnedAct};
use super::addresses::Urls;
use super::bridge::Bridge;
use super::publication::{OwnedPublication, PublishError, Receipt};
use super::queues::{Command, Queues, Shared};
use super::tokens::{TokenProvider, TokenRequests};
use super::view::{RoomInfo, Status};
use super::{Connector, Driver, History, HistoryError, Url, now_us, seed};
use crate::core::{Options, OwnedEvent, RequestError, Session, SubscribeOptions};

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Settings of the session. A seed of 0 is replaced by a random one.
    pub session: Options,
    /// Number of waiting events at which the session stops reading.
    pub events_max: usize,
    /// Whether the app answers [`Event::TokenWanted`](crate::core::EventOf::TokenWanted) with
    /// [`Client::set_token`]; without it and without `tokens` an expired token ends the session.
    pub renews_token: bool,
    /// Gives a new token when the old one runs out.
    pub tokens: Option<TokenProvider>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        // A few screens' worth.
        ClientOptions { session: Options::default(), events_max: 1024, renews_token: false, tokens: None }
    }
}

/// A session in its own task. Clones share it; the session closes when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Client(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    next_nonce: AtomicU64,
}

impl Client {
    /// Begin a session, which connects and reconnects by itself. Must be called within a tokio runtime.
    /// Several URLs of one node or cluster ([`Urls`]) are raced: the first is preferred, the next ones are
    /// tried when it fails or is silent for 0.6 s, and the one that works is remembered for ten minutes.
    ///
    /// # Errors
    /// [`RequestError::Refused`] when the name, the token or the agent in the options is not valid.
    pub fn connect(
        connector: &Connector,
        urls: impl Into<Urls>,
        mut options: ClientOptions,
    ) -> Result<Client, RequestError> {
        options.session.check()?;
        if options.session.seed == 0 {
            options.session.seed = seed();
        }
        // The app's view keeps it.
        let keeps_state = std::mem::take(&mut options.session.keep_state);
        let shared = Arc::new(Shared::new(options.events_max, keeps_state));
        let renews_token = options.renews_token || options.tokens.is_some();
        let tokens = TokenRequests::new(options.tokens);
        let bridge = Bridge { shared: shared.clone(), renews_token, tokens };
        let driver = Driver::new(connector, urls, Session::new(options.session), bridge);
        tokio::spawn(driver.run());
        Ok(Client(Arc::new(Handle { shared, next_nonce: AtomicU64::new(seed() >> 1) })))
    }

    /// The next event; `None` after [`Closed`](crate::core::EventOf::Closed).
    /// [`BatchEnd`](crate::core::EventOf::BatchEnd) is left out. The future may be dropped and the function
    /// called again without loss. Several tasks may wait: each event goes to one of them.
    pub async fn next_event(&self) -> Option<OwnedEvent> {
        let mut events = self.events();
        std::future::poll_fn(|cx| events.poll_event(cx)).await
    }

    /// The events as a stream. It does not keep the session open: that ends when the last [`Client`] is
    /// dropped. Several streams share the events: each event goes to one of them.
    pub fn events(&self) -> Events {
        let shared = self.0.shared.clone();
        let wait = shared.lock().begin_wait();
        Events { shared, wait }
    }

    /// Follow a room. A room that is followed already keeps its options.
    ///
    /// # Errors
    /// [`RequestError`]: the name is not valid, the node allows no more rooms, too much is waiting, or the
    /// session is over.
    pub fn subscribe(&self, room: &str, options: SubscribeOptions) -> Result<(), RequestError> {
        rules::check_room_name(room, limits::ROOM_NAME_BYTES_MAX)?;
        let mut queues = self.open()?;
        if !queues.view.follows(room) && queues.view.count() >= queues.rooms_max {
            return Err(Refusal::TooManyRooms.into());
        }
        queues.view.subscribe(room, options);
        queues.push_command(Command::Subscribe(room.into(), options));
        Ok(())
    }

    /// Stop following a room.
    ///
    /// # Errors
    /// [`RequestError::Full`] or [`RequestError::Over`].
    pub fn unsubscribe(&self, room: &str) -> Result<(), RequestError> {
        let mut queues = self.open()?;
        queues.view.unsubscribe(room);
        queues.push_command(Command::Unsubscribe(room.into()));
        Ok(())
    }

    /// Publish a message in a followed room, and wait for the answer. The same answer comes as an event.
    /// When the future is dropped after its first poll, the message may be published all the same, and the
    /// event says so.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(
        &self,
        room: &str,
        publication: impl Into<OwnedPublication>,
    ) -> Result<Receipt, PublishError> {
        let (_, ticket) = self.accept(room, publication.into(), true)?;
        let waiting =
            Waiting { shared: &self.0.shared, ticket, forget: |q, ticket| q.answers.forget(ticket) };
        std::future::poll_fn(|cx| waiting.shared.lock().answers.poll(ticket, cx.waker())).await
    }

    /// Publish a message in a followed room without waiting. Returns the nonce of the one event that answers:
    /// [`Published`](crate::core::EventOf::Published), [`Refused`](crate::core::EventOf::Refused),
    /// [`Uncertain`](crate::core::EventOf::Uncertain) or [`NotSent`](crate::core::EventOf::NotSent).
    ///
    /// # Errors
    /// [`RequestError`]; then no event follows.
    pub fn try_publish(
        &self,
        room: &str,
        publication: impl Into<OwnedPublication>,
    ) -> Result<u64, RequestError> {
        Ok(self.accept(room, publication.into(), false)?.0)
    }

    /// The nonce, and the ticket of the answer.
    fn accept(
        &self,
        room: &str,
        publication: OwnedPublication,
        is_awaited: bool,
    ) -> Result<(u64, u64), RequestError> {
        let mut queues = self.open()?;
        publication.borrowed(0, 0).check(queues.text_bytes_max)?;
        let nonce = match publication.again {
            Some(again) if queues.answers.contains(again.nonce) => return Err(RequestError::Waiting),
            Some(again) => again.nonce,
            None => loop {
                let nonce = self.0.next_nonce.fetch_add(1, Ordering::Relaxed);
                if !queues.answers.contains(nonce) {
                    break nonce;
                }
            },
        };
        let ticket = queues.answers.accept(nonce, &publication.text, is_awaited);
        queues.push_command(Command::Publish(room.into(), nonce, now_us(), Box::new(publication)));
        Ok((nonce, ticket.unwrap_or_default()))
    }

    /// Send a reaction. Without a connection it is dropped, since reactions soon lose their meaning.
    ///
    /// # Errors
    /// [`RequestError`]: the key is not valid, too much is waiting, or the session is over.
    pub fn react(&self, room: &str, key: &str, count: u32) -> Result<(), RequestError> {
        if !rules::is_reaction_key(key) {
            return Err(Refusal::BadText.into());
        }
        self.open()?.push_command(Command::React(room.into(), key.into(), count));
        Ok(())
    }

    /// Set a key of a room's state, or remove it.
    ///
    /// # Errors
    /// [`RequestError`]: key or value are not valid, too much is waiting, or the session is over.
    pub fn set_state(&self, room: &str, key: &str, value: Option<&[u8]>) -> Result<(), RequestError> {
        rules::check_state(key, value, limits::STATE_VALUE_BYTES_MAX)?;
        self.open()?.push_command(Command::SetState(room.into(), key.into(), value.map(Box::from)));
        Ok(())
    }

    /// Keep order in a followed room, or report a message, and wait for the answer. The same answer comes as
    /// an event. When the future is dropped after its first poll, the act may take effect all the same.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn act(&self, room: &str, act: impl Into<OwnedAct>) -> Result<ActReceipt, ActError> {
        let number = self.accept_act(room, act.into(), true)?;
        let (ticket, forget) = (u64::from(number), |q: &mut Queues, ticket| q.acts.forget(ticket as u32));
        let waiting = Waiting { shared: &self.0.shared, ticket, forget };
        std::future::poll_fn(|cx| waiting.shared.lock().acts.poll(number, cx.waker())).await
    }

    /// As [`Client::act`], without waiting. Returns the number of the one event that answers:
    /// [`Acted`](crate::core::EventOf::Acted), [`Refused`](crate::core::EventOf::Refused) or
    /// [`ActUnanswered`](crate::core::EventOf::ActUnanswered).
    ///
    /// # Errors
    /// [`RequestError`]; then no event follows.
    pub fn try_act(&self, room: &str, act: impl Into<OwnedAct>) -> Result<u32, RequestError> {
        self.accept_act(room, act.into(), false)
    }

    fn accept_act(&self, room: &str, act: OwnedAct, is_awaited: bool) -> Result<u32, RequestError> {
        act.borrowed().check()?;
        let mut queues = self.open()?;
        let number = queues.acts.accept(act.act, is_awaited);
        queues.push_command(Command::Act(room.into(), number, Box::new(act)));
        Ok(number)
    }

    /// Request at most `count` earlier messages of a followed room, from an offset on. They include those
    /// that pacing left out, and none are folded. The client handles pages, waits and reconnects. An answer
    /// has 16 MiB at most, and then ends before `count`. The future may be dropped.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn history(&self, room: &str, from: u64, count: u64) -> Result<History, HistoryError> {
        let ticket = {
            let mut queues = self.open()?;
            let ticket = queues.history.begin(room);
            queues.push_command(Command::History(room.into(), ticket, from, count));
            ticket
        };
        let waiting = Waiting { shared: &self.0.shared, ticket, forget: Queues::forget_history };
        std::future::poll_fn(|cx| waiting.shared.lock().history.poll(ticket, cx.waker())).await
    }

    /// Set a new token: for the next connection, and at once where the node takes one while a session runs.
    ///
    /// # Errors
    /// [`RequestError::Refused`] for a token over the protocol's limit.
    pub fn set_token(&self, token: &str) -> Result<(), RequestError> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(Refusal::TooLarge.into());
        }
        let mut queues = self.0.shared.lock();
        queues.token.set(token.into());
        queues.wake_session();
        Ok(())
    }

    /// Call this when the device woke up or its network changed. A client that waits for its next try tries
    /// at once; one that is connected asks the node for a sign of life, and reconnects if none comes within
    /// three seconds.
    pub fn network_changed(&self) {
        let mut queues = self.0.shared.lock();
        queues.network_changed = true;
        queues.wake_session();
    }

    /// End the session as soon as publications are answered, within two seconds. Until then it connects and
    /// reconnects as needed. [`Client::next_event`] reports the end.
    pub fn close(&self) {
        self.0.close();
    }

    /// The URL of the present connection, or of the last one; `None` before the first.
    pub fn url(&self) -> Option<Url> {
        self.0.shared.lock().url.clone()
    }

    /// Whether there is a connection, as of the last event that was taken.
    pub fn status(&self) -> Status {
        self.0.shared.lock().view.status
    }

    /// The followed rooms, as of the last event that was taken.
    pub fn rooms(&self) -> Vec<RoomInfo> {
        self.0.shared.lock().view.rooms()
    }

    /// Epoch and next offset of a followed room, after the last event that was taken: to save, and to give as
    /// [`SubscribeOptions::resume`] in a later run. `None` until the first subscription.
    pub fn position(&self, room: &str) -> Option<(u64, u64)> {
        self.0.shared.lock().view.position(room)
    }

    /// The value of a key of a room's state, as of the last event that was taken.
    pub fn state(&self, room: &str, key: &str) -> Option<Box<[u8]>> {
        self.0.shared.lock().view.state(room, key)
    }

    /// All keys and values of a room's state, in the order of the keys, as of the last event that was taken.
    pub fn states(&self, room: &str) -> Vec<(Box<str>, Box<[u8]>)> {
        self.0.shared.lock().view.states(room)
    }

    /// The queues, if a command can be added.
    fn open(&self) -> Result<std::sync::MutexGuard<'_, Queues>, RequestError> {
        let queues = self.0.shared.lock();
        queues.check_open()?;
        Ok(queues)
    }
}

impl Handle {
    fn close(&self) {
        let mut queues = self.shared.lock();
        queues.close_us.get_or_insert_with(now_us);
        queues.wake_session();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// The events of a client as a stream: see [`Client::events`].
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    wait: u64,
}

impl Events {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<OwnedEvent>> {
        self.shared.lock().poll_event(self.wait, cx)
    }
}

impl Stream for Events {
    type Item = OwnedEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<OwnedEvent>> {
        self.poll_event(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.lock().forget_wait(self.wait);
    }
}

/// A caller that waits for an answer.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: u64,
    forget: fn(&mut Queues, u64),
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        (self.forget)(&mut self.shared.lock(), self.ticket);
    }
}
