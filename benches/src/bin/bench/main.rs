//! `grandstand-bench`: measures the cost of Grandstand, and compares it with the lowest possible cost.
//!
//! Why ratios: machines are noisy and differ. A bench that has a yardstick (the floor, a smaller audience)
//! measures it in the same run.
//! Invariants: figures come from a release build, with the node and the generator on different cores;
//! `--quick` is a smoke test of seconds, which fails on faults and never on times.
//! Not here: building (`cargo xtask bench`), the shared parts of benches (the library), other servers
//! (benches/peers).

#![forbid(unsafe_code)]

mod durable;
mod fanout;
mod floor;
mod joins;
mod memory;
mod pacing;
mod rooms;
mod saturation;
mod storm;
mod tallies;
mod tick;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use grandstand_benches::plan::{self, Plan, report};
use grandstand_benches::record::{self, Rows};
use grandstand_benches::viewers;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure the cost of Grandstand.
#[derive(Parser)]
#[command(name = "grandstand-bench", version)]
struct Cli {
    /// Which bench.
    #[arg(value_enum, required_unless_present = "show")]
    bench: Option<Bench>,
    /// Print a file of benches/results as tables, and run nothing.
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// Cost of the same writes in the kernel and the ciphers alone.
    Floor,
    /// One room: CPU per frame and delivery, latency, bytes, memory.
    Fanout,
    /// The highest rate that one core holds, and the behaviour at twice that rate.
    Saturation,
    /// Latency against audience with the adaptive tick.
    Tick,
    /// Bytes per idle viewer, room and shard, in the program and in the kernel.
    Memory,
    /// CPU per join, and the latency of earlier viewers while ten thousand join at once.
    Joins,
    /// All clients are cut at once and come back: how soon, how completely, and what viewers who stayed
    /// notice.
    Storm,
    /// Rooms without viewers, ten thousand rooms with chat, and small rooms beside a giant.
    Rooms,
    /// Rooms on disk beside rooms in memory: answers, commits, CPU and bytes per message, latency of both.
    Durable,
    /// CPU of a flood in a paced room, beside a room with only the shown messages.
    Pacing,
    /// CPU per reaction, beside the bare cost of reading its frame.
    Tallies,
}

impl Bench {
    fn run(self, plan: &Plan) -> Result<Rows> {
        match self {
            Bench::Floor => floor::run(plan),
            Bench::Fanout => fanout::run(plan),
            Bench::Saturation => saturation::run(plan),
            Bench::Tick => tick::run(plan),
            Bench::Memory => memory::run(plan),
            Bench::Joins => joins::run(plan),
            Bench::Storm => storm::run(plan),
            Bench::Rooms => rooms::run(plan),
            Bench::Durable => durable::run(plan),
            Bench::Pacing => pacing::run(plan),
            Bench::Tallies => tallies::run(plan),
        }
    }
}

fn main() -> ExitCode {
    plan::main(run)
}

fn run() -> Result<()> {
    // As the process of the viewers it gets its plan on standard input.
    if std::env::args().nth(1).is_some_and(|word| word == viewers::COMMAND) {
        return viewers::serve(|_| None);
    }
    let cli = Cli::parse();
    if let Some(file) = cli.show {
        plan::print(&record::tables(&file)?)?;
    }
    let Some(bench) = cli.bench else { return Ok(()) };
    let name = bench.to_possible_value().expect("no bench is hidden");
    report(name.get_name(), &cli.plan, &bench.run(&cli.plan)?)
}
