//! A race: of several ways to a node, the first that works wins. The next way is started when the one before
//! has failed, or has said nothing for a while ("Happy Eyeballs", RFC 8305).
//!
//! Why: the first address of a name may drop every packet while the second works, and a network that blocks
//! UDP looks like a node that does not answer. Whoever tries one way after the other waits for every timeout.
//! Invariants: a way is started once, in the given order; a race is lost only when all ways have failed, and
//! then the most telling failure is its result.
//! Not here: what a way is (`connector`), which order is given (`addresses`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The pure part: which way to start, and when. Times are microseconds since the race began.
#[derive(Debug)]
pub(super) struct Race {
    ways: usize,
    started: usize,
    failed: usize,
    stagger_us: u64,
    next_at_us: u64,
}

/// A way that has got an answer, such as a TCP connection, is given this much longer before the next one is
/// started: a slow TLS handshake is no reason to burden the server with a second one.
const PROGRESS_US: u64 = 2_000_000;

impl Race {
    pub(super) fn new(ways: usize, stagger: Duration) -> Race {
        Race { ways, started: 0, failed: 0, stagger_us: stagger.as_micros() as u64, next_at_us: 0 }
    }

    /// The way to start now, if any.
    pub(super) fn poll_start(&mut self, now_us: u64) -> Option<usize> {
        if self.started == self.ways || now_us < self.next_at_us {
            return None;
        }
        self.started += 1;
        self.next_at_us = now_us + self.stagger_us;
        Some(self.started - 1)
    }

    /// A way has failed: the next one is due.
    pub(super) fn handle_failed(&mut self, now_us: u64) {
        self.failed += 1;
        self.next_at_us = self.next_at_us.min(now_us);
    }

    /// A way has got an answer.
    pub(super) fn handle_progress(&mut self, now_us: u64) {
        self.next_at_us = self.next_at_us.max(now_us + PROGRESS_US);
    }

    /// When to start the next way.
    pub(super) fn due_us(&self) -> Option<u64> {
        (self.started < self.ways).then_some(self.next_at_us)
    }

    /// Whether all ways have failed.
    pub(super) fn is_lost(&self) -> bool {
        self.failed == self.ways
    }
}

/// Where a way says that it has got an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicBool>);

