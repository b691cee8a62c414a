//! A trial: one room on one server, its viewers, and measured windows in which a publisher sends.
//!
//! Invariants: all handshakes happen before a window; the publisher, the probe and the viewers run off the
//! server's core; pacing is off unless a bench sets it, so that every viewer gets every message.
//! Not here: the trials and ratios of a bench; the search for a rate (`search`).

use crate::cpu::{Cpu, Meter};
use crate::fixture::node_on;
use crate::lean_clients::protocol::ByName;
use crate::lean_clients::{ClientsPlan, Reading, Settled, Transport};
use crate::plan::{Cores, Plan};
use crate::publisher::{Publisher, Said, Script};
use crate::record::{Row, ms, ratio, rounded};
use crate::search::{Step, Subject};
use crate::viewers::Viewers;
use anyhow::{Result, ensure};
use grandstand_harness::clock::{monotonic_ns, sleep_until};
use grandstand_harness::node::{self, Node};
use grandstand_harness::process::{Sample, sample};
use std::time::Duration;

/// Bytes of a text.
pub const TEXT_BYTES: usize = 128;

/// From a publisher's order to its first message.
const HEAD_START_NS: u64 = 20_000_000;

/// How long viewers may take to catch up after a window.
const SETTLE: Duration = Duration::from_secs(30);

/// A delivery that is missing this long after the last message of a step is lost.
const DRAIN: Duration = Duration::from_secs(3);

/// A room with viewers, on a server that ends with this value.
#[derive(Debug)]
pub struct Trial<S> {
    // In the order in which they end: a server must not be told of viewers that leave one by one.
    /// The server.
    pub server: S,
    pid: u32,
    viewers: Viewers,
    /// How a publisher reaches it.
    pub publishers: ClientsPlan,
    more: ByName,
    cores: Cores,
    /// How many there are.
    pub count: usize,
    /// Of the messages of steps: how many, and within how many milliseconds they are joined in one
    /// publication.
    first: u64,
    join_ms: u64,
}

/// The figures of a window.
#[derive(Clone, Debug)]
pub struct Window {
    /// The viewers' counts.
    pub reading: Reading,
    /// The publisher's report, warm-up included.
    pub said: Said,
    /// The server's CPU time.
    pub cpu: Cpu,
    /// The server's memory.
    pub memory: Sample,
    /// The viewers' places at the end.
    pub settled: Settled,
}

/// A node for one room, without a limit on viewers or on the rate of its one publisher.
///
/// # Errors
/// There is no binary of it.
pub fn node_plan(plan: &Plan, cores: Cores, tick_ms: u64) -> Result<node::NodePlan> {
    let node = node_on(cores.server)?
        .key("rooms.tick_ms", tick_ms)
        .key("limits.connections_max", 19_500)
        .key("limits.bridge_publish_per_s", 1_000_000);
    Ok(plan.add_keys(node))
}

impl Trial<Node> {
    /// Starts a node and fills its room.
    ///
    /// # Errors
    /// The node does not start, or a viewer does not join.
    pub fn of_node(
        node: &node::NodePlan,
        cores: Cores,
        transport: Transport,
        viewers: usize,
    ) -> Result<Trial<Node>> {
        let node = Node::start(node)?;
        let to = |transport: Transport| -> Result<ClientsPlan> {
            Ok(ClientsPlan::new(transport, node.address(transport.scheme())?, vec!["bench".into()]))
        };
        let (clients, publishers) = (to(transport)?, to(Transport::Ws)?);
        let pid = node.pid();
        Trial::open((node, pid), &clients, publishers, |_| None, cores, viewers)
    }
}

impl<S> Trial<S> {
    /// Fills the room of a server, whose process is given beside it.
    ///
    /// # Errors
    /// A viewer does not join.
    pub fn open(
        (server, pid): (S, u32),
        clients: &ClientsPlan,
        publishers: ClientsPlan,
        more: ByName,
        cores: Cores,
        count: usize,
    ) -> Result<Trial<S>> {
        let mut viewers = Viewers::start(clients, cores.generator)?;
        viewers.come(count)?;
        Ok(Trial { server, pid, viewers, publishers, more, cores, count, first: 0, join_ms: 0 })
    }

