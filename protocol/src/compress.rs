//! Compressed frames: raw deflate (RFC 1951) with a preset dictionary that both sides have (docs/PROTOCOL.md,
//! F-5).
//!
//! Why deflate: every browser has a decoder of a few kilobytes, and it takes fewer bytes than zstd where a
//! batch holds one to six messages, as chat does (docs/ARCHITECTURE.md has the figures). Why no state from
//! frame to frame: a frame is compressed once for all viewers, and two viewers do not receive the same
//! sequence of frames.
//! Invariants: a frame that would not shrink stays plain; a frame decompresses to at most
//! [`limits::SERVER_FRAME_BYTES_MAX`], whatever it claims, and uses all of its bytes; both sides keep their
//! buffers, so compressing a frame costs one allocation and decompressing it none.
//! Not here: how the two sides agree on compression (`version::capability`), which viewer gets which form
//! (the edge).

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::close::CloseCode;
use crate::frame::Kind;
use crate::{limits, stream};

/// The bit in a frame's kind that marks the frame as compressed.
pub const COMPRESSED: u8 = 0x80;

/// First byte of a compressed batch, the only kind of frame that can be compressed.
pub const COMPRESSED_BATCH: u8 = Kind::Batch as u8 | COMPRESSED;

/// The dictionary of [`crate::version::capability::DEFLATE_1`]: pieces of generated chat, the likeliest last,
/// where a reference to them is shortest. A released dictionary never changes; a better one gets a capability
/// bit of its own.
pub const DICTIONARY_1: &[u8] = include_bytes!("../dictionary/1.bin");

/// This level also finds matches of three bytes, which short texts need; lower levels need four. Batches are
/// so short that the search costs less than loading the dictionary.
const LEVEL: u32 = 9;

/// A buffer above this size is freed after the frame: an honest batch is far smaller.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// Compresses batches. It takes a few hundred kilobytes: one per thread.
pub struct Compressor {
    deflate: Compress,
    out: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor { deflate: Compress::new(Compression::new(LEVEL), false), out: Vec::new() }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// A batch's body as a compressed frame, with its header. `None` when it would not be smaller than the
    /// plain frame.
    pub fn batch_framed(&mut self, body: &[u8]) -> Option<Bytes> {
        self.deflate.reset();
        self.deflate.set_dictionary(DICTIONARY_1).expect("a dictionary fits before any input");
        self.out.clear();
        self.out.shrink_to(BUFFER_BYTES_KEPT);
        self.out.reserve(body.len());
        let status = self.deflate.compress_vec(body, &mut self.out, FlushCompress::Finish);
        let is_whole = matches!(status, Ok(Status::StreamEnd));
        (is_whole && self.out.len() < body.len()).then(|| framed(&self.out))
    }
}

fn framed(payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(stream::header_len(payload.len() + 1) + 1 + payload.len());
    stream::write_header(payload.len() + 1, &mut out);
    out.push(COMPRESSED_BATCH);
    out.extend_from_slice(payload);
    Bytes::from(out)
}

/// Why a compressed frame cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressFault {
    /// Not a deflate stream, or one that refers to bytes that do not exist.
    Garbage,
    /// The stream is cut off before its last block ends.
    Short,
    /// Bytes follow the last block.
    Trailing,
    /// The frame decompresses to more than [`limits::SERVER_FRAME_BYTES_MAX`].
    TooLarge,
}

impl CompressFault {
    /// The close code that answers it.
    pub fn close_code(self) -> CloseCode {
        match self {
            CompressFault::TooLarge => CloseCode::FrameTooLarge,
            _ => CloseCode::Malformed,
        }
    }
}

impl std::fmt::Display for CompressFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CompressFault::Garbage => "a compressed frame that is no deflate stream",
            CompressFault::Short => "a compressed frame that ends too early",
            CompressFault::Trailing => "a compressed frame with bytes behind its end",
            CompressFault::TooLarge => "a compressed frame that opens to more than a frame may have",
        })
    }
}

impl std::error::Error for CompressFault {}

