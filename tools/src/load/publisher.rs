//! Publishers: sessions that publish the messages of a script when they are due, and record every answer.
//!
//! Why latencies begin at the time when a message was due: viewers wait for a late publisher too, whatever
//! the cause.
//! Invariants: no publication waits for the answer to another one. At the end each is acknowledged, refused
//! or unacknowledged. If restarts are expected, a publisher retries temporarily refused publications under
//! the same nonce until they are acknowledged.
//! Not here: the choice of messages (`script`), viewers (`crowd`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use anyhow::bail;
use grandstand_client::core::{
    Event, Options, Publication, Reason, RequestError, RoomId, Session, SubscribeOptions,
};
use grandstand_client::net::{Connector, Control, Driver, Handler, Url, Urls, seed};
use grandstand_protocol::frame::{Durability, GapReason, Kind, permission};
use serde::Serialize;
use tokio::task::JoinSet;

use super::expected::{Announced, Announcements};
use super::ledger::{Fate, PublicationRecord};
use super::messages::Head;
use super::script::{Part, Script};
use super::tally::Reasons;
use crate::clock::client_offset_us;
use grandstand_harness::histogram::Times;

/// Longest wait until every publisher has joined its room.
const READY_WAIT: Duration = Duration::from_secs(15);

/// Publications of one session that may wait for their answers: seconds of a fast bridge over a slow disk.
/// Beyond, the next ones are sent late, and the latencies say so.
const UNANSWERED_MAX: u32 = 16_384;

/// Tries to connect, or reconnect, before a publisher counts as failed.
const RETRIES_MAX: u32 = 5;

/// Delay before a retry, if the node named none.
const RETRY_MS: u32 = 500;

/// The counts of publishers.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Published {
    /// Messages that were due.
    pub(crate) due: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: Reasons,
    /// Acknowledged publications that are synced to a disk, by the answer.
    pub(crate) acknowledged_disk: u64,
    /// Acknowledged publications that the node had accepted before, by the answer.
    pub(crate) repeated: u64,
    /// Refusals that led to a retry.
    pub(crate) retried: Reasons,
    /// Publications without an answer or a retry, since the session could not be continued.
    pub(crate) uncertain: u64,
    /// Bytes of text and author of acknowledged publications.
    pub(crate) text_bytes: u64,
    /// Latency from due to acknowledged.
    #[serde(serialize_with = "Times::serialize_summary")]
    pub(crate) ack: Times,
    /// Latency from due to handed to the session: the lateness of the generator itself.
    #[serde(serialize_with = "Times::serialize_summary")]
    pub(crate) send_lag: Times,
    /// Connections that ended without an order of the run.
    #[serde(skip)]
    pub(crate) disconnects: Reasons,
    /// Publishers that failed for good.
    #[serde(skip)]
    pub(crate) failures: Reasons,
}

/// The plan of a run's publishers.
#[derive(Clone, Debug)]
pub(crate) struct PublisherPlan {
    pub(crate) urls: Vec<Url>,
    /// Does a publisher go to another address when its own does not answer?
    pub(crate) fails_over: bool,
    pub(crate) token: String,
    pub(crate) rooms: Vec<String>,
    /// Publishers.
    pub(crate) count: usize,
    /// Whether they reconnect without limit and record each publication.
    pub(crate) restarts_expected: bool,
}

/// The publishers of a run, on the current `LocalSet`.
pub(crate) struct Publishers {
    common: Rc<Common>,
    sessions: JoinSet<()>,
}

/// The state that publishers share.
struct Common {
    published: RefCell<Published>,
    heads: RefCell<Vec<Option<Head>>>,
    wakers: RefCell<Vec<Option<Waker>>>,
    ready: Cell<usize>,
    text_bytes_max: Cell<u32>,
    may_not: Cell<bool>,
    begin: RefCell<Option<Begin>>,
    is_stopped: Cell<bool>,
    clock_offset_us: u64,
    /// By number, where restarts are expected.
    records: Option<RefCell<BTreeMap<u64, PublicationRecord>>>,
}

#[derive(Clone)]
struct Begin {
    script: Script,
    count: u64,
    t0_us: u64,
    seed: u64,
    announcements: Option<Announcements>,
}

