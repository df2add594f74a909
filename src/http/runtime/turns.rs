//! The worker threads: each holds a turn and handles events, or has left its turn for a job that may wait, or is idle.
//! `pool.rs` has the rules; this file has the threads, their wake-ups and the events they have in hand.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::pool::{Bounds, Leave, Next, Pool, PoolState, Successor};
use crate::http::lock::lock;
use crate::limits;
use crate::sys::{Epoll, Events};

/// Work that may wait, and so is done without a turn. It is told `false` when there are too many such jobs: then it must
/// end without waiting.
pub type Job = Box<dyn FnOnce(bool) + Send>;

/// An event: the token of what is ready, and whether its other end has hung up.
pub type Report = (u64, bool);

/// The server that the threads work for.
pub trait Host: Send + Sync + 'static {
    /// Its turns.
    fn turns(&self) -> &Turns;

    /// Handles one event. It runs on a thread that holds a turn, and must not wait.
    fn handle(self: &Arc<Self>, report: Report);

    /// Has an event handled by another thread: its own is stuck at the one before.
    fn put_back(self: &Arc<Self>, report: Report);

    /// Called when an event might have to wait for the one before it, so that the turns are looked at.
    fn may_be_stuck(&self);
}

thread_local! {
    /// The turn that this thread holds.
    static HELD: RefCell<Option<Arc<Turn>>> = const { RefCell::new(None) };
}

/// Whether this thread holds a turn, and so must not wait.
pub fn holds_turn() -> bool {
    HELD.with_borrow(Option::is_some)
}

/// A turn: the right to wait for events, and the events that its thread has in hand.
#[derive(Debug, Default)]
pub struct Turn {
    in_hand: Mutex<VecDeque<Report>>,
    /// Odd while its thread handles an event, even while it waits; another number for each event.
    beat: AtomicU64,
    /// The beat at the last look.
    looked: AtomicU64,
    /// Whether a turn was lent because this one was stuck: its thread gives it up after its event.
    replaced: AtomicBool,
}

impl Turn {
    fn set_busy(&self, busy: bool) {
        // Only the thread that holds the turn writes it.
        let beat = self.beat.load(Ordering::Relaxed);
        self.beat.store((beat | 1) + 1 + u64::from(busy), Ordering::Relaxed);
    }

    /// Whether it is at the same event as at the last look.
    fn is_stuck(&self) -> bool {
        let beat = self.beat.load(Ordering::Relaxed);
        self.looked.swap(beat, Ordering::Relaxed) == beat && beat % 2 == 1
    }
}

/// The mailbox of an idle thread.
#[derive(Debug, Default)]
struct Mailbox {
    task: Mutex<Option<Task>>,
    come: Condvar,
}

/// A task for an idle thread.
#[derive(Debug)]
enum Task {
    Hold(Arc<Turn>),
    End,
}

/// A worker, as the pool knows it: by its mailbox.
#[derive(Clone, Debug)]
struct Worker(Arc<Mailbox>);

impl PartialEq for Worker {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The worker threads of one server.
pub struct Turns {
    pool: Mutex<Pool<Job, Worker>>,
    /// The turns that there are.
    turns: Mutex<Vec<Arc<Turn>>>,
    /// Threads that wait for events.
    waiting: AtomicUsize,
    ended: AtomicBool,
    turn_ended: Condvar,
    epoll: Epoll,
}

impl Turns {
    /// Turns over the events of `epoll`, before their threads are started.
    pub fn new(epoll: Epoll, bounds: Bounds, turns: usize) -> Self {
        Self {
            pool: Mutex::new(Pool::new(bounds, turns)),
            turns: Mutex::new((0..turns).map(|_| Arc::default()).collect()),
            waiting: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            turn_ended: Condvar::new(),
            epoll,
        }
    }

    /// The descriptors that are watched for events.
    pub fn epoll(&self) -> &Epoll {
        &self.epoll
    }

