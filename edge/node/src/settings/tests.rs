//! The effective settings of a node against the table of keys, key by key.
//!
//! Why: a setting with a default of its own would contradict the table, and nobody would see it.

use super::*;
use grandstand_edge::config::{self, Kind};
use std::collections::BTreeMap;

/// Settings by key, each as the number that the key would show.
type Effective = BTreeMap<&'static str, u64>;

/// Numbers and switches that reach an audience, the engine or the log through these settings, by key.
///
/// Each structure is taken apart field by field: a new field does not compile until it has a key here.
fn effective(config: &Config) -> Effective {
    [of_engine(config), of_audience(config), of_log(config)].into_iter().flatten().collect()
}

fn of_engine(config: &Config) -> Vec<(&'static str, u64)> {
    let EngineConfig {
        shards,
        inbox_capacity,
        outbox_capacity,
        overflow_max,
        flush_ms,
        shard,
        node: _,
        clock: _,
        cores: _,
        seed: _,
        pulses: _,
    } = engine_config(config, 1, Pulses::default(), &SharedFilter::default());
    let ShardConfig {
        tick_ms,
        tick_min_ms,
        tick_max_ms,
        fanout_share_percent,
        leading_edge,
        ring_batches_max,
        ring_bytes_max,
        history_batches_max,
        history_bytes_max,
        history_bytes_total_max,
        nonces_max,
        nonce_window_ms,
        tally_keys_max,
        tally_top,
        state_keys_max,
        state_value_bytes_max,
        state_bytes_max,
        state_bytes_total_max,
        pending_messages_max,
        slow_mode_ms,
        viewers_every_ms,
        pacing_per_s,
        pacing_above_viewers,
        rooms_max,
        rooms_reserved_percent,
        rooms_opened_max,
        idle_ms,
        on_first_use,
        calendar: _,
        durability,
        answer_within_ms,
        answers_held_max,
        text_bytes_max,
        batch_bytes_max,
        filter: _,
    } = shard;
    assert_eq!(on_first_use, config.rooms.on_first_use);
    assert_eq!(durability == Durability::Disk, config.rooms_on_disk());
    vec![
        ("node.shards", shards.into()),
        ("queues.shard_inbox", inbox_capacity as u64),
        ("queues.worker_outbox", outbox_capacity as u64),
        ("queues.outbox_overflow_max", overflow_max as u64),
        ("drain.flush_ms", flush_ms),
        ("rooms.tick_ms", tick_ms),
        ("rooms.tick_min_ms", tick_min_ms),
        ("rooms.tick_max_ms", tick_max_ms),
        ("fanout.share_percent", fanout_share_percent.into()),
        ("rooms.leading_edge", leading_edge.into()),
        ("rooms.ring_batches_max", ring_batches_max as u64),
        ("rooms.ring_bytes_max", ring_bytes_max as u64),
        ("rooms.history_batches_max", history_batches_max as u64),
        ("rooms.history_bytes_max", history_bytes_max as u64),
        ("rooms.history_bytes_total_max", history_bytes_total_max as u64),
        ("rooms.nonces_max", nonces_max as u64),
        ("rooms.nonce_window_ms", nonce_window_ms),
        ("rooms.tally_keys_max", tally_keys_max as u64),
        ("rooms.tally_top", tally_top as u64),
        ("rooms.state_keys_max", state_keys_max as u64),
        ("rooms.state_value_bytes_max", state_value_bytes_max as u64),
        ("rooms.state_bytes_max", state_bytes_max as u64),
        ("rooms.state_bytes_total_max", state_bytes_total_max as u64),
        ("rooms.pending_messages_max", pending_messages_max as u64),
        ("rooms.slow_mode_ms", slow_mode_ms),
        ("rooms.viewers_every_ms", viewers_every_ms),
        ("rooms.pacing_per_s", pacing_per_s.into()),
        ("rooms.pacing_above_viewers", pacing_above_viewers),
        ("rooms.max", rooms_max as u64),
        ("rooms.reserved_percent", rooms_reserved_percent.into()),
        ("rooms.opened_per_person_max", rooms_opened_max as u64),
        ("rooms.idle_ms", idle_ms),
        ("log.answer_within_ms", answer_within_ms),
        ("log.answers_max", answers_held_max as u64),
        ("limits.text_bytes_max", text_bytes_max as u64),
        ("rooms.batch_bytes_max", batch_bytes_max as u64),
    ]
}

