//! Still pictures: decoded within limits, turned upright, scaled down, encoded without metadata.

use std::borrow::Cow;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::time::Instant;

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::U8x4;
use fast_image_resize::{ResizeOptions, Resizer};
use image::codecs::bmp::BmpEncoder;
use image::codecs::gif::GifEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits, RgbaImage};

use super::clean::{self, Cleaned};
use super::header::{Header, turns};
use super::shrink::{self, Shrunk};
use super::{Bounds, Rendered, animation, colour, jpeg, png, undecodable, webp};
use crate::media_type::Format;
use crate::model::Refusal;

/// Bytes of memory that decoders may use besides four for each pixel.
const SPARE_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a pixel that is scaled.
const SAMPLES: usize = 4;
/// How well an encoder of GIF may look for colours: 1 is best, 30 fastest.
pub(super) const GIF_SPEED: i32 = 10;

/// The limits of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub pixels: u64,
    pub deadline: Instant,
}

impl Budget {
    /// Bytes that a decoder may allocate.
    pub fn memory(&self) -> u64 {
        self.pixels.saturating_mul(4).saturating_add(SPARE_BYTES)
    }

    /// Bytes for a decoder, until the deadline.
    pub fn source<'a>(&self, bytes: &'a [u8]) -> BufReader<Timed<Cursor<&'a [u8]>>> {
        BufReader::new(Timed { source: Cursor::new(bytes), deadline: self.deadline })
    }

    /// The refusal for a decoder's error. After the deadline any error may come from [`Timed`], whatever the decoder made
    /// of it.
    pub fn refusal(&self, error: &dyn std::error::Error) -> Refusal {
        log::debug!("a picture can't be decoded: {error}");
        undecodable(self.deadline)
    }
}

/// A preview of the picture that fits into `bounds`.
pub(super) fn preview(
    bytes: &[u8],
    header: &Header,
    bounds: Bounds,
    budget: Budget,
) -> Result<Rendered, Refusal> {
    let target = stored(bounds.fit(header.shown()), header.orientation);
    let picture = decode(bytes, header, target, budget)?;
    // For a raw photo it is the thumbnail.
    let target = match header.format {
        Format::Tiff => {
            let size = stored((picture.image.width(), picture.image.height()), header.orientation);
            stored(bounds.fit(size), header.orientation)
        }
        _ => target,
    };
    finish(picture, target, header.orientation, Some(header.format))
}

/// The same for a PNG that is read row by row, so that the whole file is never in memory. `None` if it can't be read so.
pub(super) fn preview_of_rows(
    source: impl Read + Seek,
    header: &Header,
    bounds: Bounds,
    budget: Budget,
) -> Option<Result<Rendered, Refusal>> {
    let target = stored(bounds.fit(header.shown()), header.orientation);
    let picture = rows(source, header, target, budget).transpose()?;
    Some(picture.and_then(|picture| finish(picture, target, header.orientation, Some(header.format))))
}

/// A preview of a frame that is decoded already, as JPEG.
pub(super) fn preview_of_frame(image: DynamicImage, bounds: Bounds) -> Result<Rendered, Refusal> {
    let target = bounds.fit((image.width(), image.height()));
    finish(image.into(), target, Orientation::NoTransforms, None)
}

/// The square in the middle of a frame that is decoded already, as JPEG.
pub(super) fn avatar_of_frame(image: &DynamicImage) -> Result<Rendered, Refusal> {
    let square = middle(image);
    Ok(Rendered { bytes: encode(&square, Format::Jpeg, true)?, format: Format::Jpeg })
}

/// The square in the middle of a picture, upright and without metadata, and its format. A picture that is all of that
/// keeps its pixels bit by bit, and so does one that moves, stands upright and can't be cut.
pub(super) fn avatar(bytes: &[u8], header: &Header, budget: Budget) -> Result<Rendered, Refusal> {
    let cleaned = clean::clean(bytes, header.format);
    let plain = header.width == header.height && header.orientation == Orientation::NoTransforms;
    match cleaned {
        Some(Cleaned { bytes, .. }) if plain => Ok(Rendered { bytes, format: header.format }),
        Some(Cleaned { animated: true, bytes: whole }) => match animation::cut(bytes, header, budget) {
            Err(Refusal::Undecodable)
                if header.format != Format::Gif && header.orientation == Orientation::NoTransforms =>
            {
                Ok(Rendered { bytes: whole, format: header.format })
            }
            cut => cut,
        },
        _ => cut(bytes, header, budget),
    }
}

fn cut(bytes: &[u8], header: &Header, budget: Budget) -> Result<Rendered, Refusal> {
    let size = (header.width, header.height);
    let decoded = decode(bytes, header, size, budget)?;
    let size = (decoded.image.width(), decoded.image.height());
    let mut image = visible_alpha(shown(decoded, size)?);
    image = middle(&image);
    image.apply_orientation(header.orientation);
    // These may hold anything beside the picture, and browsers don't show TIFF.
    let format = match header.format {
        Format::Bmp | Format::Tiff => Format::Png,
        format => format,
    };
    let bytes = match format {
        Format::WebP if !clean::is_lossless(bytes) => webp::encode(&image.into_rgba8(), false)?,
        format => encode(&image, format, true)?,
    };
    Ok(Rendered { bytes, format })
}

