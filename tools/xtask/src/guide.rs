//! `guide`: the guide's trials, whole, against their limits.
//!
//! Why not tests: 500 MB take half a minute of an optimised build, and real listings are not in the checkout.
//! Invariant: every figure is printed; one that falls short fails the run, and so does a listing that is
//! missing where it was named. Not here: the trials (`engine/guide/trials`), their smoke (its tests).

use crate::run::{cargo, output, root, target_dir};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Import 500 MB, edit real listings, and read every malformed document: the guide's figures and limits.
///
/// Real listings are read from ../shared/data/xmltv, or the folder that --listings names; without them a
/// synthetic one takes their place, and the summary says so.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of real listings.
    #[arg(long, value_name = "DIR")]
    listings: Option<PathBuf>,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Figure, and what it must be.
type Limit = (&'static str, &'static str, fn(f64) -> bool);

const LIMITS: &[Limit] = &[
    ("/large/import_s", "at most 30 s for 500 MB", |s| s <= 30.0),
    ("/large/peak_mib", "at most 64 MiB", |mib| mib <= 64.0),
    ("/large/bytes", "at least 500 MB", |bytes| bytes >= 500e6),
    ("/large/again_rows_written", "0: an unchanged document writes no row", |rows| rows == 0.0),
    ("/identity/foreseen/right_percent", "at least 98 %", |percent| percent >= 98.0),
    ("/identity/foreseen/hijacked_percent", "at most 0.2 %", |percent| percent <= 0.2),
    ("/identity/foreseen/hijacked_in_use", "0: no room in use gets another show", |rooms| rooms == 0.0),
    ("/identity/unforeseen/right_percent", "at least 98 %", |percent| percent >= 98.0),
    ("/identity/unforeseen/hijacked_percent", "at most 0.2 %", |percent| percent <= 0.2),
    ("/identity/unforeseen/hijacked_in_use", "0: no room in use gets another show", |rooms| rooms == 0.0),
    ("/zones/wrong", "0 instants", |wrong| wrong == 0.0),
    ("/malformed/kinds", "at least 20", |kinds| kinds >= 20.0),
    ("/malformed/untold_count", "0: each has a report that names it", |kinds| kinds == 0.0),
];

pub(crate) fn go(args: &Args) -> Result<()> {
    let listings = args.listings.clone().unwrap_or_else(|| root().join("../shared/data/xmltv"));
    let real = listings.join("uk_2015.xml.gz");
    if args.listings.is_some() && !real.is_file() {
        bail!("{} is not there", real.display());
    }
    let large = target_dir().join("guide-500mb.xml.gz");
    let mut figures = json!({});
    if !large.is_file() {
        trial(&["make", &large.to_string_lossy()])?;
    }
    figures["large"] = trial(&["import", &large.to_string_lossy()])?;
    figures["identity"] = match real.is_file() {
        true => trial(&["identity", &real.to_string_lossy()])?,
        false => trial(&["identity"])?,
    };
    figures["listing"] = json!(if real.is_file() { "real" } else { "synthetic: there are no real listings" });
    if real.is_file() {
        figures["documents"] = trial(&["documents", &listings.to_string_lossy()])?;
    }
    figures["zones"] = trial(&["zones"])?;
    let mut malformed = trial(&["malformed"])?;
    malformed["untold_count"] = json!(malformed["untold"].as_array().map_or(0, Vec::len));
    figures["malformed"] = malformed;
    let mut faults: Vec<String> = Vec::new();
    for (name, must_be, holds) in LIMITS {
        let figure = figures.pointer(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
        if !args.json {
            println!("{name:<42}{figure:>16.3}  {must_be}");
        }
        if !holds(figure) {
            faults.push(format!("{name} is {figure}, expected {must_be}"));
        }
    }
    let without = figures.pointer("/documents/without_report").and_then(Value::as_u64).unwrap_or(0);
    if without > 0 {
        faults.push(format!("{without} real documents ended without a report"));
    }
    figures["faults"] = json!(faults);
    if args.json {
        println!("{figures}");
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("; ")) }
}

fn trial(words: &[&str]) -> Result<Value> {
    let run = [
        "run",
        "--quiet",
        "--profile",
        "dist",
        "--package",
        "grandstand-guide",
        "--example",
        "guide_trials",
        "--",
    ];
    let line = output(cargo(run).args(words)).with_context(|| format!("the trial {} failed", words[0]))?;
    serde_json::from_str(line.trim()).with_context(|| format!("no figures of {}: {line}", words[0]))
}
