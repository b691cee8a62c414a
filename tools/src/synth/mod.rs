//! `gs synth`: writes a generated chat log with the shapes of real ones and invented texts.
//!
//! - [`generator`]: the endless generated chat, also for the demo;
//! - [`Args`], [`run`]: the command, which writes a log in the format that `gs replay` reads.
//!
//! Not here: publishing a log (`replay`).

mod arrivals;
pub(crate) mod dictionary;
pub(crate) mod generator;
mod log;
mod people;
mod texts;
mod words;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use flate2::{Compression, write::GzEncoder};

use generator::Settings;
use log::{Bans, Written};
use words::Language;

/// Generate a chat log with the shapes of real ones, in made-up words.
///
/// JSON lines, `{"t": ms, "u": name, "m": text, "r": role}`, in the order of time: what `gs replay` reads.
/// The same options give the same log.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// File to write; compressed when the name ends in .gz. Without it: standard output.
    file: Option<PathBuf>,
    /// Length of the log.
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    minutes: f64,
    /// Number of viewers; decides how much they write.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    viewers: u64,
    /// Mean number of messages per second, instead of what that many viewers write.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Seed: the same seed gives the same chat.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Languages, separated by commas; one that is named twice is used twice as often.
    #[arg(long, value_delimiter = ',', default_value = "en", value_enum, value_name = "LIST")]
    language: Vec<Language>,
    /// Bursts per hour, when everybody writes at once; 0 for none.
    #[arg(long, default_value_t = Settings::default().bursts_per_hour, value_name = "PER_HOUR")]
    bursts: f64,
    /// Bans per minute, each for ten minutes, as rows of their own.
    #[arg(long, default_value_t = 0.0, value_name = "PER_MINUTE")]
    bans: f64,
}

/// Most messages per second: what one room of this system takes is far below.
const RATE_MAX_PER_S: f64 = 100_000.0;

/// Run the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let finite = [args.minutes, args.bursts, args.bans].iter().all(|n| n.is_finite() && *n >= 0.0);
    ensure!(finite, "--minutes, --bursts and --bans take numbers from 0 up");
    let rate_fits = args.rate.is_none_or(|rate| rate > 0.0 && rate <= RATE_MAX_PER_S);
    ensure!(rate_fits, "--rate takes a number above 0 and up to {RATE_MAX_PER_S}");
    let written = match &args.file {
        None => to_stdout(&args)?,
        Some(path) => to_file(&args, path).with_context(|| format!("cannot write {}", path.display()))?,
    };
    if let Some(path) = &args.file {
        eprintln!("{}: {written}", path.display());
    }
    Ok(())
}

/// A reader that has seen enough (`| head`) is no failure.
fn to_stdout(args: &Args) -> anyhow::Result<Written> {
    match write(args, BufWriter::new(io::stdout().lock())) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written::default()),
        other => Ok(other.context("cannot write to standard output")?.1),
    }
}

fn to_file(args: &Args, path: &Path) -> io::Result<Written> {
    let file = BufWriter::new(File::create(path)?);
    if path.extension().is_some_and(|ext| ext == "gz") {
        let (encoder, written) = write(args, GzEncoder::new(file, Compression::default()))?;
        encoder.finish()?.flush()?;
        Ok(written)
    } else {
        Ok(write(args, file)?.1)
    }
}

fn write<W: Write>(args: &Args, mut out: W) -> io::Result<(W, Written)> {
    let settings = Settings {
        seed: args.seed,
        viewers: args.viewers,
        rate_per_s: args.rate,
        languages: args.language.clone(),
        bursts_per_hour: args.bursts,
    };
    let end_ms = (args.minutes * 60_000.0) as u64;
    let lines = generator::Chat::new(&settings).take_while(|line| line.t_ms < end_ms);
    let written = log::write(&mut out, lines, Bans::new(args.seed, args.bans))?;
    out.flush()?;
    Ok((out, written))
}

#[cfg(test)]
mod tests;
