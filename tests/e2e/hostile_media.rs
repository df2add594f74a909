//! Media that are cut, that lie about themselves, that are bombs, or that name what they should not get.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use image::{GrayImage, ImageFormat};
use media_server::preview::{Bounds, Settings, Studio};
use serde_json::Value;

use crate::site::Site;
use crate::support::PATIENCE;
use crate::support::http::{Answer, Request};
use crate::support::load::memory;
use crate::support::media::{Made, ffmpeg, file, film, noise};
use crate::support::scratch::Scratch;

/// KiB that the server may ever have taken for the pictures of [`lies`]; one of them alone is 250 MB unpacked.
const MOST_MEMORY: usize = 150 * 1024;
/// Arguments by which curl waits longer than any limit of the server's.
const PATIENTLY: &[&str] = &["--max-time", "240"];
/// Pixels of the largest picture that it decodes meanwhile.
const MOST_PIXELS: &str = "1000000";

/// Properties and a preview of every beginning of a file that ends at a KiB: both come, or are refused as
/// what is damaged is.
fn cut(made: &Made) {
    // Nothing here is about time.
    let studio = Studio::new(Settings { time: 4 * PATIENCE, ..Settings::default() });
    let bounds = Bounds { height: 40, width: 40 };
    let file = OpenOptions::new().read(true).write(true).open(made.path()).expect("a file of ours");
    let size = file.metadata().expect("an open file has a size").len();
    studio.render(&file, bounds).expect("the whole has a preview");
    for kib in (0..=size / 1024).rev() {
        file.set_len(kib * 1024).expect("a file can be cut");
        studio.properties(&file);
        if let Err(refusal) = studio.render(&file, bounds) {
            assert_eq!(refusal.row().status, 412, "{}, {kib} KiB: {refusal}", made.path().display());
        }
    }
}

fn cut_all(media: &[Made]) {
    thread::scope(|scope| {
        for made in media {
            scope.spawn(|| cut(made));
        }
    });
}

#[test]
fn pictures_are_survived_wherever_they_end() {
    let options: [(&str, u32, &[&str]); 7] = [
        ("a.jpg", 400, &["-q:v", "2"]),
        ("a.png", 200, &[]),
        ("a.gif", 340, &[]),
        ("lossy.webp", 440, &["-quality", "90"]),
        ("lossless.webp", 200, &["-lossless", "1"]),
        ("a.bmp", 184, &[]),
        ("a.tiff", 184, &["-pix_fmt", "rgb24"]),
    ];
    let mut media: Vec<_> = options.map(|(name, side, options)| noise(name, side, options)).into();
    media.push(progressive(&media[0]));
    for made in &media {
        let size = fs::metadata(made.path()).expect("it was made").len();
        assert!((40_000..200_000).contains(&size), "{}: {size} bytes", made.path().display());
    }
    cut_all(&media);
}

/// The same picture in many scans.
fn progressive(jpeg: &Made) -> Made {
    let bytes = fs::read(jpeg.path()).expect("it was made");
    let mut encoder = turbojpeg::Compressor::new().expect("libjpeg-turbo");
    encoder.set_progressive(true).expect("it knows scans");
    encoder.set_quality(85).expect("a quality of 100");
    let image = turbojpeg::decompress(&bytes, turbojpeg::PixelFormat::RGB).expect("a JPEG");
    let bytes = encoder.compress_to_vec(image.as_deref()).expect("a picture can be encoded");
    assert!(bytes.windows(2).any(|marker| marker == b"\xFF\xC2"), "not progressive");
    file("progressive.jpg", &bytes)
}

#[test]
fn films_are_survived_wherever_they_end() {
    let source = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=2", "-g", "5"];
    let mp4 = ffmpeg("a.mp4", &[&source[..], &["-movflags", "+faststart"]].concat());
    let webm = ffmpeg(
        "a.webm",
        &[&source[..], &["-c:v", "libvpx", "-deadline", "realtime", "-b:v", "60k"]].concat(),
    );
    cut_all(&[mp4, webm]);
}

#[track_caller]
fn upload(site: &Site, jid: &str, channel: &str, made: &Made) -> Answer {
    let request = Request::new("POST", &site.url(channel)).basic(jid);
    request.file(made.path(), "application/octet-stream").with(PATIENTLY).send().expect(201)
}

#[track_caller]
fn preview(site: &Site, channel: &str, uploaded: &Answer) -> Answer {
    let url = site.url(&format!("{channel}/{}", uploaded.member("id")));
    Request::get(&url).query("maxheight=20").with(PATIENTLY).send()
}

