//! `layout`: measures the bytes per delivered chat message on the wire, for several layouts of a batch.
//!
//! Why: bytes per delivered message decide the cost of an audience; docs/PROTOCOL.md has the results. Method:
//! real logs are cut into batches of 250 ms, at recorded speed and ten times faster; every layout encodes the
//! same batches with the same content (the room, the position, the time; author, text and role of each
//! message). The WebSocket header is included; batches without messages are not. With `--check` it prints
//! only the figures that miss [`TARGETS`], and fails if there are any.
//! Not here: QUIC's packets, TLS.
//!
//! Run: `cargo run --release -p grandstand-benches --bin layout [-- --check] [FILE...]`.
#![forbid(unsafe_code)]

mod layouts;
mod logs;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use grandstand_benches::plan;
use grandstand_harness::chat_log;
use layouts::{COMPRESSED, LAYOUTS, Layout};
use logs::{Batch, Log};

/// The tick that the figures are for, in milliseconds; the engine's default for a busy room.
const TICK_MS: u64 = 250;

/// The layout that ratios refer to.
const BASELINE: &str = "JSON array of name and text";

/// What the compressed form may take of [`BASELINE`] at the most: the log's name begins so, its speed, the
/// ratio.
const TARGETS: [(&str, u64, f64); 3] = [("", 1, 1.0), ("", 10, 0.75), ("twitch", 10, 0.65)];

/// Measure the bytes of a delivered chat message on the wire, for several layouts of a batch.
///
/// Prints a table for the recorded speed and one for ten times that. Exit codes: 0 for success; 1 when a
/// target is missed or a log cannot be read; 2 for a wrong command line.
#[derive(Parser)]
#[command(name = "layout", version)]
struct Cli {
    /// Print only the figures that miss their targets, and fail if there are any.
    #[arg(long)]
    check: bool,
    /// Chat logs: JSON lines, plain or gzip. Default: the shared ones, if they are there.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    plan::main(run)
}

fn run() -> Result<()> {
    let Cli { check: is_check, files } = Cli::parse();
    let files = if files.is_empty() { chat_log::shared() } else { files };
    if files.is_empty() {
        let what = format!("no logs in {}: name files to read instead", chat_log::SHARED);
        ensure!(is_check, "{what}");
        println!("SKIPPED: {what}");
        return Ok(());
    }
    let logs = logs::load(&files)?;
    if is_check {
        return check(&logs);
    }
    for speed in [1, 10] {
        print_table(speed, &logs);
    }
    Ok(())
}

/// Hold the compressed form against its targets.
fn check(logs: &[Log]) -> Result<()> {
    let mut missed = 0;
    for (begins, speed, ratio_max) in TARGETS {
        for log in logs.iter().filter(|log| log.name.starts_with(begins)) {
            let batches = log.batches(TICK_MS * speed);
            let of = |name| bytes_per_message(layout(name), &batches);
            let ratio = of(COMPRESSED) / of(BASELINE);
            if ratio > ratio_max {
                println!("{} times {speed}: {ratio:.3} of the JSON array, over {ratio_max}", log.name);
                missed += 1;
            }
        }
    }
    ensure!(missed == 0, "{missed} targets missed");
    println!("{} logs within all targets", logs.len());
    Ok(())
}

/// One table in Markdown: a row for each layout, a column for each log.
fn print_table(speed: u64, logs: &[Log]) {
    let cut: Vec<Vec<Batch<'_>>> = logs.iter().map(|log| log.batches(TICK_MS * speed)).collect();
    println!("Recorded speed times {speed}; bytes per message, and the ratio to \"{BASELINE}\":\n");
    println!("| layout | {} |", logs.iter().map(|log| log.name.as_str()).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(logs.len()));
    let baseline: Vec<f64> = cut.iter().map(|batches| bytes_per_message(layout(BASELINE), batches)).collect();
    for layout in LAYOUTS {
        let cells = cut.iter().zip(&baseline).map(|(batches, baseline)| {
            let bytes = bytes_per_message(layout, batches);
            format!("{bytes:.1} ({:.2})", bytes / baseline)
        });
        println!("| {} | {} |", layout.name, cells.collect::<Vec<_>>().join(" | "));
    }
    let sizes = cut.iter().map(|batches| {
        let messages: usize = batches.iter().map(|b| b.rows.len()).sum();
        format!("{:.2}", messages as f64 / batches.len() as f64)
    });
    println!("| *messages in a batch* | {} |\n", sizes.collect::<Vec<_>>().join(" | "));
}

fn layout(name: &str) -> &'static Layout {
    LAYOUTS.iter().find(|layout| layout.name == name).expect("a layout of that name")
}

fn bytes_per_message(layout: &Layout, batches: &[Batch<'_>]) -> f64 {
    let messages: usize = batches.iter().map(|batch| batch.rows.len()).sum();
    let bytes: usize = batches.iter().map(|batch| layout.wire_bytes(batch)).sum();
    bytes as f64 / messages as f64
}
