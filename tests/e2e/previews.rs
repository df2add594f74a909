//! Previews, properties and square avatars.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use image::GenericImageView;
use media_server::model::Refusal;
use media_server::preview::{Bounds, Settings, Studio};
use rusqlite::Connection;

use crate::site::{Site, photo, photo_bytes};
use crate::support::http::{Answer, Request};
use crate::support::load::{connect, exchange, memory};
use crate::support::media::{Made, ffmpeg, file, film, picture, sound};
use crate::support::scratch::Scratch;
use crate::support::xmpp_client::Client;
use crate::support::{soak, wait_for};

/// Width and height of a JPEG or any picture that the crate `image` reads.
pub fn size(bytes: &[u8]) -> (u32, u32) {
    match turbojpeg::read_header(bytes) {
        Ok(header) => (header.width as u32, header.height as u32),
        Err(_) => image::load_from_memory(bytes).expect("a picture").dimensions(),
    }
}

#[track_caller]
fn upload(site: &Site, user: &Client, channel: &str, path: &Path, mime_type: &str) -> Answer {
    Request::new("POST", &site.url(channel)).basic(user.jid()).file(path, mime_type).send().expect(201)
}

#[track_caller]
fn preview(site: &Site, path: &str, query: &str) -> Answer {
    Request::get(&site.url(path)).query(query).send()
}

/// Height, width and media of every row of a preview.
fn rows(site: &Site) -> Vec<(u32, u32, String)> {
    let database =
        Connection::open(site.server.storage().join("metadata.sqlite")).expect("the database is there");
    let mut query = database
        .prepare("SELECT height, width, mediaId FROM previews ORDER BY 1, 2")
        .expect("a table of previews");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows of previews")
}

fn rows_of(site: &Site, id: &str) -> Vec<(u32, u32)> {
    rows(site).into_iter().filter(|row| row.2 == id).map(|(height, width, _)| (height, width)).collect()
}

fn files(site: &Site, channel: &str) -> usize {
    fs::read_dir(site.server.storage().join(channel)).map_or(0, Iterator::count)
}

#[test]
fn properties_are_told_by_content() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    for (made, width, height, length) in [
        (picture("a.jpg", 90, 60), Some(90), Some(60), None),
        (picture("a.png", 90, 60), Some(90), Some(60), None),
        (picture("a.gif", 90, 60), Some(90), Some(60), None),
        (picture("a.bmp", 90, 60), Some(90), Some(60), None),
        (picture("a.tiff", 90, 60), Some(90), Some(60), None),
        (picture("a.webp", 90, 60), Some(90), Some(60), None),
        (film("a.avi", 96, 64), Some(96), Some(64), Some(4000)),
        (film("a.mp4", 96, 64), Some(96), Some(64), Some(4000)),
        (film("a.mkv", 96, 64), Some(96), Some(64), Some(4000)),
        (sound("a.wav"), None, None, Some(3000)),
        (sound("a.flac"), None, None, Some(3000)),
        (file("a.jpg", b"no picture at all"), None, None, None),
        (file("a.avi", b"#EXTM3U\n/etc/passwd\n"), None, None, None),
    ] {
        // The type and the name say nothing true.
        let answer = upload(site, &user, &channel, made.path(), "application/x-lie").json();
        let number = |name: &str| answer[name].as_u64();
        assert_eq!((number("width"), number("height")), (width, height), "{answer}");
        let close = |told: u64, made: u64| told.abs_diff(made) < 150;
        match (number("length"), length) {
            (Some(told), Some(made)) => assert!(close(told, made), "{answer}"),
            (told, made) => assert_eq!(told, made, "{answer}"),
        }
    }
}

