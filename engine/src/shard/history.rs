//! History: pages of a room's past, from memory, or from the durable log where that reaches further back.
//!
//! Invariants: every request is answered once. If the disk does not answer within `answer_within_ms`, the
//! answer holds the page from memory and the time to ask again. Requests for a page that is already being
//! read share that read, so a crowd of returning clients causes one read. At most [`READS_MAX`] reads are
//! under way. Other requests wait in order, at most one per reader.
//! Not here: what a reader does with a page (edge).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::outbox::Outbox;
use super::pending_acks::RETRY_MS;
use super::rooms::Rooms;
use crate::link::{Alias, Batch, HistoryPage, Output, PageOf, WorkerId};
use crate::log::{DurableLog, Log, ReadRequest};
use crate::room::Room;

/// Batches in one page of history: six seconds of a busy room at a tick of 100 ms.
const PAGE_BATCHES_MAX: usize = 64;

/// Bytes of one page of history: the most that a viewer that catches up can have in flight, and as much again
/// that a client asked for. Beside its control queue, a connection so holds less than 256 KB.
const PAGE_BYTES_MAX: usize = 64 << 10;

/// Reads of one shard under way: 2 MiB in all, and enough to keep one reading thread busy.
const READS_MAX: usize = 32;

/// The page that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) alias: Alias,
    pub(super) epoch: u64,
    pub(super) from: u64,
    pub(super) of: PageOf,
}

/// The reader of a page: a worker, and the number of its request.
type Reader = (WorkerId, u64);

/// Pages that are being read from the durable log.
#[derive(Debug, Default)]
pub(super) struct Pages {
    // By number, so in the order of the requests.
    asked: BTreeMap<u64, Read>,
    by_page: BTreeMap<Wanted, u64>,
    // Reads that the log has not answered yet: those in `asked`, and those that were given up.
    under_way: BTreeSet<u64>,
    // The first read in `asked` that was not sent to the log yet; all above it wait.
    next_to_start: u64,
    next: u64,
    late: u64,
}

#[derive(Debug)]
struct Read {
    wanted: Wanted,
    due_us: u64,
    readers: Vec<Reader>,
}

/// The sources of history other than the durable log.
#[derive(Clone, Copy)]
pub(super) struct Past<'a> {
    pub(super) rooms: &'a Rooms,
    pub(super) log: &'a dyn Log,
}

