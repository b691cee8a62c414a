//! A search for the highest rate that a server holds, the same for every server.
//!
//! Method: a step is some seconds at one rate. The rate doubles while steps hold; where the first misses it
//! is halved until one holds; then the gap between the last that held and the first that missed is bisected.
//! A step holds when every delivery arrived, no viewer was disconnected, no message was refused and the 99th
//! percentile is at most [`P99_MAX_US`].
//! Invariants: every try is a row, with the generator's own load beside the server's; a missed try is marked
//! and never repeated at the same rate. After a miss the server restarts, so that the overload does not
//! affect a later try.
//! Not here: a step itself (`trial`), the use of the rates (the benches).

use crate::plan::Plan;
use crate::record::{Row, Rows, ms, noted, rounded};
use anyhow::Result;
use serde_json::json;
use std::time::Duration;

/// People see a chat that is later than this as late.
pub const P99_MAX_US: u64 = 200_000;

/// A generator beyond this share of its core measures itself.
const GENERATOR_SHARE_MAX: f64 = 0.95;

/// Tries between the last rate that held and the first that missed: the end is then known to a tenth.
const BISECTIONS: u32 = 3;

/// The rates of a search: no room is slower or faster.
const RATES: std::ops::RangeInclusive<f64> = 1.0..=12_800.0;

/// A server that is tried at a rate.
pub trait Subject {
    /// Publishes at this rate for this time, then waits for late deliveries, within a bound.
    ///
    /// # Errors
    /// The server or its viewers have ended.
    fn step(&mut self, per_s: f64, time: Duration) -> Result<Step>;
}

/// The figures of one step.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Messages sent.
    pub published: u64,
    /// Messages that reached viewers.
    pub deliveries: u64,
    /// Deliveries that had not come at the end, or never will.
    pub lost: u64,
    /// Viewers that were cut.
    pub cut: u64,
    /// Publications that the server refused or did not answer.
    pub refused: u64,
    /// Half of the deliveries took at most this.
    pub p50_us: u64,
    /// 99 of 100 deliveries took at most this.
    pub p99_us: u64,
    /// Length of the speech.
    pub seconds: f64,
    /// CPU time of the server, for all that the step brought.
    pub cpu_ns: u64,
    /// The share of its core that the server used while there was speech.
    pub core_share: f64,
    /// The share of its core that the generator used meanwhile: the viewers' work and the publisher's.
    pub generator_core_share: f64,
    /// The share of the viewers' looks that found as many sockets ready as one look takes.
    pub receiver_full_share: f64,
    /// The latest that the publisher sent a message after it should have.
    pub publisher_late_max_us: u64,
    /// As the viewers' sockets gave them.
    pub wire_bytes: Option<u64>,
    /// The most memory that the server had.
    pub peak_bytes: u64,
    /// The fault, in words.
    pub fault: Option<String>,
}

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The rate of the first try, in messages per second.
    pub first: f64,
    /// Length of a step.
    pub time: Duration,
    /// Tries between the last rate that held and the first that missed.
    pub bisections: u32,
    /// Tries at most.
    pub tries_max: u32,
}

/// The result of a search.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// A row for each try, in the order of trying.
    pub rows: Rows,
    /// The fastest rate that held, and its step.
    pub best: Option<(f64, Step)>,
    /// The slowest rate that missed, and why.
    pub miss: Option<(f64, String)>,
}

impl Step {
    /// Why it missed; `None` if it held.
    #[must_use]
    pub fn miss(&self) -> Option<String> {
        let why = if self.cut > 0 {
            format!("{} viewers cut", self.cut)
        } else if self.refused > 0 {
            format!("{} publications refused or not answered", self.refused)
        } else if self.lost > 0 || self.deliveries == 0 {
            format!("{} deliveries lost or later than all bounds", self.lost)
        } else if self.p99_us > P99_MAX_US {
            format!("p99 {:.1} ms", self.p99_us as f64 / 1e3)
        } else {
            return None;
        };
        let full = if self.generator_core_share > GENERATOR_SHARE_MAX { ", generator full" } else { "" };
        let fault = self.fault.as_ref().map(|fault| format!(": {fault}")).unwrap_or_default();
        Some(format!("{why}{full}{fault}"))
    }

    /// Deliveries per second.
    #[must_use]
    pub fn deliveries_per_s(&self) -> f64 {
        self.deliveries as f64 / self.seconds.max(1e-9)
    }

    /// Adds its figures to a row.
    pub fn add_to(&self, row: &mut Row) {
        let per_delivery = |sum: f64| rounded(sum / self.deliveries.max(1) as f64, 1);
        for (name, value) in [
            ("deliveries_per_s", rounded(self.deliveries_per_s(), 0)),
            ("core_share", rounded(self.core_share, 3)),
            ("generator_core_share", rounded(self.generator_core_share, 3)),
            ("receiver_full_share", rounded(self.receiver_full_share, 3)),
            ("publisher_late_max_ms", ms(self.publisher_late_max_us)),
            ("cpu_ns_per_delivery", per_delivery(self.cpu_ns as f64)),
            ("p50_ms", ms(self.p50_us)),
            ("p99_ms", ms(self.p99_us)),
            ("lost", self.lost.into()),
            ("cut", self.cut.into()),
            ("refused", self.refused.into()),
            ("wire_bytes_per_delivery", self.wire_bytes.map(|bytes| per_delivery(bytes as f64)).into()),
            ("peak_memory_mb", (self.peak_bytes / 1_000_000).into()),
        ] {
            row.set(name, value);
        }
    }
}

