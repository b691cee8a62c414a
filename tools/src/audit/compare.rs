//! The comparison of the published and shown messages with the log.
//!
//! A power cut may remove only messages that were shown and not yet synced: the last ones of an epoch. Every
//! message up to the last acknowledged one of that epoch must be at the offset at which it was shown. A
//! difference there is a difference of order; a difference after it is "shown and gone". A retry in the next
//! epoch may get the offset that the message had; that proves nothing.
//! Invariant: a message is identified by the number in its text; a text that its number does not require
//! exactly is wrong.
//! Not here: reading the log, which differences are faults (`audit`).

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::load::ledger::{Fate, Ledger, ShownLine};
use crate::load::script::Marked;

/// A message of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) offset: u64,
    /// Number and due time; `None`: not a text of this run.
    pub(super) mark: Option<(u64, u64)>,
}

impl Logged {
    /// The kind of a text at an offset.
    pub(super) fn read(marked: &Marked, offset: u64, text: &str) -> Logged {
        let mark = marked.read(text).filter(|&(seq, due_us)| {
            let mut expected = String::new();
            marked.write(seq, due_us, &mut expected);
            expected == text
        });
        Logged { offset, mark }
    }
}

/// The counts of the comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Comparison {
    published: u64,
    acknowledged: u64,
    acknowledged_disk: u64,
    /// Acknowledged as synced, and not in the log.
    acknowledged_lost: u64,
    /// Acknowledged as in memory, and not in the log.
    acknowledged_memory_gone: u64,
    /// Acknowledged, and in the log at another offset.
    displaced: u64,
    unanswered: u64,
    uncertain: u64,
    log_messages: u64,
    /// Offsets between the first and the last of a log that hold nothing.
    log_holes: u64,
    /// Messages that are in the log more than once.
    duplicates: u64,
    /// Messages that were in the log before the run began: its room was not fresh.
    earlier: u64,
    /// Messages of the log that nobody published.
    wrong: u64,
    epochs: u64,
    shown: u64,
    shown_and_gone: u64,
    order_differences: u64,
}

impl Comparison {
    /// `logs`: of each room of the ledger, offsets rising.
    pub(super) fn new(ledger: &Ledger, logs: &[Vec<Logged>]) -> Comparison {
        let mut found = Comparison::default();
        let due: HashMap<u64, u64> = ledger.publications.iter().map(|p| (p.seq, p.due_us)).collect();
        // By room: the offset of each number, and the number at each offset.
        let mut places = Vec::new();
        for (room, log) in logs.iter().enumerate() {
            places.push(found.read_log(log, &due, ledger.header.began_at(room)));
        }
        found.compare_publications(ledger, &places);
        let by_offset: Vec<HashMap<u64, u64>> =
            logs.iter().map(|log| log.iter().filter_map(|m| Some((m.offset, m.mark?.0))).collect()).collect();
        let acknowledged = ledger.publications.iter().filter_map(|p| match p.fate {
            // In memory an epoch ends with its process, and nothing is kept.
            Fate::Acknowledged { epoch, durability, .. } if durability > 0 => Some((p.seq, epoch)),
            _ => None,
        });
        let acknowledged = acknowledged.collect();
        for shown in &ledger.shown {
            found.compare_shown(shown, &by_offset[shown.room], &acknowledged);
        }
        found
    }

    /// `began_at`: the first offset that may be of this run.
    fn read_log(&mut self, log: &[Logged], due: &HashMap<u64, u64>, began_at: u64) -> HashMap<u64, u64> {
        self.log_messages += log.len() as u64;
        self.log_holes +=
            log.windows(2).map(|pair| pair[1].offset.saturating_sub(pair[0].offset + 1)).sum::<u64>();
        let mut places = HashMap::new();
        for message in log {
            match message.mark {
                Some((seq, due_us)) if due.get(&seq) == Some(&due_us) => {
                    if places.insert(seq, message.offset).is_some() {
                        self.duplicates += 1;
                    }
                }
                _ if message.offset < began_at => self.earlier += 1,
                _ => self.wrong += 1,
            }
        }
        places
    }

    fn compare_publications(&mut self, ledger: &Ledger, places: &[HashMap<u64, u64>]) {
        for publication in &ledger.publications {
            self.published += 1;
            match publication.fate {
                Fate::Unanswered => self.unanswered += 1,
                Fate::Uncertain => self.uncertain += 1,
                Fate::Refused => {}
                Fate::Acknowledged { offset, durability, .. } => {
                    let is_disk = durability > 0;
                    self.acknowledged += 1;
                    self.acknowledged_disk += u64::from(is_disk);
                    match places[publication.room].get(&publication.seq) {
                        Some(&at) => self.displaced += u64::from(at != offset),
                        None if is_disk => self.acknowledged_lost += 1,
                        None => self.acknowledged_memory_gone += 1,
                    }
                }
            }
        }
    }

