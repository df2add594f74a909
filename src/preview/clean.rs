//! Containers of pictures without other content than the picture: no EXIF, XMP, IPTC, comments, thumbnails or data
//! behind the end. The data of the picture stay, bit by bit; colour profiles stay, too.

use super::header;
use crate::media_type::Format;

/// A picture without metadata.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    pub bytes: Vec<u8>,
    /// Whether it moves.
    pub animated: bool,
}

/// Cleans a container; `None` where that is not known to work, or where something else is left of a damaged one.
pub(super) fn clean(bytes: &[u8], format: Format) -> Option<Cleaned> {
    let cleaned = match format {
        Format::Jpeg => Cleaned { bytes: jpeg(bytes)?.bytes, animated: false },
        Format::Png => png(bytes)?,
        Format::Gif => gif(bytes)?,
        Format::WebP => webp(bytes)?,
        Format::Bmp | Format::Tiff => return None,
    };
    let size = |bytes: &[u8]| header::read(bytes, format).map(|header| (header.width, header.height));
    (size(&cleaned.bytes) == size(bytes)).then_some(cleaned)
}

/// A JPEG in its plain form: JFIF as of version 1, segments without bytes between them, and an end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Jpeg {
    pub bytes: Vec<u8>,
    /// The embedded ICC profile; empty if there is none.
    pub profile: Vec<u8>,
    /// Where the segments with the profile are in `bytes`.
    profile_at: Vec<std::ops::Range<usize>>,
}

impl Jpeg {
    /// The same without the profile: libjpeg takes a wrong one for damage.
    pub fn without_profile(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut from = 0;
        for part in &self.profile_at {
            bytes.extend_from_slice(&self.bytes[from..part.start]);
            from = part.end;
        }
        bytes.extend_from_slice(&self.bytes[from..]);
        bytes
    }
}

/// ITU T.81 annex B. Data that end early get an end.
pub(super) fn jpeg(bytes: &[u8]) -> Option<Jpeg> {
    let mut kept = Jpeg { bytes: vec![0xFF, 0xD8], ..Jpeg::default() };
    kept.bytes.reserve(bytes.len());
    let (mut at, mut scans) = (2, 0);
    while let Some((marker, start)) = next_marker(bytes, at) {
        at = start + 2;
        match marker {
            0xD9 if scans > 0 => break,
            // Markers that stand alone mean nothing outside of scans.
            0x01 | 0xD0..=0xD9 => continue,
            _ => {}
        }
        let Some(length) =
            bytes.get(at..at + 2).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])))
        else {
            break;
        };
        let Some(segment) = bytes.get(at + 2..at + length.max(2)) else { break };
        at += length.max(2);
        kept.segment(marker, segment);
        if marker == 0xDA {
            scans += 1;
            let end = scan_end(bytes, at);
            kept.bytes.extend_from_slice(&bytes[at..end]);
            at = end;
        }
    }
    kept.bytes.extend_from_slice(&[0xFF, 0xD9]);
    (scans > 0).then_some(kept)
}

impl Jpeg {
    fn segment(&mut self, marker: u8, segment: &[u8]) {
        match (marker, segment) {
            (0xE0, [b'J', b'F', b'I', b'F', 0, _, _, density @ ..]) if density.len() >= 5 => {
                let head = [&b"JFIF\0\x01\x01"[..], &density[..5], &[0, 0]].concat();
                self.push(marker, &head);
            }
            (
                0xE2,
                [b'I', b'C', b'C', b'_', b'P', b'R', b'O', b'F', b'I', b'L', b'E', 0, _, _, part @ ..],
            ) => {
                let start = self.bytes.len();
                self.push(marker, segment);
                self.profile.extend_from_slice(part);
                self.profile_at.push(start..self.bytes.len());
            }
            // It tells the colours. Bytes after its first twelve tell nothing of the picture.
            (0xEE, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, _, ..]) => {
                self.push(marker, &segment[..12]);
            }
            (0xE0..=0xEF | 0xFE, _) => {}
            _ => self.push(marker, segment),
        }
    }

    fn push(&mut self, marker: u8, segment: &[u8]) {
        let length = u16::try_from(segment.len() + 2).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&[0xFF, marker]);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(segment);
    }
}

/// The next marker from `at` on, and where it begins; bytes before it are passed over, as browsers do.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr::memchr(0xFF, bytes.get(at..)?)?;
        match bytes.get(at + 1)? {
            0 | 0xFF => at += 1,
            marker => return Some((*marker, at)),
        }
    }
}

