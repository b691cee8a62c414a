//! `grandstand-bench`: what Grandstand costs, beside what it could cost at best.
//!
//! Why ratios: machines are noisy and differ; a bench that has a yardstick (the floor, a peer, a smaller
//! crowd) runs it in the same run, beside it.
//! Invariants: figures come from a release build, with the node and the crowd on different cores; `--quick`
//! is a smoke of seconds that fails when something is broken, and never by time.
//! Not here: building (`cargo xtask bench`), what benches are made of (the library).

#![deny(unsafe_code)] // not `forbid`: io_uring's entries need it, in one file

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
mod trial;
mod uring;

use anyhow::Result;
use clap::{Parser, Subcommand};
use grandstand_benches::crowd;
use grandstand_benches::plan::{Plan, report};
use std::process::ExitCode;

/// What Grandstand costs.
#[derive(Parser)]
#[command(name = "grandstand-bench", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// What the kernel and the ciphers take for the same writes.
    Floor(Plan),
    /// One room: CPU per frame and delivery, latency, bytes, memory.
    Fanout(Plan),
    /// How far one core goes, and what happens beyond.
    Saturation(Plan),
    /// Latency against audience with the adaptive tick.
    Tick(Plan),
    /// Bytes per idle viewer, room and shard, in the program and in the kernel.
    Memory(Plan),
    /// CPU per join, and the latency of those who are there while ten thousand come at once.
    Joins(Plan),
    /// Everybody is cut at once and comes back: how soon, how completely, and who of those who stayed
    /// suffers.
    Storm(Plan),
    /// Rooms that nobody joined, ten thousand that talk, small ones beside a giant.
    Rooms(Plan),
    /// Rooms on disk beside rooms in memory: acknowledgements, commits, CPU and bytes per message, latency of
    /// both.
    Durable(Plan),
    /// A flood into a room that is paced, beside what it shows of it.
    Pacing(Plan),
    /// CPU per reaction, beside the bare cost of reading its frame.
    Tallies(Plan),
    /// Viewers of another bench, told by it what to do.
    #[command(hide = true)]
    Crowd,
}

fn main() -> ExitCode {
    match run(&Cli::parse().bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Floor(plan) => report("floor", plan, &floor::run(plan)?),
        Bench::Fanout(plan) => report("fanout", plan, &fanout::run(plan)?),
        Bench::Saturation(plan) => report("saturation", plan, &saturation::run(plan)?),
        Bench::Tick(plan) => report("tick", plan, &tick::run(plan)?),
        Bench::Memory(plan) => report("memory", plan, &memory::run(plan)?),
        Bench::Joins(plan) => report("joins", plan, &joins::run(plan)?),
        Bench::Storm(plan) => report("storm", plan, &storm::run(plan)?),
        Bench::Rooms(plan) => report("rooms", plan, &rooms::run(plan)?),
        Bench::Durable(plan) => report("durable", plan, &durable::run(plan)?),
        Bench::Pacing(plan) => report("pacing", plan, &pacing::run(plan)?),
        Bench::Tallies(plan) => report("tallies", plan, &tallies::run(plan)?),
        Bench::Crowd => crowd::serve(|_| None),
    }
}
