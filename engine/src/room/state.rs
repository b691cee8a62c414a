//! The state lane: the latest value per key, with a version.
//!
//! Why two maps: a worker that attaches gets the state after the last batch, and the next batch brings the
//! changes since. So changes wait apart, one per key, until they are sealed.
//! Invariants: every accepted change gets a version that is used only once within the epoch. Waiting changes
//! touch at most the sealed keys and the keys allowed, however often values change. The image is built at
//! most once per sealed batch.
//! Hidden keys are beside the others: they have no part in the versions that viewers see.
//! Not here: who may set it (edge), the answers (`shard`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::{Encoder, ServerFrame, Snapshot};
use grandstand_protocol::refusal::Refusal;

use crate::link::{Alias, ReplyTo, StateImage};
use crate::log::StateEntry;

/// Prefix of the node's own keys. Clients can't set them; operators can, except [`VIEWERS_KEY`].
pub(crate) const RESERVED_PREFIX: &str = "gs.";

/// Prefix of hidden keys, which moderation keeps (`moderation`). They are stored, replicated, handed over and
/// restored with the other keys, and are in no batch, snapshot or list.
pub(crate) const HIDDEN_PREFIX: &str = "gs.!";

/// State key of a room's viewer count, in decimal digits. It is not counted in the number of keys allowed.
pub const VIEWERS_KEY: &str = "gs.viewers";

/// State key by which an operator sets a room's slow mode: milliseconds in decimal digits.
pub const SLOW_MODE_KEY: &str = "gs.slow_ms";

/// One room's state.
#[derive(Debug, Default)]
pub(crate) struct State {
    sealed: BTreeMap<Box<str>, Bytes>,
    // Changes since the last seal. `None` removes a key, which is in the sealed state.
    changes: BTreeMap<Box<str>, Option<Bytes>>,
    version: u64,
    // Keys under [`HIDDEN_PREFIX`], as the log has them, and their changes since the last seal.
    hidden: BTreeMap<Box<str>, Bytes>,
    hidden_changes: BTreeMap<Box<str>, Option<Bytes>>,
    // Bytes of keys and values after all waiting changes, without the viewer count.
    bytes: usize,
    // The version of the last change that was not the viewer count.
    said_version: u64,
    sealed_version: u64,
    waiters: Vec<Waiter>,
    // The encoded sealed state; `None` when it must be built.
    image: Option<Arc<StateImage>>,
}

/// A request that is answered when its change is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) from: ReplyTo,
    pub(crate) request: u32,
    pub(crate) version: u64,
}

impl State {
    /// Set or remove a key. Returns the version of the change. Removing an absent key changes nothing.
    ///
    /// # Errors
    /// `TooManyKeys`.
    pub(crate) fn set(
        &mut self,
        key: Box<str>,
        value: Option<Bytes>,
        keys_max: usize,
    ) -> Result<u64, Refusal> {
        let exists = self.exists(&key);
        if value.is_some() && !exists && &*key != VIEWERS_KEY && self.keys_after() >= keys_max {
            return Err(Refusal::TooManyKeys);
        }
        if value.is_none() && !exists {
            return Ok(self.version);
        }
        let is_said = &*key != VIEWERS_KEY;
        self.bytes = self.bytes_with(&key, value.as_deref());
        if value.is_none() && !self.sealed.contains_key(&key) {
            self.changes.remove(&key);
        } else {
            self.changes.insert(key, value);
        }
        self.version += 1;
        if is_said {
            self.said_version = self.version;
        }
        Ok(self.version)
    }

    /// Set or remove a hidden key.
    pub(crate) fn hide(&mut self, key: Box<str>, value: Option<Bytes>) {
        debug_assert!(key.starts_with(HIDDEN_PREFIX), "a hidden key");
        self.hidden_changes.insert(key, value);
    }

