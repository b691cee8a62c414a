//! `storm`: a bench of a reconnect storm: the connections of all clients are cut at once, and the clients
//! reconnect, beside viewers who stayed.
//!
//! Method: a paced room with steady chat, on a node of its own core. *Viewers who stay* are lean clients in a
//! process of their own; *clients that are cut* are lean clients in a thread of lower priority, so that their
//! handshakes do not add to the latency of the others. They are cut twice: to reconnect in one burst, and
//! evenly over five seconds. A client that is refused returns at the given time, with up to a second of
//! jitter, as the real client does. It is back when its session and its subscription are resumed and it has
//! every message up to the room's head at that time. In the end every client must account for every offset
//! since its first join: a message, an omission or a named gap, once and in order.
//! A case fails when a client is not back, not resumed, not complete, or lost its connection a second time.
//! At full size it also fails when the last client is back too late, or the latency of viewers who stayed
//! rises above a limit ([`LAST_BACK`], [`STAYED_P99_MAX`]).
//! Not here: joins of new connections (`joins`), the backoff of the real client (its tests, `gs load`).

use crate::joins::Way;
use anyhow::{Context as _, Result, ensure};
use grandstand_benches::cpu::Meter;
use grandstand_benches::fixture::{self, PATIENCE};
use grandstand_benches::lean_clients::{ClientsPlan, Joined, LeanClients, Reading, Settled, Transport};
use grandstand_benches::plan::Plan;
use grandstand_benches::publisher::{Publisher, Said, Script};
use grandstand_benches::record::{Row, Rows, ms, noted, ratio, rounded};
use grandstand_benches::viewers::Viewers;
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::node::Node;
use serde_json::json;
use std::time::{Duration, Instant};

const ROOM: &str = "hall";

/// First joins under way at a time.
const IN_FLIGHT: usize = 128;

/// Of the thread of the clients that are cut: below the viewers who stay, and the publisher.
const NICENESS: i32 = 10;

/// How long clients may take to have everything, once the publisher has stopped.
const SETTLE: Duration = Duration::from_secs(30);

/// Published and shown messages per second: pacing leaves out half.
const SAID_PER_S: f64 = 40.0;
const SHOWN_PER_S: u64 = 20;

/// From the cut until the last is back, when all want to be within five seconds: as long again, since one
/// core has to.
const LAST_BACK: Duration = Duration::from_secs(15);

/// The p99 of viewers who stayed during a storm, against the one before it.
const STAYED_P99_MAX: f64 = 1.5;

/// Sizes of a run.
struct Sizes {
    core: Option<usize>,
    cut: usize,
    stay: usize,
    within: Duration,
    /// Length of the chat before and after each storm.
    calm: Duration,
}

/// Runs it. It fails when the node or a client failed before any storm; what falls short is the fault of its
/// row. `--viewers CUT,STAY` takes the place of the usual sizes.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let core = plan.cores()?.server;
    let (cut, stay) = plan.size((10_000, 2_000), (150, 30));
    let sizes = Sizes {
        core,
        cut: plan.viewers.first().copied().unwrap_or(cut),
        stay: plan.viewers.get(1).copied().unwrap_or(stay),
        within: Duration::from_millis(plan.size(5_000, 500)),
        calm: Duration::from_millis(plan.size(5_000, 500)),
    };
    let mut rows = Rows::new();
    for way in Way::all(plan) {
        // In a thread of its own, since a lower priority cannot be raised again.
        let storms = || storms(plan, way, &sizes);
        let storms = std::thread::scope(|scope| scope.spawn(storms).join().expect("benches do not panic"));
        rows.extend(storms?.into_iter().map(noted));
    }
    Ok(rows)
}

/// A node, with all clients of one way.
struct Audience {
    node: Node,
    stayed: Viewers,
    cut: LeanClients,
    publisher: Publisher,
}

