//! `memory`: what a viewer costs while nothing happens, in the program and in the kernel, and what rooms and
//! shards cost.
//!
//! Method: a fresh node for every figure, in a memory group of its own; read before the first viewer and two
//! seconds after the last; the difference is divided by how many came. The slope between the smallest and the
//! largest audience is free of what the first viewers cost alone.
//! User memory is the node's anonymous resident memory; kernel memory is what its group is charged for kernel
//! objects. Slab caches are the whole machine's and so hold both ends of each connection; they are there to
//! compare.
//! The promise: 15,000 viewers over plain WebSocket and the node, everything counted, within 200 MB.
//! Not here: what an audience that is talked to costs in CPU (`fanout`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use grandstand_benches::crowd::Transport;
use grandstand_benches::guests::{Listener, Talk};
use grandstand_benches::house::{Held, House, PATIENCE, plan};
use grandstand_benches::node::NodePlan;
use grandstand_benches::record::{Row, Rows, noted, rounded};
use grandstand_benches::rooms_admin::create_rooms;

use grandstand_benches::plan::Plan;

/// Heaps and counters come to rest within this.
const REST: Duration = Duration::from_secs(2);

/// The bound of the promise: memory of the smallest server that leaves room for a system.
const PROMISE_BYTES: u64 = 200 << 20;

/// Sizes of a run.
struct Sizes {
    viewers: &'static [usize],
    /// QUIC's: 15,000 connections' state and their clients' do not fit the time of a run.
    quic: &'static [usize],
    second_room: usize,
    dormant: usize,
    shards: u64,
    promise: usize,
    traffic: Duration,
    rest: Duration,
}

const FULL: Sizes = Sizes {
    viewers: &[1_000, 5_000, 15_000],
    quic: &[1_000, 5_000],
    second_room: 5_000,
    dormant: 50_000,
    shards: 16,
    promise: 15_000,
    traffic: Duration::from_secs(4),
    rest: REST,
};

const QUICK: Sizes = Sizes {
    viewers: &[20, 60],
    quic: &[10, 30],
    second_room: 30,
    dormant: 200,
    shards: 3,
    promise: 60,
    traffic: Duration::from_millis(500),
    rest: Duration::from_millis(200),
};

/// Runs it.
///
/// # Errors
/// Somebody was not served, also when the kernel ended the node because it did not fit its 200 MB.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let sizes = if plan.quick { QUICK } else { FULL };
    let core = plan.take_cores()?;
    let mut rows = Rows::new();
    let all = [Transport::Ws, Transport::Wss, Transport::Quic];
    for transport in plan.choose(&plan.transport, &all, &all) {
        let counts = if transport == Transport::Quic { sizes.quic } else { sizes.viewers };
        let first = rows.len();
        for &count in counts {
            rows.push(noted(viewers(core, transport, count, &sizes)?));
        }
        let slope = slope(&rows[first], rows.last().expect("just pushed"));
        rows.push(noted(slope));
    }
    rows.push(noted(second_room(core, &sizes)?));
    rows.push(noted(dormant_rooms(core, &sizes)?));
    rows.push(noted(empty_shards(core, &sizes)?));
    rows.push(noted(promise(core, &sizes)?));
    Ok(rows)
}

/// So many viewers who say nothing; then after they were talked to for a while.
fn viewers(core: Option<usize>, transport: Transport, count: usize, sizes: &Sizes) -> Result<Row> {
    let mut house = House::open(&plan(core))?;
    let mut listener = Listener::new(1);
    let before = house.held()?;
    let all = house.invite(transport, count, &["hall"]);
    house.guests.all_come(all, 64, PATIENCE, &mut listener)?;
    house.guests.rest(sizes.rest, &mut listener)?;
    let idle = house.held()?;
    talk(&mut house, &mut listener, count, sizes.traffic)?;
    house.guests.rest(sizes.rest, &mut listener)?;
    let after = house.held()?;
    let row = Row::new().with("what", "idle viewer").with("transport", transport.name()).with("count", count);
    let row = each(row, "", before, idle, count).with("user_bytes_all", idle.user - before.user);
    Ok(each(row, "_after_traffic", before, after, count).with("group_bytes", idle.group))
}

/// The cost of one more viewer: between two audiences.
fn slope(small: &Row, large: &Row) -> Row {
    let count = large.number("count") - small.number("count");
    let mut row = Row::new()
        .with("what", "one more viewer (slope)")
        .with("transport", large.get("transport").cloned().unwrap_or_default())
        .with("count", count);
    for name in ["user", "kernel", "caches_both_ends"] {
        for when in ["", "_after_traffic"] {
            let name = format!("{name}_bytes{when}");
            let sum = |row: &Row| row.number(&name) * row.number("count");
            row.set(&name, rounded((sum(large) - sum(small)) / count, 0));
        }
    }
    row
}

