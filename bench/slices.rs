//! Servers that run in slices of time only, as if each had a slow machine of its own. A server without its slice is stopped
//! (SIGSTOP); the others on the machine go on. No two servers run at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// From one slice of a server to its next one.
const PERIOD: Duration = Duration::from_millis(60);
/// A slice: long beside the time that PostgreSQL takes for a statement, since a server that waits for PostgreSQL loses that part of
/// its slice. A twelfth of the time, so that two servers together confirm a third of what one Prosody can.
const SLICE: Duration = Duration::from_millis(5);

/// Servers in slices. Dropped, it lets them run freely again.
pub struct Slices {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One of the servers.
struct Sliced {
    pid: Pid,
    /// By how much its slices so far were too long: a sleep ends late.
    excess: Duration,
}

impl Slices {
    /// Gives these processes slices of the same length, one after the other.
    pub fn start(pids: &[u32]) -> Self {
        let pid = |pid: &u32| i32::try_from(*pid).ok().and_then(Pid::from_raw).expect("a process id");
        let servers = pids.iter().map(|number| Sliced { pid: pid(number), excess: Duration::ZERO }).collect();
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = std::thread::spawn(move || take_turns(servers, &ended));
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            ended.is_some_and(|ended| ended.is_ok()) || std::thread::panicking(),
            "the servers have ended"
        );
    }
}

fn take_turns(mut servers: Vec<Sliced>, end: &AtomicBool) {
    servers.iter().for_each(|server| server.signal(Signal::STOP));
    let pause = PERIOD / u32::try_from(servers.len()).expect("few servers");
    let (mut next, mut number) = (Instant::now(), 0);
    while !end.load(Ordering::Relaxed) {
        servers[number].run_slice();
        number = (number + 1) % servers.len();
        next += pause;
        sleep_until(next);
    }
    servers.iter().for_each(|server| server.signal(Signal::CONT));
}

impl Sliced {
    /// Lets it run for a slice, less what it had too much before.
    fn run_slice(&mut self) {
        let Some(slice) = SLICE.checked_sub(self.excess) else {
            self.excess -= SLICE;
            return;
        };
        let begun = Instant::now();
        self.signal(Signal::CONT);
        sleep_until(begun + slice);
        self.signal(Signal::STOP);
        self.excess = begun.elapsed().saturating_sub(slice);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the server runs");
    }
}

fn sleep_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
}
