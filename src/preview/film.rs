//! Films and sounds: ffprobe's description of them, and a frame extracted by ffmpeg.

use std::fs::File;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use image::{DynamicImage, RgbImage};
use serde::Deserialize;

use super::child::{self, Limiter, Run};
use super::{Bounds, Decoding, Properties, Settings, undecodable};
use crate::limits;
use crate::model::Refusal;

/// The file, by the descriptor that the child has of it: names can't mislead it.
const DESCRIPTOR: Input = Input { protocols: "fd,pipe", name: "fd:" };
/// The same for ffmpeg before version 6, which must open the descriptor by its name.
const NAME: Input = Input { protocols: "file,pipe", name: "file:/dev/stdin" };
/// Packets after the key frame before the middle among which the next key frame is sought.
const PACKETS: u32 = 600;
/// Seconds that keep a seek to a frame's own time from ending at the frame before.
const NUDGE: f64 = 0.001;

/// Plausible ratios of the width of pixels to their height.
const PIXEL_SHAPES: std::ops::RangeInclusive<f64> = 0.1..=10.0;
/// From the tones of high dynamic range to those of BT.709. zscale takes no odd sides with fewer samples of colour.
const TONES: &str = "format=yuv444p10le,zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,\
                     zscale=t=bt709:m=bt709:r=tv,format=yuv444p";

/// How a program is told to read its standard input.
#[derive(Clone, Copy, Debug)]
struct Input {
    /// Protocols that it may use.
    protocols: &'static str,
    name: &'static str,
}

/// One of ffmpeg's programs.
#[derive(Clone, Debug)]
struct Program {
    path: PathBuf,
    /// Asked when it is first run: the start does not wait for that.
    input: OnceLock<Input>,
}

/// The programs, all of which are there.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    limiter: Limiter,
    ffprobe: Program,
    ffmpeg: Program,
}

impl Tools {
    /// Finds the programs, or names the missing one.
    pub fn find(settings: &Settings) -> Result<Self, String> {
        let found = |name: &std::path::Path| {
            let path = child::find(name).ok_or_else(|| name.display().to_string())?;
            Ok::<_, String>(Program { path, input: OnceLock::new() })
        };
        Ok(Self {
            limiter: match &settings.decoding {
                Decoding::Child(own) => Limiter::Own(own.clone(), settings.sandbox),
                Decoding::Here => child::limiter().ok_or_else(|| child::LIMITER.to_owned())?,
            },
            ffprobe: found(&settings.ffprobe)?,
            ffmpeg: found(&settings.ffmpeg)?,
        })
    }
}

/// The arguments for the reader of one film.
#[derive(Clone, Copy, Debug)]
pub(super) struct Film<'a> {
    pub tools: &'a Tools,
    pub file: &'a File,
    pub demuxer: &'static str,
    pub pixels: u64,
    pub deadline: Instant,
}

#[derive(Debug, Default, Deserialize)]
struct Probe {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Container,
}

#[derive(Debug, Default, Deserialize)]
struct Container {
    start_time: Option<String>,
    duration: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    codec_type: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    sample_aspect_ratio: Option<String>,
    color_space: Option<String>,
    color_transfer: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Debug, Default, Deserialize)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Debug, Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

