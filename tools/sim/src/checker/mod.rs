//! The checker: holds every promise against what clients saw.
//!
//! It knows nothing of how the engine works. The world tells it what people published, which frames crossed
//! each connection, every event that a client was given, which log continues which one after a power cut, and
//! which rooms an operator removed. Promises:
//!
//! - an acknowledged publication is at its offset, and is still there at the end (`lost`): with durability
//!   `disk` through every crash and power cut, with `memory` as long as the process lives;
//! - no publication is in a log twice (`twice`), and everybody sees the same at the same offset (`differs`);
//! - a viewer's offsets rise without holes, except those that were counted or named (`hole`), and never go
//!   back (`again`);
//! - in a cluster, what is acknowledged is in the log of its shard by then (`acknowledged`);
//! - a request is answered once (`answered`), and at rest every request is (`unanswered`); everybody is at
//!   the end of the log then (`behind`) with the same state (`state`).
//!
//! A log that continues under a new epoch after a power cut is the same log up to the fork. So places are
//! compared by the epoch in which they came to be.
//! Invariant: it never looks into the code under test.

use std::collections::{BTreeMap, BTreeSet};

use grandstand_client::core::{Event, Reason, Room, RoomId};
use grandstand_engine::link::Lineage;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{ClientFrame, Durability, GapReason, Kind, Outcome, ServerFrame};

use crate::random::mix;

mod counts;
pub use counts::Counts;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: one word, the same for the same kind of fault.
    pub kind: &'static str,
    /// What was seen, for people.
    pub detail: String,
}

/// A place in a log, by the epoch in which it came to be.
type Place = (u64, u64);

/// Where one viewer stands in a room, by what it was shown.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The subscription; none yet where it was kept over a restart of the app.
    id: Option<RoomId>,
    /// The app did not want it any more: what comes of it may come all the same, or not.
    is_left: bool,
    epoch: u64,
    next: u64,
}

/// An acknowledgement.
#[derive(Clone, Debug)]
struct Acknowledged {
    room: String,
    place: Place,
    text: String,
    durability: Durability,
    life: u64,
}

/// Requests of one connection that have no answer: by kind and number, how many.
type Open = BTreeMap<(u8, u64), u32>;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Checker {
    /// The first promise that was not kept.
    pub violation: Option<Violation>,
    /// Of everything that was seen, in order.
    pub trace: u64,
    /// What happened, counted.
    pub counts: Counts,
    /// By node: the process that runs, or ran last.
    running: BTreeMap<usize, u64>,
    /// By client and nonce of its user: what it said.
    said: BTreeMap<(usize, u64), String>,
    texts: BTreeMap<Place, String>,
    places: BTreeMap<String, Vec<Place>>,
    acknowledged: Vec<Acknowledged>,
    readings: BTreeMap<(usize, String), Reading>,
    /// Pages that clients asked for: by client and request, the log of the last page and the next offset.
    pasts: BTreeMap<(usize, u32), (u64, u64)>,
    /// Whose a connection is that asked for a page.
    askers: BTreeMap<usize, usize>,
    /// A log that goes on another one: by epoch, the one before and where it forked.
    forks: BTreeMap<u64, Place>,
    removed: BTreeSet<u64>,
    open: BTreeMap<usize, Open>,
    /// By client: the process that it is, or was last, connected to.
    lives: BTreeMap<usize, u64>,
    /// In a cluster: what its logs have kept.
    kept: Option<BTreeMap<Place, String>>,
}

impl Checker {
    /// Of a world whose nodes are a cluster, or not.
    pub fn new(is_cluster: bool) -> Checker {
        Checker { kept: is_cluster.then(BTreeMap::new), ..Checker::default() }
    }

    /// A promise was not kept. The first counts: what follows may follow from it.
    pub fn violate(&mut self, kind: &'static str, detail: String) {
        self.violation.get_or_insert(Violation { kind, detail });
    }

    // What the world tells.

    /// A client said something for the first time under this nonce.
    pub fn handle_said(&mut self, client: usize, nonce: u64, text: &str) {
        self.said.insert((client, nonce), text.to_owned());
    }

