//! `rooms`: fifty thousand that nobody has joined, ten thousand that all talk, and small ones beside a giant.
//!
//! Method: 10,000 rooms of three viewers each are 30,000 members, and a process holds 20,000 files; so each
//! of 10,000 sessions follows three rooms, its own and its two neighbours'. The small rooms beside the giant
//! have their members on sessions of 32 rooms, and on a thread of their own, so that reading for the giant is
//! not taken for their latency. Everybody has to hear everything: a run that lost a message has no figures.
//! Not here: memory of rooms (`memory`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use grandstand_benches::crowd::Transport;
use grandstand_benches::guests::{Guests, Listener, Talk};
use grandstand_benches::histogram::Summary;
use grandstand_benches::house::{House, PATIENCE, plan};
use grandstand_benches::record::{Row, Rows, noted, ratio, rounded};
use grandstand_benches::rooms_admin::create_rooms;

use grandstand_benches::plan::Plan;

/// Rooms of one session: the default bound.
const ROOMS_PER_SESSION: usize = 32;

/// Viewers of a small room.
const SMALL: usize = 3;

/// Sizes of a run.
struct Sizes {
    dormant: usize,
    talking: usize,
    /// Messages per second of all talking rooms together.
    talking_per_s: &'static [f64],
    giant: usize,
    giant_per_s: f64,
    small: usize,
    small_per_s: f64,
    time: Duration,
}

const FULL: Sizes = Sizes {
    dormant: 50_000,
    talking: 10_000,
    talking_per_s: &[1_000.0, 4_000.0],
    giant: 15_000,
    giant_per_s: 20.0,
    small: 5_000,
    small_per_s: 1_000.0,
    time: Duration::from_secs(10),
};

const QUICK: Sizes = Sizes {
    dormant: 300,
    talking: 40,
    talking_per_s: &[80.0],
    giant: 60,
    giant_per_s: 20.0,
    small: 70,
    small_per_s: 100.0,
    time: Duration::from_millis(500),
};

/// Runs it.
///
/// # Errors
/// A room was refused, or a message was lost.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let sizes = if plan.quick { QUICK } else { FULL };
    let core = plan.take_cores()?;
    let mut rows = vec![noted(dormant(core, &sizes)?)];
    for &per_s in sizes.talking_per_s {
        rows.push(noted(talking(core, &sizes, per_s)?));
    }
    let alone = noted(beside(core, &sizes, 0)?);
    let giant = beside(core, &sizes, sizes.giant)?;
    let times = ratio(giant.number("p99_ms"), alone.number("p99_ms"));
    rows.extend([alone, noted(giant.with("p99_beside_alone", times))]);
    Ok(rows)
}

fn dormant(core: Option<usize>, sizes: &Sizes) -> Result<Row> {
    let house = House::open(&plan(core))?;
    create_rooms(house.node.admin, (0..10).map(|n| format!("warm-up-{n}")))?;
    let (held, meter, began) = (house.held()?, house.node.meter()?, Instant::now());
    create_rooms(house.node.admin, (0..sizes.dormant).map(|n| format!("scheduled-show-{n:06}")))?;
    let (took, spent) = (began.elapsed(), meter.spent()?);
    let grown = house.held()?.user as f64 - held.user as f64;
    Ok(Row::new()
        .with("what", "dormant rooms, made one by one by the admin port")
        .with("rooms", sizes.dormant)
        .with("made_per_s", rounded(sizes.dormant as f64 / took.as_secs_f64(), 0))
        .with("server_cpu_us_per_room", rounded(spent.total_ns() as f64 / 1e3 / sizes.dormant as f64, 1))
        .with("user_bytes_per_room", rounded(grown / sizes.dormant as f64, 0)))
}

fn talking(core: Option<usize>, sizes: &Sizes, per_s: f64) -> Result<Row> {
    let mut house = House::open(&plan(core))?;
    let count = sizes.talking;
    let names: Vec<Arc<str>> = (0..count).map(|n| format!("small-{n}").into()).collect();
    for n in 0..count {
        let rooms = (0..SMALL).map(|next| names[(n + next) % count].clone()).collect();
        house.guests.invite(Transport::Ws, rooms);
    }
    let mut listener = Listener::new(1);
    house.guests.all_come(0..count, 64, PATIENCE, &mut listener)?;
    // Everybody speaks in its own room, one after the other.
    let meter = house.node.meter()?;
    let mut talk = Talk::new((0..count).map(|n| (n, 0)).collect(), per_s, 100);
    let sent = talk.speak_for(sizes.time, &mut house.guests, &mut listener)?;
    let spent = meter.spent()?;
    let expected = |n: usize| (0..SMALL).map(|next| talk.sent_by((n + next) % count)).sum();
    settle(&mut house.guests, &mut listener, sent, expected)?;
    let row =
        Row::new().with("what", "rooms that all talk").with("rooms", count).with("members", count * SMALL);
    let row = row.with("connections", count);
    Ok(figures(row, sent, SMALL as u64, sizes.time, &listener.latency[0].summary(), spent.total_ns()))
}

fn figures(row: Row, sent: u64, heard_by: u64, time: Duration, seen: &Summary, cpu_ns: u64) -> Row {
    let ms = |us: u64| rounded(us as f64 / 1000.0, 1);
    row.with("messages_per_s", rounded(sent as f64 / time.as_secs_f64(), 0))
        .with("deliveries_per_s", rounded((sent * heard_by) as f64 / time.as_secs_f64(), 0))
        .with("p50_ms", ms(seen.p50_us))
        .with("p99_ms", ms(seen.p99_us))
        .with("max_ms", ms(seen.max_us))
        .with("server_cpu_share", rounded(cpu_ns as f64 / time.as_nanos() as f64, 3))
}

