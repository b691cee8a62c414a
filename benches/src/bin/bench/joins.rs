//! `joins`: what it costs the node to let a viewer in, and who suffers when ten thousand come at once.
//!
//! Method: *closed loop*: so many joins are under way at any time; the node's CPU from the first connection
//! to the last `Subscribed`, divided by the joins; nobody leaves meanwhile. *Rush*: everybody connects at
//! once, beside viewers who are there already and are talked to; these sit on a thread of their own, so that
//! the generator's own work on handshakes is not taken for theirs. A guest that is sent away with
//! `Retry-After` comes back when it was told to.
//! Resumed handshakes are counted where the client knows: by rustls, and on QUIC by the certificates that it
//! checked.
//! Not here: what joined viewers cost (`memory`, `fanout`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use grandstand_benches::clock::now_ns;
use grandstand_benches::cpu::{Cpu, Meter};
use grandstand_benches::crowd::Transport;
use grandstand_benches::guests::{Counts, Guests, Listener, Talk};
use grandstand_benches::histogram::Summary;
use grandstand_benches::house::{House, PATIENCE, TICK_MS, plan};
use grandstand_benches::record::{Row, Rows, noted, ratio, rounded};

use grandstand_benches::plan::Plan;

/// Joins under way at a time: enough to keep the node busy, few enough that each is served at once.
const IN_FLIGHT: usize = 64;

/// Messages per second to those who are there already, and to those who come.
const TALK_PER_S: f64 = 20.0;

/// The same over QUIC, whose frames cost three times as much: with more, telling eleven thousand takes the
/// whole core.
const TALK_QUIC_PER_S: f64 = 5.0;

/// Sizes of a run.
struct Sizes {
    plain: usize,
    tls: usize,
    quic: usize,
    /// Those who come at once, over any transport.
    rush: usize,
    /// Those who are there.
    residents: usize,
    /// Of talking, before the rush and after the last is in.
    calm: Duration,
}

const FULL: Sizes = Sizes {
    plain: 10_000,
    tls: 6_000,
    quic: 4_000,
    rush: 10_000,
    residents: 1_000,
    calm: Duration::from_secs(3),
};

const QUICK: Sizes =
    Sizes { plain: 60, tls: 40, quic: 30, rush: 150, residents: 20, calm: Duration::from_millis(300) };

/// A way in.
#[derive(Clone, Copy)]
struct Way {
    transport: Transport,
    /// With a TLS ticket of an earlier connection.
    resumes: bool,
}

const WAYS: [Way; 5] = [
    Way { transport: Transport::Ws, resumes: false },
    Way { transport: Transport::Wss, resumes: false },
    Way { transport: Transport::Wss, resumes: true },
    Way { transport: Transport::Quic, resumes: false },
    Way { transport: Transport::Quic, resumes: true },
];

/// Runs it.
///
/// # Errors
/// Somebody did not get in, or did not resume, or missed something.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let sizes = if plan.quick { QUICK } else { FULL };
    let core = plan.take_cores()?;
    let ways = WAYS.iter().filter(|way| plan.transport.is_empty() || plan.transport.contains(&way.transport));
    let mut rows = Rows::new();
    for &way in ways.clone() {
        rows.push(noted(closed_loop(core, way, &sizes)?));
    }
    for &way in ways {
        rows.push(noted(rush(core, way, &sizes)?));
    }
    Ok(rows)
}

fn closed_loop(core: Option<usize>, way: Way, sizes: &Sizes) -> Result<Row> {
    let mut house = House::open(&plan(core))?;
    let count = match way.transport {
        Transport::Ws => sizes.plain,
        Transport::Wss => sizes.tls,
        Transport::Quic => sizes.quic,
    };
    let all = house.invite(way.transport, count, &["hall"]);
    if way.resumes {
        been_there(&mut house.guests, all.clone())?;
    }
    house.guests.tickets().show(way.resumes);
    let (before, mut listener) = (house.guests.counts().clone(), Listener::new(1));
    let (node, own, began) = (house.node.meter()?, Meter::start(std::process::id())?, Instant::now());
    house.guests.all_come(all, IN_FLIGHT, PATIENCE, &mut listener)?;
    let (took, node, own) = (began.elapsed(), node.spent()?, own.spent()?);
    let after = house.guests.counts();
    check_handshakes(way, count, &before, after)?;
    let row = Row::new().with("what", "closed loop").with("transport", way.transport.name());
    let row = row.with("tls", tls_of(way)).with("joins", count).with("in_flight", IN_FLIGHT);
    let row = row.with("joins_per_s", rounded(count as f64 / took.as_secs_f64(), 0));
    let row = per_join(row, node, own, count);
    Ok(joins(row, &listener.joins.summary())
        .with("told_to_retry", after.told_to_retry - before.told_to_retry))
}

