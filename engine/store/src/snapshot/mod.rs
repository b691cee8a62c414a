//! Snapshots: one shard's copy as one file, which another node takes in place of its own.
//!
//! Why: the cluster's log keeps a bounded tail. A copy that was away for longer cannot read what it lacks,
//! and takes a snapshot of another node's copy instead; then it reads the log from there.
//! How: [`export`] reads a database that serves, in one read transaction, so the file is the copy at one
//! head. It is a database of the same form, in which only that shard has rooms, so `verify` checks it from
//! end to end, and it is checked before it gets its name. [`Snapshot::read`] checks it again, at the node
//! that takes it.
//! Invariants: memory is bounded by one segment and by what a copy keeps in memory anyway. A file with the
//! name of a snapshot is whole and sound. A copy has all of a snapshot, or nothing (`adopt`).
//! Beside it: [`Importer`], by which the rooms of another log become rooms of copies.
//! Not here: which node makes one for whom, and how it travels (`grandstand-nats`).

mod export;
mod import;

pub use export::{Exported, export};
pub use import::{Imported, Importer};

pub use crate::copy::Snapshot;
