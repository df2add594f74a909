//! An exchange: a request whose answer is owed.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::body::BodyLength;
use super::client::Client;
use super::connection::{Buffer, Connection, Then};
use super::edge::{Edge, Entry};
use super::head::{Head, Version};
use super::pace::Pace;
use super::permits::{Permit, Seat};
use super::reader::{Body, Incoming};
use super::response::{Payload, Response};
use super::transfer::Transfer;
use crate::limits;
use crate::model::{BareJid, Method, Refusal};

/// Bytes of an answer that go out in one write with its head.
const FIRST_BYTES: u64 = limits::DOWNLOAD_BYTES;

/// A request whose answer is owed. It owns the connection and may be parked: moved into a closure, kept, and answered
/// later on any thread. Dropped without an answer (a panic, say), it answers 500 and closes.
pub struct Exchange {
    edge: Arc<Edge>,
    /// There until the answer begins.
    connection: Option<Box<Connection>>,
    head: Head,
    client: Client,
    incoming: Incoming,
    upload: Option<Permit>,
    user: Option<String>,
}

impl Exchange {
    pub(super) fn new(edge: Arc<Edge>, connection: Box<Connection>, head: Head) -> Self {
        let client = Client::of(&head, connection.peer, &edge.settings.trusted_proxies);
        let incoming = Incoming::new(&head, edge.settings.pace);
        Self { edge, connection: Some(connection), head, client, incoming, upload: None, user: None }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.head.method()
    }

    /// The path as it was sent, still percent-encoded, without the query; `*` for the whole server.
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// What follows the first `?`, still percent-encoded.
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The first field of this name, in any case; a value that is not UTF-8 is treated as absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// All fields of this name, in any case and in their order: the lines of a list.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.head.fields(name).collect()
    }

    /// `http` or `https`, as the client came to us.
    pub fn scheme(&self) -> &'static str {
        let tls = self.connection.as_ref().is_some_and(|connection| connection.stream.is_tls());
        if tls { "https" } else { "http" }
    }

    /// `host[:port]` of an absolute target, else of the field Host; HTTP/1.0 may name none.
    pub fn host(&self) -> Option<&str> {
        self.head.host()
    }

    /// Who it is from.
    pub fn client(&self) -> Client {
        self.client
    }

    /// How the body is framed.
    pub fn body_length(&self) -> BodyLength {
        self.head.length()
    }

    /// The body. Takes an upload permit, kept until the exchange ends; `100 Continue` is sent with the first read.
    /// Errors of the reader carry a [`Refusal`]: cut, too slow, malformed, or the server is stopping.
    pub fn body(&mut self) -> Result<Body<'_>, Refusal> {
        if self.upload.is_none() && !self.incoming.is_done() {
            self.upload = Some(self.edge.uploads.take().ok_or(Refusal::TooManyUploads)?);
        }
        // Answering takes the exchange itself, so while there is one the connection is there.
        let connection = self.connection.as_mut().ok_or(Refusal::Internal)?;
        Ok(Body::new(&mut self.incoming, connection, &self.edge.halt))
    }

    /// Names the confirmed user in the access line.
    pub fn note_user(&mut self, user: &BareJid) {
        self.user = Some(user.to_string());
    }

    /// Sends the answer, and then gives the connection to its next request or closes it.
    pub fn answer(mut self, response: Response) {
        self.finish(response, true);
    }

    fn finish(&mut self, response: Response, reusable: bool) {
        let Some(mut connection) = self.connection.take() else { return };
        let (response, download) = self.admit(response);
        let read = self.incoming.skip(&mut connection.input);
        let keep = read && reusable && self.head.keep_alive() && !self.edge.is_stopping();
        let mut delivery = Delivery::new(&self.head, keep);
        let outcome = delivery.send(&mut connection, &response, &self.edge);
        self.log(&connection, &delivery);
        drop((download, self.upload.take()));
        let then = match (delivery.keep, read && connection.input.is_empty()) {
            (true, _) => Then::Next,
            (false, true) => Then::Close,
            (false, false) => Then::Linger,
        };
        match outcome {
            Err(error) => log::debug!("an answer was not sent whole: {error}"),
            Ok(()) => Edge::deliver(&self.edge, connection, then),
        }
    }

    /// Large answers need a seat of their own, so that slow readers can't take all workers, nor one client all seats.
    fn admit(&self, response: Response) -> (Response, Option<Seat>) {
        if self.head.method() == Method::Head || response.length() <= limits::DOWNLOAD_BYTES {
            return (response, None);
        }
        match self.edge.downloads.take(self.client.limited.then_some(self.client.address)) {
            Ok(seat) => (response, Some(seat)),
            Err(_) => (Response::refusal(Refusal::TooManyDownloads), None),
        }
    }

    fn log(&self, connection: &Connection, delivery: &Delivery) {
        Entry {
            client: self.client.address,
            user: self.user.as_deref(),
            method: self.head.method().name(),
            path: self.head.path(),
            status: delivery.status,
            bytes: delivery.sent.saturating_sub(delivery.head),
            since: connection.since,
        }
        .log();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.connection.is_some() {
            self.finish(Response::refusal(Refusal::Internal), false);
        }
    }
}

