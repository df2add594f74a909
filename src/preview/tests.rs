//! Pictures of every kind, upright and not, whole and broken, honest and not.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

const MOST: u64 = 50_000_000;
const TIME: Duration = Duration::from_secs(20);

fn bounds(height: u32, width: u32) -> Bounds {
    Bounds { height, width }
}

/// Red on the left, blue on the right, brighter towards the top.
fn picture(width: u32, height: u32) -> DynamicImage {
    let pixel = |x: u32, y: u32| {
        let light = u8::try_from(255 - y * 128 / height).unwrap();
        if x < width / 2 { Rgb([light, 0, 0]) } else { Rgb([0, 0, light]) }
    };
    RgbImage::from_fn(width, height, pixel).into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    if format == ImageFormat::Jpeg {
        return jpeg::encode(image, true).unwrap();
    }
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

const FORMATS: [(ImageFormat, Format, Format); 6] = [
    (ImageFormat::Jpeg, Format::Jpeg, Format::Jpeg),
    (ImageFormat::Png, Format::Png, Format::Png),
    (ImageFormat::Gif, Format::Gif, Format::Gif),
    (ImageFormat::WebP, Format::WebP, Format::Jpeg),
    (ImageFormat::Bmp, Format::Bmp, Format::Bmp),
    (ImageFormat::Tiff, Format::Tiff, Format::Jpeg),
];

fn decoded(rendered: &Rendered) -> DynamicImage {
    let header = header::read(rendered.bytes.as_slice(), rendered.format).unwrap();
    let size = (header.width, header.height);
    match rendered.format {
        Format::Jpeg => jpeg::decode(&rendered.bytes, size, size).unwrap().image,
        _ => image::load_from_memory(&rendered.bytes).unwrap(),
    }
}

fn rendered(bytes: &[u8], height: u32, width: u32) -> Result<Rendered, Refusal> {
    render(bytes, bounds(height, width), MOST, TIME)
}

#[track_caller]
fn size(rendered: Result<Rendered, Refusal>) -> (u32, u32) {
    let rendered = rendered.unwrap();
    let properties = properties(&rendered.bytes);
    let image = decoded(&rendered);
    assert_eq!((properties.width, properties.height), (Some(image.width()), Some(image.height())));
    (image.width(), image.height())
}

/// An Exif segment that says only this orientation.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let exif =
        [b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[orientation][..], &[0; 6]].concat();
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn every_format_is_measured_and_scaled() {
    let picture = picture(90, 60);
    for (kind, format, expected) in FORMATS {
        let bytes = encoded(&picture, kind);
        assert_eq!(kind_of(bytes.as_slice()), Some(Kind::Picture(format)));
        let expected_properties = Properties { width: Some(90), height: Some(60), length: None };
        assert_eq!(properties(&bytes), expected_properties, "{format:?}");
        let preview = rendered(&bytes, 30, 30).unwrap();
        assert_eq!(preview.format, expected, "{format:?}");
        let image = decoded(&preview).to_rgb8();
        assert_eq!((image.width(), image.height()), (30, 20), "{format:?}");
        let (left, right) = (image.get_pixel(3, 3), image.get_pixel(26, 3));
        assert!(
            left[0] > 150 && left[2] < 60 && right[2] > 150 && right[0] < 60,
            "{format:?} {left:?} {right:?}"
        );
        assert_eq!(rendered(&bytes, 30, 30).unwrap(), preview, "{format:?} is not the same twice");
    }
}

#[test]
fn nothing_is_scaled_up_and_proportions_stay() {
    let bytes = encoded(&picture(90, 60), ImageFormat::Png);
    for ((height, width), expected) in [
        ((61, 91), (90, 60)),
        ((u32::MAX, u32::MAX), (90, 60)),
        ((60, 90), (90, 60)),
        ((1000, 45), (45, 30)),
        ((20, 1000), (30, 20)),
        ((1, 1), (1, 1)),
        ((1, 1000), (2, 1)),
    ] {
        assert_eq!(size(rendered(&bytes, height, width)), expected, "{height} {width}");
    }
}

#[test]
fn bounds_hold_for_every_shape() {
    for (width, height) in
        [(1, 1), (1, 65_535), (65_535, 1), (4000, 3000), (u32::MAX, u32::MAX), (3, u32::MAX)]
    {
        for side in [1, 2, 50, 4000, u32::MAX] {
            for other in [1, 7, 5000] {
                let most = bounds(side, other).clamp((width, height));
                let (fitted_width, fitted_height) = bounds(side, other).fit((width, height));
                assert!((1..=most.width).contains(&fitted_width), "{width}x{height} in {side} {other}");
                assert!((1..=most.height).contains(&fitted_height), "{width}x{height} in {side} {other}");
            }
        }
    }
}

#[test]
fn transparency_is_kept_as_png() {
    let image = RgbaImage::from_fn(40, 40, |x, _| Rgba([200, 10, 10, if x < 20 { 0 } else { 255 }]));
    for kind in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Tiff] {
        let preview = rendered(&encoded(&image.clone().into(), kind), 10, 10).unwrap();
        assert_eq!(preview.format, Format::Png, "{kind:?}");
        let small = decoded(&preview).to_rgba8();
        assert_eq!((small.get_pixel(1, 5)[3], small.get_pixel(8, 5)[3]), (0, 255), "{kind:?}");
        // The colour of transparent pixels does not affect others.
        assert!(small.get_pixel(7, 5)[0] > 190, "{kind:?}");
    }
}

