//! A connection and the bytes read from it. The thread that has the box works on it: a worker thread, or none while the
//! connection rests or its exchange is parked.

pub mod body;
pub mod buffer;
pub mod pace;
pub mod sending;
pub mod stream;
pub mod tls;

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Instant;

use buffer::Buffer;
use sending::Sending;
use stream::Stream;

use crate::http::limits::permits::Permit;
use crate::http::message::scan::Scan;
use crate::limits;
use crate::model::Refusal;
use crate::sys::{self, Epoll, Interest};

/// Reads of one linger step, so that no client keeps a turn for itself.
const DRAIN_READS: usize = 16;

/// A client's connection.
pub struct Connection {
    // Closed before its place and its permit are given back: fields drop in this order.
    pub stream: Stream,
    pub input: Buffer,
    /// The rest of a response that the client has not taken.
    pub sending: Option<Box<Sending>>,
    pub peer: IpAddr,
    pub stage: Stage,
    /// The event that the stage waits for.
    pub interest: Interest,
    /// When the clock thread gives up on the present stage, or tries to send once more.
    pub deadline: Instant,
    /// When the head of the present request was complete, or began to come.
    pub since: Instant,
    scan: Scan,
    head: usize,
    armed: bool,
    token: u64,
    _place: Box<dyn Send>,
    _permit: Permit,
}

/// The stage of a connection: the event that it waits for while it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The client's next bytes of a TLS handshake.
    Handshake,
    /// A head; whether a byte of it has come.
    Head { begun: bool },
    /// The client, to take most of the response before the next request, whose head is here already.
    Pipelined,
    /// The client, to take more of a response.
    Response,
    /// The next block of a response, which is being fetched; meanwhile the client may hang up.
    Fetch,
    /// The client's end, while so many bytes more are read and dropped.
    Linger(u64),
}

impl Stage {
    /// Whether nothing is owed to the client.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Handshake | Self::Head { .. })
    }
}

/// How far a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// It is whole.
    Whole,
    /// More of it must come.
    Part,
    /// The client has closed.
    Closed,
}

impl Connection {
    /// A connection that waits for its first bytes. Its events carry `token`; `place` is dropped with it.
    pub fn new(
        stream: Stream,
        peer: IpAddr,
        (token, place): (u64, Box<dyn Send>),
        deadline: Instant,
        permit: Permit,
    ) -> Self {
        let stage = if stream.is_tls() { Stage::Handshake } else { Stage::Head { begun: false } };
        Self {
            stream,
            input: Buffer::default(),
            sending: None,
            peer,
            stage,
            interest: Interest::Read,
            deadline,
            since: Instant::now(),
            scan: Scan::default(),
            head: 0,
            armed: false,
            token,
            _place: place,
            _permit: permit,
        }
    }

    /// The token of its events.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Asks `epoll` for one report of what the present stage waits for.
    pub fn arm(&mut self, epoll: &Epoll) -> io::Result<()> {
        self.arm_for(epoll, self.interest)
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

    /// Reads the bytes of a head that have come. A plain socket is read once: epoll reports again what is left there. TLS is read to
    /// the end, for epoll knows nothing of what TLS has decrypted.
    pub fn collect(&mut self) -> Result<Collected, Refusal> {
        let mut scratch = [0; limits::HEAD_BYTES];
        loop {
            match self.stream.read(&mut scratch) {
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

    /// Takes the head that was found out of the input.
    pub fn take_head(&mut self) -> Vec<u8> {
        self.scan = Scan::default();
        self.input.take(std::mem::take(&mut self.head))
    }

    /// Reads and drops the bytes that have come while lingering; whether more may come. TLS is not decrypted.
    pub fn drain(&mut self) -> bool {
        let (Stage::Linger(left), Some(mut tcp)) = (&mut self.stage, self.stream.tcp()) else { return false };
        let mut scratch = [0; limits::HEAD_BYTES];
        for _ in 0..DRAIN_READS {
            match tcp.read(&mut scratch) {
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
        self.interest = Interest::Read;
        self.deadline = deadline;
    }

    /// Ends the connection with a reset: the kernel forgets what it still holds for a client that does not take it.
    pub fn reset(self) {
        if let Some(tcp) = self.stream.tcp() {
            sys::reset_on_close(tcp);
        }
    }
}
