//! GIF: its blocks up to the trailer.
//!
//! Why our own reader: a file of 100 KB may have 100,000 frames, and comments and XMP are blocks as pictures
//! are. Counting and stripping is one walk over the blocks, and decodes nothing.
//! Invariants: kept are the screen, palettes, pictures, their times and the loop; comments, texts, XMP and
//! every other extension are dropped, and so is what is behind the trailer. A block never reaches beyond
//! the file.

use super::{Inspected, Limits, Orientation, Refused, damaged};

/// Loops: the two names under which the number of repetitions is written.
const LOOPS: [&[u8]; 2] = [b"NETSCAPE2.0", b"ANIMEXTS1.0"];

/// Read the blocks of a GIF. It stops at the limit of frames.
pub(super) fn inspect(bytes: &[u8], limits: &Limits) -> Result<Inspected, Refused> {
    let mut reader = Reader { bytes, at: 6 };
    let screen = reader.take(7)?;
    let (width, height) = (u16_at(screen, 0), u16_at(screen, 2));
    reader.palette(screen[4])?;
    let mut stripped = bytes[..reader.at].to_vec();
    let mut frames = 0;
    // The block that says how the next picture is shown, kept when the picture is.
    let mut control: Option<&[u8]> = None;
    loop {
        let begin = reader.at;
        match reader.take(1)?[0] {
            0x21 => {
                let label = reader.take(1)?[0];
                let first = reader.at;
                reader.sub_blocks()?;
                let block = &bytes[begin..reader.at];
                match label {
                    0xf9 if bytes[first] == 4 => control = Some(block),
                    0xff if LOOPS.iter().any(|name| bytes[first + 1..].starts_with(name))
                        && block.len() == 19 =>
                    {
                        stripped.extend_from_slice(block);
                    }
                    _ => {}
                }
            }
            0x2c => {
                frames += 1;
                if frames > limits.frames {
                    return Err(Refused::TooMuch {
                        what: "frames",
                        got: frames.into(),
                        max: limits.frames.into(),
                    });
                }
                let place = reader.take(9)?;
                let (right, bottom) =
                    (u16_at(place, 0) + u16_at(place, 4), u16_at(place, 2) + u16_at(place, 6));
                if right > width || bottom > height {
                    return Err(damaged("a picture reaches beyond the screen"));
                }
                reader.palette(place[8])?;
                reader.take(1)?;
                reader.sub_blocks()?;
                stripped.extend_from_slice(control.take().unwrap_or_default());
                stripped.extend_from_slice(&bytes[begin..reader.at]);
            }
            0x3b => break,
            _ => return Err(damaged("a block is of no known kind")),
        }
    }
    stripped.push(0x3b);
    let pixels = u64::from(width) * u64::from(height);
    // The screen, the picture that is drawn onto it, and the one that is given out.
    Ok(Inspected {
        width,
        height,
        frames,
        memory: 12 * pixels,
        orientation: Orientation::NoTransforms,
        stripped,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Refused> {
        let taken = self.bytes.get(self.at..self.at + count);
        self.at += count;
        taken.ok_or_else(|| damaged("it ends before its trailer"))
    }

    /// The palette that these flags announce.
    fn palette(&mut self, flags: u8) -> Result<(), Refused> {
        if flags & 0x80 != 0 {
            self.take(3 << ((flags & 7) + 1))?;
        }
        Ok(())
    }

    /// Blocks of up to 255 bytes, up to an empty one.
    fn sub_blocks(&mut self) -> Result<(), Refused> {
        loop {
            let length = self.take(1)?[0];
            if length == 0 {
                return Ok(());
            }
            self.take(usize::from(length))?;
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}
