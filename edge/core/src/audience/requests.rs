//! Frames from clients: each is judged here, answered here if it can be, and else handed to its room's shard.
//!
//! Invariant: every request gets exactly one answer, from here or from the shard; a frame that no honest
//! client sends ends the connection with a close code.

use bytes::Bytes;
use grandstand_engine::link::{Alias, Input, Now, Publication, ReplyTo, StateChange};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{
    ClientFrame, FrameFault, Kind, Publish, React, ServerFrame, SetState, permission,
};
use grandstand_protocol::limits;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::{self, Content};

use super::session::Membership;
use super::{Audience, ConnectionKey, seconds};

/// A request that a full shard refuses may be tried again after this: a shard empties its inbox in less.
const OVERLOADED_RETRY_MS: u32 = 200;

impl Audience {
    /// One frame from a peer, without any transport's header.
    pub fn handle_frame(&mut self, now: Now, key: ConnectionKey, frame: &[u8]) {
        let ix = key.0;
        let Some(connection) = self.connections.get_mut(ix as usize).filter(|c| !c.closing) else { return };
        connection.heard_s = seconds(now);
        self.counters.frames_in += 1;
        let is_welcomed = connection.session.is_some();
        match ClientFrame::decode(frame) {
            Ok(ClientFrame::Hello(_)) if is_welcomed => {
                self.close(ix, CloseCode::WrongOrder, "a second Hello");
            }
            Ok(ClientFrame::Hello(hello)) => self.handle_hello(now, ix, &hello),
            Ok(_) if !is_welcomed => self.close(ix, CloseCode::WrongOrder, "a frame before Hello"),
            Ok(frame) if self.is_within_rate(now, ix) => self.handle_request(now, ix, &frame),
            Err(fault) if !fault.is_ignorable() || !is_welcomed => self.handle_frame_fault(ix, &fault),
            Err(_) if self.is_within_rate(now, ix) => {}
            Ok(_) | Err(_) => self.close(ix, CloseCode::Flooding, ""),
        }
    }

    fn handle_frame_fault(&mut self, ix: u32, fault: &FrameFault) {
        self.close(ix, fault.close_code(), &fault.to_string());
    }

    pub(super) fn is_within_rate(&mut self, now: Now, ix: u32) -> bool {
        let session = self.connections[ix as usize].session.as_mut().expect("checked by the caller");
        let rate =
            if session.may(permission::BRIDGE) { self.settings.bridge_publish } else { self.settings.frames };
        session.frames.take(now, rate, 1).is_ok()
    }

    fn handle_request(&mut self, now: Now, ix: u32, frame: &ClientFrame<'_>) {
        match frame {
            ClientFrame::Subscribe(_)
            | ClientFrame::Publish(_)
            | ClientFrame::React(_)
            | ClientFrame::SetState(_)
            | ClientFrame::History(_)
                if self.shards.is_released() => {}
            ClientFrame::Subscribe(subscribe) => self.handle_subscribe(ix, subscribe),
            ClientFrame::Unsubscribe { request, alias } => self.handle_unsubscribe(ix, *request, *alias),
            ClientFrame::Publish(publish) => self.handle_publish(now, ix, publish),
            ClientFrame::React(react) => self.handle_react(now, ix, react),
            ClientFrame::SetState(set) => self.handle_set_state(ix, set),
            ClientFrame::Ping { client_us } => {
                let pong = ServerFrame::Pong { client_us: *client_us, server_ms: now.unix_ms };
                self.send_control(ix, &pong);
            }
            ClientFrame::History(history) => self.handle_history_request(now, ix, history),
            ClientFrame::Hello(_) => unreachable!("answered before"),
        }
    }

    fn handle_unsubscribe(&mut self, ix: u32, request: u32, alias: u32) {
        let session = self.connections[ix as usize].session.as_mut().expect("a request has a session");
        // Not before its subscription is answered: the answer would be lost.
        let rooms = &self.rooms;
        let is_answered = |m: &&Membership| !rooms[m.room.0 as usize].is_unanswered(m.member);
        let Some(membership) = session.room(alias).filter(is_answered).copied() else {
            return self.refuse(ix, Kind::Unsubscribe as u8, request.into(), Refusal::NotSubscribed, None);
        };
        session.memberships.retain(|m| m.room != membership.room);
        self.leave(ix, membership);
        self.send_control(ix, &ServerFrame::Unsubscribed { request, alias });
    }

    fn handle_publish(&mut self, now: Now, ix: u32, publish: &Publish<'_>) {
        if let Err((reason, retry_after_ms)) = self.try_publish(now, ix, publish) {
            self.counters.publications_refused += 1;
            self.refuse(ix, Kind::Publish as u8, publish.nonce, reason, retry_after_ms);
        }
    }

