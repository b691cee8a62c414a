//! PNG: its chunks up to the end of the image.
//!
//! Why a list of what is kept: a text chunk, a profile or Exif may hold anything, and so may a chunk that
//! will be invented.
//! Invariants: kept are the header, palette, transparency, gamma and pixels. The chunks of an animation are
//! dropped: what is kept is the still picture that every reader shows. Nothing behind IEND is kept.

use super::{Inspected, Orientation, Refused, damaged, exif};

const SIGNATURE: usize = 8;

/// Read the chunks of a PNG.
pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, Refused> {
    let mut stripped = bytes[..SIGNATURE].to_vec();
    let mut header: Option<Header> = None;
    let mut orientation = None;
    let mut has_pixels = false;
    let mut rest = &bytes[SIGNATURE..];
    loop {
        let Some((&[a, b, c, d, ref kind @ ..], after)) = rest.split_first_chunk::<8>() else {
            return Err(damaged("it ends before its last chunk"));
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // The body, and its checksum, which the decoder compares.
        let whole = length.checked_add(4).and_then(|length| after.get(..length));
        let body = whole.ok_or_else(|| damaged("a chunk reaches beyond the end"))?;
        let chunk = &rest[..8 + body.len()];
        rest = &after[body.len()..];
        let body = &body[..length];
        if header.is_none() && kind != b"IHDR" {
            return Err(damaged("its first chunk is not the header"));
        }
        match kind {
            b"IHDR" if header.is_none() => header = Some(Header::read(body)?),
            b"IHDR" => return Err(damaged("it has two headers")),
            b"eXIf" => orientation = orientation.or(Some(exif::orientation(body))),
            b"IDAT" => has_pixels = true,
            b"PLTE" | b"tRNS" | b"gAMA" | b"sRGB" | b"IEND" => {}
            // A chunk without which a reader cannot show the picture, and which is not known.
            [first, ..] if first.is_ascii_uppercase() => {
                return Err(damaged("a critical chunk is not known"));
            }
            _ => continue,
        }
        if kind != b"eXIf" {
            stripped.extend_from_slice(chunk);
        }
        if kind == b"IEND" {
            break;
        }
    }
    let header = header.ok_or_else(|| damaged("it has no header"))?;
    if !has_pixels {
        return Err(damaged("it has no pixels"));
    }
    Ok(Inspected {
        width: header.width,
        height: header.height,
        frames: 1,
        memory: u64::from(header.width) * u64::from(header.height) * header.bytes_per_pixel,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        stripped,
    })
}

struct Header {
    width: u32,
    height: u32,
    bytes_per_pixel: u64,
}

impl Header {
    fn read(body: &[u8]) -> Result<Header, Refused> {
        let Some((&[w3, w2, w1, w0, h3, h2, h1, h0, depth, color], _)) = body.split_first_chunk::<10>()
        else {
            return Err(damaged("its header is too short"));
        };
        let channels = match color {
            0 => 1,
            2 => 3,
            // A palette with transparency opens to four.
            3 | 6 => 4,
            4 => 2,
            _ => return Err(damaged("its header names no colour type")),
        };
        Ok(Header {
            width: u32::from_be_bytes([w3, w2, w1, w0]),
            height: u32::from_be_bytes([h3, h2, h1, h0]),
            bytes_per_pixel: channels * if depth == 16 { 2 } else { 1 },
        })
    }
}
