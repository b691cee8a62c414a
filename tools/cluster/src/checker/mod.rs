//! The checker: what all viewers were told against each other, and against what was acknowledged.
//!
//! - A viewer's offsets continue, or a notice names the hole (`account`).
//! - At one offset of one epoch all viewers see the same message (`log`).
//! - What was acknowledged is in the log of the newest epoch, once, at the offset that the answer named, and
//!   every viewer has come to it.
//!
//! Invariants: it keeps one number per message, and some hundred bytes per viewer, however long a run is.
//! Not here: limits of the figures (`faults`).

mod account;
mod log;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::crowd::{FOREIGN, Fate, Publication, Record, Told, place};
use crate::machines::SHARDS;
use crate::network::MACHINES;
use account::Account;
use log::RoomLog;

/// What went wrong since the last look; all 0 in a good run, except for what is said of the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wrongs {
    /// Acknowledged and not in the log, or in it elsewhere, or not shown to a viewer who was there.
    pub(crate) lost: u64,
    /// In the log twice, or shown again.
    pub(crate) twice: u64,
    /// Shown behind a later one, or at an offset at which others were shown another one.
    pub(crate) out_of_order: u64,
    /// Missing without a notice.
    pub(crate) unnamed: u64,
    /// Shown by a replaced owner to a viewer who had not lost its node, and taken back.
    pub(crate) stale_frames: u64,
    /// Acknowledged at an offset where the log has another message.
    pub(crate) stale_acks: u64,
    /// Without an outcome, or with two.
    pub(crate) outcomes: u64,
    /// Refused for good, and in the log all the same.
    pub(crate) refused_and_shown: u64,
    /// Breaches of the protocol that clients saw, and messages of nobody.
    pub(crate) breaches: u64,
    /// Viewers that were not in their room at the end.
    pub(crate) absent: u64,
    /// Taken back from viewers of the node that had the fault, which saw what no log had yet; no wrong.
    pub(crate) unsaid: u64,
    /// Missing with a notice; no wrong, but there should be none.
    pub(crate) named: u64,
    /// Subscriptions that began anew at another log.
    pub(crate) begun_anew: u64,
}

/// The viewers that a fault must not disturb.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// By shard.
    pub(crate) rooms: Vec<usize>,
    /// Nodes whose viewers are left out.
    pub(crate) without: Vec<usize>,
}

/// How long viewers under watch got nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pauses {
    /// Of the viewer that waited longest.
    pub(crate) worst_us: u64,
    /// Of half of the viewers.
    pub(crate) median_us: u64,
    /// The worst of each room.
    pub(crate) by_room_us: Vec<u64>,
    pub(crate) viewers: usize,
    /// Connections of theirs that ended.
    pub(crate) reconnects: u64,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Checker {
    accounts: Vec<Account>,
    rooms: Vec<RoomLog>,
    wrongs: Wrongs,
    watched_rooms: Vec<usize>,
    /// Publications before this one were judged.
    judged: usize,
}

impl Checker {
    pub(crate) fn new(viewers: usize) -> Checker {
        Checker {
            accounts: (0..viewers).map(|viewer| Account::new(place(viewer).0)).collect(),
            rooms: (0..SHARDS).map(|_| RoomLog::default()).collect(),
            wrongs: Wrongs::default(),
            watched_rooms: Vec::new(),
            judged: 0,
        }
    }

    /// Takes what viewers were told, in order for each viewer.
    pub(crate) fn take(&mut self, records: &[Record]) {
        for record in records {
            let account = &mut self.accounts[record.viewer as usize];
            let wrongs = &mut self.wrongs;
            account.handle(record, wrongs);
            if let Told::Message { offset, number } = record.told {
                wrongs.breaches += u64::from(number == FOREIGN);
                let log = &mut self.rooms[account.room];
                let agrees = log.handle_shown(account.epoch, offset, number);
                wrongs.out_of_order += u64::from(!agrees);
            }
        }
    }

    /// From now on, pauses and reconnects of these viewers are measured.
    pub(crate) fn watch(&mut self, watch: &Watch) {
        for account in &mut self.accounts {
            account.is_watched = watch.rooms.contains(&account.room)
                && account.node.is_some_and(|node| !watch.without.contains(&node));
            account.is_exempt = account.node.is_none_or(|node| watch.without.contains(&node));
            (account.pause_us, account.reconnects) = (0, 0);
        }
        self.watched_rooms.clone_from(&watch.rooms);
    }

