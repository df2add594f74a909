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
pub(super) struct Halt {
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
pub(super) struct Transfer<'a> {
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

    /// Sends a part of a file: the kernel does it where it can. A file that ends early is an error. The kernel may hold more
    /// of a large one, so that it wakes us less often; at its end less and less, as who does not read would keep that
    /// without a seat.
    pub fn send_file(&mut self, file: &File, mut range: Range<u64>, sent: &mut u64) -> io::Result<()> {
        if self.stream.is_tls() {
            return self.copy_file(file, range, sent);
        }
        let is_large = range.end.saturating_sub(range.start) > limits::UNSENT_DOWNLOAD_BYTES.into();
        let mut held = limits::UNSENT_BYTES;
        while range.start < range.end {
            let mut length = step_of(&range, limits::ANSWER_STEP);
            if is_large {
                let (hold, most) = room(range.end - range.start);
                if hold != std::mem::replace(&mut held, hold) {
                    self.stream.hold_unsent(hold);
                }
                length = length.min(most);
            }
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

/// What the kernel may hold of a large file of which so much is left, and how much of it goes out in one step: so little at
/// the end that each step of a client at the least rate counts, though the kernel takes none before it holds less.
fn room(left: u64) -> (u32, usize) {
    let (most, least) = (limits::UNSENT_DOWNLOAD_BYTES, limits::UNSENT_BYTES);
    let before = |mark: u32| usize::try_from(left - u64::from(mark)).unwrap_or(usize::MAX);
    match u32::try_from(left) {
        Ok(left) if left <= least => (least, usize::MAX),
        Ok(left) if left <= most => (left, before(least).min(limits::UNSENT_STEP)),
        _ => (most, before(most)),
    }
}

fn step_of(range: &Range<u64>, most: usize) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use socket2::SockRef;

    use super::super::settings::Clocks;
    use super::super::stream::Socket;
    use super::*;

    #[test]
    fn the_kernel_may_hold_less_and_less_of_the_end() {
        let (most, least) = (u64::from(limits::UNSENT_DOWNLOAD_BYTES), u64::from(limits::UNSENT_BYTES));
        let (mut left, mut before) = (3 * most + 1, u64::MAX);
        while left > 0 {
            let (hold, step) = room(left);
            let hold = u64::from(hold);
            assert!((least..=most).contains(&hold) && hold <= before && hold <= left.max(least), "{left}");
            // What must go out before the kernel takes more.
            assert!(
                before == u64::MAX || before - hold <= limits::UNSENT_STEP as u64,
                "{left}: {before} {hold}"
            );
            assert!(step > 0);
            before = hold;
            left -= left.min(step.min(limits::ANSWER_STEP) as u64);
        }
        assert_eq!(before, least);
    }

    #[test]
    fn the_kernel_holds_more_of_a_large_file_until_its_end_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let watched = server.try_clone().unwrap();
        let held = || SockRef::from(&watched).tcp_notsent_lowat().unwrap();
        let scratch = crate::testing::Scratch::new();
        let file =
            File::options().read(true).write(true).create_new(true).open(scratch.join("file")).unwrap();
        let length = 32 * u64::from(limits::UNSENT_DOWNLOAD_BYTES);
        file.set_len(length).unwrap();
        let sent = std::thread::spawn(move || {
            let (halt, mut sent) = (Halt::new().unwrap(), 0);
            let (mut stream, mut pace) = (Stream::Plain(Socket::new(server)), Pace::new(Clocks::default()));
            let mut transfer = Transfer { stream: &mut stream, pace: &mut pace, halt: &halt };
            transfer.send_file(&file, 0..length, &mut sent).map(|()| sent)
        });
        while held() != limits::UNSENT_DOWNLOAD_BYTES {
            std::thread::yield_now();
        }
        let came = io::copy(&mut (&mut client).take(length), &mut io::sink()).unwrap();
        assert_eq!((came, sent.join().unwrap().unwrap(), held()), (length, length, limits::UNSENT_BYTES));
    }
}
