//! Sizes of pictures that we don't decode: HEIC, AVIF, JPEG XL, SVG; of HEIC and AVIF also how they are shown.

use image::metadata::Orientation;

use super::header::turns;
use super::source::ReadAt;
use crate::media_type::Outline;

/// Boxes, properties or associations of a HEIF file that are looked at.
const STEPS: usize = 1000;
/// Bytes at the beginning of an SVG among which its first tag is sought.
const SVG_BYTES: usize = 16 * 1024;
/// Bytes at the beginning of a file that tell most others from SVG.
const SVG_START: usize = 64;
/// Bytes of the longest ICC profile that is read.
const PROFILE_BYTES: usize = 4 * 1024 * 1024;
/// The longest plausible side, in pixels.
const LONGEST: u32 = 1 << 30;

/// Width and height as shown.
pub(super) fn size(source: &(impl ReadAt + ?Sized), outline: Outline) -> Option<(u32, u32)> {
    let size = match outline {
        Outline::Heif => heif(source).map(|item| item.shown()),
        Outline::Jxl => jxl(source),
    };
    size.filter(is_credible)
}

/// The properties of the primary item of a HEIF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Width and height as stored.
    pub size: (u32, u32),
    /// The transformations that show the stored picture, in this order.
    pub turned: Vec<Orientation>,
    /// The ICC profile of its colours.
    pub profile: Option<Vec<u8>>,
}

impl Item {
    /// Width and height as shown.
    fn shown(&self) -> (u32, u32) {
        let (width, height) = self.size;
        if self.turned.iter().filter(|turn| turns(**turn)).count() % 2 == 1 {
            (height, width)
        } else {
            (width, height)
        }
    }
}

fn is_credible((width, height): &(u32, u32)) -> bool {
    (1..=LONGEST).contains(width) && (1..=LONGEST).contains(height)
}

/// A box of ISO/IEC 14496-12: its name, and where its content begins and ends.
type Content = ([u8; 4], u64, u64);

/// The boxes between two places.
fn boxes(source: &(impl ReadAt + ?Sized), mut at: u64, end: u64) -> Vec<Content> {
    let mut found = Vec::new();
    while at < end && found.len() < STEPS {
        let (Some(size), Some(name)) = (source.bytes(at).map(u32::from_be_bytes), source.bytes(at + 4))
        else {
            break;
        };
        let (head, size) = match size {
            0 => (8, end - at),
            1 => (16, source.bytes(at + 8).map_or(0, u64::from_be_bytes)),
            size => (8, u64::from(size)),
        };
        if size < head {
            break;
        }
        let behind = at.saturating_add(size).min(end);
        found.push((name, at + head, behind));
        at = behind;
    }
    found
}

fn within(
    source: &(impl ReadAt + ?Sized),
    parent: &Content,
    skipped: u64,
    name: &[u8; 4],
) -> Option<Content> {
    boxes(source, parent.1 + skipped, parent.2).into_iter().find(|found| found.0 == *name)
}

