//! Sessions that have come to another node of the cluster, while a connection of theirs is still open here.
//!
//! Why: a phone that changes its network leaves a connection half open for as long as a heartbeat. On one
//! node the table of people knows that the session counts by another connection (`people::watching`); between
//! nodes the one that continued the session says so.
//! Invariants: of the connections of a session the newest counts. A connection that has just come is not
//! taken for an old one: the session may have come back in the meantime.
//! Not here: how nodes tell each other (the node), the sum of the nodes' counts (the engine).

use grandstand_engine::link::Now;

use super::Audience;

/// A connection that came within this time may be newer than the news.
const JUST_CAME_US: u64 = 2_000_000;

impl Audience {
    /// These sessions, sorted, were continued at other nodes. Returns how many count no more here.
    pub fn handle_elsewhere(&mut self, now: Now, sessions: &[u64]) -> usize {
        let (mut moved, latest_us) = (0, now.us.saturating_sub(JUST_CAME_US));
        let subscriptions = &mut self.subscriptions;
        for ix in subscriptions.connections.slots() {
            let Some(session) = subscriptions.connections.session_mut(ix) else { continue };
            if session.begun_us > latest_us || sessions.binary_search(&session.number).is_err() {
                continue;
            }
            let number = session.number;
            for membership in &mut session.memberships {
                let Some(place) = membership.place.as_mut().filter(|place| !place.is_elsewhere) else {
                    continue;
                };
                place.is_elsewhere = true;
                if std::mem::take(&mut place.is_counted) {
                    subscriptions.people.uncount(number, place.alias.0);
                    subscriptions.rooms[membership.room].viewers -= 1;
                    subscriptions.rooms.mark_recount(membership.room);
                    moved += 1;
                }
            }
        }
        moved
    }
}