/// Decompresses frames. It takes about fifty kilobytes: one per thread, not per session.
pub struct Decompressor {
    inflate: Decompress,
    out: Vec<u8>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Decompressor { inflate: Decompress::new(false), out: Vec::new() }
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// Decompresses the bytes after a compressed frame's kind byte.
    ///
    /// # Errors
    /// A [`CompressFault`] for bytes that no [`Compressor`] wrote; a fault does not affect the next frame.
    pub fn open(&mut self, payload: &[u8]) -> Result<&[u8], CompressFault> {
        // One byte of the frame is its kind.
        const BODY_BYTES_MAX: usize = limits::SERVER_FRAME_BYTES_MAX - 1;
        self.inflate.reset(false);
        self.inflate.set_dictionary(DICTIONARY_1).map_err(|_| CompressFault::Garbage)?;
        self.out.clear();
        self.out.shrink_to(BUFFER_BYTES_KEPT);
        self.out.reserve(payload.len() * 4);
        loop {
            let read = self.inflate.total_in() as usize;
            let status =
                self.inflate.decompress_vec(&payload[read..], &mut self.out, FlushDecompress::Finish);
            let is_end = matches!(status.map_err(|_| CompressFault::Garbage)?, Status::StreamEnd);
            if self.out.len() > BODY_BYTES_MAX {
                return Err(CompressFault::TooLarge);
            }
            if is_end {
                break;
            }
            if self.out.len() < self.out.capacity() {
                return Err(CompressFault::Short);
            }
            // Doubled, and one byte more than is allowed at the most.
            self.out.reserve_exact(self.out.len().max(256).min(BODY_BYTES_MAX + 1 - self.out.len()));
        }
        match self.inflate.total_in() as usize == payload.len() {
            true => Ok(&self.out),
            false => Err(CompressFault::Trailing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let mut deflate = Compress::new(Compression::best(), false);
        deflate.compress_vec(bytes, &mut out, FlushCompress::Finish).unwrap();
        out
    }

    fn opened(wire: &[u8]) -> Vec<u8> {
        let (header, len) = stream::read_header(wire, usize::MAX).unwrap().unwrap();
        assert_eq!((header + len, wire[header]), (wire.len(), COMPRESSED_BATCH));
        Decompressor::default().open(&wire[header + 1..]).unwrap().to_vec()
    }

    #[test]
    fn chat_shrinks_and_comes_back() {
        let body = b"\x01\x20\x00\x10\x00ann\0that was so good, see you all next week\0\x00bob\0so good\0";
        let mut compressor = Compressor::default();
        let wire = compressor.batch_framed(body).expect("it shrinks");
        assert!(wire.len() < body.len() * 4 / 5, "{} of {}", wire.len(), body.len());
        assert_eq!(opened(&wire), body);
        assert_eq!(compressor.batch_framed(body), Some(wire), "nothing of the last frame is left");
    }

    #[test]
    fn what_would_not_shrink_stays_plain() {
        let mut seed = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(200)
        .collect();
        let mut compressor = Compressor::default();
        assert_eq!(compressor.batch_framed(&noise), None);
        assert_eq!(compressor.batch_framed(b""), None);
        assert!(
            compressor.batch_framed(&[b'a'; 300]).is_some(),
            "the one after noise is as good as the first"
        );
    }

    #[test]
    fn faults_are_named_and_leave_no_trace() {
        let mut decompressor = Decompressor::default();
        let good = deflated(b"hello, hello, hello");
        let mut trailing = good.clone();
        trailing.push(0);
        for (bytes, fault) in [
            (&b""[..], CompressFault::Short),
            (&good[..good.len() - 1], CompressFault::Short),
            (&[0xff, 0xff, 0xff], CompressFault::Garbage),
            (&trailing, CompressFault::Trailing),
        ] {
            assert_eq!(decompressor.open(bytes), Err(fault), "{bytes:x?}");
            assert_eq!(decompressor.open(&good), Ok(&b"hello, hello, hello"[..]));
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let bound = limits::SERVER_FRAME_BYTES_MAX - 1;
        let mut decompressor = Decompressor::default();
        assert_eq!(decompressor.open(&deflated(&vec![0; bound])).map(<[u8]>::len), Ok(bound));
        let bomb = deflated(&vec![0; 64 * 1024 * 1024]);
        assert_eq!(decompressor.open(&bomb), Err(CompressFault::TooLarge));
        assert!(decompressor.out.capacity() <= limits::SERVER_FRAME_BYTES_MAX * 2);
        assert_eq!(decompressor.open(&deflated(b"x")), Ok(&b"x"[..]));
        assert!(decompressor.out.capacity() <= BUFFER_BYTES_KEPT);
    }
}