impl Film<'_> {
    /// Width and height as shown, and the playing time.
    pub fn properties(&self) -> Option<Properties> {
        let mut probe = self.probe()?;
        // Of these ffprobe guesses the length by their first bytes.
        let guessed = matches!(self.demuxer, "aac" | "mp3");
        if guessed || seconds(probe.format.duration.as_deref()).is_none() {
            probe.format.duration = self.counted().map(|seconds| seconds.to_string());
        }
        Some(probe.properties())
    }

    /// The key frame nearest the middle, scaled to fit.
    pub fn frame(&self, bounds: Bounds) -> Result<DynamicImage, Refusal> {
        let probe = self.probe().ok_or_else(|| undecodable(self.deadline))?;
        let Some(film) = probe.film() else { return Err(Refusal::NoPreview) };
        let start = seconds(probe.format.start_time.as_deref()).unwrap_or_default();
        let length = seconds(probe.format.duration.as_deref()).or_else(|| self.counted());
        let middle = length.unwrap_or_default() / 2.0;
        let at = self.key_frame(start + middle).map_or(middle, |time| time - start + NUDGE);
        let mut filters = film.filters(bounds);
        // A film without seeking may still have a first frame, and ffmpeg may lack zscale.
        let frame = loop {
            let Some(filter) = filters.pop() else { break None };
            let grab = |time| self.grab(time, &filter, &[]);
            if let Some(frame) = grab(Some(at)).or_else(|| grab(None)) {
                break Some(frame);
            }
        };
        frame.ok_or_else(|| undecodable(self.deadline))
    }

    /// A still picture that only ffmpeg reads, as stored; scaled to this width and height if they are given.
    pub fn still(&self, size: Option<(u32, u32)>) -> Result<DynamicImage, Refusal> {
        let filter = match size {
            Some((width, height)) => format!("scale={width}:{height}:flags=area,format=rgb24"),
            None => "format=rgb24".to_owned(),
        };
        // Some versions know how it must be turned, others don't.
        self.grab(None, &filter, &["-noautorotate"]).ok_or_else(|| undecodable(self.deadline))
    }

    /// The playing time in seconds as its packets tell it, read to their end.
    fn counted(&self) -> Option<f64> {
        let before = ["-v", "error", "-nostdin", "-progress", "pipe:1", "-stats_period", "10"];
        let mut arguments = self.input(&self.tools.ffmpeg, &before, &[]);
        let after = ["-map", "0:V?", "-map", "0:a?", "-c", "copy", "-f", "null", "-"];
        arguments.extend(after.map(str::to_owned));
        let printed = self.run(&self.tools.ffmpeg, &arguments, limits::PROBE_BYTES)?;
        let printed = String::from_utf8_lossy(&printed);
        let last = printed.lines().filter_map(|line| line.strip_prefix("out_time_us=")).next_back()?;
        last.trim().parse().ok().filter(|time| *time > 0.0).map(|time: f64| time / 1e6)
    }

    fn probe(&self) -> Option<Probe> {
        let entries = "format=start_time,duration:stream=codec_type,width,height,sample_aspect_ratio,\
                       color_space,color_transfer:stream_disposition=attached_pic:\
                       stream_side_data=rotation";
        let show = ["-print_format", "json", "-show_entries", entries];
        let printed = self.ffprobe(&show)?;
        serde_json::from_slice(&printed).inspect_err(|error| log::debug!("ffprobe: {error}")).ok()
    }

    /// The time of the key frame nearest to `middle`, both in the file's own time.
    fn key_frame(&self, middle: f64) -> Option<f64> {
        let interval = format!("{middle:.3}%+#{PACKETS}");
        let show = [
            "-select_streams",
            "V:0",
            "-show_entries",
            "packet=pts_time,flags",
            "-read_intervals",
            &interval,
        ];
        let printed = self.ffprobe(&[&show[..], &["-print_format", "csv=print_section=0"]].concat())?;
        nearest_key(&String::from_utf8_lossy(&printed), middle)
    }

    fn ffprobe(&self, show: &[&str]) -> Option<Vec<u8>> {
        let arguments = self.input(&self.tools.ffprobe, &["-v", "error"], show);
        self.run(&self.tools.ffprobe, &arguments, limits::PROBE_BYTES)
    }

    /// A key frame at `time` or before, upright unless there are other options.
    fn grab(&self, time: Option<f64>, filter: &str, options: &[&str]) -> Option<DynamicImage> {
        let time = time.map(|time| format!("{:.3}", time.max(0.0)));
        let mut before = vec!["-v", "error", "-nostdin", "-filter_threads", "1", "-skip_frame", "nokey"];
        before.extend(options);
        if let Some(time) = &time {
            before.extend(["-noaccurate_seek", "-ss", time.as_str()]);
        }
        let after = ["-map", "0:V:0", "-frames:v", "1", "-vf", filter, "-c:v", "ppm"];
        let arguments = self.input(&self.tools.ffmpeg, &before, &[]);
        let output = ["-f", "image2pipe", "-protocol_whitelist", "file,pipe", "pipe:1"];
        let arguments: Vec<String> =
            arguments.into_iter().chain(after.into_iter().chain(output).map(str::to_owned)).collect();
        let most = self.pixels.saturating_mul(3).saturating_add(limits::PROBE_BYTES);
        ppm(&self.run(&self.tools.ffmpeg, &arguments, most)?, self.pixels)
    }

    /// Arguments by which the file, and nothing else, is read by the one demuxer it is for.
    fn input(&self, program: &Program, before: &[&str], more: &[&str]) -> Vec<String> {
        let input = program.input.get_or_init(|| self.input_of(program));
        let pixels = self.pixels.to_string();
        let own: &[&str] = match self.demuxer {
            "mov" => &["-enable_drefs", "0", "-use_absolute_path", "0"],
            _ => &[],
        };
        let fixed =
            ["-protocol_whitelist", input.protocols, "-format_whitelist", self.demuxer, "-f", self.demuxer];
        let rest = ["-threads", "1", "-max_pixels", &pixels, "-i", input.name];
        [before, &fixed, own, more, &rest].concat().into_iter().map(str::to_owned).collect()
    }

    /// Whether a program can read a descriptor by its number.
    fn input_of(&self, program: &Program) -> Input {
        let arguments = ["-v", "error", "-protocols"].map(str::to_owned);
        let printed = self.run(program, &arguments, limits::PROBE_BYTES).unwrap_or_default();
        let known = String::from_utf8_lossy(&printed).lines().any(|line| line.trim() == "fd");
        if known { DESCRIPTOR } else { NAME }
    }

    fn run(&self, program: &Program, arguments: &[String], most_output: u64) -> Option<Vec<u8>> {
        let program = &program.path;
        let run = Run {
            limiter: Some(&self.tools.limiter),
            program,
            arguments,
            input: self.file,
            most_output,
            deadline: self.deadline,
        };
        child::run(&run).inspect_err(|error| log::debug!("{}: {error}", program.display())).ok()
    }
}

