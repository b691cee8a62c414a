//! `rooms`: a bench of fifty thousand rooms without viewers, ten thousand rooms with chat, and small rooms
//! beside a giant.
//!
//! Method: 10,000 rooms of three viewers each are 30,000 members, and a process holds 20,000 files; so each
//! of 10,000 sessions follows three rooms, its own and its two neighbours'. The small rooms beside the giant
//! have their members on sessions of 32 rooms, and on a thread of their own, so that reading the giant's
//! messages does not add to their latency. Every viewer must get every message: a run that lost one has no
//! figures.
//! Not here: memory of rooms (`memory`).

use anyhow::{Result, ensure};
use grandstand_benches::cpu::Meter;
use grandstand_benches::fixture::{
    Fixture, PATIENCE, Publications, Signals, beside as both, come, plan as node_plan,
};
use grandstand_benches::lean_clients::protocol::Role;
use grandstand_benches::lean_clients::{Reading, Transport};
use grandstand_benches::plan::Plan;
use grandstand_benches::record::{Row, Rows, ms, noted, ratio, rounded};
use serde_json::json;
use std::time::{Duration, Instant};

/// Rooms of one session: the default bound.
const ROOMS_PER_SESSION: usize = 32;

/// Viewers of a small room.
const SMALL: usize = 3;

/// Messages per second to the giant.
const GIANT_PER_S: f64 = 20.0;

/// Sizes of a run.
struct Sizes {
    core: Option<usize>,
    dormant: usize,
    talking: usize,
    /// Messages per second of all talking rooms together.
    talking_per_s: &'static [f64],
    giant: usize,
    small: usize,
    small_per_s: f64,
    time: Duration,
}

/// Runs it. It fails when a room was refused, or a message was lost.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let core = plan.cores()?.server;
    let full = Sizes {
        core,
        dormant: 50_000,
        talking: 10_000,
        talking_per_s: &[1_000.0, 4_000.0],
        giant: 15_000,
        small: 5_000,
        small_per_s: 1_000.0,
        time: Duration::from_secs(10),
    };
    let quick = Sizes {
        core,
        dormant: 300,
        talking: 40,
        talking_per_s: &[80.0],
        giant: 60,
        small: 70,
        small_per_s: 100.0,
        time: Duration::from_millis(500),
    };
    let sizes = plan.size(full, quick);
    let mut rows = vec![noted(dormant(&sizes)?)];
    for &per_s in sizes.talking_per_s {
        rows.push(noted(talking(&sizes, per_s)?));
    }
    let alone = noted(beside(&sizes, 0)?);
    let giant = beside(&sizes, sizes.giant)?;
    let times = ratio(giant.number("p99_ms"), alone.number("p99_ms"));
    rows.extend([alone, noted(giant.with("p99_beside_alone", times))]);
    Ok(rows)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("small-{n}")).collect()
}

fn dormant(sizes: &Sizes) -> Result<Row> {
    let fixture = Fixture::open(&node_plan(sizes.core)?, None)?;
    fixture.create_rooms((0..10).map(|n| format!("warm-up-{n}")))?;
    let (held, meter, began) = (fixture.held()?, Meter::start(fixture.node.pid())?, Instant::now());
    fixture.create_rooms((0..sizes.dormant).map(|n| format!("scheduled-show-{n:06}")))?;
    let (took, spent, rooms) = (began.elapsed(), meter.spent()?, sizes.dormant as f64);
    let grown = fixture.held()?.user as f64 - held.user as f64;
    let what = "dormant rooms, made one by one by the admin port";
    Ok(Row::of([("what", json!(what)), ("rooms", json!(sizes.dormant))])
        .with("made_per_s", rounded(rooms / took.as_secs_f64(), 0))
        .with("server_cpu_us_per_room", rounded(spent.total_ns() as f64 / 1e3 / rooms, 1))
        .with("user_bytes_per_room", rounded(grown / rooms, 0)))
}

