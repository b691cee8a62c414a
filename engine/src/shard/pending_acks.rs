//! Pending acknowledgements: a shard's entries on their way to the durable log, the answers that wait for
//! them, and the rule that decides which answers wait.
//!
//! The rule ([`AckPolicy`]): a room in memory answers a publication when it is accepted, for its offset is
//! certain and a seal would make it no safer. A room in the durable log answers when the log has the
//! publication.
//!
//! Why one queue: entries are synced in the order in which they were pushed. So an answer that waits for
//! everything pushed so far waits for its own entry too. A retry is answered with the newest entry rather
//! than its own, at most one commit later. So positions and deadlines both rise along the queue, and the next
//! answer to leave is at its front.
//!
//! Invariants: an answer leaves once: when its entry is synced, or, after `answer_within_ms`, as a refusal
//! that undoes nothing. `answers_held_max` and the requests admitted before it was reached bound what waits.
//! Not here: which rooms are kept (`durability`), what is pushed (`timeouts`, `admin`), reading (`history`).

use std::collections::VecDeque;

use grandstand_protocol::frame::Durability;
use grandstand_protocol::refusal::Refusal;

use super::outbox::Outbox;
use crate::config::ShardConfig;
use crate::link::{AdminAnswer, AnswerKind, Now, ReplyTo, RoomSettings};
use crate::log::{BatchEntry, DurableLog, Entry, News, Position, Unavailable};
use crate::room::{Keeping, Room};

/// Time to retry after a refusal, when the log names none. A commit that took longer than the answer's time
/// may be complete by then.
pub(super) const RETRY_MS: u32 = 1000;

/// How a room acknowledges publications.
#[derive(Clone, Copy, Debug)]
pub(super) struct AckPolicy {
    epoch: u64,
    durability: Durability,
    /// Do its answers wait for the durable log?
    pub(super) waits: bool,
}

impl AckPolicy {
    /// The policy of a room at present.
    pub(super) fn of(room: &Room) -> Self {
        AckPolicy { epoch: room.epoch, durability: room.durability(), waits: room.is_on_disk() }
    }

    /// The policy for messages published while the room was kept in memory.
    pub(super) fn of_memory(self) -> Self {
        AckPolicy { durability: Durability::Memory, ..self }
    }

    /// The acknowledgement of an accepted publication.
    pub(super) fn published(self, nonce: u64, offset: u64, time_ms: u64, repeated: bool) -> AnswerKind {
        let AckPolicy { epoch, durability, .. } = self;
        AnswerKind::Published { nonce, epoch, offset, time_ms, durability, repeated }
    }
}

/// The answers of a shard that wait for the durable log.
pub(super) struct PendingAcks {
    log: Option<Box<dyn DurableLog>>,
    // Position of the last entry pushed.
    pushed: Position,
    synced: Position,
    // Answers that wait. Positions and deadlines rise.
    held: VecDeque<Held>,
    // Batches that are not synced. Positions rise.
    batches: VecDeque<Unsynced>,
    // News that [`Self::has_news`] polled.
    news: Option<News>,
    answer_within_us: u64,
    held_max: usize,
    refused_late: u64,
}

/// A batch that is not synced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsynced {
    position: Position,
    pub(super) slot: u32,
    pub(super) epoch: u64,
    pub(super) next_offset: u64,
}

struct Held {
    position: Position,
    due_us: u64,
    to: ReplyTo,
    what: Answering,
}

enum Answering {
    Publisher(AnswerKind),
    Operator(AdminAnswer),
}

impl PendingAcks {
    pub(super) fn new(config: &ShardConfig) -> Self {
        PendingAcks {
            log: None,
            pushed: Position::default(),
            synced: Position::default(),
            held: VecDeque::new(),
            batches: VecDeque::new(),
            news: None,
            answer_within_us: config.answer_within_ms.saturating_mul(1000),
            held_max: config.answers_held_max,
            refused_late: 0,
        }
    }

    pub(super) fn set_log(&mut self, log: Box<dyn DurableLog>) {
        assert_eq!(self.pushed, Position::default(), "a log is there from the start");
        self.log = Some(log);
    }

    /// How safely the log keeps its entries; `None`: there is no log.
    pub(super) fn level(&self) -> Option<Durability> {
        self.log.as_ref().map(|log| log.level())
    }

