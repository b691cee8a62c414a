//! Logging: from an event to a line in the configured destination.
//!
//! - `repeats`: a call site that repeats itself is limited and counted;
//! - `queue`: lines wait for the one thread that writes; when they are too many they are dropped and counted;
//! - `sink`: the destination; `notice`: what is said beside the log; `panics`: panics as lines;
//! - `escaped`: clients' texts.
//!
//! Why: a full disk, a deleted directory, a closed pipe or a pipe that nobody reads must never stop the node,
//! or hold up a thread that serves. Invariants: logging never waits, fails or panics. With `log.format =
//! json` every line on standard error and in the log file is one JSON object. Clients' texts pass through
//! [`Escaped`]. Not here: what is logged, and when (everywhere else).

mod escaped;
mod notice;
mod panics;
mod queue;
mod repeats;
mod sink;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};

use grandstand_edge::clock::Clock;
use grandstand_edge::config::{self, LogFormat, LogLevel};
use grandstand_engine::runtime::pulse::ThreadPulse;

pub use escaped::{ESCAPED_CHARS_MAX, Escaped};
use notice::{Level, Notice};
use queue::Queue;
use repeats::Repeats;
use sink::Sink;

/// How long the end of a process waits for its last lines.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

/// The log of this process.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    queue: Arc<Queue>,
    thread: Arc<ThreadPulse>,
}

/// Lines that could not be written since start.
pub fn write_errors() -> u64 {
    sink::write_errors()
}

/// Lines since start that were dropped because they came faster than they could be written.
pub fn lines_dropped() -> u64 {
    queue::dropped()
}

/// Lines since start that repeated an earlier one too often, and were counted in place of written.
pub fn lines_counted() -> u64 {
    repeats::counted()
}

/// Send this process's events and panics to the configured destination. If a file cannot be opened, a notice
/// and all lines go to standard error. Only the first call takes effect.
pub fn init(log: &config::Log) {
    let sink = Sink::open(log.file.as_deref(), log.format);
    let is_terminal = log.file.is_none() && io::stderr().is_terminal();
    let (queue, repeats, clock) = (Arc::new(Queue::default()), Arc::new(Repeats::default()), Clock::start());
    let subscriber = subscriber(log, queue.clone(), Limit(repeats.clone(), clock), is_terminal);
    // An existing subscriber (a test's, an embedder's) is kept.
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return;
    }
    match queue.start(sink, Some(repeats), clock) {
        Ok(thread) => {
            let _ = LOG.set(Log { queue, thread });
            panics::log_them();
        }
        Err(error) => {
            let what = format!("no thread for the log: {error}; nothing is logged");
            Notice { level: Level::Warn, what: &what, help: "raise the limit of threads" }.write(log.format);
        }
    }
}

/// The pulse of the thread that writes the log, if this process has one.
pub fn thread() -> Option<Arc<ThreadPulse>> {
    LOG.get().map(|log| log.thread.clone())
}

/// Open the log file anew by its name, after it was renamed.
pub fn reopen() {
    if let Some(log) = LOG.get() {
        log.queue.reopen();
    }
}

/// At the end of the process: write the last lines. It waits a second at most.
pub fn finish() {
    if let Some(log) = LOG.get() {
        let _ = log.queue.flush(LAST_LINES_WAIT);
    }
}

/// Say on standard error, in the form of the log, why the process ends. Where the log is a file, it gets a
/// line too.
pub fn fatal(log: Option<&config::Log>, format: LogFormat, error: &dyn Display, help: &dyn Display) {
    let (what, help) = (error.to_string(), help.to_string());
    if log.is_some_and(|log| log.file.is_some()) {
        tracing::error!(help, "{what}");
    }
    finish();
    Notice { level: Level::Error, what: &what, help: &help }.write(format);
}

fn subscriber(
    log: &config::Log,
    queue: Arc<Queue>,
    limit: Limit,
    ansi: bool,
) -> Box<dyn Subscriber + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(Lines(queue)).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(targets(log.level));
    match log.format {
        LogFormat::Text => {
            Box::new(registry.with(lines.with_ansi(ansi).with_target(false).with_filter(limit)))
        }
        LogFormat::Json => Box::new(
            registry.with(lines.json().flatten_event(true).with_current_span(false).with_filter(limit)),
        ),
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

/// The limit on repeated lines, in the form that `tracing_subscriber` needs.
#[derive(Clone, Debug)]
struct Limit(Arc<Repeats>, Clock);

impl<S> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.may_pass(event, self.1.instant())
    }
}

/// The queue in the form that `tracing_subscriber` needs: each event is one `write_all`.
#[derive(Clone, Debug)]
struct Lines(Arc<Queue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
