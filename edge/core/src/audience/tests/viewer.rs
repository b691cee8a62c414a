//! A model of a client: decodes every byte that it is given, and checks as it reads.
//!
//! Invariants checked on each frame: frames are whole and never interleave; nothing of a room stands before
//! `Subscribed` or after `Unsubscribed`; a batch begins where the position stands; a gap begins there too,
//! and counts what it spans; nothing is heard twice; what stands at an offset, and its time, are the same for
//! everyone ([`Truth`]); every answer answers a request that waits for one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use grandstand_protocol::batch::{ActEntry, BatchReader, Item, Position};
use grandstand_protocol::compress::{COMPRESSED_BATCH, Decompressor};
use grandstand_protocol::frame::{
    Acted, ClientFrame, Gap, GapReason, HistoryPage, Kind, NoticeKind, Outcome, Phase, Published, Role,
    ServerFrame, Subscribed,
};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::version::capability;
use grandstand_protocol::{limits, stream};

use super::removed::Removed;

/// What everyone must agree on: text and time by epoch and offset, and where each publication of a session
/// stands.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) said: HashMap<(u64, u64), String>,
    times: HashMap<(u64, u64), u64>,
    acks: HashMap<(u64, u64, u64), u64>,
    texts: HashMap<(u64, String), u64>,
    /// Acknowledged publications whose text is known, to be found where they were said to stand.
    pub(super) promised: Vec<(u64, u64, String)>,
    pub(super) removed: Removed,
}

impl Truth {
    fn heard(&mut self, epoch: u64, offset: u64, time_ms: u64, text: &str) {
        let at = self.said.entry((epoch, offset)).or_insert_with(|| text.to_owned());
        assert_eq!(at, text, "two viewers read different texts at {offset}");
        let time = *self.times.entry((epoch, offset)).or_insert(time_ms);
        assert_eq!(time, time_ms, "two viewers read different times at {offset}");
        let first = *self.texts.entry((epoch, text.to_owned())).or_insert(offset);
        assert_eq!(first, offset, "{text:?} stands twice in the log");
    }

    fn acknowledged(&mut self, session: u64, p: &Published, text: Option<&String>) {
        let at = *self.acks.entry((session, p.nonce, p.epoch)).or_insert(p.offset);
        assert_eq!(at, p.offset, "a nonce was published twice");
        if let Some(text) = text {
            self.promised.push((p.epoch, p.offset, text.clone()));
        }
    }
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    Welcome { session: u64, resumed: bool, name: String, permissions: u32 },
    Subscribed(Subscribed),
    Unsubscribed { request: u32, alias: u32, reason: Refusal },
    Published(Published),
    StateSet { request: u32, version: u64 },
    Refused { kind: u8, id: u64, reason: Refusal, retry_after_ms: Option<u32> },
    Batch { alias: u32, from: u64, to: u64, texts: Vec<String>, tallies: Vec<(String, u64)> },
    Snapshot { alias: u32, version: u64, entries: usize },
    Gap(Gap),
    RoomEvent { alias: u32, phase: Phase },
    Pong { client_us: u64 },
    GoAway { where_to: String, after_ms: u32, deadline_ms: u32 },
    Error { code: u16, retry_after_ms: u32, detail: String },
    Page { request: u32, offset: u64, next: u64, head: u64, said: Vec<(u64, String)> },
    Personal { alias: u32, offset: u64, text: String },
    Renewed { request: u32, name: String, role: Role, permissions: u32, expires_in_ms: u64 },
    Acted(Acted),
    Notice { notice: NoticeKind, id: u64, until_ms: u64 },
    Expiring { in_ms: u64 },
}

/// A room as a viewer follows it.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) room: String,
    pub(super) at: Position,
    /// Messages below it were read on an earlier subscription.
    floor: u64,
    head: u64,
    gap_due: bool,
    pub(super) version: u64,
    pub(super) state: BTreeMap<String, Vec<u8>>,
    pub(super) tallies: BTreeMap<String, u64>,
    /// Offsets that batches left out.
    pub(super) omitted: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
