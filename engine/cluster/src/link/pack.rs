//! Packs items: appends each with its length and kind, and the batches and images that it shares before it.
//!
//! Why batches are items of their own: a batch goes to several workers, and is part of a ring too. It is
//! written once in a frame and named by its number after that. Where the frame has the entry of a batch, its
//! bytes are those in the entry.
//! Invariant: what is packed is what `unpack` takes. Bytes of an item that is undone are gone, and so are its
//! batches.
//! Not here: the fields of inputs and outputs (`input`, `output`).

use std::collections::BTreeMap;
use std::sync::Arc;

use grandstand_engine::link::{Batch, StateImage};
use grandstand_protocol::batch::varint;

/// Kinds of items. A number never gets a second meaning.
pub(super) mod kind {
    pub(in crate::link) const IMAGE: u8 = 1;
    pub(in crate::link) const BATCH: u8 = 2;
    pub(in crate::link) const ENTRY_BATCH: u8 = 3;
    pub(in crate::link) mod up {
        pub(in crate::link) const RESTATE: u8 = 16;
        pub(in crate::link) const ATTACH: u8 = 17;
        pub(in crate::link) const DETACH: u8 = 18;
        pub(in crate::link) const VIEWERS: u8 = 19;
        pub(in crate::link) const STAFF: u8 = 20;
        pub(in crate::link) const PUBLISH: u8 = 21;
        pub(in crate::link) const REACT: u8 = 22;
        pub(in crate::link) const SET_STATE: u8 = 23;
        pub(in crate::link) const HISTORY: u8 = 24;
        pub(in crate::link) const LOAD: u8 = 25;
        pub(in crate::link) const ADMIN: u8 = 26;
        pub(in crate::link) const REATTACH: u8 = 27;
        pub(in crate::link) const ACT: u8 = 28;
    }
    pub(in crate::link) mod down {
        pub(in crate::link) const ENTRY: u8 = 32;
        pub(in crate::link) const RESTATED: u8 = 33;
        pub(in crate::link) const KEPT: u8 = 34;
        pub(in crate::link) const RESTATE: u8 = 35;
        pub(in crate::link) const ATTACHED: u8 = 36;
        pub(in crate::link) const BATCH: u8 = 37;
        pub(in crate::link) const ANSWERS: u8 = 38;
        pub(in crate::link) const PERSONALS: u8 = 39;
        pub(in crate::link) const HISTORY: u8 = 40;
        pub(in crate::link) const PHASE: u8 = 41;
        pub(in crate::link) const REMOVED: u8 = 42;
        pub(in crate::link) const ADMIN: u8 = 43;
        pub(in crate::link) const HANDED: u8 = 44;
        pub(in crate::link) const NOTICES: u8 = 45;
    }
}

/// Values of one frame that are shared by reference, by their address.
#[derive(Debug)]
struct Shared<T> {
    // Held, so that no other value gets the address of one of them.
    all: Vec<Arc<T>>,
    numbers: BTreeMap<usize, u32>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Shared { all: Vec::new(), numbers: BTreeMap::new() }
    }
}

impl<T> Shared<T> {
    fn number(&self, value: &Arc<T>) -> Option<u32> {
        self.numbers.get(&Arc::as_ptr(value).addr()).copied()
    }

    fn add(&mut self, value: &Arc<T>) -> u32 {
        let number = self.all.len() as u32;
        self.numbers.insert(Arc::as_ptr(value).addr(), number);
        self.all.push(value.clone());
        number
    }

    fn clear(&mut self) {
        self.all.clear();
        self.numbers.clear();
    }

    fn truncate(&mut self, len: usize) {
        for value in self.all.drain(len..) {
            self.numbers.remove(&Arc::as_ptr(&value).addr());
        }
    }
}

/// How far into an entry its batch may begin: behind the room's name and some numbers.
const BATCH_WITHIN: usize = 1024;

/// The entries of one frame, with the batch of each and where its wire form begins in the entry.
#[derive(Debug, Default)]
struct Entries {
    all: Vec<Option<(Arc<Batch>, usize)>>,
    numbers: BTreeMap<usize, u32>,
}

impl Entries {
    fn add(&mut self, batch: Option<&Arc<Batch>>, bytes: &[u8]) {
        let begins = |batch: &&Arc<Batch>| {
            let last = bytes.len().checked_sub(batch.wire.len())?.min(BATCH_WITHIN);
            (0..=last).find(|at| bytes[*at..].starts_with(&batch.wire))
        };
        let found = batch.and_then(|batch| Some((batch.clone(), begins(&batch)?)));
        if let Some((batch, _)) = &found {
            self.numbers.insert(Arc::as_ptr(batch).addr(), self.all.len() as u32);
        }
        self.all.push(found);
    }

    /// The entry that has a batch, and where.
    fn find(&self, batch: &Arc<Batch>) -> Option<(u32, usize)> {
        let number = *self.numbers.get(&Arc::as_ptr(batch).addr())?;
        self.all.get(number as usize)?.as_ref().map(|(_, at)| (number, *at))
    }

