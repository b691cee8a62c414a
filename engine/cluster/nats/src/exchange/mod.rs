//! Exchange: what nodes say of their copies, and snapshots on their way from one node to another.
//!
//! Why on demand, from node to node, and not through an object store of the servers: a snapshot that is made
//! when it is asked for is as new as its source, costs nothing while all is well, and leaves nothing behind.
//! In the servers every byte of it would be written and synced three times, beside the logs.
//! Why a thread and a connection of its own: a snapshot may have gigabytes, and heartbeats must not wait.
//! Invariants: a node makes one snapshot at a time and takes one at a time, part by part, in files; memory is
//! bounded by a part. Whoever takes one pulls, so a slow node is never flooded. A part that is lost is asked
//! for again. What arrives is compared with the sum of the whole before it is used.
//! Not here: what a snapshot holds (`grandstand_store`), when one is needed (`grandstand_cluster::seat`).

mod fetch;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::StreamExt;
use grandstand_cluster::id::NodeId;
use grandstand_cluster::record::Renewal;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Config, Fault};
use crate::subjects::Subjects;
use serve::Offers;

/// Bytes of a part: well below what a message may have.
const PART_BYTES: u64 = 256 << 10;
/// Between two looks at what this node lacks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a node's copy of one shard's log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyState {
    /// Of which shard.
    pub shard: u16,
    /// Its last valid position.
    pub position: u64,
    /// The first position that was not judged.
    pub next: u64,
    /// The sum of its last record, hexadecimal.
    pub sum: String,
    /// The term that it belongs to.
    pub term: u64,
    /// Is it as it was written?
    pub is_sound: bool,
    /// Does the node own the shard?
    pub owns: bool,
    /// Why the node cannot follow the log.
    pub trouble: Option<String>,
}

/// A snapshot that this node needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which shard.
    pub shard: u16,
    /// The first position that the log has.
    pub first: u64,
    /// If the log was made anew: what it goes on from.
    pub renewed: Option<Renewal>,
}

impl Wanted {
    /// Does a copy with this head let the node go on with the log?
    #[must_use]
    pub fn is_met_by(&self, position: u64, sum: u64) -> bool {
        let continues = |renewed: &Renewal| (renewed.position.0, renewed.sum) == (position, sum);
        position + 1 >= self.first || self.renewed.as_ref().is_some_and(continues)
    }
}

/// A node's copies, as the exchange uses them. Each call may take as long as a disk does.
pub trait Copies: Send + Sync {
    /// What they hold.
    fn states(&self) -> Vec<CopyState>;
    /// Which snapshots are needed.
    fn wanted(&self) -> Vec<Wanted>;
    /// Where files may be written.
    fn folder(&self) -> &Path;
    /// Write a snapshot of a shard's copy into a file. Returns the position and the sum of its head.
    ///
    /// # Errors
    /// Why not.
    fn export(&self, shard: u16, to: &Path) -> Result<(u64, u64), String>;
    /// Is there room for a snapshot of so many bytes?
    ///
    /// # Errors
    /// What to do.
    fn check_room(&self, bytes: u64) -> Result<(), String>;
    /// Put a snapshot in place of a shard's copy.
    ///
    /// # Errors
    /// It is not sound, or the disk does not take it.
    fn adopt(&self, wanted: &Wanted, file: &Path) -> Result<(), String>;
    /// What became of the last attempt to get one: nothing wrong, or why there is none yet.
    fn note(&self, shard: u16, result: Result<(), String>);
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// What the copies hold.
    States,
    /// Make a snapshot, or say how far it is.
    Snapshot { shard: u16, first: u64, renewed: Option<(u64, u64, u64)> },
    /// Bytes of a snapshot, raw.
    Part { id: u64, at: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Offer {
    Ready {
        id: u64,
        bytes: u64,
        sum: u64,
    },
    /// It is being made: ask again.
    Making,
    /// Another one is under way: ask again.
    Busy,
    No(String),
}

/// The exchange of a running node. It ends with this value.
#[derive(Debug)]
pub struct Exchange {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Exchange {
    /// Start it: it connects by itself, for as long as that takes.
    ///
    /// # Errors
    /// A file of the configuration cannot be read, or there is no thread.
    pub fn start(
        config: &Config,
        me: NodeId,
        nodes: Vec<NodeId>,
        copies: Arc<dyn Copies>,
    ) -> Result<Exchange, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Fault::Thread(error.to_string()))?;
        let options = runtime.block_on(config.options(me))?;
        let servers = config.addresses(me, &nodes)?;
        let subjects = Subjects::new(&config.cluster);
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(async move {
                let Ok(client) = options.connect(servers).await else { return };
                let others = nodes.into_iter().filter(|node| *node != me).collect();
                let own = Own { client, subjects, others, copies };
                own.run(me, stopped).await;
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("copies".to_owned()).spawn(run);
        let thread = thread.map_err(|error| Fault::Thread(error.to_string()))?;
        Ok(Exchange { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What both directions use.
#[derive(Clone)]
struct Own {
    client: async_nats::Client,
    subjects: Subjects,
    others: Vec<NodeId>,
    copies: Arc<dyn Copies>,
}

impl Own {
    async fn run(self, me: NodeId, mut stopped: oneshot::Receiver<()>) {
        let Ok(mut requests) = self.client.subscribe(self.subjects.copies(me)).await else { return };
        clear(self.copies.folder());
        let (made, mut makes) = mpsc::unbounded_channel();
        let mut offers = Offers::new(made);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut fetch: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(request) = requests.next() => {
                    let Some(reply) = request.reply else { continue };
                    let answer = offers.answer(&self.copies, &request.payload);
                    // An answer that is lost is asked for again.
                    let _ = self.client.publish(reply, answer.into()).await;
                }
                Some(made) = makes.recv() => offers.take(made),
                _ = looks.tick() => {
                    offers.forget_idle();
                    let wanted = self.copies.wanted();
                    if fetch.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)
                        && let Some(next) = wanted.first()
                    {
                        fetch = Some(tokio::spawn(fetch::run(self.clone(), *next)));
                    }
                }
            }
        }
        if let Some(fetch) = fetch {
            fetch.abort();
        }
    }
}

/// Files of an exchange that ended in the middle.
fn clear(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(OUT) || name.starts_with(IN) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// How files of the exchange begin.
const OUT: &str = "snapshot-out-";
const IN: &str = "snapshot-in-";

fn file_of(folder: &Path, kind: &str, shard: u16) -> PathBuf {
    folder.join(format!("{kind}{shard}.db"))
}
