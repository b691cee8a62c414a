//! Property tests: after any sequence of calls on one thread, each ring agrees with a bounded `VecDeque`, and
//! every value was dropped exactly once.
//!
//! Not here: concurrency (`src/loom_tests.rs` for interleavings, `stress.rs` for real threads).
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use grandstand_queue::{Doorbell, SendError, inbox, spsc};
use proptest::prelude::*;

/// One call on a ring; what a ring has no call for is skipped there.
#[derive(Clone, Debug)]
enum Step {
    Push,
    Pop,
    Look,
    CloneSender,
    DropSender,
    DropConsumer,
    Park,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        40 => Just(Step::Push),
        36 => Just(Step::Pop),
        10 => Just(Step::Look),
        6 => Just(Step::Park),
        3 => Just(Step::CloneSender),
        2 => Just(Step::DropSender),
        1 => Just(Step::DropConsumer),
    ];
    prop::collection::vec(step, 0..if cfg!(miri) { 40 } else { 400 })
}

fn config() -> ProptestConfig {
    // Miri is slow, and isolates the tests from the file system.
    ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 400 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A value that knows its number and counts its drops; on the heap, so that miri sees a wrong one.
#[derive(Debug)]
struct Tracked {
    number: Box<usize>,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the real ring is compared with: its bounds, its content, its bell.
struct Model {
    queue: VecDeque<usize>,
    capacity: usize,
    open: bool,
    made: usize,
    dropped: Arc<AtomicUsize>,
    parked: bool,
    rings_due: usize,
    rings: Arc<AtomicUsize>,
}

impl Model {
    fn new(asked: usize) -> (Self, Arc<Doorbell>) {
        let rings = Arc::new(AtomicUsize::new(0));
        let counted = rings.clone();
        let bell = Doorbell::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let model = Self {
            queue: VecDeque::new(),
            capacity: asked.max(2).next_power_of_two(),
            open: true,
            made: 0,
            dropped: Arc::default(),
            parked: false,
            rings_due: 0,
            rings,
        };
        (model, bell)
    }

    fn value(&mut self) -> Tracked {
        self.made += 1;
        Tracked { number: Box::new(self.made), dropped: self.dropped.clone() }
    }

    fn pushed(&mut self, outcome: Result<(), SendError<Tracked>>) {
        let number = self.made;
        match outcome {
            Ok(()) => {
                assert!(self.open && self.queue.len() < self.capacity, "took what does not fit");
                self.queue.push_back(number);
                self.rung();
            }
            Err(SendError::Full(value)) => {
                assert!(self.open && self.queue.len() == self.capacity, "refused what fits");
                assert_eq!(*value.number, number, "gave another value back");
            }
            Err(SendError::Closed(value)) => {
                assert!(!self.open, "closed, though the consumer lives");
                assert_eq!(*value.number, number, "gave another value back");
            }
        }
    }

    fn popped(&mut self, got: Option<&Tracked>) {
        assert_eq!(got.map(|value| *value.number), self.queue.pop_front());
    }

    fn rung(&mut self) {
        self.rings_due += usize::from(std::mem::take(&mut self.parked));
        assert_eq!(
            self.rings.load(Ordering::Relaxed),
            self.rings_due,
            "one ring for each park that a push ends"
        );
    }

    fn park(&mut self, bell: &Doorbell) {
        if self.parked {
            assert!(!bell.cancel_park(), "no one rang");
        }
        bell.prepare_park();
        self.parked = true;
    }

    fn consumer_dropped(&mut self) {
        self.open = false;
        self.queue.clear();
        self.assert_live(0);
    }

    /// Fails unless exactly the values that the model holds are alive.
    fn assert_live(&self, live: usize) {
        assert_eq!(self.made - self.dropped.load(Ordering::Relaxed), live, "dropped twice, or never");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn inbox_agrees_with_a_bounded_deque(asked in 0_usize..12, steps in steps()) {
        let (mut model, bell) = Model::new(asked);
        let (sender, receiver) = inbox(asked, bell.clone());
        let mut senders = vec![sender];
        let mut receiver = Some(receiver);
        for (turn, step) in steps.into_iter().enumerate() {
            let sender = (!senders.is_empty()).then(|| turn % senders.len());
            match (step, sender, &mut receiver) {
                (Step::Push, Some(sender), _) => {
                    let value = model.value();
                    model.pushed(senders[sender].try_send(value));
                }
                (Step::Pop, _, Some(receiver)) => model.popped(receiver.pop().as_ref()),
                (Step::Look, sender, Some(receiver)) => {
                    assert_eq!((receiver.len(), receiver.capacity()), (model.queue.len(), model.capacity));
                    assert_eq!(receiver.is_empty(), model.queue.is_empty());
                    assert_eq!(receiver.is_closed(), sender.is_none());
                }
                (Step::Look, Some(sender), None) => assert!(senders[sender].is_closed()),
                (Step::CloneSender, Some(sender), _) => senders.push(senders[sender].clone()),
                (Step::DropSender, Some(sender), _) => {
                    drop(senders.swap_remove(sender));
                    if senders.is_empty() {
                        model.rung();
                    }
                }
                (Step::DropConsumer, _, gone) if gone.is_some() => {
                    *gone = None;
                    model.consumer_dropped();
                }
                (Step::Park, ..) => model.park(&bell),
                _ => {}
            }
            model.assert_live(model.queue.len());
        }
        drop((senders, receiver));
        model.assert_live(0);
    }

    #[test]
    fn spsc_agrees_with_a_bounded_deque(asked in 0_usize..12, steps in steps()) {
        let (mut model, bell) = Model::new(asked);
        let (producer, consumer) = spsc::channel(asked, bell.clone());
        let (mut producer, mut consumer) = (Some(producer), Some(consumer));
        for step in steps {
            match (step, &mut producer, &mut consumer) {
                (Step::Push, Some(producer), _) => {
                    let value = model.value();
                    model.pushed(producer.try_push(value));
                }
                (Step::Pop, _, Some(consumer)) => model.popped(consumer.pop().as_ref()),
                (Step::Look, producer, Some(consumer)) => {
                    assert_eq!((consumer.len(), consumer.capacity()), (model.queue.len(), model.capacity));
                    assert_eq!(consumer.is_empty(), model.queue.is_empty());
                    assert_eq!(consumer.is_closed(), producer.is_none());
                    if let Some(producer) = producer {
                        assert_eq!(producer.free(), model.capacity - model.queue.len());
                    }
                }
                (Step::DropSender, gone, _) if gone.is_some() => {
                    *gone = None;
                    model.rung();
                }
                (Step::DropConsumer, _, gone) if gone.is_some() => {
                    *gone = None;
                    model.consumer_dropped();
                }
                (Step::Park, ..) => model.park(&bell),
                _ => {}
            }
            model.assert_live(model.queue.len());
        }
        drop((producer, consumer));
        model.assert_live(0);
    }
}