    /// A process of a node starts. What the one before kept in memory is gone.
    pub fn handle_life(&mut self, node: usize, life: u64) {
        self.running.insert(node, life);
    }

    /// A client is connected to this process.
    pub fn handle_connected(&mut self, client: usize, life: u64) {
        self.lives.insert(client, life);
    }

    /// A log goes on under a new epoch.
    pub fn handle_fork(&mut self, epoch: u64, before: u64, next_offset: u64) {
        self.note(&[epoch, before, next_offset]);
        self.forks.insert(epoch, (before, next_offset));
    }

    /// The log of a cluster has kept a text.
    pub fn handle_kept(&mut self, room: &str, epoch: u64, offset: u64, text: &str) {
        let place = self.origin(epoch, offset);
        if let Some(kept) = &mut self.kept
            && let Some(before) = kept.insert(place, text.to_owned())
        {
            self.violate("twice", format!("{room} keeps {before:?} and {text:?} at {place:?}"));
        }
    }

    /// An operator removed a room, and with it this log.
    pub fn handle_removed(&mut self, epoch: u64) {
        self.removed.insert(epoch);
    }

    /// A client begins a new session that knows the old one's positions in these rooms.
    pub fn handle_restart(&mut self, client: usize, kept: &BTreeSet<String>) {
        self.readings.retain(|(c, room), _| *c != client || kept.contains(room));
        self.readings.iter_mut().filter(|((c, _), _)| *c == client).for_each(|(_, at)| at.id = None);
        self.pasts.retain(|(c, _), _| *c != client);
    }

    /// A client wants to follow a room no longer.
    pub fn handle_left(&mut self, client: usize, room: &str) {
        if let Some(at) = self.readings.get_mut(&(client, room.to_owned())) {
            at.is_left = true;
        }
    }

    /// A frame reached the node.
    pub fn handle_request(&mut self, connection: usize, client: usize, frame: &[u8]) {
        let request = match ClientFrame::decode(frame) {
            Ok(ClientFrame::Publish(p)) => (Kind::Publish, p.nonce),
            Ok(ClientFrame::SetState(s)) => (Kind::SetState, s.request.into()),
            Ok(ClientFrame::Subscribe(s)) => (Kind::Subscribe, s.request.into()),
            Ok(ClientFrame::Unsubscribe { request, .. }) => (Kind::Unsubscribe, request.into()),
            Ok(ClientFrame::History(h)) => {
                self.pasts.insert((client, h.request), (h.epoch, h.from));
                self.askers.insert(connection, client);
                (Kind::History, h.request.into())
            }
            _ => return,
        };
        *self.open.entry(connection).or_default().entry((request.0 as u8, request.1)).or_default() += 1;
    }

    /// A frame reached a client.
    pub fn handle_answer(&mut self, connection: usize, frame: &[u8]) {
        let is_batch = frame.first().is_some_and(|&kind| Kind::from_wire(kind).is_none());
        if is_batch {
            return;
        }
        let (kind, id) = match ServerFrame::decode(frame) {
            Ok(ServerFrame::Published(p)) => (Kind::Publish as u8, p.nonce),
            Ok(ServerFrame::StateSet { request, .. }) => (Kind::SetState as u8, request.into()),
            Ok(ServerFrame::Subscribed(s)) => (Kind::Subscribe as u8, s.request.into()),
            Ok(ServerFrame::Unsubscribed { request: 0, .. }) => return,
            Ok(ServerFrame::Unsubscribed { request, .. }) => (Kind::Unsubscribe as u8, request.into()),
            Ok(ServerFrame::HistoryPage(h)) => {
                // A page names its log, which may go on the one that was asked for.
                let asker = self.askers.get(&connection).copied();
                if let Some(asked) = asker.and_then(|client| self.pasts.get_mut(&(client, h.request))) {
                    asked.0 = h.epoch;
                }
                (Kind::History as u8, h.request.into())
            }
            Ok(ServerFrame::Refused(r)) if r.kind == Kind::React as u8 => return,
            Ok(ServerFrame::Refused(r)) => (r.kind, r.id),
            _ => return,
        };
        let open = self.open.entry(connection).or_default();
        match open.get_mut(&(kind, id)) {
            Some(1) => drop(open.remove(&(kind, id))),
            Some(n) => *n -= 1,
            None => self.violate(
                "answered",
                format!("request {id} of kind {kind:#x} was answered without being open"),
            ),
        }
    }

