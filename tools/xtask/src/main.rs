//! `cargo xtask`: the habits of the house, one subcommand each.
//!
//! Why: a newcomer should not have to learn which flags, tools and environment variables a check needs; the checks of a
//! desk and of CI are the same code.
//! Invariants: commands run in the workspace root; tools that they install go to `target/tools`, pinned; a check that
//! could not run is named at the end, and fails the run where CI could have had its tool.
//! Not here: what a command does (one file each), how programs are started (`run`).

#![forbid(unsafe_code)]

mod run;
mod schema;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Build habits of the Grandstand workspace.
///
/// Every check that CI makes can be made here. Tools that a command needs are installed on first use, pinned, into
/// target/tools; nothing outside the checkout is changed.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    habit: Habit,
}

#[derive(Subcommand)]
enum Habit {
    Schema(schema::Args),
}

fn main() -> Result<()> {
    match Cli::parse().habit {
        Habit::Schema(args) => schema::go(&args),
    }
}
