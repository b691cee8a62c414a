//! WebP: the chunks of its RIFF container.
//!
//! Why our own reader: the frames of an animation are counted before they are decoded, and the flags of the
//! header must agree with the chunks that are left.
//! Invariants: kept are the header, pixels, transparency and the animation; Exif, XMP, the profile and every
//! other chunk are dropped, also within a frame. Nothing behind the container is kept.

use super::{Inspected, Orientation, Refused, damaged, exif};

/// Flags of VP8X that stay: animation and transparency.
const FLAGS_KEPT: u8 = 0b0001_0010;

/// Read the chunks of a WebP.
pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, Refused> {
    let declared = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    let end = declared.checked_add(8).filter(|&end| end <= bytes.len() && end >= 12);
    let mut rest = &bytes[12..end.ok_or_else(|| damaged("its container reaches beyond the end"))?];
    let mut stripped = b"RIFF\0\0\0\0WEBP".to_vec();
    let mut found = Found::default();
    while let Some((kind, body, after)) = chunk(rest)? {
        rest = after;
        match &kind {
            b"VP8X" => {
                let Some((&[flags, _, _, _, w0, w1, w2, h0, h1, h2], _)) = body.split_first_chunk::<10>()
                else {
                    return Err(damaged("its header is too short"));
                };
                found.canvas = Some((1 + u24(w0, w1, w2), 1 + u24(h0, h1, h2)));
                let mut kept = body[..10].to_vec();
                kept[0] = flags & FLAGS_KEPT;
                push(&mut stripped, kind, &kept);
            }
            b"VP8 " | b"VP8L" => {
                found.stills += 1;
                found.picture = Some(picture(kind, body)?);
                push(&mut stripped, kind, body);
            }
            b"ALPH" | b"ANIM" => push(&mut stripped, kind, body),
            b"ANMF" => {
                found.frames += 1;
                push(&mut stripped, kind, &frame(body)?);
            }
            b"EXIF" => found.orientation = found.orientation.or(Some(exif::orientation(body))),
            _ => {}
        }
    }
    if found.stills > 1 || (found.stills == 1 && found.frames > 0) {
        return Err(damaged("it is a still picture and an animation, or two pictures"));
    }
    let riff = (stripped.len() - 8) as u32;
    stripped[4..8].copy_from_slice(&riff.to_le_bytes());
    let (width, height) = match (found.canvas, found.picture) {
        (Some(canvas), Some(picture)) if canvas != picture => return Err(damaged("its sizes disagree")),
        (Some(size), _) | (None, Some(size)) => size,
        (None, None) => return Err(damaged("it has no picture")),
    };
    let pixels = u64::from(width) * u64::from(height);
    Ok(Inspected {
        width,
        height,
        frames: if found.frames > 0 { found.frames } else { found.stills },
        // An animation has its canvas and the frame that is drawn onto it.
        memory: pixels * if found.frames > 0 { 8 } else { 4 },
        orientation: found.orientation.unwrap_or(Orientation::NoTransforms),
        stripped,
    })
}

#[derive(Default)]
struct Found {
    canvas: Option<(u32, u32)>,
    picture: Option<(u32, u32)>,
    stills: u32,
    frames: u32,
    orientation: Option<Orientation>,
}

type Chunk<'a> = ([u8; 4], &'a [u8], &'a [u8]);

/// The first chunk, and what is behind it. A body of odd length has a byte of padding.
fn chunk(bytes: &[u8]) -> Result<Option<Chunk<'_>>, Refused> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let Some((&[a, b, c, d, l0, l1, l2, l3], after)) = bytes.split_first_chunk::<8>() else {
        return Err(damaged("it ends within a chunk"));
    };
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let body = after.get(..length).ok_or_else(|| damaged("a chunk reaches beyond the end"))?;
    let padded = length.checked_add(length % 2).and_then(|length| after.get(length..));
    Ok(Some(([a, b, c, d], body, padded.unwrap_or_default())))
}

/// A frame of an animation, with its pixels and transparency alone.
fn frame(body: &[u8]) -> Result<Vec<u8>, Refused> {
    let (head, mut rest) = body.split_at_checked(16).ok_or_else(|| damaged("a frame is too short"))?;
    let mut kept = head.to_vec();
    let size = (1 + u24(head[6], head[7], head[8]), 1 + u24(head[9], head[10], head[11]));
    let mut pictures = 0;
    while let Some((kind, body, after)) = chunk(rest)? {
        rest = after;
        if matches!(&kind, b"VP8 " | b"VP8L") {
            pictures += 1;
            if picture(kind, body)? != size {
                return Err(damaged("the sizes of a frame disagree"));
            }
        }
        if matches!(&kind, b"VP8 " | b"VP8L" | b"ALPH") {
            push(&mut kept, kind, body);
        }
    }
    if pictures == 1 { Ok(kept) } else { Err(damaged("a frame has no picture, or two")) }
}

/// The size that the bits of a picture say.
fn picture(kind: [u8; 4], body: &[u8]) -> Result<(u32, u32), Refused> {
    match (&kind, body) {
        (b"VP8 ", &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Ok((side(w0, w1), side(h0, h1)))
        }
        (b"VP8L", &[0x2f, a, b, c, d, ..]) => {
            let bits = u32::from_le_bytes([a, b, c, d]);
            Ok((1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)))
        }
        _ => Err(damaged("its picture does not begin as one")),
    }
}

fn push(to: &mut Vec<u8>, kind: [u8; 4], body: &[u8]) {
    to.extend_from_slice(&kind);
    to.extend_from_slice(&(body.len() as u32).to_le_bytes());
    to.extend_from_slice(body);
    if body.len() % 2 == 1 {
        to.push(0);
    }
}

fn u24(a: u8, b: u8, c: u8) -> u32 {
    u32::from_le_bytes([a, b, c, 0])
}
