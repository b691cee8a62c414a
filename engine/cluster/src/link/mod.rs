//! Links: what two nodes say to each other about a shard, as frames of items in both directions.
//!
//! Why frames: a turn of the owner seals many rooms, and one message per turn and node costs the network
//! the same whatever it holds.
//! Invariants: a frame belongs to one term and one life of its sender. Its number shows every hole.
//! Not here: what an input or an output means (`grandstand_engine`), who owns the shard (`seat`), how frames
//! travel (`stand::wire`).

mod frame;

pub use frame::{DownFrame, DownItem, UpFrame, UpItem};
