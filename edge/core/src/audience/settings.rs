//! Settings of an audience: the part of the node's configuration that its core uses.
//!
//! Why its own struct: the core does not know the configuration table, and tests set single values.

use std::sync::Arc;

use grandstand_engine::link::WorkerId;
use grandstand_protocol::frame::Role;
use grandstand_protocol::text::{Likeness, guest_name};

use super::token_bucket::Rate;

/// Bounds and rates of one worker's audience. Each is explained at its key in `config::table`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which worker this is.
    pub worker: WorkerId,
    /// The node's name, told in `Welcome`.
    pub node: String,
    /// Addresses of all nodes of the cluster, separated by commas, told in `Welcome`; empty where it stands
    /// alone.
    pub nodes: Arc<str>,
    /// Connections for which memory is reserved at the start; more are accepted too.
    pub connections_reserved: usize,
    /// Largest frame that clients may send.
    pub frame_bytes_max: u32,
    /// Longest text.
    pub text_bytes_max: u32,
    /// Bytes of a room's name.
    pub room_name_bytes_max: usize,
    /// Rooms per session.
    pub rooms_per_session_max: u32,
    /// Clients send some frame at least this often.
    pub heartbeat_ms: u32,
    /// Silence after which a session ends.
    pub silence_ms: u64,
    /// Time for `Hello` after the transport stands.
    pub first_frame_timeout_ms: u64,
    /// Publications of an ordinary session.
    pub publish: Rate,
    /// Publications of a bridge.
    pub bridge_publish: Rate,
    /// Reactions.
    pub reactions: Rate,
    /// Frames of any kind.
    pub frames: Rate,
    /// Bytes of control frames that may wait for a peer that does not read.
    pub control_queue_bytes_max: usize,
    /// Batches in an edge ring of one room.
    pub ring_batches_max: usize,
    /// Bytes in an edge ring of one room.
    pub ring_bytes_max: usize,
    /// Most messages that a joiner may have replayed.
    pub replay_max: u32,
    /// Batches that go into one write.
    pub batches_per_write_max: usize,
    /// Offer compressed batches to those who can open them.
    pub compression: bool,
    /// Members of a room on this worker, of those who can open it, from which on a batch is compressed.
    pub compress_from_members: usize,
    /// How long a resume ticket is good.
    pub ticket_ttl_ms: u32,
    /// Reactions are handed to the shard at most this often.
    pub tally_flush_ms: u64,
    /// Viewer counts are handed to the shard at most this often.
    pub recount_ms: u64,
    /// How long before its token runs out a session is told.
    pub expiring_notice_ms: u64,
    /// What the names look like that only people with a role may show.
    pub reserved_names: Arc<[Likeness]>,
}

impl Settings {
    /// The name under which somebody is shown: theirs, or a guest's where there is none, or where it is kept
    /// for people with a role and they have none.
    pub(super) fn shown_name(&self, name: Box<str>, role: Role, number: u64) -> Box<str> {
        let is_kept = !role.keeps_its_name() && Likeness::is_among(&name, &self.reserved_names);
        if name.is_empty() || is_kept { guest_name(number) } else { name }
    }

    /// Settings that suit tests, the simulator and the micro benches. A node takes each from its
    /// configuration.
    pub fn for_tests() -> Self {
        Settings {
            worker: WorkerId(0),
            node: "node".into(),
            nodes: "".into(),
            connections_reserved: 0,
            frame_bytes_max: 16 * 1024,
            text_bytes_max: 2000,
            room_name_bytes_max: grandstand_protocol::limits::ROOM_NAME_BYTES_MAX,
            rooms_per_session_max: 32,
            heartbeat_ms: 25_000,
            silence_ms: 62_500,
            first_frame_timeout_ms: 10_000,
            publish: Rate { per_s: 5, burst: 10 },
            bridge_publish: Rate { per_s: 20_000, burst: 20_000 },
            reactions: Rate { per_s: 20, burst: 50 },
            frames: Rate { per_s: 100, burst: 200 },
            control_queue_bytes_max: 64 * 1024,
            ring_batches_max: 4096,
            ring_bytes_max: 1024 * 1024,
            replay_max: 200,
            batches_per_write_max: 64,
            compression: true,
            compress_from_members: 32,
            ticket_ttl_ms: 300_000,
            // Reactions wait at most that much longer for their batch: nobody sees it, and a shard hears of
            // them 20 times a second.
            tally_flush_ms: 50,
            // Counters are published every two seconds by default; a quarter keeps them fresh.
            recount_ms: 500,
            expiring_notice_ms: 60_000,
            reserved_names: Arc::new([]),
        }
    }
}