#[test]
fn odd_colours_are_converted() {
    let grey = DynamicImage::ImageLuma8(picture(64, 64).into_luma8());
    let deep = DynamicImage::ImageRgb16(picture(64, 64).into_rgb16());
    let grey_alpha = DynamicImage::ImageLumaA16(picture(64, 64).into_luma_alpha16());
    for image in [grey, deep, grey_alpha] {
        assert_eq!(size(rendered(&encoded(&image, ImageFormat::Png), 16, 16)), (16, 16));
    }
}

/// By rows, and not otherwise than as a whole.
#[test]
fn a_png_of_any_colours_is_shrunk_as_its_rows_come() {
    let picture = picture(401, 299);
    for image in [
        DynamicImage::from(picture.to_luma8()),
        picture.to_luma_alpha8().into(),
        picture.to_rgb8().into(),
        picture.to_rgba8().into(),
        picture.to_luma16().into(),
        picture.to_rgba16().into(),
    ] {
        let bytes = encoded(&image, ImageFormat::Png);
        let header = header::read(bytes.as_slice(), Format::Png).unwrap();
        let shrunk = png::shrink(Cursor::new(&bytes), &header, 5, u64::MAX).unwrap().unwrap().image;
        assert_eq!((shrunk.width(), shrunk.height()), (81, 60));
        let small = decoded(&rendered(&bytes, 30, 40).unwrap()).to_rgb8();
        let expected = image.resize_exact(40, 30, image::imageops::FilterType::Lanczos3).to_rgb8();
        let worst = small.iter().zip(expected.iter()).map(|(one, other)| one.abs_diff(*other)).max();
        assert!(worst < Some(20), "{:?}: {worst:?}", image.color());
    }
}

#[test]
fn what_the_camera_says_is_done_and_forgotten() {
    let jpeg = encoded(&picture(90, 60), ImageFormat::Jpeg);
    for orientation in 1..=8 {
        let bytes = with_orientation(&jpeg, orientation);
        let turned = orientation > 4;
        let shown = if turned { (60, 90) } else { (90, 60) };
        assert_eq!(properties(&bytes).width.zip(properties(&bytes).height), Some(shown), "{orientation}");
        let preview = rendered(&bytes, 45, 45).unwrap();
        let image = decoded(&preview).to_rgb8();
        let expected = if turned { (30, 45) } else { (45, 30) };
        assert_eq!((image.width(), image.height()), expected, "{orientation}");
        assert_eq!(memchr::memmem::find(&preview.bytes, b"Exif"), None);
        // Where the red half is: left, right, top or bottom.
        let (width, height) = (image.width() - 1, image.height() - 1);
        let red = |x, y| image.get_pixel(x, y)[0] > 80;
        let at = match orientation {
            1 | 4 => red(0, height / 2) && !red(width, height / 2),
            2 | 3 => !red(0, height / 2) && red(width, height / 2),
            5 | 6 => red(width / 2, 0) && !red(width / 2, height),
            _ => !red(width / 2, 0) && red(width / 2, height),
        };
        assert!(at, "{orientation}");
    }
    for odd in [0, 9, 255] {
        assert_eq!(properties(&with_orientation(&jpeg, odd)).width, Some(90));
    }
}

#[test]
fn squares_are_cut_from_the_middle_in_the_own_format() {
    for (kind, format, _) in FORMATS {
        let square = avatar(&encoded(&picture(90, 60), kind), MOST, TIME).unwrap();
        let cleaned = !matches!(format, Format::Bmp | Format::Tiff);
        assert_eq!(square.format, if cleaned { format } else { Format::Png });
        let image = decoded(&square).to_rgb8();
        assert_eq!((image.width(), image.height()), (60, 60), "{format:?}");
        assert!(image.get_pixel(10, 5)[0] > 150 && image.get_pixel(50, 5)[2] > 150, "{format:?}");
    }
}

