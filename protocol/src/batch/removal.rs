//! Removals: the entry of a room's log that takes earlier messages away, and the rule by which all agree
//! which.
//!
//! Why a rule and not a list: who said ten thousand messages is removed by one entry of a few bytes that
//! names them and the messages of others under the same name. Servers, clients and archives apply the same
//! rule ([`Removal::covers`]), so they agree.
//!
//! ```text
//! removal = kind:u8  fields
//!   1 one      back:varint                                                     the message that far back
//!   2 names    back:varint  n:varint n * (name NUL)  runs                      from that far back on, of these
//!                                                                              names, but not those in the runs
//!   3 runs     runs
//!   4 all      back:varint                                                     from that far back on
//! runs = m:varint  m * (gap:varint  length:varint)
//! ```
//!
//! Distances are in offsets, from the entry's own offset backwards. A run ends `gap` offsets before the run
//! that was named before it begins, or before the entry.
//! Invariant: any bytes give a removal, [`Removal::Unknown`] or a fault; a removal never covers its own
//! offset or a later one.
//! Not here: the item around it (`reader`, `writer`), the removed text (nobody has it).

use super::varint;

mod kind {
    pub(super) const ONE: u8 = 1;
    pub(super) const NAMES: u8 = 2;
    pub(super) const RUNS: u8 = 3;
    pub(super) const ALL: u8 = 4;
}

/// Runs of offsets, borrowed from the entry: `(first, next)`, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Iterator for Runs<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let mut pos = 0;
        let gap = varint::read(self.bytes, &mut pos)?;
        let length = varint::read(self.bytes, &mut pos)?;
        self.bytes = &self.bytes[pos..];
        let next = self.at.saturating_sub(gap);
        self.at = next.saturating_sub(length);
        Some((self.at, next))
    }
}

/// Names, borrowed from the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a>(&'a str);

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (name, rest) = self.0.split_once('\0')?;
        self.0 = rest;
        Some(name)
    }
}

/// Which earlier messages an entry removes. Distances are already offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal<'a> {
    /// One message.
    One {
        /// Its offset.
        offset: u64,
    },
    /// What these names said, but not what others said under them.
    Names {
        /// First offset of which it speaks.
        from: u64,
        /// The names.
        names: Names<'a>,
        /// What others said.
        but: Runs<'a>,
    },
    /// What is in these runs.
    Runs(Runs<'a>),
    /// Everything.
    All {
        /// First offset of which it speaks.
        from: u64,
    },
    /// A kind that this version does not know: it removes nothing.
    Unknown,
}

impl<'a> Removal<'a> {
    /// Read the fields of an entry at this offset, as [`RemovalParts::write`] wrote them. `None`: they are
    /// not a removal.
    pub fn read(at: u64, bytes: &'a [u8]) -> Option<Removal<'a>> {
        let (&kind, rest) = bytes.split_first()?;
        let mut pos = 0;
        Some(match kind {
            kind::ONE => {
                let back = varint::read(rest, &mut pos).filter(|back| *back > 0)?;
                Removal::One { offset: at.checked_sub(back)? }
            }
            kind::NAMES => {
                let from = at.saturating_sub(varint::read(rest, &mut pos)?);
                let count = varint::read(rest, &mut pos)?;
                let begin = pos;
                for _ in 0..count {
                    pos += rest.get(pos..)?.iter().position(|&b| b == 0)? + 1;
                }
                let names = Names(std::str::from_utf8(&rest[begin..pos]).ok()?);
                Removal::Names { from, names, but: runs(at, &rest[pos..])? }
            }
            kind::RUNS => Removal::Runs(runs(at, rest)?),
            kind::ALL => Removal::All { from: at.saturating_sub(varint::read(rest, &mut pos)?) },
            _ => Removal::Unknown,
        })
    }

    /// Does the entry at `at` remove the message at `offset`, said under the name `author`?
    pub fn covers(&self, at: u64, offset: u64, author: &str) -> bool {
        let is_in = |mut runs: Runs<'_>| runs.any(|(first, next)| (first..next).contains(&offset));
        offset < at
            && match *self {
                Removal::One { offset: one } => offset == one,
                Removal::Names { from, mut names, but } => {
                    offset >= from && names.any(|name| name == author) && !is_in(but)
                }
                Removal::Runs(runs) => is_in(runs),
                Removal::All { from } => offset >= from,
                Removal::Unknown => false,
            }
    }

    /// The first offset that it may cover; `None`: it covers nothing.
    pub fn from(&self) -> Option<u64> {
        match *self {
            Removal::One { offset } => Some(offset),
            Removal::Names { from, .. } | Removal::All { from } => Some(from),
            Removal::Runs(runs) => runs.last().map(|(first, _)| first),
            Removal::Unknown => None,
        }
    }
}

fn runs(at: u64, bytes: &[u8]) -> Option<Runs<'_>> {
    let mut pos = 0;
    let count = varint::read(bytes, &mut pos)?;
    let begin = pos;
    for _ in 0..count {
        varint::read(bytes, &mut pos)?;
        varint::read(bytes, &mut pos)?;
    }
    Some(Runs { bytes: &bytes[begin..pos], at })
}

/// Writes the fields of the entry at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalParts<'a> {
    /// One message.
    One {
        /// Its offset.
        offset: u64,
    },
    /// What these names said from an offset on, but not what is in these runs.
    Names {
        /// First offset of which it speaks.
        from: u64,
        /// The names, without NUL.
        names: &'a [&'a str],
        /// `(first, next)`, the newest first, not touching each other.
        but: &'a [(u64, u64)],
    },
    /// These runs: `(first, next)`, the newest first.
    Runs(&'a [(u64, u64)]),
    /// Everything from an offset on.
    All {
        /// First offset of which it speaks.
        from: u64,
    },
}

impl RemovalParts<'_> {
    /// Append the fields of the entry at offset `at`.
    pub fn write(&self, at: u64, out: &mut Vec<u8>) {
        match *self {
            RemovalParts::One { offset } => {
                out.push(kind::ONE);
                varint::write(at - offset, out);
            }
            RemovalParts::Names { from, names, but } => {
                out.push(kind::NAMES);
                varint::write(at - from, out);
                varint::write(names.len() as u64, out);
                for name in names {
                    out.extend_from_slice(name.as_bytes());
                    out.push(0);
                }
                write_runs(at, but, out);
            }
            RemovalParts::Runs(runs) => {
                out.push(kind::RUNS);
                write_runs(at, runs, out);
            }
            RemovalParts::All { from } => {
                out.push(kind::ALL);
                varint::write(at - from, out);
            }
        }
    }
}

fn write_runs(mut at: u64, runs: &[(u64, u64)], out: &mut Vec<u8>) {
    varint::write(runs.len() as u64, out);
    for &(first, next) in runs {
        varint::write(at - next, out);
        varint::write(next - first, out);
        at = first;
    }
}
