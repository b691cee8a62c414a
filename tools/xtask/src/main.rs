//! `cargo xtask`: the habits of the house, one subcommand each.
//!
//! Why: a newcomer should not have to learn which flags, tools and environment variables a check needs; the
//! checks of a desk and of CI are the same code.
//! Invariants: commands run in the workspace root; tools that they install go to `target/tools`, pinned; a
//! check that could not run is named at the end, and fails the run where CI could have had its tool.
//! Not here: what a command does (one file each), how programs are started (`run`), how results are added up
//! (`ledger`).

#![forbid(unsafe_code)]

mod autobahn;
mod bench;
mod check;
mod ci;
mod clients;
mod deny;
mod dictionary;
mod fuzz;
mod ledger;
mod load;
mod micro;
mod programs;
mod python;
mod run;
mod schema;
mod sim;
mod soak;
mod test;
mod tidy;
mod verdict;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build habits of the Grandstand workspace.
///
/// Every check that CI makes can be made here. Tools that a command needs are installed on first use, pinned,
/// into target/tools; nothing outside the checkout is changed. Each program that runs is printed first, so
/// that it can be repeated by hand. With CI=true in the environment, a missing tool fails the run instead of
/// being skipped, except where a machine may well not have it (Python 2 for Autobahn, a nightly toolchain for
/// miri).
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    habit: Habit,
}

#[derive(Subcommand)]
enum Habit {
    Check(check::Args),
    Tidy(tidy::Args),
    Test(test::Args),
    Ci(ci::Args),
    Bench(bench::Args),
    Soak(soak::Args),
    Sim(sim::Args),
    Schema(schema::Args),
    Dictionary(dictionary::Args),
    Fuzz(fuzz::Args),
    Autobahn(autobahn::Args),
    Clients(clients::Args),
    Deny(deny::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().habit {
        Habit::Check(args) => check::go(&args),
        Habit::Tidy(args) => tidy::go(&args),
        Habit::Test(args) => return test::go(&args),
        Habit::Ci(args) => return ci::go(&args),
        Habit::Bench(args) => bench::go(&args),
        Habit::Soak(args) => soak::go(&args),
        Habit::Sim(args) => sim::go(&args),
        Habit::Schema(args) => schema::go(&args),
        Habit::Dictionary(args) => dictionary::go(&args),
        Habit::Fuzz(args) => fuzz::go(&args),
        Habit::Autobahn(args) => autobahn::go(&args),
        Habit::Clients(args) => clients::go(&args),
        Habit::Deny(args) => deny::go(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
