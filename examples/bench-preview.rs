//! `bench-preview`: previews of 200 by 200 against `vipsthumbnail`, each as a whole process, in turns.
//! `bench-preview IN OUT` makes one preview, in a child as the server does; that is what is measured.
//!
//! WebP is decoded by libwebp on both sides. Four fifths of its time are the entropy decoder, which must read all of the
//! picture at any scale and can't be split among threads: that bounds what a reduced size can gain.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use media_server::preview::{self, Bounds, Decoding, Settings, Studio};

const ROUNDS: usize = 15;
const BOX: Bounds = Bounds { height: 200, width: 200 };

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let mut all = std::env::args_os().skip(1).peekable();
    if all.next_if(|first| first == "preview-child").is_some() {
        return preview::child_main(all);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [] => compare(),
        [source, target] => make(source, target),
        _ => Err("usage: bench-preview [IN OUT]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("bench-preview: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn make(source: &str, target: &str) -> Outcome<()> {
    let decoding = Decoding::Child(preview::own_program());
    let settings = Settings { decoding, ..Settings::default() };
    let rendered = Studio::new(settings).render(&fs::File::open(source)?, BOX)?;
    Ok(fs::write(target, rendered.bytes)?)
}

fn compare() -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("bench-preview-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let result = compare_in(&folder);
    fs::remove_dir_all(&folder)?;
    result
}

fn compare_in(folder: &Path) -> Outcome<()> {
    tell("picture          time/vips  memory/vips  ours ms  vips ms  ours KiB  vips KiB  PSNR dB");
    for (name, size, options) in [
        ("12-MP.jpg", "4000x3000", &["-q:v", "3"][..]),
        ("12-MP.png", "4000x3000", &[]),
        ("12-MP.webp", "4000x3000", &["-quality", "85"]),
        ("3-MP.png", "2048x1536", &[]),
        ("3-MP.webp", "2048x1536", &["-quality", "85"]),
    ] {
        let source = folder.join(name).display().to_string();
        let picture = format!("mandelbrot=size={size}:rate=1,noise=alls=12");
        run(
            "ffmpeg",
            &[
                &["-v", "error", "-nostdin", "-f", "lavfi", "-i", &picture, "-frames:v", "1"],
                options,
                &[&source],
            ]
            .concat(),
        )?;
        tell(&measure(folder, name, &source)?);
    }
    Ok(())
}

fn measure(folder: &Path, name: &str, source: &str) -> Outcome<String> {
    let extension = if name.ends_with("png") { "png" } else { "jpg" };
    let path = |whose: &str| folder.join(format!("{whose}.{extension}")).display().to_string();
    let (ours, theirs) = (path("ours"), path("vips"));
    let program = std::env::current_exe()?.display().to_string();
    let (mut times, mut memories, mut own, mut other) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let we = run(&program, &[source, &ours])?;
        let they = run("vipsthumbnail", &[source, "--size", "200x200", "-o", &theirs])?;
        times.push(we.time.as_secs_f64() / they.time.as_secs_f64());
        memories.push(we.memory as f64 / they.memory as f64);
        own.push(we);
        other.push(they);
    }
    let milliseconds =
        |costs: &[Cost]| median(costs.iter().map(|cost| cost.time.as_secs_f64() * 1000.0).collect());
    let memory = |costs: &[Cost]| median(costs.iter().map(|cost| cost.memory as f64).collect());
    Ok(format!(
        "{name:16} {:9.2} {:12.2} {:8.0} {:8.0} {:9.0} {:9.0} {:>8}",
        median(times),
        median(memories),
        milliseconds(&own),
        milliseconds(&other),
        memory(&own),
        memory(&other),
        likeness(&ours, &theirs)?
    ))
}

/// What one run took.
struct Cost {
    time: Duration,
    /// The most that was resident, in KiB, as last seen before the end.
    memory: u64,
}

fn run(program: &str, arguments: &[&str]) -> Outcome<Cost> {
    let begun = Instant::now();
    let mut child = Command::new(program).args(arguments).stdin(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    let ended = loop {
        let seen = fs::read_to_string(&status).unwrap_or_default();
        let peak =
            seen.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
        memory = memory.max(peak.unwrap_or(0));
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = begun.elapsed();
    if ended.success() { Ok(Cost { time, memory }) } else { Err(format!("{program}: {ended}").into()) }
}

/// The peak signal-to-noise ratio of both previews, by ffmpeg.
fn likeness(ours: &str, theirs: &str) -> Outcome<String> {
    let graph = "[0]format=gbrp[a];[1]format=gbrp[b];[a][b]psnr";
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-i", ours, "-i", theirs, "-lavfi", graph, "-f", "null", "-"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let average = text.split("average:").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(average.unwrap_or("?").to_owned())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(clippy::print_stdout, reason = "a program of its own")]
fn tell(line: &str) {
    println!("{line}");
}
