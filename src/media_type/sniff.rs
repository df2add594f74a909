//! The type of a file by its first bytes.

use crate::limits;

/// The media type that a file's first bytes tell; none if they tell nothing, or of a page (HTML, XML, SVG),
/// for that is up to who uploads it.
pub fn sniff(first: &[u8]) -> Option<&'static str> {
    let first = &first[..first.len().min(limits::SNIFF_BYTES)];
    let known = MAGIC.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, mime_type)| *mime_type);
    known
        .or_else(|| by_riff(first))
        .or_else(|| by_brand(first))
        .or_else(|| by_container(first))
        .or_else(|| by_structure(first))
        .or_else(|| is_plain_text(first).then_some("text/plain"))
}

const MAGIC: &[(&[u8], &str)] = &[
    (b"\xFF\xD8\xFF", "image/jpeg"),
    (b"\x89PNG\r\n\x1A\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"FLV\x01", "video/x-flv"),
    (b"\0\0\x01\xBA", "video/mpeg"),
    (b"#!AMR", "audio/amr"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1F\x8B\x08", "application/gzip"),
];

fn by_riff(first: &[u8]) -> Option<&'static str> {
    if !first.starts_with(b"RIFF") {
        return None;
    }
    match first.get(8..12)? {
        b"WEBP" => Some("image/webp"),
        b"WAVE" => Some("audio/x-wav"),
        b"AVI " => Some("video/x-msvideo"),
        _ => None,
    }
}

/// ISO base media files (ISO/IEC 14496-12 section 4.3): the first box names brands, the major one first,
/// then a version, then those it is compatible with.
fn by_brand(first: &[u8]) -> Option<&'static str> {
    let (size, rest) = first.split_first_chunk::<4>()?;
    let rest = rest.strip_prefix(b"ftyp")?;
    let length = usize::try_from(u32::from_be_bytes(*size)).ok()?.saturating_sub(8).min(rest.len());
    let (brands, _) = rest[..length].as_chunks::<4>();
    let (major, compatible) = brands.split_first()?;
    let others = compatible.iter().skip(1);
    // The general brand of pictures says nothing of how they are coded.
    match brand(major)? {
        "image/heif" => {
            others.filter_map(brand).find(|kind| kind.starts_with("image/") && *kind != "image/heif")
        }
        kind => return Some(kind),
    }
    .or(Some("image/heif"))
}

fn brand(brand: &[u8; 4]) -> Option<&'static str> {
    Some(match brand {
        b"avif" | b"avis" => "image/avif",
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => "image/heic",
        b"mif1" | b"msf1" => "image/heif",
        b"M4A " | b"M4B " => "audio/mp4",
        b"M4V " | b"M4VH" | b"M4VP" => "video/x-m4v",
        b"qt  " => "video/quicktime",
        [b'3', b'g', b'2', _] => "video/3gpp2",
        [b'3', b'g', b'p', _] => "video/3gpp",
        [b'i', b's', b'o', _] | [b'm', b'p', b'4', _] | b"avc1" | b"dash" | b"MSNV" => "video/mp4",
        _ => return None,
    })
}

/// Containers that hold sound or films: Ogg (RFC 3533) by its first stream, EBML by its document type.
fn by_container(first: &[u8]) -> Option<&'static str> {
    if first.starts_with(b"OggS") {
        // The first page has one segment, so its packet begins at byte 28.
        let video = first.get(28..).is_some_and(|packet| packet.starts_with(b"\x80theora"));
        return Some(if video { "video/ogg" } else { "audio/ogg" });
    }
    let header = first.strip_prefix(b"\x1A\x45\xDF\xA3")?;
    let header = &header[..header.len().min(64)];
    let names = |kind: &[u8]| memchr::memmem::find(header, kind).is_some();
    if names(b"\x42\x82\x84webm") {
        Some("video/webm")
    } else if names(b"\x42\x82\x88matroska") {
        Some("video/x-matroska")
    } else {
        None
    }
}

/// What has a short magic number and more to be checked: BMP, and audio frames without a tag.
fn by_structure(first: &[u8]) -> Option<&'static str> {
    match first {
        // The four bytes behind the file's size are reserved.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] if first.len() >= 26 => Some("image/bmp"),
        [0xFF, 0xF0 | 0xF1 | 0xF8 | 0xF9, ..] => Some("audio/aac"),
        // Layer III, a bit rate and a sample rate that exist.
        [0xFF, second, third, ..]
            if second & 0xE6 == 0xE2
                && second & 0x18 != 0x08
                && third & 0xF0 != 0xF0
                && third & 0xF0 != 0
                && third & 0x0C != 0x0C =>
        {
            Some("audio/mpeg")
        }
        _ => None,
    }
}

