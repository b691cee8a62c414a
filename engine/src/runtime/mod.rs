//! The runtime: the engine's threads, queues and clocks. Each shard has a seat with a thread, and queues to
//! and from the workers.
//!
//! Invariant: in the engine, only this folder reads clocks and starts threads.
//! Not here: what a shard decides (`shard`), a seat's turn (`seat`), requests of the node itself (`desk`).

#![expect(clippy::disallowed_types, reason = "one word tells all threads to stop")]

pub mod admin;
pub mod clock;
mod desk;
mod outlet;
pub mod pulse;
mod seat;
mod stand;
pub mod wall;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use grandstand_protocol::refusal::Refusal;
use grandstand_queue::{Doorbell, Sender, inbox, spsc, thread_bell};

use self::clock::Clock;
pub use self::desk::{Answered, Desk};
use self::outlet::Outlet;
use self::pulse::Pulses;
use self::seat::{Command, Seat};
pub use self::stand::Stand;
use crate::config::ShardConfig;
use crate::link::{AdminRequest, Backbone, Directory, InProcess, Output, ShardId, WorkerId};
use crate::log::{Handed, HandedRoom, LogSource};
use crate::shard::{Shard, handing::take_rooms};

/// Commands that may wait for a seat: one, and one more.
const COMMANDS: usize = 2;

/// The configuration of an engine's threads and queues.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The number of this node; 0 unless it is one of a cluster.
    pub node: u8,
    /// The clock of the shards, which all threads share that give them times.
    pub clock: Clock,
    /// Number of shards, each with a thread.
    pub shards: u16,
    /// Inputs that may wait for one shard, over all workers. Above this, a submit gives its input back.
    pub inbox_capacity: usize,
    /// Outputs of one shard that may wait for one worker in the ring. Above this, they wait in the overflow.
    pub outbox_capacity: usize,
    /// Outputs of one shard that wait in the overflow for one worker before the shard stops taking inputs.
    pub overflow_max: usize,
    /// Cores to which shard threads are pinned, in turn; empty: no thread is pinned.
    pub cores: Vec<usize>,
    /// Seed of the directory and of epochs: random in production, fixed in tests.
    pub seed: u64,
    /// How long a shutdown waits until the disk has synced, and workers have taken, the rest.
    pub flush_ms: u64,
    /// The configuration of the rooms.
    pub shard: ShardConfig,
    /// Where the shards' threads show that they turn.
    pub pulses: Pulses,
}

#[cfg(any(test, feature = "test-support"))]
impl EngineConfig {
    /// One shard with queues for tests. A node takes every bound from its configuration.
    pub fn for_tests() -> Self {
        EngineConfig {
            node: 0,
            clock: Clock::start(),
            shards: 1,
            inbox_capacity: 8192,
            outbox_capacity: 4096,
            overflow_max: 4096,
            cores: Vec::new(),
            seed: 0,
            flush_ms: 2000,
            shard: ShardConfig::for_tests(),
            pulses: Pulses::default(),
        }
    }
}

/// Running shards. Dropping the engine shuts them down.
pub struct Engine {
    config: EngineConfig,
    clock: Clock,
    directory: Directory,
    backbone: Arc<dyn Backbone>,
    desk: Arc<Desk>,
    stop: Arc<AtomicBool>,
    // By shard.
    seats: Vec<SeatHandle>,
    // Rooms of another process, until their shards are seated.
    handed: Handed,
}

/// The engine's handle of a seat.
struct SeatHandle {
    bell: Arc<Doorbell>,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
    is_taken: bool,
}

/// Why a shard was not seated or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatError {
    /// It has an owner already.
    Taken,
    /// It has no owner.
    Empty,
    /// The engine has no such shard, or the seat's thread is gone.
    Gone,
}

impl std::fmt::Display for SeatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SeatError::Taken => "the shard has an owner; release it first",
            SeatError::Empty => "the shard has no owner",
            SeatError::Gone => "the engine has no such shard, or its thread has ended",
        })
    }
}

