//! The guide's thread: imports what is due and what was pushed, one after the other.
//!
//! Why one: two imports at a time would wait for each other in the database, and take two CPUs from viewers.
//! Invariants: an import turns the thread's pulse, and ends early when the node stops; then nothing of it is
//! applied. A source that fails is tried again after a while that grows to its own time.
//! Not here: what an import does (`grandstand_guide`), which answers HTTP gives (`routes`).

use std::collections::HashSet;
use std::fs::File;
use std::future::Future;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use grandstand_engine::Schedule;
use grandstand_engine::link::{AdminAnswer, AdminRequest};
use grandstand_engine::runtime::pulse::Pulse;
use grandstand_fetch::{Fetcher, Policy, Request, Settings, Validators};
use grandstand_guide::store::{Guide, Validators as Kept};
use grandstand_guide::{Import, ImportError, Options, Report, RoomUse};
use grandstand_protocol::frame::Phase;
use tokio::runtime::Runtime;

use super::source::{Place, Source};
use super::{Pushed, Shelf};
use crate::http::Shards;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Weight of the thread: other threads of the node get nine times as much of a CPU that both want.
const NICE: i32 = 10;
/// After a first failure a source is tried again so much later; each further one doubles it.
const RETRY_S: u64 = 60;
/// Bytes of a document that is fetched.
const DOCUMENT_BYTES_MAX: usize = 4 << 30;
/// How long fetching a document may take.
const FETCH_WITHIN: Duration = Duration::from_secs(1_800);
/// Rooms of a page, and pages.
const ROOMS_PAGE: usize = 10_000;
/// Between two looks at what ended long ago.
const FORGET_EVERY_S: u64 = 3_600;

pub(super) struct Parts {
    pub(super) guide: Guide,
    pub(super) shelf: Arc<Shelf>,
    pub(super) shards: Shards,
    pub(super) keep_days: u64,
    pub(super) pushed: mpsc::Receiver<Pushed>,
    pub(super) pulse: Pulse,
}

/// When a source is due, and how many times it failed in a row.
struct Due {
    at_s: u64,
    failures: u32,
}

/// Rooms that are in use.
struct Used(HashSet<String>);

impl RoomUse for Used {
    fn is_used(&self, room: &str) -> bool {
        self.0.contains(room)
    }
}

/// # Errors
/// The system gives no thread.
pub(super) fn start(parts: Parts) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("guide".to_owned()).spawn(move || {
        // Of this thread alone, as Linux has it.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::warn!(%error, "imports of the guide have the weight of other threads");
        }
        let mut worker = Worker { parts, runtime };
        worker.count();
        worker.run();
        worker.parts.pulse.end();
    })
}

struct Worker {
    parts: Parts,
    runtime: Runtime,
}

