//! Bans: users, sessions and tokens that an operator has ended, everywhere in the house.
//!
//! Why last writer wins, by a stamp: each node takes orders, also while it hears no other one, and all nodes
//! come to the same table in whatever order they hear of them. A lifted ban is an entry too, or a node that
//! was away would bring it back.
//! Invariants: of two entries of one subject the one with the higher stamp stands, and of equal ones the
//! stricter. The table is bounded: beyond [`BANS_MAX`] an operator is refused, and what other nodes tell of
//! has twice that. An entry is forgotten when it ends.
//! Not here: open sessions (`audience`), files and other nodes (the node).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aws_lc_rs::digest;
use grandstand_edge_core::auth::{Denied, Ended, Subject};
use grandstand_protocol::close::CloseCode;

/// Entries that operators can make.
pub const BANS_MAX: usize = 16_384;
/// Longest name of what is ended, and longest reason, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// How long a lifted ban is remembered: longer than a node is away without an operator who looks.
pub const LIFTED_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// What is ended.
    pub subject: Subject,
    /// When it was decided, microseconds since 1970; higher than what it replaces.
    pub stamp_us: u64,
    /// When the entry ends, milliseconds since 1970; `u64::MAX` for never.
    pub until_ms: u64,
    /// It is lifted.
    pub is_lifted: bool,
    /// The user or the token's id, as the operator wrote it.
    pub name: Box<str>,
    /// Why, as its people are told.
    pub reason: Box<str>,
}

impl Ban {
    fn rank(&self) -> (u64, bool, u64, &str, &str) {
        (self.stamp_us, !self.is_lifted, self.until_ms, &self.reason, &self.name)
    }

    /// How connections are closed by it.
    pub fn code(&self) -> CloseCode {
        match self.subject {
            Subject::User(_) => CloseCode::Banned,
            Subject::Session(_) => CloseCode::SessionRevoked,
            Subject::Token(_) => CloseCode::TokenRevoked,
        }
    }

    /// What its connections are told.
    pub fn ended(&self) -> Ended {
        let text = self.code().text();
        let detail = if self.reason.is_empty() { text.into() } else { format!("{text}: {}", self.reason) };
        Ended { subject: self.subject, code: self.code(), detail: detail.into() }
    }

    fn print(&self) -> u64 {
        let mut hash = digest::Context::new(&digest::SHA256);
        let (kind, id) = kind_and_id(self.subject);
        for number in [kind.into(), id, self.stamp_us, self.until_ms, self.is_lifted.into()] {
            hash.update(&u64::to_le_bytes(number));
        }
        u64::from_le_bytes(*hash.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

/// A subject as two numbers.
pub fn kind_and_id(subject: Subject) -> (u8, u64) {
    match subject {
        Subject::User(id) => (1, id),
        Subject::Session(id) => (2, id),
        Subject::Token(id) => (3, id),
    }
}

/// The subject of two numbers.
pub fn subject(kind: u8, id: u64) -> Option<Subject> {
    match kind {
        1 => Some(Subject::User(id)),
        2 => Some(Subject::Session(id)),
        3 => Some(Subject::Token(id)),
        _ => None,
    }
}

/// The subject that a user is, by its `sub`.
pub fn user(sub: &str) -> Subject {
    Subject::User(number_of(super::claims::USER, sub))
}

/// The subject that a token is, by its `jti`.
pub fn token(id: &str) -> Subject {
    Subject::Token(number_of(super::claims::TOKEN, id))
}

/// The number of a user (`sub`) or of a token's id (`jti`): the same on every node and after a restart.
pub(super) fn number_of(prefix: &str, text: &str) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(prefix.as_bytes());
    hash.update(text.as_bytes());
    u64::from_be_bytes(*hash.finish().as_ref().first_chunk::<8>().expect("SHA-256 has 32 bytes"))
}

/// The table has no place for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// See the file's head.
#[derive(Default)]
pub struct Bans {
    /// Read once per hello and per ticket.
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    bans: BTreeMap<Subject, Ban>,
    /// Of all entries, in whatever order.
    digest: u64,
}

impl fmt::Debug for Bans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bans").field("entries", &self.read().bans.len()).finish()
    }
}

impl Bans {
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enter an operator's decision. Its stamp becomes higher than that of what it replaces. Returns it as it
    /// stands.
    ///
    /// # Errors
    /// There are too many entries.
    pub fn decide(&self, now_ms: u64, mut ban: Ban) -> Result<Ban, Full> {
        let mut table = self.write();
        table.forget_past(now_ms);
        match table.bans.get(&ban.subject) {
            Some(before) => ban.stamp_us = ban.stamp_us.max(before.stamp_us + 1),
            None if table.bans.len() >= BANS_MAX => return Err(Full),
            None => {}
        }
        table.insert(ban.clone());
        Ok(ban)
    }

