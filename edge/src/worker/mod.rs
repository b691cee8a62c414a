//! A worker: one thread that drives an audience over real sockets.
//!
//! One turn: answers and batches from the shards, commands, readiness, datagrams, timers; then fan-out within
//! its budget of writes; then the closes. As long as there is work the turns follow each other; otherwise the
//! worker sleeps in its runtime until a socket, its doorbell or a timer wakes it.
//! Invariants: a connection lives and dies on one worker, so nothing here is locked; nothing in a turn
//! blocks, and each part of it has a budget, so that fan-out, reads and accepts share the thread however busy
//! one of them is.
//! Not here: what frames mean and who gets what (`audience`), starting and stopping (`node`).

mod accept;
mod client_hello;
mod close;
mod drain;
mod handshakes;
mod load;
mod poller;
mod publish_stats;
mod quic;
mod read;
mod shared;
mod upgrade;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use grandstand_edge_core::audience::Audience;
use grandstand_engine::link::{Input, Now, ShardId};
use grandstand_engine::runtime::WorkerPort;
use grandstand_queue::{Doorbell, Receiver};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::Config;
use crate::quic::{Forwarded, Quic};
use crate::stats::Stats;
use crate::transport::link::LinkState;
use crate::transport::links::Links;
pub use close::LINGER_S;
use handshakes::Handshakes;
use load::{LoadMeter, Report, Writes};
use poller::{Poller, Ready};
pub(crate) use quic::PreviousProcess;
pub(crate) use shared::{Clock, Command, Release, Shared, command_inbox};

/// Bytes read from one socket at once; larger than any client frame, and as large as a burst of them.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Outputs of the engine taken per turn: more than one tick of the busiest shard gives.
const OUTPUTS_PER_TURN: usize = 4096;

/// What took too long is looked for at this pace.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Epoll tokens that are not links; a link's token never has all of its upper bits set.
mod token {
    pub(super) const BELL: u64 = u64::MAX;
    pub(super) const WS: u64 = u64::MAX - 1;
    pub(super) const WSS: u64 = u64::MAX - 2;
    pub(super) const UDP: u64 = u64::MAX - 3;
    pub(super) const FORWARDED: u64 = u64::MAX - 4;
}

/// Connections for which a worker's tables have room from the start, so that they are never moved while they
/// grow: a table that doubles leaves its old half behind, as much memory again as it holds. Pages that are
/// never touched cost nothing; the bound keeps a limit of millions from reserving gigabytes.
pub fn reserved(config: &Config) -> usize {
    config.limits.connections_max.min(65_536)
}

/// For what a worker draws: different times for those who are sent away, not a secret.
fn seed_of(worker: usize) -> u64 {
    u64::from(std::process::id()) << 8 | worker as u64
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) audience: Audience,
    pub(crate) port: WorkerPort,
    pub(crate) commands: Receiver<Command>,
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) bell_fd: OwnedFd,
    pub(crate) stats: Arc<Stats>,
    pub(crate) ws: Option<TcpListener>,
    pub(crate) wss: Option<TcpListener>,
    pub(crate) quic: Option<Quic>,
    /// The previous process, which still has connections over this worker's socket.
    pub(crate) previous: Option<PreviousProcess>,
}

