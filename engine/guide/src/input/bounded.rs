//! Bounded readers: they count bytes and lines, and end a document that goes beyond its bounds.
//!
//! Why three: bytes are counted as they come, after decompression and as the parser takes them, and each
//! count bounds another attack: a bomb, an endless stream, an attribute of 40 MB.
//! Not here: the bounds (`input`).

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::Bounds;

/// Text that any ratio of compression may have.
const FREE: u64 = 16 << 20;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) raw: Cell<u64>,
    pub(super) plain: Cell<u64>,
    pub(super) lines: Cell<u64>,
    pub(super) since_event: Cell<u64>,
    pub(super) replaced: Cell<u64>,
}

pub(super) fn invalid(fault: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

/// Counts the bytes of the source.
pub(super) struct Counted<R> {
    pub(super) inner: R,
    pub(super) counts: Rc<Counts>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.counts.raw.set(self.counts.raw.get() + n as u64);
        Ok(n)
    }
}

/// Bounds the text, and its ratio to the source.
pub(super) struct Limited<R> {
    pub(super) inner: R,
    pub(super) counts: Rc<Counts>,
    pub(super) bounds: Bounds,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        let plain = self.counts.plain.get() + n as u64;
        self.counts.plain.set(plain);
        if plain > self.bounds.text_max {
            return Err(invalid(&format!("more than {} bytes of text", self.bounds.text_max)));
        }
        let ratio_max = self.bounds.ratio_max;
        if plain > FREE && plain / self.counts.raw.get().max(1) > ratio_max {
            return Err(invalid(&format!("a compressed byte holds more than {ratio_max} bytes of text")));
        }
        Ok(n)
    }
}

/// Bounds the bytes between two marks, and counts lines.
pub(super) struct Bounded<R> {
    inner: R,
    counts: Rc<Counts>,
    between_max: u64,
}

impl<R> Bounded<R> {
    pub(super) fn new(inner: R, counts: Rc<Counts>, between_max: u64) -> Bounded<R> {
        Bounded { inner, counts, between_max }
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(into.len());
        into[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.counts.since_event.get() > self.between_max {
            let fault = format!("more than {} bytes without the end of a tag or record", self.between_max);
            return Err(invalid(&fault));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        // What a reader consumes it has just been shown: this does not read.
        if let Ok(shown) = self.inner.fill_buf() {
            let lines = shown[..n.min(shown.len())].iter().filter(|byte| **byte == b'\n').count();
            self.counts.lines.set(self.counts.lines.get() + lines as u64);
        }
        self.counts.since_event.set(self.counts.since_event.get() + n as u64);
        self.inner.consume(n);
    }
}
