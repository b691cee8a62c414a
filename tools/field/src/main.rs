//! `grandstand-field`: trials of a node from outside, as strangers, proxies, supervisors and failing machines
//! treat it.
//!
//! Why a program apart from the tests: it knows the node only by its ports, its log and its documents, so it
//! also tests nodes that others configured, and shares no mistake with the node's own tests.
//! Invariants: everything stays on loopback addresses; each load is bounded in count and time.
//! Not here: losses over hours (`cargo xtask soak`), costs (`grandstand-bench`).

#![forbid(unsafe_code)]

mod disks;
mod limits;
mod peer;
mod pressure;
mod programs;
mod proxies;
mod quic;
mod supervisors;
mod tokens;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use trial::{Field, Trial};

/// Trials of a Grandstand node from outside: file limits, silent connections, proxies, signals, tokens,
/// clocks, disks.
///
/// Each trial starts a node of its own on loopback, treats it as strangers, proxies, supervisors and failing
/// machines do, and prints one line with what it measured. The exit code is 0 if every trial holds, 1 if one
/// fails, 2 for a wrong command line. Trials whose peer (nginx, haproxy, root ...) is missing are skipped and
/// say so.
#[derive(Parser)]
#[command(name = "grandstand-field")]
struct Cli {
    /// Trials to run, by the beginnings of their names; all of them if none is given.
    trials: Vec<String>,
    /// List the trials and what each must show.
    #[arg(long)]
    list: bool,
    /// Use small loads, as in CI.
    #[arg(long)]
    quick: bool,
    /// Print each line as JSON.
    #[arg(long)]
    json: bool,
    /// Binary of the node; `grandstand` beside this program if none is given.
    #[arg(long, env = "GRANDSTAND_BIN", value_name = "FILE")]
    node: Option<PathBuf>,
}

fn main() -> ExitCode {
    match go(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn go(cli: &Cli) -> Result<bool> {
    let groups = [
        pressure::TRIALS,
        limits::TRIALS,
        supervisors::TRIALS,
        proxies::TRIALS,
        tokens::TRIALS,
        disks::TRIALS,
        quic::TRIALS,
        programs::TRIALS,
    ];
    let all: Vec<Trial> = groups.concat();
    let is_wanted = |trial: &Trial| {
        cli.trials.is_empty() || cli.trials.iter().any(|name| trial.name.starts_with(name.as_str()))
    };
    let wanted: Vec<Trial> = all.into_iter().filter(is_wanted).collect();
    ensure!(!wanted.is_empty(), "no trial has a name with such a beginning; --list shows them");
    if cli.list {
        for trial in &wanted {
            println!("{:<26}{}", trial.name, trial.right);
        }
        return Ok(true);
    }
    let binary = match &cli.node {
        Some(binary) => binary.clone(),
        None => grandstand_harness::node::binary()?,
    };
    grandstand_harness::process::raise_file_limit();
    Ok(trial::run_all(&Field { binary, quick: cli.quick }, &wanted, cli.json))
}
