//! Properties and previews of pictures, films and sounds. Every file is treated as hostile.
//!
//! Pictures are measured by their headers here, and decoded in a child process that has the file and nothing else, within
//! limits of pixels, bytes, memory and time; films and sounds are read by ffprobe and ffmpeg in such a child. The first
//! bytes of a file say what it is, never its name.

mod animation;
mod child;
mod clean;
mod colour;
mod confined;
mod decoder;
mod film;
mod header;
mod jobs;
mod jpeg;
mod outline;
mod picture;
mod png;
mod shrink;
mod source;
mod webp;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use image::DynamicImage;
use image::metadata::Orientation;

pub use self::confined::{child_main, confine_child};
pub use self::decoder::own_program;
pub use self::jobs::{Job, Jobs};
pub use self::source::ReadAt;

use self::decoder::Task;
use self::film::{Film, Tools};
use self::header::Header;
use self::picture::Budget;
use crate::error::Error;
use crate::limits;
pub use crate::media_type::Format;
use crate::media_type::{self, Kind, Outline};
use crate::model::Refusal;

/// The limits of previews, and the programs for films.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Pixels of the largest picture that is decoded.
    pub max_pixels: u64,
    /// Bytes of the largest picture that is decoded.
    pub max_bytes: u64,
    /// Time for one preview, or for one look at a film.
    pub time: Duration,
    /// `ffmpeg`: a path, or a name that is sought in `PATH`.
    pub ffmpeg: PathBuf,
    /// `ffprobe`, likewise.
    pub ffprobe: PathBuf,
    /// Where pictures are decoded.
    pub decoding: Decoding,
    /// The sandbox of the children that read media.
    pub sandbox: Sandbox,
}

/// Where pictures are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// In a child process of this program, one for each picture. The program's first argument is `preview-child`.
    Child(PathBuf),
    /// In this process: for tests, and for programs that know where their pictures come from.
    Here,
}

/// Whether children that read media run behind a filter of system calls (seccomp(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// They do, or nothing is decoded.
    Required,
    /// They don't.
    Off,
}

impl Sandbox {
    /// The default: the filter, on machines that have one.
    pub const STANDARD: Self = if cfg!(all(
        target_endian = "little",
        any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
    )) {
        Self::Required
    } else {
        Self::Off
    };

    fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Off => "off",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Required, Self::Off].into_iter().find(|sandbox| sandbox.word() == word)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_pixels: 50_000_000,
            max_bytes: 64 * 1024 * 1024,
            time: Duration::from_secs(20),
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            decoding: Decoding::Here,
            sandbox: Sandbox::STANDARD,
        }
    }
}

/// The properties of a media by its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Pixels of a row, as shown.
    pub width: Option<u32>,
    /// Rows, as shown.
    pub height: Option<u32>,
    /// Playing time in milliseconds.
    pub length: Option<u64>,
}

/// The box that a preview must fit into, in pixels; both sides are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Its height.
    pub height: u32,
    /// Its width.
    pub width: u32,
}

impl Bounds {
    /// The same, no larger than a source of this width and height.
    pub fn clamp(self, (width, height): (u32, u32)) -> Self {
        Self { height: self.height.min(height), width: self.width.min(width) }
    }

    /// Width and height of what shows a source of this width and height: of its proportions, no side longer
    /// than the source's.
    fn fit(self, (width, height): (u32, u32)) -> (u32, u32) {
        let (width, height) = (u64::from(width), u64::from(height));
        let (most_width, most_height) =
            (u64::from(self.width).min(width), u64::from(self.height).min(height));
        // Rounded, with one pixel at least.
        let part =
            |side: u64, of: u64, by: u64| u32::try_from(((side * of + by / 2) / by).max(1)).unwrap_or(1);
        if most_width * height <= most_height * width {
            (part(most_width, 1, 1), part(height, most_width, width))
        } else {
            (part(width, most_height, height), part(most_height, 1, 1))
        }
    }
}

/// A preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The bytes of its file.
    pub bytes: Vec<u8>,
    /// Their format.
    pub format: Format,
}

/// Makes previews.
pub struct Studio {
    settings: Settings,
    /// Or the name of a missing program.
    tools: Result<Tools, String>,
}

impl Studio {
    /// Looks for the programs, once and for all.
    pub fn new(settings: Settings) -> Self {
        let tools = Tools::find(&settings);
        Self { settings, tools }
    }