struct Asked {
    room: String,
    resume: Option<(u64, u64)>,
}

/// See the file's head. What survives a connection: ticket, session, places in rooms, what was heard.
#[derive(Debug, Default)]
pub(super) struct Viewer {
    pub(super) ticket: Vec<u8>,
    pub(super) session: u64,
    /// Where it stands or stood, by room: epoch and offset.
    pub(super) places: BTreeMap<String, (u64, u64)>,
    heard: HashMap<(String, u64), BTreeSet<u64>>,
    pub(super) texts: HashMap<u64, String>,
    pub(super) nonce: u64,
    request: u32,
    /// Capabilities that its `Hello` offers.
    pub(super) offers: u64,
    pub(super) compressed_batches: usize,
    decompressor: Decompressor,
    // Of this connection:
    capabilities: u64,
    bytes: Vec<u8>,
    welcomed: bool,
    pub(super) seen: Vec<Seen>,
    /// Authors of the messages that it was shown, in all rooms.
    pub(super) authors: Vec<String>,
    pub(super) following: BTreeMap<u32, Following>,
    asked: BTreeMap<u32, Asked>,
    unsubscribing: HashSet<(u32, u32)>,
    publishing: BTreeMap<u64, usize>,
    setting: HashSet<u32>,
    paging: HashSet<u32>,
    pings: BTreeMap<u64, usize>,
    renewing: HashSet<u32>,
    acting: HashSet<u32>,
    pub(super) failed: bool,
    /// The next frame was begun before an act came to its worker.
    pub(super) begun: bool,
    /// A log and the one that goes on from it.
    pub(super) other_log: Option<(u64, u64)>,
    /// The test itself checks which log goes on from which.
    pub(super) owners_change: bool,
}

impl Viewer {
    pub(super) fn new(offers: u64) -> Viewer {
        Viewer { offers, ..Viewer::default() }
    }

    /// The connection is new, the person is not.
    pub(super) fn reconnect(&mut self) {
        self.bytes.clear();
        self.seen.clear();
        self.following.clear();
        self.asked.clear();
        self.unsubscribing.clear();
        self.publishing.clear();
        self.setting.clear();
        self.paging.clear();
        self.renewing.clear();
        self.acting.clear();
        self.pings.clear();
        self.capabilities = 0;
        (self.welcomed, self.failed, self.begun) = (false, false, false);
    }

    pub(super) fn next_request(&mut self) -> u32 {
        self.request += 1;
        self.request
    }

    /// Note a frame that is sent, so that its answer is known.
    pub(super) fn note(&mut self, frame: &ClientFrame<'_>) {
        match frame {
            ClientFrame::Subscribe(s) => {
                self.asked.insert(s.request, Asked { room: s.room.to_owned(), resume: s.resume });
            }
            ClientFrame::Unsubscribe { request, alias } => {
                self.unsubscribing.insert((*request, *alias));
            }
            ClientFrame::Publish(p) => {
                self.texts.insert(p.nonce, p.text.to_owned());
                *self.publishing.entry(p.nonce).or_default() += 1;
            }
            ClientFrame::SetState(s) => assert!(self.setting.insert(s.request)),
            ClientFrame::Ping { client_us } => {
                *self.pings.entry(*client_us).or_default() += 1;
            }
            ClientFrame::History(h) => assert!(self.paging.insert(h.request)),
            ClientFrame::Renew(renew) => assert!(self.renewing.insert(renew.request)),
            ClientFrame::Act(act) => assert!(self.acting.insert(act.request)),
            ClientFrame::Hello(_) | ClientFrame::React(_) => {}
        }
    }

    /// Requests that nobody has answered.
    pub(super) fn unanswered(&self) -> usize {
        self.asked.len()
            + self.unsubscribing.len()
            + self.publishing.values().sum::<usize>()
            + self.setting.len()
            + self.paging.len()
            + self.renewing.len()
            + self.acting.len()
            + self.pings.values().sum::<usize>()
    }

    /// Is it in the middle of a frame?
    pub(super) fn is_mid_frame(&self) -> bool {
        !self.bytes.is_empty()
    }

