//! The front: one thread that accepts, collects heads, keeps idle connections, and lets refused ones linger. It never
//! waits for anything but epoll.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::connection::{Collected, Connection, Stage};
use super::edge::{Edge, refusal_bytes};
use super::seats::lock;
use super::stream::{Socket, Stream};
use crate::limits;
use crate::metrics::Route;
use crate::model::Refusal;
use crate::sys::{self, Accepted, Events};

/// The token of the waker; those below are listeners, those above connections.
const WAKER: u64 = 1 << 16;
/// Connections accepted in one go, before others have their turn.
const ACCEPTS: usize = 64;
/// How finely deadlines are looked at, at most and at least.
const TICKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

pub(super) struct Front {
    edge: Arc<Edge>,
    /// Each with whether it speaks TLS.
    listeners: Vec<(TcpListener, bool)>,
    /// While the process is out of descriptors: when accepting is tried again.
    paused: Option<Instant>,
    /// When the log was last told that they ran out.
    complained: Option<Instant>,
    /// Given up to accept and close one connection when descriptors run out.
    spare: Option<File>,
    scratch: Vec<u8>,
    token: u64,
    tick: Duration,
    swept: Instant,
}

impl Front {
    pub fn new(edge: Arc<Edge>, listeners: Vec<(TcpListener, bool)>) -> io::Result<Self> {
        edge.epoll.watch(&edge.waker, WAKER)?;
        let settings = &edge.settings;
        let clocks =
            [settings.head_time, settings.handshake_time, settings.keep_alive_time, settings.linger_time];
        let shortest = clocks.into_iter().min().unwrap_or_default();
        let front = Self {
            tick: (shortest / 4).clamp(TICKS.0, TICKS.1),
            edge,
            listeners,
            paused: None,
            complained: None,
            spare: spare(),
            scratch: vec![0; limits::HEAD_BYTES],
            token: WAKER,
            swept: Instant::now(),
        };
        front.watch_listeners()?;
        Ok(front)
    }

    /// Runs until the server is stopped and its last connection gone, or halted.
    pub fn run(mut self) {
        let mut events = Events::new();
        while !self.is_over() {
            if let Err(error) = self.edge.epoll.wait(&mut events, self.deadline()) {
                // Only a bug can make epoll fail; the pause keeps it from filling the log.
                log::error!("can't wait for connections: {error}");
                std::thread::sleep(limits::ACCEPT_PAUSE);
            }
            for token in events.tokens() {
                self.handle(token);
            }
            self.look_at_clocks();
        }
        // Closed outside the lock.
        let rest = std::mem::take(&mut *lock(&self.edge.resting));
        drop(rest);
    }

    fn is_over(&mut self) -> bool {
        if !self.edge.is_stopping() {
            return false;
        }
        self.listeners.clear();
        self.paused = None;
        self.close_where(|connection| connection.stage.is_idle());
        self.edge.halt.is_set() || self.edge.seats.taken() == 0
    }

    fn deadline(&self) -> Option<Instant> {
        let tick = (self.edge.seats.taken() > 0).then(|| self.swept + self.tick);
        tick.into_iter().chain(self.paused).min()
    }

    fn handle(&mut self, token: u64) {
        match usize::try_from(token) {
            Ok(listener) if listener < self.listeners.len() => self.accept(listener),
            _ if token == WAKER => self.edge.waker.clear(),
            _ => self.wake(token),
        }
    }

    fn accept(&mut self, listener: usize) {
        for _ in 0..ACCEPTS {
            let Some((listener, tls)) = self.listeners.get(listener) else { return };
            let tls = *tls;
            match sys::accept(listener, limits::UNSENT_BYTES) {
                Accepted::Connection(stream, peer) => self.welcome(stream, peer, tls),
                Accepted::Nobody => return,
                Accepted::Gone => {}
                Accepted::Exhausted(error) => return self.pause(&error),
            }
        }
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr, tls: bool) {
        let peer = peer.ip().to_canonical();
        let settings = &self.edge.settings;
        let counted = !settings.trusted_proxies.contains(&peer);
        let seat = match self.edge.seats.take(counted.then_some(peer)) {
            Ok(seat) => seat,
            Err(refusal) if tls => return self.edge.requests.of(Route::None).count(refusal.row().status),
            Err(refusal) => return self.turn_away(&stream, peer, refusal),
        };
        let socket = Socket::new(stream);
        let (stream, time) = if tls {
            (Stream::Hello(socket), settings.handshake_time)
        } else {
            (Stream::Plain(socket), settings.head_time)
        };
        self.token += 1;
        let deadline = Instant::now() + time;
        self.edge.rest(Box::new(Connection::new(stream, peer, self.token, deadline, seat)));
    }

