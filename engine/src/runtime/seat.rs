//! A seat: the inbox, the outlets and the thread of one shard, in which the shard's owner runs.
//!
//! Why apart from the shard: a shard's owner may change while workers run, and neither workers nor their
//! inputs may notice. A seat outlives its owner. While it is empty, inputs wait in the inbox. Once the inbox
//! is full, edges refuse publications with `Overloaded`. In a
//! cluster the shard's stand sits here, whether this node owns the shard or follows it.
//!
//! **A turn.** The seat hands out outputs that waited for a worker, takes a bounded chunk from the inbox,
//! does what is due, and hands out the results. Then it sleeps until the next input comes or the next room is
//! due.
//!
//! **Release.** The owner seals what waits and takes no more inputs. The seat waits until the log has
//! everything and every answer has left, at most `flush_ms`. Then it drops the owner and with it the log. The
//! seat remembers which workers follow which rooms and tells the next owner, so each worker gets `Attached`
//! again.
//!
//! **When a worker does not keep up**, its ring fills, and later outputs wait in the outlet's overflow, in
//! order. While any overflow is longer than
//! [`EngineConfig::overflow_max`](super::EngineConfig::overflow_max), the seat takes nothing from its inbox.
//! The inbox fills, and edges refuse publications with `Overloaded`. So no acknowledged message and no
//! acknowledgement is dropped, and a shard never blocks. The overflow, one chunk's outputs and one tick of
//! the rooms bound what waits. Ticks go on meanwhile. A worker that is gone is removed from every room, and
//! its outputs are dropped and counted.
//!
//! Invariants: outputs of one seat reach one worker in order. At most one owner sits in a seat.
//! Not here: what a shard decides (`shard`), how workers sleep (edge, which passes its doorbells in).

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the seat's thread, its deadlines, and the word to stop"
)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use grandstand_queue::{Parker, Receiver};

use super::clock::Clock;
use super::desk::Desk;
use super::outlet::{Outlet, Sent};
use super::pulse::{Pulse, TURN_EVERY};
use super::stand::Stand;
use crate::link::{Input, ShardId, WorkerId};
use crate::log::HandedRoom;
use crate::shard::Followed;

/// Inputs taken before timers and outputs have their turn: some 100 µs of publications.
const CHUNK_INPUTS: usize = 256;

/// Time until a full ring is tried again, since a worker does not ring when it has made room.
const OVERFLOW_RETRY: Duration = Duration::from_millis(1);

/// A command to a seat.
pub(super) enum Command {
    /// Seat this owner.
    Sit(Box<dyn Stand>),
    /// Release the owner; the answer says whether the log has everything, and has the rooms.
    Release(mpsc::Sender<(bool, Vec<HandedRoom>)>),
    /// At the end, give the owner's rooms out.
    Hand(mpsc::Sender<Vec<HandedRoom>>),
}

/// The inbox, the outlets and the thread of one shard.
pub(super) struct Seat {
    pub(super) id: ShardId,
    /// The number of this node.
    pub(super) node: u8,
    pub(super) owner: Option<Box<dyn Stand>>,
    /// The rooms that workers followed when the last owner was released.
    pub(super) followed: Vec<Followed>,
    /// Gets the owner's rooms at the end.
    pub(super) heir: Option<mpsc::Sender<Vec<HandedRoom>>>,
    pub(super) commands: Receiver<Command>,
    pub(super) inbox: Receiver<Input>,
    /// One for each worker of this node.
    pub(super) outlets: Vec<Outlet>,
    pub(super) desk: Arc<Desk>,
    pub(super) parker: Parker,
    pub(super) clock: Clock,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) overflow_max: usize,
    pub(super) flush: Duration,
    pub(super) pulse: Pulse,
}

impl Seat {
    /// Start the seat's thread, pinned to a core if one is given.
    pub(super) fn spawn(mut self, core: Option<usize>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(format!("shard-{}", self.id.0)).spawn(move || {
            if let Some(core) = core {
                pin(core);
            }
            self.run();
            let Seat { id, inbox, desk, pulse, .. } = self;
            drop(inbox);
            desk.handle_end(id);
            pulse.end();
        })
    }

