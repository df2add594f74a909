//! Reading a request's body: `100 Continue`, framing off, clocks, and a cut that is never taken for an end. Reading waits
//! for the client, so it is done by threads that hold no turn.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Connection;
use super::buffer::Buffer;
use super::pace::Pace;
use super::stream::Stream;
use crate::http::limits::uploads::Upload;
use crate::http::message::chunked::Decoder;
use crate::http::message::head::Head;
use crate::http::settings::Clocks;
use crate::model::Refusal;
use crate::sys::{self, Interest, Waker};

/// Bytes that are read at a time where framing may come.
const FRAMED_READ: usize = 8 * 1024;
/// The interim response.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The state of a body between reads.
#[derive(Debug)]
pub struct Incoming {
    decoder: Decoder,
    pace: Pace,
    /// Whether the client still waits for `100 Continue`.
    awaited: bool,
    /// Why it can't be read on.
    failed: Option<Refusal>,
    /// Bytes that were read.
    received: u64,
}

impl Incoming {
    pub fn new(head: &Head, clocks: Clocks) -> Self {
        Self {
            decoder: Decoder::new(head.length()),
            pace: Pace::new(clocks),
            awaited: head.expects_continue(),
            failed: None,
            received: 0,
        }
    }

    /// Bytes of the body that were read.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether nothing of the body is left to be read.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether the body has ended; its unread rest is skipped if all of that is in `input`.
    pub fn skip(&mut self, input: &mut Buffer) -> bool {
        let mut sink = [0; 1024];
        while self.failed.is_none() && !self.decoder.is_done() && !input.is_empty() {
            match self.decoder.decode(input.bytes(), &mut sink) {
                Ok(step) => input.consume(step.consumed),
                Err(refusal) => self.failed = Some(refusal),
            }
        }
        self.failed.is_none() && self.decoder.is_done()
    }
}

/// Ends every wait for a client when the server has waited long enough.
#[derive(Debug)]
pub struct Halt {
    set: AtomicBool,
    waker: Waker,
}

impl Halt {
    /// One that is not set.
    pub fn new() -> io::Result<Self> {
        Ok(Self { set: AtomicBool::new(false), waker: Waker::new()? })
    }

    /// Ends the waits, for good.
    pub fn set(&self) {
        self.set.store(true, Ordering::Release);
        // Never cleared: it also wakes threads that begin to wait later.
        self.waker.wake();
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }
}

/// A body to be read. Its errors carry a [`Refusal`].
pub struct Body<'a> {
    incoming: &'a mut Incoming,
    connection: &'a mut Connection,
    halt: &'a Halt,
    /// The permit's, unless nothing is left to be read.
    upload: Option<&'a Upload>,
}

impl<'a> Body<'a> {
    pub(in crate::http) fn new(
        incoming: &'a mut Incoming,
        connection: &'a mut Connection,
        halt: &'a Halt,
        upload: Option<&'a Upload>,
    ) -> Self {
        Self { incoming, connection, halt, upload }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ask()?;
        loop {
            let bytes = self.connection.input.bytes();
            let step = self.incoming.decoder.decode(bytes, buffer)?;
            self.connection.input.consume(step.consumed);
            if step.produced > 0 || self.incoming.decoder.is_done() {
                return Ok(step.produced);
            }
            if let Some(data) = self.incoming.decoder.data() {
                return self.read_data(buffer, data);
            }
            let mut scratch = [0; FRAMED_READ];
            let count = self.receive(&mut scratch)?;
            self.connection.input.push(&scratch[..count]);
        }
    }

    /// Reads data straight into the caller's buffer: behind an empty input nothing but data comes next.
    fn read_data(&mut self, buffer: &mut [u8], data: u64) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(data).unwrap_or(usize::MAX));
        let count = self.receive(&mut buffer[..most])?;
        self.incoming.decoder.advance(count);
        Ok(count)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.step(|stream| stream.read(buffer)) {
            Ok(0) => Err(Refusal::BodyCut.into()),
            Err(error) if Refusal::in_io(&error).is_none() => Err(Refusal::BodyCut.into()),
            Ok(count) => {
                if let Some(upload) = self.upload {
                    upload.note(count as u64, Instant::now());
                }
                Ok(count)
            }
            error => error,
        }
    }

    /// RFC 9110 section 10.1.1: the interim response, unless a part of the body has come without it.
    fn ask(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.incoming.awaited) && self.connection.input.is_empty() {
            let mut left = CONTINUE;
            while !left.is_empty() {
                let count = self.step(|stream| stream.write(left))?;
                left = &left[count..];
            }
        }
        Ok(())
    }

    /// Tries until it need not wait any more.
    fn step(&mut self, mut attempt: impl FnMut(&mut Stream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            if self.halt.is_set() {
                return Err(Refusal::Stopping.into());
            }
            if self.upload.is_some_and(Upload::gives_way) {
                return Err(Refusal::TooSlow.into());
            }
            match attempt(&mut self.connection.stream) {
                Ok(bytes) => {
                    self.incoming.pace.moved(bytes);
                    return Ok(bytes);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.wait()?,
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let (stream, pace) = (&self.connection.stream, &mut self.incoming.pace);
        let interest = stream.awaits();
        let longest = if interest == Interest::Read { pace.left() } else { pace.left_to_write() };
        let started = Instant::now();
        let mut fds = vec![(stream.fd()?, interest), (self.halt.waker.as_fd(), Interest::Read)];
        let waker = self.upload.map(Upload::waker).transpose().map_err(|_| Refusal::Overloaded)?;
        fds.extend(waker.iter().map(|waker| (waker.as_fd(), Interest::Read)));
        sys::wait(&fds, Some(started + longest))?;
        Ok(pace.waited(started.elapsed())?)
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(refusal) = self.incoming.failed {
            return Err(refusal.into());
        }
        if buffer.is_empty() || self.incoming.decoder.is_done() {
            return Ok(0);
        }
        let count = self.fill(buffer).map_err(|error| {
            let refusal = Refusal::in_io(&error).unwrap_or(Refusal::BodyCut);
            self.incoming.failed = Some(refusal);
            io::Error::from(refusal)
        })?;
        self.incoming.received += count as u64;
        Ok(count)
    }
}
