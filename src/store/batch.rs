//! Group commit: what several threads want done at the same time, one of them does for all. A database that writes one
//! transaction at a time brings each to the disk by itself; together they wait for the disk once.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Jobs of type `J` with results of type `R`. The first to come does its job at once and alone; those who come meanwhile
/// are done together by the first of them.
pub(super) struct Batch<J, R> {
    state: Mutex<State<J, R>>,
    /// A batch has ended.
    ended: Condvar,
}

/// What became of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<R> {
    Done(R),
    /// Its turn did not come in time; it was not begun.
    Late,
    /// Whoever did it panicked.
    Lost,
}

struct State<J, R> {
    waiting: Vec<(Ticket, J)>,
    done: HashMap<Ticket, Outcome<R>>,
    /// Whether somebody is at work.
    busy: bool,
    next: Ticket,
}

type Ticket = u64;

impl<J, R> Batch<J, R> {
    pub(super) fn new() -> Self {
        let state = State { waiting: Vec::new(), done: HashMap::new(), busy: false, next: 0 };
        Self { state: Mutex::new(state), ended: Condvar::new() }
    }

    /// Has the job done, by `work` or by that of another thread, which waits for others for `wait` at most. `work` is
    /// given one job or more, and gives a result for each, in their order.
    pub(super) fn run(&self, job: J, wait: Duration, work: impl FnOnce(&[J]) -> Vec<R>) -> Outcome<R> {
        let deadline = Instant::now() + wait;
        let mut state = self.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push((ticket, job));
        loop {
            if let Some(outcome) = state.done.remove(&ticket) {
                return outcome;
            }
            if !state.busy {
                let mut at_work = AtWork::begin(self, state);
                at_work.results = work(&at_work.jobs);
                drop(at_work);
                return self.lock().done.remove(&ticket).unwrap_or(Outcome::Lost);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let queued = state.waiting.iter().position(|(waiting, _)| *waiting == ticket);
            state = match queued {
                Some(at) if left.is_zero() => {
                    state.waiting.remove(at);
                    return Outcome::Late;
                }
                Some(_) => self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                // It is being done: its result is worth waiting for.
                None => self.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch that is being done. Dropped, it hands the results out, and lets the next begin.
struct AtWork<'a, J, R> {
    batch: &'a Batch<J, R>,
    tickets: Vec<Ticket>,
    jobs: Vec<J>,
    results: Vec<R>,
}

impl<'a, J, R> AtWork<'a, J, R> {
    fn begin(batch: &'a Batch<J, R>, mut state: MutexGuard<'a, State<J, R>>) -> Self {
        state.busy = true;
        let (tickets, jobs) = state.waiting.drain(..).unzip();
        Self { batch, tickets, jobs, results: Vec::new() }
    }
}

impl<J, R> Drop for AtWork<'_, J, R> {
    fn drop(&mut self) {
        let mut state = self.batch.lock();
        let results = self.results.drain(..).map(Outcome::Done);
        let outcomes = results.chain(std::iter::repeat_with(|| Outcome::Lost));
        state.done.extend(self.tickets.drain(..).zip(outcomes));
        state.busy = false;
        self.batch.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn doubled(jobs: &[u32]) -> Vec<u32> {
        jobs.iter().map(|job| job * 2).collect()
    }

    impl<J, R> Batch<J, R> {
        fn await_waiting(&self, count: usize) {
            while self.lock().waiting.len() < count {
                thread::yield_now();
            }
        }
    }

    /// Runs `crowd` jobs while another is under way, which then ends as `end` says; how many were done at a time.
    fn sizes(batch: &Batch<u32, u32>, crowd: u32, end: impl FnOnce() + Send) -> Vec<usize> {
        let (sender, sizes) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let first = || {
                    batch.run(0, LONG, |jobs| {
                        begun.send(()).unwrap();
                        goes.recv().unwrap();
                        end();
                        doubled(jobs)
                    })
                };
                let _ = catch_unwind(AssertUnwindSafe(first));
            });
            begins.recv().unwrap();
            for job in 1..=crowd {
                let sender = sender.clone();
                scope.spawn(move || {
                    let outcome = batch.run(job, LONG, |jobs| {
                        sender.send(jobs.len()).unwrap();
                        doubled(jobs)
                    });
                    assert_eq!(outcome, Outcome::Done(job * 2));
                });
            }
            batch.await_waiting(crowd as usize);
            go.send(()).unwrap();
        });
        drop(sender);
        sizes.iter().collect()
    }

    #[test]
    fn one_alone_is_done_at_once() {
        let batch = Batch::new();
        for job in 0..3 {
            assert_eq!(batch.run(job, Duration::ZERO, doubled), Outcome::Done(job * 2));
        }
        assert!(batch.lock().done.is_empty());
    }

    #[test]
    fn those_who_come_meanwhile_are_done_together() {
        let batch = Batch::new();
        assert_eq!(sizes(&batch, 7, || {}), [7]);
        assert!(batch.lock().done.is_empty());
    }

    #[test]
    fn a_panic_costs_only_what_was_under_way() {
        let batch = Batch::new();
        assert_eq!(sizes(&batch, 3, || panic!("as the test wants")), [3]);
        let outcome = batch.run(1, LONG, |_| Vec::new());
        assert_eq!(outcome, Outcome::Lost, "no result is as bad");
        assert_eq!(batch.run(1, LONG, doubled), Outcome::Done(2));
    }

    #[test]
    fn who_is_late_is_not_done() {
        let batch = Batch::new();
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let batch = &batch;
            scope.spawn(move || {
                let first = batch.run(1, LONG, |jobs| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    doubled(jobs)
                });
                assert_eq!(first, Outcome::Done(2));
            });
            begins.recv().unwrap();
            assert_eq!(batch.run(2, Duration::ZERO, |_| panic!("its turn did not come")), Outcome::Late);
            assert!(batch.lock().waiting.is_empty());
            go.send(()).unwrap();
        });
    }

    #[test]
    fn everybody_gets_their_own_result() {
        let batch = Batch::new();
        thread::scope(|scope| {
            for thread in 0..8 {
                let batch = &batch;
                scope.spawn(move || {
                    for job in (thread * 1000)..(thread * 1000 + 500) {
                        assert_eq!(batch.run(job, LONG, doubled), Outcome::Done(job * 2));
                    }
                });
            }
        });
        let state = batch.lock();
        assert!(state.done.is_empty() && state.waiting.is_empty() && !state.busy);
    }
}