    /// A connection is over: what it had not been answered never will be.
    pub fn handle_connection_over(&mut self, connection: usize) {
        self.open.remove(&connection);
    }

    /// Requests of a connection without their answers: kind and number, and how often.
    pub fn open(&self, connection: usize) -> Vec<((u8, u64), u32)> {
        self.open.get(&connection).into_iter().flatten().map(|(&request, &times)| (request, times)).collect()
    }

    // What clients are given.

    /// A client's session gave this out.
    pub fn handle_event(&mut self, client: usize, event: &Event<'_>) {
        match *event {
            Event::Subscribed { room, outcome, epoch, offset, .. } => {
                self.note(&[1, client as u64, outcome as u64, epoch, offset]);
                self.handle_subscribed(client, room, outcome, epoch, offset);
            }
            Event::Message { room, offset, text, .. } => {
                self.note(&[2, client as u64, offset]);
                self.counts.messages += 1;
                self.advance(client, room, offset, offset + 1, "a message");
                if let Some(epoch) = self.epoch(client, room) {
                    self.stands(room.name, epoch, offset, text, client);
                }
            }
            Event::Omitted { room, from, to } => {
                self.note(&[3, client as u64, from, to]);
                self.counts.omitted += to - from;
                self.advance(client, room, from, to, "a count of omitted messages");
            }
            Event::Gap { room, epoch, from, to, reason: GapReason::Restarted, .. } => {
                self.note(&[4, client as u64, from, to]);
                self.handle_other_log(client, room, epoch, (from, to));
            }
            Event::Gap { room, from, to, count, .. } => {
                self.note(&[4, client as u64, from, to]);
                self.counts.gaps += 1;
                if count == 0 || count > to.saturating_sub(from) {
                    self.violate("hole", format!("a gap from {from} to {to} counts {count}"));
                }
                self.advance(client, room, from, to, "a gap");
            }
            Event::Personal { room, offset, text, .. } => {
                if let Some(epoch) = self.epoch(client, room) {
                    self.stands(room.name, epoch, offset, text, client);
                }
            }
            Event::History { room, request, offset, text, .. } => {
                self.handle_past(client, room, request, offset, text);
            }
            Event::Published { nonce, epoch, offset, durability, repeated, .. } => {
                self.note(&[5, client as u64, nonce, epoch, offset, durability as u64]);
                self.counts.repeated += u64::from(repeated);
                self.handle_published(client, nonce, (epoch, offset), durability);
            }
            Event::Refused { kind, id, reason, .. } => {
                self.note(&[6, client as u64, kind.into(), id, reason as u64]);
                self.counts.refused += 1;
                let is_storage = reason == grandstand_protocol::refusal::Refusal::StorageUnavailable;
                self.counts.refused_storage += u64::from(is_storage);
            }
            Event::Welcome { resumed, .. } => {
                self.note(&[7, client as u64, resumed.into()]);
                self.counts.sessions_resumed += u64::from(resumed);
            }
            Event::Unsubscribed { room, .. } => {
                self.note(&[8, client as u64]);
                let key = (client, room.name.to_owned());
                if self.readings.get(&key).is_some_and(|at| at.id.is_none_or(|id| id == room.id)) {
                    self.readings.remove(&key);
                }
            }
            Event::Fault { room, fault } => {
                self.violate("fault", format!("client {client} in {}: {fault:?}", room.name));
            }
            Event::Disconnected { ref reason } => self.handle_disconnected(client, reason),
            Event::Closed { ref reason } => {
                self.violate("closed", format!("client {client} was told never to come back: {reason:?}"));
            }
            Event::Uncertain { .. } => self.counts.uncertain += 1,
            Event::GoAway { .. } => self.counts.go_aways += 1,
            _ => {}
        }
    }

