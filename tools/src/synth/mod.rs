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

use anyhow::Context;
use flate2::{Compression, write::GzEncoder};

use generator::Settings;
use grandstand_harness::numbers::{SEED_WHY, integer, number};
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
    #[arg(long, default_value_t = 10.0, value_name = "N",
        value_parser = number(0.01, 10_080.0, "a log is at most a week long"))]
    minutes: f64,
    /// Number of viewers; decides how much they write.
    #[arg(long, default_value_t = 10_000, value_name = "N",
        value_parser = integer(1_u64, 1_000_000_000, "nobody writes nothing, and no audience is larger"))]
    viewers: u64,
    /// Mean number of messages per second, instead of what that many viewers write.
    #[arg(long, value_name = "N",
        value_parser = number(0.001, 1e5, "the log of 0 messages is an empty file, and one room takes far fewer than the most"))]
    rate: Option<f64>,
    /// Seed: the same seed gives the same chat.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = integer(0, u64::MAX, SEED_WHY))]
    seed: u64,
    /// Languages, separated by commas; one that is named twice is used twice as often.
    #[arg(long, value_delimiter = ',', default_value = "en", value_enum, value_name = "LIST")]
    language: Vec<Language>,
    /// Bursts per hour, when everybody writes at once; 0 for none.
    #[arg(long, default_value_t = Settings::default().bursts_per_hour, value_name = "PER_HOUR",
        value_parser = number(0.0, 3600.0, "0 for none; a burst takes seconds"))]
    bursts: f64,
    /// Bans per minute, each for ten minutes, as rows of their own.
    #[arg(long, default_value_t = 0.0, value_name = "PER_MINUTE",
        value_parser = number(0.0, 6000.0, "0 for none; more than a hundred a second leave nobody"))]
    bans: f64,
}

/// Run the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let written = match &args.file {
        None => to_stdout(&args)?,
        Some(path) => to_file(&args, path).with_context(|| format!("cannot write {}", path.display()))?,
    };
    if let Some(path) = &args.file {
        crate::say::notice(&format!("{}: {written}", path.display()));
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
