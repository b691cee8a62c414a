//! The configuration of a shard's rooms: every bound and interval is a plain field, with its reason and what
//! happens when it is reached.
//!
//! Why here and not in the edge's configuration: tests and simulations use the core without files and flags.
//! Invariant: a configuration that passed [`ShardConfig::check`] can't make a batch larger than a client
//! accepts.
//! Not here: names of keys, environment variables and flags (edge); threads and queues (`runtime`).

use crate::room::show::Calendar;
use grandstand_protocol::frame::Durability;
use grandstand_protocol::limits;

use crate::filter::SharedFilter;

/// Bounds and intervals of a shard's rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Time between two batches of a busy room. 0: the tick adapts to the cost of fan-out, between
    /// `tick_min_ms` and `tick_max_ms`.
    pub tick_ms: u64,
    /// Shortest tick, when ticks adapt.
    pub tick_min_ms: u64,
    /// Longest tick, when ticks adapt.
    pub tick_max_ms: u64,
    /// Share of the workers' time that fan-out may take before ticks grow.
    pub fanout_share_percent: u32,
    /// Whether a room that was quiet for a tick seals at once. Otherwise it seals a tick after the first
    /// message.
    pub leading_edge: bool,
    /// Newest batches that a worker gets when it attaches. The edge keeps the same number.
    pub ring_batches_max: usize,
    /// Bytes of the batches that a worker gets when it attaches.
    pub ring_bytes_max: usize,
    /// Batches with chat that a room keeps; the oldest are removed first.
    pub history_batches_max: usize,
    /// Bytes that a room's log keeps; the oldest batches are removed first.
    pub history_bytes_max: usize,
    /// Bytes that all logs of the node keep. Above this, the room that keeps the most loses its oldest
    /// batches. Each shard has an equal share.
    pub history_bytes_total_max: usize,
    /// Publications of a room whose nonces are remembered; above this, the oldest nonce is forgotten.
    pub nonces_max: usize,
    /// How long a nonce is remembered.
    pub nonce_window_ms: u64,
    /// Keys counted in a tick. Above this, the key with the lowest count joins the rest, which is counted
    /// under the empty key.
    pub tally_keys_max: usize,
    /// Keys listed in a batch; the keys below them are counted as the rest.
    pub tally_top: usize,
    /// Keys of a room's state; above this, a change is refused with `TooManyKeys`.
    pub state_keys_max: usize,
    /// Bytes of a state value; above this, a change is refused with `TooLarge`.
    pub state_value_bytes_max: usize,
    /// Bytes of the keys and values of a room's state; above this, a change that adds some is refused with
    /// `TooLarge`.
    pub state_bytes_max: usize,
    /// Bytes of the states of all rooms; above this, such a change is refused with `Overloaded`. Each shard
    /// has an equal share, and operators a tenth of it for themselves.
    pub state_bytes_total_max: usize,
    /// Publications, retries and state changes that wait for a room's tick; above this, they are refused with
    /// `Overloaded`.
    pub pending_messages_max: usize,
    /// Shortest time between two messages of one user in a room; 0 for none. A room's state key `gs.slow_ms`
    /// overrides it.
    pub slow_mode_ms: u64,
    /// Shortest time between two changes of the state key `gs.viewers`; 0: the viewer count is not published.
    pub viewers_every_ms: u64,
    /// Chat messages per second that a batch shows people; the rest is only counted. 0: no pacing. A room's
    /// own setting takes precedence.
    pub pacing_per_s: u32,
    /// Rooms with more viewers than this are paced. A room with a rate of its own is paced whatever its
    /// audience.
    pub pacing_above_viewers: u64,
    /// Rooms of the node; above this, rooms that hold nothing make space, or a new room is refused with
    /// `Overloaded`. Each shard has an equal share.
    pub rooms_max: usize,
    /// Percent of `rooms_max` that only operators and bridges may fill.
    pub rooms_reserved_percent: u32,
    /// Rooms that one person may have opened by subscriptions, or one address without a token; above this, a
    /// new one is refused with `RateLimited`.
    pub rooms_opened_max: usize,
    /// A room made on first use is removed after this time without viewers and publications; 0: never.
    pub idle_ms: u64,
    /// Names of rooms that may be made on first use: exact names, or prefixes followed by `*`.
    pub on_first_use: Vec<String>,
    /// The shows of rooms, if the node has a guide. A room of a show may be made on first use once the show
    /// opens.
    pub calendar: Calendar,
    /// Where rooms without a setting of their own are kept. `Disk` without a durable log: in memory.
    pub durability: Durability,
    /// How long an answer waits for the disk. After this, the request is refused with `StorageUnavailable`,
    /// which does not undo it.
    pub answer_within_ms: u64,
    /// Answers of a shard that wait for the disk; above this, requests are refused with `StorageUnavailable`.
    /// The default is five seconds of 50,000 a second.
    pub answers_held_max: usize,
    /// Bytes of a chat text; above this, a message is refused with `TooLarge`.
    pub text_bytes_max: usize,
    /// Bytes of chat in one batch; the surplus goes into a further batch of the same tick.
    pub batch_bytes_max: usize,
    /// The word lists that publications are judged by.
    pub filter: SharedFilter,
}

