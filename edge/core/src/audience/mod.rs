//! The audience of one worker: sessions, the rooms that they follow, and fan-out. The edge's core.
//!
//! A viewer is a cursor: a `room::Member` that names its connection and how far it has read. Fan-out walks
//! the members of a room that has news and offers each connection everything from its cursor to the head of
//! the ring, as shared bytes, in one write. A connection that takes less is blocked until its driver says
//! otherwise; its members lag at no cost, and skip to the head when the ring forgets what they had not read.
//!
//! Why a core: it takes the time, frames and answers, and returns what to send, submit and close. It knows no
//! socket, clock, thread or runtime, so a whole cluster of them runs in one test under virtual time.
//!
//! - in: `handle_open`, `handle_frame`, `handle_writable`, `handle_goodbye`, `handle_fault`, `handle_gone`,
//!   `handle_output`, `handle_timeout`, `handle_drain` and others;
//! - out: `poll_writes` (through a [`FrameSink`]), `poll_close`; inputs to shards go straight to the
//!   [`Backbone`], which never blocks.
//!
//! Its parts: `connections` (slots, control frames, ends), `rooms` (names, aliases, news), and
//! `subscriptions`, which holds both and decides who follows what. The audience itself has hellos, outputs of
//! shards and time; a frame from a client is judged as a `Request`.
//!
//! Order per connection: the rest of a frame that was begun, then control frames, then batches.
//! Not here: transports (`worker`), tokens (`auth`), what a room accepts (`grandstand_engine`).

mod acts;
mod bans;
mod catch_up;
mod compression;
mod connection;
mod connections;
mod counters;
mod drain;
mod elsewhere;
mod expiry;
mod fanout;
mod frame_sink;
mod hello;
mod history;
mod outgoing;
mod outputs;
mod pages;
mod presence;
mod reactions;
mod reattach;
mod removals;
mod renewal;
mod requests;
mod revocation;
mod ring;
mod room;
mod rooms;
mod scrub;
mod session;
mod settings;
mod shards;
mod staff;
mod subscribe;
mod subscriptions;
#[cfg(test)]
#[allow(clippy::disallowed_types, reason = "the test's links stand between threads of a node")]
mod tests;
mod timeouts;
mod token_bucket;
mod write_run;

use std::sync::Arc;

use grandstand_engine::link::{Backbone, Now};
use grandstand_protocol::close::CloseCode;

use crate::admission::limits::Address;
use crate::admission::overload::HelloThrottle;
use crate::auth::{Authorize, SealTickets};
use crate::key::Key;
use crate::people::People;
use compression::BatchCompressor;
pub use counters::Counters;
use drain::DrainProgress;
pub use drain::{Drain, Heir};
use expiry::Endings;
pub use frame_sink::{FrameSink, LinkKey};
use hello::SessionNumbers;
pub use presence::{PresenceQuery, Present, presence};
use session::FrameVerdict;
pub use settings::Settings;
use subscriptions::Subscriptions;
pub use token_bucket::{Rate, TokenBucket};

/// A connection of this audience, as its driver names it until it says `handle_gone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey(pub u32);

/// A connection that the driver is to end: its control frames have been offered already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Its wire.
    pub wire: LinkKey,
    /// Its key, still valid until `handle_gone`.
    pub connection: ConnectionKey,
    /// Why.
    pub code: CloseCode,
    /// More, for people.
    pub detail: String,
    /// Whether everything written so far ended on a frame's boundary: only then may transport frames follow.
    pub is_clean: bool,
}

/// See the file's head.
pub struct Audience {
    authority: Arc<dyn Authorize>,
    tickets: Arc<dyn SealTickets>,
    subscriptions: Subscriptions,
    throttle: HelloThrottle,
    session_numbers: SessionNumbers,
    drain_progress: Option<Box<DrainProgress>>,
    endings: Endings,
    sweep_us: u64,
    compressor: BatchCompressor,
}

impl std::fmt::Debug for Audience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audience")
            .field("connections", &self.subscriptions.connections.slab.len())
            .field("rooms", &self.subscriptions.rooms.slab.len())
            .finish_non_exhaustive()
    }
}

