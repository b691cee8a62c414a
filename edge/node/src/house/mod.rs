//! The house: what a node does for all rooms at once, and, in a cluster, together with the other nodes.
//!
//! It keeps bans and revocations, passes on what people took of their limits, and says which sessions came.
//! Why an order is in force here first: whoever gives it must not wait for other nodes to be rid of somebody
//! at this one. Then it is told to all, stored in this node's file, and put into the cluster's bucket.
//! Invariants: an order is answered within 1.8 s, and the answer names the nodes where it is in
//! force. A node that was away is told by the others as soon as they hear it, and reads file and bucket
//! before it serves.
//! Not here: what a ban is (`grandstand_edge::auth::bans`), requests (`http::admin::bans`), the network
//! (`link`).

mod file;
mod link;

use link::Link;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use grandstand_cluster::house::Ban as Told;
use grandstand_edge::auth::bans::{Ban, Bans, Full, LIFTED_MS, kind_and_id};
use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_edge::workers::Workers;
use grandstand_edge_core::audience::Rate;
use grandstand_edge_core::auth::{Ended, Subject};
use grandstand_edge_core::people::KINDS;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use crate::NodeError;
use crate::cluster::Cluster;
use crate::events::{Event, Events, Kind};
use crate::settings::audience_settings;

/// How long an order waits for other nodes and for the bucket.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_800);
/// Between two times that an order is told, for nodes that have not answered.
const TELL_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// See the file's head.
pub struct House {
    bans: Arc<Bans>,
    clock: Clock,
    file: Option<PathBuf>,
    /// One writer at a time.
    /// Is the file still to be read? Its folder was not there at the start.
    saving: Mutex<bool>,
    workers: OnceLock<Weak<Workers>>,
    cluster: OnceLock<Arc<Cluster>>,
    events: OnceLock<Events>,
    /// Everybody's rates, by the kind of limit.
    rates: [Rate; KINDS],
    asked: Mutex<BTreeMap<u64, BTreeSet<u8>>>,
    answered: Notify,
    number: AtomicU64,
}

/// What became of an order.
#[derive(Debug)]
pub struct Order {
    /// As it stands.
    pub ban: Ban,
    /// Nodes where it is in force.
    pub confirmed: Vec<u8>,
    /// Nodes that live and have not answered: they are told again.
    pub missing: Vec<u8>,
    /// Nodes that are not heard: they read it when they are back.
    pub away: Vec<u8>,
    /// Whether it is where a restart finds it: in this node's file, and in the cluster's bucket.
    pub is_kept: bool,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("bans", &self.bans).finish_non_exhaustive()
    }
}

impl House {
    /// Of a node with this configuration: with what its file has.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is damaged: nobody who is banned may be let in for that.
    pub fn open(config: &Config, clock: Clock) -> Result<Arc<House>, NodeError> {
        let file = config.log.dir.as_ref().map(|dir| dir.join(file::NAME));
        let bans = match &file {
            Some(path) => file::read(path).map_err(|what| {
                NodeError::new(what, "mend the line, or remove it and ban again what it named")
            })?,
            None => Some(Vec::new()),
        };
        let settings = audience_settings(config, 0);
        let (frames, publish, reactions) = (settings.frames, settings.publish, settings.reactions);
        let house = House {
            bans: Arc::default(),
            clock,
            file,
            saving: Mutex::new(bans.is_none()),
            workers: OnceLock::new(),
            cluster: OnceLock::new(),
            events: OnceLock::new(),
            rates: [frames, publish, reactions, publish, publish],
            asked: Mutex::default(),
            answered: Notify::new(),
            number: AtomicU64::new(clock.unix().as_micros() as u64),
        };
        house.merge(bans.unwrap_or_default());
        Ok(Arc::new(house))
    }

    /// Who is refused.
    pub fn bans(&self) -> &Arc<Bans> {
        &self.bans
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.unix().as_millis() as u64
    }

    /// The workers serve: from now on open sessions end too, and other nodes are heard.
    pub(crate) fn serve(self: &Arc<House>, workers: &Arc<Workers>, cluster: Option<&Arc<Cluster>>) {
        // Both are set once.
        let _ = self.workers.set(Arc::downgrade(workers));
        if let Some(cluster) = cluster {
            let _ = self.cluster.set(cluster.clone());
            cluster.serve(Arc::new(Link(self.clone())));
        }
    }

    /// From now on orders are told there.
    pub(crate) fn tell_to(&self, events: &Events) {
        // It is set once.
        let _ = self.events.set(events.clone());
    }

    /// What stands now, lifted entries aside.
    pub fn in_force(&self) -> Vec<Ban> {
        self.bans.all(self.now_ms()).into_iter().filter(|ban| !ban.is_lifted).collect()
    }

    /// A new entry of this moment.
    pub fn entry(&self, subject: Subject, name: &str, until_ms: u64, reason: &str) -> Ban {
        let stamp_us = self.clock.unix().as_micros() as u64;
        Ban { subject, stamp_us, until_ms, is_lifted: false, name: name.into(), reason: reason.into() }
    }

    /// An entry that lifts what stands of a subject, if anything does.
    pub fn lifting(&self, subject: Subject) -> Option<Ban> {
        let now_ms = self.now_ms();
        let stands = self.bans.get(now_ms, subject)?;
        let until_ms = stands.until_ms.min(now_ms + LIFTED_MS);
        Some(Ban { is_lifted: true, until_ms, ..self.entry(subject, &stands.name, 0, "") })
    }