    pub(super) fn alias_of(&self, room: &str) -> Option<u32> {
        self.following.iter().find(|(_, f)| f.room == room).map(|(&alias, _)| alias)
    }

    pub(super) fn room(&self, room: &str) -> &Following {
        self.following.values().find(|f| f.room == room).expect("it follows the room")
    }

    /// Everything read in a room, over all connections, oldest first.
    pub(super) fn heard(&self, room: &str, epoch: u64) -> Vec<u64> {
        self.heard.get(&(room.to_owned(), epoch)).map_or_else(Vec::new, |h| h.iter().copied().collect())
    }

    pub(super) fn gaps(&self) -> Vec<Gap> {
        self.seen.iter().filter_map(|s| if let Seen::Gap(gap) = s { Some(*gap) } else { None }).collect()
    }

    pub(super) fn refusals(&self) -> Vec<(u8, u64, Refusal, Option<u32>)> {
        let refused = |s: &Seen| match s {
            Seen::Refused { kind, id, reason, retry_after_ms } => {
                Some((*kind, *id, *reason, *retry_after_ms))
            }
            _ => None,
        };
        self.seen.iter().filter_map(refused).collect()
    }

    pub(super) fn published(&self) -> Vec<Published> {
        self.seen.iter().filter_map(|s| if let Seen::Published(p) = s { Some(*p) } else { None }).collect()
    }

    pub(super) fn subscribed(&self) -> Vec<Subscribed> {
        self.seen.iter().filter_map(|s| if let Seen::Subscribed(p) = s { Some(*p) } else { None }).collect()
    }

