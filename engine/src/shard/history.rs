//! Pages of a room's past: from memory, and from the durable log where that reaches further back.
//!
//! Invariants: every request is answered once: with the page, or, when the disk does not answer within
//! `answer_within_ms`, with what memory has and when to ask again. Who asks for the same page while it is
//! being read shares the read: a crowd that comes back reads it once. At most [`READS_MAX`] are under way;
//! the others wait in order, one per reader at most.
//! Not here: what a reader makes of a page (edge).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Shard;
use super::pending_acks::RETRY_MS;
use crate::link::{Alias, Batch, HistoryPage, Now, Output, PageOf, WorkerId};
use crate::log::ReadRequest;

/// Batches in one page of history: at a tick of 100 ms, six seconds of a busy room.
const PAGE_BATCHES_MAX: usize = 64;

/// Bytes of one page of history: what a viewer that catches up can have in flight.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// Bytes of one page that was asked for in full: it goes out as one frame, and copied, so a quarter of the
/// above.
const FULL_PAGE_BYTES_MAX: usize = 64 << 10;

/// Reads of one shard under way: together 8 MiB, and enough to keep one reading thread busy.
const READS_MAX: usize = 32;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) alias: Alias,
    pub(super) epoch: u64,
    pub(super) from: u64,
    pub(super) of: PageOf,
}

/// Pages that are read from the durable log.
#[derive(Debug, Default)]
pub(super) struct Reads {
    // By ticket, and so in the order in which they were asked for.
    asked: BTreeMap<u64, Read>,
    by_page: BTreeMap<Wanted, u64>,
    // Asked of the log and not answered by it: of `asked`, or given up.
    under_way: BTreeSet<u64>,
    // Of those in `asked` that were not asked of the log yet; all above are waiting.
    next_to_start: u64,
    next_ticket: u64,
    late: u64,
}

#[derive(Debug)]
struct Read {
    wanted: Wanted,
    due_us: u64,
    readers: Vec<(WorkerId, u64)>,
}

impl Reads {
    /// When a reader has waited long enough.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.asked.first_key_value().map(|(_, read)| read.due_us)
    }

    /// For the counters: pages asked of the log so far, and those that came too late.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.next_to_start, self.late)
    }

    fn ask(&mut self, wanted: Wanted, due_us: u64, reader: (WorkerId, u64)) {
        let ticket = *self.by_page.entry(wanted).or_insert(self.next_ticket);
        if ticket == self.next_ticket {
            self.next_ticket += 1;
        }
        let read = self.asked.entry(ticket).or_insert_with(|| Read { wanted, due_us, readers: Vec::new() });
        read.readers.push(reader);
    }

    fn end(&mut self, ticket: u64) -> Option<Read> {
        let read = self.asked.remove(&ticket)?;
        self.by_page.remove(&read.wanted);
        Some(read)
    }

    /// The next that is to be asked of the log.
    fn poll_start(&mut self) -> Option<(u64, Wanted)> {
        if self.under_way.len() >= READS_MAX {
            return None;
        }
        let (&ticket, read) = self.asked.range(self.next_to_start..).next()?;
        self.next_to_start = ticket + 1;
        self.under_way.insert(ticket);
        Some((ticket, read.wanted))
    }
}

impl Shard {
    pub(super) fn history(&mut self, now: Now, worker: WorkerId, ticket: u64, wanted: Wanted) {
        self.counters.history_pages += 1;
        let Some(slot) = self.slot_of(wanted) else {
            return self.outbox.push(worker, Output::History { ticket, page: Box::default() });
        };
        if !self.is_further_back(slot, wanted) {
            let page = self.page_in_memory(wanted);
            return self.outbox.push(worker, Output::History { ticket, page: Box::new(page) });
        }
        let due_us = now.us.saturating_add(self.config.answer_within_ms.saturating_mul(1000));
        self.reads.ask(wanted, due_us, (worker, ticket));
        self.start_reads();
    }

    /// A page came from the disk. Where that has nothing, memory may.
    pub(super) fn handle_page(&mut self, ticket: u64, batches: Vec<Arc<Batch>>) {
        self.reads.under_way.remove(&ticket);
        if let Some(read) = self.reads.end(ticket) {
            let is_there = self.slot_of(read.wanted).is_some();
            let page = match is_there {
                true if batches.is_empty() => self.page_in_memory(read.wanted),
                true => HistoryPage { batches, same_epoch: true, retry_after_ms: None },
                false => HistoryPage::default(),
            };
            self.send_page(read, &page);
        }
        self.start_reads();
    }

    /// Answer those who have waited long enough for the disk.
    pub(super) fn end_late_reads(&mut self, now_us: u64) {
        while let Some((&ticket, _)) = self.reads.asked.first_key_value().filter(|(_, r)| r.due_us <= now_us)
        {
            let read = self.reads.end(ticket).expect("just seen");
            self.reads.late += 1;
            let page = match self.slot_of(read.wanted) {
                Some(_) => HistoryPage { retry_after_ms: Some(RETRY_MS), ..self.page_in_memory(read.wanted) },
                None => HistoryPage::default(),
            };
            self.send_page(read, &page);
        }
    }

    fn send_page(&mut self, read: Read, page: &HistoryPage) {
        for (worker, ticket) in read.readers {
            self.outbox.push(worker, Output::History { ticket, page: Box::new(page.clone()) });
        }
    }

    fn start_reads(&mut self) {
        while let Some((ticket, wanted)) = self.reads.poll_start() {
            let slot = self.directory.slot(wanted.alias);
            let (batches_max, bytes_max) = bounds(wanted.of);
            let room = self.rooms.get(slot).map_or_else(|| "".into(), |room| room.name.clone());
            let Wanted { alias, from, of, .. } = wanted;
            let request = ReadRequest { ticket, room, alias, from, of, batches_max, bytes_max };
            self.pending_acks.log_mut().expect("only with a log is anything read").read(request);
        }
    }

    /// The slot of the room that is meant, if its log still is the one that is meant.
    fn slot_of(&self, wanted: Wanted) -> Option<u32> {
        let slot = self.slot(wanted.alias)?;
        self.rooms.get(slot).filter(|room| room.epoch == wanted.epoch).map(|_| slot)
    }

    /// Does the durable log have what is wanted, and memory not?
    fn is_further_back(&self, slot: u32, wanted: Wanted) -> bool {
        let Some(room) = self.rooms.get(slot) else { return false };
        let Some(disk) = room.disk() else { return false };
        let next_offset = room.next_offset();
        let in_memory = self.log.oldest_offset(wanted.alias).unwrap_or(next_offset);
        wanted.from < in_memory && disk.oldest_offset < in_memory
    }

    fn page_in_memory(&self, Wanted { alias, from, of, .. }: Wanted) -> HistoryPage {
        let (batches_max, bytes_max) = bounds(of);
        let batches = match of {
            PageOf::Shown => self.log.read(alias, from, batches_max, bytes_max),
            PageOf::Full { messages_max } => self.log.read_full(alias, from, messages_max.into(), bytes_max),
        };
        HistoryPage { batches, same_epoch: true, retry_after_ms: None }
    }
}

fn bounds(of: PageOf) -> (usize, usize) {
    match of {
        PageOf::Shown => (PAGE_BATCHES_MAX, PAGE_BYTES_MAX),
        PageOf::Full { .. } => (PAGE_BATCHES_MAX, FULL_PAGE_BYTES_MAX),
    }
}
