//! The core of the client, a state machine without IO: frames and time in, frames and events out.
//!
//! Why apart from sockets: resuming without loss or repetition is decided here alone. So tests drive it in
//! virtual time through every order of frames and disconnects. Both transports, the load generator and apps
//! share this code.
//!
//! - [`Session`]: outlives its connections; `handle_*` in, `poll_*` out;
//! - [`NextConnection`]: the connection to which it migrates, beside the present one;
//! - [`Event`], [`OwnedEvent`]: reports to the application, borrowed from the frame or owned;
//! - [`Options`], [`SubscribeOptions`], [`Publication`]: the application's settings and requests;
//! - [`Ending`], [`Reason`], [`Next`]: how a connection ends, and whether the session reconnects.
//!
//! Not here: sockets, clocks, randomness beyond the given seed (`net`).

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
