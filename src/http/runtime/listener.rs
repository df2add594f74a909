//! The listeners: accepting connections, and turning away those that get no permit. Threads that hold turns accept; the
//! clock thread opens a listener again after a pause. A listener is armed for one event, so one thread at a time accepts
//! at it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::flow;
use super::shared::Shared;
use super::table::OTHER_TOKENS;
use crate::http::connection::Connection;
use crate::http::connection::stream::{Socket, Stream};
use crate::http::lock::lock;
use crate::http::message::response::Response;
use crate::limits;
use crate::metrics::Route;
use crate::model::Refusal;
use crate::sys::{self, Accepted, Epoll, Interest};

/// A listening socket.
pub struct Listener {
    token: u64,
    tls: bool,
    state: Mutex<State>,
}

struct State {
    /// Gone once the server stops.
    socket: Option<TcpListener>,
    /// When the clock thread opens it again, unless the thread that accepts does so before.
    opens: Option<Instant>,
    /// When the log was last told that connections can't be accepted.
    complained: Option<Instant>,
    /// Given up to accept and close one connection when descriptors run out.
    spare: Option<File>,
}

impl Listener {
    /// The listener of this number, watched by `epoll`.
    pub fn new(number: usize, socket: TcpListener, tls: bool, epoll: &Epoll) -> io::Result<Self> {
        let token = OTHER_TOKENS + number as u64;
        epoll.arm(&socket, token, Interest::Read)?;
        let state = State { socket: Some(socket), opens: None, complained: None, spare: spare() };
        Ok(Self { token, tls, state: Mutex::new(state) })
    }

    /// What its events carry.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Nobody is accepted any more.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        (state.socket, state.opens) = (None, None);
    }

    /// When [`Listener::open_again`] is due.
    pub fn opens(&self) -> Option<Instant> {
        lock(&self.state).opens
    }

    /// Ends a pause that is over.
    pub fn open_again(&self, epoll: &Epoll, now: Instant) {
        let mut state = lock(&self.state);
        if state.opens.is_some_and(|time| time <= now) {
            self.rearm(&mut state, epoll);
        }
    }

    /// Accepts a few of those who wait.
    pub fn accept(&self, shared: &Arc<Shared>) {
        let mut state = lock(&self.state);
        // In case of a panic, the clock thread opens it again.
        state.opens = Some(Instant::now() + limits::ACCEPT_PAUSE);
        for _ in 0..limits::ACCEPTS {
            let Some(socket) = &state.socket else { return };
            match sys::accept(socket, limits::UNSENT_BYTES) {
                Accepted::Connection(stream, peer) => self.welcome(stream, peer, shared),
                Accepted::Nobody => break,
                Accepted::Gone => {}
                Accepted::Exhausted(error) => return pause(&mut state, &error, shared),
            }
        }
        self.rearm(&mut state, shared.turns.epoll());
    }

    fn rearm(&self, state: &mut State, epoll: &Epoll) {
        let Some(socket) = &state.socket else { return };
        let armed = epoll.rearm(socket, self.token, Interest::Read);
        state.opens = armed.err().map(|_| Instant::now() + limits::ACCEPT_PAUSE);
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
        let peer = peer.ip().to_canonical();
        let limited = !shared.settings.trusted_proxies.contains(&peer);
        let permit = shared.connections.take(limited.then_some(peer));
        match permit.and_then(|permit| Ok((permit, shared.table.place().ok_or(Refusal::Overloaded)?))) {
            Ok((permit, place)) => {
                let (stream, time) = self.stream(stream, shared);
                let deadline = Instant::now() + time;
                let place = (place.token(), Box::new(place) as _);
                flow::rest(shared, Box::new(Connection::new(stream, peer, place, deadline, permit)));
                ring_for_the_first(shared);
            }
            // In TLS, nothing could be said yet.
            Err(refusal) if self.tls => {
                shared.requests.of(Route::None).count(refusal.row().status);
            }
            Err(refusal) => turn_away(&stream, peer, refusal, shared),
        }
    }

    fn stream(&self, stream: TcpStream, shared: &Shared) -> (Stream, Duration) {
        let socket = Socket::new(stream);
        if self.tls {
            (Stream::Hello(socket), shared.settings.handshake_time)
        } else {
            (Stream::Plain(socket), shared.settings.head_time)
        }
    }
}

/// Without connections, the clock thread sleeps.
fn ring_for_the_first(shared: &Shared) {
    if shared.connections.held() == 1 {
        shared.bell.ring();
    }
}

/// Out of descriptors or memory: closes one that waits, so that its client hears at once, and lets the others wait.
fn pause(state: &mut State, error: &io::Error, shared: &Shared) {
    let now = Instant::now();
    if state.complained.is_none_or(|last| now >= last + limits::ACCEPT_REMINDER) {
        state.complained = Some(now);
        log::warn!("can't accept connections for now: {error}");
    }
    if state.spare.take().is_some() {
        if let Some(socket) = &state.socket {
            drop(sys::accept(socket, limits::UNSENT_BYTES));
        }
        state.spare = spare();
    }
    state.opens = Some(now + limits::ACCEPT_PAUSE);
    shared.bell.ring();
}

/// Refuses a connection that gets no permit. It can't linger, for that would need one; what it has sent already is read, as
/// that is what would make the kernel reset it.
fn turn_away(mut stream: &TcpStream, peer: IpAddr, refusal: Refusal, shared: &Shared) {
    let since = Instant::now();
    let bytes = stream.write(&Response::refusal(refusal).into_bytes()).unwrap_or(0) as u64;
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; limits::HEAD_BYTES]);
    shared.dispatch.note_refusal(shared, peer, refusal, bytes, since);
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
