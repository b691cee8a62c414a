//! Logging: the destination of log lines, and the escaping of clients' texts in them.
//!
//! Why: a full disk, a deleted directory or a closed pipe must never stop the node. Lines that cannot be
//! written are lost and counted, standard error gets one notice, and the next line that can be written is
//! written.
//! Invariants: writing a line never fails and never panics. A line that was cut off is ended before the next
//! one begins. Clients' texts pass through [`Escaped`].
//! Not here: what is logged, and when (everywhere else); rotation (the file is opened for appending, so that
//! a copying rotation works).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use grandstand_edge::config::{self, LogFormat, LogLevel};

/// Characters of a client's text in a log line: enough to recognise a message, and too few to flood the log.
pub const ESCAPED_CHARS_MAX: usize = 200;

/// Lines that could not be written, in this process.
static WRITE_ERRORS: AtomicU64 = AtomicU64::new(0);

/// Lines that could not be written since start.
pub fn write_errors() -> u64 {
    WRITE_ERRORS.load(Ordering::Relaxed)
}

/// Send this process's events to the configured destination. If a file cannot be opened, a notice and all
/// lines go to standard error. Only the first call takes effect.
pub fn init(log: &config::Log) {
    let sink = Sink::open(log.file.as_deref());
    let is_terminal = log.file.is_none() && io::stderr().is_terminal();
    // An existing subscriber (a test's, an embedder's) is kept.
    let _ = tracing::subscriber::set_global_default(subscriber(log, sink, is_terminal));
}

fn subscriber(log: &config::Log, sink: Sink, ansi: bool) -> Box<dyn Subscriber + Send + Sync> {
    let lines =
        tracing_subscriber::fmt::layer().with_writer(Shared(Arc::new(sink))).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(targets(log.level));
    match log.format {
        LogFormat::Text => Box::new(registry.with(lines.with_ansi(ansi).with_target(false))),
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true).with_current_span(false))),
    }
}

/// The level applies to our own crates. From the libraries below, operators need nothing less than warnings.
fn targets(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_target("grandstand", ours).with_default(ours.min(LevelFilter::WARN))
}

/// The destination of lines. It never fails: lines that cannot be written are counted.
#[derive(Debug)]
struct Sink {
    /// The path in notices.
    path: Option<PathBuf>,
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    file: Target,
    /// The last line was cut off in the middle.
    is_torn: bool,
    /// Lines are being lost, and standard error got a notice.
    is_failing: bool,
}

#[derive(Debug)]
enum Target {
    File(File),
    Stderr,
    #[cfg(test)]
    Test(tests::Disk),
}

impl Sink {
    fn open(path: Option<&Path>) -> Sink {
        let Some(path) = path else { return Sink::to(None, Target::Stderr) };
        match OpenOptions::new().append(true).create(true).open(path) {
            Ok(file) => Sink::to(Some(path.to_owned()), Target::File(file)),
            Err(error) => {
                tell(&format!(
                    "warning: cannot open the log file {}: {error}; logging to standard error instead\n\
                     help: create its directory, let the user that runs the node write there, or change log.file",
                    path.display()
                ));
                Sink::to(None, Target::Stderr)
            }
        }
    }

    fn to(path: Option<PathBuf>, file: Target) -> Sink {
        Sink { path, out: Mutex::new(Out { file, is_torn: false, is_failing: false }) }
    }

    fn line(&self, line: &[u8]) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        match out.write(line) {
            Ok(()) if out.is_failing => {
                out.is_failing = false;
                self.notice("can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                WRITE_ERRORS.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut out.is_failing, true) {
                    self.notice(&format!(
                        "cannot be written: {error}; lines are lost and counted \
                         (grandstand_log_write_errors_total) until it can, and the node goes on\n\
                         help: free space on its disk, or change log.file and restart"
                    ));
                }
            }
        }
    }

    /// If standard error itself fails, there is no place for a notice.
    fn notice(&self, what: &str) {
        if let Some(path) = &self.path {
            tell(&format!("warning: the log file {} {what}", path.display()));
        }
    }
}

impl Out {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    rest = &rest[n..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(file) => file.write(bytes),
            Target::Stderr => io::stderr().lock().write(bytes),
            #[cfg(test)]
            Target::Test(disk) => disk.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `eprintln!` panics when standard error is closed.
fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A sink in the form that `tracing_subscriber` needs: each event is one `write_all`.
#[derive(Clone, Debug)]
struct Shared(Arc<Sink>);

impl<'a> MakeWriter<'a> for Shared {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Sink);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.line(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's text in a safe form for a log line, at most [`ESCAPED_CHARS_MAX`] characters long. Control
/// characters, quotes, backslashes, line separators and characters that change the writing direction are
/// escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(ESCAPED_CHARS_MAX) {
            match c {
                '"' | '\'' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() || is_deceptive(c) => write!(f, "{}", c.escape_unicode())?,
                c => write!(f, "{c}")?,
            }
        }
        match chars.count() {
            0 => Ok(()),
            more => write!(f, "… ({more} more)"),
        }
    }
}

/// Characters that are not control characters, but move, hide or end text: Unicode's bidirectional controls
/// (UAX 9), line and paragraph separators, zero-width characters, the byte-order mark, interlinear and tag
/// characters.
fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{061c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests;
