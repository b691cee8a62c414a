//! Real chat logs, to speak from: JSON lines, plain or gzip, merged in order of time.
//!
//! Why not parts of a library of `gs`: it has none; this reads what the logs of `../shared/data/chat` hold
//! and no more.
//! Invariant: every author and text passes a node's rules. No text of a log is ever printed or kept.
//! Not here: layouts of the same logs (the `layout` program), sending (`publisher`).

use anyhow::{Context, Result, bail};
use grandstand_protocol::frame::Role;
use grandstand_protocol::limits::NAME_BYTES_MAX;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Where logs lie beside the workspace; they are not part of it.
pub const SHARED: &str = "../shared/data/chat";

/// The node's default bound of a text.
const TEXT_BYTES_MAX: usize = 2_000;

/// A message of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Since the first message of its log.
    pub t_ms: u64,
    /// Who.
    pub author: String,
    /// What.
    pub text: String,
    /// As whom.
    pub role: Role,
}

/// The logs beside the workspace, in the order of their names; none if there are none.
#[must_use]
pub fn shared() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(SHARED);
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| [".jsonl", ".jsonl.gz"].iter().any(|end| file.to_string_lossy().ends_with(end)));
    files.sort();
    files
}

/// Several logs at once, each from its own beginning.
///
/// # Errors
/// A file cannot be read, or holds no message.
pub fn merged(files: &[PathBuf]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for file in files {
        lines.extend(read(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    lines.sort_by_key(|line: &Line| line.t_ms);
    Ok(lines)
}

fn read(path: &Path) -> Result<Vec<Line>> {
    let file = File::open(path)?;
    let is_packed = path.extension().is_some_and(|end| end == "gz");
    let bytes: Box<dyn Read> =
        if is_packed { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    let mut lines = Vec::new();
    for line in BufReader::new(bytes).lines() {
        lines.extend(parse(&line?)?);
    }
    lines.sort_by_key(|line| line.t_ms);
    let Some(first_ms) = lines.first().map(|line| line.t_ms) else { bail!("no messages") };
    lines.iter_mut().for_each(|line| line.t_ms -= first_ms);
    Ok(lines)
}

/// A row; `None` for one that is no message (a ban), or of which nothing is left.
fn parse(line: &str) -> Result<Option<Line>> {
    let value: serde_json::Value = serde_json::from_str(line)?;
    let (Some(author), Some(text)) = (value["u"].as_str(), value["m"].as_str()) else { return Ok(None) };
    let author = cut(&clean(author), NAME_BYTES_MAX).trim().to_owned();
    let text = cut(&clean(text), TEXT_BYTES_MAX).to_owned();
    if author.is_empty() || text.trim().is_empty() {
        return Ok(None);
    }
    let role = match value["r"].as_str().and_then(|mark| mark.chars().next()) {
        Some('~') => Role::Host,
        Some('@' | '%') => Role::Moderator,
        Some('+') => Role::Subscriber,
        _ => Role::Viewer,
    };
    Ok(Some(Line { t_ms: value["t"].as_f64().context("a row without a time")? as u64, author, text, role }))
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The longest beginning of whole characters within so many bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_bans_and_control_characters() {
        let line = parse(r#"{"t":7,"u":" a\u0007b ","m":"x\u0000y","r":"~"}"#).unwrap().unwrap();
        assert_eq!((line.t_ms, &*line.author, &*line.text, line.role), (7, "ab", "xy", Role::Host));
        assert_eq!(parse(r#"{"t":7,"k":"ban","u":"a"}"#).unwrap(), None);
        assert_eq!(parse(r#"{"t":7,"u":"a","m":"\u0007"}"#).unwrap(), None);
        assert!(parse(r#"{"u":"a","m":"b"}"#).is_err());
    }

    #[test]
    fn shared_logs_are_in_order_when_they_are_there() {
        let files = shared();
        if files.is_empty() {
            eprintln!("no chat logs in {SHARED}: nothing to read");
            return;
        }
        let lines = merged(&files[..1]).unwrap();
        assert!(lines.len() > 100 && lines[0].t_ms == 0 && lines.is_sorted_by_key(|line| line.t_ms));
    }
}