#[test]
fn pictures_that_lie_cost_little_and_end_well() {
    // Nothing here is about time.
    let site = Site::start(&[("preview.max.pixels", MOST_PIXELS), ("preview.timeout", "120")]);
    let (user, channel) = site.public_channel();
    for (what, bytes) in lies() {
        let uploaded = upload(&site, user.jid(), &channel, &file("a.jpg", &bytes));
        let shown = preview(&site, &channel, &uploaded);
        assert!([200, 412].contains(&shown.status), "{what}: {}", shown.status);
        let memory = memory(site.server.pid(), "VmHWM");
        assert!(memory < MOST_MEMORY, "{what}: {memory} KiB");
    }
    assert!(!site.server.log().contains("panicked"), "{}", site.server.log());
}

/// Pictures that say something else than they hold, or hold more than they seem to.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let square = GrayImage::new(8000, 8000);
    let mut large = std::io::Cursor::new(Vec::new());
    square.write_to(&mut large, ImageFormat::Png).expect("a picture can be encoded");
    let large = large.into_inner();
    // 64 MB of zeros.
    let pixels = idat(&large);
    let named = [&b"a\0\0"[..], &pixels].concat();
    let comment = [&b"a\0\x01\0\0\0"[..], &pixels].concat();
    let (small, empty): (Vec<u8>, &[u8]) = (ihdr(9, 9), b"");
    let many: Vec<_> = std::iter::repeat_n((b"tEXt", &b"a\0b"[..]), 100_000).collect();
    let bomb = |name, data| {
        png(&[(b"IHDR", &small), (name, data), (name, data), (b"IDAT", &pixels), (b"IEND", empty)])
    };
    // As TIFF has it, but that each row has a byte more.
    let length = u32::try_from(pixels.len()).expect("less than a MB");
    let deflated = |size| tiff(size, 8, (STRIP, length), &pixels);
    let said = |width, height| png(&[(b"IHDR", &ihdr(width, height)), (b"IDAT", &pixels), (b"IEND", empty)]);
    vec![
        ("a PNG of 64 million pixels", large),
        ("a PNG that says it is small", said(9, 9)),
        ("a PNG that says it is huge", said(u32::MAX >> 1, u32::MAX >> 1)),
        ("a PNG with rows of a million bytes", said(1_000_000, 1)),
        ("a PNG with a large profile", bomb(b"iCCP", &named)),
        ("a PNG with a large text", bomb(b"zTXt", &named)),
        ("a PNG with another large text", bomb(b"iTXt", &comment)),
        ("a PNG of 100000 chunks", png(&[&[(b"IHDR", &small[..])], &many[..], &[(b"IEND", empty)]].concat())),
        (
            "a WebP of 16383 squared",
            webp(b"VP8L", &[&b"\x2F"[..], &0x0FFF_BFFF_u32.to_le_bytes(), &[0; 99]].concat()),
        ),
        (
            "a lossy WebP of 16383 squared",
            webp(b"VP8 ", &[&b"\x10\0\0\x9D\x01\x2A\xFF\x3F\xFF\x3F"[..], &[0; 99]].concat()),
        ),
        ("a WebP whose canvas is another", canvas(9, 9, 16_383)),
        ("a WebP of a canvas alone", canvas(999, 999, 1)),
        ("a BMP from the top down", bmp(-900, 0, 24, &[7; 3 * 900 * 900])),
        ("a BMP of -2^31 rows", bmp(i32::MIN, 0, 24, &[7; 999])),
        ("a BMP with 2^32 colours", bmp(900, u32::MAX, 8, &[7; 999])),
        ("a BMP of nearly no runs", bmp(900, 0, 0x0001_0008, &[0, 1, 0, 1])),
        ("a TIFF of 64 million pixels", deflated((8000, 8000))),
        ("a TIFF that says it is small", deflated((9, 9))),
        ("a TIFF of a strip beyond its end", tiff((900, 900), 1, (u32::MAX, u32::MAX), &[])),
        ("a TIFF of a strip at the end of the world", tiff((900, 900), 1, (u32::MAX - 8, 9), &[])),
        ("a TIFF of 2^32 pixels a row", tiff((u32::MAX, 1), 1, (8, 9), &[])),
        ("a TIFF of one strip of 4 GB", tiff((900, 900), 1, (8, u32::MAX), &[])),
        ("a GIF whose frame is larger", gif(9, 9, u16::MAX)),
        ("a GIF whose screen is larger", gif(u16::MAX, u16::MAX, 9)),
    ]
}

