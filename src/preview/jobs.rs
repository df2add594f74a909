//! How many previews are made at a time, how many may wait, and that each is made once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::model::Refusal;

/// The places where previews are made. Whoever waits does so on its own thread.
#[derive(Debug)]
pub struct Jobs<K> {
    state: Mutex<State<K>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<K> {
    most: usize,
    most_waiting: usize,
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
        let state = State { most: most.max(1), most_waiting, keys: HashSet::new(), running: 0, waiting: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Other numbers from now on; what runs or waits already goes on.
    pub fn resize(&self, most: usize, most_waiting: usize) {
        let mut state = self.lock();
        (state.most, state.most_waiting) = (most.max(1), most_waiting);
        self.changed.notify_all();
    }

    /// Takes a place for `key` as soon as nobody else is at it; refused if the queue is full, or at the
    /// deadline.
    pub fn begin(&self, key: K, deadline: Instant) -> Result<Job<'_, K>, Refusal> {
        self.wait(Some(key), deadline)
    }

    /// Takes a place for an upload, of which there is no second. It waits in the same queue: all who wait
    /// are fewer than there are workers.
    pub fn begin_upload(&self, deadline: Instant) -> Result<Job<'_, K>, Refusal> {
        self.wait(None, deadline)
    }

    fn wait(&self, key: Option<K>, deadline: Instant) -> Result<Job<'_, K>, Refusal> {
        let mut state = self.lock();
        if !state.is_free(key.as_ref()) {
            if state.waiting >= state.most_waiting {
                return Err(Refusal::TooManyPreviews);
            }
            state.waiting += 1;
            state = self.queue(state, key.as_ref(), deadline);
            state.waiting -= 1;
            if !state.is_free(key.as_ref()) {
                return Err(Refusal::TooManyPreviews);
            }
        }
        state.running += 1;
        state.keys.extend(key.clone());
        Ok(Job { jobs: self, key })
    }
}

impl<K: Eq + Hash> Jobs<K> {
    /// How many places are taken, and how many threads wait in the queue.
    pub fn activity(&self) -> (usize, usize) {
        let state = self.lock();
        (state.running, state.waiting)
    }

    /// Waits until there is a place, or the deadline.
    fn queue<'a>(
        &self,
        mut state: MutexGuard<'a, State<K>>,
        key: Option<&K>,
        deadline: Instant,
    ) -> MutexGuard<'a, State<K>> {
        while !state.is_free(key) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> State<K> {
    fn is_free(&self, key: Option<&K>) -> bool {
        self.running < self.most && !key.is_some_and(|key| self.keys.contains(key))
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
            assert_eq!(jobs.begin_upload(later()).unwrap_err(), Refusal::TooManyPreviews);
            drop(first);
            second.join().unwrap().unwrap();
        });
        let state = jobs.lock();
        assert_eq!((state.running, state.waiting, state.keys.len()), (0, 0, 0));
    }

    #[test]
    fn more_places_are_taken_by_those_who_wait() {
        let jobs = Jobs::new(1, 1);
        let _first = jobs.begin("a", later()).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| jobs.begin_upload(later()).map(drop));
            wait_for_waiting(&jobs, 1);
            jobs.resize(2, 0);
            second.join().unwrap().unwrap();
        });
        let _second = jobs.begin("b", later()).unwrap();
        assert_eq!(jobs.begin("c", later()).unwrap_err(), Refusal::TooManyPreviews);
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
