//! The handshake queue: which handshakes begin now, which wait, and which are refused.
//!
//! Why: a worker that begins every handshake at once serves nobody while everyone reconnects; one that takes
//! them in order of arrival makes returning clients wait behind strangers. So handshakes have a share of a
//! worker's time while batches are being written, and all of its spare time otherwise. They are weighed by
//! what their kind costs, as measured. Clients that prove to be returning go first. A client that could not
//! be served within the patience is refused at once, with a time of its own to come back (`retry_after`).
//! The queue does no IO: time is passed in, and what waits is a value of the caller's.
//! Invariants: at most `waiting_max` wait. One of eight handshakes goes to whoever has waited longest,
//! whatever its rank, so nobody starves. Nobody waits longer than twice the patience.
//! Not here: what a refusal looks like on the wire, and how a kind is recognised (`worker`); limits per
//! address (`limits`).

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::retry_after::RetrySchedule;

/// Of so many handshakes one goes to whoever waits longest.
const TURN_OF_THE_OLDEST: u32 = 8;

/// The most that a share left unused is kept for later: a turn's worth. More would be a wave of handshakes
/// amid a round.
const KEPT_NS_MAX: i64 = 4_000_000;

/// Over how long the pace of handshakes is measured: many turns, and short beside anybody's patience.
const PACE_WINDOW_US: u64 = 100_000;

/// What a new connection asks for, by what it costs and what it has proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeKind {
    /// WebSocket without TLS. Whether it comes back shows in its `Hello` only.
    Upgrade,
    /// TLS that resumes a session: it showed a ticket that this node sealed.
    TlsResumed,
    /// Any other TLS.
    TlsFull,
    /// QUIC with a token that this node gave to this address on an earlier connection.
    QuicReturning,
    /// Any other QUIC.
    QuicNew,
}

impl HandshakeKind {
    /// Every kind, in order.
    pub const ALL: [HandshakeKind; 5] = [
        HandshakeKind::Upgrade,
        HandshakeKind::TlsResumed,
        HandshakeKind::TlsFull,
        HandshakeKind::QuicReturning,
        HandshakeKind::QuicNew,
    ];

    /// Has its client proved an earlier visit?
    pub fn is_returning(self) -> bool {
        self.rank() == 0
    }

    /// Who goes first: proved to be returning, not to be told, new.
    fn rank(self) -> usize {
        match self {
            HandshakeKind::TlsResumed | HandshakeKind::QuicReturning => 0,
            HandshakeKind::Upgrade => 1,
            HandshakeKind::TlsFull | HandshakeKind::QuicNew => 2,
        }
    }

    /// Before any was measured: nanoseconds on a core of a server of 2025 (docs/CAPACITY.md, joins).
    fn cost_ns_guess(self) -> u64 {
        match self {
            HandshakeKind::Upgrade => 20_000,
            HandshakeKind::TlsResumed => 100_000,
            HandshakeKind::TlsFull => 130_000,
            HandshakeKind::QuicReturning => 200_000,
            HandshakeKind::QuicNew => 220_000,
        }
    }
}

/// How much handshakes may have.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// Of a worker's time, while a round of fan-out is under way.
    pub share_percent: u32,
    /// New connections that wait, of all ranks together.
    pub waiting_max: usize,
    /// A connection that would wait longer is refused.
    pub patience_us: u64,
    /// For what is drawn.
    pub seed: u64,
}

/// When a refused connection is to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// In how many microseconds it is expected to find room.
    pub retry_after_us: u64,
}

impl RetryAfter {
    /// For `Retry-After`, which knows whole seconds; clients add up to one of their own.
    pub fn retry_after_s(self) -> u32 {
        u32::try_from(self.retry_after_us / 1_000_000).unwrap_or(u32::MAX).max(1)
    }
}

#[derive(Debug)]
struct Waiting<V> {
    pending: V,
    kind: HandshakeKind,
    since_us: u64,
    /// As learned when it came: what it adds to the wait of those behind it.
    cost_ns: u64,
}

