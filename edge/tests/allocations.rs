//! What fan-out and idle viewers cost in memory, by an allocator that counts.
//!
//! Why: "encode once, no allocation per delivery" and "an idle viewer is small" are promises that any
//! innocent-looking line can break without a test of behaviour noticing.
//! Invariant: only this thread's allocations are counted, so that the harness around the test does not
//! disturb.
//! Not here: memory of sockets, TLS and the kernel (the capacity tests of a whole node).

mod counting;

use std::sync::Arc;

use bytes::Bytes;
use grandstand_edge_core::admission::limits::Address;
use grandstand_edge_core::audience::{Audience, FrameSink, LinkKey, Settings};
use grandstand_edge_core::key::Key;
use grandstand_edge_core::people::{People, PeopleLimits};
use grandstand_edge_core::testing::{OpenAuthority, OpenTickets};
use grandstand_engine::link::Backbone;
use grandstand_engine::link::{Alias, Attachment, Batch, Compressed, Input, Now, Output, ShardId};
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Phase, Subscribe, permission};

use counting::{ALLOCATIONS, LIVE_BYTES};
/// Takes every input and does nothing: the test answers itself.
struct Silent;

impl Backbone for Silent {
    fn shards(&self) -> u16 {
        1
    }

    fn shard_of(&self, _room: &str) -> ShardId {
        ShardId(0)
    }

    fn shard_of_alias(&self, _alias: Alias) -> ShardId {
        ShardId(0)
    }

    fn submit(&self, _shard: ShardId, _input: Input) -> Result<(), Input> {
        Ok(())
    }
}

/// Takes every byte.
#[derive(Default)]
struct Open {
    sends: usize,
    bytes: usize,
}

impl FrameSink for Open {
    fn send(&mut self, _wire: LinkKey, frames: &[&Bytes]) -> usize {
        let bytes = frames.iter().map(|frame| frame.len()).sum();
        self.sends += 1;
        self.bytes += bytes;
        bytes
    }
}

const NOW: Now = Now { us: 1_000_000, unix_ms: 1_700_000_000_000 };
const ALIAS: Alias = Alias(0);

fn audience() -> Audience {
    let authority = OpenAuthority {
        permissions: permission::PUBLISH | permission::REACT | permission::STATE | permission::BRIDGE,
    };
    let tickets = OpenTickets { ttl_ms: 1_000 };
    let people = Arc::new(People::new(PeopleLimits::for_tests(), Key::from_seed(1)));
    let settings = Settings { ring_batches_max: 8, ..Settings::for_tests() };
    Audience::new(
        settings,
        Arc::new(authority),
        Arc::new(tickets),
        Arc::new(Silent),
        people,
        Key::from_seed(1),
    )
}

/// `count` sessions, each a member of the one room, with nothing left to write.
fn fill(audience: &mut Audience, count: u32) {
    let mut encoder = Encoder::new();
    let (mut hello, mut subscribe) = (Vec::new(), Vec::new());
    encoder.client(&ClientFrame::Hello(Hello { name: "a_viewer_of_16b", ..Hello::default() }), &mut hello);
    let frame = ClientFrame::Subscribe(Subscribe { request: 1, room: "show", ..Subscribe::default() });
    encoder.client(&frame, &mut subscribe);
    for wire in 0..count {
        let key = audience.handle_open(NOW, LinkKey(wire), Some(Address::V4(1)));
        audience.handle_frame(NOW, key, &hello);
        audience.handle_frame(NOW, key, &subscribe);
        if wire == 0 {
            audience.handle_output(attached());
        }
        // As it goes: otherwise the queue of those to flush would count as theirs.
        while audience.poll_writes(&mut Open::default(), 1_000) {}
    }
}

fn attached() -> Output {
    let attachment = Attachment {
        alias: ALIAS,
        epoch: 1,
        next_seq: 0,
        next_offset: 0,
        time_ms: NOW.unix_ms,
        batches: Vec::new(),
        snapshot: None,
        phase: Phase::Open,
        until_ms: 0,
        previous: grandstand_engine::link::Lineage::default(),
    };
    Output::Attached { room: "show".into(), result: Ok(Box::new(attachment)) }
}

fn batch(seq: u64) -> Output {
    let batch = Batch {
        seq,
        first_offset: seq,
        next_offset: seq + 1,
        messages: 1,
        base_time_ms: 0,
        time_ms: 0,
        wire: Bytes::from_static(&[0x82, 3, 0x47, 0, 0]),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    };
    Output::Batch { alias: ALIAS, batch: Arc::new(batch) }
}

#[test]
fn a_batch_reaches_a_thousand_members_without_an_allocation() {
    const MEMBERS: usize = 1_000;
    let mut audience = audience();
    fill(&mut audience, MEMBERS as u32);
    let mut carrier = Open::default();
    for seq in 0..40 {
        let batch = batch(seq);
        let before = ALLOCATIONS.get();
        audience.handle_output(batch);
        while audience.poll_writes(&mut carrier, 300) {}
        // The ring is full after eight batches.
        if seq >= 20 {
            assert_eq!(ALLOCATIONS.get() - before, 0, "batch {seq}");
        }
    }
    assert_eq!((carrier.sends, carrier.bytes), (40 * MEMBERS, 40 * MEMBERS * 5));
    assert_eq!(audience.counters().deliveries, 40 * MEMBERS as u64);
}

#[test]
fn a_batch_that_is_cut_costs_one_box_and_only_for_who_is_slow() {
    /// Takes all of it but for one wire, which takes a byte.
    struct OneSlow;
    impl FrameSink for OneSlow {
        fn send(&mut self, wire: LinkKey, frames: &[&Bytes]) -> usize {
            if wire == LinkKey(7) { 1 } else { frames.iter().map(|frame| frame.len()).sum() }
        }
    }
    let mut audience = audience();
    fill(&mut audience, 100);
    for seq in 0..20 {
        audience.handle_output(batch(seq));
        while audience.poll_writes(&mut Open::default(), 300) {}
    }
    let next = batch(20);
    let before = ALLOCATIONS.get();
    audience.handle_output(next);
    while audience.poll_writes(&mut OneSlow, 300) {}
    let allocations = ALLOCATIONS.get() - before;
    assert!(allocations <= 2, "{allocations}");
    // It stays slow, and costs nothing more.
    for seq in 21..40 {
        let next = batch(seq);
        let before = ALLOCATIONS.get();
        audience.handle_output(next);
        while audience.poll_writes(&mut OneSlow, 300) {}
        assert_eq!(ALLOCATIONS.get() - before, 0);
    }
}

#[test]
fn an_idle_viewer_is_small() {
    // A power of two fills the lists, which grow by doubling; one more is the worst case.
    for (viewers, bytes_max) in [(16_384u32, 450), (16_385, 450)] {
        let mut audience = audience();
        fill(&mut audience, 1);
        let before = LIVE_BYTES.get();
        // The room stays as it is: an attachment would only be its new ring.
        fill(&mut audience, viewers - 1);
        let per_viewer = (LIVE_BYTES.get() - before) / i64::from(viewers);
        println!(
            "{viewers} viewers: {per_viewer} bytes of heap for a connection, its session and its member"
        );
        assert!(per_viewer <= bytes_max, "{per_viewer} bytes");
    }
}
