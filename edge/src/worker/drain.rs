//! How a worker leaves: newcomers turned away or left to another process, sockets let go, everything closed.
//!
//! Order: a drain sends clients away while rooms go on. A release comes before the shards stop: from then on
//! nothing is taken for them, and newcomers wait in the kernel's queues for who takes over, or for nobody. A
//! stop comes after they have: what they answered last is written, then everything is closed.
//! Not here: who is told what when (`audience::leaving`), the order of a node's end (`node::drain`).

use std::net::TcpStream;
use std::os::fd::AsFd;

use grandstand_edge_core::audience::Drain;
use grandstand_engine::link::Now;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::websocket::handshake::write_refusal;

use super::shared::Release;
use super::{Worker, token};
use crate::quic::Forwarded;
use crate::stats::TurnedAway;
use crate::transport::tcp;

/// A newcomer that is turned away by a drain may try again after this: another node can be found at once,
/// this one is back when its clients have gone.
pub(super) const RETRY_AFTER_S: u32 = 2;

impl Worker {
    pub(super) fn drain(&mut self, now: Now, drain: &Drain) {
        if !drain.is_handed_over {
            self.drain_target = Some(drain.where_to.clone());
        }
        self.audience.handle_drain(now, drain);
    }

    pub(super) fn release(&mut self, release: Release) {
        self.stop_listening();
        match release.datagrams.map(Forwarded::new) {
            None => {
                self.drain_target.get_or_insert_default();
            }
            Some(forwarded) => {
                // It fails only for want of memory; then its clients come back over new connections.
                if let Err(error) = self.poller.add_stream(forwarded.as_fd(), token::FORWARDED) {
                    tracing::warn!(%error, "datagrams of connections that stand cannot be taken");
                }
                self.forwarded = Some(forwarded);
                if let Some(quic) = &self.links.quic {
                    self.poller.leave_reading(quic.socket().as_fd(), token::UDP);
                }
            }
        }
        self.audience.handle_released();
        // Nobody waits any more: the node is on its way out by another way.
        let _ = release.done.send(());
    }

    pub(super) fn stop(&mut self) {
        self.stop_listening();
        self.drain_target.get_or_insert_default();
        while self.take_outputs() {}
        self.close_all();
        self.is_stopping = true;
    }

    fn stop_listening(&mut self) {
        for listener in [self.ws.take(), self.wss.take()].into_iter().flatten() {
            self.poller.remove(listener.as_fd());
        }
    }

    fn close_all(&mut self) {
        let open: Vec<_> = self.links.iter().filter_map(|(_, link)| link.connection).collect();
        for key in open {
            self.audience.handle_fault(key, CloseCode::GoingAway, "");
        }
    }

    /// What a newcomer to a node that drains is told.
    pub(super) fn drain_reason(&self) -> Option<String> {
        let where_to = self.drain_target.as_ref()?;
        Some(if where_to.is_empty() {
            "the node is draining".to_owned()
        } else {
            format!("the node is draining: go to {where_to}")
        })
    }

    /// A newcomer while the node drains: an accept and a send, nothing is kept. Under TLS it could only be
    /// told after a handshake, and is closed.
    pub(super) fn refuse_for_drain(&self, stream: &TcpStream, drain_reason: &str, is_tls: bool) {
        self.stats.turned_away.of(TurnedAway::Draining).inc();
        if is_tls {
            return;
        }
        let mut answer = Vec::new();
        write_refusal(503, drain_reason, Some(RETRY_AFTER_S), &mut answer);
        tcp::answer_and_close(stream, &answer);
    }
}
