//! Trials: files and figures for the acceptance of images, shared by tests and the example `acceptance`.
//!
//! Why in the library: an example and a test must judge the same files. Not part of the interface.
//! Invariant: every file is made here, byte by byte, and is small.

/// A file, what it is called, and what of it is too much.
pub type Bomb = (&'static str, Vec<u8>, &'static str);

/// Files that open to more than their size says.
pub fn bombs() -> Vec<Bomb> {
    let png = |width: u32, height: u32, depth: u8, color: u8| {
        let (w, h) = (width.to_be_bytes(), height.to_be_bytes());
        let header = [&w[..], &h, &[depth, color, 0, 0, 0]].concat();
        let parts = [
            b"\x89PNG\r\n\x1a\n".to_vec(),
            png_chunk(*b"IHDR", &header),
            png_chunk(*b"IDAT", b"\x78\x9c"),
            png_chunk(*b"IEND", b""),
        ];
        parts.concat()
    };
    let jpeg = |marker: u8, width: u16, height: u16, scans: usize| {
        let (w, h) = (width.to_be_bytes(), height.to_be_bytes());
        let frame =
            [&[0xff, marker, 0, 17, 8][..], &h, &w, &[3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]].concat();
        let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0, 0x55];
        [&[0xff, 0xd8][..], &frame, &scan.repeat(scans), &[0xff, 0xd9]].concat()
    };
    let gif = |width: u16, height: u16, frames: usize| {
        let (w, h) = (width.to_le_bytes(), height.to_le_bytes());
        let screen = [b"GIF89a", &w[..], &h, &[0x80, 0, 0, 0, 0, 0, 255, 255, 255]].concat();
        let picture = [0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0];
        [&screen[..], &picture.repeat(frames), &[0x3b]].concat()
    };
    let still = |width: u32, height: u32| {
        let bits = (width - 1) | (height - 1) << 14;
        riff_chunk(*b"VP8L", &[&[0x2f][..], &bits.to_le_bytes(), &[0; 8]].concat())
    };
    let vp8x = |flags: u8, width: u32, height: u32| {
        let (w, h) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
        riff_chunk(*b"VP8X", &[flags, 0, 0, 0, w[0], w[1], w[2], h[0], h[1], h[2]])
    };
    let frame = |width: u32, height: u32| {
        let (w, h) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
        let head = [0, 0, 0, 0, 0, 0, w[0], w[1], w[2], h[0], h[1], h[2], 10, 0, 0, 0];
        riff_chunk(*b"ANMF", &[&head[..], &still(width, height)].concat())
    };
    let anim = riff_chunk(*b"ANIM", &[0; 6]);
    vec![
        ("PNG of 30,000 by 30,000", png(30_000, 30_000, 8, 6), "pixels of a side"),
        ("PNG of 8,000 by 8,000", png(8_000, 8_000, 8, 2), "pixels"),
        ("PNG with 16 bits a channel", png(4_000, 3_000, 16, 6), "bytes of memory"),
        ("JPEG of 65,535 by 65,535", jpeg(0xc0, 65_535, 65_535, 1), "pixels of a side"),
        ("JPEG with 1,000 scans", jpeg(0xc2, 1_000, 1_000, 1_000), "scans"),
        ("progressive JPEG of 12 megapixels", jpeg(0xc2, 4_000, 3_000, 1), "bytes of memory"),
        ("GIF of 65,535 by 65,535", gif(65_535, 65_535, 1), "pixels of a side"),
        ("GIF with 100,000 frames", gif(1, 1, 100_000), "frames"),
        ("GIF with 500 frames of 2 megapixels", gif(2_000, 1_000, 500), "pixels of all frames"),
        ("WebP of 16,384 by 16,384", riff(&[still(16_384, 16_384)]), "pixels of a side"),
        (
            "WebP whose canvas is small and picture large",
            riff(&[vp8x(0, 10, 10), still(8_000, 8_000)]),
            "damaged",
        ),
        (
            "WebP with 50,000 frames",
            riff(&[vec![vp8x(2, 1, 1), anim.clone()], vec![frame(1, 1); 50_000]].concat()),
            "frames",
        ),
        (
            "WebP with 400 frames of 1 megapixel",
            riff(&[vec![vp8x(2, 1_000, 1_000), anim], vec![frame(1_000, 1_000); 400]].concat()),
            "pixels of all frames",
        ),
        ("GIF of 6 megapixels, which needs three screens", gif(3_000, 2_000, 2), "bytes of memory"),
    ]
}

/// A small picture of each format that uploads may have.
pub fn pictures() -> Vec<Vec<u8>> {
    use ::image::codecs::{gif::GifEncoder, jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
    let image = ::image::RgbImage::from_fn(9, 7, |x, y| ::image::Rgb([x as u8 * 20, y as u8 * 30, 99]));
    let frame = ::image::Frame::new(::image::DynamicImage::ImageRgb8(image.clone()).into_rgba8());
    let [mut gif, mut jpeg, mut png, mut webp] = [const { Vec::new() }; 4];
    let written = [
        GifEncoder::new(&mut gif).encode_frame(frame),
        JpegEncoder::new(&mut jpeg).encode_image(&image),
        image.write_with_encoder(PngEncoder::new(&mut png)),
        image.write_with_encoder(WebPEncoder::new_lossless(&mut webp)),
    ];
    written.into_iter().for_each(|written| written.expect("memory takes it"));
    vec![gif, jpeg, png, webp]
}

fn png_chunk(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    // No checksum: nothing of a bomb is decoded.
    [&(body.len() as u32).to_be_bytes()[..], &kind, body, &[0; 4]].concat()
}

fn riff_chunk(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len() % 2];
    [&kind[..], &(body.len() as u32).to_le_bytes(), body, &padding].concat()
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [&b"WEBP"[..], &chunks.concat()].concat();
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}