/// A PNG of these chunks, each with its checksum.
fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1A\n".to_vec();
    for (name, data) in chunks {
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let body = [&name[..], data].concat();
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

fn ihdr(width: u32, height: u32) -> Vec<u8> {
    [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat()
}

/// A zlib stream of stored blocks would be as long as its content; this one is `count` times the same byte.
fn zeros(count: usize) -> Vec<u8> {
    let image = RgbImage::new(u32::try_from(count / 3).unwrap(), 1);
    let png = encoded(&image.into(), ImageFormat::Png);
    let at = memchr::memmem::find(&png, b"IDAT").unwrap();
    let length = u32::from_be_bytes(png[at - 4..at].try_into().unwrap());
    png[at + 4..at + 4 + length as usize].to_vec()
}

/// The result may be anything, but it comes soon, and nothing panics.
#[track_caller]
fn survives(what: &str, bytes: &[u8]) -> Result<Rendered, Refusal> {
    let begun = Instant::now();
    properties(bytes);
    let result = rendered(bytes, 200, 200);
    assert!(begun.elapsed() < Duration::from_secs(15), "{what} took {:?}", begun.elapsed());
    result
}

#[test]
fn pictures_that_are_too_large_are_not_decoded() {
    let huge = png(&[(b"IHDR", &ihdr(60_000, 60_000)), (b"IDAT", &zeros(30_000)), (b"IEND", b"")]);
    assert_eq!(survives("60000 squared", &huge), Err(Refusal::TooManyPixels));
    let most = png(&[(b"IHDR", &ihdr(u32::MAX, u32::MAX)), (b"IEND", b"")]);
    assert_eq!(survives("2^32 squared", &most), Err(Refusal::TooManyPixels));
    let jpeg = encoded(&picture(90, 60), ImageFormat::Jpeg);
    let at = memchr::memmem::find(&jpeg, b"\xFF\xC0").unwrap();
    let lie = [&jpeg[..at + 5], &[0xFF, 0xDC, 0xFF, 0xDC], &jpeg[at + 9..]].concat();
    assert_eq!(properties(&lie).width, Some(0xFFDC));
    assert_eq!(survives("a JPEG of 65500 squared", &lie), Err(Refusal::TooManyPixels));
    let gif = [b"GIF89a", &[0xFF; 4][..], &[0, 0, 0]].concat();
    assert_eq!(survives("a GIF of 65535 squared", &gif), Err(Refusal::TooManyPixels));
    assert_eq!(render(&jpeg, bounds(9, 9), 90 * 60 - 1, TIME), Err(Refusal::TooManyPixels));
    assert!(render(&jpeg, bounds(9, 9), 90 * 60, TIME).is_ok());
}

#[test]
fn headers_that_lie_give_refusals() {
    let idat = zeros(3 * 1000);
    let lies = [
        ("no rows", png(&[(b"IHDR", &ihdr(1000, 1000)), (b"IEND", b"")])),
        ("no width", png(&[(b"IHDR", &ihdr(0, 10)), (b"IDAT", &idat), (b"IEND", b"")])),
        ("another header", png(&[(b"IHDR", &ihdr(9, 9)), (b"IHDR", &ihdr(60_000, 60_000)), (b"IEND", b"")])),
        ("a bad checksum", [&png(&[(b"IHDR", &ihdr(9, 9))])[..30], &[0; 40]].concat()),
        ("a TIFF whose directory is itself", b"II*\0\x08\0\0\0\xFF\xFF\0\x01\x03\0".to_vec()),
        (
            "a BMP of 2^31 rows",
            [&b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\0\0\0\x80\x01\0\x18\0"[..], &[0; 40]]
                .concat(),
        ),
        ("a WebP without a picture", b"RIFF\x0c\0\0\0WEBPVP8L\0\0\0\0".to_vec()),
        ("a JPEG that ends in fill", [&b"\xFF\xD8"[..], &[0xFF; 10_000]].concat()),
        ("a JPEG of empty segments", [&b"\xFF\xD8"[..], &b"\xFF\xE0\0\x02".repeat(100_000)].concat()),
    ];
    for (what, bytes) in lies {
        assert!(survives(what, &bytes).is_err(), "{what}");
    }
}

/// FF 00 between segments is passed over by libjpeg, and by us; nothing that it hides is read as a size.
#[test]
fn a_jpeg_is_read_in_one_way() {
    let large = encoded(&picture(900, 600), ImageFormat::Jpeg);
    let hidden = &large[2..];
    let length = u16::try_from(hidden.len() + 2).unwrap().to_be_bytes();
    let small = b"\xFF\xC0\0\x0B\x08\0\x0A\0\x0A\x01\x01\x11\0";
    let two = [b"\xFF\xD8\xFF\xE0\0\x02\xFF\0", &length[..], hidden, small].concat();
    assert_eq!(properties(&two).width, Some(900));
    assert_eq!(size(survives("two sizes", &two)), (200, 133));
}

/// Programs may write more behind what tells the colours.
#[test]
fn only_the_colour_bytes_of_an_adobe_segment_stay() {
    let (adobe, secret) = (&b"Adobe\0\x64\0\0\0\0\x01"[..], b"secret");
    let plain = encoded(&picture(9, 6), ImageFormat::Jpeg);
    let cleaned = clean(&[b"\xFF\xD8\xFF\xEE\0\x14", adobe, secret, &plain[2..]].concat()).unwrap();
    let kept = [b"\xFF\xEE\0\x0E", adobe].concat();
    assert!(cleaned.windows(kept.len()).any(|part| part == kept));
    assert!(!cleaned.windows(secret.len()).any(|part| part == secret));
}

/// A WebP whose canvas is 9 squared; `frame` is what comes after it.
fn webp_canvas(flags: u8, frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(22 + frame.len()).unwrap().to_le_bytes();
    let canvas = [b"VP8X\x0A\0\0\0", &[flags][..], b"\0\0\0\x08\0\0\x08\0\0"].concat();
    [b"RIFF", &length[..], b"WEBP", &canvas, frame].concat()
}

/// A lossy frame of `side` squared without data.
fn vp8(side: u16) -> Vec<u8> {
    let side = side.to_le_bytes();
    [b"VP8 \x0A\0\0\0\x10\0\0\x9D\x01\x2A", &side[..], &side].concat()
}

#[test]
fn no_frame_of_a_webp_is_larger_than_its_canvas() {
    let animated = |frame: &[u8]| {
        let length = u32::try_from(frame.len() + 16).unwrap().to_le_bytes();
        webp_canvas(2, &[b"ANIM\x06\0\0\0\0\0\0\0\0\0ANMF", &length[..], &[0; 16], frame].concat())
    };
    let alpha = |frame: &[u8]| [b"ALPH\x03\0\0\0\0\0\0\0", frame].concat();
    let late = |frame: &[u8]| [&b"XXXX\0\0\0\0".repeat(2000)[..], frame].concat();
    let small = [
        webp_canvas(0, &vp8(9)),
        webp_canvas(0, &alpha(&vp8(9))),
        animated(&vp8(9)),
        animated(&alpha(&vp8(9))),
    ];
    for bytes in small {
        assert_eq!(properties(&bytes).width, Some(9));
    }
    let large = vp8(16_383);
    let lies = [
        webp_canvas(0, &large),
        webp_canvas(0, &alpha(&large)),
        webp_canvas(0, &[vp8(9), large.clone()].concat()),
        webp_canvas(0, &late(&large)),
        animated(&large),
        animated(&alpha(&large)),
    ];
    for bytes in lies {
        assert_eq!(properties(&bytes), Properties::default());
        survives("a large frame", &bytes).unwrap_err();
    }
    // Frames after the first are not looked at, however many there are.
    let many = [animated(&vp8(9)), b"ANMF\0\0\0\0".repeat(2000)].concat();
    assert_eq!(properties(&many).width, Some(9));
}

#[test]
fn chunks_that_inflate_without_end_are_not_inflated() {
    // 30 MB of zeros in 30 KB, as a comment, a colour profile, and more of them than anybody would read.
    let bomb = [&b"a\0\0"[..], &zeros(30_000_000)].concat();
    for name in [b"zTXt", b"iCCP", b"iTXt"] {
        let chunks =
            [(b"IHDR", &ihdr(9, 9)[..]), (name, &bomb), (name, &bomb), (b"IDAT", b""), (b"IEND", b"")];
        let _ = survives("a bomb", &png(&chunks));
    }
    let pixels = png(&[(b"IHDR", &ihdr(1000, 10)), (b"IDAT", &zeros(30_000_000)), (b"IEND", b"")]);
    let _ = survives("more pixels than said", &pixels);
}

#[test]
fn thin_pictures_are_scaled() {
    for (width, height) in [(1, 60_000), (60_000, 1)] {
        let bytes = encoded(&picture(width.max(2), height), ImageFormat::Png);
        let (small_width, small_height) = size(survives("a line", &bytes));
        assert!(small_width <= 200 && small_height <= 200);
        let jpeg = encoded(&picture(width.max(2), height), ImageFormat::Jpeg);
        size(survives("a line", &jpeg));
    }
    let stripe = png(&[(b"IHDR", &ihdr(1, 40_000_000)), (b"IDAT", &zeros(300)), (b"IEND", b"")]);
    // Files with most frames missing: shown as far as they go, or refused.
    let _ = survives("a line of 40 million pixels", &stripe);
}

/// A GIF of this many frames of one pixel.
fn frames(count: usize) -> Vec<u8> {
    let head = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF";
    let frame = b"\x21\xF9\x04\0\0\0\0\0\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    [&head[..], &frame.repeat(count), b"\x3B"].concat()
}

#[test]
fn only_the_first_frame_is_looked_at() {
    let begun = Instant::now();
    assert_eq!(size(rendered(&frames(100_000), 10, 10)), (1, 1));
    let many = begun.elapsed();
    assert!(many < Duration::from_secs(1), "{many:?}");
}

#[test]
fn a_cut_anywhere_is_survived() {
    let noise =
        RgbImage::from_fn(120, 90, |x, y| Rgb([((x * 7) ^ (y * 13)) as u8, (x * y) as u8, (x ^ y) as u8]));
    for (kind, format, _) in FORMATS {
        let bytes = encoded(&noise.clone().into(), kind);
        let step = (bytes.len() / 60).max(1);
        for end in (0..bytes.len()).step_by(step) {
            let _ = survives(&format!("{format:?} of {end} bytes"), &bytes[..end]);
        }
        assert!(survives("all of it", &bytes).is_ok(), "{format:?}");
    }
}

#[test]
fn changed_bytes_are_survived() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (kind, format, _) in FORMATS {
        let whole = encoded(&picture(40, 30), kind);
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..=next() % 4 {
                let at = (next() as usize) % bytes.len().min(400);
                bytes[at] = next() as u8;
            }
            let _ = survives(&format!("{format:?}"), &bytes);
        }
    }
}

/// Nor is what was not looked at to its end called damaged.
#[test]
fn a_decoder_ends_at_the_deadline() {
    for kind in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
        let bytes = encoded(&picture(500, 500), kind);
        for side in [9, 500] {
            let late = render(&bytes, bounds(side, side), MOST, Duration::ZERO);
            assert_eq!(late, Err(Refusal::PreviewTooSlow), "{kind:?} {side}");
        }
    }
}

