//! The link between edges and shards: every message that passes between the two, and its route.
//!
//! Why one folder: both sides, the queues in a process and a network use exactly these messages.
//! Invariants: everything that a shard sends about one room reaches a worker in the order in which it was
//! sent. A batch is shared by reference and never copied. Every bounded queue gives back what it could not
//! take.
//! Not here: what a shard does with an input (`shard`), the queues and threads (`runtime`).

mod act;
mod admin;
mod backbone;
mod batch;
mod directory;
mod id;
mod input;
mod lineage;
mod output;
mod per_worker;
mod settings;

pub use act::{ActRequest, Actor, Recipient, RoomNotice};
pub use admin::{AdminAnswer, AdminReply, AdminRequest, HeldPerson, Moderated, Reported, RoomInfo};
pub use backbone::{Backbone, InProcess};
pub use batch::{Batch, Compressed, StateImage};
pub use directory::Directory;
pub use id::{Alias, ConnectionToken, Now, Opener, PersonId, ReplyTo, ShardId, UserId, WorkerId};
pub use input::{Input, Load, PageOf, Publication, StateChange};
pub use lineage::{Lineage, PreviousEpoch, epoch_after};
pub use output::{Answer, AnswerKind, Attachment, HistoryPage, Output, Personal};
pub(crate) use per_worker::PerWorker;
pub use settings::RoomSettings;
