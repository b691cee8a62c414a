//! Removals: which offsets of a room are removed, and batches without what is.
//!
//! Why runs of offsets: an act names what it removes by offsets or by names, and a reader of a batch asks for
//! offsets. What an act removed of the messages in memory is known exactly when it is made. An act that names
//! people and came back from a log is kept as it is, and asked for each message.
//! Invariants: runs are sorted and do not touch each other. The hidden state has each act under a key of its
//! own, or together with others in one. What retention has removed is forgotten here too.
//! Not here: the form of an act (`grandstand_protocol::batch`), who may remove (`shard::acts`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::batch::{self, BatchWriter, Removal, RemovalParts};
use grandstand_protocol::frame::Encoder;
use grandstand_protocol::stream;

use crate::link::{Batch, Compressed};

/// Prefix of the keys of acts in the hidden state; the act's offset follows, in 16 hexadecimal digits.
pub(crate) const KEY_PREFIX: &str = "gs.!r";

/// The most runs of one room: 1 MiB. A moderator who needs more clears.
const RUNS_MAX: usize = 65_536;

/// Above this number of keys, acts whose runs are known are put together in one.
const KEYS_MAX: usize = 64;

/// An act that names people, as it came back from a log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    at: u64,
    bytes: Bytes,
}

/// See the file's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removals {
    runs: Vec<(u64, u64)>,
    rules: Vec<Rule>,
    /// The offsets of acts with a key of their own.
    keys: Vec<u64>,
}

/// A removal that owns its parts. Runs are `(first, next)`, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The message at an offset.
    One(u64),
    /// Everything from an offset on.
    All(u64),
    /// What is in these runs.
    Runs(Vec<(u64, u64)>),
    /// What these names said from an offset on, but not what is in these runs.
    Names { from: u64, names: Vec<Box<str>>, but: Vec<(u64, u64)> },
}

impl Removed {
    /// Borrow it as the writer of batches takes it.
    pub(crate) fn with_parts<R>(&self, take: impl FnOnce(&RemovalParts<'_>) -> R) -> R {
        match self {
            Removed::One(offset) => take(&RemovalParts::One { offset: *offset }),
            Removed::All(from) => take(&RemovalParts::All { from: *from }),
            Removed::Runs(runs) => take(&RemovalParts::Runs(runs)),
            Removed::Names { from, names, but } => {
                let names: Vec<&str> = names.iter().map(|name| &**name).collect();
                take(&RemovalParts::Names { from: *from, names: &names, but })
            }
        }
    }
}

/// A change of hidden state: a key, and its value or its removal.
pub(crate) type Change = (Box<str>, Option<Bytes>);

impl Removals {
    /// From the hidden state. What is not an act is passed over.
    pub(crate) fn restored<'a>(hidden: impl Iterator<Item = (&'a str, &'a Bytes)>) -> Removals {
        let mut removals = Removals::default();
        for (key, bytes) in hidden {
            let at = key.strip_prefix(KEY_PREFIX).and_then(|hex| u64::from_str_radix(hex, 16).ok());
            if let Some((at, removal)) = at.and_then(|at| Some((at, Removal::read(at, bytes)?))) {
                removals.put(at, &removal, bytes);
            }
        }
        removals
    }

    fn put(&mut self, at: u64, removal: &Removal<'_>, bytes: &Bytes) {
        match *removal {
            Removal::One { offset } => self.add(&[(offset, offset + 1)]),
            Removal::All { from } => self.add(&[(from, at)]),
            Removal::Runs(runs) => self.add(&ascending(runs.collect())),
            Removal::Names { .. } => self.rules.push(Rule { at, bytes: bytes.clone() }),
            Removal::Unknown => return,
        }
        self.keys.push(at);
    }

