//! Decoding: any declared encoding becomes UTF-8, and what is none of it becomes U+FFFD.
//!
//! Why not the parser: it stops at the first byte that is not UTF-8, and looks at the byte order mark only.
//! Invariant: what comes out is valid UTF-8; replaced places are counted.
//! Not here: the tables of encodings (`encoding_rs`).

use std::io::{self, Read};
use std::rc::Rc;

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::bounded::Counts;

/// The encoding of a document that begins so, and the label that it declares if nobody knows it. A byte
/// order mark takes precedence over a declaration.
pub(super) fn encoding(start: &[u8]) -> (&'static Encoding, Option<String>) {
    if let Some((encoding, _)) = Encoding::for_bom(start) {
        return (encoding, None);
    }
    match start {
        [b'<', 0, ..] => return (UTF_16LE, None),
        [0, b'<', ..] => return (UTF_16BE, None),
        _ => {}
    }
    let Some(label) = declared(start) else { return (UTF_8, None) };
    match Encoding::for_label(label.as_bytes()) {
        // It was readable byte by byte, so it is not UTF-16.
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => (UTF_8, None),
        Some(encoding) => (encoding, None),
        None => (UTF_8, Some(label)),
    }
}

/// The first bytes as text.
pub(super) fn text(encoding: &'static Encoding, start: &[u8]) -> String {
    encoding.decode(start).0.into_owned()
}

/// The label in `<?xml ... encoding="..."?>`.
fn declared(start: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(start);
    let head = head.trim_start();
    let declaration = head.strip_prefix("<?xml")?;
    let declaration = &declaration[..declaration.find("?>").unwrap_or(declaration.len())];
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split(quote).next().map(str::to_owned)
}

/// A reader of UTF-8 from a reader of something else.
pub(super) struct Decoding<R> {
    inner: R,
    decoder: Decoder,
    counts: Rc<Counts>,
    source: Box<[u8]>,
    range: std::ops::Range<usize>,
    is_last: bool,
    is_done: bool,
}

impl<R: Read> Decoding<R> {
    pub(super) fn new(inner: R, encoding: &'static Encoding, counts: Rc<Counts>) -> Decoding<R> {
        Decoding {
            inner,
            decoder: encoding.new_decoder_with_bom_removal(),
            counts,
            source: vec![0; 32 << 10].into(),
            range: 0..0,
            is_last: false,
            is_done: false,
        }
    }
}

impl<R: Read> Read for Decoding<R> {
    /// `into` has room for a character: this is read by a buffer alone.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_done {
                return Ok(0);
            }
            if self.range.is_empty() && !self.is_last {
                let n = self.inner.read(&mut self.source)?;
                self.range = 0..n;
                self.is_last = n == 0;
            }
            let source = &self.source[self.range.clone()];
            let (result, read, written, replaced) = self.decoder.decode_to_utf8(source, into, self.is_last);
            self.range.start += read;
            if replaced {
                self.counts.replaced.set(self.counts.replaced.get() + 1);
            }
            self.is_done = self.is_last && result == CoderResult::InputEmpty;
            if written > 0 || into.len() < 8 {
                return Ok(written);
            }
        }
    }
}