    /// The publisher joins the messages of this many milliseconds.
    #[must_use]
    pub fn joining(self, join_ms: u64) -> Trial<S> {
        Trial { join_ms, ..self }
    }

    /// More viewers.
    ///
    /// # Errors
    /// A viewer does not join.
    pub fn grow(&mut self, viewers: usize) -> Result<()> {
        self.viewers.come(viewers)?;
        self.count += viewers;
        Ok(())
    }

    fn publisher(&self, script: &Script) -> Result<Publisher> {
        Publisher::connect(&self.publishers, self.more, self.cores.generator, script.clone())
    }

    /// A publisher sends; after `warm_up` a window begins. `beside` runs during the window.
    ///
    /// # Errors
    /// The server has ended, or the viewers have.
    pub fn window<T>(
        &mut self,
        script: &Script,
        warm_up: Duration,
        window: Duration,
        beside: impl FnOnce(&S) -> T,
    ) -> Result<(Window, T)> {
        let publisher = self.publisher(script)?;
        let begin_ns = monotonic_ns() + HEAD_START_NS;
        if let Script::Log { lines, .. } = script {
            let due_ns = (0..lines.len() as u64).filter_map(|n| Some(begin_ns + script.due_after_ns(n)?));
            self.viewers.due(publisher.first_offset, due_ns.collect())?;
        }
        publisher.begin(begin_ns);
        std::thread::sleep(warm_up);
        self.viewers.mark()?;
        let (meter, begun_ns) = (Meter::start(self.pid)?, monotonic_ns());
        let other = beside(&self.server);
        std::thread::sleep(window.saturating_sub(Duration::from_nanos(monotonic_ns() - begun_ns)));
        let (cpu, reading) = (meter.spent()?, self.viewers.read()?);
        let said = publisher.stop();
        let settled = self.viewers.settle(said.head, SETTLE)?;
        let memory = sample(self.pid)?;
        Ok((Window { reading, said, cpu, memory, settled }, other))
    }
}

impl<S> Subject for Trial<S> {
    /// Messages from the beginning of the step to its end, and a bounded wait for what is still on its way:
    /// what comes late is late, and what does not come is lost.
    fn step(&mut self, per_s: f64, time: Duration) -> Result<Step> {
        let (size, first, join_ms) = (TEXT_BYTES, self.first, self.join_ms);
        let publisher = self.publisher(&Script::Even { per_s, size, first, join_ms })?;
        self.viewers.mark()?;
        let (meter, begin_ns) = (Meter::start(self.pid)?, monotonic_ns() + 1_000_000);
        publisher.begin(begin_ns);
        sleep_until(begin_ns + time.as_nanos() as u64);
        let (spoken, window_ns) = (meter.spent()?.total_ns(), monotonic_ns() - begin_ns);
        let during = self.viewers.read()?;
        let said = publisher.stop();
        self.first += said.sent;
        let settled = self.viewers.settle(said.head, DRAIN)?;
        let seen = self.viewers.read()?;
        let publisher_share = ratio(said.cpu_ns as f64, said.elapsed_ns as f64).as_f64().unwrap_or(0.0);
        Ok(Step {
            published: said.sent,
            deliveries: seen.deliveries,
            lost: seen.lost + seen.omitted + settled.lacking + seen.wrong + seen.duplicated,
            cut: seen.ended,
            refused: said.refused + said.unanswered,
            p50_us: seen.latency.p50_us,
            p99_us: seen.latency.p99_us,
            seconds: said.sent as f64 / per_s,
            cpu_ns: meter.spent()?.total_ns(),
            core_share: spoken as f64 / window_ns as f64,
            generator_core_share: during.core_share() + publisher_share,
            receiver_full_share: during.full_share(),
            publisher_late_max_us: said.late_max_us,
            wire_bytes: Some(seen.wire_bytes),
            peak_bytes: sample(self.pid)?.peak_bytes,
            fault: said.fault.or(said.first_refusal).or(seen.first_fault),
        })
    }
}

