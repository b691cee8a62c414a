//! The committer: the thread that commits what all shards pushed, one synced transaction for the whole node.
//!
//! A turn takes the queued entries, adds them to the journal as one row, commits, and tells the shards. Other
//! writes are small and share the transaction: a step of compaction, or a step of retention. Between two
//! turns the thread copies pages from the write-ahead log into the database.
//!
//! Faults: after any error of SQLite the transaction is rolled back and the connection is closed. The same
//! entries are written again on a new connection, with growing pauses, since nothing that was written before
//! a failed sync can be trusted. Meanwhile shards refuse publications.
//!
//! Invariants: entries are committed in the order in which they were pushed. Shards hear that an entry is
//! durable after the sync and never before. Memory changes only after the commit that the change belongs to.
//! Not here: what a step writes (`compaction`, `retention`), reading (`reader`), opening (`recovery`).

mod adopt;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::quality::RandomState;
use grandstand_engine::runtime::pulse::{Pulse, Pulses};
use grandstand_queue::Parker;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::clock;
use crate::compaction::{Compacted, Rooms, Round};
use crate::config::Retention;
use crate::error::is_damage;
use crate::journal::Journal;
use crate::marks::{Mark, Marks, RoomEnd};
use crate::memtable::{ShardSide, Shared};
use crate::record;
use crate::retention::{self, Trimmed};
use crate::schema;
use crate::status::Health;
use crate::tables::{self, CopyPart, RowKind};

/// From the beginning of one commit to the next. Entries that arrive meanwhile share one sync. It is shorter
/// than a publisher notices, and longer than a sync of an idle disk takes.
const GATHER: Duration = Duration::from_millis(2);

/// Bytes in one commit; the rest waits for the next.
const COMMIT_BYTES: usize = 4 << 20;

/// A round of compaction begins when the journal has this many bytes, or its oldest entry has this age. A
/// start reads this much in some tens of milliseconds. It is enough to give each segment many batches.
const JOURNAL_BYTES: u64 = 8 << 20;
const JOURNAL_AGE: Duration = Duration::from_secs(20);

/// The first pause after a fault, and the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Pause between two looks at sizes and ages, for metrics and for retention.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Silence after which the last commit is marked as settled. Under load the next commit's mark says it.
const SETTLE_AFTER: Duration = Duration::from_millis(20);

/// Pause between two records of the clock's times.
const RECORD_EVERY: Duration = Duration::from_secs(10);

/// How long a close tries to write outstanding entries. After that the crash log keeps them for the next
/// start.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Rows of the journal that are removed at a time.
const JOURNAL_STEP: i64 = 64;

/// Free pages are returned to the file system when they are more than this part of the file and more than
/// this number.
const FREE_PART: u64 = 4;
const FREE_PAGES_MIN: u64 = 4096;
const VACUUM_STEP: u32 = 256;

/// Entries that were taken from the queues and are not committed yet.
#[derive(Debug)]
struct Pending {
    data: Vec<u8>,
    positions: Vec<u64>,
    /// The parts of copies, with the numbers of their records.
    copies: Option<Vec<CopyPart>>,
    entries: u64,
    bytes: u64,
    /// Where the commit leaves its rooms.
    rooms: Vec<RoomEnd>,
}

/// Other work in the transaction of a commit.
#[derive(Debug, Default)]
struct Chore {
    moved: Option<Compacted>,
    /// Journal rows below this one are deleted.
    forgotten: Option<i64>,
    trimmed: Option<Trimmed>,
}

/// Where a commit's batches leave their rooms.
fn ends_of(records: &[Bytes]) -> Vec<RoomEnd> {
    let mut ends: HashMap<Box<str>, (u64, u64), RandomState> = HashMap::default();
    for (name, epoch, next_offset) in records.iter().filter_map(record::end_of_batch) {
        ends.insert(name, (epoch, next_offset));
    }
    let end = |(name, (epoch, next_offset)): (Box<str>, _)| RoomEnd { name: name.into(), epoch, next_offset };
    ends.into_iter().map(end).collect()
}

pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) path: PathBuf,
    pub(crate) conn: Option<Connection>,
    pub(crate) parker: Parker,
    pulse: Pulse,
    pulses: Pulses,
    pub(crate) rooms: Rooms,
    pub(crate) journal: Journal,
    pub(crate) retention: Retention,
    pending: Option<Pending>,
    round: Option<Round>,
    /// The time since when the journal holds entries to be moved.
    waiting_since: Option<Instant>,
    trims: retention::Cursor,
    looked: Option<Instant>,
    /// When the clock's times were kept.
    recorded: Option<Instant>,
    backoff: Option<Duration>,
    began: Instant,
    /// Estimated bytes since the last checkpoint.
    wal_bytes: u64,
    is_chore_failing: bool,
    /// The database's own number.
    number: u64,
    /// Not there while their file cannot be written.
    marks: Option<Marks>,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        path: PathBuf,
        conn: Connection,
        (parker, pulses): (Parker, &Pulses),
        (rooms, journal): (Rooms, Journal),
        retention: Retention,
        number: u64,
    ) -> Committer {
        let waiting_since = Some(clock::now());
        Committer {
            shared,
            path,
            conn: Some(conn),
            parker,
            pulse: pulses.register("log"),
            pulses: pulses.clone(),
            rooms,
            journal,
            retention,
            pending: None,
            round: None,
            waiting_since,
            trims: retention::Cursor::default(),
            looked: None,
            recorded: None,
            backoff: None,
            began: clock::now(),
            wal_bytes: 0,
            is_chore_failing: false,
            number,
            marks: None,
        }
    }

    /// Run until the store is closed. `true`: everything is written, and the next start needs no recovery.
    pub(crate) fn run(mut self) -> bool {
        while !self.shared.stop.load(Acquire) {
            self.pulse.turn();
            self.wait();
            self.turn();
        }
        let deadline = clock::now() + CLOSE_WITHIN;
        while clock::now() < deadline {
            if self.pending.is_none() && !self.shared.is_waiting() {
                break;
            }
            self.pulse.turn();
            self.pause();
            self.turn();
        }
        let is_clean = self.close(deadline);
        self.pulse.end();
        is_clean
    }

    /// Sleep until there is something to do.
    fn wait(&mut self) {
        if self.backoff.is_some() {
            return self.pause();
        }
        let since = clock::elapsed(self.began);
        let shared = self.shared.clone();
        if since < GATHER {
            // It sleeps and does not park, since a push meanwhile need not wake anybody.
            thread::sleep(GATHER - since);
        }
        if !self.has_chore() && self.is_unsettled() {
            let ended = |shared: &Shared| shared.is_waiting() || shared.stop.load(Acquire);
            self.parker.park_timeout(Some(SETTLE_AFTER), || ended(&shared));
            if ended(&shared) {
                return;
            }
            self.mark_settled();
        }
        let idle = if self.has_chore() { Duration::ZERO } else { LOOK_EVERY };
        self.parker.park_timeout(Some(idle), || shared.is_waiting() || shared.stop.load(Acquire));
    }

    /// Wait after a fault. Only the end of the store shortens the pause.
    fn pause(&mut self) {
        if let Some(backoff) = self.backoff {
            let (shared, until) = (self.shared.clone(), clock::now() + backoff);
            let was_stopped = shared.stop.load(Acquire);
            while clock::now() < until && shared.stop.load(Acquire) == was_stopped {
                self.parker
                    .park_timeout(Some(until - clock::now()), || shared.stop.load(Acquire) != was_stopped);
            }
        }
    }

    fn turn(&mut self) {
        self.take_snapshot();
        self.gather();
        self.plan();
        if self.pending.is_some() || self.has_chore() || self.backoff.is_some() {
            self.commit();
        }
        self.checkpoint();
        self.look();
    }

    /// Take the queued entries, unless the last commit is still to be done.
    fn gather(&mut self) {
        if self.pending.is_some() || !self.shared.is_waiting() {
            return;
        }
        let mut positions = self.journal.positions.clone();
        let mut copies = self.journal.copies.clone();
        let (mut records, mut entries, mut bytes) = (Vec::new(), 0u64, 0);
        for (shard, (side, position)) in self.shared.shards.iter().zip(&mut positions).enumerate() {
            let mut memtable = side.memtable();
            if let Some(part) = copies.as_mut().and_then(|copies| copies.get_mut(shard)) {
                part.is_damaged |= side.is_damaged();
                let taken = memtable.take_copied(part, &mut records, COMMIT_BYTES);
                let (reached, more) = taken.unwrap_or((*position, 0));
                entries += reached - *position;
                (*position, bytes) = (reached, bytes + more);
                continue;
            }
            while let Some((at, record)) = memtable.queue.pop_front() {
                *position = at;
                bytes += record.len();
                entries += 1;
                records.push(record);
                if bytes >= COMMIT_BYTES {
                    break;
                }
            }
        }
        if entries == 0 {
            return;
        }
        let mut data = self.journal.header_of(RowKind::Commit, &positions, copies.as_deref());
        data.reserve_exact(bytes);
        records.iter().for_each(|record| data.extend_from_slice(record));
        self.shared.status.queue_entries.fetch_sub(entries, Release);
        let entries = records.len() as u64;
        // Copies have no marks.
        let rooms = if copies.is_some() { Vec::new() } else { ends_of(&records) };
        self.pending = Some(Pending { data, positions, copies, entries, bytes: bytes as u64, rooms });
    }

    /// Begin a round of compaction when it is time.
    fn plan(&mut self) {
        let is_due = self.waiting_since.is_some_and(|since| clock::elapsed(since) >= JOURNAL_AGE)
            || self.journal.bytes() >= JOURNAL_BYTES;
        let is_claimed = self.shared.unclaimed.lock().is_ok_and(|unclaimed| unclaimed.is_empty());
        if self.round.is_none() && is_due && is_claimed && !self.is_chore_failing {
            self.begin_round();
        }
    }

    fn begin_round(&mut self) {
        self.round = Some(Round::begin(&self.shared, self.journal.take_marks()));
        self.waiting_since = None;
    }

    fn has_chore(&self) -> bool {
        (self.round.is_some() || self.trims.is_due) && !self.is_chore_failing
    }

    fn commit(&mut self) {
        let _disk = self.pulse.wait_outside();
        self.began = clock::now();
        let status = self.shared.status.clone();
        status.commit_since_us.store(self.shared.now_us().max(1), Relaxed);
        self.begin_mark();
        let result = self.transact();
        self.wait_for_marks();
        status.commit_since_us.store(0, Relaxed);
        match result {
            Ok((checksum, chore)) => {
                let took_us = clock::elapsed(self.began).as_micros() as u64;
                status.note_commit(took_us);
                self.backoff = None;
                self.shared.retry_ms.store(0, Relaxed);
                status.set_health(Health::Good);
                self.settle(checksum);
                self.settle_chore(chore);
            }
            Err(error) => self.fail(&error),
        }
    }

    /// One synced transaction. Returns the checksum of the new row.
    fn transact(&mut self) -> rusqlite::Result<(Option<u64>, Chore)> {
        if self.conn.is_none() {
            self.conn = Some(schema::open_writer(&self.path, self.shared.is_copy)?);
        }
        let conn = self.conn.as_mut().expect("opened above");
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let checksum = match &self.pending {
            Some(pending) => Some(tables::insert_journal(&tx, self.journal.next_id, &pending.data)?),
            None => None,
        };
        let mut chore = Chore::default();
        // After a fault, the entries that shards wait for are written first.
        if self.backoff.is_none() && !self.is_chore_failing {
            match &self.round {
                Some(round) if !round.is_done() => {
                    chore.moved = Some(round.step(&tx, &self.shared, &self.rooms)?);
                }
                Some(round) => {
                    let from = self.journal.oldest();
                    let upto = round.upto().min(from + JOURNAL_STEP);
                    tx.execute("DELETE FROM journal WHERE id < ?1", [upto])?;
                    chore.forgotten = Some(upto);
                }
                None if self.trims.is_due => {
                    let oldest = self.journal.oldest();
                    chore.trimmed =
                        Some(retention::step(&tx, &self.rooms, &self.trims, self.retention, oldest)?);
                }
                None => {}
            }
        }
        tx.commit()?;
        Ok((checksum, chore))
    }

    fn settle(&mut self, checksum: Option<u64>) {
        let (Some(pending), Some(checksum)) = (self.pending.take(), checksum) else { return };
        let status = &self.shared.status;
        status.entries.fetch_add(pending.entries, Relaxed);
        status.entry_bytes.fetch_add(pending.bytes, Relaxed);
        status.queue_bytes.fetch_sub(pending.bytes, Relaxed);
        self.wal_bytes += pending.data.len() as u64 + 8192;
        for (side, (&before, &now)) in
            self.shared.shards.iter().zip(self.journal.positions.iter().zip(&pending.positions))
        {
            if now > before && self.shared.is_copy {
                side.set_committed(now);
            } else if now > before {
                side.set_durable(now);
            }
        }
        self.journal.settle_copies(pending.copies);
        self.journal.settle(checksum, pending.data.len() as u64, pending.positions);
        self.waiting_since.get_or_insert_with(clock::now);
    }

    fn settle_chore(&mut self, chore: Chore) {
        if let (Some(moved), Some(round)) = (chore.moved, &mut self.round) {
            round.pass(&moved);
            self.wal_bytes += moved.bytes + 16_384 * moved.segments;
            moved.faults.iter().for_each(|fault| self.shared.status.note_rot(fault.clone()));
            moved.settle(&self.shared, &mut self.rooms);
            self.trims.is_due |= retention::is_over(&self.rooms, self.retention);
        }
        if let Some(upto) = chore.forgotten {
            self.journal.forget_before(upto);
            if self.round.as_ref().is_some_and(|round| upto >= round.upto()) {
                self.round = None;
                self.trims.is_due = true;
                // The newest row stays; it holds no entries that are to be moved.
                if self.journal.has_more_than_the_newest() {
                    self.waiting_since.get_or_insert_with(clock::now);
                }
            }
        }
        if let Some(trimmed) = chore.trimmed {
            self.wal_bytes += if trimmed.vacuumed { 1 << 20 } else { 65_536 };
            trimmed.settle(&self.shared, &mut self.rooms, &mut self.trims);
        }
    }

    /// Discard the transaction. The connection is closed, and with it everything that it believed to be
    /// written.
    fn fail(&mut self, error: &rusqlite::Error) {
        let health = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Health::Full,
            Some(ErrorCode::ReadOnly) => Health::ReadOnly,
            _ => Health::Failing,
        };
        let status = &self.shared.status;
        status.commit_failures.fetch_add(1, Relaxed);
        status.set_health(health);
        status.set_fault(format!("{}: {error}", self.path.display()));
        if is_damage(error) {
            self.shared.shards.iter().for_each(ShardSide::set_damaged);
        }
        // A chore that fails alone must not keep entries from being committed.
        if self.pending.is_none() && self.backoff.is_some() && self.has_chore() {
            self.is_chore_failing = true;
        }
        let backoff = self.backoff.map_or(BACKOFF_MIN, |backoff| (2 * backoff).min(BACKOFF_MAX));
        self.backoff = Some(backoff);
        self.shared.retry_ms.store(self.shared.now_us() / 1000 + backoff.as_millis() as u64, Relaxed);
        self.conn = None;
    }

    /// Write pages into the database while no commit is waiting. The write-ahead log then begins anew in its
    /// file, which keeps its size.
    fn checkpoint(&mut self) {
        if self.wal_bytes < schema::WAL_BYTES_KEPT || self.backoff.is_some() {
            return;
        }
        self.wal_bytes = 0;
        let _disk = self.pulse.wait_outside();
        if let Some(conn) = &self.conn
            && let Err(error) = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        {
            self.fail(&error);
        }
    }

    /// Mark the commit that begins. The mark is synced while the commit is.
    fn begin_mark(&mut self) {
        let (Some(pending), Some(marks)) = (&self.pending, &mut self.marks) else { return };
        marks.begin(&Mark {
            number: self.number,
            run: self.journal.run,
            row: self.journal.next_id,
            settled: self.journal.next_id - 1,
            positions: pending.positions.clone(),
            rooms: pending.rooms.clone(),
        });
    }

    /// What is acknowledged is marked. If it cannot be, that is said, and acknowledged all the same: a start
    /// would then not know of commits that the database lost.
    fn wait_for_marks(&mut self) {
        let Some(marks) = &mut self.marks else {
            let is_unmarked = self.pending.is_some() && !self.shared.is_copy;
            self.shared.status.unmarked.fetch_add(u64::from(is_unmarked), Relaxed);
            return;
        };
        if let Err(error) = marks.wait() {
            self.marks = None;
            self.note_unmarked(&error);
        }
    }

    fn note_unmarked(&self, error: &std::io::Error) {
        self.shared.status.unmarked.fetch_add(1, Relaxed);
        self.shared.status.set_fault(format!("marks of commits: {error}"));
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("."))
    }

    fn is_unsettled(&self) -> bool {
        self.marks.as_ref().is_some_and(|marks| marks.settled() < self.journal.next_id - 1)
    }

    fn end_mark(&self) -> Mark {
        let row = self.journal.next_id - 1;
        let positions = self.journal.positions.clone();
        Mark { number: self.number, run: self.journal.run, row, settled: row, positions, rooms: Vec::new() }
    }

    /// Nothing follows the last commit: say that it was synced. The next commit waits for this.
    fn mark_settled(&mut self) {
        let mark = self.end_mark();
        if let Some(marks) = &mut self.marks {
            marks.begin(&mark);
        }
    }

    /// Make the file of marks, when the log is opened or after it could not be written. Copies have none:
    /// what they lose is in the cluster's log.
    pub(crate) fn make_marks(&mut self) {
        if self.marks.is_some() || self.shared.is_copy {
            return;
        }
        match Marks::create(self.dir(), &self.end_mark(), &self.pulses) {
            Ok(marks) => self.marks = Some(marks),
            Err(error) => self.note_unmarked(&error),
        }
    }

    /// Once a second: read sizes, and check whether anything is too old.
    pub(crate) fn look(&mut self) {
        if self.looked.is_some_and(|looked| clock::elapsed(looked) < LOOK_EVERY) {
            return;
        }
        self.looked = Some(clock::now());
        self.make_marks();
        if self.recorded.is_none_or(|recorded| clock::elapsed(recorded) >= RECORD_EVERY) {
            self.recorded = Some(clock::now());
            clock::record(self.dir());
        }
        let _disk = self.pulse.wait_outside();
        self.is_chore_failing = false;
        let status = &self.shared.status;
        let bytes = |path: PathBuf| std::fs::metadata(path).map_or(0, |facts| facts.len());
        status.database_bytes.store(bytes(self.path.clone()), Relaxed);
        status.wal_bytes.store(bytes(crate::wal::path(&self.path)), Relaxed);
        status.journal_bytes.store(self.journal.bytes(), Relaxed);
        status.rooms.store(self.rooms.live.len() as u64, Relaxed);
        status.segments.store(self.rooms.segments, Relaxed);
        status.segment_bytes.store(self.rooms.bytes, Relaxed);
        let Some(conn) = &self.conn else { return };
        let number =
            |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap_or(0).max(0) as u64;
        let page_bytes = number("PRAGMA page_size");
        let pages = number("PRAGMA page_count");
        // A damaged header may name any number, also a negative one.
        let free = number("PRAGMA freelist_count").min(pages);
        status.free_bytes.store(free.saturating_mul(page_bytes), Relaxed);
        status.oldest_ms.store(number("SELECT time_ms FROM segments ORDER BY id LIMIT 1"), Relaxed);
        self.trims.is_due |= retention::is_over(&self.rooms, self.retention) || self.retention.age_ms > 0;
        self.trims.is_due |= !self.rooms.removed.is_empty();
        self.trims.vacuum_pages =
            if free > FREE_PAGES_MIN && free > pages / FREE_PART { VACUUM_STEP } else { 0 };
        self.trims.is_due |= self.trims.vacuum_pages > 0;
    }

    /// Move all entries into segments and the write-ahead log into the database, then write a last row that
    /// records the close.
    fn close(&mut self, deadline: Instant) -> bool {
        let _disk = self.pulse.wait_outside();
        self.claim_all();
        self.is_chore_failing = false;
        self.round = None;
        if self.pending.is_none() && self.journal.has_more_than_the_newest() || self.waiting_since.is_some() {
            self.begin_round();
        }
        while self.round.is_some() && clock::now() < deadline {
            self.pause();
            self.commit();
        }
        if self.pending.is_some() || self.round.is_some() || self.shared.is_waiting() {
            return false;
        }
        // A reader may have found damage since the last commit.
        for (part, side) in self.journal.copies.iter_mut().flatten().zip(&self.shared.shards) {
            part.is_damaged |= side.is_damaged();
        }
        let data = self.journal.header(RowKind::Closed, &self.journal.positions);
        let Some(conn) = &self.conn else { return false };
        let id = self.journal.next_id;
        let closed = conn.unchecked_transaction().and_then(|tx| {
            tables::insert_journal(&tx, id, &data)?;
            tx.commit()
        });
        let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        closed.is_ok()
    }

    /// Rooms that no shard has asked for are moved too.
    fn claim_all(&mut self) {
        let mut unclaimed = self.shared.unclaimed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut memtable = self.shared.shards[0].memtable();
        memtable.rooms.extend(unclaimed.drain());
    }
}