/// ISO/IEC 23008-12: the primary item's `ispe`, with its `irot`, `imir` and `colr`.
pub(super) fn heif(source: &(impl ReadAt + ?Sized)) -> Option<Item> {
    let meta = boxes(source, 0, u64::MAX).into_iter().find(|found| found.0 == *b"meta")?;
    let primary = within(source, &meta, 4, b"pitm").and_then(|pitm| {
        let [version] = source.bytes(pitm.1)?;
        match version {
            0 => source.bytes(pitm.1 + 4).map(|id| u32::from(u16::from_be_bytes(id))),
            _ => source.bytes(pitm.1 + 4).map(u32::from_be_bytes),
        }
    })?;
    let iprp = within(source, &meta, 4, b"iprp")?;
    let properties = within(source, &iprp, 0, b"ipco").map(|ipco| boxes(source, ipco.1, ipco.2))?;
    let ipma = within(source, &iprp, 0, b"ipma")?;
    let (mut size, mut item) = (None, Item { size: (0, 0), turned: Vec::new(), profile: None });
    for index in associations(source, &ipma, primary)? {
        let Some((name, at, end)) = index.checked_sub(1).and_then(|index| properties.get(index)) else {
            continue;
        };
        match name {
            b"ispe" => {
                let side = |at| source.bytes(at).map(u32::from_be_bytes);
                size = side(at + 4).zip(side(at + 8));
            }
            b"irot" | b"imir" => item.turned.extend(source.bytes(*at).and_then(|[way]| turning(name, way))),
            b"colr" if source.bytes(*at).is_some_and(|kind: [u8; 4]| matches!(&kind, b"prof" | b"rICC")) => {
                let length = usize::try_from(end - at).ok()?.clamp(4, PROFILE_BYTES) - 4;
                item.profile = Some(source.part(at + 4, length));
            }
            _ => {}
        }
    }
    Some(Item { size: size.filter(is_credible)?, ..item })
}

/// Sections 6.5.10 and 6.5.12: turns to the left in steps of 90 degrees; mirrors of rows (0) or columns.
fn turning(name: &[u8; 4], way: u8) -> Option<Orientation> {
    Some(match (name, way & 3) {
        (b"irot", 1) => Orientation::Rotate270,
        (b"irot", 2) => Orientation::Rotate180,
        (b"irot", 3) => Orientation::Rotate90,
        (b"imir", way) if way & 1 == 0 => Orientation::FlipVertical,
        (b"imir", _) => Orientation::FlipHorizontal,
        _ => return None,
    })
}

/// The numbers, from 1 on, of an item's properties.
fn associations(source: &(impl ReadAt + ?Sized), ipma: &Content, item: u32) -> Option<Vec<usize>> {
    let [version, _, _, flags] = source.bytes(ipma.1)?;
    let count = u32::from_be_bytes(source.bytes(ipma.1 + 4)?);
    let mut at = ipma.1 + 8;
    for _ in 0..usize::try_from(count).ok()?.min(STEPS) {
        let id = if version == 0 {
            at += 2;
            u32::from(u16::from_be_bytes(source.bytes(at - 2)?))
        } else {
            at += 4;
            u32::from_be_bytes(source.bytes(at - 4)?)
        };
        let [number] = source.bytes(at)?;
        at += 1;
        let wide = flags & 1 == 1;
        let places = (0..u64::from(number)).map(|place| at + place * if wide { 2 } else { 1 });
        if id == item {
            let read = |place| {
                if wide {
                    source.bytes(place).map(|index| usize::from(u16::from_be_bytes(index) & 0x7FFF))
                } else {
                    source.bytes(place).map(|[index]: [u8; 1]| usize::from(index & 0x7F))
                }
            };
            return places.map(read).collect();
        }
        at += u64::from(number) * if wide { 2 } else { 1 };
    }
    None
}

/// ISO/IEC 18181-1: the size header, and the orientation behind it.
fn jxl(source: &(impl ReadAt + ?Sized)) -> Option<(u32, u32)> {
    let start = match source.bytes(0)? {
        [0xFF, 0x0A] => 2,
        _ => boxes(source, 0, u64::MAX).into_iter().find_map(|(name, at, _)| match &name {
            b"jxlc" => Some(at + 2),
            // Each part has its number first.
            b"jxlp" => Some(at + 6),
            _ => None,
        })?,
    };
    let mut bits = Bits { bytes: source.part(start, 16), at: 0 };
    let small = bits.read(1)? == 1;
    let side = |bits: &mut Bits| {
        if small {
            return Some((bits.read(5)? + 1) * 8);
        }
        let width = [9, 13, 18, 30][bits.read(2)? as usize];
        bits.read(width)?.checked_add(1)
    };
    let height = side(&mut bits)?;
    let width = match bits.read(3)? {
        0 => side(&mut bits)?,
        ratio => {
            let (times, by) = [(1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1)][ratio as usize - 1];
            u32::try_from(u64::from(height) * times / by).ok()?
        }
    };
    let all_default = bits.read(1)? == 1;
    let turned = !all_default && bits.read(1)? == 1 && bits.read(3)? >= 4;
    Some(if turned { (height, width) } else { (width, height) })
}