fn of_audience(config: &Config) -> Vec<(&'static str, u64)> {
    let Settings {
        worker: _,
        node,
        nodes,
        connections_reserved: _,
        frame_bytes_max,
        text_bytes_max,
        room_name_bytes_max,
        rooms_per_session_max,
        heartbeat_ms,
        silence_ms,
        first_frame_timeout_ms,
        publish,
        bridge_publish,
        reactions,
        frames,
        control_queue_bytes_max,
        ring_batches_max,
        ring_bytes_max,
        replay_max,
        batches_per_write_max,
        compression,
        compress_from_members,
        ticket_ttl_ms,
        tally_flush_ms,
        recount_ms,
        expiring_notice_ms,
        reserved_names,
    } = audience_settings(config, 0);
    // Derived from keys, or the same key as the engine's.
    let reserved = config.auth.reserved_names.iter();
    assert!(reserved.clone().all(|name| Likeness::is_among(name, &reserved_names)));
    assert_eq!(reserved.count(), reserved_names.len());
    assert_eq!(node, config.node.name);
    assert_eq!(*nodes, config.cluster.nodes.join(","));
    assert_eq!(silence_ms, config.limits.silence_ms());
    assert_eq!(frames.burst, config.limits.frames_per_s * 2);
    assert_eq!(bridge_publish.burst, config.limits.bridge_publish_per_s);
    assert_eq!(text_bytes_max as usize, config.limits.text_bytes_max);
    let ring = (ring_batches_max, ring_bytes_max);
    assert_eq!(ring, (config.rooms.ring_batches_max, config.rooms.ring_bytes_max));
    vec![
        ("limits.frame_bytes_max", frame_bytes_max.into()),
        ("rooms.name_bytes_max", room_name_bytes_max as u64),
        ("limits.rooms_per_session_max", rooms_per_session_max.into()),
        ("limits.heartbeat_ms", heartbeat_ms.into()),
        ("limits.first_frame_timeout_ms", first_frame_timeout_ms),
        ("limits.publish_per_s", publish.per_s.into()),
        ("limits.publish_burst", publish.burst.into()),
        ("limits.bridge_publish_per_s", bridge_publish.per_s.into()),
        ("limits.reactions_per_s", reactions.per_s.into()),
        ("limits.reactions_burst", reactions.burst.into()),
        ("limits.frames_per_s", frames.per_s.into()),
        ("limits.control_queue_bytes_max", control_queue_bytes_max as u64),
        ("rooms.replay_max", replay_max.into()),
        ("fanout.batches_per_write_max", batches_per_write_max as u64),
        ("fanout.compression", compression.into()),
        ("fanout.compress_from_members", compress_from_members as u64),
        ("auth.ticket_lifetime_ms", ticket_ttl_ms.into()),
        ("auth.expiring_notice_s", expiring_notice_ms / 1_000),
        ("rooms.tally_flush_ms", tally_flush_ms),
        ("rooms.recount_ms", recount_ms),
    ]
}

fn of_log(config: &Config) -> Vec<(&'static str, u64)> {
    let StoreConfig {
        dir,
        crash_log_dir,
        shards,
        queue_bytes_max,
        retention,
        nonces_max,
        nonce_window_ms,
        newest_batches_max,
        newest_bytes_max,
        backups,
        backup_dir,
        lock_wait_ms,
    } = store_config(config).expect("the configuration names a folder");
    // The same keys as the engine's.
    let rooms = &config.rooms;
    assert_eq!((Some(dir), crash_log_dir), (config.log.dir.clone(), config.log.recorder_dir.clone()));
    assert_eq!((usize::from(shards), backup_dir), (config.node.shards, config.log.backup_dir.clone()));
    assert_eq!((nonces_max, nonce_window_ms), (rooms.nonces_max, rooms.nonce_window_ms));
    assert_eq!(newest_batches_max, rooms.ring_batches_max.min(rooms.history_batches_max));
    assert_eq!(newest_bytes_max, rooms.ring_bytes_max.min(rooms.history_bytes_max));
    let backups = backups.expect("there is an interval");
    vec![
        ("log.queue_mb", queue_bytes_max as u64 / MIB),
        ("log.keep_hours", retention.age_ms / HOUR_MS),
        ("log.room_mb", retention.room_bytes_max / MIB),
        ("log.node_mb", retention.node_bytes_max / MIB),
        ("log.backup_every_hours", backups.every_ms / HOUR_MS),
        ("log.backup_keep", backups.keep as u64),
        ("log.lock_wait_ms", lock_wait_ms),
    ]
}