    /// Refuses a connection that gets no seat. It can't linger, for that would need one; what it has sent already is
    /// read, as that is what would make the kernel reset it. In TLS, nothing could be said yet.
    fn turn_away(&mut self, mut stream: &TcpStream, peer: IpAddr, refusal: Refusal) {
        let since = Instant::now();
        let bytes = stream.write(&refusal_bytes(refusal)).unwrap_or(0) as u64;
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut self.scratch);
        self.edge.note_refusal(peer, refusal, bytes, since);
    }

    /// Out of descriptors or memory: closes one that waits, so that its client hears at once, and lets the others wait.
    fn pause(&mut self, error: &io::Error) {
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
        for (listener, _) in &self.listeners {
            let _ = self.edge.epoll.unwatch(listener);
        }
        self.paused = Some(now + limits::ACCEPT_PAUSE);
    }

    fn watch_listeners(&self) -> io::Result<()> {
        for (token, (listener, _)) in (0..).zip(&self.listeners) {
            self.edge.epoll.watch(listener, token)?;
        }
        Ok(())
    }

    /// Something came for a resting connection, or it broke.
    fn wake(&mut self, token: u64) {
        let woken = lock(&self.edge.resting).remove(&token);
        let Some(mut connection) = woken else { return self.hung_up(token) };
        match connection.stage {
            Stage::Handshake => self.edge.enqueue_handshake(connection),
            Stage::Head(begun) => self.collect(connection, begun),
            Stage::Answer(then, _) => Edge::deliver(&self.edge, connection, then),
            Stage::Linger(_) => {
                if connection.drain(&mut self.scratch) {
                    self.edge.rest(connection);
                }
            }
        }
    }

    /// The client of a parked exchange has hung up, as it seems; or a connection was closed since it was reported.
    fn hung_up(&self, token: u64) {
        let watched = lock(&self.edge.watched).remove(&token);
        if let Some(hung_up) = watched {
            hung_up();
        }
    }

    fn collect(&mut self, mut connection: Box<Connection>, begun: bool) {
        match connection.collect(&mut self.scratch) {
            Ok(Collected::Whole) => self.edge.enqueue(connection),
            Ok(Collected::Part) => {
                if !begun && connection.has_begun() {
                    connection.since = Instant::now();
                    connection.stage = Stage::Head(true);
                    connection.deadline = connection.since + self.edge.settings.head_time;
                }
                self.edge.rest(connection);
            }
            Ok(Collected::Closed) => {}
            Err(refusal) => self.edge.refuse(connection, refusal),
        }
    }

    fn look_at_clocks(&mut self) {
        let now = Instant::now();
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            if let Err(error) = self.watch_listeners() {
                self.pause(&error);
            }
        }
        if now >= self.swept + self.tick {
            self.swept = now;
            self.sweep(now);
        }
    }

    /// Ends what is past its deadline: with a word where half a request has come, else silently.
    fn sweep(&self, now: Instant) {
        for connection in self.close_where(|connection| connection.deadline <= now) {
            match connection.stage {
                Stage::Head(true) => self.edge.refuse(connection, Refusal::TooSlow),
                Stage::Answer(then, _) => Edge::deliver(&self.edge, connection, then),
                _ => {}
            }
        }
    }

    /// Takes connections out of their rest; they close as the list drops.
    #[expect(clippy::vec_box, reason = "they stay in the boxes they rest in")]
    fn close_where(&self, closes: impl Fn(&Connection) -> bool) -> Vec<Box<Connection>> {
        let mut resting = lock(&self.edge.resting);
        resting.extract_if(|_, connection| closes(connection)).map(|(_, connection)| connection).collect()
    }
}

impl Drop for Front {
    /// However the front ends, the others must not believe that it runs.
    fn drop(&mut self) {
        self.edge.stopping.store(true, Ordering::Release);
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