    fn try_publish(&mut self, now: Now, ix: u32, p: &Publish<'_>) -> Result<(), (Refusal, Option<u32>)> {
        let connection = &mut self.connections[ix as usize];
        let token = connection.token(ix);
        let session = connection.session.as_mut().expect("a request has a session");
        let is_bridge = session.may(permission::BRIDGE);
        if !session.may(permission::PUBLISH) || (!p.author.is_empty() && !is_bridge) {
            return Err((Refusal::Forbidden, None));
        }
        if session.room(p.alias).is_none() {
            return Err((Refusal::NotSubscribed, None));
        }
        let content = Content { text: p.text, attachment: p.attachment, author: p.author };
        rules::check_content(&content, self.settings.text_bytes_max as usize)
            .map_err(|reason| (reason, None))?;
        let rate = if is_bridge { self.settings.bridge_publish } else { self.settings.publish };
        session.publish.take(now, rate, 1).map_err(|ms| (Refusal::RateLimited, Some(ms)))?;
        let (author, role) =
            if p.author.is_empty() { (&*session.name, session.role) } else { (p.author, p.role) };
        let publication = Publication {
            from: ReplyTo { worker: self.settings.worker, connection: token },
            alias: Alias(p.alias),
            user: session.user,
            nonce: p.nonce,
            age_ms: p.age_ms,
            author: author.into(),
            role,
            text: p.text.into(),
            attachment: p.attachment.into(),
            reply_to: p.reply_to,
            exempt: is_bridge || session.role >= grandstand_protocol::frame::Role::Moderator,
        };
        let submitted = self.shards.submit(Alias(p.alias), Input::Publish(Box::new(publication)));
        if submitted.is_err() {
            self.counters.submits_full += 1;
            return Err((Refusal::Overloaded, Some(OVERLOADED_RETRY_MS)));
        }
        self.counters.publications += 1;
        Ok(())
    }

    fn handle_react(&mut self, now: Now, ix: u32, react: &React<'_>) {
        let session = self.connections[ix as usize].session.as_mut().expect("a request has a session");
        let refusal = if !session.may(permission::REACT) {
            Some((Refusal::Forbidden, None))
        } else {
            session
                .reactions
                .take(now, self.settings.reactions, react.count)
                .err()
                .map(|ms| (Refusal::RateLimited, Some(ms)))
        };
        let room = session.room(react.alias).map(|m| m.room);
        match (room, refusal) {
            (_, Some((reason, retry))) => {
                self.refuse(ix, Kind::React as u8, react.alias.into(), reason, retry);
            }
            (None, None) => {
                self.refuse(ix, Kind::React as u8, react.alias.into(), Refusal::NotSubscribed, None);
            }
            (Some(key), None) => {
                let room = &mut self.rooms[key.0 as usize];
                if room.tallies.is_empty() {
                    self.reacted.push(key);
                }
                if !room.react(react.key, u64::from(react.count)) {
                    let (kind, retry) = (Kind::React as u8, Some(OVERLOADED_RETRY_MS));
                    return self.refuse(ix, kind, react.alias.into(), Refusal::Overloaded, retry);
                }
                self.counters.reactions += u64::from(react.count);
            }
        }
    }

    fn handle_set_state(&mut self, ix: u32, set: &SetState<'_>) {
        if let Err(reason) = self.try_set_state(ix, set) {
            let retry = (reason == Refusal::Overloaded).then_some(OVERLOADED_RETRY_MS);
            self.refuse(ix, Kind::SetState as u8, set.request.into(), reason, retry);
        }
    }

    fn try_set_state(&mut self, ix: u32, set: &SetState<'_>) -> Result<(), Refusal> {
        let connection = &self.connections[ix as usize];
        let session = connection.session.as_ref().expect("a request has a session");
        if !session.may(permission::STATE) {
            return Err(Refusal::Forbidden);
        }
        if session.room(set.alias).is_none() {
            return Err(Refusal::NotSubscribed);
        }
        rules::check_state(set.key, set.value, limits::STATE_VALUE_BYTES_MAX)?;
        let input = Input::SetState(Box::new(StateChange {
            from: ReplyTo { worker: self.settings.worker, connection: connection.token(ix) },
            request: set.request,
            alias: Alias(set.alias),
            key: set.key.into(),
            value: set.value.map(Bytes::copy_from_slice),
        }));
        self.shards.submit(Alias(set.alias), input).map_err(|_| {
            self.counters.submits_full += 1;
            Refusal::Overloaded
        })
    }
}