impl Pages {
    /// When the oldest request has waited long enough.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.asked.first_key_value().map(|(_, read)| read.due_us)
    }

    /// For the counters: pages requested from the log so far, and pages that came too late.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.next_to_start, self.late)
    }

    /// Ask the durable log for a page, until `due_us`. A page that memory has is returned at once.
    pub(super) fn ask(
        &mut self,
        wanted: Wanted,
        due_us: u64,
        reader: Reader,
        past: Past<'_>,
    ) -> Option<HistoryPage> {
        let Some(slot) = past.slot(wanted) else { return Some(HistoryPage::default()) };
        if !past.is_further_back(slot, wanted) {
            return Some(past.page(wanted));
        }
        let number = *self.by_page.entry(wanted).or_insert(self.next);
        if number == self.next {
            self.next += 1;
        }
        let read = self.asked.entry(number).or_insert_with(|| Read { wanted, due_us, readers: Vec::new() });
        read.readers.push(reader);
        None
    }

    /// A page came from the disk. If it is empty, memory may have one.
    pub(super) fn handle_page(
        &mut self,
        number: u64,
        batches: Vec<Arc<Batch>>,
        past: Past<'_>,
        outbox: &mut Outbox,
    ) {
        self.under_way.remove(&number);
        let Some(read) = self.end(number) else { return };
        let page = match past.slot(read.wanted) {
            Some(_) if batches.is_empty() => past.page(read.wanted),
            Some(slot) => {
                let batches = past.redacted(slot, batches);
                HistoryPage { batches, same_epoch: true, retry_after_ms: None }
            }
            None => HistoryPage::default(),
        };
        read.send(&page, outbox);
    }

    /// Answer the requests that have waited long enough for the disk.
    pub(super) fn end_late(&mut self, now_us: u64, past: Past<'_>, outbox: &mut Outbox) {
        while let Some((&number, _)) = self.asked.first_key_value().filter(|(_, r)| r.due_us <= now_us) {
            let read = self.end(number).expect("just seen");
            self.late += 1;
            let page = match past.slot(read.wanted) {
                Some(_) => HistoryPage { retry_after_ms: Some(RETRY_MS), ..past.page(read.wanted) },
                None => HistoryPage::default(),
            };
            read.send(&page, outbox);
        }
    }

    /// Send waiting requests to the log, as many as may be under way.
    pub(super) fn start(&mut self, rooms: &Rooms, log: &mut dyn DurableLog) {
        while let Some((request, wanted)) = self.poll_start() {
            let Wanted { alias, from, of, .. } = wanted;
            let (batches_max, bytes_max) = (PAGE_BATCHES_MAX, PAGE_BYTES_MAX);
            let room = rooms.slot(alias).and_then(|slot| rooms.get(slot));
            let room = room.map_or_else(|| "".into(), |room| room.name.clone());
            log.read(ReadRequest { request, room, alias, from, of, batches_max, bytes_max });
        }
    }

    fn end(&mut self, number: u64) -> Option<Read> {
        let read = self.asked.remove(&number)?;
        self.by_page.remove(&read.wanted);
        Some(read)
    }

    /// The next request to send to the log.
    fn poll_start(&mut self) -> Option<(u64, Wanted)> {
        if self.under_way.len() >= READS_MAX {
            return None;
        }
        let (&number, read) = self.asked.range(self.next_to_start..).next()?;
        self.next_to_start = number + 1;
        self.under_way.insert(number);
        Some((number, read.wanted))
    }
}

impl Read {
    fn send(self, page: &HistoryPage, outbox: &mut Outbox) {
        for (worker, request) in self.readers {
            outbox.push(worker, Output::History { request, page: Box::new(page.clone()) });
        }
    }
}

impl Past<'_> {
    /// The slot of the room, if its epoch is still that of the request.
    fn slot(&self, wanted: Wanted) -> Option<u32> {
        let slot = self.rooms.slot(wanted.alias)?;
        self.rooms.get(slot).filter(|room| room.epoch == wanted.epoch).map(|_| slot)
    }

    /// Does the durable log reach further back than memory for this request?
    fn is_further_back(&self, slot: u32, wanted: Wanted) -> bool {
        let Some(room) = self.rooms.get(slot) else { return false };
        let Some(disk) = room.disk() else { return false };
        let next_offset = room.next_offset();
        let in_memory = self.log.oldest_offset(wanted.alias).unwrap_or(next_offset);
        wanted.from < in_memory && disk.oldest_offset < in_memory
    }

    /// The page from memory.
    fn page(&self, Wanted { alias, from, of, .. }: Wanted) -> HistoryPage {
        let batches = match of {
            PageOf::Shown => self.log.read(alias, from, PAGE_BATCHES_MAX, PAGE_BYTES_MAX),
            PageOf::Full { messages_max } => {
                self.log.read_full(alias, from, messages_max.into(), PAGE_BYTES_MAX)
            }
        };
        let batches = match self.rooms.slot(alias) {
            Some(slot) => self.redacted(slot, batches),
            None => batches,
        };
        HistoryPage { batches, same_epoch: true, retry_after_ms: None }
    }

    /// Batches as a reader may have them.
    fn redacted(&self, slot: u32, batches: Vec<Arc<Batch>>) -> Vec<Arc<Batch>> {
        let removals = self.rooms.get(slot).map(Room::removals).unwrap_or_default();
        if removals.is_empty() {
            return batches;
        }
        batches.iter().map(|batch| removals.redacted(batch)).collect()
    }
}
