//! QUIC in a worker's turn: takes datagrams, sorts them by worker and process, passes events to the audience,
//! and sends packets in the same burst.
//!
//! Not here: packets and connections (`crate::quic`), the owner of a datagram (`crate::quic::connection_id`).

use std::time::Instant;

use grandstand_edge_core::admission::limits::{LimitReached, Permit};
use grandstand_edge_core::admission::queue::{HandshakeKind, HandshakeQueue};
use grandstand_edge_core::admission::waiting::Stage;
use grandstand_edge_core::audience::LinkKey;
use grandstand_engine::link::Now;
use grandstand_protocol::close::CloseCode;

use super::Worker;
use super::driver::Driver;
use super::handshakes::Pending;
use super::lines::{Lines, NO_PLACE, Waiter};
use super::poller::Ready;
use super::refusals::refused;
use super::shared::{Command, Shared};
use super::sort::Sorter;
use crate::quic::{Datagram, Inflow, NewConnection, QuicEvent};
use crate::stats::{HandshakeFailure, Stats, Transport, TurnedAway};
use crate::transport::link::LinkState;
use crate::transport::links::Links;

impl Worker {
    /// The worker's UDP socket is ready. Returns `true` when it has more than one turn takes.
    pub(super) fn handle_udp(&mut self, instant: Instant, now: Now, event: Ready) -> bool {
        let (shared, is_draining) = (self.shared.clone(), self.driver.drain_target.is_some());
        let (queue, stats) = (&mut self.handshakes.queue, &self.stats);
        let (worker, lines) = (self.id, &mut self.driver.lines);
        let Some(quic) = self.driver.links.quic.as_mut() else { return false };
        if event.writable {
            quic.handle_writable(instant);
        }
        // The next process reads the socket and sorts the datagrams.
        if !event.readable || self.forwarded.is_some() {
            return false;
        }
        let mut sorter = Sorter { worker: self.id, shared: &shared, previous: &mut self.previous };
        let claim = |datagram: Datagram| sorter.claim(datagram);
        let admit = |incoming| admit(&shared, stats, queue, (worker, lines), now, incoming, is_draining);
        let has_more = quic.handle_readable(instant, claim, admit);
        sorter.settle();
        self.udp_has_more = has_more;
        self.driver.end_leaving();
        self.driver.drive_quic(instant, now);
        has_more
    }

    /// Take datagrams that the next process forwards. Returns `true` when there are more than one turn takes.
    pub(super) fn handle_forwarded(&mut self, instant: Instant, now: Now) -> bool {
        let shared = self.shared.clone();
        let (Some(quic), Some(forwarded)) = (self.driver.links.quic.as_mut(), self.forwarded.as_mut()) else {
            return false;
        };
        let mut sorter = Sorter { worker: self.id, shared: &shared, previous: &mut self.previous };
        let inflow = forwarded.receive(|datagram| {
            if let Some(datagram) = sorter.claim(datagram) {
                // New connections belong to the next process.
                quic.handle_datagram(instant, datagram, &mut |_| None);
            }
        });
        sorter.settle();
        if inflow == Inflow::Over {
            self.poller.remove(forwarded.as_fd());
        }
        self.forwarded_has_more = inflow == Inflow::More;
        self.driver.drive_quic(instant, now);
        self.forwarded_has_more
    }

    pub(super) fn handle_forwarded_datagram(&mut self, instant: Instant, now: Now, datagram: Datagram) {
        let (shared, is_draining) = (self.shared.clone(), self.driver.drain_target.is_some());
        let (queue, stats) = (&mut self.handshakes.queue, &self.stats);
        let (worker, lines) = (self.id, &mut self.driver.lines);
        if let Some(quic) = self.driver.links.quic.as_mut() {
            quic.handle_datagram(instant, datagram, &mut |incoming| {
                admit(&shared, stats, queue, (worker, lines), now, incoming, is_draining)
            });
        }
        self.driver.end_leaving();
    }
}

impl Driver {
    /// Begin a handshake that waited. Whether its address may have a place is asked before any cryptography.
    /// Returns `false` if it may not, or its client has left.
    pub(super) fn begin_quic(&mut self, instant: Instant, now: Now, is_returning: bool, number: u64) -> bool {
        // Whoever had the slot before leaves its line first.
        self.drive_quic(instant, now);
        let lines = &self.lines.handshakes;
        let Some(quic) = self.links.quic.as_mut() else { return false };
        let Some(permit) = quic.permit_of_waiting(number) else { return false };
        if !lines.would_admit(permit.counted(), is_returning, now.us) {
            refuse_waiting(self, number, TurnedAway::HandshakesPending);
            return false;
        }
        let Some(slot) = quic.begin(instant, number) else { return true };
        let waiter = Waiter::Quic(slot);
        self.wait_for_handshake(now, waiter, permit.counted(), Stage::Begun, is_returning)
    }

    /// Send packets and pass on events, until neither causes the other.
    pub(super) fn drive_quic(&mut self, instant: Instant, now: Now) {
        loop {
            let Some(quic) = self.links.quic.as_mut() else { return };
            quic.drive(instant);
            let Some(event) = quic.poll_event() else { return };
            let mut next = Some(event);
            while let Some(event) = next {
                self.handle_quic_event(now, event);
                next = self.links.quic.as_mut().and_then(|quic| quic.poll_event());
            }
        }
    }

