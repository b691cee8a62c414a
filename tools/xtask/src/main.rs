//! `cargo xtask`: the development tasks of the workspace, one subcommand each.
//!
//! Why: developers need not know the flags, tools and environment variables of a check, and their checks are
//! the same code as CI's.
//! Invariants: commands run in the workspace root; tools that they install go to `target/tools`, pinned; a
//! check that could not run is named at the end, and fails the run where CI could have had its tool.
//! Not here: the commands (one file each), starting programs (`run`), the sum of results (`summary`).

#![forbid(unsafe_code)]

mod api;
mod autobahn;
mod bench;
mod check;
mod ci;
mod clients;
mod cluster;
mod deny;
mod dictionary;
mod field;
mod filter;
mod fuzz;
mod guide;
mod k8s;
mod load;
mod micro;
mod nats;
mod programs;
mod python;
mod run;
mod schema;
mod sim;
mod soak;
mod summary;
mod test;
mod tidy;
mod verdict;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Development tasks of the Grandstand workspace.
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
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Check(check::Args),
    Tidy(tidy::Args),
    Test(test::Args),
    Ci(ci::Args),
    Bench(bench::Args),
    Soak(soak::Args),
    Sim(sim::Args),
    Field(field::Args),
    Filter(filter::Args),
    Cluster(cluster::Args),
    Schema(schema::Args),
    Dictionary(dictionary::Args),
    Fuzz(fuzz::Args),
    Guide(guide::Args),
    Api(api::Args),
    Autobahn(autobahn::Args),
    Clients(clients::Args),
    NatsServer(nats::Args),
    Deny(deny::Args),
    K8s(k8s::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Check(args) => check::go(&args),
        Task::Tidy(args) => tidy::go(&args),
        Task::Test(args) => return test::go(&args),
        Task::Ci(args) => return ci::go(&args),
        Task::Bench(args) => bench::go(&args),
        Task::Soak(args) => soak::go(&args),
        Task::Sim(args) => sim::go(&args),
        Task::Field(args) => field::go(&args),
        Task::Filter(args) => filter::go(&args),
        Task::Cluster(args) => cluster::go(&args),
        Task::Schema(args) => schema::go(&args),
        Task::Dictionary(args) => dictionary::go(&args),
        Task::Fuzz(args) => fuzz::go(&args),
        Task::Guide(args) => guide::go(&args),
        Task::Api(args) => api::go(&args),
        Task::Autobahn(args) => autobahn::go(&args),
        Task::Clients(args) => clients::go(&args),
        Task::NatsServer(args) => nats::go(&args),
        Task::Deny(args) => deny::go(&args),
        Task::K8s(args) => k8s::go(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