    /// The reason why films can't be read, if there is one: a missing program, or no place for temporary files.
    pub fn missing_for_films(&self) -> Option<String> {
        match &self.tools {
            Err(program) => Some(format!("{program} is not installed")),
            Ok(_) => child::missing_folder(),
        }
    }

    /// When a preview that begins now must be done.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.settings.time
    }

    /// The properties of a file that this process can read by itself, without those that are not known; `None` if it takes a
    /// child process, see [`Studio::properties`].
    pub fn own_properties(&self, source: &(impl ReadAt + ?Sized)) -> Option<Properties> {
        match kind_of(source) {
            Some(Kind::Picture(format)) => Some(picture_properties(source, format)),
            Some(Kind::Stream(_)) if self.tools.is_ok() => None,
            kind => Some(sized(outline_size(source, kind))),
        }
    }

    /// The properties of a file, by a child process where it takes one, without those that are not known.
    pub fn properties(&self, file: &File) -> Properties {
        match kind_of(file) {
            Some(Kind::Stream(demuxer)) => {
                self.film(file, demuxer).and_then(|film| film.properties()).unwrap_or_default()
            }
            _ => self.own_properties(file).unwrap_or_default(),
        }
    }

    /// Width and height as shown of a picture, by its header; `None` for everything else.
    pub fn picture_size(&self, file: &File) -> Option<(u32, u32)> {
        match kind_of(file) {
            Some(Kind::Picture(format)) => header::read(file, format).map(|header| header.shown()),
            kind => outline_size(file, kind),
        }
    }

    /// Refuses what can be told to have no preview before any work is done.
    pub fn check(&self, file: &File) -> Result<(), Refusal> {
        match kind_of(file).ok_or(Refusal::NoPreview)? {
            Kind::Picture(format) => {
                self.check_size(&header::read(file, format).ok_or(Refusal::Undecodable)?)
            }
            Kind::Stream(_) if self.tools.is_err() => Err(Refusal::NoFilmPreviews),
            Kind::Stream(_) => Ok(()),
            Kind::Outline(Outline::Heif) if self.tools.is_ok() => Ok(()),
            Kind::Outline(_) | Kind::Other => Err(Refusal::NoPreview),
        }
    }

    /// Refuses a file of this size that would have to be fetched for its preview, if it is too large for that. `file` holds
    /// its beginning.
    pub fn check_fetch(&self, file: &File, size: u64) -> Result<(), Refusal> {
        let max = match kind_of(file) {
            Some(Kind::Stream(_)) => limits::FILM_FETCH_BYTES,
            _ => self.settings.max_bytes,
        };
        if size > max { Err(Refusal::TooManyPixels) } else { Ok(()) }
    }

    /// Makes a preview.
    pub fn render(&self, file: &File, bounds: Bounds) -> Result<Rendered, Refusal> {
        match kind_of(file) {
            Some(Kind::Picture(format)) => {
                let header = header::read(file, format).ok_or(Refusal::Undecodable)?;
                self.check_size(&header)?;
                match self.picture(file, &header, Task::Preview(bounds)) {
                    // Palettes and fax.
                    Err(Refusal::Undecodable) if format == Format::Tiff => {
                        self.still(file, &Still::tiff(&header), Some(bounds))
                    }
                    rendered => rendered,
                }
            }
            Some(Kind::Outline(Outline::Heif)) => self.still(file, &Still::heif(file), Some(bounds)),
            Some(Kind::Stream(demuxer)) => {
                let film = self.film(file, demuxer).ok_or(Refusal::NoFilmPreviews)?;
                here(|| picture::preview_of_frame(film.frame(bounds)?, bounds))
            }
            _ => Err(Refusal::NoPreview),
        }
    }

    /// Makes an avatar of a file: the square in the middle of a picture, without metadata.
    pub fn avatar(&self, file: &File) -> Result<Rendered, Refusal> {
        match kind_of(file) {
            Some(Kind::Picture(format)) => {
                let header = header::read(file, format).ok_or(Refusal::NoAvatar)?;
                self.check_size(&header)?;
                match self.picture(file, &header, Task::Avatar) {
                    Err(Refusal::Undecodable) if format == Format::Tiff => {
                        self.still(file, &Still::tiff(&header), None)
                    }
                    made => made,
                }
            }
            Some(Kind::Outline(Outline::Heif)) => self.still(file, &Still::heif(file), None),
            _ => Err(Refusal::NoAvatar),
        }
    }

    /// Whether children that decode pictures can be confined as the settings want it.
    pub fn try_sandbox(&self) -> Result<Sandbox, Refusal> {
        if let Decoding::Child(program) = &self.settings.decoding {
            let nothing =
                File::open("/dev/null").map_err(|cause| Error::io("can't open /dev/null", cause))?;
            decoder::run(program, &nothing, Task::Probe, &self.settings)?;
        }
        Ok(self.settings.sandbox)
    }

    fn picture(&self, file: &File, header: &Header, task: Task) -> Result<Rendered, Refusal> {
        match (&self.settings.decoding, task) {
            (Decoding::Child(program), task) => decoder::run(program, file, task, &self.settings),
            (Decoding::Here, Task::Preview(bounds)) => {
                let bytes = self.read(file)?;
                here(|| picture::preview(&bytes, header, bounds, self.budget()))
            }
            (Decoding::Here, _) => {
                let bytes = self.read(file)?;
                here(|| picture::avatar(&bytes, header, self.budget()))
            }
        }
    }

    fn check_size(&self, header: &Header) -> Result<(), Refusal> {
        if header.pixels() > self.settings.max_pixels { Err(Refusal::TooManyPixels) } else { Ok(()) }
    }

    fn read(&self, mut file: &File) -> Result<Vec<u8>, Refusal> {
        let failed = |cause| Error::io("can't read a media for its preview", cause);
        let size = file.metadata().map_err(failed)?.len();
        if size > self.settings.max_bytes {
            return Err(Refusal::TooManyPixels);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        std::io::Seek::rewind(&mut file).map_err(failed)?;
        file.take(self.settings.max_bytes).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn budget(&self) -> Budget {
        Budget { pixels: self.settings.max_pixels, deadline: self.deadline() }
    }

    /// A preview, or an avatar without bounds, of a still picture that ffmpeg may be able to read.
    fn still(&self, file: &File, still: &Still, bounds: Option<Bounds>) -> Result<Rendered, Refusal> {
        let film = self.film(file, still.demuxer).ok_or(Refusal::Undecodable)?;
        here(|| {
            let size = bounds.and_then(|bounds| still.fit(bounds));
            let image = still.shown(film.still(size)?);
            match bounds {
                Some(bounds) => picture::preview_of_frame(image, bounds),
                None => picture::avatar_of_frame(&image),
            }
        })
    }

    fn film<'a>(&'a self, file: &'a File, demuxer: &'static str) -> Option<Film<'a>> {
        let tools = self.tools.as_ref().ok()?;
        Some(Film { tools, file, demuxer, pixels: self.settings.max_pixels, deadline: self.deadline() })
    }
}

