//! Chores: parts of the program that the housekeeper's thread runs again and again, a short step at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// When a walk of stored files is due: at the start after a crash, once when all files that the crash left are old enough,
/// and daily.
#[derive(Debug)]
pub struct WalkSchedule {
    next: Instant,
    /// When all files that a crash before the start has left are old enough.
    old_enough: Instant,
}

impl WalkSchedule {
    /// The schedule of a server that starts now. `orphan_age`: how old a file without a row must be to be moved.
    pub fn new(after_crash: bool, start: Instant, orphan_age: Duration) -> Self {
        let old_enough = start + orphan_age;
        Self { next: if after_crash { start } else { old_enough }, old_enough }
    }

    /// Whether a walk is due.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// A walk begins.
    pub fn begun(&mut self, now: Instant) {
        self.next = if now < self.old_enough { self.old_enough } else { now + limits::WALK_INTERVAL };
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
}