    /// Bytes from the wire.
    pub(super) fn take(&mut self, bytes: &[u8], truth: &mut Truth) {
        self.bytes.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.bytes);
        let mut rest = &all[..];
        while let Some((header, len)) =
            stream::read_header(rest, limits::SERVER_FRAME_BYTES_MAX).expect("a header")
        {
            let Some(frame) = rest.get(header..header + len) else { break };
            truth.removed.is_begun = std::mem::take(&mut self.begun);
            if frame[0] == COMPRESSED_BATCH {
                assert!(
                    self.offers & self.capabilities & capability::DEFLATE_1 != 0,
                    "nobody agreed to compression"
                );
                self.compressed_batches += 1;
                let mut decompressor = std::mem::take(&mut self.decompressor);
                let body = decompressor.open(&frame[1..]).expect("a compressed batch");
                assert!(body.len() >= frame.len(), "compressed for nothing");
                self.frame(&ServerFrame::Batch(body), truth);
                self.decompressor = decompressor;
            } else {
                self.frame(&ServerFrame::decode(frame).expect("a frame of a server"), truth);
            }
            rest = &rest[header + len..];
        }
        self.bytes = rest.to_vec();
    }

    fn frame(&mut self, frame: &ServerFrame<'_>, truth: &mut Truth) {
        assert!(!self.failed, "a frame after Error: {frame:?}");
        let is_first = matches!(frame, ServerFrame::Welcome(_) | ServerFrame::Error(_));
        assert!(self.welcomed || is_first, "before Welcome: {frame:?}");
        let seen = match frame {
            ServerFrame::Welcome(w) => {
                assert!(!std::mem::replace(&mut self.welcomed, true), "two Welcomes");
                self.ticket = w.ticket.to_vec();
                self.capabilities = w.capabilities;
                assert_eq!(w.capabilities & !self.offers, 0, "only what was offered");
                self.session = w.session;
                Seen::Welcome {
                    session: w.session,
                    resumed: w.resumed,
                    name: w.name.to_owned(),
                    permissions: w.permissions,
                }
            }
            ServerFrame::Subscribed(s) => self.take_subscribed(s),
            ServerFrame::Unsubscribed { request, alias, reason } => {
                let (request, alias, reason) = (*request, *alias, *reason);
                assert!(
                    request == 0 || self.unsubscribing.remove(&(request, alias)),
                    "nobody asked to leave"
                );
                assert!(self.following.remove(&alias).is_some(), "it did not follow {alias}");
                Seen::Unsubscribed { request, alias, reason }
            }
            ServerFrame::Published(p) => {
                self.answered_publication(p.nonce);
                truth.acknowledged(self.session, p, self.texts.get(&p.nonce));
                Seen::Published(*p)
            }
            ServerFrame::StateSet { request, version } => {
                assert!(self.setting.remove(request), "no such state change");
                Seen::StateSet { request: *request, version: *version }
            }
            ServerFrame::Refused(r) => {
                self.take_refusal(r.kind, r.id);
                Seen::Refused { kind: r.kind, id: r.id, reason: r.reason, retry_after_ms: r.retry_after_ms }
            }
            ServerFrame::Batch(body) => self.take_batch(body, truth),
            ServerFrame::Snapshot(s) => {
                let f = self.following.get_mut(&s.alias).expect("a snapshot of a room that is followed");
                assert_eq!(s.epoch, f.at.epoch);
                if s.version >= f.version {
                    f.version = s.version;
                    f.state = s.entries.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect();
                }
                Seen::Snapshot { alias: s.alias, version: s.version, entries: s.entries.len() }
            }
            ServerFrame::Gap(gap) => self.take_gap(gap),
            ServerFrame::RoomEvent(e) => {
                assert!(self.following.contains_key(&e.alias), "an event of a room that is not followed");
                Seen::RoomEvent { alias: e.alias, phase: e.phase }
            }
            ServerFrame::Pong { client_us, .. } => {
                let waiting = self.pings.get_mut(client_us).filter(|n| **n > 0).expect("a ping that waits");
                *waiting -= 1;
                Seen::Pong { client_us: *client_us }
            }
            ServerFrame::GoAway(g) => Seen::GoAway {
                where_to: g.where_to.to_owned(),
                after_ms: g.after_ms,
                deadline_ms: g.deadline_ms,
            },
            ServerFrame::Error(e) => {
                self.failed = true;
                Seen::Error { code: e.code, retry_after_ms: e.retry_after_ms, detail: e.detail.to_owned() }
            }
            ServerFrame::HistoryPage(page) => self.take_page(page, truth),
            ServerFrame::Personal(p) => {
                let f = &self.following[&p.alias];
                assert_eq!(p.epoch, f.at.epoch);
                truth.heard(p.epoch, p.offset, p.time_ms, p.text);
                truth.removed.check(p.epoch, p.offset, p.author, p.text);
                Seen::Personal { alias: p.alias, offset: p.offset, text: p.text.to_owned() }
            }
            ServerFrame::Renewed(r) => {
                assert!(self.renewing.remove(&r.request), "no such renewal");
                Seen::Renewed {
                    request: r.request,
                    name: r.name.to_owned(),
                    role: r.role,
                    permissions: r.permissions,
                    expires_in_ms: r.expires_in_ms,
                }
            }
            ServerFrame::Expiring { in_ms } => Seen::Expiring { in_ms: *in_ms },
            ServerFrame::Acted(a) => {
                assert!(self.acting.remove(&a.request), "no such act");
                Seen::Acted(*a)
            }
            ServerFrame::Notice(n) => Seen::Notice { notice: n.notice, id: n.id, until_ms: n.until_ms },
        };
        self.seen.push(seen);
    }

    fn take_subscribed(&mut self, s: &Subscribed) -> Seen {
        let asked = self.asked.remove(&s.request).expect("a subscription that was asked for");
        let mut floor = s.offset;
        match (s.outcome, asked.resume) {
            (Outcome::Live, None) => {
                self.heard.remove(&(asked.room.clone(), s.epoch));
            }
            (Outcome::Restarted, Some(resume)) => {
                assert!(resume.0 != s.epoch || resume.1 > s.head, "restarted for nothing");
                self.heard.remove(&(asked.room.clone(), s.epoch));
            }
            (Outcome::Resumed, Some((epoch, offset))) => {
                let is_known = s.epoch == epoch || self.other_log == Some((epoch, s.epoch));
                assert!(is_known || self.owners_change, "another log");
                assert!(s.offset <= offset && offset <= s.head);
                // What it read after it had asked, on the subscription before, it passes over as well.
                let place = self.places.get(&asked.room).filter(|place| place.0 == epoch);
                floor = place.map_or(offset, |place| place.1.max(offset));
            }
            (Outcome::Gapped, Some(resume)) => {
                assert!(s.epoch == resume.0 || self.owners_change, "another log");
                assert_eq!(s.offset, resume.1);
                let place = self.places.get(&asked.room).filter(|place| place.0 == resume.0);
                floor = place.map_or(s.offset, |place| place.1.max(s.offset));
            }
            other => panic!("{other:?}"),
        }
        assert!(s.offset <= s.head);
        self.places.insert(asked.room.clone(), (s.epoch, floor));
        let following = Following {
            room: asked.room,
            at: Position { epoch: s.epoch, offset: s.offset, time_ms: s.time_ms },
            floor,
            head: s.head,
            gap_due: s.outcome == Outcome::Gapped,
            version: 0,
            state: BTreeMap::new(),
            tallies: BTreeMap::new(),
            omitted: BTreeSet::new(),
        };
        assert!(self.following.insert(s.alias, following).is_none(), "alias {} is taken", s.alias);
        Seen::Subscribed(*s)
    }

    fn take_refusal(&mut self, kind: u8, id: u64) {
        match Kind::from_wire(kind).expect("a kind") {
            Kind::Subscribe => assert!(self.asked.remove(&(id as u32)).is_some(), "no such subscription"),
            Kind::Publish => self.answered_publication(id),
            Kind::SetState => assert!(self.setting.remove(&(id as u32)), "no such state change"),
            Kind::Unsubscribe => {
                let waits = self.unsubscribing.iter().find(|(request, _)| u64::from(*request) == id).copied();
                assert!(self.unsubscribing.remove(&waits.expect("it asked to leave")));
            }
            Kind::History => assert!(self.paging.remove(&(id as u32)), "no such page"),
            Kind::Renew => assert!(self.renewing.remove(&(id as u32)), "no such renewal"),
            Kind::Act => assert!(self.acting.remove(&(id as u32)), "no such act"),
            Kind::React => {}
            other => panic!("{other:?} is not refused"),
        }
    }

    fn answered_publication(&mut self, nonce: u64) {
        let waiting = self.publishing.get_mut(&nonce).expect("a publication that waits");
        *waiting -= 1;
        if *waiting == 0 {
            self.publishing.remove(&nonce);
        }
    }

    fn take_gap(&mut self, gap: &Gap) -> Seen {
        let f = self.following.get_mut(&gap.alias).expect("a gap of a room that is followed");
        if gap.reason == GapReason::Restarted {
            return self.take_restart(gap);
        }
        assert_eq!((gap.epoch, gap.from), (f.at.epoch, f.at.offset), "a gap begins where the viewer stands");
        assert_eq!(gap.count, gap.to - gap.from, "nothing was left out, so all of it is missed");
        assert!(gap.count > 0, "an empty gap");
        f.at = Position { epoch: gap.epoch, offset: gap.to, time_ms: gap.time_ms };
        f.gap_due = false;
        let place = (gap.epoch, gap.to.max(f.floor));
        self.places.insert(f.room.clone(), place);
        Seen::Gap(*gap)
    }

    /// Another log, which is the one that was read up to `from`.
    fn take_restart(&mut self, gap: &Gap) -> Seen {
        let f = self.following.get_mut(&gap.alias).expect("a gap of a room that is followed");
        assert!(!f.gap_due, "a restart before the gap");
        assert!(gap.from <= f.at.offset, "a log that holds more than was read");
        assert!(gap.count <= gap.to - gap.from);
        // What was read beyond `from` is not of this log.
        let goes_on = gap.from == f.at.offset;
        f.floor = if goes_on { f.floor.max(gap.to) } else { gap.to };
        let mut heard = self.heard.get(&(f.room.clone(), f.at.epoch)).cloned().unwrap_or_default();
        heard.retain(|offset| goes_on || *offset < gap.from);
        self.heard.insert((f.room.clone(), gap.epoch), heard);
        f.at = Position { epoch: gap.epoch, offset: gap.to, time_ms: gap.time_ms };
        f.version = 0;
        f.state.clear();
        self.places.insert(f.room.clone(), (gap.epoch, f.floor));
        Seen::Gap(*gap)
    }

    /// A page of the log in full: nothing left out, from its own position on.
    fn take_page(&mut self, page: &HistoryPage<'_>, truth: &mut Truth) -> Seen {
        assert!(self.paging.remove(&page.request), "no such page was asked for");
        let mut at = Position { epoch: page.epoch, offset: page.offset, time_ms: page.time_ms };
        let mut said = Vec::new();
        for body in &page.batches {
            let mut reader = BatchReader::new(body).expect("a batch");
            at.begin(&reader).expect("the batch continues the page");
            while let Some(item) = reader.next_item().expect("a whole batch") {
                match item {
                    Item::Message(m) => {
                        assert_eq!((m.skip, m.folded), (0, 0), "nothing is left out of a page");
                        let offset = at.message(&m);
                        truth.heard(at.epoch, offset, at.time_ms, m.text);
                        truth.removed.check(at.epoch, offset, m.author, m.text);
                        said.push((offset, m.text.to_owned()));
                    }
                    Item::Omitted(n) => panic!("{n} left out of a page"),
                    Item::Removed(skip) | Item::Act(ActEntry { skip, .. }) => drop(at.entry(skip)),
                    _ => {}
                }
            }
        }
        assert_eq!(at.offset, page.next);
        let (request, offset, next, head) = (page.request, page.offset, page.next, page.head);
        Seen::Page { request, offset, next, head, said }
    }

    fn take_batch(&mut self, body: &[u8], truth: &mut Truth) -> Seen {
        let mut reader = BatchReader::new(body).expect("a batch");
        let alias = reader.alias();
        let f = self.following.get_mut(&alias).expect("a batch of a room that is followed");
        assert!(!f.gap_due, "a batch before the gap");
        let is_replay = f.at.offset < f.head;
        let from = f.at.offset;
        f.at.begin(&reader).expect("the batch continues the position");
        let (mut texts, mut tallies, mut is_newer) = (Vec::new(), Vec::new(), false);
        while let Some(item) = reader.next_item().expect("a whole batch") {
            match item {
                Item::Message(m) => {
                    let before = f.at.offset;
                    let offset = f.at.message(&m);
                    f.omitted.extend(before..offset);
                    truth.heard(f.at.epoch, offset, f.at.time_ms, m.text);
                    truth.removed.check(f.at.epoch, offset, m.author, m.text);
                    if offset >= f.floor {
                        let heard = self.heard.entry((f.room.clone(), f.at.epoch)).or_default();
                        assert!(heard.insert(offset), "{offset} was heard twice");
                    }
                    texts.push(m.text.to_owned());
                    self.authors.push(m.author.to_owned());
                }
                Item::Removed(skip) | Item::Act(ActEntry { skip, .. }) => {
                    let before = f.at.offset;
                    let offset = f.at.entry(skip);
                    f.omitted.extend(before..offset);
                }
                Item::Omitted(n) => {
                    f.omitted.extend(f.at.offset..f.at.offset + n);
                    f.at.omitted(n);
                }
                Item::Tally { key, count } if !is_replay => {
                    *f.tallies.entry(key.to_owned()).or_default() += count;
                    tallies.push((key.to_owned(), count));
                }
                Item::Tally { .. } => {}
                Item::StateVersion(version) => {
                    is_newer = version > f.version;
                    f.version = f.version.max(version);
                }
                Item::State(change) if is_newer => {
                    match change.value {
                        Some(value) => f.state.insert(change.key.to_owned(), value.to_vec()),
                        None => f.state.remove(change.key),
                    };
                }
                Item::State(_) => {}
            }
        }
        self.places.insert(f.room.clone(), (f.at.epoch, f.at.offset.max(f.floor)));
        Seen::Batch { alias, from, to: f.at.offset, texts, tallies }
    }
}