    fn handle_quic_event(&mut self, now: Now, event: QuicEvent) {
        match event {
            QuicEvent::Established { slot, is_resumed } => {
                self.stats.handshakes_resumed.of(Transport::Quic).add(u64::from(is_resumed));
                self.stats.accepts.of(Transport::Quic).inc();
                self.stats.handshakes.of(Transport::Quic).inc();
                let address = self.links.quic.as_ref().and_then(|quic| quic.counted(slot));
                if !self.wait_for_hello(now, Waiter::Quic(slot), address)
                    && let Some(quic) = self.links.quic.as_mut()
                {
                    self.stats.turned_away.of(TurnedAway::HandshakesPending).inc();
                    quic.close(self.shared.clock.instant(), slot, CloseCode::Overloaded, NO_PLACE);
                }
            }
            QuicEvent::Opened { slot } => {
                let ix = self.links.insert_quic(slot, (now.us / 1_000_000) as u32);
                let from = self.links.quic.as_ref().and_then(|quic| quic.address(slot));
                let key = self.audience.handle_open(now, LinkKey(ix), from);
                self.links.get_mut(ix).expect("just inserted").connection = Some(key);
            }
            QuicEvent::Frame { slot, frame } => {
                self.stats.bytes_in.add(frame.len() as u64);
                let Some(ix) = self.links.of_slot(slot) else { return };
                let Some(link) = self.links.get(ix) else { return };
                let is_greeting = link.state == LinkState::Greeting;
                if let Some(key) = link.connection {
                    self.audience.handle_frame(now, key, &frame);
                }
                if is_greeting {
                    self.end_greeting(ix);
                }
            }
            QuicEvent::Writable { slot } => {
                if let Some(key) = connection_of(&self.links, slot) {
                    self.audience.handle_writable(key);
                }
            }
            QuicEvent::Fault { slot, code, detail } => {
                if let Some(key) = connection_of(&self.links, slot) {
                    self.audience.handle_fault(key, code, detail);
                }
            }
            QuicEvent::Gone { slot, permit, was_established } => {
                if !was_established {
                    self.stats.handshakes_failed.of(HandshakeFailure::Gone).inc();
                }
                self.lines.leave(Waiter::Quic(slot));
                self.shared.limiter.release(permit);
                if let Some(ix) = self.links.of_slot(slot) {
                    self.drop_link(ix);
                }
            }
        }
    }
}

/// Refuse a QUIC connection whose handshake has not begun.
pub(super) fn refuse_waiting(driver: &mut Driver, number: u64, why: TurnedAway) {
    if let Some(permit) = driver.links.quic.as_mut().and_then(|quic| quic.refuse(number)) {
        driver.stats.turned_away.of(why).inc();
        driver.shared.limiter.release(permit);
    }
}

fn connection_of(links: &Links, slot: u32) -> Option<grandstand_edge_core::audience::ConnectionKey> {
    links.of_slot(slot).and_then(|ix| links.get(ix)).and_then(|link| link.connection)
}

/// Ask another worker that a connection gives way to a new one, which cannot go there. Exempt addresses have
/// no share that would say who must.
fn gives_way_elsewhere(shared: &Shared, worker: usize, permit: &Permit) -> bool {
    let Some(address) = permit.counted().filter(|_| shared.limiter.holds_few(permit)) else { return false };
    let Some(giver) = shared.most_waiting(worker) else { return false };
    shared.commands[giver].try_send(Command::GiveWay(address)).is_ok()
}

/// Decide whether a new QUIC connection may wait for its handshake. Returns its permit, or `None` to refuse
/// it. A refusal in QUIC cannot say when to retry, so the retry schedule is not used.
fn admit(
    shared: &Shared,
    stats: &Stats,
    queue: &mut HandshakeQueue<Pending>,
    (worker, lines): (usize, &mut Lines),
    now: Now,
    incoming: NewConnection,
    is_draining: bool,
) -> Option<Permit> {
    let turned_away = |why| refused(stats, incoming.peer, Transport::Quic, why);
    if is_draining {
        turned_away(TurnedAway::Draining);
        return None;
    }
    let kind = if incoming.is_returning { HandshakeKind::QuicReturning } else { HandshakeKind::QuicNew };
    let permit = match shared.limiter.try_acquire(incoming.peer, now.us) {
        Err(LimitReached::NodeFull) => {
            let permit = shared.limiter.try_acquire_in_place(incoming.peer, now.us);
            let permit = permit.map_err(|why| turned_away(why.into())).ok()?;
            if !(lines.give_way(permit.counted(), now) || gives_way_elsewhere(shared, worker, &permit)) {
                shared.limiter.release(permit);
                turned_away(TurnedAway::NodeFull);
                return None;
            }
            permit
        }
        Err(why @ LimitReached::TooManyConnections) => {
            // One of its own gives way, and has left when the client sends again.
            let address = shared.limiter.counted(incoming.peer);
            if !lines.give_way_to_own(address, now) {
                shared.ask_own_to_leave(worker, address);
            }
            turned_away(why.into());
            return None;
        }
        permit => permit.map_err(|why| turned_away(why.into())).ok()?,
    };
    if !queue.handle_incoming(kind, Pending::Quic(incoming.number)) {
        shared.limiter.release(permit);
        turned_away(TurnedAway::Overloaded);
        return None;
    }
    Some(permit)
}
