//! Requests: frames from clients. Each is judged here, answered here if it can be, and else handed to its
//! room's shard.
//!
//! Invariant: every request gets exactly one answer, from here or from the shard; a frame that no honest
//! client sends ends the connection with a close code.

use bytes::Bytes;
use grandstand_engine::link::{Alias, Input, Now, Publication, ReplyTo, StateChange};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{
    ClientFrame, Kind, Publish, React, Role, ServerFrame, SetState, permission,
};
use grandstand_protocol::limits;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::{self, Content};
use grandstand_protocol::text::Likeness;

use super::session::{FrameVerdict, Membership};
use super::subscriptions::Subscriptions;
use super::{Audience, ConnectionKey, seconds};
use crate::people::Limited;

/// A request that a full shard refuses may be tried again after this: a shard empties its inbox in less.
pub(super) const OVERLOADED_RETRY_MS: u32 = 200;

impl Audience {
    /// One frame from a peer, without any transport's header.
    pub fn handle_frame(&mut self, now: Now, key: ConnectionKey, frame: &[u8]) {
        let ix = key.0;
        let Subscriptions { settings, connections, people, .. } = &mut self.subscriptions;
        let Some(connection) = connections.slab.get_mut(ix as usize).filter(|c| !c.closing) else { return };
        connection.heard_s = seconds(now);
        connections.counters.frames_in += 1;
        let frame = ClientFrame::decode(frame);
        let Some(session) = connection.session.as_mut() else {
            return match frame {
                Ok(ClientFrame::Hello(hello)) => self.handle_hello(now, ix, &hello),
                Ok(_) => self.subscriptions.close(ix, CloseCode::WrongOrder, "a frame before Hello"),
                Err(fault) => self.subscriptions.close(ix, fault.close_code(), &fault.to_string()),
            };
        };
        match &frame {
            Ok(ClientFrame::Hello(_)) => {
                return self.subscriptions.close(ix, CloseCode::WrongOrder, "a second Hello");
            }
            Err(fault) if !fault.is_ignorable() => {
                return self.subscriptions.close(ix, fault.close_code(), &fault.to_string());
            }
            Ok(_) | Err(_) => {}
        }
        // What is ignored is a heartbeat, as a ping is.
        let is_heartbeat = matches!(frame, Ok(ClientFrame::Ping { .. }) | Err(_));
        let verdict = session.take_frame(people, now, settings, is_heartbeat);
        if verdict == FrameVerdict::Flooding {
            return self.subscriptions.close(ix, CloseCode::Flooding, "");
        }
        let Ok(frame) = &frame else { return };
        if let FrameVerdict::Limited { after_ms } = verdict
            && let Some((kind, id)) = refusable(frame)
        {
            let counters = &mut self.subscriptions.connections.counters;
            counters.publications_refused += u64::from(kind == Kind::Publish);
            return self.subscriptions.refuse(ix, kind, id, Refusal::RateLimited, Some(after_ms));
        }
        match frame {
            ClientFrame::Renew(renew) => self.handle_renew(now, ix, renew),
            frame => Request { now, ix, subscriptions: &mut self.subscriptions }.handle(frame),
        }
    }
}

/// A frame that is refused when its person sends too many: its kind, and what the answer names it by. `None`:
/// it costs less than its refusal, and gives up what it had, or shows that its sender is there.
fn refusable(frame: &ClientFrame<'_>) -> Option<(Kind, u64)> {
    Some(match frame {
        ClientFrame::Subscribe(subscribe) => (Kind::Subscribe, subscribe.request.into()),
        ClientFrame::Publish(publish) => (Kind::Publish, publish.nonce),
        ClientFrame::React(react) => (Kind::React, react.alias.into()),
        ClientFrame::SetState(set) => (Kind::SetState, set.request.into()),
        ClientFrame::History(history) => (Kind::History, history.request.into()),
        ClientFrame::Renew(renew) => (Kind::Renew, renew.request.into()),
        ClientFrame::Act(act) => (Kind::Act, act.request.into()),
        ClientFrame::Hello(_) | ClientFrame::Unsubscribe { .. } | ClientFrame::Ping { .. } => return None,
    })
}

