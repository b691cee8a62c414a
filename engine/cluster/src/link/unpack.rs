//! Unpacks items: takes field after field off the front of an item's bytes.
//!
//! Why copies: a batch stays in rings for long, and must not keep the whole frame that it came in.
//! Invariants: no length or count is believed beyond the bytes that are there, so decoding takes at most a
//! fixed multiple of the message's bytes in memory. Nothing panics.
//! Not here: the fields of inputs and outputs (`input`, `output`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{Batch, Compressed, StateImage};
use grandstand_protocol::batch::{alias_of, varint};
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_protocol::stream;

use super::fault::Malformed;
use super::pack::kind;

/// Why an item cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is of a later release: pass over it.
    Unknown,
    /// It is not what its kind says: what was expected.
    Expected(&'static str),
}

pub(super) type Taken<T> = Result<T, Stop>;

/// Batches and images of one frame, by number.
#[derive(Debug, Default)]
struct Shared {
    batches: Vec<Arc<Batch>>,
    images: Vec<Arc<StateImage>>,
    /// The bytes of entries.
    entries: Vec<Bytes>,
}

/// The fields of one item that were not taken yet.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    shared: &'a Shared,
}

/// Unpack all items of a frame. Returns them, and how many were passed over.
pub(super) fn items<T>(
    bytes: &[u8],
    take: impl Fn(u8, &mut Fields<'_>) -> Taken<T>,
) -> Result<(Vec<T>, u32), Malformed> {
    let (mut shared, mut items, mut passed_over) = (Shared::default(), Vec::new(), 0);
    let mut rest = Fields { bytes, shared: &Shared::default() };
    while !rest.bytes.is_empty() {
        let item = rest.run().map_err(|_| Malformed::Item(0, "the length of an item"))?;
        let Some((&kind, fields)) = item.split_first() else {
            return Err(Malformed::Item(0, "an item of at least one byte"));
        };
        if kind == kind::down::ENTRY {
            shared.entries.extend(entry_of(fields));
        }
        let mut fields = Fields { bytes: fields, shared: &shared };
        let outcome = match kind {
            kind::IMAGE => fields.new_image().map(|image| shared.images.push(Arc::new(image))),
            kind::BATCH => fields.new_batch(Fields::frame).map(|batch| shared.batches.push(Arc::new(batch))),
            kind::ENTRY_BATCH => {
                fields.new_batch(Fields::within_entry).map(|batch| shared.batches.push(Arc::new(batch)))
            }
            _ => take(kind, &mut fields).map(|item| items.push(item)),
        };
        match outcome {
            Ok(()) => {}
            Err(Stop::Unknown) => passed_over += 1,
            Err(Stop::Expected(expected)) => return Err(Malformed::Item(kind, expected)),
        }
    }
    Ok((items, passed_over))
}

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(bytes)?;
        self.bytes = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Taken<u8> {
        self.take(1).map(|bytes| bytes[0]).ok_or(Stop::Expected("one more byte"))
    }

    pub(super) fn flag(&mut self) -> Taken<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Stop::Expected("0 or 1")),
        }
    }

    /// A number that fits its type.
    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Taken<T> {
        let mut at = 0;
        let n = varint::read(self.bytes, &mut at).ok_or(Stop::Expected("a number in its shortest form"))?;
        self.bytes = &self.bytes[at..];
        T::try_from(n).map_err(|_| Stop::Expected("a number within the bounds of its field"))
    }

    pub(super) fn word(&mut self) -> Taken<u64> {
        let bytes = self.take(8).ok_or(Stop::Expected("eight bytes"))?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    pub(super) fn run(&mut self) -> Taken<&'a [u8]> {
        let length = self.number()?;
        self.take(length).ok_or(Stop::Expected("as many bytes as the length says"))
    }

    /// A run of bytes of its own.
    pub(super) fn bytes(&mut self) -> Taken<Bytes> {
        self.run().map(Bytes::copy_from_slice)
    }

    pub(super) fn text(&mut self) -> Taken<&'a str> {
        std::str::from_utf8(self.run()?).map_err(|_| Stop::Expected("text in UTF-8"))
    }

    pub(super) fn option<T>(&mut self, take: impl FnOnce(&mut Self) -> Taken<T>) -> Taken<Option<T>> {
        if self.flag()? { take(self).map(Some) } else { Ok(None) }
    }

    /// Every value takes a byte at least, so a count beyond the bytes is refused before any memory is taken.
    pub(super) fn list<T>(&mut self, take: impl Fn(&mut Self) -> Taken<T>) -> Taken<Vec<T>> {
        let count: usize = self.number()?;
        if count > self.bytes.len() {
            return Err(Stop::Expected("as many values as the count says"));
        }
        (0..count).map(|_| take(self)).collect()
    }

    /// Fields with their length in front.
    pub(super) fn framed<T>(&mut self, take: impl FnOnce(&mut Fields<'_>) -> Taken<T>) -> Taken<T> {
        take(&mut Fields { bytes: self.run()?, shared: self.shared })
    }

    pub(super) fn image(&mut self) -> Taken<Arc<StateImage>> {
        let number: usize = self.number()?;
        self.shared.images.get(number).cloned().ok_or(Stop::Expected("the number of an image before"))
    }

    pub(super) fn batch(&mut self) -> Taken<Arc<Batch>> {
        let number: usize = self.number()?;
        self.shared.batches.get(number).cloned().ok_or(Stop::Expected("the number of a batch before"))
    }

    pub(super) fn phase(&mut self) -> Taken<Phase> {
        let n = self.byte()?;
        Phase::known(n).ok_or(Stop::Expected("a phase"))
    }

    /// An unknown level means the weakest, as in the protocol of clients.
    pub(super) fn durability(&mut self) -> Taken<Durability> {
        self.byte().map(Durability::from_wire)
    }

    /// A frame for viewers, with its header, as bytes of its own.
    pub(super) fn frame(&mut self) -> Taken<Bytes> {
        let wire = self.run()?;
        is_frame(wire).then(|| Bytes::copy_from_slice(wire)).ok_or(Stop::Expected("one whole frame"))
    }

    fn new_image(&mut self) -> Taken<StateImage> {
        Ok(StateImage { version: self.number()?, wire: self.frame()? })
    }

    /// The bytes of the entry that is being taken, which batches of the frame may share.
    pub(super) fn entry(&mut self) -> Taken<Bytes> {
        let run = self.run()?;
        let own = self.shared.entries.last().filter(|entry| entry.len() == run.len());
        Ok(own.cloned().unwrap_or_else(|| Bytes::copy_from_slice(run)))
    }

    /// A frame for viewers that an entry before has.
    fn within_entry(&mut self) -> Taken<Bytes> {
        let (number, at, len): (usize, usize, usize) = (self.number()?, self.number()?, self.number()?);
        let entry = self.shared.entries.get(number).ok_or(Stop::Expected("the number of an entry before"))?;
        let end = at.checked_add(len).filter(|end| *end <= entry.len());
        let wire = entry.slice(at..end.ok_or(Stop::Expected("a part of the entry"))?);
        if is_frame(&wire) { Ok(wire) } else { Err(Stop::Expected("one whole frame")) }
    }

    fn new_batch(&mut self, take_wire: impl FnOnce(&mut Self) -> Taken<Bytes>) -> Taken<Batch> {
        let (seq, first_offset, offsets): (_, u64, u64) = (self.number()?, self.number()?, self.number()?);
        let next_offset = first_offset.checked_add(offsets).ok_or(Stop::Expected("offsets of 64 bits"))?;
        let (messages, base_time_ms, time_ms) = (self.number()?, self.number()?, self.number()?);
        let (snapshot, wire) = (self.option(Self::image)?, take_wire(self)?);
        let has_acts = self.bytes.first() == Some(&1);
        if alias_of(&wire).is_none() {
            return Err(Stop::Expected("one whole frame of a batch"));
        }
        let compressed = Compressed::default();
        Ok(Batch {
            seq,
            first_offset,
            next_offset,
            messages,
            base_time_ms,
            time_ms,
            wire,
            has_acts,
            compressed,
            snapshot,
        })
    }
}

/// The bytes of an entry, of all its fields.
fn entry_of(fields: &[u8]) -> Option<Bytes> {
    let mut fields = Fields { bytes: fields, shared: &Shared::default() };
    let (_term, _index): (u64, u64) = (fields.number().ok()?, fields.number().ok()?);
    fields.bytes().ok()
}

/// Is this one whole frame, with its header? Viewers get these bytes as they are.
fn is_frame(wire: &[u8]) -> bool {
    let header = stream::read_header(wire, usize::MAX).ok().flatten();
    header.is_some_and(|(header, frame)| frame > 0 && wire.len() - header == frame)
}
