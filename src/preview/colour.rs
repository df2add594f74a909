//! Colours of embedded profiles, converted to sRGB.

use image::DynamicImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

/// Converts a picture from its profile to sRGB. A profile that can't be read, or is one of other colours than the
/// picture has, counts as none.
pub(super) fn to_srgb(image: DynamicImage, profile: Option<&[u8]>) -> DynamicImage {
    let Some(source) = profile.and_then(|profile| ColorProfile::new_from_slice(profile).ok()) else {
        return image;
    };
    match &image {
        DynamicImage::ImageRgb8(pixels) => {
            convert(&source, pixels.as_raw(), 3).and_then(|bytes| rgb(&image, bytes)).unwrap_or(image)
        }
        DynamicImage::ImageRgba8(pixels) => {
            let colours: Vec<u8> = pixels.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
            let Some(bytes) = convert(&source, &colours, 3) else { return image };
            let (converted, _) = bytes.as_chunks::<3>();
            let mut pixels = pixels.clone();
            for (pixel, [r, g, b]) in pixels.pixels_mut().zip(converted) {
                pixel.0 = [*r, *g, *b, pixel[3]];
            }
            pixels.into()
        }
        _ => image,
    }
}

/// Makes RGB of inks, 0 for none of it, by a profile if there is one.
pub(super) fn from_inks(inks: &[u8], profile: Option<&[u8]>) -> Vec<u8> {
    let source = profile.and_then(|profile| ColorProfile::new_from_slice(profile).ok());
    source.and_then(|source| convert(&source, inks, 4)).unwrap_or_else(|| mixed(inks))
}

fn rgb(image: &DynamicImage, bytes: Vec<u8>) -> Option<DynamicImage> {
    image::RgbImage::from_raw(image.width(), image.height(), bytes).map(DynamicImage::from)
}

/// Converts pixels of `samples` each to RGB of sRGB.
fn convert(source: &ColorProfile, pixels: &[u8], samples: usize) -> Option<Vec<u8>> {
    let grey: Vec<u8>;
    let (layout, pixels) = match (source.color_space, samples) {
        (DataColorSpace::Rgb, 3) => (Layout::Rgb, pixels),
        (DataColorSpace::Gray, 3) => {
            // Our decoders make three samples of one.
            grey = pixels.iter().step_by(3).copied().collect();
            (Layout::Gray, grey.as_slice())
        }
        (DataColorSpace::Cmyk, 4) => (Layout::Rgba, pixels),
        _ => return None,
    };
    let count = pixels.len() / if layout == Layout::Gray { 1 } else { samples };
    let options = TransformOptions::default();
    let transform = source.create_transform_8bit(layout, &ColorProfile::new_srgb(), Layout::Rgb, options);
    let mut converted = vec![0; 3 * count];
    let transform =
        transform.inspect_err(|error| log::debug!("a colour profile can't be used: {error:?}")).ok()?;
    transform.transform(pixels, &mut converted).ok()?;
    Some(converted)
}

/// The colours of inks without a profile.
fn mixed(inks: &[u8]) -> Vec<u8> {
    let (pixels, _) = inks.as_chunks::<4>();
    let mix = |ink: u8, black: u8| {
        u8::try_from(u16::from(u8::MAX - ink) * u16::from(u8::MAX - black) / 255).unwrap_or(u8::MAX)
    };
    pixels.iter().flat_map(|[c, m, y, k]| [mix(*c, *k), mix(*m, *k), mix(*y, *k)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_become_light() {
        assert_eq!(
            from_inks(&[0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 255], None),
            [255, 255, 255, 255, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn an_invalid_colour_profile_changes_nothing() {
        let image: DynamicImage = image::RgbImage::from_pixel(2, 2, image::Rgb([1, 2, 3])).into();
        for profile in [None, Some(&b""[..]), Some(b"no profile")] {
            assert_eq!(to_srgb(image.clone(), profile), image);
        }
    }

    #[test]
    fn wide_colours_are_more_than_srgb_has() {
        let profile = ColorProfile::new_display_p3().encode().unwrap();
        let image: DynamicImage = image::RgbaImage::from_pixel(2, 2, image::Rgba([200, 60, 40, 9])).into();
        let converted = to_srgb(image, Some(&profile)).to_rgba8();
        // Computed by the matrices of both colour spaces.
        let expected = [217, 44, 26, 9];
        for (one, other) in converted.get_pixel(0, 0).0.iter().zip(expected) {
            assert!(one.abs_diff(other) <= 3, "{:?}", converted.get_pixel(0, 0));
        }
    }
}