/// A PNG of these chunks, each with its checksum.
fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1A\n".to_vec();
    for (name, data) in chunks {
        let body = [&name[..], data].concat();
        bytes.extend(u32::try_from(data.len()).expect("a chunk below 4 GB").to_be_bytes());
        bytes.extend(&body);
        bytes.extend(crc(&body).to_be_bytes());
    }
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// Eight bits of grey a pixel.
fn ihdr(width: u32, height: u32) -> Vec<u8> {
    [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat()
}

/// The data of a PNG's `IDAT` chunks.
fn idat(png: &[u8]) -> Vec<u8> {
    let (mut rest, mut data) = (&png[8..], Vec::new());
    while let [a, b, c, d, more @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if more.starts_with(b"IDAT") {
            data.extend(&more[4..4 + length]);
        }
        rest = &more[4 + length + 4..];
    }
    data
}

fn webp(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let length = u32::try_from(data.len()).expect("a chunk below 4 GB").to_le_bytes();
        [name, &length[..], data, &vec![0; data.len() % 2]].concat()
    };
    chunk(b"RIFF", &[b"WEBP", &chunk(name, data)[..]].concat())
}

/// A WebP of this canvas, and lossless pixels that say they are `side` squared.
fn canvas(width: u32, height: u32, side: u32) -> Vec<u8> {
    let size = (side - 1) | (side - 1) << 14;
    let pixels = webp(b"VP8L", &[&b"\x2F"[..], &size.to_le_bytes(), &[0; 99]].concat());
    let head = [&[0; 4][..], &(width - 1).to_le_bytes()[..3], &(height - 1).to_le_bytes()[..3]].concat();
    let mut bytes = webp(b"VP8X", &head);
    bytes.extend(&pixels[12..]);
    let length = u32::try_from(bytes.len() - 8).expect("a small file").to_le_bytes();
    bytes[4..8].copy_from_slice(&length);
    bytes
}

/// A BMP of 900 columns; bits of a pixel and, above them, the kind of compression.
fn bmp(height: i32, colours: u32, bits: u32, data: &[u8]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let planes = 1 | (bits & 0xFFFF) << 16;
    let head = words(&[0, 0, 54, 40, 900, height.cast_unsigned(), planes, bits >> 16, 0, 0, 0, colours, 0]);
    [b"BM", &head[..], data].concat()
}

/// Where the data of a [`tiff`] begin.
const STRIP: u32 = 122;

/// A TIFF of one grey strip that is said to be at `offset` and `count` bytes long. Its directory is followed by itself.
fn tiff((width, height): (u32, u32), compression: u32, (offset, count): (u32, u32), data: &[u8]) -> Vec<u8> {
    let entries = [
        (256, width),
        (257, height),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, offset),
        (277, 1),
        (278, height),
        (279, count),
    ];
    let mut bytes = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, value) in entries {
        bytes.extend(u16::try_from(tag).expect("tags are short").to_le_bytes());
        bytes.extend(b"\x04\0\x01\0\0\0");
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(b"\x08\0\0\0");
    assert_eq!(bytes.len(), STRIP as usize);
    [&bytes, data].concat()
}

/// A GIF of this screen, with one frame of `side` squared and nearly no pixels.
fn gif(width: u16, height: u16, side: u16) -> Vec<u8> {
    let (width, height, side) = (width.to_le_bytes(), height.to_le_bytes(), side.to_le_bytes());
    let screen = [b"GIF89a", &width[..], &height, b"\x80\0\0\0\0\0\xFF\xFF\xFF"].concat();
    [&screen[..], b"\x2C\0\0\0\0", &side, &side, b"\0\x02\x02\x44\x01\0\x3B"].concat()
}

/// Files that make ffmpeg open other files or addresses, under names and beginnings that hide it.
#[test]
fn no_media_makes_the_server_read_another_file_or_address() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let other = film("secret.avi", 96, 64);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.set_nonblocking(true).expect("a socket need not block");
    let address = listener.local_addr().expect("a bound socket has an address");
    let jid = user.jid();
    let secrets = [format!("file://{}", other.path().display()), format!("http://{address}/secret.avi")];
    thread::scope(|scope| {
        for secret in &secrets {
            scope.spawn(|| lists(secret).iter().for_each(|list| leads_nowhere(site, jid, &channel, list)));
        }
    });
    let connected = listener.accept().map(|(_, from)| from);
    assert!(connected.is_err(), "{connected:?} came for the secret");
}

