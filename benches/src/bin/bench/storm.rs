//! `storm`: a bench of a reconnect storm: the connections of all clients are cut at once, and the clients
//! reconnect, beside viewers who stayed.
//!
//! Method: a paced room with steady chat, on a node of its own core. *Viewers who stay* are lean clients in a
//! process of their own; *clients that are cut* are sessions of the real client, with its backoff, in a
//! thread of lower priority. They are cut twice: to reconnect in one burst, and evenly over five seconds. A
//! client is back when its session and its subscription are resumed and it has every message up to the room's
//! head at that time. In the end every client must account for every offset since its first join: a message,
//! an omission or a named gap, once and in order.
//! A case fails when a client is not back, not resumed, not complete, or lost its connection a second time.
//! At full size it also fails when the last client is back too late, or the latency of viewers who stayed
//! rises above a limit ([`LAST_BACK`], [`STAYED_P99_MAX`]).
//! Not here: joins of new connections (`joins`).

use crate::joins::Way;
use anyhow::{Context as _, Result, ensure};
use grandstand_benches::cpu::Meter;
use grandstand_benches::fixture::{self, PATIENCE};
use grandstand_benches::lean_clients::{ClientsPlan, Reading, Transport};
use grandstand_benches::plan::Plan;
use grandstand_benches::publisher::{Publisher, Said, Script};
use grandstand_benches::reconnecting_clients::{Accounts, ReconnectingClients, ReconnectingPlan, Returned};
use grandstand_benches::record::{Row, Rows, ms, noted, ratio, rounded};
use grandstand_benches::viewers::Viewers;
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::node::Node;
use serde_json::json;
use std::time::{Duration, Instant};

const ROOM: &str = "hall";

/// What is said and what of it is shown, per second: half is left out.
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
    /// Of talking, before and after each storm.
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
        rows.extend(storms(plan, way, &sizes)?.into_iter().map(noted));
    }
    Ok(rows)
}

/// Everybody of one way, in one node.
struct Audience {
    node: Node,
    stayed: Viewers,
    cut: ReconnectingClients,
    publisher: Publisher,
}

impl Audience {
    fn open(plan: &Plan, way: Way, sizes: &Sizes) -> Result<Audience> {
        let node = fixture::plan(sizes.core)?.key("rooms.pacing_per_s", SHOWN_PER_S).key("rooms.tick_ms", 0);
        let node = Node::start(&plan.add_keys(node))?;
        let to = |transport: Transport| -> Result<ClientsPlan> {
            Ok(ClientsPlan::new(transport, node.address(transport.scheme())?, vec![ROOM.into()]))
        };
        let clients = to(way.transport)?;
        let mut stayed = Viewers::start(&clients, None)?;
        stayed.come(sizes.stay)?;
        let path = if way.transport == Transport::Quic { "" } else { "/v1" };
        let url = format!("{}{}{path}", way.transport.scheme(), clients.address);
        let (room, count, resume_tls) = (ROOM.into(), sizes.cut, way.resumes);
        let cut = ReconnectingPlan { url, room, count, resume_tls };
        let cut = ReconnectingClients::come(cut, PATIENCE).context("the first coming")?;
        let script = Script::even(SAID_PER_S, 128);
        let publisher = Publisher::connect(&to(Transport::Ws)?, |_| None, None, script)?;
        publisher.begin(monotonic_ns() + 10_000_000);
        Ok(Audience { node, stayed, cut, publisher })
    }

    /// What viewers who stayed see while something happens.
    fn watch<T>(
        &mut self,
        happens: impl FnOnce(&mut ReconnectingClients) -> Result<T>,
    ) -> Result<(T, Reading)> {
        self.stayed.mark()?;
        let outcome = happens(&mut self.cut)?;
        Ok((outcome, self.stayed.read()?))
    }

    fn rest(&mut self, time: Duration) -> Result<Reading> {
        let ((), reading) = self.watch(|_| {
            std::thread::sleep(time);
            Ok(())
        })?;
        Ok(reading)
    }

    fn refused(&self) -> Result<f64> {
        self.node.metric("grandstand_connections_refused_total")
    }
}

/// One storm, and what was around it.
struct Storm {
    what: &'static str,
    returned: Returned,
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
    let lacking = stayed.settle(said.head, Duration::from_secs(30))?.lacking;
    let accounts = cut.settle(said.head, Duration::from_secs(30))?;
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
    let (returned, during) = audience.watch(|cut| {
        let began = Instant::now();
        let returned = cut.cut(within, PATIENCE)?;
        // However soon they are all back: long enough for viewers who stayed to hear something.
        std::thread::sleep((sizes.calm / 5).saturating_sub(began.elapsed()));
        Ok(returned)
    })?;
    let (node_cpu_ns, refused) = (meter.spent()?.total_ns(), audience.refused()? - refused);
    let after = audience.rest(sizes.calm)?;
    ensure!(after.deliveries > 0, "nobody heard anything after the storm");
    Ok(Storm { what, returned, stayed: [before, during, after], refused, node_cpu_ns })
}

fn row(way: Way, sizes: &Sizes, storm: &Storm, accounts: &Accounts, said: &Said) -> Row {
    let returned = &storm.returned;
    let mut row = way.row(storm.what);
    row.ask("cut", json!(sizes.cut));
    row.ask("stayed", json!(sizes.stay));
    let mut row = row
        .with("back", returned.back)
        .with("resumed", returned.resumed)
        .with("complete", accounts.complete)
        .with("last_back_s", rounded(returned.last_back.as_secs_f64(), 2))
        .with("return_p50_ms", ms(returned.took.p50_us))
        .with("return_p99_ms", ms(returned.took.p99_us))
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
        .with("lost", accounts.lost)
        .with("duplicated", accounts.duplicated)
        .with("gap_messages", accounts.gap_messages)
        .with("omitted_share", ratio(accounts.omitted as f64, (accounts.omitted + accounts.messages) as f64))
        .with("said", said.sent)
        .with("generator_core_share", rounded(storm.stayed[1].core_share(), 2))
}

/// The p99 of viewers who stayed, during against before.
fn stayed_ratio(storm: &Storm) -> Option<f64> {
    let [before, during, _] = &storm.stayed;
    let heard = before.latency.count > 0 && during.latency.count > 0;
    heard.then(|| during.latency.p99_us as f64 / before.latency.p99_us.max(1) as f64)
}

/// What falls short, in words.
fn short_of(is_quick: bool, sizes: &Sizes, storm: &Storm, accounts: &Accounts, lacking: u64) -> Vec<String> {
    let (returned, of) = (&storm.returned, sizes.cut);
    let met = returned.first_end.as_deref().unwrap_or("nothing");
    let fault = accounts.first_fault.as_deref().unwrap_or("no fault");
    let faults: u64 = storm.stayed.iter().map(Reading::faults).sum();
    let (last, ratio) = (returned.last_back, stayed_ratio(storm).unwrap_or(0.0));
    [
        (returned.back < of, format!("{} of {of} back (the first met: {met})", returned.back)),
        (returned.resumed < of, format!("{} of {of} resumed", returned.resumed)),
        (accounts.complete < of, format!("{} of {of} complete ({fault})", accounts.complete)),
        (accounts.ended > 0, format!("{} lost their connection again ({fault})", accounts.ended)),
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
