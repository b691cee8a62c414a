//! Handshakes: who has knocked waits for its turn (`admission`); those that have begun go on in the order in
//! which their bytes came; both within a few milliseconds of a turn.
//!
//! Why apart: one costs as much as a hundred writes. A rush of thousands must not hold up those who are
//! inside, whose batches go out between two turns.
//! A newcomer over TCP knocks with its first bytes, which are looked at and left in the socket: until its
//! turn it costs a socket and a link, and no cryptography. Over TLS they may show a ticket that this node
//! sealed; without TLS nothing shows who comes back before the `Hello`. A QUIC newcomer's first packet may
//! hold a token.
//! Invariants: handshakes that have begun go before those that have not, so that few are half done; who waits
//! for its turn holds none of the places that the gate has for unfinished handshakes: it is us that it waits
//! for.
//! Not here: how many may be unfinished (`gate`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use grandstand_edge_core::admission::{Admission, Kind, Settings};
use grandstand_edge_core::audience::Pressure;
use grandstand_engine::link::Now;
use grandstand_protocol::websocket::handshake::write_refusal;

use super::Worker;
use super::client_hello::ticket_of;
use crate::config;
use crate::stats::TurnedAway;
use crate::transport::link::LinkState;
use crate::transport::tls::Tls;

/// Time for handshakes in one turn: less than people notice, and enough that what else a turn does costs
/// little beside it.
pub(super) const TURN: Duration = Duration::from_millis(4);

/// The same while a round of fan-out is under way, whose next writes wait meanwhile.
pub(super) const TURN_AMID_ROUND: Duration = Duration::from_millis(1);

/// A ClientHello with every extension that browsers send, and a ticket, is 2 KB.
const HELLO_BYTES_MAX: usize = 4 * 1024;

/// A newcomer, by its epoll token or by the number of its QUIC connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    Link(u64),
    Quic(u64),
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// Tokens of links whose handshake has begun, and goes on.
    due: VecDeque<u64>,
    pub(super) admission: Admission<Pending>,
    /// All of the gate's places for unfinished handshakes are taken.
    is_blocked: bool,
}

impl Handshakes {
    pub(super) fn new(limits: &config::Limits, seed: u64) -> Self {
        let settings = Settings {
            share_percent: limits.handshake_share_percent,
            waiting_max: limits.handshakes_waiting_max,
            patience_us: limits.handshake_patience_ms * 1_000,
            seed,
        };
        Handshakes { due: VecDeque::new(), admission: Admission::new(settings), is_blocked: false }
    }

    /// There are bytes for a handshake that has begun.
    pub(super) fn push(&mut self, token: u64) {
        self.due.push_back(token);
    }
}

impl Worker {
    /// A turn begins: what handshakes may take of it, and whether the audience is to keep newcomers away.
    pub(super) fn begin_handshakes(&mut self, now: Now) {
        let admission = &mut self.handshakes.admission;
        admission.handle_turn(now.us, !self.audience.has_work());
        let newest = Kind::TlsFull;
        let pressure = admission
            .is_full_for(newest)
            .then(|| Pressure { wait_us: admission.wait_us(newest), step_us: admission.step_us(newest) });
        self.audience.handle_pressure(pressure);
    }

    /// The first bytes of a TCP newcomer are there.
    pub(super) fn handle_incoming(&mut self, now: Now, ix: u32, token: u64, is_tls: bool) {
        let kind = if is_tls { self.kind_of_hello(ix) } else { Kind::Upgrade };
        // Whether it waits or goes: it holds none of the places for handshakes any longer.
        self.shared.gate.end_handshake();
        if self.handshakes.admission.handle_newcomer(kind, Pending::Link(token)) {
            self.links.get_mut(ix).expect("its bytes have come").state = LinkState::Queued { is_tls };
        } else {
            self.refuse_pending(now, ix, kind, TurnedAway::Overloaded);
        }
    }

    /// A ticket counts if this node sealed it: opening one costs a hundredth of a handshake.
    fn kind_of_hello(&mut self, ix: u32) -> Kind {
        let Some(link) = self.links.get(ix) else { return Kind::TlsFull };
        let hello = link.peek(&mut self.scratch[..HELLO_BYTES_MAX]);
        let is_ours =
            ticket_of(hello).is_some_and(|ticket| self.shared.tls.ticketer.decrypt(ticket).is_some());
        if is_ours { Kind::TlsResumed } else { Kind::TlsFull }
    }

