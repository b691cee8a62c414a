//! The requests of an application to its session: follow a room, publish, react, set state, act, close.
//!
//! Why apart: each request is checked here, once, by the rules and limits by which a node would refuse it or
//! close the connection. So no input of a person ends a session.
//! Invariant: a request that is not taken has an error as its only effect.
//! Not here: sending (`session`), answers (`receive`).

use grandstand_protocol::limits::{AGENT_BYTES_MAX, ROOM_NAME_BYTES_MAX, TOKEN_BYTES_MAX};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;

use super::session::{CLOSE_WAIT_US, Close, Link};
use super::{
    ActParts, Event, Options, Publication, RequestError, RoomId, Session, SubscribeOptions, outcomes,
};

impl Options {
    /// Check what a person may have typed: the name, the token, the agent. A session sends none of them that
    /// is not valid.
    ///
    /// # Errors
    /// `BadName` for the name, `TooLarge` for the others.
    pub fn check(&self) -> Result<(), RequestError> {
        if !self.name.is_empty() && !rules::is_display_name(&self.name) {
            return Err(Refusal::BadName.into());
        }
        if self.token.len() > TOKEN_BYTES_MAX || self.agent.len() > AGENT_BYTES_MAX {
            return Err(Refusal::TooLarge.into());
        }
        Ok(())
    }
}

impl Session {
    /// Follow a room, now and after every reconnect. A room that is followed already keeps its options.
    ///
    /// # Errors
    /// [`RequestError::Refused`] for a name that is not valid, and for more rooms than the node allows;
    /// [`RequestError::Full`] while the node has not answered that hundreds of rooms are left.
    pub fn subscribe(&mut self, room: &str, options: SubscribeOptions) -> Result<RoomId, RequestError> {
        check_open(self)?;
        rules::check_room_name(room, ROOM_NAME_BYTES_MAX)?;
        if self.subscriptions.id(room).is_none() {
            self.limits.check_rooms(self.subscriptions.followed())?;
            self.subscriptions.check_leaving()?;
        }
        Ok(self.subscriptions.subscribe(room, options, self.options.keep_state))
    }

    /// Stop following a room. Its publications that were not sent are refused; those that were sent still get
    /// their answer.
    pub fn unsubscribe(&mut self, room: RoomId, emit: &mut impl FnMut(Event<'_>)) {
        if self.subscriptions.unsubscribe(room) {
            outcomes::end_requests(self, room, emit);
        }
    }

    /// Publish a message. Returns the nonce of the answer: of exactly one of
    /// [`Published`](super::EventOf::Published), [`Refused`](super::EventOf::Refused),
    /// [`Uncertain`](super::EventOf::Uncertain) and [`NotSent`](super::EventOf::NotSent).
    ///
    /// # Errors
    /// [`RequestError`]; then no event follows.
    pub fn publish(
        &mut self,
        now_us: u64,
        room: RoomId,
        publication: &Publication<'_>,
    ) -> Result<u64, RequestError> {
        check_open(self)?;
        check_followed(self, room)?;
        self.limits.check_publication(publication)?;
        if publication.nonce.is_some_and(|nonce| self.outbox.has_nonce(nonce)) {
            return Err(RequestError::Waiting);
        }
        self.outbox.check_room_left(self.options.unanswered_max)?;
        let nonce = match publication.nonce {
            Some(nonce) => nonce,
            None => take_nonce(self),
        };
        self.outbox.publish(nonce, room, now_us, publication);
        Ok(nonce)
    }

    /// Send a reaction. Unsent reactions are added up, and dropped when the connection ends; without a
    /// connection they are dropped at once, since they soon lose their meaning.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn react(&mut self, room: RoomId, key: &str, count: u32) -> Result<(), RequestError> {
        check_open(self)?;
        check_followed(self, room)?;
        if !rules::is_reaction_key(key) {
            return Err(Refusal::BadText.into());
        }
        if self.link == Link::Up && count > 0 { self.outbox.react(room, key, count) } else { Ok(()) }
    }

