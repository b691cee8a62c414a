//! A scripted node: one room, one viewer, everything that the client's tests need a node to do or to do
//! wrong.
//!
//! Why not the real one: it stands above this crate, and does nothing wrong.
//! Not here: sockets (`sockets.rs`), virtual time (`session.rs`).
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod world;

use std::collections::{BTreeMap, HashMap, VecDeque};

use grandstand_client::protocol::batch::{BatchWriter, MessageParts};
use grandstand_client::protocol::compress::Compressor;
use grandstand_client::protocol::frame::{
    Acted, ClientFrame, Durability, Encoder, Gap, GapReason, History, HistoryPage, Kind, Outcome, Phase,
    Published, Refused, Renewed, ServerFrame, Snapshot, Subscribed, Welcome,
};
use grandstand_client::protocol::refusal::Refusal;
use grandstand_client::protocol::stream::read_header;
use grandstand_client::protocol::version::capability;

pub const EPOCH: u64 = 7;
pub const HEARTBEAT_MS: u32 = 1000;

/// What stands at one offset of the log.
#[derive(Clone, Debug)]
pub enum Entry {
    Message(String),
    LeftOut,
}

#[derive(Default)]
pub struct ScriptedNode {
    pub epoch: u64,
    /// The log before a power cut, and what of it still holds.
    pub previous: Option<(u64, u64)>,
    pub log: Vec<Entry>,
    /// Offsets below are gone.
    pub first: u64,
    pub nonces: HashMap<u64, u64>,
    pub state: BTreeMap<String, Vec<u8>>,
    pub state_version: u64,
    /// Honour tickets.
    pub forgets_sessions: bool,
    /// Refuse the next requests to subscribe, with this.
    pub refuse_subscribe: Option<(Refusal, Option<u32>)>,
    /// Remember nobody's nonces for longer than this.
    pub remembers_ms: Option<u32>,
    /// Ages of publications, as they came.
    pub ages_ms: Vec<u32>,
    /// Answer a resume beyond the head with a restart in the same log, as S-5 says.
    pub restarts_beyond_the_head: bool,
    /// Answer no publication.
    pub is_mute: bool,
    /// `Welcome.heartbeat_ms`, if not the usual one.
    pub heartbeat_ms: u32,
    /// Refuse the next publications, with this.
    pub refuse_publish: VecDeque<(Refusal, Option<u32>)>,
    /// Limits in `Welcome`: text, frame, rooms; 0 for none.
    pub limits: (u32, u32, u32),
    /// Refuse the next page of history, with this.
    pub refuse_history: Option<(Refusal, Option<u32>)>,
    /// Refuse acts.
    pub refuse_acts: bool,
    /// How often each act was done, by its request.
    pub acted: BTreeMap<u32, u32>,
    /// Begin the next subscription here, whatever was asked.
    pub lie: Option<u64>,
    /// Kinds of all frames received on this connection.
    pub seen: Vec<Kind>,
    pub subscribes: Vec<Option<(u64, u64)>>,
    pub to_client: VecDeque<Vec<u8>>,
    /// Capabilities in force.
    pub granted: u64,
    /// Capabilities never granted.
    pub withheld: u64,
    /// Batches that went compressed.
    pub compressed: usize,
    compressor: Compressor,
    viewer: Option<Viewer>,
    connections: u32,
    encoder: Encoder,
}

#[derive(Clone, Copy)]
struct Viewer {
    alias: u32,
    cursor: u64,
    time_ms: u64,
    state_version: u64,
}

impl ScriptedNode {
    pub fn new() -> ScriptedNode {
        ScriptedNode { epoch: EPOCH, ..ScriptedNode::default() }
    }

    pub fn head(&self) -> u64 {
        self.log.len() as u64
    }

    pub fn say(&mut self, text: &str) -> u64 {
        self.log.push(Entry::Message(text.into()));
        self.head() - 1
    }

    pub fn say_all(&mut self, texts: &[&str]) {
        self.log.extend(texts.iter().map(|text| Entry::Message((*text).into())));
    }

    pub fn say_numbers(&mut self, numbers: std::ops::Range<u64>) {
        self.log.extend(numbers.map(|n| Entry::Message(n.to_string())));
    }

