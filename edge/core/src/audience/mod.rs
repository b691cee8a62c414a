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
//! - out: `poll_writes` (through a [`Transport`]), `poll_close`; inputs to shards go straight to the
//!   [`Backbone`], which never blocks.
//!
//! Order per connection: the rest of a frame that was begun, then control frames, then batches.
//! Not here: transports (`worker`), tokens (`auth`), what a room accepts (`grandstand_engine`).

mod catch_up;
mod compression;
mod connection;
mod counters;
mod drain;
mod fanout;
mod hello;
mod history;
mod outputs;
mod requests;
mod ring;
mod room;
mod session;
mod settings;
mod shards;
mod subscribe;
#[cfg(test)]
#[allow(clippy::disallowed_types, reason = "the test's links stand between threads of a node")]
mod tests;
mod timeouts;
mod token_bucket;
mod transport;
mod write_run;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use grandstand_engine::link::Backbone;
use grandstand_engine::link::{Alias, ConnectionToken, Now};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Encoder, ErrorFrame, Refused, ServerFrame};
use grandstand_protocol::refusal::Refusal;
use slab::Slab;

use crate::admission::overload::HelloThrottle;
use crate::auth::{Authorize, SealTickets};
use crate::key::Key;
use compression::BatchCompressor;
use connection::{Connection, slot};
pub use counters::Counters;
pub use drain::Drain;
use drain::DrainProgress;
use history::PageFor;
use room::{Room, RoomKey};
pub use settings::Settings;
use shards::ShardLink;
pub use token_bucket::{Rate, TokenBucket};
pub use transport::{LinkKey, Transport};

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
    settings: Settings,
    authority: Arc<dyn Authorize>,
    tickets: Arc<dyn SealTickets>,
    shards: ShardLink,
    connections: Slab<Connection>,
    rooms: Slab<Room>,
    /// Keyed by strangers: they choose the names.
    by_name: HashMap<Arc<str>, RoomKey, Key>,
    by_alias: HashMap<Alias, RoomKey, RandomState>,
    /// Rooms with news, in the order in which the news came.
    dirty: VecDeque<RoomKey>,
    /// Connections with control frames or a past to read.
    flush: VecDeque<u32>,
    /// Ends that were decided, by the connection's token: its transport may break first, and its slot be
    /// taken again.
    closes: VecDeque<(ConnectionToken, Close)>,
    /// Rooms with reactions, and since when.
    reacted: Vec<RoomKey>,
    reacted_flush_us: u64,
    recount: Vec<RoomKey>,
    recount_flush_us: u64,
    /// Who waits for a page of history, by the request's ticket.
    pages: Slab<PageFor>,
    /// Of them, those whose clients asked for one.
    pages_asked: usize,
    throttle: HelloThrottle,
    drain_progress: Option<Box<DrainProgress>>,
    sweep_us: u64,
    generation: u32,
    key: Key,
    /// Session numbers given so far.
    sessions_numbered: u64,
    encoder: Encoder,
    compressor: BatchCompressor,
    counters: Counters,
}

impl std::fmt::Debug for Audience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audience")
            .field("connections", &self.connections.len())
            .field("rooms", &self.rooms.len())
            .finish_non_exhaustive()
    }
}

