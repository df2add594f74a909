//! Animated avatars: cropped to their square and turned frame by frame, in their own format, without metadata.

use std::io;
use std::time::Instant;

use image::codecs::gif::{GifDecoder, GifEncoder, Repeat};
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, DynamicImage, Frame, Frames, ImageDecoder, ImageResult, Limits};

use super::header::Header;
use super::picture::{Budget, GIF_SPEED, middle};
use super::{Rendered, clean, colour, webp};
use crate::media_type::Format;
use crate::model::Refusal;

/// Bytes of the longest animation that is written, for each byte that came: what is kept without loss is longer.
const GROWTH: usize = 8;
/// Bytes that it may have besides.
const SPARE_BYTES: usize = 1024 * 1024;
/// Milliseconds that a frame of WebP may last: 24 bits.
const LONGEST_FRAME: u32 = 0x00FF_FFFF;

/// The square in the middle of each frame of an animation, upright.
pub(super) fn cut(bytes: &[u8], header: &Header, budget: Budget) -> Result<Rendered, Refusal> {
    let made = match header.format {
        Format::Gif => gif(bytes, header, budget),
        Format::Png => png(bytes, header, budget),
        _ => webp(bytes, header, budget),
    };
    let format = header.format;
    made.map(|bytes| Rendered { bytes, format }).map_err(|error| budget.refusal(&error))
}

fn gif(bytes: &[u8], header: &Header, budget: Budget) -> ImageResult<Vec<u8>> {
    let mut decoder = GifDecoder::new(budget.source(bytes))?;
    decoder.set_limits(limits(header, budget)?)?;
    let mut out = Vec::new();
    {
        let mut encoder = GifEncoder::new_with_speed(&mut out, GIF_SPEED);
        encoder.set_repeat(Repeat::Infinite)?;
        for frame in Squares::of(decoder.into_frames(), header, budget, None) {
            encoder.encode_frame(frame?)?;
        }
    }
    Ok(out)
}

fn png(bytes: &[u8], header: &Header, budget: Budget) -> ImageResult<Vec<u8>> {
    let mut decoder = PngDecoder::with_limits(budget.source(bytes), limits(header, budget)?)?;
    let profile = decoder.icc_profile()?;
    let plays = plays(bytes).unwrap_or_default();
    // How many there are must be known before the first one is written.
    let mut frames = Vec::new();
    let mut left = budget.memory();
    for frame in Squares::of(decoder.apng()?.into_frames(), header, budget, profile.as_deref()) {
        let frame = frame?;
        left = left.checked_sub(frame.buffer().as_raw().len() as u64).ok_or_else(too_large)?;
        frames.push(frame);
    }
    write_png(&frames, plays).map_err(|error| io::Error::other(error).into())
}

/// How often an APNG is played, from its `acTL` chunk (W3C PNG section 11.3.6.1); 0 for ever.
fn plays(bytes: &[u8]) -> Option<u32> {
    let at = memchr::memmem::find(bytes, b"acTL")? + 8;
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn write_png(frames: &[Frame], plays: u32) -> Result<Vec<u8>, png::EncodingError> {
    let (width, height) = frames.first().map_or((1, 1), |frame| frame.buffer().dimensions());
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_animated(u32::try_from(frames.len()).unwrap_or(u32::MAX), plays)?;
    let mut writer = encoder.write_header()?;
    for frame in frames {
        let milliseconds = u16::try_from(milliseconds(frame)).unwrap_or(u16::MAX);
        writer.set_frame_delay(milliseconds, 1000)?;
        writer.write_image_data(frame.buffer().as_raw())?;
    }
    writer.finish()?;
    Ok(out)
}

fn webp(bytes: &[u8], header: &Header, budget: Budget) -> ImageResult<Vec<u8>> {
    if !clean::frames_fit(bytes, (header.width, header.height)) {
        return Err(too_large());
    }
    let mut decoder = WebPDecoder::new(budget.source(bytes))?;
    decoder.set_limits(limits(header, budget)?)?;
    let profile = decoder.icc_profile()?;
    let most = bytes.len().saturating_mul(GROWTH).saturating_add(SPARE_BYTES);
    let lossless = clean::is_lossless(bytes);
    let mut animation = clean::WebpAnimation::new(bytes);
    for frame in Squares::of(decoder.into_frames(), header, budget, profile.as_deref()) {
        let frame = frame?;
        let milliseconds = milliseconds(&frame).min(LONGEST_FRAME);
        let square = frame.into_buffer();
        let coded = webp::encode(&square, lossless).map_err(io::Error::other)?;
        animation.push(&coded, square.width(), milliseconds);
        if animation.bytes() > most {
            return Err(too_large());
        }
    }
    animation.finish().ok_or_else(too_large)
}

fn limits(header: &Header, budget: Budget) -> ImageResult<Limits> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(budget.memory());
    // The decoder may not count it.
    limits.clone().reserve(header.pixels().saturating_mul(4))?;
    Ok(limits)
}

fn too_large() -> image::ImageError {
    io::Error::from(io::ErrorKind::FileTooLarge).into()
}

fn milliseconds(frame: &Frame) -> u32 {
    let (milliseconds, parts) = frame.delay().numer_denom_ms();
    milliseconds / parts.max(1)
}

/// The frames of an animation, each cut, in sRGB and upright, until the deadline.
struct Squares<'a> {
    frames: Frames<'a>,
    header: &'a Header,
    deadline: Instant,
    profile: Option<&'a [u8]>,
}

impl<'a> Squares<'a> {
    fn of(frames: Frames<'a>, header: &'a Header, budget: Budget, profile: Option<&'a [u8]>) -> Self {
        Self { frames, header, deadline: budget.deadline, profile }
    }

    fn square(&self, frame: Frame) -> Frame {
        let delay = frame.delay();
        let square = middle(&DynamicImage::from(frame.into_buffer()));
        let mut square = colour::to_srgb(square, self.profile);
        square.apply_orientation(self.header.orientation);
        Frame::from_parts(square.into_rgba8(), 0, 0, delay)
    }
}

impl Iterator for Squares<'_> {
    type Item = ImageResult<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        // The reader of a picture in memory has it all at once, and would not look at the clock again.
        if Instant::now() >= self.deadline {
            return Some(Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        }
        Some(self.frames.next()?.map(|frame| self.square(frame)))
    }
}
