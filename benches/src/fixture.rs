//! A fixture: a fresh node, in a memory group if the machine has them, and lean clients in this process.
//!
//! Why fresh for every figure: a heap that has held an audience does not shrink to its first size.
//! Not here: the measurements (the benches).

use crate::kernel::{self, Charged, MemoryGroup};
use crate::lean_clients::protocol::Publication;
use crate::lean_clients::{ClientsPlan, Joined, LeanClients, Reading, Transport};
use crate::stamp::stamp;
use anyhow::{Result, anyhow};
use grandstand_harness::clock::monotonic_ns;
use grandstand_harness::http;
use grandstand_harness::node::{self, Node, binary};
use grandstand_harness::process::sample;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The tick of all fixtures: fixed, so that latency is judged by one measure.
pub const TICK_MS: u64 = 100;

/// The longest wait of a bench for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Joins under way at a time: enough to keep the node busy, few enough that each is served at once.
pub const IN_FLIGHT: usize = 64;

/// Limits that are not on trial: everybody comes from one address, speaks as fast as the bench wants, is
/// silent for as long, and is shown everything at a fixed tick.
///
/// # Errors
/// There is no binary of a node.
pub fn plan(core: Option<usize>) -> Result<node::NodePlan> {
    Ok(node_on(core)?
        .key("limits.heartbeat_ms", 300_000)
        .key("quic.idle_timeout_ms", 600_000)
        .key("limits.publish_per_s", 1_000_000)
        .key("limits.publish_burst", 1_000_000)
        .key("limits.frames_per_s", 1_000_000)
        .key("rooms.tick_ms", TICK_MS)
        .key("rooms.pacing_per_s", 0))
}

/// The binary of a node, alone on a core if that is given.
///
/// # Errors
/// There is none.
pub fn node_on(core: Option<usize>) -> Result<node::NodePlan> {
    let plan = node::NodePlan::new(&binary()?);
    Ok(core.map_or(plan.clone(), |core| plan.core(core)))
}

/// See the file's head. The node ends before its group.
#[derive(Debug)]
pub struct Fixture {
    /// The node.
    pub node: Node,
    /// Its group, if there can be one.
    pub group: Option<MemoryGroup>,
    caches_bytes: u64,
}

/// The memory of a fixture at a moment, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Anonymous memory of the node.
    pub user: u64,
    /// Kernel objects charged to the node's group; 0 without one.
    pub kernel: u64,
    /// Everything charged to the group; 0 without one.
    pub group: u64,
    /// Socket caches of the whole machine since the fixture was opened: both ends of each connection.
    pub caches: u64,
}

impl Fixture {
    /// Opens one, with a bound on all memory that the node is charged with if that is given.
    ///
    /// # Errors
    /// The node does not start, or the kernel does not take the bound.
    pub fn open(plan: &node::NodePlan, bytes_max: Option<u64>) -> Result<Fixture> {
        let group = MemoryGroup::make();
        let start = || Node::start(plan);
        let node = match &group {
            Some(group) => {
                bytes_max.map_or(Ok(()), |bytes| group.limit(bytes))?;
                group.start_in(start)?
            }
            None => start()?,
        };
        let caches_bytes = kernel::socket_caches_bytes().unwrap_or(0);
        Ok(Fixture { node, group, caches_bytes })
    }

    /// How clients reach it, who say nothing by themselves.
    ///
    /// # Errors
    /// The node does not listen for it.
    pub fn clients_plan(&self, transport: Transport, rooms: Vec<String>) -> Result<ClientsPlan> {
        let plan = ClientsPlan::new(transport, self.node.address(transport.scheme())?, rooms);
        Ok(ClientsPlan { keep_alive: false, ..plan })
    }

    /// Clients who follow these rooms; nobody yet.
    ///
    /// # Errors
    /// The system gives no epoll or no TLS.
    pub fn clients(&self, transport: Transport, rooms: Vec<String>) -> Result<LeanClients> {
        LeanClients::new(self.clients_plan(transport, rooms)?, |_| None)
    }

    /// This number of viewers of one room, all joined.
    ///
    /// # Errors
    /// A client does not join.
    pub fn full_room(&self, transport: Transport, viewers: usize) -> Result<LeanClients> {
        let mut clients = self.clients(transport, vec!["hall".into()])?;
        let all = clients.add_viewers(viewers);
        come(&mut clients, all)?;
        Ok(clients)
    }

