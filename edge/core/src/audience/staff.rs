//! Staff of a room on one worker: members with a role, whose names the room's shard keeps for them.
//!
//! Why told at once: a host's first message must not come behind that of somebody who looks like the host.
//! Invariant: the shard has been told of exactly those who are members now.
//! Not here: who is shown under which name (`engine::room::staff`), reserved names (`settings`).

use grandstand_engine::link::Input;
use grandstand_protocol::text::Likeness;

use super::room::RoomKey;
use super::subscriptions::Subscriptions;

/// People with a role that are told of, by likenesses. Beyond: those who came first.
const STAFF_MAX: usize = 256;

impl Subscriptions {
    /// A member may have a role now, or another name: tell the shard if it matters.
    pub(super) fn note_staff(&mut self, key: RoomKey, ix: u32) {
        let Some(session) = self.connections.get(ix).and_then(|c| c.session.as_deref()) else { return };
        let is_member = session.membership(key).is_some_and(|m| m.place.is_some());
        let staff = &mut self.rooms[key].staff;
        let before = staff.len();
        staff.retain(|(of, _)| *of != ix);
        let mut is_changed = staff.len() != before;
        if is_member && session.role.keeps_its_name() && staff.len() < STAFF_MAX {
            let place = STAFF_MAX - staff.len();
            staff.extend(Likeness::all_of(&session.name).map(|likeness| (ix, likeness)).take(place));
            is_changed = true;
        }
        if is_changed {
            self.tell_staff(key);
        }
    }

    /// A member leaves.
    pub(super) fn forget_staff(&mut self, key: RoomKey, ix: u32) {
        let Some(room) = self.rooms.get_mut(key).filter(|room| !room.staff.is_empty()) else { return };
        let before = room.staff.len();
        room.staff.retain(|(of, _)| *of != ix);
        if room.staff.len() != before {
            self.tell_staff(key);
        }
    }

    /// Tell the shard who is here: after a change, and when the room is attached again.
    pub(super) fn tell_staff(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get(key) else { return };
        let Some(alias) = room.attached.as_ref().map(|a| a.alias) else { return };
        let names = room.staff.iter().map(|(_, likeness)| *likeness).collect();
        self.shards.submit_surely(alias, Input::Staff { worker: self.settings.worker, alias, names });
    }
}
