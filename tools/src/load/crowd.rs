//! A crowd: all viewers of one process, on one thread, from the first join to the last leave.
//!
//! Invariants: joins are paced and do not wait for each other; the counts of every viewer's session are taken
//! exactly once; a crowd ends as soon as its run ends.
//! Not here: one viewer (`viewer`), publishing (`publisher`), several processes (`processes`).

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use grandstand_client::core::{Options, Reason, Session, SubscribeOptions};
use grandstand_client::net::{Connector, Driver, Url, Urls, now_us, seed};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::expected::{Announcements, Expected, Knowledge};
use super::messages::{Content, Head, Note, Order, Plan, Progress};
use super::restarts::Restarts;
use super::tally::Tally;
use super::viewer::{Shared, Slot, State, Viewer};
use crate::clock::client_offset_us;
use crate::target::is_loopback;
use grandstand_harness::chat_log::Log;
use grandstand_harness::clock::monotonic_us;
use grandstand_harness::histogram::Times;
use grandstand_harness::process::own;
use grandstand_harness::random::Random;

/// How often the crowd begins joins and looks after stalls, drops, churn and reactions.
const TURN: Duration = Duration::from_millis(10);

/// How often it reports its progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// Viewers that share a UDP socket. At home each has its own; with 200, a burst of batches fits a default
/// kernel buffer.
const QUIC_PER_SOCKET: usize = 200;

/// Tries to connect, or reconnect, before a viewer counts as failed: with their pauses, some seconds.
const RETRIES_MAX: u32 = 6;

/// For viewers to leave at the end; a viewer that takes longer is cut off.
const GOODBYE: Duration = Duration::from_secs(5);

/// Pause of a viewer that left and comes back: up to this.
const AWAY_US: usize = 1_000_000;

/// State that the tasks of all viewers share.
struct Common {
    plan: Plan,
    shared: Rc<Shared>,
    routes: Routes,
    heads: RefCell<Vec<Option<Head>>>,
    /// No viewer reconnects any more.
    is_over: Cell<bool>,
}

struct Crowd {
    common: Rc<Common>,
    viewers: JoinSet<()>,
    spawned: usize,
    began_us: u64,
    before_bytes: u64,
    is_ramped: bool,
    t0_us: Option<u64>,
    is_stall_due: bool,
    drops_ordered: u64,
    /// Churn and reactions that are due, in fractions.
    churn: f64,
    reactions: f64,
    turned_us: u64,
    settle_until_us: Option<u64>,
    cpu_from_us: u64,
    random: Random,
}

/// Run the viewers of a plan until told to close. To be run within a `LocalSet`.
///
/// # Errors
/// When the plan cannot be carried out at all; what happens to viewers is counted, not an error.
pub(crate) async fn run(
    plan: Plan,
    announcements: Option<&Announcements>,
    mut orders: Receiver<Order>,
    notes: Sender<(usize, Note)>,
) -> anyhow::Result<()> {
    let process = plan.process;
    let mut crowd = Crowd::new(plan, announcements)?;
    let mut progress = tokio::time::interval(PROGRESS);
    let mut turn = tokio::time::interval(TURN);
    progress.set_missed_tick_behavior(MissedTickBehavior::Skip);
    turn.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        // A run that is gone shows at the next order.
        tokio::select! {
            order = orders.recv() => match order {
                None => return Ok(()),
                Some(Order::Close) => break,
                Some(order) => crowd.handle_order(order),
            },
            _ = progress.tick() => drop(notes.send((process, Note::Progress(Box::new(crowd.progress())))).await),
            _ = turn.tick() => {
                for note in crowd.turn() {
                    let _ = notes.send((process, note)).await;
                }
            }
        }
    }
    let tally = crowd.close().await;
    crowd.write_ledger()?;
    let _ = notes.send((process, Note::Done(Box::new(tally)))).await;
    Ok(())
}

