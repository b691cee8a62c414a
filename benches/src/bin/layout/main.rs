//! `layout`: how many bytes a delivered chat message takes on the wire, in the layouts that a batch could have.
//!
//! Why: bytes per delivered message decide what an audience costs; docs/PROTOCOL.md holds what this prints.
//! Method: real logs are cut into batches of 250 ms, at recorded speed and ten times faster; every layout encodes the same
//! batches with the same content (the room, where the batch stands, its time; of each message author, text and role), and
//! its WebSocket header counts. Batches without messages are not sent and do not count.
//! Not here: compression, QUIC's packets, TLS.
//!
//! Run: `cargo run --release -p grandstand-benches --bin layout [-- FILE...]`.
#![forbid(unsafe_code)]

mod layouts;
mod logs;

use anyhow::Result;
use layouts::{LAYOUTS, Layout};
use logs::{Batch, Log};

/// The tick that the figures are for, in milliseconds; the engine's default for a busy room.
const TICK_MS: u64 = 250;

/// The layout that ratios refer to.
const BASELINE: &str = "JSON array of name and text";

fn main() -> Result<()> {
    let files: Vec<std::path::PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let files = if files.is_empty() { logs::shared()? } else { files };
    let logs = logs::load(&files)?;
    for speed in [1, 10] {
        print_table(speed, &logs);
    }
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