#[cfg(any(test, feature = "test-support"))]
impl ShardConfig {
    /// Bounds for tests. They are wide, so that a test sets only the bound that it tests. A node takes every
    /// bound from its configuration.
    pub fn for_tests() -> Self {
        ShardConfig {
            tick_ms: 0,
            tick_min_ms: 10,
            tick_max_ms: 1000,
            fanout_share_percent: 30,
            leading_edge: true,
            ring_batches_max: 4096,
            ring_bytes_max: 1 << 20,
            history_batches_max: 65_536,
            history_bytes_max: 8 << 20,
            history_bytes_total_max: 256 << 20,
            nonces_max: 16_384,
            nonce_window_ms: 300_000,
            tally_keys_max: 64,
            tally_top: 16,
            state_keys_max: 64,
            state_value_bytes_max: limits::STATE_VALUE_BYTES_MAX,
            state_bytes_max: 128 << 10,
            state_bytes_total_max: 64 << 20,
            pending_messages_max: 16_384,
            slow_mode_ms: 0,
            viewers_every_ms: 2000,
            pacing_per_s: 20,
            pacing_above_viewers: 1000,
            rooms_max: 100_000,
            rooms_reserved_percent: 10,
            rooms_opened_max: 1_000,
            idle_ms: 600_000,
            on_first_use: vec!["*".to_owned()],
            calendar: Calendar::default(),
            durability: Durability::Memory,
            answer_within_ms: 5000,
            answers_held_max: 262_144,
            text_bytes_max: limits::TEXT_BYTES_MAX,
            batch_bytes_max: 128 << 10,
            filter: SharedFilter::default(),
        }
    }
}

/// The most bytes that a message, change or tally takes in a batch beside its content: control and varints.
pub(crate) const ITEM_OVERHEAD_BYTES: usize = 40;

impl ShardConfig {
    /// Check that the fields agree with each other.
    ///
    /// # Errors
    /// A sentence that names the field at fault.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("tick_min_ms", self.tick_min_ms as usize),
            ("fanout_share_percent", self.fanout_share_percent as usize),
            ("ring_batches_max", self.ring_batches_max),
            ("history_batches_max", self.history_batches_max),
            ("pending_messages_max", self.pending_messages_max),
            ("rooms_max", self.rooms_max),
            ("rooms_opened_max", self.rooms_opened_max),
            ("batch_bytes_max", self.batch_bytes_max),
            ("tally_keys_max", self.tally_keys_max),
            ("answers_held_max", self.answers_held_max),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must be at least 1"));
        }
        let at_most = [
            ("tick_min_ms", self.tick_min_ms as usize, self.tick_max_ms as usize),
            ("fanout_share_percent", self.fanout_share_percent as usize, 100),
            ("rooms_reserved_percent", self.rooms_reserved_percent as usize, 90),
            ("text_bytes_max", self.text_bytes_max, limits::TEXT_BYTES_MAX),
            ("state_value_bytes_max", self.state_value_bytes_max, limits::STATE_VALUE_BYTES_MAX),
            ("tally_top", self.tally_top, self.tally_keys_max),
            ("the largest batch", self.largest_batch_bytes(), limits::SERVER_FRAME_BYTES_MAX),
        ];
        match at_most.iter().find(|(_, value, max)| value > max) {
            Some((name, value, max)) => Err(format!("{name} is {value} and must be at most {max}")),
            None => Ok(()),
        }
    }

    /// Does one of the patterns (exact names, or prefixes followed by `*`) allow this name on first use?
    pub fn allows_on_first_use(&self, name: &str) -> bool {
        self.on_first_use.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => pattern == name,
        })
    }

    /// Bytes of the largest batch that can be sealed: one message of the largest size, a new value for every
    /// key of the state, and the tallies.
    fn largest_batch_bytes(&self) -> usize {
        let message = self.text_bytes_max + limits::ATTACHMENT_BYTES_MAX + limits::NAME_BYTES_MAX;
        let key = limits::STATE_KEY_BYTES_MAX + ITEM_OVERHEAD_BYTES;
        let state = (self.state_keys_max + 1) * (2 * key + self.state_value_bytes_max);
        let tallies = (self.tally_top + 1) * (limits::REACTION_KEY_BYTES_MAX + ITEM_OVERHEAD_BYTES);
        self.batch_bytes_max + message + state + tallies + 4 * ITEM_OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_tests_hold_together() {
        assert_eq!(ShardConfig::for_tests().check(), Ok(()));
    }

    #[test]
    fn a_fault_names_its_field() {
        let config = ShardConfig { tick_min_ms: 0, ..ShardConfig::for_tests() };
        assert!(config.check().unwrap_err().contains("tick_min_ms"));
        let config = ShardConfig { tick_min_ms: 2000, ..ShardConfig::for_tests() };
        assert!(config.check().unwrap_err().contains("at most 1000"));
        let config = ShardConfig { state_keys_max: 10_000, ..ShardConfig::for_tests() };
        assert!(config.check().unwrap_err().contains("largest batch"));
        let config = ShardConfig { tally_top: 65, ..ShardConfig::for_tests() };
        assert!(config.check().unwrap_err().contains("tally_top"));
    }

    #[test]
    fn patterns_are_exact_or_beginnings() {
        let on_first_use = vec!["lobby".to_owned(), "show/*".to_owned()];
        let config = ShardConfig { on_first_use, ..ShardConfig::for_tests() };
        assert!(config.allows_on_first_use("lobby"));
        assert!(config.allows_on_first_use("show/1"));
        assert!(!config.allows_on_first_use("lobby2"));
        assert!(!config.allows_on_first_use("sho"));
        let none = ShardConfig { on_first_use: Vec::new(), ..ShardConfig::for_tests() };
        assert!(!none.allows_on_first_use("lobby"));
    }
}
