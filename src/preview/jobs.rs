//! Limits of previews: how many are made at a time, and how many may wait. Each is made once.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits;
use crate::model::Refusal;

/// The places where previews are made. A request waits on its own thread.
#[derive(Debug)]
pub struct Jobs<K> {
    state: Mutex<State<K>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<K> {
    max: usize,
    max_waiting: usize,
    /// The jobs in progress; never two with the same key.
    keys: HashSet<K>,
    /// Places taken.
    running: usize,
    /// The waiting requests, the oldest first.
    waiting: Vec<Waiter<K>>,
    /// The networks of those who wait, in the order of their turns.
    turns: VecDeque<Option<IpAddr>>,
    /// Those who waited so far.
    tickets: u64,
}

/// A thread in the queue.
#[derive(Debug)]
struct Waiter<K> {
    ticket: u64,
    network: Option<IpAddr>,
    key: Option<K>,
}

/// A place that is taken; given back when it drops.
#[derive(Debug)]
pub struct Job<'a, K: Eq + Hash> {
    jobs: &'a Jobs<K>,
    key: Option<K>,
}

impl<K: Clone + Eq + Hash> Jobs<K> {
    /// `max` at a time, and `max_waiting` in the queue.
    pub fn new(max: usize, max_waiting: usize) -> Self {
        let state = State {
            max: max.max(1),
            max_waiting,
            keys: HashSet::new(),
            running: 0,
            waiting: Vec::new(),
            turns: VecDeque::new(),
            tickets: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Other numbers from now on; what runs or waits already goes on.
    pub fn resize(&self, max: usize, max_waiting: usize) {
        let mut state = self.lock();
        (state.max, state.max_waiting) = (max.max(1), max_waiting);
        self.changed.notify_all();
    }

    /// Takes a place for `key` in the turn of the client's network, as soon as nobody else is at it; refused if the
    /// queue, or the network's part of it, is full, or at the deadline.
    pub fn begin(&self, key: K, network: Option<IpAddr>, deadline: Instant) -> Result<Job<'_, K>, Refusal> {
        self.wait(Some(key), network, deadline)
    }

    /// Takes a place for an upload, of which there is no second. It waits in the same queue: all who wait
    /// are fewer than there are workers.
    pub fn begin_upload(&self, deadline: Instant) -> Result<Job<'_, K>, Refusal> {
        self.wait(None, None, deadline)
    }

    fn wait(
        &self,
        key: Option<K>,
        network: Option<IpAddr>,
        deadline: Instant,
    ) -> Result<Job<'_, K>, Refusal> {
        let mut state = self.lock();
        if state.is_free(key.as_ref()) && state.next().is_none() {
            state.run(key.as_ref());
            return Ok(Job { jobs: self, key });
        }
        let ticket = state.queue(key.clone(), network)?;
        while state.next() != Some(ticket) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.leave(ticket, false);
                // It may have been the turn of this one.
                self.changed.notify_all();
                return Err(Refusal::TooManyPreviews);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.leave(ticket, true);
        state.run(key.as_ref());
        // There may be another place for the next one.
        self.changed.notify_all();
        Ok(Job { jobs: self, key })
    }
}

impl<K: Eq + Hash> Jobs<K> {
    /// How many places are taken, and how many threads wait in the queue.
    pub fn activity(&self) -> (usize, usize) {
        let state = self.lock();
        (state.running, state.waiting.len())
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn run(&mut self, key: Option<&K>) {
        self.running += 1;
        self.keys.extend(key.cloned());
    }
}

impl<K: Eq + Hash> State<K> {
    fn is_free(&self, key: Option<&K>) -> bool {
        self.running < self.max && !key.is_some_and(|key| self.keys.contains(key))
    }

    /// Takes a place in the queue. A request for a preview that is made for another one costs nothing, and does not count.
    fn queue(&mut self, key: Option<K>, network: Option<IpAddr>) -> Result<u64, Refusal> {
        let is_known = |key: &K| {
            self.keys.contains(key) || self.waiting.iter().any(|waiter| waiter.key.as_ref() == Some(key))
        };
        let same = self.waiting.iter().filter(|waiter| waiter.network == network).count();
        let too_many =
            network.is_some() && same >= limits::PREVIEWS_QUEUED && !key.as_ref().is_some_and(is_known);
        if self.waiting.len() >= self.max_waiting || too_many {
            return Err(Refusal::TooManyPreviews);
        }
        self.tickets += 1;
        self.waiting.push(Waiter { ticket: self.tickets, network, key });
        if !self.turns.contains(&network) {
            self.turns.push_back(network);
        }
        Ok(self.tickets)
    }

