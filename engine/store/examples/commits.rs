//! What a commit costs: batches of one message over many rooms, at a rate, and what that writes.
//!
//! `cargo run --release -p grandstand-store --example commits -- DIR [SECONDS] [ROOMS] [MESSAGES_PER_S]`,
//! then the same again with `kill` behind it: the process dies without a word, and says at its next start how
//! long that takes.
//!
//! Figures: commits/s, from push to durable p50, p99 and max, bytes written by the process (/proc/self/io)
//! per message.
//!
//! Why: the layout of the journal was decided by these figures, and a disk can be judged by them.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grandstand_engine::link::{Batch, Compressed, ShardId, UserId};
use grandstand_engine::log::{BatchEntry, DurableLog, Entry, LogSource, News, Position};
use grandstand_protocol::frame::Encoder;
use grandstand_queue::Doorbell;
use grandstand_store::{Store, StoreConfig};

/// A short chat message with what a batch has around it.
const BODY: [u8; 60] = [1; 60];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.len() < 2 || args[1].starts_with('-') {
        eprintln!("usage: commits DIR [SECONDS] [ROOMS] [MESSAGES_PER_S] [kill]");
        return ExitCode::from(2);
    }
    let number = |at: usize, default: u64| args.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let dir = args.get(1).expect("a folder for the log");
    let (seconds, rooms, per_s) = (number(2, 10).min(600), number(3, 500), number(4, 5000));
    let began = Instant::now();
    let mut store = Store::open(StoreConfig::for_tests(dir)).expect("a log that can be opened");
    let (mut log, stored) = LogSource::open(&mut store, ShardId(0), &|_| true, Doorbell::new(|| {}));
    println!("open_ms {} {:?}", began.elapsed().as_millis(), store.opening());
    let mut next: Vec<(u64, u64)> = vec![(1, 0); rooms as usize];
    for room in &stored {
        let at: usize = room.room.room.parse().expect("a log of this example");
        if let Some(next) = next.get_mut(at) {
            *next = (room.room.epoch, room.next_offset);
        }
    }
    let before = written();
    let mut waits = run(&mut *log, &mut next, Duration::from_secs(seconds), per_s);
    let status = store.status();
    let messages = waits.len() as u64;
    waits.sort_unstable();
    let at = |part: f64| waits.get((part * (waits.len() as f64 - 1.0)) as usize).copied().unwrap_or_default();
    println!("messages {messages}");
    println!("durable_us p50 {} p99 {} max {}", at(0.5), at(0.99), at(1.0));
    println!("commits_per_s {}", status.commits.load(std::sync::atomic::Ordering::Relaxed) / seconds.max(1));
    println!("written_bytes_per_message {}", (written() - before) / messages.max(1));
    if args.iter().any(|arg| arg == "kill") {
        std::process::abort();
    }
    drop(log);
    println!("closed {}", store.close());
    ExitCode::SUCCESS
}

/// Push at the rate; how long each message took to be durable, microseconds.
fn run(log: &mut dyn DurableLog, next: &mut [(u64, u64)], time: Duration, per_s: u64) -> Vec<u64> {
    let (began, mut waiting, mut waits) = (Instant::now(), VecDeque::new(), Vec::new());
    let mut pushed = 0u64;
    while began.elapsed() < time || !waiting.is_empty() {
        while began.elapsed() < time && pushed * 1_000_000 < began.elapsed().as_micros() as u64 * per_s {
            let at = (pushed * 7919 % next.len() as u64) as usize;
            waiting.push_back((log.push(batch(at, next[at])), Instant::now()));
            next[at].1 += 1;
            pushed += 1;
        }
        while let Some(news) = log.poll() {
            let News::Durable(durable) = news else { continue };
            while let Some(&(Position(position), since)) = waiting.front()
                && position <= durable.0
            {
                waits.push(Instant::elapsed(&since).as_micros() as u64);
                waiting.pop_front();
            }
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    waits
}

fn batch(room: usize, (epoch, offset): (u64, u64)) -> Entry {
    let batch = Batch {
        seq: offset,
        first_offset: offset,
        next_offset: offset + 1,
        messages: 1,
        base_time_ms: offset * 100,
        time_ms: offset * 100 + 100,
        wire: Encoder::batch_framed(&BODY),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    };
    let nonces = Box::new([(UserId(offset), offset)]);
    let room = room.to_string().into();
    Entry::Batch(Box::new(BatchEntry {
        room,
        epoch,
        batch: Arc::new(batch),
        full: None,
        nonces,
        state: None,
    }))
}

/// Bytes that this process had written to disks.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}
