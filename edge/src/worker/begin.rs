//! Beginning handshakes: a new connection waits in the handshake queue until its handshake may begin.
//! Handshakes that have begun continue in the order in which their bytes came. Both get a few milliseconds of
//! a turn.
//!
//! Why a budget: one handshake costs as much as a hundred writes. A rush of thousands must not hold up
//! established connections, whose batches are written between two turns.
//! The first bytes of a TCP connection are peeked at and left in the socket. So until its handshake begins, a
//! connection costs a socket and a link, and no cryptography. Under TLS these bytes may show a ticket of this
//! node. Without TLS nothing before the `Hello` shows that a client is returning. The first packet of a QUIC
//! client may hold a token.
//! Not here: how many handshakes may be unfinished (`lines`), the order of the queue (`admission`).

use std::time::{Duration, Instant};

use grandstand_edge_core::admission::overload::Overload;
use grandstand_edge_core::admission::queue::HandshakeKind;
use grandstand_edge_core::admission::waiting::Stage;
use grandstand_engine::link::Now;
use grandstand_protocol::websocket::handshake::write_refusal;

use super::Worker;
use super::client_hello::{is_whole, ticket_of};
use super::driver::Driver;
use super::handshakes::Pending;
use super::lines::{NO_PLACE, Waiter};
use super::poller::Ready;
use super::quic::refuse_waiting;
use super::refusals::refused;
use crate::stats::TurnedAway;
use crate::transport::link::LinkState;
use crate::transport::tls::Tls;

/// Time for handshakes in one turn: too short to be noticed, and long enough that the overhead of a turn is
/// small.
const TURN: Duration = Duration::from_millis(4);

/// The same during a round of fan-out, whose next writes wait meanwhile.
const TURN_AMID_ROUND: Duration = Duration::from_millis(1);

/// A ClientHello with every extension that browsers send, and a ticket, is 2 KB.
const HELLO_BYTES_MAX: usize = 4 * 1024;

impl Worker {
    /// At the beginning of a turn: the time for handshakes, and whether the audience must hold off new
    /// sessions.
    pub(super) fn begin_handshakes(&mut self, now: Now) {
        let queue = &mut self.handshakes.queue;
        queue.handle_turn(now.us, !self.driver.audience.has_work());
        let newest = HandshakeKind::TlsFull;
        let overload = queue
            .is_full_for(newest)
            .then(|| Overload { wait_us: queue.wait_us(newest), step_us: queue.step_us(newest) });
        self.driver.audience.handle_overload(overload);
    }

    /// Bytes of a TCP connection have arrived, and nothing before. Under TLS it stays silent until its
    /// ClientHello is whole: before that it could show no ticket, and would wait for the rest.
    pub(super) fn handle_incoming(&mut self, now: Now, ix: u32, event: Ready, is_tls: bool) {
        if !self.take_proxy_header(now, ix, event.over, is_tls) {
            return;
        }
        let token = event.token;
        let kind = if is_tls { self.kind_of_hello(ix) } else { Some(HandshakeKind::Upgrade) };
        let Some(kind) = kind else {
            if event.over {
                self.driver.drop_link(ix);
            }
            return;
        };
        // Queued or refused, its client is waited for no longer.
        self.driver.lines.handshakes.leave(Waiter::Link(token));
        if self.handshakes.queue.handle_incoming(kind, Pending::Link(token)) {
            self.driver.links.get_mut(ix).expect("its bytes have come").state = LinkState::Queued { is_tls };
        } else {
            self.refuse_pending(now, ix, kind, TurnedAway::Overloaded);
        }
    }

    /// `None` while the ClientHello is not whole. A ticket is accepted if this node sealed it. Opening one
    /// costs a hundredth of a handshake.
    fn kind_of_hello(&mut self, ix: u32) -> Option<HandshakeKind> {
        let link = self.driver.links.get(ix)?;
        let hello = link.peek(&mut self.driver.scratch[..HELLO_BYTES_MAX]);
        if !is_whole(hello, HELLO_BYTES_MAX) {
            return None;
        }
        let is_ours =
            ticket_of(hello).is_some_and(|ticket| self.shared.tls.ticketer.decrypt(ticket).is_some());
        Some(if is_ours { HandshakeKind::TlsResumed } else { HandshakeKind::TlsFull })
    }

    /// Continue handshakes that are due, then begin new ones, within the turn's time for them. Returns `true`
    /// when there are more.
    pub(super) fn drive_handshakes(&mut self, instant: Instant, now: Now) -> bool {
        let (began, time) = (self.shared.clock.instant(), handshake_time(&self.driver));
        while self.handshakes.queue.may_work()
            && self.shared.clock.elapsed(began) < time
            && let Some(token) = self.handshakes.due.pop_front()
        {
            let step = self.shared.clock.instant();
            if let Some(ix) = self.driver.links.of_token(token) {
                // Read to the end of the socket: more bytes may have come since the event.
                self.driver.handle_link_readable(now, ix, true);
            }
            self.handshakes.queue.handle_spent(self.shared.clock.elapsed(step).as_nanos() as u64);
        }
        self.handshakes.is_blocked = false;
        while self.shared.clock.elapsed(began) < time && self.admit_next(instant, now) {}
        self.refuse_impatient(now);
        self.stats.admission_us.add(self.shared.clock.elapsed(began).as_micros() as u64);
        // While every place is taken and young, nothing more can begin until a handshake ends or is old.
        !self.handshakes.due.is_empty() || !(self.handshakes.queue.is_empty() || self.handshakes.is_blocked)
    }