/// Small rooms that talk, beside a giant of so many viewers or none.
fn beside(core: Option<usize>, sizes: &Sizes, giant: usize) -> Result<Row> {
    let mut house = House::open(&plan(core))?;
    let doors = [Some(house.node.ws), None, None];
    let (begins, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let all = house.invite(Transport::Ws, giant, &["giant"]);
    let mut listener = Listener::new(1);
    house.guests.all_come(all, 64, PATIENCE, &mut listener)?;
    listener.reset();
    let node = &house.node;
    let guests = &mut house.guests;
    std::thread::scope(|scope| -> Result<Row> {
        let small = scope.spawn(|| small_rooms(doors, sizes, &begins, &is_over));
        let mut run = || -> Result<_> {
            while !begins.load(Ordering::Acquire) {
                ensure!(!small.is_finished(), "the small rooms failed");
                guests.turn(Duration::from_millis(5), &mut listener)?;
            }
            let meter = node.meter()?;
            let sent = speak_to_giant(guests, &mut listener, sizes, giant)?;
            Ok((sent, meter.spent()?))
        };
        let outcome = run();
        is_over.store(true, Ordering::Release);
        let (heard, sent_small) = small.join().expect("listening does not panic")?;
        let (sent_giant, spent) = outcome?;
        settle(guests, &mut listener, sent_giant, |_| sent_giant)?;
        let row = Row::new()
            .with("what", if giant > 0 { "small rooms beside a giant" } else { "small rooms alone" })
            .with("rooms", sizes.small)
            .with("members", sizes.small * SMALL)
            .with("giant_viewers", giant);
        let row = figures(row, sent_small, SMALL as u64, sizes.time, &heard, spent.total_ns());
        let giants = listener.latency[0].summary();
        Ok(row
            .with("giant_messages_per_s", rounded(sent_giant as f64 / sizes.time.as_secs_f64(), 0))
            .with("giant_p99_ms", rounded(giants.p99_us as f64 / 1000.0, 1)))
    })
}

fn speak_to_giant(guests: &mut Guests, listener: &mut Listener, sizes: &Sizes, giant: usize) -> Result<u64> {
    if giant == 0 {
        guests.rest(sizes.time, listener)?;
        return Ok(0);
    }
    let mut talk = Talk::new(vec![(0, 0)], sizes.giant_per_s, 100);
    talk.speak_for(sizes.time, guests, listener)
}

/// Small rooms on shared sessions: what was heard in them while the giant was spoken to, and how much was
/// said.
fn small_rooms(
    doors: [Option<std::net::SocketAddr>; 3],
    sizes: &Sizes,
    begins: &AtomicBool,
    is_over: &AtomicBool,
) -> Result<(Summary, u64)> {
    let (mut guests, mut listener) = (Guests::new(doors)?, Listener::new(1));
    let names: Vec<Arc<str>> = (0..sizes.small).map(|n| format!("small-{n}").into()).collect();
    let mut speakers = Vec::new();
    for group in 0..SMALL {
        for rooms in names.chunks(ROOMS_PER_SESSION) {
            let guest = guests.invite(Transport::Ws, rooms.to_vec());
            if group == 0 {
                speakers.extend((0..rooms.len()).map(|room| (guest, room)));
            }
        }
    }
    let all = 0..guests.len();
    guests.all_come(all.clone(), 16, PATIENCE, &mut listener)?;
    listener.reset();
    begins.store(true, Ordering::Release);
    let mut talk = Talk::new(speakers, sizes.small_per_s, 100);
    let mut sent = 0;
    while !is_over.load(Ordering::Acquire) {
        sent = talk.speak(&mut guests);
        guests.turn(Duration::from_millis(1), &mut listener)?;
    }
    let per_group = all.len() / SMALL;
    // Each guest hears its 32 rooms, whose speakers stand together.
    let expected = |guest: usize| {
        let first = guest % per_group * ROOMS_PER_SESSION;
        (first..(first + ROOMS_PER_SESSION).min(sizes.small)).map(|room| talk.sent_by(room)).sum()
    };
    settle(&mut guests, &mut listener, sent, expected)?;
    Ok((listener.latency[0].summary(), sent))
}

/// Until everything was accepted and everybody has heard what it should, no more and no less.
pub(crate) fn settle(
    guests: &mut Guests,
    listener: &mut Listener,
    sent: u64,
    expected: impl Fn(usize) -> u64,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let count = guests.len();
    let wished: Vec<u64> = (0..count).map(expected).collect();
    listener.heard.resize(count, 0);
    listener.tallied.resize(count, 0);
    while listener.published < sent
        || listener.heard.iter().zip(&wished).any(|(heard, wished)| heard < wished)
    {
        let counts = guests.counts();
        ensure!(counts.cut == 0 && counts.gaps == 0 && counts.refused == 0, "something was lost: {counts:?}");
        ensure!(Instant::now() < deadline, "{} of {sent} accepted: {counts:?}", listener.published);
        guests.turn(Duration::from_millis(1), listener)?;
    }
    ensure!(listener.heard == wished, "somebody heard what was not said to it");
    Ok(())
}
