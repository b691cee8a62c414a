//! The plan of a world: its size, its bounds, and the kinds of trouble in it, all drawn from its seed.
//!
//! Why not every trouble in every world: a fault that happens all the time hides the faults that need quiet
//! in between. A node that crashes twice a second never fills a ring. So each world draws its kinds of
//! trouble.
//! Not here: what happens when (`story`).

use grandstand_edge_core::audience::{Rate, Settings};
use grandstand_engine::ShardConfig;
use grandstand_protocol::frame::Durability;

use crate::random::Random;

/// Kinds of trouble, as bits of [`Plan::troubles`].
pub mod trouble {
    /// Connections break.
    pub const CUTS: u32 = 1;
    /// One side notices a break late.
    pub const HALF_OPEN: u32 = 1 << 1;
    /// Viewers do not read, or a few bytes at a time.
    pub const STALLS: u32 = 1 << 2;
    /// Workers and shards stand still, so that queues fill.
    pub const HOLDS: u32 = 1 << 3;
    /// The wall clock steps.
    pub const CLOCK: u32 = 1 << 4;
    /// kill -9.
    pub const CRASHES: u32 = 1 << 5;
    /// The power goes, and with it what was not synced.
    pub const POWER: u32 = 1 << 6;
    /// Drains and restarts.
    pub const DRAINS: u32 = 1 << 7;
    /// The disk is slow, full or failing.
    pub const DISK: u32 = 1 << 8;
    /// Operators open, close, remove and configure rooms.
    pub const OPERATORS: u32 = 1 << 9;
    /// Retries of the same publication.
    pub const REPEATS: u32 = 1 << 10;
    /// Clients that end and come back as new ones, with the positions that they kept.
    pub const RESTARTS: u32 = 1 << 11;
    /// All of them.
    pub const COUNT: u32 = 12;
}

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of everything.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Are they one cluster? Otherwise they know nothing of each other.
    pub is_cluster: bool,
    /// Fan-out threads of each node.
    pub workers: u16,
    /// Shards of each node.
    pub shards: u16,
    /// Viewers of all nodes; viewer `n` belongs to node `n % nodes`.
    pub clients: usize,
    /// Rooms of each node, by number; the first `rooms_kept` are created by an operator.
    pub rooms: usize,
    /// Rooms that an operator made.
    pub rooms_kept: usize,
    /// Does each node have a durable log?
    pub has_log: bool,
    /// What kinds of trouble there are: bits of [`trouble`].
    pub troubles: u32,
    /// The shards' bounds.
    pub shard: ShardConfig,
    /// The workers' bounds.
    pub edge: Settings,
    /// Inputs that wait for a shard.
    pub inbox_max: usize,
    /// Outputs of a shard that wait for a worker.
    pub outbox_max: usize,
    /// Outputs beyond that before a shard takes nothing more.
    pub overflow_max: usize,
    /// Inputs that a shard takes in one turn.
    pub chunk_inputs: usize,
    /// Writes of a worker in one turn.
    pub writes_max: usize,
    /// The longest time from the ring of a doorbell to the wake-up of its thread.
    pub wake_us_max: u64,
    /// The longest way through the network, in one direction.
    pub delay_us_max: u64,
    /// What a connection takes before its reader has read.
    pub window_bytes: usize,
    /// Time of a sync.
    pub sync_us_max: u64,
    /// Entries that wait for the disk before the log takes no more.
    pub log_queue_max: usize,
    /// Rows of a room that the log keeps.
    pub log_rows_max: usize,
}

