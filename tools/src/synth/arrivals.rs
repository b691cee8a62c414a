//! The arrival times of a generated chat's messages.
//!
//! They are a Poisson process whose rate is the mean times a mood times a burst (a Cox process). Each arrival
//! may cause answers within seconds. The mood wanders within half a minute; bursts rise in 2 to 10 s and fall
//! by half every 2 to 8 s.
//! Why all three: real one-second counts have variance over mean of 1.4 to 6.7 in slow rooms (answers) and
//! fast ones (mood, bursts) alike; a plain Poisson process has 1.
//! Invariant: times never fall; the long-term mean is the requested rate.
//! Not here: texts (`texts`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use grandstand_harness::random::Random;

/// Rates are constant within a slot: shorter than the shortest rise by far.
const SLOT_MS: u64 = 100;

/// A message draws an answer with this probability, which may draw another.
const ANSWER: f64 = 0.35;
/// Mean wait of an answer: people who have their hands on the keys.
const ANSWER_MS: f64 = 500.0;

/// How far the mood goes: deviation of its logarithm. Its share of variance over mean is 0.09 times the rate.
const MOOD_DEVIATION: f64 = 0.3;
/// The part of a mood that remains after a second; half remains after 23 s.
const MOOD_KEPT: f64 = 0.97;

/// Measured bounds of bursts: times background; milliseconds of rise and of half-decay.
const HEIGHT: std::ops::Range<f64> = 3.0..10.0;
const RISE_MS: std::ops::Range<f64> = 2000.0..10_000.0;
const HALF_MS: std::ops::Range<f64> = 2000.0..8000.0;
/// A burst is over when so little of it is left.
const FACTOR_OVER: f64 = 1.05;
/// Means over the drawn bursts: of height less one (see [`Burst::draw`]), and of seconds from start to over.
const EXCESS_MEAN: f64 = 3.32;
const DURATION_MEAN_S: f64 = 36.0;

#[derive(Debug)]
pub(super) struct Arrivals {
    random: Random,
    /// Arrivals that are no answers, per slot, in calm.
    calm_per_slot: f64,
    bursts_pause_s: Option<f64>,
    burst: Burst,
    mood: f64,
    slot_ms: u64,
    /// Arrivals in the slots up to `slot_ms`, and answers after them.
    due_ms: BinaryHeap<Reverse<u64>>,
    now_ms: u64,
}

/// One event of the show that many people write about.
#[derive(Clone, Copy, Debug)]
struct Burst {
    start_ms: u64,
    height: f64,
    rise_ms: f64,
    half_ms: f64,
}

impl Arrivals {
    pub(super) fn new(seed: u64, rate_per_s: f64, bursts_per_hour: f64) -> Arrivals {
        let mut random = Random::new(seed);
        let bursts_pause_s =
            (bursts_per_hour > 0.0).then(|| (3600.0 / bursts_per_hour - DURATION_MEAN_S).max(5.0));
        let (rise_s, half_s) = (middle(&RISE_MS) / 1000.0, middle(&HALF_MS) / 1000.0);
        let excess_s = EXCESS_MEAN * (rise_s / 2.0 + half_s / std::f64::consts::LN_2);
        let bursts = bursts_pause_s.map_or(1.0, |pause_s| 1.0 + excess_s / (pause_s + DURATION_MEAN_S));
        let calm_per_s = rate_per_s * (1.0 - ANSWER) / bursts;
        let burst = Burst::draw(&mut random, 0, bursts_pause_s);
        Arrivals {
            random,
            calm_per_slot: calm_per_s * SLOT_MS as f64 / 1000.0,
            bursts_pause_s,
            burst,
            mood: 0.0,
            slot_ms: 0,
            due_ms: BinaryHeap::new(),
            now_ms: 0,
        }
    }

    /// The next arrival.
    pub(super) fn next_ms(&mut self) -> u64 {
        loop {
            if let Some(&Reverse(due_ms)) = self.due_ms.peek().filter(|due| due.0 < self.slot_ms) {
                self.due_ms.pop();
                self.now_ms = due_ms;
                return due_ms;
            }
            self.fill_slot();
        }
    }

    /// Times background at the last arrival: 1 in calm.
    pub(super) fn heat(&self) -> f64 {
        self.burst.factor(self.now_ms)
    }

    fn fill_slot(&mut self) {
        let start_ms = self.slot_ms;
        self.slot_ms += SLOT_MS;
        if start_ms.is_multiple_of(1000) {
            self.step_second(start_ms);
        }
        // The mean of a log-normal is above its median; taken off, so that the rate stays what was asked for.
        let mood = (self.mood - MOOD_DEVIATION * MOOD_DEVIATION / 2.0).exp();
        let count = self.random.poisson(self.calm_per_slot * mood * self.burst.factor(start_ms));
        for _ in 0..count {
            let mut due_ms = start_ms + self.random.below(SLOT_MS as usize) as u64;
            self.due_ms.push(Reverse(due_ms));
            while self.random.unit() < ANSWER {
                due_ms += (self.random.arrival_s(1.0) * ANSWER_MS) as u64;
                self.due_ms.push(Reverse(due_ms));
            }
        }
    }

