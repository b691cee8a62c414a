//! Acceptance of images: each bomb is refused, within one second and 64 MB; each sample loses its place.
//!
//! `cargo run --profile dist -p grandstand-media --example acceptance -- [--json]` (Linux). It ends with 1
//! when a figure falls short.
//!
//! Why a program: memory is that of a process, and a test shares its process with others.

#![allow(clippy::disallowed_methods, reason = "it times what it tries")]

use std::process::ExitCode;
use std::time::Instant;

use grandstand_media::image::{Limits, clean};
use grandstand_media::trial::bombs;
use serde_json::{Value, json};

/// The bounds of one bomb.
const SECONDS_MAX: f64 = 1.0;
const MB_MAX: u64 = 64;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg != "--json") {
        eprintln!("usage: acceptance [--json]");
        return ExitCode::from(2);
    }
    let (report, held) = report();
    if args.is_empty() {
        for bomb in report["bombs"].as_array().into_iter().flatten() {
            println!(
                "{:>8.1} ms  {:>4} MB  {}: {}",
                bomb["ms"].as_f64().unwrap_or(0.0),
                bomb["peak_mb"],
                bomb["name"],
                bomb["reason"]
            );
        }
        println!("peak {} MB: {}", report["peak_mb"], if held { "held" } else { "NOT held" });
    } else {
        println!("{report}");
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What became of each bomb, and whether all was as it must be.
pub fn report() -> (Value, bool) {
    let bombs: Vec<Value> = bombs().iter().map(|(name, bytes, _)| tried(name, bytes)).collect();
    let all_held = bombs.iter().all(|bomb| bomb["held"] == true) && bombs.len() >= 12;
    let held = all_held && peak_mb() <= MB_MAX;
    (json!({ "held": held, "peak_mb": peak_mb(), "mb_max": MB_MAX, "bombs": bombs }), held)
}

fn tried(name: &str, bytes: &[u8]) -> Value {
    let began = Instant::now();
    let refused = clean(bytes, &Limits::default()).err();
    let seconds = began.elapsed().as_secs_f64();
    let held = refused.is_some() && seconds <= SECONDS_MAX && peak_mb() <= MB_MAX;
    let reason = refused.map(|refused| refused.to_string());
    json!({ "name": name, "bytes": bytes.len(), "ms": seconds * 1e3, "peak_mb": peak_mb(), "reason": reason, "held": held })
}

/// The most memory that the process had (VmHWM).
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