    /// The pauses so far.
    pub(crate) fn pauses(&self, now_us: u64) -> Pauses {
        let watched = || self.accounts.iter().filter(|account| account.is_watched);
        let mut all: Vec<u64> = watched().map(|account| account.pause_until(now_us)).collect();
        all.sort_unstable();
        let worst = |room: &usize| {
            watched().filter(|a| a.room == *room).map(|a| a.pause_until(now_us)).max().unwrap_or(0)
        };
        Pauses {
            worst_us: all.last().copied().unwrap_or(0),
            median_us: all.get(all.len() / 2).copied().unwrap_or(0),
            by_room_us: self.watched_rooms.iter().map(worst).collect(),
            viewers: all.len(),
            reconnects: watched().map(|account| account.reconnects).sum(),
        }
    }

    /// Viewers that are in their room, at their own node.
    pub(crate) fn at_home(&self) -> usize {
        let is_home = |(viewer, account): &(usize, &Account)| {
            account.is_inside && account.node == Some(place(*viewer).1)
        };
        self.accounts.iter().enumerate().filter(is_home).count()
    }

    /// Has every viewer come to what was acknowledged of publications before `until`, and have these an
    /// outcome?
    pub(crate) fn is_settled(&self, publications: &[Publication], until: usize) -> bool {
        let heads = heads(&publications[..until]);
        publications[self.judged..until].iter().all(|publication| publication.fate != Fate::Waiting)
            && self.accounts.iter().all(|account| account.is_inside && account.next >= heads[account.room])
    }

    /// What is not settled, room by room, in words.
    pub(crate) fn unsettled(&self, publications: &[Publication], until: usize) -> Vec<String> {
        let heads = heads(&publications[..until]);
        let mut said = Vec::new();
        for (room, head) in heads.iter().enumerate() {
            let waits = |of: &&Publication| of.room == room && of.fate == Fate::Waiting;
            let waiting = publications[self.judged..until].iter().filter(waits).count();
            let of_room = || self.accounts.iter().filter(|account| account.room == room);
            let mut behind = [0; MACHINES + 1];
            for account in of_room().filter(|account| !account.is_inside || account.next < *head) {
                behind[account.node.filter(|_| account.is_inside).unwrap_or(MACHINES).min(MACHINES)] += 1;
            }
            if waiting > 0 || behind.iter().any(|&count| count > 0) {
                said.push(format!(
                    "room of shard {room}: {waiting} publications wait, viewers behind by node {:?}, outside {}",
                    &behind[..MACHINES],
                    behind[MACHINES]
                ));
            }
        }
        said
    }

    /// Judges publications before `until`, and viewers. What has no outcome is wrong now.
    pub(crate) fn judge(&mut self, publications: &[Publication], until: usize) -> Wrongs {
        let heads = heads(&publications[..until]);
        let wrongs = &mut self.wrongs;
        let judged = std::mem::replace(&mut self.judged, until);
        for (number, publication) in publications.iter().enumerate().take(until).skip(judged) {
            let log = &mut self.rooms[publication.room];
            let places = log.places(number as u64);
            wrongs.twice += places.len().saturating_sub(1) as u64;
            match publication.fate {
                Fate::Acknowledged { offset, .. } => match log.truth(offset) {
                    Some(there) if there == number as u64 => {}
                    Some(_) => wrongs.stale_acks += 1,
                    None => wrongs.lost += 1,
                },
                Fate::Refused | Fate::NotSent => {
                    wrongs.refused_and_shown += places.len() as u64;
                }
                Fate::Uncertain => {}
                Fate::Waiting => wrongs.outcomes += 1,
            }
            wrongs.outcomes += u64::from(publication.outcomes > 1);
        }
        // A stale acknowledgement is a lost message too.
        wrongs.lost += wrongs.stale_acks;
        for account in &self.accounts {
            wrongs.absent += u64::from(!account.is_inside);
            if account.is_inside {
                wrongs.lost += heads[account.room].saturating_sub(account.next);
            }
        }
        std::mem::take(wrongs)
    }
}

/// Of each room, the offset behind everything that was acknowledged.
fn heads(publications: &[Publication]) -> Vec<u64> {
    let mut heads = vec![0; SHARDS];
    for publication in publications.iter().rev().take(HEADS_LOOK) {
        if let Fate::Acknowledged { offset, .. } = publication.fate {
            let head: &mut u64 = &mut heads[publication.room];
            *head = (*head).max(offset + 1);
        }
    }
    heads
}

/// The newest acknowledged message of each room is among so many publications.
const HEADS_LOOK: usize = 20_000;