    fn run(&mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.obey();
            self.turn(CHUNK_INPUTS);
            self.sleep();
        }
        self.finish();
    }

    fn obey(&mut self) {
        while let Some(command) = self.commands.pop() {
            match command {
                Command::Sit(owner) => self.sit(owner),
                Command::Hand(heir) => self.heir = Some(heir),
                Command::Release(released) => {
                    // The caller may have given up.
                    let _ = released.send(self.release());
                }
            }
        }
    }

    /// Seat an owner, and tell it which workers follow which rooms.
    fn sit(&mut self, mut owner: Box<dyn Stand>) {
        assert!(self.owner.is_none(), "one owner in a seat");
        let now = self.clock.now();
        for followed in std::mem::take(&mut self.followed) {
            owner.handle_followed(now, &followed);
        }
        self.owner = Some(owner);
        self.hand_out();
    }

    /// Release the owner. Returns whether the log has everything, and the rooms.
    fn release(&mut self) -> (bool, Vec<HandedRoom>) {
        let Some(owner) = &mut self.owner else { return (true, Vec::new()) };
        owner.handle_handing(self.clock.now());
        self.hand_out();
        let is_flushed = self.wait_for_disk(Instant::now() + self.flush);
        let Some(owner) = self.owner.take() else { return (is_flushed, Vec::new()) };
        self.followed = owner.followed();
        (is_flushed, owner.hand_rooms(self.clock.now()))
    }

    fn turn(&mut self, inputs_max: usize) {
        self.pulse.turn();
        self.notice_gone();
        self.outlets.iter_mut().for_each(Outlet::flush);
        let (now, is_held_up) = (self.clock.now(), self.is_held_up());
        let Some(owner) = &mut self.owner else { return };
        if !is_held_up {
            for _ in 0..inputs_max {
                if !owner.is_taking() {
                    break;
                }
                let Some(input) = self.inbox.pop() else { break };
                owner.handle_input(now, input);
            }
        }
        owner.handle_news(now);
        owner.handle_timeout(now);
        self.hand_out();
    }

    fn hand_out(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        let (mut overflowed, mut dropped) = (0, 0);
        while let Some((worker, output)) = owner.poll_output() {
            if worker.is_node() {
                self.desk.handle_output(output);
                continue;
            }
            match self.outlets.get_mut(worker.index()).map(|outlet| outlet.send(output)) {
                Some(Sent::Now) => {}
                Some(Sent::Later) => overflowed += 1,
                Some(Sent::Never) | None => dropped += 1,
            }
        }
        owner.count_outputs(overflowed, dropped);
    }

    fn is_taking(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.is_taking())
    }

    fn is_held_up(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.waiting() > self.overflow_max)
    }

    fn has_overflow(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.waiting() > 0)
    }

    fn notice_gone(&mut self) {
        for (worker, outlet) in (0..).zip(&mut self.outlets) {
            let Some(dropped) = outlet.notice_gone() else { continue };
            let worker = WorkerId::new(self.node, worker);
            for followed in &mut self.followed {
                followed.followers.retain(|(follower, _)| *follower != worker);
            }
            if let Some(owner) = &mut self.owner {
                owner.count_outputs(0, dropped as u64);
                owner.handle_worker_gone(self.clock.now(), worker);
            }
        }
    }

    /// Sleep until there is an input that may be taken, a room is due, a full ring is worth another try, or
    /// the watchdog expects a turn.
    fn sleep(&mut self) {
        let is_held_up = self.is_held_up();
        let now_us = self.clock.now().us;
        let due_us = self.owner.as_ref().and_then(|owner| owner.poll_timeout());
        let due = due_us.map(|us| Duration::from_micros(us.saturating_sub(now_us)));
        let retry = self.has_overflow().then_some(OVERFLOW_RETRY);
        let timeout = due.into_iter().chain(retry).chain([TURN_EVERY]).min();
        let (inbox, commands, owner, stop) = (&self.inbox, &self.commands, &mut self.owner, &self.stop);
        self.parker.park_timeout(timeout, || {
            let has_work = owner.as_mut().is_some_and(|owner| {
                (!is_held_up && owner.is_taking() && !inbox.is_empty()) || owner.has_news()
            });
            has_work || !commands.is_empty() || stop.load(Ordering::Acquire)
        });
    }

    /// Take the inputs that were sent before the stop, seal everything, wait for the disk, and hand out the
    /// outputs.
    fn finish(&mut self) {
        self.obey();
        let deadline = Instant::now() + self.flush;
        let mut left = self.inbox.capacity();
        while self.is_taking() && left > 0 && !self.inbox.is_empty() && Instant::now() < deadline {
            self.turn(CHUNK_INPUTS.min(left));
            left -= CHUNK_INPUTS.min(left);
            self.wait_for_workers(deadline, Self::is_held_up);
        }
        if let Some(owner) = &mut self.owner {
            owner.handle_handing(self.clock.now());
        }
        self.hand_out();
        self.wait_for_disk(deadline);
        self.wait_for_workers(deadline, Self::has_overflow);
        if let (Some(heir), Some(owner)) = (&self.heir, &self.owner) {
            // Whoever asked may have given up.
            let _ = heir.send(owner.hand_rooms(self.clock.now()));
        }
    }

    /// Answer requests that are synced in time, and refuse the rest. Returns whether all were synced.
    fn wait_for_disk(&mut self, deadline: Instant) -> bool {
        while self.owner.as_ref().is_some_and(|owner| !owner.is_handed()) && Instant::now() < deadline {
            self.pulse.turn();
            let left = deadline.saturating_duration_since(Instant::now()).min(TURN_EVERY);
            let timeout = if self.has_overflow() { left.min(OVERFLOW_RETRY) } else { left };
            let owner = &mut self.owner;
            self.parker.park_timeout(Some(timeout), || owner.as_mut().is_some_and(|owner| owner.has_news()));
            self.notice_gone();
            self.outlets.iter_mut().for_each(Outlet::flush);
            if let Some(owner) = &mut self.owner {
                owner.handle_news(self.clock.now());
                owner.handle_timeout(self.clock.now());
            }
            self.hand_out();
        }
        let Some(owner) = &mut self.owner else { return true };
        let is_flushed = owner.is_flushed();
        owner.give_up_answers();
        self.hand_out();
        is_flushed
    }

    fn wait_for_workers(&mut self, deadline: Instant, is_waiting: impl Fn(&Self) -> bool) {
        loop {
            self.pulse.turn();
            self.notice_gone();
            self.outlets.iter_mut().for_each(Outlet::flush);
            if !is_waiting(self) || Instant::now() >= deadline {
                return;
            }
            self.parker.park_timeout(Some(OVERFLOW_RETRY), || false);
        }
    }
}

/// Pin this thread to a core. Where that is not possible, the thread runs unpinned: pinning is for speed
/// only.
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
