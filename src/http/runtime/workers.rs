//! The workers: threads that come with the work, up to a number, and the queue in front of them. One that finds the queue
//! empty looks for work itself before it rests.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::http::limits::permits::lock;
use crate::limits;

type Job = Box<dyn FnOnce() + Send>;

/// Looks for work until that moment, and hands in what takes a worker; whether there was anything to do.
type Source = Box<dyn Fn(Instant) -> bool + Send + Sync>;

thread_local! {
    /// The address of the queue that this thread works for; 0 if it is no worker.
    static WORKS_FOR: Cell<usize> = const { Cell::new(0) };
}

/// The workers' queue; cheap to clone. The threads end when the last clone is gone and the queue is empty.
#[derive(Clone)]
pub struct Workers(Arc<Handle>);

/// Closes the queue when it drops.
struct Handle(Arc<Queue>);

struct Queue {
    /// Threads there may be.
    most: usize,
    /// How long one without work is kept.
    patience: Duration,
    /// Where those without work look for it.
    source: OnceLock<Source>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    resumed: VecDeque<Job>,
    requests: VecDeque<Job>,
    /// Workers without work. The last one in is the first one out: its memory is warm, and those below may retire.
    idle: Vec<Thread>,
    /// Workers, busy and idle.
    threads: usize,
    /// Whether a worker looks for work itself. One does at a time: the kernel would wake a second one for what the first
    /// is about to find.
    looking: bool,
    /// How often one began to.
    looks: u64,
    /// Whether a worker is on its way to the queue. It calls another one if it leaves work there; so no more of them
    /// wake than there is work for, and a job that takes long keeps nothing waiting.
    called: bool,
    closed: bool,
}

/// What the workers do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Threads there may be.
    pub most: usize,
    /// Those that have a job.
    pub busy: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
}

impl Workers {
    /// A queue for at most `threads` workers, at least one. The first [`limits::WORKERS_KEPT`] are started now; fails if
    /// they can't be.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_patience(threads, limits::WORKER_IDLE)
    }

    fn with_patience(threads: usize, patience: Duration) -> Result<Self> {
        let queue = Arc::new(Queue {
            most: threads.max(1),
            patience,
            source: OnceLock::new(),
            state: Mutex::default(),
        });
        for _ in 0..queue.kept() {
            lock(&queue.state).threads += 1;
            queue.spawn().map_err(|error| Error::io("can't start a worker thread", error))?;
        }
        Ok(Self(Arc::new(Handle(queue))))
    }

    /// Hands in a job that goes before all requests and is never refused: bringing a parked exchange back.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.0.0.state);
        state.resumed.push_back(Box::new(job));
        self.0.0.call(state);
    }

    /// What they do at the moment. Who looks for work is not busy.
    pub fn activity(&self) -> Activity {
        let state = lock(&self.0.0.state);
        let busy = state.threads.saturating_sub(state.idle.len() + usize::from(state.looking));
        Activity { most: self.0.0.most, busy, queued: state.resumed.len() + state.requests.len() }
    }

    /// Tells them where to look for work when the queue is empty: `source` waits for some until the moment it is given,
    /// hands it in, and says whether it found any. The first one told counts.
    pub fn look_at(&self, source: impl Fn(Instant) -> bool + Send + Sync + 'static) {
        let _ = self.0.0.source.set(Box::new(source));
    }

    /// Whether one looks for work, or began to since this was asked with the same `seen`.
    pub fn are_looking(&self, seen: &mut u64) -> bool {
        let state = lock(&self.0.0.state);
        let before = std::mem::replace(seen, state.looks);
        state.looking || before != state.looks
    }

    /// Hands in a request, unless `most` wait already: then `item` comes back. A worker must come to the queue soon: it
    /// takes the request, and calls others to what else waits.
    pub fn offer<T: Send + 'static>(&self, most: usize, item: T, serve: fn(T)) -> std::result::Result<(), T> {
        let mut state = lock(&self.0.0.state);
        if state.requests.len() >= most {
            return Err(item);
        }
        state.requests.push_back(Box::new(move || serve(item)));
        if !self.0.0.is_mine() {
            self.0.0.call(state);
        }
        Ok(())
    }
}

