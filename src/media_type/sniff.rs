//! The type of a file by its first bytes. Names and announced types are ignored here.

use crate::limits;

/// The type that the first bytes of a file indicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its media type; [`super::OCTET_STREAM`] where only its container is known.
    pub mime_type: &'static str,
    /// Its reader.
    pub kind: Kind,
}

impl Content {
    /// Whether it is a sound.
    pub fn is_sound(&self) -> bool {
        self.mime_type.starts_with("audio/")
    }
}

/// A reader of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A picture of a format that we decode.
    Picture(Format),
    /// A picture whose size we can read.
    Outline(Outline),
    /// A film or a sound, with the only demuxer of ffmpeg that may read it. None of these opens other files.
    Stream(&'static str),
    /// Nothing here.
    Other,
}

/// Formats of pictures that we decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ITU T.81.
    Jpeg,
    /// W3C PNG.
    Png,
    /// CompuServe GIF, 87a and 89a.
    Gif,
    /// RFC 9649.
    WebP,
    /// Windows and OS/2 bitmaps.
    Bmp,
    /// TIFF 6.0.
    Tiff,
}

impl Format {
    /// Its media type.
    pub fn mime_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
        }
    }
}

/// Formats of pictures that are measured without a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outline {
    /// ISO/IEC 23008-12: HEIC and AVIF.
    Heif,
    /// ISO/IEC 18181: JPEG XL.
    Jxl,
}

/// The type that the first bytes of a file tell. Pages (HTML, XML, SVG) have none: their uploader must name their type.
pub fn sniff(first: &[u8]) -> Option<Content> {
    let first = &first[..first.len().min(limits::SNIFF_BYTES)];
    let content = |(mime_type, kind)| Content { mime_type, kind };
    picture(first)
        .or_else(|| stream(first))
        .or_else(|| behind_tag(first))
        .or_else(|| by_brand(first))
        .or_else(|| frames(first))
        .or_else(|| other(first))
        .or_else(|| is_plain_text(first).then_some(("text/plain", Kind::Other)))
        .map(content)
}

type Row = (&'static str, Kind);

fn picture(first: &[u8]) -> Option<Row> {
    let format = match first {
        [0xFF, 0xD8, 0xFF, ..] => Format::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Format::Png,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Format::Gif,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Format::WebP,
        // The four bytes behind the file's size are reserved.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] if first.len() >= 26 => Format::Bmp,
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Format::Tiff,
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', b'\r', b'\n', 0x87, b'\n', ..] => {
            return Some(("image/jxl", Kind::Outline(Outline::Jxl)));
        }
        _ => return None,
    };
    Some((format.mime_type(), Kind::Picture(format)))
}