/// See the file's head.
pub(crate) struct Worker {
    id: usize,
    shared: Arc<Shared>,
    audience: Audience,
    port: WorkerPort,
    commands: Receiver<Command>,
    bell: Arc<Doorbell>,
    bell_fd: OwnedFd,
    stats: Arc<Stats>,
    ws: Option<TcpListener>,
    wss: Option<TcpListener>,
    poller: Poller,
    links: Links,
    ready: Vec<Ready>,
    handshakes: Handshakes,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    load: LoadMeter,
    housekeeping_at: Instant,
    /// The UDP socket was not read to its end: there will be no new event for what is left.
    udp_has_more: bool,
    /// Newcomers are turned away: where to they are told to go.
    drain_target: Option<String>,
    previous: Option<PreviousProcess>,
    /// The socket is read by the next process, which passes on what is ours.
    forwarded: Option<Forwarded>,
    forwarded_has_more: bool,
    is_stopping: bool,
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
        for (listener, token) in [(&parts.ws, token::WS), (&parts.wss, token::WSS)] {
            if let Some(listener) = listener {
                poller.add_listener(listener.as_fd(), token)?;
            }
        }
        if let Some(quic) = &parts.quic {
            poller.add_stream(quic.socket().as_fd(), token::UDP)?;
        }
        let links = Links::new(parts.quic, reserved(&parts.shared.config));
        let handshakes = Handshakes::new(&parts.shared.config.limits, seed_of(parts.id));
        Ok(Worker {
            id: parts.id,
            shared: parts.shared,
            audience: parts.audience,
            port: parts.port,
            commands: parts.commands,
            bell: parts.bell,
            bell_fd: parts.bell_fd,
            stats: parts.stats,
            ws: parts.ws,
            wss: parts.wss,
            poller,
            links,
            ready: Vec::new(),
            handshakes,
            scratch: vec![0; SCRATCH_BYTES],
            plain: Vec::new(),
            load: LoadMeter::new(Instant::now()),
            housekeeping_at: Instant::now(),
            udp_has_more: false,
            drain_target: None,
            previous: parts.previous,
            forwarded: None,
            forwarded_has_more: false,
            is_stopping: false,
        })
    }

    /// Turn until told to stop.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "the descriptor is owned, and open as long as this is; the other way is `unsafe`"
        )]
        let epoll = AsyncFd::with_interest(self.poller.try_clone_fd()?, Interest::READABLE)?;
        loop {
            let has_more = self.turn()?;
            if self.is_stopping && !has_more {
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
                guard = epoll.readable() => guard?.clear_ready(),
                () = sleep => {}
            }
            self.bell.finish_park();
        }
    }

    /// Everything that can be done now; `true` when there is more.
    fn turn(&mut self) -> io::Result<bool> {
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
        self.close_ended(instant, now);
        self.publish_stats();
        self.tell_load(Instant::now());
        self.stats.turns.inc();
        self.stats.busy_us.add(instant.elapsed().as_micros() as u64);
        Ok(has_more || self.audience.has_work())
    }

    fn take_outputs(&mut self) -> bool {
        for _ in 0..OUTPUTS_PER_TURN {
            match self.port.poll_output() {
                Some(output) => self.audience.handle_output(output),
                None => return false,
            }
        }
        true
    }

    fn take_commands(&mut self, instant: Instant, now: Now) {
        while let Some(command) = self.commands.pop() {
            match command {
                Command::Adopt { stream, is_tls, pass } => self.adopt(now, stream, is_tls, pass),
                Command::Datagram(datagram) => self.handle_forwarded_datagram(instant, now, datagram),
                Command::Drain(drain) => self.drain(now, &drain),
                Command::Release(release) => self.release(release),
                Command::Stop => self.stop(),
            }
        }
    }

    /// Fan-out, within its budget; `true` when there is more. What it takes is measured.
    fn write(&mut self, instant: Instant, now: Now) -> bool {
        let writes_max = self.shared.config.fanout.writes_per_turn;
        let (begun, before) = (Instant::now(), self.writes());
        let has_more = self.audience.poll_writes(&mut self.links, writes_max);
        self.drive_quic(instant, now);
        let after = self.writes();
        self.load.add(begun.elapsed(), before, after);
        has_more
    }

    fn writes(&mut self) -> Writes {
        let counts = self.audience.counts();
        Writes { of_batches: counts.batch_writes, all: counts.writes }
    }

    /// Tell the shards what fan-out took. Where an inbox is full, the next report will do.
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
                // It is non-blocking, and read only to be silenced.
                let _ = rustix::io::read(&self.bell_fd, &mut count);
                false
            }
            token::WS => self.accept(now, false),
            token::WSS => self.accept(now, true),
            token::UDP => self.handle_udp(instant, now, event),
            token::FORWARDED => self.handle_forwarded(instant, now),
            token => {
                if let Some(ix) = self.links.of_token(token) {
                    if event.writable {
                        self.handle_link_writable(ix);
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
        match self.links.get(ix).map(|link| link.state) {
            Some(LinkState::Accepted { is_tls }) => self.handle_incoming(now, ix, event.token, is_tls),
            // Gone before its turn: nobody is to be let in.
            Some(LinkState::Queued { .. }) if event.over => self.drop_link(ix),
            Some(LinkState::Queued { .. }) => {}
            Some(LinkState::Tls) => self.handshakes.push(event.token),
            Some(_) => self.handle_link_readable(now, ix, event.over),
            None => {}
        }
    }

    fn handle_timers(&mut self, instant: Instant, now: Now) {
        self.audience.handle_timeout(now);
        if let Some(quic) = self.links.quic.as_mut() {
            quic.handle_timeout(instant);
        }
        if instant >= self.housekeeping_at {
            self.housekeeping_at = instant + HOUSEKEEPING;
            self.end_late(instant, now);
        }
    }

    fn next_deadline(&self) -> Instant {
        let (instant, now) = self.shared.clock.now();
        let core =
            instant + Duration::from_micros(self.audience.poll_timeout().saturating_sub(now.us).max(1_000));
        let quic = self.links.quic.as_ref().and_then(Quic::poll_timeout);
        [Some(core), Some(self.housekeeping_at), quic, self.load.due()]
            .into_iter()
            .flatten()
            .min()
            .expect("the housekeeping always is due")
    }

    /// Copy the counters to where the metrics are read.
    fn publish_stats(&mut self) {
        let load = self.links.len() + self.links.quic.as_ref().map_or(0, |q| q.pending);
        self.shared.loads[self.id].store(load, Ordering::Relaxed);
        self.stats.fanout_us.set(self.load.total_us());
        publish_stats::publish(&self.stats, self.audience.counts(), self.links.quic.as_ref());
    }
}