impl Publishers {
    /// Connect all of them; each follows the room in which it publishes.
    ///
    /// # Errors
    /// When one of them cannot join.
    pub(crate) async fn connect(plan: &PublisherPlan, connector: &Connector) -> anyhow::Result<Publishers> {
        let common = Rc::new(Common {
            published: RefCell::default(),
            heads: RefCell::new(vec![None; plan.rooms.len()]),
            wakers: RefCell::new(vec![None; plan.count]),
            ready: Cell::new(0),
            text_bytes_max: Cell::new(u32::MAX),
            may_not: Cell::new(false),
            begin: RefCell::new(None),
            is_stopped: Cell::new(false),
            clock_offset_us: client_offset_us(),
            records: plan.restarts_expected.then(RefCell::default),
        });
        let mut publishers = Publishers { common, sessions: JoinSet::new() };
        for index in 0..plan.count {
            publishers.spawn(plan, connector, index);
        }
        publishers.wait_ready(plan).await?;
        Ok(publishers)
    }

    /// Longest text that the node accepts.
    pub(crate) fn text_bytes_max(&self) -> usize {
        self.common.text_bytes_max.get() as usize
    }

    /// Epoch and next offset of each room, as far as known: from the subscriptions, and then from the
    /// answers.
    pub(crate) fn heads(&self) -> Vec<Option<Head>> {
        self.common.heads.borrow().clone()
    }

    /// Start publishing, at `t0_us` of the shared clock.
    pub(crate) fn begin(&self, script: Script, t0_us: u64, seed: u64, announcements: Option<Announcements>) {
        let count = self.common.wakers.borrow().len() as u64;
        *self.common.begin.borrow_mut() = Some(Begin { script, count, t0_us, seed, announcements });
        self.common.wake_all();
    }

    /// Stop publishing, and wait for answers.
    pub(crate) fn stop(&self) {
        self.common.is_stopped.set(true);
        self.common.wake_all();
    }

    /// Whether all messages are published and answered, or no publisher is left.
    pub(crate) fn is_finished(&mut self) -> bool {
        while self.sessions.try_join_next().is_some() {}
        self.sessions.is_empty()
    }

    /// The counts so far.
    pub(crate) fn published(&self) -> std::cell::Ref<'_, Published> {
        self.common.published.borrow()
    }

    /// Every publication and its outcome, if restarts are expected.
    pub(crate) fn records(&self) -> Vec<PublicationRecord> {
        let records = self.common.records.as_ref();
        records.map_or_else(Vec::new, |records| records.borrow().values().copied().collect())
    }

    fn spawn(&mut self, plan: &PublisherPlan, connector: &Connector, index: usize) {
        let options = Options {
            token: plan.token.clone(),
            agent: concat!("gs-publisher/", env!("CARGO_PKG_VERSION")),
            seed: seed(),
            backoff_ms: 200,
            backoff_max_ms: 2_000,
            retries_max: if plan.restarts_expected { u32::MAX } else { RETRIES_MAX },
            unanswered_max: UNANSWERED_MAX,
            keep_state: false,
            ..Options::default()
        };
        let mut session = Session::new(options);
        let room_index = index % plan.rooms.len();
        let room = session
            .subscribe(&plan.rooms[room_index], SubscribeOptions::default())
            .expect("the plan's rooms have valid names");
        let publisher = Publisher {
            common: self.common.clone(),
            index,
            room,
            room_index,
            // Nonces must be new for the user, who may run this twice.
            first_nonce: seed() >> 1,
            part: None,
            waiting: HashMap::new(),
            retries: BTreeMap::new(),
            is_ready: false,
            scratch: String::new(),
        };
        let first = index % plan.urls.len();
        let count = if plan.fails_over { plan.urls.len() } else { 1 };
        let urls: Vec<Url> = plan.urls.iter().cycle().skip(first).take(count).cloned().collect();
        let urls = Urls::try_from(urls).expect("publishers have an address");
        let driver = Driver::new(connector, urls, session, publisher).run();
        self.sessions.spawn_local(async move {
            let finished = driver.await;
            finished.handler.handle_finished(&finished.reason);
        });
    }

    async fn wait_ready(&mut self, plan: &PublisherPlan) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + READY_WAIT;
        while self.common.ready.get() < plan.count {
            let urls: Vec<String> = plan.urls.iter().map(Url::to_string).collect();
            let urls = urls.join(", ");
            if let Ok(Some(_)) =
                tokio::time::timeout(Duration::from_millis(10), self.sessions.join_next()).await
            {
                let why = self.common.published.borrow().failures.sentence();
                bail!("a publisher cannot connect to {urls}: {why}; is the node running there?");
            }
            if tokio::time::Instant::now() >= deadline {
                let why = self.common.published.borrow().disconnects.sentence();
                bail!(
                    "no answer from {urls} within {} s {why}; is the node running there?",
                    READY_WAIT.as_secs()
                );
            }
        }
        if self.common.may_not.get() {
            bail!("this session may not publish (or not for others): give a --token with that permission");
        }
        Ok(())
    }
}

