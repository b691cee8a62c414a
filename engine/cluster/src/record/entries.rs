//! Entries: a run of a shard's entries as bytes, each with its length in front.
//!
//! Why only the lengths are read here: an entry's bytes and its own checksum are the store's. A cluster has
//! to count entries, cut runs of them and join them, and needs no more than where each one ends.
//! Invariants: an [`Entries`] is a whole number of entries, each of at least one byte behind its length, and
//! its count is right, whatever the bytes that [`Entries::check`] was given.

use bytes::Bytes;

/// Bytes of a length.
const LENGTH_BYTES: usize = 4;

/// Bytes of the shortest entry, its length included.
pub const ENTRY_BYTES_MIN: usize = LENGTH_BYTES + 1;

/// A run of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    bytes: Bytes,
    count: u64,
}

/// Why bytes are not entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFault {
    /// The last length is cut off, or says more than there is.
    Cut,
    /// An entry without a byte.
    Empty,
}

impl EntryFault {
    /// What was expected in its place.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            EntryFault::Cut => "a whole number of entries",
            EntryFault::Empty => "an entry of at least one byte",
        }
    }
}

impl Entries {
    /// The entries that these bytes are.
    ///
    /// # Errors
    /// If the bytes are not a whole number of entries.
    pub fn check(bytes: Bytes) -> Result<Entries, EntryFault> {
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            at = end_of_entry(&bytes, at)?;
            count += 1;
        }
        Ok(Entries { bytes, count })
    }

    /// The bytes, as a record has them.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many entries.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each entry, with its length in front.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let end = end_of_entry(&self.bytes, at).ok()?;
            let entry = self.bytes.slice(at..end);
            at = end;
            Some(entry)
        })
    }
}

/// Where the entry that begins at `at` ends.
fn end_of_entry(bytes: &[u8], at: usize) -> Result<usize, EntryFault> {
    let length = bytes.get(at..at + LENGTH_BYTES).ok_or(EntryFault::Cut)?;
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    if length == 0 {
        return Err(EntryFault::Empty);
    }
    let end = at.checked_add(LENGTH_BYTES + length).ok_or(EntryFault::Cut)?;
    if end > bytes.len() { Err(EntryFault::Cut) } else { Ok(end) }
}

/// Joins entries, up to a bound of bytes.
#[derive(Debug, Default)]
pub struct EntriesBuilder {
    bytes: Vec<u8>,
    count: u64,
}

impl EntriesBuilder {
    /// Add one entry, with its length in front, unless the whole would exceed `bytes_max`.
    ///
    /// # Errors
    /// If the bytes are not exactly one entry.
    pub fn push(&mut self, entry: &[u8], bytes_max: usize) -> Result<bool, EntryFault> {
        if end_of_entry(entry, 0)? != entry.len() {
            return Err(EntryFault::Cut);
        }
        if self.bytes.len() + entry.len() > bytes_max {
            return Ok(false);
        }
        self.bytes.extend_from_slice(entry);
        self.count += 1;
        Ok(true)
    }

    /// The entries.
    #[must_use]
    pub fn finish(self) -> Entries {
        Entries { bytes: Bytes::from(self.bytes), count: self.count }
    }
}
