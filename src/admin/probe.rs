//! Checks a part of the server in bounded time. Each attempt runs on a thread of its own, which may hang;
//! a fresh result is used again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::error::{Kind, Result};
use crate::limits;

/// A value, or the reason for its absence, in words that clients may read.
pub(super) type ProbeResult<T> = std::result::Result<T, &'static str>;

/// The reason of an attempt that takes too long.
pub(super) const SILENCE: &str = "no answer in time";

/// A part of the server that can be tried. One attempt runs at a time, however many requests want its result.
pub(super) struct HealthProbe<T> {
    name: &'static str,
    attempt: Box<dyn Fn() -> Result<T> + Send + Sync>,
    state: Mutex<ProbeState<T>>,
    ended: Condvar,
}

struct ProbeState<T> {
    /// When the attempt under way began.
    running: Option<Instant>,
    /// When the last attempt ended, and its result.
    last: Option<(Instant, ProbeResult<T>)>,
}

impl<T: Copy + Send + 'static> HealthProbe<T> {
    /// A probe that calls `attempt`; `name` is for the log.
    pub fn new(name: &'static str, attempt: impl Fn() -> Result<T> + Send + Sync + 'static) -> Arc<Self> {
        let state = Mutex::new(ProbeState { running: None, last: None });
        Arc::new(Self { name, attempt: Box::new(attempt), state, ended: Condvar::new() })
    }

    /// Begins an attempt, unless one is under way or the last result is fresh.
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

    /// The result that is known now. Waits for an attempt that is under way, at most [`limits::PROBE_WAIT`].
    pub fn finding(self: &Arc<Self>) -> ProbeResult<T> {
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

    fn end(&self, finding: ProbeResult<T>) {
        let mut state = self.lock();
        if finding.is_ok() && state.last.is_some_and(|(_, last)| last.is_err()) {
            log::info!("{} works again", self.name);
        }
        state.running = None;
        state.last = Some((Instant::now(), finding));
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, ProbeState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason that clients may read. The error itself goes to the log.
fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::Unavailable => "it can't be reached now",
        Kind::Full => "no space is left",
        Kind::Exhausted => "no file descriptors or memory are left",
        Kind::Config | Kind::Untranslatable | Kind::Corrupt | Kind::Failure => "it failed; the log says why",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::error::Error;

    #[test]
    fn concurrent_requests_share_one_attempt() {
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&attempts);
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let probe = HealthProbe::new("it", move || {
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
        // More only if the machine stood still for longer than a result is fresh.
        let max = 1 + probe.lock().last.map_or(0, |(ended, _)| ended.elapsed().as_secs());
        assert!(attempts.load(Ordering::SeqCst) as u64 <= max);
    }

    #[test]
    fn an_attempt_that_hangs_is_reported_until_it_ends() {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let probe = HealthProbe::new("it", move || {
            let _ = released.lock().unwrap().recv();
            Ok(())
        });
        let begun = Instant::now();
        assert_eq!(probe.finding(), Err(SILENCE));
        assert!(begun.elapsed() >= limits::PROBE_WAIT);
        // The next request does not wait for the same attempt again.
        assert_eq!(probe.finding(), Err(SILENCE));
        assert!(probe.lock().running.is_some_and(|since| since <= begun + limits::PROBE_WAIT));
        drop(release);
        while probe.lock().running.is_some() {
            thread::yield_now();
        }
        assert_eq!(probe.finding(), Ok(()));
    }

    #[test]
    fn reasons_hold_no_texts_of_errors_and_panics() {
        for (kind, told) in [(Kind::Unavailable, "reached"), (Kind::Full, "space"), (Kind::Failure, "log")] {
            let probe = HealthProbe::<()>::new("it", move || Err(Error::new(kind, "password=hunter2")));
            let reason = probe.finding().unwrap_err();
            assert!(reason.contains(told) && !reason.contains("hunter2"), "{reason}");
        }
        let probe = HealthProbe::<()>::new("it", || panic!("on purpose"));
        assert_eq!(probe.finding(), Err(reason(Kind::Failure)));
    }
}
