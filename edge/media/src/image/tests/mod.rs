//! Tests of images: what is stripped, what is refused, and that no bytes make it panic.
//!
//! Why files made here: each has in it what must not come out, at a place that is known.

mod bombs;
pub(crate) mod samples;

use ::image::{DynamicImage, GenericImageView};
use proptest::prelude::*;

use super::{Cleaned, Format, Limits, Refused, clean};
use samples::{ALL, PLACE, sample};

fn decoded(cleaned: &Cleaned) -> DynamicImage {
    ::image::load_from_memory(&cleaned.bytes).unwrap()
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn no_format_keeps_a_place_a_comment_or_bytes_behind_its_end() {
    for format in ALL {
        let bytes = [sample(format, 1), b"<script>behind the end</script>".to_vec()].concat();
        assert!(holds(&bytes, PLACE), "{format:?}: the sample has a place");
        let cleaned = clean(&bytes, &Limits::default()).unwrap();
        for left in [PLACE, b"Exif", b"xmp", b"comment", b"profile", b"behind the end"] {
            let left_text = String::from_utf8_lossy(left);
            assert!(!holds(&cleaned.bytes, left), "{format:?}: {left_text} is left");
            assert!(!holds(&cleaned.thumbnail.1, left), "{format:?}: {left_text} is left in the thumbnail");
        }
        assert_eq!(cleaned.format, format);
        assert_eq!(Format::of(&cleaned.bytes), Some(format));
        // What is kept is taken again, and does not change.
        let again = clean(&cleaned.bytes, &Limits::default()).unwrap();
        assert_eq!(again.bytes, cleaned.bytes, "{format:?}");
        let (before, after) = (::image::load_from_memory(&bytes).unwrap(), decoded(&cleaned));
        assert_eq!(before.to_rgba8(), after.to_rgba8(), "{format:?}: the pixels are the same");
    }
}

#[test]
fn an_orientation_is_in_the_pixels_and_no_longer_in_the_file() {
    for format in ALL.into_iter().filter(|&format| format != Format::Gif) {
        for exif in 1..=8 {
            let mut expected = decoded(&clean(&sample(format, 1), &Limits::default()).unwrap());
            expected.apply_orientation(super::Orientation::from_exif(exif).unwrap());
            let cleaned = clean(&sample(format, exif), &Limits::default()).unwrap();
            let image = decoded(&cleaned);
            assert_eq!(image.dimensions(), expected.dimensions(), "{format:?} {exif}");
            assert_eq!((cleaned.width, cleaned.height), expected.dimensions(), "{format:?} {exif}");
            assert!(!holds(&cleaned.bytes, PLACE), "{format:?} {exif}");
            // JPEG loses a little.
            let near = |a: u8, b: u8| a.abs_diff(b) < 24;
            let pairs = image.pixels().zip(expected.pixels());
            let far = pairs.filter(|(a, b)| (0..3).any(|c| !near(a.2[c], b.2[c]))).count();
            assert!(
                far * 20 < (image.width() * image.height()) as usize,
                "{format:?} {exif}: {far} pixels differ"
            );
        }
    }
}

#[test]
fn animations_keep_their_frames_times_and_loop_and_thumbnails_are_small() {
    for (bytes, format) in
        [(samples::animated_gif(7), Format::Gif), (samples::animated_webp(7), Format::Webp)]
    {
        let cleaned = clean(&bytes, &Limits::default()).unwrap();
        assert_eq!((cleaned.format, cleaned.frames), (format, 7));
        if format == Format::Gif {
            assert!(holds(&cleaned.bytes, b"NETSCAPE2.0"));
            assert_eq!(cleaned.bytes.windows(3).filter(|w| *w == [0x21, 0xf9, 4]).count(), 7);
        }
    }
    let large = samples::encoded(&samples::picture(1_600, 900), Format::Jpeg);
    let cleaned = clean(&large, &Limits::default()).unwrap();
    let small = ::image::load_from_memory(&cleaned.thumbnail.1).unwrap();
    assert_eq!(small.dimensions(), (400, 225));
}

#[test]
fn what_is_no_image_or_is_cut_anywhere_is_refused() {
    for bytes in [&b""[..], b"GIF", b"<html>", b"\xff\xd8", b"%PDF-1.7", b"RIFF\0\0\0\0WAVE", b"BM123456"] {
        assert!(matches!(clean(bytes, &Limits::default()), Err(Refused::UnknownFormat)), "{bytes:?}");
    }
    for format in ALL {
        let whole = sample(format, 1);
        for at in (Format::of(&whole).map_or(0, |_| 12)..whole.len()).step_by(7) {
            // A GIF or a JPEG that is cut behind its last block may still be read; then it is whole.
            if let Ok(cleaned) = clean(&whole[..at], &Limits::default()) {
                assert!(clean(&cleaned.bytes, &Limits::default()).is_ok(), "{format:?} cut at {at}");
            }
        }
        assert!(clean(&whole[..whole.len() / 2], &Limits::default()).is_err(), "{format:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_file_panics_and_what_is_taken_has_no_place(
        which in 0..4usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = sample(ALL[which], 6);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(cleaned) = clean(&bytes, &Limits::default()) {
            prop_assert!(!holds(&cleaned.bytes, PLACE));
        }
    }
}
