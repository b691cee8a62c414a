//! A node's copies without a cluster: logs of shards as lists of records, applied from a copy's head on.
//!
//! Why: a test of copies should not depend on how records travel.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::time::Instant;

use bytes::Bytes;
use grandstand_engine::link::{Alias, PageOf};
use grandstand_engine::log::*;
use grandstand_store::{CopyHead, ShardCopy, Store, StoreConfig, encode_entry};

use crate::support::{DEADLINE, Dir, said};

/// A record of a shard's log, as the cluster keeps it.
#[derive(Clone, Debug)]
pub enum LogRecord {
    Entries(Vec<Bytes>),
    Term { term: u64, is_clean: bool, adopted: Vec<Bytes> },
}

impl LogRecord {
    pub fn of(entries: &[Entry]) -> LogRecord {
        LogRecord::Entries(entries.iter().map(encode_entry).collect())
    }

    pub fn term(term: u64, is_clean: bool, adopted: &[Entry]) -> LogRecord {
        LogRecord::Term { term, is_clean, adopted: adopted.iter().map(encode_entry).collect() }
    }
}

/// The head after a record: what a holder would write into it is its own affair.
pub fn head(position: u64) -> CopyHead {
    CopyHead::new(position, Bytes::from(format!("record {position}")))
}

pub fn position(copy: &ShardCopy) -> u64 {
    copy.head().map_or(0, |head| {
        assert_eq!(*head, self::head(head.position()));
        head.position()
    })
}

/// Apply a log's next records, up to one.
pub fn apply(copy: &mut ShardCopy, log: &[LogRecord], upto: u64) {
    for at in position(copy)..upto {
        let head = head(at + 1);
        let is_new = match &log[at as usize] {
            LogRecord::Entries(entries) => copy.apply(head, entries),
            LogRecord::Term { term, is_clean, adopted } => copy.begin_term(head, *term, *is_clean, adopted),
        };
        assert!(is_new);
    }
}

pub fn rooms(copy: &mut ShardCopy) -> Vec<StoredRoom> {
    let mut rooms = copy.rooms();
    rooms.sort_by(|a, b| a.room.room.cmp(&b.room.room));
    rooms
}

/// A node with its copies.
pub struct Node {
    pub dir: Dir,
    pub config: StoreConfig,
    pub store: Store,
    pub copies: Vec<ShardCopy>,
}

impl Node {
    pub fn open(shards: u16) -> Node {
        let dir = Dir::in_memory("copies");
        let config = dir.config();
        Node::of(dir, config, shards)
    }

    pub fn of(dir: Dir, config: StoreConfig, shards: u16) -> Node {
        let (store, copies) = Store::open_copies(config.clone(), shards).unwrap();
        Node { dir, config, store, copies }
    }

    /// Stop in peace, and start again.
    pub fn reopen(self) -> Node {
        let Node { dir, config, store, copies } = self;
        let shards = copies.len() as u16;
        drop(copies);
        assert!(store.close());
        Node::of(dir, config, shards)
    }

    /// What the disk has at this moment is found by the next process, and what is only in memory is gone.
    pub fn crash(self) -> Node {
        let next = Dir::in_memory("copies");
        std::fs::create_dir_all(next.data()).unwrap();
        // The database first: the committer adds to the write-ahead log meanwhile, and moves nothing yet.
        for name in ["grandstand.db", "grandstand.db-wal", "log.id"] {
            if self.dir.data().join(name).exists() {
                std::fs::copy(self.dir.data().join(name), next.data().join(name)).unwrap();
            }
        }
        let config = StoreConfig { dir: next.data(), ..self.config.clone() };
        Node::of(next, config, self.copies.len() as u16)
    }

    pub fn wait_committed(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.copies.iter().all(ShardCopy::is_committed) {
            assert!(Instant::now() < deadline, "{:?}", self.store.status());
            std::thread::yield_now();
        }
    }

    pub fn page(&mut self, shard: usize, room: &str, from: u64) -> Vec<(u64, String)> {
        let request = ReadRequest {
            request: 7,
            room: room.into(),
            alias: Alias(9),
            from,
            of: PageOf::Shown,
            batches_max: 100_000,
            bytes_max: usize::MAX / 4,
        };
        self.copies[shard].read(request);
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.copies[shard].poll() {
                Some(News::Page { request: 7, batches }) => return said(&batches),
                Some(News::Trimmed { .. }) => {}
                Some(other) => panic!("{other:?}"),
                None => std::thread::yield_now(),
            }
            assert!(Instant::now() < deadline, "no page");
        }
    }
}