#[test]
fn previews_of_every_format_come_down() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    for (name, expected) in [
        ("a.jpg", "image/jpeg"),
        ("a.png", "image/png"),
        ("a.gif", "image/gif"),
        ("a.webp", "image/jpeg"),
        ("a.bmp", "image/bmp"),
        ("a.tiff", "image/jpeg"),
        ("a.avi", "image/jpeg"),
        ("a.mp4", "image/jpeg"),
        ("a.mkv", "image/jpeg"),
    ] {
        let is_film = ["avi", "mp4", "mkv"].iter().any(|kind| name.ends_with(kind));
        let made = if is_film { film(name, 96, 64) } else { picture(name, 96, 64) };
        let id = upload(site, &user, &channel, made.path(), "application/octet-stream").member("id");
        let answer = preview(site, &format!("{channel}/{id}"), "maxheight=48&maxwidth=48").expect(200);
        assert_eq!((size(&answer.body), answer.header("content-type")), ((48, 32), Some(expected)), "{name}");
        assert_eq!(rows_of(site, &id), [(48, 48)], "{name}");
    }
}

#[test]
fn a_preview_is_made_once_and_found_after_a_restart() {
    let mut site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let made = picture("a.jpg", 400, 300);
    let id = upload(&site, &user, &channel, made.path(), "image/jpeg").member("id");
    let path = format!("{channel}/{id}");
    let askers: Vec<_> =
        (0..6).map(|_| Request::get(&site.url(&path)).query("maxheight=100").send_apart()).collect();
    let answers: Vec<_> =
        askers.into_iter().map(|asker| asker.join().expect("an answer").expect(200)).collect();
    let first = &answers[0];
    assert_eq!(size(&first.body), (100, 75));
    assert!(answers.iter().all(|answer| answer.body == first.body), "not the same bytes for all");
    assert_eq!((rows_of(&site, &id), files(&site, &channel)), (vec![(100, 100)], 2));
    site.server.kill();
    site.server.start_again();
    site.wait_ready(&channel);
    let again = preview(&site, &path, "maxwidth=100").expect(200);
    assert!(again.body == first.body, "other bytes after a restart");
    assert_eq!(files(&site, &channel), 2);
    // As a small file of its own: conditions and ranges.
    let etag = again.header("etag").expect("a preview has an ETag").to_owned();
    let url = site.url(&path);
    let asked = || Request::get(&url).query("maxheight=100");
    asked().header("If-None-Match", &etag).send().expect(304);
    assert_eq!(asked().header("Range", "bytes=0-9").send().expect(206).body, first.body[..10]);
    let whole = Request::get(&url).send().expect(200);
    assert_ne!(whole.header("etag"), Some(etag.as_str()));
    // The file is lost: made anew, in the place of its row.
    let lost = fs::read_dir(site.server.storage().join(&channel)).expect("a folder").flatten();
    for entry in lost.filter(|entry| entry.file_name().to_str() != Some(&id)) {
        fs::remove_file(entry.path()).expect("the file can go");
    }
    assert!(preview(&site, &path, "maxheight=100").expect(200).body == first.body);
    assert_eq!((rows_of(&site, &id).len(), files(&site, &channel)), (1, 2));
}

#[test]
fn boxes_are_clamped_and_the_least_used_preview_goes() {
    let site = Site::start(&[("preview.max.count", "3")]);
    let (user, channel) = site.public_channel();
    let made = picture("a.png", 90, 60);
    let id = upload(&site, &user, &channel, made.path(), "image/png").member("id");
    let path = format!("{channel}/{id}");
    for large in ["maxheight=61&maxwidth=91", "maxheight=99999999999", "maxheight=60&maxwidth=90"] {
        assert_eq!(size(&preview(&site, &path, large).expect(200).body), (90, 60), "{large}");
    }
    assert_eq!(rows_of(&site, &id), [(60, 90)]);
    for side in 10..30 {
        preview(&site, &path, &format!("maxheight={side}&maxwidth={side}")).expect(200);
    }
    assert_eq!((rows_of(&site, &id), files(&site, &channel)), (vec![(27, 27), (28, 28), (29, 29)], 4));
    for bad in ["maxheight=0", "maxheight=-5", "maxheight=5&maxwidth=0"] {
        preview(&site, &path, bad).expect(400);
    }
}

