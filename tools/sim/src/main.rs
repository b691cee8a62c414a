//! `gs-sim`: worlds by their seeds, from the command line.
//!
//! Not here: what a world is (the library); the planted bugs and what they prove (`cargo xtask sim`).
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use grandstand_harness::numbers::{SEED_WHY, integer};
use grandstand_sim::fleet::{self, Kind, Summary};
use grandstand_sim::plan::Plan;
use grandstand_sim::shrink::shrink;
use grandstand_sim::story::story;
use serde_json::{Map, Value, json};

/// Run the real cores of node and clients in simulated worlds, each from a seed, and check every promise.
///
/// A world in which a promise was broken is shrunk to a short story. Exits with 1 if there was one.
#[derive(Parser)]
#[command(name = "gs-sim", version)]
struct Args {
    /// Play this seed only, and print its trace.
    #[arg(long, value_name = "N", value_parser = integer(0, u64::MAX, SEED_WHY))]
    seed: Option<u64>,
    /// Number of seeds to play.
    #[arg(long, value_name = "N", default_value_t = 2_000,
        value_parser = integer(1_u64, 1_000_000_000, "without a seed nothing is played, and more take years"))]
    seeds: u64,
    /// First seed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = integer(0, u64::MAX, SEED_WHY))]
    first: u64,
    /// Number of steps of each story.
    #[arg(long, value_name = "N", default_value_t = 500,
        value_parser = integer(1_usize, 1_000_000, "a story without steps proves nothing, and a longer one is no story"))]
    steps: usize,
    /// Worlds of one node, or of three nodes that are one cluster.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = integer(1_usize, 3,
        "1: a node alone, or a few that know nothing of each other; 3: a cluster"))]
    nodes: usize,
    /// Number of threads; 0: one for each core.
    #[arg(long, value_name = "N", default_value_t = 0,
        value_parser = integer(0_usize, 1_024, "0 is one for each core; more threads than cores play no faster"))]
    threads: usize,
    /// Stop after this number of seeds with a broken promise.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = integer(1_usize, 1_000_000, "the first one is always told"))]
    found_max: usize,
    /// Do not shrink the stories of broken promises.
    #[arg(long)]
    no_shrink: bool,
    /// Put this fault into every node of a cluster: the worlds must find it.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "FAULT", value_parser = grandstand_sim::planted::choose)]
    plant: Option<()>,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn kind(&self) -> Kind {
        if self.nodes == 3 { Plan::cluster } else { Plan::new }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // What a world panics with is in its verdict.
    if args.seed.is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let begun = Instant::now();
    let (first, count) = args.seed.map_or((args.first, args.seeds), |seed| (seed, 1));
    let threads = match args.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let summary = fleet::run(args.kind(), (first, count), args.steps, threads, args.found_max);
    let elapsed_s = begun.elapsed().as_secs_f64();
    if let Some(seed) = args.seed {
        let again = fleet::play_seed(args.kind(), seed, args.steps);
        eprintln!(
            "seed {seed}: trace {:016x}, {} events, {} s",
            again.trace,
            again.events,
            again.us / 1_000_000
        );
    }
    for found in &summary.found {
        tell(&args, found);
    }
    report(&args, &summary, elapsed_s);
    if summary.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A world that went wrong, and the shortest story of it.
fn tell(args: &Args, found: &fleet::Found) {
    let Some((violation, steps)) = &found.outcome.violation else { return };
    eprintln!("seed {} went wrong after {steps} steps: {}: {}", found.seed, violation.kind, violation.detail);
    let nodes = if args.nodes == 3 { " --nodes 3" } else { "" };
    eprintln!("  again: gs-sim{nodes} --seed {} --steps {}", found.seed, args.steps);
    if args.no_shrink {
        return;
    }
    let plan = args.kind()(found.seed);
    let long = story(&plan, args.steps);
    let short = shrink(&plan, &long[..(*steps).min(long.len())], violation.kind);
    eprintln!("  in a world of {plan:?}");
    eprintln!("  shrunk to {} steps:", short.len());
    for step in &short {
        eprintln!("    +{:>9} us  {:?}", step.after_us, step.what);
    }
    if let Some((violation, _)) = fleet::play_caught(&plan, &short).violation {
        eprintln!("  {}: {}", violation.kind, violation.detail);
    }
}

fn report(args: &Args, summary: &Summary, elapsed_s: f64) {
    let mut figures = Map::new();
    let mut put = |name: &str, value: Value| drop(figures.insert(name.to_owned(), value));
    put("seeds", summary.seeds.into());
    put("steps", summary.steps.into());
    put("events", summary.events.into());
    put("violations", summary.found.len().into());
    put("virtual_s", summary.virtual_s.into());
    put("processes", summary.lives.into());
    for (name, count) in summary.counts.list() {
        put(name, count.into());
    }
    put("elapsed_s", json!((elapsed_s * 1000.0).round() / 1000.0));
    put("seeds_per_minute", json!((summary.seeds as f64 / elapsed_s * 60.0).round()));
    let kinds: Vec<Value> = summary
        .found
        .iter()
        .filter_map(|found| {
            let (violation, at) = found.outcome.violation.as_ref()?;
            Some(json!({"seed": found.seed, "kind": violation.kind, "step": at, "detail": violation.detail}))
        })
        .collect();
    put("found", kinds.into());
    if args.json {
        println!("{}", Value::Object(figures));
    } else {
        figures.iter().for_each(|(name, value)| println!("{name:<28}{value}"));
    }
}
