//! A bench of publications in their shard: each is judged by itself, then all are sealed, encoded, logged and
//! acknowledged together.
//!
//! Not here: the cost of the batch per viewer (`walk`).

use crate::Bench;
use crate::fixture::{Fixture, messages};
use crate::meter::repeat;

pub(crate) const BENCHES: &[Bench] =
    &[("admit", admit), ("seal/1", || seal(1)), ("seal/10", || seal(10)), ("seal/100", || seal(100))];

/// One publication taken in by a room: nonce, door, a place in the tick.
fn admit() -> u64 {
    const AT_ONCE: usize = 20;
    let mut fixture = Fixture::with_members(1);
    repeat(|meter| {
        fixture.pass_tick();
        let mut inputs = fixture.publications(AT_ONCE);
        let (shard, now) = (&mut fixture.shard, fixture.now);
        meter.count(AT_ONCE as u64, || inputs.drain(..).for_each(|input| shard.handle_input(now, input)));
        fixture.pass_until_due();
        fixture.shard.handle_timeout(fixture.now);
        assert_eq!(fixture.outputs().iter().map(messages).sum::<u64>(), AT_ONCE as u64, "all were accepted");
    })
}

/// Seals one batch, up to the outputs for the one worker.
fn seal(count: usize) -> u64 {
    let mut fixture = Fixture::with_members(1);
    let mut outputs = Vec::with_capacity(16);
    repeat(|meter| {
        fixture.say(count);
        let (shard, now) = (&mut fixture.shard, fixture.now);
        meter.count(1, || {
            shard.handle_timeout(now);
            outputs.extend(std::iter::from_fn(|| shard.poll_output()));
        });
        assert_eq!(
            outputs.drain(..).map(|(_, output)| messages(&output)).max(),
            Some(count as u64),
            "one batch"
        );
    })
}
