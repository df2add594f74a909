//! A model of the worker threads: every interleaving of three threads and the clock is walked through, with the rules held
//! after each step. A step is what a thread does under the pool's lock, or between two such moments.

use std::collections::HashSet;

use super::*;

/// Threads of the model.
const THREADS: usize = 3;

/// The state of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// It has not been started, or has ended.
    Nowhere,
    /// It holds this turn, and waits for events or handles one that does not wait.
    Holds(usize),
    /// It holds this turn, and is stuck at an event.
    Stuck(usize),
    /// It may leave its turn for a job, but has not handed the turn over.
    Leaves(usize, Successor<usize>),
    /// It does a job without a turn.
    Works,
    /// It waits for its mail.
    Idle,
}

/// The threads, their mail, and what is still to happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Model {
    pool: Pool<(), usize>,
    threads: [At; THREADS],
    /// Turns on their way to idle threads; `None` ends the thread.
    mail: [Option<Option<usize>>; THREADS],
    /// The clock lends a turn, but has not handed it over: the successor, the turn, the turn that it replaces.
    lends: Option<(Successor<usize>, usize, usize)>,
    /// Turns whose threads give them up.
    replaced: Vec<usize>,
    /// Requests that may wait and are still to come.
    jobs: usize,
    /// How often a thread may still be stuck.
    stalls: usize,
    /// Jobs that were refused.
    refused: usize,
    /// Jobs that were done.
    done: usize,
}

impl Model {
    fn new(bounds: Bounds, turns: usize, jobs: usize, stalls: usize) -> Self {
        let at = |thread| if thread < turns { At::Holds(thread) } else { At::Nowhere };
        Self {
            pool: Pool::new(bounds, turns),
            threads: std::array::from_fn(at),
            mail: [None; THREADS],
            lends: None,
            replaced: Vec::new(),
            jobs,
            stalls,
            refused: 0,
            done: 0,
        }
    }

    /// Every state that one step of one thread leads to.
    fn steps(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for thread in 0..THREADS {
            self.steps_of(thread, &mut next);
        }
        self.steps_of_clock(&mut next);
        next
    }

    fn steps_of(&self, thread: usize, next: &mut Vec<Self>) {
        let mut step = |work: &dyn Fn(&mut Self)| {
            let mut model = self.clone();
            work(&mut model);
            next.push(model);
        };
        match &self.threads[thread] {
            At::Nowhere => {}
            &At::Holds(turn) => {
                if self.jobs > 0 {
                    step(&|model| model.leave(thread, turn));
                }
                if self.stalls > 0 {
                    step(&|model| {
                        model.stalls -= 1;
                        model.threads[thread] = At::Stuck(turn);
                    });
                }
                if self.replaced.contains(&turn) {
                    step(&|model| {
                        model.replaced.retain(|other| *other != turn);
                        let after = model.pool.retire(thread);
                        model.threads[thread] = At::after(&after);
                    });
                }
            }
            &At::Stuck(turn) => step(&|model| model.threads[thread] = At::Holds(turn)),
            &At::Leaves(turn, successor) => {
                step(&|model| {
                    if model.hand_over(turn, successor) {
                        model.threads[thread] = At::Works;
                    } else {
                        model.refused += 1 + model.pool.cannot_leave().len();
                        model.threads[thread] = At::Holds(turn);
                    }
                });
            }
            At::Works => step(&|model| {
                model.done += 1;
                let after = model.pool.finish(thread);
                model.threads[thread] = At::after(&after);
            }),
            At::Idle => match self.mail[thread] {
                Some(mail) => step(&|model| {
                    model.mail[thread] = None;
                    model.threads[thread] = mail.map_or(At::Nowhere, At::Holds);
                }),
                None => step(&|model| {
                    if model.pool.tire(&thread) {
                        model.threads[thread] = At::Nowhere;
                    }
                }),
            },
        }
    }