    /// Are the heads of rooms in memory kept in the log?
    pub(super) fn keeps_heads(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.keeps_heads())
    }

    /// How a room in memory is kept.
    pub(super) fn in_memory(&self) -> Keeping {
        if self.keeps_heads() { Keeping::UnannouncedHead } else { Keeping::Memory }
    }

    /// How a room with these settings is kept, before it is announced.
    ///
    /// # Errors
    /// `StorageUnavailable`: the settings ask for a durability that the node does not have.
    pub(super) fn keeping_for(
        &self,
        settings: &RoomSettings,
        by_default: Durability,
    ) -> Result<Keeping, Refusal> {
        match settings.durability {
            Some(Durability::Memory) => Ok(self.in_memory()),
            Some(wanted) if self.level() == Some(wanted) => Ok(Keeping::Unannounced(wanted)),
            Some(_) => Err(Refusal::StorageUnavailable),
            None => {
                let level = self.level().filter(|_| by_default != Durability::Memory);
                Ok(level.map_or_else(|| self.in_memory(), Keeping::Unannounced))
            }
        }
    }

    /// Does the log accept another entry?
    pub(super) fn check(&self) -> Result<(), Unavailable> {
        if self.is_full() {
            return Err(Unavailable { retry_after_ms: RETRY_MS });
        }
        self.log.as_ref().map_or(Err(Unavailable { retry_after_ms: RETRY_MS }), |log| log.check())
    }

    /// Has the number of waiting answers reached its bound?
    pub(super) fn is_full(&self) -> bool {
        self.held.len() >= self.held_max
    }

    /// Time until a retry is worthwhile.
    pub(super) fn retry_after_ms(&self) -> u32 {
        self.check().err().map_or(RETRY_MS, |unavailable| unavailable.retry_after_ms)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let log = self.log.as_mut().expect("only with a log are rooms kept");
        let position = log.push(entry);
        assert!(position > self.pushed, "positions rise");
        self.pushed = position;
    }

    /// Push a batch; [`Self::poll_synced`] says when it is synced.
    pub(super) fn push_batch(&mut self, slot: u32, batch: BatchEntry) {
        let (epoch, next_offset) = (batch.epoch, batch.batch.next_offset);
        self.push(Entry::Batch(Box::new(batch)));
        self.batches.push_back(Unsynced { position: self.pushed, slot, epoch, next_offset });
    }

    pub(super) fn log_mut(&mut self) -> Option<&mut (dyn DurableLog + 'static)> {
        self.log.as_deref_mut()
    }

    pub(super) fn pushed(&self) -> Position {
        self.pushed
    }

    /// Is there news that was not polled?
    pub(super) fn has_news(&mut self) -> bool {
        if self.news.is_none() {
            self.news = self.log.as_mut().and_then(|log| log.poll());
        }
        self.news.is_some()
    }

    pub(super) fn poll_news(&mut self) -> Option<News> {
        self.news.take().or_else(|| self.log.as_mut()?.poll())
    }

    /// Everything up to a position is synced: send the answers that waited for it.
    pub(super) fn handle_synced(&mut self, position: Position, outbox: &mut Outbox) {
        self.synced = self.synced.max(position);
        let synced = self.synced;
        while let Some(held) = self.held.pop_front_if(|held| held.position <= synced) {
            held.keep(outbox);
        }
    }

    /// The next batch that is synced now.
    pub(super) fn poll_synced(&mut self) -> Option<Unsynced> {
        let synced = self.synced;
        self.batches.pop_front_if(|batch| batch.position <= synced)
    }

    /// Answer a publisher: if `waits`, when everything pushed so far is synced, else at once.
    pub(super) fn answer(
        &mut self,
        now: Now,
        waits: bool,
        to: ReplyTo,
        kind: AnswerKind,
        outbox: &mut Outbox,
    ) {
        if waits {
            self.hold(now, to, Answering::Publisher(kind), outbox);
        } else {
            outbox.answer(to, kind);
        }
    }

    /// Answer an operator when everything pushed so far is synced.
    pub(super) fn reply(&mut self, now: Now, to: ReplyTo, answer: AdminAnswer, outbox: &mut Outbox) {
        self.hold(now, to, Answering::Operator(answer), outbox);
    }

    fn hold(&mut self, now: Now, to: ReplyTo, what: Answering, outbox: &mut Outbox) {
        let due_us = now.us.saturating_add(self.answer_within_us);
        let due_us = self.held.back().map_or(due_us, |held| due_us.max(held.due_us));
        let held = Held { position: self.pushed, due_us, to, what };
        if self.pushed <= self.synced || cfg!(feature = "planted-early-answer") {
            return held.keep(outbox);
        }
        self.held.push_back(held);
    }

    /// When the oldest answer has waited long enough.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.held.front().map(|held| held.due_us)
    }

    /// Refuse requests whose answers have waited long enough.
    pub(super) fn handle_timeout(&mut self, now: Now, outbox: &mut Outbox) {
        while let Some(held) = self.held.pop_front_if(|held| held.due_us <= now.us) {
            self.refuse(held, outbox);
        }
    }

    /// Refuse all requests whose answers wait.
    pub(super) fn give_up(&mut self, outbox: &mut Outbox) {
        while let Some(held) = self.held.pop_front() {
            self.refuse(held, outbox);
        }
    }

    fn refuse(&mut self, held: Held, outbox: &mut Outbox) {
        self.refused_late += 1;
        held.refuse(self.retry_after_ms(), outbox);
    }

    /// Is everything synced that was pushed?
    pub(super) fn is_flushed(&self) -> bool {
        self.synced >= self.pushed
    }

    /// For the counters: answers that wait, and those whose wait ended in a refusal.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.held.len() as u64, self.refused_late)
    }
}

impl Held {
    fn keep(self, outbox: &mut Outbox) {
        match self.what {
            Answering::Publisher(kind) => outbox.answer(self.to, kind),
            Answering::Operator(answer) => outbox.reply(self.to, Ok(answer)),
        }
    }

    fn refuse(self, retry_after_ms: u32, outbox: &mut Outbox) {
        match self.what {
            Answering::Publisher(kind) => outbox.answer(self.to, unavailable(kind, retry_after_ms)),
            Answering::Operator(_) => outbox.reply(self.to, Err(Refusal::StorageUnavailable)),
        }
    }
}

/// The refusal in place of an answer.
fn unavailable(kind: AnswerKind, retry_after_ms: u32) -> AnswerKind {
    let (reason, retry_after_ms) = (Refusal::StorageUnavailable, Some(retry_after_ms));
    match kind {
        AnswerKind::Published { nonce, .. } => AnswerKind::PublishRefused { nonce, reason, retry_after_ms },
        AnswerKind::StateSet { request, .. } => AnswerKind::StateRefused { request, reason, retry_after_ms },
        AnswerKind::Acted { request, .. } => AnswerKind::ActRefused { request, reason, retry_after_ms },
        refused => refused,
    }
}