impl Progress {
    pub(super) fn made(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// One way: a future that is made when the way is started.
pub(super) type Way<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Run a race. Returns the number of the way that won with its result, or of all failures the one that
/// `telling` ranks highest, the first of equals. There is at least one way.
pub(super) async fn run<T, E>(
    mut race: Race,
    outer: Option<Progress>,
    mut start: impl FnMut(usize, Progress) -> Way<T, E>,
    telling: impl Fn(&E) -> u8,
) -> Result<(usize, T), E> {
    let began = Instant::now();
    let mut running: Vec<(usize, Progress, Way<T, E>)> = Vec::new();
    let mut worst: Option<E> = None;
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(move |cx| {
        loop {
            let now_us = began.elapsed().as_micros() as u64;
            while let Some(way) = race.poll_start(now_us) {
                let progress = Progress::default();
                running.push((way, progress.clone(), start(way, progress)));
            }
            let mut at = 0;
            let mut is_changed = false;
            while let Some((number, progress, way)) = running.get_mut(at) {
                let polled = way.as_mut().poll(cx);
                if progress.take() {
                    race.handle_progress(now_us);
                    outer.iter().for_each(Progress::made);
                }
                match polled {
                    Poll::Ready(Ok(won)) => return Poll::Ready(Ok((*number, won))),
                    Poll::Ready(Err(error)) => {
                        drop(running.remove(at));
                        race.handle_failed(now_us);
                        is_changed = true;
                        if worst.as_ref().is_none_or(|worst| telling(worst) < telling(&error)) {
                            worst = Some(error);
                        }
                    }
                    Poll::Pending => at += 1,
                }
            }
            if race.is_lost() {
                return Poll::Ready(Err(worst.take().expect("a way has failed")));
            }
            if is_changed {
                continue;
            }
            let Some(due_us) = race.due_us() else { return Poll::Pending };
            let due = began + Duration::from_micros(due_us);
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            timer.as_mut().reset(due);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAGGER: Duration = Duration::from_millis(250);

    /// What a way does: after this time it fails, works, or says nothing for ever; and whether it first gets
    /// an answer, at half of it.
    #[derive(Clone, Copy, Debug)]
    enum Does {
        Fails(u64),
        Works(u64),
        Hangs,
        AnswersThenWorks(u64),
    }

    fn way(does: Does, number: usize, progress: Progress) -> Way<usize, usize> {
        let wait = |ms| tokio::time::sleep(Duration::from_millis(ms));
        Box::pin(async move {
            match does {
                Does::Fails(ms) => {
                    wait(ms).await;
                    Err(number)
                }
                Does::Works(ms) => {
                    wait(ms).await;
                    Ok(number)
                }
                Does::Hangs => std::future::pending().await,
                Does::AnswersThenWorks(ms) => {
                    wait(ms / 2).await;
                    progress.made();
                    wait(ms - ms / 2).await;
                    Ok(number)
                }
            }
        })
    }

    /// The result, the time that it took, and how many ways were started.
    async fn race(ways: &[Does]) -> (Result<usize, usize>, u64, usize) {
        let (began, mut started) = (Instant::now(), 0);
        let start = |number: usize, progress| {
            started = number + 1;
            way(ways[number], number, progress)
        };
        let run = run(Race::new(ways.len(), STAGGER), None, start, |error| *error as u8);
        let won = run.await.map(|(number, _)| number);
        (won, began.elapsed().as_millis() as u64, started)
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_says_nothing_costs_one_stagger() {
        let (won, ms, started) = race(&[Does::Hangs, Does::Hangs, Does::Works(40)]).await;
        assert_eq!((won, started), (Ok(2), 3));
        assert!((540..560).contains(&ms), "{ms}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_fails_costs_no_stagger_and_a_good_first_way_is_alone() {
        let (won, ms, _) = race(&[Does::Fails(10), Does::Fails(5), Does::Works(20)]).await;
        assert_eq!(won, Ok(2));
        assert!((35..60).contains(&ms), "{ms}");
        let (won, _, started) = race(&[Does::Works(200), Does::Works(1)]).await;
        assert_eq!((won, started), (Ok(0), 1));
        let (won, _, started) = race(&[Does::AnswersThenWorks(400), Does::Works(1)]).await;
        assert_eq!((won, started), (Ok(0), 1), "one that has got an answer is waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_race_tells_the_most_telling_failure() {
        let (won, _, started) = race(&[Does::Fails(900), Does::Fails(1), Does::Fails(400)]).await;
        assert_eq!((won, started), (Err(2), 3));
    }

    proptest! {
        /// A way that works is found, if there is one, and no later than every way before it may delay it.
        #[test]
        fn a_working_way_is_always_found(ways in prop::collection::vec(prop_oneof![
            (0..3000u64).prop_map(Does::Fails),
            (0..3000u64).prop_map(Does::Works),
            (0..3000u64).prop_map(Does::AnswersThenWorks),
            Just(Does::Hangs),
        ], 1..8)) {
            let works = |does: &Does| match does {
                Does::Works(ms) | Does::AnswersThenWorks(ms) => Some(*ms),
                _ => None,
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().unwrap();
            let within = Duration::from_secs(60);
            let raced = runtime.block_on(async { tokio::time::timeout(within, race(&ways)).await });
            let best_ms = ways.iter().enumerate().filter_map(|(n, does)| {
                // Ways before it that get an answer hold it up, once each.
                let held = ways[..n].iter().filter(|w| matches!(w, Does::AnswersThenWorks(_))).count() as u64;
                Some(works(does)? + n as u64 * 252 + held * 3_600)
            }).min();
            match (raced, best_ms) {
                (Ok((Ok(_), ms, _)), Some(best_ms)) => prop_assert!(ms <= best_ms + 5, "{ms} > {best_ms}"),
                (Ok((Err(_), ..)), None) => {
                    prop_assert!(ways.iter().all(|does| matches!(does, Does::Fails(_))));
                }
                (Err(_), None) => prop_assert!(ways.iter().any(|does| matches!(does, Does::Hangs))),
                (raced, best_ms) => prop_assert!(false, "{raced:?}, {best_ms:?}"),
            }
        }
    }
}