#[test]
fn files_that_are_not_pictures_have_no_preview() {
    for bytes in [&b""[..], b"text", b"<svg/>", b"%PDF-1.7", b"\0\0\0\x18ftypavif", b"\x1A\x45\xDF\xA3"] {
        assert_eq!(rendered(bytes, 9, 9), Err(Refusal::NoPreview));
        assert_eq!(properties(bytes), Properties::default());
    }
}

/// Segments of a JPEG that tell more than the picture.
fn told() -> Vec<u8> {
    let segment = |marker: u8, data: &[u8]| {
        let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
        [&[0xFF, marker][..], &length, data].concat()
    };
    [
        segment(0xE1, b"Exif\0\0MM\0*SECRET"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0SECRET"),
        segment(0xED, b"Photoshop 3.0\0SECRET"),
        segment(0xFE, b"SECRET"),
    ]
    .concat()
}

/// A picture in each container that we clean, with secrets in every place for them, `side` pixels wide and 20 high.
fn with_secrets(side: u32) -> Vec<(Format, Vec<u8>)> {
    let image = picture(side, 20);
    let jpeg = encoded(&image, ImageFormat::Jpeg);
    let jpeg = [&jpeg[..2], &told(), &jpeg[2..], b"SECRET behind the end"].concat();
    let small = encoded(&image, ImageFormat::Png);
    let chunk = |name: &[u8], data: &[u8]| {
        [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], name, data, &[0; 4]].concat()
    };
    let texts =
        [chunk(b"tEXt", b"Comment\0SECRET"), chunk(b"zTXt", b"SECRET"), chunk(b"iTXt", b"SECRET")].concat();
    let png = [&small[..33], &texts, &chunk(b"prVt", b"SECRET"), &small[33..], b"SECRET"].concat();
    let gif = encoded(&image, ImageFormat::Gif);
    let at = 13 + if gif[10] & 0x80 == 0 { 0 } else { 3 << ((gif[10] & 7) + 1) };
    let blocks = [&b"\x21\xFE\x06SECRET\0"[..], b"\x21\xFF\x0BXMP DataXMP\x06SECRET\0"].concat();
    let gif = [&gif[..at], &blocks, &gif[at..], b"SECRET"].concat();
    let webp = encoded(&image, ImageFormat::WebP);
    let chunks =
        [&webp[12..], b"EXIF\x06\0\0\0SECRET", b"XMP \x06\0\0\0SECRET", b"SECR\x06\0\0\0SECRET"].concat();
    let canvas = [&[0x0C, 0, 0, 0][..], &(side - 1).to_le_bytes()[..3], &[19, 0, 0]].concat();
    let chunks = [b"VP8X\x0A\0\0\0", &canvas[..], &chunks].concat();
    let webp =
        [b"RIFF", &u32::try_from(chunks.len() + 4).unwrap().to_le_bytes()[..], b"WEBP", &chunks].concat();
    vec![(Format::Jpeg, jpeg), (Format::Png, png), (Format::Gif, gif), (Format::WebP, webp)]
}

