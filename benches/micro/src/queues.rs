//! A bench of the queues between threads without contention: both sides are in one thread, so no cache line
//! moves.
//!
//! Not here: contention (the queue's own stress tests, fan-out).

use std::hint::black_box;

use grandstand_queue::{Doorbell, inbox, spsc};

use crate::Bench;
use crate::meter::repeat;

pub(crate) const BENCHES: &[Bench] = &[
    ("inbox/push", || through_inbox(true)),
    ("inbox/pop", || through_inbox(false)),
    ("spsc/push", || through_spsc(true)),
    ("spsc/pop", || through_spsc(false)),
];

/// Values pushed at once, a quarter of the ring.
const AT_ONCE: u64 = 64;

const SLOTS: usize = 256;

/// A value of the size of what travels: a few words.
type Value = [u64; 4];

fn through_inbox(counts_push: bool) -> u64 {
    let (sender, mut receiver) = inbox::<Value>(SLOTS, Doorbell::new(|| {}));
    repeat(|meter| {
        let push = || (0..AT_ONCE).for_each(|n| sender.try_send(black_box([n; 4])).expect("room"));
        let mut popped = 0;
        let pop = || {
            while let Some(value) = receiver.pop() {
                black_box(value);
                popped += 1;
            }
        };
        both(meter, counts_push, push, pop);
        assert_eq!(popped, AT_ONCE);
    })
}

fn through_spsc(counts_push: bool) -> u64 {
    let (mut producer, mut consumer) = spsc::channel::<Value>(SLOTS, Doorbell::new(|| {}));
    repeat(|meter| {
        let push = || (0..AT_ONCE).for_each(|n| producer.try_push(black_box([n; 4])).expect("room"));
        let mut popped = 0;
        let pop = || {
            while let Some(value) = consumer.pop() {
                black_box(value);
                popped += 1;
            }
        };
        both(meter, counts_push, push, pop);
        assert_eq!(popped, AT_ONCE);
    })
}

/// Push, then pop; one of the two is counted.
fn both(meter: &mut crate::meter::Meter, counts_push: bool, mut push: impl FnMut(), mut pop: impl FnMut()) {
    if counts_push {
        meter.count(AT_ONCE, push);
        pop();
    } else {
        push();
        meter.count(AT_ONCE, pop);
    }
}
