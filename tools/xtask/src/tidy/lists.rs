//! Lists: the exceptions to the rules, each with its reason, and the words that are no longer used.
//!
//! Invariant: lists of exceptions only shrink: an entry that is not needed any more is a finding.

use super::Finding;

/// Files over 600 lines.
pub(super) const LONG_FILES: &[&str] = &[];

/// Documents with sentences of over 40 words.
pub(super) const LONG_SENTENCES: &[&str] = &[];

/// Rust files whose heads do not say why.
pub(super) const WITHOUT_A_REASON: &[&str] = &[];

/// Files that import each other in a circle, sorted, and why they may.
pub(super) const CIRCLES: &[(&[&str], &str)] = &[
    (
        &[
            "protocol/clients/rust/src/core/acts.rs",
            "protocol/clients/rust/src/core/batch.rs",
            "protocol/clients/rust/src/core/event.rs",
            "protocol/clients/rust/src/core/history.rs",
            "protocol/clients/rust/src/core/migration.rs",
            "protocol/clients/rust/src/core/outbox.rs",
            "protocol/clients/rust/src/core/receive.rs",
            "protocol/clients/rust/src/core/room.rs",
            "protocol/clients/rust/src/core/session.rs",
            "protocol/clients/rust/src/core/subscriptions.rs",
        ],
        "a session and its parts: events name rooms, and rooms make events",
    ),
    (
        &["protocol/clients/rust/src/net/driver.rs", "protocol/clients/rust/src/net/migration.rs"],
        "the driver of one session over two connections",
    ),
    (
        &["protocol/src/websocket/partial.rs", "protocol/src/websocket/reader.rs"],
        "the reader and its unfinished message",
    ),
];

/// Types with more methods than a type may have: crate and name.
pub(super) const LARGE_TYPES: &[(&str, &str)] = &[];

/// Where clocks, threads and random sources may be used: kind, file or folder, and why there.
pub(super) const EFFECTS: &[(&str, &str, &str)] = &[
    ("clock", "edge/src/clock.rs", "the one clock of a node, passed down"),
    ("clock", "edge/node/src/house/mod.rs", "tokio's clock: how long an order waits for other nodes"),
    ("clock", "edge/node/src/http/shards.rs", "tokio's clock: its tests run in virtual time"),
    ("clock", "edge/media/src/cache.rs", "tokio's clock: its tests run in virtual time"),
    ("clock", "engine/cluster/nats/src/", "the network's thread has the clock that stands are given"),
    ("clock", "engine/queue/src/parker.rs", "a park with a time limit"),
    ("clock", "engine/src/runtime/", "shards' threads have the clock that cores are given"),
    ("clock", "engine/store/src/clock.rs", "the clock of the log's threads"),
    ("clock", "protocol/clients/rust/src/net/", "the client's driver has the clock that its core is given"),
    ("clock", "tools/cluster/", "waits for real programs"),
    ("clock", "tools/field/", "waits for real programs"),
    ("clock", "tools/guide/", "a program for people: what is on now, and how long an import took"),
    ("clock", "tools/harness/", "waits for real programs"),
    ("clock", "tools/sim/src/main.rs", "says how long a run took"),
    ("clock", "tools/src/", "programs for people and real nodes"),
    ("clock", "tools/xtask/", "programs that start and time programs"),
    ("clock", "benches/", "what is measured is real time"),
    ("thread", "edge/src/workers.rs", "a worker is a thread"),
    ("thread", "edge/media/src/workers.rs", "decoding takes a CPU, at a low priority"),
    ("thread", "edge/node/src/", "the admin port, hand-over and backups wait beside the workers"),
    ("thread", "engine/cluster/nats/src/", "the network is a thread"),
    ("thread", "engine/queue/src/parker.rs", "tests of a park"),
    ("thread", "engine/src/runtime/", "a shard is a thread"),
    ("thread", "engine/store/src/", "the log's threads wait for the disk, so that nobody else does"),
    ("thread", "tools/cluster/", "clients, a switch, and work in namespaces"),
    ("thread", "tools/field/", "a relay, and waits for real programs"),
    ("thread", "tools/harness/", "waits for real programs"),
    ("thread", "tools/sim/src/fleet.rs", "worlds are played side by side; each is one thread"),
    ("thread", "tools/src/", "reads a terminal, starts processes"),
    ("thread", "tools/xtask/", "programs that start and time programs"),
    ("thread", "benches/", "load generators are threads"),
    ("chance", "edge/src/auth/", "keys"),
    ("chance", "edge/src/quic/connection_id.rs", "connection IDs must not be guessed"),
    ("chance", "edge/src/workers.rs", "seeds of workers"),
    ("chance", "edge/node/src/", "seeds and generations of a process"),
    ("chance", "engine/store/src/recovery/mod.rs", "new epochs"),
    ("chance", "protocol/clients/rust/src/net/", "seeds of sessions, masks of frames"),
    ("chance", "tools/xtask/src/tidy/effects.rs", "the words themselves"),
];

