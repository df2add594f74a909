//! An exchange: a request whose answer is owed.

mod send;

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::connection::body::{Body, CONTINUE, Incoming};
use crate::http::connection::{Connection, Then};
use crate::http::limits::client::Client;
use crate::http::limits::permits::{Seat, lock};
use crate::http::message::chunked::BodyLength;
use crate::http::message::head::{Head, Version};
use crate::http::message::response::Response;
use crate::http::runtime::edge::{Edge, Entry, HungUp};
use crate::limits;
use crate::metrics::Route;
use crate::model::{BareJid, Method, Refusal};
use crate::sys::Interest;
use send::Delivery;

/// The status that is logged of a request whose client did not wait for the answer: nginx's.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request whose answer is owed. It owns the connection and may be parked: moved into a closure, kept, and answered
/// later on any thread. Dropped without an answer (a panic, say), it answers 500 and closes.
pub struct Exchange {
    edge: Arc<Edge>,
    /// There until the answer begins.
    connection: Option<Box<Connection>>,
    head: Head,
    client: Client,
    incoming: Incoming,
    upload: Option<Seat>,
    user: Option<String>,
    watch: Option<Watch>,
    /// Whether a client that ended its half was found to be there all the same.
    half_closed: bool,
    route: Route,
    /// When it was parked last.
    parking: Option<Instant>,
    /// How long it was parked, if it was.
    parked: Option<Duration>,
}

impl Exchange {
    pub(in crate::http) fn new(edge: Arc<Edge>, connection: Box<Connection>, head: Head) -> Self {
        let client = Client::of(&head, connection.peer, &edge.settings.trusted_proxies);
        let incoming = Incoming::new(&head, edge.settings.pace);
        Self {
            edge,
            connection: Some(connection),
            head,
            client,
            incoming,
            upload: None,
            user: None,
            watch: None,
            half_closed: false,
            route: Route::None,
            parking: None,
            parked: None,
        }
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

    /// The body. Takes a seat for an upload, kept until the exchange ends; `100 Continue` is sent with the first read.
    /// Errors of the reader carry a [`Refusal`]: cut, too slow, malformed, or the server is stopping.
    pub fn body(&mut self) -> Result<Body<'_>, Refusal> {
        if self.upload.is_none() && !self.incoming.is_done() {
            let seat = self.edge.uploads.take(self.limited_address());
            self.upload = Some(seat.map_err(|_| Refusal::TooManyUploads)?);
        }
        // Answering takes the exchange itself, so while there is one the connection is there.
        let connection = self.connection.as_mut().ok_or(Refusal::Internal)?;
        Ok(Body::new(&mut self.incoming, connection, &self.edge.halt))
    }

    /// Names the confirmed user in the access line.
    pub fn note_user(&mut self, user: &BareJid) {
        self.user = Some(user.to_string());
    }

    /// Names the route under which the request is counted.
    pub fn note_route(&mut self, route: Route) {
        self.route = route;
    }

    /// Notes that it may be parked from now on. Whoever finds that it need not leaves out [`Exchange::note_resumed`].
    pub fn note_parked(&mut self) {
        self.parking = Some(Instant::now());
    }

    /// Notes that it is served again: the time between the two is counted apart.
    pub fn note_resumed(&mut self) {
        let time = self.parking.take().map(|since| since.elapsed()).unwrap_or_default();
        *self.parked.get_or_insert_default() += time;
    }

    /// Has `hung_up` called if the client seems to hang up while the exchange is parked: once, without any lock held, on
    /// a thread that it must not block. [`Exchange::is_abandoned`] tells whether it did.
    pub fn watch(&mut self, hung_up: impl FnOnce() + Send + 'static) {
        let Some(connection) = &mut self.connection else { return };
        let interest = if self.half_closed { Interest::Break } else { Interest::HangUp };
        self.watch = None;
        self.watch = Some(Watch::new(&self.edge, connection.token, Box::new(hung_up)));
        // Not watched, a client that hangs up is found out by the answer, as ever.
        let _ = connection.arm_for(&self.edge.epoll, interest);
    }

