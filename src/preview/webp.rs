//! WebP through libwebp: decoded at a reduced size where the preview is much smaller.

use image::{DynamicImage, RgbImage, RgbaImage};
use media_server_webp::{Error, Picture};

use super::clean;
use super::shrink::Shrunk;
use crate::model::Refusal;

/// The part of its rows that a picture which ends early must have: one in so many.
const FEWEST_ROWS: u32 = 64;

/// The quality of what takes the place of a picture that has losses already.
const QUALITY: f32 = 90.0;

/// Decodes a picture of `size`, with at least twice the width and height of `target` if it has so many pixels. `None` for
/// an animation.
pub(super) fn decode(bytes: &[u8], size: (u32, u32), target: (u32, u32)) -> Result<Option<Shrunk>, Refusal> {
    let reduced = reduced(size, target);
    match media_server_webp::decode(bytes, size, reduced) {
        Ok(picture) if picture.rows < picture.height.div_ceil(FEWEST_ROWS) => Err(Refusal::Undecodable),
        Ok(picture) => {
            let profile = clean::webp_profile(bytes).map(<[u8]>::to_vec);
            let image = image(picture).ok_or(Refusal::Undecodable)?;
            Ok(Some(Shrunk { profile, ..image.into() }))
        }
        Err(Error::Animated) => Ok(None),
        Err(error) => {
            log::debug!("a WebP picture can't be decoded: {error}");
            Err(Refusal::Undecodable)
        }
    }
}

/// Encodes what takes the original's place, with losses unless that had none.
pub(super) fn encode(image: &RgbaImage, lossless: bool) -> Result<Vec<u8>, Refusal> {
    let quality = (!lossless).then_some(QUALITY);
    media_server_webp::encode(image.as_raw(), image.dimensions(), quality).map_err(|error| {
        log::debug!("a WebP picture can't be encoded: {error}");
        Refusal::Undecodable
    })
}

/// Twice the target size, for the resampler, if the picture is larger.
fn reduced(size: (u32, u32), target: (u32, u32)) -> (u32, u32) {
    let twice = (target.0.saturating_mul(2), target.1.saturating_mul(2));
    if twice.0 < size.0 && twice.1 < size.1 { twice } else { size }
}

fn image(Picture { width, height, samples, pixels, .. }: Picture) -> Option<DynamicImage> {
    match samples {
        3 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webp_is_decoded_at_twice_the_target_at_least() {
        for (size, target, expected) in [
            ((4000, 3000), (200, 150), (400, 300)),
            ((400, 300), (200, 150), (400, 300)),
            ((399, 300), (200, 150), (399, 300)),
            ((1, 16_383), (1, 200), (1, 16_383)),
            ((9, 9), (u32::MAX, u32::MAX), (9, 9)),
        ] {
            assert_eq!(reduced(size, target), expected, "{size:?} {target:?}");
        }
    }
}
