//! The story of a world: what people, operators and chance do to it, step by step, drawn from its seed before
//! it begins.
//!
//! Why before: a story is a list, so it can be played again without any of its steps. That is how a long
//! story with a fault becomes a short one (`shrink`). Each step has a random stream of its own, from which
//! all small decisions until the next step are drawn (delays, sizes, moments).
//! Invariant: steps name clients, nodes, rooms and threads by number, below the counts of the plan.
//! Not here: what steps do (`world`).

use grandstand_protocol::frame::Durability;

use crate::plan::{Plan, trouble};
use crate::random::Random;

/// One thing that happens, some time after the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// After the step before.
    pub after_us: u64,
    /// Of its own stream of chance.
    pub salt: u64,
    /// What happens.
    pub what: What,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Both sides notice soon.
    Both,
    /// The node never hears of it: only its silence tells.
    NodeUnaware,
    /// The client never hears of it.
    ClientUnaware,
}

/// State of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskMood {
    /// As usual.
    #[default]
    Well,
    /// Each sync takes so long.
    Slow(u64),
    /// Nothing can be written.
    Full,
}

/// See [`Step`].
#[expect(missing_docs, reason = "fields are numbers of clients, rooms and threads, and times")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A client publishes in one of its rooms.
    Say { client: usize, room: usize, times: usize },
    /// A client retries an earlier publication, under the same nonce.
    SayAgain { client: usize, which: usize },
    /// A client reacts.
    React { client: usize, room: usize },
    /// A client sets or removes a key.
    SetState { client: usize, room: usize, key: u8, value: Option<u8> },
    /// A client follows a room.
    Join { client: usize, room: usize, replay: u32 },
    /// A client follows a room no longer.
    Leave { client: usize, room: usize },
    /// A client reads history.
    History { client: usize, room: usize, back: u64, count: u64 },
    /// A connection breaks.
    Cut { client: usize, how: Break },
    /// A client ends, and a new one takes its place, which knows its positions.
    Restart { client: usize },
    /// A client stops reading.
    Stall { client: usize },
    /// A client reads so many bytes at a time.
    Trickle { client: usize, bytes: usize },
    /// A client reads as fast as it can.
    Flow { client: usize },
    /// A worker does nothing for a while.
    HoldWorker { node: usize, worker: usize, us: u64 },
    /// A shard does nothing for a while.
    HoldShard { node: usize, shard: usize, us: u64 },
    /// The wall clock steps.
    Clock { node: usize, step_ms: i64 },
    /// kill -9, after so many more small events inside the node; it starts again after a while.
    Crash { node: usize, fuse: u64, down_us: u64 },
    /// The power goes, in the same way.
    PowerCut { node: usize, fuse: u64, down_us: u64 },
    /// SIGTERM: clients are told to reconnect, the log is flushed, and another process takes over.
    Drain { node: usize, spread_us: u64, down_us: u64 },
    /// The disk becomes slow, full or well.
    Disk { node: usize, mood: DiskMood },
    /// An operator, or the cluster, moves a shard to a node.
    Move { shard: usize, to: usize },
    /// Something happens to machines, servers and links of a cluster.
    Net(NetFault),
    /// An operator closes a room.
    Close { node: usize, room: usize },
    /// An operator opens a room.
    Open { node: usize, room: usize },
    /// An operator removes a room.
    Remove { node: usize, room: usize },
    /// An operator creates a room, or makes it stay.
    Create { node: usize, room: usize },
    /// An operator changes tick, pacing and where the log is kept.
    Configure {
        node: usize,
        room: usize,
        tick_ms: Option<u32>,
        pacing_per_s: Option<u32>,
        durability: Option<Durability>,
    },
}

/// What happens to the machines of a cluster. Each ends after a time, or when a world comes to rest.
#[expect(missing_docs, reason = "fields are numbers of machines and shards, and times")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetFault {
    /// kill -9 of a NATS server.
    KillServer { machine: usize, us: u64 },
    /// The power of a machine goes: node and server.
    KillMachine { machine: usize, us: u64 },
    /// A server stands still.
    PauseServer { machine: usize, us: u64 },
    /// A node's process stands still.
    PauseNode { machine: usize, us: u64 },
    /// A link carries nothing in one direction. What is sent meanwhile is held, or lost.
    Cut { from: usize, to: usize, us: u64, holds: bool },
    /// All links of a machine carry nothing, in one direction or in both.
    CutOff { machine: usize, us: u64, inwards: bool, outwards: bool, holds: bool },
    /// Each hop takes so much longer.
    SlowLinks { us: u64 },
    /// A server's disk is full: it keeps no logs until it is started again.
    FullDisk { machine: usize },
    /// Each commit of a log takes so much longer.
    SlowLog { shard: usize, us: u64 },
    /// The followers of a log elect another leader.
    Elect { shard: usize },
}

