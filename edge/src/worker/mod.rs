//! A worker: one thread that drives an audience over real sockets.
//!
//! One turn takes outputs of the shards, commands, ready sockets, datagrams and timers; then it fans out
//! within a budget of writes; then it closes. While there is work, turns follow each other. Otherwise the
//! worker sleeps in its runtime until a socket, its doorbell or a timer wakes it.
//! Invariants: a connection lives and dies on one worker, so nothing here is locked. Nothing in a turn
//! blocks, and each part of a turn has a budget, so fan-out, reads and accepts share the thread however busy
//! one of them is.
//! Not here: what frames mean and who gets what (`audience`), starting and stopping (`workers`).

mod accept;
mod begin;
mod client_hello;
mod close;
mod displace;
mod drain;
mod driver;
mod handshakes;
mod lines;
mod listeners;
mod load;
mod poller;
mod proxy;
mod publish_stats;
mod quic;
mod read;
mod refusals;
mod reserve;
mod shared;
mod sort;
mod token;
mod unnamed;
mod upgrade;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use grandstand_edge_core::audience::{Audience, presence};
use grandstand_edge_core::key::Key;
use grandstand_engine::link::{Input, Now, ShardId};
use grandstand_engine::runtime::WorkerPort;
use grandstand_engine::runtime::pulse::Pulse;
use grandstand_queue::{Doorbell, Receiver};

use crate::config::Config;
use crate::quic::{Forwarded, Quic};
use crate::stats::Stats;
use crate::transport::link::LinkState;
use crate::transport::links::Links;
pub use close::LINGER_S;
use driver::Driver;
use handshakes::Handshakes;
use lines::Lines;
use listeners::Listeners;
use load::{LoadMeter, Report, Writes};
use poller::{Poller, Ready};
use reserve::Reserve;
pub(crate) use shared::{Command, PresenceRequest, Release, Shared, command_inbox};
pub(crate) use sort::PreviousProcess;

/// Outputs of the engine taken per turn: more than the busiest shard makes in one tick.
const OUTPUTS_PER_TURN: usize = 4096;

/// The interval at which the worker looks for handshakes and closes that took too long.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Connections for which a worker's tables have room from the start, so that growth never moves them. A table
/// that doubles leaves its old half behind, which is as much memory again. Pages that are never touched cost
/// nothing. The bound keeps a limit of millions from reserving gigabytes.
pub fn reserved(config: &Config) -> usize {
    config.limits.connections_max.min(65_536)
}

/// A seed for the retry times of refused clients: it must differ between workers, and is not secret.
fn seed_of(worker: usize) -> u64 {
    u64::from(std::process::id()) << 8 | worker as u64
}

/// The parts from which a worker is made.
pub(crate) struct Parts {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) audience: Audience,
    pub(crate) port: WorkerPort,
    pub(crate) commands: Receiver<Command>,
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) bell_fd: OwnedFd,
    pub(crate) stats: Arc<Stats>,
    pub(crate) pulse: Pulse,
    pub(crate) ws: Option<TcpListener>,
    pub(crate) wss: Option<TcpListener>,
    pub(crate) quic: Option<Quic>,
    /// The previous process, which still has connections over this worker's socket.
    pub(crate) previous: Option<PreviousProcess>,
    /// Hashes what strangers choose.
    pub(crate) key: Key,
}

