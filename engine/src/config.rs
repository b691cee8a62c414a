//! The bounds of rooms: every one a plain field, with its reason and what happens when it is reached.
//!
//! Why here and not in the edge's configuration: the core is used without files and flags, by tests and
//! simulations.
//! Invariant: a configuration that passed [`ShardConfig::check`] can't make a batch larger than a client
//! takes.
//! Not here: names of keys, environment, flags (edge); threads and queues (`runtime`).

use grandstand_protocol::frame::Durability;
use grandstand_protocol::limits;

/// Bounds and intervals of a shard's rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Time between two batches of a busy room; 0: as fan-out needs it, between the next two.
    pub tick_ms: u64,
    /// Shortest tick, where it adapts.
    pub tick_min_ms: u64,
    /// Longest tick, where it adapts.
    pub tick_max_ms: u64,
    /// Part of the workers' time that fan-out may take before ticks grow.
    pub fanout_share_percent: u32,
    /// Whether a room that was quiet for a tick seals at once; otherwise a tick after the first thing said.
    pub leading_edge: bool,
    /// Newest batches that a worker gets when it attaches; the edge keeps as many.
    pub ring_batches_max: usize,
    /// Bytes of these.
    pub ring_bytes_max: usize,
    /// Batches with chat that a room keeps; the oldest go first.
    pub history_batches_max: usize,
    /// Bytes that a room's log keeps; the oldest go first.
    pub history_bytes_max: usize,
    /// Bytes that all logs of the node keep; beyond, the room that keeps the most loses its oldest. Shards
    /// have equal shares.
    pub history_bytes_total_max: usize,
    /// Publications of a room whose nonces are remembered; beyond, the oldest is forgotten.
    pub nonces_max: usize,
    /// How long a nonce is remembered.
    pub nonce_window_ms: u64,
    /// Keys counted in a tick; beyond, the least counted joins the rest, which is counted under the empty
    /// key.
    pub tally_keys_max: usize,
    /// Keys told in a batch; those below are told as the rest.
    pub tally_top: usize,
    /// Keys of a room's state; beyond: refusal `TooManyKeys`.
    pub state_keys_max: usize,
    /// Bytes of a value; beyond: refusal `TooLarge`.
    pub state_value_bytes_max: usize,
    /// Publications (and repetitions, and state changes) that wait for a room's tick; beyond: refusal
    /// `Overloaded`.
    pub pending_messages_max: usize,
    /// Shortest time between two messages of one user in a room; 0 for none. A room's state key `gs.slow_ms`
    /// overrides it.
    pub slow_mode_ms: u64,
    /// Shortest time between two changes of the state key `gs.viewers`; 0: it is not published.
    pub viewers_every_ms: u64,
    /// Chat messages per second that a batch shows people; the rest is counted. 0: no pacing. A room's own
    /// settings go first.
    pub pacing_per_s: u32,
    /// Rooms with more viewers than this are paced; one with a rate of its own is whatever its audience.
    pub pacing_above_viewers: u64,
    /// Rooms of the node; beyond: refusal `Overloaded`. Shards have equal shares.
    pub rooms_max: usize,
    /// After so long without viewers and publications, a room made on first use is removed; 0: never.
    pub idle_ms: u64,
    /// Names that come into being on first use: exact, or beginnings followed by `*`.
    pub on_first_use: Vec<String>,
    /// Where rooms without a setting of their own are kept. `Disk` without a durable log: in memory.
    pub durability: Durability,
    /// How long an answer waits for the disk; beyond: refusal `StorageUnavailable`, which does not undo what
    /// was asked for.
    pub answer_within_ms: u64,
    /// Answers of a shard that wait for the disk; beyond: refusal `StorageUnavailable`. Five seconds of
    /// 50,000 a second.
    pub answers_held_max: usize,
    /// Bytes of a chat text; beyond: refusal `TooLarge`.
    pub text_bytes_max: usize,
    /// Bytes of chat in one batch; what is over goes into a further batch of the same tick.
    pub batch_bytes_max: usize,
}

#[cfg(any(test, feature = "test-support"))]
impl ShardConfig {
    /// Bounds for tests: wide ones, so that a test sets the one that it is about. A node takes every bound
    /// from its configuration.
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
            pending_messages_max: 16_384,
            slow_mode_ms: 0,
            viewers_every_ms: 2000,
            pacing_per_s: 20,
            pacing_above_viewers: 1000,
            rooms_max: 100_000,
            idle_ms: 600_000,
            on_first_use: vec!["*".to_owned()],
            durability: Durability::Memory,
            answer_within_ms: 5000,
            answers_held_max: 262_144,
            text_bytes_max: limits::TEXT_BYTES_MAX,
            batch_bytes_max: 128 << 10,
        }
    }
}

/// Bytes around one message, change or tally in a batch, at most: control and varints.
pub(crate) const ITEM_OVERHEAD_BYTES: usize = 40;

impl ShardConfig {
    /// Check what the fields promise together.
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

    /// Does one of the patterns (exact names, or beginnings followed by `*`) allow this name on first use?
    pub fn allows_on_first_use(&self, name: &str) -> bool {
        self.on_first_use.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => pattern == name,
        })
    }

    /// Bytes of the largest batch that can be sealed: a message that was just within the chat's bound, every
    /// key of the state replaced by another, and the tallies.
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
