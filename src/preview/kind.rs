//! What a file is, by its first bytes. Names and announced types count for nothing here.

/// Bytes that tell.
pub(super) const HEAD: usize = 400;

/// What a preview or a playing time can be had of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A still picture, or one whose first frame is looked at.
    Picture(Format),
    /// A film or a sound, with the only demuxer of ffmpeg that may read it. None of these opens other files.
    Stream(&'static str),
}

/// Formats of pictures.
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

/// The kind of a file that begins with these bytes.
pub(super) fn kind(head: &[u8]) -> Option<Kind> {
    picture(head).map(Kind::Picture).or_else(|| stream(head).map(Kind::Stream))
}

fn picture(head: &[u8]) -> Option<Format> {
    Some(match head {
        [0xFF, 0xD8, 0xFF, ..] => Format::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Format::Png,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Format::Gif,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Format::WebP,
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Format::Bmp,
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Format::Tiff,
        _ => return None,
    })
}

/// The demuxer of a film or sound.
fn stream(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "matroska",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => "avi",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "wav",
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => "aiff",
        [b'F', b'L', b'V', 1, ..] => "flv",
        [b'O', b'g', b'g', b'S', ..] => "ogg",
        [0, 0, 1, 0xBA, ..] => "mpeg",
        [0x30, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11, ..] => "asf",
        [b'f', b'L', b'a', b'C', ..] => "flac",
        [b'#', b'!', b'A', b'M', b'R', ..] => "amr",
        [b'.', b's', b'n', b'd', ..] => "au",
        [b'I', b'D', b'3', ..] => "mp3",
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => return is_film(brand).then_some("mov"),
        [_, _, _, _, atom @ ..]
            if [b"moov", b"mdat", b"wide", b"free", b"skip"].iter().any(|known| atom.starts_with(*known)) =>
        {
            "mov"
        }
        [0xFF, 0xF0 | 0xF1 | 0xF8 | 0xF9, ..] => "aac",
        [0xFF, second, ..] if second & 0xE6 == 0xE2 && second & 0x18 != 0x08 => "mp3",
        [0x47, ..] if head.get(188) == Some(&0x47) && head.get(376) == Some(&0x47) => "mpegts",
        _ => return None,
    })
}

/// Whether a file with this brand holds a film or a sound; AVIF and HEIC are in the same container.
fn is_film(brand: &[u8]) -> bool {
    let pictures = [b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
    !pictures.iter().any(|picture| brand.starts_with(*picture))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_content() {
        let transport = [&[0x47][..], &[0; 187]].concat().repeat(3);
        let cases: &[(&[u8], Option<Kind>)] = &[
            (b"\xFF\xD8\xFF\xE0", Some(Kind::Picture(Format::Jpeg))),
            (b"\x89PNG\r\n\x1A\n", Some(Kind::Picture(Format::Png))),
            (b"GIF89a", Some(Kind::Picture(Format::Gif))),
            (b"RIFF\0\0\0\0WEBP", Some(Kind::Picture(Format::WebP))),
            (b"BM\x01\0\0\0\0\0\0\0", Some(Kind::Picture(Format::Bmp))),
            (b"MM\0*", Some(Kind::Picture(Format::Tiff))),
            (b"\0\0\0\x18ftypmp42", Some(Kind::Stream("mov"))),
            (b"\0\0\0\x18ftypavif", None),
            (b"\0\0\0\x08wide", Some(Kind::Stream("mov"))),
            (b"\xFF\xFB\x90", Some(Kind::Stream("mp3"))),
            (b"\xFF\xF1\x50", Some(Kind::Stream("aac"))),
            (&transport, Some(Kind::Stream("mpegts"))),
            (b"G", None),
            (b"", None),
        ];
        for (head, expected) in cases {
            assert_eq!(kind(head), *expected, "{head:?}");
        }
    }

    #[test]
    fn what_names_other_files_is_nothing() {
        for list in [
            "#EXTM3U\n/etc/passwd",
            "ffconcat version 1.0\nfile /etc/passwd",
            "file '/etc/passwd'",
            "<?xml version='1.0'?><MPD/>",
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1",
            "[playlist]\nFile1=http://127.0.0.1/",
            "<svg xmlns:xlink='http://www.w3.org/1999/xlink'/>",
        ] {
            assert_eq!(kind(list.as_bytes()), None, "{list}");
        }
    }
}