impl Audience {
    fn open(plan: &Plan, way: Way, sizes: &Sizes) -> Result<Audience> {
        let node = fixture::plan(sizes.core)?.key("rooms.pacing_per_s", SHOWN_PER_S).key("rooms.tick_ms", 0);
        let node = Node::start(&plan.add_keys(node))?;
        let to = |transport: Transport| -> Result<ClientsPlan> {
            Ok(ClientsPlan::new(transport, node.address(transport.scheme())?, vec![ROOM.into()]))
        };
        let mut stayed = Viewers::start(&to(way.transport)?, None)?;
        stayed.come(sizes.stay)?;
        let publisher =
            Publisher::connect(&to(Transport::Ws)?, |_| None, None, Script::even(SAID_PER_S, 128))?;
        rustix::process::setpriority_process(None, NICENESS).context("no lower priority")?;
        let clients = ClientsPlan { resume_tls: way.resumes, resumes: true, ..to(way.transport)? };
        let mut cut = LeanClients::new(clients, |_| None)?;
        let all = cut.add_viewers(sizes.cut);
        cut.come(all, IN_FLIGHT, PATIENCE).context("the first coming")?;
        cut.mark();
        publisher.begin(monotonic_ns() + 10_000_000);
        Ok(Audience { node, stayed, cut, publisher })
    }

    /// The readings of viewers who stayed while something happens.
    fn watch<T>(&mut self, happens: impl FnOnce(&mut LeanClients) -> Result<T>) -> Result<(T, Reading)> {
        self.stayed.mark()?;
        let outcome = happens(&mut self.cut)?;
        Ok((outcome, self.stayed.read()?))
    }

    fn rest(&mut self, time: Duration) -> Result<Reading> {
        Ok(self.watch(|cut| cut.rest(time))?.1)
    }

    fn refused(&self) -> Result<f64> {
        self.node.metric("grandstand_connections_refused_total")
    }
}

/// Clients that were cut, until all are back: how they returned, and how many resumed.
fn return_all(cut: &mut LeanClients, within: Duration) -> Result<(Joined, u64)> {
    let (before, deadline) = (cut.read().resumed, Instant::now() + PATIENCE);
    cut.begin_returning(0..cut.len(), within);
    loop {
        cut.turn(Duration::from_millis(1))?;
        if let Some(joined) = cut.end_coming() {
            return Ok((joined, cut.read().resumed - before));
        }
        ensure!(Instant::now() < deadline, "not all are back after {PATIENCE:?}: {:?}", cut.read());
    }
}

/// Where the clients stand once all have had the chance to reach the head.
fn settle(cut: &mut LeanClients, head: u64) -> Result<(Settled, Reading)> {
    let deadline = Instant::now() + SETTLE;
    cut.context().heads[0] = head;
    while cut.standing().behind > 0 && Instant::now() < deadline {
        cut.turn(Duration::from_millis(1))?;
    }
    Ok((cut.standing(), cut.read()))
}

/// One storm, with the readings around it.
struct Storm {
    what: &'static str,
    returned: Joined,
    resumed: u64,
    /// Before, during and after.
    stayed: [Reading; 3],
    refused: f64,
    node_cpu_ns: u64,
}

fn storms(plan: &Plan, way: Way, sizes: &Sizes) -> Result<Rows> {
    let mut audience = Audience::open(plan, way, sizes)?;
    audience.rest(sizes.calm / 2)?;
    let mut storms = Vec::new();
    for (what, within) in [("burst", Duration::ZERO), ("spread", sizes.within)] {
        storms.push(storm(&mut audience, what, within, sizes)?);
    }
    let Audience { node, mut stayed, mut cut, publisher } = audience;
    let said = publisher.stop();
    ensure!(said.fault.is_none(), "the publisher: {said:?}");
    let accounts = settle(&mut cut, said.head)?;
    let lacking = stayed.settle(said.head, SETTLE)?.lacking;
    let resumed_tls = node.metric("grandstand_handshakes_resumed_total")?;
    let rows = storms.iter().map(|storm| {
        let mut row = row(way, sizes, storm, &accounts, &said);
        row.set("stayed_lacking", lacking);
        row.set("tls_resumed", resumed_tls);
        let short = short_of(plan.quick, sizes, storm, &accounts, lacking);
        let name = || format!("{} {} {}", way.transport.name(), way.tls(), storm.what);
        if short.is_empty() { row } else { row.failed(format!("{}: {}", name(), short.join(", "))) }
    });
    Ok(rows.collect())
}

