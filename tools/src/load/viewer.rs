//! One virtual viewer: a session that checks its every event and obeys the orders of the crowd.
//!
//! Why a slot apart from the handler: the crowd reads every viewer's counts and leaves orders there, without
//! one channel per viewer.
//! Invariant: a viewer's own memory is its session, its counts and a reference to the shared state.
//! Not here: the times at which viewers join and leave (`crowd`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use grandstand_client::core::{Ending, Event, Fault, Reason, RoomId};
use grandstand_client::net::{Control, Handler};
use grandstand_protocol::frame::{GapReason, Outcome};

use super::checker::{Checker, Fit};
use super::expected::{Expected, Verdict};
use super::restarts::Restarts;
use super::tally::Tally;
use grandstand_harness::histogram::Times;

/// Reactions, with the weight of each.
const REACTIONS: [(&str, u32); 4] = [("❤", 5), ("👏", 3), ("😂", 2), ("🎉", 1)];

/// State that the viewers of a process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) tally: RefCell<Tally>,
    /// Latencies since the last progress line.
    pub(crate) recent: RefCell<Times>,
    pub(crate) slots: RefCell<Vec<Slot>>,
    /// One per room.
    pub(crate) expected: Vec<RefCell<Expected>>,
    /// Viewers that are in the room now.
    pub(crate) live: Cell<u64>,
    /// Viewers that neither got in nor failed yet, of all that are to come.
    pub(crate) outside: Cell<usize>,
    /// From the client library's clock to the shared one.
    pub(crate) clock_offset_us: u64,
    /// Where restarts are expected: what was shown of each log.
    pub(crate) restarts: Option<Restarts>,
    /// Whether publishers are at work.
    pub(crate) is_on_air: Cell<bool>,
}

/// The crowd's record of a viewer, with its orders to it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) checker: Checker,
    pub(crate) state: State,
    /// Stops reading for a while in this run.
    pub(crate) is_stalled: bool,
    /// Loses its connection again and again in this run.
    pub(crate) is_dropped: bool,
    /// In the room at this moment.
    pub(crate) is_live: bool,
    /// When it leaves, it comes back.
    pub(crate) comes_back: bool,
    /// Was connected and behind when the time to settle was over.
    pub(crate) is_behind: bool,
    /// Was counted as in or failed.
    pub(crate) is_counted: bool,
    orders: Orders,
    waker: Option<Waker>,
}

/// The state of a viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Not begun, or gone.
    #[default]
    Out,
    /// On its way in.
    Coming,
    /// Was in the room, and is or comes back to it.
    In,
}

#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    leave: bool,
    drop: bool,
    hold_until_us: u64,
    reactions: u32,
}

impl Slot {
    /// Stop reading until then, on the client library's clock.
    pub(crate) fn order_hold(&mut self, until_us: u64) {
        self.orders.hold_until_us = until_us;
        self.wake();
    }

    pub(crate) fn order_drop(&mut self) {
        self.orders.drop = true;
        self.wake();
    }

    /// In the room, and not told to drop its connection already.
    pub(crate) fn can_drop(&self) -> bool {
        self.is_live && !self.orders.drop
    }

    pub(crate) fn order_leave(&mut self, comes_back: bool) {
        (self.orders.leave, self.comes_back) = (true, comes_back);
        self.wake();
    }

    pub(crate) fn order_reaction(&mut self) {
        self.orders.reactions += 1;
        self.wake();
    }

