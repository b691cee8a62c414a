//! `joins`: a bench of joins: the node's cost per join, and the latency of other viewers when ten thousand
//! join at once.
//!
//! Method: *closed loop*: a fixed number of joins is open at any time; the figure is the node's CPU from the
//! first connection to the last `Subscribed`, divided by the joins; no viewer leaves meanwhile. *Rush*: all
//! new viewers connect at once, beside residents, who joined earlier and receive messages. Residents have a
//! thread of their own, so that the generator's work on handshakes does not add to their latency. A client
//! that is refused with `Retry-After` comes back at the given time.
//! The number of full handshakes is that of the certificates that clients checked; a resumed handshake checks
//! none.
//! Not here: the cost of joined viewers (`memory`, `fanout`).

use anyhow::{Result, ensure};
use grandstand_benches::cpu::Meter;
use grandstand_benches::fixture::{
    Fixture, IN_FLIGHT, PATIENCE, Publications, Signals, TICK_MS, beside, come, plan as node_plan,
    publish_all,
};
use grandstand_benches::lean_clients::{ClientsPlan, Joined, LeanClients, Reading, Transport};
use grandstand_benches::plan::Plan;
use grandstand_benches::record::{Row, Rows, ms, noted, ratio, rounded};
use grandstand_harness::clock::monotonic_ns;
use serde_json::json;
use std::time::Duration;

/// Sizes of a run.
struct Sizes {
    core: Option<usize>,
    /// Joins of the closed loop, by transport.
    joins: [usize; 3],
    /// Clients that join at once, over any transport.
    rush: usize,
    residents: usize,
    /// Length of the chat before the rush.
    calm: Duration,
}

/// A transport, and the kind of its handshakes.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) transport: Transport,
    /// With a TLS ticket of an earlier connection.
    pub(crate) resumes: bool,
}

impl Way {
    /// The ways of a plan.
    pub(crate) fn all(plan: &Plan) -> Vec<Way> {
        let transports = plan.choose(&plan.transport, &Transport::ALL, &Transport::ALL);
        let ways =
            transports.iter().flat_map(|&transport| [false, true].map(|resumes| Way { transport, resumes }));
        ways.filter(|way| way.transport != Transport::Ws || !way.resumes).collect()
    }

    pub(crate) fn tls(self) -> &'static str {
        match (self.transport, self.resumes) {
            (Transport::Ws, _) => "none",
            (_, false) => "full",
            (_, true) => "resumed",
        }
    }

    /// A row about it.
    pub(crate) fn row(self, what: &str) -> Row {
        let (transport, tls) = (json!(self.transport), json!(self.tls()));
        Row::of([("what", json!(what)), ("transport", transport), ("tls", tls)])
    }

    /// Messages per second to those who are there, and to those who come. Frames over QUIC cost three times
    /// as much: with more, telling eleven thousand takes the whole core.
    fn talk_per_s(self) -> f64 {
        if self.transport == Transport::Quic { 5.0 } else { 20.0 }
    }
}

/// Runs it. It fails when somebody did not get in, did not resume, or missed something.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let (core, calm) = (plan.cores()?.server, Duration::from_millis(plan.size(3_000, 300)));
    let joins = plan.size([10_000, 6_000, 4_000], [60, 40, 30]);
    let (rush, residents) = plan.size((10_000, 1_000), (150, 20));
    let sizes = Sizes { core, joins, rush, residents, calm };
    let mut rows = Rows::new();
    for way in Way::all(plan) {
        rows.push(noted(closed_loop(&sizes, way)?));
    }
    for way in Way::all(plan) {
        rows.push(noted(self::rush(&sizes, way)?));
    }
    Ok(rows)
}

/// This number of clients. If they resume, they joined once, got a ticket and were cut.
fn clients(fixture: &Fixture, way: Way, count: usize) -> Result<LeanClients> {
    let plan = fixture.clients_plan(way.transport, vec!["hall".into()])?;
    let mut clients = LeanClients::new(ClientsPlan { resume_tls: way.resumes, ..plan }, |_| None)?;
    let all = clients.add_viewers(count);
    if way.resumes {
        come(&mut clients, all.clone())?;
        all.for_each(|n| clients.cut(n));
        // The node forgets the connections.
        clients.rest(Duration::from_millis(500))?;
    }
    Ok(clients)
}

