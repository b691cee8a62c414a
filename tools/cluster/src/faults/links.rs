//! Links: packets between machines are lost, come late, or in another order, for half a minute.
//!
//! Why on the wire: what a lost packet costs is decided by TCP, whose waits grow with every loss.
//! Not here: links that carry nothing (`partitions`).

use std::time::Duration;

use anyhow::Result;

use super::{Fault, Limits};
use crate::network::switch::Rule;
use crate::trial::Round;

/// How long links are bad.
const BAD_S: u64 = 30;

const PERFECT: Rule = Rule { loss: 0.0, delay: Duration::ZERO, reordered: 0.0 };

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "loss-1",
        times: 9,
        what: "every hundredth packet between machines is lost",
        // One false claim an hour is one in 120 trials.
        limits: Limits { owner_changes: Some(0), ack_max_ms: Some(10_000), ..Limits::NONE },
        needs_disks: false,
        is_smoke: false,
        act: |round| bad(round, "1 % is lost", Rule { loss: 0.01, ..PERFECT }),
    },
    Fault {
        name: "loss-5",
        times: 7,
        what: "every twentieth packet between machines is lost",
        limits: Limits::NONE,
        needs_disks: false,
        is_smoke: false,
        act: |round| bad(round, "5 % are lost", Rule { loss: 0.05, ..PERFECT }),
    },
    Fault {
        name: "delay-50",
        times: 7,
        what: "every packet between machines comes 50 ms late",
        limits: Limits { owner_changes: Some(0), ack_max_ms: Some(10_000), ..Limits::NONE },
        needs_disks: false,
        is_smoke: false,
        act: |round| bad(round, "50 ms late", Rule { delay: Duration::from_millis(50), ..PERFECT }),
    },
    Fault {
        name: "reorder",
        times: 7,
        what: "a quarter of the packets between machines come 10 ms late, behind later ones",
        limits: Limits { owner_changes: Some(0), ack_max_ms: Some(10_000), ..Limits::NONE },
        needs_disks: false,
        is_smoke: false,
        act: |round| bad(round, "a quarter reordered", Rule { reordered: 0.25, ..PERFECT }),
    },
];

fn bad(round: &mut Round<'_>, what: &str, rule: Rule) -> Result<()> {
    round.begin(what.to_owned(), (0..round.before.len()).collect(), &[]);
    round.arena.machines.network.switch.set_all(rule);
    let time = round.time(BAD_S);
    let held = round.arena.hold(time);
    round.arena.machines.network.switch.set_all(Rule::default());
    held
}