    /// A new session begins in this slot.
    pub(crate) fn begin(&mut self) {
        (self.checker, self.state, self.is_live) = (Checker::default(), State::Coming, false);
        (self.orders, self.comes_back) = (Orders::default(), false);
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Shared {
    /// A viewer got in, or never will: counted once for each.
    fn count_arrival(&self, slot: &mut Slot) {
        if !std::mem::replace(&mut slot.is_counted, true) {
            self.outside.set(self.outside.get() - 1);
        }
    }

    /// A session is over: close its accounts. `head` is where the room's log ends, for those that stayed.
    pub(crate) fn handle_finished(&self, number: usize, reason: &Reason, head: Option<u64>) {
        let slot = &mut self.slots.borrow_mut()[number];
        let mut tally = self.tally.borrow_mut();
        if slot.is_live {
            slot.is_live = false;
            self.live.set(self.live.get() - 1);
        }
        if !slot.orders.leave {
            tally.failures.count(&reason.to_string(), 1);
        }
        self.count_arrival(slot);
        if slot.state == State::In {
            let stayed = slot.orders.leave && !slot.comes_back;
            slot.checker.finish(head.filter(|_| stayed), slot.is_behind);
            tally.take_accounts(&slot.checker);
            if slot.is_dropped {
                tally.counts.dropped_missed += slot.checker.gapped;
            }
        }
        if let Some(restarts) = &self.restarts {
            let checker = &slot.checker;
            let (duplicated, out_of_order) = (checker.duplicated.into(), checker.out_of_order.into());
            restarts.handle_finished(number, checker.lost, duplicated, out_of_order);
        }
        slot.state = State::Out;
    }
}

/// The handler of one viewer's session.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) shared: Rc<Shared>,
    pub(crate) number: usize,
    pub(crate) room: RoomId,
    /// Index of the room among those of the run.
    pub(crate) room_index: usize,
    /// Of connecting, on the client library's clock.
    pub(crate) began_us: u64,
}

impl Handler for Viewer {
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>) {
        let slot = &mut self.shared.slots.borrow_mut()[self.number];
        let mut tally = self.shared.tally.borrow_mut();
        match event {
            Event::Message { offset, author, text, replay, .. } => {
                tally.counts.deliveries += 1;
                if slot.checker.handle_message(*offset) == Fit::New {
                    let is_calm = !(*replay || slot.is_stalled || slot.is_dropped);
                    let at = (slot.checker.epoch(), *offset);
                    self.judge(now_us, at, author, text, is_calm, &mut tally);
                }
            }
            Event::BatchEnd { wire_bytes, .. } => {
                if let Some(restarts) = &self.shared.restarts {
                    let watches = !(slot.is_stalled || slot.is_dropped) && self.shared.is_on_air.get();
                    restarts.handle_heard(self.number, now_us, watches);
                }
                tally.counts.frames += 1;
                tally.counts.bytes += u64::from(*wire_bytes);
            }
            Event::Tally { count, .. } => tally.counts.reactions_seen += count,
            Event::Omitted { from, to, .. } => slot.checker.handle_omitted(*from, *to),
            Event::Gap { epoch, from, to, count, reason, .. } => {
                match reason {
                    GapReason::Restarted => {
                        // Where the log goes on, so do the accounts.
                        tally.counts.logs_changed += 1;
                        if *from == slot.checker.next() {
                            slot.checker.handle_continued(*epoch);
                        } else {
                            slot.checker.handle_subscribed(*epoch, *to);
                        }
                    }
                    _ => slot.checker.handle_gap(*from, *to, *count),
                }
                tally.count_gap(gap_name(*reason), *count);
                if let Some(restarts) = &self.shared.restarts {
                    let (epoch, why) = (slot.checker.epoch(), gap_name(*reason));
                    restarts.handle_gap(self.number, epoch, *from, *to, *count, why);
                }
            }
            Event::Fault { fault: Fault::Duplicate { offset }, .. } => {
                slot.checker.handle_message(*offset);
            }
            Event::Fault { fault: Fault::Desync { .. }, .. } => tally.counts.desyncs += 1,
            Event::Subscribed { epoch, offset, outcome, .. } => {
                self.handle_subscribed(now_us, (*epoch, *offset), *outcome, slot, &mut tally);
            }
            Event::Refused { reason, room: Some(_), .. } if !reason.may_retry() => {
                tally.failures.count(reason.text(), 1);
                (slot.orders.leave, slot.comes_back) = (true, false);
            }
            Event::Disconnected { reason } => {
                if slot.is_live {
                    slot.is_live = false;
                    self.shared.live.set(self.shared.live.get() - 1);
                }
                let refused = Reason::Transport(Ending::Broken(std::io::ErrorKind::ConnectionRefused));
                let was_refused = *reason == refused;
                tally.counts.refused_connections += u64::from(was_refused);
                if let Some(restarts) = &self.shared.restarts {
                    restarts.handle_disconnected(self.number, was_refused);
                }
                match reason {
                    Reason::Transport(Ending::Dropped) => tally.counts.drops += 1,
                    _ if slot.orders.leave => {}
                    other => tally.disconnects.count(&other.to_string(), 1),
                }
            }
            _ => {}
        }
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let slot = &mut self.shared.slots.borrow_mut()[self.number];
        if slot.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            slot.waker = Some(cx.waker().clone());
        }
        let orders = &mut slot.orders;
        if orders.leave {
            control.hold_reading_until(0);
            control.session.close(control.now_us);
        }
        if std::mem::take(&mut orders.drop) {
            control.drop_connection();
        }
        if orders.hold_until_us > 0 {
            control.hold_reading_until(std::mem::take(&mut orders.hold_until_us));
        }
        let reactions = std::mem::take(&mut orders.reactions);
        if reactions > 0 && control.session.is_live(self.room) {
            let _ = control.session.react(self.room, reaction(self.number), reactions);
            self.shared.tally.borrow_mut().counts.reactions_sent += u64::from(reactions);
        }
        None
    }
}