fn closed_loop(sizes: &Sizes, way: Way) -> Result<Row> {
    let fixture = Fixture::open(&node_plan(sizes.core)?, None)?;
    let count = sizes.joins[way.transport as usize];
    let mut clients = clients(&fixture, way, count)?;
    let checked = clients.certificates_checked();
    let (node, own) = (Meter::start(fixture.node.pid())?, Meter::start(std::process::id())?);
    let joined = come(&mut clients, 0..count)?;
    let (node, own) = (node.spent()?, own.spent()?);
    let full = clients.certificates_checked() - checked;
    let wanted = if way.tls() == "full" { full >= count as u64 } else { full == 0 };
    ensure!(wanted, "{full} full TLS handshakes of {count} clients, expected {}", way.tls());
    let us = |ns: u64| rounded(ns as f64 / 1e3 / count as f64, 1);
    let mut row = way.row("closed loop");
    row.ask("joins", json!(count));
    row.ask("in_flight", json!(IN_FLIGHT));
    let row = row
        .with("joins_per_s", rounded(count as f64 / (joined.took_us as f64 / 1e6), 0))
        .with("server_cpu_us_per_join", us(node.total_ns()))
        .with("of_it_user_us", us(node.user_ns))
        .with("generator_cpu_us_per_join", us(own.total_ns()));
    Ok(joins(row, &joined))
}

fn joins(row: Row, joined: &Joined) -> Row {
    row.with("join_p50_ms", ms(joined.join.p50_us))
        .with("join_p99_ms", ms(joined.join.p99_us))
        .with("join_max_ms", ms(joined.join.max_us))
        .with("told_to_retry", joined.told_to_retry)
        .with("cut_early", joined.cut_early)
}

fn rush(sizes: &Sizes, way: Way) -> Result<Row> {
    let fixture = Fixture::open(&node_plan(sizes.core)?, None)?;
    let mut clients = clients(&fixture, way, sizes.rush)?;
    let rush = || -> Result<_> {
        let meter = Meter::start(fixture.node.pid())?;
        let joined = clients.come(0..sizes.rush, sizes.rush, PATIENCE)?;
        Ok((meter.spent()?, joined))
    };
    let residents = |signals: &Signals| residents(&fixture, sizes, way, signals);
    let ((calm, during), (spent, joined)) = beside(residents, rush)?;
    let seen = clients.read();
    ensure!(seen.ended == 0, "clients who had joined were cut: {seen:?}");
    let mut row = way.row("rush");
    row.ask("joins", json!(sizes.rush));
    row.ask("residents", json!(sizes.residents));
    row.ask("tick_ms", json!(TICK_MS));
    row.ask("messages_per_s", json!(way.talk_per_s()));
    let row = row
        .with("all_in_s", rounded(joined.took_us as f64 / 1e6, 2))
        .with("server_cpu_us_per_join", rounded(spent.total_ns() as f64 / 1e3 / sizes.rush as f64, 1));
    Ok(joins(row, &joined)
        .with("calm_p99_ms", ms(calm.latency.p99_us))
        .with("calm_max_ms", ms(calm.latency.max_us))
        .with("residents_p99_ms", ms(during.latency.p99_us))
        .with("residents_max_ms", ms(during.latency.max_us))
        .with("residents_max_ticks", ratio(during.latency.max_us as f64 / 1e3, TICK_MS as f64)))
}

/// The readings of residents before and during the rush: they get every message.
fn residents(fixture: &Fixture, sizes: &Sizes, way: Way, signals: &Signals) -> Result<(Reading, Reading)> {
    let mut clients = fixture.full_room(way.transport, sizes.residents)?;
    let (_, calm) = publish_all(&mut clients, vec![(0, 0)], way.talk_per_s(), 100, sizes.calm)?;
    clients.mark();
    let mut publications = Publications::new(vec![(0, 0)], way.talk_per_s(), 100);
    signals.begin();
    let began_ns = monotonic_ns();
    // At least one message, however short the rush.
    while !signals.is_over() || monotonic_ns() - began_ns < 100_000_000 {
        publications.publish_due(&mut clients);
        clients.turn(Duration::from_millis(1))?;
    }
    Ok((calm, clients.settle(PATIENCE)?))
}