/// See the module's head. `V` names a connection to the caller.
#[derive(Debug)]
pub struct HandshakeQueue<V> {
    settings: QueueSettings,
    now_us: u64,
    /// By rank, in the order in which they came.
    waiting: [VecDeque<Waiting<V>>; 3],
    /// Sums over `waiting`.
    queued_ns: [u64; 3],
    /// What kinds cost, by their place in [`HandshakeKind::ALL`].
    costs_ns: [u64; HandshakeKind::ALL.len()],
    /// The share that is left; below zero after a handshake that cost more.
    left_ns: i64,
    has_spare: bool,
    pace: Pace,
    retries: RetrySchedule,
    admitted: u32,
}

impl<V> HandshakeQueue<V> {
    /// Nobody waits.
    pub fn new(settings: QueueSettings) -> Self {
        HandshakeQueue {
            settings,
            now_us: 0,
            waiting: std::array::from_fn(|_| VecDeque::new()),
            queued_ns: [0; 3],
            costs_ns: HandshakeKind::ALL.map(HandshakeKind::cost_ns_guess),
            left_ns: 0,
            has_spare: true,
            pace: Pace::new(settings.share_percent),
            retries: RetrySchedule::new(settings.seed),
            admitted: 0,
        }
    }

    /// A turn begins. `has_spare`: nobody inside is being written to, so handshakes may have all that is left
    /// of it.
    pub fn handle_turn(&mut self, now_us: u64, has_spare: bool) {
        let elapsed_us = now_us.saturating_sub(self.now_us).min(1_000_000);
        // A percent of a microsecond is ten nanoseconds.
        let share_ns = (elapsed_us * 10 * u64::from(self.settings.share_percent)) as i64;
        self.left_ns = (self.left_ns + share_ns).min(KEPT_NS_MAX);
        (self.now_us, self.has_spare) = (now_us, has_spare);
        self.pace.handle_time(now_us, !self.is_empty());
    }

    /// A connection came and waits; `false` where it is to be refused.
    #[must_use]
    pub fn handle_incoming(&mut self, kind: HandshakeKind, pending: V) -> bool {
        if self.is_full_for(kind) {
            return false;
        }
        let cost_ns = self.cost_ns(kind);
        self.queued_ns[kind.rank()] += cost_ns;
        let incoming = Waiting { pending, kind, since_us: self.now_us, cost_ns };
        self.waiting[kind.rank()].push_back(incoming);
        true
    }

    /// Would a new connection of this kind be refused?
    pub fn is_full_for(&self, kind: HandshakeKind) -> bool {
        self.waiting() >= self.settings.waiting_max || self.wait_us(kind) > self.settings.patience_us
    }

    /// How long one of this kind that comes now would wait, as the pace is: for those of its rank and of
    /// better ones.
    pub fn wait_us(&self, kind: HandshakeKind) -> u64 {
        let ahead_ns: u64 = self.queued_ns[..=kind.rank()].iter().sum();
        self.pace.time_us(ahead_ns)
    }

    /// How long one of this kind takes of the pace: the distance between two retries.
    pub fn step_us(&self, kind: HandshakeKind) -> u64 {
        self.pace.time_us(self.cost_ns(kind))
    }

    /// Refuse a connection that can be told when to come back.
    pub fn refuse(&mut self, kind: HandshakeKind) -> RetryAfter {
        let (wait_us, step_us) = (self.wait_us(kind), self.step_us(kind));
        RetryAfter { retry_after_us: self.retries.book(self.now_us, wait_us, step_us) }
    }

    /// May there be handshakes now? Those that have begun ask, too.
    pub fn may_work(&self) -> bool {
        self.has_spare || self.left_ns > 0
    }

    /// Whose handshake begins now, if anybody's may.
    pub fn poll_admit(&mut self) -> Option<(HandshakeKind, V)> {
        if !self.may_work() {
            return None;
        }
        let rank = self.next_rank()?;
        self.admitted = self.admitted.wrapping_add(1);
        let next = self.take(rank)?;
        Some((next.kind, next.pending))
    }

