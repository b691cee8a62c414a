//! The byte codec of stored data: varints, lengths, and a decoder that cannot panic.
//!
//! Invariant: a [`Decoder`] never reads past its end and never panics, whatever the bytes.
//! Not here: what the bytes mean (`record`, `room_state`, `journal`).

use bytes::Bytes;

/// Append a varint (LEB128).
pub(crate) fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Append a length and the bytes.
pub(crate) fn put_sized(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Append bytes that may be missing: 0, or their length plus one and the bytes.
pub(crate) fn put_option(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    put_varint(bytes.map_or(0, |bytes| bytes.len() as u64 + 1), out);
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// Bytes that cannot be decoded, with what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads from shared bytes; the values that it returns share them.
#[derive(Debug)]
pub(crate) struct Decoder {
    bytes: Bytes,
}

impl Decoder {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Decoder { bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<Bytes, Malformed> {
        if len > self.bytes.len() {
            return Err(Malformed(what));
        }
        Ok(self.bytes.split_to(len))
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.take(1, what)?[0])
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take(8, what)?[..].try_into().expect("eight bytes")))
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            n |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Malformed(what))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.varint(what)?).map_err(|_| Malformed(what))
    }

    pub(crate) fn sized(&mut self, what: &'static str) -> Result<Bytes, Malformed> {
        let len = usize::try_from(self.varint(what)?).map_err(|_| Malformed(what))?;
        self.take(len, what)
    }

    pub(crate) fn option(&mut self, what: &'static str) -> Result<Option<Bytes>, Malformed> {
        match usize::try_from(self.varint(what)?) {
            Ok(0) => Ok(None),
            Ok(len) => self.take(len - 1, what).map(Some),
            Err(_) => Err(Malformed(what)),
        }
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<Box<str>, Malformed> {
        let bytes = self.sized(what)?;
        std::str::from_utf8(&bytes).map(Box::from).map_err(|_| Malformed(what))
    }

    /// A number of items of at least `bytes_min` each: never more than the remaining bytes can hold.
    pub(crate) fn count(&mut self, bytes_min: usize, what: &'static str) -> Result<usize, Malformed> {
        let n = usize::try_from(self.varint(what)?).map_err(|_| Malformed(what))?;
        if n > self.bytes.len() / bytes_min { Err(Malformed(what)) } else { Ok(n) }
    }

    pub(crate) fn end(&self, what: &'static str) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed(what)) }
    }
}
