//! Repeats: a call site that logs again and again gets some lines in each window, and then a count.
//!
//! Why here: a fault that repeats (a full table, an exhausted limit, a peer that attacks) repeats its line,
//! at millions an hour. Each call site would need a limit of its own; here all have one. In each window of
//! [`WINDOW`] a call site writes [`LINES_PER_WINDOW`] lines. The others are counted, and one line at the
//! window's end has the count. Lines of levels debug and trace are not limited, since they were asked for.
//! Invariant: a line is either written or in a count that is written. Not here: lines that are dropped
//! because the destination is slow (`queue`).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// Lines of one call site in one window.
pub(super) const LINES_PER_WINDOW: u32 = 10;

/// How long lines of one call site are counted together.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// The target of the counts, and of other lines about the log, which are not limited themselves.
pub(super) const TARGET: &str = "grandstand::log";

/// Lines that were counted in place of written, in this process.
static COUNTED: AtomicU64 = AtomicU64::new(0);

/// Lines since start that repeated an earlier one too often, and were counted.
pub(super) fn counted() -> u64 {
    COUNTED.load(Ordering::Relaxed)
}

/// The call sites that have logged lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    sites: Mutex<HashMap<Identifier, Site>>,
}

#[derive(Debug)]
struct Site {
    metadata: &'static Metadata<'static>,
    since: Instant,
    lines: u32,
    held: u64,
    /// The text of the first line that was held back.
    text: String,
}

/// A count that is due.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) times: u64,
    pub(super) text: String,
}

impl Repeats {
    /// May this event be written now? Otherwise it is counted.
    pub(super) fn may_pass(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == TARGET {
            return true;
        }
        let mut sites = self.sites();
        let new = || Site { metadata, since: now, lines: 0, held: 0, text: String::new() };
        let site = sites.entry(metadata.callsite()).or_insert_with(new);
        if site.held == 0 && now.saturating_duration_since(site.since) >= WINDOW {
            *site = new();
        }
        if site.lines < LINES_PER_WINDOW {
            site.lines += 1;
            return true;
        }
        if site.held == 0 {
            site.text = text(event);
        }
        site.held += 1;
        COUNTED.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// The counts of windows that are over; they begin anew.
    pub(super) fn due(&self, now: Instant) -> Vec<Count> {
        let mut sites = self.sites();
        let is_over = |site: &Site| site.held > 0 && now.saturating_duration_since(site.since) >= WINDOW;
        let over: Vec<Identifier> =
            sites.iter().filter(|(_, site)| is_over(site)).map(|(id, _)| id.clone()).collect();
        let counts = over.iter().filter_map(|id| sites.remove(id)).map(|site| {
            let Site { metadata, held, text, .. } = site;
            Count { metadata, times: held, text }
        });
        counts.collect()
    }

    /// Log the counts that are due.
    pub(super) fn tell_due(&self, now: Instant) {
        for Count { metadata, times, text } in self.due(now) {
            let (file, line) = (metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
            match *metadata.level() {
                Level::ERROR => tracing::error!(target: TARGET, times, file, line, "again: {text}"),
                Level::WARN => tracing::warn!(target: TARGET, times, file, line, "again: {text}"),
                _ => tracing::info!(target: TARGET, times, file, line, "again: {text}"),
            }
        }
    }

    fn sites(&self) -> MutexGuard<'_, HashMap<Identifier, Site>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The message of an event, without its fields.
fn text(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}
