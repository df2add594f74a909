//! Chores: parts of the program that the housekeeper's thread runs again and again, a short step at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::limits;
use crate::metrics::Counter;

/// Whether a chore has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoreProgress {
    /// It has nothing to do before its next round.
    Done,
    /// It goes on after this pause, and lets other chores go first.
    More(Duration),
}

/// Whether this node is to do a chore that one of several nodes does for all: no other node has begun it within this time.
pub type Claim = Box<dyn Fn(Duration) -> Result<bool> + Send>;

/// The claim of a server that shares its store with no other node.
pub fn always() -> Claim {
    Box::new(|_| Ok(true))
}

/// When a walk of stored files is due: at the start after a crash, once when all files that the crash left are old enough,
/// and daily.
#[derive(Debug)]
pub struct WalkSchedule {
    /// Whether the next walk looks for what a crash of this process has left.
    is_after_crash: bool,
    next: Instant,
    /// When all files that a crash before the start has left are old enough.
    old_enough: Instant,
}

impl WalkSchedule {
    /// The schedule of a server that starts now. `orphan_age`: how old a file without a row must be to be moved.
    pub fn new(after_crash: bool, start: Instant, orphan_age: Duration) -> Self {
        let old_enough = start + orphan_age;
        Self { is_after_crash: after_crash, next: if after_crash { start } else { old_enough }, old_enough }
    }

    /// Whether a walk is due.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// A walk begins. Gives the time within which a walk by another node does as well: none after a crash of this process,
    /// whose files the other node may have found too young.
    pub fn begun(&mut self, now: Instant) -> Duration {
        let within = if self.is_after_crash { Duration::ZERO } else { limits::WALK_BY_OTHERS };
        if now < self.old_enough {
            self.next = self.old_enough;
        } else {
            self.next = now + limits::WALK_INTERVAL;
            self.is_after_crash = false;
        }
        within
    }

    /// When the next walk is due.
    #[cfg(test)]
    pub fn next(&self) -> Instant {
        self.next
    }

    /// The walk was given up. The next one does not wait for a whole day.
    pub fn failed(&mut self, now: Instant, orphan_age: Duration) {
        self.next = self.next.min(now + orphan_age);
    }
}

/// Counters of the housekeeper's work on files of one kind.
#[derive(Debug, Default)]
pub struct ChoreCounts {
    /// Files that must go and that the housekeeper removed.
    pub removed: Counter,
    /// Files that must go and that the last round could not remove.
    failed: AtomicU64,
    /// Files without a row that a walk moved to `.lost`.
    pub lost: Counter,
}

impl ChoreCounts {
    /// Files that must go and that the last round could not remove.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Notes how many files the round that ends could not remove.
    pub fn set_failed(&self, files: u64) {
        self.failed.store(files, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn walks_are_due_after_a_crash_when_its_files_are_old_enough_and_daily() {
        let start = Instant::now();
        let due = |after_crash: bool| {
            let mut schedule = WalkSchedule::new(after_crash, start, AGE);
            let mut due = Vec::new();
            for _ in 0..4 {
                assert!(!schedule.is_due(schedule.next.checked_sub(SECOND).unwrap()));
                due.push(schedule.next.duration_since(start));
                schedule.begun(schedule.next);
            }
            due
        };
        let daily: Vec<_> = (0..4).map(|day| AGE + day * limits::WALK_INTERVAL).collect();
        assert_eq!(due(false), daily);
        assert_eq!(due(true), [&[Duration::ZERO], &daily[..3]].concat());
    }

    #[test]
    fn a_walk_by_another_node_does_as_well_but_after_a_crash() {
        let start = Instant::now();
        for (after_crash, expected) in [
            (false, [limits::WALK_BY_OTHERS; 3]),
            (true, [Duration::ZERO, Duration::ZERO, limits::WALK_BY_OTHERS]),
        ] {
            let mut schedule = WalkSchedule::new(after_crash, start, AGE);
            assert_eq!(expected.map(|_| schedule.begun(schedule.next)), expected, "{after_crash}");
        }
    }
}
