//! `memory`: a bench of the memory of an idle viewer, in the program and in the kernel, and of rooms and
//! shards.
//!
//! Method: a fresh node for every figure, in a memory group of its own. Memory is read before the first
//! viewer and two seconds after the last; the difference is divided by the number of viewers. The slope
//! between the smallest and the largest audience excludes the one-time cost of the first viewers.
//! User memory is the node's anonymous resident memory; kernel memory is its group's charge for kernel
//! objects. Slab caches are those of the whole machine and so hold both ends of each connection; they are
//! shown for comparison.
//! The promise: 15,000 viewers over plain WebSocket and the node, everything counted, within 200 MB.
//! Not here: the CPU of an audience that receives messages (`fanout`).

use anyhow::{Context, Result};
use grandstand_benches::fixture::{Fixture, Held, come, plan as node_plan, publish_all};
use grandstand_benches::lean_clients::Transport;
use grandstand_benches::lean_clients::protocol::Role;
use grandstand_benches::plan::Plan;
use grandstand_benches::record::{Row, Rows, noted, rounded};
use serde_json::json;
use std::time::Duration;

/// The bound of the promise: memory of the smallest server that leaves room for a system.
const PROMISE_BYTES: u64 = 200 << 20;

/// Sizes of a run.
struct Sizes {
    core: Option<usize>,
    viewers: &'static [usize],
    /// QUIC's: 15,000 connections' state and their clients' do not fit the time of a run.
    quic: &'static [usize],
    second_room: usize,
    dormant: usize,
    shards: usize,
    traffic: Duration,
    /// Heaps and counters come to rest within this.
    rest: Duration,
}

/// Runs it. It fails when somebody was not served, also when the kernel ended the node because it did not fit
/// its 200 MB.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let core = plan.cores()?.server;
    let full = Sizes {
        core,
        viewers: &[1_000, 5_000, 15_000],
        quic: &[1_000, 5_000],
        second_room: 5_000,
        dormant: 50_000,
        shards: 16,
        traffic: Duration::from_secs(4),
        rest: Duration::from_secs(2),
    };
    let quick = Sizes {
        core,
        viewers: &[20, 60],
        quic: &[10, 30],
        second_room: 30,
        dormant: 200,
        shards: 3,
        traffic: Duration::from_millis(500),
        rest: Duration::from_millis(200),
    };
    let sizes = plan.size(full, quick);
    let mut rows = Rows::new();
    for transport in plan.choose(&plan.transport, &Transport::ALL, &Transport::ALL) {
        let counts = if transport == Transport::Quic { sizes.quic } else { sizes.viewers };
        let first = rows.len();
        for &count in counts {
            rows.push(noted(viewers(&sizes, transport, count)?));
        }
        rows.push(noted(slope(transport, &rows[first], &rows[rows.len() - 1])));
    }
    rows.push(noted(second_room(&sizes)?));
    rows.push(noted(dormant_rooms(&sizes)?));
    rows.push(noted(empty_shards(&sizes)?));
    rows.push(noted(promise(&sizes)?));
    Ok(rows)
}

fn case(what: &str, transport: Option<Transport>, count: usize) -> Row {
    Row::of([("what", json!(what)), ("transport", json!(transport)), ("count", json!(count))])
}

/// This number of silent viewers, before and after they received messages.
fn viewers(sizes: &Sizes, transport: Transport, count: usize) -> Result<Row> {
    let fixture = Fixture::open(&node_plan(sizes.core)?, None)?;
    let before = fixture.held()?;
    let mut clients = fixture.full_room(transport, count)?;
    clients.rest(sizes.rest)?;
    let idle = fixture.held()?;
    // Messages of 100 bytes, 20 a second; every viewer has to get all of them.
    publish_all(&mut clients, vec![(0, 0)], 20.0, 100, sizes.traffic)?;
    clients.rest(sizes.rest)?;
    let row = each(case("idle viewer", Some(transport), count), "", before, idle, count);
    let row = row.with("user_bytes_all", idle.user.saturating_sub(before.user));
    Ok(each(row, "_after_traffic", before, fixture.held()?, count).with("group_bytes", idle.group))
}

