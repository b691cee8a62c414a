//! Grandstand's durable log: the entries of rooms with durability `disk`, in SQLite, with backups and
//! verification.
//!
//! The path of an entry:
//! 1. A shard *pushes* it ([`DurableLog`](grandstand_engine::log::DurableLog)). It is encoded once, written
//!    to the *crash log* (files in memory that outlive the process) and queued in the *memtable*.
//! 2. The *committer* thread writes what all shards queued as one row of the *journal*, syncs it, and tells
//!    the shards that it is durable. A *mark* in another file says so too.
//! 3. Every few seconds *compaction* moves the entries from the journal into the *segments* of their rooms,
//!    where history is read from.
//!
//! After a crash `recovery` adds what the crash log has and the journal lacks.
//!
//! In a cluster a node has no log of its own. Its database is a *copy* of the logs that the cluster keeps:
//! see [`ShardCopy`]. The path of an entry is the same from its second step on, without crash log and marks.
//!
//! - for a node: [`Store`], [`StoreConfig`], [`Opening`], [`Status`];
//! - for a node of a cluster: [`Store::open_copies`], [`ShardCopy`], [`encode_entry`], [`snapshot`];
//! - for operators: [`backup`], [`verify`], [`scan`].
//!
//! Not here: which rooms are on disk and what publishers are told (`grandstand_engine::shard`), configuration
//! keys (`grandstand-edge`).
#![forbid(unsafe_code)]

mod adopt;
mod adoption;
pub mod backup;
mod checksum;
mod clock;
mod codec;
mod committer;
mod compaction;
mod config;
mod copy;
mod copy_head;
mod crash_log;
mod directory;
mod error;
mod journal;
mod losses;
mod marks;
mod memtable;
mod reader;
mod record;
mod recovery;
mod restore;
mod retention;
mod room_state;
pub mod scan;
mod schema;
mod shard_end;
mod shard_log;
pub mod snapshot;
mod status;
mod store;
mod tables;
pub mod verify;
mod wal;

pub use config::{BackupPlan, Retention, StoreConfig};
pub use copy::{NotAnEntry, ShardCopy, decode_entry, encode_entry};
pub use copy_head::CopyHead;
pub use error::{LogKind, StoreError};
pub use recovery::{Found, Missing, Opening};
pub use schema::DATABASE;
pub use status::{COMMIT_BUCKETS_US, Health, Status};
pub use store::Store;
