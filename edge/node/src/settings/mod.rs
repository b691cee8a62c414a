//! Settings: builds the settings of the engine, the audiences and the durable log from the node's keys.
//!
//! Why here: these parts know neither the node's configuration nor each other's settings.
//! Invariant: every field comes from a key, or is this process's own (a number, a seed). No field has a
//! default of its own; a test walks the table and proves it.
//! Not here: keys that are read where they are used (limits on addresses and handshakes, sockets, QUIC).

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use grandstand_edge::config::{Config, RoomDurability};
use grandstand_edge_core::audience::{Rate, Settings};
use grandstand_engine::filter::SharedFilter;
use grandstand_engine::link::WorkerId;
use grandstand_engine::runtime::EngineConfig;
use grandstand_engine::runtime::clock::Clock;
use grandstand_engine::runtime::pulse::Pulses;
use grandstand_engine::{Calendar, ShardConfig};
use grandstand_protocol::frame::Durability;
use grandstand_protocol::text::Likeness;
use grandstand_store::{BackupPlan, Retention, StoreConfig};

const MIB: u64 = 1 << 20;
const HOUR_MS: u64 = 3_600_000;

/// The settings of the shards.
pub(crate) fn engine_config(
    config: &Config,
    workers: usize,
    pulses: Pulses,
    filter: &SharedFilter,
) -> EngineConfig {
    let rooms = &config.rooms;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("the kernel gives random bytes");
    let shard = ShardConfig {
        tick_ms: rooms.tick_ms,
        tick_min_ms: rooms.tick_min_ms,
        tick_max_ms: rooms.tick_max_ms,
        fanout_share_percent: config.fanout.share_percent,
        leading_edge: rooms.leading_edge,
        ring_batches_max: rooms.ring_batches_max,
        ring_bytes_max: rooms.ring_bytes_max,
        history_batches_max: rooms.history_batches_max,
        history_bytes_max: rooms.history_bytes_max,
        history_bytes_total_max: rooms.history_bytes_total_max,
        nonces_max: rooms.nonces_max,
        nonce_window_ms: rooms.nonce_window_ms,
        tally_keys_max: rooms.tally_keys_max,
        tally_top: rooms.tally_top,
        state_keys_max: rooms.state_keys_max,
        state_value_bytes_max: rooms.state_value_bytes_max,
        state_bytes_max: rooms.state_bytes_max,
        state_bytes_total_max: rooms.state_bytes_total_max,
        pending_messages_max: rooms.pending_messages_max,
        pacing_per_s: rooms.pacing_per_s,
        pacing_above_viewers: rooms.pacing_above_viewers,
        slow_mode_ms: rooms.slow_mode_ms,
        viewers_every_ms: rooms.viewers_every_ms,
        rooms_max: rooms.max,
        rooms_reserved_percent: rooms.reserved_percent,
        rooms_opened_max: rooms.opened_per_person_max,
        on_first_use: rooms.on_first_use.clone(),
        calendar: Calendar::default(),
        durability: rooms_durability(config),
        answer_within_ms: config.log.answer_within_ms,
        text_bytes_max: config.limits.text_bytes_max,
        idle_ms: rooms.idle_ms,
        answers_held_max: config.log.answers_max,
        batch_bytes_max: rooms.batch_bytes_max,
        filter: filter.clone(),
    };
    EngineConfig {
        node: 0,
        clock: Clock::start(),
        shards: config.node.shards as u16,
        inbox_capacity: config.queues.shard_inbox,
        outbox_capacity: config.queues.worker_outbox,
        seed: u64::from_le_bytes(seed),
        cores: if config.node.pin { vec![workers.saturating_sub(1)] } else { Vec::new() },
        shard,
        overflow_max: config.queues.outbox_overflow_max,
        flush_ms: config.drain.flush_ms,
        pulses,
    }
}

