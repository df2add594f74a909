//! Turns: who waits longest is next, and does what others wait for, too, if that can be done together.

use std::collections::HashMap;
use std::iter;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that one thread at a time may do. SQLite lets writers poll for their lock, with pauses, so that whoever comes
/// back at once has it again; those of this process take turns instead. Group commit: jobs of type `J`, with results of
/// type `R`, are done together in the turn of the first of them, so that a database that brings each transaction to the
/// disk by itself waits for the disk once.
pub(super) struct Turns<J, R> {
    state: Mutex<State<J, R>>,
    /// A turn has ended.
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
    /// In the order of their coming. A job may be done in the turn of another.
    waiting: Vec<(Ticket, Option<J>)>,
    done: HashMap<Ticket, Outcome<R>>,
    /// Whether somebody has their turn.
    taken: bool,
    next: Ticket,
}

type Ticket = u64;

impl<J, R> Turns<J, R> {
    pub(super) fn new() -> Self {
        let state = State { waiting: Vec::new(), done: HashMap::new(), taken: false, next: 0 };
        Self { state: Mutex::new(state), ended: Condvar::new() }
    }

    /// Waits for a turn, for `wait` at most.
    pub(super) fn take(&self, wait: Duration) -> Option<Turn<'_, J, R>> {
        self.queue(None, wait).ok()
    }

    /// Has the job done, by `work` or by that of another thread, which waits for its turn for `wait` at most. `work` is
    /// given one job or more, and gives a result for each, in their order.
    pub(super) fn run(&self, job: J, wait: Duration, work: impl FnOnce(&[J]) -> Vec<R>) -> Outcome<R> {
        let mut turn = match self.queue(Some(job), wait) {
            Ok(turn) => turn,
            Err(outcome) => return outcome,
        };
        let mut results = work(&turn.jobs).into_iter();
        let own = results.next();
        turn.results = results.collect();
        own.map_or(Outcome::Lost, Outcome::Done)
    }

    /// Waits for a turn, or else for what becomes of the job without one.
    fn queue(&self, job: Option<J>, wait: Duration) -> Result<Turn<'_, J, R>, Outcome<R>> {
        let deadline = Instant::now() + wait;
        let mut state = self.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push((ticket, job));
        loop {
            if let Some(outcome) = state.done.remove(&ticket) {
                return Err(outcome);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            state = match state.waiting.iter().position(|(waiting, _)| *waiting == ticket) {
                Some(0) if !state.taken => return Ok(Turn::begin(self, state)),
                Some(at) if left.is_zero() => {
                    state.waiting.remove(at);
                    return Err(Outcome::Late);
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

/// Ends with it: then the results are handed out, and the next may begin.
pub(super) struct Turn<'a, J, R> {
    turns: &'a Turns<J, R>,
    /// The jobs that are done in it: first that of who has the turn, if there is one.
    jobs: Vec<J>,
    /// Whose the others are, and what came of them.
    others: Vec<Ticket>,
    results: Vec<R>,
}

impl<'a, J, R> Turn<'a, J, R> {
    /// The turn of the first who waits; if it has a job, that of all who have one.
    fn begin(turns: &'a Turns<J, R>, mut state: MutexGuard<'a, State<J, R>>) -> Self {
        state.taken = true;
        let mut turn = Self { turns, jobs: Vec::new(), others: Vec::new(), results: Vec::new() };
        if let (_, Some(own)) = state.waiting.remove(0) {
            turn.jobs.push(own);
            for (ticket, job) in state.waiting.extract_if(.., |(_, job)| job.is_some()) {
                turn.others.push(ticket);
                turn.jobs.extend(job);
            }
        }
        turn
    }
}

impl<J, R> Drop for Turn<'_, J, R> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        let results = self.results.drain(..).map(Outcome::Done);
        let outcomes = results.chain(iter::repeat_with(|| Outcome::Lost));
        state.done.extend(self.others.drain(..).zip(outcomes));
        state.taken = false;
        self.turns.ended.notify_all();
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

    impl<J, R> Turns<J, R> {
        fn await_waiting(&self, count: usize) {
            while self.lock().waiting.len() < count {
                thread::yield_now();
            }
        }
    }

    /// Runs `crowd` jobs while another is under way, which then ends as `end` says; how many were done at a time.
    fn sizes(turns: &Turns<u32, u32>, crowd: u32, end: impl FnOnce() + Send) -> Vec<usize> {
        let (sender, sizes) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let first = || {
                    turns.run(0, LONG, |jobs| {
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
                    let outcome = turns.run(job, LONG, |jobs| {
                        sender.send(jobs.len()).unwrap();
                        doubled(jobs)
                    });
                    assert_eq!(outcome, Outcome::Done(job * 2));
                });
            }
            turns.await_waiting(crowd as usize);
            go.send(()).unwrap();
        });
        drop(sender);
        sizes.iter().collect()
    }

    #[test]
    fn one_alone_is_done_at_once() {
        let turns = Turns::new();
        for job in 0..3 {
            assert_eq!(turns.run(job, Duration::ZERO, doubled), Outcome::Done(job * 2));
        }
        assert!(turns.lock().done.is_empty());
    }

    #[test]
    fn those_who_come_meanwhile_are_done_together() {
        let turns = Turns::new();
        assert_eq!(sizes(&turns, 7, || {}), [7]);
        assert!(turns.lock().done.is_empty());
    }

    #[test]
    fn a_panic_costs_only_what_was_under_way() {
        let turns = Turns::new();
        assert_eq!(sizes(&turns, 3, || panic!("as the test wants")), [3]);
        let outcome = turns.run(1, LONG, |_| Vec::new());
        assert_eq!(outcome, Outcome::Lost, "no result is as bad");
        assert_eq!(turns.run(1, LONG, doubled), Outcome::Done(2));
        assert!(turns.lock().done.is_empty());
    }

    #[test]
    fn who_is_late_is_not_done() {
        let turns = Turns::new();
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let turns = &turns;
            scope.spawn(move || {
                let first = turns.run(1, LONG, |jobs| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    doubled(jobs)
                });
                assert_eq!(first, Outcome::Done(2));
            });
            begins.recv().unwrap();
            assert_eq!(turns.run(2, Duration::ZERO, |_| panic!("its turn did not come")), Outcome::Late);
            assert!(turns.lock().waiting.is_empty());
            go.send(()).unwrap();
        });
    }

    #[test]
    fn everybody_gets_their_own_result() {
        let turns = Turns::new();
        thread::scope(|scope| {
            for thread in 0..8 {
                let turns = &turns;
                scope.spawn(move || {
                    for job in (thread * 1000)..(thread * 1000 + 500) {
                        assert_eq!(turns.run(job, LONG, doubled), Outcome::Done(job * 2));
                    }
                });
            }
        });
        let state = turns.lock();
        assert!(state.done.is_empty() && state.waiting.is_empty() && !state.taken);
    }

    #[test]
    fn each_has_its_turn_in_the_order_of_coming() {
        let (turns, served) = (Turns::<(), ()>::new(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let first = turns.take(LONG).unwrap();
            for number in 1..=5 {
                let (turns, served) = (&turns, &served);
                scope.spawn(move || {
                    let _turn = turns.take(LONG).unwrap();
                    served.lock().unwrap().push(number);
                });
                turns.await_waiting(number);
            }
            drop(first);
        });
        assert_eq!(served.into_inner().unwrap(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn jobs_do_not_overtake_who_wants_a_turn_but_with_another_job() {
        let (turns, served) = (Turns::new(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let first = turns.take(LONG).unwrap();
            for (at, job) in [Some(1), None, Some(2), None, Some(3)].into_iter().enumerate() {
                let (turns, served) = (&turns, &served);
                scope.spawn(move || match job {
                    Some(job) => {
                        let work = |jobs: &[u32]| {
                            served.lock().unwrap().push(jobs.to_vec());
                            doubled(jobs)
                        };
                        assert_eq!(turns.run(job, LONG, work), Outcome::Done(job * 2));
                    }
                    None => {
                        let _turn = turns.take(LONG).unwrap();
                        served.lock().unwrap().push(Vec::new());
                    }
                });
                turns.await_waiting(at + 1);
            }
            drop(first);
        });
        assert_eq!(served.into_inner().unwrap(), [vec![1, 2, 3], vec![], vec![]]);
    }

    #[test]
    fn who_has_waited_long_enough_leaves_the_queue() {
        let turns = Turns::<(), ()>::new();
        let first = turns.take(Duration::ZERO).unwrap();
        assert!(turns.take(Duration::from_millis(1)).is_none());
        drop(first);
        drop(turns.take(Duration::ZERO).unwrap());
        assert!(turns.lock().waiting.is_empty());
    }

    #[test]
    fn only_one_has_its_turn() {
        let (turns, inside) = (Turns::<(), ()>::new(), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _turn = turns.take(LONG).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                        inside.fetch_sub(1, Ordering::Relaxed);
                    }
                });
            }
        });
    }
}
