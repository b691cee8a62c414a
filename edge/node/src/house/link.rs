//! The house's end of the network: what other nodes say, and what they are told.
//!
//! Invariants: the network's thread never waits here for a worker or a disk.
//! Not here: how messages travel (`grandstand_nats`).

use std::sync::Arc;
use std::sync::Weak;

use grandstand_cluster::house::{Ban as Told, HouseMessage};
use grandstand_edge::auth::bans::{Ban, kind_and_id, subject};
use grandstand_edge_core::people::{Limited, Taken};
use grandstand_engine::link::PersonId;

use super::House;

/// A ban, as nodes tell each other.
pub(super) fn of_ban(ban: &Ban) -> Told {
    let (kind, id) = kind_and_id(ban.subject);
    let Ban { stamp_us, until_ms, is_lifted, ref name, ref reason, .. } = *ban;
    Told { kind, id, stamp_us, until_ms, is_lifted, name: name.clone(), reason: reason.clone() }
}

/// The ban that another node tells of; `None` for a kind of a later release.
pub(super) fn to_ban(told: &Told) -> Option<Ban> {
    let Told { kind, id, stamp_us, until_ms, is_lifted, ref name, ref reason } = *told;
    let (name, reason) = (name.clone(), reason.clone());
    Some(Ban { subject: subject(kind, id)?, stamp_us, until_ms, is_lifted, name, reason })
}

/// On the network's side: it has the house for as long as it runs.
pub(super) struct Link(pub(super) Arc<House>);

impl grandstand_nats::House for Link {
    fn load(&self) -> u32 {
        let workers = self.0.workers.get().and_then(Weak::upgrade);
        workers.map_or(0, |workers| workers.connections() as u32)
    }

    fn digest(&self) -> u64 {
        self.0.bans.digest(self.0.now_ms())
    }

    fn bans(&self) -> Vec<Told> {
        self.0.bans.all(self.0.now_ms()).iter().map(of_ban).collect()
    }

    fn handle(&self, message: &HouseMessage) {
        let house = &self.0;
        if message.answers != 0 {
            house.note_answer(message.answers, message.node.0);
        }
        let new = house.merge(message.bans.iter().filter_map(to_ban).collect());
        if !new.is_empty() {
            tracing::info!(node = message.node.0, entries = new.len(), "bans of another node");
            let house = house.clone();
            // The network's thread has a runtime, and must not wait.
            drop(tokio::task::spawn_blocking(move || {
                house.close(&new);
                house.save();
            }));
        }
        let Some(workers) = house.workers.get().and_then(Weak::upgrade) else { return };
        if !message.taken.is_empty() {
            let taken = |&(person, kind, tokens): &(u64, u8, u32)| {
                let what = *Limited::ALL.get(usize::from(kind))?;
                let tokens = tokens.min(u16::MAX.into()) as u16;
                Some(Taken { person: PersonId(person), what, tokens })
            };
            let taken: Vec<Taken> = message.taken.iter().filter_map(taken).collect();
            workers.people().owe(house.clock.now().1, &taken, &house.rates);
        }
        if !message.moved.is_empty() {
            let mut moved = message.moved.clone();
            moved.sort_unstable();
            workers.count_elsewhere(&moved.into());
        }
    }

    fn news(&self) -> (Vec<(u64, u8, u32)>, Vec<u64>) {
        let Some(workers) = self.0.workers.get().and_then(Weak::upgrade) else { return Default::default() };
        let people = workers.people();
        let taken = people.take_taken();
        let taken = taken.iter().map(|one| (one.person.0, one.what as u8, one.tokens.into())).collect();
        (taken, people.take_returned())
    }
}
