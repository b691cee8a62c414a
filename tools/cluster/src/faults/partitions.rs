//! Partitions: directions between machines are cut, of the owner, its log's leader, or the third machine.
//!
//! Why by direction: a link that carries one way only is what a broken switch makes, and what heartbeats
//! judge worst. Clients reach every node all the time: what they see is the cluster's fault.
//! Not here: links that lose some packets (`links`).

use anyhow::Result;

use super::{Fault, Limits};
use crate::arena::others;
use crate::network::switch::Rule;
use crate::trial::Round;

/// How long the cut lasts.
const CUT_S: u64 = 10;

const LIMITS: Limits = Limits { pause_max_ms: Some(3_000), ..Limits::NONE };

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "partition-both",
        times: 39,
        what: "a machine is cut off both ways for 10 s: the owner's, the log leader's, the third",
        limits: LIMITS,
        needs_disks: false,
        is_smoke: true,
        act: |round| cut(round, Way::Both),
    },
    Fault {
        name: "partition-in",
        times: 39,
        what: "a machine gets nothing from the others for 10 s, in the same turn",
        limits: LIMITS,
        needs_disks: false,
        is_smoke: false,
        act: |round| cut(round, Way::In),
    },
    Fault {
        name: "partition-out",
        times: 39,
        what: "nothing that a machine sends comes to the others for 10 s, in the same turn",
        limits: LIMITS,
        needs_disks: false,
        is_smoke: false,
        act: |round| cut(round, Way::Out),
    },
    Fault {
        name: "partition-link",
        times: 33,
        what: "one link of two machines is cut for 10 s: owner and leader, owner and third, leader and third",
        limits: LIMITS,
        needs_disks: false,
        is_smoke: false,
        act: |round| cut(round, Way::Link),
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Both,
    In,
    Out,
    Link,
}

fn cut(round: &mut Round<'_>, way: Way) -> Result<()> {
    let (owner, third) = (round.owner, round.third());
    let leader = if round.leader == owner { others(&[owner, third])[0] } else { round.leader };
    let of = [("owner", owner), ("leader", leader), ("third", third)];
    let (name, machine) = of[round.number % of.len()];
    let pairs: Vec<(usize, usize)> = match way {
        Way::Link => {
            let (_, other) = of[(round.number + 1) % of.len()];
            vec![(machine, other), (other, machine)]
        }
        _ => {
            let both = others(&[machine]).into_iter().flat_map(|other| [(machine, other), (other, machine)]);
            both.filter(|&(from, _)| match way {
                Way::In => from != machine,
                Way::Out => from == machine,
                _ => true,
            })
            .collect()
        }
    };
    // Viewers of a machine that is cut off see what it sees. With one link cut, all have a majority.
    let without: &[usize] = if way == Way::Link { &[] } else { &[machine] };
    let word = match way {
        Way::Both => "both ways",
        Way::In => "in",
        Way::Out => "out",
        Way::Link => "one link",
    };
    let rooms = round.shards_of(machine);
    let rooms = if rooms.is_empty() { vec![round.shard] } else { rooms };
    round.begin(format!("machine {machine}, {name}, {word}"), rooms, without);
    for &(from, to) in &pairs {
        round.arena.machines.network.switch.set(from, to, Rule::CUT);
    }
    round.begin_minority(without);
    let time = round.time(CUT_S);
    let held = round.arena.hold(time);
    round.end_minority();
    round.arena.machines.network.switch.set_all(Rule::default());
    held
}
