//! Log lines: to stderr or a file that can be reopened; one line a record, whatever a client put into it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, LineWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};

use crate::error::{Error, Kind, Result};

/// The targets whose records are written: ours and the access lines. Libraries may log what we must not.
const TARGETS: [&str; 2] = ["media_server", "access"];

/// Bytes that most lines have room in.
const LINE_ROOM: usize = 256;

/// Starts logging for the whole process.
pub fn start(level: LevelFilter, destination: Destination) -> Result<Switch> {
    let switch = Switch(Arc::new(Mutex::new(destination)));
    let lines = LineWriter::new(Output(switch.clone()));
    let mut config = ConfigBuilder::new();
    config
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Error);
    for target in TARGETS {
        config.add_filter_allow_str(target);
    }
    // The level that counts is the facade's: it can be changed.
    let logger = OneLine(WriteLogger::new(LevelFilter::Trace, config.build(), lines));
    log::set_boxed_logger(Box::new(logger))
        .map_err(|error| Error::caused(Kind::Failure, "can't start logging", error))?;
    log::set_max_level(level);
    Ok(switch)
}

/// Where lines go.
#[derive(Debug)]
pub struct Destination(Option<File>);

impl Destination {
    /// The end of `file`, which is created if it isn't there; stderr if there is none.
    ///
    /// # Errors
    /// When the file can't be opened for writing: [`Kind::Config`].
    pub fn open(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file else { return Ok(Self(None)) };
        let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
        let doing = || format!("can't open the log {} (logging.file)", path.display());
        opened.map(Some).map(Self).map_err(|cause| Error::caused(Kind::Config, doing(), cause))
    }
}

/// Changes the log while it is written.
#[derive(Clone, Debug)]
pub struct Switch(Arc<Mutex<Destination>>);

impl Switch {
    /// Lines from now on go there, those of this level and above.
    pub fn set(&self, level: LevelFilter, destination: Destination) {
        *self.destination() = destination;
        log::set_max_level(level);
    }

    fn destination(&self) -> MutexGuard<'_, Destination> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut text = String::with_capacity(LINE_ROOM);
        // Writing to memory can't fail.
        let _ = write!(text, "{}", record.args());
        let text = escape(&text);
        self.0
            .log(&Record::builder().metadata(record.metadata().clone()).args(format_args!("{text}")).build());
    }

    fn flush(&self) {
        self.0.flush();
    }
}

fn escape(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped.into()
}

/// Writes each line to where lines go just then.
struct Output(Switch);

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *self.0.destination() {
            Destination(Some(file)) => file.write(line),
            Destination(None) => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_a_second_line() {
        assert_eq!(escape("a\nb\r\u{1b}[0m\u{85}é"), "a\\nb\\r\\u{1b}[0m\\u{85}é");
        assert_eq!((escape(" ~").as_ref(), escape("\u{7f}").as_ref()), (" ~", "\\u{7f}"));
    }

    #[test]
    fn lines_follow_the_switch() {
        let scratch = crate::testing::Scratch::new();
        let (path, moved) = (scratch.join("log"), scratch.join("log.1"));
        let open = || Destination::open(Some(&path)).unwrap();
        let switch = Switch(Arc::new(Mutex::new(open())));
        let mut output = Output(switch.clone());
        output.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        output.write_all(b"two\n").unwrap();
        switch.set(LevelFilter::Off, open());
        output.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        let error = Destination::open(Some(&path.join("below"))).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
    }
}