    fn handle_subscribed(
        &mut self,
        client: usize,
        room: Room<'_>,
        outcome: Outcome,
        epoch: u64,
        offset: u64,
    ) {
        let key = (client, room.name.to_owned());
        let is_own = |at: &Reading| at.id.is_none_or(|id| id == room.id);
        let before = self.readings.get(&key).copied().filter(is_own);
        let next = match (outcome, before) {
            (Outcome::Live, None) => offset,
            (Outcome::Live, Some(at)) if at.is_left => offset,
            (Outcome::Live, Some(_)) => {
                return self.violate(
                    "hole",
                    format!("client {client} asked to resume {} and was begun anew", room.name),
                );
            }
            (Outcome::Resumed | Outcome::Gapped, None) => {
                return self.violate(
                    "hole",
                    format!("client {client} did not ask to resume {}, and did", room.name),
                );
            }
            (Outcome::Resumed | Outcome::Gapped, Some(at)) => {
                let is_same = at.epoch == epoch;
                let is_forked = self.is_continued(at.epoch, at.next, epoch, |_| true);
                self.counts.resumed += 1;
                self.counts.resumed_over_power_cut += u64::from(is_forked);
                if !is_same && !is_forked {
                    let detail =
                        format!("client {client} at {at:?} resumed into epoch {epoch} of {}", room.name);
                    return self.violate("differs", detail);
                }
                if outcome == Outcome::Resumed && offset > at.next {
                    let detail =
                        format!("client {client} at {at:?} of {} was resumed at {offset}", room.name);
                    return self.violate("hole", detail);
                }
                at.next
            }
            (Outcome::Restarted, at) => {
                self.counts.restarted += 1;
                // A log that went to memory and back has forgotten what it came out of.
                let is_kept = |epoch| !self.removed.contains(&epoch);
                let is_needless = at.is_some_and(|at| {
                    at.epoch == epoch || self.is_continued(at.epoch, at.next, epoch, is_kept)
                });
                if is_needless {
                    let detail =
                        format!("client {client} at {at:?} of {} was begun anew in epoch {epoch}", room.name);
                    return self.violate("restarted", detail);
                }
                offset
            }
        };
        self.readings.insert(key, Reading { id: Some(room.id), is_left: false, epoch, next });
    }

    /// A subscription goes on in another log, which is the one that was read up to `from`.
    fn handle_other_log(&mut self, client: usize, room: Room<'_>, epoch: u64, (from, to): (u64, u64)) {
        self.counts.gaps += 1;
        let key = (client, room.name.to_owned());
        let Some(at) = self.readings.get(&key).copied() else {
            let detail = format!("client {client} was told of another log of {} that it left", room.name);
            return self.violate("hole", detail);
        };
        let goes_on = from == at.next;
        let is_true = !goes_on || at.next == 0 || self.is_continued(at.epoch, at.next, epoch, |_| true);
        if from > at.next || !is_true {
            let detail = format!("client {client} at {at:?} of {} goes on at {from} in {epoch}", room.name);
            return self.violate("differs", detail);
        }
        self.readings.insert(key, Reading { epoch, next: to, ..at });
    }

    fn handle_past(&mut self, client: usize, room: Room<'_>, request: u32, offset: u64, text: &str) {
        self.note(&[9, client as u64, offset]);
        self.counts.past += 1;
        let Some((epoch, next)) = self.pasts.get_mut(&(client, request)) else {
            return self
                .violate("answered", format!("client {client} was given a past that it had not asked for"));
        };
        let epoch = *epoch;
        if offset < *next {
            return self.violate(
                "again",
                format!("client {client} was given {offset} of the past of {} twice", room.name),
            );
        }
        *next = offset + 1;
        self.stands(room.name, epoch, offset, text, client);
    }

