//! What the fuzz targets of pages and pictures do with their input.
//!
//! Why apart from `bodies.rs`: the protocol knows neither. `fuzz_targets` runs this under libFuzzer,
//! `edge/media` in every test run.
//! Not here: where inputs come from.

use grandstand_media::image::{Limits, clean};
use grandstand_media::links::read_page;

/// Any bytes as a page: texts are lines, and there is no panic.
pub(crate) fn page(data: &[u8]) {
    let (kind, page) = data.split_at(data.len().min(1));
    let content_type = ["text/html", "text/html; charset=shift_jis", "text/html; charset=utf-16le"];
    let content_type = content_type[usize::from(kind.first().copied().unwrap_or(0)) % content_type.len()];
    let preview = read_page(page, content_type, "https://show.example.org/");
    for text in [preview.title, preview.description, preview.site, preview.author].into_iter().flatten() {
        assert!(!text.is_empty() && text.trim() == text && !text.chars().any(char::is_control));
    }
}

/// Any bytes as a picture: refused, or a file that is taken again and does not change.
pub(crate) fn picture(data: &[u8]) {
    let limits = Limits { pixels: 100_000, pixels_total: 500_000, frames: 20, ..Limits::default() };
    let Ok(cleaned) = clean(data, &limits) else { return };
    let again = clean(&cleaned.bytes, &limits).expect("what is kept is taken again");
    assert_eq!(again.bytes, cleaned.bytes);
    assert_eq!((again.width, again.height, again.frames), (cleaned.width, cleaned.height, cleaned.frames));
}
