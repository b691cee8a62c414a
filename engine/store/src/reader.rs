//! The reader: a thread with a connection of its own that reads pages of history.
//!
//! A page is the room's segments from an offset on, then its memtable, which holds the records that are not
//! in segments yet, committed or not. The reader looks at the memtable first. So records that compaction
//! moves meanwhile are in both, and never in neither.
//!
//! Invariants: every record is verified before it is returned. A page has no gaps: it ends before a damaged
//! or missing record, or begins after it, and the shard reports the gap. All damage found (`rotten` in the
//! status) is counted.
//! Not here: the answer to a viewer (`grandstand_engine::shard`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use grandstand_engine::link::{Batch, Compressed, PageOf};
use grandstand_engine::log::{BatchEntry, Entry, News, ReadRequest};
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};
use grandstand_protocol::batch;
use rusqlite::Connection;

use crate::memtable::Shared;
use crate::record::{self, Record};
use crate::schema;
use crate::tables::{self, RowFault};

/// Segment ids looked up at a time.
const SEGMENTS: usize = 16;

/// A shard's request for a page.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) shard: usize,
    pub(crate) request: ReadRequest,
}

pub(crate) struct Reader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) path: PathBuf,
    pub(crate) asks: Receiver<Ask>,
    pub(crate) conn: Option<Connection>,
    pub(crate) pulse: Pulse,
}

impl Reader {
    /// Run until every shard's log and the store are dropped.
    pub(crate) fn run(mut self) {
        loop {
            self.pulse.turn();
            let Ask { shard, request } = match self.asks.recv_timeout(TURN_EVERY) {
                Ok(ask) => ask,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return self.pulse.end(),
            };
            let disk = self.pulse.wait_outside();
            let batches = self.page(shard, &request);
            drop(disk);
            self.shared.status.pages.fetch_add(1, Ordering::Relaxed);
            self.shared.shards[shard].tell(News::Page { request: request.request, batches });
        }
    }

    fn page(&mut self, shard: usize, request: &ReadRequest) -> Vec<Arc<Batch>> {
        let (memtable, begins) = self.memtable(shard, request);
        let mut page = Page::new(request);
        let starts =
            memtable.first().and_then(|bytes| record::read(bytes).ok()).map(|sealed| match sealed.record {
                Record::Entry(Entry::Batch(entry)) => entry.batch.first_offset,
                record => record.next_offset(),
            });
        if !begins && starts.is_none_or(|starts| starts > request.from) {
            let has_row = !memtable.is_empty();
            if let Err(fault) = self.segments(shard, (request, has_row), &mut page) {
                self.shared.status.note_rot(format!("room {}: {fault}", request.room));
                match fault {
                    RowFault::Unreadable(_) => self.conn = None,
                    RowFault::Rotten(_) => self.shared.shards[shard].set_damaged(),
                }
            }
            // The segments and the memtable must be adjacent, or records between them are missing.
            page.due = page.due.or(page.end);
        }
        for bytes in &memtable {
            let Ok(sealed) = record::read(bytes) else { break };
            page.pass(&sealed.record);
            if let Record::Entry(Entry::Batch(entry)) = sealed.record
                && !page.offer(&entry)
            {
                break;
            }
        }
        if let Some((from, to)) = page.hole {
            self.shared.status.note_rot(format!("room {}: offsets {from} to {to} are missing", request.room));
        }
        page.batches
    }

    /// The memtable's records from the offset asked for, and whether the room's log begins in the memtable.
    fn memtable(&self, shard: usize, request: &ReadRequest) -> (Vec<Bytes>, bool) {
        let memtable = self.shared.shards[shard].memtable();
        let Some(kept) = memtable.rooms.get(&request.room) else { return (Vec::new(), false) };
        let begin = kept.iter().rposition(|kept| kept.begins);
        let from = begin.unwrap_or(0);
        let skip = kept.range(from..).take_while(|kept| kept.next_offset <= request.from).count();
        let (mut bytes, mut records) = (0, Vec::new());
        for kept in kept.range(from + skip..) {
            if records.len() > 2 * request.batches_max + 16 || bytes > 2 * request.bytes_max {
                break;
            }
            bytes += kept.bytes.len();
            records.push(kept.bytes.clone());
        }
        (records, begin.is_some())
    }