    fn handle_published(
        &mut self,
        client: usize,
        nonce: u64,
        (epoch, offset): Place,
        durability: Durability,
    ) {
        match durability {
            Durability::Memory => self.counts.acknowledged_memory += 1,
            _ => self.counts.acknowledged_disk += 1,
        }
        let Some(text) = self.said.get(&(client, nonce)).cloned() else {
            return self.violate("answered", format!("client {client} never said {nonce}"));
        };
        let room = text.split(' ').next().unwrap_or_default().to_owned();
        self.stands(&room, epoch, offset, &text, client);
        let place = self.origin(epoch, offset);
        if durability != Durability::Memory
            && let Some(kept) = self.kept.as_ref().filter(|kept| kept.get(&place) != Some(&text))
        {
            let detail =
                format!("{text:?} was acknowledged at {place:?}, and kept is {:?}", kept.get(&place));
            return self.violate("acknowledged", detail);
        }
        let life = self.lives.get(&client).copied().unwrap_or_default();
        self.acknowledged.push(Acknowledged { room, place, text, durability, life });
    }

    fn handle_disconnected(&mut self, client: usize, reason: &Reason) {
        self.note(&[10, client as u64]);
        self.counts.disconnects += 1;
        match reason {
            Reason::Told { code, detail } => {
                let is_lawful = CloseCode::from_wire(*code).is_some_and(|code| {
                    use CloseCode as C;
                    matches!(
                        code,
                        C::GoingAway
                            | C::HeartbeatTimeout
                            | C::HelloTimeout
                            | C::ControlQueueFull
                            | C::Overloaded
                    )
                });
                if !is_lawful {
                    self.violate("fault", format!("the node ended client {client} with {code}: {detail}"));
                }
            }
            Reason::Malformed(what) => self.violate("fault", format!("client {client}: {what}")),
            _ => {}
        }
    }

    /// A viewer is shown, or told of, the offsets from `from` to `to`.
    fn advance(&mut self, client: usize, room: Room<'_>, from: u64, to: u64, what: &str) {
        let Some(reading) = self.readings.get_mut(&(client, room.name.to_owned())) else {
            let detail = format!("client {client} was shown {from} of {} without a subscription", room.name);
            return self.violate("hole", detail);
        };
        let expected = reading.next;
        reading.next = to.max(expected);
        if from != expected || to <= from {
            let kind = if from < expected { "again" } else { "hole" };
            let detail = format!(
                "client {client} stood at {expected} of {}, and got {what} from {from} to {to}",
                room.name
            );
            self.violate(kind, detail);
        }
    }

    fn epoch(&self, client: usize, room: Room<'_>) -> Option<u64> {
        self.readings.get(&(client, room.name.to_owned())).map(|reading| reading.epoch)
    }

    // Logs.

    /// A text stands at a place: nothing else does, and it stands nowhere else in that log.
    fn stands(&mut self, room: &str, epoch: u64, offset: u64, text: &str, client: usize) {
        let place = self.origin(epoch, offset);
        if !text.starts_with(room) {
            self.violate("differs", format!("client {client} read {text:?} in {room}"));
        }
        match self.texts.get(&place) {
            Some(known) if known == text => return,
            Some(known) => {
                let detail = format!(
                    "{room}, epoch {epoch}, offset {offset}: {known:?}, and client {client} has {text:?}"
                );
                return self.violate("differs", detail);
            }
            None => {}
        }
        let others = self.places.get(text).map_or(&[][..], Vec::as_slice);
        let is_twice = |&&other: &&Place| self.is_one_log(other, place);
        let twice = others.iter().find(is_twice).copied();
        if let Some((before, at)) = twice {
            let detail =
                format!("{text:?} stands at {at} (epoch {before}) and at {offset} (epoch {epoch}) of {room}");
            self.violate("twice", detail);
        }
        self.texts.insert(place, text.to_owned());
        self.places.entry(text.to_owned()).or_default().push(place);
    }

