//! A media server that does what a test says: a component of a Prosody without another one, and its HTTP interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::gateway::Gateway;
use super::media_client::{MediaClient, Run};
use super::prosody::{ABSENT, DOMAIN, Prosody};
use super::stanza::Stanza;
use super::xmpp_client::HTTP_AUTH;

/// A request that a scripted server got.
pub struct Got {
    /// The path.
    pub path: String,
    /// Its credentials, as they came.
    pub authorization: String,
    respond: Sender<(u16, String)>,
}

impl Got {
    /// The sender and the transaction of its Basic credentials.
    pub fn basic(&self) -> (String, String) {
        let token = self.authorization.strip_prefix("Basic ").expect("Basic credentials");
        let text = String::from_utf8(STANDARD.decode(token).expect("base64")).expect("UTF-8");
        let (jid, transaction) = text.rsplit_once(':').expect("a transaction");
        (jid.to_owned(), transaction.to_owned())
    }

    /// Sends the response.
    pub fn answer(&self, status: u16, body: &str) {
        self.respond.send((status, body.to_owned())).expect("the connection waits");
    }
}

/// A media server that does what a test says, on a Prosody without another one.
pub struct ScriptedMedia {
    /// The client's home.
    pub client: MediaClient,
    gateway: Gateway,
    /// Its HTTP interface.
    pub endpoint: String,
    /// The requests that come.
    pub requests: Receiver<Got>,
    rate: Arc<AtomicU64>,
    _prosody: Prosody,
}

impl ScriptedMedia {
    /// Starts both.
    pub fn start() -> Self {
        let prosody = Prosody::start_with_tls();
        prosody.add_account(DOMAIN, "alice");
        let client = MediaClient::new(&prosody, &format!("alice@{DOMAIN}"));
        client.configure_more(&format!("service = {ABSENT}\n"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, requests) = mpsc::channel();
        let rate = Arc::new(AtomicU64::new(u64::MAX));
        let limit = Arc::clone(&rate);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (sender, limit) = (sender.clone(), Arc::clone(&limit));
                thread::spawn(move || serve(&socket, &sender, &limit));
            }
        });
        let gateway = Gateway::connect(prosody.component_port(), ABSENT);
        Self { client, gateway, endpoint, requests, rate, _prosody: prosody }
    }

    /// Reads so many bytes of bodies per second from now on.
    pub fn limit(&self, rate: u64) {
        self.rate.store(rate, Ordering::SeqCst);
    }

    /// Starts the client, and tells it what it asks of the component.
    pub fn run(&mut self, arguments: &[&str]) -> thread::JoinHandle<Run> {
        let mut command = self.client.command(arguments);
        let running = thread::spawn(move || Run::of(&mut command));
        self.tell();
        running
    }

    /// The next stanza that the client sends to the component.
    pub fn stanza(&mut self) -> Stanza {
        self.gateway.stanza()
    }

    /// Replies to an IQ by a result with this in it.
    pub fn reply(&mut self, asked: &Stanza, inside: &str) {
        self.answer(asked, "result", inside);
    }

    /// Replies to an IQ by an error with this in it.
    pub fn refuse(&mut self, asked: &Stanza, inside: &str) {
        self.answer(asked, "error", inside);
    }

    fn answer(&mut self, asked: &Stanza, kind: &str, inside: &str) {
        let (id, to) = (asked.attribute("id"), asked.attribute("from"));
        self.gateway.send(&format!("<iq type='{kind}' id='{id}' from='{ABSENT}' to='{to}'>{inside}</iq>"));
    }

    /// Tells the client what it asks of the component.
    pub fn tell(&mut self) {
        let asked = self.gateway.stanza();
        let field = |name: &str, value: &str| format!("<field var='{name}'><value>{value}</value></field>");
        let fields = field("FORM_TYPE", "http://buddycloud.org/v1/api") + &field("endpoint", &self.endpoint);
        let info = format!(
            "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='component' type='generic' \
             name='Media Server'/><x xmlns='jabber:x:data' type='result'>{fields}</x></query>"
        );
        self.reply(&asked, &info);
    }

    /// The next request.
    pub fn request(&self) -> Got {
        self.requests.recv_timeout(super::PATIENCE).expect("a request")
    }

    /// Prompts this address.
    pub fn prompt(&mut self, to: &str, id: &str, method: &str, url: &str) {
        self.gateway.send(&format!(
            "<message from='{ABSENT}' to='{to}' id='s'><confirm xmlns='{HTTP_AUTH}' id='{id}' method='{method}' \
             url='{url}'/></message>"
        ));
    }

    /// Prompts for this request; the client must confirm it.
    pub fn confirm(&mut self, got: &Got) {
        let (jid, transaction) = got.basic();
        let url = format!("{}{}", self.endpoint, got.path);
        self.prompt(&jid, &transaction, "POST", &url);
        let reply = self.gateway.stanza();
        let confirm = reply.child("confirm", HTTP_AUTH).unwrap_or_else(|| panic!("{reply:?}"));
        assert_eq!(reply.attribute("from"), jid);
        assert_eq!(confirm.attribute("id"), transaction);
    }
}

/// Reads requests with their bodies, and sends the responses that the test gives.
fn serve(socket: &TcpStream, requests: &Sender<Got>, rate: &AtomicU64) {
    let mut reader = BufReader::new(socket.try_clone().expect("sockets can be cloned"));
    loop {
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let field = |name: &str| {
            let is_it = |line: &&String| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
            head.iter().find(is_it).map(|line| line[name.len() + 2..].to_owned())
        };
        if let Some(text) = field("content-length") {
            length = text.parse().expect("a length");
        }
        if field("expect").is_some() && (&*socket).write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
            return;
        }
        if !swallow(&mut reader, length, rate.load(Ordering::SeqCst)) {
            return;
        }
        let (respond, response) = mpsc::channel();
        let path = head[0].split(' ').nth(1).expect("a path").to_owned();
        let authorization = field("authorization").unwrap_or_default();
        if requests.send(Got { path, authorization, respond }).is_err() {
            return;
        }
        let Ok((status, body)) = response.recv() else { return };
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n\r\n{body}"
        );
        if (&*socket).write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads a body at this rate; whether it came whole.
fn swallow(reader: &mut impl Read, length: u64, rate: u64) -> bool {
    let (begun, mut read, mut buffer) = (Instant::now(), 0, vec![0; 256 * 1024]);
    while read < length {
        let room = buffer.len().min(usize::try_from(length - read).unwrap_or(usize::MAX));
        match reader.read(&mut buffer[..room]) {
            Ok(count) if count > 0 => read += count as u64,
            _ => return false,
        }
        let due = begun + Duration::from_secs_f64(read as f64 / rate as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    true
}
