//! Closing: ends links with a Close frame and a short wait, or at once.
//!
//! Invariant: nothing is sent after a frame that is only half sent; such a connection is closed without a
//! Close frame.
//! Not here: why a connection is closed (`audience`).

use std::time::{Duration, Instant};

use grandstand_edge_core::admission::limits::Address;
use grandstand_edge_core::audience::Close;
use grandstand_engine::link::Now;
use grandstand_protocol::websocket::header::write_frame;
use grandstand_protocol::websocket::{Opcode, close_payload};

use super::driver::Driver;
use super::lines::Waiter;
use super::refusals::closed;
use crate::stats::{HandshakeFailure, Transport};
use crate::transport::link::{LinkState, Stream};

/// How long a closed link waits for the peer's own close, so that a reset does not lose our last frames.
pub const LINGER_S: u32 = 2;

impl Driver {
    /// Carry out the closes that the audience decided.
    pub(super) fn close_ended(&mut self, instant: Instant, now: Now) {
        while let Some(close) = self.audience.poll_close() {
            self.close_link(instant, now, &close);
        }
    }

    fn close_link(&mut self, instant: Instant, now: Now, close: &Close) {
        let ix = close.wire.0;
        if let Some((client, transport)) = self.address_of(ix) {
            closed(client, transport, close.code);
        }
        let Some(link) = self.links.get_mut(ix) else { return };
        if let Stream::Quic(slot) = link.stream {
            if let Some(quic) = self.links.quic.as_mut() {
                quic.close(instant, slot, close.code, &close.detail);
            }
            return;
        }
        self.stats.closes_websocket.add(u64::from(link.websocket_code.is_some_and(|code| code < 4000)));
        let code = link.websocket_code.unwrap_or(close.code.websocket());
        let may_linger = link.state != LinkState::Leaving;
        link.state = LinkState::Lingering;
        link.since_s = (now.us / 1_000_000) as u32;
        let mut frame = Vec::new();
        write_frame(Opcode::Close, &close_payload(code, &close.detail), &mut frame);
        // No frame can follow a frame that is only half sent, so the connection is closed without one.
        if !close.is_clean || !self.links.send_own(ix, frame) {
            return self.drop_link(ix);
        }
        if let Some(link) = self.links.get_mut(ix) {
            link.end();
        }
        if self.is_stopping || !may_linger {
            return self.drop_link(ix);
        }
        // Its place is another's from now on.
        self.lines.leave(Waiter::Link(self.links.token(ix)));
    }

    /// The client's address of an open link, and its transport.
    fn address_of(&self, ix: u32) -> Option<(Address, Transport)> {
        let link = self.links.get(ix)?;
        let client = match link.stream {
            Stream::Quic(slot) => self.links.quic.as_ref()?.address(slot)?,
            _ => link.permit?.address(),
        };
        Some((client, link.stream.transport()))
    }

    /// End links whose state took too long.
    pub(super) fn end_late(&mut self, instant: Instant, now: Now) {
        let timeout = Duration::from_millis(self.shared.config.limits.handshake_timeout_ms);
        let now_s = (now.us / 1_000_000) as u32;
        let is_late = |since_s: u32, limit_s: u32| now_s.saturating_sub(since_s) > limit_s;
        let handshake_s = timeout.as_millis().div_ceil(1000) as u32;
        let late: Vec<(u32, LinkState)> = self
            .links
            .iter()
            .filter(|(_, link)| match link.state {
                LinkState::Accepted { .. } | LinkState::Tls | LinkState::Upgrade => {
                    is_late(link.since_s, handshake_s)
                }
                LinkState::Lingering => is_late(link.since_s, LINGER_S),
                // A queued connection waits for the node, so it is not late. The handshake queue refuses it
                // in time. The audience closes one that says no `Hello`.
                LinkState::Queued { .. } | LinkState::Greeting | LinkState::Open | LinkState::Leaving => {
                    false
                }
            })
            .map(|(ix, link)| (ix, link.state))
            .collect();
        for (ix, state) in late {
            let under_tls = matches!(state, LinkState::Tls | LinkState::Accepted { is_tls: true });
            self.stats.handshakes_failed.of(HandshakeFailure::Timeout).add(u64::from(under_tls));
            if matches!(state, LinkState::Upgrade | LinkState::Accepted { is_tls: false }) {
                self.refuse_request(now, ix, 408, "the request was not finished in time");
            } else {
                self.drop_link(ix);
            }
        }
        if let Some(quic) = self.links.quic.as_mut() {
            quic.close_unopened(instant, timeout);
        }
    }

    /// Count gauges by visiting all links: once a second is often enough.
    pub(super) fn count_links(&self) {
        let mut open = [0u64; 3];
        let mut pending = self.links.quic.as_ref().map_or(0, |quic| quic.counts.pending as u64);
        for (_, link) in self.links.iter() {
            open[link.stream.transport() as usize] += 1;
            pending += u64::from(link.state.is_handshake());
        }
        self.stats.connections.set_all(&open);
        self.stats.handshakes_pending.set(pending);
    }
}
