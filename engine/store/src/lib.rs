//! The durable log: what rooms of durability `disk` sealed, in SQLite, with backups and verification.
//!
//! The way of an entry: a shard *pushes* it ([`DurableLog`](grandstand_engine::log::DurableLog)); it is
//! encoded once, written to the *recorder* (memory that outlives the process) and queued. The *log thread*
//! commits what all shards queued as one row of the *journal*, synced, and tells the shards. Every few
//! seconds what the journal holds is moved into the rooms' *segments*, where history is read from. After a
//! crash the recorder and the journal are brought together (`recovery`).
//!
//! - for a node: [`Store`], [`StoreConfig`], [`Opening`], [`Status`];
//! - for operators: [`backup`], [`verify`].
//!
//! Not here: which rooms are kept on disk and what publishers are told (`engine::shard`), keys of the
//! configuration (edge).
#![forbid(unsafe_code)]

pub mod backup;
mod clock;
mod config;
mod error;
mod head;
mod journal;
mod layout;
mod mover;
mod reader;
mod record;
mod recorder;
mod recovery;
mod restore;
mod retention;
mod rows;
mod schema;
mod shard_log;
mod status;
mod store;
mod sum;
mod tail;
pub mod verify;
mod wal;
mod writer;

pub use config::{BackupPlan, Retention, StoreConfig};
pub use error::StoreError;
pub use recovery::{Found, Opening};
pub use schema::DATABASE;
pub use status::{COMMIT_BUCKETS_US, Health, Status};
pub use store::Store;