/// Messages of 100 bytes, 20 a second; everybody has to hear all of them.
fn talk(house: &mut House, listener: &mut Listener, count: usize, time: Duration) -> Result<u64> {
    listener.reset();
    let mut talk = Talk::new(vec![(0, 0)], 20.0, 100);
    let sent = talk.speak_for(time, &mut house.guests, listener)?;
    let deadline = Instant::now() + PATIENCE;
    while !is_served(listener, count, sent) {
        let least = listener.heard.iter().min();
        ensure!(
            Instant::now() < deadline,
            "somebody heard only {least:?} of {sent}: {:?}",
            house.guests.counts()
        );
        house.guests.turn(Duration::from_millis(5), listener)?;
    }
    let counts = house.guests.counts();
    ensure!(counts.cut == 0 && counts.gaps == 0, "viewers were cut or missed something: {counts:?}");
    Ok(sent)
}

fn is_served(listener: &Listener, count: usize, sent: u64) -> bool {
    listener.published == sent
        && listener.heard.len() == count
        && listener.heard.iter().all(|&heard| heard == sent)
}

/// What each of `count` costs, by the difference of two looks.
fn each(mut row: Row, when: &str, before: Held, after: Held, count: usize) -> Row {
    let share = |after: u64, before: u64| rounded((after as f64 - before as f64) / count as f64, 0);
    row.set(&format!("user_bytes{when}"), share(after.user, before.user));
    row.set(&format!("kernel_bytes{when}"), share(after.kernel, before.kernel));
    row.set(&format!("caches_both_ends_bytes{when}"), share(after.caches, before.caches));
    row
}

/// A second room for each of so many sessions.
fn second_room(core: Option<usize>, sizes: &Sizes) -> Result<Row> {
    let held = |rooms: &[&str]| -> Result<(Held, Held)> {
        let mut house = House::open(&plan(core))?;
        let before = house.held()?;
        let all = house.invite(Transport::Ws, sizes.second_room, rooms);
        house.guests.all_come(all, 64, PATIENCE, &mut ())?;
        house.guests.rest(sizes.rest, &mut ())?;
        Ok((before, house.held()?))
    };
    let (one, two) = (held(&["one"])?, held(&["one", "two"])?);
    let count = sizes.second_room as f64;
    let more = |of: fn(&Held) -> u64| {
        let grown = |(before, after): &(Held, Held)| of(after) as f64 - of(before) as f64;
        rounded((grown(&two) - grown(&one)) / count, 0)
    };
    Ok(Row::new()
        .with("what", "member of a second room")
        .with("transport", "ws")
        .with("count", sizes.second_room)
        .with("user_bytes", more(|held| held.user))
        .with("kernel_bytes", more(|held| held.kernel)))
}

/// Rooms that were made and that nobody has joined.
fn dormant_rooms(core: Option<usize>, sizes: &Sizes) -> Result<Row> {
    let house = House::open(&plan(core))?;
    // The first answers cost the admin port buffers that stay.
    create_rooms(house.node.admin, (0..10).map(|n| format!("warm-up-{n}")))?;
    let before = house.held()?;
    create_rooms(house.node.admin, (0..sizes.dormant).map(|n| format!("scheduled-show-{n:06}")))?;
    std::thread::sleep(sizes.rest);
    let row = Row::new().with("what", "dormant room").with("count", sizes.dormant);
    Ok(each(row, "", before, house.held()?, sizes.dormant))
}

/// Shards without rooms: a node with one against a node with more.
fn empty_shards(core: Option<usize>, sizes: &Sizes) -> Result<Row> {
    let held = |shards: u64| -> Result<Held> {
        let house = House::open(&plan(core).key("node.shards", shards))?;
        std::thread::sleep(sizes.rest);
        house.held()
    };
    let (one, more) = (held(1)?, held(1 + sizes.shards)?);
    let row = Row::new().with("what", "empty shard").with("count", sizes.shards);
    Ok(each(row, "", one, more, sizes.shards as usize))
}

/// The promise of the file's head.
fn promise(core: Option<usize>, sizes: &Sizes) -> Result<Row> {
    let plan: NodePlan = plan(core);
    let mut house = House::open_within(&plan, Some(PROMISE_BYTES))?;
    let row = Row::new().with("what", "within 200 MB, node and all").with("transport", "ws");
    let row = row.with("count", sizes.promise);
    if house.group.is_none() {
        return Ok(row.with("note", "no memory control groups (version 1) on this machine: not measured"));
    }
    let mut listener = Listener::new(1);
    let all = house.invite(Transport::Ws, sizes.promise, &["hall"]);
    house.guests.all_come(all, 64, PATIENCE, &mut listener)?;
    let sent = talk(&mut house, &mut listener, sizes.promise, sizes.traffic)?;
    let group = house.group.as_ref().context("looked at above")?;
    let (charged, buffers) = (group.charged()?, group.socket_buffers_max()?);
    // Socket buffers are charged apart from the rest; their highest moments need not be the same.
    let most = charged.all_max + buffers;
    Ok(row
        .with("is_kept", most <= PROMISE_BYTES)
        .with("group_bytes", charged.all)
        .with("group_bytes_max", charged.all_max)
        .with("socket_buffers_bytes_max", buffers)
        .with("kernel_bytes_all", charged.kernel)
        .with("user_bytes_all", charged.anonymous)
        .with("limit_hits", charged.limit_hits)
        .with("messages_heard_by_each", sent))
}
