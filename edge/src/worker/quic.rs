//! QUIC in a worker's turn: takes datagrams, sorts them by worker and process, passes events to the audience,
//! and sends packets in the same burst.
//!
//! Not here: packets and connections (`crate::quic`), the owner of a datagram (`crate::quic::connection_id`).

use std::time::Instant;

use grandstand_edge_core::admission::limits::Permit;
use grandstand_edge_core::admission::queue::{HandshakeKind, HandshakeQueue};
use grandstand_edge_core::audience::LinkKey;
use grandstand_engine::link::Now;

use super::Worker;
use super::driver::Driver;
use super::handshakes::Pending;
use super::poller::Ready;
use super::refusals::refused;
use super::shared::Shared;
use super::sort::Sorter;
use crate::quic::{Datagram, Inflow, NewConnection, QuicEvent};
use crate::stats::{HandshakeFailure, Stats, Transport, TurnedAway};
use crate::transport::links::Links;

impl Worker {
    /// The worker's UDP socket is ready. Returns `true` when it has more than one turn takes.
    pub(super) fn handle_udp(&mut self, instant: Instant, now: Now, event: Ready) -> bool {
        let (shared, is_draining) = (self.shared.clone(), self.driver.drain_target.is_some());
        let (queue, stats) = (&mut self.handshakes.queue, &self.stats);
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
        let admit = |incoming| admit(&shared, stats, queue, now, incoming, is_draining);
        let has_more = quic.handle_readable(instant, claim, admit);
        sorter.settle();
        self.udp_has_more = has_more;
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
        if let Some(quic) = self.driver.links.quic.as_mut() {
            quic.handle_datagram(instant, datagram, &mut |incoming| {
                admit(&shared, stats, queue, now, incoming, is_draining)
            });
        }
    }
}

impl Driver {
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
            QuicEvent::Established => {
                self.stats.accepts.of(Transport::Quic).inc();
                self.stats.handshakes.of(Transport::Quic).inc();
                self.shared.limiter.end_handshake();
            }
            QuicEvent::Opened { slot } => {
                let ix = self.links.insert_quic(slot, (now.us / 1_000_000) as u32);
                let from = self.links.quic.as_ref().and_then(|quic| quic.address(slot));
                let key = self.audience.handle_open(now, LinkKey(ix), from);
                self.links.get_mut(ix).expect("just inserted").connection = Some(key);
            }
            QuicEvent::Frame { slot, frame } => {
                self.stats.bytes_in.add(frame.len() as u64);
                if let Some(key) = connection_of(&self.links, slot) {
                    self.audience.handle_frame(now, key, &frame);
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
                    self.shared.limiter.end_handshake();
                }
                self.shared.limiter.release(permit);
                if let Some(ix) = self.links.of_slot(slot) {
                    self.drop_link(ix);
                }
            }
        }
    }
}

fn connection_of(links: &Links, slot: u32) -> Option<grandstand_edge_core::audience::ConnectionKey> {
    links.of_slot(slot).and_then(|ix| links.get(ix)).and_then(|link| link.connection)
}

/// Decide whether a new QUIC connection may wait for its handshake. Returns its permit, or `None` to refuse
/// it. A refusal in QUIC cannot say when to retry, so the retry schedule is not used.
fn admit(
    shared: &Shared,
    stats: &Stats,
    queue: &mut HandshakeQueue<Pending>,
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
    let permit =
        shared.limiter.try_acquire(incoming.peer, now.us).map_err(|why| turned_away(why.into())).ok()?;
    if !queue.handle_incoming(kind, Pending::Quic(incoming.number)) {
        shared.limiter.release(permit);
        turned_away(TurnedAway::Overloaded);
        return None;
    }
    Some(permit)
}