impl Plan {
    /// The world of a seed.
    pub fn new(seed: u64) -> Plan {
        let mut r = Random::new(seed);
        let r = &mut r;
        let rooms = r.between(1, 4) as usize;
        let shards = r.between(1, 3) as u16;
        let troubles = (0..trouble::COUNT).fold(0, |bits, bit| bits | u32::from(r.chance(55)) << bit);
        let history_batches_max = r.pick(&[6, 40, 65_536, 65_536]);
        let ring_batches_max = r.pick(&[2, 4, 16, 256]);
        let has_log = r.chance(60);
        let fixed_tick = r.pick(&[0, 20, 100]);
        let any = Rate { per_s: 1_000_000, burst: 1_000_000 };
        let has_clock_steps = troubles & trouble::CLOCK != 0;
        let shard = ShardConfig {
            tick_ms: fixed_tick,
            ring_batches_max,
            history_batches_max,
            // More, and longer, than what can pass while a held worker has a publication in its hands: that
            // one has no age.
            nonces_max: if has_clock_steps { 65_536 } else { r.pick(&[300, 65_536]) },
            nonce_window_ms: if has_clock_steps { 100 * 86_400_000 } else { r.pick(&[15_000, 300_000]) },
            pending_messages_max: r.pick(&[4, 32, 16_384]),
            viewers_every_ms: r.pick(&[0, 500, 2000]),
            pacing_per_s: r.pick(&[0, 0, 5, 20]),
            pacing_above_viewers: 3,
            leading_edge: r.chance(80),
            batch_bytes_max: r.pick(&[100, 128 << 10]),
            idle_ms: 0,
            durability: if has_log && r.chance(70) { Durability::Disk } else { Durability::Memory },
            answer_within_ms: r.pick(&[300, 5_000]),
            answers_held_max: r.pick(&[3, 262_144]),
            ..ShardConfig::for_tests()
        };
        let edge = Settings {
            heartbeat_ms: 4_000,
            silence_ms: 10_000,
            first_frame_timeout_ms: 5_000,
            publish: any,
            reactions: any,
            frames: any,
            // The answers to everything that a client may have under way fit.
            control_queue_bytes_max: r.pick(&[6_000, 65_536]),
            ring_batches_max,
            batches_per_write_max: r.pick(&[1, 3, 64]),
            compress_from_members: r.pick(&[1, 3, 1000]),
            replay_max: 50,
            ticket_ttl_ms: 300_000,
            ..Settings::for_tests()
        };
        let plan = Plan {
            seed,
            nodes: 1,
            is_cluster: false,
            workers: r.between(1, 3) as u16,
            shards,
            clients: r.between(3, 24) as usize,
            rooms,
            rooms_kept: r.between(0, rooms as u64) as usize,
            has_log,
            troubles,
            shard,
            edge,
            inbox_max: r.pick(&[3, 16, 8192]),
            outbox_max: r.pick(&[2, 16, 4096]),
            overflow_max: r.pick(&[0, 4, 4096]),
            chunk_inputs: r.pick(&[1, 7, 256]),
            writes_max: r.pick(&[1, 5, 512]),
            wake_us_max: r.pick(&[0, 300, 5_000]),
            delay_us_max: r.pick(&[0, 2_000, 40_000]),
            window_bytes: r.pick(&[200, 2_000, 200_000]),
            sync_us_max: r.pick(&[500, 10_000, 200_000]),
            log_queue_max: r.pick(&[4, 40, 10_000]),
            log_rows_max: r.pick(&[12, 100_000, 100_000]),
        };
        // Drawn last, so that a world with one node is what its seed always gave.
        Plan { nodes: r.pick(&[1, 1, 1, 2, 3]), ..plan }
    }

    /// The world of a seed in which three nodes are one cluster.
    pub fn cluster(seed: u64) -> Plan {
        let plan = Plan::new(seed ^ 0xc1_u64.rotate_left(48));
        let mut r = Random::new(seed ^ 0x00c1_0573);
        let r = &mut r;
        let rooms = r.between(1, 3) as usize;
        let shard = ShardConfig {
            durability: Durability::Replicated,
            answer_within_ms: 10_000,
            answers_held_max: 262_144,
            history_batches_max: 65_536,
            nonces_max: 65_536,
            nonce_window_ms: 100 * 86_400_000,
            pending_messages_max: 16_384,
            // Everybody sees everything.
            pacing_per_s: 0,
            batch_bytes_max: r.pick(&[100, 128 << 10]),
            ..plan.shard
        };
        Plan {
            seed,
            nodes: 3,
            is_cluster: true,
            workers: r.between(1, 2) as u16,
            shards: r.between(1, 3) as u16,
            clients: r.between(3, 9) as usize,
            rooms,
            rooms_kept: r.between(0, rooms as u64) as usize,
            has_log: false,
            shard,
            inbox_max: r.pick(&[16, 8192]),
            outbox_max: r.pick(&[16, 4096]),
            overflow_max: r.pick(&[4, 4096]),
            chunk_inputs: r.pick(&[7, 256]),
            wake_us_max: r.pick(&[0, 300, 2_000]),
            ..plan
        }
    }

    /// Does this world know such trouble?
    pub fn has(&self, kind: u32) -> bool {
        self.troubles & kind != 0
    }
}
