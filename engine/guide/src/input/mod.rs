//! Input: the text of a document, decompressed and decoded, line by line and within bounds.
//!
//! Why here: a parser of XML has no bounds of its own, stops at the first byte that is not UTF-8, and knows
//! neither gzip nor xz. A feed is data of strangers.
//! Invariants: what comes out is valid UTF-8. A document ends with an error when it has more than
//! [`Bounds::text_max`] bytes of text, [`Bounds::ratio_max`] bytes for a compressed one, or
//! [`Bounds::between_max`] bytes between two marks of its reader. Not here: what the text means.

mod bounded;
mod decode;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use bounded::{Bounded, Counted, Counts, Limited};

/// Bounds of a document.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of text.
    pub text_max: u64,
    /// Bytes of text for one compressed byte, beyond the first 16 MiB of text.
    pub ratio_max: u64,
    /// Bytes between two events of the parser of XML.
    pub between_max: u64,
    /// Bytes of one record of JSON, which is in memory whole.
    pub record_max: u64,
    /// Programmes.
    pub programmes_max: usize,
    /// Channels.
    pub channels_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            text_max: 8 << 30,
            ratio_max: 250,
            between_max: 1 << 20,
            record_max: 4 << 20,
            programmes_max: 2_000_000,
            channels_max: 50_000,
        }
    }
}

/// Memory that an xz stream may ask for, KiB: presets up to -8 have dictionaries of 32 MiB.
const XZ_KIB_MAX: u32 = 34 << 10;

/// Bytes in which an encoding is declared.
const DECLARATION: usize = 256;

/// Bytes of a buffer between two stages.
const BUFFER: usize = 64 << 10;

/// The form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `<...`
    Xml,
    /// `{...` or `[...`
    Json,
    /// Nothing, or white space.
    Empty,
    /// Something else.
    Unknown,
}

/// An opened document.
pub struct Document<'a> {
    /// Its text.
    pub text: Box<dyn BufRead + 'a>,
    /// Its marks and counts.
    pub marks: Marks,
    /// What it is.
    pub form: Form,
    /// The encoding that it declares and nobody knows.
    pub unknown_encoding: Option<String>,
}

/// Marks of a reader on its document, and counts of what was read.
#[derive(Clone)]
pub struct Marks(Rc<Counts>);

impl Marks {
    /// The reader is done with what it read so far.
    pub fn event(&self) {
        self.0.since_event.set(0);
    }

    /// Line that is read, from 1.
    pub fn line(&self) -> u64 {
        self.0.lines.get() + 1
    }

    /// Bytes of the source, bytes of text after decompression.
    pub fn bytes(&self) -> (u64, u64) {
        (self.0.raw.get(), self.0.plain.get())
    }

    /// Places at which bytes were not of the encoding.
    pub fn replaced(&self) -> u64 {
        self.0.replaced.get()
    }
}

/// Open a document: plain, gzip or xz, in any encoding that it declares.
///
/// # Errors
/// The source cannot be read, or is an archive.
pub fn open<'a>(source: impl Read + 'a, bounds: &Bounds) -> io::Result<Document<'a>> {
    let counts = Rc::new(Counts::default());
    let mut raw = Counted { inner: source, counts: counts.clone() };
    let magic = head(&mut raw, 6)?;
    let raw = BufReader::with_capacity(BUFFER, Cursor::new(magic.clone()).chain(raw));
    let is_packed = Cell::new(true);
    let plain: Box<dyn Read + 'a> = if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(raw))
    } else if magic.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        Box::new(XzReader::new_mem_limit(raw, true, XZ_KIB_MAX))
    } else if [&b"PK\x03\x04"[..], b"BZh", &[0x28, 0xb5, 0x2f, 0xfd]].iter().any(|m| magic.starts_with(m)) {
        return Err(bounded::invalid("a zip, bzip2 or zstd file: unpack it, or compress it with gzip or xz"));
    } else {
        is_packed.set(false);
        Box::new(raw)
    };
    let bounds_here =
        Bounds { ratio_max: if is_packed.get() { bounds.ratio_max } else { u64::MAX }, ..*bounds };
    let mut plain = Limited { inner: plain, counts: counts.clone(), bounds: bounds_here };
    let start = head(&mut plain, DECLARATION)?;
    let (encoding, unknown_encoding) = decode::encoding(&start);
    let form = form(&decode::text(encoding, &start));
    let plain = Cursor::new(start).chain(plain);
    let text = decode::Decoding::new(plain, encoding, counts.clone());
    let between_max = if form == Form::Json { bounds.record_max } else { bounds.between_max };
    let text = Bounded::new(BufReader::with_capacity(BUFFER, text), counts.clone(), between_max);
    Ok(Document { text: Box::new(text), marks: Marks(counts), form, unknown_encoding })
}

/// The first bytes, as many as there are.
fn head(source: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(bytes);
    source.take(bytes as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn form(start: &str) -> Form {
    match start.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0').chars().next()
    {
        None => Form::Empty,
        Some('<') => Form::Xml,
        Some('{' | '[') => Form::Json,
        Some(_) => Form::Unknown,
    }
}
