//! Exif: the one thing of it that is used, the orientation.
//!
//! Why not a library: one tag of sixteen bits decides which way is up; everything else is dropped unread.
//! Invariant: whatever the bytes are, there is an answer, and without a valid tag it is "as it is".

use super::Orientation;

/// The orientation that an Exif block (without the `Exif\0\0` before it) asks for.
pub(super) fn orientation(exif: &[u8]) -> Orientation {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms)
}
