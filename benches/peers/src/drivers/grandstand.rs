//! Grandstand in the same seat: the same texts and the same crowd.

use super::{MESSAGE_BYTES, Peer, Site, Stand, Step, moq};
use anyhow::Result;
use grandstand_benches::clock::{now_ns, sleep_until};
use grandstand_benches::cpu;
use grandstand_benches::crowd::{Crowd, CrowdPlan, Transport};
use grandstand_benches::node::{Node, NodePlan};
use grandstand_benches::publisher::{Publisher, Script};

/// All that differs from the defaults: room for the audience, a publisher that may speak as fast as it is
/// asked to, and nothing left out by pacing, since the others leave nothing out.
const OVERRIDES: &[(&str, &str)] = &[
    ("limits.connections_max", "19000"),
    ("limits.bridge_publish_per_s", "1000000"),
    ("rooms.pacing_per_s", "0"),
];

/// What has not come this long after the last message was answered counts as lost.
const DRAIN_MS: u64 = 3_000;

/// A node that was asked for too much may take this long to get rid of it.
const RECOVERY_MS: u64 = 8_000;

/// From now to the first message: the publisher looks for its beginning five times in this.
const LEAD_NS: u64 = 1_000_000;

/// A tick as long as the others' batches, for whom latency matters more than the share of the core that the
/// default keeps to.
const FIXED_TICK: &[(&str, &str)] = &[("rooms.tick_ms", "100")];

/// At the defaults, where the tick grows to keep fan-out within its share, and with a fixed tick.
pub(super) fn over_ws() -> [Peer; 2] {
    [
        own("default", "ws", None, |site, _| open(site, Transport::Ws, &[])),
        own("tick of 100 ms", "ws", None, |site, _| open(site, Transport::Ws, FIXED_TICK)),
    ]
}

/// As [`over_ws`], beside moq-relay.
pub(super) fn over_quic() -> [Peer; 2] {
    let viewers_max = Some(moq::VIEWERS_MAX);
    [
        own("default", "quic", viewers_max, |site, _| open(site, Transport::Quic, &[])),
        own("tick of 100 ms", "quic", viewers_max, |site, _| open(site, Transport::Quic, FIXED_TICK)),
    ]
}

type Open = fn(&Site, &'static str) -> Result<Box<dyn Stand>>;

fn own(form: &'static str, transport: &'static str, viewers_max: Option<usize>, open: Open) -> Peer {
    Peer { name: "grandstand", form, transport, viewers_max, find, open }
}

fn find() -> Result<String, String> {
    Ok(env!("CARGO_PKG_VERSION").to_owned())
}

struct OwnStand {
    node: Node,
    crowd: Crowd,
    head: u64,
    crowd_core: Option<usize>,
}

fn open(site: &Site, transport: Transport, tick: &[(&str, &str)]) -> Result<Box<dyn Stand>> {
    let keys = OVERRIDES.iter().chain(tick);
    let plan = keys.fold(NodePlan::on(site.server_core), |plan, (key, value)| plan.key(key, value));
    let node = Node::start(&plan)?;
    let address = if transport == Transport::Quic { node.quic } else { node.ws };
    let plan = CrowdPlan { core: site.crowd_core, ..CrowdPlan::new(transport, address, "room") };
    let mut crowd = Crowd::start(&plan)?;
    crowd.join_all(site.viewers)?;
    Ok(Box::new(OwnStand { node, crowd, head: 0, crowd_core: site.crowd_core }))
}

impl Stand for OwnStand {
    fn step(&mut self, per_s: f64, seconds: f64) -> Result<Step> {
        let publisher = self.publisher(per_s)?;
        self.crowd.mark()?;
        let before_ns = self.node.cpu_ns()?;
        let begin_ns = now_ns() + LEAD_NS;
        publisher.begin(begin_ns);
        sleep_until(begin_ns + (seconds * 1e9) as u64);
        let window_ns = now_ns() - begin_ns;
        let spoken_ns = self.node.cpu_ns()?;
        let said = publisher.stop()?;
        self.head = self.head.max(said.head);
        let settled = self.crowd.settle(vec![(0, self.head)], DRAIN_MS)?;
        let seen = self.crowd.read()?;
        Ok(Step {
            published: said.sent,
            deliveries: seen.deliveries,
            lost: seen.lost + seen.omitted + settled.lacking + seen.wrong + seen.duplicated,
            cut: seen.ended,
            refused: said.refused + said.unanswered,
            p50_us: seen.latency.p50_us,
            p99_us: seen.latency.p99_us,
            // It speaks until it is stopped, which is about then.
            seconds: said.sent as f64 / per_s,
            cpu_ns: self.node.cpu_ns()? - before_ns,
            core_share: (spoken_ns - before_ns) as f64 / window_ns as f64,
            crowd_core_share: seen.cpu_share(),
            wire_bytes: Some(seen.wire_bytes),
            peak_bytes: self.node.memory()?.peak,
            fault: said.first_refusal.or(seen.first_fault),
        })
    }

    fn recover(&mut self) -> Result<bool> {
        let settled = self.crowd.settle(vec![(0, self.head)], RECOVERY_MS)?;
        let seen = self.crowd.read()?;
        Ok(settled.lacking == 0 && seen.ended == 0 && seen.lost == 0)
    }
}

impl OwnStand {
    /// A publisher whose threads are on the crowd's core.
    fn publisher(&self, per_s: f64) -> Result<Publisher> {
        let (ws, core) = (self.node.ws, self.crowd_core);
        let connect = move || {
            core.map_or(Ok(()), cpu::pin_here)?;
            Publisher::connect(ws, "room", Script::Even { per_s, size: MESSAGE_BYTES })
        };
        std::thread::spawn(connect).join().expect("connecting does not panic")
    }
}