impl std::error::Error for SeatError {}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("shards", &self.seats.len()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Start the shards, for one worker per doorbell. Outputs for worker `i` ring `worker_bells[i]` and come
    /// out of the port at index `i`.
    ///
    /// # Errors
    /// The configuration contradicts itself, or the system gives no thread.
    pub fn start(
        config: EngineConfig,
        worker_bells: Vec<Arc<Doorbell>>,
    ) -> io::Result<(Engine, Vec<WorkerPort>)> {
        Self::start_with_log(config, worker_bells, None)
    }

    /// The same, with logs that outlive the process and the rooms in them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_log(
        config: EngineConfig,
        worker_bells: Vec<Arc<Doorbell>>,
        logs: Option<&mut dyn LogSource>,
    ) -> io::Result<(Engine, Vec<WorkerPort>)> {
        Self::start_with_handed(config, worker_bells, logs, Handed::default())
    }

    /// The same, with the rooms that another process handed over.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_handed(
        config: EngineConfig,
        worker_bells: Vec<Arc<Doorbell>>,
        mut logs: Option<&mut dyn LogSource>,
        handed: Handed,
    ) -> io::Result<(Engine, Vec<WorkerPort>)> {
        let (mut engine, ports) = Self::start_empty(config, worker_bells)?;
        engine.handed = handed;
        for id in (0..engine.config.shards).map(ShardId) {
            let logs = logs.as_mut().map(|logs| &mut **logs as &mut dyn LogSource);
            engine.seat(id, logs).map_err(io::Error::other)?;
        }
        Ok((engine, ports))
    }

    /// Start the threads of seats that are empty: on a node of a cluster, stands are seated next.
    ///
    /// # Errors
    /// As [`Self::start`].
    #[expect(clippy::needless_pass_by_value, reason = "workers and engine share the bells")]
    pub fn start_empty(
        config: EngineConfig,
        worker_bells: Vec<Arc<Doorbell>>,
    ) -> io::Result<(Engine, Vec<WorkerPort>)> {
        let invalid = |fault: String| io::Error::new(io::ErrorKind::InvalidInput, fault);
        config.shard.check().map_err(invalid)?;
        let workers = worker_bells.len();
        if workers > usize::from(WorkerId::NODE_ITSELF) {
            return Err(invalid(format!(
                "got {workers} workers, expected at most {}",
                WorkerId::NODE_ITSELF
            )));
        }
        let (clock, stop) = (config.clock, Arc::new(AtomicBool::new(false)));
        let node = config.node;
        let directory = Directory::new(config.shards, config.seed);
        let bells: Vec<_> = (0..config.shards).map(|_| thread_bell()).collect();
        let inboxes = bells.iter().map(|(bell, _)| inbox(config.inbox_capacity, bell.clone()));
        let (senders, inboxes): (Vec<_>, Vec<_>) = inboxes.unzip();
        let backbone: Arc<dyn Backbone> = Arc::new(InProcess::new(directory.clone(), senders));
        let desk = Arc::new(Desk::new(node, backbone.clone()));
        let seats = Vec::new();
        let mut engine = Engine {
            config,
            clock,
            directory,
            backbone: backbone.clone(),
            desk,
            stop,
            seats,
            handed: Handed::default(),
        };
        let mut consumers: Vec<Vec<spsc::Consumer<Output>>> =
            worker_bells.iter().map(|_| Vec::new()).collect();
        for (id, ((bell, parker), inbox)) in (0..).map(ShardId).zip(bells.into_iter().zip(inboxes)) {
            let mut outlets = Vec::new();
            for (bell, consumers) in worker_bells.iter().zip(&mut consumers) {
                let (producer, consumer) = spsc::channel(engine.config.outbox_capacity, bell.clone());
                outlets.push(Outlet::new(producer));
                consumers.push(consumer);
            }
            let (commands, receiver) = grandstand_queue::inbox(COMMANDS, bell.clone());
            let seat = Seat {
                id,
                node,
                owner: None,
                followed: Vec::new(),
                heir: None,
                commands: receiver,
                inbox,
                outlets,
                desk: engine.desk.clone(),
                parker,
                clock,
                stop: engine.stop.clone(),
                overflow_max: engine.config.overflow_max,
                flush: Duration::from_millis(engine.config.flush_ms),
                pulse: engine.config.pulses.register(format!("shard-{}", id.0)),
            };
            let cores = &engine.config.cores;
            let thread = Some(seat.spawn(cores.get(usize::from(id.0) % cores.len().max(1)).copied())?);
            engine.seats.push(SeatHandle { bell, commands, thread, is_taken: false });
        }
        let port = |(i, consumers)| WorkerPort {
            worker: WorkerId::new(node, i),
            consumers,
            next: 0,
            backbone: backbone.clone(),
        };
        Ok((engine, (0..WorkerId::NODE_ITSELF).zip(consumers).map(port).collect()))
    }

    /// The bell of a shard's seat: whoever sits there looks for news after it was rung.
    ///
    /// # Errors
    /// The engine has no such shard.
    pub fn bell(&self, id: ShardId) -> Result<Arc<Doorbell>, SeatError> {
        self.seats.get(usize::from(id.0)).map(|seat| seat.bell.clone()).ok_or(SeatError::Gone)
    }

    /// Seat a stand, on a node of a cluster.
    ///
    /// # Errors
    /// Somebody sits there, or the engine has no such shard.
    pub fn sit(&mut self, id: ShardId, stand: Box<dyn Stand>) -> Result<(), SeatError> {
        let seat = self.seats.get_mut(usize::from(id.0)).ok_or(SeatError::Gone)?;
        if seat.is_taken {
            return Err(SeatError::Taken);
        }
        seat.commands.try_send(Command::Sit(stand)).map_err(|_| SeatError::Gone)?;
        seat.is_taken = true;
        Ok(())
    }

    /// Take a shard: open its log, restore its rooms, and put the owner into its seat. The owner then takes
    /// the inputs that waited in the seat's inbox. Workers that followed rooms of the shard get `Attached`
    /// again.
    ///
    /// # Errors
    /// The shard has an owner, or the engine has no such shard.
    pub fn seat(&mut self, id: ShardId, logs: Option<&mut dyn LogSource>) -> Result<(), SeatError> {
        let seat = self.seats.get_mut(usize::from(id.0)).ok_or(SeatError::Gone)?;
        if seat.is_taken {
            return Err(SeatError::Taken);
        }
        let mut shard = Shard::new(self.config.shard.clone(), id, self.config.shards, self.config.seed);
        if let Some(logs) = logs {
            let owns = |room: &str| self.directory.shard_of(room) == id;
            let (log, rooms) = logs.open(id, &owns, seat.bell.clone());
            shard = shard.with_durable_log(log);
            shard.restore(self.clock.now(), rooms);
        }
        let is_own = |handed: &HandedRoom| self.directory.shard_of(&handed.room.room) == id;
        let (own, others) = std::mem::take(&mut self.handed.rooms).into_iter().partition(is_own);
        self.handed.rooms = others;
        take_rooms(&mut shard, self.clock.now(), self.handed.elapsed_us, own);
        seat.commands.try_send(Command::Sit(Box::new(shard))).map_err(|_| SeatError::Gone)?;
        seat.is_taken = true;
        Ok(())
    }

    /// Release a shard. Its owner seals what waits and takes no more inputs. It leaves when the log has
    /// everything and every answer has left, or after `flush_ms`; then its log is closed. Rooms in memory are
    /// lost with their owner. Workers go on, and their inputs wait in the seat's inbox. Returns `true` if the
    /// log has everything.
    ///
    /// # Errors
    /// The shard has no owner, or the engine has no such shard.
    pub fn release(&mut self, id: ShardId, logs: Option<&mut dyn LogSource>) -> Result<bool, SeatError> {
        let (is_flushed, _) = self.leave(id)?;
        if let Some(logs) = logs {
            logs.close(id);
        }
        Ok(is_flushed)
    }

    /// Release a shard whose log could not be opened, and seat it on one that is open now. Rooms in memory
    /// stay, with their viewers.
    ///
    /// # Errors
    /// As [`Self::release`].
    pub fn reseat(&mut self, id: ShardId, logs: &mut dyn LogSource) -> Result<(), SeatError> {
        let (_, rooms) = self.leave(id)?;
        let rooms = rooms.into_iter().filter(|room| !room.is_on_disk).collect();
        self.handed = Handed { rooms, elapsed_us: 0 };
        self.seat(id, Some(logs))
    }

    /// The number of shards.
    pub fn shards(&self) -> u16 {
        self.config.shards
    }

    fn leave(&mut self, id: ShardId) -> Result<(bool, Vec<HandedRoom>), SeatError> {
        let seat = self.seats.get_mut(usize::from(id.0)).ok_or(SeatError::Gone)?;
        if !seat.is_taken {
            return Err(SeatError::Empty);
        }
        let (sender, released) = mpsc::channel();
        seat.commands.try_send(Command::Release(sender)).map_err(|_| SeatError::Gone)?;
        let left = released.recv().map_err(|_| SeatError::Gone)?;
        seat.is_taken = false;
        Ok(left)
    }

    /// The backbone that takes inputs.
    pub fn backbone(&self) -> Arc<dyn Backbone> {
        self.backbone.clone()
    }

    /// The desk, for requests in the node's own name.
    pub fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Ask as an operator; see [`admin::ask`].
    #[expect(clippy::needless_pass_by_value, reason = "a request is asked once")]
    pub fn ask(&self, request: AdminRequest, reply: impl FnOnce(Answered) + Send + 'static) {
        admin::ask(&self.desk, &request, reply);
    }

    /// Ask as an operator and wait for the answer: for threads that may block.
    ///
    /// # Errors
    /// The shard's refusal; `Overloaded` when it has stopped.
    pub fn ask_and_wait(&self, request: AdminRequest) -> Answered {
        let (sender, receiver) = mpsc::channel();
        self.ask(request, move |answer| {
            let _ = sender.send(answer);
        });
        receiver.recv().unwrap_or(Err(Refusal::Overloaded))
    }

    /// Seal what waits, hand out the remaining outputs, and stop and join the threads. Workers go on polling
    /// until this returns. Outputs that they do not take within `flush_ms` are dropped.
    pub fn shutdown(mut self) {
        self.stop_and_join();
    }

    /// [`Self::shutdown`], and take out the rooms for another process.
    pub fn shutdown_and_hand(mut self) -> Vec<HandedRoom> {
        let (sender, handed) = mpsc::channel();
        for seat in &self.seats {
            // A thread that is gone has no rooms.
            let _ = seat.commands.try_send(Command::Hand(sender.clone()));
        }
        drop(sender);
        self.stop_and_join();
        handed.try_iter().flatten().collect()
    }

    fn stop_and_join(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.seats.iter().for_each(|seat| seat.bell.ring());
        for thread in self.seats.iter_mut().filter_map(|seat| seat.thread.take()) {
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
    /// The number of this worker.
    pub worker: WorkerId,
    /// The backbone that takes the worker's inputs.
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

    /// Whether no output waits. Check this between a doorbell's `prepare_park` and the sleep.
    pub fn is_empty(&self) -> bool {
        self.consumers.iter().all(spsc::Consumer::is_empty)
    }

    /// Whether every shard has stopped. The outputs that polls still find are the last.
    pub fn is_closed(&self) -> bool {
        self.consumers.iter().all(spsc::Consumer::is_closed)
    }
}
