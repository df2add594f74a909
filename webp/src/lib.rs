//! WebP pictures (RFC 9649), decoded by libwebp at a reduced size, and as far as their data go.
//!
//! This package is the only one of the media server with unsafe code. The server calls it in the child process that
//! decodes one picture behind a filter of system calls; the calls are made on the thread of the caller.

use std::ffi::c_int;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use libwebp_sys::{
    VP8StatusCode, WEBP_CSP_MODE, WebPBitstreamFeatures, WebPDecoderConfig, WebPEncodeLosslessRGBA,
    WebPEncodeRGBA, WebPFree, WebPGetFeatures, WebPIDecGetRGB, WebPIDecode, WebPIDecoder, WebPIDelete,
    WebPIUpdate, WebPRGBABuffer,
};

/// The largest side of a WebP picture, in pixels (RFC 9649 section 2.5).
const LONGEST_SIDE: u32 = 1 << 14;
/// From this reduction of the width on, the filter that smooths the edges of blocks can't be seen and is left out.
const FILTERED_BELOW: u32 = 4;

/// What the header of a picture says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Pixels of a row; of an animation, of its canvas.
    pub width: u32,
    /// Rows; of an animation, of its canvas.
    pub height: u32,
    /// Whether it may have an alpha channel.
    pub alpha: bool,
    /// Whether it is an animation, which [`decode`] does not take.
    pub animated: bool,
}

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Rows that the data reach; those below are zeros.
    pub rows: u32,
    /// 4 for red, green, blue and alpha (not premultiplied), 3 without alpha.
    pub samples: usize,
    /// `width * height * samples` samples of 8 bits, row by row.
    pub pixels: Vec<u8>,
}

/// Why a picture is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not WebP, or it is damaged.
    Damaged,
    /// It is an animation.
    Animated,
    /// It has another size than the caller expects.
    OtherSize,
    /// There is no memory for it.
    OutOfMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "it is damaged, or not WebP",
            Self::Animated => "it is an animation",
            Self::OtherSize => "it has another size than expected",
            Self::OutOfMemory => "there is no memory for it",
        })
    }
}

impl std::error::Error for Error {}

/// Reads the header of a picture.
pub fn info(bytes: &[u8]) -> Result<Info, Error> {
    let features = features(bytes)?;
    let side = |side: c_int| {
        u32::try_from(side).ok().filter(|side| (1..=LONGEST_SIDE).contains(side)).ok_or(Error::Damaged)
    };
    Ok(Info {
        width: side(features.width)?,
        height: side(features.height)?,
        alpha: features.has_alpha != 0,
        animated: features.has_animation != 0,
    })
}

/// Decodes a still picture of exactly `size` (width, height). One without alpha is reduced to `reduced` on the way, if
/// that is smaller; one with alpha is not, since libwebp would mix in the colours of pixels that can't be seen.
pub fn decode(bytes: &[u8], size: (u32, u32), reduced: (u32, u32)) -> Result<Picture, Error> {
    let info = info(bytes)?;
    if info.animated {
        return Err(Error::Animated);
    }
    if (info.width, info.height) != size {
        return Err(Error::OtherSize);
    }
    let smaller =
        !info.alpha && (1..=info.width).contains(&reduced.0) && (1..=info.height).contains(&reduced.1);
    let (width, height) = if smaller { reduced } else { size };
    let samples = if info.alpha { 4 } else { 3 };
    let mut picture = Picture { width, height, rows: 0, samples, pixels: Vec::new() };
    let length = width as usize * height as usize * samples;
    picture.pixels.try_reserve_exact(length).map_err(|_| Error::OutOfMemory)?;
    picture.pixels.resize(length, 0);
    let mut config = WebPDecoderConfig::new().map_err(|()| Error::OutOfMemory)?;
    if (width, height) != size {
        config.options.use_scaling = 1;
        config.options.scaled_width = int(width);
        config.options.scaled_height = int(height);
        config.options.bypass_filtering = (size.0 / width >= FILTERED_BELOW).into();
    }
    config.output.colorspace = if info.alpha { WEBP_CSP_MODE::MODE_RGBA } else { WEBP_CSP_MODE::MODE_RGB };
    picture.rows = decode_into(bytes, &mut config, &mut picture.pixels, width as usize * samples)?;
    Ok(picture)
}

