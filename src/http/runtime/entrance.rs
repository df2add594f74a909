//! The entrance: accepts connections, and turns away those that get no seat.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use super::edge::{Edge, refusal_bytes};
use crate::http::connection::Connection;
use crate::http::connection::stream::{Socket, Stream};
use crate::limits;
use crate::metrics::Route;
use crate::model::Refusal;
use crate::sys::{self, Accepted, Epoll, Interest};

/// Connections accepted in one go, before others have their turn.
const ACCEPTS: usize = 64;
/// Tokens below are those of listeners.
pub const LISTENERS: u64 = 1 << 16;

pub struct Entrance {
    /// Each with whether it speaks TLS. Whoever is told that somebody waits accepts, and then lets it be told again.
    listeners: Vec<(TcpListener, bool)>,
    /// While the process is out of descriptors: when accepting is tried again.
    paused: Option<Instant>,
    /// When the log was last told that they ran out.
    complained: Option<Instant>,
    /// Given up to accept and close one connection when descriptors run out.
    spare: Option<File>,
    /// The last connection's.
    token: u64,
}

impl Entrance {
    /// An entrance that `epoll` watches.
    pub fn new(listeners: Vec<(TcpListener, bool)>, epoll: &Epoll) -> io::Result<Self> {
        for (token, (listener, _)) in (0..).zip(&listeners) {
            epoll.arm(listener, token, Interest::Read)?;
        }
        Ok(Self { listeners, paused: None, complained: None, spare: spare(), token: LISTENERS })
    }

    /// Nobody comes in any more.
    pub fn close(&mut self) {
        self.listeners.clear();
        self.paused = None;
    }

    /// When [`Entrance::open_again`] is due.
    pub fn paused(&self) -> Option<Instant> {
        self.paused
    }

    /// Ends a pause that is over.
    pub fn open_again(&mut self, edge: &Edge, now: Instant) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            for token in (0..).take(self.listeners.len()) {
                self.rearm(token, edge);
            }
        }
    }

    /// Accepts those who wait at the listener of this token.
    pub fn accept(&mut self, token: u64, edge: &Edge) {
        for _ in 0..ACCEPTS {
            let Some((listener, tls)) = self.listener(token) else { return };
            match sys::accept(listener, limits::UNSENT_BYTES) {
                Accepted::Connection(stream, peer) => self.welcome(stream, peer, tls, edge),
                Accepted::Nobody => break,
                Accepted::Gone => {}
                Accepted::Exhausted(error) => return self.pause(&error, edge),
            }
        }
        self.rearm(token, edge);
    }

    fn listener(&self, token: u64) -> Option<(&TcpListener, bool)> {
        let open = self.paused.is_none().then_some(&self.listeners)?;
        open.get(usize::try_from(token).ok()?).map(|(listener, tls)| (listener, *tls))
    }

    fn rearm(&mut self, token: u64, edge: &Edge) {
        let Some((listener, _)) = self.listener(token) else { return };
        if let Err(error) = edge.epoll.rearm(listener, token, Interest::Read) {
            self.pause(&error, edge);
        }
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr, tls: bool, edge: &Edge) {
        let peer = peer.ip().to_canonical();
        let settings = &edge.settings;
        let counted = !settings.trusted_proxies.contains(&peer);
        let seat = match edge.seats.take(counted.then_some(peer)) {
            Ok(seat) => seat,
            Err(refusal) if tls => return edge.requests.of(Route::None).count(refusal.row().status),
            Err(refusal) => return turn_away(&stream, peer, refusal, edge),
        };
        let socket = Socket::new(stream);
        let (stream, time) = if tls {
            (Stream::Hello(socket), settings.handshake_time)
        } else {
            (Stream::Plain(socket), settings.head_time)
        };
        self.token += 1;
        let deadline = Instant::now() + time;
        edge.rest(Box::new(Connection::new(stream, peer, self.token, deadline, seat)));
        if edge.seats.taken() == 1 {
            // A worker may have accepted it: without connections, the front looks at no clock.
            edge.waker.wake();
        }
    }

    /// Out of descriptors or memory: closes one that waits, so that its client hears at once, and lets the others wait.
    fn pause(&mut self, error: &io::Error, edge: &Edge) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now >= last + limits::ACCEPT_REMINDER) {
            self.complained = Some(now);
            log::warn!("can't accept connections for now: {error}");
        }
        if self.spare.take().is_some() {
            for (listener, _) in &self.listeners {
                drop(sys::accept(listener, limits::UNSENT_BYTES));
            }
            self.spare = spare();
        }
        self.paused = Some(now + limits::ACCEPT_PAUSE);
        // It is the front that ends the pause.
        edge.waker.wake();
    }
}

/// Refuses a connection that gets no seat. It can't linger, for that would need one; what it has sent already is read, as
/// that is what would make the kernel reset it. In TLS, nothing could be said yet.
fn turn_away(mut stream: &TcpStream, peer: IpAddr, refusal: Refusal, edge: &Edge) {
    let since = Instant::now();
    let bytes = stream.write(&refusal_bytes(refusal)).unwrap_or(0) as u64;
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; limits::HEAD_BYTES]);
    edge.note_refusal(peer, refusal, bytes, since);
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
