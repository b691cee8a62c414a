//! Renewals: a session takes a new token while it runs, is told before its token runs out, and ends with it.
//!
//! Why in a session: a viewer of a long show would otherwise be cut off at each expiry, with all others whose
//! tokens are of the same minute.
//! Invariants: a renewal changes what a session may do and never who it is; what is refused changes nothing.
//! What the new token does not allow ends at once: permissions with the next frame, subscriptions with a
//! frame that says why. A new name is that of messages to come.
//! Not here: what a token means (`auth`), the moments of the notice and the end (`expiry`).

use grandstand_engine::link::Now;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Kind, Refused, Renew, Renewed, ServerFrame, permission};
use grandstand_protocol::random::GOLDEN_STEP;
use grandstand_protocol::refusal::Refusal;

use super::Audience;
use super::connection::slot;
use super::expiry::Ending;
use super::room::RoomKey;
use super::session::Membership;
use super::subscriptions::Subscriptions;
use crate::auth::{Expiry, Grant, RoomScope};
use crate::people::Limited;

/// Why a renewal is refused: the reason, when to try again, and words for people.
type Refusing = (Refusal, Option<u32>, &'static str);

impl Audience {
    pub(super) fn handle_renew(&mut self, now: Now, ix: u32, renew: &Renew<'_>) {
        match self.judge_renewal(now, ix, renew) {
            Ok(grant) => self.renew(now, ix, renew.request, grant),
            Err((reason, retry_after_ms, detail)) => {
                self.subscriptions.connections.counters.refused(reason);
                let (kind, id) = (Kind::Renew as u8, renew.request.into());
                let refused = Refused { kind, id, reason, retry_after_ms, detail };
                self.subscriptions.send_control(ix, &ServerFrame::Refused(refused));
            }
        }
    }

    /// What the session may do by its new token.
    fn judge_renewal(&mut self, now: Now, ix: u32, renew: &Renew<'_>) -> Result<Grant, Refusing> {
        let Subscriptions { settings, connections, people, .. } = &mut self.subscriptions;
        let (_, session) = connections.requester(ix);
        if renew.token.is_empty() {
            return Err((Refusal::Forbidden, None, "a renewal needs a token"));
        }
        // A signature costs what some publications cost. A bridge's rate would be another.
        let rate = session.take(people, now, (Limited::Renewals, settings.publish), 1);
        rate.map_err(|ms| (Refusal::RateLimited, Some(ms), Refusal::RateLimited.text()))?;
        let grant = self.authority.authorize(renew.token, &session.name, now.unix_ms);
        let grant = grant.map_err(|denied| match denied.retry_after_ms {
            0 => (Refusal::Forbidden, None, denied.detail),
            ms => (Refusal::Overloaded, Some(ms), denied.detail),
        })?;
        let is_same_user = match grant.user {
            Some(user) => user == session.user && !session.is_anonymous,
            None => session.is_anonymous,
        };
        if is_same_user {
            Ok(grant)
        } else {
            let detail = "the token is another user's (sub): a session keeps its user; connect again";
            Err((Refusal::Forbidden, None, detail))
        }
    }

    fn renew(&mut self, now: Now, ix: u32, request: u32, grant: Grant) {
        let Subscriptions { settings, connections, rooms, .. } = &mut self.subscriptions;
        let (_, session) = connections.requester(ix);
        session.name = settings.shown_name(grant.name, grant.role, session.user.0);
        (session.role, session.permissions) = (grant.role, grant.permissions);
        session.token = grant.token;
        session.person = session.person.as_bridge(session.may(permission::BRIDGE));
        let lost = session.memberships.iter().map(|m| m.room);
        let lost: Vec<_> = lost.filter(|room| !grant.rooms.allows(&rooms[*room].name)).collect();
        session.scope = (!matches!(grant.rooms, RoomScope::All)).then(|| Box::new(grant.rooms));
        let (name, role, permissions) = (session.name.clone(), session.role, session.permissions);
        if grant.expiry.is_none() {
            session.ending = None;
        }
        let expires_in_ms = grant.expiry.map_or(0, |expiry| self.expire(now, ix, expiry));
        self.subscriptions.connections.counters.renewals += 1;
        let renewed = Renewed { request, name: &name, role, permissions, expires_in_ms };
        self.subscriptions.send_control(ix, &ServerFrame::Renewed(renewed));
        for room in lost {
            self.subscriptions.end_membership(ix, room);
        }
        let session = self.subscriptions.connections.session_mut(ix);
        let kept: Vec<_> = session.map_or(Vec::new(), |s| s.memberships.iter().map(|m| m.room).collect());
        for room in kept {
            self.subscriptions.note_staff(room, ix);
        }
    }
}

impl Audience {
    /// A session's token runs out, now or another one. Returns after how many milliseconds.
    pub(super) fn expire(&mut self, now: Now, ix: u32, expiry: Expiry) -> u64 {
        let Subscriptions { settings, connections, .. } = &mut self.subscriptions;
        let (token, session) = connections.requester(ix);
        let number = session.number ^ token.0.wrapping_mul(GOLDEN_STEP);
        let ending = Ending::of(expiry, now, number, settings.expiring_notice_ms);
        let ending = ending.in_place_of(session.ending.as_deref());
        let ending = session.ending.insert(Box::new(ending));
        self.endings.queue(token, ending);
        let in_ms = ending.expires_in_ms(now);
        let connections = &self.subscriptions.connections;
        self.endings.tidy(connections.counters.sessions as usize, |due_us, token| {
            let session = connections.named(token).and_then(|(_, connection)| connection.session.as_deref());
            session.and_then(|s| s.ending.as_deref()).is_some_and(|ending| ending.queued_us == due_us)
        });
        in_ms
    }

    /// Tell those whose tokens are about to run out, and end those whose have.
    pub(super) fn end_expired(&mut self, now: Now) {
        while let Some((due_us, token)) = self.endings.pop_due(now) {
            let connections = &mut self.subscriptions.connections;
            let Some((ix, connection)) = connections.named_mut(token) else { continue };
            let session = connection.session.as_deref_mut();
            let Some(ending) = session.and_then(|session| session.ending.as_deref_mut()) else { continue };
            if ending.queued_us != due_us {
                continue;
            }
            ending.queued_us = u64::MAX;
            if ending.ends_us <= now.us {
                self.subscriptions.close(ix, CloseCode::TokenExpired, "");
                continue;
            }
            let is_told = ending.told_us.take_if(|told_us| *told_us <= now.us).is_some();
            let in_ms = ending.expires_in_ms(now);
            self.endings.queue(token, ending);
            if is_told {
                self.subscriptions.send_control(ix, &ServerFrame::Expiring { in_ms });
            }
        }
    }
}

impl Subscriptions {
    /// End a subscription that the session's token does not allow any more, and say so.
    fn end_membership(&mut self, ix: u32, key: RoomKey) {
        let Some(session) = self.connections.session_mut(ix) else { return };
        let number = session.number;
        let Some(at) = session.memberships.iter().position(|m| m.room == key) else { return };
        let Membership { room, place } = session.memberships.remove(at);
        let unanswered = match place {
            None => {
                self.rooms[room].joining.iter().find(|join| slot(join.connection) == ix).map(|j| j.request)
            }
            Some(place) => self.rooms[room].unanswered(place.member),
        };
        self.leave(ix, number, Membership { room, place });
        match (unanswered, place) {
            (Some(request), _) => self.refuse(ix, Kind::Subscribe, request.into(), Refusal::Forbidden, None),
            (None, Some(place)) => {
                let (alias, reason) = (place.alias.0, Refusal::Forbidden);
                self.send_control(ix, &ServerFrame::Unsubscribed { request: 0, alias, reason });
            }
            (None, None) => {}
        }
    }
}