/// A still picture that we don't decode, as far as it tells what ffmpeg may not know.
#[derive(Debug)]
struct Still {
    demuxer: &'static str,
    /// Width and height as stored.
    size: Option<(u32, u32)>,
    /// The transformations that show it, in this order.
    turned: Vec<Orientation>,
    profile: Option<Vec<u8>>,
}

impl Still {
    fn tiff(header: &Header) -> Self {
        let size = Some((header.width, header.height));
        Self { demuxer: "tiff_pipe", size, turned: vec![header.orientation], profile: None }
    }

    fn heif(source: &(impl ReadAt + ?Sized)) -> Self {
        let item = outline::heif(source);
        let size = item.as_ref().map(|item| item.size);
        let (turned, profile) = item.map_or_else(Default::default, |item| (item.turned, item.profile));
        Self { demuxer: "mov", size, turned, profile }
    }

    /// The width and height, as stored, of a preview.
    fn fit(&self, Bounds { height, width }: Bounds) -> Option<(u32, u32)> {
        let turned = self.turned.iter().filter(|turn| header::turns(**turn)).count() % 2 == 1;
        let bounds = if turned { Bounds { height: width, width: height } } else { Bounds { height, width } };
        self.size.map(|size| bounds.fit(size))
    }

    /// The picture upright and in sRGB.
    fn shown(&self, image: DynamicImage) -> DynamicImage {
        let mut image = colour::to_srgb(image, self.profile.as_deref());
        self.turned.iter().for_each(|turn| image.apply_orientation(*turn));
        image
    }
}

