//! The node part: a thread per shard, the queues to and from the workers, and the only clocks.
//!
//! A shard's loop: hand out what waited for a worker; take a bounded chunk from the inbox; do what is due;
//! hand out what came of it; sleep until the next input or the next room is due.
//!
//! **When a worker does not keep up**, its ring fills, and what comes after waits in a list of this thread's
//! (the overflow), in order. While any overflow is longer than [`EngineConfig::overflow_max`], the shard
//! takes nothing from its inbox: the inbox fills, and edges refuse publishers with `Overloaded`. So nothing
//! that was acknowledged, and no acknowledgement, is dropped; a shard never blocks; and what waits is bounded
//! by the overflow, one chunk's outputs and one tick of the rooms. Ticks go on meanwhile. A worker that is
//! gone is taken off every room, and what was meant for it is dropped and counted.
//!
//! Invariants: outputs of one shard reach one worker in order. Clocks are read here and nowhere else.
//! Not here: what a shard decides (`shard`), how workers sleep (edge: its doorbell is passed in).

#![expect(clippy::disallowed_methods, reason = "the one place for clocks and threads")]

pub mod admin;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grandstand_protocol::refusal::Refusal;
use grandstand_queue::{Doorbell, Parker, Receiver, SendError, inbox, spsc, thread_bell};

use crate::config::ShardConfig;
use crate::link::{
    AdminAnswer, AdminRequest, Backbone, Directory, InProcess, Input, Now, Output, ShardId, WorkerId,
};
use crate::log::LogSource;
use crate::shard::Shard;

/// Inputs taken before time and outputs have their turn: some 100 µs of publications.
const CHUNK_INPUTS: usize = 256;

/// How soon a full ring is tried again: a worker does not ring when it has made room.
const OVERFLOW_RETRY: Duration = Duration::from_millis(1);

/// An engine's threads and queues.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Shards, each a thread.
    pub shards: u16,
    /// Inputs that wait for one shard, over all workers. Beyond, a submit gives its input back.
    pub inbox_capacity: usize,
    /// Outputs of one shard that wait for one worker. Beyond, they wait in the overflow.
    pub outbox_capacity: usize,
    /// Outputs of one shard that wait in the overflow for one worker before the shard stops taking inputs.
    pub overflow_max: usize,
    /// Cores to which shard threads are pinned, in turn; empty: none is.
    pub cores: Vec<usize>,
    /// For directory and epochs: random in production, fixed in tests.
    pub seed: u64,
    /// How long a shutdown waits for the disk to sync, and for workers to take, what is left.
    pub flush_ms: u64,
    /// The rooms.
    pub shard: ShardConfig,
}

#[cfg(any(test, feature = "test-support"))]
impl EngineConfig {
    /// One shard with queues for tests. A node takes every bound from its configuration.
    pub fn for_tests() -> Self {
        EngineConfig {
            shards: 1,
            inbox_capacity: 8192,
            outbox_capacity: 4096,
            overflow_max: 4096,
            cores: Vec::new(),
            seed: 0,
            flush_ms: 2000,
            shard: ShardConfig::for_tests(),
        }
    }
}

