//! The whole edge over real sockets.

mod bodies;
mod clocks;
mod downloads;
mod fetching;
mod hang_up;
mod https;
mod requests;
mod sharing;
mod watching;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::model::Refusal;

/// Longer than anything here takes; only a failure lasts as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service made of a function.
struct Answering<F>(F);

impl<F: Fn(Exchange) + Send + Sync + 'static> Service for Answering<F> {
    fn serve(self: Arc<Self>, exchange: Exchange) {
        (self.0)(exchange);
    }
}

/// One plain listener on a port of the kernel's choice, one turn, and one thread for requests that may wait.
fn settings() -> Settings {
    Settings {
        listen: vec![Listen { address: ([127, 0, 0, 1], 0).into(), tls: false, optional: false, keys: "" }],
        turns: 1,
        threads: 1,
        ..Settings::default()
    }
}

fn limited(limits: Limits) -> Settings {
    Settings { limits, ..settings() }
}

fn start(settings: Settings, service: impl Fn(Exchange) + Send + Sync + 'static) -> Server {
    Server::start(settings, ResumeQueue::new().unwrap(), Arc::new(Answering(service))).unwrap()
}

/// A server of a few paths.
fn server() -> Server {
    start(settings(), paths)
}

fn paths(exchange: Exchange) {
    match exchange.path() {
        "/echo" => exchange.leave_turn(|mut exchange| {
            let response = echo(&mut exchange).unwrap_or_else(Response::refusal);
            exchange.answer(response);
        }),
        "/panic-later" => exchange.leave_turn(|_| panic!("on purpose")),
        "/refuse" => exchange.answer(Response::refusal(Refusal::Forbidden)),
        "/panic" => panic!("on purpose"),
        "/forget" => drop(exchange),
        path => {
            let response = Response::bytes(200, "text/plain", path.as_bytes().to_vec());
            exchange.answer(response);
        }
    }
}

/// The body sent back.
fn echo(exchange: &mut Exchange) -> Result<Response, Refusal> {
    let mut body = Vec::new();
    let result = exchange.body()?.read_to_end(&mut body);
    result.map_err(|error| Refusal::in_io(&error).expect("a refusal"))?;
    Ok(Response::bytes(200, "application/octet-stream", body))
}

/// A client that sees every byte.
struct Peer(BufReader<TcpStream>);

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn has(&self, line: &str) -> bool {
        self.head.lines().any(|known| known == line)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Peer {
    fn to(server: &Server) -> Self {
        Self::at(server.addresses()[0])
    }

    fn at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.get_ref().write_all(bytes.as_ref()).unwrap();
        self
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).answer()
    }

    fn head(&mut self) -> (u16, String, usize) {
        read_head(&mut self.0).expect("an answer")
    }

    fn answer(&mut self) -> Answer {
        read_answer(&mut self.0)
    }

    fn end_writing(&mut self) -> &mut Self {
        self.0.get_ref().shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Whether the server ends the connection, with nothing more said.
    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0))
    }
}

fn read_head(from: &mut impl BufRead) -> Option<(u16, String, usize)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    Some((head[9..12].parse().unwrap(), head, length))
}

fn read_answer(from: &mut impl BufRead) -> Answer {
    let (status, head, length) = read_head(from).expect("an answer");
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    Answer { status, head, body }
}

/// Waits for something that other threads bring about.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A file without a name, of bytes that differ from place to place.
fn file_of(bytes: usize) -> (File, Vec<u8>) {
    let scratch = crate::testing::Scratch::new();
    let data: Vec<u8> = (0..bytes).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    let mut file =
        File::options().read(true).write(true).create_new(true).open(scratch.join("file")).unwrap();
    file.write_all(&data).unwrap();
    (file, data)
}
