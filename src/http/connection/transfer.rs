//! Moving bytes through a stream under the two clocks: read, write, and files.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::pace::Pace;
use super::stream::Stream;
use crate::limits;
use crate::model::Refusal;
use crate::sys::{self, Interest, Waker};

/// Bytes of a file that are in memory at a time where TLS keeps the kernel from sending it.
const TLS_STEP: usize = 128 * 1024;

/// Ends every transfer when the server has waited long enough.
#[derive(Debug)]
pub struct Halt {
    set: AtomicBool,
    waker: Waker,
}

impl Halt {
    pub fn new() -> io::Result<Self> {
        Ok(Self { set: AtomicBool::new(false), waker: Waker::new()? })
    }

    pub fn set(&self) {
        self.set.store(true, Ordering::Release);
        // Never cleared: whoever waits from now on is woken, too.
        self.waker.wake();
    }

    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }
}

/// A body or an answer on its way.
pub struct Transfer<'a> {
    pub stream: &'a mut Stream,
    pub pace: &'a mut Pace,
    pub halt: &'a Halt,
}

impl Transfer<'_> {
    /// Reads at least one byte, waiting for it; 0 is the end of the stream.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step(|stream| stream.read(buffer))
    }

    /// Writes all of `bytes`, and counts in `sent` what went out.
    pub fn write_all(&mut self, mut bytes: &[u8], sent: &mut u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.step(|stream| stream.write(&bytes[..bytes.len().min(limits::ANSWER_STEP)]))?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            *sent += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Sends a part of a file: the kernel does it where it can. A file that ends early is an error.
    pub fn send_file(&mut self, file: &File, mut range: Range<u64>, sent: &mut u64) -> io::Result<()> {
        if self.stream.is_tls() {
            return self.copy_file(file, range, sent);
        }
        while range.start < range.end {
            let length = step_of(&range, limits::ANSWER_STEP);
            let offset = &mut range.start;
            let count = self.step(|stream| stream.send_file(file, offset, length))?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *sent += count as u64;
        }
        Ok(())
    }

    fn copy_file(&mut self, file: &File, mut range: Range<u64>, sent: &mut u64) -> io::Result<()> {
        let mut buffer = vec![0; step_of(&range, TLS_STEP)];
        while range.start < range.end {
            let piece = &mut buffer[..step_of(&range, TLS_STEP)];
            file.read_exact_at(piece, range.start)?;
            self.write_all(piece, sent)?;
            range.start += piece.len() as u64;
        }
        Ok(())
    }

    /// Tries until it need not wait any more.
    fn step(&mut self, mut attempt: impl FnMut(&mut Stream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            if self.halt.is_set() {
                return Err(Refusal::Stopping.into());
            }
            match attempt(self.stream) {
                Ok(bytes) => {
                    self.pace.moved(bytes);
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
        let interest = self.stream.awaits();
        let longest = if interest == Interest::Read { self.pace.left() } else { self.pace.left_to_write() };
        let started = Instant::now();
        let fds = [(self.stream.fd()?, interest), (self.halt.waker.as_fd(), Interest::Read)];
        sys::wait(&fds, Some(started + longest))?;
        Ok(self.pace.waited(started.elapsed())?)
    }
}

fn step_of(range: &Range<u64>, most: usize) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(most).min(most)
}