/// Containers of films and sounds.
fn stream(first: &[u8]) -> Option<Row> {
    let (mime_type, demuxer) = match first {
        [0x1A, 0x45, 0xDF, 0xA3, header @ ..] => (document_type(header), "matroska"),
        [b'O', b'g', b'g', b'S', page @ ..] => (first_stream(page), "ogg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => ("video/x-msvideo", "avi"),
        // RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088) are WAV beyond 4 GiB.
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        | [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        | [b'B', b'W', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => ("audio/x-wav", "wav"),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => ("audio/x-aiff", "aiff"),
        [b'F', b'L', b'V', 1, ..] => ("video/x-flv", "flv"),
        [0, 0, 1, 0xBA, ..] => ("video/mpeg", "mpeg"),
        [0x30, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11, ..] => ("video/x-ms-wmv", "asf"),
        [b'f', b'L', b'a', b'C', ..] => ("audio/flac", "flac"),
        [b'#', b'!', b'A', b'M', b'R', ..] => ("audio/amr", "amr"),
        [b'.', b's', b'n', b'd', ..] => ("audio/basic", "au"),
        [_, _, _, _, b'm', b'o', b'o', b'v', ..]
        | [_, _, _, _, b'm', b'd', b'a', b't', ..]
        | [_, _, _, _, b'w', b'i', b'd', b'e', ..]
        | [_, _, _, _, b'f', b'r', b'e', b'e', ..]
        | [_, _, _, _, b's', b'k', b'i', b'p', ..] => ("video/quicktime", "mov"),
        _ if is_transport_stream(first) => ("video/mp2t", "mpegts"),
        _ => return None,
    };
    Some((mime_type, Kind::Stream(demuxer)))
}

/// ISO/IEC 13818-1: packets of 188 bytes, in camcorders' files each behind a time of 4 bytes.
fn is_transport_stream(first: &[u8]) -> bool {
    let synchronised =
        |at: usize, packet: usize| (0..3).all(|number| first.get(at + number * packet) == Some(&0x47));
    synchronised(0, 188) || synchronised(4, 192)
}

/// EBML (RFC 8794) names its document type.
fn document_type(header: &[u8]) -> &'static str {
    let header = &header[..header.len().min(64)];
    let names = |kind: &[u8]| memchr::memmem::find(header, kind).is_some();
    if names(b"\x42\x82\x84webm") {
        "video/webm"
    } else if names(b"\x42\x82\x88matroska") {
        "video/x-matroska"
    } else {
        super::OCTET_STREAM
    }
}

/// The first page of an Ogg file (RFC 3533), without its magic number, has one segment: its packet begins at byte 24.
fn first_stream(page: &[u8]) -> &'static str {
    let video = page.get(24..).is_some_and(|packet| packet.starts_with(b"\x80theora"));
    if video { "video/ogg" } else { "audio/ogg" }
}

/// Sound behind an ID3 tag; MP3 where the tag is longer than what is known of the file.
fn behind_tag(first: &[u8]) -> Option<Row> {
    if !first.starts_with(b"ID3") {
        return None;
    }
    let end = tag_end(first).and_then(|end| usize::try_from(end).ok());
    let rest = end.and_then(|end| first.get(end..)).unwrap_or_default();
    let sound =
        stream(rest).or_else(|| frames(rest)).filter(|(mime_type, _)| mime_type.starts_with("audio/"));
    sound.or(Some(("audio/mpeg", Kind::Stream("mp3"))))
}

/// Where an ID3v2 tag at the beginning of a file ends (ID3v2.4 section 3.1).
pub fn tag_end(first: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = first else { return None };
    let size = [a, b, c, d].iter().fold(0, |size, byte| size << 7 | u64::from(**byte & 0x7F));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    Some(10 + size + footer)
}

/// ISO base media files (ISO/IEC 14496-12 section 4.3): the first box names brands, the major one first,
/// then a version, then those it is compatible with.
fn by_brand(first: &[u8]) -> Option<Row> {
    let (size, rest) = first.split_first_chunk::<4>()?;
    let rest = rest.strip_prefix(b"ftyp")?;
    let length = usize::try_from(u32::from_be_bytes(*size)).ok()?.saturating_sub(8).min(rest.len());
    let (brands, _) = rest[..length].as_chunks::<4>();
    let (major, compatible) = brands.split_first()?;
    let others = compatible.iter().skip(1);
    Some(match brand(major) {
        // The general brand of pictures says nothing of how they are coded.
        Some("image/heif") => {
            let coded =
                others.filter_map(brand).find(|kind| kind.starts_with("image/") && *kind != "image/heif");
            (coded.unwrap_or("image/heif"), Kind::Outline(Outline::Heif))
        }
        Some(kind) if kind.starts_with("image/") => (kind, Kind::Outline(Outline::Heif)),
        Some(kind) => (kind, Kind::Stream("mov")),
        None => (super::OCTET_STREAM, Kind::Stream("mov")),
    })
}

fn brand(brand: &[u8; 4]) -> Option<&'static str> {
    Some(match brand {
        b"avif" | b"avis" => "image/avif",
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => "image/heic",
        b"mif1" | b"msf1" | b"mif2" | b"mif3" => "image/heif",
        b"M4A " | b"M4B " => "audio/mp4",
        b"M4V " | b"M4VH" | b"M4VP" => "video/x-m4v",
        b"qt  " => "video/quicktime",
        [b'3', b'g', b'2', _] => "video/3gpp2",
        [b'3', b'g', b'p', _] => "video/3gpp",
        [b'i', b's', b'o', _] | [b'm', b'p', b'4', _] | b"avc1" | b"dash" | b"MSNV" => "video/mp4",
        _ => return None,
    })
}

/// Sound without a container. MP3: layer III, a bit rate and a sample rate that exist.
fn frames(first: &[u8]) -> Option<Row> {
    match first {
        [0xFF, 0xF0 | 0xF1 | 0xF8 | 0xF9, ..] => Some(("audio/aac", Kind::Stream("aac"))),
        [0xFF, second, third, ..]
            if second & 0xE6 == 0xE2
                && second & 0x18 != 0x08
                && third & 0xF0 != 0xF0
                && third & 0xF0 != 0
                && third & 0x0C != 0x0C =>
        {
            Some(("audio/mpeg", Kind::Stream("mp3")))
        }
        _ => None,
    }
}

/// Types that have no preview.
fn other(first: &[u8]) -> Option<Row> {
    let mime_type = match first {
        [b'%', b'P', b'D', b'F', b'-', ..] => "application/pdf",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "application/zip",
        [0x1F, 0x8B, 8, ..] => "application/gzip",
        _ => return None,
    };
    Some((mime_type, Kind::Other))
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
mod tests;
