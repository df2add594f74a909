//! A response on its way: bytes that are ready, and a part of a file behind them. Sending never waits for the client:
//! bytes that the client does not take stay in the state of its connection, under the two clocks of [`Pace`]. It does not
//! wait for the next block of a remote file either.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::pace::Pace;
use super::stream::Stream;
use crate::http::settings::Clocks;
use crate::limits;
use crate::remote::{FileBlock, OnFetched, RemotePart};
use crate::sys::Interest;

/// Bytes of a file that are in memory at a time where TLS keeps the kernel from sending it: one record.
const TLS_RECORD: u64 = 16 * 1024;

/// The step after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request.
    Next,
    /// The end.
    Close,
    /// The end, of which the client is told while it still sends.
    Linger,
}

/// The part of a response behind the bytes that are ready.
#[derive(Debug)]
pub enum Rest {
    Nothing,
    Bytes(Vec<u8>),
    File(File, Range<u64>),
    Remote(RemotePart),
}

impl Rest {
    /// The local file that holds the next bytes, and where in it they are, if they are in one.
    fn file(&mut self) -> Option<(&File, Range<u64>)> {
        match self {
            Self::File(file, range) => Some((&*file, range.clone())),
            Self::Remote(part) => part.open(),
            Self::Nothing | Self::Bytes(_) => None,
        }
    }

    /// Goes past `count` bytes of that file.
    fn advance(&mut self, count: u64) {
        let left = match self {
            Self::File(_, range) => {
                range.start += count;
                range.end.saturating_sub(range.start)
            }
            Self::Remote(part) => {
                part.advance(count);
                part.left()
            }
            Self::Nothing | Self::Bytes(_) => return,
        };
        if left == 0 {
            *self = Self::Nothing;
        }
    }
}

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The kernel has all of it.
    Sent,
    /// The client must take some of it first, or others have their turn.
    Waits,
    /// The next bytes must be fetched.
    Fetches,
}

/// Called once, with the bytes that went out.
pub type OnEnd = Box<dyn FnOnce(u64) + Send>;

/// A response on its way.
pub struct Sending {
    ready: Buffer,
    rest: Rest,
    then: Then,
    /// Bytes that went out, the head's included.
    sent: u64,
    /// Whether the socket took less than it was offered.
    full: bool,
    /// Whether the last write would have waited.
    blocked: bool,
    pace: Pace,
    tried: Instant,
    on_end: Option<OnEnd>,
}

impl Sending {
    /// A response of these bytes and this rest.
    pub fn new(ready: Vec<u8>, rest: Rest, then: Then, clocks: Clocks) -> Self {
        Self {
            ready: ready.into(),
            rest,
            then,
            sent: 0,
            full: false,
            blocked: false,
            pace: Pace::new(clocks),
            tried: Instant::now(),
            on_end: None,
        }
    }

    /// The step after it.
    pub fn then(&self) -> Then {
        self.then
    }

    /// Bytes that went out, the head's included.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Calls `on_end` when the response has ended, whole or not.
    pub fn on_end(&mut self, on_end: OnEnd) {
        self.on_end = Some(on_end);
    }

    /// Sends what the client takes now, and at most [`limits::SEND_STEP`] bytes.
    ///
    /// # Errors
    /// Of the socket and the file; the response is cut then.
    pub fn send(&mut self, stream: &mut Stream) -> io::Result<Progress> {
        let end = self.sent + limits::SEND_STEP;
        (self.full, self.blocked) = (false, false);
        while !self.is_done() {
            if self.full || self.sent >= end {
                return Ok(Progress::Waits);
            }
            if self.must_fetch() {
                return Ok(Progress::Fetches);
            }
            match self.step(stream, end - self.sent) {
                Ok(count) => self.sent += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => (self.full, self.blocked) = (true, true),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(Progress::Sent)
    }

    /// A function that fetches the next bytes, if the rest is a remote file.
    pub fn fetch(&self) -> Option<impl FnOnce(OnFetched) + Send + use<>> {
        if let Rest::Remote(part) = &self.rest { Some(part.fetch()) } else { None }
    }

    /// The same after the next bytes were fetched. The time of fetching does not count against the client.
    ///
    /// # Errors
    /// As [`Sending::send`].
    pub fn send_fetched(&mut self, block: FileBlock, stream: &mut Stream) -> io::Result<Progress> {
        if let Rest::Remote(part) = &mut self.rest {
            part.give(block);
        }
        self.tried = Instant::now();
        self.send(stream)
    }

    /// The same after a rest.
    ///
    /// # Errors
    /// Also [`crate::model::Refusal::TooSlow`] if the client takes too little.
    pub fn send_on(&mut self, stream: &mut Stream) -> io::Result<Progress> {
        let (before, now) = (self.sent, Instant::now());
        let waited = now.duration_since(std::mem::replace(&mut self.tried, now));
        let progress = self.send(stream)?;
        if progress == Progress::Waits {
            self.pace.passed(waited, self.sent - before)?;
            if let Rest::Remote(part) = &mut self.rest
                && self.sent == before
            {
                // A client that stands still does not keep an evicted block on the disk.
                part.let_go();
            }
        }
        Ok(progress)
    }

    /// The event that it waits for.
    pub fn interest(&self, stream: &Stream) -> Interest {
        if self.blocked { stream.awaits() } else { Interest::Write }
    }

    /// How long it rests before it is tried once more.
    pub fn patience(&self) -> Duration {
        self.pace.left_to_write()
    }

    fn is_done(&self) -> bool {
        self.ready.is_empty() && matches!(&self.rest, Rest::Nothing)
    }

    fn must_fetch(&mut self) -> bool {
        match &mut self.rest {
            Rest::Remote(part) => self.ready.is_empty() && part.open().is_none(),
            _ => false,
        }
    }

    fn step(&mut self, stream: &mut Stream, most: u64) -> io::Result<u64> {
        if self.ready.is_empty() {
            self.refill(stream.is_tls())?;
        }
        if self.ready.is_empty() {
            return self.send_file(stream, most);
        }
        let followed = !matches!(&self.rest, Rest::Nothing) && !stream.is_tls();
        let bytes = self.ready.bytes();
        let bytes = &bytes[..bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX))];
        let count = if followed { stream.write_more(bytes)? } else { stream.write(bytes)? };
        // A socket that takes less than it is offered is full; TLS takes a record at a time.
        self.full = count < bytes.len() && !stream.is_tls();
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.ready.consume(count);
        Ok(count as u64)
    }

    /// Makes the next bytes ready, unless the kernel sends them from the file.
    fn refill(&mut self, tls: bool) -> io::Result<()> {
        if let Rest::Bytes(bytes) = &mut self.rest {
            self.ready = std::mem::take(bytes).into();
            self.rest = Rest::Nothing;
        } else if tls && let Some((file, range)) = self.rest.file() {
            let length = (range.end - range.start).min(TLS_RECORD);
            let mut record = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut record, range.start)?;
            self.ready = record.into();
            self.rest.advance(length);
        }
        Ok(())
    }

    fn send_file(&mut self, stream: &mut Stream, most: u64) -> io::Result<u64> {
        let Some((file, mut range)) = self.rest.file() else { return Ok(0) };
        let most = usize::try_from((range.end - range.start).min(most)).map_err(io::Error::other)?;
        let count = stream.send_file(file, &mut range.start, most)?;
        if count == 0 {
            // The file is shorter than it was.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.full = count < most;
        self.rest.advance(count as u64);
        Ok(count as u64)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end(self.sent);
        }
    }
}
