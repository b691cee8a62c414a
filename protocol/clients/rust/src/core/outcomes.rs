//! Outcomes: the one event that ends each publication, state change and act which the node does not answer.
//!
//! Why one file: an application that was given a nonce waits for its outcome, whatever ends the wait: the
//! room, the connection, a limit of the node, the session.
//! Invariants: an entry that leaves the outbox without an answer leaves it here, with one event. A
//! publication that was sent is never reported as refused or not sent by this side, since it may be in the
//! log.
//! Not here: answers of the node (`receive`).

use grandstand_protocol::frame::Kind;
use grandstand_protocol::refusal::Refusal;

use super::acts::PendingAct;
use super::outbox::{PendingPublication, PendingState};
use super::{Event, Next, Publication, Reason, Session};

/// Forget a room. What waits for it and was never sent is refused; what was sent on this connection still
/// gets its answer; what was sent before is uncertain.
pub(super) fn end_room(session: &mut Session, at: usize, asked: bool, emit: &mut impl FnMut(Event<'_>)) {
    let room = session.subscriptions.remove(at);
    emit(Event::Unsubscribed { room: room.room(), asked });
    end_requests(session, room.id, emit);
}

/// As [`end_room`], for the requests of a room that is forgotten already.
pub(super) fn end_requests(session: &mut Session, id: super::RoomId, emit: &mut impl FnMut(Event<'_>)) {
    session.history.refuse_room(id, emit);
    session.outbox.forget_reactions(id);
    for p in session.outbox.take_publications(|p| p.room == id && !p.in_flight) {
        refuse(&p, Refusal::NotSubscribed, emit);
    }
    for s in session.outbox.take_states(|s| s.room == id && !s.in_flight) {
        unanswered(&s, emit);
    }
    let acts = session.outbox.acts.take_if(|act| act.room == id && !act.is_in_flight());
    acts.iter().for_each(|act| act_unanswered(act, emit));
}

/// The connection has ended: what was sent in rooms that are no longer followed gets no answer any more, nor
/// what may not be done twice.
pub(super) fn end_orphans(session: &mut Session, emit: &mut impl FnMut(Event<'_>)) {
    if session.outbox.unanswered() == 0 {
        return;
    }
    let subscriptions = &session.subscriptions;
    let orphans = session.outbox.take_publications(|p| subscriptions.get(p.room).is_none());
    orphans.iter().for_each(|p| refuse(p, Refusal::NotSubscribed, emit));
    let orphans = session.outbox.take_states(|s| subscriptions.get(s.room).is_none());
    orphans.iter().for_each(|s| unanswered(s, emit));
    let is_left = |act: &PendingAct| subscriptions.get(act.room).is_none() || act.is_lost();
    let orphans = session.outbox.acts.take_if(is_left);
    orphans.iter().for_each(|act| act_unanswered(act, emit));
}

/// The node knows nothing of what an earlier session sent: it was another user, whose nonces it keeps apart.
pub(super) fn end_sent(session: &mut Session, emit: &mut impl FnMut(Event<'_>)) {
    for p in session.outbox.take_publications(PendingPublication::was_sent) {
        emit(Event::Uncertain { nonce: p.nonce, text: &p.text });
    }
}

/// The node has lower limits than those that were known when the application asked.
pub(super) fn end_oversized(session: &mut Session, emit: &mut impl FnMut(Event<'_>)) {
    let limits = session.limits;
    for p in session.outbox.take_publications(|p| limits.check_publication(&content(p)).is_err()) {
        refuse(&p, Refusal::TooLarge, emit);
    }
    for s in session.outbox.take_states(|s| limits.check_state(&s.key, s.value.as_deref()).is_err()) {
        let (kind, id, reason) = (Kind::SetState as u8, s.request.into(), Refusal::TooLarge);
        emit(Event::Refused { kind, id, room: None, reason, retry_after_ms: None, detail: "" });
    }
}

/// The session is over.
pub(super) fn give_up(session: &mut Session, reason: Reason, emit: &mut impl FnMut(Event<'_>)) -> Next {
    for p in session.outbox.take_publications(|_| true) {
        let (nonce, text) = (p.nonce, &*p.text);
        emit(if p.was_sent() { Event::Uncertain { nonce, text } } else { Event::NotSent { nonce, text } });
    }
    session.outbox.take_states(|_| true).iter().for_each(|s| unanswered(s, emit));
    session.outbox.acts.take_if(|_| true).iter().for_each(|act| act_unanswered(act, emit));
    session.over = true;
    emit(Event::Closed { reason: reason.clone() });
    Next::GiveUp(reason)
}

fn refuse(p: &PendingPublication, reason: Refusal, emit: &mut impl FnMut(Event<'_>)) {
    if p.was_sent() {
        return emit(Event::Uncertain { nonce: p.nonce, text: &p.text });
    }
    let (kind, id) = (Kind::Publish as u8, p.nonce);
    emit(Event::Refused { kind, id, room: None, reason, retry_after_ms: None, detail: "" });
}

fn unanswered(s: &PendingState, emit: &mut impl FnMut(Event<'_>)) {
    emit(Event::StateUnanswered { request: s.request, key: &s.key, sent: s.sent });
}

fn act_unanswered(act: &PendingAct, emit: &mut impl FnMut(Event<'_>)) {
    emit(Event::ActUnanswered { request: act.request, act: act.kind(), sent: act.sent });
}

fn content(p: &PendingPublication) -> Publication<'_> {
    let (text, attachment, author) = (&*p.text, &*p.attachment, &*p.author);
    Publication { text, attachment, author, ..Publication::default() }
}