    /// `acknowledged`: by number, the epoch that the answer named.
    fn compare_shown(
        &mut self,
        shown: &ShownLine,
        log: &HashMap<u64, u64>,
        acknowledged: &HashMap<u64, u64>,
    ) {
        self.epochs += 1;
        let places = (shown.first..).zip(&shown.seqs).filter_map(|(offset, seq)| Some((offset, (*seq)?)));
        let (mut agrees, mut kept) = (Vec::new(), 0);
        for (offset, seq) in places {
            agrees.push(log.get(&offset) == Some(&seq));
            if acknowledged.get(&seq) == Some(&shown.epoch) {
                kept = agrees.len();
            }
        }
        let differ = |places: &[bool]| places.iter().filter(|agrees| !**agrees).count() as u64;
        self.shown += agrees.len() as u64;
        self.order_differences += differ(&agrees[..kept]);
        self.shown_and_gone += differ(&agrees[kept..]);
    }

    /// By name.
    pub(super) fn figures(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(figures)) => figures,
            _ => unreachable!("named numbers are an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::ledger::{Header, PublicationRecord};
    use crate::load::script::Arrivals;

    fn marked() -> Marked {
        Marked { run: 7, rate: 1.0, size_bytes: 40, arrivals: Arrivals::Even, hold_us: 1 }
    }

    fn said(seq: u64, offset: u64, durability: u8) -> PublicationRecord {
        let fate = Fate::Acknowledged { epoch: 1, offset, durability, repeated: false };
        PublicationRecord { seq, room: 0, nonce: seq, due_us: seq * 10, fate }
    }

    fn ledger(publications: Vec<PublicationRecord>, shown: &[(u64, u64, &[u64])]) -> Ledger {
        let shown = shown.iter().map(|&(epoch, first, seqs)| ShownLine {
            room: 0,
            epoch,
            first,
            seqs: seqs.iter().map(|&seq| Some(seq)).collect(),
        });
        Ledger {
            header: Header { marked: marked(), rooms: vec!["r".into()], began: vec![None] },
            publications,
            shown: shown.collect(),
        }
    }

    fn log(of: &[(u64, u64)]) -> Vec<Vec<Logged>> {
        vec![of.iter().map(|&(offset, seq)| Logged { offset, mark: Some((seq, seq * 10)) }).collect()]
    }

    #[test]
    fn a_log_that_holds_everything_has_no_fault() {
        let ledger = ledger((0..4).map(|n| said(n, n, 1)).collect(), &[(1, 0, &[0, 1, 2, 3])]);
        let found = Comparison::new(&ledger, &log(&[(0, 0), (1, 1), (2, 2), (3, 3)]));
        let clean = Comparison {
            published: 4,
            acknowledged: 4,
            acknowledged_disk: 4,
            log_messages: 4,
            epochs: 1,
            shown: 4,
            ..Comparison::default()
        };
        assert_eq!(found, clean);
    }

    #[test]
    fn what_is_lost_twice_moved_or_missing_is_counted() {
        let ledger = ledger(vec![said(0, 0, 1), said(1, 1, 1), said(2, 2, 0), said(3, 9, 1)], &[]);
        let found = Comparison::new(&ledger, &log(&[(0, 0), (3, 3), (4, 0), (6, 77)]));
        assert_eq!((found.acknowledged_lost, found.acknowledged_memory_gone), (1, 1));
        assert_eq!((found.displaced, found.duplicates, found.log_holes, found.wrong), (2, 1, 3, 1));
    }

    #[test]
    fn only_the_end_of_what_an_epoch_showed_may_be_gone() {
        let all: Vec<PublicationRecord> = (0..8).map(|n| said(n, n, 1)).collect();
        let mut cut = all.clone();
        for said in &mut cut[2..] {
            said.fate = Fate::Acknowledged { epoch: 2, offset: said.seq, durability: 1, repeated: false };
        }
        let (shown, log) =
            ([(1, 0, &[0, 1, 2, 6][..]), (2, 1, &[1, 5, 6])], log(&[(0, 0), (1, 1), (2, 5), (3, 6)]));
        // Message 6 was retried, and got the offset that it had.
        let found = Comparison::new(&ledger(cut, &shown), &log);
        assert_eq!((found.shown_and_gone, found.order_differences), (1, 0));
        let found = Comparison::new(&ledger(all, &shown), &log);
        assert_eq!(
            (found.shown_and_gone, found.order_differences),
            (0, 1),
            "6 was acknowledged in the first"
        );
    }

    #[test]
    fn what_was_there_before_the_run_is_not_wrong() {
        use crate::load::messages::Head;
        let mut ledger = ledger(vec![said(0, 2, 1)], &[]);
        ledger.header.began = vec![Some(Head { epoch: 1, offset: 2 })];
        let mut logs = log(&[(0, 70), (1, 71), (2, 0), (3, 72)]);
        logs[0][0].mark = None;
        let found = Comparison::new(&ledger, &logs);
        assert_eq!(
            (found.earlier, found.wrong, found.log_messages),
            (2, 1, 4),
            "only what came later is wrong"
        );
    }

    #[test]
    fn a_text_must_be_what_its_number_says() {
        let (marked, mut text) = (marked(), String::new());
        marked.write(3, 50, &mut text);
        assert_eq!(Logged::read(&marked, 9, &text).mark, Some((3, 50)));
        assert_eq!(Logged::read(&marked, 9, &text.replace('h', "i")).mark, None);
        assert_eq!(Logged::read(&marked, 9, "hello").mark, None);
    }
}