impl Probe {
    /// The first stream of pictures that move; covers of albums don't.
    fn film(&self) -> Option<&Stream> {
        let moves = |stream: &&Stream| {
            stream.codec_type.as_deref() == Some("video") && stream.disposition.attached_pic == 0
        };
        self.streams.iter().find(moves)
    }

    fn properties(&self) -> Properties {
        let size = self.film().and_then(Stream::shown);
        let (width, height) = (size.map(|(width, _)| width), size.map(|(_, height)| height));
        // A playing time fits an i64 for as long as there are films.
        let length =
            seconds(self.format.duration.as_deref()).map(|seconds| (seconds * 1000.0).round() as u64);
        Properties { width, height, length: length.filter(|length| *length <= limits::LONGEST_PLAY) }
    }
}

impl Stream {
    /// Width and height as shown: with square pixels, and upright.
    fn shown(&self) -> Option<(u32, u32)> {
        let (width, height) =
            (self.width.filter(|width| *width > 0)?, self.height.filter(|height| *height > 0)?);
        let wide = (f64::from(width) * self.pixel_shape()).round();
        let width = if wide >= 1.0 && wide < f64::from(u32::MAX) { wide as u32 } else { width };
        Some(if self.lies() { (height, width) } else { (width, height) })
    }

    /// How wide a pixel is if it is 1 high.
    fn pixel_shape(&self) -> f64 {
        let shape = self.sample_aspect_ratio.as_deref().and_then(|text| {
            let (wide, high) = text.split_once(':')?;
            Some(wide.parse::<f64>().ok()? / high.parse::<f64>().ok()?)
        });
        shape.filter(|shape| PIXEL_SHAPES.contains(shape)).unwrap_or(1.0)
    }

