//! A model of a room and its owners: a log with epochs, what each owner sends, and what of it is lost.
//!
//! Why a model in place of shards: an owner here may number batches from anywhere, lose what it had shown,
//! have another log, refuse, or say nothing. And the log in full is known, so what viewers read can be
//! compared with it.
//! Invariant: what a log holds never changes. Only its end is lost, and then the epoch is another one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{
    Alias, Attachment, Batch, Compressed, HistoryPage, Input, Lineage, Output, PageOf, PreviousEpoch,
    StateImage,
};
use grandstand_protocol::batch::{BatchWriter, MessageParts};
use grandstand_protocol::frame::{Encoder, Phase, ServerFrame, Snapshot};
use grandstand_protocol::refusal::Refusal;

/// Batches in one page.
const PAGE_MAX: usize = 3;

/// How a room gets another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Another owner has the whole log.
    Clean,
    /// Another owner has the log without its newest batches, under another epoch.
    Claim { lost: usize },
    /// Another owner begins anew.
    Anew,
    /// As clean, but the room has another alias.
    OtherAlias,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct ModelOwner {
    pub(super) name: Arc<str>,
    pub(super) alias: u32,
    pub(super) epoch: u64,
    pub(super) previous: Lineage,
    pub(super) next_offset: u64,
    pub(super) time_ms: u64,
    pub(super) version: u64,
    pub(super) state: BTreeMap<String, Vec<u8>>,
    pub(super) phase: Phase,
    next_seq: u64,
    /// All batches of the log, those without chat too.
    batches: Vec<Arc<Batch>>,
    /// Of them, those from here on have numbers of the present owner.
    numbered_from: usize,
    /// Batches from the end on that it keeps, in memory and in all.
    ring_max: usize,
    kept_max: usize,
    is_followed: bool,
    /// The batch that the worker expects: number and offset.
    expected: (u64, u64),
    /// The worker has heard of the owner that the room has now.
    is_told: bool,
    /// What it sends is lost.
    pub(super) loses: bool,
    /// What it is asked and answers is lost, but not what it says of itself.
    pub(super) loses_pages: bool,
    /// It refuses to be followed now.
    pub(super) refuses: Option<Refusal>,
    /// What was said, by epoch and offset.
    pub(super) said: HashMap<(u64, u64), String>,
    spoken: u64,
    epochs: u64,
}

impl ModelOwner {
    pub(super) fn new(name: &str, alias: u32, ring_max: usize, kept_max: usize) -> Self {
        ModelOwner {
            name: name.into(),
            alias,
            epoch: u64::from(alias) * 1_000,
            previous: Lineage::default(),
            next_offset: 0,
            time_ms: 1_000,
            version: 0,
            state: BTreeMap::new(),
            phase: Phase::Open,
            next_seq: 0,
            batches: Vec::new(),
            numbered_from: 0,
            ring_max,
            kept_max,
            is_followed: false,
            expected: (0, 0),
            is_told: false,
            loses: false,
            loses_pages: false,
            refuses: None,
            said: HashMap::new(),
            spoken: 0,
            epochs: 0,
        }
    }