/// Numbers and switches that are read from the configuration itself where they are used, so no setting can
/// change their effect.
const READ_IN_PLACE: &[&str] = &[
    "admin.", // the admin port
    "api.",   // the HTTP API
    "links.",
    "uploads.",
    "gifs.",   // media, at the API
    "socket.", // listeners
    "quic.",   // QUIC's transport parameters, made from the section
    "ws.",     // the upgrade
    "proxy.",  // accepting and the upgrade
    "node.workers",
    "node.hung_after_ms",
    "node.watch_files_ms",
    "node.pin",
    "auth.anonymous",
    "auth.leeway_s",
    "limits.connections_max",
    "limits.connections_per_address_max",
    "limits.handshake", // the handshake queue and the limits on addresses
    "limits.loopback_exempt",
    "limits.people_", // what workers share of people
    "limits.sessions_per_user_max",
    "webhooks.", // the outbox's thread
    "guide.",    // the guide's thread and the times of rooms
    "limits.fragments_max",
    "limits.control_frames_max",
    "fanout.writes_per_turn",
    "cluster.", // what stands and the network share
    "drain.announce_ms",
    "drain.refuse_ms",
    "drain.spread_ms",
    "drain.grace_ms",
    "drain.handover_",
];

fn shown(config: &Config, key: &config::Key) -> u64 {
    let value = key.value(config);
    value.as_u64().or_else(|| value.as_bool().map(u64::from)).expect("a number or a switch")
}

/// A configuration with every number one off its default and every switch turned, so that a setting with a
/// default of its own is found.
fn unlike_the_defaults() -> Config {
    let defaults = Config::default();
    let counted = config::keys().iter().filter(|key| matches!(key.kind, Kind::Number | Kind::Switch));
    let other = |key: &config::Key| {
        let default = shown(&defaults, key);
        match key.bounds() {
            None => (default == 0).to_string(),
            Some((_, highest)) if default < highest => (default + 1).to_string(),
            Some(_) => (default - 1).to_string(),
        }
    };
    // Without a key of its own, a node must admit anonymous sessions; and proxies set one of two headers.
    let alone = ["auth.anonymous", "proxy.forwarded"];
    let flags = counted.filter(|key| !alone.contains(&key.name)).map(|key| (key.name.to_owned(), other(key)));
    let more = [("log.dir", "somewhere"), ("proxy.trusted", "::1"), ("api.listen", "127.0.0.1:7490")];
    let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config::load(None, [], flags.chain(more)).expect("one off is allowed").config
}

#[test]
fn a_nodes_effective_settings_are_the_tables() {
    let changed = unlike_the_defaults();
    let effective = effective(&changed);
    for key in config::keys().iter().filter(|key| matches!(key.kind, Kind::Number | Kind::Switch)) {
        let in_place = READ_IN_PLACE.iter().any(|name| key.name.starts_with(name));
        match effective.get(key.name) {
            Some(&set) => {
                assert!(!in_place, "{} is read in two places", key.name);
                assert_eq!(set, shown(&changed, key), "{}", key.name);
                assert_ne!(set, shown(&Config::default(), key), "{} was not changed", key.name);
            }
            None => assert!(in_place, "{} has no effect that this test knows", key.name),
        }
    }
    for name in effective.keys() {
        assert!(config::key(name).is_some(), "{name} is no key");
    }
}