/// Running shards. Dropping it shuts them down.
pub struct Engine {
    backbone: Arc<dyn Backbone>,
    stop: Arc<AtomicBool>,
    bells: Vec<Arc<Doorbell>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("shards", &self.bells.len()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Start the shards, for one worker per doorbell: worker `i` is rung by `worker_bells[i]` and has the
    /// `i`th port.
    ///
    /// # Errors
    /// When the configuration does not hold together, or the system gives no thread.
    pub fn start(
        config: EngineConfig,
        worker_bells: Vec<Arc<Doorbell>>,
    ) -> io::Result<(Engine, Vec<WorkerPort>)> {
        Self::start_with_log(config, worker_bells, None)
    }

    /// The same, over logs that outlive the process, with the rooms that they have.
    ///
    /// # Errors
    /// As [`Self::start`].
    #[expect(clippy::needless_pass_by_value, reason = "the engine keeps what it is started with")]
    pub fn start_with_log(
        config: EngineConfig,
        worker_bells: Vec<Arc<Doorbell>>,
        mut logs: Option<&mut dyn LogSource>,
    ) -> io::Result<(Engine, Vec<WorkerPort>)> {
        config.shard.check().map_err(|fault| io::Error::new(io::ErrorKind::InvalidInput, fault))?;
        let workers = u16::try_from(worker_bells.len()).map_err(io::Error::other)?;
        let (clock, stop) = (Clock::start(), Arc::new(AtomicBool::new(false)));
        let directory = Directory::new(config.shards, config.seed);
        let mut consumers: Vec<Vec<spsc::Consumer<Output>>> =
            worker_bells.iter().map(|_| Vec::new()).collect();
        let (mut senders, mut bells, mut turns) = (Vec::new(), Vec::new(), Vec::new());
        for id in (0..config.shards).map(ShardId) {
            let (bell, parker) = thread_bell();
            let (sender, receiver) = inbox(config.inbox_capacity, bell.clone());
            let mut outlets = Vec::new();
            for (bell, consumers) in worker_bells.iter().zip(&mut consumers) {
                let (producer, consumer) = spsc::channel(config.outbox_capacity, bell.clone());
                outlets.push(Outlet { producer, overflow: VecDeque::new(), is_gone: false });
                consumers.push(consumer);
            }
            let mut shard = Shard::new(config.shard.clone(), id, config.shards, workers, config.seed);
            if let Some(logs) = &mut logs {
                let owns = |room: &str| directory.shard_of(room) == id;
                let (log, rooms) = logs.shard_log(id, &owns, bell.clone());
                shard = shard.with_durable_log(log);
                shard.restore(clock.now(), rooms);
            }
            senders.push(sender);
            bells.push(bell);
            turns.push(ShardThread {
                shard,
                inbox: receiver,
                outlets,
                parker,
                clock,
                stop: stop.clone(),
                overflow_max: config.overflow_max,
                flush: Duration::from_millis(config.flush_ms),
            });
        }
        let backbone: Arc<dyn Backbone> = Arc::new(InProcess::new(directory, senders));
        let mut engine = Engine { backbone: backbone.clone(), stop, bells, threads: Vec::new() };
        for (i, turn) in turns.into_iter().enumerate() {
            let core = config.cores.get(i % config.cores.len().max(1)).copied();
            engine.threads.push(spawn(i, core, turn)?);
        }
        let port = |(i, consumers)| WorkerPort {
            worker: WorkerId(i),
            consumers,
            next: 0,
            backbone: backbone.clone(),
        };
        Ok((engine, (0..workers).zip(consumers).map(port).collect()))
    }

    /// Where inputs go.
    pub fn backbone(&self) -> Arc<dyn Backbone> {
        self.backbone.clone()
    }

    /// Ask as an operator; see [`admin::ask`].
    pub fn ask(
        &self,
        request: AdminRequest,
        reply: impl FnOnce(Result<AdminAnswer, Refusal>) + Send + 'static,
    ) {
        admin::ask(&*self.backbone, request, reply);
    }

    /// Ask as an operator and wait for the answer: for threads that may block.
    ///
    /// # Errors
    /// The shard's refusal; `Overloaded` when it has stopped.
    pub fn ask_and_wait(&self, request: AdminRequest) -> Result<AdminAnswer, Refusal> {
        let (sender, receiver) = mpsc::channel();
        self.ask(request, move |answer| {
            let _ = sender.send(answer);
        });
        receiver.recv().unwrap_or(Err(Refusal::Overloaded))
    }

    /// Seal what waits, hand out what is left, stop and join. Workers go on polling until it returns; what
    /// they do not take within `flush_ms` is dropped.
    pub fn shutdown(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bells.iter().for_each(|bell| bell.ring());
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// A worker's side of the engine.
pub struct WorkerPort {
    /// Which worker this is.
    pub worker: WorkerId,
    /// Where its inputs go.
    pub backbone: Arc<dyn Backbone>,
    consumers: Vec<spsc::Consumer<Output>>,
    next: usize,
}

impl std::fmt::Debug for WorkerPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPort").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl WorkerPort {
    /// The next output, from the shards in turn.
    pub fn poll_output(&mut self) -> Option<Output> {
        for _ in 0..self.consumers.len() {
            let shard = self.next;
            self.next = (self.next + 1) % self.consumers.len();
            if let Some(output) = self.consumers[shard].pop() {
                return Some(output);
            }
        }
        None
    }

    /// Whether nothing waits: what to look at between a doorbell's `prepare_park` and the sleep.
    pub fn is_empty(&self) -> bool {
        self.consumers.iter().all(spsc::Consumer::is_empty)
    }

    /// Whether every shard has stopped; what polls still find is the last.
    pub fn is_closed(&self) -> bool {
        self.consumers.iter().all(spsc::Consumer::is_closed)
    }
}

fn spawn(shard: usize, core: Option<usize>, mut turn: ShardThread) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("shard-{shard}")).spawn(move || {
        if let Some(core) = core {
            pin(core);
        }
        turn.run();
    })
}

/// Pin this thread to a core. Where that is not possible it runs unpinned: pinning is for speed only.
fn pin(core: usize) {
    #[cfg(target_os = "linux")]
    if core < rustix::thread::CpuSet::MAX_CPU {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}

/// Both clocks.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn start() -> Self {
        Clock { start: Instant::now() }
    }

    fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { us: self.start.elapsed().as_micros() as u64, unix_ms: unix.as_millis() as u64 }
    }
}

/// The way from this shard to one worker.
struct Outlet {
    producer: spsc::Producer<Output>,
    // What did not fit, in order; while it is not empty, nothing goes to the ring past it.
    overflow: VecDeque<Output>,
    is_gone: bool,
}

impl Outlet {
    /// Hand out, or keep in order.
    fn send(&mut self, output: Output) -> Sent {
        if !self.overflow.is_empty() {
            self.overflow.push_back(output);
            return Sent::Later;
        }
        match self.producer.try_push(output) {
            Ok(()) => Sent::Now,
            Err(SendError::Closed(_)) => Sent::Never,
            Err(SendError::Full(output)) => {
                self.overflow.push_back(output);
                Sent::Later
            }
        }
    }

