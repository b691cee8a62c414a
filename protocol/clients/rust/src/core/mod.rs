//! What a client of Grandstand does, without IO: frames and time in, frames and events out.
//!
//! Why apart from sockets: resuming without loss or repetition is decided here alone, so tests drive it in
//! virtual time through every order of frames and disconnects, and both transports, the load generator and
//! apps share one answer.
//!
//! - [`Session`]: outlives its connections; `handle_*` in, `poll_*` out;
//! - [`NextConnection`]: the connection to which it migrates, while the present one goes on;
//! - [`Event`], [`OwnedEvent`]: what the application learns, borrowed from the frame or kept;
//! - [`Options`], [`SubscribeOptions`], [`Publication`]: what it asks for;
//! - [`Ending`], [`Reason`], [`Next`]: how connections end and what follows.
//!
//! Not here: sockets, clocks, randomness other than the seed that it is given (`net`).

mod batch;
mod ending;
mod event;
mod heartbeat;
mod history;
mod migration;
mod options;
mod outbox;
mod receive;
mod retry;
mod room;
mod session;
mod subscriptions;

pub use event::{Event, EventOf, Fault, OwnedEvent, Room, RoomOf};
pub use migration::NextConnection;
pub use options::{Options, Publication, SubscribeOptions};
pub use outbox::Full;
pub use retry::{Ending, Next, Reason};
pub use room::RoomId;
pub use session::{Faults, Session};
