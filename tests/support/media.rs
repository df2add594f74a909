//! Media for tests, made by ffmpeg when they are needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::scratch::Scratch;

/// A directory with one file in it.
pub struct Made {
    _scratch: Scratch,
    path: PathBuf,
}

impl Made {
    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A picture of a test pattern; the extension of `name` chooses its format.
pub fn picture(name: &str, width: u32, height: u32) -> Made {
    let source = format!("testsrc2=size={width}x{height}:rate=1");
    // ffmpeg would make a TIFF of luminance and colour differences, which hardly anybody reads.
    let colours: &[&str] = if name.ends_with("tiff") { &["-pix_fmt", "rgb24"] } else { &[] };
    ffmpeg(name, &[&["-f", "lavfi", "-i", &source, "-frames:v", "1"], colours].concat())
}

/// Four seconds of a test pattern with sound, a key frame each second.
pub fn film(name: &str, width: u32, height: u32) -> Made {
    let pictures = format!("testsrc2=size={width}x{height}:rate=10:duration=4");
    let (pictures, sound) = (["-f", "lavfi", "-i", &pictures], ["-f", "lavfi", "-i", "sine=duration=4"]);
    let codec: &[&str] = if name.ends_with("avi") {
        &["-c:v", "mpeg4", "-b:v", "60k", "-c:a", "mp2", "-b:a", "32k"]
    } else {
        &[]
    };
    ffmpeg(name, &[&pictures[..], &sound, codec, &["-g", "10"]].concat())
}

/// A square picture that can hardly be compressed.
pub fn noise(name: &str, side: u32, options: &[&str]) -> Made {
    let source = format!("testsrc2=size={side}x{side}:rate=1,noise=alls=60");
    ffmpeg(name, &[&["-f", "lavfi", "-i", &source, "-frames:v", "1"], options].concat())
}

/// Three seconds of a tone.
pub fn sound(name: &str) -> Made {
    ffmpeg(name, &["-f", "lavfi", "-i", "sine=duration=3"])
}

/// A file with these bytes.
pub fn file(name: &str, bytes: &[u8]) -> Made {
    let scratch = Scratch::new();
    let path = scratch.join(name);
    std::fs::write(&path, bytes).expect("the scratch directory takes files");
    Made { _scratch: scratch, path }
}

/// The output of ffmpeg with these arguments.
pub fn ffmpeg(name: &str, arguments: &[&str]) -> Made {
    let scratch = Scratch::new();
    let path = scratch.join(name);
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(arguments)
        .arg(&path)
        .stdin(Stdio::null())
        .status()
        .expect("ffmpeg starts: run scripts/install-dependencies");
    assert!(made.success(), "ffmpeg {arguments:?} {name}");
    Made { _scratch: scratch, path }
}