#[test]
fn files_without_a_preview_are_412_with_a_reason() {
    let site = Site::start(&[("preview.max.pixels", "5000"), ("preview.max.bytes", "100000")]);
    let (user, channel) = site.public_channel();
    let cut = fs::read(picture("a.png", 70, 70).path()).expect("a picture");
    let noise = vec![0; 200_000];
    let large = [&cut[..33], &noise].concat();
    for (made, mime_type, reason) in [
        (file("a.txt", b"text"), "text/plain", "has no preview"),
        (file("a.jpg", b"text"), "image/jpeg", "has no preview"),
        (sound("a.wav"), "audio/x-wav", "has no preview"),
        (picture("a.png", 72, 72), "image/png", "more pixels"),
        (file("a.png", &large), "image/png", "more pixels or bytes"),
        (file("a.png", &cut[..40]), "image/png", "damaged"),
        (
            file("a.avi", &[b"RIFF\xf8\x4f\0\0AVI LIST".as_slice(), &[7; 20_000]].concat()),
            "video/avi",
            "has no preview",
        ),
        (film("a.avi", 160, 120), "video/avi", "damaged"),
    ] {
        let id = upload(&site, &user, &channel, made.path(), mime_type).member("id");
        let answer = preview(&site, &format!("{channel}/{id}"), "maxheight=20").expect(412);
        let detail = answer.member("detail");
        assert!(detail.contains(reason), "{}: {detail}", made.path().display());
        // The media itself is as good as any.
        Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200);
    }
    assert!(rows(&site).is_empty());
}

#[test]
fn without_ffmpeg_films_are_kept_and_have_no_preview() {
    let site = Site::start(&[
        ("preview.ffprobe", "/nonexistent/ffprobe"),
        ("preview.ffmpeg", "/nonexistent/ffmpeg"),
    ]);
    let (user, channel) = site.public_channel();
    let made = film("a.avi", 96, 64);
    let answer = upload(&site, &user, &channel, made.path(), "video/avi");
    assert_eq!(answer.json()["width"], serde_json::Value::Null);
    let path = format!("{channel}/{}", answer.member("id"));
    for _ in 0..2 {
        let refused = preview(&site, &path, "maxheight=20").expect(412);
        assert!(refused.member("detail").contains("no previews of films"), "{}", refused.text());
    }
    let id = site.upload(&user, &channel);
    preview(&site, &format!("{channel}/{id}"), "maxheight=20").expect(200);
    assert_eq!(site.server.log().matches("is not installed").count(), 1, "{}", site.server.log());
}

#[test]
fn a_preview_that_runs_out_of_time_is_not_called_damaged() {
    let studio = Studio::new(Settings { time: Duration::ZERO, ..Settings::default() });
    for made in [film("a.mp4", 96, 64), picture("a.png", 90, 60)] {
        let file = fs::File::open(made.path()).expect("a file of ours");
        let refused = studio.render(&file, Bounds { height: 20, width: 20 });
        assert_eq!(refused, Err(Refusal::PreviewTooSlow), "{}", made.path().display());
    }
}

