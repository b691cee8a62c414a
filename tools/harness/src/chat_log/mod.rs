//! Chat logs: recorded chats, which tools and benches publish again; one JSON object a line, plain or gzip.
//!
//! A row is `{"t": milliseconds, "u": name, "m": text}`, in some logs with `"r"`: `~` owner, `@` or `%`
//! moderator, `+` subscriber. A row with `"k"` (such as a ban) is not a message.
//! Invariants: times of a [`Log`] begin at 0 and never fall; every author and text in it passes a node's
//! rules after [`Log::fit`]; it counts the messages that it removes or changes.
//! Not here: the time at which a message is due, sending it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use grandstand_protocol::frame::Role;
use grandstand_protocol::limits::NAME_BYTES_MAX;
use grandstand_protocol::rules;
use grandstand_protocol::text::{mend_name, mend_text};
use serde::Deserialize;

/// Where logs are kept beside the workspace; they are not part of it.
pub const SHARED: &str = "../shared/data/chat";

/// Messages of one log: a busy day of the busiest measured chat is under a million.
const LINES_MAX: usize = 5_000_000;

/// Bytes of one line; a text of the longest kind with everything escaped is 25 KB. A longer line counts as
/// bad.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// First two bytes of gzip (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// One message of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Since the log's first message.
    pub t_ms: u64,
    /// Who said it.
    pub author: Arc<str>,
    /// What.
    pub text: Arc<str>,
    /// As whom.
    pub role: Role,
}

/// What reading and fitting left out or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Rows about something else, such as bans.
    pub others: u64,
    /// Lines that are no row at all.
    pub bad: u64,
    /// The first of them: its number and what was wrong.
    pub first_bad: Option<String>,
    /// Texts over the node's limit, cut.
    pub cut: u64,
    /// Texts or names from which control characters were taken, or whose name was cut.
    pub cleaned: u64,
    /// Messages of which nothing was left.
    pub empty: u64,
}

/// A chat log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Its messages, in order of time.
    pub lines: Vec<Message>,
    /// What is not in it.
    pub notes: Notes,
}

/// The logs beside the workspace, in the order of their names; none if there are none.
#[must_use]
pub fn shared() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SHARED);
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| [".jsonl", ".jsonl.gz"].iter().any(|end| file.to_string_lossy().ends_with(end)));
    files.sort();
    files
}

#[derive(Deserialize)]
struct Row {
    t: Option<f64>,
    u: Option<String>,
    m: Option<String>,
    r: Option<String>,
    k: Option<String>,
}