    pub fn set_state(&mut self, key: &str, value: &[u8]) {
        self.state.insert(key.into(), value.into());
        self.state_version += 1;
    }

    /// The connection is gone, with all that was under way.
    pub fn handle_disconnected(&mut self) {
        self.viewer = None;
        self.seen.clear();
        self.to_client.clear();
    }

    pub fn send(&mut self, frame: &ServerFrame<'_>) {
        let mut out = Vec::new();
        self.encoder.server(frame, &mut out);
        self.to_client.push_back(out);
    }

    /// Compressed, where that was agreed and takes less.
    fn send_batch(&mut self, body: &[u8]) {
        let compressed =
            (self.granted & capability::DEFLATE_1 != 0).then(|| self.compressor.batch_framed(body)).flatten();
        let Some(wire) = compressed else { return self.send(&ServerFrame::Batch(body)) };
        let (header, _) = read_header(&wire, wire.len()).unwrap().unwrap();
        self.compressed += 1;
        self.to_client.push_back(wire[header..].to_vec());
    }

    pub fn has_viewer(&self) -> bool {
        self.viewer.is_some()
    }

    pub fn alias(&self) -> u32 {
        self.viewer.expect("a viewer").alias
    }

    pub fn handle_frame(&mut self, frame: &[u8]) {
        let frame = ClientFrame::decode(frame).expect("a valid frame");
        assert_eq!(self.seen.is_empty(), frame.kind() == Kind::Hello, "Hello first, and once");
        self.seen.push(frame.kind());
        match frame {
            ClientFrame::Hello(hello) => {
                let resumed = !hello.ticket.is_empty() && !self.forgets_sessions;
                self.connections += 1;
                self.granted = hello.capabilities & capability::SUPPORTED & !self.withheld;
                self.send(&ServerFrame::Welcome(Welcome {
                    version: 1,
                    capabilities: self.granted,
                    session: u64::from(self.connections),
                    ticket: b"ticket",
                    heartbeat_ms: if self.heartbeat_ms > 0 { self.heartbeat_ms } else { HEARTBEAT_MS },
                    name: "ann",
                    node: "scripted",
                    resumed,
                    text_bytes_max: self.limits.0,
                    frame_bytes_max: self.limits.1,
                    rooms_max: self.limits.2,
                    ..Welcome::default()
                }));
            }
            ClientFrame::Subscribe(s) => self.handle_subscribe(s.request, s.resume, s.replay),
            ClientFrame::Unsubscribe { request, alias } => {
                self.viewer = None;
                self.send(&ServerFrame::Unsubscribed { request, alias, reason: Refusal::Other });
            }
            ClientFrame::Publish(_) if self.is_mute => {}
            ClientFrame::Publish(p) => {
                self.ages_ms.push(p.age_ms);
                // What is in the log is answered, whatever would be refused now.
                if !self.nonces.contains_key(&p.nonce)
                    && let Some((reason, retry_after_ms)) = self.refuse_publish.pop_front()
                {
                    let (kind, id) = (Kind::Publish as u8, p.nonce);
                    let refused = Refused { kind, id, reason, retry_after_ms, detail: "" };
                    return self.send(&ServerFrame::Refused(refused));
                }
                if self.remembers_ms.is_some_and(|ms| p.age_ms > ms) {
                    let (kind, id, reason) = (Kind::Publish as u8, p.nonce, Refusal::Forgotten);
                    let refused = Refused { kind, id, reason, retry_after_ms: None, detail: "" };
                    return self.send(&ServerFrame::Refused(refused));
                }
                let known = self.nonces.get(&p.nonce).copied();
                let offset = known.unwrap_or_else(|| self.say(p.text));
                self.nonces.insert(p.nonce, offset);
                self.send(&ServerFrame::Published(Published {
                    nonce: p.nonce,
                    epoch: self.epoch,
                    offset,
                    time_ms: 0,
                    durability: Durability::Memory,
                    repeated: known.is_some(),
                }));
            }
            ClientFrame::React(_) => {}
            ClientFrame::SetState(s) => {
                self.set_state(s.key, s.value.unwrap_or_default());
                let version = self.state_version;
                self.send(&ServerFrame::StateSet { request: s.request, version });
            }
            ClientFrame::History(h) => self.handle_history(&h),
            ClientFrame::Renew(renew) if renew.token == "bad" => {
                let (kind, id, reason) = (Kind::Renew as u8, renew.request.into(), Refusal::Forbidden);
                self.send(&ServerFrame::Refused(Refused {
                    kind,
                    id,
                    reason,
                    retry_after_ms: None,
                    detail: "bad",
                }));
            }
            ClientFrame::Renew(renew) => {
                let (request, name, expires_in_ms) = (renew.request, renew.token, 60_000);
                self.send(&ServerFrame::Renewed(Renewed {
                    request,
                    name,
                    expires_in_ms,
                    ..Renewed::default()
                }));
            }
            ClientFrame::Act(act) => {
                let (request, epoch) = (act.request, self.epoch);
                if self.refuse_acts {
                    let (kind, id, reason) = (Kind::Act as u8, request.into(), Refusal::Forbidden);
                    let refused = Refused { kind, id, reason, retry_after_ms: None, detail: "" };
                    return self.send(&ServerFrame::Refused(refused));
                }
                *self.acted.entry(request).or_default() += 1;
                self.send(&ServerFrame::Acted(Acted { request, epoch, ..Acted::default() }));
            }
            ClientFrame::Ping { client_us } => self.send(&ServerFrame::Pong { client_us, server_ms: 0 }),
        }
    }