/// The cost of one more viewer: between two audiences.
fn slope(transport: Transport, small: &Row, large: &Row) -> Row {
    let count = large.asked("count") - small.asked("count");
    let mut row = case("one more viewer (slope)", Some(transport), count as usize);
    for when in ["", "_after_traffic"] {
        for name in ["user", "kernel", "caches_both_ends"] {
            let name = format!("{name}_bytes{when}");
            let sum = |row: &Row| row.number(&name) * row.asked("count");
            row.set(&name, rounded((sum(large) - sum(small)) / count, 0));
        }
    }
    row
}

/// The cost of each of `count`, from the difference of two readings.
fn each(mut row: Row, when: &str, before: Held, after: Held, count: usize) -> Row {
    for (name, after, before) in [
        ("user", after.user, before.user),
        ("kernel", after.kernel, before.kernel),
        ("caches_both_ends", after.caches, before.caches),
    ] {
        let share = (after as f64 - before as f64) / count as f64;
        row.set(&format!("{name}_bytes{when}"), rounded(share, 0));
    }
    row
}

/// A second room for each session.
fn second_room(sizes: &Sizes) -> Result<Row> {
    let count = sizes.second_room;
    let held = |rooms: usize| -> Result<Held> {
        let fixture = Fixture::open(&node_plan(sizes.core)?, None)?;
        let before = fixture.held()?;
        let mut clients = fixture.clients(Transport::Ws, vec!["one".into(), "two".into()])?;
        for _ in 0..count {
            clients.add(Role::Viewer, 0..rooms);
        }
        come(&mut clients, 0..count)?;
        clients.rest(sizes.rest)?;
        let after = fixture.held()?;
        let grown = |after: u64, before: u64| after.saturating_sub(before);
        Ok(Held { user: grown(after.user, before.user), kernel: grown(after.kernel, before.kernel), ..after })
    };
    let (one, two) = (held(1)?, held(2)?);
    Ok(each(case("member of a second room", Some(Transport::Ws), count), "", one, two, count))
}

/// Rooms that were made and that nobody has joined.
fn dormant_rooms(sizes: &Sizes) -> Result<Row> {
    let fixture = Fixture::open(&node_plan(sizes.core)?, None)?;
    // The first answers cost the admin port buffers that stay.
    fixture.create_rooms((0..10).map(|n| format!("warm-up-{n}")))?;
    let before = fixture.held()?;
    fixture.create_rooms((0..sizes.dormant).map(|n| format!("scheduled-show-{n:06}")))?;
    std::thread::sleep(sizes.rest);
    Ok(each(case("dormant room", None, sizes.dormant), "", before, fixture.held()?, sizes.dormant))
}

/// Shards without rooms: a node with one against a node with more.
fn empty_shards(sizes: &Sizes) -> Result<Row> {
    let held = |shards: usize| -> Result<Held> {
        let fixture = Fixture::open(&node_plan(sizes.core)?.key("node.shards", shards), None)?;
        std::thread::sleep(sizes.rest);
        fixture.held()
    };
    let (one, more) = (held(1)?, held(1 + sizes.shards)?);
    Ok(each(case("empty shard", None, sizes.shards), "", one, more, sizes.shards))
}

/// The promise of the file's head.
fn promise(sizes: &Sizes) -> Result<Row> {
    let count = sizes.viewers[sizes.viewers.len() - 1];
    let fixture = Fixture::open(&node_plan(sizes.core)?, Some(PROMISE_BYTES))?;
    let row = case("within 200 MB, node and all", Some(Transport::Ws), count);
    if fixture.group.is_none() {
        return Ok(row.with("note", "no memory control groups (version 1) on this machine: not measured"));
    }
    let mut clients = fixture.full_room(Transport::Ws, count)?;
    let (sent, _) = publish_all(&mut clients, vec![(0, 0)], 20.0, 100, sizes.traffic)?;
    let group = fixture.group.as_ref().context("looked at above")?;
    let (charged, buffers) = (group.charged()?, group.socket_buffers_max()?);
    Ok(row
        // Socket buffers are charged apart from the rest; their highest moments need not be the same.
        .with("is_kept", charged.all_max + buffers <= PROMISE_BYTES)
        .with("group_bytes", charged.all)
        .with("group_bytes_max", charged.all_max)
        .with("socket_buffers_bytes_max", buffers)
        .with("kernel_bytes_all", charged.kernel)
        .with("user_bytes_all", charged.anonymous)
        .with("limit_hits", charged.limit_hits)
        .with("messages_heard_by_each", sent))
}