impl Audience {
    /// An audience of nobody. `key` makes session numbers and hashing unforeseeable: a node draws it from the
    /// kernel, a test fixes it.
    pub fn new(
        settings: Settings,
        authority: Arc<dyn Authorize>,
        tickets: Arc<dyn SealTickets>,
        backbone: Arc<dyn Backbone>,
        key: Key,
    ) -> Self {
        let connections = Slab::with_capacity(settings.connections_reserved);
        Audience {
            settings,
            authority,
            tickets,
            shards: ShardLink::new(backbone),
            connections,
            rooms: Slab::new(),
            by_name: HashMap::with_hasher(key),
            by_alias: HashMap::with_hasher(RandomState::default()),
            dirty: VecDeque::new(),
            flush: VecDeque::new(),
            closes: VecDeque::new(),
            reacted: Vec::new(),
            reacted_flush_us: 0,
            recount: Vec::new(),
            recount_flush_us: 0,
            pages: Slab::new(),
            pages_asked: 0,
            throttle: HelloThrottle::new(key.number(u64::MAX)),
            drain_progress: None,
            sweep_us: 0,
            generation: 0,
            key,
            sessions_numbered: 0,
            encoder: Encoder::new(),
            compressor: BatchCompressor::default(),
            counters: Counters::default(),
        }
    }

    /// A transport connection stands; its first frame must be `Hello`, and soon.
    pub fn handle_open(&mut self, now: Now, wire: LinkKey) -> ConnectionKey {
        self.generation = self.generation.wrapping_add(1);
        let connection = Connection::new(wire, self.generation, seconds(now));
        ConnectionKey(self.connections.insert(connection) as u32)
    }

    /// The transport has room again for a connection that it had not taken everything of.
    pub fn handle_writable(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if std::mem::take(&mut connection.blocked) {
            self.queue_flush(key.0);
        }
    }

    /// Transport frames (a WebSocket pong) that must stand between two of ours.
    pub fn handle_raw(&mut self, key: ConnectionKey, frame: &[u8]) {
        if self.connections.get(key.0 as usize).is_some_and(|c| !c.closing) {
            self.push_control(key.0, |_, out| out.extend_from_slice(frame));
            self.close_if_full(key.0);
        }
    }

    /// The connection is gone, whoever ended it.
    pub fn handle_gone(&mut self, key: ConnectionKey) {
        if let Some(session) = self.connections.get_mut(key.0 as usize).and_then(|c| c.session.take()) {
            self.counters.sessions -= 1;
            for membership in &session.memberships {
                self.leave(key.0, *membership);
            }
        }
        self.connections.try_remove(key.0 as usize);
    }

    /// End a connection for a fault that its driver found.
    pub fn handle_fault(&mut self, key: ConnectionKey, code: CloseCode, detail: &str) {
        self.close(key.0, code, detail);
    }

    /// The peer said goodbye in its transport's own way: end the connection without another word.
    pub fn handle_goodbye(&mut self, key: ConnectionKey) {
        self.end(key.0, CloseCode::Normal, "");
    }

    /// A transport's own ping: it costs what a frame costs, and keeps the session alive as one.
    pub fn handle_transport_ping(&mut self, now: Now, key: ConnectionKey, pong: &[u8]) {
        let Some(connection) = self.connections.get_mut(key.0 as usize).filter(|c| !c.closing) else {
            return;
        };
        connection.heard_s = seconds(now);
        if connection.session.is_some() && !self.is_within_rate(now, key.0) {
            return self.close(key.0, CloseCode::Flooding, "");
        }
        self.handle_raw(key, pong);
    }

    /// A connection that is to be ended, if any; what was to be written to it has been offered.
    pub fn poll_close(&mut self) -> Option<Close> {
        loop {
            let (token, _) = self.closes.front()?;
            let connection = self.connections.get(slot(*token) as usize).filter(|c| c.is(*token));
            if connection.is_some_and(|c| c.queued) {
                return None;
            }
            let is_clean = connection.map(|c| c.out.is_none());
            let (_, close) = self.closes.pop_front()?;
            if let Some(is_clean) = is_clean {
                return Some(Close { is_clean, ..close });
            }
        }
    }