#[test]
fn an_avatar_tells_nothing_but_its_picture() {
    for (side, kept) in [(20, true), (30, false)] {
        for (format, bytes) in with_secrets(side) {
            let holds = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"SECRET");
            assert!(holds(&bytes), "{format:?}");
            let made = avatar(&bytes, MOST, TIME).unwrap();
            assert_eq!(made.format, format);
            assert!(!holds(&made.bytes), "{format:?} of {side} pixels");
            let shown = properties(&made.bytes);
            assert_eq!((shown.width, shown.height), (Some(20), Some(20)), "{format:?}");
            // The coded pixels are those that came, unless the picture is cut.
            let pixels = |bytes: &[u8]| rendered(bytes, 20, 20).unwrap().bytes;
            assert_eq!(pixels(&made.bytes) == pixels(&bytes), kept, "{format:?}");
        }
    }
}

#[test]
fn an_avatar_that_we_cannot_clean_is_converted_or_refused() {
    for kind in [ImageFormat::Bmp, ImageFormat::Tiff] {
        let made = avatar(&encoded(&picture(20, 20), kind), MOST, TIME).unwrap();
        assert_eq!(made.format, Format::Png);
    }
    for bytes in [&b"text"[..], b"", b"\0\0\0\x18ftypavif", b"RIFF\0\0\0\0WAVE"] {
        assert_eq!(avatar(bytes, MOST, TIME), Err(Refusal::NoAvatar));
    }
}

