//! Chat logs: JSON lines, plain or gzip, cut into batches.
//!
//! Not here: what is measured of them (`layouts`). No text of a log is ever printed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use grandstand_protocol::frame::Role;

/// A message of a log.
pub(crate) struct Row {
    /// Milliseconds since any fixed point.
    pub(crate) t_ms: u64,
    /// Display name.
    pub(crate) author: String,
    /// Text.
    pub(crate) text: String,
    /// The author's role.
    pub(crate) role: Role,
}

/// A log, in order.
pub(crate) struct Log {
    /// Its file's name without extensions.
    pub(crate) name: String,
    /// Its messages.
    pub(crate) rows: Vec<Row>,
}

/// What a room seals in one tick.
pub(crate) struct Batch<'a> {
    /// Offset of the first message.
    pub(crate) first_offset: u64,
    /// Milliseconds since the batch before it, on the wall clock of the replay.
    pub(crate) time_delta_ms: u64,
    /// The messages.
    pub(crate) rows: &'a [Row],
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

/// The logs beside the workspace.
pub(crate) fn shared() -> Result<Vec<PathBuf>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/chat");
    let entries =
        std::fs::read_dir(&dir).context("no logs in ../shared/data/chat: name files to read instead")?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Read logs.
pub(crate) fn load(files: &[PathBuf]) -> Result<Vec<Log>> {
    files.iter().map(|file| read(file).with_context(|| format!("cannot read {}", file.display()))).collect()
}

fn read(path: &Path) -> Result<Log> {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let file = File::open(path)?;
    let bytes: Box<dyn Read> =
        if name.ends_with(".gz") { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    let mut rows = Vec::new();
    for line in BufReader::new(bytes).lines() {
        rows.extend(row(&line?)?);
    }
    if rows.is_empty() {
        bail!("no messages");
    }
    rows.sort_by_key(|row| row.t_ms);
    Ok(Log { name: name.split('.').next().unwrap_or_default().to_owned(), rows })
}

/// A line; `None` for one that is no message (a ban).
fn row(line: &str) -> Result<Option<Row>> {
    let value: serde_json::Value = serde_json::from_str(line)?;
    let text = |field: &str| value[field].as_str().map(|s| s.replace('\0', " "));
    let (Some(author), Some(text)) = (text("u"), text("m")) else { return Ok(None) };
    let role = match value["r"].as_str() {
        Some("~") => Role::Host,
        Some("@" | "%") => Role::Moderator,
        Some("+") => Role::Subscriber,
        _ => Role::Viewer,
    };
    Ok(Some(Row { t_ms: value["t"].as_u64().context("no time")?, author, text, role }))
}