impl Crowd {
    fn new(plan: Plan, announcements: Option<&Announcements>) -> anyhow::Result<Crowd> {
        let viewers = plan.viewers();
        let knowledge = knowledge(&plan, announcements)?;
        let shared = Shared {
            tally: RefCell::default(),
            recent: RefCell::new(Times::default()),
            slots: RefCell::new(slots(&plan)),
            expected: knowledge.into_iter().map(|k| RefCell::new(Expected::new(k))).collect(),
            live: Cell::new(0),
            outside: Cell::new(viewers),
            clock_offset_us: client_offset_us(),
            restarts: plan.ledger.is_some().then(|| Restarts::new(viewers, plan.rooms.len())),
            is_on_air: Cell::new(false),
        };
        Ok(Crowd {
            viewers: JoinSet::new(),
            spawned: 0,
            began_us: monotonic_us(),
            before_bytes: own().anonymous_bytes,
            is_ramped: false,
            t0_us: None,
            is_stall_due: plan.stalled > 0,
            drops_ordered: 0,
            churn: 0.0,
            reactions: 0.0,
            turned_us: monotonic_us(),
            settle_until_us: None,
            cpu_from_us: 0,
            random: Random::new(plan.seed ^ plan.process as u64),
            common: Rc::new(Common {
                routes: Routes::new(&plan)?,
                heads: RefCell::new(vec![None; plan.rooms.len()]),
                plan,
                shared: Rc::new(shared),
                is_over: Cell::new(false),
            }),
        })
    }

    fn handle_order(&mut self, order: Order) {
        match order {
            Order::Begin { t0_us, bases } => {
                for (expected, base) in self.common.shared.expected.iter().zip(bases) {
                    expected.borrow_mut().begin(base, t0_us);
                }
                self.t0_us = Some(t0_us);
                self.common.shared.is_on_air.set(true);
                self.cpu_from_us = own().cpu_us();
            }
            Order::End { heads } => {
                self.common.is_over.set(true);
                self.common.shared.is_on_air.set(false);
                *self.common.heads.borrow_mut() = heads;
                self.settle_until_us = Some(monotonic_us() + self.common.plan.settle_us);
            }
            Order::Close => unreachable!("ends the loop"),
        }
    }

    /// Does all work that is due now. Returns the notes for the run.
    fn turn(&mut self) -> Vec<Note> {
        let now = monotonic_us();
        let passed_s = (now - std::mem::replace(&mut self.turned_us, now)) as f64 / 1e6;
        // Sessions that ended are forgotten: a churning crowd must not grow.
        while self.viewers.try_join_next().is_some() {}
        let mut notes = Vec::new();
        self.spawn_due(now);
        if !self.is_ramped && self.common.shared.outside.get() == 0 {
            notes.push(self.handle_ramped(now));
        }
        if let Some(t0_us) = self.t0_us {
            let since_us = now.saturating_sub(t0_us);
            self.stall(since_us);
            self.drop_connections(since_us);
            if !self.common.is_over.get() {
                self.churn(passed_s);
                self.react(since_us, passed_s);
            }
        }
        if self.settle_until_us.is_some_and(|until_us| now >= until_us || self.is_settled()) {
            self.settle_until_us = None;
            notes.push(self.handle_settled());
        }
        notes
    }

    fn spawn_due(&mut self, now: u64) {
        let plan = &self.common.plan;
        let count = plan.viewers();
        let due = ((now - self.began_us) as f64 / 1e6 * plan.ramp_per_s) as usize + 1;
        while self.spawned < due.min(count) {
            self.viewers.spawn_local(live(self.common.clone(), self.spawned));
            self.spawned += 1;
        }
    }

    fn handle_ramped(&mut self, now: u64) -> Note {
        self.is_ramped = true;
        let bytes = own().anonymous_bytes;
        self.common.shared.tally.borrow_mut().counts.user_bytes = bytes.saturating_sub(self.before_bytes);
        Note::Ramped { took_us: now - self.began_us }
    }

    fn stall(&mut self, since_us: u64) {
        let plan = &self.common.plan;
        if self.is_stall_due && since_us >= plan.stall_at_us {
            self.is_stall_due = false;
            let until_us = now_us() + plan.stall_for_us;
            let mut slots = self.common.shared.slots.borrow_mut();
            slots.iter_mut().filter(|slot| slot.is_stalled).for_each(|slot| slot.order_hold(until_us));
        }
    }

    /// Drops lie evenly over the time of publishing; one waits until the viewer is back from the one before.
    fn drop_connections(&mut self, since_us: u64) {
        let plan = &self.common.plan;
        let every_us = (plan.hold_us / u64::from(plan.drops).max(1)).max(1);
        let elapsed = if self.common.is_over.get() { u64::MAX / 2 } else { since_us };
        let due = ((elapsed + every_us / 2) / every_us).min(plan.drops.into());
        let mut slots = self.common.shared.slots.borrow_mut();
        let mut dropped: Vec<&mut Slot> = slots.iter_mut().filter(|slot| slot.is_dropped).collect();
        if self.drops_ordered < due && dropped.iter().all(|slot| slot.can_drop()) {
            self.drops_ordered += 1;
            dropped.iter_mut().for_each(|slot| slot.order_drop());
        }
    }

