//! Upgrades: the HTTP request that opens a WebSocket on a link, and its answer.
//!
//! Not here: which requests are accepted (`transport::websocket`).

use grandstand_edge_core::audience::LinkKey;
use grandstand_engine::link::Now;
use grandstand_protocol::websocket::handshake::write_refusal;

use super::drain::RETRY_AFTER_S;
use super::driver::Driver;
use crate::stats::HandshakeFailure;
use crate::transport::link::LinkState;
use crate::transport::websocket::{self, Upgrade};

impl Driver {
    /// Take the bytes of the request. The bytes after it belong to the WebSocket and are returned.
    pub(super) fn take_request(&mut self, now: Now, ix: u32, bytes: &[u8]) -> Option<Vec<u8>> {
        let link = self.links.get_mut(ix)?;
        let mut pending = link.pending.take().unwrap_or_default();
        pending.extend_from_slice(bytes);
        let upgrade = match websocket::judge_request(&self.shared.config.ws, &pending) {
            Ok(Some(upgrade)) => upgrade,
            Ok(None) => {
                self.links.get_mut(ix)?.pending = Some(pending);
                return None;
            }
            Err(fault) => Upgrade::Refuse(fault.status(), fault.reason()),
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
                self.open(now, ix, answer).then(|| pending.split_off(request_len))
            }
        }
    }

    fn open(&mut self, now: Now, ix: u32, answer: Vec<u8>) -> bool {
        self.shared.limiter.end_handshake();
        let Some(link) = self.links.get_mut(ix) else { return false };
        link.state = LinkState::Open;
        self.stats.handshakes.of(link.stream.transport()).inc();
        if !self.links.send_own(ix, answer) {
            self.drop_link(ix);
            return false;
        }
        let key = self.audience.handle_open(now, LinkKey(ix));
        self.links.get_mut(ix).expect("still here").connection = Some(key);
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
        self.shared.limiter.end_handshake();
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
