//! A house: a node of its own, in a memory group where the machine has them, and the guests at its doors.
//!
//! Why fresh for every figure: a heap that has held an audience does not shrink to what it was.
//! Not here: what is measured (`bin/bench`).

use std::time::Duration;

use anyhow::Result;

use crate::crowd::Transport;
use crate::guests::Guests;
use crate::kernel::{self, Charged, MemoryGroup};
use crate::node::{Node, NodePlan};

/// See the file's head. The node goes before its group.
#[derive(Debug)]
pub struct House {
    /// The node.
    pub node: Node,
    /// Its group, if there can be one.
    pub group: Option<MemoryGroup>,
    /// Who comes to it.
    pub guests: Guests,
    caches_bytes: u64,
}

/// What a house holds at a moment, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Anonymous memory of the node.
    pub user: u64,
    /// Kernel objects charged to the node's group; 0 without one.
    pub kernel: u64,
    /// Everything charged to the group; 0 without one.
    pub group: u64,
    /// Socket caches of the whole machine since the house was opened: both ends of each connection.
    pub caches: u64,
}

impl House {
    /// Opens one: a node on the first core and this thread on the second, where there are two.
    ///
    /// # Errors
    /// The node does not start.
    pub fn open(plan: &NodePlan) -> Result<House> {
        House::open_within(plan, None)
    }

    /// As [`House::open`], with a bound on all memory that the node is charged with.
    ///
    /// # Errors
    /// The node does not start, or the kernel does not take the bound.
    pub fn open_within(plan: &NodePlan, bytes_max: Option<u64>) -> Result<House> {
        let group = MemoryGroup::make();
        let start = || Node::start(plan);
        let node = match &group {
            Some(group) => {
                bytes_max.map_or(Ok(()), |bytes| group.limit(bytes))?;
                group.start_in(start)?
            }
            None => start()?,
        };
        let doors = [Some(node.ws), Some(node.wss), Some(node.quic)];
        let caches_bytes = kernel::socket_caches_bytes().unwrap_or(0);
        Ok(House { node, group, guests: Guests::new(doors)?, caches_bytes })
    }

    /// Invites so many guests to these rooms: their numbers.
    pub fn invite(&mut self, transport: Transport, count: usize, rooms: &[&str]) -> std::ops::Range<usize> {
        let rooms: Vec<std::sync::Arc<str>> = rooms.iter().map(|&room| room.into()).collect();
        let first = self.guests.len();
        for _ in 0..count {
            self.guests.invite(transport, rooms.clone());
        }
        first..self.guests.len()
    }

    /// What it holds.
    ///
    /// # Errors
    /// The node has ended.
    pub fn held(&self) -> Result<Held> {
        let charged =
            self.group.as_ref().map(MemoryGroup::charged).transpose()?.unwrap_or(Charged::default());
        Ok(Held {
            user: self.node.memory()?.anonymous,
            kernel: charged.kernel,
            group: charged.all,
            caches: kernel::socket_caches_bytes().unwrap_or(0).saturating_sub(self.caches_bytes),
        })
    }
}

/// The tick of all houses: fixed, so that latency is judged by one measure.
pub const TICK_MS: u64 = 100;

/// Limits that are not on trial: everybody comes from one address, speaks as fast as the bench wants, is
/// silent for as long, and is shown everything at a fixed tick.
#[must_use]
pub fn plan(core: Option<usize>) -> NodePlan {
    NodePlan::on(core)
        .key("limits.heartbeat_ms", 300_000)
        .key("quic.idle_timeout_ms", 600_000)
        .key("limits.publish_per_s", 1_000_000)
        .key("limits.publish_burst", 1_000_000)
        .key("limits.frames_per_s", 1_000_000)
        .key("rooms.tick_ms", TICK_MS)
        .key("rooms.pacing_per_s", 0)
}

/// What a patient bench waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);
