//! JPEG: its segments up to the end of the image.
//!
//! Why our own reader: dimensions and the number of scans tell what decoding costs, and a scan of a
//! progressive image costs a pass over all blocks whatever its size. What is kept is a list of segments, so
//! a kind of metadata that nobody knows is dropped too.
//! Invariants: kept are JFIF, Adobe's colour transform, tables, frames and scans; nothing else, and nothing
//! behind the end. A segment never reaches beyond the file.

use super::{Inspected, Orientation, Refused, damaged, exif};

/// Scans of a progressive image; encoders make about ten.
const SCANS_MAX: u32 = 32;

/// Read the segments of a JPEG.
pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, Refused> {
    let mut stripped = vec![0xff, 0xd8];
    let mut orientation = None;
    let mut frame: Option<Frame> = None;
    let mut scans = 0;
    let mut at = 2;
    loop {
        if bytes.get(at) != Some(&0xff) {
            return Err(damaged("a segment does not begin with a marker"));
        }
        // A marker may have any number of fill bytes before it.
        while bytes.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        let marker = *bytes.get(at + 1).ok_or_else(|| damaged("it ends before its end marker"))?;
        if marker == 0xd9 {
            break;
        }
        let length = match bytes.get(at + 2..at + 4) {
            Some(&[high, low]) => usize::from(high) << 8 | usize::from(low),
            _ => return Err(damaged("it ends within a segment")),
        };
        let body = (length >= 2).then(|| bytes.get(at + 4..at + 2 + length)).flatten();
        let body = body.ok_or_else(|| damaged("a segment reaches beyond the end"))?;
        let end = at + 2 + length;
        match marker {
            0xe1 if body.starts_with(b"Exif\0\0") => {
                orientation = orientation.or(Some(exif::orientation(body)));
            }
            // JFIF without its thumbnail, and the colour transform of Adobe.
            0xe0 if body.len() >= 12 && body.starts_with(b"JFIF\0") => {
                stripped.extend_from_slice(&[0xff, 0xe0, 0, 16]);
                stripped.extend_from_slice(&body[..12]);
                stripped.extend_from_slice(&[0, 0]);
            }
            0xee if body.len() >= 12 && body.starts_with(b"Adobe") => {
                stripped.extend_from_slice(&[0xff, 0xee, 0, 14]);
                stripped.extend_from_slice(&body[..12]);
            }
            0xc0..=0xc2 => {
                if frame.is_some() {
                    return Err(damaged("it has two frames"));
                }
                frame = Some(Frame::read(marker, body)?);
                stripped.extend_from_slice(&bytes[at..end]);
            }
            0xc4 | 0xdb | 0xdd => stripped.extend_from_slice(&bytes[at..end]),
            0xda => {
                scans += 1;
                if scans > SCANS_MAX {
                    return Err(Refused::TooMuch { what: "scans", got: scans.into(), max: SCANS_MAX.into() });
                }
                let end = end_of_scan(bytes, end);
                stripped.extend_from_slice(&bytes[at..end]);
                at = end;
                continue;
            }
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Err(Refused::Unsupported("its JPEG is lossless, hierarchical or arithmetic"));
            }
            0xcc | 0xd0..=0xd8 | 0x00..=0x01 => return Err(damaged("a marker is not at its place")),
            // Everything else is application data, comments and extensions.
            _ => {}
        }
        at = end;
    }
    let frame = frame.ok_or_else(|| damaged("it has no frame"))?;
    if scans == 0 {
        return Err(damaged("it has no scan"));
    }
    stripped.extend_from_slice(&[0xff, 0xd9]);
    Ok(Inspected {
        width: frame.width,
        height: frame.height,
        frames: 1,
        memory: frame.memory(),
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        stripped,
    })
}

/// Where the data of a scan ends: before the next marker that is no restart and no stuffed byte.
fn end_of_scan(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at + 1 < bytes.len() {
        if bytes[at] == 0xff && !matches!(bytes[at + 1], 0x00 | 0xd0..=0xd7 | 0xff) {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

struct Frame {
    width: u32,
    height: u32,
    is_progressive: bool,
    /// Horizontal and vertical sampling of each component.
    sampling: Vec<(u64, u64)>,
}

impl Frame {
    fn read(marker: u8, body: &[u8]) -> Result<Frame, Refused> {
        let &[depth, h1, h0, w1, w0, count, ref components @ ..] = body else {
            return Err(damaged("its frame is too short"));
        };
        if depth != 8 {
            return Err(Refused::Unsupported("its samples have not eight bits"));
        }
        if !matches!(count, 1 | 3 | 4) || components.len() != 3 * usize::from(count) {
            return Err(damaged("its frame has an odd number of components"));
        }
        let sampling: Vec<_> =
            components.chunks(3).map(|c| (u64::from(c[1] >> 4), u64::from(c[1] & 15))).collect();
        if !sampling.iter().all(|&(h, v)| (1..=4).contains(&h) && (1..=4).contains(&v)) {
            return Err(damaged("its frame has an odd sampling"));
        }
        Ok(Frame {
            width: u32::from(u16::from_be_bytes([w1, w0])),
            height: u32::from(u16::from_be_bytes([h1, h0])),
            is_progressive: marker == 0xc2,
            sampling,
        })
    }

    /// The picture, and the coefficients of a progressive one.
    fn memory(&self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let picture = pixels * if self.sampling.len() == 1 { 1 } else { 3 };
        if !self.is_progressive {
            return picture;
        }
        let most = self.sampling.iter().fold((1, 1), |most, s| (most.0.max(s.0), most.1.max(s.1)));
        let share = |&(h, v): &(u64, u64)| 2 * pixels * h * v / (most.0 * most.1);
        picture + self.sampling.iter().map(share).sum::<u64>()
    }
}
