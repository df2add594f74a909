//! Group commit: writes wait in a queue, and the thread whose turn it is does all that wait, in their order.

use std::collections::HashMap;
use std::iter;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A queue of jobs of type `J`, with results of type `R`, of which one batch is done at a time. SQLite lets writers poll for
/// their lock, with pauses, so that the thread that comes back at once has it again; here each has its turn. The first job
/// of the queue takes the others along, so that a database that brings each transaction to the disk by itself waits for
/// the disk once.
pub(super) struct Queue<J, R> {
    state: Mutex<State<J, R>>,
    /// A turn has ended.
    ended: Condvar,
}

/// The end of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completion<R> {
    Done(R),
    /// Its turn did not come in time; it was not begun.
    Late,
    /// The thread that did it panicked.
    Lost,
}

struct State<J, R> {
    /// In the order of their coming.
    waiting: Vec<(Ticket, J)>,
    done: HashMap<Ticket, Completion<R>>,
    /// Whether a batch is being done.
    is_taken: bool,
    next: Ticket,
}

type Ticket = u64;

impl<J, R> Queue<J, R> {
    pub(super) fn new() -> Self {
        let state = State { waiting: Vec::new(), done: HashMap::new(), is_taken: false, next: 0 };
        Self { state: Mutex::new(state), ended: Condvar::new() }
    }

    /// Has the job done, by `work` or by that of another thread. Its turn must come within `wait`. `work` is given one
    /// job or more, and gives a result for each, in their order.
    pub(super) fn run(&self, job: J, wait: Duration, work: impl FnOnce(&[J]) -> Vec<R>) -> Completion<R> {
        let mut batch = match self.join(job, wait) {
            Ok(batch) => batch,
            Err(completion) => return completion,
        };
        let mut results = work(&batch.jobs).into_iter();
        let own = results.next();
        batch.results = results.collect();
        own.map_or(Completion::Lost, Completion::Done)
    }