/// The story of a plan: so many steps.
pub fn story(plan: &Plan, steps: usize) -> Vec<Step> {
    let mut r = Random::new(plan.seed ^ 0x0057_0a11);
    (0..steps).map(|at| step(plan, &mut r, at)).collect()
}

fn step(plan: &Plan, r: &mut Random, at: usize) -> Step {
    let after_us = match r.below(20) {
        0..=8 => r.below(3_000),
        9..=17 => r.below(60_000),
        18 => r.below(1_000_000),
        _ => r.below(4_000_000),
    };
    // At the beginning everybody comes.
    let what = if at < 2 * plan.clients {
        join(plan, r, at % plan.clients)
    } else if plan.is_cluster {
        cluster_what(plan, r)
    } else {
        what(plan, r)
    };
    Step { after_us, salt: r.bits(), what }
}

fn join(plan: &Plan, r: &mut Random, client: usize) -> What {
    What::Join { client, room: r.index(plan.rooms), replay: r.pick(&[0, 0, 3, 50]) }
}

fn what(plan: &Plan, r: &mut Random) -> What {
    let (client, room) = (r.index(plan.clients), r.index(plan.rooms));
    loop {
        let kind = r.below(100);
        let what = match kind {
            0..=37 => Some(What::Say { client, room, times: r.pick(&[1, 1, 1, 2, 6]) }),
            38..=42 => plan.has(trouble::REPEATS).then(|| What::SayAgain { client, which: r.index(8) }),
            43..=45 => Some(What::React { client, room }),
            46..=50 => {
                let value = r.chance(70).then(|| r.below(200) as u8);
                Some(What::SetState { client, room, key: r.below(4) as u8, value })
            }
            51..=56 => Some(join(plan, r, client)),
            57..=58 => Some(What::Leave { client, room }),
            59..=61 => Some(What::History { client, room, back: r.below(60), count: r.between(1, 40) }),
            62..=69 => plan.has(trouble::CUTS).then(|| cut(plan, r, client)),
            70..=71 => plan.has(trouble::RESTARTS).then_some(What::Restart { client }),
            72..=79 => plan.has(trouble::STALLS).then(|| stall(r, client)),
            80..=83 => plan.has(trouble::HOLDS).then(|| hold(plan, r)),
            84..=85 => plan.has(trouble::CLOCK).then(|| {
                let hour_ms = 3_600_000;
                What::Clock {
                    node: node(plan, r),
                    step_ms: r.pick(&[hour_ms, -hour_ms, 500, -500, 86_400_000]),
                }
            }),
            86..=89 => end(plan, r),
            90..=92 => (plan.has_log && plan.has(trouble::DISK)).then(|| {
                let mood = r.pick(&[
                    DiskMood::Well,
                    DiskMood::Slow(300_000),
                    DiskMood::Slow(7_000_000),
                    DiskMood::Full,
                ]);
                What::Disk { node: node(plan, r), mood }
            }),
            _ => plan.has(trouble::OPERATORS).then(|| operate(plan, r, room)),
        };
        if let Some(what) = what {
            return what;
        }
    }
}

fn cut(plan: &Plan, r: &mut Random, client: usize) -> What {
    let half_open = plan.has(trouble::HALF_OPEN) && r.chance(40);
    let how = match (half_open, r.chance(50)) {
        (false, _) => Break::Both,
        (true, true) => Break::NodeUnaware,
        (true, false) => Break::ClientUnaware,
    };
    What::Cut { client, how }
}

fn stall(r: &mut Random, client: usize) -> What {
    match r.below(5) {
        0 | 1 => What::Stall { client },
        2 => What::Trickle { client, bytes: r.between(1, 200) as usize },
        _ => What::Flow { client },
    }
}

fn hold(plan: &Plan, r: &mut Random) -> What {
    let us = r.pick(&[5_000, 100_000, 1_500_000]);
    if r.chance(50) {
        What::HoldWorker { node: node(plan, r), worker: r.index(plan.workers.into()), us }
    } else {
        What::HoldShard { node: node(plan, r), shard: r.index(plan.shards.into()), us }
    }
}

/// A node that something happens to. Where there is one, nothing is drawn.
fn node(plan: &Plan, r: &mut Random) -> usize {
    if plan.nodes == 1 { 0 } else { r.index(plan.nodes) }
}

