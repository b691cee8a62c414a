//! Publishers: sessions that say what a script says, when it is due, and account for every answer.
//!
//! Why times count from when a message was due: a publisher that is late has made its viewers wait, whoever
//! was at fault.
//! Invariants: nothing waits for an answer; what was sent is acknowledged, refused, or unacknowledged at the
//! end. Where the run survives restarts, what was refused for a while is said again, under the same nonce,
//! until it is acknowledged.
//! Not here: what is said (`script`), who listens (`crowd`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use anyhow::bail;
use grandstand_client::core::{Event, Options, Publication, Reason, RoomId, Session, SubscribeOptions};
use grandstand_client::net::{Connector, Control, Driver, Handler, Url, seed};
use grandstand_protocol::frame::{Durability, Kind, permission};
use tokio::task::JoinSet;

use super::ledger::{Fate, Said};
use super::oracle::{Announced, Announcements};
use super::orders::Head;
use super::script::{Part, Script};
use super::tally::Reasons;
use crate::clock::client_offset_us;
use grandstand_harness::histogram::Times;

/// Until every publisher is in its room.
const READY_WAIT: Duration = Duration::from_secs(15);

/// Publications of one session that may wait for their answers: seconds of a fast bridge over a slow disk.
/// Beyond, the next ones are sent late, and the latencies say so.
const UNANSWERED_MAX: u32 = 16_384;

/// Tries to come in, or back, before a publisher counts as failed.
const RETRIES_MAX: u32 = 5;

/// Before what was refused for a while is said again, where the node did not say when.
const SAY_AGAIN_MS: u32 = 500;

/// What publishers counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// Messages that were due.
    pub(crate) due: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: Reasons,
    /// Of the acknowledged: synced to a disk, as the answer says.
    pub(crate) acknowledged_disk: u64,
    /// Of the acknowledged: the node had taken it before, and says so.
    pub(crate) repeated: u64,
    /// Refusals after which it was said again.
    pub(crate) retried: Reasons,
    /// Never answered, and not to be said again, for the session could not be continued.
    pub(crate) uncertain: u64,
    /// Of the acknowledged: text and author, in bytes.
    pub(crate) text_bytes: u64,
    /// From due to acknowledged.
    pub(crate) ack: Times,
    /// From due to handed to the session: how late the generator itself was.
    pub(crate) send_lag: Times,
    /// Connections that ended although nobody here wanted it.
    pub(crate) disconnects: Reasons,
    /// Publishers that were sent away for good.
    pub(crate) failures: Reasons,
}

/// Where a run's publishers go.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) urls: Vec<Url>,
    pub(crate) token: String,
    pub(crate) rooms: Vec<String>,
    /// Publishers.
    pub(crate) count: usize,
    /// They come back as often as it takes, and keep account of each publication.
    pub(crate) survives: bool,
}

/// The publishers of a run, on the current `LocalSet`.
pub(crate) struct Publishers {
    desk: Rc<Desk>,
    sessions: JoinSet<()>,
}

/// What they share.
struct Desk {
    published: RefCell<Published>,
    heads: RefCell<Vec<Option<Head>>>,
    wakers: RefCell<Vec<Option<Waker>>>,
    ready: Cell<usize>,
    text_bytes_max: Cell<u32>,
    may_not: Cell<bool>,
    begin: RefCell<Option<Begin>>,
    is_stopped: Cell<bool>,
    clock_offset_us: u64,
    /// By number, where the run survives restarts.
    said: Option<RefCell<BTreeMap<u64, Said>>>,
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
    /// Connect all of them; each follows its room, for that is what it publishes into.
    ///
    /// # Errors
    /// When one of them does not get in.
    pub(crate) async fn connect(stage: &Stage, connector: &Connector) -> anyhow::Result<Publishers> {
        let desk = Rc::new(Desk {
            published: RefCell::default(),
            heads: RefCell::new(vec![None; stage.rooms.len()]),
            wakers: RefCell::new(vec![None; stage.count]),
            ready: Cell::new(0),
            text_bytes_max: Cell::new(u32::MAX),
            may_not: Cell::new(false),
            begin: RefCell::new(None),
            is_stopped: Cell::new(false),
            clock_offset_us: client_offset_us(),
            said: stage.survives.then(RefCell::default),
        });
        let mut publishers = Publishers { desk, sessions: JoinSet::new() };
        for index in 0..stage.count {
            publishers.spawn(stage, connector, index);
        }
        publishers.wait_ready(stage).await?;
        Ok(publishers)
    }

