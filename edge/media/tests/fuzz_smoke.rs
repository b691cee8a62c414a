//! The smoke of the fuzz targets `page` and `picture`: the same bodies as under libFuzzer, on seeds and
//! mutations of them.
//!
//! Why: a target that nobody runs rots.

#[path = "../../../protocol/fuzz/media.rs"]
mod body;
#[path = "../../../protocol/fuzz/smoke.rs"]
mod smoke;

use grandstand_media::trial::{bombs, pictures};

#[test]
fn page() {
    let seeds = [
        "a<!doctype html><title>A &amp; b</title><meta property='og:title' content='&#x202e;t'>",
        "b<script>'<title>'</script><svg><title>x</title></svg><meta name=description content=d>",
        "c<!-- <title> --><meta charset=utf-8><meta property=og:image content=/i.png>",
    ];
    smoke::smoke(body::page, &seeds.map(|seed| seed.as_bytes().to_vec()), 4_000);
}

#[test]
fn picture() {
    let mut seeds = pictures();
    seeds.extend(bombs().into_iter().map(|(_, bytes, _)| bytes).filter(|bytes| bytes.len() < 4_096));
    smoke::smoke(body::picture, &seeds, 4_000);
}
