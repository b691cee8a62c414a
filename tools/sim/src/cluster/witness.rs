//! The witness of a shard's log: reads what the stream has committed, and knows what is true.
//!
//! Why a reader of its own: the cluster's chain must not be the judge of itself. A record is valid if it is
//! at its place, names the sum of the valid record before it, and is of the current term or begins a higher
//! one.
//! It tells the checker which texts are kept, where a log goes on under another epoch, and who owns a term.
//! Invariant: what it says was committed before anybody could act on it.
//! Not here: what viewers were told (`checker`), copies of nodes (`copy`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use grandstand_cluster::record::{Body, Cause, Record, decode};
use grandstand_engine::link::epoch_after;
use grandstand_engine::log::{BatchEntry, Entry, StoredRoom};
use grandstand_model::StoredLog;
use grandstand_protocol::batch::{BatchReader, Item};
use grandstand_protocol::stream;

use super::copy::{EntryTable, apply};
use crate::checker::Checker;

/// A node in one of its lives.
pub(crate) type Life = (usize, u64);

/// What each life of a node has shown: by room and epoch, the next offset.
pub(crate) type Shown = BTreeMap<Life, BTreeMap<(String, u64), u64>>;

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    term: u64,
    sum: u64,
    log: StoredLog,
    owners: BTreeMap<u64, Life>,
    position: u64,
    /// By candidate and term: who promised before the term record was sent.
    promised: BTreeMap<(Life, u64), BTreeSet<Life>>,
    sent: BTreeSet<(Life, u64)>,
}

impl Witness {
    /// A promise reached a candidate.
    pub(crate) fn promise(&mut self, candidate: Life, term: u64, from: Life) {
        if !self.sent.contains(&(candidate, term)) {
            self.promised.entry((candidate, term)).or_default().insert(from);
        }
    }

    /// A node sends a record.
    pub(crate) fn sends(&mut self, from: Life, bytes: &Bytes, checker: &mut Checker) {
        let Ok(Record { place, body: Body::Term(body), .. }) = decode(bytes) else { return };
        let claim = (from, place.term.0);
        if body.cause == Cause::Clean {
            return;
        }
        // Its own promise is sent to nobody; one more is a majority of three.
        if !self.promised.contains_key(&claim) {
            let detail = format!("node {} claims {} and nobody promised it", from.0, place.term);
            checker.violate("unpromised", detail);
        }
        self.sent.insert(claim);
    }

    /// The owner of a term, by the log.
    pub(crate) fn owner(&self, term: u64) -> Option<Life> {
        self.owners.get(&term).copied()
    }

    /// Where the log's valid records end.
    pub(crate) fn head(&self) -> u64 {
        self.position
    }

    /// The rooms, as of all valid records.
    pub(crate) fn rooms(&self) -> Vec<StoredRoom> {
        self.log.rooms(|_| true)
    }

    /// The stream has committed this message.
    pub(crate) fn commit(
        &mut self,
        position: u64,
        bytes: &Bytes,
        (table, shown): (&EntryTable, &Shown),
        checker: &mut Checker,
    ) {
        let Ok(record) = decode(bytes) else { return };
        let begins = matches!(record.body, Body::Term(_));
        let term = record.place.term.0;
        let is_of_term = if begins { term > self.term } else { term == self.term };
        if !is_of_term || record.place.position.0 != position || record.place.base != self.sum {
            checker.counts.void_records += 1;
            return;
        }
        (self.term, self.sum, self.position) = (term, record.sum, position);
        match &record.body {
            Body::Entries(entries) => {
                self.apply(entries.iter().map(|bytes| table.get(&bytes)).collect(), checker);
            }
            Body::Term(body) => {
                let adopted: Vec<Entry> = body.adopted.iter().map(|bytes| table.get(&bytes)).collect();
                checker.counts.adopted += adopted.len() as u64;
                self.apply(adopted, checker);
                let owner = (usize::from(body.owner.0), body.incarnation.0);
                if let Some(before) = self.owners.insert(term, owner).filter(|before| *before != owner) {
                    checker
                        .violate("owners", format!("term {term} has two owners: {before:?} and {owner:?}"));
                }
                match body.cause {
                    Cause::Clean => checker.counts.handed_over += 1,
                    Cause::Claim | Cause::First => {
                        checker.counts.claimed += 1;
                        self.check_shown((owner, term), shown, checker);
                        self.fork(term, checker);
                    }
                }
            }
            Body::Unknown { .. } => {
                checker.violate("log", "a record of a kind that nobody writes".to_owned());
            }
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, checker: &mut Checker) {
        let count = entries.len() as u64;
        let mut took = 0;
        apply(&mut self.log, entries, |entry| {
            took += 1;
            match entry {
                Entry::Batch(batch) => keep(batch, checker),
                Entry::Removed { epoch, .. } => checker.handle_removed(*epoch),
                Entry::Room(_) => {}
            }
        });
        checker.counts.left_out += count - took;
    }

    /// What a node showed that promised the term stands.
    fn check_shown(&self, claim: (Life, u64), shown: &Shown, checker: &mut Checker) {
        let Some(promised) = self.promised.get(&claim) else { return };
        let all = promised.iter().chain([&claim.0]);
        for (life, seen) in all.filter_map(|life| Some((life, shown.get(life)?))) {
            for ((name, epoch), next) in seen {
                let Some(room) = self.log.room(name).filter(|room| room.room.epoch == *epoch) else {
                    continue;
                };
                if *next > room.next_offset {
                    let detail = format!(
                        "node {} showed {name} up to {next}, promised term {}, and that begins at {}",
                        life.0, claim.1, room.next_offset
                    );
                    checker.violate("unsaid", detail);
                }
            }
        }
    }

    /// After a claim every room has another epoch.
    fn fork(&mut self, term: u64, checker: &mut Checker) {
        self.log.renew(|epoch| epoch_after(epoch, term));
        for room in self.log.rooms(|_| true) {
            let Some(before) = room.previous.epochs().first() else { continue };
            checker.handle_fork(room.room.epoch, before.epoch, before.next_offset);
        }
    }
}

/// The texts of a batch are kept.
fn keep(entry: &BatchEntry, checker: &mut Checker) {
    let wire = entry.full.as_ref().unwrap_or(&entry.batch.wire);
    for (offset, text) in texts(wire, entry.batch.first_offset) {
        checker.handle_kept(&entry.room, entry.epoch, offset, &text);
    }
}

/// The texts of a sealed batch, with their offsets.
fn texts(wire: &Bytes, first_offset: u64) -> Vec<(u64, String)> {
    let (header, _) = stream::read_header(wire, usize::MAX).expect("a sealed batch").expect("a whole one");
    let mut reader = BatchReader::new(&wire[header + 1..]).expect("a sealed batch");
    let (mut offset, mut texts) = (first_offset, Vec::new());
    while let Some(item) = reader.next_item().expect("a sealed batch") {
        match item {
            Item::Message(message) => {
                texts.push((offset, message.text.to_owned()));
                offset += 1;
            }
            Item::Omitted(count) => offset += count,
            _ => {}
        }
    }
    texts
}