/// Everybody was there once, got a ticket, and was cut.
fn been_there(guests: &mut Guests, all: std::ops::Range<usize>) -> Result<()> {
    guests.tickets().show(false);
    guests.all_come(all.clone(), IN_FLIGHT, PATIENCE, &mut ())?;
    let deadline = Instant::now() + PATIENCE;
    let kept = |guests: &Guests| guests.tickets().kept().0 + guests.tickets().kept().1;
    while kept(guests) < all.len() {
        ensure!(Instant::now() < deadline, "{} tickets for {} guests", kept(guests), all.len());
        guests.turn(Duration::from_millis(5), &mut ())?;
    }
    all.for_each(|n| guests.cut(n));
    // Goodbyes over QUIC go out with the turns; the node forgets.
    guests.rest(Duration::from_millis(500), &mut ())
}

fn check_handshakes(way: Way, count: usize, before: &Counts, after: &Counts) -> Result<()> {
    let full = after.full_handshakes - before.full_handshakes;
    let resumed = after.resumed_handshakes - before.resumed_handshakes;
    let wished = match (way.transport, way.resumes) {
        (Transport::Ws, _) => full == 0 && resumed == 0,
        (_, false) => full >= count as u64 && resumed == 0,
        (_, true) => full == 0 && resumed >= count as u64,
    };
    ensure!(
        wished,
        "{full} full handshakes and {resumed} resumed ones of {count} over {}",
        way.transport.name()
    );
    Ok(())
}

fn tls_of(way: Way) -> &'static str {
    match way {
        Way { transport: Transport::Ws, .. } => "none",
        Way { resumes: false, .. } => "full",
        Way { resumes: true, .. } => "resumed",
    }
}

fn per_join(row: Row, node: Cpu, own: Cpu, count: usize) -> Row {
    let us = |ns: u64| rounded(ns as f64 / 1000.0 / count as f64, 1);
    row.with("server_cpu_us_per_join", us(node.total_ns()))
        .with("of_it_user_us", us(node.user_ns))
        .with("generator_cpu_us_per_join", us(own.total_ns()))
}

fn joins(row: Row, summary: &Summary) -> Row {
    let ms = |us: u64| rounded(us as f64 / 1000.0, 1);
    row.with("join_p50_ms", ms(summary.p50_us))
        .with("join_p99_ms", ms(summary.p99_us))
        .with("join_max_ms", ms(summary.max_us))
}

/// What those heard who were there.
struct Heard {
    before: Summary,
    during: Summary,
}

