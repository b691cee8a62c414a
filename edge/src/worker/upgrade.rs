//! The HTTP request that opens a WebSocket, and its answer.

use grandstand_engine::link::Now;
use grandstand_protocol::version;
use grandstand_protocol::websocket::handshake::{
    HandshakeFault, parse_request, write_refusal, write_response,
};

use super::Worker;
use super::leaving::RETRY_AFTER_S;
use super::wire::Stage;
use crate::audience::WireKey;
use crate::metrics::HandshakeFailure;

/// What a good request leads to.
enum Decision {
    /// Frames, or the echo; the answer, and how long the request was.
    Open { stage: Stage, answer: Vec<u8>, request_len: usize },
    /// A status and a reason.
    Refuse(u16, &'static str),
}

impl Worker {
    /// Bytes of the request; what follows it already belongs to the WebSocket and is returned.
    pub(super) fn take_request(&mut self, now: Now, ix: u32, bytes: &[u8]) -> Option<Vec<u8>> {
        let wire = self.wires.get_mut(ix)?;
        let mut pending = wire.pending.take().unwrap_or_default();
        pending.extend_from_slice(bytes);
        let decision = match self.decide(&pending) {
            Ok(Some(decision)) => decision,
            Ok(None) => {
                self.wires.get_mut(ix)?.pending = Some(pending);
                return None;
            }
            Err(fault) => Decision::Refuse(fault.status(), fault.reason()),
        };
        match decision {
            Decision::Refuse(status, reason) => {
                self.refuse_request(now, ix, status, reason);
                None
            }
            Decision::Open { .. } if self.turns_away.is_some() => {
                let farewell = self.farewell().unwrap_or_default();
                self.refuse_request_until(now, ix, 503, &farewell, Some(RETRY_AFTER_S));
                None
            }
            Decision::Open { stage, answer, request_len } => {
                self.open(now, ix, stage, answer).then(|| pending.split_off(request_len))
            }
        }
    }

    fn decide(&self, bytes: &[u8]) -> Result<Option<Decision>, HandshakeFault> {
        let ws = &self.shared.config.ws;
        let Some(request) = parse_request(bytes, ws.header_bytes_max)? else { return Ok(None) };
        let path = request.path.split('?').next().unwrap_or("");
        let stage = if path == ws.path {
            Stage::Open
        } else if !ws.echo_path.is_empty() && path == ws.echo_path {
            Stage::Echo
        } else {
            return Ok(Some(Decision::Refuse(404, "no such path: see the node's ws.path")));
        };
        if !ws.allows_origin(request.origin) {
            return Ok(Some(Decision::Refuse(403, "this origin may not connect")));
        }
        let is_ours = request.subprotocols.contains(&version::SUBPROTOCOL);
        if stage == Stage::Open && !request.subprotocols.is_empty() && !is_ours {
            return Ok(Some(Decision::Refuse(400, "none of the subprotocols is grandstand.v1")));
        }
        let mut answer = Vec::with_capacity(192);
        write_response(request.key, is_ours.then_some(version::SUBPROTOCOL), &mut answer);
        Ok(Some(Decision::Open { stage, answer, request_len: request.len }))
    }

    fn open(&mut self, now: Now, ix: u32, stage: Stage, answer: Vec<u8>) -> bool {
        self.shared.gate.end_handshake();
        let Some(wire) = self.wires.get_mut(ix) else { return false };
        wire.stage = stage;
        self.stats
            .handshakes
            .of(super::accept::transport(matches!(wire.line, super::wire::Line::Tls(..))))
            .inc();
        if !self.wires.send_own(ix, answer) {
            self.drop_wire(ix);
            return false;
        }
        if stage == Stage::Open {
            let key = self.audience.handle_open(now, WireKey(ix));
            self.wires.get_mut(ix).expect("still here").connection = Some(key);
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
        if let Some(wire) = self.wires.get_mut(ix) {
            wire.stage = Stage::Lingering;
            wire.since_s = (now.us / 1_000_000) as u32;
        }
        if self.wires.send_own(ix, answer) {
            self.wires.get(ix).inspect(|wire| wire.shutdown_write());
        } else {
            self.drop_wire(ix);
        }
    }
}