/// The square in the middle of a picture.
pub(super) fn middle(image: &DynamicImage) -> DynamicImage {
    let side = image.width().min(image.height());
    image.crop_imm((image.width() - side) / 2, (image.height() - side) / 2, side, side)
}

/// Decodes what is at least as large as `target`, and all of it where that is as cheap.
fn decode(bytes: &[u8], header: &Header, target: (u32, u32), budget: Budget) -> Result<Shrunk, Refusal> {
    if header.pixels() > budget.pixels {
        return Err(Refusal::TooManyPixels);
    }
    let size = (header.width, header.height);
    let bytes = &*with_screen(bytes, header);
    match header.format {
        Format::Jpeg => return jpeg::decode(bytes, size, target),
        Format::WebP => {
            // libwebp does not look at the clock.
            if Instant::now() >= budget.deadline {
                return Err(Refusal::PreviewTooSlow);
            }
            if let Some(picture) = webp::decode(bytes, size, target)? {
                return Ok(picture);
            }
        }
        Format::Png => {
            if let Some(shrunk) = rows(Cursor::new(bytes), header, target, budget)? {
                return Ok(shrunk);
            }
        }
        _ => {}
    }
    let shrunk = match decode_whole(bytes, header.format, budget) {
        // Its rows may be had as far as they go.
        Err(error) if header.format == Format::Png && Instant::now() < budget.deadline => {
            let rows = png::shrink(budget.source(bytes), header, 1, budget.memory());
            rows.ok().flatten().ok_or_else(|| budget.refusal(&error))?
        }
        decoded => decoded.map_err(|error| budget.refusal(&error))?,
    };
    // The first picture of a TIFF may be the thumbnail of the one that was measured.
    let same = (shrunk.image.width(), shrunk.image.height()) == size || header.format == Format::Tiff;
    if same { Ok(shrunk) } else { Err(Refusal::Undecodable) }
}

/// The rows of a PNG that is much larger than `target`, shrunk as they come.
fn rows(
    source: impl Read + Seek,
    header: &Header,
    target: (u32, u32),
    budget: Budget,
) -> Result<Option<Shrunk>, Refusal> {
    let factor = shrink::factor((header.width, header.height), target);
    if header.format != Format::Png || factor == 1 {
        return Ok(None);
    }
    if header.pixels() > budget.pixels {
        return Err(Refusal::TooManyPixels);
    }
    let source = BufReader::with_capacity(READ_BYTES, Timed { source, deadline: budget.deadline });
    png::shrink(source, header, factor, budget.memory()).map_err(|error| budget.refusal(&error))
}

/// A GIF whose logical screen has no side gets the one of its header: browsers show it.
fn with_screen<'a>(bytes: &'a [u8], header: &Header) -> Cow<'a, [u8]> {
    let sides =
        [header.width, header.height].map(|side| u16::try_from(side).unwrap_or(u16::MAX).to_le_bytes());
    let screen = sides.concat();
    match bytes.get(6..10) {
        Some(said) if header.format == Format::Gif && said != screen => {
            [&bytes[..6], &screen, &bytes[10..]].concat().into()
        }
        _ => bytes.into(),
    }
}

fn decode_whole(bytes: &[u8], format: Format, budget: Budget) -> image::ImageResult<Shrunk> {
    let mut reader = ImageReader::with_format(budget.source(bytes), image_format(format));
    let mut limits = Limits::default();
    limits.max_alloc = Some(budget.memory());
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > budget.pixels {
        limits.reserve(u64::MAX)?;
    }
    limits.reserve(decoder.total_bytes())?;
    let profile = decoder.icc_profile().ok().flatten();
    let image = DynamicImage::from_decoder(decoder)?;
    let image: DynamicImage =
        if image.color().has_alpha() { image.into_rgba8().into() } else { image.into_rgb8().into() };
    // A BMP of 32 bits whose alpha is 0 everywhere has none (browsers show it opaque).
    let image = if format == Format::Bmp { with_some_alpha(image) } else { image };
    Ok(Shrunk { profile, ..image.into() })
}

/// Scales, turns and encodes. Without `source` the preview is a JPEG.
fn finish(
    picture: Shrunk,
    target: (u32, u32),
    orientation: Orientation,
    source: Option<Format>,
) -> Result<Rendered, Refusal> {
    let mut image = visible_alpha(shown(picture, target)?);
    image.apply_orientation(orientation);
    let format = source.map_or(Format::Jpeg, |source| preview_format(source, image.color().has_alpha()));
    Ok(Rendered { bytes: encode(&image, format, false)?, format })
}

