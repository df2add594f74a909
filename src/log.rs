//! Log lines: to stderr or a file that can be reopened; one line a record, whatever a client put into it.

use std::fs::{File, OpenOptions};
use std::io::{self, LineWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};

use crate::error::{Error, Kind, Result};

/// The targets whose records are written: ours and the access lines. Libraries may log what we must not.
const TARGETS: [&str; 2] = ["media_server", "access"];

/// Starts logging for the whole process: to `file`, or to stderr if there is none.
///
/// # Errors
/// When the file can't be opened for writing: [`Kind::Config`].
pub fn start(level: LevelFilter, file: Option<&Path>) -> Result<Reopen> {
    let reopen = Reopen(Arc::default());
    let lines = LineWriter::new(Output::open(file, &reopen)?);
    let mut config = ConfigBuilder::new();
    config
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Error);
    for target in TARGETS {
        config.add_filter_allow_str(target);
    }
    let logger = OneLine(WriteLogger::new(level, config.build(), lines));
    log::set_boxed_logger(Box::new(logger))
        .map_err(|error| Error::caused(Kind::Failure, "can't start logging", error))?;
    log::set_max_level(level);
    Ok(reopen)
}

/// Tells the log to reopen its file: for programs that rotate logs.
#[derive(Clone, Debug)]
pub struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// The next line goes to a file newly opened at the log's path.
    pub fn reopen(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Passes records on with their control characters escaped, so that no client can write a line of its own.
struct OneLine(Box<WriteLogger<LineWriter<Output>>>);

impl Log for OneLine {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = escape(&record.args().to_string());
        self.0
            .log(&Record::builder().metadata(record.metadata().clone()).args(format_args!("{text}")).build());
    }

    fn flush(&self) {
        self.0.flush();
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// Where the lines go.
enum Output {
    Stderr,
    File { path: PathBuf, file: File, reopen: Reopen },
}

impl Output {
    fn open(path: Option<&Path>, reopen: &Reopen) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Stderr) };
        let file = append(path).map_err(|error| {
            Error::caused(
                Kind::Config,
                format!("can't open the log {} (logging.file)", path.display()),
                error,
            )
        })?;
        Ok(Self::File { path: path.to_owned(), file, reopen: reopen.clone() })
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => io::stderr().write(line),
            Self::File { path, file, reopen } => {
                if reopen.0.swap(false, Ordering::AcqRel) {
                    // A file that can't be opened anew leaves us the old one, which is better than none.
                    if let Ok(new) = append(path) {
                        *file = new;
                    }
                }
                file.write(line)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_a_second_line() {
        assert_eq!(escape("a\nb\r\u{1b}[0m\u{85}é"), "a\\nb\\r\\u{1b}[0m\\u{85}é");
    }

    #[test]
    fn a_file_is_reopened_when_told() {
        let scratch = crate::testing::Scratch::new();
        let (path, moved) = (scratch.join("log"), scratch.join("log.1"));
        let reopen = Reopen(Arc::default());
        let mut output = Output::open(Some(&path), &reopen).unwrap();
        output.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        output.write_all(b"two\n").unwrap();
        reopen.reopen();
        output.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }
}
