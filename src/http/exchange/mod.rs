//! An exchange: a request that needs a response. The thread that has it works on it; a parked one is on no thread.

pub mod access_line;
pub mod dispatch;
mod fetch;
mod outcome;
mod send;

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outcome::Outcome;
use send::Outgoing;

use crate::http::connection::Connection;
use crate::http::connection::body::{Body, CONTINUE, Incoming};
use crate::http::connection::sending::{Progress, Sending, Then};
use crate::http::limits::client::Client;
use crate::http::limits::uploads::UploadPermit;
use crate::http::message::chunked::BodyLength;
use crate::http::message::head::Head;
use crate::http::message::response::{Confinement, Response};
use crate::http::message::version::Version;
use crate::http::runtime::shared::Shared;
use crate::http::runtime::{flow, turns};
use crate::metrics::Route;
use crate::model::{BareJid, Jid, Method, Refusal};
use crate::remote::NotFetched;
use crate::sys::Interest;

/// A service that answers requests.
pub trait Service: Send + Sync + 'static {
    /// Called for each request on a worker thread that holds a turn, so it must not wait before [`Exchange::leave_turn`].
    /// Must end in [`Exchange::answer`], now or, once parked, later.
    fn serve(self: Arc<Self>, exchange: Exchange);

    /// The text in the access log instead of this path, if the path alone gives access.
    fn shown_path(&self, _path: &str) -> Option<String> {
        None
    }
}

/// The status that is logged of a request whose client did not wait for the answer: nginx's.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request that needs a response. It owns the connection and may be parked: moved into a closure, kept, and answered
/// later on any thread. Dropped without a response (by a panic, say), it responds 500 and closes.
pub struct Exchange {
    shared: Arc<Shared>,
    /// There until the response begins.
    connection: Option<Box<Connection>>,
    head: Head,
    client: Client,
    incoming: Incoming,
    upload: Option<UploadPermit>,
    user: Option<String>,
    claimed: Option<String>,
    refused: Option<&'static str>,
    /// The readers of the response, if it is not for everybody.
    confinement: Option<Confinement>,
    /// The text in the access log instead of the path.
    shown_path: Option<String>,
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
    pub(in crate::http) fn new(shared: Arc<Shared>, connection: Box<Connection>, head: Head) -> Self {
        let client = Client::of(&head, connection.peer, &shared.settings.trusted_proxies);
        let incoming = Incoming::new(&head, shared.settings.pace);
        Self {
            shared,
            connection: Some(connection),
            head,
            client,
            incoming,
            upload: None,
            user: None,
            claimed: None,
            refused: None,
            confinement: None,
            shown_path: None,
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

    /// The query: the part after the first `?`, still percent-encoded.
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

    /// The client.
    pub fn client(&self) -> Client {
        self.client
    }

    /// How the body is framed.
    pub fn body_length(&self) -> BodyLength {
        self.head.length()
    }

    /// Goes on with a request that may wait: for its body, the disk, the database or another process. `go_on` runs on a
    /// thread that holds no turn; the request is refused when too many wait for such a thread.
    pub fn leave_turn(self, go_on: impl FnOnce(Self) + Send + 'static) {
        if !turns::holds_turn() {
            return go_on(self);
        }
        let shared = Arc::clone(&self.shared);
        turns::leave(
            &shared,
            Box::new(move |admitted| {
                if admitted {
                    go_on(self);
                } else {
                    self.answer(Response::refusal(Refusal::Overloaded));
                }
            }),
        );
    }

    /// The body. Takes a permit for an upload, kept until the exchange ends; `100 Continue` is sent with the first read.
    /// Waits for the client, and for a permit: only for threads that hold no turn.
    /// Errors of the reader carry a [`Refusal`]: cut, too slow, malformed, or the server is stopping.
    pub fn body(&mut self) -> Result<Body<'_>, Refusal> {
        debug_assert!(!turns::holds_turn(), "a body is read without a turn");
        if self.upload.is_none() && !self.incoming.is_done() {
            self.upload = Some(self.shared.uploads.take(self.limited_address())?);
        }
        // The response takes the exchange itself, so while there is one the connection is there.
        let connection = self.connection.as_mut().ok_or(Refusal::Internal)?;
        let upload = self.upload.as_ref().map(UploadPermit::upload);
        Ok(Body::new(&mut self.incoming, connection, &self.shared.halt, upload))
    }

    /// Gives the permit for the body back, if the body was read to its end.
    pub fn end_body(&mut self) {
        if self.incoming.is_done() {
            self.upload = None;
        }
    }

    /// Confines the response, whichever it will be.
    pub fn confine(&mut self, confinement: Confinement) {
        self.confinement = Some(confinement);
    }

    /// Whether the response is confined.
    pub fn is_confined(&self) -> bool {
        self.confinement.is_some()
    }

    /// Names the confirmed user in the access line.
    pub fn note_user(&mut self, user: &BareJid) {
        self.user = Some(user.to_string());
    }

    /// Names the address that the request claims to come from in the access line, until a user is confirmed.
    pub fn note_claimed(&mut self, jid: &Jid) {
        self.claimed = Some(jid.to_string());
    }

    /// Names the reason why the sender or their right was not accepted in the access line, in one word.
    pub fn note_refused(&mut self, outcome: &'static str) {
        self.refused = Some(outcome);
    }

    pub(in crate::http) fn note_shown_path(&mut self, path: Option<String>) {
        self.shown_path = path;
    }

    /// Names the route under which the request is counted.
    pub fn note_route(&mut self, route: Route) {
        self.route = route;
    }

    /// Notes that it may be parked from now on. If it is not parked after all, [`Exchange::note_resumed`] is not called.
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
        let token = connection.token();
        // A watch before it ends first, so that it does not take the new one along.
        self.watch = None;
        let epoll = self.shared.turns.epoll();
        self.shared.table.watch(token, Box::new(hung_up), || connection.arm_for(epoll, interest));
        self.watch = Some(Watch { shared: Arc::clone(&self.shared), token });
    }

