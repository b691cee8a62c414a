//! `storm`: everybody's connection is cut at once, and everybody comes back, beside those who stayed.
//!
//! Method: a paced room with steady chat, on a node of its own core. *Those who stay* are lean viewers in a
//! process of their own; *those who are cut* are sessions of the real client, with its backoff, in a thread
//! of lower priority. They are cut twice: to come back in one burst, and evenly over five seconds. A viewer
//! is back when its session and its subscription go on where they were and it has everything up to the room's
//! head at that time. In the end everybody must account for every offset since it first came: a message, an
//! omission or a named gap, once and in order.
//! A case falls short when somebody is not back, not resumed, not complete, or lost its connection a second
//! time; at full size also when the last is back too late, or those who stayed waited longer than they are
//! used to ([`LAST_BACK`], [`STAYED_P99_MAX`]).
//! Not here: joins of newcomers (`joins`).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use grandstand_benches::clock::now_ns;
use grandstand_benches::crowd::{Crowd, CrowdPlan, Reading, Transport};
use grandstand_benches::house;
use grandstand_benches::node::Node;
use grandstand_benches::publisher::{Publisher, Said, Script};
use grandstand_benches::record::{FAULT, Row, Rows, noted, ratio, rounded};
use grandstand_benches::returners::{Accounts, Returned, Returners, ReturnersPlan};

use grandstand_benches::plan::Plan;

const ROOM: &str = "hall";

/// What is said and what of it is shown, per second: half is left out.
const SAID_PER_S: f64 = 40.0;
const SHOWN_PER_S: u64 = 20;

/// From the cut until the last is back, when all want to be within five seconds: as long again, since one
/// core has to.
const LAST_BACK: Duration = Duration::from_secs(15);

/// The p99 of those who stayed during a storm, against the one before it.
const STAYED_P99_MAX: f64 = 1.5;

/// Sizes of a run.
struct Sizes {
    cut: usize,
    stay: usize,
    within: Duration,
    /// Of talking, before and after each storm.
    calm: Duration,
}

const FULL: Sizes =
    Sizes { cut: 10_000, stay: 2_000, within: Duration::from_secs(5), calm: Duration::from_secs(5) };

const QUICK: Sizes =
    Sizes { cut: 150, stay: 30, within: Duration::from_millis(500), calm: Duration::from_millis(500) };

/// A way back in.
#[derive(Clone, Copy)]
struct Way {
    transport: Transport,
    /// With a TLS ticket, over QUIC with an address token as well.
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
/// The node, or somebody who came to it, failed before any storm; what falls short stands in its row.
pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let sizes = sizes(plan);
    let core = plan.take_cores()?;
    let mut rows = Rows::new();
    for way in WAYS.iter().filter(|way| plan.transport.is_empty() || plan.transport.contains(&way.transport))
    {
        rows.extend(storms(plan, core, *way, &sizes)?.into_iter().map(noted));
    }
    Ok(rows)
}

/// `--viewers CUT,STAY` in place of the usual.
fn sizes(plan: &Plan) -> Sizes {
    let mut sizes = if plan.quick { QUICK } else { FULL };
    if let Some(cut) = plan.viewers.first() {
        sizes.cut = *cut;
    }
    if let Some(stay) = plan.viewers.get(1) {
        sizes.stay = *stay;
    }
    sizes
}

/// Everybody of one way, in one node.
struct Hall {
    node: Node,
    stayed: Crowd,
    cut: Returners,
    publisher: Publisher,
}

impl Hall {
    fn open(plan: &Plan, core: Option<usize>, way: Way, sizes: &Sizes) -> Result<Hall> {
        let mut keys = house::plan(core).key("rooms.pacing_per_s", SHOWN_PER_S).key("rooms.tick_ms", 0);
        keys.keys.extend(plan.keys.iter().cloned());
        let node = Node::start(&keys)?;
        let address = node.address(way.transport);
        let mut stayed = Crowd::start(&CrowdPlan::new(way.transport, address, ROOM))?;
        stayed.join_all(sizes.stay)?;
        let path = if way.transport == Transport::Quic { "" } else { "/v1" };
        let url = format!("{}://{address}{path}", way.transport.name());
        let guests = ReturnersPlan { url, room: ROOM.into(), viewers: sizes.cut, resume_tls: way.resumes };
        let cut = Returners::come(guests, house::PATIENCE).context("the first coming")?;
        let publisher = Publisher::connect(node.ws, ROOM, Script::Even { per_s: SAID_PER_S, size: 128 })?;
        publisher.begin(now_ns() + 10_000_000);
        Ok(Hall { node, stayed, cut, publisher })
    }

    /// What those who stayed see while something happens.
    fn watch<T>(&mut self, happens: impl FnOnce(&mut Returners) -> Result<T>) -> Result<(T, Reading)> {
        self.stayed.mark()?;
        let outcome = happens(&mut self.cut)?;
        Ok((outcome, self.stayed.read()?))
    }

    fn rest(&mut self, time: Duration) -> Result<Reading> {
        self.watch(|_| {
            std::thread::sleep(time);
            Ok(())
        })
        .map(|(_, reading)| reading)
    }
}

/// One storm, and what was around it.
struct Storm {
    what: &'static str,
    returned: Returned,
    stayed: [Reading; 3],
    refused: f64,
    node_cpu_ns: u64,
}

