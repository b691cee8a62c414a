//! One returner: its accounts, and what it is told to do.
//!
//! Not here: when (`super`).

use std::rc::Rc;
use std::task::{Context, Waker};

use grandstand_client::core::{Ending, Event, Fault, Reason};
use grandstand_client::net::{Control, Handler};
use grandstand_protocol::frame::Outcome;

use super::Shared;

/// What a viewer has had, and where it stands.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) is_following: bool,
    pub(super) messages: u64,
    pub(super) omitted: u64,
    pub(super) gap_messages: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) ended: u64,
    first: u64,
    next: u64,
    storm: Option<Storm>,
    waker: Option<Waker>,
}

/// A cut, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Storm {
    /// When it wants to come back.
    wants_us: u64,
    /// Told to drop its connection, for so long, and has not done so.
    order: Option<u64>,
    /// Its session was continued, and so was its subscription.
    is_welcome: bool,
    is_resumed: bool,
    /// It follows again, and is back when it has what lies before this.
    head: Option<u64>,
    back_us: Option<u64>,
}

impl Slot {
    pub(super) fn order_cut(&mut self, now_us: u64, away_us: u64) {
        self.storm = Some(Storm { wants_us: now_us + away_us, order: Some(away_us), ..Storm::default() });
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    pub(super) fn is_back(&self) -> bool {
        self.storm.is_some_and(|storm| storm.back_us.is_some())
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.storm.is_some_and(|storm| storm.is_resumed)
    }

    pub(super) fn back_us(&self) -> u64 {
        self.storm.and_then(|storm| storm.back_us).unwrap_or(0)
    }

    pub(super) fn took_us(&self) -> u64 {
        self.storm.map_or(0, |storm| self.back_us().saturating_sub(storm.wants_us))
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// It stands at `head`, and every offset since it came is accounted for.
    pub(super) fn is_complete(&self, head: u64) -> bool {
        let had = self.messages + self.omitted + self.gap_messages;
        self.next == head && had == head - self.first && self.lost + self.duplicated == 0
    }

    /// Offsets from `from` to `to` are accounted for.
    fn advance(&mut self, from: u64, to: u64) {
        self.lost += from.saturating_sub(self.next);
        self.duplicated += self.next.saturating_sub(from);
        self.next = self.next.max(to);
    }

    /// Has it caught up since it follows again?
    fn look_whether_back(&mut self, now_us: u64) {
        let next = self.next;
        if let Some(storm) = &mut self.storm
            && storm.back_us.is_none()
            && storm.head.is_some_and(|head| next >= head)
        {
            storm.back_us = Some(now_us);
        }
    }
}

/// The handler of one session.
pub(super) struct Viewer {
    number: usize,
    shared: Rc<Shared>,
}

impl Viewer {
    pub(super) fn new(number: usize, shared: Rc<Shared>) -> Viewer {
        Viewer { number, shared }
    }

    fn handle_ended(&self, slot: &mut Slot, reason: &Reason) {
        let is_away = slot.storm.is_some_and(|storm| storm.back_us.is_none()) || !slot.is_following;
        let was_told = match reason {
            Reason::Transport(Ending::Dropped) => return,
            Reason::Transport(Ending::Http { status: 429 | 503, .. }) | Reason::Told { code: 104, .. } => {
                true
            }
            _ => false,
        };
        if !is_away {
            slot.ended += 1;
            return self.shared.fault(|| format!("viewer {}: {reason}", self.number));
        }
        let count = if was_told { &self.shared.told_to_retry } else { &self.shared.cut_early };
        count.set(count.get() + 1);
        self.shared.first_end.borrow_mut().get_or_insert_with(|| reason.to_string());
    }

    fn handle_subscribed(&self, slot: &mut Slot, outcome: Outcome, offset: u64, head: u64) {
        if !slot.is_following {
            (slot.is_following, slot.first, slot.next) = (true, offset, offset);
        } else if let Some(storm) = &mut slot.storm {
            storm.is_resumed = storm.is_welcome && matches!(outcome, Outcome::Resumed | Outcome::Gapped);
            storm.head = Some(head);
            if outcome == Outcome::Live || outcome == Outcome::Restarted {
                self.shared.fault(|| format!("viewer {} began anew: {outcome:?}", self.number));
                slot.lost += 1;
            }
        }
    }

    fn handle_fault(&self, slot: &mut Slot, fault: &Fault) {
        match fault {
            Fault::Duplicate { .. } => slot.duplicated += 1,
            Fault::Skipped { .. } | Fault::Desync { .. } => slot.lost += 1,
        }
        self.shared.fault(|| format!("viewer {}: {fault:?}", self.number));
    }
}

impl Handler for Viewer {
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>) {
        let slot = &mut self.shared.slots.borrow_mut()[self.number];
        match event {
            Event::Welcome { resumed, .. } => {
                if let Some(storm) = &mut slot.storm {
                    storm.is_welcome = *resumed;
                }
            }
            Event::Subscribed { outcome, offset, head, .. } => {
                self.handle_subscribed(slot, *outcome, *offset, *head);
            }
            Event::Message { offset, .. } => {
                slot.advance(*offset, offset + 1);
                slot.messages += 1;
            }
            Event::Omitted { from, to, .. } => {
                slot.advance(*from, *to);
                slot.omitted += to - from;
            }
            Event::Gap { from, to, .. } => {
                slot.advance(*from, *to);
                slot.gap_messages += to - from;
            }
            Event::Fault { fault, .. } => self.handle_fault(slot, fault),
            Event::Disconnected { reason } => self.handle_ended(slot, reason),
            Event::Closed { reason } => {
                slot.ended += 1;
                self.shared.fault(|| format!("viewer {} gave up: {reason}", self.number));
            }
            _ => {}
        }
        slot.look_whether_back(now_us);
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        let slot = &mut self.shared.slots.borrow_mut()[self.number];
        if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            slot.waker = Some(cx.waker().clone());
        }
        if let Some(away_us) = slot.storm.as_mut().and_then(|storm| storm.order.take()) {
            control.drop_connection_for(away_us);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_is_accounted_for() {
        let mut slot = Slot { first: 10, next: 10, ..Slot::default() };
        slot.advance(10, 11);
        slot.messages += 1;
        slot.advance(11, 14);
        slot.omitted += 3;
        assert!(slot.is_complete(14) && !slot.is_complete(15));
        slot.advance(16, 17);
        assert_eq!((slot.lost, slot.next), (2, 17));
        slot.advance(12, 13);
        assert_eq!((slot.duplicated, slot.next), (5, 17));
        assert!(!slot.is_complete(17));
    }

    #[test]
    fn one_is_back_when_it_has_what_was_said_meanwhile() {
        let mut slot = Slot { next: 5, ..Slot::default() };
        slot.order_cut(1_000, 500);
        slot.look_whether_back(1_100);
        assert!(!slot.is_back());
        slot.storm.as_mut().unwrap().head = Some(7);
        slot.advance(5, 6);
        slot.look_whether_back(2_000);
        assert!(!slot.is_back());
        slot.advance(6, 7);
        slot.look_whether_back(2_500);
        assert_eq!((slot.is_back(), slot.took_us()), (true, 1_000));
    }
}