    /// Set a key of the room's state, or remove it. Returns the number of the answer:
    /// [`StateSet`](super::EventOf::StateSet), [`Refused`](super::EventOf::Refused) or
    /// [`StateUnanswered`](super::EventOf::StateUnanswered). The session sends the request again after a
    /// reconnect if it has no answer.
    ///
    /// # Errors
    /// [`RequestError`]; then no event follows.
    pub fn set_state(&mut self, room: RoomId, key: &str, value: Option<&[u8]>) -> Result<u32, RequestError> {
        check_open(self)?;
        check_followed(self, room)?;
        self.limits.check_state(key, value)?;
        self.outbox.check_room_left(self.options.unanswered_max)?;
        let request = self.requests.take();
        self.outbox.set_state(request, room, key, value);
        Ok(request)
    }

    /// Keep order in a room, or report a message. Returns the number of the answer: of exactly one of
    /// [`Acted`](super::EventOf::Acted), [`Refused`](super::EventOf::Refused) and
    /// [`ActUnanswered`](super::EventOf::ActUnanswered). After a reconnect the session sends the act again,
    /// unless it would then be done twice.
    ///
    /// # Errors
    /// [`RequestError`]; then no event follows.
    pub fn act(&mut self, room: RoomId, act: &ActParts<'_>) -> Result<u32, RequestError> {
        check_open(self)?;
        check_followed(self, room)?;
        act.check()?;
        self.outbox.check_room_left(self.options.unanswered_max)?;
        let epoch = self.position(room).map_or(0, |(epoch, _)| epoch);
        let request = self.requests.take();
        self.outbox.acts.push(request, room, epoch, act);
        Ok(request)
    }

    /// Request earlier messages of a followed room from an offset on, including those that pacing left out.
    /// Returns the number of the answers, which are [`History`](super::EventOf::History) and
    /// [`HistoryEnd`](super::EventOf::HistoryEnd), or a refusal. Messages that the log no longer keeps are
    /// skipped.
    ///
    /// # Errors
    /// [`RequestError`]; then no event follows.
    pub fn history(&mut self, room: RoomId, from: u64, count: u64) -> Result<u32, RequestError> {
        check_open(self)?;
        check_followed(self, room)?;
        self.history.begin(&mut self.requests, room, from, count)
    }

    /// Stop a request for earlier messages: no further page is requested, and no event of it follows.
    pub fn cancel_history(&mut self, request: u32) {
        self.history.forget(request);
    }

    /// Use this token from the next connection on, and at once where the node takes a new token while the
    /// session runs. The node then answers [`Renewed`](super::EventOf::Renewed), or a refusal, after which
    /// the session goes on with the token that it had.
    ///
    /// # Errors
    /// [`RequestError::Refused`] for a token over the protocol's limit.
    pub fn set_token(&mut self, token: &str) -> Result<(), RequestError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLarge.into());
        }
        self.options.token = token.into();
        self.is_renewal_due = self.renews && self.link == Link::Up;
        Ok(())
    }

    /// End the session as soon as all publications are answered, at the latest in two seconds. Until then it
    /// connects and reconnects as needed. It takes no more requests. `now_us`: when the application asked.
    pub fn close(&mut self, now_us: u64) {
        if self.close == Close::No {
            self.close = Close::Lingers(now_us.saturating_add(CLOSE_WAIT_US));
        }
        super::session::settle_close(self, now_us);
    }
}

fn check_open(session: &Session) -> Result<(), RequestError> {
    if session.over || session.close != Close::No { Err(RequestError::Over) } else { Ok(()) }
}

fn check_followed(session: &Session, room: RoomId) -> Result<(), Refusal> {
    let is_followed = session.subscriptions.get(room).is_some_and(|room| room.is_wanted());
    if is_followed { Ok(()) } else { Err(Refusal::NotSubscribed) }
}

/// The next nonce of the session's own, past those that the application chose.
fn take_nonce(session: &mut Session) -> u64 {
    loop {
        let nonce = session.next_nonce;
        session.next_nonce = nonce.wrapping_add(1);
        if !session.outbox.has_nonce(nonce) {
            return nonce;
        }
    }
}