#[test]
fn an_animation_is_cut_frame_by_frame_or_kept_whole() {
    let mut gif = Vec::new();
    {
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut gif);
        for _ in 0..3 {
            encoder.encode_frame(image::Frame::new(picture(30, 20).into_rgba8())).unwrap();
        }
    }
    let made = avatar(&gif, MOST, TIME).unwrap();
    let decoder = image::codecs::gif::GifDecoder::new(Cursor::new(&made.bytes)).unwrap();
    let frames = image::AnimationDecoder::into_frames(decoder).collect_frames().unwrap();
    assert_eq!(frames.len(), 3);
    assert!(frames.iter().all(|frame| frame.buffer().dimensions() == (20, 20)));
    // With 16 bits per sample.
    let small = encoded(&picture(30, 20).into_rgb16().into(), ImageFormat::Png);
    let moving = [&small[..33], b"\0\0\0\x08acTL\0\0\0\x01\0\0\0\0\0\0\0\0", &small[33..]].concat();
    assert_eq!(avatar(&moving, MOST, TIME).unwrap().bytes, moving);
}

/// Three frames of 30 by 20 pixels that last 40 ms each, with secrets and this orientation, played twice.
fn moving(format: Format, lossless: bool, orientation: u8) -> Vec<u8> {
    let exif =
        [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[orientation][..], b"\0\0SECRET"].concat();
    let frame = picture(30, 20).into_rgba8();
    if format == Format::Png {
        let mut bytes = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut bytes, 30, 20);
        encoder.set_color(::png::ColorType::Rgba);
        encoder.set_animated(3, 2).unwrap();
        let mut writer = encoder.write_header().unwrap();
        for _ in 0..3 {
            writer.set_frame_delay(40, 1000).unwrap();
            writer.write_image_data(frame.as_raw()).unwrap();
        }
        writer.finish().unwrap();
        let whole = png(&[(b"eXIf", &exif), (b"tEXt", b"a\0SECRET")]);
        return [&bytes[..33], &whole[8..], &bytes[33..]].concat();
    }
    let coded = webp::encode(&frame, lossless).unwrap();
    let chunk = |name: &[u8; 4], data: &[u8]| {
        [name, &u32::try_from(data.len()).unwrap().to_le_bytes()[..], data, &vec![0; data.len() % 2]].concat()
    };
    let frame = [&[0, 0, 0, 0, 0, 0, 29, 0, 0, 19, 0, 0, 40, 0, 0, 2][..], &coded[12..]].concat();
    let chunks = [
        chunk(b"VP8X", &[0x0A, 0, 0, 0, 29, 0, 0, 19, 0, 0]),
        chunk(b"ANIM", &[0, 0, 0, 0, 2, 0]),
        chunk(b"ANMF", &frame).repeat(3),
        chunk(b"EXIF", &exif),
    ];
    chunk(b"RIFF", &[b"WEBP", &chunks.concat()[..]].concat())
}

/// The frames of an animation, each with how long it lasts in milliseconds, and how often it is played.
fn shown(bytes: &[u8], format: Format) -> (Vec<(u32, RgbaImage)>, image::metadata::LoopCount) {
    use image::AnimationDecoder;
    let (frames, count) = if format == Format::Png {
        let decoder = image::codecs::png::PngDecoder::new(Cursor::new(bytes)).unwrap().apng().unwrap();
        let count = decoder.loop_count();
        (decoder.into_frames().collect_frames().unwrap(), count)
    } else {
        let decoder = image::codecs::webp::WebPDecoder::new(Cursor::new(bytes)).unwrap();
        let count = decoder.loop_count();
        (decoder.into_frames().collect_frames().unwrap(), count)
    };
    let lasting = |frame: &image::Frame| frame.delay().numer_denom_ms().0 / frame.delay().numer_denom_ms().1;
    (frames.into_iter().map(|frame| (lasting(&frame), frame.into_buffer())).collect(), count)
}

