//! JPEG through libjpeg-turbo: decoded at a reduced scale where the preview is much smaller.

use image::{DynamicImage, RgbImage};
use turbojpeg::{Colorspace, Compressor, Decompressor, Image, OwnedBuf, PixelFormat, ScalingFactor, Subsamp};

use super::clean;
use super::shrink::Shrunk;
use crate::model::Refusal;

/// Scans that a picture of many pixels may have; encoders make about ten.
const SCANS: std::ops::RangeInclusive<u64> = 20..=100;
/// Scans times pixels that may be decoded: a progressive picture can ask for all its pixels again and again.
const SCANNED_PIXELS: u64 = 500_000_000;

/// The quality of previews.
const PREVIEW_QUALITY: i32 = 80;
/// The quality of what takes the original's place.
const FULL_QUALITY: i32 = 95;

/// Decodes a picture of `size` to RGB or inks, with at least twice the width and height of `target` if it has so many pixels.
pub(super) fn decode(bytes: &[u8], size: (u32, u32), target: (u32, u32)) -> Result<Shrunk, Refusal> {
    let plain = clean::jpeg(bytes).ok_or(Refusal::Undecodable)?;
    let mut shrunk = try_decode(&plain.without_profile(), size, target).map_err(|error| {
        log::debug!("a JPEG can't be decoded: {error}");
        Refusal::Undecodable
    })?;
    shrunk.profile = Some(plain.profile).filter(|profile| !profile.is_empty());
    Ok(shrunk)
}

fn try_decode(bytes: &[u8], size: (u32, u32), target: (u32, u32)) -> turbojpeg::Result<Shrunk> {
    let mut decoder = Decompressor::new()?;
    let header = decoder.read_header(bytes)?;
    // The size in the header decided that the picture may be decoded.
    if (header.width as u64, header.height as u64) != (size.0.into(), size.1.into()) {
        return Err(turbojpeg::Error::TurboJpegError("its size can be read in two ways".to_owned()));
    }
    let pixels = (header.width as u64).saturating_mul(header.height as u64).max(1);
    let scans = (SCANNED_PIXELS / pixels).clamp(*SCANS.start(), *SCANS.end());
    decoder.set_scan_limit(u32::try_from(scans).unwrap_or(u32::MAX))?;
    if !header.is_lossless {
        decoder.set_scaling_factor(factor((header.width, header.height), target))?;
    }
    let header = header.scaled(decoder.scaling_factor());
    let inks = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
    let format = if inks { PixelFormat::CMYK } else { PixelFormat::RGB };
    let (width, height) = (header.width, header.height);
    let pitch = width * format.size();
    let mut pixels = vec![0; pitch * height];
    let image = Image { pixels: pixels.as_mut_slice(), width, pitch, height, format };
    decoder.decompress(bytes, image).or_else(tolerate)?;
    let overflow = |_| turbojpeg::Error::IntegerOverflow("width or height");
    let (width, height) = (width.try_into().map_err(overflow)?, height.try_into().map_err(overflow)?);
    let image = if inks {
        // Adobe stores inks inverted, and so does everyone since.
        pixels.iter_mut().for_each(|ink| *ink = !*ink);
        image::RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
    };
    Ok(Shrunk { inks, ..Shrunk::from(image.expect("the buffer was made for this size")) })
}

/// The smallest of libjpeg's scales, in eighths, that leaves twice what is wanted for the resampler.
fn factor((width, height): (usize, usize), target: (u32, u32)) -> ScalingFactor {
    let enough = |eighths: &usize| {
        let factor = ScalingFactor::new(*eighths, 8);
        factor.scale(width) as u64 >= 2 * u64::from(target.0)
            && factor.scale(height) as u64 >= 2 * u64::from(target.1)
    };
    (1..8).find(enough).map_or(ScalingFactor::ONE, |eighths| ScalingFactor::new(eighths, 8))
}

/// Warnings of libjpeg: the picture is there, or what came of it. libjpeg's own programs show it, too.
const WARNINGS: &[&str] = &[
    "Corrupt JPEG data",
    "Inconsistent progression sequence",
    "Invalid SOS parameters for sequential JPEG",
    "Premature end of JPEG file",
    "Unknown Adobe color transform",
    "Warning: ",
];

fn tolerate(error: turbojpeg::Error) -> turbojpeg::Result<()> {
    let text = error.to_string();
    if WARNINGS.iter().any(|known| text.contains(known)) { Ok(()) } else { Err(error) }
}

/// Encodes without metadata; `full` for what takes the original's place.
pub(super) fn encode(image: &DynamicImage, full: bool) -> Result<Vec<u8>, Refusal> {
    let rgb = image.to_rgb8();
    try_encode(&rgb, full).map(|bytes| bytes.to_vec()).map_err(|error| {
        log::debug!("a JPEG can't be encoded: {error}");
        Refusal::Undecodable
    })
}

fn try_encode(rgb: &RgbImage, full: bool) -> turbojpeg::Result<OwnedBuf> {
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    let mut encoder = Compressor::new()?;
    encoder.set_quality(if full { FULL_QUALITY } else { PREVIEW_QUALITY })?;
    encoder.set_subsamp(if full { Subsamp::None } else { Subsamp::Sub2x2 })?;
    encoder.set_optimize(true)?;
    let (pitch, format) = (3 * width, PixelFormat::RGB);
    encoder.compress_to_owned(Image { pixels: rgb.as_raw(), width, pitch, height, format })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pixels_are_decoded_than_needed() {
        let of = |size, target| {
            let factor = factor(size, target);
            (factor.num(), factor.denom())
        };
        assert_eq!(of((4000, 3000), (200, 150)), (1, 8));
        assert_eq!(of((4000, 3000), (250, 187)), (1, 8));
        assert_eq!(of((4000, 3000), (251, 188)), (1, 4));
        assert_eq!(of((1000, 1000), (400, 400)), (7, 8));
        assert_eq!(of((1000, 1000), (600, 600)), (1, 1));
        assert_eq!(of((1, 60_000), (1, 200)), (1, 1));
    }

    #[test]
    fn no_other_size_is_decoded_than_was_allowed() {
        let bytes = encode(&RgbImage::new(90, 60).into(), true).unwrap();
        assert!(decode(&bytes, (90, 60), (9, 6)).is_ok());
        for other in [(60, 90), (90, 59), (9, 6)] {
            assert_eq!(decode(&bytes, other, (9, 6)).err(), Some(Refusal::Undecodable), "{other:?}");
        }
    }
}
