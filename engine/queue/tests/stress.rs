//! Stress: the rings and the parker on real threads, bounded in count.
//!
//! Why: loom explores a few steps exhaustively; this runs many steps on the compiler's and the machine's own
//! reordering. Small rings, so that full, empty, park and wake all happen often. A lost wake-up shows as a
//! park that times out.
//!
//! Not here: speed (no figure is taken), exhaustiveness (`src/loom_tests.rs`).
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use grandstand_queue::{Doorbell, Parker, SendError, inbox, spsc, thread_bell};

const PRODUCERS: usize = 4;
/// Per producer: many thousand laps of the ring in less than a second, unoptimised, on two cores. Miri is far
/// slower.
const VALUES: usize = if cfg!(miri) { 50 } else { 100_000 };
/// Never reached unless a wake-up is lost; long, since the machine may be busy with other work.
const LOST: Duration = Duration::from_secs(60);

/// Parks until something is there. Fails if no wake-up comes.
fn park(parker: &mut Parker, is_ready: impl FnMut() -> bool) {
    assert!(parker.park_timeout(Some(LOST), is_ready), "a wake-up was lost");
}

/// Sends, giving up the processor for as long as the ring is full.
fn send_all(mut try_send: impl FnMut(usize) -> Result<(), SendError<usize>>) {
    for mut value in 0..VALUES {
        while let Err(refused) = try_send(value) {
            assert!(refused.is_full(), "the consumer lives");
            value = refused.into_inner();
            thread::yield_now();
        }
    }
}

#[test]
fn inbox_delivers_everything_once_in_each_producers_order() {
    let (bell, mut parker) = thread_bell();
    let (sender, mut receiver) = inbox(16, bell);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let sender = sender.clone();
            thread::spawn(move || {
                send_all(|value| {
                    let wrap = |(_, value)| value;
                    sender.try_send((producer, value)).map_err(|refused| match refused {
                        SendError::Full(pair) => SendError::Full(wrap(pair)),
                        SendError::Closed(pair) => SendError::Closed(wrap(pair)),
                    })
                });
            })
        })
        .collect();
    drop(sender);
    let mut next = [0; PRODUCERS];
    loop {
        let last = receiver.is_closed();
        while let Some((producer, value)) = receiver.pop() {
            assert_eq!(value, next[producer], "producer {producer}");
            next[producer] += 1;
        }
        if last {
            break;
        }
        park(&mut parker, || !receiver.is_empty() || receiver.is_closed());
    }
    assert_eq!(next, [VALUES; PRODUCERS]);
    producers.into_iter().for_each(|producer| producer.join().expect("a producer does not panic"));
}

#[test]
fn spsc_rings_on_one_bell_deliver_everything_in_order() {
    let (bell, mut parker) = thread_bell();
    let (producers, mut consumers): (Vec<_>, Vec<_>) =
        (0..PRODUCERS).map(|_| spsc::channel(8, bell.clone())).unzip();
    let producers: Vec<_> = producers
        .into_iter()
        .map(|mut producer| thread::spawn(move || send_all(|value| producer.try_push(value))))
        .collect();
    let mut next = [0; PRODUCERS];
    while next != [VALUES; PRODUCERS] {
        park(&mut parker, || consumers.iter().any(|consumer| !consumer.is_empty()));
        for (consumer, next) in consumers.iter_mut().zip(&mut next) {
            while let Some(value) = consumer.pop() {
                assert_eq!(value, *next);
                *next += 1;
            }
        }
    }
    producers.into_iter().for_each(|producer| producer.join().expect("a producer does not panic"));
    assert!(consumers.iter().all(|consumer| consumer.is_closed() && consumer.is_empty()));
}

/// Two threads that hand one value to and fro: each step is a park and a wake, with nothing to hide a lost
/// one.
#[test]
fn ping_pong_wakes_at_every_step() {
    let (ping_bell, mut ping_parker) = thread_bell();
    let (pong_bell, mut pong_parker) = thread_bell();
    let (ping, mut ping_in) = inbox(2, ping_bell);
    let (mut pong, mut pong_in) = spsc::channel(2, pong_bell);
    let echo = thread::spawn(move || {
        for _ in 0..VALUES / 5 {
            let value = loop {
                match ping_in.pop() {
                    Some(value) => break value,
                    None => park(&mut ping_parker, || !ping_in.is_empty()),
                }
            };
            pong.try_push(value).expect("one value at a time");
        }
    });
    for value in 0..VALUES / 5 {
        ping.try_send(value).expect("one value at a time");
        let back = loop {
            match pong_in.pop() {
                Some(back) => break back,
                None => park(&mut pong_parker, || !pong_in.is_empty()),
            }
        };
        assert_eq!(back, value);
    }
    echo.join().expect("the echo does not panic");
}

/// Producers that race with the receiver's end: whatever was accepted or refused is dropped exactly once.
#[test]
fn a_receiver_that_goes_amid_sends_leaks_nothing() {
    for round in 0..if cfg!(miri) { 5 } else { 500 } {
        let value = Arc::new(());
        let (sender, mut receiver) = inbox(4, Doorbell::new(|| {}));
        let attempts = Arc::new(AtomicUsize::new(0));
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let (sender, value, attempts) = (sender.clone(), value.clone(), attempts.clone());
                thread::spawn(move || {
                    while !sender.try_send(value.clone()).is_err_and(|refused| refused.is_closed()) {
                        attempts.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                    }
                })
            })
            .collect();
        while attempts.load(Ordering::Relaxed) < round % 8 {
            drop(receiver.pop());
            thread::yield_now();
        }
        drop(receiver);
        producers.into_iter().for_each(|producer| producer.join().expect("a producer does not panic"));
        drop(sender);
        assert_eq!(Arc::strong_count(&value), 1, "round {round}");
    }
}
