//! Pictures are decoded by a child process: its arguments, and the checks of its reply.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::child::{self, Run};
use super::picture::Budget;
use super::{Bounds, Rendered, Sandbox, Settings, confined, picture_header};
use crate::error::{Error, Kind};
use crate::media_type::Format;
use crate::model::Refusal;

/// The task of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Nothing: whether the child can be confined is tried out.
    Probe,
    Preview(Bounds),
    Avatar,
}

/// All that the child is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub task: Task,
    pub sandbox: Sandbox,
    /// Pixels of the largest picture that is decoded.
    pub pixels: u64,
    /// Bytes of the picture.
    pub bytes: usize,
    /// Time that is left.
    pub milliseconds: u64,
}

impl Work {
    pub fn budget(&self, deadline: Instant) -> Budget {
        Budget { pixels: self.pixels, deadline }
    }

    /// Bytes of address space: a progressive JPEG has all its coefficients in memory beside its pixels.
    pub fn memory(&self) -> u64 {
        self.pixels.saturating_mul(16).saturating_add(3 * self.bytes as u64).saturating_add(SPARE_MEMORY)
    }

    fn arguments(&self) -> Vec<String> {
        let (task, height, width) = match self.task {
            Task::Probe => ("probe", 1, 1),
            Task::Preview(bounds) => ("preview", bounds.height, bounds.width),
            Task::Avatar => ("avatar", 1, 1),
        };
        let numbers =
            [u64::from(height), u64::from(width), self.pixels, self.bytes as u64, self.milliseconds];
        let words = ["preview-child", "picture", task, self.sandbox.word()].map(str::to_owned);
        words.into_iter().chain(numbers.map(|number| number.to_string())).collect()
    }

    /// Reads what [`Work::arguments`] writes behind its first two words.
    pub fn read(words: &[String]) -> Option<Self> {
        let [task, sandbox, numbers @ ..] = words else { return None };
        let numbers: Vec<u64> = numbers.iter().map(|number| number.parse()).collect::<Result<_, _>>().ok()?;
        let [height, width, pixels, bytes, milliseconds] = numbers.try_into().ok()?;
        let bounds = Bounds { height: u32::try_from(height).ok()?, width: u32::try_from(width).ok()? };
        let task = match task.as_str() {
            "probe" => Task::Probe,
            "preview" => Task::Preview(bounds),
            "avatar" => Task::Avatar,
            _ => return None,
        };
        let bytes = usize::try_from(bytes).ok()?;
        Some(Self { task, sandbox: Sandbox::read(sandbox)?, pixels, bytes, milliseconds })
    }

    /// Bytes that a reply may have.
    fn most_output(&self, most_bytes: u64) -> u64 {
        let pixels = match self.task {
            Task::Probe => 0,
            Task::Preview(Bounds { height, width }) => u64::from(height).saturating_mul(width.into()),
            Task::Avatar => self.pixels,
        };
        pixels.min(self.pixels).saturating_mul(4).min(most_bytes).saturating_add(SPARE_OUTPUT)
    }
}

/// Address space of the program itself and its libraries, in bytes.
const SPARE_MEMORY: u64 = 256 * 1024 * 1024;
/// Bytes of a reply besides those of its pixels.
const SPARE_OUTPUT: u64 = 64 * 1024;
/// The beginning of a reply.
const MAGIC: &[u8; 4] = b"bcm1";
const FORMATS: [Format; 6] =
    [Format::Jpeg, Format::Png, Format::Gif, Format::WebP, Format::Bmp, Format::Tiff];
/// The refusals that a child may send.
const REFUSALS: [Refusal; 6] = [
    Refusal::Undecodable,
    Refusal::TooManyPixels,
    Refusal::PreviewTooSlow,
    Refusal::NoPreview,
    Refusal::NoAvatar,
    Refusal::NoSandbox,
];

/// A reply: a magic number, a kind, a number, the length of the rest as 8 bytes, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Ready,
    Made(Rendered),
    Refused(Refusal),
}

