//! The housekeeper: a thread of its own that does chores, each in its time, one after the other. A chore is short; one that
//! has more to do rests between its parts, and the others go first. A process may end in the middle of any chore.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::chore::{ChoreProgress, Claim, always};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::media::{Library, Remover, Walker};
use crate::store::{ChoreTable, S3Files};
use crate::tickets::TicketService;
use crate::uploads::{Sweeper, UploadService, UploadWalker};

/// Something that is done again and again.
pub(super) struct Chore {
    /// Its name in the log.
    pub name: &'static str,
    /// The time from its end to its next beginning. It is asked each time, since a reload may change it.
    pub every: Box<dyn Fn() -> Duration + Send>,
    /// Does it, or a part of it. An error is logged, and the chore is tried again in its next round.
    pub run: Box<dyn FnMut() -> Result<ChoreProgress> + Send>,
}

/// Makes claims to the chores that one node does for all.
pub(super) struct Claims {
    /// The name of this node and the table of chores, if there may be other nodes.
    node: Option<(String, Arc<dyn ChoreTable>)>,
}

impl Claims {
    /// The claims of the node of this name; without a name it does all chores.
    pub fn new(node: Option<String>, table: Arc<dyn ChoreTable>) -> Self {
        Self { node: node.map(|name| (name, table)) }
    }

    fn to(&self, chore: &'static str) -> Claim {
        match self.node.clone() {
            Some((name, table)) => Box::new(move |within| table.claim(chore, &name, within)),
            None => always(),
        }
    }
}

/// The chores for this library, these uploads and these tickets. `forget` empties the idle caches of others.
pub(super) fn chores(
    library: &Arc<Library>,
    uploads: &Arc<UploadService>,
    tickets: &Arc<TicketService>,
    claims: &Claims,
    forget: impl Fn() + Send + 'static,
) -> Vec<Chore> {
    let every = || {
        let library = Arc::clone(library);
        Box::new(move || library.housekeeping().interval)
    };
    let mut remover = Remover::new(Arc::clone(library));
    let walker = Walker::new(Arc::clone(library), library.is_after_crash());
    let mut walker = walker.claiming(claims.to("walk the store"));
    let (lost, rows, upload_rows) = (Arc::clone(library), Arc::clone(library), Arc::clone(uploads));
    let tickets = Arc::clone(tickets);
    let mut sweeper = Sweeper::new(Arc::clone(uploads));
    let age = Arc::clone(library);
    let age = Box::new(move || age.housekeeping().orphan_age);
    let upload_walker = UploadWalker::new(Arc::clone(uploads), library.is_after_crash(), age);
    let mut upload_walker = upload_walker.claiming(claims.to("walk the uploads"));
    vec![
        Chore { name: "removing deleted files", every: every(), run: Box::new(move || remover.run()) },
        Chore { name: "walking the store", every: every(), run: Box::new(move || walker.run()) },
        Chore {
            name: "removing uploads",
            every: Box::new(|| limits::UPLOAD_SWEEP),
            run: Box::new(move || sweeper.run()),
        },
        Chore { name: "walking the uploads", every: every(), run: Box::new(move || upload_walker.run()) },
        Chore {
            name: "keeping the keys of tickets",
            every: every(),
            run: Box::new(move || tickets.maintain().map(|()| ChoreProgress::Done)),
        },
        Chore { name: "emptying .lost", every: every(), run: Box::new(move || lost.empty_lost()) },
        Chore {
            name: "emptying idle caches",
            every: every(),
            run: Box::new(move || {
                rows.forget_idle_rows();
                upload_rows.forget_idle_rows();
                forget();
                Ok(ChoreProgress::Done)
            }),
        },
    ]
}

/// The chore of the bucket of this library: an upload in parts that never ended takes room that no list of objects shows.
pub(super) fn bucket_chore(library: &Arc<Library>, bucket: S3Files) -> Chore {
    let (interval, age) = (Arc::clone(library), Arc::clone(library));
    let run = move || {
        let age = age.housekeeping().orphan_age.max(limits::S3_UNFINISHED);
        let oldest = SystemTime::now().checked_sub(age);
        bucket.abort_unfinished(oldest.unwrap_or(UNIX_EPOCH)).map(|_| ChoreProgress::Done)
    };
    let every = Box::new(move || interval.housekeeping().interval);
    Chore { name: "aborting uploads to the store that never ended", every, run: Box::new(run) }
}

/// The thread, until it is stopped.
pub(super) struct Housekeeper {
    /// Dropped, it wakes the thread, which then ends.
    stop: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Housekeeper {
    /// Starts the thread. Each chore is done at once, and then in its time.
    pub fn start(chores: Vec<Chore>) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let keep = move || {
            keep_house(chores, &stopped);
            drop(end);
        };
        let thread = thread::Builder::new().name("housekeeper".to_owned()).stack_size(limits::WORKER_STACK);
        thread.spawn(keep).map_err(|cause| Error::io("can't start the thread housekeeper", cause))?;
        Ok(Self { stop, ended })
    }

