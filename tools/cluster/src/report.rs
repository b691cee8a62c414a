//! The report: a line per trial while it runs, a file with all of them, and at the end each figure beside its
//! limit.
//!
//! Invariant: the file is whole after every trial, and a run that goes on from it counts what it holds.
//! Not here: one trial's limits (`limits`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::faults::Fault;
use crate::faults::limits::zeros;
use crate::trial::Figures;

/// Of the trials of `node-killed`, so many must have had the log's leader elsewhere.
const LEADER_ELSEWHERE: f64 = 0.95;

/// All trials so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) binary: String,
    pub(crate) viewers: usize,
    pub(crate) rate: u32,
    pub(crate) trials: Vec<Figures>,
    #[serde(skip)]
    file: Option<PathBuf>,
}

impl Report {
    /// A report that goes on from its file, if there is one and it is of the same scale.
    pub(crate) fn open(file: Option<&Path>, binary: String, viewers: usize, rate: u32) -> Result<Report> {
        let mut report = Report { binary, viewers, rate, trials: Vec::new(), file: file.map(Path::to_owned) };
        if let Some(text) = file.and_then(|file| fs::read_to_string(file).ok()) {
            let name = file.map(Path::display).context("it was read")?;
            let before: Report = serde_json::from_str(&text)
                .with_context(|| format!("{name} is no report of this program"))?;
            anyhow::ensure!(
                (before.viewers, before.rate) == (viewers, rate),
                "{name} holds trials with {} viewers and {} messages/s: take these, or another file",
                before.viewers,
                before.rate
            );
            report.trials = before.trials;
        }
        Ok(report)
    }

    /// Trials of this fault so far.
    pub(crate) fn count(&self, fault: &Fault) -> usize {
        self.trials.iter().filter(|trial| trial.fault == fault.name).count()
    }

