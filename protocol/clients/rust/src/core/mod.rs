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
//! - [`RequestError`]: why a session does not take a request;
//! - [`Ending`], [`ConnectError`], [`Reason`], [`Next`]: how a connection ends, and whether the session
//!   reconnects.
//!
//! Not here: sockets, clocks, randomness beyond the given seed (`net`).

mod acts;
mod batch;
mod connect_error;
mod ending;
mod error;
mod event;
mod heartbeat;
mod history;
mod limits;
mod migration;
mod options;
mod outbox;
mod outcomes;
mod receive;
mod removal;
mod requests;
mod retry;
mod room;
mod session;
mod silence;
mod state;
mod subscriptions;

pub use acts::ActParts;
pub use connect_error::ConnectError;
pub use error::RequestError;
pub use event::{Event, EventOf, Fault, OwnedEvent, Room, RoomOf};
pub use migration::NextConnection;
pub use options::{Options, Publication, SubscribeOptions};
pub use removal::RemovalRule;
pub use retry::{Ending, Next, Reason};
pub use room::RoomId;
pub use session::{CLOSE_WAIT_US, Faults, PROBE_WAIT_US, Session};
#[cfg(feature = "net")]
pub(crate) use state::StateTable;
