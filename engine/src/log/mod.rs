//! Logs: where a room's sealed batches are kept.
//!
//! Two kinds: `memory` keeps the newest batches of every room and answers at once; `durable` is the contract
//! of a log that outlives the process and answers later. A room of durability `disk` is kept in both.
//! `handed` is what one owner leaves to the next in another process.
//! Not here: SQLite (`grandstand-store`), which rooms are kept where (`shard::durability`).

mod durable;
mod handed;
mod memory;

pub use durable::{
    BatchEntry, DurableLog, Entry, LogSource, News, Position, ReadRequest, RoomEntry, StateEntry,
    StoredNonce, StoredRoom, Unavailable,
};
pub use handed::{Handed, HandedLive, HandedNonces, HandedRoom};
pub use memory::{Log, MemoryLog};