fn talking(sizes: &Sizes, per_s: f64) -> Result<Row> {
    let fixture = Fixture::open(&node_plan(sizes.core)?, None)?;
    let count = sizes.talking;
    let mut clients = fixture.clients(Transport::Ws, names(count))?;
    for n in 0..count {
        clients.add(Role::Viewer, (0..SMALL).map(|next| (n + next) % count));
    }
    come(&mut clients, 0..count)?;
    clients.mark();
    // Each client publishes in its own room, one after the other.
    let meter = Meter::start(fixture.node.pid())?;
    let mut publications = Publications::new((0..count).map(|n| (n, 0)).collect(), per_s, 100);
    publications.publish_for(sizes.time, &mut clients)?;
    let spent = meter.spent()?;
    let seen = clients.settle(PATIENCE)?;
    let row = Row::of([
        ("what", json!("rooms that all talk")),
        ("rooms", json!(count)),
        ("members", json!(count * SMALL)),
        ("connections", json!(count)),
        ("messages_per_s", json!(per_s)),
    ]);
    figures(row, publications.sent, sizes.time, &seen, spent.total_ns())
}

/// Everything reached each of the small rooms' viewers, no more and no less.
fn figures(row: Row, sent: u64, time: Duration, seen: &Reading, cpu_ns: u64) -> Result<Row> {
    let wanted = sent * SMALL as u64;
    ensure!(seen.deliveries == wanted, "{} deliveries, expected {wanted}", seen.deliveries);
    Ok(row
        .with("said_per_s", rounded(sent as f64 / time.as_secs_f64(), 0))
        .with("deliveries_per_s", rounded(wanted as f64 / time.as_secs_f64(), 0))
        .with("p50_ms", ms(seen.latency.p50_us))
        .with("p99_ms", ms(seen.latency.p99_us))
        .with("max_ms", ms(seen.latency.max_us))
        .with("server_cpu_share", rounded(cpu_ns as f64 / time.as_nanos() as f64, 3)))
}

/// Small rooms with chat, beside a giant with this number of viewers, or none.
fn beside(sizes: &Sizes, giant: usize) -> Result<Row> {
    let fixture = Fixture::open(&node_plan(sizes.core)?, None)?;
    let mut clients = fixture.full_room(Transport::Ws, giant)?;
    let run = || -> Result<_> {
        clients.mark();
        let meter = Meter::start(fixture.node.pid())?;
        let mut publications = Publications::new(vec![(0, 0)], GIANT_PER_S, 100);
        if giant == 0 {
            clients.rest(sizes.time)?;
        } else {
            publications.publish_for(sizes.time, &mut clients)?;
        }
        Ok((publications.sent, meter.spent()?))
    };
    let small = |signals: &Signals| small_rooms(&fixture, sizes, signals);
    let ((heard, sent_small), (sent_giant, spent)) = both(small, run)?;
    let giants = clients.settle(PATIENCE)?;
    let row = Row::of([
        ("what", json!(if giant > 0 { "small rooms beside a giant" } else { "small rooms alone" })),
        ("rooms", json!(sizes.small)),
        ("members", json!(sizes.small * SMALL)),
        ("giant_viewers", json!(giant)),
    ]);
    Ok(figures(row, sent_small, sizes.time, &heard, spent.total_ns())?
        .with("giant_messages_per_s", rounded(sent_giant as f64 / sizes.time.as_secs_f64(), 0))
        .with("giant_p99_ms", ms(giants.latency.p99_us)))
}

/// Small rooms on shared sessions: what was heard in them while the giant was spoken to, and how much was
/// said.
fn small_rooms(fixture: &Fixture, sizes: &Sizes, signals: &Signals) -> Result<(Reading, u64)> {
    let mut clients = fixture.clients(Transport::Ws, names(sizes.small))?;
    let mut publishers = Vec::new();
    for group in 0..SMALL {
        for first in (0..sizes.small).step_by(ROOMS_PER_SESSION) {
            let rooms = first..(first + ROOMS_PER_SESSION).min(sizes.small);
            let client = clients.add(Role::Viewer, rooms.clone());
            if group == 0 {
                publishers.extend((0..rooms.len()).map(|room| (client, room)));
            }
        }
    }
    let all = 0..clients.len();
    clients.come(all, 16, PATIENCE)?;
    clients.mark();
    signals.begin();
    let mut publications = Publications::new(publishers, sizes.small_per_s, 100);
    while !signals.is_over() {
        publications.publish_due(&mut clients);
        clients.turn(Duration::from_millis(1))?;
    }
    Ok((clients.settle(PATIENCE)?, publications.sent))
}