    fn step_second(&mut self, now_ms: u64) {
        let step = (1.0 - MOOD_KEPT * MOOD_KEPT).sqrt() * MOOD_DEVIATION;
        self.mood = self.mood * MOOD_KEPT + step * self.random.normal();
        if self.burst.is_over(now_ms) {
            self.burst = Burst::draw(&mut self.random, now_ms, self.bursts_pause_s);
        }
    }
}

impl Burst {
    /// The next one, or one that never comes.
    fn draw(random: &mut Random, now_ms: u64, pause_s: Option<f64>) -> Burst {
        let start_ms =
            pause_s.map_or(u64::MAX, |pause_s| now_ms + (random.arrival_s(1.0 / pause_s) * 1000.0) as u64);
        // Low ones are common, high ones rare: the cube keeps three in four below 5 times.
        let height = HEIGHT.start * (HEIGHT.end / HEIGHT.start).powf(random.unit().powi(3));
        Burst { start_ms, height, rise_ms: random.within(&RISE_MS), half_ms: random.within(&HALF_MS) }
    }

    /// Times background at this time.
    fn factor(&self, now_ms: u64) -> f64 {
        let Some(since_ms) = now_ms.checked_sub(self.start_ms) else { return 1.0 };
        let fallen_ms = since_ms as f64 - self.rise_ms;
        let part =
            if fallen_ms < 0.0 { since_ms as f64 / self.rise_ms } else { (-fallen_ms / self.half_ms).exp2() };
        1.0 + (self.height - 1.0) * part
    }

    fn is_over(&self, now_ms: u64) -> bool {
        now_ms as f64 > self.start_ms as f64 + self.rise_ms && self.factor(now_ms) < FACTOR_OVER
    }
}

fn middle(range: &std::ops::Range<f64>) -> f64 {
    f64::midpoint(range.start, range.end)
}

/// Draws that only a crowd needs.
pub(super) trait Draws {
    /// Evenly within a range.
    fn within(&mut self, range: &std::ops::Range<f64>) -> f64;
    /// Mean 0, deviation 1.
    fn normal(&mut self) -> f64;
    /// How many come when `mean` do in the mean.
    fn poisson(&mut self, mean: f64) -> u64;
    /// One of them.
    fn pick<T: Copy>(&mut self, from: &[T]) -> T;
}

impl Draws for Random {
    fn within(&mut self, range: &std::ops::Range<f64>) -> f64 {
        range.start + (range.end - range.start) * self.unit()
    }

    /// Box and Muller (1958).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Counts independent arrivals within one unit of time; exact at any mean, and slots hold few.
    fn poisson(&mut self, mean: f64) -> u64 {
        let (mut count, mut at) = (0, self.arrival_s(1.0));
        while at < mean {
            count += 1;
            at += self.arrival_s(1.0);
        }
        count
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_keep_the_measured_bounds() {
        let mut random = Random::new(3);
        let mut excess = 0.0;
        let mut duration_s = 0.0;
        const BURSTS: u32 = 2000;
        for _ in 0..BURSTS {
            let burst = Burst::draw(&mut random, 0, Some(60.0));
            let at = |ms: f64| burst.factor(burst.start_ms + ms as u64);
            let peak = at(burst.rise_ms);
            assert!((2.9..=10.0).contains(&peak), "{peak} times background");
            assert!((2000.0..=10_000.0).contains(&burst.rise_ms) && at(burst.rise_ms / 2.0) < peak);
            let half = at(burst.rise_ms + burst.half_ms);
            assert!(((half - 1.0) / (peak - 1.0) - 0.5).abs() < 0.01, "half-decay");
            excess += burst.height - 1.0;
            let end_ms = (0..).step_by(100).find(|ms| burst.is_over(burst.start_ms + ms)).unwrap();
            duration_s += end_ms as f64 / 1000.0;
        }
        let (excess, duration_s) = (excess / f64::from(BURSTS), duration_s / f64::from(BURSTS));
        assert!((excess / EXCESS_MEAN - 1.0).abs() < 0.05, "mean excess {excess}");
        assert!((duration_s / DURATION_MEAN_S - 1.0).abs() < 0.1, "mean duration {duration_s} s");
    }

    #[test]
    fn the_mean_over_long_is_the_rate_asked_for() {
        for (rate_per_s, hours) in [(0.3, 60), (1.0, 40), (9.6, 12)] {
            for bursts_per_hour in [0.0, 12.0] {
                let mut arrivals = Arrivals::new(11, rate_per_s, bursts_per_hour);
                let end_ms = hours * 3_600_000;
                let count =
                    std::iter::from_fn(|| Some(arrivals.next_ms())).take_while(|&t| t < end_ms).count();
                let ratio = count as f64 / (rate_per_s * hours as f64 * 3600.0);
                assert!(
                    (0.93..1.07).contains(&ratio),
                    "{rate_per_s}/s with {bursts_per_hour} bursts: {ratio} of it"
                );
            }
        }
    }

    #[test]
    fn heat_follows_bursts_and_rests_at_one() {
        let mut arrivals = Arrivals::new(5, 5.0, 12.0);
        let heats: Vec<f64> = (0..20_000)
            .map(|_| {
                arrivals.next_ms();
                arrivals.heat()
            })
            .collect();
        assert!(heats.iter().all(|h| (1.0..=10.0).contains(h)));
        assert!(heats.iter().any(|&h| h > 3.0) && heats.iter().filter(|h| **h == 1.0).count() > 10_000);
    }
}