impl Worker {
    fn run(&mut self) {
        let mut due: Vec<Due> =
            self.parts.shelf.sources.iter().map(|_| Due { at_s: 0, failures: 0 }).collect();
        let mut forget_at_s = self.now_s() + FORGET_EVERY_S;
        loop {
            for (n, due) in due.iter_mut().enumerate() {
                if self.now_s() >= due.at_s && !self.is_stopping() {
                    let source = self.parts.shelf.sources[n].clone();
                    self.import_source(&source, due);
                }
            }
            match self.parts.pushed.recv_timeout(LOOK_EVERY) {
                Ok(push) => self.take_push(push),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            self.parts.pulse.turn();
            if self.now_s() >= forget_at_s {
                forget_at_s = self.now_s() + FORGET_EVERY_S;
                self.forget();
            }
        }
    }

    fn now_s(&self) -> u64 {
        self.parts.shelf.now_s().unsigned_abs()
    }

    fn is_stopping(&self) -> bool {
        self.parts.shelf.is_stopping.load(Ordering::Acquire)
    }

    fn take_push(&mut self, push: Pushed) {
        let Pushed { file, options, reply } = push;
        let (report, fault) = self.import(file, &options);
        // Who pushed it may have stopped waiting; the report is kept.
        let _ = reply.send((report, fault));
    }

    fn import_source(&mut self, source: &Source, due: &mut Due) {
        let outcome = match self.open(source) {
            Ok(None) => {
                tracing::debug!(source = source.name, "the guide's source has nothing new");
                Ok(())
            }
            Ok(Some((file, validators))) => match self.import(file, &source.options) {
                (_, None) => {
                    // What a failed import leaves is not known: its document is asked for again.
                    let kept = self.parts.guide.keep_validators(&source.name, &validators);
                    kept.map_err(|error| error.to_string())
                }
                (_, Some(fault)) => Err(fault),
            },
            Err(fault) => {
                self.parts.shelf.numbers.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(source = source.name, %fault, "the guide's source cannot be read");
                Err(fault)
            }
        };
        due.failures = if outcome.is_ok() { 0 } else { due.failures + 1 };
        let wait_s = match due.failures {
            0 => source.every.as_secs(),
            n => (RETRY_S << n.min(16)).min(source.every.as_secs()),
        };
        due.at_s = self.now_s() + wait_s;
    }

    /// The document of a source, if it has a new one.
    fn open(&self, source: &Source) -> Result<Option<(File, Kept)>, String> {
        let known = self.parts.guide.validators(&source.name).map_err(|error| error.to_string())?;
        match &source.place {
            Place::File(path) => {
                let at = |error: io::Error| format!("{}: {error}", path.display());
                let file = File::open(path).map_err(at)?;
                let about = file.metadata().map_err(at)?;
                let changed = about.modified().map_err(at)?.duration_since(UNIX_EPOCH).unwrap_or_default();
                let validators =
                    Kept { tag: about.len().to_string(), modified: changed.as_nanos().to_string() };
                Ok((validators != known).then_some((file, validators)))
            }
            Place::Url(url) => {
                let mut spool = spool(&self.parts.shelf.dir).map_err(|error| error.to_string())?;
                let fetched = fetch(url, &known, &mut spool);
                let found = self.runtime.block_on(with_turns(&self.parts.pulse, fetched))?;
                spool.rewind().map_err(|error| error.to_string())?;
                Ok(found.map(|validators| (spool, validators)))
            }
        }
    }

    /// Import a document, and what went wrong.
    fn import(&mut self, file: File, options: &Options) -> (Report, Option<String>) {
        let mut report = Report::new(&options.source, self.parts.shelf.now_s());
        let rooms = match self.rooms_in_use() {
            Ok(rooms) => rooms,
            Err(fault) => return (report, Some(fault)),
        };
        let times = self.parts.shelf.times.clone();
        let before: Vec<_> = rooms.0.iter().map(|room| times.times(room)).collect();
        let Parts { guide, shelf, pulse, .. } = &mut self.parts;
        let now = shelf.now_s();
        let goes_on = |_| {
            pulse.turn();
            !shelf.is_stopping.load(Ordering::Acquire)
        };
        let import = Import { guide, rooms: &rooms, now, progress: Some(&goes_on) };
        let result = import.run(file, options, &mut report);
        let Report {
            source, result: outcome, added, changed, cancelled, disagreeing, skipped, mended, ..
        } = &report;
        match &result {
            Ok(_) => {
                tracing::info!(
                    source,
                    outcome,
                    added,
                    changed,
                    cancelled,
                    mended,
                    skipped,
                    "the guide was imported"
                );
                shelf.numbers.imports.fetch_add(1, Ordering::Relaxed);
                shelf.numbers.imported_s.store(now.unsigned_abs(), Ordering::Relaxed);
            }
            Err(error) => {
                shelf.numbers.failures.fetch_add(1, Ordering::Relaxed);
                let hint = match error {
                    ImportError::Refused(_) => "POST /v1/guide/documents with force=true applies it",
                    _ => "the guide is as it was",
                };
                tracing::error!(source, %error, hint, "the guide's document was not applied");
            }
        }
        if *disagreeing > 0 {
            tracing::warn!(
                source,
                rooms = disagreeing,
                "the guide disagrees with rooms in use, which keep their shows"
            );
        }
        self.count();
        for (room, before) in rooms.0.iter().zip(before) {
            if times.times(room) != before {
                self.follow(room);
            }
        }
        (report, result.err().map(|error| error.to_string()))
    }

    /// The show of this room has other times: the room tells everybody in it.
    fn follow(&self, room: &str) {
        let asked = self.parts.shards.follow_show(room);
        if let Err(fault) = self.runtime.block_on(with_turns(&self.parts.pulse, asked)) {
            tracing::warn!(room, fault, "the room keeps the times of its show until its phase ends");
        }
    }

    fn count(&self) {
        let queries = self.parts.shelf.queries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Ok((_, airings, _)) = queries.counts() {
            self.parts.shelf.numbers.airings.store(airings, Ordering::Relaxed);
        }
        if let Err(error) = self.parts.shelf.times.read(&queries, self.parts.shelf.now_s()) {
            tracing::error!(%error, "the times of airings cannot be read: rooms keep those from before");
        }
    }

    /// Forget what ended long ago, and read the times of what begins soon.
    fn forget(&mut self) {
        if self.parts.keep_days == 0 {
            return self.count();
        }
        let before = self.now_s().saturating_sub(self.parts.keep_days * 86_400) as i64;
        let forgotten = match self.rooms_in_use() {
            Ok(rooms) => self.parts.guide.forget(before, &rooms).map_err(|error| error.to_string()),
            Err(fault) => Err(fault),
        };
        match forgotten {
            Ok(0) => {}
            Ok(airings) => tracing::info!(airings, "the guide forgot what ended long ago"),
            Err(fault) => tracing::warn!(%fault, "the guide keeps what ended long ago"),
        }
        self.count();
    }

    /// Rooms of airings that are open or have messages.
    fn rooms_in_use(&self) -> Result<Used, String> {
        let mut used = HashSet::new();
        let mut after = String::new();
        loop {
            let request =
                AdminRequest::List { prefix: "airing/".into(), after: after.clone(), limit: ROOMS_PAGE };
            let asked = self.parts.shards.every(&request);
            let answers = self.runtime.block_on(with_turns(&self.parts.pulse, asked));
            let answers = answers.map_err(|fault| format!("the rooms in use are not known: {fault}"))?;
            let lists: Vec<_> = answers
                .into_iter()
                .filter_map(|answer| if let AdminAnswer::Rooms(rooms) = answer { Some(rooms) } else { None })
                .collect();
            // Up to the least end of a full page every shard's rooms are known.
            let full = lists.iter().filter(|rooms| rooms.len() >= ROOMS_PAGE);
            let end = full.filter_map(|rooms| rooms.iter().map(|room| room.name.clone()).max()).min();
            let rooms = lists.into_iter().flatten();
            // Before its show a room has people and no messages.
            let is_used = |room: &grandstand_engine::link::RoomInfo| {
                room.phase != Phase::Closed || room.next_offset > 0
            };
            used.extend(rooms.filter(is_used).map(|room| room.name));
            match end {
                Some(end) => after = end,
                None => return Ok(Used(used)),
            }
        }
    }
}

/// Fetch a document into `into`, unless it is the one that is known.
async fn fetch(url: &str, known: &Kept, into: &mut File) -> Result<Option<Kept>, String> {
    let host = host(url).ok_or_else(|| format!("{url} names no host"))?;
    // An operator named this host: it may be in a private network.
    let policy = Policy::allowing(&[host])?;
    let fetcher = Fetcher::new(Settings::new(policy)).map_err(|error| error.to_string())?;
    let of = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let known = Validators { etag: of(&known.tag), last_modified: of(&known.modified) };
    let request = Request::get(url).bytes_max(DOCUMENT_BYTES_MAX).within(FETCH_WITHIN).unless(&known);
    let mut answer = fetcher.open(&request).await.map_err(|error| error.to_string())?;
    match answer.status {
        304 => return Ok(None),
        200 => {}
        status => return Err(format!("{url} answered {status}")),
    }
    while let Some(bytes) = answer.chunk().await.map_err(|error| error.to_string())? {
        into.write_all(&bytes).map_err(|error| error.to_string())?;
    }
    let header = |name: &str| {
        answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    Ok(Some(Kept { tag: header("etag"), modified: header("last-modified") }))
}

/// Host and port of a URL, as a policy names them.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next().filter(|host| !host.is_empty())
}

/// Wait for `future`, and turn the pulse meanwhile.
async fn with_turns<T>(pulse: &Pulse, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        tokio::select! {
            done = &mut future => return done,
            () = tokio::time::sleep(LOOK_EVERY) => pulse.turn(),
        }
    }
}

/// A file without a name in this folder.
pub(super) fn spool(dir: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("guide-{}-{number}.document", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
