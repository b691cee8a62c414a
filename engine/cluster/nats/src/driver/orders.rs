//! Orders: an operator asks any node, and the node that can do it answers.
//!
//! Why numbers: a stand answers by a number and knows nothing of subjects, and a request to another node has
//! its answer at a subject of its own.
//! Invariants: an order is answered once, or dropped after [`ANSWER_WITHIN`]; at most [`WAITING_MAX`] wait.
//! Not here: what an order does (`grandstand_cluster::stand`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_nats::Message;
use grandstand_cluster::id::NodeId;
use grandstand_cluster::link::Message as _;
use grandstand_cluster::order::{Order, Outcome};
use grandstand_cluster::stand::FromWire;
use tokio::sync::oneshot;

use super::Driver;
use crate::subjects::Answered;

/// Orders that wait for their answers. Operators are few.
const WAITING_MAX: usize = 256;
/// A node that lives answers within milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// An order of this node's operator.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) node: NodeId,
    pub(crate) order: Order,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// Who waits for an answer.
#[derive(Debug)]
enum Waiter {
    Here(oneshot::Sender<Outcome>),
    /// Another node, at this subject.
    There(String),
}

/// Orders that wait.
#[derive(Debug, Default)]
pub(super) struct Orders {
    number: u64,
    waiting: BTreeMap<u64, (Instant, NodeId, Waiter)>,
}

impl Orders {
    fn enter(&mut self, node: NodeId, waiter: Waiter) -> Result<u64, Waiter> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(waiter);
        }
        self.number += 1;
        self.waiting.insert(self.number, (Instant::now(), node, waiter));
        Ok(self.number)
    }

    /// Orders whose answer got lost.
    pub(super) fn drop_old(&mut self) {
        self.waiting.retain(|_, (since, ..)| since.elapsed() < ANSWER_WITHIN);
    }
}

/// This node's operator asks.
pub(super) fn ask(driver: &mut Driver, asked: Asked) {
    let Asked { node, order, answer: to } = asked;
    if node == driver.membership.me() {
        return take_order(driver, order, Waiter::Here(to));
    }
    match driver.orders.enter(node, Waiter::Here(to)) {
        Err(waiter) => answer(driver, waiter, &busy()),
        Ok(number) => {
            let reply = Answered::Order(number).subject(&driver.inbox);
            let bytes = order.encode_as(driver.membership.version_to(node));
            let is_sent = bytes.is_ok_and(|bytes| driver.request(driver.subjects.order(node), reply, bytes));
            if !is_sent {
                settle(driver, number, &Outcome::refused("no NATS server is connected: try again"));
            }
        }
    }
}

/// Another node's operator asks.
pub(super) fn handle_order(driver: &mut Driver, message: &Message) -> Option<()> {
    let order = Order::decode(&message.payload).ok()?;
    let reply = message.reply.as_ref()?.to_string();
    take_order(driver, order, Waiter::There(reply));
    Some(())
}

fn take_order(driver: &mut Driver, order: Order, waiter: Waiter) {
    match order {
        Order::Drain | Order::Serve => {
            driver.shared.set_draining(order == Order::Drain);
            tell_draining(driver);
            answer(driver, waiter, &Outcome::default());
        }
        Order::HandOver { shard, to } => match driver.orders.enter(to, waiter) {
            Err(waiter) => answer(driver, waiter, &busy()),
            Ok(order) if driver.deliver(shard, FromWire::HandOver { to, order }) => {}
            Ok(order) => settle(driver, order, &busy()),
        },
    }
}

/// Whether the node gives its shards away, to stands and other nodes.
pub(super) fn tell_draining(driver: &mut Driver) {
    let is_draining = driver.shared.is_draining();
    if driver.told_draining != is_draining && driver.deliver_to_all(&FromWire::Drain(is_draining)) {
        driver.told_draining = is_draining;
    }
    driver.membership.set_draining(is_draining);
    driver.send_heartbeat();
}

/// A stand, or another node, answers.
pub(super) fn settle(driver: &mut Driver, number: u64, outcome: &Outcome) {
    if let Some((_, _, waiter)) = driver.orders.waiting.remove(&number) {
        answer(driver, waiter, outcome);
    }
}

pub(super) fn handle_outcome(driver: &mut Driver, number: u64, message: &Message) {
    let Some((_, node, _)) = driver.orders.waiting.get(&number) else { return };
    let outcome = if message.status.is_some() {
        Outcome::refused(format!("{node} does not run, or is of an earlier release"))
    } else {
        let decoded = Outcome::decode(&message.payload);
        decoded.unwrap_or_else(|fault| Outcome::refused(format!("{node} answers {fault}")))
    };
    settle(driver, number, &outcome);
}

fn answer(driver: &Driver, waiter: Waiter, outcome: &Outcome) {
    match waiter {
        // Whoever asked may have stopped waiting.
        Waiter::Here(answer) => drop(answer.send(outcome.clone())),
        Waiter::There(reply) => {
            let _ = driver.publish_encoded(reply, outcome.encode_as(driver.membership.version()));
        }
    }
}

fn busy() -> Outcome {
    Outcome::refused("the node has too many orders, or its shard is too busy: try again")
}