    /// Handshakes that are due, then those that may begin, for as long as a turn has for them; `true` when
    /// there is more.
    pub(super) fn drive_handshakes(&mut self, instant: Instant, now: Now) -> bool {
        let (began, time) = (Instant::now(), self.handshake_time());
        while self.handshakes.admission.may_work()
            && began.elapsed() < time
            && let Some(token) = self.handshakes.due.pop_front()
        {
            let step = Instant::now();
            if let Some(ix) = self.links.of_token(token) {
                // To its end: the event that told of it may be older than what is there now.
                self.handle_link_readable(now, ix, true);
            }
            self.handshakes.admission.handle_spent(step.elapsed().as_nanos() as u64);
        }
        self.handshakes.is_blocked = false;
        while began.elapsed() < time && self.admit_next(instant, now) {}
        self.refuse_impatient(now);
        self.stats.admission_us.add(began.elapsed().as_micros() as u64);
        // Where the gate is full, more can be done only when something has happened.
        !self.handshakes.due.is_empty()
            || !(self.handshakes.admission.is_empty() || self.handshakes.is_blocked)
    }

    /// Begin the next handshake; `false` when none may begin now.
    fn admit_next(&mut self, instant: Instant, now: Now) -> bool {
        if self.handshakes.admission.is_empty() {
            return false;
        }
        if !self.shared.gate.try_begin_handshake() {
            self.handshakes.is_blocked = true;
            return false;
        }
        let Some((kind, pending)) = self.handshakes.admission.poll_admit() else {
            self.shared.gate.end_handshake();
            return false;
        };
        let step = Instant::now();
        let has_begun = self.begin_pending(instant, now, pending);
        let spent_ns = step.elapsed().as_nanos() as u64;
        if !has_begun {
            self.shared.gate.end_handshake();
        } else if matches!(pending, Pending::Link(token) if self.links.of_token(token).is_none()) {
            // It ended at once: nothing to learn a kind's cost from.
            self.handshakes.admission.handle_spent(spent_ns);
        } else {
            self.handshakes.admission.handle_cost(kind, spent_ns);
            self.stats.admissions.of(kind).inc();
        }
        true
    }

    /// Its turn has come, and a place among the handshakes is taken for it; `false` if it has left, and gives
    /// it back.
    fn begin_pending(&mut self, instant: Instant, now: Now, pending: Pending) -> bool {
        match pending {
            Pending::Quic(number) => self.links.quic.as_mut().is_some_and(|quic| quic.begin(instant, number)),
            Pending::Link(token) => {
                let Some(ix) = self.links.of_token(token) else { return false };
                self.begin_handshake(now, ix)
            }
        }
    }

    fn begin_handshake(&mut self, now: Now, ix: u32) -> bool {
        let Some(link) = self.links.get_mut(ix) else { return false };
        let LinkState::Queued { is_tls } = link.state else { return false };
        // Its time for the handshake begins now.
        (link.state, link.since_s) = (LinkState::Upgrade, (now.us / 1_000_000) as u32);
        if is_tls {
            match Tls::new(self.shared.tls.clone()) {
                Ok(tls) => link.begin_tls(tls),
                Err(error) => {
                    tracing::warn!(%error, "TLS cannot begin");
                    // It counts as a handshake by now: its place goes with it.
                    self.drop_link(ix);
                    return true;
                }
            }
        }
        self.handle_link_readable(now, ix, true);
        true
    }

    fn refuse_impatient(&mut self, now: Now) {
        while let Some((kind, pending)) = self.handshakes.admission.poll_impatient() {
            match pending {
                Pending::Quic(number) => {
                    if let Some(pass) = self.links.quic.as_mut().and_then(|quic| quic.refuse(number)) {
                        self.stats.turned_away.of(TurnedAway::Overtaken).inc();
                        self.shared.gate.leave(pass);
                    }
                }
                Pending::Link(token) => {
                    if let Some(ix) = self.links.of_token(token) {
                        self.refuse_pending(now, ix, kind, TurnedAway::Overtaken);
                    }
                }
            }
        }
    }

    /// A TCP newcomer that has not begun is sent away: without TLS with a time, unparsed; under TLS only its
    /// connection could be told, and it is closed.
    fn refuse_pending(&mut self, now: Now, ix: u32, kind: Kind, why: TurnedAway) {
        self.stats.turned_away.of(why).inc();
        let Some(link) = self.links.get_mut(ix) else { return };
        (link.state, link.since_s) = (LinkState::Lingering, (now.us / 1_000_000) as u32);
        if kind != Kind::Upgrade {
            return self.drop_link(ix);
        }
        let refusal = self.handshakes.admission.refuse(kind);
        let mut answer = Vec::new();
        write_refusal(503, "many are coming at once", Some(refusal.retry_after_s()), &mut answer);
        if !self.links.send_own(ix, answer) {
            return self.drop_link(ix);
        }
        self.links.get(ix).inspect(|link| link.shutdown_write());
        // Its request is thrown away unread, or closing would reset what was just sent.
        self.handle_link_readable(now, ix, true);
    }

    /// What a turn has for handshakes.
    pub(super) fn handshake_time(&self) -> Duration {
        if self.audience.has_work() { TURN_AMID_ROUND } else { TURN }
    }
}
