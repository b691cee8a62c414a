//! The node's copies as other nodes see them: what they hold, snapshots of them, and snapshots for them.
//!
//! Why here: the exchange knows NATS, the store knows SQLite, and the board knows what is wrong.
//! Invariants: a copy is replaced only while its node neither owns nor claims the shard. After a repair, what
//! is replaced is kept aside first, so that nothing that any copy had is lost.
//! Not here: how snapshots travel (`grandstand_nats::exchange`), what is in them (`grandstand_store`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use grandstand_cluster::record::ChainHead;
use grandstand_cluster::seat::{Phase, Trouble};
use grandstand_cluster::stand::{Board, StandStatus};
use grandstand_edge::clock::Clock;
use grandstand_engine::runtime::wall;
use grandstand_nats::exchange::{Copies, CopyState, Wanted};
use grandstand_store::StoreConfig;
use grandstand_store::snapshot::{Snapshot, export};

use super::copy::Slot;

/// How long a disk may take to write a snapshot of gigabytes.
const TAKEN_WITHIN: Duration = Duration::from_secs(900);
/// Between two looks whether it was taken.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Room on the disk for a snapshot of a byte: the file, the write-ahead log and the database.
const ROOM_FACTOR: u64 = 3;

/// What became of the snapshots that were needed, by shard.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<BTreeMap<u16, Note>>);

#[derive(Debug, Default)]
struct Note {
    why: Option<String>,
    taken: u64,
    /// What was logged last, so that each trouble is said once.
    said: Option<&'static str>,
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a shard has no snapshot yet.
    pub(super) fn of(&self, shard: u16) -> Option<String> {
        self.lock().get(&shard)?.why.clone()
    }

    /// How many were taken.
    pub(super) fn taken(&self, shard: u16) -> u64 {
        self.lock().get(&shard).map_or(0, |note| note.taken)
    }
}

/// See the file's head.
pub(super) struct OwnCopies {
    config: StoreConfig,
    board: Board,
    slots: Vec<Arc<Slot>>,
    notes: Arc<Notes>,
}

impl OwnCopies {
    pub(super) fn new(config: StoreConfig, board: Board, slots: Vec<Arc<Slot>>, notes: Arc<Notes>) -> Self {
        OwnCopies { config, board, slots, notes }
    }

    fn is_damaged(&self, status: &StandStatus) -> bool {
        self.slots.get(usize::from(status.shard.0)).is_some_and(|slot| slot.is_damaged())
    }

    /// Say each trouble when it begins, and when it has ended.
    fn say(&self, status: &StandStatus) {
        let word = match status.trouble {
            None if self.is_damaged(status) => Some("damaged"),
            None => None,
            Some(Trouble::Behind { .. }) => Some("behind"),
            Some(Trouble::Forgotten { .. }) => Some("forgotten"),
            Some(Trouble::Differs { .. }) => Some("differs"),
        };
        let mut notes = self.notes.lock();
        let note = notes.entry(status.shard.0).or_default();
        if note.said == word {
            return;
        }
        note.said = word;
        let shard = status.shard.0;
        match (status.trouble, word) {
            (Some(trouble), _) => tracing::error!(shard, "the log of a shard cannot be followed: {trouble}"),
            (None, Some(_)) => tracing::error!(
                shard,
                "this node's copy of the shard is damaged: it owns the shard no more, and takes a snapshot of \
                 another node"
            ),
            (None, None) => {
                note.why = None;
                tracing::info!(shard, "the log of the shard can be followed again");
            }
        }
    }

    /// Copies differed, or the log forgot: what this one has is in a file of its own before it is replaced.
    fn keep_aside(&self, shard: u16) -> Result<PathBuf, String> {
        let file = self.config.dir.join(format!("replaced-shard-{shard}-{}.db", wall::unix_ms()));
        export(&self.config.dir, shard, &file).map_err(|error| error.to_string())?;
        tracing::warn!(shard, file = %file.display(), "what this node's copy had is kept aside");
        Ok(file)
    }
}

/// May a copy be replaced now?
fn is_idle(status: &StandStatus) -> bool {
    matches!(status.phase, Phase::Following | Phase::Orphan)
}

