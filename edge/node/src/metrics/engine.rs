//! Metrics of the shards: maps the engine's short names to metrics.
//!
//! Why a table: the engine counts by short names and knows no Prometheus. The table adds kind, unit and help.
//! Invariant: a number that the table does not have is shown all the same, as a gauge.
//! Not here: the workers' counters (`stats`).

use std::collections::BTreeMap;

use grandstand_engine::runtime::admin;

/// A number of all shards together.
#[derive(Debug, PartialEq)]
pub(super) struct EngineNumber {
    pub(super) name: String,
    pub(super) help: &'static str,
    /// The reason, for refusals.
    pub(super) reason: Option<String>,
    pub(super) value: f64,
}

/// Short name, metric without its prefix, help.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str)] = &[
    ("rooms", "rooms", "Rooms, scheduled ones included."),
    ("rooms_live", "rooms_live", "Rooms that hold messages, state or viewers."),
    ("rooms_on_disk", "rooms_on_disk", "Live rooms of durability disk."),
    ("answers_held", "answers_held", "Acknowledgements that wait for the disk."),
    ("answers_late", "answers_late_total", "Publications that were not synced in time: refused, though they may be in the log."),
    ("disk_pages", "disk_pages_total", "Pages of history requested from the durable log."),
    ("disk_pages_late", "disk_pages_late_total", "Pages of history that the disk did not deliver in time."),
    ("viewers", "viewers", "Viewers of all rooms, as the shards count them."),
    ("history_bytes", "history_bytes", "Bytes of the histories kept in memory."),
    ("state_bytes", "state_bytes", "Bytes of the keys and values of all rooms' states."),
    ("shards_silent", "shards_silent", "Shards that did not answer this scrape; their numbers are missing from it."),
    ("rooms_busy", "rooms_busy", "Rooms that sealed a batch within the last two seconds."),
    ("largest_tick_us", "largest_tick_seconds", "Longest tick of the busy rooms."),
    ("largest_stretch_permille", "tick_stretch_ratio", "Factor by which ticks are longer because all rooms together would exceed fanout.share_percent; 1 is no longer."),
    ("attaches", "attaches_total", "Times that a worker began to follow a room."),
    ("attaches_refused", "attaches_refused_total", "Times that a worker was not allowed to follow a room."),
    ("publications_accepted", "publications_accepted_total", "Messages that got an offset."),
    ("publications_repeated", "publications_repeated_total", "Retries of messages that had been accepted before (nonce seen)."),
    ("publications_masked", "publications_masked_total", "Messages in which a word list masked something."),
    ("reactions", "reactions_total", "Reactions counted."),
    ("reactions_refused", "reactions_refused_total", "Reactions not counted: the room was closed, or a tick had too many keys."),
    ("state_changes", "state_changes_total", "Changes of rooms' state."),
    ("state_refused", "state_refused_total", "Changes of rooms' state that were refused."),
    ("acts", "acts_total", "Acts of moderators, and of people about others, that took effect."),
    ("acts_refused", "acts_refused_total", "Acts that were refused."),
    ("removals", "removals_total", "Acts that removed messages, as entries of rooms' logs."),
    ("batches_sealed", "batches_sealed_total", "Batches sealed."),
    ("bytes_sealed", "sealed_bytes_total", "Bytes of sealed batches, each encoded once."),
    ("messages_shown", "messages_shown_total", "Messages that batches show."),
    ("messages_folded", "messages_folded_total", "Messages that pacing folded into others with an equal text."),
    ("messages_omitted", "messages_omitted_total", "Messages that pacing omitted and counted."),
    ("personals", "personal_frames_total", "Messages omitted by pacing that were sent to a person whom they mention."),
    ("history_pages", "history_pages_total", "Pages of history read for viewers that resumed."),
    ("rooms_created", "rooms_created_total", "Rooms created."),
    ("rooms_removed", "rooms_removed_total", "Rooms removed."),
    ("outputs_overflowed", "outputs_overflowed_total", "Outputs that waited because a worker's outbox was full."),
    ("outputs_dropped", "outputs_dropped_total", "Outputs dropped because a worker did not take them; it attaches again."),
];