    /// Is nothing removed?
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.rules.is_empty()
    }

    /// Is there no room for the runs of another act?
    pub(crate) fn is_full(&self) -> bool {
        self.runs.len() >= RUNS_MAX
    }

    /// Is the message at an offset removed, which was said under this name?
    pub(crate) fn covers(&self, offset: u64, author: &str) -> bool {
        let after = self.runs.partition_point(|&(first, _)| first <= offset);
        let is_in_run = after.checked_sub(1).is_some_and(|index| offset < self.runs[index].1);
        is_in_run || self.rules.iter().any(|rule| rule.covers(offset, author))
    }

    /// May anything from `first` to before `next` be removed?
    fn touches(&self, first: u64, next: u64) -> bool {
        let after = self.runs.partition_point(|&(_, end)| end <= first);
        let is_in_run = self.runs.get(after).is_some_and(|&(begin, _)| begin < next);
        is_in_run || self.rules.iter().any(|rule| first < rule.at && rule.from() < next)
    }

    /// How many offsets of these runs, the newest first, are not removed yet.
    pub(crate) fn new_in(&self, runs: &[(u64, u64)]) -> u64 {
        runs.iter().map(|&(first, next)| next - first - self.removed_in(first, next)).sum()
    }

    fn removed_in(&self, first: u64, next: u64) -> u64 {
        let at = self.runs.partition_point(|&(_, end)| end <= first);
        let run = |&(begin, end): &(u64, u64)| end.min(next).saturating_sub(begin.max(first));
        self.runs[at..].iter().take_while(|(begin, _)| *begin < next).map(run).sum()
    }

    /// The act at `at` removes these runs, the newest first. Returns the changes of hidden state.
    pub(crate) fn act(&mut self, at: u64, removed: &Removed, runs: &[(u64, u64)]) -> Vec<Change> {
        let mut bytes = Vec::new();
        removed.with_parts(|parts| parts.write(at, &mut bytes));
        self.add(&ascending(runs.to_vec()));
        self.keys.push(at);
        let mut changes = vec![(key(at), Some(Bytes::from(bytes)))];
        if self.keys.len() > KEYS_MAX {
            changes.extend(self.fold(at));
        }
        changes
    }

    /// Put all acts whose runs are known together, under the key of the newest, which is at `newest`.
    fn fold(&mut self, newest: u64) -> Vec<Change> {
        let rules = &self.rules;
        let folded = self.keys.extract_if(.., |at| !rules.iter().any(|rule| rule.at == *at));
        let mut changes: Vec<Change> = folded.filter(|at| *at != newest).map(|at| (key(at), None)).collect();
        let descending: Vec<_> = self.runs.iter().rev().copied().collect();
        let mut bytes = Vec::new();
        RemovalParts::Runs(&descending).write(newest, &mut bytes);
        changes.push((key(newest), Some(Bytes::from(bytes))));
        self.keys.push(newest);
        changes
    }

    /// Retention has removed everything before an offset. Returns the changes of hidden state.
    pub(crate) fn forget_before(&mut self, oldest: u64) -> Vec<Change> {
        let before = (self.runs.len(), self.rules.len());
        self.runs.retain(|&(_, next)| next > oldest);
        self.rules.retain(|rule| rule.at > oldest);
        if before == (self.runs.len(), self.rules.len()) {
            return Vec::new();
        }
        // An act before the oldest offset covers nothing that is kept.
        self.keys.extract_if(.., |at| *at <= oldest).map(|at| (key(at), None)).collect()
    }

    /// Add runs in ascending order.
    fn add(&mut self, more: &[(u64, u64)]) {
        let (mut old, mut new) =
            (std::mem::take(&mut self.runs).into_iter().peekable(), more.iter().peekable());
        let mut runs: Vec<(u64, u64)> = Vec::with_capacity(old.len() + new.len());
        loop {
            let next = match (old.peek(), new.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => old.next(),
                (Some(_), None) => old.next(),
                (_, Some(_)) => new.next().copied(),
                (None, None) => break,
            };
            let Some((first, next)) = next.filter(|(first, next)| first < next) else { continue };
            match runs.last_mut() {
                Some(last) if first <= last.1 => last.1 = last.1.max(next),
                _ => runs.push((first, next)),
            }
        }
        self.runs = runs;
    }

    /// The batch without what is removed: itself, if nothing in it is.
    pub(crate) fn redacted(&self, batch: &Arc<Batch>) -> Arc<Batch> {
        if !self.touches(batch.first_offset, batch.next_offset) {
            return batch.clone();
        }
        match self.redacted_wire(batch.first_offset, batch.next_offset, &batch.wire) {
            Some(wire) => Arc::new(Batch { wire, compressed: Compressed::default(), ..(**batch).clone() }),
            None => batch.clone(),
        }
    }

    /// The bytes without what is removed; `None`: nothing in them is.
    pub(crate) fn redacted_wire(&self, first: u64, next: u64, wire: &Bytes) -> Option<Bytes> {
        if !self.touches(first, next) {
            return None;
        }
        let mut body = Vec::with_capacity(wire.len());
        let header = stream::read_header(wire, usize::MAX).ok().flatten().map_or(0, |(header, _)| header);
        let of = wire.get(header + 1..).unwrap_or_default();
        match batch::redact(of, first, &mut body, |offset, m| self.covers(offset, m.author)) {
            Ok(0) => None,
            Ok(_) => Some(Encoder::batch_framed(&body)),
            // It was sealed here, or checked by whoever brought it: if it cannot be read, nobody gets it.
            Err(_) => {
                body.clear();
                let alias = batch::alias_of(wire).unwrap_or(0);
                let mut writer = BatchWriter::begin(&mut body, alias, 0, false, false, next - first);
                writer.chat(first, 0, next - first);
                writer.finish();
                Some(Encoder::batch_framed(&body))
            }
        }
    }
}

impl Rule {
    fn covers(&self, offset: u64, author: &str) -> bool {
        offset < self.at
            && Removal::read(self.at, &self.bytes)
                .is_some_and(|removal| removal.covers(self.at, offset, author))
    }

    fn from(&self) -> u64 {
        Removal::read(self.at, &self.bytes).and_then(|removal| removal.from()).unwrap_or(u64::MAX)
    }
}

fn key(at: u64) -> Box<str> {
    format!("{KEY_PREFIX}{at:016x}").into()
}

fn ascending(mut runs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    runs.reverse();
    runs
}
