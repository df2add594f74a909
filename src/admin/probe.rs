//! Trying a part of the server out, without ever waiting long: what hangs is left hanging on a thread of its own, and
//! what was found a moment ago is not asked again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::error::{Kind, Result};
use crate::limits;

/// What a probe found: a value, or why there is none, in words that are told outside.
pub(super) type Finding<T> = std::result::Result<T, &'static str>;

/// Said of what takes too long.
pub(super) const SILENCE: &str = "no answer in time";

/// A part of the server that can be tried out. One attempt is under way at a time, however many ask.
pub(super) struct Probe<T> {
    name: &'static str,
    attempt: Box<dyn Fn() -> Result<T> + Send + Sync>,
    state: Mutex<State<T>>,
    ended: Condvar,
}

struct State<T> {
    /// Since when an attempt has been under way.
    running: Option<Instant>,
    /// When the last one ended, and what it found.
    last: Option<(Instant, Finding<T>)>,
}

impl<T: Copy + Send + 'static> Probe<T> {
    /// A probe that tries `attempt`; `name` is for the log.
    pub fn new(name: &'static str, attempt: impl Fn() -> Result<T> + Send + Sync + 'static) -> Arc<Self> {
        let state = Mutex::new(State { running: None, last: None });
        Arc::new(Self { name, attempt: Box::new(attempt), state, ended: Condvar::new() })
    }

    /// Begins an attempt, unless one is under way or has just ended.
    pub fn begin(self: &Arc<Self>) {
        let mut state = self.lock();
        let fresh = state.last.is_some_and(|(ended, _)| ended.elapsed() < limits::PROBE_AGE);
        if fresh || state.running.is_some() {
            return;
        }
        state.running = Some(Instant::now());
        drop(state);
        let probe = Arc::clone(self);
        let spawned = thread::Builder::new().name("probe".to_owned()).spawn(move || probe.run());
        if spawned.is_err() {
            self.end(Err("no thread is left"));
        }
    }

    /// What is known now; waits for an attempt that is under way, but for none longer than [`limits::PROBE_WAIT`].
    pub fn finding(self: &Arc<Self>) -> Finding<T> {
        self.begin();
        let mut state = self.lock();
        while let Some(since) = state.running {
            let left = limits::PROBE_WAIT.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(SILENCE);
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.last.map_or(Err(SILENCE), |(_, finding)| finding)
    }

    fn run(&self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.attempt)()));
        self.end(match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if self.lock().last.is_none_or(|(_, last)| last.is_ok()) {
                    log::warn!("{} fails: {error}", self.name);
                }
                Err(reason(error.kind()))
            }
            Err(_) => Err(reason(Kind::Failure)),
        });
    }

    fn end(&self, finding: Finding<T>) {
        let mut state = self.lock();
        if finding.is_ok() && state.last.is_some_and(|(_, last)| last.is_err()) {
            log::info!("{} works again", self.name);
        }
        state.running = None;
        state.last = Some((Instant::now(), finding));
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What may be told of an error: the rest is for the log.
fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::Unavailable => "it can't be reached now",
        Kind::Full => "no space is left",
        Kind::Exhausted => "no file descriptors or memory are left",
        Kind::Config | Kind::Corrupt | Kind::Failure => "it failed; the log says why",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::error::Error;

    #[test]
    fn many_who_ask_cause_one_attempt() {
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&attempts);
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let probe = Probe::new("it", move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = released.lock().unwrap().recv();
            Ok(7)
        });
        probe.begin();
        thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| probe.finding())).collect();
            drop(release);
            for finding in asked {
                assert_eq!(finding.join().unwrap(), Ok(7));
            }
        });
        // Unless the machine stood still for as long as findings are kept.
        let most = 1 + probe.lock().last.map_or(0, |(ended, _)| ended.elapsed().as_secs());
        assert!(attempts.load(Ordering::SeqCst) as u64 <= most);
    }

    #[test]
    fn what_hangs_is_said_to_and_comes_back() {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let probe = Probe::new("it", move || {
            let _ = released.lock().unwrap().recv();
            Ok(())
        });
        let begun = Instant::now();
        assert_eq!(probe.finding(), Err(SILENCE));
        assert!(begun.elapsed() >= limits::PROBE_WAIT);
        // The attempt that hangs is known to: nobody waits for it again.
        assert_eq!(probe.finding(), Err(SILENCE));
        assert!(probe.lock().running.is_some_and(|since| since <= begun + limits::PROBE_WAIT));
        drop(release);
        while probe.lock().running.is_some() {
            thread::yield_now();
        }
        assert_eq!(probe.finding(), Ok(()));
    }

    #[test]
    fn errors_and_panics_are_told_without_their_texts() {
        for (kind, told) in [(Kind::Unavailable, "reached"), (Kind::Full, "space"), (Kind::Failure, "log")] {
            let probe = Probe::<()>::new("it", move || Err(Error::new(kind, "password=hunter2")));
            let reason = probe.finding().unwrap_err();
            assert!(reason.contains(told) && !reason.contains("hunter2"), "{reason}");
        }
        let probe = Probe::<()>::new("it", || panic!("on purpose"));
        assert_eq!(probe.finding(), Err(reason(Kind::Failure)));
    }
}
