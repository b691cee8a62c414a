//! `sim`: runs simulated worlds by their seeds, and proves that they find planted faults.
//!
//! Why the planted faults: a simulation that finds no fault may be right, or unable to find one. Each planted
//! fault is a feature of the engine or the edge that no other build has; a build with it must fail within
//! [`PLANTED_SEEDS`] seeds, and a cluster within [`CLUSTER_SEEDS`].
//! Invariant: with the same seeds and steps, two runs of one commit find the same.
//! Not here: the worlds (`tools/sim`).

use crate::run::{cargo, run, target_dir};
use anyhow::{Context, Result, bail, ensure};
use grandstand_harness::numbers::integer;
use serde_json::{Map, Value};
use std::process::{Command, Stdio};

/// A planted fault is found within so many seeds.
const PLANTED_SEEDS: u64 = 200;

/// Features with a fault, and the promises that it may break.
const PLANTED: [(&str, &[&str]); 2] = [
    // Acknowledged before the sync: gone after a power cut.
    ("planted-early-answer", &["lost", "differs"]),
    // A frame is left out: the client sees offsets missing.
    ("planted-partial-write", &["fault", "hole"]),
];

/// Faults of a cluster (`gs-sim --plant`), and the promises that they may break, within [`CLUSTER_SEEDS`]
/// seeds. Those of the term protocol alone are found in the tests of `engine/cluster`.
const PLANTED_IN_CLUSTERS: [(&str, &[&str]); 6] = [
    ("ack-at-publish", &["acknowledged"]),
    ("epoch-unchanged", &["acknowledged", "hole", "differs"]),
    ("nonces-not-restored", &["twice"]),
    ("wrong-last-is-kept", &["owners", "acknowledged"]),
    ("claim-without-majority", &["unpromised", "owners"]),
    ("adopted-dropped", &["unsaid", "differs"]),
];

/// See [`PLANTED_IN_CLUSTERS`].
const CLUSTER_SEEDS: u64 = 100;

/// Steps of a story in a cluster.
const CLUSTER_STEPS: u64 = 120;

/// Simulate nodes, clients, networks and disks in virtual time, each world from a seed, and check every
/// promise.
///
/// 2,000 worlds of 500 steps: publications, repetitions, resumes, stalls, cuts, full queues, full and slow
/// disks, clock steps, kills, power cuts, drains. Fails if in any world anything acknowledged was lost,
/// anything stood twice, two viewers saw different things, a hole had no name, or a request no answer. What
/// went wrong is shrunk to a short story, and is played again exactly by its seed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 2_000,
        value_parser = integer(1_u64, 1_000_000_000, "without a seed nothing is played"))]
    seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    first: u64,
    /// Steps of each world's story.
    #[arg(long, value_name = "N", default_value_t = 500,
        value_parser = integer(1_u64, 1_000_000, "a story without steps proves nothing"))]
    steps: u64,
    /// Play this seed alone, and print its trace.
    #[arg(long, value_name = "N", conflicts_with = "planted")]
    seed: Option<u64>,
    /// Build with each planted fault instead, which must be found within 200 seeds.
    #[arg(long)]
    planted: bool,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let figures = if args.planted { planted(args.steps)? } else { clean(args)? };
    if args.json {
        println!("{}", Value::Object(figures.clone()));
    } else {
        figures.iter().for_each(|(name, value)| println!("{name:<44}{value}"));
    }
    match figures["ok"].as_bool() {
        Some(true) => Ok(()),
        _ if args.planted => bail!("a planted fault was not found within {PLANTED_SEEDS} seeds"),
        _ => bail!("a promise was not kept: see above"),
    }
}

/// For `test`: some hundred seeds, and the planted faults.
pub(crate) fn smoke() -> Result<()> {
    let args = Args { seeds: 500, first: 1, steps: 500, seed: None, planted: false, json: false };
    go(&args)?;
    go(&Args { planted: true, ..args })
}

fn clean(args: &Args) -> Result<Map<String, Value>> {
    build(None)?;
    let mut numbers = vec![("--steps", args.steps)];
    match args.seed {
        Some(seed) => numbers.push(("--seed", seed)),
        None => numbers.extend([("--seeds", args.seeds), ("--first", args.first)]),
    }
    let (mut figures, ok) = simulate(&[], &numbers)?;
    figures.insert("ok".to_owned(), ok.into());
    Ok(figures)
}

/// Each fault alone: how many seeds it took, and what was found.
fn planted(steps: u64) -> Result<Map<String, Value>> {
    let (mut figures, mut all_found) = (Map::new(), true);
    for (fault, kinds) in PLANTED {
        build(Some(fault))?;
        let numbers = [("--steps", steps), ("--seeds", PLANTED_SEEDS), ("--threads", 1)];
        all_found &= is_found(&mut figures, fault, kinds, &simulate(&[], &numbers)?);
    }
    build(Some("planted"))?;
    for (fault, kinds) in PLANTED_IN_CLUSTERS {
        let numbers =
            [("--nodes", 3), ("--steps", CLUSTER_STEPS), ("--seeds", CLUSTER_SEEDS), ("--threads", 1)];
        all_found &= is_found(&mut figures, fault, kinds, &simulate(&["--plant", fault], &numbers)?);
    }
    // The program that lies about is one without a fault again.
    build(None)?;
    figures.insert("ok".to_owned(), all_found.into());
    Ok(figures)
}

/// Whether a planted fault was found as one of these kinds.
fn is_found(
    figures: &mut Map<String, Value>,
    fault: &str,
    kinds: &[&str],
    (found, is_clean): &(Map<String, Value>, bool),
) -> bool {
    let kind = found["found"][0]["kind"].as_str().unwrap_or_default().to_owned();
    let is_found = !is_clean && kinds.contains(&&*kind);
    let mut put = |what: &str, value: Value| drop(figures.insert(format!("{fault}.{what}"), value));
    put("found", is_found.into());
    put("seeds", found["seeds"].clone());
    put("seed", found["found"][0]["seed"].clone());
    put("kind", kind.into());
    is_found
}

fn build(fault: Option<&str>) -> Result<()> {
    let mut build = cargo(["build", "--release", "--quiet", "--package", "grandstand-sim"]);
    run(build.args(fault.map(|fault| format!("--features={fault}"))))
}

/// What `gs-sim` reports, and whether it found nothing.
fn simulate(words: &[&str], numbers: &[(&str, u64)]) -> Result<(Map<String, Value>, bool)> {
    let mut sim = Command::new(target_dir().join("release/gs-sim"));
    sim.arg("--json").args(words).stderr(Stdio::inherit());
    for (name, n) in numbers {
        sim.arg(name).arg(n.to_string());
    }
    let done = sim.output().context("gs-sim does not run")?;
    let said = String::from_utf8(done.stdout).context("gs-sim speaks UTF-8")?;
    let Ok(Value::Object(figures)) = serde_json::from_str(said.trim()) else {
        bail!("gs-sim reported nothing ({})", done.status);
    };
    let is_clean = figures["violations"].as_u64() == Some(0);
    ensure!(is_clean == done.status.success(), "gs-sim reports one thing and ends with {}", done.status);
    Ok((figures, is_clean))
}
