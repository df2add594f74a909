//! Width, height and orientation of pictures by their headers alone: a few reads, no decoding.

use image::metadata::Orientation;

use super::source::ReadAt;
use crate::media_type::Format;

/// Segments or chunks that are walked past for what is sought. Real files have less than a hundred.
const STEPS: usize = 1000;
/// Directories below the first one of a TIFF that are looked at.
const SUB_DIRECTORIES: u32 = 16;
/// Stray bytes that may stand between two segments.
const STRAY_BYTES: usize = 4096;
/// Bytes of Exif data that are read; in JPEG it can't be more.
const EXIF_BYTES: usize = 65_533;

/// The content of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub format: Format,
    /// Pixels of a row as stored.
    pub width: u32,
    /// Rows as stored.
    pub height: u32,
    /// How the stored picture must be turned to show it.
    pub orientation: Orientation,
}

impl Header {
    /// Pixels as stored.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Width and height as shown.
    pub fn shown(&self) -> (u32, u32) {
        if turns(self.orientation) { (self.height, self.width) } else { (self.width, self.height) }
    }
}

/// Whether rows become columns.
pub(super) fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Reads the header of a picture that begins as `format` does.
pub(super) fn read(source: &(impl ReadAt + ?Sized), format: Format) -> Option<Header> {
    let (width, height, orientation) = match format {
        Format::Jpeg => jpeg(source)?,
        Format::Png => png(source)?,
        Format::Gif => gif(source)?,
        Format::Bmp => bmp(source)?,
        Format::WebP => webp(source)?,
        Format::Tiff => tiff(source)?,
    };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    (width > 0 && height > 0).then_some(Header { format, width, height, orientation })
}

type Read = (u32, u32, Option<Orientation>);

fn upright(width: u32, height: u32) -> Read {
    (width, height, None)
}

/// ITU T.81 annex B: segments up to the frame header.
fn jpeg(source: &(impl ReadAt + ?Sized)) -> Option<Read> {
    let (mut at, mut orientation) = (2, None);
    for _ in 0..STEPS {
        let [first, marker, high, low] = source.bytes(at)?;
        if first != 0xFF {
            // Stray bytes between segments are passed over, as browsers do.
            at += stray(&source.part(at, STRAY_BYTES))?;
            continue;
        }
        let length = u64::from(u16::from_be_bytes([high, low]));
        match marker {
            // Fill, and markers that stand alone.
            0x00 | 0xFF => at += 1,
            0x01 | 0xD0..=0xD7 => at += 2,
            0xD8..=0xDA => return None,
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let [_, a, b, c, d] = source.bytes(at + 4)?;
                let (height, width) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                return Some((width.into(), height.into(), orientation));
            }
            _ => {
                if marker == 0xE1 && orientation.is_none() && source.bytes(at + 4) == Some(*b"Exif\0\0") {
                    let length = usize::try_from(length.saturating_sub(8)).ok()?;
                    orientation = exif(source, at + 10, length);
                }
                at += 2 + length.max(2);
            }
        }
    }
    None
}

/// How many bytes come before the next marker.
fn stray(bytes: &[u8]) -> Option<u64> {
    memchr::memchr(0xFF, bytes).map(|at| at as u64)
}

/// GIF89a section 18: the logical screen; where that has no side, the place of the first frame.
fn gif(source: &(impl ReadAt + ?Sized)) -> Option<Read> {
    let sides = |[a, b, c, d]: [u8; 4]| {
        (u32::from(u16::from_le_bytes([a, b])), u32::from(u16::from_le_bytes([c, d])))
    };
    let (width, height) = sides(source.bytes(6)?);
    if width > 0 && height > 0 {
        return Some(upright(width, height));
    }
    let [flags] = source.bytes(10)?;
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3_u64 << ((flags & 7) + 1) };
    let mut at = 13 + table(flags);
    for _ in 0..STEPS {
        match source.bytes(at)? {
            [0x21, _] => at += 2,
            [0x2C, _] => {
                let ((left, top), (width, height)) =
                    (sides(source.bytes(at + 1)?), sides(source.bytes(at + 5)?));
                return Some(upright(left + width, top + height));
            }
            [0, _] => at += 1,
            // A sub-block of an extension.
            [length, _] => at += 1 + u64::from(length),
        }
    }
    None
}

/// The first chunk is the header; eXIf stands before the pixels.
fn png(source: &(impl ReadAt + ?Sized)) -> Option<Read> {
    if source.bytes(12) != Some(*b"IHDR") {
        return None;
    }
    let (width, height) = (u32::from_be_bytes(source.bytes(16)?), u32::from_be_bytes(source.bytes(20)?));
    let mut at = 8;
    for _ in 0..STEPS {
        let (Some(length), Some(name)) = (source.bytes(at), source.bytes(at + 4)) else { break };
        let length = u32::from_be_bytes(length);
        match &name {
            b"eXIf" => {
                let orientation = exif(source, at + 8, usize::try_from(length).ok()?);
                return Some((width, height, orientation));
            }
            b"IDAT" | b"IEND" => break,
            _ => at += 12 + u64::from(length),
        }
    }
    Some(upright(width, height))
}

/// OS/2 headers have 16-bit numbers; in others a negative height is a picture from the top down.
fn bmp(source: &(impl ReadAt + ?Sized)) -> Option<Read> {
    let size = u32::from_le_bytes(source.bytes(14)?);
    if size == 12 {
        let (width, height) = (u16::from_le_bytes(source.bytes(18)?), u16::from_le_bytes(source.bytes(20)?));
        return Some(upright(width.into(), height.into()));
    }
    let (width, height) = (i32::from_le_bytes(source.bytes(18)?), i32::from_le_bytes(source.bytes(22)?));
    Some(upright(u32::try_from(width).ok()?, height.unsigned_abs()))
}