/// Uploads a list as it is, and behind what looks like the beginning of a film.
fn leads_nowhere(site: &Site, jid: &str, channel: &str, list: &[u8]) {
    for head in [&b""[..], b"\0\0\0\x14ftypisom\0\0\0\0isom", b"\x1A\x45\xDF\xA3"] {
        let made = file("a.mp4", &[head, list].concat());
        let uploaded = upload(site, jid, channel, &made);
        let json = uploaded.json();
        assert_eq!((&json["width"], &json["length"]), (&Value::Null, &Value::Null), "{json}");
        preview(site, channel, &uploaded).expect(412);
    }
}

/// Every kind of list that leads ffmpeg to this address.
fn lists(secret: &str) -> Vec<Vec<u8>> {
    let reference = atom(
        b"rdrf",
        &[&b"\0\0\0\0url "[..], &[0, 0, 0, secret.len() as u8 + 1], secret.as_bytes(), b"\0"].concat(),
    );
    let texts = [
        format!("ffconcat version 1.0\nfile '{secret}'\n"),
        format!("file '{secret}'\n"),
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{secret}\n#EXT-X-ENDLIST\n"),
        format!(
            "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period><AdaptationSet \
             mimeType='video/mp4'><Representation id='1' bandwidth='1'><BaseURL>{secret}</BaseURL><SegmentBase/>\
             </Representation></AdaptationSet></Period></MPD>"
        ),
        format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\na=control:{secret}\r\nm=video 4 RTP/AVP 96\r\n"
        ),
        format!("[Reference]\r\nRef1={secret}\r\n"),
    ];
    let mut lists: Vec<_> = texts.map(String::into_bytes).into();
    lists.push(atom(b"moov", &atom(b"rmra", &atom(b"rmda", &reference))));
    lists
}

/// A part of a QuickTime film.
fn atom(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).expect("an atom below 4 GB").to_be_bytes();
    [&length[..], name, content].concat()
}

/// A QuickTime film whose samples are those of another file, which is red all over.
#[test]
fn a_film_that_refers_to_another_file_does_not_show_it() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let red = ffmpeg(
        "secret.mov",
        &["-f", "lavfi", "-i", "color=red:size=96x64:rate=10:duration=2", "-c:v", "mpeg4"],
    );
    let made = file("a.mov", &referring(red.path()));
    // ffmpeg does follow the reference where it may.
    let scratch = Scratch::new();
    let frame = scratch.join("frame.png");
    let shown = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-enable_drefs", "1", "-use_absolute_path", "1", "-i"])
        .args([made.path(), "-frames:v".as_ref(), "1".as_ref(), &frame])
        .status();
    assert!(shown.expect("ffmpeg starts").success());
    assert!(is_red(&fs::read(&frame).expect("a frame")), "the reference is none");
    let uploaded = upload(site, user.jid(), &channel, &made);
    let shown = preview(site, &channel, &uploaded);
    assert!([200, 412].contains(&shown.status), "{}", shown.status);
    assert!(shown.status == 412 || !is_red(&shown.body));
}

fn is_red(picture: &[u8]) -> bool {
    let decoded = turbojpeg::decompress(picture, turbojpeg::PixelFormat::RGB).map(|image| image.pixels);
    let pixels = decoded
        .unwrap_or_else(|_| image::load_from_memory(picture).expect("a picture").into_rgb8().into_raw());
    pixels.chunks_exact(3).any(|pixel| pixel[0] > 150 && pixel[1] < 80 && pixel[2] < 80)
}

/// The same film, but that its samples are zeros, and said to be in `other`.
fn referring(other: &Path) -> Vec<u8> {
    let mut bytes = fs::read(other).expect("a film");
    let find = |bytes: &[u8], name: &[u8]| {
        bytes.windows(name.len()).position(|window| window == name).unwrap_or_else(|| panic!("{name:?}"))
    };
    let (samples, moov) = (find(&bytes, b"mdat") + 4, find(&bytes, b"moov") - 4);
    assert!(samples < moov, "offsets would change");
    bytes[samples..moov].fill(0);
    // An alias record: the volume, the file, levels, and then its parts by number; 2 is the whole path.
    let mut path = other.display().to_string().into_bytes();
    path.resize(path.len().next_multiple_of(2), 0);
    let length = u16::try_from(path.len()).expect("a short path").to_be_bytes();
    let record = [&[0; 4 + 150][..], &[0, 2], &length, &path, b"\xFF\xFF\0\0"].concat();
    let alias = atom(b"alis", &record);
    let at = find(&bytes, b"url \0\0\0\x01") - 4;
    let added = u32::try_from(alias.len() - 12).expect("a short path");
    for name in [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"] {
        let at = find(&bytes, name) - 4;
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) + added;
        bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    bytes.splice(at..at + 12, alias);
    bytes
}