    fn churn(&mut self, passed_s: f64) {
        let mut slots = self.common.shared.slots.borrow_mut();
        self.churn += passed_s * self.common.plan.churn_per_min * slots.len() as f64 / 60.0;
        while self.churn >= 1.0 {
            self.churn -= 1.0;
            let at = self.random.below(slots.len());
            let slot = &mut slots[at];
            if slot.is_live && !slot.is_stalled && !slot.is_dropped {
                slot.order_leave(true);
                self.common.shared.tally.borrow_mut().counts.churned += 1;
            }
        }
    }

    fn react(&mut self, since_us: u64, passed_s: f64) {
        let (plan, mut slots) = (&self.common.plan, self.common.shared.slots.borrow_mut());
        let second = (since_us / 1_000_000) as usize;
        let by_second = plan.reactions_by_s.get(second).or(plan.reactions_by_s.last());
        self.reactions += passed_s * by_second.map_or(plan.reactions_per_s, |rate| f64::from(*rate));
        while self.reactions >= 1.0 {
            self.reactions -= 1.0;
            let at = self.random.below(slots.len());
            slots[at].order_reaction();
        }
    }

    /// Has each joined viewer received everything, and were all drops carried out?
    fn is_settled(&self) -> bool {
        let plan = &self.common.plan;
        let slots = self.common.shared.slots.borrow();
        let has_dropped = slots.iter().any(|slot| slot.is_dropped);
        (!has_dropped || self.drops_ordered >= plan.drops.into())
            && !slots.iter().enumerate().any(|(n, slot)| self.common.is_behind(n, slot))
    }

    fn handle_settled(&mut self) -> Note {
        let mut slots = self.common.shared.slots.borrow_mut();
        let mut tally = self.common.shared.tally.borrow_mut();
        for (n, slot) in slots.iter_mut().enumerate() {
            let is_behind = self.common.is_behind(n, slot);
            tally.counts.unsettled += u64::from(is_behind);
            slot.is_behind = is_behind && slot.is_live;
        }
        tally.counts.cpu_us = own().cpu_us().saturating_sub(self.cpu_from_us);
        Note::Settled
    }

    fn progress(&self) -> Progress {
        let shared = &self.common.shared;
        let tally = shared.tally.borrow();
        let mut recent = shared.recent.borrow_mut();
        let slots = shared.slots.borrow();
        let mut counts = tally.counts;
        for checker in slots.iter().filter(|slot| slot.state == State::In).map(|slot| &slot.checker) {
            counts.lost += checker.lost;
            counts.omitted += checker.omitted;
            counts.duplicated += u64::from(checker.duplicated);
            counts.out_of_order += u64::from(checker.out_of_order);
        }
        let progress = Progress {
            at_us: monotonic_us(),
            live: shared.live.get(),
            failed: tally.failures.total(),
            gaps: tally.gap_notices(),
            counts,
            p50_us: recent.quantile_us(0.5),
            p99_us: recent.quantile_us(0.99),
        };
        recent.reset();
        progress
    }

    /// All viewers leave. A viewer that does not leave in time is cut off; its accounts are closed, too.
    async fn close(&mut self) -> Tally {
        self.common.is_over.set(true);
        self.common.shared.slots.borrow_mut().iter_mut().for_each(|slot| slot.order_leave(false));
        let all_left = async { while self.viewers.join_next().await.is_some() {} };
        if tokio::time::timeout(GOODBYE, all_left).await.is_err() {
            self.viewers.shutdown().await;
        }
        let count = self.common.shared.slots.borrow().len();
        for n in 0..count {
            let state = self.common.shared.slots.borrow()[n].state;
            if state != State::Out {
                self.common.shared.handle_finished(n, &Reason::Asked, self.common.head(n));
            }
        }
        let mut tally = self.common.shared.tally.take();
        if let Some(restarts) = &self.common.shared.restarts {
            restarts.silences_us().into_iter().for_each(|us| tally.silence.record(us));
        }
        tally
    }

    fn write_ledger(&self) -> anyhow::Result<()> {
        let Common { plan, shared, .. } = &*self.common;
        match (&plan.ledger, &shared.restarts) {
            (Some(directory), Some(restarts)) => restarts.write(directory, plan.process),
            _ => Ok(()),
        }
    }
}

