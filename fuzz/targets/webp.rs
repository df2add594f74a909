//! WebP by libwebp: whatever the data say, a picture has the size that was asked for, as a whole and cut anywhere.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// Pixels of the largest picture that is decoded.
const PIXELS: u64 = 1_000_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(info) = media_server_webp::info(bytes) else { return };
    let size = (info.width, info.height);
    if u64::from(size.0) * u64::from(size.1) > PIXELS {
        return;
    }
    for reduced in [size, (size.0.div_ceil(3), size.1.div_ceil(5)), (1, 1)] {
        let Ok(picture) = media_server_webp::decode(bytes, size, reduced) else { continue };
        assert!(!info.animated && picture.rows <= picture.height);
        let (width, height) = (picture.width, picture.height);
        assert!([size, reduced].contains(&(width, height)));
        assert_eq!(picture.pixels.len(), width as usize * height as usize * picture.samples);
        let begun = picture.rows as usize * width as usize * picture.samples;
        assert!(picture.pixels[begun..].iter().all(|sample| *sample == 0));
        // A buffer of its own, so that tools see a read beyond its end.
        let cut = bytes[..bytes.len() / 2].to_vec();
        if let Ok(part) = media_server_webp::decode(&cut, size, reduced) {
            assert!(part.rows <= picture.rows.max(part.height));
        }
    }
    assert!(media_server_webp::decode(bytes, (size.0 + 1, size.1), size).is_err());
});