    /// Whether the client has hung up, after the watch says that it may have. If not, it can be watched once more.
    ///
    /// A client that closed its connection and a client that only ended its half of it look alike: of both a FIN has come.
    /// But a half-closed client still wants its response. (nginx takes both for gone and notes status 499; browsers and curl
    /// never close by halves, but scripts with nc do.) Writing tells them apart, for the system of a client that is gone
    /// answers with a reset. Before the response, `100 Continue` can be written, which every client of HTTP/1.1
    /// must pass over (RFC 9110 section 15.2). It may not be sent to HTTP/1.0, which is what nginx speaks to servers
    /// behind it unless told otherwise: there, as with TLS, which is not closed by halves, a client that ends its half is gone.
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

    /// Ends it without a response: the client is gone.
    pub fn abandon(mut self) {
        self.watch = None;
        if let Some(connection) = self.connection.take() {
            self.note_resumed();
            self.outcome(connection.since, CLIENT_CLOSED_REQUEST).end(&self.shared, 0);
        }
    }

    /// Sends the response, and then gives the connection to its next request or closes it. Never waits: what the client
    /// does not take at once is sent when it does.
    pub fn answer(self, response: Response) {
        self.answer_or(response, |exchange, error| exchange.answer(Response::refusal(error.into())));
    }

    /// The same. If the beginning of the body must be fetched first and can't be, `refuse` answers instead, on a thread that
    /// it must not block.
    pub fn answer_or(
        mut self,
        mut response: Response,
        refuse: impl FnOnce(Self, NotFetched) + Send + 'static,
    ) {
        let fetch = if self.method() == Method::Head { None } else { response.must_fetch() };
        match fetch {
            Some(fetch) => fetch::park(self, response, Box::new(refuse), fetch),
            None => self.finish(response, true),
        }
    }

    fn finish(&mut self, response: Response, reusable: bool) {
        let Some(mut connection) = self.connection.take() else { return };
        // Before another request of the connection is watched.
        self.watch = None;
        let read = self.incoming.skip(&mut connection.input);
        let keep = read && reusable && self.head.keep_alive() && !self.shared.is_stopping();
        let Outgoing { status, head, keep, ready, rest } =
            Outgoing::new(&self.head, self.confinement, response, keep);
        let then = match (keep, read && connection.input.is_empty()) {
            (true, _) => Then::Next,
            (false, true) => Then::Close,
            (false, false) => Then::Linger,
        };
        self.upload = None;
        let outcome = self.outcome(connection.since, status);
        let mut sending = Sending::new(ready, rest, then, self.shared.settings.pace);
        let progress = sending.send(&mut connection.stream);
        if let Ok(progress @ (Progress::Waits | Progress::Fetches)) = progress {
            let (outcome, shared) = (outcome.into_owned(), Arc::downgrade(&self.shared));
            sending.on_end(Box::new(move |sent| {
                if let Some(shared) = shared.upgrade() {
                    outcome.end(&shared, sent.saturating_sub(head));
                }
            }));
            return match progress {
                Progress::Fetches => flow::await_block(&self.shared, connection, Box::new(sending)),
                _ => flow::await_room(&self.shared, connection, Box::new(sending)),
            };
        }
        outcome.end(&self.shared, sending.sent().saturating_sub(head));
        match progress {
            Ok(_) => flow::after(&self.shared, connection, then),
            Err(error) => log::debug!("a response was not sent completely: {error}"),
        }
    }

    /// The address that limits apply to, if they do.
    fn limited_address(&self) -> Option<IpAddr> {
        self.client.limited.then_some(self.client.address)
    }

    fn outcome(&self, since: Instant, status: u16) -> Outcome<'_> {
        Outcome {
            client: self.client.address,
            user: self.user.as_deref().map(Cow::Borrowed),
            claimed: self.claimed.as_deref().map(Cow::Borrowed),
            refused: self.refused,
            method: self.head.method(),
            path: Cow::Borrowed(self.shown_path.as_deref().unwrap_or(self.head.path())),
            status,
            since,
            route: self.route,
            received: self.incoming.received(),
            parked: self.parked,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.connection.is_some() {
            self.finish(Response::refusal(Refusal::Internal), false);
        }
    }
}

/// Keeps a parked exchange watched.
struct Watch {
    shared: Arc<Shared>,
    token: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.table.unwatch(self.token);
    }
}