/// Bits from the lowest of each byte on.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for bit in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value |= u32::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(value)
    }
}

/// SVG 2 section 8.2: `width` and `height` in pixels, else the size of the view box.
pub(super) fn svg(source: &(impl ReadAt + ?Sized)) -> Option<(u32, u32)> {
    // Most files are something else, and to decode their bytes as text takes time.
    if !may_be_markup(&source.part(0, SVG_START)) {
        return None;
    }
    let head = source.part(0, SVG_BYTES);
    let text = String::from_utf8_lossy(&head);
    let begins = text.trim_start_matches('\u{FEFF}').trim_start();
    if !(begins.starts_with("<svg") || begins.starts_with("<?xml") || begins.starts_with("<!")) {
        return None;
    }
    let (_, tag) = text.split_once("<svg")?;
    let (tag, _) = tag.split_once('>')?;
    let pixels = |name| attribute(tag, name).and_then(|value| length(&value));
    let sides = pixels("width").zip(pixels("height"));
    sides.or_else(|| view_box(&attribute(tag, "viewBox")?)).filter(is_credible)
}

/// Whether the first byte behind a byte order mark and white space is `<`, or is not among these bytes.
fn may_be_markup(start: &[u8]) -> bool {
    let start = start.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(start);
    start.trim_ascii_start().first().is_none_or(|first| *first == b'<')
}

fn attribute(tag: &str, wanted: &str) -> Option<String> {
    let mut rest = tag;
    while let Some((name, behind)) = rest.split_once('=') {
        let behind = behind.trim_start();
        let quote = behind.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (value, after) = behind[1..].split_once(quote)?;
        if name.trim() == wanted {
            return Some(value.trim().to_owned());
        }
        rest = after;
    }
    None
}

/// A length in pixels: CSS has 96 of them to an inch.
fn length(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let times = match unit.trim() {
        "" | "px" => 1.0,
        "pt" => 96.0 / 72.0,
        "pc" => 16.0,
        "mm" => 96.0 / 25.4,
        "cm" => 96.0 / 2.54,
        "in" => 96.0,
        _ => return None,
    };
    whole(number.parse::<f64>().ok()? * times)
}

fn view_box(text: &str) -> Option<(u32, u32)> {
    let numbers: Vec<f64> = text
        .split([' ', ',', '\t', '\n'])
        .filter(|word| !word.is_empty())
        .map_while(|word| word.parse().ok())
        .collect();
    let [_, _, width, height] = numbers.try_into().ok()?;
    whole(width).zip(whole(height))
}

