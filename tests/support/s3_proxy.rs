//! A proxy in front of an S3 store that plays the faults of stores and of the network. Requests pass it unchanged, so their
//! signatures hold.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status and code of S3, without asking the store.
    Refuse(u16, &'static str),
    /// The status 500 in the middle of the body, and the end of the connection.
    FailMidBody,
    /// The end of the connection in the middle of the body of the request.
    CutRequest,
    /// The end of the connection in the middle of the response.
    CutResponse,
    /// No response.
    Stall,
    /// The response comes in pieces with pauses between them.
    Trickle,
    /// The body of the response comes byte by byte, with pauses in which no timeout of a connection ends.
    Drip,
    /// The store gets one byte less than the request says, and the request ends.
    Shorten,
    /// The store gets a body with one wrong byte.
    Damage,
    /// The response has no `ETag`, and the store has nothing stored.
    NoTag,
    /// The response is one byte shorter, and its length says so.
    OtherLength,
    /// The clock of the store is hours away.
    Skew,
}

/// The fault of some future requests.
struct Rule {
    /// The beginning of the request line, such as `PUT `.
    method: &'static str,
    /// A part of its path and query.
    part: String,
    fault: Fault,
    left: usize,
}

#[derive(Default)]
struct Shared {
    target: Mutex<u16>,
    rules: Mutex<Vec<Rule>>,
    /// The request lines, without the signatures.
    requests: Mutex<Vec<String>>,
    is_down: Mutex<bool>,
}

/// A listening proxy. Its threads end with the test's process.
pub struct S3Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl S3Proxy {
    /// A proxy in front of the store at this port.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { target: Mutex::new(target), ..Shared::default() });
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&ours);
                // Either end may be gone.
                thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Self { port, shared }
    }

    /// The value of `media.storage.s3.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Plays a fault at the next requests of this method whose path or query has this part.
    pub fn play(&self, fault: Fault, method: &'static str, part: &str, times: usize) {
        let rule = Rule { method, part: part.to_owned(), fault, left: times };
        self.shared.rules.lock().expect("no panic").push(rule);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.rules.lock().expect("no panic").clear();
        *self.shared.is_down.lock().expect("no panic") = false;
    }

    /// Ends each connection at once, until [`S3Proxy::heal`].
    pub fn go_down(&self) {
        *self.shared.is_down.lock().expect("no panic") = true;
    }

    /// The requests so far, such as `PUT /media/key`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("no panic").clone()
    }
}

impl Shared {
    /// Serves one request of a connection.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        if *self.is_down.lock().expect("no panic") {
            return Ok(());
        }
        let head = head(&mut client)?;
        let line = shown(&head);
        if line.is_empty() {
            return Ok(());
        }
        self.requests.lock().expect("no panic").push(line.clone());
        let length: usize = field(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let fault = self.fault(&line);
        match fault {
            Some(Fault::Refuse(status, code)) => {
                io::copy(&mut (&client).take(length as u64), &mut io::sink())?;
                client.write_all(&refusal(status, code, ""))
            }
            Some(Fault::Skew) => {
                io::copy(&mut (&client).take(length as u64), &mut io::sink())?;
                let date = "Date: Thu, 01 Jan 2015 00:00:00 GMT\r\n";
                client.write_all(&refusal(403, "RequestTimeTooSkewed", date))
            }
            Some(Fault::FailMidBody) => {
                io::copy(&mut (&client).take(length as u64 / 2), &mut io::sink())?;
                client.write_all(&refusal(500, "InternalError", ""))?;
                client.shutdown(Shutdown::Write)?;
                io::copy(&mut client, &mut io::sink()).map(drop)
            }
            Some(Fault::CutRequest) => {
                io::copy(&mut (&client).take(length as u64 / 2), &mut io::sink()).map(drop)
            }
            Some(Fault::NoTag) => {
                io::copy(&mut (&client).take(length as u64), &mut io::sink())?;
                client.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            }
            Some(Fault::Stall) => loop {
                thread::park();
            },
            _ => self.relay(&mut client, &head, length, fault),
        }
    }

    fn relay(
        &self,
        client: &mut TcpStream,
        head: &str,
        length: usize,
        fault: Option<Fault>,
    ) -> io::Result<()> {
        let mut body = vec![0; length];
        client.read_exact(&mut body)?;
        let mut store = TcpStream::connect(("127.0.0.1", *self.target.lock().expect("no panic")))?;
        // The end of the response is the end of the connection then.
        let (first, rest) = head.split_once("\r\n").expect("a head has lines");
        let rest = without(rest, "connection");
        store.write_all(format!("{first}\r\nConnection: close\r\n{rest}").as_bytes())?;
        match fault {
            Some(Fault::Damage) if length > 0 => body[length / 2] ^= 1,
            Some(Fault::Shorten) => {
                store.write_all(&body[..length.saturating_sub(1)])?;
                store.shutdown(Shutdown::Write)?;
                return answer(client, &mut store, fault);
            }
            _ => {}
        }
        store.write_all(&body)?;
        answer(client, &mut store, fault)
    }

    fn fault(&self, line: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().expect("no panic");
        let fits = |rule: &&mut Rule| {
            rule.left > 0 && line.starts_with(rule.method) && line.contains(rule.part.as_str())
        };
        let rule = rules.iter_mut().find(fits)?;
        rule.left -= 1;
        Some(rule.fault)
    }
}

fn answer(client: &mut TcpStream, store: &mut TcpStream, fault: Option<Fault>) -> io::Result<()> {
    let head = head(store)?;
    let mut body = Vec::new();
    store.read_to_end(&mut body)?;
    match fault {
        Some(Fault::CutResponse) => {
            let whole = [head.as_bytes(), &body].concat();
            client.write_all(&whole[..whole.len() - body.len().max(20) / 2])
        }
        Some(Fault::OtherLength) => {
            let shorter = body.len().saturating_sub(1);
            let head = without(&head, "content-length");
            let head = head.replacen("\r\n", &format!("\r\nContent-Length: {shorter}\r\n"), 1);
            client.write_all(head.as_bytes())?;
            client.write_all(&body[..shorter])
        }
        Some(Fault::Trickle) => {
            client.set_nodelay(true)?;
            client.write_all(head.as_bytes())?;
            body.chunks(body.len().div_ceil(8).max(1)).try_for_each(|piece| {
                thread::sleep(Duration::from_millis(150));
                client.write_all(piece)
            })
        }
        Some(Fault::Drip) => {
            client.set_nodelay(true)?;
            client.write_all(head.as_bytes())?;
            body.chunks(1).try_for_each(|byte| {
                thread::sleep(Duration::from_millis(100));
                client.write_all(byte)
            })
        }
        _ => {
            client.write_all(head.as_bytes())?;
            client.write_all(&body)
        }
    }
}

/// Reads a head, with its empty line.
fn head(socket: &mut TcpStream) -> io::Result<String> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") && socket.read(&mut byte)? > 0 {
        bytes.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The request line without the signature and the version.
fn shown(head: &str) -> String {
    let mut words = head.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return String::new() };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: Vec<_> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
    format!("{method} {path} {}", query.join("&")).trim_end().to_owned()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let is_it = |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
    head.lines().find(is_it)?.split_once(':').map(|(_, value)| value.trim())
}

fn without(head: &str, name: &str) -> String {
    let is_other =
        |line: &&str| !line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
    head.split_inclusive("\r\n").filter(is_other).collect()
}

fn refusal(status: u16, code: &str, fields: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>played by a test</Message></Error>");
    let length = body.len();
    format!("HTTP/1.1 {status} Played\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
        .into_bytes()
}