/// Where the coded data of a scan end: at a marker other than those of restarts.
fn scan_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(0xFF, rest)) {
        at += found;
        match bytes.get(at + 1) {
            Some(0 | 0xD0..=0xD7) => at += 2,
            Some(0xFF) => at += 1,
            Some(_) => return at,
            None => return bytes.len(),
        }
    }
    bytes.len()
}

/// W3C PNG: chunks that change how the picture looks.
const PNG_CHUNKS: &[&[u8; 4]] = &[
    b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV",
    b"cLLI", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT",
];

fn png(bytes: &[u8]) -> Option<Cleaned> {
    let (signature, mut rest) = bytes.split_at_checked(8)?;
    let mut cleaned = Cleaned { bytes: signature.to_vec(), animated: false };
    let mut pixels = false;
    while let Some(([a, b, c, d, name @ ..], _)) = rest.split_first_chunk::<8>() {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok()?;
        // With length, name and checksum.
        let Some((chunk, behind)) = length.checked_add(12).and_then(|length| rest.split_at_checked(length))
        else {
            break;
        };
        if name == b"IEND" {
            break;
        }
        if PNG_CHUNKS.contains(&name) {
            cleaned.bytes.extend_from_slice(chunk);
        }
        cleaned.animated |= name == b"acTL";
        pixels |= name == b"IDAT";
        rest = behind;
    }
    cleaned.bytes.extend_from_slice(b"\0\0\0\0IEND\xAE\x42\x60\x82");
    pixels.then_some(cleaned)
}

/// GIF89a: of the extensions those of a frame's timing and of loops.
fn gif(bytes: &[u8]) -> Option<Cleaned> {
    let mut at = 13 + table_bytes(*bytes.get(10)?);
    let mut cleaned = Cleaned { bytes: bytes.get(..at)?.to_vec(), animated: false };
    let mut frames = 0;
    loop {
        let (start, introducer) = (at, bytes.get(at..at + 2));
        match introducer {
            Some([0x21, label]) => {
                let Some(end) = blocks_end(bytes, at + 2) else { break };
                at = end;
                let extension = &bytes[start..end];
                if *label == 0xF9 {
                    cleaned.bytes.extend_from_slice(extension);
                } else if is_loop(extension) {
                    // Without sub-blocks that hold something else.
                    cleaned.bytes.extend_from_slice(&extension[..18]);
                    cleaned.bytes.push(0);
                }
            }
            Some([0x2C, _]) => {
                let Some(flags) = bytes.get(at + 9) else { break };
                let Some(end) = blocks_end(bytes, at + 11 + table_bytes(*flags)) else { break };
                at = end;
                frames += 1;
                cleaned.bytes.extend_from_slice(&bytes[start..end]);
            }
            _ => break,
        }
    }
    cleaned.bytes.push(0x3B);
    cleaned.animated = frames > 1;
    (frames > 0).then_some(cleaned)
}

fn is_loop(extension: &[u8]) -> bool {
    let [0x21, 0xFF, 11, name @ ..] = extension else { return false };
    [&b"NETSCAPE2.0\x03\x01"[..], b"ANIMEXTS1.0\x03\x01"].iter().any(|known| name.starts_with(known))
}

/// Bytes of a colour table.
fn table_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Where sub-blocks end.
fn blocks_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

/// Chunks among which a profile is sought; it comes before the picture.
const RIFF_CHUNKS: usize = 100;

/// RFC 9649 section 2.7.
fn webp(bytes: &[u8]) -> Option<Cleaned> {
    let mut kept = b"RIFF\0\0\0\0WEBP".to_vec();
    let mut animated = false;
    for (name, data) in riff(bytes.get(12..)?) {
        match name {
            b"VP8X" if data.len() >= 10 => {
                animated = data[0] & 0x02 != 0;
                // Neither Exif nor XMP any more.
                let canvas = [&[data[0] & !0x0C][..], &data[1..10]].concat();
                push_riff(&mut kept, name, &canvas);
            }
            b"ICCP" | b"ANIM" | b"ALPH" | b"VP8 " | b"VP8L" => push_riff(&mut kept, name, data),
            b"ANMF" if data.len() >= 16 => {
                let mut frame = data[..16].to_vec();
                for (name, data) in riff(&data[16..]) {
                    if matches!(name, b"ALPH" | b"VP8 " | b"VP8L") {
                        push_riff(&mut frame, name, data);
                    }
                }
                push_riff(&mut kept, name, &frame);
            }
            _ => {}
        }
    }
    let size = u32::try_from(kept.len() - 8).ok()?;
    kept[4..8].copy_from_slice(&size.to_le_bytes());
    (kept.len() > 12).then_some(Cleaned { bytes: kept, animated })
}

