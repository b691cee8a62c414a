//! Returners: thousands of sessions of the real client in one thread, all cut at once, and watched as they
//! come back.
//!
//! Why the client library, where other benches have lean viewers: how a crowd comes back is the client's
//! doing as much as the node's: its backoff, its tickets, the times it is told. Why a thread of lower
//! priority: those who stayed are listened to by another process on the same core, and must not hear the
//! returners' own handshakes as the node's delay.
//! Invariants: every viewer accounts for every offset from its first on: a message, an omission or a gap, in
//! order and once; what its session calls a fault is one.
//! Not here: who stays (`crowd`), who speaks (`publisher`).

mod viewer;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use grandstand_client::core::{Options, Session, SubscribeOptions};
use grandstand_client::net::{Connector, Driver, Trust, Url, now_us};

use crate::histogram::{Summary, Times};
use viewer::{Slot, Viewer};

/// First joins under way at a time.
const IN_FLIGHT_MAX: usize = 128;

/// Between two looks at orders and at what has become of everybody.
const LOOK: Duration = Duration::from_millis(5);

/// Below the crowd of those who stay, and the publisher.
const NICENESS: i32 = 10;

/// Who comes, and how.
#[derive(Clone, Debug)]
pub struct ReturnersPlan {
    /// Where to: `ws://`, `wss://` or `quic://`.
    pub url: String,
    /// The room.
    pub room: String,
    /// How many.
    pub viewers: usize,
    /// They show TLS tickets and address tokens when they come back.
    pub resume_tls: bool,
}

/// What became of a storm.
#[derive(Clone, Debug, Default)]
pub struct Returned {
    /// Are back: follow the room from where they were, and have everything up to then.
    pub back: usize,
    /// Of them, those whose session and subscription were continued.
    pub resumed: usize,
    /// From the cut to the last one's being back.
    pub last_back: Duration,
    /// From the moment at which a viewer wanted to come back until it was.
    pub took: Summary,
    /// Tries that the node refused with a time to come back.
    pub told_to_retry: u64,
    /// Tries that ended without one.
    pub cut_early: u64,
    /// The first such end.
    pub first_end: Option<String>,
}

/// Where everybody stands at the end.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Expect the offset that was asked for.
    pub complete: usize,
    /// Messages, and offsets that they were told they did not get, of all.
    pub messages: u64,
    /// Left out by pacing, of all.
    pub omitted: u64,
    /// Within gaps that were named, of all.
    pub gap_messages: u64,
    /// Offsets that went missing without a word, came again, or did not fit.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Connections that ended when nobody had cut them.
    pub ended: u64,
    /// The first fault.
    pub first_fault: Option<String>,
}

enum Order {
    Cut { within: Duration, patience: Duration },
    Settle { head: u64, patience: Duration },
}

enum Answer {
    Came,
    Returned(Box<Returned>),
    Settled(Box<Accounts>),
}

/// The thread's handle.
#[derive(Debug)]
pub struct Returners {
    orders: mpsc::Sender<Order>,
    answers: mpsc::Receiver<Answer>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Returners {
    /// Starts the thread, and waits until everybody follows the room.
    ///
    /// # Errors
    /// Somebody did not get in within `patience`.
    pub fn come(plan: ReturnersPlan, patience: Duration) -> Result<Returners> {
        let (orders, theirs) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let run = move || run(&plan, patience, &theirs, &answer);
        let thread = std::thread::Builder::new().name("returners".into()).spawn(run)?;
        let mut returners = Returners { orders, answers, thread: Some(thread) };
        match returners.answer()? {
            Answer::Came => Ok(returners),
            _ => bail!("the returners answered something else"),
        }
    }

    /// All are cut; each comes back after a time of its own, evenly over `within`. Until all are back, or
    /// `patience` is over.
    ///
    /// # Errors
    /// The thread failed.
    pub fn cut(&mut self, within: Duration, patience: Duration) -> Result<Returned> {
        match self.ask(Order::Cut { within, patience })? {
            Answer::Returned(returned) => Ok(*returned),
            _ => bail!("the returners answered something else"),
        }
    }

    /// Waits until everybody expects `head`, and tells how they got there.
    ///
    /// # Errors
    /// The thread failed.
    pub fn settle(&mut self, head: u64, patience: Duration) -> Result<Accounts> {
        match self.ask(Order::Settle { head, patience })? {
            Answer::Settled(accounts) => Ok(*accounts),
            _ => bail!("the returners answered something else"),
        }
    }

    fn ask(&mut self, order: Order) -> Result<Answer> {
        // Whether it is gone shows in its answer.
        let _ = self.orders.send(order);
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer> {
        if let Ok(answer) = self.answers.recv() {
            return Ok(answer);
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_)) => bail!("the returners' thread panicked"),
            _ => bail!("the returners' thread has ended"),
        }
    }
}

impl Drop for Returners {
    fn drop(&mut self) {
        // The thread ends with its orders.
        drop(std::mem::replace(&mut self.orders, mpsc::channel().0));
        if let Some(thread) = self.thread.take() {
            // What failed was told to whoever asked.
            let _ = thread.join();
        }
    }
}

/// What all viewers share with the thread that gives them orders.
#[derive(Debug, Default)]
struct Shared {
    slots: RefCell<Vec<Slot>>,
    told_to_retry: Cell<u64>,
    cut_early: Cell<u64>,
    first_end: RefCell<Option<String>>,
    first_fault: RefCell<Option<String>>,
}

