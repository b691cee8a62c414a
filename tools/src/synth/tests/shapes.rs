//! Tests of the generator against the measured shapes of real chats, given as ranges.
//!
//! Why: a generator that drifts makes every figure of the demo and the tests meaningless, and nobody notices.
//! Not here: the shapes' source: a survey of 17 real logs; the five that lie beside the checkout are printed
//! for comparison.

use std::collections::HashMap;
use std::path::Path;

use clap::ValueEnum;

use super::super::generator::{Chat, Settings, messages_per_s, reactions_per_s};
use super::super::texts::ECHO_MS;
use super::super::words::{EMOTES, Language};
use grandstand_harness::chat_log::{Log, Message};

/// What was measured of one log.
#[derive(Debug)]
struct Shape {
    messages: usize,
    rate_per_s: f64,
    /// Variance over mean of one-second counts.
    dispersion: f64,
    /// The busiest ten seconds, as a multiple of the mean.
    peak10: f64,
    text_bytes: [usize; 3],
    name_bytes: [usize; 2],
    once: f64,
    top1: f64,
    repeats: f64,
    emotes_only: f64,
}

fn measure(rows: &[Message]) -> Shape {
    let counts = per_second(rows);
    let mean = rows.len() as f64 / counts.len() as f64;
    let variance = counts.iter().map(|&c| (c - mean).powi(2)).sum::<f64>() / counts.len() as f64;
    let peak10 = counts.windows(10).map(|w| w.iter().sum::<f64>()).fold(0.0, f64::max) / 10.0 / mean;
    let mut by_author: HashMap<&str, usize> = HashMap::new();
    rows.iter().for_each(|row| *by_author.entry(&*row.author).or_default() += 1);
    let mut writes: Vec<usize> = by_author.into_values().collect();
    writes.sort_unstable();
    let top = &writes[writes.len() - writes.len().div_ceil(100)..];
    let part = |count: usize| count as f64 / rows.len() as f64;
    Shape {
        messages: rows.len(),
        rate_per_s: mean,
        dispersion: variance / mean,
        peak10,
        text_bytes: quantiles(rows.iter().map(|r| r.text.len()), [0.5, 0.95, 0.99]),
        name_bytes: quantiles(rows.iter().map(|r| r.author.len()), [0.5, 0.95]),
        once: writes.iter().filter(|w| **w == 1).count() as f64 / writes.len() as f64,
        top1: part(top.iter().sum()),
        repeats: part(repeats(rows)),
        emotes_only: part(
            rows.iter().filter(|r| r.text.split(' ').all(|word| EMOTES.contains(&word))).count(),
        ),
    }
}

fn per_second(rows: &[Message]) -> Vec<f64> {
    let first_s = rows[0].t_ms / 1000;
    let mut counts = vec![0.0; (rows[rows.len() - 1].t_ms / 1000 - first_s + 1) as usize];
    rows.iter().for_each(|row| counts[(row.t_ms / 1000 - first_s) as usize] += 1.0);
    counts
}

fn repeats(rows: &[Message]) -> usize {
    let mut said_ms: HashMap<&str, u64> = HashMap::new();
    rows.iter()
        .filter(|row| said_ms.insert(&*row.text, row.t_ms).is_some_and(|ms| row.t_ms - ms <= ECHO_MS))
        .count()
}

fn quantiles<const N: usize>(values: impl Iterator<Item = usize>, at: [f64; N]) -> [usize; N] {
    let mut values: Vec<usize> = values.collect();
    values.sort_unstable();
    at.map(|q| values[(q * values.len() as f64) as usize])
}

fn chat(settings: &Settings, minutes: u64) -> Vec<Message> {
    Chat::new(settings).take_while(|line| line.t_ms < minutes * 60_000).collect()
}