impl Log {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or holds no message.
    pub fn open(path: &Path) -> Result<Log> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let log = Log::read(file).with_context(|| format!("cannot read {}", path.display()))?;
        if log.lines.is_empty() {
            let why = log.notes.first_bad.as_deref().unwrap_or("it is empty");
            bail!("{} holds no chat message: {why}", path.display());
        }
        Ok(log)
    }

    /// Reads plain or compressed bytes.
    ///
    /// # Errors
    /// They end early, or hold too many messages.
    pub fn read(source: impl Read) -> Result<Log> {
        let mut source = BufReader::new(source);
        let magic = source.fill_buf()?;
        if magic.starts_with(&GZIP_MAGIC) {
            Log::read_plain(BufReader::new(MultiGzDecoder::new(source)))
        } else {
            Log::read_plain(source)
        }
    }

    /// Several logs at once, each from its own beginning.
    #[must_use]
    pub fn merge(logs: impl IntoIterator<Item = Log>) -> Log {
        let mut merged = Log::default();
        for log in logs {
            merged.lines.extend(log.lines);
            merged.notes.add(log.notes);
        }
        // Stable: what a log says at the same time stays in its order.
        merged.lines.sort_by_key(|line| line.t_ms);
        merged
    }

    /// Reads files as one log, each from its own beginning.
    ///
    /// # Errors
    /// A file cannot be read, or holds no message.
    pub fn open_all(files: &[PathBuf]) -> Result<Log> {
        Ok(Log::merge(files.iter().map(|file| Log::open(file)).collect::<Result<Vec<_>>>()?))
    }

    /// As [`Log::open_all`], with messages that a node with this limit accepts.
    ///
    /// # Errors
    /// A file cannot be read, or holds no message.
    pub fn merged(files: &[PathBuf], text_bytes_max: usize) -> Result<Log> {
        let mut log = Log::open_all(files)?;
        log.fit(text_bytes_max);
        Ok(log)
    }

    /// Makes every message one that a node with this limit accepts.
    pub fn fit(&mut self, text_bytes_max: usize) {
        let notes = &mut self.notes;
        self.lines.retain_mut(|line| {
            fit_author(line, notes);
            fit_text(line, text_bytes_max, notes);
            let is_empty = line.text.trim().is_empty();
            notes.empty += u64::from(is_empty);
            !is_empty
        });
    }

    fn read_plain(mut source: impl BufRead) -> Result<Log> {
        let mut log = Log::default();
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            let read = source.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
            if read == 0 {
                break;
            }
            if read == LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
                source.skip_until(b'\n')?;
                log.notes.bad(number, "the line is too long");
                continue;
            }
            log.take(number, bytes.trim_ascii());
            if log.lines.len() > LINES_MAX {
                bail!("more than {LINES_MAX} messages: split the file");
            }
        }
        log.normalise();
        Ok(log)
    }

    fn take(&mut self, number: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match serde_json::from_slice::<Row>(bytes) {
            Err(error) => self.notes.bad(number, &error.to_string()),
            Ok(Row { k: Some(_), .. }) => self.notes.others += 1,
            Ok(Row { t: Some(t), u: Some(author), m: Some(text), r, .. }) if t >= 0.0 => {
                let role = role(r.as_deref().unwrap_or(""));
                self.lines.push(Message { t_ms: t as u64, author: author.into(), text: text.into(), role });
            }
            Ok(_) => self.notes.bad(number, "it lacks `t`, `u` or `m`"),
        }
    }

    fn normalise(&mut self) {
        self.lines.sort_by_key(|line| line.t_ms);
        let first_ms = self.lines.first().map_or(0, |line| line.t_ms);
        self.lines.iter_mut().for_each(|line| line.t_ms -= first_ms);
    }
}

impl Notes {
    fn bad(&mut self, number: usize, why: &str) {
        self.bad += 1;
        self.first_bad.get_or_insert_with(|| format!("line {number}: {why}"));
    }

    fn add(&mut self, other: Notes) {
        self.others += other.others;
        self.bad += other.bad;
        self.cut += other.cut;
        self.cleaned += other.cleaned;
        self.empty += other.empty;
        self.first_bad = self.first_bad.take().or(other.first_bad);
    }

    /// What a person should know, if anything.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let bad = match &self.first_bad {
            Some(first) => format!("unreadable lines skipped (first: {first})"),
            None => String::new(),
        };
        let parts: Vec<String> = [
            (self.others, "other rows (bans) skipped"),
            (self.bad, bad.as_str()),
            (self.cut, "texts cut to the node's limit"),
            (self.cleaned, "texts or names cleaned"),
            (self.empty, "empty messages skipped"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

fn role(mark: &str) -> Role {
    match mark.chars().next() {
        Some('~') => Role::Host,
        Some('@' | '%') => Role::Moderator,
        Some('+') => Role::Subscriber,
        _ => Role::Viewer,
    }
}

fn fit_author(line: &mut Message, notes: &mut Notes) {
    if rules::is_name(&line.author) && line.author.len() <= NAME_BYTES_MAX {
        return;
    }
    notes.cleaned += 1;
    line.author = mend_name(&line.author).unwrap_or("somebody".into()).into();
}

fn fit_text(line: &mut Message, bytes_max: usize, notes: &mut Notes) {
    if !rules::is_text(&line.text) {
        notes.cleaned += 1;
        line.text = mend_text(&line.text).into();
    }
    if line.text.len() > bytes_max {
        notes.cut += 1;
        // A cut may leave half of what needs its neighbour.
        line.text = mend_text(cut(&line.text, bytes_max)).into();
    }
}

/// The longest prefix of whole characters within `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests;
