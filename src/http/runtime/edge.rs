//! What the front, the workers and parked exchanges share, and the ways a connection goes between them.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use native_tls::TlsAcceptor;

use super::entrance::Entrance;
use super::workers::Workers;
use crate::http::Service;
use crate::http::connection::transfer::Halt;
use crate::http::connection::{Collected, Connection, Stage, Then};
use crate::http::exchange::Exchange;
use crate::http::limits::permits::{Seats, lock};
use crate::http::limits::rate::Rates;
use crate::http::message::head::Head;
use crate::http::message::response::{Payload, Response};
use crate::http::settings::Settings;
use crate::limits;
use crate::metrics::{Requests, Route};
use crate::model::Refusal;
use crate::sys::{Epoll, Waker};

/// Called once, on the front or a worker, without any lock held: it must not block.
pub type HungUp = Box<dyn FnOnce() + Send>;

pub struct Edge {
    pub settings: Settings,
    pub service: Arc<dyn Service>,
    pub workers: Workers,
    pub epoll: Epoll,
    /// Wakes the front.
    pub waker: Waker,
    /// Where connections come from. Taken before any other lock.
    pub entrance: Mutex<Entrance>,
    pub seats: Arc<Seats>,
    pub rates: Rates,
    /// Bodies that are read; one client can't take more than half of their number.
    pub uploads: Arc<Seats>,
    /// Large answers under way; the same holds for them.
    pub downloads: Arc<Seats>,
    pub halt: Halt,
    pub acceptor: RwLock<Option<Arc<TlsAcceptor>>>,
    /// The connections that wait for their clients, by token. No lock is taken while this one is held.
    pub resting: Mutex<HashMap<u64, Box<Connection>>>,
    /// Of parked exchanges, by their connections' tokens: whom to tell that the client may have hung up.
    pub watched: Mutex<HashMap<u64, HungUp>>,
    pub stopping: AtomicBool,
    /// What was answered.
    pub requests: Requests,
}

impl Edge {
    /// Whether no new request may come on a connection.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Lets a connection rest until what its stage waits for. It is armed and put in its place under one lock, so that
    /// whoever sees to it neither misses it nor closes it in between.
    pub fn rest(&self, mut connection: Box<Connection>) {
        let mut resting = lock(&self.resting);
        if self.halt.is_set() || (self.is_stopping() && connection.stage.is_idle()) {
            return;
        }
        if connection.arm(&self.epoll).is_ok() {
            resting.insert(connection.token, connection);
        }
    }

    /// Hands a connection with a whole head to the workers, or sheds it.
    pub fn enqueue(self: &Arc<Self>, mut connection: Box<Connection>) {
        connection.since = Instant::now();
        let offered =
            self.workers.offer(self.settings.max_queued, (Arc::clone(self), connection), Self::serve);
        if let Err((edge, connection)) = offered {
            edge.refuse(connection, Refusal::Overloaded);
        }
    }

    /// Hands a connection that has a step of its TLS handshake to do to the workers.
    pub fn enqueue_handshake(self: &Arc<Self>, connection: Box<Connection>) {
        let job = (Arc::clone(self), connection);
        // Shed without a word: there is no HTTP to say it in yet.
        let _ = self.workers.offer(self.settings.max_queued, job, Self::shake);
    }

    /// Sends what is left of an answer. What the client does not take now, the front sends when it does: a client that
    /// reads slowly, or not at all, keeps no worker.
    pub fn deliver(edge: &Arc<Self>, mut connection: Box<Connection>, then: Then) {
        let before = connection.output.bytes().len();
        match connection.flush() {
            Ok(true) => match then {
                Then::Next => {
                    connection.stage = Stage::Head(false);
                    Self::next(edge, connection);
                }
                Then::Close => connection.stream.close_write(),
                Then::Linger => edge.linger(connection),
            },
            Ok(false) => edge.await_room(connection, then, before),
            Err(error) => log::debug!("an answer was not sent whole: {error}"),
        }
    }

    /// Waits until the client takes more, under the two clocks of a transfer; `before` bytes were left before the last
    /// try. Linux reports a socket writable only when a third of its buffer is free, so it is tried at the deadline, too.
    fn await_room(&self, mut connection: Box<Connection>, then: Then, before: usize) {
        let (now, left) = (Instant::now(), connection.output.bytes().len());
        let (end, moved) = match connection.stage {
            Stage::Answer(_, end) => (end, left < before),
            _ => (now + self.settings.pace.longest(left), true),
        };
        if moved {
            connection.deadline = end.min(now + self.settings.pace.idle);
        }
        if connection.deadline <= now {
            return log::debug!("an answer was not sent whole: {}", Refusal::TooSlow);
        }
        connection.stage = Stage::Answer(then, end);
        self.rest(connection);
    }

    /// After an answer: on to the next request. One that is there already goes to the end of the queue, so that no
    /// client keeps a worker for itself.
    pub fn next(edge: &Arc<Self>, mut connection: Box<Connection>) {
        match connection.has_head() {
            Ok(true) => edge.enqueue(connection),
            Ok(false) if connection.stream.is_tls() => edge.decrypt(connection),
            Ok(false) => edge.await_head(connection),
            Err(refusal) => edge.refuse(connection, refusal),
        }
    }