    /// So many new messages in one batch, and perhaps a reaction and a change of the state.
    pub(super) fn say(
        &mut self,
        messages: usize,
        has_tally: bool,
        change: Option<(&str, &[u8])>,
    ) -> Vec<Output> {
        let texts: Vec<String> = (0..messages)
            .map(|_| {
                self.spoken += 1;
                format!("{} of {}", self.spoken, self.name)
            })
            .collect();
        let (base_time_ms, first_offset) = (self.time_ms, self.next_offset);
        let mut body = Vec::new();
        let mut w = BatchWriter::begin(&mut body, self.alias, messages, has_tally, change.is_some(), 0);
        if messages > 0 {
            self.time_ms += 7;
            w.chat(first_offset, 7, 0);
        }
        for text in &texts {
            w.message(&MessageParts { author: "ann", text, ..MessageParts::default() });
            self.said.insert((self.epoch, self.next_offset), text.clone());
            self.next_offset += 1;
        }
        if has_tally {
            w.tallies(1);
            w.tally("heart", 1);
        }
        if let Some((key, value)) = change {
            self.version += 1;
            self.state.insert(key.to_owned(), value.to_vec());
            w.state(1, self.version);
            w.change(key, Some(value));
        }
        w.finish();
        let batch = Arc::new(Batch {
            seq: self.next_seq,
            first_offset,
            next_offset: self.next_offset,
            messages: messages as u32,
            base_time_ms,
            time_ms: self.time_ms,
            wire: Encoder::batch_framed(&body),
            has_acts: false,
            compressed: Compressed::default(),
            snapshot: change.and_then(|_| self.snapshot()),
        });
        self.next_seq += 1;
        self.batches.push(batch.clone());
        let is_expected = self.expected == (batch.seq, first_offset);
        // A batch does not name its owner: the link passes none on of an owner that it has not told of. But
        // where the numbers show the hole, the audience has to see it.
        if !self.is_followed || self.loses || (is_expected && !self.is_told) {
            return Vec::new();
        }
        if is_expected {
            self.expected = (batch.seq + 1, batch.next_offset);
        }
        vec![Output::Batch { alias: Alias(self.alias), batch }]
    }

    fn snapshot(&self) -> Option<Arc<StateImage>> {
        let entries = self.state.iter().map(|(key, value)| (&**key, &**value)).collect();
        let snapshot = Snapshot { alias: self.alias, epoch: self.epoch, version: self.version, entries };
        let wire = Encoder::new().server_framed(&ServerFrame::Snapshot(snapshot));
        (self.version > 0).then(|| Arc::new(StateImage { version: self.version, wire }))
    }

    /// Another owner, which numbers its batches from `base_seq` on. Nobody is told.
    pub(super) fn change(&mut self, change: Change, base_seq: u64) {
        self.is_told = false;
        match change {
            Change::Clean => {}
            Change::OtherAlias => self.alias += 100,
            Change::Claim { lost } => {
                let at = self.batches.len() - lost.min(self.batches.len());
                if let Some(first_lost) = self.batches.get(at) {
                    (self.next_offset, self.time_ms) = (first_lost.first_offset, first_lost.base_time_ms);
                }
                self.batches.truncate(at);
                let before = PreviousEpoch { epoch: self.epoch, next_offset: self.next_offset };
                self.previous = self.previous.continued(before);
                self.begin_epoch();
                for offset in 0..self.next_offset {
                    if let Some(text) = self.said.get(&(before.epoch, offset)) {
                        self.said.insert((self.epoch, offset), text.clone());
                    }
                }
            }
            Change::Anew => {
                self.batches.clear();
                self.previous = Lineage::default();
                self.next_offset = 0;
                self.begin_epoch();
            }
        }
        self.next_seq = base_seq;
        // The owner numbers what it has anew, up to its head; what is older only stands in pages.
        let numbered = self.batches.len().min(base_seq as usize);
        self.numbered_from = self.batches.len() - numbered;
        for (at, batch) in self.batches.iter_mut().enumerate() {
            let seq = (base_seq - numbered as u64) + at.saturating_sub(self.numbered_from) as u64;
            let wire = if grandstand_protocol::batch::alias_of(&batch.wire) == Some(self.alias) {
                batch.wire.clone()
            } else {
                grandstand_protocol::batch::with_alias(&batch.wire, self.alias).expect("its own batch")
            };
            *batch = Arc::new(Batch {
                seq,
                wire,
                snapshot: None,
                compressed: Compressed::default(),
                ..(**batch).clone()
            });
        }
    }

    fn begin_epoch(&mut self) {
        self.epochs += 1;
        self.epoch = self.epoch / 1_000 * 1_000 + self.epochs;
        // The state stays. Its versions stay above those in the batches that the log goes on from.
        let goes_on = !self.batches.is_empty();
        self.version = if goes_on { self.version + 1 } else { u64::from(!self.state.is_empty()) };
    }

