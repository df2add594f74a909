//! The log: one line a record, to stderr or a file that can be reopened, whatever a client put into it. Any thread may log;
//! the thread `log` writes the lines, so that a log without a reader delays no other thread.

mod limit;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, LineWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};

use self::limit::{Admission, RepeatLimit};
use crate::clock::{RFC3339, Timestamp};
use crate::error::{Error, Result};
use crate::limits;

/// The target of access lines.
const ACCESS: &str = "access";

/// The targets whose records are written: ours and the access lines. Libraries may log what we must not.
const TARGETS: [&str; 2] = ["media_server", ACCESS];

/// Bytes that most lines have room in.
const LINE_ROOM: usize = 256;

/// Starts logging for the whole process, with a thread that writes the lines.
pub fn start(level: LevelFilter, destination: Destination) -> Result<Switch> {
    let failed = |cause| Error::io("can't start logging", cause);
    let queue = Arc::new(Queue::default());
    let writer = Arc::clone(&queue);
    let thread = thread::Builder::new().name("log".to_owned()).stack_size(limits::LOG_STACK);
    let file = destination.into_file().map_err(failed)?;
    thread.spawn(move || writer.write_to(file)).map_err(failed)?;
    let logger = QueueLogger {
        access: write_logger(&queue, Kind::Access),
        others: write_logger(&queue, Kind::Other),
        repeats: RepeatLimit::default(),
        queue: Arc::clone(&queue),
    };
    log::set_boxed_logger(Box::new(logger))
        .map_err(|error| Error::caused(crate::error::Kind::Failure, "can't start logging", error))?;
    log::set_max_level(level);
    Ok(Switch(queue))
}

/// A logger that formats records and puts the lines into the queue.
fn write_logger(queue: &Arc<Queue>, kind: Kind) -> Box<WriteLogger<LineWriter<QueueWriter>>> {
    let lines = LineWriter::new(QueueWriter { queue: Arc::clone(queue), kind });
    let mut config = ConfigBuilder::new();
    config
        .set_time_format_custom(RFC3339)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Error);
    for target in TARGETS {
        config.add_filter_allow_str(target);
    }
    // The level that counts is the facade's: it can be changed.
    WriteLogger::new(LevelFilter::Trace, config.build(), lines)
}

/// Where lines go.
#[derive(Debug)]
pub struct Destination(Option<File>);

impl Destination {
    /// The end of `file`, which is created if it isn't there; stderr if there is none.
    ///
    /// # Errors
    /// When the file can't be opened for writing: [`crate::error::Kind::Config`].
    pub fn open(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file else { return Ok(Self(None)) };
        let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
        let doing = || format!("can't open the log {} (logging.file)", path.display());
        opened.map(Some).map(Self).map_err(|cause| Error::caused(crate::error::Kind::Config, doing(), cause))
    }

    /// The file to write to. Standard error is duplicated: a write that blocks must not hold the lock of the standard
    /// library, which others need to say why they end.
    fn into_file(self) -> io::Result<File> {
        match self.0 {
            Some(file) => Ok(file),
            None => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        }
    }
}

/// Changes the log while it is written.
#[derive(Clone, Debug)]
pub struct Switch(Arc<Queue>);

impl Switch {
    /// Lines from now on go there, those of this level and above.
    pub fn set(&self, level: LevelFilter, destination: Destination) {
        match destination.into_file() {
            Ok(file) => self.0.switch(file),
            Err(error) => log::error!("the log stays in its old place: {error}"),
        }
        log::set_max_level(level);
    }
}

/// Passes records on with their control characters escaped, so that no client can write a line of its own.
struct QueueLogger {
    access: Box<WriteLogger<LineWriter<QueueWriter>>>,
    others: Box<WriteLogger<LineWriter<QueueWriter>>>,
    repeats: RepeatLimit,
    queue: Arc<Queue>,
}

impl Log for QueueLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.others.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let is_access = record.target() == ACCESS;
        let admission = if is_access { Admission::Write } else { self.repeats.admit(record, Instant::now()) };
        let mut text = String::with_capacity(LINE_ROOM);
        // Writing to memory can't fail.
        let _ = match admission {
            Admission::LeaveOut => return,
            Admission::Write => write!(text, "{}", record.args()),
            Admission::WriteLast => {
                write!(text, "{} (for up to a minute, more lines like this one are left out)", record.args())
            }
            Admission::WriteAfter(count) => {
                write!(text, "{} ({count} lines like this one were left out before)", record.args())
            }
        };
        let text = escape(&text);
        let logger = if is_access { &self.access } else { &self.others };
        logger
            .log(&Record::builder().metadata(record.metadata().clone()).args(format_args!("{text}")).build());
    }

    /// Waits until the lines are written, but no longer than [`limits::LOG_END`].
    fn flush(&self) {
        self.queue.flush(limits::LOG_END);
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

/// The kinds of lines, of which each has its bound: a flood of access lines drops no others.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Access,
    Other,
}

/// Lines that wait to be written, in their order. The writer may be stuck for as long as nobody reads the log; then the
/// newest lines are dropped and counted.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    come: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: Vec<u8>,
    /// Lines in `text`, by their kinds.
    lines: [usize; 2],
    /// Lines that were dropped since the writer last said so, by their kinds.
    dropped: [usize; 2],
    /// A new file, and how many bytes of `text` still go to the old one.
    switch: Option<(usize, File)>,
    /// Whether the writer waits for lines.
    idle: bool,
    /// Whether it writes some.
    writing: bool,
}

