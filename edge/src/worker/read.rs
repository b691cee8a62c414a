//! Reading: passes bytes from TCP links, through TLS and WebSocket, to the audience.
//!
//! Invariant: sockets are read into the worker's own scratch buffer; a link keeps only what is incomplete.
//! Not here: which links are ready (`poller`), upgrade requests (`upgrade`).

use grandstand_edge_core::audience::ConnectionKey;
use grandstand_engine::link::Now;

use super::driver::{Driver, SCRATCH_BYTES};
use crate::stats::Transport;
use crate::transport::link::{LinkState, Stream};
use crate::transport::tcp::Received;
use crate::transport::websocket::{self, End, Message};

impl Driver {
    pub(super) fn handle_link_writable(&mut self, ix: u32) {
        let Some(link) = self.links.get_mut(ix) else { return };
        if !link.flush_tls() {
            return;
        }
        if let (LinkState::Greeting | LinkState::Open, Some(key)) = (link.state, link.connection) {
            self.audience.handle_writable(key);
        }
    }

    /// Read until the socket has nothing more. A read that does not fill the scratch buffer has emptied the
    /// socket (epoll(7)), and later bytes bring a new event. If epoll has reported the end already (`over`),
    /// no new event follows, so the socket is read to its end.
    pub(super) fn handle_link_readable(&mut self, now: Now, ix: u32, over: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(link) = self.links.get(ix) {
            match link.receive(&mut scratch) {
                Received::Bytes(n) => {
                    self.stats.bytes_in.add(n as u64);
                    self.take_bytes(now, ix, &mut scratch[..n]);
                    if n < SCRATCH_BYTES && !over {
                        break;
                    }
                }
                Received::Blocked => break,
                Received::Ended => {
                    self.drop_link(ix);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn take_bytes(&mut self, now: Now, ix: u32, bytes: &mut [u8]) {
        let Some(link) = self.links.get_mut(ix) else { return };
        let Stream::Tls(_, tls) = &mut link.stream else { return self.take_plain(now, ix, bytes) };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let outcome = tls.handle_bytes(bytes, &mut plain);
        let (is_closed, is_agreed) = (tls.is_closed, !tls.is_handshaking());
        if link.state == LinkState::Tls && is_agreed {
            link.state = LinkState::Upgrade;
            self.stats.handshakes_resumed.of(Transport::WebSocketTls).add(u64::from(tls.is_resumed()));
        }
        link.flush_tls();
        if !plain.is_empty() && outcome.is_ok() {
            self.take_plain(now, ix, &mut plain);
        }
        self.plain = plain;
        if outcome.is_err() || is_closed {
            self.drop_link(ix);
        }
    }

    fn take_plain(&mut self, now: Now, ix: u32, bytes: &mut [u8]) {
        let Some(link) = self.links.get(ix) else { return };
        match link.state {
            LinkState::Accepted { .. }
            | LinkState::Queued { .. }
            | LinkState::Tls
            | LinkState::Leaving
            | LinkState::Lingering => {}
            LinkState::Upgrade => {
                if let Some(mut rest) = self.take_request(now, ix, bytes)
                    && !rest.is_empty()
                {
                    self.take_plain(now, ix, &mut rest);
                }
            }
            LinkState::Greeting => {
                if let Some(key) = link.connection {
                    self.take_frames(now, ix, key, bytes);
                    self.end_greeting(ix);
                }
            }
            LinkState::Open => {
                if let Some(key) = link.connection {
                    self.take_frames(now, ix, key, bytes);
                }
            }
        }
    }

    fn take_frames(&mut self, now: Now, ix: u32, key: ConnectionKey, bytes: &mut [u8]) {
        let limits = websocket::limits(&self.shared.config.limits);
        let Some(link) = self.links.get_mut(ix) else { return };
        let end = websocket::read(&mut link.reader, bytes, &limits, |message| match message {
            Message::Frame(frame) => self.audience.handle_frame(now, key, frame),
            Message::Ping { pong } => self.audience.handle_transport_ping(now, key, pong),
        });
        match end {
            None => {}
            Some(End::Goodbye { websocket }) => {
                link.websocket_code = Some(websocket);
                self.audience.handle_goodbye(key);
            }
            Some(End::Fault { code, websocket, detail }) => {
                link.websocket_code = Some(websocket);
                self.audience.handle_fault(key, code, &detail);
            }
        }
    }
}