    /// A page of one batch, aligned to four offsets; what was left out of batches has a text here.
    fn handle_history(&mut self, h: &History) {
        let refusal = self.refuse_history.take();
        let refusal = refusal.or_else(|| (h.epoch != self.epoch).then_some((Refusal::UnknownEpoch, None)));
        if let Some((reason, retry_after_ms)) = refusal {
            let (kind, id) = (Kind::History as u8, u64::from(h.request));
            return self.send(&ServerFrame::Refused(Refused {
                kind,
                id,
                reason,
                retry_after_ms,
                detail: "",
            }));
        }
        let offset = (h.from / 4 * 4).max(self.first).min(self.head());
        let next = (h.from.max(offset) + u64::from(h.count_max).min(10)).div_ceil(4) * 4;
        let next = next.min(self.head());
        let mut body = Vec::new();
        let mut w = BatchWriter::begin(&mut body, h.alias, (next - offset) as usize, false, false, 0);
        if next > offset {
            w.chat(offset, 5, 0);
        }
        for at in offset..next {
            let text = match &self.log[at as usize] {
                Entry::Message(text) => text.clone(),
                Entry::LeftOut => format!("left out {at}"),
            };
            w.message(&MessageParts { author: "ann", text: &text, ..MessageParts::default() });
        }
        w.finish();
        let (request, alias, epoch, head) = (h.request, h.alias, h.epoch, self.head());
        let batches = if next > offset { vec![&body[..]] } else { vec![] };
        let time_ms = self.time_ms(offset);
        self.send(&ServerFrame::HistoryPage(HistoryPage {
            request,
            alias,
            epoch,
            offset,
            time_ms,
            next,
            head,
            batches,
        }));
    }