    /// Waits for events and takes them in hand; whether one might have to wait for another, or the next for all of them.
    fn wait_for_events(&self, turn: &Turn, events: &mut Events) -> bool {
        turn.set_busy(false);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waited = self.epoll.wait(events, None);
        let last = self.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
        turn.set_busy(true);
        if let Err(error) = waited {
            // Only a bug can make epoll fail; the pause keeps it from filling the log.
            log::error!("can't wait for connections: {error}");
            thread::sleep(limits::ACCEPT_PAUSE);
        }
        let mut in_hand = lock(&turn.in_hand);
        in_hand.extend(events.reports());
        last || in_hand.len() > 1
    }

    /// Whether an event might have to wait: no thread waits for one, or a thread has several in hand.
    pub fn may_be_stuck(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
            || lock(&self.turns).iter().any(|turn| !lock(&turn.in_hand).is_empty())
    }

    /// The thread that holds this turn gives it up.
    fn retire(&self, turn: &Arc<Turn>, me: &Worker) -> Next<Job> {
        HELD.set(None);
        lock(&self.turns).retain(|other| !Arc::ptr_eq(other, turn));
        lock(&self.pool).retire(me.clone())
    }

    /// The thread ends with its turn.
    fn end_turn(&self) {
        HELD.set(None);
        lock(&self.pool).end_turn();
        self.turn_ended.notify_all();
    }

