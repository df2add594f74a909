//! Containers lose what tells more than the picture, and nothing else: they show the same size, stand as they stood, and
//! cleaning them again changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::preview;

fuzz_target!(|bytes: &[u8]| {
    let Some(cleaned) = preview::clean(bytes) else { return };
    assert!(cleaned.len() <= bytes.len() + 64, "{} of {}", cleaned.len(), bytes.len());
    assert_eq!(preview::clean(&cleaned).as_ref(), Some(&cleaned), "cleaned twice");
    let (before, after) = (preview::properties(bytes), preview::properties(&cleaned));
    // Its orientation is gone.
    let turned = (before.height, before.width);
    let sizes = (before.width, before.height);
    assert!(
        before.width.is_none() || [sizes, turned].contains(&(after.width, after.height)),
        "{before:?} became {after:?}"
    );
    for secret in [&b"Exif\0\0"[..], b"http://ns.adobe.com/xap/1.0/\0"] {
        // A profile may hold the same bytes; a reader looks for them at the beginning.
        let holds = |segment: &[u8]| segment.starts_with(secret);
        assert!(
            !cleaned.starts_with(b"\xFF\xD8") || !segments(&cleaned).any(holds),
            "a segment of metadata stays"
        );
    }
});

/// The segments of a JPEG up to its first scan.
fn segments(jpeg: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &jpeg[2..];
    std::iter::from_fn(move || {
        let [0xFF, marker, high, low, ..] = rest else { return None };
        if *marker == 0xDA {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let segment = rest.get(4..2 + length)?;
        // Only those of applications hold metadata.
        let shown = if (0xE0..=0xEF).contains(marker) { segment } else { &[] };
        rest = &rest[2 + length..];
        Some(&shown[..shown.len().min(32)])
    })
}
