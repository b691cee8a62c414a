//! A trial: one room on a node of its own, viewers in it, and windows in which somebody speaks.
//!
//! Invariants: handshakes are before a window; the publisher, the probe and the crowd stay off the server's
//! core; pacing is off, so that every viewer gets every message.
//! Not here: which trials a bench makes, and what it divides by what.

use anyhow::{Result, ensure};
use grandstand_benches::clock::now_ns;
use grandstand_benches::cpu::{self, Cpu};
use grandstand_benches::crowd::{Crowd, CrowdPlan, Joined, Reading, Settled, Transport};
use grandstand_benches::node::{Memory, Node, NodePlan};
use grandstand_benches::plan::{Cores, Plan};
use grandstand_benches::publisher::{Publisher, Said, Script, log_due_ns};
use grandstand_benches::record::{Row, ratio, rounded};
use std::time::Duration;

/// Bytes of a text.
pub(crate) const TEXT_BYTES: usize = 128;

/// The room.
const ROOM: &str = "bench";

/// From connecting a publisher to its first message.
const HEAD_START_NS: u64 = 20_000_000;

/// How long viewers may take to catch up after a window.
const SETTLE_MS: u64 = 30_000;

/// A room with viewers.
pub(crate) struct Trial {
    pub(crate) node: Node,
    crowd: Crowd,
    pub(crate) joined: Joined,
}

/// What a window showed.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) reading: Reading,
    pub(crate) said: Said,
    pub(crate) cpu: Cpu,
    pub(crate) memory: Memory,
    pub(crate) settled: Settled,
}

impl Trial {
    /// Starts a node with this tick (0: adaptive) and fills its room.
    pub(crate) fn open(
        plan: &Plan,
        cores: Cores,
        transport: Transport,
        viewers: usize,
        tick_ms: u64,
    ) -> Result<Trial> {
        if let Some(core) = cores.crowd {
            cpu::pin_here(core)?;
        }
        let mut keys = NodePlan::on(cores.server)
            .key("rooms.tick_ms", tick_ms)
            .key("rooms.pacing_per_s", 0)
            .key("limits.connections_max", 19_500)
            // One connection stands for all publishers.
            .key("limits.bridge_publish_per_s", 1_000_000);
        keys.keys.extend(plan.keys.iter().cloned());
        let node = Node::start(&keys)?;
        let guests = CrowdPlan::new(transport, node.address(transport), ROOM);
        let mut crowd = Crowd::start(&CrowdPlan { core: cores.crowd, ..guests })?;
        let joined = crowd.join_all(viewers)?;
        Ok(Trial { node, crowd, joined })
    }

    /// More viewers.
    pub(crate) fn grow(&mut self, viewers: usize) -> Result<()> {
        self.joined = self.crowd.join_all(viewers)?;
        Ok(())
    }

    /// Somebody speaks; after `warm_up` a window begins. `beside` runs during the window.
    pub(crate) fn window<T>(
        &mut self,
        script: &Script,
        warm_up: Duration,
        window: Duration,
        beside: impl FnOnce(&Node) -> T,
    ) -> Result<(Seen, T)> {
        let publisher = Publisher::connect(self.node.ws, ROOM, script.clone())?;
        let begin_ns = now_ns() + HEAD_START_NS;
        if let Script::Log { lines, speed } = script {
            let due_ns = log_due_ns(lines, *speed).iter().map(|after_ns| begin_ns + after_ns).collect();
            self.crowd.due(0, publisher.first_offset, due_ns)?;
        }
        publisher.begin(begin_ns);
        std::thread::sleep(warm_up);
        self.crowd.mark()?;
        let (meter, begun_ns) = (self.node.meter()?, now_ns());
        let other = beside(&self.node);
        std::thread::sleep(window.saturating_sub(Duration::from_nanos(now_ns() - begun_ns)));
        let cpu = meter.spent()?;
        let reading = self.crowd.read()?;
        let so_far = publisher.said();
        let said = match publisher.stop() {
            Ok(said) => said,
            Err(error) => Said { fault: Some(format!("{error:#}")), ..so_far },
        };
        let settled = self.crowd.settle(vec![(0, said.head)], SETTLE_MS)?;
        let seen = Seen { reading, said, cpu, memory: self.node.memory()?, settled };
        Ok((seen, other))
    }
}