    fn handle_subscribe(&mut self, request: u32, resume: Option<(u64, u64)>, replay: u32) {
        self.subscribes.push(resume);
        if let Some((reason, retry_after_ms)) = self.refuse_subscribe.take() {
            let (kind, id) = (Kind::Subscribe as u8, u64::from(request));
            return self.send(&ServerFrame::Refused(Refused {
                kind,
                id,
                reason,
                retry_after_ms,
                detail: "",
            }));
        }
        let head = self.head();
        let newest = head.saturating_sub(u64::from(replay)).max(self.first);
        let previous = self.previous;
        let goes_on = |&(epoch, offset): &(u64, u64)| {
            previous.is_some_and(|(before, cut)| epoch == before && offset <= cut)
        };
        let resume_here = resume.map(|at| if goes_on(&at) { (self.epoch, at.1) } else { at });
        let (offset, outcome) = match resume_here {
            Some((epoch, offset))
                if epoch == self.epoch && offset > head && self.restarts_beyond_the_head =>
            {
                (newest, Outcome::Restarted)
            }
            Some((epoch, offset)) if epoch == self.epoch && offset >= self.first => {
                (offset, Outcome::Resumed)
            }
            Some((epoch, _)) if epoch == self.epoch => (self.first, Outcome::Gapped),
            Some(_) => (newest, Outcome::Restarted),
            None => (newest, Outcome::Live),
        };
        // As a node does: from the start of a batch.
        let is_elsewhere = resume_here != resume;
        let offset = if is_elsewhere { offset.saturating_sub(1) } else { offset };
        let offset = self.lie.take().unwrap_or(offset);
        let (alias, epoch, time_ms) = (3, self.epoch, self.time_ms(offset));
        self.viewer = Some(Viewer { alias, cursor: offset, time_ms, state_version: self.state_version });
        let phase = Phase::Open;
        self.send(&ServerFrame::Subscribed(Subscribed {
            request,
            alias,
            epoch,
            offset,
            head,
            time_ms,
            outcome,
            phase,
        }));
        if outcome == Outcome::Gapped {
            let from = resume.expect("resuming").1;
            self.send_gap(from, offset, GapReason::Expired);
        }
        if !self.state.is_empty() {
            let (state, version) = (self.state.clone(), self.state_version);
            let entries = state.iter().map(|(k, v)| (&**k, &**v)).collect();
            self.send(&ServerFrame::Snapshot(Snapshot { alias, epoch, version, entries }));
        }
    }

    pub fn send_gap(&mut self, from: u64, to: u64, reason: GapReason) {
        let (alias, epoch, time_ms) = (self.alias(), self.epoch, self.time_ms(to));
        self.send(&ServerFrame::Gap(Gap { alias, epoch, from, to, count: to - from, reason, time_ms }));
    }

    /// Everything from the viewer's cursor, as batches of at most `entries_max` offsets.
    pub fn pump(&mut self, entries_max: usize) {
        while let Some(viewer) = self.viewer {
            if viewer.cursor < self.first {
                // Fell off: skip to what is left.
                self.send_gap(viewer.cursor, self.first, GapReason::Slow);
                let time_ms = self.time_ms(self.first);
                self.viewer = Some(Viewer { cursor: self.first, time_ms, ..viewer });
                continue;
            }
            let end = self.head().min(viewer.cursor + entries_max as u64);
            if viewer.cursor >= end {
                return;
            }
            let body = self.body(viewer, viewer.cursor, end);
            self.send_batch(&body);
            self.viewer = Some(Viewer { cursor: end, time_ms: self.time_ms(end), ..viewer });
        }
    }

    /// A batch of state and tallies alone.
    pub fn send_lanes(&mut self, tally: Option<(&str, u64)>, state: &[(&str, Option<&[u8]>)], version: u64) {
        let mut body = Vec::new();
        let mut w = BatchWriter::begin(&mut body, self.alias(), 0, tally.is_some(), !state.is_empty(), 0);
        if let Some((key, count)) = tally {
            w.tallies(1);
            w.tally(key, count);
        }
        if !state.is_empty() {
            w.state(state.len(), version);
            state.iter().for_each(|(key, value)| w.change(key, *value));
        }
        w.finish();
        self.send_batch(&body);
    }

    fn body(&self, viewer: Viewer, from: u64, end: u64) -> Vec<u8> {
        let entries = &self.log[from as usize..end as usize];
        let count = entries.iter().filter(|e| matches!(e, Entry::Message(_))).count();
        let after = entries.iter().rev().take_while(|e| matches!(e, Entry::LeftOut)).count() as u64;
        let mut body = Vec::new();
        let mut w = BatchWriter::begin(&mut body, viewer.alias, count, true, false, after);
        w.chat(from, self.time_ms(end) - viewer.time_ms, after);
        let mut skip = 0;
        for entry in entries {
            match entry {
                Entry::LeftOut => skip += 1,
                Entry::Message(text) => {
                    w.message(&MessageParts { author: "ann", text, skip, ..MessageParts::default() });
                    skip = 0;
                }
            }
        }
        w.tallies(1);
        w.tally("❤", end - from);
        w.finish();
        body
    }

    /// Every offset took ten milliseconds.
    pub fn time_ms(&self, offset: u64) -> u64 {
        1_000_000 + offset * 10
    }
}