/// One frame of a session, while it is judged.
pub(super) struct Request<'a> {
    pub(super) now: Now,
    /// The connection that it came from; it has a session.
    pub(super) ix: u32,
    pub(super) subscriptions: &'a mut Subscriptions,
}

impl Request<'_> {
    pub(super) fn refuse(&mut self, kind: Kind, id: u64, reason: Refusal, retry_after_ms: Option<u32>) {
        self.subscriptions.refuse(self.ix, kind, id, reason, retry_after_ms);
    }

    fn handle(&mut self, frame: &ClientFrame<'_>) {
        match frame {
            ClientFrame::Subscribe(_)
            | ClientFrame::Publish(_)
            | ClientFrame::React(_)
            | ClientFrame::SetState(_)
            | ClientFrame::History(_)
            | ClientFrame::Act(_)
                if self.subscriptions.shards.is_released() => {}
            ClientFrame::Subscribe(subscribe) => self.handle_subscribe(subscribe),
            ClientFrame::Unsubscribe { request, alias } => self.handle_unsubscribe(*request, *alias),
            ClientFrame::Publish(publish) => self.handle_publish(publish),
            ClientFrame::React(react) => self.handle_react(react),
            ClientFrame::SetState(set) => self.handle_set_state(set),
            ClientFrame::Ping { client_us } => {
                let pong = ServerFrame::Pong { client_us: *client_us, server_ms: self.now.unix_ms };
                self.subscriptions.send_control(self.ix, &pong);
            }
            ClientFrame::History(history) => self.handle_history(history),
            ClientFrame::Act(act) => self.handle_act(act),
            ClientFrame::Hello(_) | ClientFrame::Renew(_) => unreachable!("answered before"),
        }
    }

    fn handle_unsubscribe(&mut self, request: u32, alias: u32) {
        let (ix, subscriptions) = (self.ix, &mut *self.subscriptions);
        let (_, session) = subscriptions.connections.requester(ix);
        // Not before its subscription is answered: the answer would be lost.
        let rooms = &subscriptions.rooms;
        let place = session.room(alias).filter(|(key, place)| !rooms[*key].is_unanswered(place.member));
        let Some((room, place)) = place else {
            return self.refuse(Kind::Unsubscribe, request.into(), Refusal::NotSubscribed, None);
        };
        session.memberships.retain(|m| m.room != room);
        let number = session.number;
        subscriptions.leave(ix, number, Membership { room, place: Some(place) });
        subscriptions.send_control(ix, &ServerFrame::Unsubscribed { request, alias, reason: Refusal::Other });
    }

    fn handle_publish(&mut self, publish: &Publish<'_>) {
        if let Err((reason, retry_after_ms)) = self.try_publish(publish) {
            self.subscriptions.connections.counters.publications_refused += 1;
            self.refuse(Kind::Publish, publish.nonce, reason, retry_after_ms);
        }
    }

    fn try_publish(&mut self, p: &Publish<'_>) -> Result<(), (Refusal, Option<u32>)> {
        let Subscriptions { settings, shards, connections, people, .. } = &mut *self.subscriptions;
        let (connection, session) = connections.requester(self.ix);
        let is_bridge = session.may(permission::BRIDGE);
        let names_somebody = !p.author.is_empty() || p.role != Role::default();
        if !session.may(permission::PUBLISH) || (names_somebody && !is_bridge) {
            return Err((Refusal::Forbidden, None));
        }
        if session.room(p.alias).is_none() {
            return Err((Refusal::NotSubscribed, None));
        }
        let content = Content { text: p.text, attachment: p.attachment, author: p.author };
        rules::check_content(&content, settings.text_bytes_max as usize).map_err(|reason| (reason, None))?;
        let rate = if is_bridge { settings.bridge_publish } else { settings.publish };
        let taken = session.take(people, self.now, (Limited::Publications, rate), 1);
        taken.map_err(|ms| (Refusal::RateLimited, Some(ms)))?;
        let (author, role) = if p.author.is_empty() {
            (session.name.clone(), session.role)
        } else {
            let number = Likeness::of(p.author).number();
            (settings.shown_name(p.author.into(), p.role, number), p.role)
        };
        let publication = Publication {
            from: ReplyTo { worker: settings.worker, connection },
            alias: Alias(p.alias),
            user: session.user,
            person: session.person.held(),
            nonce: p.nonce,
            age_ms: p.age_ms,
            author,
            role,
            text: p.text.into(),
            attachment: p.attachment.into(),
            reply_to: p.reply_to,
            exempt: is_bridge || session.role >= Role::Moderator,
            is_bridged: !p.author.is_empty(),
        };
        let submitted = shards.submit(Alias(p.alias), Input::Publish(Box::new(publication)));
        if submitted.is_err() {
            connections.counters.submits_full += 1;
            return Err((Refusal::Overloaded, Some(OVERLOADED_RETRY_MS)));
        }
        connections.counters.publications += 1;
        Ok(())
    }

    fn handle_react(&mut self, react: &React<'_>) {
        let id = react.alias.into();
        if let Err((reason, retry_after_ms)) = self.try_react(react) {
            self.refuse(Kind::React, id, reason, retry_after_ms);
        }
    }

    fn try_react(&mut self, react: &React<'_>) -> Result<(), (Refusal, Option<u32>)> {
        let Subscriptions { settings, connections, rooms, people, .. } = &mut *self.subscriptions;
        let (_, session) = connections.requester(self.ix);
        if !session.may(permission::REACT) {
            return Err((Refusal::Forbidden, None));
        }
        let taken = session.take(people, self.now, (Limited::Reactions, settings.reactions), react.count);
        taken.map_err(|ms| (Refusal::RateLimited, Some(ms)))?;
        let (key, _) = session.room(react.alias).ok_or((Refusal::NotSubscribed, None))?;
        let room = &mut rooms.slab[key.0 as usize];
        if room.reactions.is_empty() {
            rooms.reacted.push(key);
        }
        let by = session.person.opener(false).person;
        if !room.reactions.add(react.key, u64::from(react.count), by) {
            return Err((Refusal::Overloaded, Some(OVERLOADED_RETRY_MS)));
        }
        connections.counters.reactions += u64::from(react.count);
        Ok(())
    }

    fn handle_set_state(&mut self, set: &SetState<'_>) {
        if let Err((reason, retry_after_ms)) = self.try_set_state(set) {
            self.refuse(Kind::SetState, set.request.into(), reason, retry_after_ms);
        }
    }

    fn try_set_state(&mut self, set: &SetState<'_>) -> Result<(), (Refusal, Option<u32>)> {
        let Subscriptions { settings, shards, connections, .. } = &mut *self.subscriptions;
        let (connection, session) = connections.requester(self.ix);
        if !session.may(permission::STATE) {
            return Err((Refusal::Forbidden, None));
        }
        if session.room(set.alias).is_none() {
            return Err((Refusal::NotSubscribed, None));
        }
        rules::check_state(set.key, set.value, limits::STATE_VALUE_BYTES_MAX)
            .map_err(|reason| (reason, None))?;
        let input = Input::SetState(Box::new(StateChange {
            from: ReplyTo { worker: settings.worker, connection },
            request: set.request,
            alias: Alias(set.alias),
            key: set.key.into(),
            value: set.value.map(Bytes::copy_from_slice),
        }));
        shards.submit(Alias(set.alias), input).map_err(|_| {
            connections.counters.submits_full += 1;
            (Refusal::Overloaded, Some(OVERLOADED_RETRY_MS))
        })
    }
}