#[test]
fn animations_of_png_and_webp_are_cut_and_turned_frame_by_frame() {
    for (format, lossless) in [(Format::Png, true), (Format::WebP, true), (Format::WebP, false)] {
        for orientation in [1, 3, 6] {
            let bytes = moving(format, lossless, orientation);
            assert_eq!(properties(&bytes).width, Some(if orientation == 6 { 20 } else { 30 }));
            let made = avatar(&bytes, MOST, TIME).unwrap();
            assert_eq!(made.format, format);
            assert_eq!(memchr::memmem::find(&made.bytes, b"SECRET"), None);
            let (frames, count) = shown(&made.bytes, format);
            assert_eq!(frames.len(), 3, "{format:?} {orientation}");
            assert!(matches!(count, image::metadata::LoopCount::Finite(times) if times.get() == 2));
            for (milliseconds, frame) in frames {
                assert_eq!((milliseconds, frame.dimensions()), (40, (20, 20)));
                // Red was on the left.
                let (red, blue) = match orientation {
                    1 => ((3, 10), (16, 10)),
                    3 => ((16, 10), (3, 10)),
                    _ => ((10, 3), (10, 16)),
                };
                let [red, blue] = [red, blue].map(|(x, y)| frame.get_pixel(x, y).0);
                assert!(
                    red[0] > 120 && red[2] < 60 && blue[2] > 120 && blue[0] < 60,
                    "{format:?} {orientation}"
                );
            }
            assert_eq!(avatar(&made.bytes, MOST, TIME).unwrap(), made, "made twice");
            let late = avatar(&bytes, MOST, Duration::ZERO);
            assert_eq!(late, Err(Refusal::PreviewTooSlow), "{format:?}");
        }
    }
}

#[test]
fn an_animation_that_lies_is_kept_or_refused() {
    for format in [Format::Png, Format::WebP] {
        let bytes = moving(format, false, 6);
        for end in (0..bytes.len()).step_by(7) {
            let _ = avatar(&bytes[..end], MOST, TIME);
        }
    }
    // Its second frame says that it is larger than the canvas; turned, it can't be kept.
    let mut large = moving(Format::WebP, false, 6);
    let second = memchr::memmem::find_iter(&large, b"VP8 ").nth(1).unwrap();
    large[second + 14..second + 18].copy_from_slice(&[0xFF, 0x3F, 0xFF, 0x3F]);
    assert_eq!(avatar(&large, MOST, TIME), Err(Refusal::Undecodable));
}

/// A lossy WebP picture that must be cut stays small.
#[test]
fn a_lossy_webp_is_cut_with_losses() {
    let noise = RgbaImage::from_fn(300, 200, |x, y| {
        Rgba([((x * 7) ^ (y * 13)) as u8, (x * y) as u8, (x ^ y) as u8, 255])
    });
    let [lossy, lossless] = [false, true].map(|lossless| webp::encode(&noise, lossless).unwrap());
    let [lossy, lossless] = [lossy, lossless].map(|bytes| avatar(&bytes, MOST, TIME).unwrap().bytes);
    assert!(lossy.len() < lossless.len() * 2 / 3, "{} {}", lossy.len(), lossless.len());
}

/// Slightly damaged files that browsers show.
#[test]
fn what_browsers_show_has_a_preview() {
    let jpeg = encoded(&picture(320, 240), ImageFormat::Jpeg);
    // Behind the first segment.
    let behind_start = |more: &[u8]| [&jpeg[..20], more, &jpeg[20..]].concat();
    let mut new_jfif = jpeg.clone();
    let at = jpeg.windows(4).position(|part| part == b"JFIF").unwrap();
    new_jfif[at + 5] = 2;
    let gif = encoded(&picture(320, 240), ImageFormat::Gif);
    let small = encoded(&picture(320, 240), ImageFormat::Png);
    let encoded_webp = webp::encode(&picture(320, 240).into_rgba8(), false).unwrap();
    let few_rows = png(&[(b"IHDR", &ihdr(320, 240)), (b"IDAT", &zeros(961 * 100)), (b"IEND", b"")]);
    let no_screen = [&gif[..6], &[0; 4], &gif[10..]].concat();
    for (what, bytes) in [
        ("a new revision of JFIF", new_jfif),
        ("a stray byte", behind_start(b"\0")),
        ("many stray bytes", behind_start(&[7; 300])),
        ("an empty profile", behind_start(b"\xFF\xE2\0\x10ICC_PROFILE\0\x01\x01")),
        ("an invalid profile", behind_start(b"\xFF\xE2\0\x14ICC_PROFILE\0\x01\x01abcd")),
        ("a profile of which parts lack", behind_start(b"\xFF\xE2\0\x14ICC_PROFILE\0\x02\x09abcd")),
        ("no end", jpeg[..jpeg.len() - 2].to_vec()),
        ("half a JPEG", jpeg[..jpeg.len() / 2].to_vec()),
        ("bytes behind the end", [&jpeg[..], b"more"].concat()),
        ("no logical screen", no_screen),
        ("half a WebP", encoded_webp[..encoded_webp.len() / 2].to_vec()),
        ("half a PNG", small[..small.len() / 2].to_vec()),
        ("fewer rows than said", few_rows),
    ] {
        assert_eq!(properties(&bytes).width.zip(properties(&bytes).height), Some((320, 240)), "{what}");
        assert_eq!(size(rendered(&bytes, 100, 100)), (100, 75), "{what}");
    }
}