    fn truncate(&mut self, len: usize) {
        for (batch, _) in self.all.drain(len..).flatten() {
            self.numbers.remove(&Arc::as_ptr(&batch).addr());
        }
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Packer {
    /// Whole items.
    items: Vec<u8>,
    /// The fields of the item that is being written.
    item: Vec<u8>,
    /// Room for the fields of a shared value, while an item waits for its number.
    spare: Vec<u8>,
    batches: Shared<Batch>,
    images: Shared<StateImage>,
    entries: Entries,
}

/// The state of a packer before an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    bytes: usize,
    batches: usize,
    images: usize,
    entries: usize,
}

impl Mark {
    /// Was there no item?
    pub(super) fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

impl Packer {
    /// The bytes of all items.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.items
    }

    pub(super) fn mark(&self) -> Mark {
        let Packer { items, batches, images, entries, .. } = self;
        Mark {
            bytes: items.len(),
            batches: batches.all.len(),
            images: images.all.len(),
            entries: entries.all.len(),
        }
    }

    /// Undo all items since a mark.
    pub(super) fn undo(&mut self, mark: Mark) {
        self.items.truncate(mark.bytes);
        self.batches.truncate(mark.batches);
        self.images.truncate(mark.images);
        self.entries.truncate(mark.entries);
    }

    /// Take the bytes of all items, and begin the next frame.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let items = std::mem::take(&mut self.items);
        self.clear();
        items
    }

    /// Drop the bytes of all items, and begin the next frame in their memory.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.batches.clear();
        self.images.clear();
        self.entries.truncate(0);
    }

    /// The fields that were written become an item of this kind.
    pub(super) fn finish(&mut self, kind: u8) {
        varint::write(self.item.len() as u64 + 1, &mut self.items);
        self.items.push(kind);
        self.items.append(&mut self.item);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.item.push(byte);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.item.push(u8::from(flag));
    }

    pub(super) fn number(&mut self, n: impl Into<u64>) {
        varint::write(n.into(), &mut self.item);
    }

    /// Eight bytes, for a number that is random.
    pub(super) fn word(&mut self, n: u64) {
        self.item.extend_from_slice(&n.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.run(text.as_bytes());
    }

    pub(super) fn run(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.item.extend_from_slice(bytes);
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn list<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.number(values.len() as u64);
        values.iter().for_each(|value| write(self, value));
    }

    /// Fields with their length in front, so that a reader can pass over them.
    pub(super) fn framed(&mut self, write: impl FnOnce(&mut Self)) {
        let begin = self.item.len();
        self.byte(0);
        write(self);
        let length = self.item.len() - begin - 1;
        if length < 0x80 {
            self.item[begin] = length as u8;
            return;
        }
        let fields = self.item.split_off(begin + 1);
        self.item.truncate(begin);
        self.run(&fields);
    }

    /// An image, by its number.
    pub(super) fn image(&mut self, image: &Arc<StateImage>) {
        let number = self.define_image(image);
        self.number(number);
    }

    /// A batch, by its number.
    pub(super) fn batch(&mut self, batch: &Arc<Batch>) {
        let number = match self.batches.number(batch) {
            Some(number) => number,
            None => self.define_batch(batch),
        };
        self.number(number);
    }

    /// The item that is being written is an entry. If its batch goes out in the same frame, that need not be
    /// written again.
    pub(super) fn note_entry(&mut self, batch: Option<&Arc<Batch>>, bytes: &[u8]) {
        self.entries.add(batch, bytes);
    }

    fn define_image(&mut self, image: &Arc<StateImage>) -> u32 {
        if let Some(number) = self.images.number(image) {
            return number;
        }
        let StateImage { version, wire } = &**image;
        self.define(kind::IMAGE, |p| {
            p.number(*version);
            p.run(wire);
        });
        self.images.add(image)
    }

    fn define_batch(&mut self, batch: &Arc<Batch>) -> u32 {
        // The compressed form follows from the bytes: each node makes its own.
        let Batch {
            seq,
            first_offset,
            next_offset,
            messages,
            base_time_ms,
            time_ms,
            has_acts,
            wire,
            compressed: _,
            snapshot,
        } = &**batch;
        let image = snapshot.as_ref().map(|image| self.define_image(image));
        let within = self.entries.find(batch);
        self.define(if within.is_some() { kind::ENTRY_BATCH } else { kind::BATCH }, |p| {
            p.number(*seq);
            p.number(*first_offset);
            p.number(next_offset.wrapping_sub(*first_offset));
            p.number(*messages);
            p.number(*base_time_ms);
            p.number(*time_ms);
            p.option(image, Packer::number);
            match within {
                None => p.run(wire),
                Some((entry, at)) => {
                    p.number(entry);
                    p.number(at as u64);
                    p.number(wire.len() as u64);
                }
            }
            // Few batches hold acts: the others pay no byte for it.
            if *has_acts {
                p.flag(true);
            }
        });
        self.batches.add(batch)
    }

    /// Write a whole item while another one is being written.
    fn define(&mut self, kind: u8, write: impl FnOnce(&mut Self)) {
        std::mem::swap(&mut self.item, &mut self.spare);
        write(self);
        self.finish(kind);
        std::mem::swap(&mut self.item, &mut self.spare);
    }
}
