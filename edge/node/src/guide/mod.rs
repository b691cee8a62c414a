//! The guide of a node: its sources on a schedule, documents that are pushed, and answers to queries.
//!
//! - `calendar`: the times of airings' rooms, for shards;
//! - `source`: the entries of `guide.sources`; `thread`: the one thread that imports; `routes`: HTTP.
//!
//! Why a thread of its own, of low weight: an import takes seconds of one CPU, and viewers must not notice.
//! Invariants: one import at a time. A source that fails keeps what it had. Queries have a connection of
//! their own and wait for no import.
//! Not here: documents and the database (`grandstand_guide`), the phases of rooms (`grandstand_engine`).

mod calendar;
mod routes;
mod source;
#[cfg(test)]
mod tests;
mod thread;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_engine::Calendar;
use grandstand_engine::runtime::Desk;
use grandstand_engine::runtime::pulse::Pulses;
use grandstand_guide::store::{Guide, Queries};
use grandstand_guide::{Options, Report};
use tokio::sync::oneshot;

use crate::NodeError;
use crate::http::Shards;
use calendar::AiringTimes;
pub(crate) use routes::router;
use source::Source;

/// Numbers of the scrape.
#[derive(Debug, Default)]
pub(crate) struct GuideNumbers {
    /// Imports that changed the guide or found it as it was.
    pub(crate) imports: AtomicU64,
    /// Imports that were refused, or whose document could not be got or read.
    pub(crate) failures: AtomicU64,
    /// Airings that are not cancelled.
    pub(crate) airings: AtomicU64,
    /// When the newest import ended well, seconds since 1970; 0: never.
    pub(crate) imported_s: AtomicU64,
}

impl GuideNumbers {
    /// Name, help and value of each.
    fn readings(&self) -> Vec<(&'static str, &'static str, f64)> {
        let value = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
        vec![
            (
                "grandstand_guide_imports_total",
                "Documents of the guide that were imported.",
                value(&self.imports),
            ),
            (
                "grandstand_guide_import_failures_total",
                "Documents of the guide that were refused, or could not be got or read.",
                value(&self.failures),
            ),
            (
                "grandstand_guide_airings",
                "Airings of the guide that are not cancelled.",
                value(&self.airings),
            ),
            (
                "grandstand_guide_imported_timestamp_seconds",
                "Time of the newest import that went well, in seconds since 1970; 0: none.",
                value(&self.imported_s),
            ),
        ]
    }
}

/// A document that was pushed.
struct Pushed {
    file: File,
    options: Options,
    reply: oneshot::Sender<(Report, Option<String>)>,
}

/// What HTTP uses of the guide.
pub(crate) struct Shelf {
    pushes: Mutex<Option<mpsc::Sender<Pushed>>>,
    queries: Mutex<Queries>,
    dir: std::path::PathBuf,
    sources: Vec<Source>,
    clock: Clock,
    times: Arc<AiringTimes>,
    /// Numbers of the scrape.
    pub(crate) numbers: GuideNumbers,
    is_stopping: AtomicBool,
}

impl Shelf {
    /// Seconds since 1970.
    fn now_s(&self) -> i64 {
        self.clock.unix().as_secs() as i64
    }
}

/// A guide whose thread is not started yet: rooms are made before there is somebody to ask about them.
pub(crate) struct Opened {
    guide: Guide,
    shelf: Arc<Shelf>,
    pushed: mpsc::Receiver<Pushed>,
    keep_days: u64,
}

impl Opened {
    /// The shows of rooms.
    pub(crate) fn calendar(&self) -> Calendar {
        Calendar::new(self.shelf.times.clone())
    }
}

/// The guide of this node. Dropping it ends its thread, after the channel that is being imported.
pub(crate) struct NodeGuide {
    shelf: Arc<Shelf>,
    thread: Option<JoinHandle<()>>,
}

impl NodeGuide {
    /// Open the guide, if the configuration has sources or takes documents, and read the times of airings.
    ///
    /// # Errors
    /// A source is not as it must be, or the database cannot be used.
    pub(crate) fn open(config: &Config, clock: Clock) -> Result<Option<Opened>, NodeError> {
        if config.guide.sources.is_empty() && !config.guide.push {
            return Ok(None);
        }
        let sources =
            source::parse_all(&config.guide.sources).map_err(|e| NodeError::new(e, "see guide.sources"))?;
        let guide = open(config.log.dir.as_deref())?;
        let fault =
            |error: grandstand_guide::store::GuideError| NodeError::new(error.to_string(), "see log.dir");
        let queries = guide.queries().map_err(fault)?;
        let times = Arc::new(AiringTimes::new(&config.guide));
        let (pushes, pushed) = mpsc::channel();
        let shelf = Shelf {
            pushes: Mutex::new(Some(pushes)),
            queries: Mutex::new(queries),
            dir: guide.dir().to_owned(),
            sources,
            clock,
            times,
            numbers: GuideNumbers::default(),
            is_stopping: AtomicBool::new(false),
        };
        let now = shelf.now_s();
        shelf.times.read(&guide.queries().map_err(fault)?, now).map_err(fault)?;
        Ok(Some(Opened { guide, shelf: Arc::new(shelf), pushed, keep_days: config.guide.keep_days }))
    }

    /// Start the thread that imports.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        opened: Option<Opened>,
        desk: Arc<Desk>,
        pulses: &Pulses,
    ) -> Result<Option<NodeGuide>, NodeError> {
        let Some(Opened { guide, shelf, pushed, keep_days }) = opened else { return Ok(None) };
        let thread = thread::start(thread::Parts {
            guide,
            shelf: shelf.clone(),
            shards: Shards::new(desk),
            keep_days,
            pushed,
            pulse: pulses.register("guide"),
        });
        let thread = thread.map_err(|e| {
            NodeError::new(format!("no thread for the guide: {e}"), "raise the limit of threads")
        })?;
        Ok(Some(NodeGuide { shelf, thread: Some(thread) }))
    }

    /// Reads the numbers of the scrape.
    pub(crate) fn numbers(
        &self,
    ) -> impl Fn() -> Vec<(&'static str, &'static str, f64)> + Send + Sync + 'static {
        let shelf = self.shelf.clone();
        move || shelf.numbers.readings()
    }

    /// What HTTP uses of it.
    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        self.shelf.clone()
    }
}

impl Drop for NodeGuide {
    fn drop(&mut self) {
        self.shelf.is_stopping.store(true, Ordering::Release);
        *self.shelf.pushes.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The guide in `log.dir`; without one, a guide that ends with the process.
fn open(dir: Option<&Path>) -> Result<Guide, NodeError> {
    let guide = match dir {
        Some(dir) => Guide::open(dir),
        None => {
            tracing::warn!("the guide ends with this process: log.dir is not set");
            Guide::temporary()
        }
    };
    guide.map_err(|error| {
        NodeError::new(error.to_string(), "see log.dir; guide.db can be removed and is made anew")
    })
}
