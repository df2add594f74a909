//! A relay before a server: it limits the rates at which clients and the server send, cuts connections, and counts.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// A listening relay. Its threads end with the test's process.
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    target: AtomicU16,
    /// Bytes per second from each client; 0: as fast as they come.
    rate: AtomicU64,
    /// Bytes per second from the server, on all connections together; 0: as fast as they come.
    line: AtomicU64,
    /// When the line has passed on what it was given.
    line_is_free: Mutex<Option<Instant>>,
    /// How many connections are cut.
    cuts: AtomicUsize,
    /// After so many bytes in either direction.
    cut_after: AtomicU64,
    connections: AtomicUsize,
    /// Bytes from the server after which a connection stands still; 0: none does.
    hold_after: AtomicU64,
    /// Whether nothing is moved, as in a network that is cut.
    stands_still: AtomicBool,
    /// Whether new connections end at once.
    is_closed: AtomicBool,
    /// Both ends of the connections under way.
    ends: Mutex<Vec<Weak<[TcpStream; 2]>>>,
}

impl Relay {
    /// Listens; what it relays to is said later.
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&ours);
                thread::spawn(move || serve(client, &shared));
            }
        });
        Self { port, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Relays to this port from now on.
    pub fn relay_to(&self, port: u16) {
        self.shared.target.store(port, Ordering::SeqCst);
    }

    /// Lets clients send so many bytes per second from now on.
    pub fn limit(&self, rate: u64) {
        self.shared.rate.store(rate, Ordering::SeqCst);
    }

    /// Lets the server send so many bytes per second from now on, on all connections together, as over a line.
    pub fn limit_line(&self, rate: u64) {
        self.shared.line.store(rate, Ordering::SeqCst);
    }

    /// Cuts the next connections, each after so many bytes in one direction.
    pub fn cut(&self, connections: usize, after: u64) {
        self.shared.cut_after.store(after, Ordering::SeqCst);
        self.shared.cuts.store(connections, Ordering::SeqCst);
    }

    /// Lets each connection stand still after so many bytes from the server.
    pub fn hold_after(&self, bytes: u64) {
        self.shared.hold_after.store(bytes, Ordering::SeqCst);
    }

    /// Moves nothing more, on old connections and on new ones, or goes on.
    pub fn stand_still(&self, still: bool) {
        self.shared.stands_still.store(still, Ordering::SeqCst);
    }

    /// Ends all connections and each new one, or lets new ones through again.
    pub fn close(&self, is_closed: bool) {
        self.shared.is_closed.store(is_closed, Ordering::SeqCst);
        for ends in self.shared.lock().drain(..).filter_map(|ends| ends.upgrade()) {
            // They may have ended before.
            let _ = ends.each_ref().map(|socket| socket.shutdown(Shutdown::Both));
        }
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<[TcpStream; 2]>>> {
        self.ends.lock().expect("no holder of this lock panics")
    }

    /// Waits as long as the line takes for so many bytes behind those of other connections.
    fn wait_for_line(&self, bytes: usize) {
        let rate = self.line.load(Ordering::SeqCst);
        if rate == 0 {
            return;
        }
        let due = {
            let mut is_free = self.line_is_free.lock().expect("no holder of this lock panics");
            let begun = is_free.unwrap_or_else(Instant::now).max(Instant::now());
            *is_free.insert(begun + Duration::from_secs_f64(bytes as f64 / rate as f64))
        };
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// The pace of one client.
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Waits until so many bytes more were due at this rate.
    fn wait(&mut self, bytes: usize, rate: u64) {
        if rate == 0 {
            *self = Self::new();
            return;
        }
        self.bytes += bytes as u64;
        let due = self.since + Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }

    fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))) else { return };
    let cut =
        shared.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |cuts| cuts.checked_sub(1)).is_ok();
    let after = if cut { shared.cut_after.load(Ordering::SeqCst) } else { u64::MAX };
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("TCP has no delay");
    }
    let copy = |socket: &TcpStream| socket.try_clone().expect("sockets can be cloned");
    let ends = Arc::new([copy(&client), copy(&server)]);
    shared.lock().push(Arc::downgrade(&ends));
    if shared.is_closed.load(Ordering::SeqCst) {
        return;
    }
    let (up, down) = ((copy(&client), copy(&server)), (server, client));
    let (ours, mut own) = (Arc::clone(shared), Pace::new());
    let sending = thread::spawn(move || {
        let pace = |bytes| own.wait(bytes, ours.rate.load(Ordering::SeqCst));
        pump(up.0, up.1, after, pace, 0, &ours.stands_still)
    });
    // Either end may be gone.
    let hold = shared.hold_after.load(Ordering::SeqCst);
    let _ = pump(down.0, down.1, after, |bytes| shared.wait_for_line(bytes), hold, &shared.stands_still);
    let _ = sending.join();
}

/// Moves bytes until the end, or until so many have been moved: then both connections are shut down.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    after: u64,
    mut pace: impl FnMut(usize),
    hold: u64,
    stands_still: &AtomicBool,
) -> io::Result<()> {
    let (mut buffer, mut moved) = ([0; 64 * 1024], 0_u64);
    loop {
        let read = from.read(&mut buffer);
        while stands_still.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        let count = match read {
            Ok(0) => return to.shutdown(Shutdown::Write),
            Ok(count) => count,
            // A reset is passed on, too.
            Err(_) => return to.shutdown(Shutdown::Both),
        };
        moved += count as u64;
        if moved > after {
            let _ = from.shutdown(Shutdown::Both);
            return to.shutdown(Shutdown::Both);
        }
        to.write_all(&buffer[..count])?;
        if hold > 0 && moved > hold {
            loop {
                thread::park();
            }
        }
        pace(count);
    }
}
