//! Pacing: what a flood costs in a room that shows people what they can read, beside a room in which only
//! that is said.
//!
//! Method: the same node, crowd and publisher as in `fanout`, first at the rate that the room may show, then
//! at a hundred times that. The ratio of the two CPU shares is the figure; what a flood costs beyond 1 is
//! reading it, not showing it.
//! Invariants: both rows come from one run; each message is delivered or counted as omitted for every viewer.
//! Not here: what pacing chooses (the engine's tests).

use anyhow::{Result, ensure};
use grandstand_benches::clock::now_ns;
use grandstand_benches::crowd::{Crowd, CrowdPlan, Reading, Transport};
use grandstand_benches::node::{Node, NodePlan};
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::publisher::{Publisher, Script};
use grandstand_benches::record::{Row, Rows, ratio, rounded};
use std::time::Duration;

/// Messages per second that the room shows: the node's default.
const SHOWN_PER_S: u64 = 20;

/// Bytes of a text, as in `fanout`.
const TEXT_BYTES: usize = 128;

/// Between the first message and the window: the bucket is empty by then.
const WARM_UP: Duration = Duration::from_secs(2);

/// One run.
#[derive(Clone, Copy, Debug)]
struct Case {
    transport: Transport,
    viewers: usize,
    tick_ms: u64,
    per_s: u64,
}

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let transports = plan.choose(&plan.transport, &[Transport::Ws], &[Transport::Ws]);
    let viewers = plan.choose(&plan.viewers, &[15_000], &[200]);
    let ticks = plan.choose(&plan.tick_ms, &[100, 0], &[100]);
    let floods = plan.choose(&plan.rate, &[2_000], &[2_000]);
    let mut rows = Rows::new();
    for &transport in &transports {
        for &viewers in &viewers {
            for &tick_ms in &ticks {
                let case = |per_s| Case { transport, viewers, tick_ms, per_s };
                let calm = measure(plan, cores, case(SHOWN_PER_S))?;
                let calm_share = calm.number("core_share");
                rows.push(calm.with("core_share_of_calm", 1.0));
                for &per_s in &floods {
                    let flood = measure(plan, cores, case(per_s))?;
                    let of_calm = ratio(flood.number("core_share"), calm_share);
                    rows.push(flood.with("core_share_of_calm", of_calm));
                }
            }
        }
    }
    Ok(rows)
}

fn measure(plan: &Plan, cores: Cores, case: Case) -> Result<Row> {
    let node = NodePlan::on(cores.server)
        .key("rooms.tick_ms", case.tick_ms)
        .key("rooms.pacing_per_s", SHOWN_PER_S)
        .key("rooms.pacing_above_viewers", if plan.quick { case.viewers / 2 } else { 1_000 })
        .key("limits.connections_max", 19_000)
        .key("limits.bridge_publish_per_s", 1_000_000);
    let node = Node::start(&node)?;
    let address = match case.transport {
        Transport::Ws => node.ws,
        Transport::Wss => node.wss,
        Transport::Quic => node.quic,
    };
    let mut crowd =
        Crowd::start(&CrowdPlan { core: cores.crowd, ..CrowdPlan::new(case.transport, address, "bench") })?;
    crowd.join_all(case.viewers)?;
    let script = Script::Even { per_s: case.per_s as f64, size: TEXT_BYTES };
    let publisher = Publisher::connect(node.ws, "bench", script)?;
    publisher.begin(now_ns() + 10_000_000);
    std::thread::sleep(WARM_UP);
    crowd.mark()?;
    let before = counted(&node)?;
    let meter = node.meter()?;
    std::thread::sleep(Duration::from_secs(plan.seconds(10)));
    let cpu = meter.spent()?;
    let reading = crowd.read()?;
    let after = counted(&node)?;
    let said = publisher.stop()?;
    let settled = crowd.settle(vec![(0, said.head)], 10_000)?;
    ensure!(settled.lacking == 0, "{} viewers lack {} messages", settled.behind, settled.lacking);
    ensure!(reading.faults() == 0, "viewers saw faults: {reading:?}");
    ensure!(reading.frames > 0 && said.unanswered == 0, "nothing came, or was not answered: {said:?}");
    if case.per_s > 2 * SHOWN_PER_S {
        let most = SHOWN_PER_S as f64 * (reading.elapsed_ns as f64 / 1e9 + 1.0) * case.viewers as f64;
        ensure!(reading.omitted > 0 && reading.deliveries as f64 <= most, "it is not paced: {reading:?}");
    }
    let core_share = ratio(cpu.total_ns() as f64, reading.elapsed_ns as f64);
    Ok(row(case, &reading).with("core_share", core_share).with("omitted_by_the_room", after - before))
}

/// What the room has left out so far.
fn counted(node: &Node) -> Result<u64> {
    Ok(node.metric("grandstand_engine_messages_omitted_total")? as u64)
}

fn row(case: Case, seen: &Reading) -> Row {
    let seconds = seen.elapsed_ns as f64 / 1e9;
    let per_viewer = |count: u64| rounded(count as f64 / seconds / case.viewers as f64, 1);
    Row::new()
        .with("transport", case.transport.name())
        .with("viewers", case.viewers)
        .with("tick_ms", case.tick_ms)
        .with("messages_per_s", case.per_s)
        .with("shown_per_s", per_viewer(seen.deliveries))
        .with("frames_per_viewer_per_s", per_viewer(seen.frames + seen.other_frames))
        .with("wire_bytes_per_viewer_per_s", per_viewer(seen.wire_bytes))
        .with("p50_ms", rounded(seen.latency.p50_us as f64 / 1e3, 1))
        .with("p99_ms", rounded(seen.latency.p99_us as f64 / 1e3, 1))
        .with("lost", seen.lost)
        .with("crowd_core_share", rounded(seen.cpu_share(), 3))
}
