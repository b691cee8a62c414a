//! The loom models: every interleaving of a few threads on the real code, within the bounds set in `explore`.
//!
//! Why: the orderings of this crate are arguments about executions that no test on one machine will show.
//! A lost wake-up shows as loom's "deadlock", a missing acquire or release as its "concurrent access" to a
//! cell, a value dropped twice or never as a wrong count, or as a leaked `loom::sync::Arc`.
//!
//! Not here: long runs (`tests/stress.rs`), agreement with a plain queue (`tests/properties.rs`).

use std::sync::OnceLock;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::{Doorbell, inbox, spsc, thread_bell};

/// Runs `model` in every interleaving with at most `preemptions` switches away from a thread that could go
/// on. Nearly all faults of such code show with two; three is the most that keeps a model in seconds.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn silent() -> Arc<Doorbell> {
    Doorbell::new(|| {})
}

/// A value that counts its drops, and that loom reports if it leaks.
struct Tracked {
    dropped: Arc<AtomicUsize>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fails unless `received` is what each producer had accepted, in its order. Values are
/// `producer * 10 + sequence`.
fn assert_order(received: &[usize], accepted: &[Vec<usize>]) {
    for (producer, sent) in accepted.iter().enumerate() {
        let of_this: Vec<_> = received.iter().copied().filter(|value| value / 10 == producer).collect();
        assert_eq!(&of_this, sent, "producer {producer}");
    }
    assert_eq!(received.len(), accepted.iter().map(Vec::len).sum::<usize>(), "nothing twice, nothing else");
}

#[test]
fn inbox_two_producers_keep_their_order_through_a_full_ring_and_a_second_lap() {
    explore(3, || {
        let (sender, mut receiver) = inbox(2, silent());
        let producers: Vec<_> = (0..2)
            .map(|producer| {
                let sender = sender.clone();
                thread::spawn(move || {
                    let values = [producer * 10, producer * 10 + 1];
                    values.into_iter().filter(|&value| sender.try_send(value).is_ok()).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut received: Vec<usize> = (0..2).filter_map(|_| receiver.pop()).collect();
        let accepted: Vec<_> = producers.into_iter().map(|p| p.join().unwrap()).collect();
        received.extend(std::iter::from_fn(|| receiver.pop()));
        assert_order(&received, &accepted);
        assert!(received.len() >= 2, "two slots take two values");
    });
}

#[test]
fn inbox_gives_exactly_one_of_two_racing_producers_the_last_slot() {
    explore(3, || {
        let (sender, mut receiver) = inbox(2, silent());
        sender.try_send(1).unwrap();
        let other = sender.clone();
        let racing = thread::spawn(move || other.try_send(2).is_ok());
        let here = sender.try_send(3).is_ok();
        assert!(here != racing.join().unwrap(), "one slot, one winner");
        assert_eq!(receiver.pop(), Some(1));
        assert_eq!(receiver.pop(), Some(if here { 3 } else { 2 }));
        assert_eq!(receiver.pop(), None);
    });
}

#[test]
fn inbox_drops_each_value_once_when_the_receiver_goes_amid_sends() {
    explore(3, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (sender, mut receiver) = inbox(2, silent());
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let (sender, dropped) = (sender.clone(), dropped.clone());
                thread::spawn(move || drop(sender.try_send(Tracked { dropped })))
            })
            .collect();
        drop(sender);
        drop(receiver.pop());
        drop(receiver);
        for producer in producers {
            producer.join().unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn inbox_shows_every_value_to_a_receiver_that_sees_it_closed() {
    explore(3, || {
        let (sender, mut receiver) = inbox(2, silent());
        let second = sender.clone();
        let producers =
            [(sender, 1), (second, 2)].map(|(s, value)| thread::spawn(move || s.try_send(value).unwrap()));
        while !receiver.is_closed() {
            thread::yield_now();
        }
        assert_eq!(std::iter::from_fn(|| receiver.pop()).sum::<i32>(), 3);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

// In these models the sleeper is a thread of its own that joins nobody: loom's `join` is built on its `park`,
// and a ring that comes late, which the doorbell allows, would end it.

#[test]
fn doorbell_loses_no_wake_up_and_calls_once_per_park() {
    explore(3, || {
        let calls = Arc::new(AtomicUsize::new(0));
        let flags = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let sleeper = Arc::new(OnceLock::<thread::Thread>::new());
        let (rung, counted) = (sleeper.clone(), calls.clone());
        let bell = Doorbell::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            rung.get().expect("known before it parks").unpark();
        });
        let consumer = {
            let (bell, flags) = (bell.clone(), flags.clone());
            thread::spawn(move || {
                sleeper.set(thread::current()).unwrap();
                count_parks(&bell, || flags.iter().all(|flag| flag.load(Ordering::Relaxed) == 1))
            })
        };
        let first = {
            let (bell, flags) = (bell.clone(), flags.clone());
            thread::spawn(move || set_and_ring(&flags[0], &bell))
        };
        set_and_ring(&flags[1], &bell);
        first.join().unwrap();
        let parks = consumer.join().unwrap();
        assert!(calls.load(Ordering::Relaxed) <= parks, "a park was rung for twice");
    });
}

fn set_and_ring(flag: &AtomicUsize, bell: &Doorbell) {
    // Relaxed: the bell's fences alone must make either the flag or the park visible.
    flag.store(1, Ordering::Relaxed);
    bell.ring();
}

/// Sleeps until `done`; how many parks that took.
fn count_parks(bell: &Doorbell, done: impl Fn() -> bool) -> usize {
    for parks in 1.. {
        bell.prepare_park();
        if done() {
            bell.cancel_park();
            return parks;
        }
        thread::park();
        bell.finish_park();
    }
    unreachable!("parks without end")
}

#[test]
fn doorbell_calls_once_for_two_ringers_of_one_park() {
    explore(3, || {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let bell = Doorbell::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        bell.prepare_park();
        let other = bell.clone();
        let racing = thread::spawn(move || other.ring());
        bell.ring();
        racing.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1, "parked, so rung for; and by one only");
        assert!(bell.finish_park());
    });
}

#[test]
fn parker_sleeps_on_two_queues_at_once_and_misses_neither() {
    explore(2, || {
        let (bell, mut parker) = thread_bell();
        let (sender, mut receiver) = inbox(2, bell.clone());
        let (mut producer, mut consumer) = spsc::channel(2, bell);
        let sleeping = thread::spawn(move || {
            let mut sum = 0;
            while sum < 3 {
                parker.park_timeout(None, || !receiver.is_empty() || !consumer.is_empty());
                sum += receiver.pop().unwrap_or(0) + consumer.pop().unwrap_or(0);
            }
            // Back alive: the senders below expect an open ring.
            (receiver, consumer)
        });
        let pushing = thread::spawn(move || producer.try_push(2).unwrap());
        sender.try_send(1).unwrap();
        pushing.join().unwrap();
        sleeping.join().unwrap();
    });
}

#[test]
fn parker_wakes_when_the_last_sender_goes() {
    explore(3, || {
        let (bell, mut parker) = thread_bell();
        let (sender, receiver) = inbox::<u8>(2, bell);
        let second = sender.clone();
        let sleeping = thread::spawn(move || {
            while !receiver.is_closed() {
                parker.park_timeout(None, || receiver.is_closed());
            }
        });
        let dropping = thread::spawn(move || drop(second));
        drop(sender);
        dropping.join().unwrap();
        sleeping.join().unwrap();
    });
}

#[test]
fn parker_wakes_when_the_producer_goes() {
    explore(3, || {
        let (bell, mut parker) = thread_bell();
        let (producer, consumer) = spsc::channel::<u8>(2, bell);
        let sleeping = thread::spawn(move || {
            while !consumer.is_closed() {
                parker.park_timeout(None, || consumer.is_closed());
            }
        });
        drop(producer);
        sleeping.join().unwrap();
    });
}

#[test]
fn spsc_keeps_order_around_the_end_of_the_ring() {
    explore(3, || {
        let (mut producer, mut consumer) = spsc::channel(2, silent());
        let pushing = thread::spawn(move || {
            for value in 0..4 {
                while producer.try_push(value).is_err() {
                    thread::yield_now();
                }
            }
        });
        for expected in 0..4 {
            loop {
                if let Some(value) = consumer.pop() {
                    assert_eq!(value, expected);
                    break;
                }
                thread::yield_now();
            }
        }
        assert_eq!(consumer.pop(), None);
        pushing.join().unwrap();
    });
}

#[test]
fn spsc_shows_every_value_to_a_consumer_that_sees_it_closed() {
    explore(3, || {
        let (mut producer, mut consumer) = spsc::channel(2, silent());
        let pushing = thread::spawn(move || {
            producer.try_push(1).unwrap();
            producer.try_push(2).unwrap();
        });
        while !consumer.is_closed() {
            thread::yield_now();
        }
        assert_eq!([consumer.pop(), consumer.pop(), consumer.pop()], [Some(1), Some(2), None]);
        pushing.join().unwrap();
    });
}

#[test]
fn spsc_never_refuses_what_it_said_was_free() {
    explore(3, || {
        let (mut producer, mut consumer) = spsc::channel(2, silent());
        producer.try_push(0).unwrap();
        producer.try_push(1).unwrap();
        // The consumer comes back alive, so that the ring stays open.
        let popping = thread::spawn(move || ([consumer.pop(), consumer.pop()], consumer));
        for value in 0..producer.free() {
            producer.try_push(value + 2).unwrap();
        }
        assert_eq!(popping.join().unwrap().0, [Some(0), Some(1)]);
    });
}

#[test]
fn spsc_drops_each_value_once_when_the_consumer_goes_amid_pushes() {
    explore(3, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (mut producer, mut consumer) = spsc::channel(2, silent());
        let inside = dropped.clone();
        let pushing = thread::spawn(move || {
            for _ in 0..3 {
                drop(producer.try_push(Tracked { dropped: inside.clone() }));
            }
        });
        drop(consumer.pop());
        drop(consumer);
        pushing.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    });
}