impl Queue {
    /// Calls a worker to the work that waits, unless one is on its way.
    fn call(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.called || !state.has_work() {
            return;
        }
        let idle = state.idle.pop();
        if idle.is_none() {
            if state.threads >= self.most {
                return;
            }
            state.threads += 1;
        }
        state.called = true;
        drop(state);
        match idle {
            Some(worker) => worker.unpark(),
            None => {
                if let Err(error) = self.spawn() {
                    log::warn!("can't start another worker thread: {error}");
                    self.give_up_call();
                }
            }
        }
    }

    /// No thread could be started, and there are others. One that has become idle meanwhile was not called to what came
    /// meanwhile, for one seemed to be on its way; all others look at the queue before they rest.
    fn give_up_call(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        (state.threads, state.called) = (state.threads - 1, false);
        if !state.idle.is_empty() {
            self.call(state);
        }
    }

    /// Workers that stay, whether there is work or not.
    fn kept(&self) -> usize {
        self.most.min(limits::WORKERS_KEPT)
    }

    fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    /// Whether this thread is one of the queue's workers.
    fn is_mine(self: &Arc<Self>) -> bool {
        WORKS_FOR.get() == self.address()
    }

    fn spawn(self: &Arc<Self>) -> std::io::Result<()> {
        let queue = Arc::clone(self);
        let thread = thread::Builder::new().name("http-worker".to_owned()).stack_size(limits::WORKER_STACK);
        thread.spawn(move || queue.work()).map(drop)
    }

    fn work(self: &Arc<Self>) {
        WORKS_FOR.set(self.address());
        let mut state = lock(&self.state);
        loop {
            state.called = false;
            while let Some(job) = state.next() {
                self.call(state);
                perform(job);
                state = lock(&self.state);
            }
            let after = match self.source.get() {
                Some(source) if state.may_look(self.most) => self.look(source, state),
                _ => self.rest(state),
            };
            match after {
                Some(again) => state = again,
                None => return,
            }
        }
    }

    /// Looks for work for a moment. Most clients that keep a connection have their next request at hand: whoever rests
    /// between two has to be woken for each.
    fn look<'a>(
        &'a self,
        source: &Source,
        mut state: MutexGuard<'a, State>,
    ) -> Option<MutexGuard<'a, State>> {
        (state.looking, state.looks) = (true, state.looks.wrapping_add(1));
        drop(state);
        let deadline = Instant::now() + limits::LOOK_TIME;
        let found = catch_unwind(AssertUnwindSafe(|| source(deadline))).unwrap_or_else(|_| {
            log::error!("a connection ended in a panic; the worker goes on");
            true
        });
        let mut state = lock(&self.state);
        state.looking = false;
        if found || state.has_work() { Some(state) } else { self.rest(state) }
    }

    /// Waits to be called; `None` if this worker is to end: the queue is closed, or nothing was left for it to do for
    /// long and it is not one of those that stay.
    fn rest<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Option<MutexGuard<'a, State>> {
        let (me, since) = (thread::current(), Instant::now());
        state.idle.push(me.clone());
        loop {
            let superfluous = since.elapsed() >= self.patience && state.threads > self.kept();
            // Whoever calls a worker takes it off the list.
            let place = state.idle.iter().rposition(|idle| idle.id() == me.id());
            match place {
                None => return Some(state),
                Some(place) if superfluous || state.closed => {
                    state.idle.remove(place);
                    state.threads -= 1;
                    return None;
                }
                Some(_) => {}
            }
            drop(state);
            thread::park_timeout(self.patience);
            state = lock(&self.state);
        }
    }
}

/// A panic costs the request it happened in: its exchange answers 500 as it is dropped.
fn perform(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        log::error!("a request ended in a panic; the worker goes on");
    }
}