impl Common {
    /// Next offset of the viewer's room at the end, once that is known.
    fn head(&self, number: usize) -> Option<u64> {
        self.heads.borrow()[number % self.plan.rooms.len()].map(|head| head.offset)
    }

    /// In the room, and not everything there was read.
    fn is_behind(&self, number: usize, slot: &Slot) -> bool {
        slot.state == State::In && self.head(number).is_some_and(|head| slot.checker.next() < head)
    }
}

/// One viewer, from its first join to its last leave.
async fn live(common: Rc<Common>, number: usize) {
    loop {
        let finished = drive(&common, number).await;
        common.shared.handle_finished(number, &finished, common.head(number));
        let comes_back = common.shared.slots.borrow()[number].comes_back;
        if !comes_back || common.is_over.get() {
            return;
        }
        let away_us = Random::new(seed()).below(AWAY_US) as u64;
        tokio::time::sleep(Duration::from_micros(away_us)).await;
        if common.is_over.get() {
            return;
        }
    }
}

/// One session.
fn drive(common: &Rc<Common>, number: usize) -> impl Future<Output = Reason> + use<> {
    let room_index = number % common.plan.rooms.len();
    let options = Options {
        token: common.plan.token.clone(),
        agent: concat!("gs-load/", env!("CARGO_PKG_VERSION")),
        seed: seed(),
        backoff_ms: 200,
        backoff_max_ms: 2_000,
        retries_max: if common.plan.ledger.is_some() { u32::MAX } else { RETRIES_MAX },
        keep_state: false,
        compression: common.plan.compression,
        ..Options::default()
    };
    let mut session = Session::new(options);
    let room = session
        .subscribe(&common.plan.rooms[room_index], SubscribeOptions::default())
        .expect("the plan's rooms have valid names");
    common.shared.slots.borrow_mut()[number].begin();
    let viewer = Viewer { shared: common.shared.clone(), number, room, room_index, began_us: now_us() };
    let (connector, urls) = common.routes.of(&common.plan, number);
    // Boxed once: a future inside futures would be held in several copies.
    let driver = Box::pin(Driver::new(connector, urls, session, viewer).run());
    async move { driver.await.reason }
}

/// Addresses that viewers connect to, and sockets that they share.
struct Routes {
    ws_urls: Vec<Url>,
    quic_urls: Vec<Url>,
    ws: Connector,
    quic: Vec<Connector>,
}

impl Routes {
    fn new(plan: &Plan) -> anyhow::Result<Routes> {
        let parse =
            |urls: &[String]| urls.iter().map(|url| Ok(url.parse()?)).collect::<anyhow::Result<Vec<Url>>>();
        let (ws_urls, quic_urls) = (parse(&plan.ws_urls)?, parse(&plan.quic_urls)?);
        let local = local_address(plan, ws_urls.iter().chain(&quic_urls));
        let sockets = plan.quic_viewers.div_ceil(QUIC_PER_SOCKET);
        let quic = (0..sockets).map(|_| plan.trust.connector(local)).collect::<anyhow::Result<_>>()?;
        Ok(Routes { ws_urls, quic_urls, ws: plan.trust.connector(local)?, quic })
    }

    /// The address of a viewer, and where it fails over, the others behind it.
    fn of(&self, plan: &Plan, number: usize) -> (&Connector, Urls) {
        let nth = plan.nth_of_transport(number);
        let (connector, urls) = if plan.is_quic(number) {
            (&self.quic[nth / QUIC_PER_SOCKET], &self.quic_urls)
        } else {
            (&self.ws, &self.ws_urls)
        };
        let first = nth % urls.len();
        let count = if plan.fails_over { urls.len() } else { 1 };
        let own: Vec<Url> = urls.iter().cycle().skip(first).take(count).cloned().collect();
        (connector, Urls::try_from(own).expect("a plan has an address for each of its transports"))
    }
}

/// Each process beside the first comes from an address of its own, where that is loopback: ports are 28,000
/// per address.
fn local_address<'a>(plan: &Plan, mut urls: impl Iterator<Item = &'a Url>) -> Option<IpAddr> {
    let last = u8::try_from(plan.process).ok().filter(|&n| n > 0)?.checked_add(1)?;
    let is_v4 = |url: &Url| is_loopback(url) && url.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4());
    urls.all(is_v4).then_some(Ipv4Addr::new(127, 0, 0, last).into())
}

