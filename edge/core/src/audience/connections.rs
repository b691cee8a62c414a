//! The connections of one worker: their slots, the control frames that wait for them, and their ends.
//!
//! Why a type: writing a control frame and deciding an end touch nothing but the connection and these queues,
//! so that a caller may hold a room meanwhile.
//! Invariants: a connection is in the flush queue at most once; an end is decided once; nothing is written to
//! a connection after the notice of its end.
//! Not here: leaving rooms when a connection ends (`subscriptions`), batches (`fanout`).

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

use bytes::Bytes;
use grandstand_engine::link::ConnectionToken;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{Encoder, ErrorFrame, ServerFrame};
use slab::Slab;

use super::connection::{Connection, slot};
use super::frame_sink::LinkKey;
use super::outgoing::Outgoing;
use super::session::Session;
use super::{Close, ConnectionKey, Counters};
use crate::people::AddressBlock;

/// From here on a control queue grows by a quarter.
const LARGE_BYTES: usize = 4_096;

/// See the file's head.
pub(super) struct Connections {
    pub(super) slab: Slab<Connection>,
    generation: u32,
    /// Connections with control frames or a past to read.
    pub(super) flush: VecDeque<u32>,
    /// Ends that were decided, by the connection's token: its transport may break first, and its slot be
    /// taken again.
    closes: VecDeque<(ConnectionToken, Close)>,
    encoder: Encoder,
    /// Of the whole audience: nearly all that is counted is written to a connection.
    pub(super) counters: Counters,
}

impl Index<u32> for Connections {
    type Output = Connection;

    #[inline]
    fn index(&self, ix: u32) -> &Connection {
        &self.slab[ix as usize]
    }
}

impl IndexMut<u32> for Connections {
    #[inline]
    fn index_mut(&mut self, ix: u32) -> &mut Connection {
        &mut self.slab[ix as usize]
    }
}

impl Connections {
    /// None, with memory for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Connections {
            slab: Slab::with_capacity(count),
            generation: 0,
            flush: VecDeque::new(),
            closes: VecDeque::new(),
            encoder: Encoder::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn open(&mut self, wire: LinkKey, block: AddressBlock, now_s: u32) -> ConnectionKey {
        self.generation = self.generation.wrapping_add(1);
        ConnectionKey(self.slab.insert(Connection::new(wire, self.generation, block, now_s)) as u32)
    }

    /// Free the slot of a connection that is gone.
    pub(super) fn remove(&mut self, ix: u32) {
        self.slab.try_remove(ix as usize);
    }

