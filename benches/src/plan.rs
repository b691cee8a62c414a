//! The plan: what every bench takes from its command line.
//!
//! Not here: what a bench makes of it.

use crate::cpu;
use crate::crowd::Transport;
use crate::machine::Machine;
use crate::record::{self, Row};
use anyhow::{Result, ensure};

/// Choices of a run. A list that is not given is the bench's own.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// A smoke of seconds, for debug builds: fails if something is broken, figures mean nothing.
    #[arg(long)]
    pub quick: bool,
    /// Print rows as JSON lines.
    #[arg(long)]
    pub json: bool,
    /// Keep the rows in benches/results.
    #[arg(long)]
    pub record: bool,
    /// Viewers.
    #[arg(long, value_delimiter = ',', value_name = "N,..")]
    pub viewers: Vec<usize>,
    /// Messages per second.
    #[arg(long, value_delimiter = ',', value_name = "N,..")]
    pub rate: Vec<u64>,
    /// Transports.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub transport: Vec<Transport>,
    /// Ticks; 0 is the adaptive one.
    #[arg(long, value_delimiter = ',', value_name = "MS,..")]
    pub tick_ms: Vec<u64>,
    /// Length of the window that is measured.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// A key of the node's configuration, beside or against the bench's own.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub keys: Vec<(String, String)>,
    /// Core of the server.
    #[arg(long, value_name = "N")]
    pub server_core: Option<usize>,
    /// Core of the generator.
    #[arg(long, value_name = "N")]
    pub crowd_core: Option<usize>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a key, `=` and a value are needed")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Where the two sides of a run stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's; `None` where there is only one core.
    pub server: Option<usize>,
    /// The generator's.
    pub crowd: Option<usize>,
}

impl Plan {
    /// Different cores for the server and the generator. On a machine with one, both run unpinned, and rows
    /// say so.
    pub fn cores(&self) -> Result<Cores> {
        let cores = cpu::cores()?;
        if cores.len() < 2 {
            eprintln!("one core only: the server and the generator share it, and figures mean nothing");
            return Ok(Cores { server: None, crowd: None });
        }
        let server = self.server_core.unwrap_or(cores[0]);
        let crowd = self.crowd_core.unwrap_or(cores[1]);
        ensure!(server != crowd, "the server and the generator need a core each");
        Ok(Cores { server: Some(server), crowd: Some(crowd) })
    }

    /// As [`Plan::cores`]: takes the generator's core for this thread, and returns the server's.
    pub fn take_cores(&self) -> Result<Option<usize>> {
        let cores = self.cores()?;
        cores.crowd.map_or(Ok(()), cpu::pin_here)?;
        Ok(cores.server)
    }

    /// The choices given, or else these; with `--quick` and nothing given the small ones.
    pub fn choose<T: Copy>(&self, given: &[T], full: &[T], quick: &[T]) -> Vec<T> {
        match given {
            [] if self.quick => quick.to_vec(),
            [] => full.to_vec(),
            given => given.to_vec(),
        }
    }

    /// The length of a window.
    pub fn seconds(&self, full: u64) -> u64 {
        self.seconds.unwrap_or(if self.quick { 1 } else { full })
    }
}

/// Prints what a bench found, and keeps it if that is wished.
///
/// # Errors
/// A row says that its case failed, or the rows cannot be kept.
pub fn report(bench: &str, plan: &Plan, rows: &[Row]) -> Result<()> {
    if plan.json {
        for row in rows {
            println!("{}", serde_json::to_string(row)?);
        }
    } else {
        println!("{}", record::markdown(rows));
    }
    if plan.record {
        let machine = Machine::here();
        let directory = record::directory(&machine);
        record::keep(&directory, &machine, bench, &command(), rows)?;
        eprintln!("kept in {}", directory.display());
    }
    let faults: Vec<&str> = rows.iter().filter_map(|row| row.get(record::FAULT)?.as_str()).collect();
    anyhow::ensure!(faults.is_empty(), "{} cases failed: {}", faults.len(), faults.join("; "));
    Ok(())
}

/// The command line, as it can be typed in the workspace's root.
fn command() -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask bench {}", args.join(" "))
}