    /// Longest text that the node takes.
    pub(crate) fn text_bytes_max(&self) -> usize {
        self.desk.text_bytes_max.get() as usize
    }

    /// Epoch and next offset of each room, as far as known: from the subscriptions, and then from the
    /// answers.
    pub(crate) fn heads(&self) -> Vec<Option<Head>> {
        self.desk.heads.borrow().clone()
    }

    /// Start saying it, at `t0_us` of the shared clock.
    pub(crate) fn begin(&self, script: Script, t0_us: u64, seed: u64, announcements: Option<Announcements>) {
        let count = self.desk.wakers.borrow().len() as u64;
        *self.desk.begin.borrow_mut() = Some(Begin { script, count, t0_us, seed, announcements });
        self.desk.wake_all();
    }

    /// Say nothing more; wait for answers.
    pub(crate) fn stop(&self) {
        self.desk.is_stopped.set(true);
        self.desk.wake_all();
    }

    /// All said and answered, or nobody left to do so?
    pub(crate) fn is_finished(&mut self) -> bool {
        while self.sessions.try_join_next().is_some() {}
        self.sessions.is_empty()
    }

    /// What was counted so far.
    pub(crate) fn published(&self) -> std::cell::Ref<'_, Published> {
        self.desk.published.borrow()
    }

    /// Every publication and what became of it, where the run survives restarts.
    pub(crate) fn said(&self) -> Vec<Said> {
        self.desk.said.as_ref().map_or_else(Vec::new, |said| said.borrow().values().copied().collect())
    }

    fn spawn(&mut self, stage: &Stage, connector: &Connector, index: usize) {
        let options = Options {
            token: stage.token.clone(),
            agent: concat!("gs-publisher/", env!("CARGO_PKG_VERSION")),
            seed: seed(),
            backoff_ms: 200,
            backoff_max_ms: 2_000,
            retries_max: if stage.survives { u32::MAX } else { RETRIES_MAX },
            unanswered_max: UNANSWERED_MAX,
            keep_state: false,
            ..Options::default()
        };
        let mut session = Session::new(options);
        let room_index = index % stage.rooms.len();
        let room = session.subscribe(&stage.rooms[room_index], SubscribeOptions::default());
        let publisher = Publisher {
            desk: self.desk.clone(),
            index,
            room,
            room_index,
            // Nonces must be new for the user, who may run this twice.
            first_nonce: seed() >> 1,
            part: None,
            waiting: HashMap::new(),
            again: BTreeMap::new(),
            is_ready: false,
            scratch: String::new(),
        };
        let url = &stage.urls[index % stage.urls.len()];
        let driver = Driver::new(connector, url, session, publisher).run();
        self.sessions.spawn_local(async move {
            let finished = driver.await;
            finished.handler.handle_finished(&finished.reason);
        });
    }

    async fn wait_ready(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + READY_WAIT;
        while self.desk.ready.get() < stage.count {
            let urls: Vec<String> = stage.urls.iter().map(Url::to_string).collect();
            let urls = urls.join(", ");
            if let Ok(Some(_)) =
                tokio::time::timeout(Duration::from_millis(10), self.sessions.join_next()).await
            {
                let why = self.desk.published.borrow().failures.sentence();
                bail!("a publisher cannot get in at {urls}: {why}; is the node running there?");
            }
            if tokio::time::Instant::now() >= deadline {
                let why = self.desk.published.borrow().disconnects.sentence();
                bail!(
                    "no answer from {urls} within {} s {why}; is the node running there?",
                    READY_WAIT.as_secs()
                );
            }
        }
        if self.desk.may_not.get() {
            bail!("the node does not let this session publish, or not for others: give a --token that may");
        }
        Ok(())
    }
}