/// One thread's audience, links, poller and handshakes.
pub(crate) struct Worker {
    id: usize,
    shared: Arc<Shared>,
    stats: Arc<Stats>,
    pulse: Pulse,
    driver: Driver,
    port: WorkerPort,
    commands: Receiver<Command>,
    bell: Arc<Doorbell>,
    bell_fd: OwnedFd,
    listeners: Listeners,
    reserve: Reserve,
    poller: Poller,
    ready: Vec<Ready>,
    handshakes: Handshakes,
    load: LoadMeter,
    housekeeping_at: Instant,
    /// The UDP socket was not read to its end, and no new event will come for the rest.
    udp_has_more: bool,
    previous: Option<PreviousProcess>,
    /// Set when the next process reads the UDP socket: the datagrams that it forwards to this worker.
    forwarded: Option<Forwarded>,
    forwarded_has_more: bool,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add_bell(parts.bell_fd.as_fd(), token::BELL)?;
        let listeners = Listeners::new(parts.ws, parts.wss, &poller)?;
        if let Some(quic) = &parts.quic {
            poller.add_stream(quic.socket().as_fd(), token::UDP)?;
        }
        let links = Links::new(parts.quic, reserved(&parts.shared.config));
        let handshakes = Handshakes::new(&parts.shared.config.limits, seed_of(parts.id));
        let lines = Lines::new(&parts.shared.config.limits, parts.shared.loads.len(), parts.key);
        let now = parts.shared.clock.instant();
        Ok(Worker {
            id: parts.id,
            driver: Driver::new(parts.shared.clone(), parts.stats.clone(), parts.audience, links, lines),
            shared: parts.shared,
            stats: parts.stats,
            pulse: parts.pulse,
            port: parts.port,
            commands: parts.commands,
            bell: parts.bell,
            bell_fd: parts.bell_fd,
            listeners,
            reserve: Reserve::new(),
            poller,
            ready: Vec::new(),
            handshakes,
            load: LoadMeter::new(now),
            housekeeping_at: now,
            udp_has_more: false,
            previous: parts.previous,
            forwarded: None,
            forwarded_has_more: false,
        })
    }

    /// Run turns until told to stop.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        loop {
            let has_more = self.turn()?;
            if self.driver.is_stopping && !has_more {
                self.pulse.end();
                return Ok(());
            }
            if has_more {
                tokio::task::yield_now().await;
                continue;
            }
            self.bell.prepare_park();
            if !self.port.is_empty() || !self.commands.is_empty() {
                self.bell.cancel_park();
                continue;
            }
            let sleep = tokio::time::sleep_until(self.next_deadline().into());
            tokio::select! {
                biased;
                ready = self.poller.wait() => ready?,
                () = sleep => {}
            }
            self.bell.finish_park();
        }
    }

    /// Do everything that can be done now. Returns `true` when there is more.
    fn turn(&mut self) -> io::Result<bool> {
        self.pulse.turn();
        let (instant, now) = self.shared.clock.now();
        let mut has_more = self.take_outputs();
        self.begin_handshakes(now);
        self.take_commands(instant, now);
        self.poller.look(&mut self.ready)?;
        has_more |= !self.ready.is_empty();
        let ready = std::mem::take(&mut self.ready);
        for event in &ready {
            has_more |= self.handle_ready(instant, now, *event);
        }
        self.ready = ready;
        self.ready.clear();
        if std::mem::take(&mut self.udp_has_more) {
            let more = Ready { token: token::UDP, readable: true, writable: false, over: false };
            has_more |= self.handle_udp(instant, now, more);
        }
        if std::mem::take(&mut self.forwarded_has_more) {
            has_more |= self.handle_forwarded(instant, now);
        }
        has_more |= self.drive_handshakes(instant, now);
        self.handle_timers(instant, now);
        has_more |= self.write(instant, now);
        self.driver.close_ended(instant, now);
        self.publish_stats();
        self.tell_load(self.shared.clock.instant());
        self.stats.turns.inc();
        self.stats.busy_us.add(self.shared.clock.elapsed(instant).as_micros() as u64);
        Ok(has_more || self.driver.audience.has_work())
    }

    fn take_outputs(&mut self) -> bool {
        for _ in 0..OUTPUTS_PER_TURN {
            match self.port.poll_output() {
                Some(output) => self.driver.audience.handle_output(output),
                None => return false,
            }
        }
        true
    }

    fn take_commands(&mut self, instant: Instant, now: Now) {
        while let Some(command) = self.commands.pop() {
            match command {
                Command::Adopt(adoption) => self.adopt(now, adoption),
                Command::Datagram(datagram) => self.handle_forwarded_datagram(instant, now, datagram),
                Command::GiveWay(address) => {
                    self.driver.lines.give_way(Some(address), now);
                    self.driver.end_leaving();
                }
                Command::GiveWayToOwn(address) => {
                    self.driver.lines.give_way_to_own(Some(address), now);
                    self.driver.end_leaving();
                }
                Command::Drain(drain) => self.driver.drain(now, &drain),
                Command::End(ended) => {
                    let closed = self.driver.audience.handle_ended(now, &ended);
                    if closed > 0 {
                        tracing::info!(closed, "connections were closed by a ban or a revocation");
                    }
                }
                Command::CountElsewhere(sessions) => {
                    self.driver.audience.handle_elsewhere(now, &sessions);
                }
                Command::Presence(PresenceRequest { query, reply }) => {
                    reply(presence(&self.driver.audience, now, &query));
                }
                Command::DrainOver => {
                    self.driver.drain_target = None;
                    self.driver.audience.handle_drain_over();
                }
                Command::Release(release) => self.release(release),
                Command::Stop => self.stop(),
            }
        }
    }

    /// Fan out within the budget, and measure the time. Returns `true` when there is more.
    fn write(&mut self, instant: Instant, now: Now) -> bool {
        let writes_max = self.shared.config.fanout.writes_per_turn;
        let (begun, before) = (self.shared.clock.instant(), self.writes());
        let has_more = self.driver.audience.poll_writes(&mut self.driver.links, writes_max);
        self.driver.drive_quic(instant, now);
        let after = self.writes();
        self.load.add(self.shared.clock.elapsed(begun), before, after);
        has_more
    }

    fn writes(&mut self) -> Writes {
        let counts = self.driver.audience.counters();
        Writes { of_batches: counts.batch_writes, all: counts.writes }
    }

    /// Report fan-out's share of the time to the shards. If an inbox is full, the next report follows soon.
    fn tell_load(&mut self, instant: Instant) {
        match self.load.poll_report(instant) {
            Some(Report::Load(load)) => {
                self.stats.fanout_share.set(load.fanout_us * 1000 / load.elapsed_us.max(1));
                self.stats.write_cost_ns.set(load.fanout_us * 1000 / load.writes.max(1));
                let (worker, backbone) = (self.port.worker, &self.port.backbone);
                for shard in (0..backbone.shards()).map(ShardId) {
                    let _ = backbone.submit(shard, Input::Load { worker, load });
                }
            }
            Some(Report::Quiet) => self.stats.fanout_share.set(0),
            None => {}
        }
    }

    fn handle_ready(&mut self, instant: Instant, now: Now, event: Ready) -> bool {
        match event.token {
            token::BELL => {
                let mut count = [0; 8];
                // A non-blocking read, only to reset the bell.
                let _ = rustix::io::read(&self.bell_fd, &mut count);
                false
            }
            token::WS => self.accept(now, false),
            token::WSS => self.accept(now, true),
            token::UDP => self.handle_udp(instant, now, event),
            token::FORWARDED => self.handle_forwarded(instant, now),
            token => {
                if let Some(ix) = self.driver.links.of_token(token) {
                    if event.writable {
                        self.driver.handle_link_writable(ix);
                    }
                    if event.readable {
                        self.handle_link_event(now, ix, event);
                    }
                }
                false
            }
        }
    }

    fn handle_link_event(&mut self, now: Now, ix: u32, event: Ready) {
        match self.driver.links.get(ix).map(|link| link.state) {
            Some(LinkState::Accepted { is_tls }) => self.handle_incoming(now, ix, event, is_tls),
            // The peer left before its handshake began.
            Some(LinkState::Queued { .. }) if event.over => self.driver.drop_link(ix),
            Some(LinkState::Queued { .. }) => {}
            Some(LinkState::Tls) => self.handshakes.push(event.token),
            Some(_) => self.driver.handle_link_readable(now, ix, event.over),
            None => {}
        }
    }

    fn handle_timers(&mut self, instant: Instant, now: Now) {
        self.driver.audience.handle_timeout(now);
        if let Some(quic) = self.driver.links.quic.as_mut() {
            quic.handle_timeout(instant);
        }
        self.listeners.resume(&self.poller, instant);
        if instant >= self.housekeeping_at {
            self.housekeeping_at = instant + HOUSEKEEPING;
            self.driver.end_late(instant, now);
            self.driver.count_links();
            self.handshakes.publish(&self.stats);
        }
    }

    fn next_deadline(&self) -> Instant {
        let (instant, now) = self.shared.clock.now();
        let core = instant
            + Duration::from_micros(self.driver.audience.poll_timeout().saturating_sub(now.us).max(1_000));
        let quic = self.driver.links.quic.as_ref().and_then(Quic::poll_timeout);
        [Some(core), Some(self.housekeeping_at), quic, self.load.due(), self.listeners.resume_at()]
            .into_iter()
            .flatten()
            .min()
            .expect("the housekeeping always is due")
    }

    /// Copy the counters to the metrics, and the load to where other workers read it.
    fn publish_stats(&mut self) {
        let load =
            self.driver.links.len() + self.driver.links.quic.as_ref().map_or(0, |quic| quic.counts.pending);
        self.shared.loads[self.id].store(load, Ordering::Relaxed);
        let [handshakes, greetings] = self.driver.lines.lens();
        self.shared.waiting[self.id].store(handshakes + greetings, Ordering::Relaxed);
        self.stats.waiting.set_all(&[handshakes as u64, greetings as u64]);
        self.stats.fanout_us.set(self.load.total_us());
        publish_stats::publish(&self.stats, self.driver.audience.counters(), self.driver.links.quic.as_ref());
    }
}
