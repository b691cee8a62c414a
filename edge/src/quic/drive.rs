//! Visits to connections: one visit converts quinn's reports to events, reads frames, sends packets and sets
//! the timer.
//!
//! Why all of it in one visit: a connection's state is several kilobytes, and has left the cache by the next
//! visit.
//! Invariants: a connection that has something to do is in the queue at most once. Nothing is sent while the
//! socket is full. `Gone` is reported once for each connection.
//! Not here: datagrams in and frames out (`endpoint`), the contents of a stream (`protocol`, `streams`).

use std::time::Instant;

use grandstand_protocol::close::CloseCode;
use quinn_proto::{ConnectionHandle, Dir, Event, ReadError, StreamEvent, StreamId};

use super::connection::Sending;
use super::endpoint::{Quic, QuicEvent};
use super::protocol::Role;

/// A datagram below this size held everything that was written. The largest item that moves whole to the next
/// datagram, except a close with its reason, is a connection ID of 60 bytes. A full datagram has at least
/// 1,200 bytes.
const FULL_BYTES_MIN: usize = 1_000;

impl Quic {
    /// Visit every connection that has something to do. Stops while the socket is full.
    pub(crate) fn drive(&mut self, now: Instant) {
        self.now = now;
        self.drive_reading();
        self.drive_down_to(0);
    }