    #[inline]
    pub(super) fn get(&self, ix: u32) -> Option<&Connection> {
        self.slab.get(ix as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, ix: u32) -> Option<&mut Connection> {
        self.slab.get_mut(ix as usize)
    }

    /// A connection whose end has not been decided.
    #[inline]
    pub(super) fn open_mut(&mut self, ix: u32) -> Option<&mut Connection> {
        self.get_mut(ix).filter(|c| !c.closing)
    }

    /// The connection that a token names, if it is still there, with its slot.
    #[inline]
    pub(super) fn named(&self, token: ConnectionToken) -> Option<(u32, &Connection)> {
        let ix = slot(token);
        self.get(ix).filter(|c| c.is(token)).map(|c| (ix, c))
    }

    /// As [`Self::named`], to be changed.
    #[inline]
    pub(super) fn named_mut(&mut self, token: ConnectionToken) -> Option<(u32, &mut Connection)> {
        let ix = slot(token);
        self.get_mut(ix).filter(|c| c.is(token)).map(|c| (ix, c))
    }

    /// The session on a connection, if it has one.
    #[inline]
    pub(super) fn session_mut(&mut self, ix: u32) -> Option<&mut Session> {
        self.get_mut(ix)?.session.as_deref_mut()
    }

    /// The connection and the session that a request came from.
    #[inline]
    pub(super) fn requester(&mut self, ix: u32) -> (ConnectionToken, &mut Session) {
        let connection = &mut self[ix];
        let token = connection.token(ix);
        (token, connection.session.as_mut().expect("a request has a session"))
    }

    /// Take the session off a connection that ends.
    pub(super) fn take_session(&mut self, ix: u32) -> Option<Box<Session>> {
        let session = self.get_mut(ix)?.session.take()?;
        self.counters.sessions -= 1;
        Some(session)
    }

    /// The slots in use.
    pub(super) fn slots(&self) -> Vec<u32> {
        self.slab.iter().map(|(ix, _)| ix as u32).collect()
    }

    /// Is there something to flush or to close?
    pub(super) fn has_work(&self) -> bool {
        !self.flush.is_empty() || !self.closes.is_empty()
    }

    /// The transport has room again.
    pub(super) fn unblock(&mut self, ix: u32) {
        if self.get_mut(ix).is_some_and(|c| std::mem::take(&mut c.blocked)) {
            self.queue_flush(ix);
        }
    }

    #[inline]
    pub(super) fn queue_flush(&mut self, ix: u32) {
        let connection = &mut self[ix];
        if !connection.blocked && !std::mem::replace(&mut connection.queued, true) {
            self.flush.push_back(ix);
        }
    }

    pub(super) fn write_control(&mut self, ix: u32, frame: &ServerFrame<'_>) {
        self.push_control(ix, |encoder, out| encoder.server_framed_to(frame, out));
    }

    /// Bytes of the transport's own, between two frames.
    pub(super) fn write_raw(&mut self, ix: u32, bytes: &[u8]) {
        self.push_control(ix, |_, out| out.extend_from_slice(bytes));
    }

    /// Shared control bytes (a snapshot). Nothing follows the notice of a connection's end.
    pub(super) fn write_shared(&mut self, ix: u32, wire: &Bytes) {
        let Some(connection) = self.get_mut(ix).filter(|c| !c.closing) else { return };
        if connection.out.is_some() {
            return self.write_raw(ix, wire);
        }
        connection.out = Some(Box::new(Outgoing::of(wire.clone(), 0)));
        self.counters.control_frames_out += 1;
        self.queue_flush(ix);
    }

    fn push_control(&mut self, ix: u32, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let Some(connection) = self.slab.get_mut(ix as usize) else { return };
        let out = connection.out.get_or_insert_default();
        // A full queue that doubled would take twice its bound.
        let (waiting, space) = (out.control.len(), out.control.capacity());
        if waiting > LARGE_BYTES && space - waiting < LARGE_BYTES / 8 {
            out.control.reserve_exact(waiting / 4);
        }
        write(&mut self.encoder, &mut out.control);
        self.counters.control_frames_out += 1;
        self.queue_flush(ix);
    }

    /// Decide a connection's end: read no more from it. `false` if it had been decided.
    pub(super) fn end(&mut self, ix: u32, code: CloseCode, detail: &str) -> bool {
        let Some(connection) = self.slab.get_mut(ix as usize) else { return false };
        if std::mem::replace(&mut connection.closing, true) {
            return false;
        }
        let (wire, token) = (connection.wire, connection.token(ix));
        self.counters.closed(code);
        let (connection, detail) = (ConnectionKey(ix), detail.to_owned());
        self.closes.push_back((token, Close { wire, connection, code, detail, is_clean: false }));
        true
    }

    /// Tell the peer why its connection ends.
    pub(super) fn write_error(&mut self, ix: u32, code: CloseCode, retry_after_ms: u32, detail: &str) {
        let (code, retry) = (code.wire(), code.retry());
        self.write_control(ix, &ServerFrame::Error(ErrorFrame { code, retry, retry_after_ms, detail }));
    }

    /// A connection that is to be ended, if any; what was to be written to it has been offered.
    pub(super) fn poll_close(&mut self) -> Option<Close> {
        loop {
            let (token, _) = self.closes.front()?;
            let connection = self.named(*token).map(|(_, c)| c);
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
}
