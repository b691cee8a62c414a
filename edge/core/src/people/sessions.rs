//! Sessions of named users, over all connections and workers of a node.
//!
//! Why by session and not by connection: who comes back while its last connection is half open is one session
//! on two connections, and must not be kept out by itself.
//! Invariants: a session that began is ended once for each time it began. A user without sessions is not
//! remembered, so there are at most as many entries as sessions.
//! Not here: anonymous sessions, which have no user and are held by their address (`admission`, `places`).

use std::collections::HashMap;
use std::sync::Mutex;

use grandstand_engine::link::UserId;
use smallvec::SmallVec;

use super::{PARTS, part_of};
use crate::key::Key;

/// Connections of each session of a user; most users have one session.
type Open = SmallVec<[(u64, u32); 1]>;

/// Spreads the numbers of users, which are hashes without a secret: see `allowances`.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug)]
pub(super) struct Sessions {
    parts: Box<[Mutex<HashMap<UserId, Open, Key>>]>,
    per_user: usize,
}

impl Sessions {
    /// At most so many of each user; 0: as many as it likes.
    pub(super) fn new(per_user: u32, key: Key) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::new(HashMap::with_hasher(key))).collect();
        Sessions { parts, per_user: if per_user == 0 { usize::MAX } else { per_user as usize } }
    }

    /// One more connection of a session. `false`: the user has as many sessions as it may, and this is
    /// another one; who is exempt is counted all the same.
    pub(super) fn begin(&self, user: UserId, session: u64, is_exempt: bool) -> bool {
        let mut part = self.part(user);
        let open = part.entry(user).or_default();
        if let Some((_, connections)) = open.iter_mut().find(|(number, _)| *number == session) {
            *connections += 1;
            return true;
        }
        if open.len() >= self.per_user && !is_exempt {
            return false;
        }
        open.push((session, 1));
        true
    }

    /// One connection less.
    pub(super) fn end(&self, user: UserId, session: u64) {
        let mut part = self.part(user);
        let Some(open) = part.get_mut(&user) else { return };
        let Some(at) = open.iter().position(|(number, _)| *number == session) else { return };
        open[at].1 -= 1;
        if open[at].1 == 0 {
            open.swap_remove(at);
        }
        if open.is_empty() {
            part.remove(&user);
        }
    }

    fn part(&self, user: UserId) -> std::sync::MutexGuard<'_, HashMap<UserId, Open, Key>> {
        let part = part_of(user.0.wrapping_mul(SPREAD));
        self.parts[part].lock().expect("nothing panics under this lock")
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.lock().unwrap().is_empty())
    }
}