/// While one film is looked at, and no request may wait: other previews come later, uploads without properties.
#[test]
fn a_full_queue_is_503_and_costs_uploads_their_properties() {
    let scratch = Scratch::new();
    let (slow, hold, begun) = (scratch.join("slow"), scratch.join("hold"), scratch.join("begun"));
    let script = format!(
        "#!/bin/sh\n: >{}\nwhile [ -e {} ]; do sleep 0.02; done\nexec ffprobe \"$@\"\n",
        begun.display(),
        hold.display()
    );
    fs::write(&slow, script).expect("the scratch directory takes files");
    fs::set_permissions(&slow, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    let program = slow.display().to_string();
    let site = Site::start(&[
        ("preview.jobs.max", "1"),
        ("preview.queue.max", "0"),
        ("preview.timeout", "300"),
        ("preview.ffprobe", &program),
    ]);
    let (user, channel) = site.public_channel();
    let made = film("a.mp4", 96, 64);
    let first = upload(&site, &user, &channel, made.path(), "video/mp4");
    assert_eq!(first.json()["width"], 96);
    let path = format!("{channel}/{}", first.member("id"));
    preview(&site, &path, "maxheight=10").expect(200);
    fs::write(&hold, "").expect("the scratch directory takes files");
    fs::remove_file(&begun).expect("the program was started");
    let waiting = Request::get(&site.url(&path)).query("maxheight=20").send_apart();
    wait_for("the program to be started", || begun.exists().then_some(()));
    let refused = preview(&site, &path, "maxheight=30").expect(503);
    assert!(refused.header("retry-after").is_some());
    preview(&site, &path, "maxheight=10").expect(200);
    let unmeasured = upload(&site, &user, &channel, made.path(), "video/mp4");
    assert_eq!(unmeasured.json()["width"], serde_json::Value::Null);
    fs::remove_file(&hold).expect("it was written");
    waiting.join().expect("an answer").expect(200);
    preview(&site, &path, "maxheight=30").expect(200);
}

#[test]
fn a_preview_tells_nothing_of_where_the_photo_was_taken() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let jpeg = photo_bytes();
    // Turned by 90 degrees, with a text that stands for a place.
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0GPS-52.5-13.4";
    let length = u16::try_from(exif.len() + 2).expect("a short segment").to_be_bytes();
    let tagged = [&jpeg[..2], &[0xFF, 0xE1], &length, exif, &jpeg[2..]].concat();
    let made = file("a.jpg", &tagged);
    let id = upload(site, &user, &channel, made.path(), "image/jpeg").member("id");
    for query in ["maxheight=20", "maxheight=5000"] {
        let answer = preview(site, &format!("{channel}/{id}"), query).expect(200);
        assert!(!answer.body.windows(4).any(|window| window == b"Exif" || window == b"GPS-"), "{query}");
    }
}

#[test]
fn a_private_channel_shows_no_preview_to_strangers() {
    let site = crate::private_channels::impatient();
    let user = site.user();
    let channel = site.own_channel("whitelist", &user);
    let id = site.upload(&user, &channel);
    let path = format!("{channel}/{id}");
    preview(site, &path, "maxheight=20").expect(401);
    let url = site.url(&path);
    let stranger = site.user();
    Request::get(&url).query("maxheight=20").basic(stranger.jid()).send().expect(403);
    Request::get(&url).query("maxheight=20").basic(user.jid()).send().expect(200);
}

/// An AVIF picture of 60 by 40 pixels.
fn avif() -> Made {
    let source = ["-f", "lavfi", "-i", "testsrc2=size=60x40:rate=1", "-frames:v", "1"];
    ffmpeg(
        "a.avif",
        &[&source[..], &["-c:v", "libaom-av1", "-still-picture", "1", "-cpu-used", "8"]].concat(),
    )
}

/// The avatar of a channel, its metadata, and the media that it replaced.
#[test]
fn avatars_are_square_and_may_be_replaced() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let url = site.url(&format!("{channel}/avatar"));
    let put = |made: &Made| {
        let request = Request::new("PUT", &url).basic(user.jid()).file(made.path(), "image/x-lie");
        request.send().expect(201)
    };
    let mut ids = Vec::new();
    for name in ["a.jpg", "a.png", "a.gif", "a.webp", "a.bmp", "a.tiff"] {
        let answer = put(&picture(name, 90, 60));
        let kept = ["jpg", "png", "gif", "webp"].iter().any(|kind| name.ends_with(kind));
        assert_eq!(kept, answer.member("mimeType") != "image/png" || name == "a.png", "{name}");
        assert_eq!((answer.member("width"), answer.member("height")), ("60".into(), "60".into()), "{name}");
        let avatar = Request::get(&url).send().expect(200);
        assert_eq!(size(&avatar.body), (60, 60), "{name}");
        assert_eq!(avatar.body.len().to_string(), answer.member("fileSize"), "{name}");
        ids.push(answer.member("id"));
    }
    // A format that only ffmpeg reads is converted.
    let answer = put(&avif());
    assert_eq!((answer.member("mimeType"), answer.member("width")), ("image/jpeg".into(), "40".into()));
    assert_eq!(answer.member("fileExtension"), "jpg");
    assert_eq!(size(&Request::get(&url).send().expect(200).body), (40, 40));
    // What is square keeps its pixels, and nothing else that it may hold.
    let square = Request::new("PUT", &url).basic(user.jid()).file(&photo(), "image/jpeg").send().expect(201);
    let stored = Request::get(&url).send().expect(200).body;
    assert_eq!(size(&stored), size(&photo_bytes()));
    assert!(!stored.windows(4).any(|part| part == b"Exif"));
    let text = file("a.jpg", b"no picture");
    Request::new("PUT", &url).basic(user.jid()).file(text.path(), "image/jpeg").send().expect(415);
    assert!(Request::get(&url).send().expect(200).body == stored);
    for id in ids.iter().chain([&square.member("id")]) {
        Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200);
    }
}

