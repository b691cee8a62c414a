//! A store without an engine: rooms that say numbered things, and a look at what came of them.
//!
//! Why: a test of the store should not depend on what a room accepts.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use grandstand_engine::RoomSettings;
use grandstand_engine::link::{Alias, Batch, Compressed, PageOf, ShardId, UserId};
use grandstand_engine::log::*;
use grandstand_protocol::batch::{BatchReader, BatchWriter, Item, MessageParts};
use grandstand_protocol::frame::{Encoder, Phase};
use grandstand_queue::Doorbell;
use grandstand_store::{Store, StoreConfig};

pub mod copies;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// A directory that is gone with the test, and one for its crash log.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        Dir::under(&std::env::temp_dir(), name)
    }

    /// Where a sync costs nothing, if there is such a place.
    pub fn in_memory(name: &str) -> Dir {
        let shm = PathBuf::from("/dev/shm");
        Dir::under(&if shm.is_dir() { shm } else { std::env::temp_dir() }, name)
    }

    fn under(parent: &Path, name: &str) -> Dir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("gs-store-{name}-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("crash-log")).unwrap();
        Dir(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub fn database(&self) -> PathBuf {
        self.data().join("grandstand.db")
    }

    pub fn config(&self) -> StoreConfig {
        StoreConfig { crash_log_dir: Some(self.0.join("crash-log")), ..StoreConfig::for_tests(self.data()) }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Mounts a file system of `bytes` on a folder until it is dropped; `None` without the right to.
pub struct Small(PathBuf);

impl Small {
    pub fn mount(at: &Path, bytes: u64) -> Option<Small> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes}");
        let made =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        made.ok().filter(|made| made.status.success()).map(|_| Small(at.to_owned()))
    }

    pub fn remount(&self, options: &str) {
        let status = std::process::Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

/// A store with one shard.
pub struct Rig {
    pub store: Store,
    pub log: Box<dyn DurableLog>,
    pub rooms: Vec<StoredRoom>,
    pub durable: Position,
    pub trimmed: Vec<News>,
}

impl Rig {
    pub fn open(config: StoreConfig) -> Rig {
        Rig::of(Store::open(config).unwrap())
    }

    pub fn of(mut store: Store) -> Rig {
        let (log, mut rooms) = LogSource::open(&mut store, ShardId(0), &|_| true, Doorbell::new(|| {}));
        rooms.sort_by(|a, b| a.room.room.cmp(&b.room.room));
        Rig { store, log, rooms, durable: Position(0), trimmed: Vec::new() }
    }

    /// The next news, within the deadline.
    pub fn news(&mut self) -> News {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.log.poll() {
                Some(News::Durable(position)) => {
                    assert!(position > self.durable, "positions rise");
                    self.durable = position;
                    return News::Durable(position);
                }
                Some(news) => return news,
                None => std::thread::yield_now(),
            }
            assert!(Instant::now() < deadline, "no news: {}", self.store.status().fault());
        }
    }

    pub fn wait_durable(&mut self, position: Position) {
        while self.durable < position {
            let news = self.news();
            if matches!(news, News::Trimmed { .. }) {
                self.trimmed.push(news);
            }
        }
    }

    pub fn page(&mut self, room: &str, from: u64, of: PageOf) -> Vec<Arc<Batch>> {
        let (batches_max, bytes_max) = (100_000, usize::MAX / 4);
        self.page_of(ReadRequest {
            request: 7,
            room: room.into(),
            alias: Alias(9),
            from,
            of,
            batches_max,
            bytes_max,
        })
    }

    pub fn page_of(&mut self, request: ReadRequest) -> Vec<Arc<Batch>> {
        self.log.read(request);
        loop {
            match self.news() {
                News::Page { request: 7, batches } => return batches,
                News::Trimmed { .. } | News::Durable(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn close(self) -> bool {
        drop(self.log);
        self.store.close()
    }

    pub fn wait(&mut self, mut until: impl FnMut(&mut Rig) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !until(self) {
            assert!(Instant::now() < deadline, "{:?}", self.store.status());
            while let Some(news) = self.log.poll() {
                match news {
                    News::Durable(position) => self.durable = position,
                    other => self.trimmed.push(other),
                }
            }
            std::thread::yield_now();
        }
    }
}

pub fn text(room: &str, offset: u64) -> String {
    format!("{room} says {offset}")
}

/// One message.
pub fn batch(room: &str, epoch: u64, offset: u64) -> Entry {
    batch_of(room, epoch, offset, 1, None)
}

pub fn batch_of(room: &str, epoch: u64, offset: u64, count: u64, state: Option<StateEntry>) -> Entry {
    let mut body = Vec::new();
    let mut writer = BatchWriter::begin(&mut body, 3, count as usize, false, false, 0);
    if count > 0 {
        writer.chat(offset, 10, 0);
    }
    for offset in offset..offset + count {
        let text = text(room, offset);
        writer.message(&MessageParts { author: "ann", text: &text, ..MessageParts::default() });
    }
    writer.finish();
    let base_time_ms = 1_000_000 + 10 * offset;
    let batch = Batch {
        seq: offset,
        first_offset: offset,
        next_offset: offset + count,
        messages: count as u32,
        base_time_ms,
        time_ms: base_time_ms + 10 * u64::from(count > 0),
        wire: Encoder::batch_framed(&body),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    };
    let nonces = (offset..offset + count).map(|offset| (UserId(offset % 3), offset)).collect();
    Entry::Batch(Box::new(BatchEntry {
        room: room.into(),
        epoch,
        batch: Arc::new(batch),
        full: None,
        nonces,
        state,
    }))
}

pub fn room(room: &str, epoch: u64) -> Entry {
    let settings = RoomSettings { tick_min_ms: Some(20), ..RoomSettings::default() };
    Entry::Room(RoomEntry {
        slot: None,
        room: room.into(),
        epoch,
        next_offset: 0,
        is_operators: true,
        is_head: false,
        phase: Phase::Open,
        settings,
    })
}

pub fn state(version: u64, key: &str, value: Option<&str>) -> StateEntry {
    let value = value.map(|value| Bytes::from(value.to_owned()));
    StateEntry { version, changes: vec![(key.into(), value)] }
}

/// All messages of batches, with their offsets; each batch is judged.
pub fn said(batches: &[Arc<Batch>]) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    for batch in batches {
        let mut reader = BatchReader::new(&batch.wire[batch.wire.len() - body_len(&batch.wire)..]).unwrap();
        let mut offset = batch.first_offset;
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Message(message) = item {
                all.push((offset, message.text.to_owned()));
                offset += 1;
            }
        }
        assert_eq!(offset, batch.next_offset);
    }
    all
}

fn body_len(wire: &[u8]) -> usize {
    let (_, len) = grandstand_protocol::stream::read_header(wire, usize::MAX).unwrap().unwrap();
    len - 1
}

/// What a room says from an offset to before another.
pub fn expected(room: &str, offsets: std::ops::Range<u64>) -> Vec<(u64, String)> {
    offsets.map(|offset| (offset, text(room, offset))).collect()
}