impl Desk {
    fn wake_all(&self) {
        self.wakers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    fn handle_said(&self, said: Said) {
        if let Some(all) = &self.said {
            all.borrow_mut().insert(said.seq, said);
        }
    }

    fn handle_fate(&self, seq: u64, fate: Fate) {
        if let Some(all) = &self.said
            && let Some(said) = all.borrow_mut().get_mut(&seq)
        {
            said.fate = fate;
        }
    }

    /// A subscription names the room's log of now; an answer may name one of before, where the message still
    /// stands.
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
    desk: Rc<Desk>,
    index: usize,
    room: RoomId,
    room_index: usize,
    first_nonce: u64,
    part: Option<Part>,
    /// By nonce: when it was due, and its bytes.
    waiting: HashMap<u64, (u64, u32)>,
    /// What is to be said again: when, and its number; and when it was due.
    again: BTreeMap<(u64, u64), u64>,
    is_ready: bool,
    scratch: String,
}

impl Handler for Publisher {
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>) {
        let now_us = now_us + self.desk.clock_offset_us;
        match event {
            Event::Welcome { text_bytes_max, permissions, .. } => {
                self.desk.text_bytes_max.set(self.desk.text_bytes_max.get().min(*text_bytes_max));
                if permissions & permission::PUBLISH == 0 {
                    self.desk.may_not.set(true);
                }
            }
            Event::Subscribed { epoch, head, .. } => {
                self.desk.note_head(self.room_index, *epoch, *head, true);
                if !std::mem::replace(&mut self.is_ready, true) {
                    self.desk.ready.set(self.desk.ready.get() + 1);
                }
            }
            Event::Published { nonce, epoch, offset, durability, repeated, .. } => {
                let Some((due_us, bytes)) = self.waiting.remove(nonce) else { return };
                self.desk.note_head(self.room_index, *epoch, offset + 1, false);
                let (epoch, offset, repeated) = (*epoch, *offset, *repeated);
                let fate = Fate::Acknowledged { epoch, offset, durability: *durability as u8, repeated };
                self.desk.handle_fate(self.seq(*nonce), fate);
                let mut published = self.desk.published.borrow_mut();
                published.acknowledged += 1;
                published.acknowledged_disk += u64::from(*durability >= Durability::Disk);
                published.repeated += u64::from(repeated);
                published.text_bytes += u64::from(bytes);
                published.ack.record(now_us.saturating_sub(due_us));
            }
            Event::Refused { kind, id, reason, retry_after_ms, .. } if *kind == Kind::Publish as u8 => {
                let Some((due_us, _)) = self.waiting.remove(id) else { return };
                let seq = self.seq(*id);
                let mut published = self.desk.published.borrow_mut();
                if self.desk.said.is_some() && reason.may_retry() {
                    let wait_us = u64::from(retry_after_ms.unwrap_or(SAY_AGAIN_MS)) * 1000;
                    self.again.insert((now_us + wait_us, seq), due_us);
                    published.retried.count(reason.text(), 1);
                } else {
                    published.refused.count(reason.text(), 1);
                    self.desk.handle_fate(seq, Fate::Refused);
                }
            }
            // Nobody knows what became of it: it stays unacknowledged.
            Event::Uncertain { nonce, .. } if self.waiting.remove(nonce).is_some() => {
                self.desk.handle_fate(self.seq(*nonce), Fate::Uncertain);
                self.desk.published.borrow_mut().uncertain += 1;
            }
            Event::Refused { reason, room: Some(_), .. } if !reason.may_retry() => {
                self.desk.published.borrow_mut().failures.count(reason.text(), 1);
                self.desk.is_stopped.set(true);
            }
            Event::Disconnected { reason } if *reason != Reason::Asked => {
                self.desk.published.borrow_mut().disconnects.count(&reason.to_string(), 1);
            }
            _ => {}
        }
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        self.desk.wakers.borrow_mut()[self.index].get_or_insert_with(|| cx.waker().clone());
        let desk = self.desk.clone();
        let begin = desk.begin.borrow();
        let again_us = begin.as_ref().and_then(|begin| self.say_again(control, begin));
        let next_us = begin.as_ref().and_then(|begin| self.publish_due(control, begin));
        let is_through = (begin.is_some() && next_us.is_none()) || desk.is_stopped.get();
        if is_through && self.waiting.is_empty() && self.again.is_empty() {
            control.session.close(control.now_us);
        }
        [again_us, next_us].into_iter().flatten().min()
    }
}