impl Reply {
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let place = |at: Option<usize>| at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default();
        let (kind, number, bytes) = match self {
            Self::Ready => (b'r', 0, &[][..]),
            Self::Made(made) => {
                (b'm', place(FORMATS.iter().position(|format| *format == made.format)), &*made.bytes)
            }
            Self::Refused(refusal) => {
                (b'x', place(REFUSALS.iter().position(|known| known == refusal)), &[][..])
            }
        };
        out.write_all(MAGIC)?;
        out.write_all(&[kind, number])?;
        out.write_all(&(bytes.len() as u64).to_be_bytes())?;
        out.write_all(bytes)?;
        out.flush()
    }

    /// Parses a complete reply; `None` if it is invalid.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let ([kind, number], rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        if u64::from_be_bytes(*length) != rest.len() as u64 {
            return None;
        }
        let number = usize::from(*number);
        Some(match kind {
            b'r' if rest.is_empty() => Self::Ready,
            b'm' => Self::Made(Rendered { bytes: rest.to_vec(), format: *FORMATS.get(number)? }),
            b'x' if rest.is_empty() => Self::Refused(*REFUSALS.get(number)?),
            _ => return None,
        })
    }
}

/// Whether a picture is what was asked for, by its own header.
fn is_credible(made: &Rendered, task: Task) -> bool {
    let header = picture_header(made.bytes.as_slice()).filter(|header| header.format == made.format);
    header.is_some_and(|header| match task {
        Task::Probe => false,
        Task::Preview(bounds) => header.width <= bounds.width && header.height <= bounds.height,
        // An animation that can't be cropped is kept unchanged.
        Task::Avatar => header.width == header.height || matches!(made.format, Format::Png | Format::WebP),
    })
}

/// Runs the child that does `task` with the picture in `file`.
pub(super) fn run(program: &Path, file: &File, task: Task, settings: &Settings) -> Result<Rendered, Refusal> {
    let failed = |cause| Refusal::from(Error::io("can't read a media for its preview", cause));
    let size = if task == Task::Probe { 0 } else { confined::length(file).map_err(failed)? };
    if size > settings.max_bytes {
        return Err(Refusal::TooManyPixels);
    }
    let work = Work {
        task,
        sandbox: settings.sandbox,
        pixels: settings.max_pixels,
        bytes: usize::try_from(size).map_err(|_| Refusal::TooManyPixels)?,
        milliseconds: u64::try_from(settings.time.as_millis()).unwrap_or(u64::MAX),
    };
    let run = Run {
        limiter: None,
        program,
        arguments: &work.arguments(),
        input: file,
        most_output: work.most_output(settings.max_bytes),
        deadline: Instant::now() + settings.time,
    };
    match believed(child::run(&run), task) {
        Ok(made) => Ok(made),
        Err(Refusal::NoSandbox) => {
            log::error!(
                "pictures are not decoded: the child that does it can't be confined; see preview.sandbox"
            );
            Err(Refusal::NoSandbox)
        }
        Err(refusal) => Err(refusal),
    }
}

/// The beginning of the message when the child could not be run.
const NOT_RUN: &str = "can't run the child that decodes pictures";

/// The output of a child, if it is a valid reply to its task.
pub(super) fn believed(printed: io::Result<Vec<u8>>, task: Task) -> Result<Rendered, Refusal> {
    let printed = printed.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Refusal::PreviewTooSlow,
        // The child ended, or printed too much.
        io::ErrorKind::Other | io::ErrorKind::FileTooLarge => {
            log::info!("a picture can't be decoded: {error}");
            Refusal::Undecodable
        }
        // Ours: no room for the child's folder, no process, no pipe.
        io::ErrorKind::StorageFull => Error::io(NOT_RUN, error).into(),
        _ => Error::caused(Kind::Exhausted, NOT_RUN, error).into(),
    })?;
    match Reply::read(&printed) {
        Some(Reply::Made(made)) if is_credible(&made, task) => Ok(made),
        Some(Reply::Refused(refusal)) => Err(refusal),
        Some(Reply::Ready) if task == Task::Probe => Ok(Rendered { bytes: Vec::new(), format: Format::Png }),
        _ => {
            log::warn!("the decoder of a picture did not return a picture");
            Err(Refusal::Undecodable)
        }
    }
}

