//! Clients that upload one file after the other, each in a thread of its own.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};

use crate::http;
use crate::rounds::Done;
use crate::site::{self, noise};
use crate::support::prosody::{DOMAIN, PASSWORD};
use crate::support::seaweedfs::Store;
use crate::support::xmpp_client::{Client, Policy};

/// The namespace of upload slots (XEP-0363).
const SLOT: &str = "urn:xmpp:http:upload:0";
/// The service of the peers that gives them.
pub const PEER_SERVICE: &str = "upload.example.org";
/// Users of a peer who ask for slots, `user0` and so on.
pub const SLOT_USERS: usize = 8;
/// The bytes around the data of our form.
const FORM_START: &str = "--frontier\r\nContent-Disposition: form-data; name=\"data\"; filename=\"file.bin\"\r\n\
                          Content-Type: application/octet-stream\r\n\r\n";
const FORM_END: &str = "\r\n--frontier--\r\n";
/// Bytes that [`ToNobody`] hashes at a time.
const HASHED: usize = 64 * 1024;

/// Somebody who uploads.
pub trait Uploader: Send {
    /// Uploads a file of so many bytes.
    fn upload(&mut self, bytes: u64);
}

/// Lets each upload files of so many bytes, at least one, for this long; the unit is a file.
pub fn crowd<U: Uploader>(uploaders: &mut [U], bytes: u64, time: Duration) -> Done {
    let begun = Instant::now();
    let took = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for uploader in uploaders {
            scope.spawn(|| {
                let mut own = Vec::new();
                while own.is_empty() || begun.elapsed() < time {
                    let since = Instant::now();
                    uploader.upload(bytes);
                    own.push(since.elapsed());
                }
                took.lock().expect("no holder of this lock panics").append(&mut own);
            });
        }
    });
    let took = took.into_inner().expect("no holder of this lock panics");
    Done { units: took.len() as f64, time: begun.elapsed(), p99: http::p99(took) }
}

/// Removes what was uploaded into this folder.
pub fn clear(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.expect("uploads can be removed");
    }
}

/// A kept-alive connection.
struct Wire {
    port: u16,
    connection: BufReader<TcpStream>,
    block: Vec<u8>,
}

impl Wire {
    fn open(port: u16) -> Self {
        Self { port, connection: connect(port), block: noise() }
    }

    /// Sends a request with this much data between the two ends of its body, which must be answered with this status.
    fn send(&mut self, head: &str, (start, bytes, end): (&str, u64, &str), status: u16) {
        // What is sent in one piece costs the server one read.
        let mut first = format!("{head}{start}").into_bytes();
        let step = self.block.len() as u64;
        if bytes < step {
            first.extend_from_slice(&self.block[..usize::try_from(bytes).expect("less than a block")]);
            first.extend_from_slice(end.as_bytes());
            self.write(&first);
        } else {
            assert_eq!(bytes % step, 0, "large files are whole blocks");
            self.write(&first);
            let mut socket = self.connection.get_ref();
            (0..bytes / step).for_each(|_| socket.write_all(&self.block).expect("the server takes the body"));
            socket.write_all(end.as_bytes()).expect("the server takes the body");
        }
        self.read(status);
    }

    /// A peer may have closed the connection after its last answer.
    fn write(&mut self, bytes: &[u8]) {
        if ended(self.connection.get_ref()) {
            self.connection = connect(self.port);
        }
        self.connection.get_mut().write_all(bytes).expect("the server takes the request");
    }

    fn read(&mut self, status: u16) {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let read = self.connection.read_until(b'\n', &mut text).expect("the server answers");
            assert_ne!(read, 0, "no answer, but the end: {}", String::from_utf8_lossy(&text));
        }
        let head = http::head(&text).expect("the head is whole");
        let mut body = Vec::new();
        let read = self.connection.by_ref().take(head.length).read_to_end(&mut body);
        read.expect("the server sends the body");
        assert_eq!(head.status, status, "{}", String::from_utf8_lossy(&body));
    }
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    socket.set_nodelay(true).expect("TCP has no delay");
    BufReader::new(socket)
}

/// Whether the other side has closed the connection.
fn ended(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).expect("a socket can be non-blocking");
    let ended = matches!(socket.peek(&mut [0]), Ok(0));
    socket.set_nonblocking(false).expect("a socket can be blocking");
    ended
}

/// Uploads to the media server.
pub struct ToUs {
    wire: Wire,
    channel: &'static str,
    jid: String,
}

impl ToUs {
    /// So many uploaders, all of them this user.
    pub fn several(count: usize, port: u16, channel: &'static str, jid: &str) -> Vec<Self> {
        (0..count).map(|_| Self { wire: Wire::open(port), channel, jid: jid.to_owned() }).collect()
    }
}

impl Uploader for ToUs {
    fn upload(&mut self, bytes: u64) {
        let length = bytes + (FORM_START.len() + FORM_END.len()) as u64;
        let head = format!(
            "POST /{} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {}\r\n\
             Content-Type: multipart/form-data; boundary=frontier\r\nContent-Length: {length}\r\n\r\n",
            self.channel,
            site::token(&self.jid)
        );
        self.wire.send(&head, (FORM_START, bytes, FORM_END), 201);
    }
}