    /// The next request: the oldest that can run, of the first network that has one.
    fn next(&self) -> Option<u64> {
        self.turns.iter().find_map(|network| {
            let mut waiters = self.waiting.iter().filter(|waiter| waiter.network == *network);
            waiters.find(|waiter| self.is_free(waiter.key.as_ref())).map(|waiter| waiter.ticket)
        })
    }

    /// Leaves the queue. If it was served, the network's next turn comes after those of the others.
    fn leave(&mut self, ticket: u64, served: bool) {
        let Some(at) = self.waiting.iter().position(|waiter| waiter.ticket == ticket) else { return };
        let network = self.waiting.remove(at).network;
        let waits = self.waiting.iter().any(|waiter| waiter.network == network);
        if served || !waits {
            self.turns.retain(|other| *other != network);
        }
        if served && waits {
            self.turns.push_back(network);
        }
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
        while jobs.lock().waiting.len() != expected {
            thread::yield_now();
        }
    }

    #[test]
    fn a_full_queue_refuses_and_a_deadline_ends_the_wait() {
        let jobs = Jobs::new(1, 1);
        let first = jobs.begin("a", None, later()).unwrap();
        assert_eq!(jobs.begin("b", None, Instant::now()).unwrap_err(), Refusal::TooManyPreviews);
        assert_eq!(jobs.begin_upload(Instant::now()).unwrap_err(), Refusal::TooManyPreviews);
        thread::scope(|scope| {
            let second = scope.spawn(|| jobs.begin("b", None, later()).map(drop));
            wait_for_waiting(&jobs, 1);
            assert_eq!(jobs.begin("c", None, later()).unwrap_err(), Refusal::TooManyPreviews);
            assert_eq!(jobs.begin_upload(later()).unwrap_err(), Refusal::TooManyPreviews);
            drop(first);
            second.join().unwrap().unwrap();
        });
        let state = jobs.lock();
        assert_eq!((state.running, state.waiting.len(), state.keys.len()), (0, 0, 0));
    }

    #[test]
    fn a_waiting_request_takes_a_place_that_a_resize_adds() {
        let jobs = Jobs::new(1, 1);
        let _first = jobs.begin("a", None, later()).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| jobs.begin_upload(later()).map(drop));
            wait_for_waiting(&jobs, 1);
            jobs.resize(2, 0);
            second.join().unwrap().unwrap();
        });
        let _second = jobs.begin("b", None, later()).unwrap();
        assert_eq!(jobs.begin("c", None, later()).unwrap_err(), Refusal::TooManyPreviews);
    }

    #[test]
    fn one_key_is_worked_on_once_at_a_time() {
        let jobs = Jobs::new(8, 8);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _job = jobs.begin("a", None, later()).unwrap();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }

    #[test]
    fn networks_have_their_turns_and_few_places_each() {
        let jobs = Jobs::new(1, 8);
        let network = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let served = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let first = jobs.begin("running", network(1), later()).unwrap();
            for (waiting, (key, last)) in [("a", 1), ("b", 1), ("c", 2), ("d", 3)].into_iter().enumerate() {
                let (jobs, served) = (&jobs, &served);
                scope.spawn(move || {
                    let _job = jobs.begin(key, network(last), later()).unwrap();
                    served.lock().unwrap().push(key);
                });
                wait_for_waiting(jobs, waiting + 1);
            }
            assert_eq!(jobs.begin("e", network(1), later()).unwrap_err(), Refusal::TooManyPreviews);
            // A request waits if the same preview is being made for another one.
            assert_eq!(
                jobs.begin("running", network(1), Instant::now()).unwrap_err(),
                Refusal::TooManyPreviews
            );
            assert_eq!(jobs.activity(), (1, 4));
            drop(first);
        });
        assert_eq!(*served.lock().unwrap(), ["a", "c", "d", "b"]);
        assert_eq!(jobs.activity(), (0, 0));
    }
}
