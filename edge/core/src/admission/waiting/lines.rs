//! Two waiting lines for one wait: one for everybody, and one for clients that have proved an earlier visit.
//!
//! Why two: a returning client does not compete with strangers, however many addresses they have. The proof
//! is a ticket, and a stranger can get one too: so shares hold in the line of returning clients as in the
//! other, and it takes no place from the others.
//! Invariant: a connection waits in one of the two.
//! Not here: the rules of a line ([`super::WaitingLine`]), what the proof is (the driver).

use std::hash::Hash;

use super::{Admission, Settings, Stage, WaitingLine};
use crate::admission::address::Address;
use crate::key::Key;

/// See the file's head.
#[derive(Debug)]
pub struct WaitingLines<K> {
    everybody: WaitingLine<K>,
    returning: WaitingLine<K>,
}

impl<K: Copy + Eq + Hash> WaitingLines<K> {
    /// Empty lines: of this size for everybody, and of a quarter of it more for returning clients.
    pub fn new(places_max: usize, grace_us: u64, key: Key) -> Self {
        let line = |places_max| WaitingLine::new(Settings::of_size(places_max, grace_us), key);
        WaitingLines { everybody: line(places_max), returning: line(places_max.div_ceil(4)) }
    }

    /// A connection wants to wait. A returning client for which its own line has no place waits as others do.
    pub fn admit(
        &mut self,
        key: K,
        address: Option<Address>,
        stage: Stage,
        is_returning: bool,
        now_us: u64,
    ) -> Admission<K> {
        if is_returning {
            match self.returning.admit(key, address, stage, now_us) {
                Admission::Refused => {}
                admission => return admission,
            }
        }
        self.everybody.admit(key, address, stage, now_us)
    }

    /// Would a connection get a place?
    pub fn would_admit(&self, address: Option<Address>, is_returning: bool, now_us: u64) -> bool {
        is_returning && self.returning.judge(address, now_us) != Admission::Refused
            || self.everybody.judge(address, now_us) != Admission::Refused
    }

    /// See [`WaitingLine::give_way`]. Returning clients give way last.
    pub fn give_way(&mut self, address: Option<Address>, now_us: u64) -> Option<K> {
        self.everybody.give_way(address, now_us).or_else(|| self.returning.give_way(address, now_us))
    }

    /// See [`WaitingLine::give_way_to_own`]. Returning clients give way last.
    pub fn give_way_to_own(&mut self, address: Address, now_us: u64) -> Option<K> {
        let gone = self.everybody.give_way_to_own(address, now_us);
        gone.or_else(|| self.returning.give_way_to_own(address, now_us))
    }

    /// The connection waits no longer, however that came. Returns `None` if it did not, and else whether it
    /// had a place of the returning clients.
    pub fn leave(&mut self, key: K) -> Option<bool> {
        if self.everybody.leave(key) { Some(false) } else { self.returning.leave(key).then_some(true) }
    }

    /// See [`WaitingLine::has_room`]. `is_returning`: for a returning client.
    pub fn has_room(&self, is_returning: bool, now_us: u64) -> bool {
        self.everybody.has_room(now_us) || is_returning && self.returning.has_room(now_us)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.everybody.len() + self.returning.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
