//! Displacing: connections without a session take and leave their places, and give way to others.
//!
//! Why the whole node when it is full: silent connections would hold all of `limits.connections_max` before
//! any line is full.
//! Invariant: a connection that gives way is told, where that costs no handshake, and its place is free at
//! once: it does not linger.
//! Not here: the lines (`lines`), who gives way (`admission::waiting`).

use std::net::IpAddr;

use grandstand_edge_core::admission::address::Address;
use grandstand_edge_core::admission::limits::{LimitReached, Permit};
use grandstand_edge_core::admission::waiting::Stage;
use grandstand_engine::link::Now;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::websocket::handshake::write_refusal;

use super::driver::Driver;
use super::lines::{RETRY_AFTER_S, Waiter};
use crate::stats::WaitedFor;
use crate::transport::link::{LinkState, Stream};
use crate::transport::tcp;

/// What a client that gave way is told.
const GAVE_WAY: &str = "others waited for the place of a connection that said nothing";

impl Driver {
    /// A place for one connection of this peer. If the node is full, a connection that is not a session yet
    /// may give way to it: one of this worker (`own`), or else one of the worker that is returned.
    pub(super) fn acquire(
        &mut self,
        own: usize,
        now: Now,
        peer: IpAddr,
    ) -> Result<(Permit, Option<usize>), LimitReached> {
        let limiter = &self.shared.limiter;
        let is_proxy = self.shared.config.proxy.is_trusted(peer);
        let acquired = if is_proxy {
            limiter.try_acquire_unnamed(peer, now.us)
        } else {
            limiter.try_acquire(peer, now.us)
        };
        if acquired == Err(LimitReached::TooManyConnections) {
            let address = limiter.counted(peer);
            leave_to_own(self, own, now, address);
            return self.shared.limiter.try_acquire(peer, now.us).map(|permit| (permit, None));
        }
        if acquired != Err(LimitReached::NodeFull) {
            return acquired.map(|permit| (permit, None));
        }
        let permit = if is_proxy {
            limiter.try_acquire_unnamed_in_place(peer, now.us)?
        } else {
            limiter.try_acquire_in_place(peer, now.us)?
        };
        if self.lines.give_way(permit.counted(), now) {
            self.end_leaving();
            return Ok((permit, None));
        }
        // Whoever holds much would fill the places of those that are about to leave.
        match self.shared.most_waiting(own).filter(|_| limiter.holds_few(&permit)) {
            Some(giver) => Ok((permit, Some(giver))),
            None => {
                limiter.release(permit);
                Err(LimitReached::NodeFull)
            }
        }
    }

    /// A handshake takes a place; `false` if there is none for it.
    #[must_use]
    pub(super) fn wait_for_handshake(
        &mut self,
        now: Now,
        waiter: Waiter,
        address: Option<Address>,
        stage: Stage,
        is_returning: bool,
    ) -> bool {
        let admission = self.lines.handshakes.admit(waiter, address, stage, is_returning, now.us);
        let has_place = self.lines.settle(admission, WaitedFor::Handshake);
        self.end_leaving();
        has_place
    }

    /// A connection whose handshake is done takes a place until its `Hello`; `false` if there is none for it.
    #[must_use]
    pub(super) fn wait_for_hello(&mut self, now: Now, waiter: Waiter, address: Option<Address>) -> bool {
        let is_returning = self.lines.handshakes.leave(waiter) == Some(true);
        let admission = self.lines.greetings.admit(waiter, address, Stage::Silent, is_returning, now.us);
        let has_place = self.lines.settle(admission, WaitedFor::Hello);
        self.end_leaving();
        has_place
    }

    /// The client of a waiting link has been named: it counts under its address from now on. `false` if there
    /// is no place for it.
    #[must_use]
    pub(super) fn recount(&mut self, now: Now, ix: u32) -> bool {
        let waiter = Waiter::Link(self.links.token(ix));
        self.lines.handshakes.leave(waiter).is_none()
            || self.wait_for_handshake(now, waiter, self.links.counted(ix), Stage::Silent, false)
    }

    /// A frame came: if it was the `Hello`, the connection is a session now.
    pub(super) fn end_greeting(&mut self, ix: u32) {
        let Some(link) = self.links.get_mut(ix).filter(|link| link.state == LinkState::Greeting) else {
            return;
        };
        if !link.connection.is_some_and(|key| self.audience.has_session(key)) {
            return;
        }
        link.state = LinkState::Open;
        let waiter = match link.stream {
            Stream::Quic(slot) => Waiter::Quic(slot),
            _ => Waiter::Link(self.links.token(ix)),
        };
        self.lines.greetings.leave(waiter);
    }

    /// Close the connections that gave way.
    pub(super) fn end_leaving(&mut self) {
        while let Some((waiter, waited_for)) = self.lines.leaving.pop() {
            self.stats.displaced.of(waited_for).inc();
            match waiter {
                Waiter::Quic(slot) => {
                    if let Some(quic) = self.links.quic.as_mut() {
                        quic.close(self.shared.clock.instant(), slot, CloseCode::Overloaded, GAVE_WAY);
                    }
                }
                Waiter::Link(token) => {
                    if let Some(ix) = self.links.of_token(token) {
                        self.displace_link(ix);
                    }
                }
            }
        }
    }

    fn displace_link(&mut self, ix: u32) {
        let Some(link) = self.links.get_mut(ix) else { return };
        if let (LinkState::Greeting, Some(key)) = (link.state, link.connection) {
            link.state = LinkState::Leaving;
            if let Some(permit) = link.permit.take() {
                self.shared.limiter.release(permit);
            }
            return self.audience.handle_fault(key, CloseCode::Overloaded, GAVE_WAY);
        }
        match (&link.stream, link.state) {
            // Under TLS it could be told only after a handshake.
            (Stream::Tcp(socket), LinkState::Accepted { is_tls: true })
            | (Stream::Tls(socket, _), LinkState::Tls) => tcp::close_cleanly(socket),
            _ => {
                let mut answer = Vec::new();
                write_refusal(503, GAVE_WAY, Some(RETRY_AFTER_S), &mut answer);
                // A socket that does not take it whole is closed all the same.
                self.links.send_own(ix, answer);
                if let Some(link) = self.links.get_mut(ix) {
                    link.end();
                    // Bytes that were not read would reset the answer.
                    link.receive(&mut [0; 4096]);
                }
            }
        }
        self.remove_link(ix);
    }
}

/// This address has as many connections as it may: the emptiest of its own gives way. What gives way over
/// QUIC, or at another worker, has left when the client tries again.
fn leave_to_own(driver: &mut Driver, own: usize, now: Now, address: Option<Address>) {
    if driver.lines.give_way_to_own(address, now) {
        driver.end_leaving();
    } else {
        driver.shared.ask_own_to_leave(own, address);
    }
}
