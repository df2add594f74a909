//! A connection and what has been read of it. Whoever holds the box works on it: the front, a worker, or nobody but
//! the exchange that is parked.

pub mod body;
pub mod pace;
pub mod stream;
pub mod tls;
pub mod transfer;

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::Instant;

use crate::http::limits::permits::Seat;
use crate::http::message::head::Scan;
use crate::limits;
use crate::model::Refusal;
use crate::sys::{Epoll, Interest};
use stream::Stream;

/// Reads of one linger step, so that no client keeps the front for itself.
const DRAIN_READS: usize = 16;

pub struct Connection {
    // Closed before its seat is given back: fields drop in this order.
    pub stream: Stream,
    pub input: Buffer,
    /// What is left of an answer.
    pub output: Buffer,
    pub peer: IpAddr,
    pub token: u64,
    pub stage: Stage,
    /// When the front gives up on the present stage.
    pub deadline: Instant,
    /// When the present request began to be ours: its head was complete.
    pub since: Instant,
    scan: Scan,
    head: usize,
    armed: bool,
    _seat: Seat,
}

/// What a connection waits for when it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Handshake,
    /// A head; whether a byte of it has come.
    Head(bool),
    /// The client, to take the rest of an answer: all of it until then, and some of it until the deadline.
    Answer(Then, Instant),
    /// The client's end, while so many bytes more are read and dropped.
    Linger(u64),
}

impl Stage {
    /// Whether nothing is owed to the client.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Handshake | Self::Head(_))
    }
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request.
    Next,
    /// The end.
    Close,
    /// The end, of which the client is told while it still sends.
    Linger,
}

/// How far a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    Whole,
    Part,
    /// The client has closed.
    Closed,
}

impl Connection {
    pub fn new(stream: Stream, peer: IpAddr, token: u64, deadline: Instant, seat: Seat) -> Self {
        let stage = if stream.is_tls() { Stage::Handshake } else { Stage::Head(false) };
        Self {
            stream,
            input: Buffer::default(),
            output: Buffer::default(),
            peer,
            token,
            stage,
            deadline,
            since: Instant::now(),
            scan: Scan::default(),
            head: 0,
            armed: false,
            _seat: seat,
        }
    }

    /// Asks `epoll` for one report of what the present stage waits for.
    pub fn arm(&mut self, epoll: &Epoll) -> io::Result<()> {
        self.arm_for(
            epoll,
            match self.stage {
                Stage::Handshake | Stage::Answer(..) => self.stream.awaits(),
                Stage::Head(_) | Stage::Linger(_) => Interest::Read,
            },
        )
    }

    /// Asks `epoll` for one report of this.
    pub fn arm_for(&mut self, epoll: &Epoll, interest: Interest) -> io::Result<()> {
        let fd = self.stream.fd()?;
        if self.armed {
            return epoll.rearm(fd, self.token, interest);
        }
        epoll.arm(fd, self.token, interest)?;
        self.armed = true;
        Ok(())
    }

    /// Whether a whole head is in the input already.
    pub fn has_head(&mut self) -> Result<bool, Refusal> {
        self.head = self.scan.advance(self.input.bytes())?.unwrap_or(0);
        Ok(self.head > 0)
    }

    /// Whether a head has begun to come; some clients send an empty line behind a body, which begins nothing.
    pub fn has_begun(&self) -> bool {
        self.input.bytes().iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    /// Reads what has come of a head. A plain socket is read once: what is left there, epoll reports again. TLS is
    /// read to the end, for what it has decrypted epoll knows nothing of.
    pub fn collect(&mut self, scratch: &mut [u8]) -> Result<Collected, Refusal> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(Collected::Closed),
                Ok(bytes) => self.input.push(&scratch[..bytes]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(Collected::Part),
                    io::ErrorKind::Interrupted => continue,
                    _ => return Ok(Collected::Closed),
                },
            }
            if self.has_head()? {
                return Ok(Collected::Whole);
            }
            if !self.stream.is_tls() {
                return Ok(Collected::Part);
            }
        }
    }

    /// The head that was found, and the next one is looked for.
    pub fn take_head(&mut self) -> Vec<u8> {
        self.scan = Scan::default();
        self.input.take(std::mem::take(&mut self.head))
    }

    /// Writes what is left of an answer as far as the client takes it now; whether all of it is out.
    pub fn flush(&mut self) -> io::Result<bool> {
        while !self.output.is_empty() {
            match self.stream.write(self.output.bytes()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.output.consume(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(false),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(true)
    }

    /// Reads and drops what has come while lingering; whether there may be more. TLS is not decrypted.
    pub fn drain(&mut self, scratch: &mut [u8]) -> bool {
        let (Stage::Linger(left), Some(mut tcp)) = (&mut self.stage, self.stream.tcp()) else { return false };
        for _ in 0..DRAIN_READS {
            match tcp.read(scratch) {
                Ok(0) => return false,
                Ok(bytes) => *left = left.saturating_sub(bytes as u64),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
            if *left == 0 {
                return false;
            }
        }
        true
    }

    /// Ends our half and begins to linger, until `deadline` at most.
    pub fn close_write(&mut self, deadline: Instant) {
        self.stream.close_write();
        self.input = Buffer::default();
        self.stage = Stage::Linger(limits::LINGER_BYTES);
        self.deadline = deadline;
    }
}

/// Bytes that were read and not used yet, or are to be written. Costs nothing while it is empty.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }
}

impl Buffer {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Drops the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.bytes.len());
        if self.is_empty() {
            (self.bytes, self.used) = (Vec::new(), 0);
        }
    }

    /// Takes the first `count` bytes out; without a copy if that is all.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        if self.used == 0 && count >= self.bytes.len() {
            return std::mem::take(&mut self.bytes);
        }
        let taken = self.bytes().get(..count).unwrap_or_default().to_vec();
        self.consume(count);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_used_up_from_its_front() {
        let mut input = Buffer::default();
        input.push(b"headbody");
        assert_eq!(input.take(4), b"head");
        input.consume(1);
        input.push(b"next");
        assert_eq!(input.bytes(), b"odynext");
        assert_eq!(input.take(3), b"ody");
        assert_eq!((input.take(4), input.is_empty()), (b"next".to_vec(), true));
        input.consume(9);
        assert_eq!(input.bytes.capacity(), 0);
    }
}
