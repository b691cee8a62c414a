//! The replacement of the room alias in a stored batch.
//!
//! Why: a node assigns aliases anew at each start, but a stored batch still has the alias of the process that
//! sealed it. The body begins with the alias, so a replacement costs one copy and no decoding.
//! Invariant: the replacement changes no byte after the alias.

use bytes::Bytes;

use super::{BatchFault, varint};
use crate::frame::Kind;
use crate::stream;

/// The alias in a batch's frame, given with its header. `None` when the bytes are not a plain batch frame.
pub fn alias_of(framed: &[u8]) -> Option<u32> {
    let (header, _) = stream::read_header(framed, usize::MAX).ok()??;
    let mut at = header + 1;
    let is_batch = framed.get(header) == Some(&(Kind::Batch as u8));
    varint::read(framed, &mut at).filter(|_| is_batch).and_then(|alias| u32::try_from(alias).ok())
}

/// A stored batch frame, with its header, whose alias is replaced. The bytes after the alias are not checked.
///
/// # Errors
/// The bytes are not one whole plain frame of a batch that begins with an alias.
pub fn with_alias(framed: &[u8], alias: u32) -> Result<Bytes, BatchFault> {
    let fault = |at, expected| BatchFault { at, expected };
    let (header, len) = stream::read_header(framed, usize::MAX)
        .ok()
        .flatten()
        .filter(|&(header, len)| framed.len() - header == len)
        .ok_or(fault(0, "one whole frame"))?;
    if framed.get(header) != Some(&(Kind::Batch as u8)) {
        return Err(fault(header, "a plain batch"));
    }
    let mut at = header + 1;
    varint::read(framed, &mut at).filter(|&n| n <= u64::from(u32::MAX)).ok_or(fault(at, "an alias"))?;
    let mut own = Vec::with_capacity(5);
    varint::write(u64::from(alias), &mut own);
    let rest = &framed[at..];
    let frame = 1 + own.len() + rest.len();
    let mut out = Vec::with_capacity(stream::header_len(frame) + frame);
    debug_assert!(len >= 2);
    stream::write_header(frame, &mut out);
    out.push(Kind::Batch as u8);
    out.extend_from_slice(&own);
    out.extend_from_slice(rest);
    Ok(Bytes::from(out))
}
