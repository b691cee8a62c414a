//! Upgrades: the HTTP request that opens a WebSocket on a link, and its answer.
//!
//! Not here: which requests are accepted (`transport::websocket`).

use std::sync::atomic::Ordering;

use grandstand_edge_core::audience::LinkKey;
use grandstand_engine::link::Now;
use grandstand_protocol::proxy::begins_header;
use grandstand_protocol::websocket::handshake::{Probe, parse_probe, parse_request, write_refusal};

use super::drain::RETRY_AFTER_S;
use super::driver::Driver;
use super::lines::{self, NO_PLACE, Waiter};
use super::proxy::{Unnamed, limited};
use super::refusals::request_refused;
use crate::stats::{HandshakeFailure, TurnedAway};
use crate::transport::link::LinkState;
use crate::transport::websocket::{self, Upgrade};

impl Driver {
    /// Take the bytes of the request. The bytes after it belong to the WebSocket and are returned.
    pub(super) fn take_request(&mut self, now: Now, ix: u32, bytes: &[u8]) -> Option<Vec<u8>> {
        let shared = self.shared.clone();
        let ws = &shared.config.ws;
        let opening = self.links.get_mut(ix)?.opening.as_mut()?;
        let is_first = opening.request.is_empty();
        opening.request.extend_from_slice(bytes);
        // A request ends with a line. To parse only then keeps a client that sends byte by byte cheap.
        if !is_first && !bytes.contains(&b'\n') && opening.request.len() < ws.header_bytes_max {
            return None;
        }
        let mut request = std::mem::take(&mut opening.request);
        match parse_probe(&request, ws.header_bytes_max) {
            Ok(None) => {}
            Ok(Some(Some(probe))) => {
                self.answer_probe(now, ix, probe);
                return None;
            }
            Ok(Some(None)) => {
                opening.request = request;
                return None;
            }
            Err(fault) => {
                self.refuse_request(now, ix, fault.status(), fault.reason());
                return None;
            }
        }
        let upgrade = match parse_request(&request, ws.header_bytes_max) {
            Ok(Some(parsed)) => match self.name_by_request(now, ix, &parsed) {
                Ok(()) => websocket::judge(ws, &parsed),
                Err(Unnamed::Malformed(fault)) => {
                    tracing::warn!(peer = %self.client_of(ix), "{fault}, from a trusted proxy");
                    Upgrade::Refuse(400, "malformed Forwarded")
                }
                Err(Unnamed::Limit(limit)) => {
                    self.stats.turned_away.of(TurnedAway::from(limit)).inc();
                    let (status, reason, retry_after_s) = limited(limit);
                    self.refuse_request_until(now, ix, status, reason, retry_after_s);
                    return None;
                }
            },
            Ok(None) => {
                self.links.get_mut(ix)?.opening.as_mut()?.request = request;
                return None;
            }
            Err(_) if begins_header(&request) => {
                self.stats.turned_away.of(TurnedAway::ProxyHeader).inc();
                self.log_strange_header(ix);
                Upgrade::Refuse(400, "a PROXY header came where none is due")
            }
            Err(fault) => websocket::refusal(ws, &request, fault),
        };
        match upgrade {
            Upgrade::Refuse(status, reason) => {
                self.refuse_request(now, ix, status, reason);
                None
            }
            Upgrade::Accept { .. } if self.drain_target.is_some() => {
                let reason = self.drain_reason().unwrap_or_default();
                self.refuse_request_until(now, ix, 503, &reason, Some(RETRY_AFTER_S));
                None
            }
            Upgrade::Accept { answer, request_len } => {
                self.open(now, ix, answer).then(|| request.split_off(request_len))
            }
        }
    }

    fn open(&mut self, now: Now, ix: u32, answer: Vec<u8>) -> bool {
        if self.links.get(ix).is_none() {
            return false;
        }
        let waiter = Waiter::Link(self.links.token(ix));
        if !self.wait_for_hello(now, waiter, self.links.counted(ix)) {
            self.stats.turned_away.of(TurnedAway::HandshakesPending).inc();
            self.refuse_request_until(now, ix, 503, NO_PLACE, Some(lines::RETRY_AFTER_S));
            return false;
        }
        let is_unnamed = self.shared.config.proxy.is_trusted(self.client_of(ix));
        let Some(link) = self.links.get_mut(ix) else { return false };
        link.state = LinkState::Greeting;
        link.opening = None;
        self.stats.handshakes.of(link.stream.transport()).inc();
        if !self.links.send_own(ix, answer) {
            self.drop_link(ix);
            return false;
        }
        let from = self.links.get(ix).and_then(|link| link.permit).map(|permit| permit.address());
        let key = match from {
            Some(proxy) if is_unnamed => self.audience.handle_open_behind(now, LinkKey(ix), proxy),
            _ => self.audience.handle_open(now, LinkKey(ix), from),
        };
        self.links.get_mut(ix).expect("still here").connection = Some(key);
        true
    }

    /// Tell a probe how the node does, then wait for the peer to close.
    fn answer_probe(&mut self, now: Now, ix: u32, probe: Probe) {
        let mut answer = Vec::new();
        let is_ready = self.drain_target.is_none() && self.shared.ready.load(Ordering::Relaxed);
        probe.write_answer(is_ready, &mut answer);
        self.stats.probes.inc();
        self.answer_and_linger(now, ix, answer);
    }

    /// Answer with a status, then wait for the peer to close.
    pub(super) fn refuse_request(&mut self, now: Now, ix: u32, status: u16, reason: &str) {
        self.refuse_request_until(now, ix, status, reason, None);
    }

    fn refuse_request_until(
        &mut self,
        now: Now,
        ix: u32,
        status: u16,
        reason: &str,
        retry_after_s: Option<u32>,
    ) {
        request_refused(self.client_of(ix), status, reason);
        self.send_refusal(now, ix, (status, reason, retry_after_s));
    }

    /// Answer with a status, a reason and perhaps a time, then wait for the peer to close.
    pub(super) fn send_refusal(&mut self, now: Now, ix: u32, refusal: (u16, &str, Option<u32>)) {
        let (status, reason, retry_after_s) = refusal;
        let mut answer = Vec::new();
        write_refusal(status, reason, retry_after_s, &mut answer);
        self.stats.handshakes_failed.of(HandshakeFailure::Http).inc();
        self.answer_and_linger(now, ix, answer);
    }

    fn answer_and_linger(&mut self, now: Now, ix: u32, answer: Vec<u8>) {
        if self.links.get(ix).is_some() {
            self.lines.leave(Waiter::Link(self.links.token(ix)));
        }
        if let Some(link) = self.links.get_mut(ix) {
            link.state = LinkState::Lingering;
            link.opening = None;
            link.since_s = (now.us / 1_000_000) as u32;
        }
        if self.links.send_own(ix, answer) {
            self.links.get(ix).inspect(|link| link.shutdown_write());
        } else {
            self.drop_link(ix);
        }
    }
}
