//! The crowd: viewers and publishers with the real client, on a few threads of this process.
//!
//! - `viewer`: tells everything that its session reports; `publisher`: sends, and notes every outcome;
//!   `probe`: one who comes for a moment.
//!
//! Why one process: its clock is the clock of every record, and nothing that is seen is lost with a process.
//! Invariants: publishing goes on until the end, whatever happens to nodes; records are in the order in which
//! they were made, for each client.
//! Not here: what the records mean (`checker`).

mod probe;
mod publisher;
mod viewer;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use grandstand_client::net::{Connector, Trust, Url, Urls};
use grandstand_protocol::frame::Outcome;
use serde::Serialize;
use tokio::task::LocalSet;

use crate::machines::{PORT, SHARDS};
use crate::network::{MACHINES, front};

/// Threads of viewers.
const VIEWER_THREADS: usize = 2;

/// Publishers of each room: one at each node.
const PUBLISHERS: usize = MACHINES;

/// The mark of a message that no publisher of this run wrote.
pub(crate) const FOREIGN: u64 = u64::MAX;

/// What a viewer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A node accepted the session.
    Welcome {
        node: usize,
    },
    Subscribed {
        outcome: Outcome,
        epoch: u64,
        offset: u64,
    },
    Message {
        offset: u64,
        number: u64,
    },
    Omitted {
        from: u64,
        to: u64,
    },
    Gap {
        epoch: u64,
        from: u64,
        to: u64,
        is_restart: bool,
    },
    /// A breach of the protocol, as the client sees it.
    Fault,
    Unsubscribed,
    Disconnected,
    /// The session is over; another one follows in the same place unless the run ends.
    Closed {
        was_asked: bool,
    },
}

/// One record of a viewer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) viewer: u32,
    pub(crate) at_us: u64,
    pub(crate) told: Told,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) enum Fate {
    #[default]
    Waiting,
    Acknowledged {
        offset: u64,
        epoch: u64,
        at_us: u64,
        /// The node that its publisher was connected to.
        node: usize,
    },
    /// For good.
    Refused,
    /// It may be in the log or not, and the publisher was told so.
    Uncertain,
    NotSent,
}

/// A publication.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Publication {
    pub(crate) room: usize,
    pub(crate) sent_us: u64,
    pub(crate) fate: Fate,
    /// Outcomes; more than one is a fault.
    pub(crate) outcomes: u32,
    /// Refusals after which it was sent again: with a time, and without.
    pub(crate) put_off: u32,
    pub(crate) put_off_without_time: u32,
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    records: Mutex<Vec<Record>>,
    publications: Mutex<Vec<Publication>>,
    is_publishing: AtomicBool,
    is_over: AtomicBool,
    /// Rises when viewers are to go back to their own node.
    homecoming: AtomicU64,
    inside: AtomicUsize,
    room_names: Vec<String>,
    /// Between two publications of one publisher.
    interval_us: u64,
    /// Tells this run's texts from others.
    run: u32,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) shared: Arc<Shared>,
    pub(crate) viewers: usize,
    threads: Vec<JoinHandle<Result<()>>>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crowd {
    /// Viewers, spread over rooms and nodes, and publishers of `rate` messages a second in all rooms
    /// together. One room per shard.
    pub(crate) fn start(room_names: Vec<String>, viewers: usize, rate: f64) -> Result<Crowd> {
        let publishers = room_names.len() * PUBLISHERS;
        let shared = Arc::new(Shared {
            records: Mutex::default(),
            publications: Mutex::default(),
            is_publishing: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            homecoming: AtomicU64::new(0),
            inside: AtomicUsize::new(0),
            interval_us: (publishers as f64 / rate * 1e6) as u64,
            room_names,
            run: grandstand_client::net::seed() as u32,
        });
        let mut threads = Vec::new();
        for part in 0..VIEWER_THREADS {
            let shared = shared.clone();
            threads.push(thread::spawn(move || {
                let numbers = (part..viewers).step_by(VIEWER_THREADS);
                run(numbers.map(|number| viewer::live(shared.clone(), number)))
            }));
        }
        let all = shared.clone();
        threads.push(thread::spawn(move || {
            run((0..publishers).map(|number| publisher::live(all.clone(), number)))
        }));
        Ok(Crowd { shared, viewers, threads })
    }

    /// The records since the last call.
    pub(crate) fn take_records(&self) -> Vec<Record> {
        std::mem::take(&mut locked(&self.shared.records))
    }

    /// The publications so far.
    pub(crate) fn publications(&self) -> MutexGuard<'_, Vec<Publication>> {
        locked(&self.shared.publications)
    }

    /// Viewers that are in their room now.
    pub(crate) fn inside(&self) -> usize {
        self.shared.inside.load(Relaxed)
    }

    /// Viewers that are elsewhere begin anew at their own node.
    pub(crate) fn go_home(&self) {
        self.shared.homecoming.fetch_add(1, Relaxed);
    }

    /// Does a new viewer get the newest messages of a room at this node in time?
    pub(crate) fn can_read(&self, room: usize, node: usize, within: Duration) -> bool {
        probe::can_read(&self.shared.room_names[room], node, within)
    }

    /// Has a thread of clients ended before its time?
    pub(crate) fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.is_publishing.store(false, Relaxed);
        self.shared.is_over.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // What it said is of no use any more.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn record(&self, viewer: usize, at_us: u64, told: Told) {
        locked(&self.records).push(Record { viewer: viewer as u32, at_us, told });
    }

    fn text(&self, number: u64) -> String {
        format!("gsf {:x} {number:x} the quick brown fox jumps over it", self.run)
    }

    fn number_of(&self, text: &str) -> u64 {
        let mut words = text.split(' ').skip(1);
        let mut next = || u64::from_str_radix(words.next()?, 16).ok();
        match (next(), next()) {
            (Some(run), Some(number)) if run == u64::from(self.run) => number,
            _ => FOREIGN,
        }
    }
}

/// The room of a viewer or publisher, and its own node: every pair has as many.
pub(crate) fn place(number: usize) -> (usize, usize) {
    (number % SHARDS, number / SHARDS % MACHINES)
}

/// The addresses of all nodes, that of `home` first.
fn urls(home: usize) -> Urls {
    let urls: Vec<Url> = (0..MACHINES).map(|node| url((home + node) % MACHINES)).collect();
    Urls::try_from(urls).expect("there are machines")
}

fn url(node: usize) -> Url {
    format!("ws://{}:{PORT}/v1", front(node)).parse().expect("an address makes a URL")
}

fn connector() -> Connector {
    Connector::new(&Trust::Nobody).expect("no certificate is needed")
}

/// Runs clients on this thread until all have ended.
fn run<F: Future<Output = ()> + 'static>(clients: impl Iterator<Item = F>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for clients")?;
    let local = LocalSet::new();
    for client in clients {
        local.spawn_local(client);
    }
    runtime.block_on(local);
    Ok(())
}