/// Uploads to nginx, whose files are kept apart by a number.
pub struct ToNginx {
    wire: Wire,
    name: usize,
    files: usize,
}

impl ToNginx {
    /// So many uploaders.
    pub fn several(count: usize, port: u16) -> Vec<Self> {
        (0..count).map(|name| Self { wire: Wire::open(port), name, files: 0 }).collect()
    }
}

impl Uploader for ToNginx {
    fn upload(&mut self, bytes: u64) {
        self.files += 1;
        // Names are never used twice: to replace a file is another task.
        let unique = crate::support::http::transaction();
        let head = format!(
            "PUT /upload/{}-{}-{unique} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n",
            self.name, self.files
        );
        self.wire.send(&head, ("", bytes, ""), 201);
    }
}

/// Uploads to an S3 store, each file under a new key, with an address that it has signed before.
pub struct ToStore<'a> {
    wire: Wire,
    store: &'a Store,
    bucket: &'a str,
}

impl<'a> ToStore<'a> {
    /// So many uploaders.
    pub fn several(count: usize, store: &'a Store, bucket: &'a str) -> Vec<Self> {
        (0..count).map(|_| Self { wire: Wire::open(store.port()), store, bucket }).collect()
    }
}

impl Uploader for ToStore<'_> {
    fn upload(&mut self, bytes: u64) {
        let key = format!("bench/{}", crate::support::http::transaction());
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {bytes}\r\n\r\n",
            self.store.address_to_put(self.bucket, &key),
            self.store.port()
        );
        self.wire.send(&head, ("", bytes, ""), 200);
    }
}

/// Sends nothing: hashes what the others send, in blocks that are warm, as a server has them.
pub struct ToNobody {
    block: Vec<u8>,
}

impl ToNobody {
    /// So many at a time.
    pub fn several(count: usize) -> Vec<Self> {
        let warm = |mut block: Vec<u8>| {
            block.truncate(HASHED);
            Self { block }
        };
        (0..count).map(|_| warm(noise())).collect()
    }
}

impl Uploader for ToNobody {
    fn upload(&mut self, bytes: u64) {
        assert_eq!(bytes % HASHED as u64, 0, "large files are whole blocks");
        let mut sha1 = Sha1::new();
        (0..bytes / HASHED as u64).for_each(|_| sha1.update(&self.block));
        std::hint::black_box(sha1.finalize());
    }
}

/// Where an XMPP server gives slots and takes the uploads.
#[derive(Clone, Copy)]
pub struct Slots {
    /// The port of XMPP clients.
    pub client_port: u16,
    /// The port of HTTP.
    pub port: u16,
    /// The service that gives the slots.
    pub service: &'static str,
    /// How many accounts there are. One that has asked lets all the others ask before it asks again.
    pub users: usize,
}

/// Asks for a slot and uploads into it.
pub struct ToSlots {
    wire: Wire,
    service: &'static str,
    clients: VecDeque<Client>,
    /// The path to get what was uploaded last.
    pub stored: String,
}

impl Slots {
    /// So many uploaders, which share the users.
    pub fn several(self, count: usize) -> Vec<ToSlots> {
        assert!(count <= self.users, "there are not so many users");
        let address = format!("127.0.0.1:{}", self.client_port);
        let login = |number| {
            let jid = format!("user{number}@{DOMAIN}");
            Client::login(&address, &jid, PASSWORD, Policy::Ignore).expect("the server lets its users in")
        };
        let uploader = |first| ToSlots {
            wire: Wire::open(self.port),
            service: self.service,
            clients: (first..self.users).step_by(count).map(login).collect(),
            stored: String::new(),
        };
        (0..count).map(uploader).collect()
    }
}

impl ToSlots {
    /// Asks for a slot, uploads into it, and gives the path of the upload.
    pub fn put(&mut self, bytes: u64) -> &str {
        self.upload(bytes);
        &self.stored
    }
}

impl Uploader for ToSlots {
    fn upload(&mut self, bytes: u64) {
        let request = format!(
            "<request xmlns='{SLOT}' filename='file.bin' size='{bytes}' content-type='application/octet-stream'/>"
        );
        self.clients.rotate_left(1);
        let slot = self.clients[0].ask("get", self.service, &request).expect("the service replies");
        let url = |name| slot.all(name).first().map(|element| path(element.attribute("url")).to_owned());
        let put = url("put").unwrap_or_else(|| panic!("no slot: {}", slot.to_xml("jabber:client")));
        self.stored = url("get").expect("a slot has both addresses");
        let fields = slot.all("header").into_iter();
        let fields: String =
            fields.map(|field| format!("{}: {}\r\n", field.attribute("name"), field.text)).collect();
        let head = format!(
            "PUT {put} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n{fields}\
             Content-Length: {bytes}\r\n\r\n"
        );
        self.wire.send(&head, ("", bytes, ""), 201);
    }
}

/// The path of an address.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |slash| &rest[slash..])
}