/// UTF-8, cut anywhere, without control characters that no text has; what begins with `<` may be a page.
fn is_plain_text(first: &[u8]) -> bool {
    let text = match str::from_utf8(first) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&first[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let begins = text.trim_start_matches('\u{FEFF}').trim_start().chars().next();
    let allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{C}');
    begins.is_some_and(|begin| begin != '<') && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ftyp(brands: &[u8]) -> Vec<u8> {
        let size = u32::try_from(8 + brands.len()).unwrap();
        [&size.to_be_bytes()[..], b"ftyp", brands, b"\0\0\0\x08free"].concat()
    }

    #[test]
    fn common_types_are_known() {
        let theora = [b"OggS".as_slice(), &[0; 24], b"\x80theora"].concat();
        let bmp = [b"BM\x46\0\0\0\0\0\0\0".as_slice(), &[0; 20]].concat();
        let webm = b"\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01\x42\x82\x84webm\x42\x87";
        let mkv = b"\x1A\x45\xDF\xA3\xA3\x42\x86\x81\x01\x42\x82\x88matroska";
        let cases: &[(&[u8], Option<&str>)] = &[
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", Some("image/jpeg")),
            (b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR", Some("image/png")),
            (b"GIF89a", Some("image/gif")),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\x24\0\0\0WAVEfmt ", Some("audio/x-wav")),
            (b"RIFF\x24\0\0\0AVI LIST", Some("video/x-msvideo")),
            (b"RIFF\x24\0\0\0\xff\0\0\0", None),
            (b"II*\0", Some("image/tiff")),
            (&bmp, Some("image/bmp")),
            (b"%PDF-1.7", Some("application/pdf")),
            (b"ID3\x04", Some("audio/mpeg")),
            (b"\xFF\xFB\x90\x64", Some("audio/mpeg")),
            (b"\xFF\xF1\x50\x80", Some("audio/aac")),
            (b"\xFF\xFEa\0b\0", None),
            (b"fLaC\0", Some("audio/flac")),
            (b"OggS\0\x02", Some("audio/ogg")),
            (&theora, Some("video/ogg")),
            (webm, Some("video/webm")),
            (mkv, Some("video/x-matroska")),
            (b"PK\x03\x04\x14", Some("application/zip")),
            (b"\x1F\x8B\x08\0", Some("application/gzip")),
            (b"\x7fELF\x02\x01", None),
            (b"\0\0\0\0", None),
        ];
        for (first, expected) in cases {
            assert_eq!(sniff(first), *expected, "{first:?}");
        }
    }

    #[test]
    fn brands_tell_films_from_pictures() {
        for (brands, expected) in [
            ("isom\0\0\0\0isomavc1", Some("video/mp4")),
            ("mp42\0\0\0\0", Some("video/mp4")),
            ("M4A \0\0\0\0isom", Some("audio/mp4")),
            ("qt  \0\0\0\0qt  ", Some("video/quicktime")),
            ("3gp5\0\0\0\0", Some("video/3gpp")),
            ("avif\0\0\0\0mif1", Some("image/avif")),
            ("heic\0\0\0\0mif1", Some("image/heic")),
            ("mif1\0\0\0\0mif1heic", Some("image/heic")),
            ("mif1\0\0\0\0mif1avif", Some("image/avif")),
            ("mif1\0\0\0\0isom", Some("image/heif")),
            ("crx \0\0\0\0isom", None),
            ("", None),
        ] {
            assert_eq!(sniff(&ftyp(brands.as_bytes())), expected, "{brands:?}");
        }
        // Sizes that lie: too small to hold a brand, or larger than the file.
        assert_eq!(sniff(b"\0\0\0\x01ftypisom"), None);
        assert_eq!(sniff(b"\xff\xff\xff\xffftypisom"), Some("video/mp4"));
    }

    #[test]
    fn plain_text_is_no_page() {
        for text in ["a", "Grüße\r\n\t\u{C}", "a < b", "{\"a\": 1}", "\u{FEFF}a", " \n x"] {
            assert_eq!(sniff(text.as_bytes()), Some("text/plain"), "{text:?}");
        }
        for text in ["", " \n", "<html>", "\u{FEFF} \n<svg/>", "<?xml?>", "a\0b", "a\u{1b}[0m", "a\u{85}"] {
            assert_eq!(sniff(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(sniff(b"caf\xe9"), Some("text/plain"), "it may be cut there");
        assert_eq!(sniff(b"caf\xe9 au lait"), None);
        assert_eq!(sniff("é".repeat(limits::SNIFF_BYTES).as_bytes()), Some("text/plain"));
        assert_eq!(sniff(format!("a{}", "é".repeat(limits::SNIFF_BYTES)).as_bytes()), Some("text/plain"));
    }

    #[test]
    fn no_beginning_is_too_short_or_too_strange() {
        let mut random = crate::testing::Random::new(1);
        let mut bytes = [0; 40];
        for _ in 0..20_000 {
            bytes.fill_with(|| random.byte());
            bytes[4..8].copy_from_slice(b"ftyp");
            sniff(&bytes);
            sniff(&bytes[4..]);
            sniff(&bytes[..random.below(40)]);
        }
    }
}