    /// Begin the next handshake; `false` when none may begin now.
    fn admit_next(&mut self, instant: Instant, now: Now) -> bool {
        if self.handshakes.queue.is_empty() {
            return false;
        }
        let queue = &mut self.handshakes.queue;
        if !self.driver.lines.handshakes.has_room(queue.has_returning(), now.us) {
            self.handshakes.is_blocked = true;
            return false;
        }
        let Some((kind, pending)) = queue.poll_admit() else { return false };
        let step = self.shared.clock.instant();
        let has_begun = self.begin_pending(instant, now, kind, pending);
        let spent_ns = self.shared.clock.elapsed(step).as_nanos() as u64;
        if !has_begun {
            self.handshakes.queue.handle_spent(spent_ns);
        } else if matches!(pending, Pending::Link(token) if self.driver.links.of_token(token).is_none()) {
            // It ended at once, so it says nothing about the cost of its kind.
            self.handshakes.queue.handle_spent(spent_ns);
        } else {
            self.handshakes.queue.handle_cost(kind, spent_ns);
            self.stats.admissions.of(kind).inc();
        }
        true
    }

    /// Begin a handshake, in a place of its line. Returns `false` if the client has left, or its address gets
    /// no place.
    fn begin_pending(&mut self, instant: Instant, now: Now, kind: HandshakeKind, pending: Pending) -> bool {
        match pending {
            Pending::Quic(number) => self.driver.begin_quic(instant, now, kind.is_returning(), number),
            Pending::Link(token) => {
                let Some(ix) = self.driver.links.of_token(token) else { return false };
                let (waiter, address) = (Waiter::Link(token), self.driver.links.counted(ix));
                if !self.driver.wait_for_handshake(now, waiter, address, Stage::Begun, kind.is_returning()) {
                    self.refuse_pending(now, ix, kind, TurnedAway::HandshakesPending);
                    return false;
                }
                self.begin_handshake(now, ix)
            }
        }
    }

    fn begin_handshake(&mut self, now: Now, ix: u32) -> bool {
        let Some(link) = self.driver.links.get_mut(ix) else { return false };
        let LinkState::Queued { is_tls } = link.state else { return false };
        // Its time limit for the handshake begins now.
        (link.state, link.since_s) = (LinkState::Upgrade, (now.us / 1_000_000) as u32);
        if is_tls {
            match Tls::new(self.shared.tls.clone()) {
                Ok(tls) => link.begin_tls(tls),
                Err(error) => {
                    tracing::warn!(%error, "TLS cannot begin");
                    // Its state is that of a handshake now, so its place is given back with it.
                    self.driver.drop_link(ix);
                    return true;
                }
            }
        }
        self.driver.handle_link_readable(now, ix, true);
        true
    }

    fn refuse_impatient(&mut self, now: Now) {
        while let Some((kind, pending)) = self.handshakes.queue.poll_overdue() {
            match pending {
                Pending::Quic(number) => refuse_waiting(&mut self.driver, number, TurnedAway::Overtaken),
                Pending::Link(token) => {
                    if let Some(ix) = self.driver.links.of_token(token) {
                        self.refuse_pending(now, ix, kind, TurnedAway::Overtaken);
                    }
                }
            }
        }
    }

    /// Refuse a TCP connection whose handshake has not begun. Without TLS the client is told when to retry,
    /// and its request is not parsed. Under TLS it could be told only after a handshake, so the connection is
    /// closed.
    fn refuse_pending(&mut self, now: Now, ix: u32, kind: HandshakeKind, why: TurnedAway) {
        let Some(link) = self.driver.links.get_mut(ix) else { return };
        refused(&self.stats, link.client(), link.stream.transport(), why);
        (link.state, link.since_s) = (LinkState::Lingering, (now.us / 1_000_000) as u32);
        if kind != HandshakeKind::Upgrade {
            return self.driver.drop_link(ix);
        }
        let refusal = self.handshakes.queue.refuse(kind);
        let mut answer = Vec::new();
        write_refusal(503, NO_PLACE, Some(refusal.retry_after_s()), &mut answer);
        if !self.driver.links.send_own(ix, answer) {
            return self.driver.drop_link(ix);
        }
        self.driver.links.get(ix).inspect(|link| link.shutdown_write());
        // Its request is read and dropped; otherwise the close would reset the answer that was just sent.
        self.driver.handle_link_readable(now, ix, true);
    }
}

/// The time for handshakes in a turn.
pub(super) fn handshake_time(driver: &Driver) -> Duration {
    if driver.audience.has_work() { TURN_AMID_ROUND } else { TURN }
}