/// RFC 9649 section 2.
fn webp(source: &(impl ReadAt + ?Sized)) -> Option<Read> {
    match &source.bytes(12)? {
        b"VP8 " => vp8(source, 20).map(|(width, height)| upright(width, height)),
        b"VP8L" => {
            let [0x2F, rest @ ..] = source.bytes::<5>(20)? else { return None };
            let bits = u32::from_le_bytes(rest);
            Some(upright((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
        }
        b"VP8X" => {
            let [flags, _, _, _, a, b, c, d, e, f] = source.bytes(20)?;
            let canvas = (u32::from_le_bytes([a, b, c, 0]) + 1, u32::from_le_bytes([d, e, f, 0]) + 1);
            Some((canvas.0, canvas.1, webp_chunks(source, flags, canvas)?))
        }
        _ => None,
    }
}

/// RFC 6386 section 9.1: the sides of a key frame.
fn vp8(source: &(impl ReadAt + ?Sized), at: u64) -> Option<(u32, u32)> {
    let [0x9D, 0x01, 0x2A, a, b, c, d] = source.bytes(at + 3)? else { return None };
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    Some((side(a, b), side(c, d)))
}

/// The orientation of a picture on a canvas. `None` if a frame may be larger than the canvas: the decoder allocates
/// what the frame says before it compares.
fn webp_chunks(
    source: &(impl ReadAt + ?Sized),
    flags: u8,
    (width, height): (u32, u32),
) -> Option<Option<Orientation>> {
    let [has_exif, animated] = [0x08, 0x02].map(|flag| flags & flag != 0);
    let fits = |at| vp8(source, at).is_none_or(|frame| frame.0 <= width && frame.1 <= height);
    let (mut at, mut orientation, mut first) = (12, None, true);
    for _ in 0..STEPS {
        let (Some(name), Some(length)) = (source.bytes(at), source.bytes(at + 4)) else {
            return Some(orientation);
        };
        let length = u32::from_le_bytes(length);
        match &name {
            b"VP8 " if !fits(at + 8) => return None,
            b"ANMF" if std::mem::take(&mut first) && !frame_fits(source, at + 24, fits) => return None,
            b"EXIF" if has_exif && orientation.is_none() => {
                orientation = exif(source, at + 8, usize::try_from(length).ok()?);
            }
            _ => {}
        }
        at += 8 + u64::from(length) + u64::from(length % 2);
    }
    // Only the first frame of an animation is read.
    (animated && !first).then_some(orientation)
}

/// Whether the frame of an animation fits, before which its alpha channel may stand.
fn frame_fits(source: &(impl ReadAt + ?Sized), mut at: u64, fits: impl Fn(u64) -> bool) -> bool {
    if source.bytes(at) == Some(*b"ALPH") {
        let length = source.bytes(at + 4).map_or(0, u32::from_le_bytes);
        at += 8 + u64::from(length) + u64::from(length % 2);
    }
    source.bytes(at) != Some(*b"VP8 ") || fits(at + 8)
}

/// TIFF 6.0 section 2: the first directory, or the largest of those below it. Raw photos (DNG) have a thumbnail in the
/// first one.
fn tiff(source: &(impl ReadAt + ?Sized)) -> Option<Read> {
    let big = source.bytes(0)? == *b"MM";
    let first = directory(source, big, number(big, source.bytes(4)?))?;
    let mut largest = first.size;
    for below in first.below {
        let size = directory(source, big, below).and_then(|directory| directory.size);
        largest = larger(largest, size);
    }
    let (width, height) = largest?;
    Some((width, height, first.orientation))
}

fn larger(one: Option<(u32, u32)>, other: Option<(u32, u32)>) -> Option<(u32, u32)> {
    let pixels = |size: Option<(u32, u32)>| size.map(|(width, height)| u64::from(width) * u64::from(height));
    if pixels(other) > pixels(one) { other } else { one }
}

/// The content of a directory of a TIFF.
#[derive(Default)]
struct Directory {
    size: Option<(u32, u32)>,
    orientation: Option<Orientation>,
    /// Where the directories below it are (SubIFDs).
    below: Vec<u32>,
}

fn directory(source: &(impl ReadAt + ?Sized), big: bool, at: u32) -> Option<Directory> {
    let short = |bytes: [u8; 2]| if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    let (mut width, mut height, mut found) = (None, None, Directory::default());
    for entry in 0..usize::from(short(source.bytes(u64::from(at))?)).min(STEPS) {
        let at = u64::from(at) + 2 + 12 * entry as u64;
        let (tag, kind) = (short(source.bytes(at)?), short(source.bytes(at + 2)?));
        let value = match kind {
            3 => u32::from(short(source.bytes(at + 8)?)),
            4 | 13 => number(big, source.bytes(at + 8)?),
            _ => continue,
        };
        match tag {
            256 => width = Some(value),
            257 => height = Some(value),
            274 => found.orientation = u8::try_from(value).ok().and_then(Orientation::from_exif),
            330 => {
                let count = number(big, source.bytes(at + 4)?).min(SUB_DIRECTORIES);
                let places = |number_of: u32| source.bytes(u64::from(value) + 4 * u64::from(number_of));
                found.below = match count {
                    1 => vec![value],
                    count => (0..count).filter_map(places).map(|bytes| number(big, bytes)).collect(),
                };
            }
            _ => {}
        }
    }
    found.size = width.zip(height);
    Some(found)
}

fn number(big: bool, bytes: [u8; 4]) -> u32 {
    if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

fn exif(source: &(impl ReadAt + ?Sized), at: u64, length: usize) -> Option<Orientation> {
    Orientation::from_exif_chunk(&source.part(at, length.min(EXIF_BYTES)))
}
