//! `filter`: what the word filter finds, what it catches wrongly, and what it costs.
//!
//! Why optimised: nanoseconds of a debug build say nothing. Why a program of its own: it counts allocations.
//! Invariant: a figure that falls short of its bound fails the run.
//! Not here: the trial itself (`engine/filter/examples/figures`), its smoke (tests of `grandstand-filter`).

use crate::run::{cargo, run, target_dir};
use anyhow::Result;
use std::path::PathBuf;

/// Where systems have a dictionary.
const DICTIONARY: &str = "/usr/share/dict/american-english";

/// Try the word filter: ways of writing a word, a dictionary, pairs of its words, time and allocations.
///
/// Without --list it takes words of its own. Without --dictionary it takes the system's (Debian: wamerican),
/// and without that a small one of its own, whose figures prove less.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// List whose words are tried: ours, or JSON of dsojevic's profanity lists.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Words of which the list may catch ten at most, one a line.
    #[arg(long, value_name = "FILE")]
    dictionary: Option<PathBuf>,
    /// Texts whose hits are counted, one a line.
    #[arg(long, value_name = "FILE")]
    chat: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let mut trial =
        cargo(["run", "--quiet", "--release", "--package", "grandstand-filter", "--features", "import"]);
    trial.env("CARGO_TARGET_DIR", target_dir()).args(["--example", "figures", "--"]);
    let system = Some(PathBuf::from(DICTIONARY)).filter(|path| path.is_file());
    let dictionary = args.dictionary.clone().or(system);
    for (flag, file) in [("--list", &args.list), ("--dictionary", &dictionary), ("--chat", &args.chat)] {
        if let Some(file) = file {
            trial.arg(flag).arg(std::path::absolute(file)?);
        }
    }
    if args.json {
        trial.arg("--json");
    }
    run(&mut trial)
}
