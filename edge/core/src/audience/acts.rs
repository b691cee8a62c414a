//! Acts and notices at one worker: what sessions do to keep order goes to the room's shard, and what that
//! means for persons comes back to their sessions.
//!
//! Invariants: each act has one answer, from here or from the shard. A person in whom a ban holds is in no
//! room of this worker that the ban is of, and is let into none.
//! Not here: what an act means (the engine), what it removes from the ring (`removals`), who is kept out
//! (`bans`).

use grandstand_engine::link::{ActRequest, Actor, Alias, Input, Recipient, ReplyTo, RoomNotice};
use grandstand_protocol::frame::{Act, ActKind, Kind, Notice, NoticeKind, ServerFrame, permission};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;

use super::history::PAGE_FRAMES;
use super::requests::{OVERLOADED_RETRY_MS, Request};
use super::room::RoomKey;
use super::session::{Membership, Session};
use super::subscriptions::Subscriptions;
use crate::people::Limited;

impl Request<'_> {
    pub(super) fn handle_act(&mut self, act: &Act<'_>) {
        if let Err((reason, retry_after_ms)) = self.try_act(act) {
            self.refuse(Kind::Act, act.request.into(), reason, retry_after_ms);
        }
    }

    fn try_act(&mut self, a: &Act<'_>) -> Result<(), (Refusal, Option<u32>)> {
        let Subscriptions { settings, shards, connections, people, .. } = &mut *self.subscriptions;
        let (connection, session) = connections.requester(self.ix);
        let may_moderate = session.may(permission::MODERATE);
        if a.act == ActKind::Other || !(may_moderate || a.act.is_for_everybody()) {
            return Err((Refusal::Forbidden, None));
        }
        if session.room(a.alias).is_none() {
            return Err((Refusal::NotSubscribed, None));
        }
        rules::check_act(a).map_err(|reason| (reason, None))?;
        if !may_moderate {
            // Who moderates may be as quick as frames are; a report costs somebody's attention.
            let rate = session.frame_rate(settings);
            let cost = PAGE_FRAMES.min(rate.burst);
            let taken = session.take(people, self.now, (Limited::Pages, rate), cost);
            taken.map_err(|ms| (Refusal::RateLimited, Some(ms)))?;
        }
        let by = Actor {
            user: session.user,
            person: session.person.held(),
            name: session.name.clone(),
            may_moderate,
        };
        let request = ActRequest {
            from: ReplyTo { worker: settings.worker, connection },
            request: a.request,
            alias: Alias(a.alias),
            by,
            act: a.act,
            epoch: a.epoch,
            target: a.target,
            seconds: a.seconds,
            category: a.category,
            text: a.text.into(),
        };
        shards.submit(Alias(a.alias), Input::Act(Box::new(request))).map_err(|_| {
            connections.counters.submits_full += 1;
            (Refusal::Overloaded, Some(OVERLOADED_RETRY_MS))
        })
    }
}

/// What an act means for persons in a room.
pub(super) fn handle_notice(subscriptions: &mut Subscriptions, notice: &RoomNotice) {
    let Some(key) = subscriptions.rooms.with_alias(notice.alias) else { return };
    if let Recipient::Person(person) = notice.to {
        match notice.notice {
            NoticeKind::Banned => subscriptions.rooms[key].bans.note(person, notice.until_ms),
            NoticeKind::Lifted => subscriptions.rooms[key].bans.lift(person),
            _ => {}
        }
    }
    let connections = &subscriptions.connections;
    let is_for = |session: &Session| match notice.to {
        Recipient::Person(person) => session.numbers().contains(&person),
        Recipient::Moderators => session.may(permission::MODERATE),
    };
    let is_told = |ix: &u32| {
        let connection = &connections[*ix];
        connection.session.as_deref().is_some_and(is_for)
            // Moderators are told of counts, so the next notice tells as much.
            && (notice.to != Recipient::Moderators
                || !connection.is_backed_up(subscriptions.settings.control_queue_bytes_max))
    };
    let told: Vec<u32> =
        subscriptions.rooms[key].members.iter().map(|m| m.connection).filter(is_told).collect();
    let RoomNotice { alias, notice: kind, id, until_ms, ref text, .. } = *notice;
    let frame = ServerFrame::Notice(Notice { alias: alias.0, notice: kind, id, until_ms, text });
    for ix in told {
        subscriptions.send_control(ix, &frame);
        if kind == NoticeKind::Banned {
            put_out(subscriptions, ix, key, Refusal::Banned);
        }
    }
}

/// Take a session out of a room for a reason.
fn put_out(subscriptions: &mut Subscriptions, ix: u32, key: RoomKey, reason: Refusal) {
    let Some(session) = subscriptions.connections.session_mut(ix) else { return };
    let Some(place) = session.membership(key).and_then(|m| m.place) else { return };
    let number = session.number;
    session.memberships.retain(|m| m.room != key);
    let unanswered = subscriptions.rooms[key].unanswered(place.member);
    subscriptions.leave(ix, number, Membership { room: key, place: Some(place) });
    match unanswered {
        Some(request) => subscriptions.refuse(ix, Kind::Subscribe, request.into(), reason, None),
        None => {
            let alias = place.alias.0;
            subscriptions.send_control(ix, &ServerFrame::Unsubscribed { request: 0, alias, reason });
        }
    }
}
