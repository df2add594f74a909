//! The queue through which parked exchanges come back: other threads put jobs in, threads that hold turns do them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::http::lock::lock;
use crate::sys::{Epoll, Waker};

type Job = Box<dyn FnOnce() + Send>;

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
        lock(&self.0.jobs).push_back(Box::new(job));
        self.0.waker.wake();
    }

    /// Jobs that wait.
    pub(in crate::http) fn len(&self) -> usize {
        lock(&self.0.jobs).len()
    }

    pub(in crate::http) fn watch(&self, epoll: &Epoll, token: u64) -> io::Result<()> {
        epoll.watch_edges(&self.0.waker, token)
    }

    /// Does the first job. Another thread is called to the next one before that.
    pub(super) fn work(&self) {
        let (job, more) = {
            let mut jobs = lock(&self.0.jobs);
            (jobs.pop_front(), !jobs.is_empty())
        };
        if more {
            self.0.waker.wake();
        }
        if let Some(job) = job {
            job();
        }
    }
}