/// Where rooms without a setting of their own are kept.
fn rooms_durability(config: &Config) -> Durability {
    match config.rooms.durability {
        RoomDurability::Auto if config.is_clustered() => Durability::Replicated,
        RoomDurability::Replicated => Durability::Replicated,
        _ if config.rooms_on_disk() => Durability::Disk,
        _ => Durability::Memory,
    }
}

/// The settings of worker `id`'s audience.
pub(crate) fn audience_settings(config: &Config, id: usize) -> Settings {
    let (limits, rooms) = (&config.limits, &config.rooms);
    Settings {
        worker: WorkerId::new(config.cluster.node as u8, id as u8),
        node: config.node.name.clone(),
        nodes: config.cluster.nodes.join(",").into(),
        connections_reserved: grandstand_edge::workers::connections_reserved(config),
        frame_bytes_max: limits.frame_bytes_max as u32,
        text_bytes_max: limits.text_bytes_max as u32,
        room_name_bytes_max: rooms.name_bytes_max,
        rooms_per_session_max: limits.rooms_per_session_max as u32,
        heartbeat_ms: limits.heartbeat_ms as u32,
        silence_ms: limits.silence_ms(),
        first_frame_timeout_ms: limits.first_frame_timeout_ms,
        publish: Rate { per_s: limits.publish_per_s, burst: limits.publish_burst },
        bridge_publish: Rate { per_s: limits.bridge_publish_per_s, burst: limits.bridge_publish_per_s },
        reactions: Rate { per_s: limits.reactions_per_s, burst: limits.reactions_burst },
        frames: Rate { per_s: limits.frames_per_s, burst: limits.frames_per_s * 2 },
        control_queue_bytes_max: limits.control_queue_bytes_max,
        ring_batches_max: rooms.ring_batches_max,
        ring_bytes_max: rooms.ring_bytes_max,
        replay_max: rooms.replay_max as u32,
        batches_per_write_max: config.fanout.batches_per_write_max,
        compression: config.fanout.compression,
        compress_from_members: config.fanout.compress_from_members,
        ticket_ttl_ms: config.auth.ticket_lifetime_ms as u32,
        tally_flush_ms: rooms.tally_flush_ms,
        recount_ms: rooms.recount_ms,
        expiring_notice_ms: config.auth.expiring_notice_s * 1_000,
        reserved_names: config.auth.reserved_names.iter().flat_map(|name| Likeness::all_of(name)).collect(),
    }
}

/// The settings of the durable log, if the node has one.
pub(crate) fn store_config(config: &Config) -> Option<StoreConfig> {
    let (log, rooms) = (&config.log, &config.rooms);
    let dir = log.dir.clone()?;
    let plan = BackupPlan {
        every_ms: log.backup_every_hours * HOUR_MS,
        keep: log.backup_keep as usize,
        dir: backup_dir(config),
    };
    Some(StoreConfig {
        dir,
        crash_log_dir: log.recorder_dir.clone(),
        shards: config.node.shards as u16,
        queue_bytes_max: (log.queue_mb * MIB) as usize,
        retention: Retention {
            age_ms: log.keep_hours * HOUR_MS,
            room_bytes_max: log.room_mb * MIB,
            node_bytes_max: log.node_mb * MIB,
        },
        nonces_max: rooms.nonces_max,
        nonce_window_ms: rooms.nonce_window_ms,
        // The batches that workers get when they attach; older ones are read on request.
        newest_batches_max: rooms.ring_batches_max.min(rooms.history_batches_max),
        newest_bytes_max: rooms.ring_bytes_max.min(rooms.history_bytes_max),
        backups: (log.backup_every_hours > 0).then_some(plan),
        backup_dir: log.backup_dir.clone(),
        lock_wait_ms: log.lock_wait_ms,
    })
}

/// The folder of backups.
pub(crate) fn backup_dir(config: &Config) -> PathBuf {
    let log = &config.log;
    log.backup_dir.clone().unwrap_or_else(|| log.dir.clone().unwrap_or_default().join("backups"))
}