impl Publisher {
    /// Say what is due; when the next one is, on the client library's clock. `None`: nothing more.
    fn publish_due(&mut self, control: &mut Control<'_>, begin: &Begin) -> Option<u64> {
        let (index, offset_us) = (self.index as u64, self.desk.clock_offset_us);
        let mut part = self.part.take().unwrap_or_else(|| begin.script.part(index, begin.count, begin.seed));
        let now_us = control.now_us + offset_us;
        let next_us = loop {
            let Some(due) = part.peek().filter(|_| !self.desk.is_stopped.get()) else { break None };
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
            self.desk.handle_said(Said { seq, room, nonce, due_us, fate });
            let mut published = self.desk.published.borrow_mut();
            published.due += 1;
            published.send_lag.record(now_us - due_us);
            part.advance();
        };
        self.part = Some(part);
        next_us
    }

    /// Say again what was refused for a while; when the next one is due, on the client library's clock.
    fn say_again(&mut self, control: &mut Control<'_>, begin: &Begin) -> Option<u64> {
        let now_us = control.now_us + self.desk.clock_offset_us;
        while let Some((&(at_us, seq), &due_us)) = self.again.first_key_value() {
            if at_us > now_us {
                return Some(at_us - self.desk.clock_offset_us);
            }
            // It was said when it was due, or later.
            let age_ms = (now_us.saturating_sub(due_us) / 1000).max(1) as u32;
            if !self.say(control, begin, seq, due_us, age_ms) {
                return Some(control.now_us + 1_000_000);
            }
            self.again.pop_first();
        }
        None
    }

    /// Hand a publication to the session; `false` while that is full.
    fn say(&mut self, control: &mut Control<'_>, begin: &Begin, seq: u64, due_us: u64, age_ms: u32) -> bool {
        let said = begin.script.said(seq, due_us, &mut self.scratch);
        let nonce = self.first_nonce.wrapping_add(seq);
        let publication = Publication {
            text: said.text,
            author: said.author,
            role: said.role,
            nonce: Some(nonce),
            age_ms,
            ..Publication::default()
        };
        if control.session.publish(control.now_us, self.room, &publication).is_err() {
            return false;
        }
        // It goes out after this turn, so nobody can have seen it yet.
        if let Some(announcements) = &begin.announcements {
            announcements.announce(Announced { due_us, author: said.author.into(), text: said.text.into() });
        }
        self.waiting.insert(nonce, (due_us, (said.text.len() + said.author.len()) as u32));
        true
    }

    /// The number of the publication with this nonce.
    fn seq(&self, nonce: u64) -> u64 {
        nonce.wrapping_sub(self.first_nonce)
    }

    fn handle_finished(&self, reason: &Reason) {
        if *reason != Reason::Asked {
            let mut published = self.desk.published.borrow_mut();
            published.failures.count(&reason.to_string(), 1);
        }
    }
}

impl Published {
    /// Sent, and never answered.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.due - self.acknowledged - self.refused.total()
    }

    /// Everything that was due and not acknowledged, in words; empty in a good run.
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
