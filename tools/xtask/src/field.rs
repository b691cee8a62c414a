//! `field`: builds the node and the trials, and runs the trials of a node from outside.
//!
//! Why a step of its own: the trials need real peers (nginx, HAProxy, openssl), root for some, and seconds
//! each.
//! Not here: the trials (`tools/field`).

use crate::programs::{self, Purpose};
use crate::run::{command, run};
use anyhow::Result;

/// Treat a node as strangers, proxies, supervisors and failing machines do, a line a trial with its figure.
///
/// Uses nginx, HAProxy, openssl and systemd-analyze where they are installed
/// (`apt install nginx haproxy openssl systemd`), and root for trials of disks and threads; other trials are
/// skipped and say so.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use small loads and the build of the tests, as in CI.
    #[arg(long)]
    quick: bool,
    /// List the trials and what each must show.
    #[arg(long)]
    list: bool,
    /// Print each line as JSON.
    #[arg(long)]
    json: bool,
    /// Trials to run, by the beginnings of their names; all of them if none is given.
    trials: Vec<String>,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let programs = programs::build(if args.quick { Purpose::Smoke } else { Purpose::Measurement })?;
    let mut field = command(programs.field());
    for (flag, is_set) in [("--quick", args.quick), ("--list", args.list), ("--json", args.json)] {
        if is_set {
            field.arg(flag);
        }
    }
    run(field.args(&args.trials).env("GRANDSTAND_BIN", programs.node()))
}
