//! The front: one thread that sees to what comes for connections that rest, unless a worker does, and that ends those
//! whose time is over. It never waits for a client.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::edge::Edge;
use super::events::WAKER;
use crate::http::connection::{Connection, Stage};
use crate::http::limits::permits::lock;
use crate::limits;
use crate::model::Refusal;
use crate::sys::Events;

/// How finely deadlines are looked at, at most and at least.
const TICKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

pub struct Front {
    edge: Arc<Edge>,
    scratch: Vec<u8>,
    tick: Duration,
    swept: Instant,
    /// What was seen of the workers that look for work.
    looks: u64,
}

impl Front {
    /// A front, and workers that do its work while they have no other.
    pub fn new(edge: Arc<Edge>) -> io::Result<Self> {
        edge.epoll.watch(&edge.waker, WAKER)?;
        let settings = &edge.settings;
        let clocks =
            [settings.head_time, settings.handshake_time, settings.keep_alive_time, settings.linger_time];
        let shortest = clocks.into_iter().min().unwrap_or_default();
        let weak = Arc::downgrade(&edge);
        edge.workers.look_at(move |deadline| weak.upgrade().is_some_and(|edge| edge.look(deadline)));
        Ok(Self {
            tick: (shortest / 4).clamp(TICKS.0, TICKS.1),
            edge,
            scratch: vec![0; limits::HEAD_BYTES],
            swept: Instant::now(),
            looks: 0,
        })
    }

    /// Runs until the server is stopped and its last connection gone, or halted.
    pub fn run(mut self) {
        let mut events = Events::new();
        while !self.is_over() {
            let deadline = if self.comes_by() { Some(Instant::now()) } else { self.deadline() };
            if let Err(error) = self.edge.epoll.wait(&mut events, deadline) {
                // Only a bug can make epoll fail; the pause keeps it from filling the log.
                log::error!("can't wait for connections: {error}");
                thread::sleep(limits::ACCEPT_PAUSE);
            }
            for report in events.reports() {
                self.handle(report);
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
        lock(&self.edge.entrance).close();
        self.close_where(|connection| connection.stage.is_idle());
        self.edge.halt.is_set() || self.edge.seats.taken() == 0
    }

    /// While workers look for work, the front only comes by now and then. Woken for each event that comes while all of
    /// them are at work, it would wake yet another worker for what the next of them does as soon.
    fn comes_by(&mut self) -> bool {
        let leaves = self.edge.workers.are_looking(&mut self.looks);
        if leaves {
            thread::sleep(limits::FRONT_PAUSE);
        }
        leaves
    }

    fn deadline(&self) -> Option<Instant> {
        let tick = (self.edge.seats.taken() > 0).then(|| self.swept + self.tick);
        tick.into_iter().chain(lock(&self.edge.entrance).paused()).min()
    }

    fn handle(&mut self, report: (u64, bool)) {
        if report.0 == WAKER {
            return self.edge.waker.clear();
        }
        self.edge.see_to(report, &mut self.scratch);
    }

    fn look_at_clocks(&mut self) {
        let now = Instant::now();
        lock(&self.edge.entrance).open_again(&self.edge, now);
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
