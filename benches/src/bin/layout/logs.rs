//! Chat logs, cut into the batches that a room would seal.
//!
//! Not here: the measured layouts (`layouts`), reading logs (`grandstand_harness::chat_log`). No text of a
//! log is ever printed.

use anyhow::Result;
use grandstand_harness::chat_log::{self, Message};
use std::path::PathBuf;

/// A log, in order.
pub(crate) struct Log {
    /// Its file's name without extensions.
    pub(crate) name: String,
    /// Its messages.
    pub(crate) rows: Vec<Message>,
}

/// What a room seals in one tick.
pub(crate) struct Batch<'a> {
    /// Offset of the first message.
    pub(crate) first_offset: u64,
    /// Milliseconds since the batch before it, on the wall clock of the replay.
    pub(crate) time_delta_ms: u64,
    /// The messages.
    pub(crate) rows: &'a [Message],
}

impl Log {
    /// Cut into batches of `span_ms` of the log's time; empty ones are left out. The replay's tick lasts 250
    /// ms whatever the span, so time between batches is counted in ticks.
    pub(crate) fn batches(&self, span_ms: u64) -> Vec<Batch<'_>> {
        let (mut out, mut first_offset, mut last_tick) = (Vec::new(), 0, None);
        for rows in self.rows.chunk_by(|a, b| a.t_ms / span_ms == b.t_ms / span_ms) {
            let tick = rows[0].t_ms / span_ms;
            let time_delta_ms = last_tick.map_or(0, |last| (tick - last) * super::TICK_MS);
            out.push(Batch { first_offset, time_delta_ms, rows });
            first_offset += rows.len() as u64;
            last_tick = Some(tick);
        }
        out
    }
}

/// Reads logs.
pub(crate) fn load(files: &[PathBuf]) -> Result<Vec<Log>> {
    let load = |file: &PathBuf| {
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let name = name.split('.').next().unwrap_or_default().to_owned();
        Ok(Log { name, rows: chat_log::Log::open(file)?.lines })
    };
    files.iter().map(load).collect()
}