#[test]
fn a_preview_has_the_colours_of_its_source() {
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let image = DynamicImage::from(RgbImage::from_pixel(200, 100, Rgb([200, 60, 40])));
    let mut png = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
    image::ImageEncoder::set_icc_profile(&mut encoder, p3.clone()).unwrap();
    image.write_with_encoder(encoder).unwrap();
    let jpeg = encoded(&image, ImageFormat::Jpeg);
    let segment = [&b"ICC_PROFILE\0\x01\x01"[..], &p3].concat();
    let length = u16::try_from(segment.len() + 2).unwrap().to_be_bytes();
    let jpeg = [&jpeg[..2], b"\xFF\xE2", &length, &segment, &jpeg[2..]].concat();
    for bytes in [jpeg, png] {
        for made in [rendered(&bytes, 20, 20).unwrap(), avatar(&bytes, MOST, TIME).unwrap()] {
            let pixel = decoded(&made).to_rgb8().get_pixel(5, 5).0;
            assert!(
                pixel.iter().zip([217, 44, 26]).all(|(one, other)| one.abs_diff(other) <= 4),
                "{pixel:?}"
            );
        }
    }
}

/// Turned to the left, then upside down, in the colours of a phone.
#[test]
fn a_still_that_ffmpeg_decodes_is_shown_as_its_file_says() {
    let still = Still {
        demuxer: "mov",
        size: Some((90, 60)),
        turned: vec![Orientation::Rotate270, Orientation::FlipVertical],
        profile: Some(moxcms::ColorProfile::new_display_p3().encode().unwrap()),
    };
    assert_eq!(still.fit(bounds(30, 30)), Some((30, 20)));
    let left = |x: u32, _| if x < 15 { Rgb([200, 60, 40]) } else { Rgb([0, 0, 0]) };
    let shown = still.shown(RgbImage::from_fn(30, 20, left).into()).into_rgb8();
    assert_eq!(shown.dimensions(), (20, 30));
    let (top, bottom) = (shown.get_pixel(10, 3), shown.get_pixel(10, 26));
    assert!(top.0.iter().zip([217, 44, 26]).all(|(one, other)| one.abs_diff(other) <= 3), "{top:?}");
    assert_eq!(bottom.0, [0, 0, 0]);
    let unknown = Still::heif(&b"\0\0\0\x14ftypheic\0\0\0\0heic"[..]);
    assert_eq!((unknown.size, unknown.fit(bounds(30, 30))), (None, None));
}

/// A raw photo: its first directory, which says how the camera was held, is a thumbnail of 40 by 20 pixels, red on the left.
#[test]
fn a_raw_photo_is_measured_as_the_photo_and_shown_by_its_thumbnail() {
    let directory = |entries: &[(u16, u16, u32)]| {
        let entry = |(tag, kind, value): &(u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &1_u32.to_le_bytes(), &value.to_le_bytes()].concat()
        };
        let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
        [&count[..], &entries.iter().flat_map(entry).collect::<Vec<_>>(), &[0; 4]].concat()
    };
    for (orientation, shown) in [(1, (4000, 3000)), (6, (3000, 4000))] {
        // Short values in the low half of their fields.
        let fields = |strip: u32, below: u32| {
            [
                (254, 4, 1),
                (256, 4, 40),
                (257, 4, 20),
                (258, 3, 8),
                (259, 3, 1),
                (262, 3, 2),
                (273, 4, strip),
                (274, 3, orientation),
                (277, 3, 3),
                (278, 4, 20),
                (279, 4, 40 * 20 * 3),
                (330, 4, below),
            ]
        };
        let length = u32::try_from(8 + directory(&fields(0, 0)).len()).unwrap();
        let raw = directory(&[(256, 4, 4000), (257, 4, 3000)]);
        let first = directory(&fields(length + u32::try_from(raw.len()).unwrap(), length));
        let bytes = [b"II*\0\x08\0\0\0", &first[..], &raw, picture(40, 20).into_rgb8().as_raw()].concat();
        assert_eq!(properties(&bytes).width.zip(properties(&bytes).height), Some(shown), "{orientation}");
        let small = decoded(&rendered(&bytes, 10, 10).unwrap()).to_rgb8();
        let (size, red) = if orientation == 6 { ((5, 10), (2, 1)) } else { ((10, 5), (1, 2)) };
        assert_eq!(small.dimensions(), size, "{orientation}");
        let red = small.get_pixel(red.0, red.1);
        assert!(red[0] > 100 && red[2] < 80, "{orientation}: {red:?}");
    }
}

#[test]
fn a_bitmap_that_is_wholly_transparent_is_opaque() {
    let clear = DynamicImage::from(RgbaImage::from_pixel(20, 20, Rgba([255, 0, 0, 0])));
    let made = rendered(&encoded(&clear, ImageFormat::Bmp), 10, 10).unwrap();
    assert_eq!(decoded(&made).to_rgba8().get_pixel(5, 5).0, [255, 0, 0, 255]);
}
