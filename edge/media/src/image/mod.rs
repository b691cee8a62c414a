//! Images: what an upload really is, and the same picture without anything else.
//!
//! Why both: a file may be no picture, or a small file that opens to a huge one; and a photograph says where
//! it was taken. So the container is read first, by our own code, which finds sizes before anything is
//! decoded; then every frame is decoded; then what is kept is written.
//! Invariants: what comes out has pixels, a palette, transparency, times of frames and a loop, and no other
//! data: no place, camera, comment, profile, or bytes behind the end. The orientation is in the pixels. What
//! is over a limit is refused with the limit before it takes memory or time.
//! Not here: threads and queues (`workers`), where images are kept (`store`).

mod exif;
mod gif;
mod jpeg;
mod pixels;
mod png;
mod webp;

use std::fmt;

pub use ::image::metadata::Orientation;

/// A format that uploads may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// GIF, still or animated.
    Gif,
    /// JPEG.
    Jpeg,
    /// PNG, still.
    Png,
    /// WebP, still or animated.
    Webp,
}

/// Limits of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Width, and height.
    pub side: u32,
    /// Pixels of one frame.
    pub pixels: u64,
    /// Frames.
    pub frames: u32,
    /// Pixels of all frames together.
    pub pixels_total: u64,
    /// Bytes that decoding may hold, as far as they can be told beforehand.
    pub memory: u64,
    /// Longer side of the thumbnail.
    pub thumbnail: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 8 << 20,
            side: 8_192,
            pixels: 12_500_000,
            frames: 500,
            pixels_total: 100_000_000,
            memory: 56 << 20,
            thumbnail: 400,
        }
    }
}

/// Why an image is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// None of the four formats.
    UnknownFormat,
    /// The file is damaged, or no such image at all.
    Damaged(String),
    /// Something is over its limit: what, how much, and the limit.
    TooMuch {
        /// What is over: "bytes", "pixels".
        what: &'static str,
        /// How much it is.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A form that cannot be written without loss of what is seen.
    Unsupported(&'static str),
}

/// An image that was checked and stripped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// The format of `bytes`, which may be another than that of the upload.
    pub format: Format,
    /// The file that is kept.
    pub bytes: Vec<u8>,
    /// Width in pixels, after the orientation.
    pub width: u32,
    /// Height in pixels, after the orientation.
    pub height: u32,
    /// Frames.
    pub frames: u32,
    /// A small picture of the first frame, and its format.
    pub thumbnail: (Format, Vec<u8>),
}

/// What a container says of its image, before a pixel is decoded.
struct Inspected {
    width: u32,
    height: u32,
    frames: u32,
    /// Bytes that decoding holds at a time.
    memory: u64,
    orientation: Orientation,
    /// The file without what is not needed.
    stripped: Vec<u8>,
}

impl Format {
    /// The format of a file, by its first bytes. What a client calls it is not asked.
    pub fn of(bytes: &[u8]) -> Option<Format> {
        match bytes {
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            [0x89, b'P', b'N', b'G', 13, 10, 26, 10, ..] => Some(Format::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::Webp),
            _ => None,
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Gif => "image/gif",
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
            Format::Webp => "image/webp",
        }
    }

    /// The format with this media type.
    pub fn of_media_type(media_type: &str) -> Option<Format> {
        [Format::Gif, Format::Jpeg, Format::Png, Format::Webp]
            .into_iter()
            .find(|f| f.media_type() == media_type)
    }
}

/// Check an upload, and write what is kept of it.
///
/// # Errors
/// See [`Refused`].
pub fn clean(bytes: &[u8], limits: &Limits) -> Result<Cleaned, Refused> {
    let most =
        |what, got: u64, max: u64| if got > max { Err(Refused::TooMuch { what, got, max }) } else { Ok(()) };
    most("bytes", bytes.len() as u64, limits.bytes as u64)?;
    let format = Format::of(bytes).ok_or(Refused::UnknownFormat)?;
    let found = match format {
        Format::Gif => gif::inspect(bytes, limits)?,
        Format::Jpeg => jpeg::inspect(bytes)?,
        Format::Png => png::inspect(bytes)?,
        Format::Webp => webp::inspect(bytes)?,
    };
    if found.width == 0 || found.height == 0 || found.frames == 0 {
        return Err(Refused::Damaged("it has no pixels".to_owned()));
    }
    let pixels = u64::from(found.width) * u64::from(found.height);
    most("pixels of a side", u64::from(found.width.max(found.height)), u64::from(limits.side))?;
    most("pixels", pixels, limits.pixels)?;
    most("frames", u64::from(found.frames), u64::from(limits.frames))?;
    most("pixels of all frames", pixels * u64::from(found.frames), limits.pixels_total)?;
    most("bytes of memory", found.memory, limits.memory)?;
    pixels::finish(format, found, limits)
}

/// Fuzzing: read the container of whatever format the bytes begin with, without decoding a pixel.
#[cfg(fuzzing)]
pub fn inspect_only(bytes: &[u8]) {
    let _ = match Format::of(bytes) {
        Some(Format::Gif) => gif::inspect(bytes, &Limits::default()),
        Some(Format::Jpeg) => jpeg::inspect(bytes),
        Some(Format::Png) => png::inspect(bytes),
        Some(Format::Webp) => webp::inspect(bytes),
        None => return,
    };
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::UnknownFormat => f.write_str("the file is no GIF, JPEG, PNG or WebP"),
            Refused::Damaged(how) => write!(f, "the image is damaged: {how}"),
            Refused::TooMuch { what, got, max } => {
                write!(f, "the image has {got} {what}, and at most {max} are taken")
            }
            Refused::Unsupported(what) => write!(f, "the image cannot be taken: {what}"),
        }
    }
}

impl std::error::Error for Refused {}

fn damaged(how: &str) -> Refused {
    Refused::Damaged(how.to_owned())
}

#[cfg(test)]
pub(crate) mod tests;