    /// The filters that make a small picture of 8 bits of a frame; the last one is the best.
    fn filters(&self, bounds: Bounds) -> Vec<String> {
        // Players take BT.709 for films of high definition that say nothing.
        let is_large = self.width > Some(1024) || self.height > Some(576);
        let tagged =
            self.color_space.as_deref().is_some_and(|space| !matches!(space, "unknown" | "reserved"));
        let matrix = if is_large && !tagged { ":in_color_matrix=bt709" } else { "" };
        let scale = match self.shown() {
            Some(size) => {
                let (width, height) = bounds.fit(size);
                format!("scale={width}:{height}:flags=area{matrix}")
            }
            None => "scale=trunc(iw*sar):ih".to_owned(),
        };
        let plain = format!("{scale},format=rgb24");
        // High dynamic range has tones that others don't have.
        let is_high = matches!(self.color_transfer.as_deref(), Some("smpte2084" | "arib-std-b67"));
        let toned = is_high.then(|| format!("{scale},{TONES},format=rgb24"));
        [plain].into_iter().chain(toned).collect()
    }

    /// Whether the camera was held sideways.
    fn lies(&self) -> bool {
        let rotation = self.side_data_list.iter().find_map(|data| data.rotation).unwrap_or_default();
        (rotation.abs() % 180.0 - 90.0).abs() < 1.0
    }
}

/// A time that ffprobe printed; `None` if it is negative or infinite.
fn seconds(text: Option<&str>) -> Option<f64> {
    text?.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
}

/// Among lines of time and flags, the time of the key frame nearest to `middle`.
fn nearest_key(lines: &str, middle: f64) -> Option<f64> {
    let keys = lines.lines().filter_map(|line| {
        let (time, flags) = line.split_once(',')?;
        flags.contains('K').then(|| seconds(Some(time)))?
    });
    keys.min_by(|one, other| (one - middle).abs().total_cmp(&(other - middle).abs()))
}

/// ffprobe's description of a film.
pub(super) fn told(printed: &[u8]) -> Option<Properties> {
    serde_json::from_slice::<Probe>(printed).ok().map(|probe| probe.properties())
}

/// A picture as `P6` with 255 shades, no larger than it may be.
pub(super) fn ppm(bytes: &[u8], most_pixels: u64) -> Option<DynamicImage> {
    let rest = bytes.strip_prefix(b"P6\n")?;
    let (size, rest) = split(rest, b'\n')?;
    let (shades, rest) = split(rest, b'\n')?;
    let (width, height) = size.split_once(' ')?;
    let (width, height) = (width.parse::<u32>().ok()?, height.parse::<u32>().ok()?);
    let pixels = u64::from(width) * u64::from(height);
    let rest = rest.get(..usize::try_from(pixels.checked_mul(3)?).ok()?)?;
    let valid = shades == "255" && pixels > 0 && pixels <= most_pixels;
    valid.then(|| RgbImage::from_raw(width, height, rest.to_vec()))?.map(DynamicImage::from)
}