    /// Waits as an idle thread; `None` if the thread is to end.
    fn wait(&self, me: &Worker) -> Option<Arc<Turn>> {
        let mut task = lock(&me.0.task);
        loop {
            match task.take() {
                Some(Task::Hold(turn)) => return Some(turn),
                Some(Task::End) => return None,
                None => {}
            }
            let waited = me.0.come.wait_timeout(task, limits::WORKER_IDLE);
            let (mailbox, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            task = mailbox;
            if timeout.timed_out() && task.is_none() {
                // The pool's lock is never taken below a mailbox's.
                drop(task);
                if lock(&self.pool).tire(me) {
                    return None;
                }
                task = lock(&me.0.task);
            }
        }
    }

    /// The numbers of turns and jobs at the moment.
    pub fn state(&self) -> PoolState {
        lock(&self.pool).state()
    }

    /// Ends the threads that hold turns, once something wakes them, and those that are idle; waits for the former, for a
    /// moment.
    pub fn end(&self, wake: impl Fn(), within: Duration) {
        self.ended.store(true, Ordering::Release);
        wake();
        let idle = lock(&self.pool).close();
        for Worker(mailbox) in idle {
            mailbox.post(Task::End);
        }
        let deadline = Instant::now() + within;
        let mut pool = lock(&self.pool);
        while pool.state().turns > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            pool = self.turn_ended.wait_timeout(pool, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Starts a thread for each turn.
pub fn start(host: &Arc<impl Host>) -> io::Result<()> {
    let turns = lock(&host.turns().turns).clone();
    turns.into_iter().try_for_each(|turn| spawn(host, turn))
}

/// Does the job without a turn: on this thread, if it may leave its turn, or later on another one.
pub fn leave(host: &Arc<impl Host>, job: Job) {
    let Some(turn) = HELD.take() else { return job(true) };
    let step = lock(&host.turns().pool).leave(job);
    match step {
        Leave::Go(job, successor) => match hand_over(host, &turn, successor) {
            Ok(()) => job(true),
            Err(error) => {
                let others = lock(&host.turns().pool).cannot_leave();
                HELD.set(Some(turn));
                log::warn!("can't start another worker thread: {error}");
                others.into_iter().chain([job]).for_each(|job| job(false));
            }
        },
        Leave::Deferred => HELD.set(Some(turn)),
        Leave::Refused(job) => {
            HELD.set(Some(turn));
            job(false);
        }
    }
}

/// Looks for turns that have been at the same event since the last look. The events that their threads have in hand are
/// put back; if every turn is stuck, another one is lent.
pub fn look(host: &Arc<impl Host>) {
    let turns = lock(&host.turns().turns).clone();
    let mut all = true;
    for turn in &turns {
        if turn.is_stuck() {
            let events = std::mem::take(&mut *lock(&turn.in_hand));
            events.into_iter().for_each(|report| host.put_back(report));
        } else {
            all = false;
        }
    }
    if all {
        lend(host, &turns);
    }
}

/// Lends a turn because those are stuck. One of them is given up for it later.
fn lend(host: &Arc<impl Host>, stuck: &[Arc<Turn>]) {
    let turns = host.turns();
    let Some(replaced) = stuck.iter().find(|turn| !turn.replaced.load(Ordering::Acquire)) else { return };
    let Some(successor) = lock(&turns.pool).lend() else { return };
    let turn = Arc::new(Turn::default());
    lock(&turns.turns).push(Arc::clone(&turn));
    if let Err(error) = hand_over(host, &turn, successor) {
        lock(&turns.pool).cannot_lend();
        lock(&turns.turns).retain(|other| !Arc::ptr_eq(other, &turn));
        return log::warn!("can't start another worker thread: {error}");
    }
    replaced.replaced.store(true, Ordering::Release);
}

fn hand_over(host: &Arc<impl Host>, turn: &Arc<Turn>, successor: Successor<Worker>) -> io::Result<()> {
    match successor {
        Successor::Idle(Worker(mailbox)) => {
            mailbox.post(Task::Hold(Arc::clone(turn)));
            Ok(())
        }
        Successor::New => spawn(host, Arc::clone(turn)),
    }
}

fn spawn(host: &Arc<impl Host>, turn: Arc<Turn>) -> io::Result<()> {
    let host = Arc::clone(host);
    let thread = thread::Builder::new().name("http-worker".to_owned()).stack_size(limits::WORKER_STACK);
    thread.spawn(move || work(&host, &turn)).map(drop)
}

/// The life of a worker thread, which begins with a turn.
fn work(host: &Arc<impl Host>, turn: &Arc<Turn>) {
    let (turns, me) = (host.turns(), Worker(Arc::default()));
    let mut next = hold(host, turn, &me);
    loop {
        next = match next {
            Some(Next::Run(job)) => {
                guard(|| job(true));
                Some(lock(&turns.pool).finish(me.clone()))
            }
            Some(Next::Wait) => match turns.wait(&me) {
                Some(turn) => hold(host, &turn, &me),
                None => return,
            },
            Some(Next::End) | None => return,
        }
    }
}

/// Handles events until this thread has left its turn and done its job, or gives the turn up; `None` at the end.
fn hold(host: &Arc<impl Host>, turn: &Arc<Turn>, me: &Worker) -> Option<Next<Job>> {
    let turns = host.turns();
    HELD.set(Some(Arc::clone(turn)));
    let mut events = Events::with_room(limits::TURN_EVENTS);
    loop {
        let report = lock(&turn.in_hand).pop_front();
        if let Some(report) = report {
            turn.set_busy(true);
            guard(|| host.handle(report));
            if !holds_turn() {
                return Some(lock(&turns.pool).finish(me.clone()));
            }
        } else if turns.ended.load(Ordering::Acquire) {
            turns.end_turn();
            return None;
        } else if turn.replaced.load(Ordering::Acquire) {
            return Some(turns.retire(turn, me));
        } else if turns.wait_for_events(turn, &mut events) {
            host.may_be_stuck();
        }
    }
}

impl Mailbox {
    fn post(&self, task: Task) {
        *lock(&self.task) = Some(task);
        self.come.notify_one();
    }
}

/// Does work that may panic. A panic costs the connection or the job it happened in: its exchange responds 500 as it is
/// dropped.
pub fn guard(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        log::error!("a connection or a request panicked; its thread continues");
    }
}
