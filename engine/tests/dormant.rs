//! The heap of what waits to be used, counted by the allocator: a room that nobody has joined, and a shard
//! without rooms.
//!
//! Not here: rooms that live.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use grandstand_engine::link::{
    AdminRequest, ConnectionToken, Input, Now, Output, ReplyTo, ShardId, WorkerId,
};
use grandstand_engine::{Engine, EngineConfig, RoomSettings, Shard, ShardConfig};
use grandstand_queue::Doorbell;

struct Counting;

thread_local! {
    /// Of this thread alone: the harness of tests has a thread of its own, which allocates meanwhile.
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

fn bytes() -> usize {
    BYTES.with(Cell::get)
}

// SAFETY: every call goes to the system's allocator unchanged; only sums are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        BYTES.with(|bytes| bytes.set(bytes.get().wrapping_sub(layout.size())));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROOMS: usize = 50_000;

/// As long as a channel, a programme and a date often are.
fn name(i: usize) -> String {
    format!("bbc one/eastenders/2026-11-{i:05}")
}

fn create(shard: &mut Shard, i: usize) {
    let request = AdminRequest::Create { room: name(i), settings: RoomSettings::default() };
    let from = ReplyTo { worker: WorkerId::of_node(0), connection: ConnectionToken(0) };
    shard.handle_input(Now::default(), Input::Admin { from, request: Box::new(request) });
    let Some((_, Output::Admin(reply))) = shard.poll_output() else { panic!("no answer") };
    assert!(reply.answer.is_ok());
}

#[test]
fn a_dormant_room_costs_at_most_200_bytes() {
    let mut shard = Shard::new(ShardConfig::for_tests(), ShardId(0), 1, 1);
    create(&mut shard, 0);
    let before = bytes();
    let mut worst = 0;
    for i in 1..=ROOMS {
        create(&mut shard, i);
        // Tables double: few rooms share what was made for many.
        if i >= 1000 {
            worst = worst.max((bytes() - before) / i);
        }
    }
    let each = (bytes() - before) / ROOMS;
    println!(
        "{each} bytes per dormant room of {ROOMS}, {worst} at worst on the way, name of {} bytes",
        name(0).len()
    );
    assert!(each <= 200 && worst <= 200, "{each} bytes, {worst} at worst");
    assert_eq!(shard.poll_timeout(), None, "and no timer");
}

/// Queues as a node has them by default (`queues.shard_inbox`, `queues.worker_outbox`), for two workers.
fn engine(shards: u16) -> (usize, Engine) {
    let before = bytes();
    let config =
        EngineConfig { shards, inbox_capacity: 65_536, outbox_capacity: 1_024, ..EngineConfig::for_tests() };
    let bells = (0..2).map(|_| Doorbell::new(|| {})).collect();
    let (engine, _) = Engine::start(config, bells).unwrap();
    (bytes() - before, engine)
}

#[test]
fn an_empty_shard_costs_at_most_4_mb_nearly_all_of_it_its_inbox() {
    let ((one, _first), (nine, _second)) = (engine(1), engine(9));
    let each = (nine - one) / 8;
    println!("{each} bytes per empty shard, {} of them per input that may wait", each / 65_536);
    assert!(each <= 4 << 20, "{each} bytes");
}