#[test]
fn a_type_that_says_nothing_is_told_by_name_or_content_and_texts_by_their_character_set() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let film = film("a.mp4", 64, 48);
    let jpeg = picture("a.jpg", 40, 30);
    let png = picture("a.png", 40, 30);
    let unnamed = file("png", &fs::read(png.path()).expect("a picture"));
    let long = format!("{}.docx", "字".repeat(60));
    for (path, sent, expected, shown) in [
        (film.path(), "application/octet-stream", "video/mp4", true),
        (jpeg.path(), "*/*", "image/jpeg", true),
        (unnamed.path(), "image/*", "image/png", true),
        (file("a.txt", "Grüße".as_bytes()).path(), "text/plain", "text/plain; charset=utf-8", true),
        (file("b.txt", b"Gr\xFC\xDFe").path(), "text/plain", "text/plain", true),
        (file("c.bin", "é".as_bytes()).path(), "application/x-made-up", "application/x-made-up", false),
        (file(&long, b"\0").path(), "application/octet-stream", DOCX, false),
    ] {
        let id = upload(site, &user, &channel, path, sent).json()["id"].as_str().expect("an id").to_owned();
        let answer = preview(site, &format!("{channel}/{id}"), "");
        assert_eq!(answer.header("content-type"), Some(expected), "{}", path.display());
        let disposition = answer.header("content-disposition").expect("a disposition");
        assert_eq!(disposition.starts_with("inline"), shown, "{disposition}");
    }
}

const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

/// Options for a film in high dynamic range with these tones.
fn hdr(tones: &str) -> Vec<&str> {
    let options = "-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=none -color_primaries bt2020 -colorspace \
                   bt2020nc -color_trc";
    options.split(' ').filter(|option| !option.is_empty()).chain([tones]).collect()
}

