//! Acts of an application that the node has not answered: removals, timeouts, reports and the like.
//!
//! Why kept: a connection may end between an act and its answer. Most acts are the same when they are done
//! twice, so the session sends them again. `Clear`, `Warn` and `Appeal` are not: after the end of a
//! connection on which they were sent nobody knows what became of them.
//! Invariants: each act that was accepted leaves here with one outcome; acts of a room keep their order.
//! Not here: who may act (the node), what an act removed (`removal`).

use std::collections::VecDeque;

use grandstand_protocol::frame::{Act, ActKind, Category, ClientFrame, Encoder};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules;

use super::RoomId;

/// An act. Offsets are those of the room's messages, as events name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActParts<'a> {
    /// What is done.
    pub act: ActKind,
    /// The message by which it is done, or the number of a warning or of what is held.
    pub target: Option<u64>,
    /// For how long, or how far back; 0: for ever, or all that is kept.
    pub seconds: u32,
    /// Why, of a report.
    pub category: Category,
    /// A reason for people, a warning, or an appeal.
    pub text: &'a str,
}

impl<'a> ActParts<'a> {
    fn on(act: ActKind, target: u64) -> ActParts<'a> {
        ActParts { act, target: Some(target), ..ActParts::default() }
    }

    /// Remove the message at an offset.
    pub fn remove(offset: u64) -> ActParts<'a> {
        ActParts::on(ActKind::Remove, offset)
    }

    /// Remove what the author of the message at an offset said in the last `seconds`; 0: all that is kept.
    pub fn remove_author(offset: u64, seconds: u32) -> ActParts<'a> {
        ActParts { seconds, ..ActParts::on(ActKind::RemoveAuthor, offset) }
    }

    /// Remove what everybody said in the last `seconds`; 0: all that is kept.
    pub fn clear(seconds: u32) -> ActParts<'a> {
        ActParts { act: ActKind::Clear, seconds, ..ActParts::default() }
    }

    /// The author of the message at an offset may not speak for `seconds`, 1 to 1,209,600.
    pub fn timeout(offset: u64, seconds: u32) -> ActParts<'a> {
        ActParts { seconds, ..ActParts::on(ActKind::Timeout, offset) }
    }

    /// The author of the message at an offset may not be in the room for `seconds`; 0: for ever.
    pub fn ban(offset: u64, seconds: u32) -> ActParts<'a> {
        ActParts { seconds, ..ActParts::on(ActKind::Ban, offset) }
    }

    /// What the author of the message at an offset says is shown to nobody else, for `seconds`; 0: for ever.
    pub fn shadow(offset: u64, seconds: u32) -> ActParts<'a> {
        ActParts { seconds, ..ActParts::on(ActKind::Shadow, offset) }
    }

    /// Take back what holds the author of the message at an offset.
    pub fn lift(offset: u64) -> ActParts<'a> {
        ActParts::on(ActKind::Lift, offset)
    }

    /// Warn the author of the message at an offset, who speaks again once they acknowledged it.
    pub fn warn(offset: u64, text: &'a str) -> ActParts<'a> {
        ActParts { text, ..ActParts::on(ActKind::Warn, offset) }
    }

    /// Pin the message at an offset, or unpin it.
    pub fn pin(offset: u64, is_pinned: bool) -> ActParts<'a> {
        ActParts::on(if is_pinned { ActKind::Pin } else { ActKind::Unpin }, offset)
    }

    /// Publish what is held under a number, or refuse it.
    pub fn decide(held: u64, is_approved: bool) -> ActParts<'a> {
        ActParts::on(if is_approved { ActKind::Approve } else { ActKind::Reject }, held)
    }

    /// Report the message at an offset to the moderators.
    pub fn report(offset: u64, category: Category, text: &'a str) -> ActParts<'a> {
        ActParts { category, text, ..ActParts::on(ActKind::Report, offset) }
    }

    /// Acknowledge the warning with this number.
    pub fn acknowledge(warning: u64) -> ActParts<'a> {
        ActParts::on(ActKind::Acknowledge, warning)
    }

    /// Ask moderators to take back what holds this person.
    pub fn appeal(text: &'a str) -> ActParts<'a> {
        ActParts { act: ActKind::Appeal, text, ..ActParts::default() }
    }

    /// The same, with a reason for people.
    pub fn because(self, text: &'a str) -> ActParts<'a> {
        ActParts { text, ..self }
    }

    /// Check what a node would refuse.
    ///
    /// # Errors
    /// The refusal that a node would send.
    pub fn check(&self) -> Result<(), Refusal> {
        rules::check_act(&self.frame(0, 0, 0))
    }

    fn frame(&self, request: u32, alias: u32, epoch: u64) -> Act<'a> {
        let ActParts { act, target, seconds, category, text } = *self;
        Act { request, alias, act, epoch, target, seconds, category, text }
    }
}