const PREFIX: &str = "grandstand_engine_";
const REFUSED: &str = "publications_refused_";
const REFUSED_HELP: &str = "Messages that shards refused, by reason.";
const UNKNOWN_HELP: &str = "A number of the engine that has no description here.";

/// Add equal names over all shards, except those whose largest value is shown.
pub(super) fn numbers(counters: Vec<(&'static str, u64)>) -> Vec<EngineNumber> {
    let mut sums = BTreeMap::new();
    admin::add_up(&mut sums, counters);
    sums.into_iter().map(|(name, value)| number(name, shown(name, value))).collect()
}

/// The value in the unit of the metric.
fn shown(short: &str, value: u64) -> f64 {
    let parts = if short.ends_with("_us") {
        1e6
    } else if short.ends_with("_permille") {
        1e3
    } else {
        1.0
    };
    value as f64 / parts
}

fn number(short: &str, value: f64) -> EngineNumber {
    if let Some(reason) = short.strip_prefix(REFUSED) {
        let name = format!("{PREFIX}publications_refused_total");
        return EngineNumber { name, help: REFUSED_HELP, reason: Some(reason.to_owned()), value };
    }
    let known = TABLE.iter().find(|(name, ..)| *name == short);
    let (name, help) = known.map_or((short, UNKNOWN_HELP), |&(_, name, help)| (name, help));
    // A gauge must not end like a counter, whatever the engine calls it.
    let name = if known.is_none() { name.trim_end_matches("_total") } else { name };
    EngineNumber { name: format!("{PREFIX}{name}"), help, reason: None, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_engine::link::{
        AdminAnswer, AdminRequest, ConnectionToken, Input, Now, Output, ReplyTo, ShardId, WorkerId,
    };
    use grandstand_engine::{Shard, ShardConfig};

    #[test]
    fn shards_are_added_up() {
        let of = |name: &str| {
            let counters = vec![
                ("rooms", 2),
                ("viewers", 1),
                ("rooms", 3),
                ("largest_tick_us", 1),
                ("largest_tick_us", 500_000),
            ];
            numbers(counters).into_iter().find(|n| n.name == name)
        };
        assert_eq!(of("grandstand_engine_rooms").unwrap().value, 5.0);
        assert_eq!(of("grandstand_engine_viewers").unwrap().value, 1.0);
        assert_eq!(of("grandstand_engine_largest_tick_seconds").unwrap().value, 0.5);
    }

    #[test]
    fn a_number_without_description_is_shown_as_a_level() {
        let unknown = number("surprises_total", 1.0);
        assert_eq!((unknown.name.as_str(), unknown.help), ("grandstand_engine_surprises", UNKNOWN_HELP));
    }

    /// The table has every number of a real shard, and no others.
    #[test]
    fn the_table_is_what_a_shard_counts() {
        let mut shard = Shard::new(ShardConfig::for_tests(), ShardId(0), 1, 0);
        let from = ReplyTo { worker: WorkerId::of_node(0), connection: ConnectionToken(1) };
        let request = Box::new(AdminRequest::Counters);
        shard.handle_input(Now::default(), Input::Admin { from, request });
        let Some((_, Output::Admin(reply))) = shard.poll_output() else { panic!("no answer") };
        let Ok(AdminAnswer::Counters(counters)) = reply.answer else { panic!("counters were asked for") };
        for (name, _) in &counters {
            assert_ne!(number(name, 0.0).help, UNKNOWN_HELP, "{name}");
        }
        for (name, ..) in TABLE.iter().filter(|(name, ..)| *name != "shards_silent") {
            assert!(counters.iter().any(|(counted, _)| counted == name), "{name}");
        }
    }
}
