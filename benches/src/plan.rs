//! The plan: the options that all benches share, and the output of their rows.
//!
//! Not here: the options of one bench.

use crate::cpu;
use crate::lean_clients::Transport;
use crate::machine::Machine;
use crate::record::{self, Row};
use anyhow::{Result, ensure};
use grandstand_harness::node;
use grandstand_harness::numbers::integer;
use grandstand_harness::process::pin_here;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// Options of a run. If a list is not given, the bench uses its own.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// Run a smoke test of seconds, for debug builds: it fails on faults, and its figures mean nothing.
    #[arg(long)]
    pub quick: bool,
    /// Print rows as JSON lines.
    #[arg(long)]
    pub json: bool,
    /// Keep the rows in benches/results.
    #[arg(long)]
    pub record: bool,
    /// Numbers of viewers.
    #[arg(long, value_delimiter = ',', value_name = "N,..",
        value_parser = integer(1_usize, 1_000_000, "without viewers nothing is delivered, and a core holds no more"))]
    pub viewers: Vec<usize>,
    /// Messages per second; for a search, the rate of its first try.
    #[arg(long, value_delimiter = ',', value_name = "N,..",
        value_parser = integer(1_u64, 10_000_000, "without messages nothing is measured, and no shard takes more"))]
    pub rate: Vec<u64>,
    /// Transports of the viewers.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub transport: Vec<Transport>,
    /// Ticks of the room; 0 is the adaptive tick.
    #[arg(long, value_delimiter = ',', value_name = "MS,..",
        value_parser = integer(0_u64, 60_000, "0 is the adaptive tick; a node has no longer one than a minute"))]
    pub tick_ms: Vec<u64>,
    /// Length of the measured window, or of each step of a search; default: 10.
    #[arg(long, value_name = "N", value_parser = integer(1_u64, 86_400, "a window is at most a day"))]
    pub seconds: Option<u64>,
    /// A key of the node's configuration, which takes precedence over the bench's own.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub keys: Vec<(String, String)>,
    /// Core on which the server runs.
    #[arg(long, value_name = "N", value_parser = integer(0_usize, 1_023, "Linux numbers no more cores for us"))]
    pub server_core: Option<usize>,
    /// Core on which the load generator runs.
    #[arg(long, value_name = "N", value_parser = integer(0_usize, 1_023, "Linux numbers no more cores for us"))]
    pub generator_core: Option<usize>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The cores of the two sides of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's; `None` where there is only one core.
    pub server: Option<usize>,
    /// The generator's.
    pub generator: Option<usize>,
}

impl Plan {
    /// Different cores for the server and the generator; this thread takes the generator's. On a machine with
    /// one core both run unpinned.
    ///
    /// # Errors
    /// Both sides were given the same core, or the kernel refuses one.
    pub fn cores(&self) -> Result<Cores> {
        let cores = cpu::cores()?;
        let [first, second, ..] = cores[..] else {
            eprintln!("one core only: the server and the generator share it, and figures mean nothing");
            return Ok(Cores { server: None, generator: None });
        };
        let (server, generator) = (self.server_core.unwrap_or(first), self.generator_core.unwrap_or(second));
        ensure!(server != generator, "the server and the generator need a core each");
        pin_here(generator)?;
        Ok(Cores { server: Some(server), generator: Some(generator) })
    }

    /// The choices given, or else these; with `--quick` and nothing given the small ones.
    pub fn choose<T: Copy>(&self, given: &[T], full: &[T], quick: &[T]) -> Vec<T> {
        match given {
            [] if self.quick => quick.to_vec(),
            [] => full.to_vec(),
            given => given.to_vec(),
        }
    }

    /// The sizes of a full run, or of a smoke.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The node with the keys of this plan.
    #[must_use]
    pub fn add_keys(&self, node: node::NodePlan) -> node::NodePlan {
        self.keys.iter().fold(node, |node, (key, value)| node.key(key, &**value))
    }

    /// The length of a window.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(self.size(10, 1)))
    }
}

/// Runs a bench program, and prints in one line why it failed.
pub fn main(run: fn() -> Result<()>) -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line; a reader that has gone (`| head`) has read enough.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints the rows of a bench, and keeps them if requested.
///
/// # Errors
/// A row says that its case failed, or the rows cannot be kept.
pub fn report(bench: &str, plan: &Plan, rows: &[Row]) -> Result<()> {
    if plan.json {
        rows.iter().try_for_each(|row| print(&serde_json::to_string(row)?))?;
    } else {
        print(&record::markdown(rows))?;
    }
    if plan.record {
        let choices: Vec<String> =
            std::env::args().skip(1).filter(|arg| arg != bench && arg != "--record").collect();
        let command = format!("cargo xtask bench {bench} -- {}", choices.join(" "));
        let command = command.trim_end_matches(" -- ");
        let path = record::keep(&record::directory(), &Machine::here(), bench, command, rows)?;
        eprintln!("kept in {}", path.display());
    }
    let faults: Vec<&str> = rows.iter().filter_map(|row| row.fault.as_deref()).collect();
    ensure!(faults.is_empty(), "{} cases failed: {}", faults.len(), faults.join("; "));
    Ok(())
}