impl State {
    /// Whether a worker may look for work: not if nobody would be left to do what comes into the queue meanwhile.
    fn may_look(&self, most: usize) -> bool {
        let spare = !self.idle.is_empty() || self.threads < most;
        spare && !self.looking
    }

    fn has_work(&self) -> bool {
        !self.resumed.is_empty() || !self.requests.is_empty()
    }

    fn next(&mut self) -> Option<Job> {
        self.resumed.pop_front().or_else(|| self.requests.pop_front())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.closed = true;
        for idle in &state.idle {
            idle.unpark();
        }
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

    /// Waits until so many threads are there, and idle.
    fn settle(workers: &Workers, threads: usize) {
        let settled = |state: &State| (state.threads, state.idle.len()) == (threads, threads);
        while !settled(&lock(&workers.0.0.state)) {
            thread::yield_now();
        }
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
    fn they_tell_what_they_do() {
        let (workers, release) = busy();
        let (to, from) = channel();
        note(&workers, "waits", &to).unwrap();
        assert_eq!(workers.activity(), Activity { most: 1, busy: 1, queued: 1 });
        release.send(()).unwrap();
        from.recv().unwrap();
        while workers.activity().busy > 0 {
            thread::yield_now();
        }
        assert_eq!(workers.activity(), Activity { most: 1, busy: 0, queued: 0 });
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

    #[test]
    fn jobs_that_take_long_keep_none_waiting_while_there_may_be_more_threads() {
        let workers = Workers::new(3).unwrap();
        settle(&workers, 3);
        let (arrive, arrived) = channel();
        let releases: Vec<_> = (0..4)
            .map(|number| {
                let (release, released) = channel::<()>();
                let arrive = arrive.clone();
                workers.run(move || {
                    arrive.send(number).unwrap();
                    let _ = released.recv();
                });
                release
            })
            .collect();
        let first: Vec<_> = (0..3).map(|_| arrived.recv().unwrap()).collect();
        assert!(first.iter().all(|number| *number < 3) && arrived.try_recv().is_err());
        drop(releases);
        assert_eq!(arrived.recv(), Ok(3));
        settle(&workers, 3);
    }

    /// What happens while a thread is started in vain: a worker becomes idle, and then a job comes.
    #[test]
    fn a_thread_that_can_t_be_started_leaves_nothing_waiting() {
        let workers = Workers::new(9).unwrap();
        settle(&workers, limits::WORKERS_KEPT);
        let queue = &workers.0.0;
        {
            let mut state = lock(&queue.state);
            (state.threads, state.called) = (state.threads + 1, true);
        }
        let (to, from) = channel();
        workers.run(move || to.send(()).unwrap());
        queue.give_up_call();
        assert_eq!(from.recv_timeout(Duration::from_secs(60)), Ok(()));
        settle(&workers, limits::WORKERS_KEPT);
    }

    #[test]
    fn threads_without_work_end_but_for_a_few() {
        let workers = Workers::with_patience(9, Duration::from_millis(1)).unwrap();
        keep_busy(&workers, 9);
        settle(&workers, limits::WORKERS_KEPT);
        let (to, from) = channel();
        workers.run(move || to.send(()).unwrap());
        from.recv().unwrap();
    }

    /// Keeps so many workers busy at a time, and lets them go.
    fn keep_busy(workers: &Workers, number: usize) {
        let together = Arc::new(std::sync::Barrier::new(number));
        for _ in 0..number {
            let together = Arc::clone(&together);
            workers.run(move || _ = together.wait());
        }
    }

    #[test]
    fn one_without_work_looks_for_it_if_another_is_left() {
        for (most, busy, looking) in [(1, 1, false), (2, 2, true), (99, 12, true)] {
            let workers = Workers::new(most).unwrap();
            settle(&workers, most.min(limits::WORKERS_KEPT));
            let (end, ended) = channel::<()>();
            let ended = Mutex::new(ended);
            workers.look_at(move |_| {
                let _ = lock(&ended).recv();
                false
            });
            let mut seen = 0;
            assert!(!workers.are_looking(&mut seen));
            keep_busy(&workers, busy);
            let idle = busy - usize::from(looking);
            let settled = |state: &State| (state.looking, state.idle.len()) == (looking, idle);
            while !settled(&lock(&workers.0.0.state)) {
                thread::yield_now();
            }
            assert_eq!(workers.activity().busy, 0);
            assert_eq!([(); 2].map(|()| workers.are_looking(&mut seen)), [looking; 2]);
            let (to, from) = channel();
            workers.run(move || to.send(()).unwrap());
            assert_eq!(from.recv(), Ok(()), "somebody is left for what comes meanwhile");
            drop(end);
            settle(&workers, busy);
            workers.are_looking(&mut seen);
            assert!(!workers.are_looking(&mut seen), "none began since");
        }
    }

    /// Has each look find what is next in `finds`, and hand it in; then nothing.
    fn find(workers: &Workers, finds: Vec<Vec<Job>>) {
        // Else one may look before both are kept busy.
        settle(workers, 2);
        let (handle, finds) = (Arc::downgrade(&workers.0), Mutex::new(finds.into_iter()));
        workers.look_at(move |_| {
            let (Some(handle), Some(jobs)) = (handle.upgrade(), lock(&finds).next()) else { return false };
            for job in jobs {
                Workers(Arc::clone(&handle)).offer(99, job, |job| job()).map_err(|_| ()).unwrap();
            }
            true
        });
        keep_busy(workers, 2);
    }

    #[test]
    fn what_they_find_is_done_and_more_is_looked_for() {
        let workers = Workers::new(2).unwrap();
        let (to, from) = channel();
        let told = |name| -> Job {
            let to = to.clone();
            Box::new(move || to.send(name).unwrap())
        };
        let fails: Job = Box::new(|| panic!("on purpose"));
        find(&workers, vec![vec![told("first")], vec![], vec![fails], vec![told("last")]]);
        assert_eq!([(); 2].map(|()| from.recv().unwrap()), ["first", "last"]);
        settle(&workers, 2);
    }

    #[test]
    fn what_one_finds_it_shares_with_another() {
        let workers = Workers::new(2).unwrap();
        let (to, from) = channel();
        let together = Arc::new(std::sync::Barrier::new(2));
        let job = || -> Job {
            let (together, to) = (Arc::clone(&together), to.clone());
            Box::new(move || {
                together.wait();
                to.send(()).unwrap();
            })
        };
        find(&workers, vec![vec![job(), job()]]);
        let patience = Duration::from_secs(60);
        assert_eq!([(); 2].map(|()| from.recv_timeout(patience)), [Ok(()); 2]);
        settle(&workers, 2);
    }

    #[test]
    fn a_look_that_panics_costs_no_worker() {
        let workers = Workers::new(2).unwrap();
        let (to, from) = channel();
        let looks = std::sync::atomic::AtomicUsize::new(0);
        workers.look_at(move |_| match looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => panic!("on purpose"),
            look => {
                let _ = to.send(look);
                false
            }
        });
        keep_busy(&workers, 2);
        assert_eq!(from.recv(), Ok(1));
        settle(&workers, 2);
    }

    #[test]
    fn what_a_worker_hands_in_it_takes_itself() {
        let workers = Workers::new(2).unwrap();
        // Else the other one may just come to the queue for the first time.
        settle(&workers, 2);
        let (to, from) = channel();
        let inner = workers.clone();
        workers.run(move || {
            let me = thread::current().id();
            let note = |(to, me): (Sender<bool>, _)| to.send(thread::current().id() == me).unwrap();
            inner.offer(1, (to, me), note).map_err(|_| ()).unwrap();
        });
        assert_eq!(from.recv(), Ok(true));
    }

    #[test]
    fn one_job_after_another_takes_no_more_threads() {
        let workers = Workers::new(8).unwrap();
        for _ in 0..100 {
            settle(&workers, limits::WORKERS_KEPT);
            let (to, from) = channel();
            workers.run(move || to.send(()).unwrap());
            from.recv().unwrap();
        }
    }
}
