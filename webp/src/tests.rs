//! Pictures made by libwebp's own encoder, whole, cut, changed and untrue.

use super::*;

/// How a picture is coded.
#[derive(Clone, Copy, Debug)]
enum Coding {
    Lossy,
    LossyAlpha,
    Lossless,
    LosslessAlpha,
}

const CODINGS: [Coding; 4] = [Coding::Lossy, Coding::LossyAlpha, Coding::Lossless, Coding::LosslessAlpha];

/// Red grows to the right, green downwards; the left half is transparent if there is alpha.
fn pixels(width: u32, height: u32, coding: Coding) -> Vec<u8> {
    let shade = |at: u32, of: u32| u8::try_from(at * 255 / of).expect("a shade");
    let alpha = |x: u32| match coding {
        Coding::LossyAlpha | Coding::LosslessAlpha if x < width / 2 => 0,
        _ => 255,
    };
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    places.flat_map(|(x, y)| [shade(x, width), shade(y, height), 40, alpha(x)]).collect()
}

fn encoded(width: u32, height: u32, coding: Coding) -> Vec<u8> {
    let lossless = matches!(coding, Coding::Lossless | Coding::LosslessAlpha);
    let quality = (!lossless).then_some(90.0);
    encode(&pixels(width, height, coding), (width, height), quality).expect("a picture can be encoded")
}

fn has_alpha(coding: Coding) -> bool {
    matches!(coding, Coding::LossyAlpha | Coding::LosslessAlpha)
}

#[test]
fn pictures_are_decoded_whole() {
    for coding in CODINGS {
        let bytes = encoded(90, 61, coding);
        let expected = Info { width: 90, height: 61, alpha: has_alpha(coding), animated: false };
        assert_eq!(info(&bytes), Ok(expected), "{coding:?}");
        let picture = decode(&bytes, (90, 61), (90, 61)).expect("a picture");
        assert_eq!((picture.width, picture.height, picture.rows), (90, 61, 61), "{coding:?}");
        assert_eq!(picture.samples, if has_alpha(coding) { 4 } else { 3 }, "{coding:?}");
        for (one, other) in picture.pixels.chunks(picture.samples).zip(pixels(90, 61, coding).chunks(4)) {
            let close = one.iter().zip(other).all(|(one, other)| one.abs_diff(*other) < 12);
            assert!(close || other[3] == 0, "{coding:?} {one:?} {other:?}");
        }
    }
}

#[test]
fn pictures_without_alpha_are_reduced() {
    for coding in CODINGS {
        let bytes = encoded(400, 300, coding);
        for reduced in [(40, 30), (399, 299), (1, 1), (400, 1), (200, 30)] {
            let picture = decode(&bytes, (400, 300), reduced).expect("a picture");
            let size = if has_alpha(coding) { (400, 300) } else { reduced };
            assert_eq!((picture.width, picture.height, picture.rows), (size.0, size.1, size.1), "{coding:?}");
            let middle = (size.1 / 2 * size.0 + size.0 / 2) as usize * picture.samples;
            let (red, green) = (picture.pixels[middle], picture.pixels[middle + 1]);
            // With alpha the pixel beside the middle is transparent, and the encoder may change the colours of both.
            assert!(
                has_alpha(coding) || red.abs_diff(128) < 20 && green.abs_diff(128) < 20,
                "{coding:?} {reduced:?}: {red} {green}"
            );
        }
        for other in [(0, 30), (30, 0), (401, 300), (400, 301), (u32::MAX, u32::MAX)] {
            let picture = decode(&bytes, (400, 300), other).expect("a picture");
            assert_eq!((picture.width, picture.height), (400, 300), "{other:?}");
        }
    }
}

#[test]
fn no_other_size_is_decoded_than_was_expected() {
    for coding in CODINGS {
        let bytes = encoded(90, 61, coding);
        for other in [(61, 90), (90, 60), (0, 0), (16_384, 16_384), (u32::MAX, u32::MAX)] {
            assert_eq!(decode(&bytes, other, (9, 6)), Err(Error::OtherSize), "{coding:?} {other:?}");
        }
    }
}

#[test]
fn decoding_what_ends_early_goes_as_far_as_the_data() {
    for coding in CODINGS {
        let bytes = encoded(120, 90, coding);
        for reduced in [(120, 90), (30, 20)] {
            let mut before = 0;
            for end in 0..bytes.len() {
                // A copy of its own, so that no read beyond its end goes unseen by tools that look for them.
                let cut = bytes[..end].to_vec();
                let Ok(picture) = decode(&cut, (120, 90), reduced) else { continue };
                assert!(picture.rows >= before && picture.rows <= picture.height, "{coding:?} {end}");
                let begun = picture.rows as usize * picture.width as usize * picture.samples;
                assert!(picture.pixels[begun..].iter().all(|sample| *sample == 0), "{coding:?} {end}");
                before = picture.rows;
            }
        }
    }
}

#[test]
fn changed_bytes_are_survived() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for coding in CODINGS {
        let whole = encoded(64, 48, coding);
        for _ in 0..3000 {
            let mut bytes = whole.clone();
            for _ in 0..=next() % 4 {
                let at = usize::try_from(next()).expect("64 bits") % bytes.len();
                bytes[at] = next().to_le_bytes()[0];
            }
            for reduced in [(64, 48), (16, 12)] {
                if let Ok(picture) = decode(&bytes, (64, 48), reduced) {
                    let pixels = picture.width as usize * picture.height as usize;
                    assert_eq!(picture.pixels.len(), pixels * picture.samples);
                }
            }
        }
    }
}

#[test]
fn animations_and_other_files_are_errors() {
    let still = encoded(9, 9, Coding::Lossless);
    let canvas = b"VP8X\x0A\0\0\0\x02\0\0\0\x08\0\0\x08\0\0";
    let animated = [&b"RIFF\xFF\0\0\0WEBP"[..], canvas, b"ANIM\x06\0\0\0\0\0\0\0\0\0", &still[12..]].concat();
    assert_eq!(info(&animated).map(|info| info.animated), Ok(true));
    assert_eq!(decode(&animated, (9, 9), (9, 9)), Err(Error::Animated));
    for bytes in
        [&b""[..], b"RIFF", b"RIFF\0\0\0\0WEBP", b"GIF89a\x01\0\x01\0\0\0\0", &still[..20], &still[12..16]]
    {
        assert_eq!(decode(bytes, (9, 9), (9, 9)), Err(Error::Damaged), "{bytes:?}");
    }
}

#[test]
fn only_all_of_a_picture_is_encoded() {
    for (length, size) in [(0, (0, 0)), (4, (1, 2)), (8, (1, 1)), (0, (0, 5)), (4 * 16_384, (16_384, 1))] {
        assert_eq!(encode(&vec![0; length], size, None), Err(Error::OtherSize), "{size:?}");
    }
}