/// Names in code that were given up: in which folder, and what the thing is called now.
pub(super) const OLD_NAMES: &[(&str, &str, &str)] = &[
    ("edge/", "Gate", "`ConnectionLimiter`"),
    ("edge/", "GateRefusal", "`LimitReached`"),
    ("edge/", "Pass", "`Permit`"),
    ("edge/core/", "Visitor", "`Pending`"),
    ("edge/", "Appointments", "`RetrySchedule`"),
    ("edge/", "Door", "`HelloThrottle`"),
    ("edge/", "Carrier", "`FrameSink`"),
    ("edge/", "Wire", "`Link`"),
    ("edge/", "Inlet", "`Forwarded`"),
    ("edge/", "Outlet", "`Forwarder`"),
    ("edge/", "Departure", "`Shutdown`"),
    ("edge/", "Before", "`Predecessor`"),
    ("engine/", "Keeper", "`PendingAcks`"),
    ("engine/", "Mover", "`Compaction`"),
    ("engine/", "Recorder", "`CrashLog`"),
    ("benches/", "Canon", "`FrameCache`"),
    ("benches/", "Guest", "`LeanClient`"),
    ("tools/xtask/", "Habit", "`Task`"),
    ("tools/xtask/", "Ledger", "`Summary`"),
    ("tools/xtask/", "Stand", "`Restartable`"),
];

/// Names of other people's things that heads mention: functions, options, crates.
pub(super) const FOREIGN_NAMES: &[&str] = &["memcpy", "rtrb", "serverCertificateHashes", "SO_REUSEPORT"];

/// Phrases in comments and documents that were given up, and the noun that replaces each.
pub(super) const OLD_PHRASES: &[(&str, &str)] = &[
    ("newcomer", "\"new connection\" or \"new client\""),
    ("newcomers", "\"new connections\" or \"new clients\""),
    ("said again", "\"retried\", \"a retry\""),
    ("says again", "\"retries\""),
    ("so often", "a number of times"),
    ("who was here", "\"returning client\""),
    ("whoever comes", "\"new connection\""),
    ("those who are inside", "\"connected viewers\""),
    ("what is left of", "the thing that is left"),
    ("sent away", "\"refused\""),
    ("send away", "\"refuse\""),
    ("turned away", "\"refused\""),
    ("turn away", "\"refuse\""),
    ("set aside", "\"reserved\""),
];

/// A finding for each entry of `list` of which `is_needed` says no.
pub(super) fn must_be_needed(
    rule: &'static str,
    list: &[&str],
    is_needed: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let unneeded = list.iter().filter(|path| !is_needed(path));
    unneeded.map(|path| Finding::new(rule, path, 1, "keeps the rule now: off the list (lists.rs)")).collect()
}
