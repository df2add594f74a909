//! Many connections of one thread, each of which sends a request as soon as it has the response to the last one.
//! Unlike wrk, it checks the status and the length of every response; another one ends the run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use media_server::sys::{Epoll, Events};
use rustix::net::{RecvFlags, recv};

use crate::rounds::Done;

/// Bytes of a body that one call drops.
const STEP: usize = 256 * 1024;
/// Bytes of the longest head of a response, and of the reads that look for its end.
const HEAD: usize = 16 * 1024;
/// Fields of a response.
const FIELDS: usize = 64;

/// Writes the next request.
pub type Requests = Box<dyn FnMut(&mut Vec<u8>)>;

/// The requests, and the number of clients.
pub struct Load {
    /// Where the servers listen on 127.0.0.1; the connections go to them in turn.
    pub ports: Vec<u16>,
    /// How many ask at a time.
    pub connections: usize,
    /// The status of every response.
    pub status: u16,
    /// Bytes of every response's body.
    pub length: u64,
    /// Writes the next request.
    pub request: Requests,
}

/// The head of a response.
pub struct Head {
    /// Its bytes.
    pub bytes: usize,
    /// The status.
    pub status: u16,
    /// Bytes of the body.
    pub length: u64,
}

/// The head at the beginning of these bytes, if it is whole.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(end) = response.parse(bytes).expect("servers respond with HTTP") else {
        assert!(bytes.len() < HEAD, "a response's head is longer than {HEAD} bytes");
        return None;
    };
    let status = response.code.expect("a whole head has a status");
    let length = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(0, |field| {
        let text = std::str::from_utf8(field.value).expect("a length is ASCII");
        text.trim().parse().expect("a length is a number")
    });
    Some(Head { bytes: end, status, length: if status == 304 { 0 } else { length } })
}

impl Load {
    /// Does it; the unit is a response.
    pub fn responses(&mut self, time: Duration) -> Done {
        let (responses, _, done) = self.run(time);
        Done { units: responses as f64, ..done }
    }

    /// Does it; the unit is a GiB of bodies.
    pub fn gibibytes(&mut self, time: Duration) -> Done {
        let (_, bytes, done) = self.run(time);
        Done { units: bytes as f64 / f64::from(1 << 30), ..done }
    }

    fn run(&mut self, time: Duration) -> (u64, u64, Done) {
        let epoll = Epoll::new().expect("the kernel has epoll");
        let mut events = Events::new();
        let mut buffer = vec![0; STEP];
        let port = |number: usize| self.ports[number % self.ports.len()];
        let mut lines: Vec<_> = (0..self.connections).map(|number| Connection::open(port(number))).collect();
        for (token, line) in (0..).zip(&lines) {
            epoll.watch(&line.socket, token).expect("a socket can be watched");
        }
        let begun = Instant::now();
        let mut took = Vec::new();
        let mut bytes = 0;
        lines.iter_mut().for_each(|line| line.send(&mut self.request));
        while begun.elapsed() < time {
            epoll.wait(&mut events, Some(begun + time)).expect("a set can be waited for");
            for token in events.tokens() {
                let number = usize::try_from(token).expect("tokens are indices");
                let line = &mut lines[number];
                if !line.read(&mut buffer, &mut bytes) {
                    *line = Connection::open(port(number));
                    epoll.watch(&line.socket, token).expect("a socket can be watched");
                    line.send(&mut self.request);
                } else if let Some(response) = line.whole() {
                    assert_eq!(
                        (response.status, response.length),
                        (self.status, self.length),
                        "not what was asked"
                    );
                    took.push(line.since.elapsed());
                    line.send(&mut self.request);
                }
            }
        }
        let responses = took.len() as u64;
        (responses, bytes, Done { units: 0.0, time: begun.elapsed(), p99: p99(took) })
    }
}

/// The 99th percentile.
pub fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took.get((took.len() * 99 / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
}

struct Connection {
    socket: TcpStream,
    request: Vec<u8>,
    since: Instant,
    /// The bytes of the response's head so far.
    begun: Vec<u8>,
    head: Option<Head>,
    body: u64,
}

impl Connection {
    fn open(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        socket.set_nodelay(true).expect("TCP has no delay");
        Self { socket, request: Vec::new(), since: Instant::now(), begun: Vec::new(), head: None, body: 0 }
    }

    fn send(&mut self, request: &mut dyn FnMut(&mut Vec<u8>)) {
        self.begun.clear();
        (self.head, self.body) = (None, 0);
        self.request.clear();
        request(&mut self.request);
        self.since = Instant::now();
        self.socket.write_all(&self.request).expect("the server takes requests");
    }

    /// Reads once; false if the server has ended the connection between two responses. After the head, the kernel drops
    /// the body (MSG_TRUNC, tcp(7)), so that the client copies next to nothing of a large one.
    fn read(&mut self, buffer: &mut [u8], bodies: &mut u64) -> bool {
        let read = match self.head {
            None => self.socket.read(&mut buffer[..HEAD]).unwrap_or(0),
            Some(_) => recv(&self.socket, &mut *buffer, RecvFlags::TRUNC).map_or(0, |(_, dropped)| dropped),
        };
        if read == 0 {
            assert!(self.begun.is_empty(), "a response broke off");
            return false;
        }
        let mut body = read;
        if self.head.is_none() {
            self.begun.extend_from_slice(&buffer[..read]);
            self.head = head(&self.begun);
            body = self.head.as_ref().map_or(0, |head| self.begun.len() - head.bytes);
        }
        self.body += body as u64;
        *bodies += body as u64;
        true
    }

    /// The response, if it is whole.
    fn whole(&self) -> Option<&Head> {
        let head = self.head.as_ref()?;
        assert!(self.body <= head.length, "more came than the response's length");
        (self.body == head.length).then_some(head)
    }
}