/// The ICC profile of a WebP picture.
pub(super) fn webp_profile(bytes: &[u8]) -> Option<&[u8]> {
    riff(bytes.get(12..)?).take(RIFF_CHUNKS).find(|(name, _)| *name == b"ICCP").map(|(_, data)| data)
}

/// The frames of an animated WebP picture: what stands behind the head of each.
fn webp_frames(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let chunks = riff(bytes.get(12..).unwrap_or_default());
    chunks
        .filter(|(name, _)| *name == b"ANMF")
        .flat_map(|(_, frame)| riff(frame.get(16..).unwrap_or_default()))
}

/// Whether no lossy frame of an animation is larger than its canvas: the decoder allocates before it compares.
pub(super) fn frames_fit(bytes: &[u8], (width, height): (u32, u32)) -> bool {
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    webp_frames(bytes).filter(|(name, _)| *name == b"VP8 ").all(|(_, data)| match data {
        // RFC 6386 section 9.1.
        [_, _, _, 0x9D, 0x01, 0x2A, a, b, c, d, ..] => side(*a, *b) <= width && side(*c, *d) <= height,
        _ => true,
    })
}

/// Whether a WebP picture, or each frame of one, is coded without loss.
pub(super) fn is_lossless(bytes: &[u8]) -> bool {
    riff(bytes.get(12..).unwrap_or_default()).chain(webp_frames(bytes)).all(|(name, _)| name != b"VP8 ")
}

/// An animated WebP picture of square frames that is being written (RFC 9649 section 2.7.1.1).
pub(super) struct WebpAnimation {
    kept: Vec<u8>,
    side: u32,
}

impl WebpAnimation {
    /// One that is played as often as the animation in `source`.
    pub fn new(source: &[u8]) -> Self {
        let mut kept = b"RIFF\0\0\0\0WEBP".to_vec();
        push_riff(&mut kept, b"VP8X", &[0; 10]);
        let played = riff(source.get(12..).unwrap_or_default()).find(|(name, _)| *name == b"ANIM");
        let played = played.and_then(|(_, data)| data.get(..6)).unwrap_or(&[0; 6]);
        push_riff(&mut kept, b"ANIM", played);
        Self { kept, side: 0 }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.kept.len()
    }

    /// Adds a frame, coded as a picture of its own, that takes the place of the one before.
    pub fn push(&mut self, picture: &[u8], side: u32, milliseconds: u32) {
        self.side = side;
        let [low, middle, high, _] = (side - 1).to_le_bytes();
        let [a, b, c, _] = milliseconds.to_le_bytes();
        // At the origin, not blended, not disposed of.
        let mut frame = vec![0, 0, 0, 0, 0, 0, low, middle, high, low, middle, high, a, b, c, 0x02];
        for (name, data) in riff(picture.get(12..).unwrap_or_default()) {
            if matches!(name, b"ALPH" | b"VP8 " | b"VP8L") {
                push_riff(&mut frame, name, data);
            }
        }
        push_riff(&mut self.kept, b"ANMF", &frame);
    }

    /// The file; `None` without a frame.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        let [low, middle, high, _] = self.side.checked_sub(1)?.to_le_bytes();
        // Animated, perhaps with alpha.
        let canvas = [0x12, 0, 0, 0, low, middle, high, low, middle, high];
        self.kept[20..30].copy_from_slice(&canvas);
        let size = u32::try_from(self.kept.len() - 8).ok()?;
        self.kept[4..8].copy_from_slice(&size.to_le_bytes());
        Some(self.kept)
    }
}

/// Chunks of a RIFF file; the last one may be cut.
fn riff(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, behind) = rest.split_first_chunk::<4>()?;
        let (length, behind) = behind.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?.min(behind.len());
        let (data, behind) = behind.split_at(length);
        rest = behind.get(length % 2..).unwrap_or_default();
        Some((name, data))
    })
}

fn push_riff(kept: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    kept.extend_from_slice(name);
    kept.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    kept.extend_from_slice(data);
    if !data.len().is_multiple_of(2) {
        kept.push(0);
    }
}