    /// Waits for the job's turn, or for its end in the turn of another.
    fn join(&self, job: J, wait: Duration) -> Result<Batch<'_, J, R>, Completion<R>> {
        let deadline = Instant::now() + wait;
        let mut state = self.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push((ticket, job));
        loop {
            if let Some(completion) = state.done.remove(&ticket) {
                return Err(completion);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            state = match state.waiting.iter().position(|(waiting, _)| *waiting == ticket) {
                Some(0) if !state.is_taken => return Ok(Batch::begin(self, state)),
                Some(at) if left.is_zero() => {
                    state.waiting.remove(at);
                    return Err(Completion::Late);
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

/// The jobs that are done together. Dropped, it hands out the results, and the next batch may begin.
struct Batch<'a, J, R> {
    queue: &'a Queue<J, R>,
    /// The first is that of the thread that does them.
    jobs: Vec<J>,
    /// The tickets of the others, and their results.
    others: Vec<Ticket>,
    results: Vec<R>,
}

impl<'a, J, R> Batch<'a, J, R> {
    fn begin(queue: &'a Queue<J, R>, mut state: MutexGuard<'a, State<J, R>>) -> Self {
        state.is_taken = true;
        let (tickets, jobs): (Vec<_>, Vec<_>) = state.waiting.drain(..).unzip();
        Self { queue, jobs, others: tickets[1..].to_vec(), results: Vec::new() }
    }
}

impl<J, R> Drop for Batch<'_, J, R> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let results = self.results.drain(..).map(Completion::Done);
        let completions = results.chain(iter::repeat_with(|| Completion::Lost));
        state.done.extend(self.others.drain(..).zip(completions));
        state.is_taken = false;
        // Those that are woken want this lock.
        drop(state);
        self.queue.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn doubled(jobs: &[u32]) -> Vec<u32> {
        jobs.iter().map(|job| job * 2).collect()
    }

    impl<J, R> Queue<J, R> {
        fn await_waiting(&self, count: usize) {
            while self.lock().waiting.len() < count {
                thread::yield_now();
            }
        }
    }

    /// Runs `crowd` jobs while another is under way, which then ends as `end` says; how many were done at a time.
    fn sizes(queue: &Queue<u32, u32>, crowd: u32, end: impl FnOnce() + Send) -> Vec<usize> {
        let (sender, sizes) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let first = || {
                    queue.run(0, LONG, |jobs| {
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
                    let completion = queue.run(job, LONG, |jobs| {
                        sender.send(jobs.len()).unwrap();
                        doubled(jobs)
                    });
                    assert_eq!(completion, Completion::Done(job * 2));
                });
            }
            queue.await_waiting(crowd as usize);
            go.send(()).unwrap();
        });
        drop(sender);
        sizes.iter().collect()
    }

    #[test]
    fn a_job_alone_is_done_at_once() {
        let queue = Queue::new();
        for job in 0..3 {
            assert_eq!(queue.run(job, Duration::ZERO, doubled), Completion::Done(job * 2));
        }
        assert!(queue.lock().done.is_empty());
    }

    #[test]
    fn jobs_that_come_meanwhile_are_done_together() {
        let queue = Queue::new();
        assert_eq!(sizes(&queue, 7, || {}), [7]);
        assert!(queue.lock().done.is_empty());
    }

    #[test]
    fn a_panic_costs_the_batch_that_was_under_way() {
        let queue = Queue::new();
        assert_eq!(sizes(&queue, 3, || panic!("as the test wants")), [3]);
        let completion = queue.run(1, LONG, |_| Vec::new());
        assert_eq!(completion, Completion::Lost, "no result is as bad");
        assert_eq!(queue.run(1, LONG, doubled), Completion::Done(2));
        assert!(queue.lock().done.is_empty());
    }

    #[test]
    fn a_late_job_is_not_done() {
        let queue = Queue::new();
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let queue = &queue;
            scope.spawn(move || {
                let first = queue.run(1, LONG, |jobs| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    doubled(jobs)
                });
                assert_eq!(first, Completion::Done(2));
            });
            begins.recv().unwrap();
            assert_eq!(queue.run(2, Duration::ZERO, |_| panic!("its turn did not come")), Completion::Late);
            assert!(queue.lock().waiting.is_empty());
            go.send(()).unwrap();
        });
    }

    #[test]
    fn each_job_has_its_own_result() {
        let queue = Queue::new();
        thread::scope(|scope| {
            for thread in 0..8 {
                let queue = &queue;
                scope.spawn(move || {
                    for job in (thread * 1000)..(thread * 1000 + 500) {
                        assert_eq!(queue.run(job, LONG, doubled), Completion::Done(job * 2));
                    }
                });
            }
        });
        let state = queue.lock();
        assert!(state.done.is_empty() && state.waiting.is_empty() && !state.is_taken);
    }

    #[test]
    fn one_batch_is_done_at_a_time_in_the_order_of_coming() {
        let (queue, inside, served) = (Queue::<u32, u32>::new(), AtomicU32::new(0), Mutex::new(Vec::new()));
        let work = |jobs: &[u32]| {
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
            served.lock().unwrap().extend_from_slice(jobs);
            inside.fetch_sub(1, Ordering::Relaxed);
            doubled(jobs)
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for job in 0..500 {
                        assert_eq!(queue.run(job, LONG, work), Completion::Done(job * 2));
                    }
                });
            }
        });
        assert_eq!(served.lock().unwrap().len(), 2000);
        served.lock().unwrap().clear();
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let (queue, work) = (&queue, &work);
            scope.spawn(move || {
                queue.run(0, LONG, |jobs| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    work(jobs)
                })
            });
            begins.recv().unwrap();
            for job in 1..=5 {
                scope.spawn(move || queue.run(job, LONG, work));
                queue.await_waiting(job as usize);
            }
            go.send(()).unwrap();
        });
        assert_eq!(served.into_inner().unwrap(), [0, 1, 2, 3, 4, 5]);
    }
}
