//! What must hold inside of the audiences of a house, after every step.
//!
//! Not here: what viewers are shown (`viewer`).

use super::super::room::Member;
use super::super::subscriptions::Subscriptions;
use super::harness::Harness;

impl Harness {
    /// Sessions, members and rooms know each other, and the levels that are counted are right.
    pub(super) fn check_inside(&mut self) {
        for audience in &mut self.audiences {
            let (mut members, mut sessions) = (0, 0);
            let Subscriptions { connections, rooms, .. } = &audience.subscriptions;
            for (ix, connection) in &connections.slab {
                assert!(!(connection.closing && connection.session.is_some()));
                assert!(
                    connection
                        .out
                        .as_ref()
                        .is_none_or(|out| !out.is_empty() && (connection.blocked || connection.queued))
                );
                let Some(session) = &connection.session else { continue };
                sessions += 1;
                for (key, place) in session.memberships.iter().filter_map(|m| Some((m.room, m.place?))) {
                    members += 1;
                    let room = &rooms[key];
                    assert_eq!(room.members[place.member as usize].connection, ix as u32);
                    assert_eq!(room.attached.as_ref().map(|a| a.alias), Some(place.alias));
                }
            }
            assert_eq!(members, rooms.slab.iter().map(|(_, r)| r.members.len()).sum::<usize>());
            for (_, room) in &rooms.slab {
                let takes = |m: &&Member| connections[m.connection].takes_compressed;
                assert_eq!(room.members.iter().filter(takes).count(), room.members_compressed as usize);
            }
            assert_eq!(rooms.by_name.len(), rooms.slab.len());
            let attached = rooms.slab.iter().filter(|(_, r)| r.attached.is_some());
            assert!(attached.clone().all(|(_, r)| !r.members.is_empty()), "a room that nobody is in");
            assert_eq!(rooms.by_alias.len(), attached.count());
            let counters = audience.counters();
            assert_eq!((counters.members, counters.sessions), (members as u64, sessions));
        }
    }
}