    /// Carry out an operator's order, and wait for the others.
    ///
    /// # Errors
    /// There are as many entries as there may be.
    pub async fn order(self: &Arc<House>, ban: Ban) -> Result<Order, Full> {
        let ban = self.bans.decide(self.now_ms(), ban)?;
        let is_told = self.tell(&ban);
        let order = self.carry_out(ban).await;
        let is_told = is_told.await;
        Ok(Order { is_kept: order.is_kept && is_told, ..order })
    }

    /// Tell applications of an order; whether it is in their outbox.
    fn tell(&self, ban: &Ban) -> impl Future<Output = bool> + use<> {
        let events = self.events.get().filter(|events| events.is_on()).cloned();
        let until_ms = Some(ban.until_ms).filter(|until_ms| *until_ms < u64::MAX);
        let (what, name) = match ban.subject {
            Subject::User(_) => ("user", ban.name.to_string()),
            Subject::Session(number) => ("session", number.to_string()),
            Subject::Token(_) => ("token", ban.name.to_string()),
        };
        let act = if ban.is_lifted { "lift" } else { "ban" };
        let data = json!({ "act": act, what: name, "reason": ban.reason, "until_ms": until_ms });
        let event = Event { kind: Kind::ModerationActed, room: None, data };
        async move {
            match events {
                Some(events) => events.told(event).await,
                None => true,
            }
        }
    }

    async fn carry_out(self: &Arc<House>, ban: Ban) -> Order {
        self.close(std::slice::from_ref(&ban));
        let house = self.clone();
        let saved = tokio::task::spawn_blocking(move || house.save());
        let Some(cluster) = self.cluster.get() else {
            let is_kept = saved.await.is_ok_and(|saved| saved);
            return Order { ban, confirmed: vec![0], missing: Vec::new(), away: Vec::new(), is_kept };
        };
        let deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
        let (live, away) = cluster.others();
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.asked().insert(number, BTreeSet::new());
        let (told, kept) = oneshot::channel();
        let is_keeping = cluster.keep(kind_and_id(ban.subject), told);
        let confirmed = loop {
            let answered = self.answered.notified();
            cluster.tell(vec![link::of_ban(&ban)], number);
            let again = tokio::time::Instant::now() + TELL_AGAIN_AFTER;
            tokio::pin!(answered);
            // Each answer is looked at; when it is time, the rest is told again.
            while !self.has_all(number, &live) {
                if tokio::time::timeout_at(again.min(deadline), answered.as_mut()).await.is_err() {
                    break;
                }
                answered.set(self.answered.notified());
            }
            if self.has_all(number, &live) || tokio::time::Instant::now() >= deadline {
                break self.asked().remove(&number).unwrap_or_default();
            }
        };
        let is_in_bucket = is_keeping && matches!(tokio::time::timeout_at(deadline, kept).await, Ok(Ok(())));
        let is_kept = is_in_bucket && saved.await.is_ok_and(|saved| saved);
        let missing = live.iter().copied().filter(|node| !confirmed.contains(node)).collect();
        let confirmed = [cluster.number()].into_iter().chain(confirmed).collect();
        Order { ban, confirmed, missing, away, is_kept }
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<u64, BTreeSet<u8>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_all(&self, number: u64, live: &[u8]) -> bool {
        let asked = self.asked();
        asked.get(&number).is_none_or(|confirmed| live.iter().all(|node| confirmed.contains(node)))
    }

    fn note_answer(&self, number: u64, node: u8) {
        if let Some(confirmed) = self.asked().get_mut(&number) {
            confirmed.insert(node);
        }
        self.answered.notify_waiters();
    }

    /// Take what the cluster's bucket has. Returns how many entries are new.
    pub(crate) fn take(&self, bans: &[Told]) -> usize {
        self.merge(bans.iter().filter_map(link::to_ban).collect()).len()
    }

    /// Take what was read or heard. Returns what is new.
    fn merge(&self, bans: Vec<Ban>) -> Vec<Ban> {
        self.bans.merge(self.now_ms(), bans)
    }

    /// Close open sessions of what was ended. It may wait for a worker.
    fn close(&self, bans: &[Ban]) {
        let ended: Arc<[Ended]> = bans.iter().filter(|ban| !ban.is_lifted).map(Ban::ended).collect();
        let workers = self.workers.get().and_then(Weak::upgrade);
        if let Some(workers) = workers.filter(|_| !ended.is_empty()) {
            workers.end(&ended);
        }
    }

    /// Store all that stands. Whether there was no fault; a node without a folder keeps nothing.
    fn save(&self) -> bool {
        let Some(path) = &self.file else { return false };
        let mut is_unread = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_unread {
            match file::read(path) {
                Ok(Some(bans)) => self.close(&self.merge(bans)),
                Ok(None) => {}
                Err(what) => {
                    tracing::error!("{what}: mend it, and ban again what is new");
                    return false;
                }
            }
        }
        let saved = file::write(path, &self.bans.all(self.now_ms()));
        if let Err(error) = &saved {
            tracing::error!(file = %path.display(), %error, "bans cannot be stored: a restart may forget the last ones");
        }
        *is_unread &= saved.is_err();
        saved.is_ok()
    }
}