fn knowledge(plan: &Plan, announcements: Option<&Announcements>) -> anyhow::Result<Vec<Knowledge>> {
    let rooms = plan.rooms.len();
    Ok(match &plan.content {
        Content::Unknown => (0..rooms).map(|_| Knowledge::Nothing).collect(),
        Content::Marked(marked) => (0..rooms).map(|_| Knowledge::Marked(*marked)).collect(),
        Content::Logs { files, text_bytes_max, speed } => {
            let lines: Rc<[_]> = Log::merged(files, *text_bytes_max)?.lines.into();
            (0..rooms).map(|_| Knowledge::Log { lines: lines.clone(), speed: *speed, start: None }).collect()
        }
        Content::Announced => {
            let announcements =
                announcements.context("announcements need a publisher of the same process")?;
            vec![Knowledge::Announced(announcements.clone())]
        }
    })
}

/// Who stalls: evenly over everybody, of each transport its share. Who is dropped: the first of each
/// transport that does not stall.
fn slots(plan: &Plan) -> Vec<Slot> {
    let mut slots: Vec<Slot> = (0..plan.viewers()).map(|_| Slot::default()).collect();
    let (of_quic, of_ws) = (0..slots.len()).partition::<Vec<usize>, _>(|&n| plan.is_quic(n));
    let stalled = plan.stalled.min(slots.len());
    let stalled_quic = stalled * of_quic.len() / slots.len().max(1);
    for (of_transport, stalled) in [(&of_quic, stalled_quic), (&of_ws, stalled - stalled_quic)] {
        for n in 0..stalled {
            slots[of_transport[n * of_transport.len() / stalled]].is_stalled = true;
        }
    }
    for is_quic in [false, true].into_iter().filter(|_| plan.drops > 0) {
        let first = (0..slots.len()).find(|&n| plan.is_quic(n) == is_quic && !slots[n].is_stalled);
        if let Some(n) = first {
            slots[n].is_dropped = true;
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::messages::tests::plan;

    #[test]
    fn the_stalled_are_of_both_transports_and_the_dropped_are_others() {
        let plan = Plan { stalled: 10, drops: 3, ..plan(50, 50) };
        let slots = slots(&plan);
        let stalled: Vec<usize> = (0..100).filter(|&n| slots[n].is_stalled).collect();
        assert_eq!(stalled.len(), 10);
        assert_eq!(stalled.iter().filter(|&&n| plan.is_quic(n)).count(), 5);
        let dropped: Vec<usize> = (0..100).filter(|&n| slots[n].is_dropped).collect();
        assert_eq!(dropped.len(), 2);
        assert!(
            dropped.iter().all(|n| !stalled.contains(n))
                && plan.is_quic(dropped[0]) != plan.is_quic(dropped[1])
        );
    }

    #[tokio::test]
    async fn gates_spread_viewers_over_urls_and_sockets() {
        let mut plan = Plan { trust: crate::target::TrustBy::Anyone, ..plan(3, 450) };
        plan.ws_urls.push("ws://127.0.0.2:1/v1".into());
        let routes = Routes::new(&plan).unwrap();
        assert_eq!(routes.quic.len(), 3);
        for n in 0..453 {
            routes.of(&plan, n);
        }
        let hosts = |plan: &Plan| -> Vec<Vec<String>> {
            let ws = (0..453).filter(|&n| !plan.is_quic(n));
            ws.map(|n| routes.of(plan, n).1.as_slice().iter().map(|url| url.host().to_owned()).collect())
                .collect()
        };
        assert_eq!(hosts(&plan), [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1"]]);
        plan.fails_over = true;
        let (a, b) = ("127.0.0.1", "127.0.0.2");
        assert_eq!(hosts(&plan), [[a, b], [b, a], [a, b]], "its own first");
    }

    #[test]
    fn a_viewers_task_is_small() {
        let crowd = Crowd::new(plan(1, 0), None).unwrap();
        let task = std::mem::size_of_val(&live(crowd.common.clone(), 0));
        let (slot, driver) = (std::mem::size_of::<Slot>(), std::mem::size_of::<Driver<Viewer>>());
        // A driver's future holds the driver twice; its socket, timer and ticket are another 700 bytes.
        assert!(task + slot + 2 * driver <= 2_000, "task {task}, slot {slot}, driver {driver}");
    }
}