    /// Makes rooms of these names, one by one, by the admin port; a connection each, as that port works.
    ///
    /// # Errors
    /// The admin port does not answer, or refuses one.
    pub fn create_rooms(&self, names: impl Iterator<Item = String>) -> Result<()> {
        let admin = self.node.address("http://")?;
        for name in names {
            http::request_with(admin, "POST", "/rooms", &serde_json::json!({ "name": name }).to_string())?;
        }
        Ok(())
    }

    /// Its memory now.
    ///
    /// # Errors
    /// The node has ended.
    pub fn held(&self) -> Result<Held> {
        let charged =
            self.group.as_ref().map(MemoryGroup::charged).transpose()?.unwrap_or(Charged::default());
        Ok(Held {
            user: sample(self.node.pid())?.anonymous_bytes,
            kernel: charged.kernel,
            group: charged.all,
            caches: kernel::socket_caches_bytes().unwrap_or(0).saturating_sub(self.caches_bytes),
        })
    }
}

/// Lets these come, [`IN_FLIGHT`] at a time.
///
/// # Errors
/// A client does not join.
pub fn come(clients: &mut LeanClients, who: Range<usize>) -> Result<Joined> {
    clients.come(who, IN_FLIGHT, PATIENCE)
}

/// Two sides of a bench at once. `aside` runs in a thread of its own, gets ready, and then begins what `main`
/// waits for; it goes on until `main` is over. What both return.
///
/// # Errors
/// The fault of either side.
pub fn beside<A: Send, M>(
    aside: impl FnOnce(&Signals) -> Result<A> + Send,
    main: impl FnOnce() -> Result<M>,
) -> Result<(A, M)> {
    let signals = Signals::default();
    std::thread::scope(|scope| {
        let aside = scope.spawn(|| aside(&signals));
        while !signals.has_begun.load(Ordering::Acquire) && !aside.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let outcome = if aside.is_finished() { Err(anyhow!("the other side ended early")) } else { main() };
        signals.is_over.store(true, Ordering::Release);
        // A fault of the other side is the reason of both.
        Ok((aside.join().expect("benches do not panic")?, outcome?))
    })
}

/// Signals between the two sides of [`beside`].
#[derive(Debug, Default)]
pub struct Signals {
    has_begun: AtomicBool,
    is_over: AtomicBool,
}

impl Signals {
    /// This side is ready.
    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
    }

    /// Whether the other side is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

/// Publications at an even rate, by each publisher in turn; what is due is sent, whether or not earlier ones
/// were answered.
#[derive(Debug)]
pub struct Publications {
    /// Clients, and which of their rooms.
    publishers: Vec<(usize, usize)>,
    interval_ns: f64,
    bytes: usize,
    begin_ns: u64,
    /// Sent since the beginning.
    pub sent: u64,
}

impl Publications {
    /// Publications at this rate, with texts of this length, beginning now.
    #[must_use]
    pub fn new(publishers: Vec<(usize, usize)>, per_s: f64, bytes: usize) -> Publications {
        Publications { publishers, interval_ns: 1e9 / per_s, bytes, begin_ns: monotonic_ns(), sent: 0 }
    }

    /// Sends what is due.
    pub fn publish_due(&mut self, clients: &mut LeanClients) {
        let due = ((monotonic_ns() - self.begin_ns) as f64 / self.interval_ns) as u64 + 1;
        let mut text = String::new();
        while self.sent < due {
            let due_ns = self.begin_ns + (self.sent as f64 * self.interval_ns) as u64;
            let (client, room) = self.publishers[self.sent as usize % self.publishers.len()];
            stamp(due_ns, self.sent, self.bytes, &mut text);
            clients.publish(client, &[Publication { room, text: &text, due_ns, ..Publication::default() }]);
            self.sent += 1;
        }
    }

    /// Publishes for this long.
    ///
    /// # Errors
    /// The system fails us.
    pub fn publish_for(&mut self, time: Duration, clients: &mut LeanClients) -> Result<()> {
        let until_ns = monotonic_ns() + time.as_nanos() as u64;
        while monotonic_ns() < until_ns {
            self.publish_due(clients);
            clients.turn(Duration::from_millis(1))?;
        }
        Ok(())
    }
}

/// Speaks for this long in a window of its own, until everybody has had everything: how much was said, and
/// what was seen.
///
/// # Errors
/// Something was lost, refused or left out.
pub fn publish_all(
    clients: &mut LeanClients,
    publishers: Vec<(usize, usize)>,
    per_s: f64,
    bytes: usize,
    time: Duration,
) -> Result<(u64, Reading)> {
    clients.mark();
    let mut publications = Publications::new(publishers, per_s, bytes);
    publications.publish_for(time, clients)?;
    Ok((publications.sent, clients.settle(PATIENCE)?))
}
