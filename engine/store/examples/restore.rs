//! What a claim costs: the rooms of a shard's copy, from memory, and the same after a start.
//!
//! `cargo run --release -p grandstand-store --example restore -- DIR [ROOMS] [MESSAGES_PER_ROOM] [SHARDS]`
//!
//! Figures: milliseconds to apply the log, to begin a term without a clean hand-over, to get the rooms, to
//! open the copies again and to get the rooms after that; bytes of memory of the process (VmRSS).
//!
//! Why: an owner change has 3 s for everything, and a node that takes a shard over takes all of its rooms.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use grandstand_engine::RoomSettings;
use grandstand_engine::link::{Batch, Compressed, UserId};
use grandstand_engine::log::{BatchEntry, Entry, RoomEntry, StateEntry};
use grandstand_protocol::frame::{Encoder, Phase};
use grandstand_store::{CopyHead, ShardCopy, Store, StoreConfig, encode_entry};

/// Four short chat messages with what a batch has around them.
const BODY: [u8; 240] = [1; 240];
const MESSAGES: u64 = 4;

/// Entries in one record of a log.
const RECORD: usize = 64;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.len() < 2 || args[1].starts_with('-') {
        eprintln!("usage: restore DIR [ROOMS] [MESSAGES_PER_ROOM] [SHARDS]");
        return ExitCode::from(2);
    }
    let number = |at: usize, default: u64| args.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let dir = args.get(1).expect("a folder for the copies");
    let (rooms, messages, shards) = (number(2, 8_000), number(3, 400), number(4, 1).clamp(1, 64));
    let config = StoreConfig::for_tests(dir);
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    let (store, mut copies) = Store::open_copies(config.clone(), shards as u16).expect("copies that open");
    println!("open_ms {:.1} {:?}", ms(began), store.opening());
    let mut position = copies.iter().filter_map(|copy| Some(copy.head()?.position())).max().unwrap_or(0);
    let began = Instant::now();
    if position == 0 {
        fill(&mut copies, (rooms, messages), &mut position);
    }
    println!("apply_ms {:.1}", ms(began));
    let began = Instant::now();
    position += 1;
    copies.iter_mut().for_each(|copy| {
        copy.begin_term(CopyHead::new(position, Bytes::new()), position, false, &[]);
    });
    println!("begin_term_ms {:.1}", ms(began));
    say_rooms("rooms_ms", &mut copies);
    while !copies.iter().all(ShardCopy::is_committed) {
        std::thread::yield_now();
    }
    drop(copies);
    let began = Instant::now();
    println!("closed {} close_ms {:.1}", store.close(), ms(began));
    let began = Instant::now();
    let (store, mut copies) = Store::open_copies(config, shards as u16).expect("copies that open");
    println!("reopen_ms {:.1}", ms(began));
    say_rooms("rooms_again_ms", &mut copies);
    println!("memory_kb {}", memory_kb());
    drop(copies);
    store.close();
    ExitCode::SUCCESS
}

fn say_rooms(what: &str, copies: &mut [ShardCopy]) {
    let began = Instant::now();
    let all: Vec<_> = copies.iter_mut().map(ShardCopy::rooms).collect();
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    let rooms: usize = all.iter().map(Vec::len).sum();
    let nonces: usize = all.iter().flatten().map(|room| room.nonces.len()).sum();
    let batches: usize = all.iter().flatten().map(|room| room.newest.len()).sum();
    println!("{what} {took_ms:.1} of {rooms} rooms with {nonces} nonces and {batches} batches");
}

fn fill(copies: &mut [ShardCopy], (rooms, messages): (u64, u64), position: &mut u64) {
    let name = |at: u64| format!("show/{at}");
    let shards = copies.len() as u64;
    for turn in 0..=messages / MESSAGES {
        for shard in 0..shards {
            let mine: Vec<u64> = (shard..rooms).step_by(shards as usize).collect();
            for some in mine.chunks(RECORD) {
                let entry = |&at: &u64| encode_entry(&entry(&name(at), at, turn));
                let entries: Vec<Bytes> = some.iter().map(entry).collect();
                *position += 1;
                let copy = &mut copies[shard as usize];
                while !copy.accepts() {
                    std::thread::yield_now();
                }
                copy.apply(CopyHead::new(*position, Bytes::from_static(&[7; 40])), &entries);
            }
        }
    }
}

/// A room's description, or its next messages.
fn entry(name: &str, at: u64, turn: u64) -> Entry {
    let (room, epoch, phase): (Arc<str>, _, _) = (name.into(), 1 + at, Phase::Open);
    let Some(turn) = turn.checked_sub(1) else {
        let (slot, settings) = (Some(at as u32), RoomSettings::default());
        let (next_offset, is_operators, is_head) = (0, false, false);
        return Entry::Room(RoomEntry {
            room,
            epoch,
            next_offset,
            slot,
            is_operators,
            is_head,
            phase,
            settings,
        });
    };
    let first_offset = turn * MESSAGES;
    let batch = Batch {
        seq: turn,
        first_offset,
        next_offset: first_offset + MESSAGES,
        messages: MESSAGES as u32,
        base_time_ms: 1_000_000 + turn * 100,
        time_ms: 1_000_100 + turn * 100,
        wire: Encoder::batch_framed(&BODY),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    };
    let nonces = (0..MESSAGES).map(|n| (UserId(n), first_offset + n)).collect();
    let changes = vec![("pinned".into(), Some(Bytes::from_static(b"a line that is pinned")))];
    let state = turn.is_multiple_of(20).then(|| StateEntry { version: turn + 1, changes });
    Entry::Batch(Box::new(BatchEntry { room, epoch, batch: Arc::new(batch), full: None, nonces, state }))
}

fn memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