/// Files as people's devices make them: what is found out about each, and a preview of it.
#[test]
fn media_of_many_devices_are_measured_and_shown() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let source = |size: &str| format!("testsrc2=size={size}:rate=10:duration=2");
    let film = |name: &str, size: &str, options: &[&str]| {
        ffmpeg(name, &[&["-f", "lavfi", "-i", &source(size)], options].concat())
    };
    let tone = |name: &str, options: &[&str]| {
        ffmpeg(name, &[&["-f", "lavfi", "-i", "sine=duration=3"], options].concat())
    };
    let stream =
        fs::read(film("a.ts", "320x240", &["-c:v", "mpeg2video", "-f", "mpegts"]).path()).expect("a film");
    let timed: Vec<u8> = stream.chunks(188).flat_map(|packet| [&[0; 4], packet].concat()).collect();
    let flac = fs::read(tone("a.flac", &[]).path()).expect("a sound");
    let tagged = [&b"ID3\x04\0\0\0\0\x10\0"[..], &[0; 2048], &flac].concat();
    let live = ["-f", "webm", "-live", "1"];
    for (made, size, length, shown) in [
        (
            film("ten.mp4", "320x240", &["-pix_fmt", "yuv420p10le"]),
            Some((320, 240)),
            Some(2000),
            Some((100, 75)),
        ),
        (
            film("vp9.webm", "160x120", &["-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p10le"]),
            Some((160, 120)),
            Some(2000),
            Some((100, 75)),
        ),
        (
            film("grey.mkv", "160x120", &["-c:v", "ffv1", "-pix_fmt", "gray10le"]),
            Some((160, 120)),
            Some(2000),
            Some((100, 75)),
        ),
        (
            film("deep.mov", "160x120", &["-c:v", "prores", "-pix_fmt", "yuv422p10le"]),
            Some((160, 120)),
            Some(2000),
            Some((100, 75)),
        ),
        (film("hdr.mp4", "320x240", &hdr("smpte2084")), Some((320, 240)), Some(2000), Some((100, 75))),
        (film("hlg.mp4", "320x240", &hdr("arib-std-b67")), Some((320, 240)), Some(2000), Some((100, 75))),
        (film("wide.mp4", "720x576", &["-aspect", "16:9"]), Some((1024, 576)), Some(2000), Some((100, 56))),
        (film("live.webm", "160x120", &live), Some((160, 120)), Some(2000), Some((100, 75))),
        (file("a.m2ts", &timed), Some((320, 240)), Some(2000), Some((100, 75))),
        (tone("live.webm", &live), None, Some(3000), None),
        (tone("a.wav", &["-rf64", "always"]), None, Some(3000), None),
        (tone("a.aac", &[]), None, Some(3000), None),
        (file("a.flac", &tagged), None, Some(3000), None),
        (
            ffmpeg(
                "a.tif",
                &["-f", "lavfi", "-i", "testsrc2=size=90x60:rate=1", "-frames:v", "1", "-pix_fmt", "pal8"],
            ),
            Some((90, 60)),
            None,
            Some((90, 60)),
        ),
        (
            file("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 96 64'/>"),
            Some((96, 64)),
            None,
            None,
        ),
    ] {
        let name = made.path().display();
        let answer = upload(site, &user, &channel, made.path(), "application/octet-stream").json();
        let number = |name: &str| answer[name].as_u64();
        assert_eq!(number("width").zip(number("height")), size, "{name}");
        let told = number("length");
        let close = told.zip(length).is_some_and(|(told, made): (u64, u64)| told.abs_diff(made) < 150);
        assert!(close || told == length, "{name}: {told:?}");
        let id = answer["id"].as_str().expect("an id");
        let preview = preview(site, &format!("{channel}/{id}"), "maxheight=100&maxwidth=100");
        match shown {
            Some(shown) => assert_eq!(self::size(&preview.expect(200).body), shown, "{name}"),
            None => drop(preview.expect(412)),
        }
    }
}

/// Mean colour of a JPEG.
fn mean(jpeg: &[u8]) -> [u8; 3] {
    let decoded = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).expect("a JPEG");
    let rows = decoded.pixels.chunks(decoded.pitch).map(|row| &row[..3 * decoded.width]);
    let samples: Vec<u8> = rows.flatten().copied().collect();
    let pixels = (samples.len() / 3) as u64;
    let sum = |channel: usize| {
        samples.iter().skip(channel).step_by(3).map(|sample| u64::from(*sample)).sum::<u64>()
    };
    [0, 1, 2].map(|channel| u8::try_from(sum(channel) / pixels).expect("a mean"))
}

#[test]
fn a_film_of_high_definition_has_the_colours_that_players_show() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    for (size, matrix) in [("1280x720", "bt709"), ("320x240", "bt601")] {
        let source = format!("color=0xC83C28:size={size}:rate=10:duration=1,format=rgb24");
        let filter = format!("scale=out_color_matrix={matrix},format=yuv420p");
        let made = ffmpeg("a.mp4", &["-f", "lavfi", "-i", &source, "-vf", &filter]);
        let id = upload(site, &user, &channel, made.path(), "video/mp4").member("id");
        let body = preview(site, &format!("{channel}/{id}"), "maxheight=100").expect(200).body;
        let close = mean(&body).iter().zip([200, 60, 40]).all(|(one, other)| one.abs_diff(other) <= 4);
        assert!(close, "{size}: {:?}", mean(&body));
    }
}

