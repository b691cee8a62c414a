//! Draining: a worker gives up its sockets, refuses new connections, and closes all others.
//!
//! Order: a drain tells clients to leave while rooms continue. A release comes before the shards stop. From
//! then on the worker submits nothing to them, and new connections wait in the kernel's queues for the next
//! process, if there is one. A stop comes after the shards have stopped: their last answers are written, then
//! everything is closed.
//! Not here: when each client is told to leave (`audience`), the order of a node's end (the node's crate).

use std::net::TcpStream;

use grandstand_protocol::websocket::handshake::write_refusal;

use super::shared::Release;
use super::{Worker, token};
use crate::quic::Forwarded;
use crate::stats::TurnedAway;
use crate::transport::tcp;

/// Time after which a client that a drain refuses may retry. Another node can be reached at once, and this
/// one is back when its clients have left.
pub(super) const RETRY_AFTER_S: u32 = 2;

impl Worker {
    pub(super) fn release(&mut self, release: Release) {
        self.listeners.close(&self.poller);
        match release.datagrams.map(Forwarded::new) {
            None => self.driver.refuse_new(),
            Some(forwarded) => {
                // It fails only when memory is short; then its clients return over new connections.
                if let Err(error) = self.poller.add_stream(forwarded.as_fd(), token::FORWARDED) {
                    tracing::warn!(%error, "datagrams of open connections cannot be taken from the next process");
                }
                self.forwarded = Some(forwarded);
                if let Some(quic) = &self.driver.links.quic {
                    self.poller.leave_reading(quic.socket().as_fd(), token::UDP);
                }
            }
        }
        self.driver.audience.handle_released();
        // The receiver is gone only if the node is already ending in another way.
        let _ = release.done.send(());
    }

    pub(super) fn stop(&mut self) {
        self.listeners.close(&self.poller);
        self.driver.refuse_new();
        while self.take_outputs() {}
        self.driver.close_all();
    }

    /// Refuse a new connection while the node drains, which costs an accept and a send. Under TLS the client
    /// could be told only after a handshake, so the connection is closed.
    pub(super) fn refuse_for_drain(&self, stream: &TcpStream, drain_reason: &str, is_tls: bool) {
        self.stats.turned_away.of(TurnedAway::Draining).inc();
        if is_tls {
            return tcp::close_cleanly(stream);
        }
        let mut answer = Vec::new();
        write_refusal(503, drain_reason, Some(RETRY_AFTER_S), &mut answer);
        tcp::answer_and_close(stream, &answer);
    }
}
