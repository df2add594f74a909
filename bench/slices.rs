//! Servers that run in slices of time only, as if each had a slow machine of its own. A server without its slice is stopped
//! (SIGSTOP); the others on the machine go on. No two servers run at the same time, and nothing else runs on the processor
//! that is theirs: what a server sends would otherwise wake Prosody, PostgreSQL and the clients within its slice.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// From one slice of a server to its next one.
const PERIOD: Duration = Duration::from_millis(60);
/// A slice: long beside the time that PostgreSQL takes for a statement, since a server that waits for PostgreSQL loses that part of
/// its slice. A twelfth of the time, so that two servers together confirm a third of what one Prosody can.
const SLICE: Duration = Duration::from_millis(5);

/// The processor of servers in slices. This thread, and what it starts, runs on the others until this is dropped. If the
/// machine has only one processor, all share it.
pub struct Processor {
    all: CpuSet,
    own: CpuSet,
}

impl Processor {
    /// Sets one apart.
    pub fn set_apart() -> Self {
        let all = sched_getaffinity(None).expect("a thread has processors");
        let numbers: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|number| all.is_set(*number)).collect();
        let [number, _, ..] = numbers[..] else { return Self { all, own: all } };
        let (mut own, mut rest) = (CpuSet::new(), all);
        own.set(number);
        rest.unset(number);
        run_on(None, &rest);
        Self { all, own }
    }

    /// Threads that a server starts later run where the thread does that starts them.
    fn give(&self, server: Pid) {
        let threads =
            fs::read_dir(format!("/proc/{}/task", server.as_raw_nonzero())).expect("the server runs");
        let name = |thread: fs::DirEntry| thread.file_name().into_string().ok()?.parse().ok();
        let threads = threads.flatten().filter_map(name).filter_map(Pid::from_raw);
        threads.for_each(|thread| run_on(Some(thread), &self.own));
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        run_on(None, &self.all);
    }
}

/// Servers in slices. Dropped, it lets them run without pauses again.
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
    /// Gives these processes slices of the same length, one after the other, on this processor.
    pub fn start(pids: &[u32], processor: &Processor) -> Self {
        let pid = |pid: &u32| i32::try_from(*pid).ok().and_then(Pid::from_raw).expect("a process id");
        let servers: Vec<_> =
            pids.iter().map(|number| Sliced { pid: pid(number), excess: Duration::ZERO }).collect();
        servers.iter().for_each(|server| processor.give(server.pid));
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

fn run_on(thread: Option<Pid>, processors: &CpuSet) {
    // A thread that ends meanwhile needs none.
    let _ = sched_setaffinity(thread, processors);
}
