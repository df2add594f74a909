//! Reads cached rows again that have become old, on threads of their own, so that a request waits for that only for a
//! moment. While the database does not answer, it is served the old row.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::Name;
use crate::limits;
use crate::model::Channel;

/// The row that is read again.
pub(super) type Wanted = (Channel, Name);

type Job = Box<dyn FnOnce() + Send>;

/// The reads that are under way.
#[derive(Default)]
pub(super) struct Refresher {
    state: Mutex<State>,
    /// A read has begun to wait, or has ended.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Since when each is wanted.
    running: HashMap<Wanted, Instant>,
    queue: VecDeque<(Wanted, Job)>,
    threads: usize,
    idle: usize,
}

impl Refresher {
    /// Whether a read of this row has been under way for so long that it is not waited for.
    pub fn is_stuck(&self, wanted: &Wanted, now: Instant) -> bool {
        let since = self.lock().running.get(wanted).copied();
        since.is_some_and(|since| now.duration_since(since) >= limits::ROW_PATIENCE)
    }

    /// Has `read` done on another thread, unless a read of the same row is under way, and waits for its end, at most
    /// [`limits::ROW_PATIENCE`].
    pub fn refresh(self: &Arc<Self>, wanted: &Wanted, read: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if !state.running.contains_key(wanted) {
            state.running.insert(wanted.clone(), Instant::now());
            state.queue.push_back((wanted.clone(), Box::new(read)));
            if state.idle == 0 && state.threads < limits::ROW_READERS {
                self.start_thread(&mut state);
            }
            self.changed.notify_all();
        }
        let waits = |state: &mut State| state.threads > 0 && state.running.contains_key(wanted);
        drop(self.changed.wait_timeout_while(state, limits::ROW_PATIENCE, waits));
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) {
        let refresher = Arc::clone(self);
        let thread = thread::Builder::new().name("rows".to_owned()).stack_size(limits::WORKER_STACK);
        match thread.spawn(move || refresher.work()) {
            Ok(_) => state.threads += 1,
            Err(error) => log::warn!("can't start a thread that reads rows: {error}"),
        }
    }

    /// Reads rows until there is nothing to read for a while. Runs on a thread `rows`.
    fn work(&self) {
        while let Some((wanted, read)) = self.next() {
            let ended = End { refresher: self, wanted: &wanted };
            read();
            drop(ended);
        }
    }

    fn next(&self) -> Option<(Wanted, Job)> {
        let mut state = self.lock();
        state.idle += 1;
        let empty = |state: &mut State| state.queue.is_empty();
        let waited = self.changed.wait_timeout_while(state, limits::WORKER_IDLE, empty);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.idle -= 1;
        let next = state.queue.pop_front();
        if next.is_none() {
            state.threads -= 1;
        }
        next
    }

    /// A panic leaves no state half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a read, even one that panics; a panic also ends its thread.
struct End<'a> {
    refresher: &'a Refresher,
    wanted: &'a Wanted,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut state = self.refresher.lock();
        state.running.remove(self.wanted);
        if thread::panicking() {
            state.threads -= 1;
        }
        self.refresher.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn wanted(name: &str) -> Wanted {
        (format!("{name}@example.org").parse().unwrap(), Name::Avatar)
    }

    #[test]
    fn a_read_is_waited_for_but_not_for_long() {
        let refresher = Arc::new(Refresher::default());
        let (tell, told) = channel();
        refresher.refresh(&wanted("quick"), move || tell.send(()).unwrap());
        assert!(told.try_recv().is_ok(), "it has been waited for");
        let (release, released) = channel::<()>();
        let begun = Instant::now();
        refresher.refresh(&wanted("slow"), move || _ = released.recv());
        assert!(begun.elapsed() >= limits::ROW_PATIENCE);
        assert!(refresher.is_stuck(&wanted("slow"), Instant::now()));
        assert!(!refresher.is_stuck(&wanted("quick"), Instant::now()));
        refresher.refresh(&wanted("slow"), || panic!("one read at a time"));
        drop(release);
        while refresher.is_stuck(&wanted("slow"), Instant::now()) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_read_that_panics_has_ended() {
        let refresher = Arc::new(Refresher::default());
        refresher.refresh(&wanted("a"), || panic!("on purpose"));
        while refresher.is_stuck(&wanted("a"), Instant::now() + limits::ROW_PATIENCE) {
            thread::yield_now();
        }
        let (tell, told) = channel();
        refresher.refresh(&wanted("a"), move || tell.send(()).unwrap());
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(()));
    }
}
