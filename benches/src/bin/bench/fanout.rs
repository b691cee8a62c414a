//! Fan-out: one room, many viewers, on one core: what a frame and a delivery cost.
//!
//! Method: viewers join, a publisher speaks evenly, some seconds pass, then a window is measured: CPU time of the node's
//! process, what viewers got, when. Handshakes are before the window. Pacing is off.
//! Invariant: a row is made only of a run in which nothing was lost, duplicated, late or wrong; otherwise the bench fails.
//! Not here: how far it can go (`saturation`).

use crate::plan::{Cores, Plan};
use anyhow::{Result, ensure};
use grandstand_benches::clock::now_ns;
use grandstand_benches::crowd::{Crowd, CrowdPlan, Reading, Transport};
use grandstand_benches::node::{Node, NodePlan};
use grandstand_benches::publisher::{Publisher, Said, Script};
use grandstand_benches::record::{Row, Rows, ratio, rounded};
use std::time::Duration;

/// All of them.
const TRANSPORTS: [Transport; 3] = [Transport::Ws, Transport::Wss, Transport::Quic];

/// Bytes of a text.
const TEXT_BYTES: usize = 128;

/// Between the first message and the window.
const WARM_UP: Duration = Duration::from_secs(2);

/// One run.
#[derive(Clone, Copy, Debug)]
struct Case {
    transport: Transport,
    viewers: usize,
    per_s: u64,
    tick_ms: u64,
}

pub(crate) fn run(plan: &Plan) -> Result<Rows> {
    let cores = plan.cores()?;
    let mut rows = Rows::new();
    for case in cases(plan) {
        rows.push(measure(plan, cores, case)?);
        eprintln!("{}", serde_json::to_string(rows.last().expect("just pushed"))?);
    }
    Ok(rows)
}

fn cases(plan: &Plan) -> Vec<Case> {
    let transports = plan.choose(&plan.transport, &TRANSPORTS, &TRANSPORTS);
    let viewers = plan.choose(&plan.viewers, &[5_000, 15_000], &[50]);
    let rates = plan.choose(&plan.rate, &[20, 50, 100, 200], &[200]);
    let ticks = plan.choose(&plan.tick_ms, &[100], &[100]);
    let mut cases = Vec::new();
    for &transport in &transports {
        for &viewers in &viewers {
            for &per_s in &rates {
                cases.extend(ticks.iter().map(|&tick_ms| Case { transport, viewers, per_s, tick_ms }));
            }
        }
    }
    cases
}

fn measure(plan: &Plan, cores: Cores, case: Case) -> Result<Row> {
    let node =
        NodePlan::on(cores.server).key("rooms.tick_ms", case.tick_ms).key("limits.connections_max", 19_000);
    let node = Node::start(&node.key("limits.bridge_publish_per_s", 1_000_000))?;
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
    std::thread::sleep(if plan.quick { WARM_UP / 10 } else { WARM_UP });
    crowd.mark()?;
    let meter = node.meter()?;
    std::thread::sleep(Duration::from_secs(plan.seconds(10)));
    let cpu = meter.spent()?;
    let reading = crowd.read()?;
    let said = publisher.stop()?;
    let settled = crowd.settle(vec![(0, said.head)], 10_000)?;
    ensure!(settled.lacking == 0, "{} viewers lack {} messages", settled.behind, settled.lacking);
    ensure!(reading.faults() == 0, "viewers saw faults: {reading:?}");
    ensure!(reading.frames > 0 && said.unanswered == 0, "nothing came, or was not answered: {said:?}");
    Ok(row(case, &reading, &said, cpu.user_ns, cpu.system_ns)
        .with("peak_memory_mb", node.memory()?.peak / 1_000_000))
}

fn row(case: Case, seen: &Reading, said: &Said, user_ns: u64, system_ns: u64) -> Row {
    let (seconds, cpu_ns) = (seen.elapsed_ns as f64 / 1e9, (user_ns + system_ns) as f64);
    Row::new()
        .with("transport", case.transport.name())
        .with("viewers", case.viewers)
        .with("messages_per_s", case.per_s)
        .with("tick_ms", case.tick_ms)
        .with("deliveries_per_s", rounded(seen.deliveries as f64 / seconds, 0))
        .with("frames_per_s", rounded(seen.frames as f64 / seconds, 0))
        .with("cpu_ns_per_delivery", rounded(cpu_ns / seen.deliveries as f64, 1))
        .with("cpu_ns_per_frame", rounded(cpu_ns / seen.frames as f64, 1))
        .with("user_share", ratio(user_ns as f64, cpu_ns))
        .with("core_share", ratio(cpu_ns, seen.elapsed_ns as f64))
        .with("wire_bytes_per_delivery", rounded(seen.wire_bytes as f64 / seen.deliveries as f64, 1))
        .with("p50_ms", rounded(seen.latency.p50_us as f64 / 1e3, 1))
        .with("p99_ms", rounded(seen.latency.p99_us as f64 / 1e3, 1))
        .with("p999_ms", rounded(seen.latency.p999_us as f64 / 1e3, 1))
        .with("lost", seen.lost)
        .with("duplicated", seen.duplicated)
        .with("out_of_order", seen.out_of_order)
        .with("refused", said.refused)
        .with("crowd_core_share", rounded(seen.cpu_share(), 3))
}
