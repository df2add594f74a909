use super::Kind::{Other, Outline, Picture, Stream};
use super::*;

fn ftyp(brands: &str) -> Vec<u8> {
    let size = u32::try_from(8 + brands.len()).unwrap();
    [&size.to_be_bytes()[..], b"ftyp", brands.as_bytes(), b"\0\0\0\x08free"].concat()
}

fn tagged(length: u8, rest: &[u8]) -> Vec<u8> {
    [b"ID3\x04\0\0\0\0\0", &[length][..], &vec![0; usize::from(length)], rest].concat()
}

/// Whole files begin in these ways; what is `None` is unknown.
fn table() -> Vec<(Vec<u8>, Option<Row>)> {
    let heif = Outline(super::Outline::Heif);
    let row = |first: &[u8], mime_type, kind| (first.to_vec(), Some((mime_type, kind)));
    let transport = |packet: usize, at: usize| {
        let mut packet = vec![0; packet];
        packet[at] = 0x47;
        packet.repeat(3)
    };
    let mut table = vec![
        row(b"\xFF\xD8\xFF\xE0\0\x10JFIF", "image/jpeg", Picture(Format::Jpeg)),
        row(b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR", "image/png", Picture(Format::Png)),
        row(b"GIF87a", "image/gif", Picture(Format::Gif)),
        row(b"GIF89a", "image/gif", Picture(Format::Gif)),
        row(b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp", Picture(Format::WebP)),
        row(&[&b"BM\x46\0\0\0\0\0\0\0"[..], &[0; 20]].concat(), "image/bmp", Picture(Format::Bmp)),
        row(b"II*\0", "image/tiff", Picture(Format::Tiff)),
        row(b"MM\0*", "image/tiff", Picture(Format::Tiff)),
        row(b"\xFF\x0A", "image/jxl", Outline(super::Outline::Jxl)),
        row(b"\0\0\0\x0CJXL \r\n\x87\n", "image/jxl", Outline(super::Outline::Jxl)),
        row(b"RIFF\x24\0\0\0WAVEfmt ", "audio/x-wav", Stream("wav")),
        row(b"RF64\xFF\xFF\xFF\xFFWAVEds64", "audio/x-wav", Stream("wav")),
        row(b"BW64\xFF\xFF\xFF\xFFWAVEds64", "audio/x-wav", Stream("wav")),
        row(b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo", Stream("avi")),
        row(b"FORM\0\0\0\0AIFC", "audio/x-aiff", Stream("aiff")),
        row(b"FLV\x01", "video/x-flv", Stream("flv")),
        row(b"\0\0\x01\xBA", "video/mpeg", Stream("mpeg")),
        row(b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", "video/x-ms-wmv", Stream("asf")),
        row(b"fLaC\0", "audio/flac", Stream("flac")),
        row(b"#!AMR", "audio/amr", Stream("amr")),
        row(b".snd", "audio/basic", Stream("au")),
        row(b"OggS\0\x02", "audio/ogg", Stream("ogg")),
        row(&[&b"OggS"[..], &[0; 24], b"\x80theora"].concat(), "video/ogg", Stream("ogg")),
        row(b"\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01\x42\x82\x84webm", "video/webm", Stream("matroska")),
        row(b"\x1A\x45\xDF\xA3\xA3\x42\x82\x88matroska", "video/x-matroska", Stream("matroska")),
        row(b"\x1A\x45\xDF\xA3", "application/octet-stream", Stream("matroska")),
        row(b"\0\0\0\x08wide", "video/quicktime", Stream("mov")),
        row(&transport(188, 0), "video/mp2t", Stream("mpegts")),
        row(&transport(192, 4), "video/mp2t", Stream("mpegts")),
        row(b"\xFF\xFB\x90\x64", "audio/mpeg", Stream("mp3")),
        row(b"\xFF\xF1\x50\x80", "audio/aac", Stream("aac")),
        row(b"ID3\x04", "audio/mpeg", Stream("mp3")),
        row(&tagged(20, b"\xFF\xFB\x90\x64"), "audio/mpeg", Stream("mp3")),
        row(&tagged(20, b"fLaC"), "audio/flac", Stream("flac")),
        row(&tagged(0, b"\xFF\xF1\x50\x80"), "audio/aac", Stream("aac")),
        row(&tagged(0, b"FLV\x01"), "audio/mpeg", Stream("mp3")),
        row(b"%PDF-1.7", "application/pdf", Other),
        row(b"PK\x03\x04\x14", "application/zip", Other),
        row(b"PK\x05\x06", "application/zip", Other),
        row(b"\x1F\x8B\x08\0", "application/gzip", Other),
    ];
    for (brands, mime_type, kind) in [
        ("isom\0\0\0\0isomavc1", "video/mp4", Stream("mov")),
        ("mp42\0\0\0\0", "video/mp4", Stream("mov")),
        ("M4A \0\0\0\0isom", "audio/mp4", Stream("mov")),
        ("qt  \0\0\0\0qt  ", "video/quicktime", Stream("mov")),
        ("3gp5\0\0\0\0", "video/3gpp", Stream("mov")),
        ("crx \0\0\0\0isom", "application/octet-stream", Stream("mov")),
        ("avif\0\0\0\0mif1", "image/avif", heif),
        ("heic\0\0\0\0mif1", "image/heic", heif),
        ("mif1\0\0\0\0mif1heic", "image/heic", heif),
        ("mif1\0\0\0\0mif1avif", "image/avif", heif),
        ("mif1\0\0\0\0isom", "image/heif", heif),
    ] {
        table.push((ftyp(brands), Some((mime_type, kind))));
    }
    // A size that is larger than the file.
    table.push(row(b"\xff\xff\xff\xffftypisom", "video/mp4", Stream("mov")));
    for unknown in [
        &b"RIFF\x24\0\0\0\xff\0\0\0"[..],
        b"\xFF\xFEa\0b\0",
        b"\xFF\xE2\x00",
        b"\x7fELF\x02\x01",
        b"\0\0\0\0",
        b"\0\0\0\x01ftypisom",
        b"\0\0\0\x08ftyp",
        b"",
    ] {
        table.push((unknown.to_vec(), None));
    }
    table
}

#[test]
fn contents_are_told_by_their_first_bytes() {
    for (first, expected) in table() {
        let expected = expected.map(|(mime_type, kind)| Content { mime_type, kind });
        assert_eq!(sniff(&first), expected, "{:?}", first.escape_ascii().to_string());
    }
}

#[test]
fn every_type_that_is_told_is_in_the_table_of_types() {
    for (_, expected) in table() {
        let Some((mime_type, _)) = expected else { continue };
        let known = super::super::extension_for(mime_type).is_some();
        assert!(known || mime_type == super::super::OCTET_STREAM, "{mime_type}");
    }
}

#[test]
fn a_list_that_names_other_files_has_no_reader() {
    for list in [
        "#EXTM3U\n/etc/passwd",
        "ffconcat version 1.0\nfile /etc/passwd",
        "file '/etc/passwd'",
        "<?xml version='1.0'?><MPD/>",
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1",
        "[playlist]\nFile1=http://127.0.0.1/",
        "<svg xmlns:xlink='http://www.w3.org/1999/xlink'/>",
    ] {
        assert!(sniff(list.as_bytes()).is_none_or(|content| content.kind == Other), "{list}");
    }
}

fn told(first: &[u8]) -> Option<&'static str> {
    sniff(first).map(|content| content.mime_type)
}

#[test]
fn plain_text_is_no_page() {
    for text in ["a", "Grüße\r\n\t\u{C}", "a < b", "{\"a\": 1}", "\u{FEFF}a", " \n x"] {
        assert_eq!(told(text.as_bytes()), Some("text/plain"), "{text:?}");
    }
    for text in ["", " \n", "<html>", "\u{FEFF} \n<svg/>", "<?xml?>", "a\0b", "a\u{1b}[0m", "a\u{85}"] {
        assert_eq!(told(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(told(b"caf\xe9"), Some("text/plain"), "it may be cut there");
    assert_eq!(told(b"caf\xe9 au lait"), None);
    assert_eq!(told("é".repeat(limits::SNIFF_BYTES).as_bytes()), Some("text/plain"));
    assert_eq!(told(format!("a{}", "é".repeat(limits::SNIFF_BYTES)).as_bytes()), Some("text/plain"));
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