/// Where bright parts have four times the light of white paper, white paper is not grey, and black is black.
#[test]
fn a_film_in_high_dynamic_range_is_neither_dark_nor_pale() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    // The signal of 203 cd/m2, which is white (ITU-R BT.2408), and of black, in 8 bits.
    for (tones, white) in [("smpte2084", 148), ("arib-std-b67", 191)] {
        for (signal, shown) in [(white, 160..=255), (0, 0..=10)] {
            let source =
                format!("color=0x{signal:02X}{signal:02X}{signal:02X}:size=320x240:rate=10:duration=1");
            let made = ffmpeg("a.mp4", &[&["-f", "lavfi", "-i", &source], &hdr(tones)[..]].concat());
            let id = upload(site, &user, &channel, made.path(), "video/mp4").member("id");
            let body = preview(site, &format!("{channel}/{id}"), "maxheight=100").expect(200).body;
            let [red, green, blue] = mean(&body);
            assert!(shown.contains(&green), "{tones} {signal}: {red} {green} {blue}");
            assert!(
                red.abs_diff(green) < 6 && blue.abs_diff(green) < 6,
                "{tones} {signal}: {red} {green} {blue}"
            );
        }
    }
}

/// One client asks for ever new sizes on many connections; another one gets all of its own, in turn.
#[test]
fn a_client_that_asks_for_many_previews_leaves_room_for_others() {
    /// Connections of the one.
    const GREEDY: usize = 16;
    /// Previews of the other.
    const FRESH: u32 = 24;
    // The machine may be busy with other tests.
    let site = Site::start(&[("preview.timeout", "2m")]);
    let (user, channel) = site.public_channel();
    let [large, other] = [(2000, 1500), (1000, 750)].map(|(width, height)| {
        let made = picture("a.jpg", width, height);
        format!("/{channel}/{}", upload(&site, &user, &channel, made.path(), "image/jpeg").member("id"))
    });
    let port = site.server.port();
    let status = |number: usize, path: &str, height: u32| {
        let request =
            format!("GET {path}?maxheight={height} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let answer = exchange(connect(number, port), request.as_bytes());
        answer.get(9..12).map(|status| String::from_utf8_lossy(status).into_owned()).unwrap_or_default()
    };
    let (height, ended) = (AtomicU32::new(20), AtomicBool::new(false));
    thread::scope(|scope| {
        let ask = || {
            let mut counts = [0, 0];
            while !ended.load(Ordering::Relaxed) {
                match status(0, &large, height.fetch_add(1, Ordering::Relaxed) % 1400 + 20).as_str() {
                    "200" => counts[0] += 1,
                    "503" => counts[1] += 1,
                    status => panic!("{status}"),
                }
            }
            counts
        };
        let greedy: Vec<_> = (0..GREEDY).map(|_| scope.spawn(ask)).collect();
        // Of another address.
        let got = (0..FRESH).filter(|number| status(100, &other, 20 + number) == "200").count();
        ended.store(true, Ordering::Relaxed);
        let counts: Vec<[u32; 2]> =
            greedy.into_iter().map(|greedy| greedy.join().expect("it asks")).collect();
        let total = |at: usize| counts.iter().map(|counts| counts[at]).sum::<u32>();
        assert_eq!(got, FRESH as usize, "beside {} previews and {} refusals of the one", total(0), total(1));
        assert!(total(0) > 0 && total(1) > 0, "nobody was greedy: {counts:?}");
    });
}

/// The children that decode take their memory with them.
#[test]
fn many_previews_for_a_while_leave_no_memory_behind() {
    /// KiB that the server may have taken for good.
    const KEPT: usize = 4 * 1024;
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let paths = ["a.jpg", "a.png", "a.webp"].map(|name| {
        let made = picture(name, 4000, 3000);
        format!("{channel}/{}", upload(&site, &user, &channel, made.path(), "image/x").member("id"))
    });
    let idle = memory(site.server.pid(), "VmRSS");
    let (deadline, mut made) = (Instant::now() + soak::time(Duration::from_secs(3)), 0);
    while Instant::now() < deadline || made < 9 {
        let path = &paths[made % paths.len()];
        preview(&site, path, &format!("maxheight={}", 20 + made % 1000)).expect(200);
        made += 1;
    }
    let now = memory(site.server.pid(), "VmRSS");
    soak::count("previews of 12 megapixels", made as u64);
    assert!(now <= idle + KEPT, "{idle} KiB before, {now} KiB after {made} previews");
}
