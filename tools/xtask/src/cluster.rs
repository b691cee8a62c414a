//! `cluster`: builds the node and the program of faults, and lets it treat a real cluster badly.
//!
//! Why a step of its own: it needs root and network namespaces, and minutes.
//! Invariant: as a step of `test` and `ci`, it is named in the summary with what the machine lacks where it
//! cannot run, and never counted as passed.
//! Not here: the faults and their limits (`tools/cluster`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::programs::{self, Purpose};
use crate::run::{cargo, command, run, run_lines, target_dir};
use crate::summary::Missing;
use grandstand_harness::nats;
use grandstand_harness::numbers::integer;

/// The smoke takes a minute; on a busy machine each wait in it may take longer.
const SMOKE_MAX: Duration = Duration::from_secs(900);

/// The exit code of the program on a machine that lacks something.
const LACKING: i32 = 3;

/// Three real nodes and NATS servers in network namespaces, under load, and faults by kind: kills, pauses,
/// partitions, moves, restarts.
///
/// Needs root. A line a trial, at the end each figure beside its limit; fails if one falls short.
/// `cargo xtask cluster --list` names the faults, `cargo xtask cluster owner-killed --times 20` tries one,
/// and `--all --json FILE` is the full run of some hours, which goes on from FILE when it is started again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Faults to try, by the beginnings of their names.
    faults: Vec<String>,
    /// List the faults, how often a full run does each, and what must hold.
    #[arg(long)]
    list: bool,
    /// All faults, each as often as in a full run: hours.
    #[arg(long, conflicts_with = "faults")]
    all: bool,
    /// The quickest faults, once each, as in CI: a minute.
    #[arg(long, conflicts_with_all = ["faults", "all"])]
    smoke: bool,
    /// Trials of each fault; with --all, how often a full run does it.
    #[arg(long, value_name = "N",
        value_parser = integer(1_u64, 100_000, "a fault that is not tried shows nothing"))]
    times: Option<u64>,
    /// Viewers, spread over rooms and nodes.
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = integer(18_u64, 15_000, "one at each node in each room, and the files of one process"))]
    viewers: u64,
    /// Messages a second, all rooms together.
    #[arg(long, value_name = "N", default_value_t = 200,
        value_parser = integer(20_u64, 10_000, "a pause is seen between two messages of a room"))]
    rate: u64,
    /// Keep all trials in this file, and go on from those that it holds already.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Binary of the release before, for rolling upgrades from it and back.
    #[arg(long, value_name = "FILE")]
    old_binary: Option<PathBuf>,
    /// Build with this profile of cargo.
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let packages = ["--package", "grandstand", "--package", "grandstand-faults"];
    let mut build = cargo(["build", "--quiet", "--bins", "--profile", &args.profile]);
    run(build.args(packages))?;
    // Cargo's own name of it.
    let directory = if args.profile == "dev" { "debug" } else { &args.profile };
    let mut faults = faults(&target_dir().join(directory).join("grandstand-faults"))?;
    for (flag, is_set) in [("--list", args.list), ("--all", args.all), ("--smoke", args.smoke)] {
        if is_set {
            faults.arg(flag);
        }
    }
    for (flag, number) in
        [("--times", args.times), ("--viewers", Some(args.viewers)), ("--rate", Some(args.rate))]
    {
        faults.args(number.map(|number| format!("{flag}={number}")));
    }
    for (flag, file) in [("--json", &args.json), ("--old-binary", &args.old_binary)] {
        if let Some(file) = file {
            faults.arg(flag).arg(std::path::absolute(file)?);
        }
    }
    run(faults.args(&args.faults))
}

/// The quickest faults once each, in the build of the tests.
pub(crate) fn smoke() -> Result<()> {
    let programs = programs::build(Purpose::Smoke)?;
    let mut missing = None;
    let mut smoke = faults(&programs.faults())?;
    let status = run_lines(smoke.args(["--smoke", "--viewers", "90", "--rate", "120"]), SMOKE_MAX, |line| {
        println!("{line}");
        missing = line.strip_prefix("missing: ").map(str::to_owned).or(missing.take());
    })?;
    match (missing, status.code()) {
        (Some(what), Some(LACKING)) => Err(Missing { what, obtainable: false }.into()),
        (_, Some(0)) => Ok(()),
        _ => bail!("faults of a cluster: a trial falls short, see above ({status})"),
    }
}

fn faults(program: &Path) -> Result<Command> {
    let mut faults = command(program);
    faults.env("NATS_SERVER", nats::program()?);
    Ok(faults)
}