    /// Visit the connections whose timers are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let mut due = std::mem::take(&mut self.due);
        self.timers.ring(now, |slot| due.push(slot));
        for slot in due.drain(..) {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.quinn.handle_timeout(now);
                self.drive_queued(slot);
            }
        }
        self.due = due;
    }

    /// Queue a connection for a visit, with the amount that it may have to send.
    pub(super) fn enqueue(&mut self, slot: usize, sending: Sending) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.queued.is_none() {
            self.queue.push_back(slot);
        }
        connection.queued = connection.queued.max(Some(sending));
    }

    /// Visit the connection of the last datagrams. Datagrams of one connection mostly come together, so the
    /// visit waits until another connection gets one.
    pub(super) fn drive_reading(&mut self) {
        if let Some(slot) = self.reading.take() {
            self.drive_queued(slot);
        }
    }

    /// Visit the connections that have waited longest, until this number is left or the socket is full.
    pub(super) fn drive_down_to(&mut self, left: usize) {
        while self.queue.len() > left
            && !self.socket.is_blocked()
            && let Some(slot) = self.queue.pop_front()
        {
            // Otherwise it has been visited since.
            if let Some(sending) = self.connections.get(slot).and_then(|connection| connection.queued) {
                self.drive_one(slot, sending);
            }
        }
    }

    /// Visit one connection now, if the socket has room.
    pub(super) fn drive_queued(&mut self, slot: usize) {
        if self.socket.is_blocked() {
            self.enqueue(slot, Sending::All);
        } else {
            self.drive_one(slot, Sending::All);
        }
    }

    /// Ask a connection that has sent its written bytes whether it has more to send.
    ///
    /// Why not at once: mostly it has not, and the question costs a fifth of a frame. Why at all: quinn
    /// learns from an empty answer that the window was not used up. It must know that before it processes an
    /// acknowledgement.
    pub(super) fn settle(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot)
            && std::mem::take(&mut connection.is_unsettled)
            && !self.socket.is_blocked()
        {
            let withheld = &mut self.counts.withheld;
            if let Some(transmit) = connection.poll_transmit(self.now, &mut self.buffer, withheld) {
                self.socket.send(transmit, &self.buffer);
            }
        }
    }

    fn drive_one(&mut self, slot: usize, sending: Sending) {
        let handle = ConnectionHandle(slot);
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.queued = None;
        }
        loop {
            let Some(connection) = self.connections.get_mut(slot) else { return };
            while let Some(event) = connection.quinn.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    connection.quinn.handle_event(event);
                }
            }
            match connection.quinn.poll() {
                Some(event) => self.handle_quinn_event(slot, &event),
                None => break,
            }
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        while !self.socket.is_blocked() {
            let withheld = &mut self.counts.withheld;
            let transmit = connection.poll_transmit(self.now, &mut self.buffer, withheld);
            connection.is_unsettled = transmit.is_some();
            let Some(transmit) = transmit else { break };
            let is_last = sending == Sending::Written && transmit.size < FULL_BYTES_MIN;
            self.socket.send(transmit, &self.buffer);
            if is_last {
                break;
            }
        }
        self.timers.arm(slot, connection.quinn.poll_timeout());
        if connection.quinn.is_drained() {
            self.forget(slot);
        } else if self.socket.is_blocked() {
            self.enqueue(slot, Sending::All);
        }
    }

    fn forget(&mut self, slot: usize) {
        self.report_gone(slot);
        let Some(mut connection) = self.connections.remove(slot) else { return };
        self.timers.arm(slot, None);
        while let Some(event) = connection.quinn.poll_endpoint_events() {
            self.endpoint.handle_event(ConnectionHandle(slot), event);
        }
    }

    /// Report once that a connection is gone.
    pub(super) fn report_gone(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if std::mem::replace(&mut connection.is_closed, true) {
            return;
        }
        let (permit, was_established) = (connection.permit, connection.is_established);
        if was_established {
            self.counts.established -= 1;
        } else {
            self.counts.pending -= 1;
        }
        self.events.push_back(QuicEvent::Gone { slot: slot as u32, permit, was_established });
    }

    fn handle_quinn_event(&mut self, slot: usize, event: &Event) {
        match event {
            Event::Connected => self.handle_established(slot),
            Event::ConnectionLost { .. } => self.report_gone(slot),
            Event::Stream(StreamEvent::Opened { dir }) => self.handle_opened(slot, *dir),
            Event::Stream(StreamEvent::Readable { id }) => self.read(slot, *id),
            Event::Stream(StreamEvent::Writable { .. }) => {
                self.events.push_back(QuicEvent::Writable { slot: slot as u32 });
            }
            Event::Stream(StreamEvent::Stopped { .. }) => {
                let (slot, code) = (slot as u32, CloseCode::Normal);
                self.events.push_back(QuicEvent::Fault { slot, code, detail: "the client stopped reading" });
            }
            _ => {}
        }
    }

    fn handle_established(&mut self, slot: usize) {
        let connection = self.connections.get_mut(slot).expect("an event has a connection");
        if !connection.is_closed && !std::mem::replace(&mut connection.is_established, true) {
            connection.handle_proven();
            let agreed = connection.agreed();
            connection.protocol = agreed.map(|agreed| agreed.protocol);
            self.counts.pending -= 1;
            self.counts.established += 1;
            let is_resumed = agreed.is_some_and(|agreed| agreed.is_resumed);
            self.events.push_back(QuicEvent::Established { slot: slot as u32, is_resumed });
        }
    }

    fn handle_opened(&mut self, slot: usize, dir: Dir) {
        loop {
            let connection = self.connections.get_mut(slot).expect("an event has a connection");
            let Some(id) = connection.quinn.streams().accept(dir) else { return };
            // The limits on streams keep a client from opening a stream without a role.
            let Some(role) = connection.protocol.and_then(|protocol| protocol.role_of(id)) else { continue };
            connection.streams.insert(id, role);
            match role {
                Role::Session => self.events.push_back(QuicEvent::Opened { slot: slot as u32 }),
            }
            self.read(slot, id);
        }
    }

    fn read(&mut self, slot: usize, id: StreamId) {
        let connection = self.connections.get_mut(slot).expect("an event has a connection");
        let Some(state) = connection.streams.get_mut(id).filter(|_| !connection.is_closed) else { return };
        let slot = slot as u32;
        let mut stream = connection.quinn.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        let fault = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    let take = |frame| self.events.push_back(QuicEvent::Frame { slot, frame });
                    if let Err(fault) = state.split_frames(chunk.bytes, self.frame_bytes_max, take) {
                        break Some(fault);
                    }
                }
                // A finished or reset sending side ends the session.
                Ok(None) | Err(ReadError::Reset(_)) => {
                    break Some((CloseCode::Normal, "the client ended its stream"));
                }
                Err(ReadError::Blocked) => break None,
            }
        };
        // The packets that it requests leave with this visit, which reads before it sends.
        let _ = chunks.finalize();
        if let Some((code, detail)) = fault {
            self.events.push_back(QuicEvent::Fault { slot, code, detail });
        }
    }
}