impl Queue {
    fn push(&self, kind: Kind, line: &[u8]) {
        let mut state = self.lock();
        if state.lines[kind as usize] >= limits::LOG_LINES[kind as usize] {
            state.dropped[kind as usize] += 1;
            return;
        }
        state.lines[kind as usize] += 1;
        state.text.extend_from_slice(line);
        if state.idle || state.is_urgent() {
            self.come.notify_one();
        }
    }

    fn switch(&self, file: File) {
        let mut state = self.lock();
        state.switch = Some((state.text.len(), file));
        self.come.notify_one();
    }

    /// Writes lines as they come, for the life of the process. Runs on the thread `log`.
    fn write_to(&self, mut file: File) {
        loop {
            let (text, dropped, switch) = self.next();
            let (before, after) = text.split_at(switch.as_ref().map_or(text.len(), |(bytes, _)| *bytes));
            // There is nowhere to tell that the log can't be written.
            let _ = file.write_all(before);
            if let Some((_, new)) = switch {
                file = new;
            }
            let _ = file.write_all(after);
            if dropped != [0, 0] {
                let _ = file.write_all(told(dropped).as_bytes());
            }
            self.lock().writing = false;
            self.written.notify_all();
        }
    }

    /// Waits for lines, and then a moment for more access lines: one write is enough for a few of them.
    fn next(&self) -> (Vec<u8>, [usize; 2], Option<(usize, File)>) {
        let mut state = self.lock();
        while state.text.is_empty() && state.switch.is_none() {
            state.idle = true;
            state = self.come.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        let gather = |state: &mut State| !state.is_urgent();
        let waited = self.come.wait_timeout_while(state, limits::LOG_GATHER, gather);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.writing = true;
        state.lines = [0; 2];
        let dropped = std::mem::take(&mut state.dropped);
        (std::mem::take(&mut state.text), dropped, state.switch.take())
    }

    /// Waits until everything is written; whether that was so in time.
    fn flush(&self, within: Duration) -> bool {
        let waits = |state: &mut State| state.writing || !state.text.is_empty();
        let waited = self.written.wait_timeout_while(self.lock(), within, waits);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// A panic leaves no line half written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the writer should not wait for more lines.
    fn is_urgent(&self) -> bool {
        self.switch.is_some()
            || self.lines.iter().zip(limits::LOG_LINES).any(|(lines, max)| *lines >= max / 4)
    }
}

/// The line that tells of dropped ones.
fn told([access, others]: [usize; 2]) -> String {
    let now = Timestamp::from(SystemTime::now());
    format!(
        "{now} [WARN] {}: {access} access lines and {others} others were dropped here: the log was not read fast enough\n",
        module_path!()
    )
}

/// Puts lines into the queue.
struct QueueWriter {
    queue: Arc<Queue>,
    kind: Kind,
}

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(self.kind, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn no_text_makes_a_second_line() {
        assert_eq!(escape("a\nb\r\u{1b}[0m\u{85}é"), "a\\nb\\r\\u{1b}[0m\\u{85}é");
        assert_eq!((escape(" ~").as_ref(), escape("\u{7f}").as_ref()), (" ~", "\\u{7f}"));
    }

    /// A queue whose lines go to this file.
    fn queue(file: File) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        let writer = Arc::clone(&queue);
        thread::spawn(move || writer.write_to(file));
        queue
    }

    #[test]
    fn lines_go_where_the_switch_says() {
        let scratch = crate::testing::Scratch::new();
        let (path, moved) = (scratch.join("log"), scratch.join("log.1"));
        let open = || Destination::open(Some(&path)).unwrap();
        let queue = queue(open().into_file().unwrap());
        queue.push(Kind::Other, b"one\n");
        std::fs::rename(&path, &moved).unwrap();
        queue.push(Kind::Access, b"two\n");
        queue.switch(open().into_file().unwrap());
        queue.push(Kind::Other, b"three\n");
        assert!(queue.flush(Duration::from_secs(60)));
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        let error = Destination::open(Some(&path.join("below"))).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Config);
    }

    #[test]
    fn a_log_that_is_not_read_delays_no_thread_and_reports_dropped_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = queue(std::os::fd::OwnedFd::from(writer).into());
        let line = [b"x".repeat(999).as_slice(), b"\n"].concat();
        let pushed = 4 * limits::LOG_LINES[0];
        for _ in 0..pushed {
            queue.push(Kind::Access, &line);
        }
        queue.push(Kind::Other, b"important\n");
        assert!(!queue.flush(Duration::from_millis(1)), "the pipe is full");
        // The thread tells of dropped lines each time that it has written the others: once or several times.
        let mut text = String::new();
        let (mut read, mut dropped) = (0, 0);
        while read + dropped < pushed || !text.contains("\nimportant\n") {
            let mut piece = [0; 65536];
            let count = reader.read(&mut piece).unwrap();
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            read = whole.lines().filter(|line| line.starts_with('x')).count();
            let told = whole.lines().filter_map(|line| line.split_once(" access lines and 0 others"));
            dropped = told.map(|(head, _)| head.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
        }
        assert_eq!(read + dropped, pushed);
        assert!(dropped > 0, "the pipe and the queue hold only a part");
    }
}