/// Few of these: each sends everybody away.
fn end(plan: &Plan, r: &mut Random) -> Option<What> {
    if !r.chance(35) {
        return None;
    }
    let (fuse, down_us) = (r.pick(&[0, 1, 3, 10, 60]), r.pick(&[0, 10_000, 500_000, 3_000_000]));
    let fuse = if fuse == 0 { 0 } else { r.between(1, fuse) };
    let node = node(plan, r);
    match r.below(3) {
        0 => plan.has(trouble::CRASHES).then_some(What::Crash { node, fuse, down_us }),
        1 => plan.has(trouble::POWER).then_some(What::PowerCut { node, fuse, down_us }),
        _ => {
            let spread_us = r.pick(&[0, 500_000, 3_000_000]);
            plan.has(trouble::DRAINS).then_some(What::Drain { node, spread_us, down_us: down_us / 10 })
        }
    }
}

fn operate(plan: &Plan, r: &mut Random, room: usize) -> What {
    let node = node(plan, r);
    match r.below(12) {
        0 => What::Close { node, room },
        1..=4 => What::Open { node, room },
        5 => What::Remove { node, room },
        6 | 7 => What::Create { node, room },
        _ => What::Configure {
            node,
            room,
            tick_ms: r.pick(&[None, Some(10), Some(50), Some(400)]),
            pacing_per_s: r.pick(&[None, Some(0), Some(3), Some(50)]),
            durability: r.pick(&[None, None, None, None, Some(Durability::Disk), Some(Durability::Memory)]),
        },
    }
}

fn cluster_what(plan: &Plan, r: &mut Random) -> What {
    let (client, room) = (r.index(plan.clients), r.index(plan.rooms));
    loop {
        let what = match r.below(100) {
            0..=44 => Some(What::Say { client, room, times: r.pick(&[1, 1, 1, 2, 6]) }),
            45..=48 => plan.has(trouble::REPEATS).then(|| What::SayAgain { client, which: r.index(8) }),
            49 => Some(What::React { client, room }),
            50..=53 => {
                let value = r.chance(70).then(|| r.below(200) as u8);
                Some(What::SetState { client, room, key: r.below(4) as u8, value })
            }
            54..=57 => Some(join(plan, r, client)),
            58 => Some(What::Leave { client, room }),
            59..=60 => Some(What::History { client, room, back: r.below(60), count: r.between(1, 40) }),
            61..=63 => plan.has(trouble::CUTS).then(|| cut(plan, r, client)),
            64 => plan.has(trouble::RESTARTS).then_some(What::Restart { client }),
            65..=66 => plan.has(trouble::HOLDS).then(|| hold(plan, r)),
            67 => plan.has(trouble::CLOCK).then(|| What::Clock {
                node: node(plan, r),
                step_ms: r.pick(&[3_600_000, -3_600_000, 500, -500]),
            }),
            68..=73 => cluster_end(plan, r),
            74..=78 => Some(What::Move { shard: r.index(plan.shards.into()), to: r.index(plan.nodes) }),
            79..=80 => plan
                .has(trouble::DISK)
                .then(|| What::Disk { node: node(plan, r), mood: r.pick(&[DiskMood::Well, DiskMood::Full]) }),
            _ => Some(What::Net(net_fault(plan, r))),
        };
        if let Some(what) = what {
            return what;
        }
    }
}

fn cluster_end(plan: &Plan, r: &mut Random) -> Option<What> {
    let (fuse, down_us) = (r.pick(&[0, 1, 3, 10, 60]), r.pick(&[0, 10_000, 500_000, 3_000_000]));
    let fuse = if fuse == 0 { 0 } else { r.between(1, fuse) };
    let node = node(plan, r);
    if r.chance(70) {
        return plan.has(trouble::CRASHES).then_some(What::Crash { node, fuse, down_us });
    }
    let spread_us = r.pick(&[0, 500_000, 3_000_000]);
    plan.has(trouble::DRAINS).then_some(What::Drain { node, spread_us, down_us: down_us / 10 })
}

fn net_fault(plan: &Plan, r: &mut Random) -> NetFault {
    let machine = r.index(plan.nodes);
    let us = r.pick(&[100_000, 1_100_000, 1_700_000, 3_000_000, 8_000_000]);
    let us = r.between(us / 2, us * 3 / 2);
    let holds = r.chance(30);
    match r.below(20) {
        0 | 1 => NetFault::KillServer { machine, us },
        2 | 3 => NetFault::KillMachine { machine, us },
        4 | 5 => NetFault::PauseServer { machine, us },
        6 | 7 => NetFault::PauseNode { machine, us },
        8..=10 => NetFault::Cut { from: machine, to: r.index(plan.nodes), us, holds },
        11..=14 => {
            let way = r.below(4);
            NetFault::CutOff { machine, us, inwards: way != 0, outwards: way != 1, holds }
        }
        15 => NetFault::SlowLinks { us: r.pick(&[0, 0, 50_000]) },
        16 => NetFault::FullDisk { machine },
        17 => NetFault::SlowLog { shard: r.index(plan.shards.into()), us: r.pick(&[0, 0, 78_000]) },
        _ => NetFault::Elect { shard: r.index(plan.shards.into()) },
    }
}