    /// Is there something to write, close or submit without waiting for an event?
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || !self.flush.is_empty() || !self.closes.is_empty()
    }

    /// What was counted so far.
    pub fn counters(&mut self) -> &Counters {
        self.counters.rooms = self.rooms.len() as u64;
        &self.counters
    }

    /// The limit on frames from clients.
    pub fn frame_bytes_max(&self) -> usize {
        self.settings.frame_bytes_max as usize
    }

    fn connection_slots(&self) -> Vec<u32> {
        self.connections.iter().map(|(ix, _)| ix as u32).collect()
    }

    /// Decide a connection's end, and tell the peer why.
    fn close(&mut self, ix: u32, code: CloseCode, detail: &str) {
        let detail = if detail.is_empty() { code.text() } else { detail };
        if self.end(ix, code, detail) {
            let error = ErrorFrame { code: code.wire(), retry: code.retry(), retry_after_ms: 0, detail };
            self.write_control(ix, &ServerFrame::Error(error));
        }
    }

    /// Decide a connection's end: read no more, leave its rooms. `false` if it had been decided.
    fn end(&mut self, ix: u32, code: CloseCode, detail: &str) -> bool {
        let Some(connection) = self.connections.get_mut(ix as usize) else { return false };
        if std::mem::replace(&mut connection.closing, true) {
            return false;
        }
        let (wire, token) = (connection.wire, connection.token(ix));
        if let Some(session) = connection.session.take() {
            self.counters.sessions -= 1;
            for membership in &session.memberships {
                self.leave(ix, *membership);
            }
        }
        self.counters.closed(code);
        let (connection, detail) = (ConnectionKey(ix), detail.to_owned());
        self.closes.push_back((token, Close { wire, connection, code, detail, is_clean: false }));
        true
    }

    fn refuse(&mut self, ix: u32, kind: u8, id: u64, reason: Refusal, retry_after_ms: Option<u32>) {
        self.counters.refused(reason);
        let refused = Refused { kind, id, reason, retry_after_ms, detail: reason.text() };
        self.send_control(ix, &ServerFrame::Refused(refused));
    }

    /// Queue a control frame; a peer that lets its control queue fill is closed.
    fn send_control(&mut self, ix: u32, frame: &ServerFrame<'_>) {
        if self.connections.get(ix as usize).is_none_or(|c| c.closing) {
            return;
        }
        self.write_control(ix, frame);
        self.close_if_full(ix);
    }

    fn close_if_full(&mut self, ix: u32) {
        let connection = &self.connections[ix as usize];
        let is_full = connection.blocked
            && connection
                .out
                .as_ref()
                .is_some_and(|o| o.control.len() > self.settings.control_queue_bytes_max);
        if is_full {
            self.close(ix, CloseCode::ControlQueueFull, "");
        }
    }

    fn write_control(&mut self, ix: u32, frame: &ServerFrame<'_>) {
        self.push_control(ix, |encoder, out| encoder.server_framed_to(frame, out));
    }

    fn push_control(&mut self, ix: u32, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let Some(connection) = self.connections.get_mut(ix as usize) else { return };
        let out = connection.out.get_or_insert_default();
        write(&mut self.encoder, &mut out.control);
        self.counters.control_frames_out += 1;
        self.queue_flush(ix);
    }

    /// Shared control bytes (a snapshot). Nothing follows the notice of a connection's end.
    fn push_shared(&mut self, ix: u32, wire: &Bytes) {
        if self.connections.get(ix as usize).is_some_and(|c| !c.closing) {
            self.push_control(ix, |_, out| out.extend_from_slice(wire));
        }
    }

    fn queue_flush(&mut self, ix: u32) {
        let connection = &mut self.connections[ix as usize];
        if !connection.blocked && !std::mem::replace(&mut connection.queued, true) {
            self.flush.push_back(ix);
        }
    }

    fn mark_dirty(&mut self, key: RoomKey) {
        let room = &mut self.rooms[key.0 as usize];
        room.walk_again = true;
        if !std::mem::replace(&mut room.is_dirty, true) {
            self.dirty.push_back(key);
        }
    }
}

fn seconds(now: Now) -> u32 {
    (now.us / 1_000_000) as u32
}