/// This program, whatever became of its file since it was started.
pub fn own_program() -> PathBuf {
    "/proc/self/exe".into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::preview::{Decoding, Studio};
    use crate::testing::Scratch;

    const BOX: Bounds = Bounds { height: 20, width: 20 };

    #[test]
    fn the_arguments_of_a_child_are_read_back() {
        for task in [Task::Probe, Task::Preview(Bounds { height: 3, width: 4 }), Task::Avatar] {
            let work = Work { task, sandbox: Sandbox::Required, pixels: 5, bytes: 6, milliseconds: 7 };
            assert_eq!(Work::read(&work.arguments()[2..]), Some(work));
        }
        assert_eq!(Work::read(&["preview".to_owned()]), None);
    }

    #[test]
    fn a_reply_is_read_back_and_nothing_else_is_one() {
        let made = Rendered { bytes: b"abc".to_vec(), format: Format::Gif };
        for reply in [Reply::Ready, Reply::Made(made), Reply::Refused(Refusal::PreviewTooSlow)] {
            let mut bytes = Vec::new();
            reply.write(&mut bytes).unwrap();
            assert_eq!(Reply::read(&bytes).as_ref(), Some(&reply));
            for end in 0..bytes.len() {
                assert_eq!(Reply::read(&bytes[..end]), None, "{end} bytes of {reply:?}");
            }
            assert_eq!(Reply::read(&[&bytes[..], b"more"].concat()), None);
        }
    }

    /// A reply as a shell's printf writes it.
    fn printed(reply: &Reply) -> String {
        let mut bytes = Vec::new();
        reply.write(&mut bytes).unwrap();
        bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
    }

    fn picture(side: u32) -> Vec<u8> {
        let mut bytes = io::Cursor::new(Vec::new());
        image::RgbImage::new(side, side).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_child_that_dies_hangs_or_lies_is_a_refusal() {
        let scratch = Scratch::new();
        let source = scratch.join("picture.png");
        std::fs::write(&source, picture(40)).unwrap();
        let program = scratch.join("child");
        let made = |side, format| printed(&Reply::Made(Rendered { bytes: picture(side), format }));
        let too_large = made(30, Format::Png);
        let other_format = made(10, Format::Gif);
        let good = made(10, Format::Png);
        for (script, expected) in [
            ("kill -SYS $$".to_owned(), Some(Refusal::Undecodable)),
            ("kill -KILL $$".to_owned(), Some(Refusal::Undecodable)),
            ("exit 1".to_owned(), Some(Refusal::Undecodable)),
            ("exit 0".to_owned(), Some(Refusal::Undecodable)),
            ("sleep 1000".to_owned(), Some(Refusal::PreviewTooSlow)),
            ("exec >&-; sleep 1000".to_owned(), Some(Refusal::PreviewTooSlow)),
            ("while :; do echo garbage; done".to_owned(), Some(Refusal::Undecodable)),
            (format!("printf '{too_large}'"), Some(Refusal::Undecodable)),
            (format!("printf '{other_format}'"), Some(Refusal::Undecodable)),
            (format!("printf '{good}x'"), Some(Refusal::Undecodable)),
            (format!("printf '{good}'; exit 1"), Some(Refusal::Undecodable)),
            (format!("printf '{}'", printed(&Reply::Refused(Refusal::NoSandbox))), Some(Refusal::NoSandbox)),
            (format!("printf '{good}'"), None),
        ] {
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
            let settings = Settings {
                decoding: Decoding::Child(program.clone()),
                time: Duration::from_millis(if script.contains("sleep") { 300 } else { 20_000 }),
                ..Settings::default()
            };
            let rendered = Studio::new(settings).render(&File::open(&source).unwrap(), BOX);
            assert_eq!(rendered.err(), expected, "{script:.60}");
        }
        let settings = Settings { decoding: Decoding::Child("/nowhere".into()), ..Settings::default() };
        let rendered = Studio::new(settings).render(&File::open(&source).unwrap(), BOX);
        assert_eq!(rendered.err(), Some(Refusal::from(Error::new(Kind::Exhausted, NOT_RUN))));
    }
}
