//! Pixels: every frame is decoded, the orientation is applied, and the thumbnail is made.
//!
//! Why decode what is kept as it is: what does not decode here may do anything in a viewer's decoder.
//! Invariants: the decoders see the stripped file, so what is served is what was checked. A picture that
//! lies on its side is turned while it is written, without a second copy in memory.

use std::io::Cursor;

use ::image::codecs::gif::GifDecoder;
use ::image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use ::image::codecs::png::{PngDecoder, PngEncoder};
use ::image::codecs::webp::{WebPDecoder, WebPEncoder};
use ::image::{
    AnimationDecoder, DynamicImage, GenericImageView, ImageDecoder, ImageResult, Pixel, RgbImage, RgbaImage,
    imageops,
};

use super::{Cleaned, Format, Inspected, Limits, Orientation, Refused};

/// Quality of a JPEG that had to be written anew, and of thumbnails.
const QUALITY: u8 = 88;
const QUALITY_OF_THUMBNAILS: u8 = 80;

/// Decode what was inspected, and write what is kept.
pub(super) fn finish(format: Format, found: Inspected, limits: &Limits) -> Result<Cleaned, Refused> {
    let damaged = |error: ::image::ImageError| Refused::Damaged(error.to_string());
    let decoded = decode(format, &found, limits).map_err(damaged)?;
    let (format, bytes) = match (found.orientation, format) {
        (Orientation::NoTransforms, _) => (format, found.stripped),
        (_, Format::Gif | Format::Webp) if found.frames > 1 => {
            return Err(Refused::Unsupported(
                "it is an animation that must be turned: turn it and send it again",
            ));
        }
        (orientation, _) => written(&decoded, orientation, format).map_err(damaged)?,
    };
    let turned = Turned { image: &decoded, orientation: found.orientation };
    let (width, height) = turned.dimensions();
    let thumbnail = thumbnail(&decoded, found.orientation, limits.thumbnail).map_err(damaged)?;
    Ok(Cleaned { format, bytes, width, height, frames: found.frames, thumbnail })
}

/// Decode all frames, and give the first one.
fn decode(format: Format, found: &Inspected, limits: &Limits) -> ImageResult<DynamicImage> {
    let mut bounds = ::image::Limits::no_limits();
    bounds.max_image_width = Some(limits.side);
    bounds.max_image_height = Some(limits.side);
    bounds.max_alloc = Some(limits.memory);
    let reader = Cursor::new(found.stripped.as_slice());
    match format {
        Format::Jpeg => still(JpegDecoder::new(reader)?, bounds),
        Format::Png => still(PngDecoder::new(reader)?, bounds),
        Format::Webp => {
            let decoder = WebPDecoder::new(reader)?;
            if decoder.has_animation() { first(decoder, bounds) } else { still(decoder, bounds) }
        }
        Format::Gif => first(GifDecoder::new(reader)?, bounds),
    }
}

fn still(mut decoder: impl ImageDecoder, bounds: ::image::Limits) -> ImageResult<DynamicImage> {
    decoder.set_limits(bounds)?;
    DynamicImage::from_decoder(decoder)
}

fn first<'a>(
    mut decoder: impl AnimationDecoder<'a> + ImageDecoder,
    bounds: ::image::Limits,
) -> ImageResult<DynamicImage> {
    decoder.set_limits(bounds)?;
    let mut first = None;
    for frame in decoder.into_frames() {
        let frame = frame?;
        first.get_or_insert_with(|| frame.into_buffer());
    }
    let first = first
        .ok_or_else(|| ::image::ImageError::IoError(std::io::Error::other("the animation has no frame")))?;
    Ok(DynamicImage::ImageRgba8(first))
}