#[derive(Debug)]
pub(super) struct PendingAct {
    pub(super) request: u32,
    pub(super) room: RoomId,
    in_flight: bool,
    /// Whether it was sent on any connection.
    pub(super) sent: bool,
    /// Of the log that the room had when the application acted.
    epoch: u64,
    act: ActParts<'static>,
    text: Box<str>,
}

impl PendingAct {
    pub(super) fn kind(&self) -> ActKind {
        self.act.act
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Whether nobody knows what became of it, and it may not be sent again.
    pub(super) fn is_lost(&self) -> bool {
        let is_twice = matches!(self.act.act, ActKind::Clear | ActKind::Warn | ActKind::Appeal);
        self.sent && !self.in_flight && is_twice
    }
}

/// See the file's head. Behind a pointer, since most sessions never act and a load test has thousands.
#[derive(Debug, Default)]
pub(super) struct Acts(Option<Box<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    all: VecDeque<PendingAct>,
}

impl Acts {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.all.len())
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut PendingAct> {
        self.0.iter_mut().flat_map(|queue| queue.all.iter_mut())
    }

    pub(super) fn has_in_flight(&self) -> bool {
        self.0.iter().flat_map(|queue| queue.all.iter()).any(|act| act.in_flight)
    }

    pub(super) fn push(&mut self, request: u32, room: RoomId, epoch: u64, act: &ActParts<'_>) {
        let (text, act) = (act.text.into(), ActParts { text: "", ..*act });
        let queue = self.0.get_or_insert_default();
        queue.all.push_back(PendingAct { request, room, in_flight: false, sent: false, epoch, act, text });
    }

    /// Writes the next act in a room that has an alias by `alias`; `false` if there is none.
    pub(super) fn encode_next(
        &mut self,
        alias: impl Fn(RoomId) -> Option<u32>,
        encoder: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> bool {
        let due = |pending: &&mut PendingAct| !pending.in_flight && alias(pending.room).is_some();
        let Some(pending) = self.iter_mut().find(due) else { return false };
        let Some(alias) = alias(pending.room) else { return false };
        (pending.in_flight, pending.sent) = (true, true);
        let act = ActParts { text: &pending.text, ..pending.act };
        encoder.client(&ClientFrame::Act(act.frame(pending.request, alias, pending.epoch)), out);
        true
    }

    /// The answer arrived; `false`: to no act of this session.
    pub(super) fn take(&mut self, request: u32) -> bool {
        let Some(queue) = &mut self.0 else { return false };
        let before = queue.all.len();
        queue.all.retain(|act| act.request != request);
        let is_taken = queue.all.len() < before;
        if queue.all.is_empty() {
            self.0 = None; // an idle session keeps no heap
        }
        is_taken
    }

    /// Removes those of which this is true, in their order.
    pub(super) fn take_if(&mut self, which: impl FnMut(&PendingAct) -> bool) -> Vec<PendingAct> {
        let Some(queue) = self.0.take() else { return Vec::new() };
        let (taken, kept): (Vec<_>, Vec<_>) = queue.all.into_iter().partition(which);
        self.0 = (!kept.is_empty()).then(|| Box::new(Queue { all: kept.into() }));
        taken
    }

    pub(super) fn handle_disconnected(&mut self) {
        self.iter_mut().for_each(|act| act.in_flight = false);
    }
}