    /// Whether the client has hung up, after the watch says that it may have. If not, it can be watched once more.
    ///
    /// One that closed its connection and one that only ended its half of it look alike: of both a FIN has come, and a
    /// half-closed client still wants its answer. (nginx takes both for gone and notes status 499; browsers and curl
    /// never close by halves, but scripts with nc do.) Writing tells them apart, for the system of a client that is gone
    /// answers with a reset. What can be written before the answer is `100 Continue`, which every client of HTTP/1.1
    /// must pass over (RFC 9110 section 15.2). It may not be sent to HTTP/1.0, which is what nginx speaks to servers
    /// behind it unless told otherwise: there, as with TLS, which is not closed by halves, who ends its half is gone.
    pub fn is_abandoned(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let may_ask = self.head.version() == Version::Http11 && !connection.stream.is_tls();
        if !may_ask || std::mem::replace(&mut self.half_closed, true) {
            return true;
        }
        match connection.stream.write(CONTINUE) {
            // Half an interim answer would spoil the answer.
            Ok(count) => count < CONTINUE.len(),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Ends it without an answer: the client is gone.
    pub fn abandon(mut self) {
        self.watch = None;
        if let Some(connection) = self.connection.take() {
            self.note_resumed();
            self.log(&connection, CLIENT_CLOSED_REQUEST, 0);
            self.count(connection.since, CLIENT_CLOSED_REQUEST, 0);
        }
    }

    /// Sends the answer, and then gives the connection to its next request or closes it.
    pub fn answer(mut self, response: Response) {
        self.finish(response, true);
    }

    fn finish(&mut self, response: Response, reusable: bool) {
        let Some(mut connection) = self.connection.take() else { return };
        // Before another request of the connection is watched.
        self.watch = None;
        let (response, download) = self.admit(response);
        let read = self.incoming.skip(&mut connection.input);
        let keep = read && reusable && self.head.keep_alive() && !self.edge.is_stopping();
        let mut delivery = Delivery::new(&self.head, keep);
        let outcome = delivery.send(&mut connection, &response, &self.edge);
        self.log(&connection, delivery.status, delivery.body());
        self.count(connection.since, delivery.status, delivery.body());
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
        match self.edge.downloads.take(self.limited_address()) {
            Ok(seat) => (response, Some(seat)),
            Err(_) => (Response::refusal(Refusal::TooManyDownloads), None),
        }
    }

    /// The address that limits apply to, if they do.
    fn limited_address(&self) -> Option<IpAddr> {
        self.client.limited.then_some(self.client.address)
    }

    fn log(&self, connection: &Connection, status: u16, bytes: u64) {
        Entry {
            client: self.client.address,
            user: self.user.as_deref(),
            method: self.head.method().name(),
            path: self.head.path(),
            status,
            bytes,
            since: connection.since,
        }
        .log(self.edge.settings.access_level);
    }

    fn count(&self, since: Instant, status: u16, sent: u64) {
        let answered = self.edge.requests.of(self.route);
        answered.count(status);
        answered.received.add(self.incoming.received());
        answered.sent.add(sent);
        if let Some(parked) = self.parked {
            answered.parked.observe(parked);
        }
        answered.served.observe(since.elapsed().saturating_sub(self.parked.unwrap_or_default()));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.connection.is_some() {
            self.finish(Response::refusal(Refusal::Internal), false);
        }
    }
}

/// Keeps the front watching a parked exchange.
struct Watch {
    edge: Arc<Edge>,
    token: u64,
}

impl Watch {
    fn new(edge: &Arc<Edge>, token: u64, hung_up: HungUp) -> Self {
        lock(&edge.watched).insert(token, hung_up);
        Self { edge: Arc::clone(edge), token }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // What it calls is dropped outside the lock.
        let hung_up = lock(&self.edge.watched).remove(&self.token);
        drop(hung_up);
    }
}