fn storm(audience: &mut Audience, what: &'static str, within: Duration, sizes: &Sizes) -> Result<Storm> {
    let before = audience.rest(sizes.calm)?;
    let (refused, meter) = (audience.refused()?, Meter::start(audience.node.pid())?);
    let ((returned, resumed), during) = audience.watch(|cut| {
        let began = Instant::now();
        let returned = return_all(cut, within)?;
        // However soon they are all back: long enough for viewers who stayed to hear something.
        cut.rest((sizes.calm / 5).saturating_sub(began.elapsed()))?;
        Ok(returned)
    })?;
    let (node_cpu_ns, refused) = (meter.spent()?.total_ns(), audience.refused()? - refused);
    let after = audience.rest(sizes.calm)?;
    ensure!(after.deliveries > 0, "nobody heard anything after the storm");
    Ok(Storm { what, returned, resumed, stayed: [before, during, after], refused, node_cpu_ns })
}

/// Where the clients that were cut stand in the end, and what they saw.
type Accounts = (Settled, Reading);

fn row(way: Way, sizes: &Sizes, storm: &Storm, (settled, seen): &Accounts, said: &Said) -> Row {
    let returned = &storm.returned;
    let mut row = way.row(storm.what);
    row.ask("cut", json!(sizes.cut));
    row.ask("stayed", json!(sizes.stay));
    let mut row = row
        .with("back", returned.joined)
        .with("resumed", storm.resumed)
        .with("complete", sizes.cut as u64 - settled.behind)
        .with("last_back_s", rounded(returned.took_us as f64 / 1e6, 2))
        .with("return_p50_ms", ms(returned.join.p50_us))
        .with("return_p99_ms", ms(returned.join.p99_us))
        .with("refused", storm.refused)
        .with("told_to_retry", returned.told_to_retry)
        .with("cut_early", returned.cut_early)
        .with("node_cpu_s", rounded(storm.node_cpu_ns as f64 / 1e9, 2));
    for (name, reading) in ["before", "during", "after"].iter().zip(&storm.stayed) {
        row.set(&format!("stayed_p50_{name}_ms"), ms(reading.latency.p50_us));
        row.set(&format!("stayed_p99_{name}_ms"), ms(reading.latency.p99_us));
        row.set(&format!("stayed_max_{name}_ms"), ms(reading.latency.max_us));
    }
    row.with("stayed_p99_ratio", stayed_ratio(storm).map(|ratio| rounded(ratio, 2)))
        .with("stayed_faults", storm.stayed.iter().map(Reading::faults).sum::<u64>())
        .with("lost", seen.lost)
        .with("duplicated", seen.duplicated)
        .with("gaps", seen.gaps)
        .with("omitted_share", ratio(seen.omitted as f64, (seen.omitted + seen.deliveries) as f64))
        .with("said", said.sent)
        .with("generator_core_share", rounded(storm.stayed[1].core_share(), 2))
}

/// The p99 of viewers who stayed, during against before.
fn stayed_ratio(storm: &Storm) -> Option<f64> {
    let [before, during, _] = &storm.stayed;
    let heard = before.latency.count > 0 && during.latency.count > 0;
    heard.then(|| during.latency.p99_us as f64 / before.latency.p99_us.max(1) as f64)
}

/// The shortfalls, in words.
fn short_of(
    is_quick: bool,
    sizes: &Sizes,
    storm: &Storm,
    (settled, seen): &Accounts,
    lacking: u64,
) -> Vec<String> {
    let (returned, of) = (&storm.returned, sizes.cut as u64);
    let met = returned.first_failure.as_deref().unwrap_or("nothing");
    let fault = seen.first_fault.as_deref().unwrap_or("no fault");
    let faults: u64 = storm.stayed.iter().map(Reading::faults).sum();
    let (last, ratio) = (Duration::from_micros(returned.took_us), stayed_ratio(storm).unwrap_or(0.0));
    [
        (returned.joined < of, format!("{} of {of} back (the first met: {met})", returned.joined)),
        (storm.resumed < of, format!("{} of {of} resumed", storm.resumed)),
        (settled.behind > 0, format!("{} of {of} lack {} messages", settled.behind, settled.lacking)),
        (seen.faults() > 0, format!("{} faults of those that were cut ({fault})", seen.faults())),
        (faults + lacking > 0, format!("{faults} faults of viewers who stayed, who lack {lacking}")),
        (!is_quick && last > LAST_BACK, format!("the last was back after {:.1} s", last.as_secs_f64())),
        (
            !is_quick && ratio > STAYED_P99_MAX,
            format!("the p99 of viewers who stayed was {ratio:.2} times the usual"),
        ),
    ]
    .into_iter()
    .filter_map(|(is_short, text)| is_short.then_some(text))
    .collect()
}