fn rush(core: Option<usize>, way: Way, sizes: &Sizes) -> Result<Row> {
    let mut house = House::open(&plan(core))?;
    let doors = [Some(house.node.ws), Some(house.node.wss), Some(house.node.quic)];
    let all = house.invite(way.transport, sizes.rush, &["hall"]);
    if way.resumes {
        been_there(&mut house.guests, all.clone())?;
    }
    house.guests.tickets().show(way.resumes);
    let (begins, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut listener = Listener::new(1);
    let before = house.guests.counts().clone();
    let (heard, spent, took) = std::thread::scope(|scope| -> Result<_> {
        let residents = scope.spawn(|| residents(doors, way.transport, sizes, &begins, &is_over));
        let rush = || -> Result<_> {
            while !begins.load(Ordering::Acquire) {
                ensure!(!residents.is_finished(), "those who are there failed");
                std::thread::sleep(Duration::from_millis(1));
            }
            let (meter, began) = (house.node.meter()?, Instant::now());
            let count = all.len();
            house.guests.all_come(all, count, PATIENCE, &mut listener)?;
            Ok((meter.spent()?, began.elapsed()))
        };
        let outcome = rush();
        is_over.store(true, Ordering::Release);
        let heard = residents.join().expect("listening does not panic")?;
        let (spent, took) = outcome?;
        Ok((heard, spent, took))
    })?;
    let counts = house.guests.counts();
    ensure!(counts.cut == 0, "joined guests were cut: {counts:?}");
    let row =
        Row::new().with("what", "rush").with("transport", way.transport.name()).with("tls", tls_of(way));
    let row = row.with("joins", sizes.rush).with("residents", sizes.residents).with("tick_ms", TICK_MS);
    let row = row.with("messages_per_s", talk_per_s(way.transport));
    let row = row.with("all_in_s", rounded(took.as_secs_f64(), 2));
    let row =
        row.with("server_cpu_us_per_join", rounded(spent.total_ns() as f64 / 1e3 / sizes.rush as f64, 1));
    let row = joins(row, &listener.joins.summary())
        .with("told_to_retry", counts.told_to_retry - before.told_to_retry)
        .with("cut_early", counts.cut_early - before.cut_early);
    Ok(residents_of(row, &heard))
}

fn residents_of(row: Row, heard: &Heard) -> Row {
    let ms = |us: u64| rounded(us as f64 / 1000.0, 1);
    row.with("calm_p99_ms", ms(heard.before.p99_us))
        .with("calm_max_ms", ms(heard.before.max_us))
        .with("residents_p99_ms", ms(heard.during.p99_us))
        .with("residents_max_ms", ms(heard.during.max_us))
        .with("residents_max_ticks", ratio(heard.during.max_us as f64 / 1000.0, TICK_MS as f64))
}

/// Those who are there: they hear everything, before and during the rush.
fn residents(
    doors: [Option<std::net::SocketAddr>; 3],
    transport: Transport,
    sizes: &Sizes,
    begins: &AtomicBool,
    is_over: &AtomicBool,
) -> Result<Heard> {
    let (mut guests, mut listener) = (Guests::new(doors)?, Listener::new(1));
    for _ in 0..sizes.residents {
        guests.invite(transport, vec!["hall".into()]);
    }
    let all = 0..guests.len();
    guests.all_come(all, IN_FLIGHT, PATIENCE, &mut listener)?;
    listener.reset();
    let mut talk = Talk::new(vec![(0, 0)], talk_per_s(transport), 100);
    let calm = talk.speak_for(sizes.calm, &mut guests, &mut listener)?;
    settle(&mut guests, &mut listener, calm)?;
    let before = listener.latency[0].summary();
    listener.reset();
    let mut talk = Talk::new(vec![(0, 0)], talk_per_s(transport), 100);
    begins.store(true, Ordering::Release);
    let (began, mut sent) = (now_ns(), 0);
    // At least one message, however short the rush.
    while !is_over.load(Ordering::Acquire) || now_ns() - began < 100_000_000 {
        sent = talk.speak(&mut guests);
        guests.turn(Duration::from_millis(1), &mut listener)?;
    }
    settle(&mut guests, &mut listener, sent)?;
    Ok(Heard { before, during: listener.latency[0].summary() })
}

fn talk_per_s(transport: Transport) -> f64 {
    if transport == Transport::Quic { TALK_QUIC_PER_S } else { TALK_PER_S }
}

/// Until everybody has heard everything.
fn settle(guests: &mut Guests, listener: &mut Listener, sent: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let count = guests.len();
    while listener.heard.len() < count || listener.heard.iter().any(|&heard| heard < sent) {
        let counts = guests.counts();
        ensure!(counts.cut == 0 && counts.gaps == 0, "those who were there lost something: {counts:?}");
        ensure!(Instant::now() < deadline, "those who were there did not hear all {sent} messages");
        guests.turn(Duration::from_millis(1), listener)?;
    }
    ensure!(listener.heard.iter().all(|&heard| heard == sent), "somebody heard more than was said");
    Ok(())
}
