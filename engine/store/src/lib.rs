//! The durable log: what rooms of durability `disk` sealed, in SQLite, with backups and verification.
//!
//! The way of an entry: a shard *pushes* it ([`DurableLog`](grandstand_engine::log::DurableLog)); it is
//! encoded once, written to the *crash log* (memory that outlives the process) and queued. The *log thread*
//! commits what all shards queued as one row of the *journal*, synced, and tells the shards. Every few
//! seconds what the journal holds is moved into the rooms' *segments*, where history is read from. After a
//! crash the crash log and the journal are brought together (`recovery`).
//!
//! - for a node: [`Store`], [`StoreConfig`], [`Opening`], [`Status`];
//! - for operators: [`backup`], [`verify`].
//!
//! Not here: which rooms are kept on disk and what publishers are told (`engine::shard`), keys of the
//! configuration (edge).
#![forbid(unsafe_code)]

pub mod backup;
mod checksum;
mod clock;
mod codec;
mod committer;
mod compaction;
mod config;
mod crash_log;
mod directory;
mod error;
mod journal;
mod memtable;
mod reader;
mod record;
mod recovery;
mod restore;
mod retention;
mod room_state;
mod schema;
mod shard_log;
mod status;
mod store;
mod tables;
pub mod verify;
mod wal;

pub use config::{BackupPlan, Retention, StoreConfig};
pub use error::StoreError;
pub use recovery::{Found, Opening};
pub use schema::DATABASE;
pub use status::{COMMIT_BUCKETS_US, Health, Status};
pub use store::Store;
