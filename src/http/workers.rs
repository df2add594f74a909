//! The workers: a fixed number of threads and the queue in front of them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use super::permits::lock;
use crate::error::{Error, Result};
use crate::limits;

type Job = Box<dyn FnOnce() + Send>;

/// The workers' queue; cheap to clone. The threads end when the last clone is gone and the queue is empty.
#[derive(Clone)]
pub struct Workers(Arc<Handle>);

/// Closes the queue when it drops.
struct Handle(Arc<Queue>);

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    filled: Condvar,
}

#[derive(Default)]
struct Jobs {
    resumed: VecDeque<Job>,
    requests: VecDeque<Job>,
    closed: bool,
}

impl Workers {
    /// Starts `threads` workers, at least one.
    pub fn new(threads: usize) -> Result<Self> {
        let workers = Self(Arc::new(Handle(Arc::default())));
        for _ in 0..threads.max(1) {
            let queue = Arc::clone(&workers.0.0);
            thread::Builder::new()
                .name("http-worker".to_owned())
                .stack_size(limits::WORKER_STACK)
                .spawn(move || queue.work())
                .map_err(|error| Error::io("can't start a worker thread", error))?;
        }
        Ok(workers)
    }

    /// Hands in a job that goes before all requests and is never refused: bringing a parked exchange back.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        lock(&self.0.0.jobs).resumed.push_back(Box::new(job));
        self.0.0.filled.notify_one();
    }

    /// Hands in a request, unless `most` wait already: then `item` comes back.
    pub(super) fn offer<T: Send + 'static>(
        &self,
        most: usize,
        item: T,
        serve: fn(T),
    ) -> std::result::Result<(), T> {
        let mut jobs = lock(&self.0.0.jobs);
        if jobs.requests.len() >= most {
            return Err(item);
        }
        jobs.requests.push_back(Box::new(move || serve(item)));
        drop(jobs);
        self.0.0.filled.notify_one();
        Ok(())
    }
}

impl Queue {
    fn work(&self) {
        while let Some(job) = self.next() {
            // A panic costs the request it happened in: its exchange answers 500 as it is dropped.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                log::error!("a request ended in a panic; the worker goes on");
            }
        }
    }

    /// The next job, waiting for one; `None` when there will be no more.
    fn next(&self) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        loop {
            let resumed = jobs.resumed.pop_front();
            if let Some(job) = resumed.or_else(|| jobs.requests.pop_front()) {
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs = self.filled.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.0.jobs).closed = true;
        self.0.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// One worker that is busy until the sender is used, and what tells that it is.
    fn busy() -> (Workers, Sender<()>) {
        let workers = Workers::new(1).unwrap();
        let (release, released) = channel();
        let (started, start) = channel();
        workers.run(move || {
            started.send(()).unwrap();
            let _ = released.recv();
        });
        start.recv().unwrap();
        (workers, release)
    }

    fn note(workers: &Workers, name: &'static str, to: &Sender<&'static str>) -> std::result::Result<(), ()> {
        workers.offer(2, (name, to.clone()), |(name, to)| to.send(name).unwrap()).map_err(|_| ())
    }

    fn all(from: Receiver<&'static str>) -> Vec<&'static str> {
        from.into_iter().collect()
    }

    #[test]
    fn resumed_jobs_go_first_and_requests_are_bounded() {
        let (workers, release) = busy();
        let (to, from) = channel();
        assert!(note(&workers, "first", &to).is_ok() && note(&workers, "second", &to).is_ok());
        assert!(note(&workers, "third", &to).is_err());
        let resumed = to.clone();
        workers.run(move || resumed.send("resumed").unwrap());
        release.send(()).unwrap();
        drop(to);
        assert_eq!(all(from), ["resumed", "first", "second"]);
    }

    #[test]
    fn a_panic_costs_one_job() {
        let workers = Workers::new(1).unwrap();
        let (to, from) = channel();
        workers.run(|| panic!("on purpose"));
        note(&workers, "next", &to).unwrap();
        drop(to);
        assert_eq!(all(from), ["next"]);
    }

    #[test]
    fn jobs_that_wait_are_done_before_the_threads_end() {
        let (workers, release) = busy();
        let (to, from) = channel();
        note(&workers, "last", &to).unwrap();
        drop((workers, to));
        release.send(()).unwrap();
        assert_eq!(all(from), ["last"]);
    }
}