impl Common {
    fn wake_all(&self) {
        self.wakers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    fn record(&self, record: PublicationRecord) {
        if let Some(records) = &self.records {
            records.borrow_mut().insert(record.seq, record);
        }
    }

    fn handle_fate(&self, seq: u64, fate: Fate) {
        if let Some(records) = &self.records
            && let Some(record) = records.borrow_mut().get_mut(&seq)
        {
            record.fate = fate;
        }
    }

    /// A subscription names the current log of the room; an answer may name an earlier one.
    fn note_head(&self, room_index: usize, epoch: u64, offset: u64, is_now: bool) {
        let head = &mut self.heads.borrow_mut()[room_index];
        match head {
            Some(head) if head.epoch == epoch => head.offset = head.offset.max(offset),
            Some(_) if !is_now => {}
            _ => *head = Some(Head { epoch, offset }),
        }
    }
}

struct Publisher {
    common: Rc<Common>,
    index: usize,
    room: RoomId,
    room_index: usize,
    first_nonce: u64,
    part: Option<Part>,
    /// By nonce: when it was due, and its bytes.
    waiting: HashMap<u64, (u64, u32)>,
    /// Retries: when, and of which number; and when that was due.
    retries: BTreeMap<(u64, u64), u64>,
    is_ready: bool,
    scratch: String,
}

impl Handler for Publisher {
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>) {
        let now_us = now_us + self.common.clock_offset_us;
        match event {
            Event::Welcome { text_bytes_max, permissions, .. } => {
                self.common.text_bytes_max.set(self.common.text_bytes_max.get().min(*text_bytes_max));
                if permissions & permission::PUBLISH == 0 {
                    self.common.may_not.set(true);
                }
            }
            Event::Subscribed { epoch, head, .. } => {
                self.common.note_head(self.room_index, *epoch, *head, true);
                if !std::mem::replace(&mut self.is_ready, true) {
                    self.common.ready.set(self.common.ready.get() + 1);
                }
            }
            // The log goes on under another epoch, or began anew.
            Event::Gap { epoch, to, reason: GapReason::Restarted, .. } => {
                self.common.note_head(self.room_index, *epoch, *to, true);
            }
            Event::Published { nonce, epoch, offset, durability, repeated, .. } => {
                let Some((due_us, bytes)) = self.waiting.remove(nonce) else { return };
                self.common.note_head(self.room_index, *epoch, offset + 1, false);
                let (epoch, offset, repeated) = (*epoch, *offset, *repeated);
                let fate = Fate::Acknowledged { epoch, offset, durability: *durability as u8, repeated };
                self.common.handle_fate(self.seq(*nonce), fate);
                let mut published = self.common.published.borrow_mut();
                published.acknowledged += 1;
                published.acknowledged_disk += u64::from(*durability >= Durability::Disk);
                published.repeated += u64::from(repeated);
                published.text_bytes += u64::from(bytes);
                published.ack.record(now_us.saturating_sub(due_us));
            }
            Event::Refused { kind, id, reason, retry_after_ms, .. } if *kind == Kind::Publish as u8 => {
                let Some((due_us, _)) = self.waiting.remove(id) else { return };
                let seq = self.seq(*id);
                let mut published = self.common.published.borrow_mut();
                if self.common.records.is_some() && reason.may_retry() {
                    let wait_us = u64::from(retry_after_ms.unwrap_or(RETRY_MS)) * 1000;
                    self.retries.insert((now_us + wait_us, seq), due_us);
                    published.retried.count(reason.text(), 1);
                } else {
                    published.refused.count(reason.text(), 1);
                    self.common.handle_fate(seq, Fate::Refused);
                }
            }
            // Its outcome is unknown: it stays unacknowledged.
            Event::Uncertain { nonce, .. } if self.waiting.remove(nonce).is_some() => {
                self.common.handle_fate(self.seq(*nonce), Fate::Uncertain);
                self.common.published.borrow_mut().uncertain += 1;
            }
            Event::Refused { reason, room: Some(_), .. } if !reason.may_retry() => {
                self.common.published.borrow_mut().failures.count(reason.text(), 1);
                self.common.is_stopped.set(true);
            }
            Event::Disconnected { reason } if *reason != Reason::Asked => {
                self.common.published.borrow_mut().disconnects.count(&reason.to_string(), 1);
            }
            _ => {}
        }
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        self.common.wakers.borrow_mut()[self.index].get_or_insert_with(|| cx.waker().clone());
        let common = self.common.clone();
        let begin = common.begin.borrow();
        let retry_us = begin.as_ref().and_then(|begin| self.retry_due(control, begin));
        let next_us = begin.as_ref().and_then(|begin| self.publish_due(control, begin));
        let is_through = (begin.is_some() && next_us.is_none()) || common.is_stopped.get();
        if is_through && self.waiting.is_empty() && self.retries.is_empty() {
            control.session.close(control.now_us);
        }
        [retry_us, next_us].into_iter().flatten().min()
    }
}