    fn steps_of_clock(&self, next: &mut Vec<Self>) {
        let mut model = self.clone();
        if let Some((successor, turn, replaced)) = model.lends.take() {
            if model.hand_over(turn, successor) {
                model.replaced.push(replaced);
            } else {
                model.pool.cannot_lend();
            }
            next.push(model);
        } else if let Some(replaced) = self.stuck_turn()
            && let Some(successor) = model.pool.lend()
        {
            model.lends = Some((successor, self.free_name(), replaced));
            next.push(model);
        }
    }

    /// A name for a turn that no turn has: names are used again, so that there are few states.
    fn free_name(&self) -> usize {
        let names = self.held();
        (0..).find(|name| !names.contains(name)).expect("there are more names than turns")
    }

    /// The turns that threads hold, or that are on their way to one.
    fn held(&self) -> Vec<usize> {
        let with_threads = self.threads.iter().filter_map(|at| match at {
            At::Holds(turn) | At::Stuck(turn) | At::Leaves(turn, _) => Some(*turn),
            At::Nowhere | At::Works | At::Idle => None,
        });
        let in_the_mail = self.mail.iter().filter_map(|mail| mail.flatten());
        with_threads.chain(in_the_mail).chain(self.lends.iter().map(|(_, turn, _)| *turn)).collect()
    }

    /// If every turn is stuck: one that is not replaced yet.
    fn stuck_turn(&self) -> Option<usize> {
        let free = |at: &At| matches!(at, At::Holds(_) | At::Leaves(..));
        if self.threads.iter().any(free) || self.mail.iter().any(Option::is_some) {
            return None;
        }
        self.threads.iter().find_map(|at| match at {
            At::Stuck(turn) if !self.replaced.contains(turn) => Some(*turn),
            _ => None,
        })
    }

    fn leave(&mut self, thread: usize, turn: usize) {
        self.jobs -= 1;
        match self.pool.leave(()) {
            Leave::Go((), successor) => self.threads[thread] = At::Leaves(turn, successor),
            Leave::Deferred => {}
            Leave::Refused(()) => self.refused += 1,
        }
    }

    /// Hands a turn to its successor; false if no thread can be started.
    fn hand_over(&mut self, turn: usize, successor: Successor<usize>) -> bool {
        match successor {
            Successor::Idle(thread) => {
                assert!(self.mail[thread].is_none(), "a thread gets one turn at a time");
                self.mail[thread] = Some(Some(turn));
                true
            }
            Successor::New => match self.threads.iter().position(|at| *at == At::Nowhere) {
                Some(thread) => {
                    self.threads[thread] = At::Holds(turn);
                    true
                }
                None => false,
            },
        }
    }

    fn check(&self, turns: usize) {
        let count = |is: &dyn Fn(&At) -> bool| self.threads.iter().filter(|at| is(at)).count();
        let mut held = self.held();
        let state = self.pool.state();
        assert_eq!(held.len(), state.turns, "every turn has a thread: {self:?}");
        held.sort_unstable();
        held.dedup();
        assert_eq!(held.len(), state.turns, "no turn has two threads: {self:?}");
        assert_eq!(state.turns - state.lent, turns, "turns are neither lost nor made: {self:?}");
        let working = count(&|at| matches!(at, At::Works | At::Leaves(..)));
        assert_eq!(working, state.left, "{self:?}");
        assert!(state.left <= self.pool.bounds.left, "{self:?}");
        assert!(state.deferred <= self.pool.bounds.deferred, "{self:?}");
        assert!(state.deferred == 0 || state.left > 0, "no thread does the job: {self:?}");
        let coming = |successor: &Successor<usize>| usize::from(*successor == Successor::New);
        let leaving = self.threads.iter().map(|at| match at {
            At::Leaves(_, successor) => coming(successor),
            _ => 0,
        });
        let started = leaving.sum::<usize>() + self.lends.iter().map(|(new, ..)| coming(new)).sum::<usize>();
        assert_eq!(count(&|at| *at != At::Nowhere) + started, self.pool.threads, "{self:?}");
    }

