//! Bodies: bytes as they come, decompressed, up to a bound.
//!
//! Why decompress here: a bomb of 200 KB opens to 200 MB, so the bound is on what comes out, and is checked
//! while it comes out.
//! Invariants: no more than the bound, and one read's bytes, are in memory. An encoding that is not known
//! ends the request: its bytes would be taken for text.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{GzDecoder, ZlibDecoder};

use crate::error::FetchError;

/// Takes encoded bytes and gives decoded ones.
pub(crate) struct Decoder {
    kind: Kind,
    max: usize,
}

enum Kind {
    Identity { taken: usize },
    Gzip(GzDecoder<Bounded>),
    Zlib(ZlibDecoder<Bounded>),
}

/// What a decoder has put out: never more than is left of the bound.
struct Bounded {
    out: Vec<u8>,
    left: usize,
    is_over: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            self.is_over = true;
            return Err(io::Error::other("too large"));
        }
        self.left -= bytes.len();
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// For a value of `Content-Encoding`; at most `max` bytes come out.
    pub(crate) fn new(encoding: &str, max: usize) -> Result<Decoder, FetchError> {
        let bounded = || Bounded { out: Vec::new(), left: max, is_over: false };
        let kind = match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Kind::Identity { taken: 0 },
            "gzip" | "x-gzip" => Kind::Gzip(GzDecoder::new(bounded())),
            "deflate" => Kind::Zlib(ZlibDecoder::new(bounded())),
            _ => return Err(FetchError::Encoding("it has an encoding that was not asked for".to_owned())),
        };
        Ok(Decoder { kind, max })
    }

    /// What these bytes decode to; perhaps nothing yet.
    pub(crate) fn take(&mut self, bytes: Bytes) -> Result<Bytes, FetchError> {
        let max = self.max;
        match &mut self.kind {
            Kind::Identity { taken } => {
                *taken += bytes.len();
                if *taken > max { Err(FetchError::TooLarge { max }) } else { Ok(bytes) }
            }
            Kind::Gzip(gzip) => {
                let written = gzip.write_all(&bytes);
                decoded(written, gzip.get_mut(), max)
            }
            Kind::Zlib(zlib) => {
                let written = zlib.write_all(&bytes);
                decoded(written, zlib.get_mut(), max)
            }
        }
    }

    /// What is left at the end of the body.
    pub(crate) fn finish(&mut self) -> Result<Bytes, FetchError> {
        let max = self.max;
        match &mut self.kind {
            Kind::Identity { .. } => Ok(Bytes::new()),
            Kind::Gzip(gzip) => {
                let finished = gzip.try_finish();
                decoded(finished, gzip.get_mut(), max)
            }
            Kind::Zlib(zlib) => {
                let finished = zlib.try_finish();
                decoded(finished, zlib.get_mut(), max)
            }
        }
    }
}

fn decoded(written: io::Result<()>, bounded: &mut Bounded, max: usize) -> Result<Bytes, FetchError> {
    match written {
        Ok(()) => Ok(Bytes::from(std::mem::take(&mut bounded.out))),
        Err(_) if bounded.is_over => Err(FetchError::TooLarge { max }),
        Err(error) => Err(FetchError::Encoding(error.to_string())),
    }
}