    /// Hidden keys, sealed or not.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = (&str, &Bytes)> + Clone {
        let sealed = self.hidden.iter().filter(|(key, _)| !self.hidden_changes.contains_key(*key));
        let changed = self.hidden_changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        sealed.chain(changed).map(|(key, value)| (&**key, value))
    }

    /// Every key that viewers see, after all waiting changes.
    pub(crate) fn after_changes(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        let sealed = self.sealed.iter().filter(|(key, _)| !self.changes.contains_key(*key));
        let changed = self.changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        sealed.chain(changed).map(|(key, value)| (&**key, value))
    }

    /// Do changes of hidden keys wait?
    pub(crate) fn hides_changes(&self) -> bool {
        !self.hidden_changes.is_empty()
    }

    /// Bytes of keys and values after all waiting changes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// As [`Self::bytes`], after one more change.
    pub(crate) fn bytes_with(&self, key: &str, value: Option<&[u8]>) -> usize {
        if key == VIEWERS_KEY {
            return self.bytes;
        }
        let before = match self.changes.get(key) {
            Some(change) => change.as_ref(),
            None => self.sealed.get(key),
        };
        let of = |value: Option<usize>| value.map_or(0, |len| key.len() + len);
        self.bytes + of(value.map(<[u8]>::len)) - of(before.map(Bytes::len))
    }

    /// Answer this request when the change of its version is sealed.
    pub(crate) fn wait(&mut self, waiter: Waiter) {
        self.waiters.push(waiter);
    }

    /// The number of requests that wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Is there a change to seal?
    pub(crate) fn is_changed(&self) -> bool {
        self.version != self.sealed_version
    }

    /// Version of the sealed state.
    pub(crate) fn sealed_version(&self) -> u64 {
        self.sealed_version
    }

    /// Version after all waiting changes.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Was no key but the viewer count ever set?
    pub(crate) fn is_unsaid(&self) -> bool {
        self.said_version == 0 && self.is_hiding_nothing()
    }

    /// Has only the node set keys?
    pub(crate) fn is_untouched(&self) -> bool {
        !self.is_changed() && self.sealed.keys().all(|key| &**key == VIEWERS_KEY) && self.is_hiding_nothing()
    }

    fn is_hiding_nothing(&self) -> bool {
        self.hidden.is_empty() && self.hidden_changes.is_empty()
    }

    /// The changes since the last seal, in key order.
    pub(crate) fn changes(&self) -> &BTreeMap<Box<str>, Option<Bytes>> {
        &self.changes
    }

    /// Are there any such changes?
    pub(crate) fn is_to_keep(&self) -> bool {
        self.said_version > self.sealed_version
    }

    /// The waiting changes that must be kept in the log: all but the viewer count.
    pub(crate) fn to_keep(&self) -> Option<StateEntry> {
        let said = self.changes.iter().filter(|(key, _)| &***key != VIEWERS_KEY);
        let entry = || StateEntry {
            version: self.version_to_seal(),
            changes: said
                .chain(&self.hidden_changes)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        };
        (self.is_to_keep() || self.hides_changes()).then(entry)
    }

    /// The log keeps no version twice, so changes of hidden keys alone take one that nobody is told.
    fn version_to_seal(&self) -> u64 {
        if self.hides_changes() { self.version.max(self.sealed_version + 1) } else { self.version }
    }

    /// The sealed state, without the viewer count, and with what is hidden.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        let shown = self.sealed.iter().map(|(key, value)| (&**key, value));
        let hidden = self.hidden.iter().map(|(key, value)| (&**key, value));
        shown.filter(|(key, _)| *key != VIEWERS_KEY).chain(hidden)
    }

    /// Include every key in the next seal, for a log that keeps the room from then on.
    pub(crate) fn restate(&mut self) {
        let said: Vec<_> = self.said().map(|(key, value)| (Box::from(key), value.clone())).collect();
        for (key, value) in said {
            let of = if is_hidden(&key) { &mut self.hidden_changes } else { &mut self.changes };
            of.entry(key).or_insert(Some(value));
            self.version += 1;
            self.said_version = self.version;
        }
        if self.version > 0 {
            // When no key is left to carry the version, the version has to be kept all the same.
            self.version += 1;
            self.said_version = self.version;
        }
    }

    /// Restore a stored state, at a version not below any that was given before. The log keeps the next seal
    /// with a higher version, whatever it holds. Otherwise versions given only to viewer counts would be
    /// given again after the next restart.
    pub(crate) fn restored(entries: impl IntoIterator<Item = (Box<str>, Bytes)>, version: u64) -> State {
        let (hidden, sealed) = divide(entries);
        State {
            bytes: bytes_of(sealed.iter()),
            sealed,
            hidden,
            version: version + 1,
            said_version: version + 1,
            sealed_version: version,
            ..State::default()
        }
    }

    /// The state that another process sealed, at exactly its version.
    pub(crate) fn handed(entries: impl IntoIterator<Item = (Box<str>, Bytes)>, version: u64) -> State {
        let (hidden, sealed) = divide(entries);
        State {
            bytes: bytes_of(sealed.iter()),
            sealed,
            hidden,
            version,
            said_version: version,
            sealed_version: version,
            ..State::default()
        }
    }

    /// Apply the changes, which are sealed, and return the requests that wait for them.
    pub(crate) fn seal(&mut self) -> Vec<Waiter> {
        if self.is_changed() {
            self.image = None;
        }
        for (key, value) in std::mem::take(&mut self.changes) {
            match value {
                Some(value) => self.sealed.insert(key, value),
                None => self.sealed.remove(&key),
            };
        }
        self.version = self.version_to_seal();
        for (key, value) in std::mem::take(&mut self.hidden_changes) {
            match value {
                Some(value) => self.hidden.insert(key, value),
                None => self.hidden.remove(&key),
            };
        }
        self.sealed_version = self.version;
        std::mem::take(&mut self.waiters)
    }

    /// The sealed state, encoded; `None` if no state was ever sealed.
    pub(crate) fn image(
        &mut self,
        alias: Alias,
        epoch: u64,
        encoder: &mut Encoder,
    ) -> Option<Arc<StateImage>> {
        if self.sealed_version > 0 && self.image.is_none() {
            self.image = Some(Arc::new(self.encode(alias, epoch, encoder)));
        }
        self.image.clone()
    }

    fn encode(&self, alias: Alias, epoch: u64, encoder: &mut Encoder) -> StateImage {
        let entries = self.sealed.iter().map(|(key, value)| (&**key, &**value)).collect();
        let snapshot = Snapshot { alias: alias.0, epoch, version: self.sealed_version, entries };
        StateImage {
            version: self.sealed_version,
            wire: encoder.server_framed(&ServerFrame::Snapshot(snapshot)),
        }
    }

    fn exists(&self, key: &str) -> bool {
        match self.changes.get(key) {
            Some(change) => change.is_some(),
            None => self.sealed.contains_key(key),
        }
    }

    /// The number of keys after all waiting changes, without the viewer count.
    fn keys_after(&self) -> usize {
        let new =
            self.changes.iter().filter(|(key, v)| v.is_some() && !self.sealed.contains_key(*key)).count();
        let gone = self.changes.values().filter(|value| value.is_none()).count();
        self.sealed.len() + new - gone - usize::from(self.exists(VIEWERS_KEY))
    }
}

