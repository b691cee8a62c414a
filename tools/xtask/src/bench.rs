//! `bench`: runs the benches and prints their figures. No bench passes or fails by time, and only `micro`
//! does by instructions.
//!
//! Invariants: figures come from release builds. With `--quick` they come from the build of the tests and
//! mean nothing: such a run only tests the benches themselves.
//! Not here: the benches (`benches`, the engine's tests), losses over hours (`soak`).

use crate::micro;
use crate::programs::{self, Purpose};
use crate::run::{cargo, command, root, run, target_dir};
use crate::summary::Missing;
use anyhow::Result;
use clap::ValueEnum;
use std::fs;
use std::path::{PathBuf, absolute};

/// Where chat logs lie beside the workspace; they are not part of it.
const LOGS: &str = "../shared/data/chat";

/// Run benches: bytes of batch layouts, instructions of hot paths, messages/s, CPU and latency of fan-out.
///
/// Rows of grandstand-bench are appended to the file of the day and commit in benches/results, unless --quick
/// is given. Its own choices of viewers, rates and transports are in `grandstand-bench --help`; give them
/// behind `--`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Benches to run; all of them if none is named.
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Run a smoke test of seconds, built as the tests are.
    #[arg(long)]
    quick: bool,
    /// peers: only check that its program compiles.
    #[arg(long)]
    check: bool,
    /// micro: write the counted instructions as the new baseline.
    #[arg(long)]
    update: bool,
    /// Print rows of figures as JSON lines instead of tables.
    #[arg(long)]
    json: bool,
    /// Chat log for layout (JSON lines, plain or gzip); ../shared/data/chat if none is given.
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<PathBuf>,
    /// Choices for grandstand-bench, such as `-- --viewers 1000 --transport ws`.
    #[arg(last = true, value_name = "CHOICE")]
    choices: Vec<String>,
}

/// A bench.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Bench {
    /// Bytes per delivered message, in the layouts that a batch could have.
    Layout,
    /// Messages per second through one shard.
    Engine,
    /// Instructions of the hot paths, against their baseline (needs valgrind).
    Micro,
    /// Cost of the same writes in the kernel and the ciphers alone, of which other figures are a multiple.
    Floor,
    /// One room, many viewers: CPU per frame and delivery, latency, bytes, memory.
    Fanout,
    /// The highest rate that one core holds, and the behaviour at twice that rate.
    Saturation,
    /// Latency against audience with the adaptive tick.
    Tick,
    /// Bytes per idle viewer, room and shard, in the program and in the kernel.
    Memory,
    /// CPU per join, and the latency of earlier viewers while ten thousand join at once.
    Joins,
    /// All clients lose their connections at once and reconnect: time, completeness, and latency of viewers
    /// who stayed.
    Storm,
    /// Rooms without viewers, ten thousand rooms with chat, and small rooms beside a giant.
    Rooms,
    /// 5,000 messages/s into 500 rooms on disk, beside the same in memory; fails if delivery from disk rooms
    /// is slower.
    Durable,
    /// CPU of a flood in a paced room, beside a room with only the shown messages.
    Pacing,
    /// CPU per reaction, beside the bare cost of reading its frame.
    Tallies,
    /// The same load on other servers, as far as they are installed (`-- --install` installs them).
    Peers,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let purpose = if args.quick { Purpose::Smoke } else { Purpose::Measurement };
    let all = Bench::value_variants();
    let wanted = if args.benches.is_empty() { all } else { &args.benches };
    for &bench in wanted {
        let done = match bench {
            Bench::Layout => layout(purpose, &args.logs),
            Bench::Micro => micro::go(args.update),
            Bench::Engine => engine(purpose),
            Bench::Peers if args.check => peers("check", Purpose::Smoke).map(drop),
            bench => measure(purpose, bench, args.json, &args.choices),
        };
        match done {
            // Whoever asked for all gets what there is.
            Err(error) if args.benches.is_empty() && error.is::<Missing>() => eprintln!("SKIPPED: {error:#}"),
            done => done?,
        }
    }
    Ok(())
}

/// The smoke of the benches, for `test`. That of the engine is a test already.
pub(crate) fn smoke() -> Result<()> {
    for &bench in Bench::value_variants() {
        match bench {
            // CI does not build what drives other servers.
            Bench::Layout | Bench::Micro | Bench::Engine | Bench::Peers => {}
            bench => measure(Purpose::Smoke, bench, true, &[])?,
        }
    }
    layout(Purpose::Smoke, &[])
}

/// One bench of grandstand-bench, by its name.
fn measure(purpose: Purpose, bench: Bench, json: bool, choices: &[String]) -> Result<()> {
    let programs = programs::build(purpose)?;
    let name = bench.to_possible_value().expect("no bench is hidden");
    let mut bench = match bench {
        Bench::Peers => command(peers("build", purpose)?),
        _ => command(programs.bench()),
    };
    if name.get_name() != "peers" {
        bench.arg(name.get_name());
    }
    bench.arg(if purpose == Purpose::Smoke { "--quick" } else { "--record" });
    if json {
        bench.arg("--json");
    }
    run(bench.args(choices).env("GRANDSTAND_BIN", programs.node()))
}

/// Builds or checks the program that drives other servers; its path. It is no member of the workspace.
fn peers(task: &str, purpose: Purpose) -> Result<PathBuf> {
    let (home, target) = (root().join("benches/peers"), target_dir().join("peers/build"));
    let release: &[&str] = if purpose == Purpose::Measurement { &["--release"] } else { &[] };
    let mut cargo = cargo([task, "--quiet", "--locked", "--manifest-path"]);
    run(cargo.arg(home.join("Cargo.toml")).arg("--target-dir").arg(&target).args(release))?;
    let built = if release.is_empty() { "debug" } else { "release" };
    Ok(target.join(built).join("grandstand-peers"))
}

fn layout(purpose: Purpose, logs: &[PathBuf]) -> Result<()> {
    let mut logs = logs.iter().map(absolute).collect::<std::io::Result<Vec<_>>>()?;
    if logs.is_empty() {
        logs = shared_logs().ok_or_else(|| Missing {
            what: format!("no chat logs in {LOGS}; give some with --log FILE (`gs synth` writes one)"),
            obtainable: false,
        })?;
    }
    if purpose == Purpose::Measurement {
        let bench = [
            "run",
            "--profile",
            "dist",
            "--quiet",
            "--package",
            "grandstand-benches",
            "--bin",
            "layout",
            "--",
        ];
        return run(cargo(bench).args(logs));
    }
    // The smallest will do.
    logs.sort_by_key(|log| fs::metadata(log).map_or(u64::MAX, |data| data.len()));
    run(command(programs::build(purpose)?.layout()).arg(&logs[0]))
}

fn shared_logs() -> Option<Vec<PathBuf>> {
    let entries = fs::read_dir(root().join(LOGS)).ok()?;
    let mut logs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    logs.retain(|log| [".jsonl", ".jsonl.gz"].iter().any(|end| log.to_string_lossy().ends_with(end)));
    logs.sort();
    (!logs.is_empty()).then_some(logs)
}

/// The engine prints its throughput in one of its tests, so that the code that measures is compiled and run
/// everywhere.
fn engine(purpose: Purpose) -> Result<()> {
    let release: &[&str] = if purpose == Purpose::Measurement { &["--release"] } else { &[] };
    let mut test = cargo(["test", "--quiet", "--package", "grandstand-engine", "--test", "node"]);
    run(test.args(release).args(["throughput_is_printed", "--", "--nocapture"]))
}