/// How an answer is sent, and what became of it.
struct Delivery {
    version: Version,
    head_only: bool,
    /// Whether the connection is kept afterwards.
    keep: bool,
    status: u16,
    /// Bytes of the head.
    head: u64,
    /// Bytes sent, or left to be sent, head and body.
    sent: u64,
}

impl Delivery {
    fn new(head: &Head, keep: bool) -> Self {
        let head_only = head.method() == Method::Head;
        Self { version: head.version(), head_only, keep, status: 0, head: 0, sent: 0 }
    }

    /// Sends a large answer, but leaves a small one to be sent.
    fn send(&mut self, connection: &mut Connection, response: &Response, edge: &Edge) -> io::Result<()> {
        let first = self.first_write(response).or_else(|error| {
            // Nothing is sent yet, so the client can still be told.
            log::error!("an answer's file can't be read: {error}");
            self.keep = false;
            self.first_write(&Response::refusal(Refusal::Internal))
        })?;
        if self.head_only || self.status != response.status() || response.length() <= FIRST_BYTES {
            self.sent = first.len() as u64;
            connection.output = Buffer::from(first);
            return Ok(());
        }
        let mut pace = Pace::new(edge.settings.pace);
        let mut transfer = Transfer { stream: &mut connection.stream, pace: &mut pace, halt: &edge.halt };
        transfer.write_all(&first, &mut self.sent)?;
        match response.payload() {
            Payload::Bytes(bytes) => {
                let rest = usize::try_from(FIRST_BYTES).ok().and_then(|first| bytes.get(first..));
                transfer.write_all(rest.unwrap_or_default(), &mut self.sent)
            }
            Payload::File(file, range) => {
                transfer.send_file(file, range.start + FIRST_BYTES..range.end, &mut self.sent)
            }
        }
    }

    /// The head and the first bytes of the body.
    fn first_write(&mut self, response: &Response) -> io::Result<Vec<u8>> {
        let bytes = if self.head_only { 0 } else { response.length().min(FIRST_BYTES) };
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let mut first = Vec::with_capacity(512 + bytes);
        response.write_head(self.connection_field(), SystemTime::now(), &mut first);
        let head = first.len();
        response.read_first(bytes, &mut first)?;
        (self.status, self.head) = (response.status(), head as u64);
        Ok(first)
    }

    /// The value of Connection, where the version does not say it already.
    fn connection_field(&self) -> Option<&'static str> {
        match (self.keep, self.version) {
            (false, _) => Some("close"),
            (true, Version::Http10) => Some("keep-alive"),
            (true, Version::Http11) => None,
        }
    }
}