    /// Hand out what waited.
    fn flush(&mut self) {
        while let Some(output) = self.overflow.pop_front() {
            match self.producer.try_push(output) {
                Ok(()) => {}
                Err(SendError::Full(output)) => return self.overflow.push_front(output),
                Err(SendError::Closed(_)) => {}
            }
        }
    }
}

/// What became of an output.
enum Sent {
    Now,
    Later,
    Never,
}

struct ShardThread {
    shard: Shard,
    inbox: Receiver<Input>,
    // By worker.
    outlets: Vec<Outlet>,
    parker: Parker,
    clock: Clock,
    stop: Arc<AtomicBool>,
    overflow_max: usize,
    flush: Duration,
}

impl ShardThread {
    fn run(&mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.turn(CHUNK_INPUTS);
            self.sleep();
        }
        self.finish();
    }

    fn turn(&mut self, inputs_max: usize) {
        self.notice_gone();
        self.outlets.iter_mut().for_each(Outlet::flush);
        let now = self.clock.now();
        if !self.is_held_up() {
            for _ in 0..inputs_max {
                let Some(input) = self.inbox.pop() else { break };
                self.shard.handle_input(now, input);
            }
        }
        self.shard.handle_news(now);
        self.shard.handle_timeout(now);
        self.hand_out();
    }

    fn hand_out(&mut self) {
        let (mut overflowed, mut dropped) = (0, 0);
        while let Some((worker, output)) = self.shard.poll_output() {
            match self.outlets[usize::from(worker.0)].send(output) {
                Sent::Now => {}
                Sent::Later => overflowed += 1,
                Sent::Never => dropped += 1,
            }
        }
        self.shard.count_outputs(overflowed, dropped);
    }

    fn is_held_up(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.overflow.len() > self.overflow_max)
    }

    fn notice_gone(&mut self) {
        for (i, outlet) in self.outlets.iter_mut().enumerate() {
            if !outlet.is_gone && outlet.producer.is_closed() {
                outlet.is_gone = true;
                self.shard.count_outputs(0, outlet.overflow.len() as u64);
                outlet.overflow = VecDeque::new();
                self.shard.handle_worker_gone(self.clock.now(), WorkerId(i as u16));
            }
        }
    }

    /// Until there is an input that may be taken, a room is due, or a full ring is worth another try.
    fn sleep(&mut self) {
        let is_held_up = self.is_held_up();
        let now_us = self.clock.now().us;
        let due = self.shard.poll_timeout().map(|us| Duration::from_micros(us.saturating_sub(now_us)));
        let overflows = self.outlets.iter().any(|outlet| !outlet.overflow.is_empty());
        let timeout = due.into_iter().chain(overflows.then_some(OVERFLOW_RETRY)).min();
        let (inbox, shard, stop) = (&self.inbox, &mut self.shard, &self.stop);
        self.parker.park_timeout(timeout, || {
            (!is_held_up && !inbox.is_empty()) || shard.has_news() || stop.load(Ordering::Acquire)
        });
    }

    /// Take what was sent before the stop, seal everything, wait for the disk, and let the workers have it.
    fn finish(&mut self) {
        let deadline = Instant::now() + self.flush;
        let mut left = self.inbox.capacity();
        while left > 0 && !self.inbox.is_empty() && Instant::now() < deadline {
            self.turn(CHUNK_INPUTS.min(left));
            left -= CHUNK_INPUTS.min(left);
            self.wait_for_workers(deadline, Self::is_held_up);
        }
        self.shard.handle_shutdown(self.clock.now());
        self.hand_out();
        self.wait_for_disk(deadline);
        self.wait_for_workers(deadline, |thread| {
            thread.outlets.iter().any(|outlet| !outlet.overflow.is_empty())
        });
    }

    /// Answer what is synced in time; refuse the rest.
    fn wait_for_disk(&mut self, deadline: Instant) {
        while !self.shard.is_flushed() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let overflows = self.outlets.iter().any(|outlet| !outlet.overflow.is_empty());
            let timeout = if overflows { left.min(OVERFLOW_RETRY) } else { left };
            let shard = &mut self.shard;
            self.parker.park_timeout(Some(timeout), || shard.has_news());
            self.notice_gone();
            self.outlets.iter_mut().for_each(Outlet::flush);
            self.shard.handle_news(self.clock.now());
            self.shard.handle_timeout(self.clock.now());
            self.hand_out();
        }
        self.shard.give_up_answers();
        self.hand_out();
    }

    fn wait_for_workers(&mut self, deadline: Instant, is_waiting: impl Fn(&Self) -> bool) {
        loop {
            self.notice_gone();
            self.outlets.iter_mut().for_each(Outlet::flush);
            if !is_waiting(self) || Instant::now() >= deadline {
                return;
            }
            self.parker.park_timeout(Some(OVERFLOW_RETRY), || false);
        }
    }
}