impl Window {
    /// A figure of a run that lost something means nothing.
    ///
    /// # Errors
    /// Something was lost, or nothing came.
    pub fn check(&self) -> Result<()> {
        let (reading, said) = (&self.reading, &self.said);
        let Settled { behind, lacking, .. } = self.settled;
        ensure!(lacking == 0, "{behind} viewers lack {lacking} messages");
        ensure!(reading.faults() == 0, "viewers saw faults: {reading:?}");
        ensure!(said.fault.is_none() && said.unanswered == 0, "the publisher: {said:?}");
        ensure!(reading.frames > 0, "nothing came");
        Ok(())
    }

    /// The same where nothing may be left out.
    ///
    /// # Errors
    /// Something was lost or omitted, or nothing came.
    pub fn check_whole(&self) -> Result<()> {
        ensure!(self.reading.omitted == 0, "{} messages were omitted: pacing or lag", self.reading.omitted);
        self.check()
    }

    /// A count of the window, per second.
    #[must_use]
    pub fn per_s(&self, count: u64) -> f64 {
        count as f64 / (self.reading.elapsed_ns as f64 / 1e9)
    }

    /// CPU of a frame, in nanoseconds.
    #[must_use]
    pub fn cpu_ns_per_frame(&self) -> f64 {
        self.cpu.total_ns() as f64 / self.reading.frames.max(1) as f64
    }

    /// CPU of a message that reached a viewer, in nanoseconds.
    #[must_use]
    pub fn cpu_ns_per_delivery(&self) -> f64 {
        self.cpu.total_ns() as f64 / self.reading.deliveries.max(1) as f64
    }

    /// The share of its core that the server used.
    #[must_use]
    pub fn core_share(&self) -> f64 {
        self.cpu.total_ns() as f64 / self.reading.elapsed_ns.max(1) as f64
    }

    /// The figures that every bench of a room shows.
    pub fn add_to(&self, row: &mut Row) {
        let (seen, cpu) = (&self.reading, self.cpu);
        let per_delivery = seen.wire_bytes as f64 / seen.deliveries.max(1) as f64;
        for (name, value) in [
            ("deliveries_per_s", rounded(self.per_s(seen.deliveries), 0)),
            ("frames_per_s", rounded(self.per_s(seen.frames), 0)),
            ("cpu_ns_per_delivery", rounded(self.cpu_ns_per_delivery(), 1)),
            ("cpu_ns_per_frame", rounded(self.cpu_ns_per_frame(), 0)),
            ("user_share_of_cpu", ratio(cpu.user_ns as f64, cpu.total_ns() as f64)),
            ("core_share", rounded(self.core_share(), 3)),
            ("wire_bytes_per_delivery", rounded(per_delivery, 1)),
            ("p50_ms", ms(seen.latency.p50_us)),
            ("p99_ms", ms(seen.latency.p99_us)),
            ("p999_ms", ms(seen.latency.p999_us)),
            ("lost", (seen.lost + self.settled.lacking).into()),
            ("duplicated", seen.duplicated.into()),
            ("out_of_order", seen.out_of_order.into()),
            ("omitted", seen.omitted.into()),
            ("refused", self.said.refused.into()),
            ("peak_memory_mb", rounded(self.memory.peak_bytes as f64 / 1e6, 1)),
            // Above 0.9 the generator, not the node, may set the pace.
            ("generator_core_share", rounded(seen.core_share(), 3)),
            ("receiver_full_share", rounded(seen.full_share(), 3)),
        ] {
            row.set(name, value);
        }
    }
}