    /// Ends the thread. One that hangs, such as at a disk that does not answer, is left behind.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.ended.recv_timeout(limits::HOUSEKEEPER_END);
    }
}

/// A chore, and when it is due.
struct Planned {
    chore: Chore,
    due: Instant,
    /// Whether its last run failed.
    is_failing: bool,
}

fn keep_house(chores: Vec<Chore>, stopped: &mpsc::Receiver<()>) {
    let start = Instant::now();
    let plan = |chore| Planned { chore, due: start, is_failing: false };
    let mut planned: Vec<Planned> = chores.into_iter().map(plan).collect();
    while let Some(next) = planned.iter_mut().min_by_key(|planned| planned.due) {
        let pause = next.due.saturating_duration_since(Instant::now());
        match stopped.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => next.run(),
            _ => return,
        }
    }
}

impl Planned {
    fn run(&mut self) {
        let done = catch_unwind(AssertUnwindSafe(|| (self.chore.run)()));
        let pause = match done {
            Ok(Ok(ChoreProgress::More(pause))) => pause,
            Ok(Ok(ChoreProgress::Done)) => self.succeeded(),
            Ok(Err(error)) => self.failed(&error),
            // The panic is in the log already.
            Err(_) => (self.chore.every)(),
        };
        self.due = Instant::now() + pause;
    }

    fn succeeded(&mut self) -> Duration {
        self.is_failing = false;
        (self.chore.every)()
    }

    /// Logs the first of several failures in a row. That the database can't be reached is logged elsewhere.
    fn failed(&mut self, error: &Error) -> Duration {
        let level = if error.kind() == Kind::Unavailable || self.is_failing {
            log::Level::Debug
        } else {
            log::Level::Warn
        };
        log::log!(level, "the housekeeper fails at {} and will try again: {error}", self.chore.name);
        self.is_failing |= error.kind() != Kind::Unavailable;
        (self.chore.every)()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A chore that gives what `results` gives, and then only tells that it was done.
    fn chore(
        name: &'static str,
        every: Duration,
        results: Vec<Result<ChoreProgress>>,
        done: &mpsc::Sender<&'static str>,
    ) -> Chore {
        let (results, done) = (Mutex::new(results.into_iter()), done.clone());
        let run = move || {
            let _ = done.send(name);
            results.lock().unwrap().next().unwrap_or(Ok(ChoreProgress::Done))
        };
        Chore { name, every: Box::new(move || every), run: Box::new(run) }
    }

    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn each_chore_is_done_at_once_and_again_in_its_time() {
        let (sender, done) = mpsc::channel();
        let often = chore("often", Duration::from_millis(1), vec![], &sender);
        let seldom = chore("seldom", NEVER, vec![], &sender);
        let housekeeper = Housekeeper::start(vec![often, seldom]).unwrap();
        let seen: Vec<_> = done.iter().take(20).collect();
        housekeeper.stop();
        assert_eq!(seen.iter().filter(|name| **name == "seldom").count(), 1, "{seen:?}");
    }

    #[test]
    fn a_chore_with_more_to_do_lets_others_go_first() {
        let (sender, done) = mpsc::channel();
        let more = (0..3).map(|_| Ok(ChoreProgress::More(Duration::ZERO))).collect();
        let (long, other) = (chore("long", NEVER, more, &sender), chore("other", NEVER, vec![], &sender));
        let housekeeper = Housekeeper::start(vec![long, other]).unwrap();
        let seen: Vec<_> = done.iter().take(5).collect();
        housekeeper.stop();
        assert_eq!(seen, ["long", "other", "long", "long", "long"]);
    }

    #[test]
    fn a_chore_that_fails_or_panics_is_done_again() {
        let (sender, done) = mpsc::channel();
        let failures = vec![Err(Error::new(Kind::Failure, "on purpose")), Ok(ChoreProgress::Done)];
        let failing = chore("failing", Duration::from_millis(1), failures, &sender);
        let panics = sender.clone();
        let panicking = Chore {
            name: "panicking",
            every: Box::new(|| Duration::from_millis(1)),
            run: Box::new(move || {
                panics.send("panicking").unwrap();
                panic!("on purpose");
            }),
        };
        let housekeeper = Housekeeper::start(vec![failing, panicking]).unwrap();
        let seen: Vec<_> = done.iter().take(20).collect();
        housekeeper.stop();
        for name in ["failing", "panicking"] {
            assert!(seen.iter().filter(|seen| **seen == name).count() > 2, "{name}: {seen:?}");
        }
    }

    #[test]
    fn it_stops_at_once_however_long_its_chores_rest() {
        let (sender, done) = mpsc::channel();
        let housekeeper = Housekeeper::start(vec![chore("seldom", NEVER, vec![], &sender)]).unwrap();
        done.recv().unwrap();
        let begun = Instant::now();
        housekeeper.stop();
        assert!(begun.elapsed() < limits::HOUSEKEEPER_END);
        drop(sender);
        assert!(done.recv().is_err(), "the thread has ended, and its chores with it");
    }
}