fn whole(number: f64) -> Option<u32> {
    let rounded = number.round();
    (rounded >= 1.0 && rounded <= f64::from(LONGEST)).then_some(rounded as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len() + 8).unwrap().to_be_bytes()[..], name, content].concat()
    }

    /// A picture of 96 by 64 whose primary item is the second one.
    fn heif(angle: u8, wide: bool) -> Vec<u8> {
        let ispe = |width: u32, height: u32| {
            of(b"ispe", &[&[0; 4][..], &width.to_be_bytes(), &height.to_be_bytes()].concat())
        };
        let ipco = of(b"ipco", &[ispe(9, 9), ispe(96, 64), of(b"irot", &[angle])].concat());
        let ids: &[u8] = if wide {
            &[0, 1, 1, 0, 1, 0, 2, 2, 0x80, 2, 0x80, 3]
        } else {
            &[0, 1, 1, 1, 0, 2, 2, 0x82, 0x83]
        };
        let ipma = of(b"ipma", &[&[0, 0, 0, u8::from(wide)][..], &2_u32.to_be_bytes(), ids].concat());
        let pitm = of(b"pitm", &[0, 0, 0, 0, 0, 2]);
        let meta = [&[0; 4][..], &pitm, &of(b"iprp", &[ipco, ipma].concat())].concat();
        [of(b"ftyp", b"avif\0\0\0\0"), of(b"meta", &meta)].concat()
    }

    #[test]
    fn a_heif_file_is_measured_by_its_primary_item() {
        for (angle, expected) in [(0, (96, 64)), (1, (64, 96)), (2, (96, 64)), (3, (64, 96))] {
            for wide in [false, true] {
                let bytes = heif(angle, wide);
                assert_eq!(size(bytes.as_slice(), Outline::Heif), Some(expected));
                let item = super::heif(bytes.as_slice()).unwrap();
                let turned = [
                    None,
                    Some(Orientation::Rotate270),
                    Some(Orientation::Rotate180),
                    Some(Orientation::Rotate90),
                ];
                assert_eq!(item.turned.first().copied(), turned[usize::from(angle)]);
                assert_eq!((item.size, item.profile), ((96, 64), None));
                for end in 0..bytes.len() {
                    size(&bytes[..end], Outline::Heif);
                }
            }
        }
    }

    /// The size header of a picture, bit by bit.
    fn jxl(fields: &[(u32, usize)]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        let mut at = 0;
        for (value, count) in fields {
            for bit in 0..*count {
                bytes[at / 8] |= u8::try_from(value >> bit & 1).unwrap() << (at % 8);
                at += 1;
            }
        }
        [&[0xFF, 0x0A][..], &bytes].concat()
    }

    #[test]
    fn a_jpeg_xl_file_is_measured_by_its_size_header() {
        for (fields, expected) in [
            (&[(1, 1), (7, 5), (0, 3), (11, 5), (1, 1)][..], (96, 64)),
            (&[(1, 1), (7, 5), (4, 3), (1, 1)], (96, 64)),
            (&[(0, 1), (0, 2), (63, 9), (0, 3), (1, 2), (95, 13), (1, 1)], (96, 64)),
            (&[(0, 1), (0, 2), (63, 9), (4, 3), (0, 1), (1, 1), (5, 3)], (64, 96)),
        ] {
            let bytes = jxl(fields);
            assert_eq!(size(bytes.as_slice(), Outline::Jxl), Some(expected), "{fields:?}");
            let boxed = [of(b"JXL ", b"\r\n\x87\n"), of(b"jxlc", &bytes)].concat();
            assert_eq!(size(boxed.as_slice(), Outline::Jxl), Some(expected));
            let parts = [of(b"JXL ", b"\r\n\x87\n"), of(b"jxlp", &[&[0; 4][..], &bytes].concat())].concat();
            assert_eq!(size(parts.as_slice(), Outline::Jxl), Some(expected));
        }
    }

    #[test]
    fn a_drawing_is_measured_by_its_first_tag() {
        for (text, expected) in [
            ("<svg width='96' height=\"64px\">", Some((96, 64))),
            ("<?xml version='1.0'?>\n<!-- a --><svg xmlns='x' viewBox='0 0 96 64' >", Some((96, 64))),
            ("<svg width='1in' height='72pt'>", Some((96, 96))),
            ("<svg width='100%' height='100%' viewBox='0,0,96.4,63.6'/>", Some((96, 64))),
            ("<svg stroke-width='9' width='0' height='5'>", None),
            ("<svg width='-1' height='5'>", None),
            ("<svg", None),
            ("text <svg width='96' height='64'>", None),
            ("\u{FEFF} \r\n\t<svg width='96' height='64'>", Some((96, 64))),
            (&format!("{}<svg width='96' height='64'>", " ".repeat(SVG_START)), Some((96, 64))),
            (&format!("{}text <svg width='96' height='64'>", " ".repeat(SVG_START)), None),
            ("<html>", None),
        ] {
            assert_eq!(svg(text.as_bytes()), expected, "{text}");
        }
    }
}
