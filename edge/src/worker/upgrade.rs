//! The HTTP request that opens a WebSocket, and its answer.

use grandstand_engine::link::Now;
use grandstand_protocol::version;
use grandstand_protocol::websocket::handshake::{
    HandshakeFault, parse_request, write_refusal, write_response,
};

use super::Worker;
use super::drain::RETRY_AFTER_S;
use crate::audience::WireKey;
use crate::stats::HandshakeFailure;
use crate::transport::link::LinkState;

/// What a good request leads to.
enum Decision {
    /// Frames, or the echo; the answer, and how long the request was.
    Open { state: LinkState, answer: Vec<u8>, request_len: usize },
    /// A status and a reason.
    Refuse(u16, &'static str),
}

impl Worker {
    /// Bytes of the request; what follows it already belongs to the WebSocket and is returned.
    pub(super) fn take_request(&mut self, now: Now, ix: u32, bytes: &[u8]) -> Option<Vec<u8>> {
        let link = self.links.get_mut(ix)?;
        let mut pending = link.pending.take().unwrap_or_default();
        pending.extend_from_slice(bytes);
        let decision = match self.decide(&pending) {
            Ok(Some(decision)) => decision,
            Ok(None) => {
                self.links.get_mut(ix)?.pending = Some(pending);
                return None;
            }
            Err(fault) => Decision::Refuse(fault.status(), fault.reason()),
        };
        match decision {
            Decision::Refuse(status, reason) => {
                self.refuse_request(now, ix, status, reason);
                None
            }
            Decision::Open { .. } if self.drain_target.is_some() => {
                let drain_reason = self.drain_reason().unwrap_or_default();
                self.refuse_request_until(now, ix, 503, &drain_reason, Some(RETRY_AFTER_S));
                None
            }
            Decision::Open { state, answer, request_len } => {
                self.open(now, ix, state, answer).then(|| pending.split_off(request_len))
            }
        }
    }

    fn decide(&self, bytes: &[u8]) -> Result<Option<Decision>, HandshakeFault> {
        let ws = &self.shared.config.ws;
        let Some(request) = parse_request(bytes, ws.header_bytes_max)? else { return Ok(None) };
        let path = request.path.split('?').next().unwrap_or("");
        let state = if path == ws.path {
            LinkState::Open
        } else if !ws.echo_path.is_empty() && path == ws.echo_path {
            LinkState::Echo
        } else {
            return Ok(Some(Decision::Refuse(404, "no such path: see the node's ws.path")));
        };
        if !ws.allows_origin(request.origin) {
            return Ok(Some(Decision::Refuse(403, "this origin may not connect")));
        }
        let is_ours = request.subprotocols.contains(&version::SUBPROTOCOL);
        if state == LinkState::Open && !request.subprotocols.is_empty() && !is_ours {
            return Ok(Some(Decision::Refuse(400, "none of the subprotocols is grandstand.v1")));
        }
        let mut answer = Vec::with_capacity(192);
        write_response(request.key, is_ours.then_some(version::SUBPROTOCOL), &mut answer);
        Ok(Some(Decision::Open { state, answer, request_len: request.len }))
    }

    fn open(&mut self, now: Now, ix: u32, state: LinkState, answer: Vec<u8>) -> bool {
        self.shared.gate.end_handshake();
        let Some(link) = self.links.get_mut(ix) else { return false };
        link.state = state;
        self.stats
            .handshakes
            .of(super::accept::transport(matches!(link.stream, crate::transport::link::Stream::Tls(..))))
            .inc();
        if !self.links.send_own(ix, answer) {
            self.drop_link(ix);
            return false;
        }
        if state == LinkState::Open {
            let key = self.audience.handle_open(now, WireKey(ix));
            self.links.get_mut(ix).expect("still here").connection = Some(key);
        }
        true
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
        let mut answer = Vec::new();
        write_refusal(status, reason, retry_after_s, &mut answer);
        self.stats.handshakes_failed.of(HandshakeFailure::Http).inc();
        self.shared.gate.end_handshake();
        if let Some(link) = self.links.get_mut(ix) {
            link.state = LinkState::Lingering;
            link.since_s = (now.us / 1_000_000) as u32;
        }
        if self.links.send_own(ix, answer) {
            self.links.get(ix).inspect(|link| link.shutdown_write());
        } else {
            self.drop_link(ix);
        }
    }
}
