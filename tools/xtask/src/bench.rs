//! `bench`: what things cost, printed for people to compare; nothing here passes or fails by time, and only `micro` by
//! instructions.
//!
//! Invariants: figures come from release builds; with `--quick` they come from what the tests were built with and mean
//! nothing, since only the benches themselves are on trial then.
//! Not here: the benches (`benches`, the engine's tests, `gs load`), whether anything is lost over hours (`soak`).

use crate::ledger::Missing;
use crate::load::Load;
use crate::micro;
use crate::node::Node;
use crate::programs::{self, Purpose};
use crate::run::{cargo, command, root, run, target_dir};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::{PathBuf, absolute};
use std::time::Duration;

/// Where chat logs lie beside the workspace; they are not part of it.
const LOGS: &str = "../shared/data/chat";

/// Print what things cost: bytes of batch layouts, instructions of hot paths, messages/s, CPU and latency of fan-out.
///
/// fanout prints one line of JSON per run, with the names of `gs load --json` and `bench`, `transport`, `rate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Benches to run; all of them if none is named.
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// A smoke of seconds: small, and built as the tests are.
    #[arg(long)]
    quick: bool,
    /// micro: take what is counted as the new baseline.
    #[arg(long)]
    update: bool,
    /// Chat log for layout (JSON lines, plain or gzip); ../shared/data/chat if none is given.
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<PathBuf>,
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
    /// A whole node and `gs load`, at a few sizes, over each transport.
    Fanout,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let purpose = if args.quick { Purpose::Smoke } else { Purpose::Measurement };
    let all = [Bench::Layout, Bench::Micro, Bench::Engine, Bench::Fanout];
    let wanted = if args.benches.is_empty() { all.as_slice() } else { &args.benches };
    for bench in wanted {
        let done = match bench {
            Bench::Layout => layout(purpose, &args.logs),
            Bench::Micro => micro::go(args.update),
            Bench::Engine => engine(purpose),
            Bench::Fanout => fanout(purpose),
        };
        match done {
            // Whoever asked for all gets what there is.
            Err(error) if args.benches.is_empty() && error.is::<Missing>() => eprintln!("SKIPPED: {error:#}"),
            done => done?,
        }
    }
    Ok(())
}

/// The smoke of the layouts, for `test`. Those of the engine and of fan-out are tests and a soak already.
pub(crate) fn smoke() -> Result<()> {
    layout(Purpose::Smoke, &[])
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
        let bench =
            ["run", "--release", "--quiet", "--package", "grandstand-benches", "--bin", "layout", "--"];
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

/// The engine prints its throughput in one of its tests, so that the code that measures is compiled and run everywhere.
fn engine(purpose: Purpose) -> Result<()> {
    let release: &[&str] = if purpose == Purpose::Measurement { &["--release"] } else { &[] };
    let mut test = cargo(["test", "--quiet", "--package", "grandstand-engine", "--test", "node"]);
    run(test.args(release).args(["throughput_is_printed", "--", "--nocapture"]))
}

fn fanout(purpose: Purpose) -> Result<()> {
    let (sizes, hold): (&[u64], _) = match purpose {
        Purpose::Smoke => (&[20], Duration::from_secs(1)),
        Purpose::Measurement => (&[100, 1000, 5000], Duration::from_secs(10)),
    };
    let programs = programs::build(purpose)?;
    for transport in ["ws", "wss", "quic"] {
        for viewers in sizes {
            // A node for each run: its memory is that of this audience.
            let node = Node::start(&programs.node(), &[], target_dir().join("bench/node.txt"))?;
            let url = node.url(&format!("{transport}://"))?;
            let args = [
                ("--viewers", viewers.to_string()),
                ("--publishers", "10".into()),
                ("--rate", RATE.to_string()),
                ("--arrivals", "even".into()),
                ("--pid", node.pid().to_string()),
            ];
            let mut figures = Load::start(&programs.gs(), &[url], hold, &args)?.figures()?;
            let names = figures.as_object_mut().context("figures are an object")?;
            names.insert("bench".into(), json!("fanout"));
            names.insert("transport".into(), json!(transport));
            names.insert("rate".into(), json!(RATE));
            println!("{figures}");
            complain(&figures)?;
        }
    }
    Ok(())
}

/// Messages per second: three to a batch at the default tick, about what a busy room speaks.
const RATE: u64 = 30;

/// A figure of a run that lost something means nothing.
fn complain(figures: &Value) -> Result<()> {
    if figures["ok"] == true {
        return Ok(());
    }
    bail!("the load found: {}", figures["faults"])
}