/// The picture anew, the right way up. Opaque WebP becomes JPEG: lossless WebP of a photograph is large.
fn written(image: &DynamicImage, orientation: Orientation, format: Format) -> ImageResult<(Format, Vec<u8>)> {
    let mut bytes = Vec::new();
    if format == Format::Jpeg || (format == Format::Webp && !has_transparency(image)) {
        let turned = Turned { image, orientation };
        JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&Opaque(turned))?;
        return Ok((Format::Jpeg, bytes));
    }
    let mut turned = image.clone();
    turned.apply_orientation(orientation);
    match format {
        Format::Webp => turned.to_rgba8().write_with_encoder(WebPEncoder::new_lossless(&mut bytes))?,
        _ => turned.write_with_encoder(PngEncoder::new(&mut bytes))?,
    }
    Ok((format, bytes))
}

/// A small picture: JPEG, or WebP where something shows through.
fn thumbnail(image: &DynamicImage, orientation: Orientation, side: u32) -> ImageResult<(Format, Vec<u8>)> {
    let turned = Turned { image, orientation };
    let (width, height) = turned.dimensions();
    let scale = |length: u32| {
        let longer = u64::from(width.max(height));
        if longer <= u64::from(side) {
            length
        } else {
            (u64::from(length) * u64::from(side) / longer).max(1) as u32
        }
    };
    let small: RgbaImage = imageops::thumbnail(&turned, scale(width), scale(height));
    let mut bytes = Vec::new();
    if small.pixels().any(|pixel| pixel[3] != u8::MAX) {
        small.write_with_encoder(WebPEncoder::new_lossless(&mut bytes))?;
        return Ok((Format::Webp, bytes));
    }
    let opaque: RgbImage = DynamicImage::ImageRgba8(small).into_rgb8();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY_OF_THUMBNAILS).encode_image(&opaque)?;
    Ok((Format::Jpeg, bytes))
}

fn has_transparency(image: &DynamicImage) -> bool {
    image.color().has_alpha() && image.pixels().any(|(_, _, pixel)| pixel[3] != u8::MAX)
}

/// A picture as it is seen from another side, without a copy.
struct Turned<'a> {
    image: &'a DynamicImage,
    orientation: Orientation,
}

/// A picture without its transparency.
struct Opaque<'a>(Turned<'a>);

impl GenericImageView for Turned<'_> {
    type Pixel = ::image::Rgba<u8>;

    fn dimensions(&self) -> (u32, u32) {
        let (width, height) = self.image.dimensions();
        match self.orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (height, width),
            Orientation::NoTransforms
            | Orientation::Rotate180
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical => (width, height),
        }
    }

    fn get_pixel(&self, x: u32, y: u32) -> Self::Pixel {
        let (width, height) = self.image.dimensions();
        let (x, y) = match self.orientation {
            Orientation::NoTransforms => (x, y),
            Orientation::FlipHorizontal => (width - 1 - x, y),
            Orientation::FlipVertical => (x, height - 1 - y),
            Orientation::Rotate180 => (width - 1 - x, height - 1 - y),
            Orientation::Rotate90 => (y, height - 1 - x),
            Orientation::Rotate270 => (width - 1 - y, x),
            Orientation::Rotate90FlipH => (y, x),
            Orientation::Rotate270FlipH => (width - 1 - y, height - 1 - x),
        };
        self.image.get_pixel(x, y)
    }
}

impl GenericImageView for Opaque<'_> {
    type Pixel = ::image::Rgb<u8>;

    fn dimensions(&self) -> (u32, u32) {
        self.0.dimensions()
    }

    fn get_pixel(&self, x: u32, y: u32) -> Self::Pixel {
        self.0.get_pixel(x, y).to_rgb()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_view_is_what_turning_makes() {
        let image = RgbImage::from_fn(5, 3, |x, y| ::image::Rgb([x as u8, y as u8, 7]));
        let image = DynamicImage::ImageRgb8(image);
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut copy = image.clone();
            copy.apply_orientation(orientation);
            let view = Turned { image: &image, orientation };
            assert_eq!(view.dimensions(), copy.dimensions(), "{exif}");
            assert!(copy.pixels().all(|(x, y, pixel)| view.get_pixel(x, y) == pixel), "{exif}");
        }
    }
}