impl Publisher {
    /// Publishes due messages. Returns the time of the next one on the client library's clock; `None` if
    /// there is none.
    fn publish_due(&mut self, control: &mut Control<'_>, begin: &Begin) -> Option<u64> {
        let (index, offset_us) = (self.index as u64, self.common.clock_offset_us);
        let mut part = self.part.take().unwrap_or_else(|| begin.script.part(index, begin.count, begin.seed));
        let now_us = control.now_us + offset_us;
        let next_us = loop {
            let Some(due) = part.peek().filter(|_| !self.common.is_stopped.get()) else { break None };
            let due_us = begin.t0_us + due.after_us;
            if due_us > now_us {
                break Some(due_us - offset_us);
            }
            if !self.say(control, begin, due.seq, due_us, 0) {
                // Full: an answer wakes us. It counts as late from when it was due.
                break Some(control.now_us + 1_000_000);
            }
            let nonce = self.first_nonce.wrapping_add(due.seq);
            let (seq, room, fate) = (due.seq, self.room_index, Fate::Unanswered);
            self.common.record(PublicationRecord { seq, room, nonce, due_us, fate });
            let mut published = self.common.published.borrow_mut();
            published.due += 1;
            published.send_lag.record(now_us - due_us);
            part.advance();
        };
        self.part = Some(part);
        next_us
    }

    /// Retries temporarily refused publications. Returns the time of the next retry on the client library's
    /// clock.
    fn retry_due(&mut self, control: &mut Control<'_>, begin: &Begin) -> Option<u64> {
        let now_us = control.now_us + self.common.clock_offset_us;
        while let Some((&(at_us, seq), &due_us)) = self.retries.first_key_value() {
            if at_us > now_us {
                return Some(at_us - self.common.clock_offset_us);
            }
            // The first attempt was made when it was due, or later.
            let age_ms = (now_us.saturating_sub(due_us) / 1000).max(1) as u32;
            if !self.say(control, begin, seq, due_us, age_ms) {
                return Some(control.now_us + 1_000_000);
            }
            self.retries.pop_first();
        }
        None
    }

    /// Hand a publication to the session; `false` while that is full.
    fn say(&mut self, control: &mut Control<'_>, begin: &Begin, seq: u64, due_us: u64, age_ms: u32) -> bool {
        let words = begin.script.words(seq, due_us, &mut self.scratch);
        let nonce = self.first_nonce.wrapping_add(seq);
        let publication = Publication {
            text: words.text,
            author: words.author,
            role: words.role,
            nonce: Some(nonce),
            age_ms,
            ..Publication::default()
        };
        match control.session.publish(control.now_us, self.room, &publication) {
            Ok(_) => {}
            // The client refuses what a node would refuse: that is its answer.
            Err(RequestError::Refused(reason)) if !reason.may_retry() => {
                self.common.published.borrow_mut().refused.count(reason.text(), 1);
                return true;
            }
            Err(_) => return false,
        }
        // It is sent after this turn, so no viewer can have seen it yet.
        if let Some(announcements) = &begin.announcements {
            announcements.announce(Announced {
                due_us,
                author: words.author.into(),
                text: words.text.into(),
            });
        }
        self.waiting.insert(nonce, (due_us, (words.text.len() + words.author.len()) as u32));
        true
    }

    /// The number of the publication with this nonce.
    fn seq(&self, nonce: u64) -> u64 {
        nonce.wrapping_sub(self.first_nonce)
    }

    fn handle_finished(&self, reason: &Reason) {
        if *reason != Reason::Asked {
            let mut published = self.common.published.borrow_mut();
            published.failures.count(&reason.to_string(), 1);
        }
    }
}

impl Published {
    /// Publications that were sent and never answered.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.due - self.acknowledged - self.refused.total()
    }

    /// A text of all due publications that were not acknowledged; empty in a good run.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.unacknowledged() > 0 {
            faults.push(format!("{} publications unacknowledged", self.unacknowledged()));
        }
        if self.refused.total() > 0 {
            faults.push(format!(
                "{} publications refused: {}",
                self.refused.total(),
                self.refused.sentence()
            ));
        }
        if self.failures.total() > 0 {
            faults.push(format!("{} publishers failed: {}", self.failures.total(), self.failures.sentence()));
        }
        faults
    }
}
