//! The queue through which parked exchanges come back, and jobs of other threads come in: threads that hold turns do
//! them, or leave their turns for those that may wait.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use super::turns;
use crate::error::{Error, Result};
use crate::http::lock::lock;
use crate::sys::{Epoll, Waker};

/// A job for a worker thread.
pub(super) enum Job {
    /// Done by the thread that takes it: it does not wait.
    Short(Box<dyn FnOnce() + Send>),
    /// Done without a turn: it may wait.
    MayWait(turns::Job),
}

/// The queue; cheap to clone. Jobs wait in it until a [`crate::http::Server`] is started with it.
#[derive(Clone)]
pub struct ResumeQueue(Arc<Inner>);

struct Inner {
    jobs: Mutex<VecDeque<Job>>,
    /// Reported once for each time that it is written to.
    waker: Waker,
}

impl ResumeQueue {
    /// An empty queue.
    pub fn new() -> Result<Self> {
        let waker =
            Waker::new().map_err(|error| Error::io("can't make the queue of decided requests", error))?;
        Ok(Self(Arc::new(Inner { jobs: Mutex::default(), waker })))
    }

    /// Has a job done on a worker thread that holds a turn; the job must not wait.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.push(Job::Short(Box::new(job)));
    }

    /// Has a job done on a worker thread without a turn, where it may wait for the disk or the database. It is told
    /// `false` if too many jobs wait for such a thread; then it must end without waiting.
    pub fn run_apart(&self, job: impl FnOnce(bool) + Send + 'static) {
        self.push(Job::MayWait(Box::new(job)));
    }

    fn push(&self, job: Job) {
        lock(&self.0.jobs).push_back(job);
        self.0.waker.wake();
    }

    /// Jobs that wait.
    pub(in crate::http) fn len(&self) -> usize {
        lock(&self.0.jobs).len()
    }

    pub(in crate::http) fn watch(&self, epoll: &Epoll, token: u64) -> io::Result<()> {
        epoll.watch_edges(&self.0.waker, token)
    }

    /// The first job. Another thread is called to the next one.
    pub(super) fn take(&self) -> Option<Job> {
        let mut jobs = lock(&self.0.jobs);
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            self.0.waker.wake();
        }
        job
    }
}