impl Copies for OwnCopies {
    fn states(&self) -> Vec<CopyState> {
        let state = |status: StandStatus| CopyState {
            shard: status.shard.0,
            position: status.position.0,
            next: status.next.0,
            sum: format!("{:016x}", status.sum),
            term: status.term.0,
            is_sound: !self.is_damaged(&status),
            owns: !is_idle(&status) && status.phase != Phase::Claiming,
            trouble: status.trouble.map(|trouble| trouble.to_string()),
        };
        self.board.statuses().into_iter().map(state).collect()
    }

    fn wanted(&self) -> Vec<Wanted> {
        let statuses = self.board.statuses();
        statuses.iter().for_each(|status| self.say(status));
        let wanted = statuses.iter().filter(|status| is_idle(status)).filter_map(|status| {
            let shard = status.shard.0;
            match status.trouble {
                Some(Trouble::Behind { first, renewed, .. }) => {
                    Some(Wanted { shard, first: first.0, renewed })
                }
                // What another node has up to here is as good as what was lost.
                None if self.is_damaged(status) => {
                    Some(Wanted { shard, first: status.position.0.max(1), renewed: None })
                }
                _ => None,
            }
        });
        wanted.collect()
    }

    fn folder(&self) -> &Path {
        &self.config.dir
    }

    fn export(&self, shard: u16, to: &Path) -> Result<(u64, u64), String> {
        let exported = export(&self.config.dir, shard, to).map_err(|error| error.to_string())?;
        let head = ChainHead::decode(exported.head.bytes()).map_err(|fault| fault.to_string())?;
        tracing::info!(
            shard,
            position = head.position.0,
            rooms = exported.rooms,
            bytes = exported.bytes,
            "a snapshot was made for another node"
        );
        Ok((head.position.0, head.sum))
    }

    fn check_room(&self, bytes: u64) -> Result<(), String> {
        let room = rustix::fs::statvfs(&self.config.dir).map_err(|error| error.to_string())?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let needed = bytes.saturating_mul(ROOM_FACTOR);
        if free >= needed {
            return Ok(());
        }
        Err(format!(
            "the disk of log.dir has {} MB free, and a snapshot of {} MB needs {}: make room",
            free >> 20,
            bytes.div_ceil(1 << 20),
            needed.div_ceil(1 << 20)
        ))
    }

    fn adopt(&self, wanted: &Wanted, file: &Path) -> Result<(), String> {
        let shards = self.slots.len() as u16;
        let snapshot = Snapshot::read(file, (wanted.shard, shards), &self.config);
        let snapshot = snapshot.map_err(|error| error.to_string())?;
        let head = ChainHead::decode(snapshot.head().bytes()).map_err(|fault| fault.to_string())?;
        if !wanted.is_met_by(head.position.0, head.sum) {
            return Err("the log was trimmed beyond the snapshot meanwhile".to_owned());
        }
        let statuses = self.board.statuses();
        let status = statuses.iter().find(|status| status.shard.0 == wanted.shard);
        let Some(status) = status.filter(|status| is_idle(status)) else {
            return Err("this node owns the shard now".to_owned());
        };
        if wanted.renewed.is_some() && status.position.0 > 0 && !self.is_damaged(status) {
            self.keep_aside(wanted.shard)?;
        }
        let slot = &self.slots[usize::from(wanted.shard)];
        slot.put(snapshot);
        let clock = Clock::start();
        while clock.uptime() < TAKEN_WITHIN {
            if let Some(end) = slot.take_end() {
                end?;
                tracing::info!(
                    shard = wanted.shard,
                    position = head.position.0,
                    "a snapshot of another node took the place of this node's copy"
                );
                return Ok(());
            }
            thread::sleep(LOOK_EVERY);
        }
        Err("this node's disk did not take the snapshot in time".to_owned())
    }

    fn note(&self, shard: u16, result: Result<(), String>) {
        let mut notes = self.notes.lock();
        let note = notes.entry(shard).or_default();
        match result {
            Ok(()) => {
                note.taken += 1;
                note.why = None;
            }
            Err(why) => {
                if note.why.as_ref() != Some(&why) {
                    tracing::warn!(shard, "no snapshot could be taken: {why}");
                }
                note.why = Some(why);
            }
        }
    }
}
