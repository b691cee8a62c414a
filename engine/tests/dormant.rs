//! A room that nobody has joined costs at most 200 bytes of heap, counted by the allocator.
//!
//! Not here: rooms that live.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use grandstand_engine::link::{
    AdminRequest, ConnectionToken, Input, Now, Output, ReplyTo, ShardId, WorkerId,
};
use grandstand_engine::{Shard, ShardConfig};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only sums are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
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
    let request = AdminRequest::Create { room: name(i) };
    let from = ReplyTo { worker: WorkerId::of_node(0), connection: ConnectionToken(0) };
    shard.handle_input(Now::default(), Input::Admin { from, request: Box::new(request) });
    let Some((_, Output::Admin(reply))) = shard.poll_output() else { panic!("no answer") };
    assert!(reply.answer.is_ok());
}

#[test]
fn a_dormant_room_costs_at_most_200_bytes() {
    let mut shard = Shard::new(ShardConfig::for_tests(), ShardId(0), 1, 1);
    create(&mut shard, 0);
    let before = BYTES.load(Ordering::Relaxed);
    let mut worst = 0;
    for i in 1..=ROOMS {
        create(&mut shard, i);
        // Tables double: few rooms share what was made for many.
        if i >= 1000 {
            worst = worst.max((BYTES.load(Ordering::Relaxed) - before) / i);
        }
    }
    let each = (BYTES.load(Ordering::Relaxed) - before) / ROOMS;
    println!(
        "{each} bytes per dormant room of {ROOMS}, {worst} at worst on the way, name of {} bytes",
        name(0).len()
    );
    assert!(each <= 200 && worst <= 200, "{each} bytes, {worst} at worst");
    assert_eq!(shard.poll_timeout(), None, "and no timer");
}
