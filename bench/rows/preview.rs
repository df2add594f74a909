//! Previews, made and stored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use media_server::preview::{Bounds, Decoding, Settings, Studio};

use crate::http::{Load, p99};
use crate::options::Options;
use crate::process::Tree;
use crate::report::{Goal, Report};
use crate::rounds::{Done, Side, alternate};
use crate::site::{PUBLIC, Site};
use crate::support::http::Request;
use crate::support::scratch::Scratch;
use crate::support::server::PROGRAM;

/// The word that makes this program make one preview, so that a whole process can be measured as the peer's is.
const CHILD: &str = "preview";
/// Pixels of a side.
const SIDE: u32 = 200;
/// Previews, each of another size, after which the memory is looked at.
const MADE: u32 = 1000;
/// How many get a stored one at a time.
const READERS: usize = 32;

/// Makes a preview, by a child process of the server's program as the server does, if this process was started for that:
/// `preview IN OUT`.
pub fn as_child() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [word, source, target] = arguments.as_slice() else { return None };
    (word == CHILD).then(|| {
        let source = fs::File::open(source).expect("the picture is there");
        let bounds = Bounds { height: SIDE, width: SIDE };
        let settings = Settings { decoding: Decoding::Child(PROGRAM.into()), ..Settings::default() };
        let rendered = Studio::new(settings).render(&source, bounds).expect("it has a preview");
        fs::write(target, rendered.bytes).expect("the scratch directory takes files");
        ExitCode::SUCCESS
    })
}

/// Previews of 12 megapixels, each by a whole process.
pub fn cold(options: &Options, report: &mut Report) {
    let scratch = Scratch::new();
    let program = std::env::current_exe().expect("a program has a path").display().to_string();
    for (name, quality, goal) in [
        ("12-MP.jpg", &["-q:v", "3"][..], 0.6),
        ("12-MP.png", &[], 0.6),
        // Both use libwebp, which decodes every pixel of the file, whatever the size of the preview.
        ("12-MP.webp", &["-quality", "85"], 1.0),
    ] {
        let source = picture(&scratch, name, quality).display().to_string();
        let extension = if name.ends_with("png") { "png" } else { "jpg" };
        let [own, other] = ["own", "other"].map(|whose| scratch.join(format!("{whose}.{extension}")));
        let [own, other] = [own, other].map(|path| path.display().to_string());
        let size = format!("{SIDE}x{SIDE}");
        let ours = [&program, CHILD, &source, &own];
        let theirs = ["vipsthumbnail", &source, "--size", &size, "-o", &other];
        let sides = alternate(
            options.time,
            vec![processes("media server", &ours), processes("vipsthumbnail", &theirs)],
        );
        let milliseconds = |turn: &crate::rounds::Turn| 1000.0 / turn.rate;
        let case = format!("preview of {name}");
        report.compare(&case, "ms", &sides[0], &sides[1], Goal::AtMost(goal), milliseconds);
    }
}

/// Runs of a program, one after the other.
fn processes<'a>(name: &'static str, command: &'a [&str]) -> Side<'a> {
    let run = move |time: Duration| {
        let begun = Instant::now();
        let mut took = Vec::new();
        while took.is_empty() || begun.elapsed() < time {
            let since = Instant::now();
            let status = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).status();
            let status = status.unwrap_or_else(|error| panic!("{} does not start: {error}", command[0]));
            assert!(status.success(), "{command:?}: {status}");
            took.push(since.elapsed());
        }
        Done { units: took.len() as f64, time: begun.elapsed(), p99: p99(took) }
    };
    Side { name, servers: Vec::new(), run: Box::new(run) }
}

/// A picture with details everywhere, and noise.
fn picture(scratch: &Scratch, name: &str, quality: &[&str]) -> PathBuf {
    let path = scratch.join(name);
    let source = "mandelbrot=size=4000x3000:rate=1,noise=alls=12";
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", source, "-frames:v", "1"]).args(quality);
    let status = ffmpeg.arg(&path).status().expect("ffmpeg starts: run scripts/install-dependencies");
    assert!(status.success(), "{name}: {status}");
    path
}

/// A stored preview beside a media of its size.
pub fn cached(options: &Options, report: &mut Report) {
    let (site, scratch) = (Site::start(&[]), Scratch::new());
    let picture = picture(&scratch, "12-MP.jpg", &["-q:v", "3"]);
    let media = site.upload(PUBLIC, &picture, "image/jpeg");
    let preview = format!("{media}?maxheight={SIDE}&maxwidth={SIDE}");
    let bytes = Request::get(&site.url(&preview[1..])).send().expect(200).body;
    let plain = site.upload(PUBLIC, &kept(&scratch, &bytes), "image/jpeg");
    let load = |path: String| Load {
        ports: vec![site.server.port()],
        connections: READERS,
        status: 200,
        length: bytes.len() as u64,
        request: Box::new(move |request| {
            request.extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        }),
    };
    let (mut previews, mut files) = (load(preview), load(plain));
    let sides = alternate(
        options.time,
        vec![
            Side::new("media server", site.server.pid(), move |time| previews.responses(time)),
            Side::new("itself, a file of that size", site.server.pid(), move |time| files.responses(time)),
        ],
    );
    let case = format!("GET of a stored preview, {READERS} at a time");
    report.rate(&case, "/s", &sides[0], &sides[1], Goal::AtLeast(0.9));
}

/// Memory that a thousand new previews leave in the server.
pub fn left_behind(_: &Options, report: &mut Report) {
    let (site, scratch) = (Site::start(&[]), Scratch::new());
    let picture = picture(&scratch, "12-MP.jpg", &["-q:v", "3"]);
    let media = site.upload(PUBLIC, &picture, "image/jpeg");
    let make = |side: u32| {
        let url = site.url(&format!("{}?maxheight={side}&maxwidth={side}", &media[1..]));
        Request::get(&url).send().expect(200);
    };
    make(SIDE - 1);
    let idle = Tree(site.server.pid()).memory();
    (0..MADE).for_each(|number| make(SIDE + number));
    let grown = Tree(site.server.pid()).memory().saturating_sub(idle) as f64 / 1024.0;
    report.value("memory kept after 1,000 previews of 12 megapixels", "MiB", grown, None, Goal::AtMost(4.0));
}

fn kept(scratch: &Scratch, bytes: &[u8]) -> PathBuf {
    let path: &Path = &scratch.join("small.jpg");
    fs::write(path, bytes).expect("the scratch directory takes files");
    path.to_owned()
}
