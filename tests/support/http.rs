//! Requests by curl, and malformed requests byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::PATIENCE;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long curl took.
    pub took: Duration,
}

impl Answer {
    /// The value of the first field of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} is not JSON ({error}): {:?}", self.status, self.text()))
    }

    /// The answer itself, if its status is this.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.fields(), self.text());
        self
    }

    /// A member of the JSON object in the body, as text.
    #[track_caller]
    pub fn member(&self, name: &str) -> String {
        let json = self.json();
        let value = json.get(name).unwrap_or_else(|| panic!("no {name} in {json}"));
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    fn fields(&self) -> String {
        self.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }
}

/// A request that curl will send.
pub struct Request {
    url: String,
    arguments: Vec<String>,
}

impl Request {
    /// A GET of this address.
    pub fn get(url: &str) -> Self {
        Self { url: url.to_owned(), arguments: Vec::new() }
    }

    /// A request of another method.
    pub fn new(method: &str, url: &str) -> Self {
        let request = Self::get(url);
        if method == "HEAD" { request.with(&["--head"]) } else { request.with(&["-X", method]) }
    }

    /// The same with more arguments of curl's.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// The same with this field.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(&["-H", &format!("{name}: {value}")])
    }

    /// The same with Basic credentials of this JID and a new transaction id.
    pub fn basic(self, jid: &str) -> Self {
        self.token(&STANDARD.encode(format!("{jid}:{}", transaction())))
    }

    /// The same with these Basic credentials.
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Basic {token}"))
    }

    /// The same with credentials in `?auth=` for this JID and a new transaction id.
    pub fn auth(self, jid: &str) -> Self {
        let token = URL_SAFE_NO_PAD.encode(format!("{jid}:{}", transaction()));
        self.query(&format!("auth={token}"))
    }

    /// The same with this in its query.
    pub fn query(mut self, parameter: &str) -> Self {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        self.url = format!("{}{separator}{parameter}", self.url);
        self
    }

    /// The same with a field in a multipart form; curl's own syntax, such as `data=@file;type=image/jpeg`.
    pub fn part(self, part: &str) -> Self {
        self.with(&["-F", part])
    }

    /// The same with a file as the form's data.
    pub fn file(self, path: &Path, mime_type: &str) -> Self {
        self.part(&format!("data=@{};type={mime_type}", path.display()))
    }

    /// The same with a field in an url-encoded form.
    pub fn field(self, name: &str, value: &str) -> Self {
        self.with(&["--data-urlencode", &format!("{name}={value}")])
    }

    /// Sends it and reads the answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn send(self) -> Answer {
        self.try_send().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends it and reads the answer, if there is one.
    pub fn try_send(self) -> Result<Answer, String> {
        let begun = Instant::now();
        let output = Command::new("curl")
            .args(["-q", "--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "60"])
            .args(["--path-as-is", "--globoff"])
            .args(&self.arguments)
            .arg(&self.url)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("curl does not start ({error}): run scripts/install-dependencies"))?;
        let took = begun.elapsed();
        let answer = parse(&output.stdout, took);
        answer.ok_or_else(|| {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("curl {:?} {}: {error}", self.arguments, self.url)
        })
    }

    /// Sends it from a thread of its own.
    pub fn send_apart(self) -> std::thread::JoinHandle<Answer> {
        std::thread::spawn(move || self.send())
    }
}

/// A transaction id that no request has had.
pub fn transaction() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("t{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A connection on which bytes are sent as the test writes them.
pub struct Raw {
    reader: BufReader<TcpStream>,
}

impl Raw {
    /// Connects.
    pub fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above 0 is valid");
        Self { reader: BufReader::new(socket) }
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("the server takes bytes");
        self
    }

    /// Sends what the server may refuse before it has it all.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.reader.get_mut().write_all(bytes.as_ref());
    }

    /// Ends the sending side.
    pub fn end(&mut self) {
        let _ = self.reader.get_ref().shutdown(Shutdown::Write);
    }

    /// Reads one answer whose length is announced; `None` if the connection ends instead.
    pub fn answer(&mut self) -> Option<Answer> {
        self.read_answer(true)
    }

    /// Reads one answer, and passes over informational ones: a client that ends its sending side while the server waits
    /// for others may get `100 Continue` unasked.
    pub fn final_answer(&mut self) -> Option<Answer> {
        std::iter::from_fn(|| self.answer()).find(|answer| answer.status >= 200)
    }

    /// Reads one answer to HEAD.
    pub fn answer_to_head(&mut self) -> Option<Answer> {
        self.read_answer(false)
    }

    /// Whether a byte of an answer, or the end, is there already.
    pub fn has_answer(&mut self) -> bool {
        if !self.reader.buffer().is_empty() {
            return true;
        }
        let socket = self.reader.get_ref();
        socket.set_nonblocking(true).expect("a socket can be told not to block");
        let peeked = socket.peek(&mut [0]);
        socket.set_nonblocking(false).expect("a socket can be told to block");
        !matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Whether the server closes the connection without sending another byte.
    pub fn is_closed(&mut self) -> bool {
        match self.reader.fill_buf() {
            Ok(rest) => rest.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    fn read_answer(&mut self, has_body: bool) -> Option<Answer> {
        let begun = Instant::now();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = self.reader.read_until(b'\n', &mut head).ok()?;
            if read == 0 {
                return None;
            }
        }
        let mut answer = parse_head(&head)?;
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if has_body && answer.status >= 200 {
            answer.body = vec![0; length];
            self.reader.read_exact(&mut answer.body).ok()?;
        }
        answer.took = begun.elapsed();
        Some(answer)
    }
}

/// Takes curl's output apart; informational answers (100 Continue) are passed over.
fn parse(output: &[u8], took: Duration) -> Option<Answer> {
    let mut rest = output;
    loop {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let (head, body) = rest.split_at(end);
        let answer = parse_head(head)?;
        if answer.status >= 200 {
            return Some(Answer { body: body.to_vec(), took, ..answer });
        }
        rest = body;
    }
}

fn parse_head(head: &[u8]) -> Option<Answer> {
    let head = std::str::from_utf8(head).ok()?;
    let (status_line, fields) = head.split_once("\r\n")?;
    let status = status_line.split(' ').nth(1)?.parse().ok()?;
    let fields = fields.lines().filter_map(|line| line.split_once(':'));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some(Answer { status, headers: headers.collect(), body: Vec::new(), took: Duration::ZERO })
}