    /// Does a log continue what a reader of another one has, over as many forks as a node remembers? Only
    /// forks of epochs that `counts` counts.
    fn is_continued(&self, read: u64, next: u64, mut epoch: u64, counts: impl Fn(u64) -> bool) -> bool {
        for _ in 0..Lineage::EPOCHS_MAX {
            let fork = self.forks.get(&epoch).filter(|&&(_, fork)| next <= fork && counts(epoch));
            let Some(&(before, _)) = fork else { return false };
            if before == read {
                return true;
            }
            epoch = before;
        }
        false
    }

    /// The epoch in which an offset of a log came to be.
    fn origin(&self, mut epoch: u64, offset: u64) -> Place {
        while let Some(&(before, fork)) = self.forks.get(&epoch).filter(|(_, fork)| offset < *fork) {
            let _ = fork;
            epoch = before;
        }
        (epoch, offset)
    }

    fn is_one_log(&self, a: Place, b: Place) -> bool {
        self.origin(a.0, b.1) == b || self.origin(b.0, a.1) == a
    }

    // At rest.

    /// How a log is at rest, as one reader read it: its epoch, and everything in full from the oldest kept
    /// offset to the head.
    pub fn check_log(&mut self, room: &str, epoch: u64, past: &[(u64, String)], head: u64, may_trim: bool) {
        let first = past.first().map_or(head, |(offset, _)| *offset);
        for (expected, (offset, _)) in (first..).zip(past) {
            if *offset != expected {
                return self.violate("hole", format!("the log of {room} has {offset} after {expected}"));
            }
        }
        let end = past.last().map_or(first, |(offset, _)| offset + 1);
        if end != head {
            return self.violate("lost", format!("the log of {room} ends at {end}, its head is {head}"));
        }
        if first > 0 && !may_trim && !self.forks.contains_key(&epoch) {
            return self.violate("lost", format!("the log of {room} begins at {first}"));
        }
        let acknowledged = std::mem::take(&mut self.acknowledged);
        for a in acknowledged.iter().filter(|a| a.room == room && !self.removed.contains(&a.place.0)) {
            let lasts = self.kept.is_none() && self.running.values().any(|&life| life == a.life);
            let is_promised = a.durability != Durability::Memory || lasts;
            if !is_promised || self.is_removed(a.place) {
                continue;
            }
            let offset = a.place.1;
            let stands = self.origin(epoch, offset) == a.place && offset < head;
            let is_trimmed = stands && offset < first && may_trim;
            let there = offset.checked_sub(first).and_then(|at| past.get(at as usize));
            let is_there = stands && there.is_some_and(|(_, text)| *text == a.text);
            if !(is_trimmed || is_there) {
                let detail = format!(
                    "{:?}, acknowledged ({:?}) at {:?}, is not in the log of {room} (epoch {epoch}, {first} to {head}): {there:?}",
                    a.text, a.durability, a.place
                );
                self.violate("lost", detail);
                break;
            }
        }
        self.acknowledged = acknowledged;
    }

    fn is_removed(&self, place: Place) -> bool {
        // A log that was removed takes with it what it had of the logs before.
        self.removed.iter().any(|&epoch| self.origin(epoch, place.1) == place)
    }

    /// A viewer at rest.
    pub fn check_viewer(&mut self, client: usize, room: &str, epoch: u64, head: u64) {
        match self.readings.get(&(client, room.to_owned())) {
            Some(at) if at.epoch == epoch && at.next == head => {}
            at => {
                let detail = format!(
                    "client {client} stands at {at:?} of {room}, whose head is {head} in epoch {epoch}"
                );
                self.violate("behind", detail);
            }
        }
    }

    /// Where a viewer stands, by what it was shown.
    pub fn reading(&self, client: usize, room: &str) -> Option<(u64, u64)> {
        self.readings.get(&(client, room.to_owned())).map(|at| (at.epoch, at.next))
    }

    /// Take numbers into the trace.
    pub fn note(&mut self, numbers: &[u64]) {
        for n in numbers {
            self.trace = mix(self.trace.rotate_left(5) ^ n).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
    }
}