/// The properties of a picture in memory; none of what needs a child process.
pub fn properties(bytes: &[u8]) -> Properties {
    match kind_of(bytes) {
        Some(Kind::Picture(format)) => picture_properties(bytes, format),
        Some(Kind::Stream(_)) => Properties::default(),
        kind => sized(outline_size(bytes, kind)),
    }
}

/// An avatar of a picture in memory, of at most `max_pixels` pixels.
pub fn avatar(bytes: &[u8], max_pixels: u64, time: Duration) -> Result<Rendered, Refusal> {
    let header = picture_header(bytes).ok_or(Refusal::NoAvatar)?;
    here(|| picture::avatar(bytes, &header, Budget { pixels: max_pixels, deadline: Instant::now() + time }))
}

/// A preview of a picture in memory, of at most `max_pixels` pixels.
pub fn render(bytes: &[u8], bounds: Bounds, max_pixels: u64, time: Duration) -> Result<Rendered, Refusal> {
    let header = picture_header(bytes).ok_or(Refusal::NoPreview)?;
    let budget = Budget { pixels: max_pixels, deadline: Instant::now() + time };
    here(|| picture::preview(bytes, &header, bounds, budget))
}

/// A picture without metadata, as an avatar is stored that need not be cut; `None` for what can't be cleaned.
pub fn clean(bytes: &[u8]) -> Option<Vec<u8>> {
    let Some(Kind::Picture(format)) = kind_of(bytes) else { return None };
    clean::clean(bytes, format).map(|cleaned| cleaned.bytes)
}

/// Parses and checks the reply of a child that was to make a preview within these bounds.
pub fn believe_reply(printed: &[u8], bounds: Bounds) -> Result<Rendered, Refusal> {
    decoder::believed(Ok(printed.to_vec()), Task::Preview(bounds))
}

/// Parses and checks ffprobe's description of a film.
pub fn believe_probe(printed: &[u8]) -> Properties {
    film::told(printed).unwrap_or_default()
}

/// Width and height of the frame that ffmpeg printed, if it is one of at most so many pixels.
pub fn believe_frame(printed: &[u8], max_pixels: u64) -> Option<(u32, u32)> {
    film::ppm(printed, max_pixels).map(|image| (image.width(), image.height()))
}

/// Runs on a stack of its own, where a panic of a decoder is a picture that can't be decoded.
fn here<T: Send>(work: impl FnOnce() -> Result<T, Refusal> + Send) -> Result<T, Refusal> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("preview".to_owned()).stack_size(limits::PREVIEW_STACK);
        let worker = thread.spawn_scoped(scope, work).map_err(|error| {
            log::error!("can't start a thread for a preview: {error}");
            Refusal::Overloaded
        })?;
        worker.join().unwrap_or_else(|_| {
            log::warn!("a decoder panicked");
            Err(Refusal::Undecodable)
        })
    })
}

/// Why there is nothing: the media is damaged, or there was no time left. One that is whole may be shown when less goes on.
fn undecodable(deadline: Instant) -> Refusal {
    if Instant::now() >= deadline { Refusal::PreviewTooSlow } else { Refusal::Undecodable }
}

fn kind_of(source: &(impl ReadAt + ?Sized)) -> Option<Kind> {
    let first = source.part(0, limits::SNIFF_BYTES);
    let content = media_type::sniff(&first)?;
    // A tag may be longer than that.
    let behind = media_type::tag_end(&first).map(|end| source.part(end, limits::SNIFF_BYTES));
    let behind = behind.and_then(|first| media_type::sniff(&first)).filter(media_type::Content::is_sound);
    Some(behind.unwrap_or(content).kind)
}

fn picture_header(source: &(impl ReadAt + ?Sized)) -> Option<Header> {
    match kind_of(source)? {
        Kind::Picture(format) => header::read(source, format),
        _ => None,
    }
}

fn picture_properties(source: &(impl ReadAt + ?Sized), format: Format) -> Properties {
    sized(header::read(source, format).map(|header| header.shown()))
}

fn sized(size: Option<(u32, u32)>) -> Properties {
    Properties { width: size.map(|(width, _)| width), height: size.map(|(_, height)| height), length: None }
}

/// The size of a picture that is not decoded here.
fn outline_size(source: &(impl ReadAt + ?Sized), kind: Option<Kind>) -> Option<(u32, u32)> {
    match kind {
        Some(Kind::Outline(outline)) => outline::size(source, outline),
        None => outline::svg(source),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