fn is_hidden(key: &str) -> bool {
    key.starts_with(HIDDEN_PREFIX)
}

type Entries = BTreeMap<Box<str>, Bytes>;

/// Hidden keys, and the others.
fn divide(entries: impl IntoIterator<Item = (Box<str>, Bytes)>) -> (Entries, Entries) {
    entries.into_iter().partition(|(key, _)| is_hidden(key))
}

/// Bytes of keys and values, without the viewer count.
pub(crate) fn bytes_of<'a>(entries: impl Iterator<Item = (&'a Box<str>, &'a Bytes)>) -> usize {
    let said = entries.filter(|(key, _)| &***key != VIEWERS_KEY);
    said.map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(s: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(s.as_bytes()))
    }

    fn image(state: &mut State) -> Option<Arc<StateImage>> {
        state.image(Alias(1), 2, &mut Encoder::new())
    }

    #[test]
    fn changes_coalesce_and_wait_for_the_seal() {
        let mut s = State::default();
        assert_eq!(s.set("a".into(), value("1"), 9), Ok(1));
        assert_eq!(s.set("a".into(), value("2"), 9), Ok(2));
        assert_eq!((s.changes().len(), s.sealed_version(), image(&mut s)), (1, 0, None));
        s.seal();
        assert_eq!((s.changes().len(), s.sealed_version()), (0, 2));
        assert_eq!(image(&mut s).map(|i| i.version), Some(2));
    }

    #[test]
    fn a_key_that_came_and_went_leaves_nothing_behind() {
        let mut s = State::default();
        for i in 0..1000 {
            s.set(format!("k{i}").into(), value("x"), 2).unwrap();
            s.set(format!("k{i}").into(), None, 2).unwrap();
        }
        assert!(s.changes().is_empty() && s.is_changed(), "the version still has to be told");
        s.seal();
        assert_eq!(s.sealed_version(), 2000);
        assert_eq!(s.set("never".into(), None, 2), Ok(2000));
        assert!(!s.is_changed());
    }

    #[test]
    fn keys_are_bounded_and_the_viewer_count_is_not_one_of_them() {
        let mut s = State::default();
        s.set(VIEWERS_KEY.into(), value("7"), 2).unwrap();
        s.set("a".into(), value("x"), 2).unwrap();
        s.set("b".into(), value("x"), 2).unwrap();
        assert_eq!(s.set("c".into(), value("x"), 2), Err(Refusal::TooManyKeys));
        s.seal();
        assert_eq!(s.set("c".into(), value("x"), 2), Err(Refusal::TooManyKeys));
        s.set("a".into(), None, 2).unwrap();
        s.set("c".into(), value("x"), 2).unwrap();
        assert_eq!(s.set("d".into(), value("x"), 2), Err(Refusal::TooManyKeys));
    }

    #[test]
    fn the_image_is_built_once_per_seal() {
        let mut s = State::default();
        s.set("a".into(), value("1"), 9).unwrap();
        s.seal();
        let (first, again) = (image(&mut s).unwrap(), image(&mut s).unwrap());
        assert!(Arc::ptr_eq(&first, &again));
        s.seal();
        assert!(Arc::ptr_eq(&first, &image(&mut s).unwrap()), "nothing changed");
        s.set("a".into(), value("2"), 9).unwrap();
        assert!(Arc::ptr_eq(&first, &image(&mut s).unwrap()), "not sealed yet");
        s.seal();
        assert!(!Arc::ptr_eq(&first, &image(&mut s).unwrap()));
    }

    proptest! {
        #[test]
        fn an_image_equals_the_replay_of_the_changes(
            steps in prop::collection::vec((0u8..8, prop::option::of(0u8..4), prop::bool::ANY), 1..80),
        ) {
            let mut s = State::default();
            let mut replayed: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for (key, v, seals) in steps {
                let _ = s.set(format!("k{key}").into(), v.map(|v| Bytes::from(vec![v])), 5);
                if !seals {
                    continue;
                }
                for (key, change) in s.changes() {
                    match change {
                        Some(v) => replayed.insert(key.to_string(), v.to_vec()),
                        None => replayed.remove(&**key),
                    };
                }
                s.seal();
                let Some(image) = image(&mut s) else { continue };
                let (header, _) = grandstand_protocol::stream::read_header(&image.wire, 1 << 20).unwrap().unwrap();
                let Ok(ServerFrame::Snapshot(snapshot)) = ServerFrame::decode(&image.wire[header..]) else { panic!() };
                let told: Vec<_> = snapshot.entries.iter().map(|(k, v)| (k.to_string(), v.to_vec())).collect();
                prop_assert_eq!(told, replayed.clone().into_iter().collect::<Vec<_>>());
                prop_assert!(replayed.len() <= 5);
                let bytes: usize = replayed.iter().map(|(key, value)| key.len() + value.len()).sum();
                prop_assert_eq!(s.bytes(), bytes);
                prop_assert_eq!(snapshot.version, s.version());
            }
        }
    }
}