impl Found {
    /// Whether any try brought deliveries: late is no fault of a debug build, silence is.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.rows.iter().any(|row| row.number("deliveries_per_s") > 0.0)
    }
}

impl Search {
    /// From this rate on, with the steps that the plan asks for; a smoke tries twice.
    #[must_use]
    pub fn of(plan: &Plan, first: f64) -> Search {
        Search { first, time: plan.time(), bisections: BISECTIONS, tries_max: plan.size(u32::MAX, 2) }
    }

    /// The next rate, after these held and missed; `None` at the end.
    fn next(&self, tries: u32, bisected: &mut u32, held: Option<f64>, missed: Option<f64>) -> Option<f64> {
        let next = match (held, missed) {
            (None, None) => self.first,
            (Some(held), None) => held * 2.0,
            (None, Some(missed)) => (missed / 2.0).floor(),
            (Some(held), Some(missed)) => {
                *bisected += 1;
                (held * missed).sqrt().round()
            }
        };
        let is_new = Some(next) != held && Some(next) != missed;
        (tries < self.tries_max && *bisected <= self.bisections && is_new && RATES.contains(&next))
            .then_some(next)
    }

    /// Searches; `case` is the beginning of every row.
    pub fn run(&self, case: &Row, mut open: impl FnMut() -> Result<Box<dyn Subject>>) -> Found {
        let (mut found, mut subject, mut tries, mut bisected) = (Found::default(), None, 0, 0);
        let held = |found: &Found| found.best.as_ref().map(|(per_s, _)| *per_s);
        let missed = |found: &Found| found.miss.as_ref().map(|(per_s, _)| *per_s);
        while let Some(per_s) = self.next(tries, &mut bisected, held(&found), missed(&found)) {
            tries += 1;
            let mut row = case.clone();
            row.ask("try", json!(tries));
            row.ask("messages_per_s", json!(per_s));
            let tried = subject.take().map_or_else(&mut open, Ok).and_then(|mut it: Box<dyn Subject>| {
                let step = it.step(per_s, self.time)?;
                Ok((step, it))
            });
            match tried {
                Err(error) => {
                    found.rows.push(noted(row.failed(format!("{error:#}"))));
                    return found;
                }
                Ok((step, it)) => {
                    step.add_to(&mut row);
                    let miss = step.miss();
                    row.verdict = Some(miss.as_ref().map_or("held".into(), |why| format!("missed: {why}")));
                    found.rows.push(noted(row));
                    match miss {
                        None => (found.best, subject) = (Some((per_s, step)), Some(it)),
                        Some(why) => found.miss = Some((per_s, why)),
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds up to a rate.
    struct Bears(f64);

    impl Subject for Bears {
        fn step(&mut self, per_s: f64, time: Duration) -> Result<Step> {
            let p99_us = if per_s > self.0 { P99_MAX_US + 1 } else { 1_000 };
            let (published, seconds) = ((per_s * time.as_secs_f64()) as u64, time.as_secs_f64());
            Ok(Step { published, deliveries: published * 10, p99_us, seconds, ..Step::default() })
        }
    }

    fn search(bears: f64) -> (Vec<f64>, Option<f64>, Found) {
        let search = Search { first: 100.0, time: Duration::from_secs(1), bisections: 3, tries_max: 99 };
        let found = search.run(&Row::default(), || Ok(Box::new(Bears(bears))));
        let rates = found.rows.iter().map(|row| row.asked("messages_per_s")).collect();
        (rates, found.best.as_ref().map(|(per_s, _)| *per_s), found)
    }

    #[test]
    fn rates_double_until_a_miss_and_the_gap_is_bisected() {
        assert_eq!(search(250.0).0, [100.0, 200.0, 400.0, 283.0, 238.0, 260.0]);
        assert_eq!(search(250.0).1, Some(238.0));
        assert_eq!(search(1e9).1, Some(12_800.0));
    }

    #[test]
    fn a_first_step_that_misses_is_halved_until_one_holds() {
        assert_eq!(search(30.0).0, [100.0, 50.0, 25.0, 35.0, 30.0, 32.0]);
        assert_eq!((search(30.0).1, search(0.5).1), (Some(30.0), None));
    }

    #[test]
    fn every_try_says_whether_it_held() {
        let verdicts: Vec<String> = search(100.0).2.rows.into_iter().filter_map(|row| row.verdict).collect();
        assert_eq!((verdicts[0].as_str(), verdicts[1].as_str()), ("held", "missed: p99 200.0 ms"));
        assert_eq!(verdicts.len(), 5);
    }

    #[test]
    fn a_miss_names_what_was_first_and_the_generator() {
        let held = Step { deliveries: 1, p99_us: P99_MAX_US, ..Step::default() };
        assert_eq!(held.miss(), None);
        let full = Step { p99_us: P99_MAX_US + 100, generator_core_share: 0.99, ..held.clone() };
        assert_eq!(full.miss().unwrap(), "p99 200.1 ms, generator full");
        let cut = Step { cut: 2, lost: 5, fault: Some("slow".into()), ..held };
        assert_eq!(cut.miss().unwrap(), "2 viewers cut: slow");
    }
}
