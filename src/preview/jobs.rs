//! How many previews are made at a time, how many may wait, and that each is made once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::model::Refusal;

/// The places where previews are made. Whoever waits does so on its own thread.
#[derive(Debug)]
pub struct Jobs<K> {
    most: usize,
    most_waiting: usize,
    state: Mutex<State<K>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<K> {
    /// What is being made; never twice at a time.
    keys: HashSet<K>,
    /// Places taken.
    running: usize,
    /// Threads that wait in the queue.
    waiting: usize,
}

/// A place that is taken; given back when it drops.
#[derive(Debug)]
pub struct Job<'a, K: Eq + Hash> {
    jobs: &'a Jobs<K>,
    key: Option<K>,
}

impl<K: Clone + Eq + Hash> Jobs<K> {
    /// `most` at a time, and `most_waiting` in the queue.
    pub fn new(most: usize, most_waiting: usize) -> Self {
        let state = State { keys: HashSet::new(), running: 0, waiting: 0 };
        Self { most: most.max(1), most_waiting, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes a place for `key` as soon as nobody else is at it; refused if the queue is full, or at the
    /// deadline.
    pub fn begin(&self, key: K, deadline: Instant) -> Result<Job<'_, K>, Refusal> {
        let state = self.lock();
        let free = state.running < self.most && !state.keys.contains(&key);
        if !free && state.waiting >= self.most_waiting {
            return Err(Refusal::TooManyPreviews);
        }
        self.wait(state, Some(key), deadline)
    }

    /// Takes a place outside the queue: for uploads, which are counted elsewhere.
    pub fn begin_upload(&self, deadline: Instant) -> Result<Job<'_, K>, Refusal> {
        self.wait(self.lock(), None, deadline)
    }

    fn wait(
        &self,
        mut state: MutexGuard<'_, State<K>>,
        key: Option<K>,
        deadline: Instant,
    ) -> Result<Job<'_, K>, Refusal> {
        let queued = usize::from(key.is_some());
        state.waiting += queued;
        while state.running >= self.most || key.as_ref().is_some_and(|key| state.keys.contains(key)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting -= queued;
                return Err(Refusal::TooManyPreviews);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= queued;
        state.running += 1;
        state.keys.extend(key.clone());
        Ok(Job { jobs: self, key })
    }
}

impl<K> Jobs<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Job<'_, K> {
    fn drop(&mut self) {
        let mut state = self.jobs.lock();
        state.running -= 1;
        if let Some(key) = &self.key {
            state.keys.remove(key);
        }
        self.jobs.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn wait_for_waiting(jobs: &Jobs<&str>, expected: usize) {
        while jobs.lock().waiting != expected {
            thread::yield_now();
        }
    }

    #[test]
    fn a_full_queue_refuses_and_a_deadline_ends_the_wait() {
        let jobs = Jobs::new(1, 1);
        let first = jobs.begin("a", later()).unwrap();
        assert_eq!(jobs.begin("b", Instant::now()).unwrap_err(), Refusal::TooManyPreviews);
        assert_eq!(jobs.begin_upload(Instant::now()).unwrap_err(), Refusal::TooManyPreviews);
        thread::scope(|scope| {
            let second = scope.spawn(|| jobs.begin("b", later()).map(drop));
            wait_for_waiting(&jobs, 1);
            assert_eq!(jobs.begin("c", later()).unwrap_err(), Refusal::TooManyPreviews);
            drop(first);
            second.join().unwrap().unwrap();
        });
        let state = jobs.lock();
        assert_eq!((state.running, state.waiting, state.keys.len()), (0, 0, 0));
    }

    #[test]
    fn one_key_is_worked_on_once_at_a_time() {
        let jobs = Jobs::new(8, 8);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _job = jobs.begin("a", later()).unwrap();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }
}