    /// Adds a trial, prints its line and writes the file.
    pub(crate) fn add(&mut self, figures: Figures) -> Result<()> {
        println!("{}", line(&figures));
        self.trials.push(figures);
        let Some(file) = &self.file else { return Ok(()) };
        let next = file.with_extension("next");
        fs::write(&next, serde_json::to_string_pretty(self)?)?;
        fs::rename(&next, file).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Prints the table of these faults; whether all held.
    pub(crate) fn close(&self, faults: &[Fault]) -> bool {
        let mut all_hold = true;
        println!();
        for fault in faults {
            let trials: Vec<&Figures> = self.trials.iter().filter(|t| t.fault == fault.name).collect();
            if trials.is_empty() {
                continue;
            }
            let short = shortcomings(fault, &trials);
            let good = trials.iter().filter(|trial| trial.short.is_empty()).count();
            let word = if short.is_empty() && good == trials.len() { "holds" } else { "FAILS" };
            all_hold &= word == "holds";
            println!("{word:<7}{:<22}{good} of {} trials", fault.name, trials.len());
            for (what, value) in sums(&trials) {
                println!("{:<9}{what:<34}{value}", "");
            }
            println!("{:<9}{:<34}{}", "", "must hold", fault.limits.sentence());
            short.iter().for_each(|short| println!("{:<9}short: {short}", ""));
        }
        all_hold
    }
}

/// What all trials of a kind together lack.
fn shortcomings(fault: &Fault, trials: &[&Figures]) -> Vec<String> {
    let mut short = Vec::new();
    let limits = &fault.limits;
    let mut worst: Vec<u64> = trials.iter().map(|trial| trial.pauses.worst_us / 1_000).collect();
    let p50 = quantile(&mut worst, 0.5);
    if let Some(limit) = limits.pause_p50_ms.filter(|&limit| p50 > limit) {
        short.push(format!("pause p50 {p50} ms, at most {limit} ms"));
    }
    let p99 = quantile(&mut by_shard(trials), 0.99);
    if let Some(limit) = limits.pause_p99_ms.filter(|&limit| p99 > limit) {
        short.push(format!("pause of a shard p99 {p99} ms, at most {limit} ms"));
    }
    let elsewhere = trials.iter().filter(|trial| !trial.had_leader_beside_owner).count();
    if limits.unless_leader_beside && (elsewhere as f64) < LEADER_ELSEWHERE * trials.len() as f64 {
        short.push(format!("the log's leader was elsewhere in {elsewhere} of {} trials", trials.len()));
    }
    short
}

fn by_shard(trials: &[&Figures]) -> Vec<u64> {
    trials.iter().flat_map(|trial| &trial.pauses.by_room_us).map(|us| us / 1_000).collect()
}

fn quantile(of: &mut [u64], share: f64) -> u64 {
    of.sort_unstable();
    let at = (of.len() as f64 * share) as usize;
    of.get(at.min(of.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// The figures of a kind, in words.
fn sums(trials: &[&Figures]) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |what: &str, of: &dyn Fn(&Figures) -> u64| {
        let mut all: Vec<u64> = trials.iter().map(|trial| of(trial)).collect();
        let (p50, max) = (quantile(&mut all, 0.5), all.last().copied().unwrap_or(0));
        rows.push((what.to_owned(), format!("p50 {p50}, max {max}")));
    };
    row("pause of the worst viewer, ms", &|trial| trial.pauses.worst_us / 1_000);
    row("pause of half of the viewers, ms", &|trial| trial.pauses.median_us / 1_000);
    if trials.iter().any(|trial| trial.owned_ms.is_some()) {
        row("others own the shards after, ms", &|trial| trial.owned_ms.unwrap_or(0));
    }
    row("answers p99, ms", &|trial| trial.acks.p99_us / 1_000);
    row("slowest answer, ms", &|trial| trial.acks.max_us / 1_000);
    row("owner changes", &|trial| trial.owner_changes);
    let mut shards = by_shard(trials);
    rows.push(("pause of a shard, ms".to_owned(), {
        let (p50, p99) = (quantile(&mut shards, 0.5), quantile(&mut shards, 0.99));
        format!("p50 {p50}, p99 {p99}")
    }));
    let mut more: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    trials.iter().flat_map(|trial| &trial.more).for_each(|(w, n)| more.entry(w).or_default().push(*n));
    for (what, mut all) in more {
        let p50 = quantile(&mut all, 0.5);
        rows.push((what.to_owned(), format!("p50 {p50}, max {}", all.last().copied().unwrap_or(0))));
    }
    let total = |of: &dyn Fn(&Figures) -> u64| trials.iter().map(|trial| of(trial)).sum::<u64>();
    let elsewhere = trials.iter().filter(|trial| !trial.had_leader_beside_owner).count();
    rows.push(("log's leader was elsewhere".to_owned(), format!("{elsewhere} of {}", trials.len())));
    rows.push((
        "published, acknowledged".to_owned(),
        format!("{}, {}", total(&|trial| trial.published), total(&|trial| trial.acknowledged)),
    ));
    rows.push((
        "put off, refused, uncertain".to_owned(),
        format!(
            "{}, {}, {}",
            total(&|trial| trial.put_off + trial.put_off_without_time),
            total(&|trial| trial.refused),
            total(&|trial| trial.uncertain)
        ),
    ));
    for (n, (what, _)) in zeros(&Figures::default()).into_iter().enumerate() {
        let sum = total(&|trial| zeros(trial)[n].1);
        if sum > 0 || n < 6 {
            rows.push((what.to_owned(), format!("{sum}, must be 0")));
        }
    }
    rows
}

/// The line of a trial.
fn line(figures: &Figures) -> String {
    let word = if figures.short.is_empty() { "holds" } else { "FAILS" };
    let mut line = format!(
        "{word:<7}{:<16}{:<29} pause {:>5} ms  median {:>4} ms  answers p99 {:>5} max {:>5} ms  changes {:>2}  {:>4.0} s",
        figures.fault,
        figures.what,
        figures.pauses.worst_us / 1_000,
        figures.pauses.median_us / 1_000,
        figures.acks.p99_us / 1_000,
        figures.acks.max_us / 1_000,
        figures.owner_changes,
        figures.seconds,
    );
    for short in &figures.short {
        line += &format!("\n         short: {short}");
    }
    line
}