fn storms(plan: &Plan, core: Option<usize>, way: Way, sizes: &Sizes) -> Result<Rows> {
    let mut hall = Hall::open(plan, core, way, sizes)?;
    hall.rest(sizes.calm / 2)?;
    let mut storms = Vec::new();
    for (what, within) in [("burst", Duration::ZERO), ("spread", sizes.within)] {
        storms.push(storm(&mut hall, what, within, sizes)?);
    }
    let Hall { node, mut stayed, mut cut, publisher } = hall;
    let said = publisher.stop()?;
    let settled = stayed.settle(vec![(0, said.head)], 30_000)?;
    let accounts = cut.settle(said.head, Duration::from_secs(30))?;
    let resumed_tls = node.metric("grandstand_handshakes_resumed_total")?;
    drop(node);
    let rows = storms.iter().map(|storm| {
        let mut row = row(way, sizes, storm, &accounts, &said);
        row.set("stayed_lacking", settled.lacking);
        row.set("tls_resumed", resumed_tls);
        let short = short_of(plan.quick, sizes, storm, &accounts, settled.lacking);
        if !short.is_empty() {
            row.set(FAULT, format!("{} {} {}: {short}", way.transport.name(), tls_of(way), storm.what));
        }
        row
    });
    Ok(rows.collect())
}

fn storm(hall: &mut Hall, what: &'static str, within: Duration, sizes: &Sizes) -> Result<Storm> {
    let before = hall.rest(sizes.calm)?;
    let refused = hall.node.metric("grandstand_connections_refused_total")?;
    let meter = hall.node.meter()?;
    let (returned, during) = hall.watch(|cut| {
        let began = Instant::now();
        let returned = cut.cut(within, house::PATIENCE)?;
        // However soon they are all back: long enough for those who stayed to hear something.
        std::thread::sleep((sizes.calm / 5).saturating_sub(began.elapsed()));
        Ok(returned)
    })?;
    let node_cpu_ns = meter.spent()?.total_ns();
    let refused = hall.node.metric("grandstand_connections_refused_total")? - refused;
    let after = hall.rest(sizes.calm)?;
    ensure!(after.deliveries > 0, "nobody heard anything after the storm");
    Ok(Storm { what, returned, stayed: [before, during, after], refused, node_cpu_ns })
}

fn tls_of(way: Way) -> &'static str {
    match way {
        Way { transport: Transport::Ws, .. } => "none",
        Way { resumes: false, .. } => "full",
        Way { resumes: true, .. } => "resumed",
    }
}

fn row(way: Way, sizes: &Sizes, storm: &Storm, accounts: &Accounts, said: &Said) -> Row {
    let ms = |us: u64| rounded(us as f64 / 1_000.0, 1);
    let returned = &storm.returned;
    let mut row = Row::new()
        .with("what", storm.what)
        .with("transport", way.transport.name())
        .with("tls", tls_of(way))
        .with("cut", sizes.cut)
        .with("stayed", sizes.stay)
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
    row.set("stayed_p99_ratio", stayed_ratio(storm).map_or(serde_json::Value::Null, |r| rounded(r, 2)));
    row.with("stayed_faults", storm.stayed.iter().map(Reading::faults).sum::<u64>())
        .with("lost", accounts.lost)
        .with("duplicated", accounts.duplicated)
        .with("gap_messages", accounts.gap_messages)
        .with("omitted_share", ratio(accounts.omitted as f64, (accounts.omitted + accounts.messages) as f64))
        .with("said", said.sent)
        .with("crowd_core_share", rounded(storm.stayed[1].cpu_share(), 2))
}

/// The p99 of those who stayed, during against before.
fn stayed_ratio(storm: &Storm) -> Option<f64> {
    let [before, during, _] = &storm.stayed;
    let heard = before.latency.count > 0 && during.latency.count > 0;
    heard.then(|| during.latency.p99_us as f64 / before.latency.p99_us.max(1) as f64)
}

/// What falls short, in words; empty for nothing.
fn short_of(is_quick: bool, sizes: &Sizes, storm: &Storm, accounts: &Accounts, lacking: u64) -> String {
    let (returned, mut short) = (&storm.returned, String::new());
    let mut say = |is_short: bool, text: String| {
        if is_short {
            // Writing to a string cannot fail.
            let _ = write!(short, "{}{text}", if short.is_empty() { "" } else { ", " });
        }
    };
    let of = sizes.cut;
    let met = returned.first_end.as_deref().unwrap_or("nothing");
    say(returned.back < of, format!("{} of {of} back (the first met: {met})", returned.back));
    say(returned.resumed < of, format!("{} of {of} resumed", returned.resumed));
    let fault = accounts.first_fault.as_deref().unwrap_or("no fault");
    say(accounts.complete < of, format!("{} of {of} complete ({fault})", accounts.complete));
    say(accounts.ended > 0, format!("{} lost their connection again ({fault})", accounts.ended));
    let faults: u64 = storm.stayed.iter().map(Reading::faults).sum();
    say(faults + lacking > 0, format!("{faults} faults of those who stayed, who lack {lacking}"));
    if !is_quick {
        let last = returned.last_back;
        say(last > LAST_BACK, format!("the last was back after {:.1} s", last.as_secs_f64()));
        let ratio = stayed_ratio(storm).unwrap_or(0.0);
        say(ratio > STAYED_P99_MAX, format!("the p99 of those who stayed was {ratio:.2} times the usual"));
    }
    short
}