    /// Refuses in the name of the edge. One write that never waits: it goes into an empty socket buffer.
    pub fn refuse(&self, mut connection: Box<Connection>, refusal: Refusal) {
        let sent = connection.stream.write(&refusal_bytes(refusal)).unwrap_or(0);
        self.note_refusal(connection.peer, refusal, sent as u64, connection.since);
        self.linger(connection);
    }

    /// Logs and counts a refusal of what was no request yet.
    pub fn note_refusal(&self, client: IpAddr, refusal: Refusal, bytes: u64, since: Instant) {
        let status = refusal.row().status;
        self.requests.of(Route::None).count(status);
        let entry = Entry { client, user: None, method: "-", path: "-", status, bytes, since };
        entry.log(self.settings.access_level);
    }

    /// Closes in two steps, so that the client reads the answer and not a reset (RFC 9112 section 9.6).
    pub fn linger(&self, mut connection: Box<Connection>) {
        connection.close_write(Instant::now() + self.settings.linger_time);
        self.rest(connection);
    }

    pub fn serve((edge, mut connection): (Arc<Self>, Box<Connection>)) {
        match Head::parse(connection.take_head()) {
            Ok(head) => {
                let since = connection.since;
                let exchange = Exchange::new(Arc::clone(&edge), connection, head);
                let client = exchange.client();
                // Before anything that costs more than its head.
                if client.limited && !edge.rates.admit(client.address, since) {
                    return exchange.answer(Response::refusal(Refusal::TooFast));
                }
                Arc::clone(&edge.service).serve(exchange);
            }
            Err(refusal) => edge.refuse(connection, refusal),
        }
    }

    pub fn shake((edge, mut connection): (Arc<Self>, Box<Connection>)) {
        let acceptor = edge.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(acceptor) = acceptor else { return };
        match connection.stream.handshake(&acceptor) {
            Ok(true) => Self::next(&edge, connection),
            Ok(false) => edge.rest(connection),
            Err(error) => log::debug!("{}: TLS handshake failed: {error}", connection.peer),
        }
    }

    /// Reads what has been decrypted of the next head already, of which epoll knows nothing, and waits for the rest of it.
    fn decrypt(self: &Arc<Self>, mut connection: Box<Connection>) {
        match connection.collect(&mut [0; limits::HEAD_BYTES]) {
            Ok(Collected::Whole) => self.enqueue(connection),
            Ok(Collected::Part) => self.await_head(connection),
            Ok(Collected::Closed) => {}
            Err(refusal) => self.refuse(connection, refusal),
        }
    }

    fn await_head(&self, mut connection: Box<Connection>) {
        let begun = connection.has_begun();
        // Behind a handshake a request is due, as behind an accept.
        let due = begun || connection.stage == Stage::Handshake;
        let time = if due { self.settings.head_time } else { self.settings.keep_alive_time };
        connection.stage = Stage::Head(begun);
        connection.deadline = Instant::now() + time;
        self.rest(connection);
    }
}

/// A whole answer that refuses and closes.
pub fn refusal_bytes(refusal: Refusal) -> Vec<u8> {
    let response = Response::refusal(refusal);
    let mut bytes = Vec::new();
    response.write_head(Some("close"), SystemTime::now(), &mut bytes);
    if let Payload::Bytes(body) = response.payload() {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// A line of the access log. It has no place for queries and field values: they hold credentials.
pub struct Entry<'a> {
    pub client: IpAddr,
    pub user: Option<&'a str>,
    pub method: &'a str,
    pub path: &'a str,
    pub status: u16,
    pub bytes: u64,
    pub since: Instant,
}

impl Entry<'_> {
    pub fn log(&self, level: log::Level) {
        log::log!(target: "access", level, "{self}");
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, method, status, bytes, .. } = self;
        let (user, path) = (Visible(self.user.unwrap_or("-")), Visible(self.path));
        write!(f, "{client} {user} {method} {path} {status} {bytes} {}ms", self.since.elapsed().as_millis())
    }
}

/// A text as visible ASCII, so that nothing in it moves a terminal or ends a line or a column.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_visible = |c: char| c.is_ascii_graphic() && c != '\\';
        if self.0.chars().all(is_visible) {
            return f.write_str(self.0);
        }
        for c in self.0.chars() {
            if is_visible(c) {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_unicode())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_line_is_one_line_of_ascii() {
        let entry = Entry {
            client: "::1".parse().unwrap(),
            user: Some("b\u{e9}a@example.com"),
            method: "GET",
            path: "/it's\r\nb",
            status: 200,
            bytes: 5,
            since: Instant::now(),
        };
        let line = entry.to_string();
        assert!(
            line.starts_with("::1 b\\u{e9}a@example.com GET /it's\\u{d}\\u{a}b 200 5 ")
                && line.ends_with("ms")
        );
    }
}