impl Audience {
    /// An audience of nobody. `people` is what all workers of the node know of people. `key` makes session
    /// numbers and hashing unforeseeable: a node draws it from the kernel, a test fixes it.
    pub fn new(
        settings: Settings,
        authority: Arc<dyn Authorize>,
        tickets: Arc<dyn SealTickets>,
        backbone: Arc<dyn Backbone>,
        people: Arc<People>,
        key: Key,
    ) -> Self {
        Audience {
            authority,
            tickets,
            subscriptions: Subscriptions::new(settings, backbone, people, key),
            throttle: HelloThrottle::new(key.number(u64::MAX)),
            session_numbers: SessionNumbers::new(key),
            drain_progress: None,
            endings: Endings::default(),
            sweep_us: 0,
            compressor: BatchCompressor::default(),
        }
    }

    /// A transport connection from this address is established; its first frame must be `Hello`, and soon.
    pub fn handle_open(&mut self, now: Now, wire: LinkKey, from: Option<Address>) -> ConnectionKey {
        let block = from.map(|address| self.subscriptions.people.block(address));
        self.subscriptions.connections.open(wire, block.unwrap_or_default(), seconds(now))
    }

    /// As [`Self::handle_open`], through a trusted proxy that did not tell its client's address.
    pub fn handle_open_behind(&mut self, now: Now, wire: LinkKey, proxy: Address) -> ConnectionKey {
        let block = self.subscriptions.people.block_behind(proxy);
        self.subscriptions.connections.open(wire, block, seconds(now))
    }

    /// Has the connection been welcomed?
    pub fn has_session(&self, key: ConnectionKey) -> bool {
        self.subscriptions.connections.get(key.0).is_some_and(|connection| connection.session.is_some())
    }

    /// The transport has room again for a connection that it had not taken everything of.
    pub fn handle_writable(&mut self, key: ConnectionKey) {
        self.subscriptions.connections.unblock(key.0);
    }

    /// Transport frames (a WebSocket pong) that must stand between two of ours.
    pub fn handle_raw(&mut self, key: ConnectionKey, frame: &[u8]) {
        if self.subscriptions.connections.open_mut(key.0).is_some() {
            self.subscriptions.connections.write_raw(key.0, frame);
            self.subscriptions.close_if_full(key.0);
        }
    }

    /// The connection is gone, whoever ended it.
    pub fn handle_gone(&mut self, key: ConnectionKey) {
        self.subscriptions.end_session(key.0);
        self.subscriptions.connections.remove(key.0);
    }

    /// End a connection for a fault that its driver found.
    pub fn handle_fault(&mut self, key: ConnectionKey, code: CloseCode, detail: &str) {
        self.subscriptions.close(key.0, code, detail);
    }

    /// The peer said goodbye in its transport's own way: end the connection without another word.
    pub fn handle_goodbye(&mut self, key: ConnectionKey) {
        self.subscriptions.end(key.0, CloseCode::Normal, "");
    }

    /// A transport's own ping: it costs what a frame costs, and keeps the session alive as one.
    pub fn handle_transport_ping(&mut self, now: Now, key: ConnectionKey, pong: &[u8]) {
        let Subscriptions { settings, connections, people, .. } = &mut self.subscriptions;
        let Some(connection) = connections.open_mut(key.0) else { return };
        connection.heard_s = seconds(now);
        let verdict = connection.session.as_mut().map(|s| s.take_frame(people, now, settings, true));
        if verdict == Some(FrameVerdict::Flooding) {
            return self.subscriptions.close(key.0, CloseCode::Flooding, "");
        }
        self.handle_raw(key, pong);
    }

    /// Write until nothing is left or the budget of writes is used up; `true` when there is more to do.
    pub fn poll_writes(&mut self, sink: &mut impl FrameSink, writes_max: usize) -> bool {
        self.subscriptions.poll_writes(sink, writes_max)
    }

    /// A connection that is to be ended, if any; what was to be written to it has been offered.
    pub fn poll_close(&mut self) -> Option<Close> {
        self.subscriptions.connections.poll_close()
    }

    /// Is there something to write, close or submit without waiting for an event?
    pub fn has_work(&self) -> bool {
        !self.subscriptions.rooms.dirty.is_empty() || self.subscriptions.connections.has_work()
    }

    /// What was counted so far.
    pub fn counters(&mut self) -> &Counters {
        let counters = &mut self.subscriptions.connections.counters;
        counters.rooms = self.subscriptions.rooms.slab.len() as u64;
        counters
    }

    /// The limit on frames from clients.
    pub fn frame_bytes_max(&self) -> usize {
        self.subscriptions.settings.frame_bytes_max as usize
    }
}

fn seconds(now: Now) -> u32 {
    (now.us / 1_000_000) as u32
}
