//! Servers with slow processors. All run on one processor, which nothing else shares with them. Each may use a small part of
//! its time, as if it had a slow machine of its own: a server that has used its part is stopped (SIGSTOP) until it may use
//! more. Only time that it works counts, so a server that waits for a few milliseconds, for PostgreSQL or for the other one,
//! loses nothing by it. No two servers run at the same time. What a server sends does not wake Prosody, PostgreSQL and the
//! clients on its processor: they run on the others.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// How many times slower a server's processor is than the machine's. Two such servers together confirm a third of what
/// one Prosody can.
const SLOWER: u32 = 12;
/// How long a server runs before another one may.
const TURN: Duration = Duration::from_millis(3);
/// Between two looks at whether a server has stopped.
const STOPPING: Duration = Duration::from_micros(50);
/// The time that a server which waited may use later, at most.
const SAVED: Duration = Duration::from_millis(6);

/// The processor of slow servers. This thread, and what it starts, runs on the others until this is dropped. If the machine
/// has only one processor, all share it, and the time of all counts.
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

/// Slow servers. Dropped, it lets them run as fast as the machine can again.
pub struct SlowServers {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One of the servers.
struct SlowServer {
    pid: Pid,
    /// The nanoseconds that it may use now; below zero it has used more.
    credit: i64,
}

impl SlowServers {
    /// Makes these processes slow, on this processor.
    pub fn start(pids: &[u32], processor: &Processor) -> Self {
        let pid = |pid: &u32| i32::try_from(*pid).ok().and_then(Pid::from_raw).expect("a process id");
        let servers: Vec<_> = pids.iter().map(|number| SlowServer { pid: pid(number), credit: 0 }).collect();
        servers.iter().for_each(|server| processor.give(server.pid));
        let end = Arc::new(AtomicBool::new(false));
        let idle = Arc::new(AtomicU64::new(0));
        let (own, ended, measured) = (processor.own, Arc::clone(&end), Arc::clone(&idle));
        let meter = std::thread::spawn(move || measure_idle_time(&own, &ended, &measured));
        while idle.load(Ordering::Relaxed) == 0 {
            assert!(!meter.is_finished(), "nothing measures the time that the servers use");
            std::thread::sleep(STOPPING);
        }
        let ended = Arc::clone(&end);
        let turns = std::thread::spawn(move || take_turns(servers, &ended, &idle));
        Self { end, threads: vec![meter, turns] }
    }
}

impl Drop for SlowServers {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let ended = self.threads.drain(..).all(|thread| thread.join().is_ok());
        assert!(ended || std::thread::panicking(), "the servers have ended");
    }
}

/// Runs on the servers' processor while no server does, and stores in `idle` for how long, in nanoseconds.
fn measure_idle_time(processor: &CpuSet, end: &AtomicBool, idle: &AtomicU64) {
    run_on(None, processor);
    let thread = gettid().as_raw_nonzero().to_string();
    // Each thread of a server that wakes takes the place of one with this policy at once.
    let policy = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    assert!(policy.is_ok_and(|status| status.success()), "chrt, of util-linux, sets the policy");
    while !end.load(Ordering::Relaxed) {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let nanoseconds = time.tv_sec * 1_000_000_000 + time.tv_nsec;
        idle.store(nanoseconds.unsigned_abs(), Ordering::Relaxed);
    }
}

/// Lets the servers that may run do so in turn.
fn take_turns(mut servers: Vec<SlowServer>, end: &AtomicBool, idle: &AtomicU64) {
    servers.iter().for_each(|server| server.signal(Signal::STOP));
    let mut earned = Instant::now();
    while !end.load(Ordering::Relaxed) {
        let passed = earned.elapsed();
        earned += passed;
        servers.iter_mut().for_each(|server| server.earn(passed / SLOWER));
        match servers.iter().position(|server| server.credit > 0) {
            Some(next) => {
                servers[next].run(idle, end);
                // The others have their turns first.
                servers[next..].rotate_left(1);
            }
            None => std::thread::sleep(TURN),
        }
    }
    servers.iter().for_each(|server| server.signal(Signal::CONT));
}

impl SlowServer {
    fn earn(&mut self, time: Duration) {
        self.credit = (self.credit + nanoseconds(time)).min(nanoseconds(SAVED));
    }

    fn run(&mut self, idle: &AtomicU64, end: &AtomicBool) {
        let (begun, idle_before) = (Instant::now(), idle.load(Ordering::Relaxed));
        self.signal(Signal::CONT);
        std::thread::sleep(TURN);
        self.signal(Signal::STOP);
        // Its threads stop one after the other. The processor stays idle when the last one has.
        let mut is_idle = false;
        while !is_idle && !end.load(Ordering::Relaxed) {
            let idle_then = idle.load(Ordering::Relaxed);
            std::thread::sleep(STOPPING);
            is_idle = Duration::from_nanos(idle.load(Ordering::Relaxed) - idle_then) >= STOPPING / 2;
        }
        let idle = Duration::from_nanos(idle.load(Ordering::Relaxed) - idle_before);
        self.credit -= nanoseconds(begun.elapsed().saturating_sub(idle));
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the server runs");
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).expect("a short time")
}

fn run_on(thread: Option<Pid>, processors: &CpuSet) {
    // A thread that ends meanwhile needs none.
    let _ = sched_setaffinity(thread, processors);
}
