//! Samples: small images of each format with everything in them that must not be kept.
//!
//! Why written by hand: encoders do not write a place, and a test must know that it was there.

use ::image::codecs::gif::{GifEncoder, Repeat};
use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::png::PngEncoder;
use ::image::codecs::webp::WebPEncoder;
use ::image::{Delay, Frame, Rgb, RgbImage};

use crate::image::Format;

pub(crate) const ALL: [Format; 4] = [Format::Gif, Format::Jpeg, Format::Png, Format::Webp];

/// Stands in each sample where a place is.
pub(crate) const PLACE: &[u8] = b"51.5007N 0.1246W";

/// A picture with a dark upper left corner.
pub(crate) fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        if x < width / 3 && y < height / 2 {
            Rgb([10, 20, 30])
        } else {
            Rgb([200, 180, (y * 200 / height) as u8])
        }
    })
}

pub(crate) fn encoded(image: &RgbImage, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    match format {
        Format::Gif => {
            let frame = Frame::new(::image::DynamicImage::ImageRgb8(image.clone()).into_rgba8());
            GifEncoder::new(&mut bytes).encode_frame(frame).unwrap();
        }
        Format::Jpeg => JpegEncoder::new_with_quality(&mut bytes, 95).encode_image(image).unwrap(),
        Format::Png => image.write_with_encoder(PngEncoder::new(&mut bytes)).unwrap(),
        Format::Webp => image.write_with_encoder(WebPEncoder::new_lossless(&mut bytes)).unwrap(),
    }
    bytes
}

/// Exif with an orientation and a GPS block.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x02\0".to_vec();
    // Orientation (0x0112, SHORT, 1), and the place of the GPS block (0x8825, LONG, 1).
    exif.extend_from_slice(&[0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    exif.extend_from_slice(&[0x25, 0x88, 4, 0, 1, 0, 0, 0, 38, 0, 0, 0]);
    exif.extend_from_slice(&[0, 0, 0, 0]);
    exif.extend_from_slice(&[1, 0, 2, 0, 2, 0, PLACE.len() as u8, 0, 0, 0, 56, 0, 0, 0, 0, 0, 0, 0]);
    exif.extend_from_slice(PLACE);
    exif
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff, marker][..], &((body.len() + 2) as u16).to_be_bytes(), body].concat()
}

pub(crate) fn png_chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let checked = [&kind[..], body].concat();
    [&(body.len() as u32).to_be_bytes()[..], &checked, &crc32(&checked).to_be_bytes()].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

pub(crate) fn riff_chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len() % 2];
    [&kind[..], &(body.len() as u32).to_le_bytes(), body, &padding].concat()
}

pub(crate) fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [&b"WEBP"[..], &chunks.concat()].concat();
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

/// VP8X with these flags and this canvas.
pub(crate) fn vp8x(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let (w, h) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
    riff_chunk(b"VP8X", &[flags, 0, 0, 0, w[0], w[1], w[2], h[0], h[1], h[2]])
}

/// An application extension of GIF.
fn gif_extension(label: u8, name: &[u8], body: &[u8]) -> Vec<u8> {
    let mut block = vec![0x21, label];
    if !name.is_empty() {
        block.push(name.len() as u8);
        block.extend_from_slice(name);
    }
    for part in body.chunks(255) {
        block.push(part.len() as u8);
        block.extend_from_slice(part);
    }
    block.push(0);
    block
}

/// A picture of 60 by 40 with a place, XMP, a profile and a comment in it.
pub(crate) fn sample(format: Format, orientation: u8) -> Vec<u8> {
    let plain = encoded(&picture(60, 40), format);
    let xmp = [b"xmp <GPS>", PLACE].concat();
    match format {
        Format::Jpeg => {
            let exif = segment(0xe1, &[b"Exif\0\0", &exif(orientation)[..]].concat());
            let xmp = segment(0xe1, &[b"http://ns.adobe.com/xap/1.0/\0", &xmp[..]].concat());
            let profile = segment(0xe2, b"ICC_PROFILE\0\x01\x01profile");
            let parts = [&plain[..2], &exif, &xmp, &profile, &segment(0xfe, b"comment"), &plain[2..]];
            parts.concat()
        }
        Format::Png => {
            let end = plain.len() - 12;
            let parts = [
                &plain[..33],
                &png_chunk(b"eXIf", &exif(orientation)),
                &png_chunk(b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", &xmp[..]].concat()),
                &png_chunk(b"tEXt", b"comment\0comment"),
                &plain[33..end],
                &png_chunk(b"tIME", &[7, 234, 1, 1, 1, 1, 1]),
                &plain[end..],
            ];
            parts.concat()
        }
        Format::Webp => riff(&[
            vp8x(0b0010_1100, 60, 40),
            riff_chunk(b"ICCP", b"profile"),
            plain[12..].to_vec(),
            riff_chunk(b"EXIF", &exif(orientation)),
            riff_chunk(b"XMP ", &xmp),
            riff_chunk(b"zzzz", b"comment"),
        ]),
        Format::Gif => {
            let end = plain.len() - 1;
            let first = 13 + if plain[10] & 0x80 == 0 { 0 } else { 3 << ((plain[10] & 7) + 1) };
            let parts = [
                &plain[..first],
                &gif_extension(0xff, b"XMP DataXMP", &xmp),
                &gif_extension(0xfe, b"", b"comment"),
                &plain[first..end],
                &gif_extension(0xfe, b"", PLACE),
                &plain[end..],
            ];
            parts.concat()
        }
    }
}

pub(crate) fn animated_gif(frames: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    for n in 0..frames {
        let image = RgbImage::from_pixel(20, 10, Rgb([(n * 30) as u8, 0, 0]));
        let image = ::image::DynamicImage::ImageRgb8(image).into_rgba8();
        let frame = Frame::from_parts(image, 0, 0, Delay::from_numer_denom_ms(100, 1));
        encoder.encode_frame(frame).unwrap();
    }
    drop(encoder);
    bytes
}

pub(crate) fn animated_webp(frames: u32) -> Vec<u8> {
    let mut chunks = vec![vp8x(0b10, 20, 10), riff_chunk(b"ANIM", &[0; 6])];
    for n in 0..frames {
        let image = RgbImage::from_pixel(20, 10, Rgb([(n * 30) as u8, 0, 0]));
        let still = encoded(&image, Format::Webp);
        let head = [0, 0, 0, 0, 0, 0, 19, 0, 0, 9, 0, 0, 100, 0, 0, 0];
        chunks.push(riff_chunk(b"ANMF", &[&head[..], &still[12..]].concat()));
    }
    riff(&chunks)
}