/// Encodes a picture of `size` (width, height), of which `rgba` has the samples row by row (alpha not premultiplied): with
/// losses at a quality between 0 and 100, or without any.
pub fn encode(rgba: &[u8], size: (u32, u32), quality: Option<f32>) -> Result<Vec<u8>, Error> {
    let length = size.0 as usize * size.1 as usize * 4;
    if rgba.len() != length || ![size.0, size.1].iter().all(|side| (1..LONGEST_SIDE).contains(side)) {
        return Err(Error::OtherSize);
    }
    let (width, height, stride) = (int(size.0), int(size.1), int(size.0 * 4));
    let mut out = ptr::null_mut();
    // SAFETY: libwebp reads `height` rows of `stride` bytes, which is all of `rgba`, and writes to `out`.
    let length = unsafe {
        match quality {
            Some(quality) => WebPEncodeRGBA(rgba.as_ptr(), width, height, stride, quality, &mut out),
            None => WebPEncodeLosslessRGBA(rgba.as_ptr(), width, height, stride, &mut out),
        }
    };
    let Some(coded) = NonNull::new(out) else { return Err(Error::OutOfMemory) };
    // SAFETY: libwebp has made a picture of `length` bytes there, which nothing else uses.
    let bytes = unsafe { std::slice::from_raw_parts(coded.as_ptr(), length) }.to_vec();
    // SAFETY: libwebp has allocated it, and it is not used again.
    unsafe { WebPFree(coded.as_ptr().cast()) };
    if bytes.is_empty() { Err(Error::OutOfMemory) } else { Ok(bytes) }
}

/// Decodes into `pixels`, which has rows of `stride` bytes; gives the number of rows that were decoded.
fn decode_into(
    bytes: &[u8],
    config: &mut WebPDecoderConfig,
    pixels: &mut [u8],
    stride: usize,
) -> Result<u32, Error> {
    let decoder = Decoder::new(config, pixels, stride)?;
    match decoder.update(bytes) {
        VP8StatusCode::VP8_STATUS_OK | VP8StatusCode::VP8_STATUS_SUSPENDED => Ok(decoder.rows()),
        status => Err(error(status)),
    }
}

/// An incremental decoder of libwebp: it keeps what it has decoded where the data end early.
struct Decoder<'a> {
    decoder: NonNull<WebPIDecoder>,
    /// It reads the options of the one, and writes to the other.
    borrowed: PhantomData<(&'a mut WebPDecoderConfig, &'a mut [u8])>,
}

impl<'a> Decoder<'a> {
    /// A decoder with the options and colours of `config`, to rows of `stride` bytes in `pixels`.
    fn new(config: &'a mut WebPDecoderConfig, pixels: &'a mut [u8], stride: usize) -> Result<Self, Error> {
        config.output.is_external_memory = 1;
        config.output.u.RGBA =
            WebPRGBABuffer { stride: int(stride), size: pixels.len(), rgba: pixels.as_mut_ptr() };
        // SAFETY: libwebp takes no data at null with a length of 0. It keeps pointers to `config` and `pixels`, which are
        // borrowed for as long as the decoder lives.
        let decoder = unsafe { WebPIDecode(ptr::null(), 0, config) };
        let decoder = NonNull::new(decoder).ok_or(Error::OutOfMemory)?;
        Ok(Self { decoder, borrowed: PhantomData })
    }

    /// Decodes all data. There must be one call only: a second one would have to begin with the same bytes.
    fn update(&self, bytes: &[u8]) -> VP8StatusCode {
        // SAFETY: the decoder is alive until it drops. libwebp reads `bytes.len()` bytes, in this call only, since no
        // other call decodes. It writes at most `output.u.RGBA.size` bytes, in rows of `stride`: before the first row
        // WebPAllocateDecBuffer compares both with the size of the picture, whatever its data say.
        unsafe { WebPIUpdate(self.decoder.as_ptr(), bytes.as_ptr(), bytes.len()) }
    }

    /// Rows of the output that are there.
    fn rows(&self) -> u32 {
        let mut rows = 0;
        // SAFETY: the decoder is alive until it drops; libwebp takes null for what the caller does not want.
        let pixels = unsafe {
            WebPIDecGetRGB(
                self.decoder.as_ptr(),
                &mut rows,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if pixels.is_null() { 0 } else { u32::try_from(rows).unwrap_or_default() }
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        // SAFETY: WebPIDecode made it, and nothing else deletes it.
        unsafe { WebPIDelete(self.decoder.as_ptr()) }
    }
}

fn features(bytes: &[u8]) -> Result<WebPBitstreamFeatures, Error> {
    let mut features = WebPDecoderConfig::new().map_err(|()| Error::OutOfMemory)?.input;
    // SAFETY: libwebp reads at most `bytes.len()` bytes, and writes the features, which are initialised.
    match unsafe { WebPGetFeatures(bytes.as_ptr(), bytes.len(), &mut features) } {
        VP8StatusCode::VP8_STATUS_OK => Ok(features),
        status => Err(error(status)),
    }
}

fn error(status: VP8StatusCode) -> Error {
    match status {
        VP8StatusCode::VP8_STATUS_OUT_OF_MEMORY => Error::OutOfMemory,
        _ => Error::Damaged,
    }
}

/// A number that [`LONGEST_SIDE`] bounds.
fn int(number: impl TryInto<c_int>) -> c_int {
    number.try_into().unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests;