fn split(bytes: &[u8], at: u8) -> Option<(&str, &[u8])> {
    let end = bytes.iter().take(limits::PPM_LINE).position(|byte| *byte == at)?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_frame_is_found_among_any_lines() {
        let lines = "0.000000,K__\n0.040000,___\n4.000000,K_\nN/A,K__\ngarbage\n,K\n9.5,K__\n1e400,K\n";
        assert_eq!(nearest_key(lines, 5.0), Some(4.0));
        assert_eq!(nearest_key(lines, 8.0), Some(9.5));
        assert_eq!(nearest_key("", 1.0), None);
    }

    /// ffmpeg has whitelists of its own for what is in a file, so no film shows whether it was told ours.
    #[test]
    fn every_demuxer_is_told_that_it_is_alone_with_its_file() {
        let file = File::open("/dev/null").unwrap();
        let Ok(tools) =
            Tools::find(&Settings { ffmpeg: "sh".into(), ffprobe: "sh".into(), ..Settings::default() })
        else {
            panic!("prlimit is missing: run scripts/install-dependencies");
        };
        for demuxer in ["mov", "ogg"] {
            let film = Film { tools: &tools, file: &file, demuxer, pixels: 9, deadline: Instant::now() };
            for (input, protocols) in [(DESCRIPTOR, "fd,pipe"), (NAME, "file,pipe")] {
                let program = Program { path: "sh".into(), input: input.into() };
                let arguments = film.input(&program, &[], &[]);
                let input = arguments.iter().position(|argument| argument == "-i").unwrap();
                let told = |option: &str, value: &str| {
                    arguments[..input].windows(2).any(|pair| pair[0] == option && pair[1] == value)
                };
                assert!(told("-protocol_whitelist", protocols), "{arguments:?}");
                assert!(told("-format_whitelist", demuxer) && told("-f", demuxer), "{arguments:?}");
                assert_eq!(told("-enable_drefs", "0"), demuxer == "mov", "{arguments:?}");
            }
        }
    }

    /// As version 6 prints its protocols, and as version 5 does.
    #[test]
    fn a_program_that_can_read_a_descriptor_is_given_one() {
        let scratch = crate::testing::Scratch::new();
        let (file, path) = (File::open("/dev/null").unwrap(), scratch.join("ffmpeg"));
        for (protocols, name) in
            [("  crypto\\n  fd\\n  ffrtmpcrypt", "fd:"), ("  crypto\\n  file", "file:/dev/stdin")]
        {
            let script =
                format!("#!/bin/sh\n[ \"$3\" = -protocols ] && printf 'Input:\\n{protocols}\\nOutput:\\n'\n");
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            let tools =
                Tools::find(&Settings { ffmpeg: path.clone(), ffprobe: "sh".into(), ..Settings::default() });
            let tools = tools.unwrap();
            let deadline = Instant::now() + std::time::Duration::from_secs(60);
            let film = Film { tools: &tools, file: &file, demuxer: "mov", pixels: 9, deadline };
            assert_eq!(film.input(&tools.ffmpeg, &[], &[]).last().unwrap(), name);
        }
    }

    #[test]
    fn a_probe_is_not_believed() {
        let read = |text: &str| serde_json::from_str::<Probe>(text).map(|probe| probe.properties()).ok();
        let film = r#"{"streams":[{"codec_type":"audio"},{"codec_type":"video","width":640,"height":360,
            "side_data_list":[{"rotation":-90}]}],"format":{"duration":"12.3456"}}"#;
        let expected = Properties { width: Some(360), height: Some(640), length: Some(12_346) };
        assert_eq!(read(film), Some(expected));
        let cover = r#"{"streams":[{"codec_type":"video","width":9,"height":9,"disposition":{"attached_pic":1}}],
            "format":{"duration":"-1"}}"#;
        assert_eq!(read(cover), Some(Properties::default()));
        assert_eq!(read(r#"{"format":{"duration":"1e300"}}"#), Some(Properties::default()));
        assert_eq!(read("{}"), Some(Properties::default()));
        assert_eq!(read(r#"{"streams":[{"width":-1}]}"#), None);
    }

    #[test]
    fn a_frame_is_as_large_as_it_says() {
        let frame = |head: &str, bytes: usize| ppm(&[head.as_bytes(), &vec![7; bytes]].concat(), 100);
        assert_eq!(frame("P6\n2 3\n255\n", 18).map(|image| (image.width(), image.height())), Some((2, 3)));
        for (head, bytes) in [
            ("P6\n2 3\n255\n", 17),
            ("P6\n0 3\n255\n", 18),
            ("P6\n4000000000 4000000000\n255\n", 18),
            ("P6\n11 10\n255\n", 330),
            ("P6\n2 3\n65535\n", 36),
            ("P5\n2 3\n255\n", 18),
            ("P6\n2 3", 0),
        ] {
            assert!(frame(head, bytes).is_none(), "{head:?}");
        }
    }
}
