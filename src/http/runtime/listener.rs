//! The listeners. Threads that hold turns accept; the clock thread opens a listener again after a pause. A listener is armed
//! for one event, so one thread at a time accepts at it.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Instant;

use super::table::OTHER_TOKENS;
use crate::http::lock::lock;
use crate::limits;
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

    /// The token of its events.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Stops accepting, and frees the port.
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

    /// Accepts a few of the connections that wait, and hands them to `welcome`; whether a pause begins, for want of
    /// descriptors or memory.
    pub fn accept(&self, epoll: &Epoll, welcome: impl Fn(TcpStream, SocketAddr, bool)) -> bool {
        let mut state = lock(&self.state);
        // In case of a panic, the clock thread opens it again.
        state.opens = Some(Instant::now() + limits::ACCEPT_PAUSE);
        for _ in 0..limits::ACCEPTS {
            let Some(socket) = &state.socket else { return false };
            match sys::accept(socket, limits::UNSENT_BYTES) {
                Accepted::Connection(stream, peer) => welcome(stream, peer, self.tls),
                Accepted::Nobody => break,
                Accepted::Gone => {}
                Accepted::Exhausted(error) => {
                    state.pause(&error);
                    return true;
                }
            }
        }
        self.rearm(&mut state, epoll);
        false
    }

    fn rearm(&self, state: &mut State, epoll: &Epoll) {
        let Some(socket) = &state.socket else { return };
        let armed = epoll.rearm(socket, self.token, Interest::Read);
        state.opens = armed.err().map(|_| Instant::now() + limits::ACCEPT_PAUSE);
    }
}

impl State {
    /// Out of descriptors or memory: closes one that waits, so that its client hears at once, and lets the others wait.
    fn pause(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now >= last + limits::ACCEPT_REMINDER) {
            self.complained = Some(now);
            log::warn!("can't accept connections for now: {error}");
        }
        if self.spare.take().is_some() {
            if let Some(socket) = &self.socket {
                drop(sys::accept(socket, limits::UNSENT_BYTES));
            }
            self.spare = spare();
        }
        self.opens = Some(now + limits::ACCEPT_PAUSE);
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
