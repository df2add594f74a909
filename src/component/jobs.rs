//! Jobs of the XMPP thread that may wait for the store. They run on worker threads of the HTTP server, few at a time, so
//! that requests over XMPP leave threads to those over HTTP.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::ResumeQueue;
use crate::limits;

/// A job. It is told `false` where the worker threads have no time for it; then it must end without waiting.
type Job = Box<dyn FnOnce(bool) + Send>;

/// The running and the waiting jobs; cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs {
    workers: ResumeQueue,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Jobs that may run at a time.
    max: usize,
    running: usize,
    waiting: VecDeque<Job>,
}

impl Jobs {
    /// Jobs on these worker threads, of which there are `threads`.
    pub(super) fn new(workers: ResumeQueue, threads: usize) -> Self {
        let max = (threads / limits::COMPONENT_SHARE).max(1);
        let state = State { max, running: 0, waiting: VecDeque::new() };
        Self { workers, state: Arc::new(Mutex::new(state)) }
    }

    /// Runs a job now, or after the waiting ones. If too many wait, the job is refused at once, on this thread.
    pub(super) fn run(&self, job: impl FnOnce(bool) + Send + 'static) {
        let mut state = self.lock();
        if state.running < state.max {
            state.running += 1;
            drop(state);
            self.start(Box::new(job));
        } else if state.waiting.len() < limits::COMPONENT_JOBS {
            state.waiting.push_back(Box::new(job));
        } else {
            drop(state);
            job(false);
        }
    }

    fn start(&self, job: Job) {
        let next = Next(self.clone());
        self.workers.run_apart(move |admitted| {
            job(admitted);
            drop(next);
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the next job when a job has ended, even in a panic.
struct Next(Jobs);

impl Drop for Next {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        match state.waiting.pop_front() {
            Some(job) => {
                drop(state);
                self.0.start(job);
            }
            None => state.running -= 1,
        }
    }
}