    /// What it tells a worker that follows the room.
    pub(super) fn attached(&mut self) -> Vec<Output> {
        if !self.is_followed || self.loses {
            return Vec::new();
        }
        let result = match self.refuses {
            Some(reason) => Err(reason),
            None => Ok(Box::new(self.attachment())),
        };
        self.is_followed &= result.is_ok();
        vec![Output::Attached { room: self.name.clone(), result }]
    }

    fn attachment(&mut self) -> Attachment {
        (self.expected, self.is_told) = ((self.next_seq, self.next_offset), true);
        let newest = self.batches.len().saturating_sub(self.ring_max).max(self.numbered_from);
        Attachment {
            alias: Alias(self.alias),
            epoch: self.epoch,
            next_seq: self.next_seq,
            next_offset: self.next_offset,
            time_ms: self.time_ms,
            batches: self.batches[newest..].to_vec(),
            snapshot: self.snapshot(),
            phase: self.phase,
            until_ms: 0,
            previous: self.previous.clone(),
        }
    }

    /// The room is removed and made anew under the same alias.
    pub(super) fn remove(&mut self) -> Vec<Output> {
        let is_told = self.is_told;
        self.change(Change::Anew, 0);
        if !self.is_followed || self.loses || !is_told {
            // The link remembers who follows, and will ask for the room again.
            return Vec::new();
        }
        self.is_followed = false;
        vec![Output::Removed { alias: Alias(self.alias) }]
    }

    pub(super) fn set_phase(&mut self, phase: Phase) -> Vec<Output> {
        self.phase = phase;
        let is_told = self.is_followed && !self.loses && self.is_told;
        let told = Output::Phase { alias: Alias(self.alias), phase, at_ms: 0 };
        if is_told { vec![told] } else { Vec::new() }
    }

    /// What it answers to a worker. A page comes apart: it may come later than what is told after it.
    pub(super) fn handle_input(&mut self, input: &Input) -> (Vec<Output>, Option<Output>) {
        match input {
            Input::Attach { room, .. } if *room == self.name => {
                self.is_followed = true;
                return (self.attached(), None);
            }
            Input::Detach { alias, .. } if alias.0 == self.alias => self.is_followed = false,
            Input::History { request, alias, epoch, from, of, .. } if alias.0 == self.alias => {
                let page = self.page(*epoch, *from, *of);
                let page = Output::History { request: *request, page: Box::new(page) };
                return (Vec::new(), (!self.loses && !self.loses_pages).then_some(page));
            }
            _ => {}
        }
        (Vec::new(), None)
    }

    fn page(&self, epoch: u64, from: u64, _: PageOf) -> HistoryPage {
        if epoch != self.epoch {
            return HistoryPage::default();
        }
        let oldest = self.batches.len().saturating_sub(self.kept_max);
        let kept = self.batches[oldest..].iter().filter(|b| b.has_chat() && b.next_offset > from);
        HistoryPage {
            batches: kept.take(PAGE_MAX).cloned().collect(),
            same_epoch: true,
            retry_after_ms: None,
        }
    }

    /// Up to where two logs are the same.
    pub(super) fn common(&self, one: u64, other: u64) -> u64 {
        let same = |offset: &u64| {
            let said = self.said.get(&(one, *offset));
            said.is_some() && said == self.said.get(&(other, *offset))
        };
        (0..).take_while(same).count() as u64
    }

    pub(super) fn is_followed(&self) -> bool {
        self.is_followed
    }
}

/// A batch of no room in particular: numbers that fit or not, bytes that are a frame or not.
pub(super) fn any_batch(seq: u64, first_offset: u64, next_offset: u64, wire: Vec<u8>) -> Arc<Batch> {
    Arc::new(Batch {
        seq,
        first_offset,
        next_offset,
        messages: 1,
        base_time_ms: 0,
        time_ms: 1,
        wire: Bytes::from(wire),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    })
}
