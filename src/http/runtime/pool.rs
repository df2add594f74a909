//! The rules of the worker threads: which hold turns, which have left their turns, which are idle. No I/O and no thread: the shell
//! in `turns.rs` calls these functions under one lock and does what they return. The tests walk through every
//! interleaving of three threads.
//!
//! A *turn* is the right to wait for events and to handle them. There are as many turns as processors. A thread that must
//! wait for something else leaves its turn: it hands the turn to a successor first, so a turn is never without a thread.

use std::collections::VecDeque;

/// The bounds of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Jobs that may run without a turn at a time.
    pub left: usize,
    /// Jobs that may wait for that.
    pub deferred: usize,
    /// Idle threads that are kept.
    pub kept: usize,
}

/// The state of the pool. `J` is a job that may wait, `W` names an idle worker thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool<J, W> {
    bounds: Bounds,
    /// Threads, whatever they do.
    threads: usize,
    /// Turns, including lent ones.
    turns: usize,
    /// Turns that are lent besides the usual ones.
    lent: usize,
    /// Jobs that run without a turn.
    left: usize,
    deferred: VecDeque<J>,
    /// The last one in is the first one out: its memory is warm, and those below may end.
    idle: Vec<W>,
    closed: bool,
}

/// The thread that takes a turn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Successor<W> {
    /// This one, which was idle and must be woken.
    Idle(W),
    /// A thread that must be started.
    New,
}

/// The answer to a thread that wants to leave its turn for a job.
#[derive(Debug, PartialEq, Eq)]
pub enum Leave<J, W> {
    /// It hands its turn to the successor, and does the job.
    Go(J, Successor<W>),
    /// It keeps its turn; another thread does the job later.
    Deferred,
    /// It keeps its turn; too many jobs wait already.
    Refused(J),
}

/// The next step of a thread without a turn and without a job.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<J> {
    /// It does this job.
    Run(J),
    /// It waits until it is woken with a turn.
    Wait,
    /// It ends.
    End,
}

/// The numbers of turns and jobs at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Turns, including lent ones.
    pub turns: usize,
    /// Turns that are lent.
    pub lent: usize,
    /// Jobs that run without a turn.
    pub left: usize,
    /// Jobs that wait for that.
    pub deferred: usize,
}

impl<J, W: PartialEq> Pool<J, W> {
    /// A pool of `turns` threads, each with a turn; the caller starts them.
    pub fn new(bounds: Bounds, turns: usize) -> Self {
        Self {
            bounds,
            threads: turns,
            turns,
            lent: 0,
            left: 0,
            deferred: VecDeque::new(),
            idle: Vec::new(),
            closed: false,
        }
    }

    /// A thread with a turn has a job that may wait.
    pub fn leave(&mut self, job: J) -> Leave<J, W> {
        if self.left < self.bounds.left {
            self.left += 1;
            // Jobs are deferred although there is room if a thread could not leave: they come first.
            self.deferred.push_back(job);
            return match self.deferred.pop_front() {
                Some(job) => Leave::Go(job, self.successor()),
                None => Leave::Deferred,
            };
        }
        if self.deferred.len() >= self.bounds.deferred {
            return Leave::Refused(job);
        }
        self.deferred.push_back(job);
        Leave::Deferred
    }

    /// No thread could be started to take the turn over: the thread that wanted to leave keeps it. Returns the jobs that no
    /// thread would do.
    pub fn cannot_leave(&mut self) -> VecDeque<J> {
        self.left -= 1;
        self.threads -= 1;
        if self.left == 0 { std::mem::take(&mut self.deferred) } else { VecDeque::new() }
    }

    /// Every turn is stuck: one more is lent, as long as no more are lent than jobs may run without a turn.
    pub fn lend(&mut self) -> Option<Successor<W>> {
        if self.closed || self.lent >= self.bounds.left {
            return None;
        }
        self.lent += 1;
        self.turns += 1;
        Some(self.successor())
    }

    /// No thread could be started for the turn that was to be lent.
    pub fn cannot_lend(&mut self) {
        self.lent -= 1;
        self.turns -= 1;
        self.threads -= 1;
    }

    /// A thread gives up its turn, because one was lent while it was stuck.
    pub fn retire(&mut self, me: W) -> Next<J> {
        self.lent -= 1;
        self.turns -= 1;
        self.rest(me)
    }

    /// A thread has done a job without a turn.
    pub fn finish(&mut self, me: W) -> Next<J> {
        if let Some(job) = self.deferred.pop_front() {
            return Next::Run(job);
        }
        self.left -= 1;
        self.rest(me)
    }

    /// An idle thread has waited long: whether it ends. If not, it waits on.
    pub fn tire(&mut self, me: &W) -> bool {
        let place = self.idle.iter().position(|idle| idle == me);
        match place {
            Some(place) if self.idle.len() > self.bounds.kept || self.closed => {
                self.idle.remove(place);
                self.threads -= 1;
                true
            }
            // Without a place among the idle, it has been chosen: its turn is on the way.
            _ => false,
        }
    }

    /// The server is stopping: threads end when they have nothing to do. Returns the idle ones, which end now.
    pub fn close(&mut self) -> Vec<W> {
        self.closed = true;
        self.threads -= self.idle.len();
        std::mem::take(&mut self.idle)
    }

    /// A thread with a turn ends, because the server has stopped.
    pub fn end_turn(&mut self) {
        self.turns -= 1;
        self.threads -= 1;
    }

    /// The numbers of turns and jobs at the moment.
    pub fn state(&self) -> PoolState {
        PoolState { turns: self.turns, lent: self.lent, left: self.left, deferred: self.deferred.len() }
    }

    fn successor(&mut self) -> Successor<W> {
        if let Some(idle) = self.idle.pop() {
            return Successor::Idle(idle);
        }
        self.threads += 1;
        Successor::New
    }

    fn rest(&mut self, me: W) -> Next<J> {
        if self.closed {
            self.threads -= 1;
            return Next::End;
        }
        self.idle.push(me);
        Next::Wait
    }
}

#[cfg(test)]
mod tests;