    /// Take what another node, or a file, knows. Returns what is new, in the order of subjects.
    pub fn merge(&self, now_ms: u64, bans: Vec<Ban>) -> Vec<Ban> {
        let mut table = self.write();
        table.forget_past(now_ms);
        let mut new = BTreeMap::new();
        for ban in bans {
            let is_newer = table.bans.get(&ban.subject).is_none_or(|before| before.rank() < ban.rank());
            let has_place = table.bans.len() < 2 * BANS_MAX || table.bans.contains_key(&ban.subject);
            let is_sound = ban.name.len() <= TEXT_BYTES_MAX && ban.reason.len() <= TEXT_BYTES_MAX;
            if is_newer && has_place && is_sound && ban.until_ms > now_ms {
                table.insert(ban.clone());
                new.insert(ban.subject, ban);
            }
        }
        new.into_values().collect()
    }

    /// All entries, lifted ones too.
    pub fn all(&self, now_ms: u64) -> Vec<Ban> {
        self.read().bans.values().filter(|ban| ban.until_ms > now_ms).cloned().collect()
    }

    /// What stands of a subject.
    pub fn get(&self, now_ms: u64, subject: Subject) -> Option<Ban> {
        let is_in_force = |ban: &&Ban| !ban.is_lifted && ban.until_ms > now_ms;
        self.read().bans.get(&subject).filter(is_in_force).cloned()
    }

    /// Equal for equal tables.
    pub fn digest(&self, now_ms: u64) -> u64 {
        let mut table = self.write();
        table.forget_past(now_ms);
        table.digest
    }

    /// Why somebody is refused, if they are.
    pub fn deny(&self, now_ms: u64, subject: Subject) -> Option<Denied> {
        let table = self.read();
        if table.bans.is_empty() {
            return None;
        }
        let ban = table.bans.get(&subject).filter(|ban| !ban.is_lifted && ban.until_ms > now_ms)?;
        Some(Denied { code: ban.code(), detail: ban.code().text(), retry_after_ms: 0 })
    }
}

impl Table {
    fn insert(&mut self, ban: Ban) {
        self.digest ^= ban.print();
        if let Some(before) = self.bans.insert(ban.subject, ban) {
            self.digest ^= before.print();
        }
    }

    fn forget_past(&mut self, now_ms: u64) {
        let digest = &mut self.digest;
        self.bans.retain(|_, ban| {
            let stays = ban.until_ms > now_ms;
            *digest ^= if stays { 0 } else { ban.print() };
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::random::Random;

    fn ban(id: u64, stamp_us: u64) -> Ban {
        let (name, reason) = ("ann".into(), "".into());
        Ban { subject: Subject::User(id), stamp_us, until_ms: u64::MAX, is_lifted: false, name, reason }
    }

    #[test]
    fn in_whatever_order_nodes_hear_of_them_they_come_to_the_same_table() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let nodes: Vec<Bans> = (0..3).map(|_| Bans::default()).collect();
            let mut said: Vec<Ban> = Vec::new();
            for step in 0..40 {
                let node = &nodes[random.below(3) as usize];
                let order = Ban {
                    is_lifted: random.below(3) == 0,
                    until_ms: 100 + random.below(3) * 100,
                    reason: random.below(2).to_string().into(),
                    ..ban(random.below(5), 1_000 + random.below(20))
                };
                said.push(node.decide(step, order).unwrap());
                let at = random.below(said.len() as u64) as usize;
                nodes[random.below(3) as usize].merge(step, vec![said[at].clone()]);
            }
            for node in &nodes {
                for at in 0..said.len() {
                    node.merge(50, vec![said[(at * 7 + seed as usize) % said.len()].clone()]);
                }
                said.iter().for_each(|ban| drop(node.merge(50, vec![ban.clone()])));
            }
            assert!(nodes.iter().all(|node| node.all(50) == nodes[0].all(50)), "seed {seed}");
            assert!(nodes.iter().all(|node| node.digest(50) == nodes[0].digest(50)));
            assert!(nodes.iter().all(|node| node.merge(50, nodes[0].all(50)).is_empty()));
            nodes
                .iter()
                .for_each(|node| assert_eq!((node.digest(400), node.all(400).len()), (0, 0), "all end"));
        }
    }

    #[test]
    fn the_table_is_bounded_and_a_known_subject_always_has_its_place() {
        let bans = Bans::default();
        (0..BANS_MAX as u64).for_each(|id| drop(bans.decide(0, ban(id, 1)).unwrap()));
        assert_eq!(bans.decide(0, ban(u64::MAX, 1)), Err(Full));
        let lifted = bans.decide(0, Ban { is_lifted: true, until_ms: 10, ..ban(7, 1) }).unwrap();
        assert_eq!((lifted.stamp_us, bans.deny(0, Subject::User(7))), (2, None));
        assert!(bans.decide(11, ban(u64::MAX, 1)).is_ok(), "a place is free when an entry has ended");
        bans.merge(11, (0..3 * BANS_MAX as u64).map(|id| ban(1_000_000 + id, 1)).collect());
        assert_eq!(bans.all(11).len(), 2 * BANS_MAX);
        let long = Ban { reason: "x".repeat(TEXT_BYTES_MAX + 1).into(), ..ban(3, 9) };
        assert!(bans.merge(11, vec![long]).is_empty());
    }
}