/// The original's format where previews are worth having in it: our encoder of WebP is lossless, and
/// browsers don't show TIFF.
fn preview_format(source: Format, alpha: bool) -> Format {
    match source {
        _ if alpha => Format::Png,
        Format::Tiff | Format::WebP => Format::Jpeg,
        format => format,
    }
}

/// A picture in another size, in sRGB.
fn shown(picture: Shrunk, (width, height): (u32, u32)) -> Result<DynamicImage, Refusal> {
    let (inks, profile) = (picture.inks, picture.profile.clone());
    let image = resize(picture, (width, height))?;
    if !inks {
        return Ok(colour::to_srgb(image, profile.as_deref()));
    }
    let bytes = colour::from_inks(image.as_bytes(), profile.as_deref());
    image::RgbImage::from_raw(width, height, bytes).map(DynamicImage::from).ok_or(Refusal::Undecodable)
}

fn resize(picture: Shrunk, target: (u32, u32)) -> Result<DynamicImage, Refusal> {
    let Shrunk { image, size, inks, .. } = picture;
    if (image.width(), image.height()) == target {
        return Ok(image);
    }
    let has_alpha = image.color().has_alpha();
    let scaled = DynamicImage::from(scale(image.into_rgba8(), size, target, has_alpha && !inks)?);
    Ok(if has_alpha { scaled } else { scaled.into_rgb8().into() })
}

/// The upper left part, of `part.0` by `part.1` pixels, of a picture in another size. Only for pixels of four samples: the
/// resampler's code for all kinds of pixels is a third of the program. The source has the type of image that the resampler
/// uses for its own steps: its code for one more type is 280 KiB.
fn scale(
    mut image: RgbaImage,
    part: (f64, f64),
    (width, height): (u32, u32),
    with_alpha: bool,
) -> Result<RgbaImage, Refusal> {
    let failed = |error: &dyn std::fmt::Display| {
        log::debug!("a picture can't be resized: {error}");
        Refusal::Undecodable
    };
    let source = TypedImage::<U8x4>::from_buffer(image.width(), image.height(), &mut image);
    let source = source.map_err(|error| failed(&error))?;
    let mut bytes = vec![0; width as usize * height as usize * SAMPLES];
    let small = TypedImage::<U8x4>::from_buffer(width, height, &mut bytes);
    let mut small = small.map_err(|error| failed(&error))?;
    let part = ResizeOptions::new().crop(0.0, 0.0, part.0, part.1).use_alpha(with_alpha);
    Resizer::new().resize_typed(&source, &mut small, &part).map_err(|error| failed(&error))?;
    RgbaImage::from_raw(width, height, bytes).ok_or(Refusal::Undecodable)
}

/// Drops an alpha channel that says nothing: GIF always has one.
fn visible_alpha(image: DynamicImage) -> DynamicImage {
    match &image {
        DynamicImage::ImageRgba8(pixels) if pixels.pixels().all(|pixel| pixel.0[3] == u8::MAX) => {
            image.into_rgb8().into()
        }
        _ => image,
    }
}

/// The picture without its alpha channel where that hides all of it.
fn with_some_alpha(image: DynamicImage) -> DynamicImage {
    match &image {
        DynamicImage::ImageRgba8(pixels) if pixels.pixels().all(|pixel| pixel.0[3] == 0) => {
            image.into_rgb8().into()
        }
        _ => image,
    }
}

fn encode(image: &DynamicImage, format: Format, full: bool) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Cursor::new(Vec::new());
    let encoded = match format {
        Format::Jpeg => return jpeg::encode(image, full),
        Format::Gif => {
            let (width, height) = (image.width(), image.height());
            let kind =
                if image.color().has_alpha() { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
            GifEncoder::new_with_speed(&mut bytes, GIF_SPEED).encode(image.as_bytes(), width, height, kind)
        }
        Format::Png => image.write_with_encoder(PngEncoder::new(&mut bytes)),
        Format::WebP => image.write_with_encoder(WebPEncoder::new_lossless(&mut bytes)),
        Format::Bmp => image.write_with_encoder(BmpEncoder::new(&mut bytes)),
        // Browsers don't show it.
        Format::Tiff => return Err(Refusal::Undecodable),
    };
    encoded.map(|()| bytes.into_inner()).map_err(|error| {
        log::debug!("a picture can't be encoded: {error}");
        Refusal::Undecodable
    })
}

/// Width and height as stored of what is shown in this size.
fn stored((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    if turns(orientation) { (height, width) } else { (width, height) }
}

fn image_format(format: Format) -> ImageFormat {
    match format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::Gif => ImageFormat::Gif,
        Format::WebP => ImageFormat::WebP,
        Format::Bmp => ImageFormat::Bmp,
        Format::Tiff => ImageFormat::Tiff,
    }
}

/// Bytes that can't be read any more after the deadline: what ends a decoder that takes too long.
pub(super) struct Timed<S> {
    source: S,
    deadline: Instant,
}

impl<S: Read> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the preview takes too long"));
        }
        self.source.read(buffer)
    }
}

impl<S: Seek> Seek for Timed<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}