impl Shared {
    fn fault(&self, text: impl FnOnce() -> String) {
        self.first_fault.borrow_mut().get_or_insert_with(text);
    }

    fn count(&self, is: impl Fn(&Slot) -> bool) -> usize {
        self.slots.borrow().iter().filter(|slot| is(slot)).count()
    }
}

fn run(
    plan: &ReturnersPlan,
    patience: Duration,
    orders: &mpsc::Receiver<Order>,
    answers: &mpsc::Sender<Answer>,
) -> Result<()> {
    rustix::process::setpriority_process(None, NICENESS).context("no lower priority")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(plan, patience, orders, answers))
}

async fn serve(
    plan: &ReturnersPlan,
    patience: Duration,
    orders: &mpsc::Receiver<Order>,
    answers: &mpsc::Sender<Answer>,
) -> Result<()> {
    let shared = Rc::new(Shared::default());
    come(plan, &shared, patience).await?;
    let mut answer = Answer::Came;
    loop {
        if answers.send(answer).is_err() {
            return Ok(());
        }
        answer = match next(orders).await {
            None => return Ok(()),
            Some(Order::Cut { within, patience }) => {
                Answer::Returned(Box::new(cut(&shared, within, patience).await))
            }
            Some(Order::Settle { head, patience }) => {
                Answer::Settled(Box::new(settle(&shared, head, patience).await))
            }
        };
    }
}

/// The next order; `None` when there will be none.
async fn next(orders: &mpsc::Receiver<Order>) -> Option<Order> {
    loop {
        match orders.try_recv() {
            Ok(order) => return Some(order),
            Err(mpsc::TryRecvError::Disconnected) => return None,
            Err(mpsc::TryRecvError::Empty) => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn come(plan: &ReturnersPlan, shared: &Rc<Shared>, patience: Duration) -> Result<()> {
    let tickets = if plan.resume_tls { plan.viewers } else { 0 };
    let connector = Connector::for_many(&Trust::AnyoneForTests, None, None, tickets)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let url: Url = plan.url.parse().map_err(|error| anyhow::anyhow!("{}: {error}", plan.url))?;
    let deadline = Instant::now() + patience;
    let mut begun = 0;
    while shared.count(|slot| slot.is_following) < plan.viewers {
        while begun < plan.viewers && begun < shared.count(|slot| slot.is_following) + IN_FLIGHT_MAX {
            spawn(plan, shared, &connector, &url, begun);
            begun += 1;
        }
        if Instant::now() > deadline {
            let fault = shared.first_end.borrow().clone().unwrap_or_default();
            bail!("{} of {} came: {fault}", shared.count(|slot| slot.is_following), plan.viewers);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn spawn(plan: &ReturnersPlan, shared: &Rc<Shared>, connector: &Connector, url: &Url, number: usize) {
    shared.slots.borrow_mut().push(Slot::default());
    // Every session draws its own delays and nonces, the same in every run.
    let seed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut session = Session::new(Options { seed, keep_state: false, ..Options::default() });
    session.subscribe(&plan.room, SubscribeOptions::default());
    let driver = Driver::new(connector, url, session, Viewer::new(number, shared.clone()));
    tokio::task::spawn_local(driver.run());
}

async fn cut(shared: &Shared, within: Duration, patience: Duration) -> Returned {
    shared.told_to_retry.set(0);
    shared.cut_early.set(0);
    shared.first_end.take();
    let cut_us = now_us();
    {
        let mut slots = shared.slots.borrow_mut();
        let count = slots.len() as u64;
        for (n, slot) in (0..).zip(slots.iter_mut()) {
            slot.order_cut(cut_us, within.as_micros() as u64 * n / count);
        }
    }
    let deadline = Instant::now() + patience;
    while shared.count(Slot::is_back) < shared.slots.borrow().len() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    let slots = shared.slots.borrow();
    let mut times = Times::default();
    let mut returned = Returned {
        told_to_retry: shared.told_to_retry.get(),
        cut_early: shared.cut_early.get(),
        first_end: shared.first_end.borrow().clone(),
        ..Returned::default()
    };
    for slot in slots.iter().filter(|slot| slot.is_back()) {
        returned.back += 1;
        returned.resumed += usize::from(slot.is_resumed());
        times.record(slot.took_us());
        let after = Duration::from_micros(slot.back_us().saturating_sub(cut_us));
        returned.last_back = returned.last_back.max(after);
    }
    returned.took = times.summary();
    returned
}

async fn settle(shared: &Shared, head: u64, patience: Duration) -> Accounts {
    let deadline = Instant::now() + patience;
    while shared.count(|slot| slot.next() == head) < shared.slots.borrow().len() && Instant::now() < deadline
    {
        tokio::time::sleep(LOOK).await;
    }
    let slots = shared.slots.borrow();
    let sum = |of: fn(&Slot) -> u64| slots.iter().map(of).sum();
    Accounts {
        complete: slots.iter().filter(|slot| slot.is_complete(head)).count(),
        messages: sum(|slot| slot.messages),
        omitted: sum(|slot| slot.omitted),
        gap_messages: sum(|slot| slot.gap_messages),
        lost: sum(|slot| slot.lost),
        duplicated: sum(|slot| slot.duplicated),
        ended: sum(|slot| slot.ended),
        first_fault: shared.first_fault.borrow().clone(),
    }
}
