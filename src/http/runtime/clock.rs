//! The clock thread: it ends connections past their deadlines, opens listeners again, and lends a turn when every turn is
//! stuck. It never waits for a client.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::flow;
use super::listener::Listener;
use super::shared::Shared;
use super::turns;
use crate::limits;

/// How finely deadlines are looked at, at least and at most.
const TICKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// The clock of a server.
pub struct Clock {
    shared: Arc<Shared>,
    tick: Duration,
    swept: Instant,
    /// How often in a row no turn could be stuck.
    calm: u32,
}

impl Clock {
    /// A clock, before its thread runs it.
    pub fn new(shared: Arc<Shared>) -> Self {
        let settings = &shared.settings;
        let clocks = [
            settings.head_time,
            settings.handshake_time,
            settings.keep_alive_time,
            settings.linger_time,
            settings.pace.idle,
        ];
        let shortest = clocks.into_iter().min().unwrap_or_default();
        let tick = (shortest / 4).clamp(TICKS.0, TICKS.1);
        Self { shared, tick, swept: Instant::now(), calm: 0 }
    }

    /// Runs until the server is stopped and its last connection gone, or halted.
    pub fn run(mut self) {
        while !self.is_over() {
            self.shared.bell.wait(self.due());
            self.look_at_turns();
            let now = Instant::now();
            for listener in &self.shared.listeners {
                listener.open_again(self.shared.turns.epoll(), now);
            }
            if now >= self.swept + self.tick {
                self.swept = now;
                self.sweep(now);
            }
        }
        drop(self.shared.table.extract(|_| true));
    }

    /// When it must look again; `None` if only the bell can tell.
    fn due(&self) -> Option<Instant> {
        let shared = &self.shared;
        let sweep = (shared.connections.held() > 0).then(|| self.swept + self.tick);
        let watch =
            (!shared.bell.drowsy.load(Ordering::Acquire)).then(|| Instant::now() + limits::STUCK_TIME);
        let opens = shared.listeners.iter().filter_map(Listener::opens);
        opens.chain(sweep).chain(watch).min()
    }

    /// Looks for turns that are stuck. After a while in which none could be, it waits to be told that one may be.
    fn look_at_turns(&mut self) {
        let (turns, drowsy) = (&self.shared.turns, &self.shared.bell.drowsy);
        if drowsy.load(Ordering::SeqCst) {
            return;
        }
        turns::look(&self.shared);
        self.calm = if turns.may_be_stuck() { 0 } else { self.calm + 1 };
        if self.calm >= limits::CALM_LOOKS {
            self.calm = 0;
            // A thread that gets its events now either sees this or is seen.
            drowsy.store(true, Ordering::SeqCst);
            drowsy.store(!turns.may_be_stuck(), Ordering::SeqCst);
        }
    }

    fn is_over(&self) -> bool {
        let shared = &self.shared;
        if !shared.is_stopping() {
            return false;
        }
        shared.listeners.iter().for_each(Listener::close);
        drop(shared.table.extract(|connection| connection.stage.is_idle()));
        shared.halt.is_set() || shared.connections.held() == 0
    }

    fn sweep(&self, now: Instant) {
        for connection in self.shared.table.extract(|connection| connection.deadline <= now) {
            turns::guard(|| flow::expire(&self.shared, connection));
        }
    }
}
