//! A bench of a batch's cost per viewer: the walk over a room's cursors, with a transport that accepts every
//! write.
//!
//! Not here: the write itself (the floor), cache misses (fan-out, with a real number of viewers).

use std::hint::black_box;

use crate::Bench;
use crate::fixture::Fixture;
use crate::meter::repeat;

pub(crate) const BENCHES: &[Bench] =
    &[("walk/1", || walk(1)), ("walk/8", || walk(8)), ("take_batch", take_batch)];

/// Members of the room.
const MEMBERS: u64 = 1_000;

/// Each member gets this number of batches of ten messages, in one write.
fn walk(batches: usize) -> u64 {
    let mut fixture = Fixture::with_members(MEMBERS as u32);
    repeat(|meter| {
        (0..batches).for_each(|_| fixture.bring_batch(10));
        let sends = fixture.taker.sends;
        let (audience, taker) = (&mut fixture.audience, &mut fixture.taker);
        meter.count(MEMBERS, || while audience.poll_writes(black_box(taker), 2_048) {});
        assert_eq!(fixture.taker.sends - sends, MEMBERS, "one write each");
    })
}

/// One batch into the room's ring: what it costs however many are watching.
fn take_batch() -> u64 {
    let mut fixture = Fixture::with_members(2);
    repeat(|meter| {
        fixture.say(10);
        fixture.shard.handle_timeout(fixture.now);
        let mut outputs = fixture.outputs();
        let audience = &mut fixture.audience;
        meter.count(1, || outputs.drain(..).for_each(|output| audience.handle_output(output)));
        fixture.write();
    })
}