/// Everything that does not depend on how much is said.
fn assert_shape(shape: &Shape, what: &str) {
    let held = |name: &str, value: f64, range: std::ops::RangeInclusive<f64>| {
        assert!(range.contains(&value), "{what}: {name} {value} is not in {range:?}\n{shape:#?}");
    };
    held("variance/mean", shape.dispersion, 1.4..=6.7);
    held("text p50", shape.text_bytes[0] as f64, 9.0..=34.0);
    held("text p95", shape.text_bytes[1] as f64, 39.0..=182.0);
    held("text p99", shape.text_bytes[2] as f64, 82.0..=361.0);
    held("name p50", shape.name_bytes[0] as f64, 9.0..=11.0);
    held("name p95", shape.name_bytes[1] as f64, 16.0..=18.0);
    held("who write once", shape.once, 0.25..=0.62);
    held("by the top 1 %", shape.top1, 0.09..=0.23);
    held("repeats", shape.repeats, 0.10..=0.38);
    held("emotes only", shape.emotes_only, 0.02..=0.25);
}

#[test]
fn crowds_of_every_size_have_the_measured_shapes() {
    for (viewers, minutes) in [(6000, 90), (20_000, 60), (100_000, 40)] {
        for seed in 1..=4 {
            let settings = Settings { seed, viewers, ..Settings::default() };
            let shape = measure(&chat(&settings, minutes));
            println!("{viewers} viewers, seed {seed}: {shape:?}");
            assert_shape(&shape, &format!("{viewers} viewers, seed {seed}"));
            let asked = messages_per_s(viewers);
            assert!((shape.rate_per_s / asked - 1.0).abs() < 0.25, "{asked}/s asked for: {shape:?}");
        }
    }
}

#[test]
fn every_language_has_the_measured_shapes() {
    for &language in Language::value_variants() {
        let settings = Settings { viewers: 30_000, languages: vec![language], ..Settings::default() };
        let shape = measure(&chat(&settings, 45));
        println!("{language:?}: {shape:?}");
        assert_shape(&shape, &format!("{language:?}"));
    }
}

#[test]
fn bursts_tower_over_background_and_can_be_had_without() {
    for seed in 1..=4 {
        let with = Settings { seed, viewers: 100_000, ..Settings::default() };
        let without = Settings { bursts_per_hour: 0.0, ..with.clone() };
        let (with, without) = (measure(&chat(&with, 60)), measure(&chat(&without, 60)));
        assert!((3.0..10.0).contains(&with.peak10), "seed {seed}: {with:?}");
        assert!(without.peak10 < 3.0 && without.peak10 < with.peak10, "seed {seed}: {without:?}");
        assert!(without.dispersion > 1.4, "seed {seed}: {without:?}");
    }
}

#[test]
fn audiences_write_and_react_as_measured() {
    assert!((5.0..13.0).contains(&messages_per_s(100_000)));
    assert!((0.3..1.01).contains(&messages_per_s(1000)) && (0.3..1.01).contains(&messages_per_s(5000)));
    assert!((0.02..0.07).contains(&messages_per_s(50)));
    assert!((10.0..100.0).contains(&reactions_per_s(10_000, 1.0)));
    assert!((100.0..1000.0).contains(&reactions_per_s(10_000, 10.0)));
}

#[test]
fn the_measure_itself_sees_what_is_off() {
    let even: Vec<Message> = chat(&Settings::default(), 30)
        .into_iter()
        .enumerate()
        .map(|(at, line)| Message { t_ms: at as u64 * 500, ..line })
        .collect();
    assert!(measure(&even).dispersion < 0.1, "a metronome");
    let parrot: Vec<Message> =
        even.iter().map(|line| Message { text: "again".into(), ..line.clone() }).collect();
    assert!(measure(&parrot).repeats > 0.99, "a parrot");
    let alone: Vec<Message> =
        even.iter().map(|line| Message { author: "somebody".into(), ..line.clone() }).collect();
    assert!(measure(&alone).top1 > 0.99 && measure(&alone).once < 0.01, "one person");
}

/// Real logs beside the checkout, for comparison; printed, since they are real whatever the ranges say.
#[test]
fn real_logs_side_by_side() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/chat");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("no real logs in ../shared/data/chat: nothing to compare with");
        return;
    };
    for path in files.filter_map(|entry| Some(entry.ok()?.path())) {
        let log = Log::open(&path).unwrap();
        let shape = measure(&log.lines);
        println!("{}: {shape:?}", path.file_name().unwrap_or_default().display());
        assert!(shape.messages > 0 && shape.rate_per_s > 0.0);
    }
}