    /// A connection that waited twice the patience because others went first: it is to be refused.
    pub fn poll_overdue(&mut self) -> Option<(HandshakeKind, V)> {
        let limit_us = 2 * self.settings.patience_us;
        let is_late = |queue: &VecDeque<Waiting<V>>| {
            queue.front().is_some_and(|first| self.now_us.saturating_sub(first.since_us) > limit_us)
        };
        let rank = self.waiting.iter().position(is_late)?;
        let late = self.take(rank)?;
        Some((late.kind, late.pending))
    }

    /// The first step of a handshake of this kind took so long: it is learned, and charged.
    pub fn handle_cost(&mut self, kind: HandshakeKind, spent_ns: u64) {
        let cost_ns = &mut self.costs_ns[kind as usize];
        // An eighth of the newest: a preempted thread does not count for much.
        *cost_ns = (*cost_ns * 7 + spent_ns) / 8;
        self.pace.add(spent_ns);
        self.handle_spent(spent_ns);
    }

    /// Other work for new connections took so long: later steps, accepting, refusing. It is charged.
    pub fn handle_spent(&mut self, spent_ns: u64) {
        // What the worker had to spare is not held against them.
        if !self.has_spare {
            self.left_ns -= spent_ns as i64;
        }
    }

    /// What a kind costs, as learned.
    pub fn cost_ns(&self, kind: HandshakeKind) -> u64 {
        self.costs_ns[kind as usize]
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// How many of this kind wait; counted by looking.
    pub fn waiting_of(&self, kind: HandshakeKind) -> usize {
        self.waiting[kind.rank()].iter().filter(|waiting| waiting.kind == kind).count()
    }

    /// Does a client wait that has proved an earlier visit?
    pub fn has_returning(&self) -> bool {
        !self.waiting[0].is_empty()
    }

    /// Does nobody wait?
    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// The best rank in which a connection waits; every eighth time, the rank of the one that waits longest.
    fn next_rank(&self) -> Option<usize> {
        let fronts = self.waiting.iter().enumerate().filter_map(|(rank, queue)| Some((rank, queue.front()?)));
        if self.admitted % TURN_OF_THE_OLDEST == TURN_OF_THE_OLDEST - 1 {
            return fronts.min_by_key(|(rank, first)| (first.since_us, Reverse(*rank))).map(|(rank, _)| rank);
        }
        fronts.map(|(rank, _)| rank).next()
    }

    fn take(&mut self, rank: usize) -> Option<Waiting<V>> {
        let taken = self.waiting[rank].pop_front()?;
        self.queued_ns[rank] -= taken.cost_ns;
        Some(taken)
    }
}

/// How fast handshakes begin while some wait: nanoseconds of their cost per microsecond of time.
#[derive(Debug)]
struct Pace {
    ns_per_us: u64,
    since_us: u64,
    spent_ns: u64,
    /// Somebody waited all the time since then.
    is_busy: bool,
}

impl Pace {
    /// Before any is measured: half of the worker, or what is sure.
    fn new(share_percent: u32) -> Self {
        Pace { ns_per_us: 500.max(u64::from(share_percent) * 10), since_us: 0, spent_ns: 0, is_busy: false }
    }

    fn add(&mut self, spent_ns: u64) {
        self.spent_ns += spent_ns;
    }

    fn handle_time(&mut self, now_us: u64, is_busy: bool) {
        self.is_busy &= is_busy;
        let elapsed_us = now_us.saturating_sub(self.since_us);
        if elapsed_us < PACE_WINDOW_US {
            return;
        }
        if self.is_busy {
            // A pace of nothing would be a wait for ever: at least a fiftieth of the worker.
            let measured = (self.spent_ns / elapsed_us).clamp(20, 1_000);
            self.ns_per_us = (self.ns_per_us + measured).div_ceil(2);
        }
        (self.since_us, self.spent_ns, self.is_busy) = (now_us, 0, is_busy);
    }

    fn time_us(&self, cost_ns: u64) -> u64 {
        cost_ns / self.ns_per_us
    }
}