    /// Nothing is left to happen: every job has ended, and no turn is lent for good.
    fn check_end(&self, jobs: usize) {
        assert_eq!(self.done + self.refused, jobs, "{self:?}");
        let state = self.pool.state();
        assert_eq!((state.left, state.deferred, state.lent), (0, 0, 0), "{self:?}");
    }
}

impl At {
    /// The state of a thread after a job or a turn.
    fn after(next: &Next<()>) -> Self {
        match next {
            Next::Run(()) => Self::Works,
            Next::Wait => Self::Idle,
            Next::End => Self::Nowhere,
        }
    }
}

/// Walks through every state; returns how many there are.
fn walk(bounds: Bounds, turns: usize, jobs: usize, stalls: usize) -> usize {
    let mut seen = HashSet::new();
    let mut open = vec![Model::new(bounds, turns, jobs, stalls)];
    while let Some(model) = open.pop() {
        if !seen.insert(model.clone()) {
            continue;
        }
        model.check(turns);
        let mut next = model.steps();
        // An idle thread that goes on waiting changes nothing.
        next.retain(|other| *other != model);
        if next.is_empty() {
            model.check_end(jobs);
        }
        open.extend(next);
    }
    seen.len()
}

#[test]
fn no_interleaving_loses_a_turn_or_a_job() {
    let mut states = 0;
    for (turns, left, deferred, kept) in
        [(1, 1, 0, 0), (1, 1, 2, 1), (1, 2, 1, 0), (2, 1, 1, 0), (2, 1, 2, 1), (2, 2, 0, 1), (2, 3, 3, 3)]
    {
        states += walk(Bounds { left, deferred, kept }, turns, 4, 2);
    }
    assert!(states > 5_000, "only {states} states were walked through");
}

fn bounds(left: usize, deferred: usize, kept: usize) -> Bounds {
    Bounds { left, deferred, kept }
}

#[test]
fn jobs_beyond_the_bounds_are_deferred_in_order_and_then_refused() {
    let mut pool = Pool::<_, usize>::new(bounds(1, 2, 1), 2);
    assert_eq!(pool.leave("a"), Leave::Go("a", Successor::New));
    assert_eq!([pool.leave("b"), pool.leave("c")], [Leave::Deferred, Leave::Deferred]);
    assert_eq!(pool.leave("d"), Leave::Refused("d"));
    assert_eq!(
        [pool.finish(7), pool.finish(7), pool.finish(7)],
        [Next::Run("b"), Next::Run("c"), Next::Wait]
    );
    assert_eq!(pool.leave("e"), Leave::Go("e", Successor::Idle(7)));
}

#[test]
fn the_last_idle_thread_is_the_first_to_be_woken_and_those_beyond_the_kept_end() {
    let mut pool = Pool::new(bounds(3, 0, 1), 1);
    for job in 1..=3 {
        assert_eq!(pool.leave(job), Leave::Go(job, Successor::New));
    }
    for worker in 1..=3 {
        assert_eq!(pool.finish(worker), Next::Wait);
    }
    assert!(pool.tire(&1) && pool.tire(&2) && !pool.tire(&3));
    assert_eq!(pool.leave(4), Leave::Go(4, Successor::Idle(3)));
    assert!(!pool.tire(&3), "its turn is on the way");
}

#[test]
fn a_closed_pool_ends_its_threads_when_they_have_nothing_to_do() {
    let mut pool = Pool::new(bounds(1, 1, 1), 2);
    assert_eq!(pool.leave("a"), Leave::Go("a", Successor::New));
    assert_eq!(pool.leave("b"), Leave::Deferred);
    assert_eq!(pool.close(), Vec::<usize>::new());
    assert_eq!([pool.finish(1), pool.finish(1)], [Next::Run("b"), Next::End]);
    pool.end_turn();
    pool.end_turn();
    assert_eq!((pool.state(), pool.threads), (PoolState::default(), 0));
    assert_eq!(pool.lend(), None);
}