    fn segments(
        &mut self,
        shard: usize,
        (request, has_row): (&ReadRequest, bool),
        page: &mut Page<'_>,
    ) -> Result<(), RowFault> {
        if self.conn.is_none() {
            self.conn = Some(schema::open_reader(&self.path)?);
        }
        let conn = self.conn.as_ref().expect("opened above");
        let tx = conn.unchecked_transaction()?;
        let missing = |what: &str| Err(RowFault::Rotten(format!("{what} missing")));
        let Some(room) = tables::room(&tx, &request.room)? else {
            // What the memtable goes on from was moved, so there was a row.
            return if has_row { missing("its row is") } else { Ok(()) };
        };
        page.end = Some(room.state.next_offset);
        page.oldest = room.state.oldest_offset;
        let mut from = request.from;
        // The newest segment ends where the row does.
        let is_due = room.state.segments > 0 && room.state.next_offset > from;
        let mut reached = 0;
        loop {
            let ids = tables::segments_from(&tx, room.id, from, SEGMENTS)?;
            let is_last = ids.len() < SEGMENTS;
            for id in ids {
                let segment = match tables::segment(&tx, id, room.id) {
                    Ok(segment) => segment,
                    Err(fault @ RowFault::Unreadable(_)) => return Err(fault),
                    Err(RowFault::Rotten(text)) => {
                        self.shared.shards[shard].set_damaged();
                        if !page.note(&self.shared, &text) {
                            return Ok(());
                        }
                        continue;
                    }
                };
                reached = segment.next_offset;
                if let Some(text) = &segment.fault {
                    self.shared.shards[shard].set_damaged();
                    self.shared.status.note_rot(format!("room {}: {text}", request.room));
                    page.has_reason = true;
                }
                for sealed in segment.records {
                    let Record::Entry(Entry::Batch(entry)) = sealed.record else {
                        page.pass(&sealed.record);
                        continue;
                    };
                    if entry.room != request.room {
                        continue;
                    }
                    from = from.max(entry.batch.next_offset);
                    if !page.offer(&entry) {
                        return Ok(());
                    }
                }
            }
            if is_last && is_due && reached < room.state.next_offset && !page.has_reason {
                return missing("its newest segments are");
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// A page that is being filled.
struct Page<'a> {
    request: &'a ReadRequest,
    batches: Vec<Arc<Batch>>,
    bytes: usize,
    messages: u64,
    /// Where the next batch must begin.
    due: Option<u64>,
    /// The offset at which the segments end, by the room's row.
    end: Option<u64>,
    /// The oldest offset kept, by the room's row.
    oldest: u64,
    /// A gap has a known reason: damaged records that were noted, or a time in which the room was kept in
    /// memory.
    has_reason: bool,
    hole: Option<(u64, u64)>,
}

impl<'a> Page<'a> {
    fn new(request: &'a ReadRequest) -> Self {
        Page {
            request,
            batches: Vec::new(),
            bytes: 0,
            messages: 0,
            due: None,
            end: None,
            oldest: u64::MAX,
            has_reason: false,
            hole: None,
        }
    }

    /// A damaged segment. Returns whether the page can continue after it.
    fn note(&mut self, shared: &Shared, text: &str) -> bool {
        shared.status.note_rot(format!("room {}: {text}", self.request.room));
        self.has_reason = true;
        self.batches.is_empty()
    }

    /// A record that is not a batch: it may skip offsets.
    fn pass(&mut self, record: &Record) {
        if let Record::Entry(Entry::Room(entry)) = record {
            self.has_reason |= self.due.is_some_and(|due| entry.next_offset > due);
        }
    }

    /// Add a batch, if it follows. Returns whether the page needs another.
    fn offer(&mut self, entry: &BatchEntry) -> bool {
        let batch = &entry.batch;
        let is_behind = batch.next_offset <= self.due.unwrap_or(self.request.from).max(self.request.from);
        if !batch.has_chat() || is_behind {
            return true;
        }
        let due = match self.batches.last() {
            Some(_) => self.due.expect("set with the first batch"),
            None => self.due.unwrap_or(self.oldest.max(self.request.from)).max(self.request.from),
        };
        if batch.first_offset > due && due != u64::MAX {
            if !self.has_reason {
                self.hole = Some((due, batch.first_offset));
            }
            if !self.batches.is_empty() {
                return false;
            }
        }
        let (wire, messages) = match self.request.of {
            PageOf::Shown => (&batch.wire, batch.messages),
            PageOf::Full { .. } => match &entry.full {
                Some(full) => (full, (batch.next_offset - batch.first_offset) as u32),
                None => (&batch.wire, batch.messages),
            },
        };
        let is_over = self.batches.len() >= self.request.batches_max
            || (!self.batches.is_empty() && self.bytes + wire.len() > self.request.bytes_max);
        let Some(wire) = (!is_over).then(|| batch::with_alias(wire, self.request.alias.0).ok()).flatten()
        else {
            return false;
        };
        self.bytes += wire.len();
        self.messages += u64::from(messages);
        self.due = Some(batch.next_offset);
        let compressed = Compressed::default();
        self.batches.push(Arc::new(Batch { wire, messages, compressed, ..(**batch).clone() }));
        match self.request.of {
            PageOf::Shown => true,
            PageOf::Full { messages_max } => self.messages < u64::from(messages_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_engine::link::Alias;

    fn entry(first_offset: u64, next_offset: u64) -> BatchEntry {
        let wire = grandstand_protocol::frame::Encoder::batch_framed(&[7, 0]);
        let batch = Batch {
            seq: 0,
            first_offset,
            next_offset,
            messages: (next_offset - first_offset) as u32,
            base_time_ms: 0,
            time_ms: 0,
            wire,
            has_acts: false,
            compressed: Compressed::default(),
            snapshot: None,
        };
        let nonces = Box::default();
        BatchEntry { room: "r".into(), epoch: 1, batch: Arc::new(batch), full: None, nonces, state: None }
    }

    #[test]
    fn a_page_ends_before_a_hole_and_takes_nothing_twice() {
        let request = ReadRequest {
            request: 0,
            room: "r".into(),
            alias: Alias(300),
            from: 3,
            of: PageOf::Shown,
            batches_max: 10,
            bytes_max: 1000,
        };
        let mut page = Page::new(&request);
        assert!(page.offer(&entry(0, 2)));
        assert!(page.offer(&entry(2, 5)));
        assert!(page.offer(&entry(2, 5)));
        assert!(page.offer(&entry(5, 6)));
        assert!(!page.offer(&entry(7, 8)));
        let offsets: Vec<_> = page.batches.iter().map(|batch| batch.first_offset).collect();
        assert_eq!((offsets, page.hole), (vec![2, 5], Some((6, 7))));
    }
}