impl Viewer {
    fn handle_subscribed(
        &self,
        now_us: u64,
        (epoch, offset): (u64, u64),
        outcome: Outcome,
        slot: &mut Slot,
        tally: &mut Tally,
    ) {
        if slot.state == State::In {
            tally.counts.resumes += 1;
        } else {
            slot.state = State::In;
            tally.counts.joins += 1;
            tally.join_latency.record(now_us.saturating_sub(self.began_us));
            self.shared.count_arrival(slot);
        }
        let restarts_expected = self.shared.restarts.is_some();
        let continues = matches!(outcome, Outcome::Resumed | Outcome::Gapped);
        if continues && slot.checker.epoch() != epoch {
            slot.checker.handle_continued(epoch);
            tally.counts.logs_changed += 1;
        } else if !slot.checker.handle_subscribed(epoch, offset) {
            *(if restarts_expected {
                &mut tally.counts.logs_changed
            } else {
                &mut tally.counts.logs_lost
            }) += 1;
        }
        if !std::mem::replace(&mut slot.is_live, true) {
            self.shared.live.set(self.shared.live.get() + 1);
        }
    }

    fn judge(
        &self,
        now_us: u64,
        (epoch, offset): (u64, u64),
        author: &str,
        text: &str,
        is_calm: bool,
        tally: &mut Tally,
    ) {
        let mut expected = self.shared.expected[self.room_index].borrow_mut();
        let verdict = if let Some(restarts) = &self.shared.restarts {
            let (verdict, seq) = expected.judge_alone(text);
            if !restarts.handle_shown(self.number, self.room_index, epoch, offset, seq) {
                tally.counts.order_differences += 1;
            }
            verdict
        } else {
            expected.judge(offset, author, text)
        };
        match verdict {
            Verdict::Ours { due_us } => {
                let latency_us = (now_us + self.shared.clock_offset_us).saturating_sub(due_us);
                if is_calm {
                    tally.latency.record(latency_us);
                    self.shared.recent.borrow_mut().record(latency_us);
                } else {
                    tally.disturbed_latency.record(latency_us);
                }
            }
            Verdict::Foreign => tally.counts.foreign += 1,
            Verdict::Wrong => tally.counts.wrong += 1,
        }
    }
}

/// The reaction of a viewer, by the weights of [`REACTIONS`].
fn reaction(number: usize) -> &'static str {
    let total: u32 = REACTIONS.iter().map(|(_, weight)| weight).sum();
    let mut at = number as u32 % total;
    for (key, weight) in REACTIONS {
        if at < weight {
            return key;
        }
        at -= weight;
    }
    unreachable!("below the sum of the weights")
}

fn gap_name(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Slow => "slow",
        GapReason::Paced => "paced",
        GapReason::Expired => "expired",
        GapReason::Restarted => "restarted",
    }
}