impl Seen {
    /// A figure of a run that lost something means nothing.
    pub(crate) fn check(&self) -> Result<()> {
        let Settled { behind, lacking, .. } = self.settled;
        ensure!(lacking == 0, "{behind} viewers lack {lacking} messages");
        ensure!(self.reading.faults() == 0, "viewers saw faults: {:?}", self.reading);
        ensure!(self.reading.omitted == 0, "{} messages were omitted: pacing or lag", self.reading.omitted);
        ensure!(self.said.fault.is_none() && self.said.unanswered == 0, "the publisher: {:?}", self.said);
        ensure!(self.reading.frames > 0, "nothing came");
        Ok(())
    }

    /// Whether anything was lost, left out or refused.
    pub(crate) fn is_whole(&self) -> bool {
        self.check().is_ok() && self.said.refused == 0
    }

    pub(crate) fn deliveries_per_s(&self) -> f64 {
        self.reading.deliveries as f64 / (self.reading.elapsed_ns as f64 / 1e9)
    }

    pub(crate) fn frames_per_s(&self) -> f64 {
        self.reading.frames as f64 / (self.reading.elapsed_ns as f64 / 1e9)
    }

    pub(crate) fn cpu_ns_per_frame(&self) -> f64 {
        self.cpu.total_ns() as f64 / self.reading.frames.max(1) as f64
    }

    pub(crate) fn cpu_ns_per_delivery(&self) -> f64 {
        self.cpu.total_ns() as f64 / self.reading.deliveries.max(1) as f64
    }

    pub(crate) fn core_share(&self) -> f64 {
        self.cpu.total_ns() as f64 / self.reading.elapsed_ns.max(1) as f64
    }

    /// Bytes of a frame as it stands on the wire, encryption included.
    pub(crate) fn wire_bytes_per_frame(&self) -> f64 {
        self.reading.wire_bytes as f64 / self.reading.frames.max(1) as f64
    }

    /// From one frame of a viewer to its next.
    pub(crate) fn interval(&self, viewers: usize) -> Duration {
        Duration::from_secs_f64((viewers as f64 / self.frames_per_s().max(1.0)).clamp(0.001, 2.0))
    }

    /// The figures that every bench of a room shows.
    pub(crate) fn add_to(&self, row: &mut Row) {
        let (seen, cpu) = (&self.reading, self.cpu);
        row.set("deliveries_per_s", rounded(self.deliveries_per_s(), 0));
        row.set("frames_per_s", rounded(self.frames_per_s(), 0));
        row.set("cpu_ns_per_delivery", rounded(self.cpu_ns_per_delivery(), 1));
        row.set("cpu_ns_per_frame", rounded(self.cpu_ns_per_frame(), 0));
        row.set("user_share_of_cpu", ratio(cpu.user_ns as f64, cpu.total_ns() as f64));
        row.set("core_share", rounded(self.core_share(), 3));
        row.set(
            "wire_bytes_per_delivery",
            rounded(seen.wire_bytes as f64 / seen.deliveries.max(1) as f64, 1),
        );
        row.set("p50_ms", rounded(seen.latency.p50_us as f64 / 1e3, 1));
        row.set("p99_ms", rounded(seen.latency.p99_us as f64 / 1e3, 1));
        row.set("p999_ms", rounded(seen.latency.p999_us as f64 / 1e3, 1));
        row.set("lost", seen.lost + self.settled.lacking);
        row.set("duplicated", seen.duplicated);
        row.set("out_of_order", seen.out_of_order);
        row.set("omitted", seen.omitted);
        row.set("refused", self.said.refused);
        row.set("peak_memory_mb", rounded(self.memory.peak as f64 / 1e6, 1));
        // Above 0.9 the generator, not the node, may set the pace.
        row.set("generator_core_share", rounded(seen.cpu_share(), 3));
    }
}
