//! Bytes from TCP links: through TLS and the WebSocket layer, to the audience.
//!
//! Invariant: sockets are read into the worker's own scratch buffer; a link keeps only what is incomplete.

use grandstand_engine::link::Now;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::websocket::header::write_frame;
use grandstand_protocol::websocket::{Event, Fault, Input, Limits, Opcode, Reader, Role, close_payload};

use super::{SCRATCH_BYTES, Worker};
use crate::audience::ConnectionKey;
use crate::stats::Transport;
use crate::transport::link::{LinkState, Received, Stream};

/// How reading a run of WebSocket bytes ended, when not with "go on".
enum End {
    Fault { code: CloseCode, websocket: u16, detail: String },
    Goodbye { websocket: u16 },
}

impl Worker {
    pub(super) fn handle_link_writable(&mut self, ix: u32) {
        let Some(link) = self.links.get_mut(ix) else { return };
        if !link.flush_tls() {
            return;
        }
        match (link.state, link.connection) {
            (LinkState::Open, Some(key)) => self.audience.handle_writable(key),
            (LinkState::Echo, _) => self.flush_echo(ix),
            _ => {}
        }
    }

    /// Read until the socket has nothing more. A read that left room in the scratch buffer emptied it
    /// (epoll(7)): what comes later is an event of its own. Only an end that was told of already is not, and
    /// is read up to.
    pub(super) fn handle_link_readable(&mut self, now: Now, ix: u32, over: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(link) = self.links.get(ix) {
            match link.read(&mut scratch) {
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
            LinkState::Accepted { .. } | LinkState::Queued { .. } | LinkState::Tls | LinkState::Lingering => {
            }
            LinkState::Upgrade => {
                if let Some(mut rest) = self.take_request(now, ix, bytes)
                    && !rest.is_empty()
                {
                    self.take_plain(now, ix, &mut rest);
                }
            }
            LinkState::Open => {
                if let Some(key) = link.connection {
                    self.take_frames(now, ix, key, bytes);
                }
            }
            LinkState::Echo => self.take_echo(now, ix, bytes),
        }
    }

    fn limits(&self) -> Limits {
        let limits = &self.shared.config.limits;
        Limits {
            message_bytes_max: limits.frame_bytes_max,
            fragments_max: limits.fragments_max as u32,
            control_frames_max: limits.control_frames_max as u32,
        }
    }

    fn take_frames(&mut self, now: Now, ix: u32, key: ConnectionKey, bytes: &mut [u8]) {
        let limits = self.limits();
        let Some(link) = self.links.get_mut(ix) else { return };
        let mut reader = std::mem::replace(&mut link.reader, Reader::new(Role::Server));
        let mut input = Input::new(bytes);
        let end = loop {
            match reader.poll_event(&mut input, &limits) {
                Ok(None) => break None,
                Ok(Some(Event::Message { binary: true, payload })) => {
                    self.audience.handle_frame(now, key, payload);
                }
                Ok(Some(Event::Message { binary: false, .. })) => {
                    let code = CloseCode::NotBinary;
                    break Some(End::Fault {
                        code,
                        websocket: code.websocket(),
                        detail: code.text().to_owned(),
                    });
                }
                Ok(Some(Event::Ping(payload))) => {
                    let mut pong = Vec::with_capacity(payload.len() + 2);
                    write_frame(Opcode::Pong, payload, &mut pong);
                    self.audience.handle_transport_ping(now, key, &pong);
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close { code, .. })) => {
                    break Some(End::Goodbye { websocket: code.unwrap_or(1000) });
                }
                Err(fault) => {
                    let (code, websocket) = (close_code(&fault), fault.close_code());
                    break Some(End::Fault { code, websocket, detail: fault.to_string() });
                }
            }
        };
        let Some(link) = self.links.get_mut(ix) else { return };
        link.reader = reader;
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

    /// The conformance echo: each message comes back as it came, under the same codec and limits.
    fn take_echo(&mut self, now: Now, ix: u32, bytes: &mut [u8]) {
        let limits = self.limits();
        let Some(link) = self.links.get_mut(ix) else { return };
        let mut reader = std::mem::replace(&mut link.reader, Reader::new(Role::Server));
        let mut input = Input::new(bytes);
        let mut out = Vec::new();
        let is_over = loop {
            match reader.poll_event(&mut input, &limits) {
                Ok(None) => break false,
                Ok(Some(Event::Message { binary, payload })) => {
                    write_frame(if binary { Opcode::Binary } else { Opcode::Text }, payload, &mut out);
                }
                Ok(Some(Event::Ping(payload))) => write_frame(Opcode::Pong, payload, &mut out),
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close { code, .. })) => {
                    let payload = code.map_or_else(Vec::new, |code| close_payload(code, ""));
                    write_frame(Opcode::Close, &payload, &mut out);
                    break true;
                }
                Err(fault) => {
                    let reason = fault.to_string();
                    write_frame(Opcode::Close, &close_payload(fault.close_code(), &reason), &mut out);
                    break true;
                }
            }
        };
        let Some(link) = self.links.get_mut(ix) else { return };
        link.reader = reader;
        link.pending.get_or_insert_default().extend_from_slice(&out);
        if is_over {
            link.websocket_code = Some(1000);
            link.since_s = (now.us / 1_000_000) as u32;
        }
        self.flush_echo(ix);
    }

    fn flush_echo(&mut self, ix: u32) {
        let Some(link) = self.links.get_mut(ix) else { return };
        let is_over = link.websocket_code.is_some();
        if let Some(mut pending) = link.pending.take().filter(|p| !p.is_empty()) {
            let bytes = bytes::Bytes::from(std::mem::take(&mut *pending));
            let sent =
                crate::audience::Carrier::send(&mut self.links, crate::audience::WireKey(ix), &[&bytes]);
            if sent < bytes.len() {
                *pending = bytes[sent..].to_vec();
                self.links.get_mut(ix).expect("still here").pending = Some(pending);
                return;
            }
        }
        if is_over && let Some(link) = self.links.get_mut(ix) {
            link.state = LinkState::Lingering;
            link.shutdown_write();
        }
    }
}

fn close_code(fault: &Fault) -> CloseCode {
    match fault {
        Fault::ProtocolError(_) | Fault::InvalidUtf8 => CloseCode::Malformed,
        Fault::MessageTooBig { .. } => CloseCode::FrameTooLarge,
        Fault::TooManyFragments | Fault::TooManyControlFrames => CloseCode::Flooding,
    }
}
