//! The driver: the audience, and the links over which a worker drives it.
//!
//! Why apart from the worker: the effects of a link's bytes (a frame, an upgrade, a close) need neither
//! readiness nor turns. Its parts are in `read`, `upgrade`, `close` and `quic`.
//! Invariant: a link that ends gives its places back to the limiter once, and the audience is told once.
//! Not here: which link is ready, and whose handshake may begin (`Worker`).

use std::sync::Arc;

use grandstand_edge_core::audience::{Audience, Drain};
use grandstand_engine::link::Now;
use grandstand_protocol::close::CloseCode;

use super::lines::{Lines, Waiter};
use super::shared::Shared;
use crate::stats::{HandshakeFailure, Stats};
use crate::transport::link::LinkState;
use crate::transport::links::Links;

/// Bytes read from one socket at once; larger than any client frame, and as large as a burst of them.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;

/// The audience and the links of one worker.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) stats: Arc<Stats>,
    pub(super) audience: Audience,
    pub(super) links: Links,
    pub(super) lines: Lines,
    /// The bytes of one read.
    pub(super) scratch: Vec<u8>,
    /// The same bytes, decrypted.
    pub(super) plain: Vec<u8>,
    /// Set while new connections are refused: the address to which clients are sent, or an empty text.
    pub(super) drain_target: Option<String>,
    pub(super) is_stopping: bool,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        stats: Arc<Stats>,
        audience: Audience,
        links: Links,
        lines: Lines,
    ) -> Self {
        let (scratch, plain) = (vec![0; SCRATCH_BYTES], Vec::new());
        Driver {
            shared,
            stats,
            audience,
            links,
            lines,
            scratch,
            plain,
            drain_target: None,
            is_stopping: false,
        }
    }

    /// Tell clients to leave, spread over a time. New connections are refused, unless the next process takes
    /// them.
    pub(super) fn drain(&mut self, now: Now, drain: &Drain) {
        if !drain.is_handed_over {
            self.drain_target = Some(drain.where_to.clone());
        }
        self.audience.handle_drain(now, drain);
    }

    /// Refuse new connections from now on.
    pub(super) fn refuse_new(&mut self) {
        self.drain_target.get_or_insert_default();
    }

    /// The reason for refusing new connections, if they are refused.
    pub(super) fn drain_reason(&self) -> Option<String> {
        let where_to = self.drain_target.as_ref()?;
        Some(if where_to.is_empty() {
            "the node is draining".to_owned()
        } else {
            format!("the node is draining: go to {where_to}")
        })
    }

    /// Close every connection. From now on a link that closes does not linger.
    pub(super) fn close_all(&mut self) {
        let open: Vec<_> = self.links.iter().filter_map(|(_, link)| link.connection).collect();
        for key in open {
            self.audience.handle_fault(key, CloseCode::GoingAway, "");
        }
        self.is_stopping = true;
    }

    /// Remove a link, and tell the audience and the limiter.
    pub(super) fn drop_link(&mut self, ix: u32) {
        let Some(state) = self.remove_link(ix) else { return };
        let is_open = matches!(state, LinkState::Greeting | LinkState::Open);
        self.stats.closes_by_peer.add(u64::from(is_open));
        if state.is_handshake() {
            self.stats.handshakes_failed.of(HandshakeFailure::Gone).inc();
        }
    }

    /// The same for a link whose end is counted already. Returns its state.
    pub(super) fn remove_link(&mut self, ix: u32) -> Option<LinkState> {
        self.links.get(ix)?;
        self.lines.leave(Waiter::Link(self.links.token(ix)));
        let link = self.links.remove(ix)?;
        if let Some(key) = link.connection {
            self.audience.handle_gone(key);
        }
        if let Some(permit) = link.permit {
            self.shared.limiter.release(permit);
        }
        Some(link.state)
    }
}
