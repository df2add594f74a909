//! The library's settings and counters for the housekeeper. The thread itself is in `daemon/housekeeper.rs`; the chores
//! are [`Remover`](super::Remover) and [`Walker`](super::Walker).

use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Library;
use crate::chore::{ChoreCounts, ChoreProgress};
use crate::error::Result;
use crate::store::RootLock;

/// The settings `housekeeping.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HousekeepingSettings {
    /// The time between two rounds.
    pub interval: Duration,
    /// How old a file without a row must be before a walk moves it.
    pub orphan_age: Duration,
    /// How long files are kept that were moved to `.lost`; none: for ever.
    pub lost_keep: Option<Duration>,
}

impl Default for HousekeepingSettings {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            interval: Duration::from_secs(60),
            orphan_age: Duration::from_secs(3600),
            lost_keep: Some(30 * day),
        }
    }
}

impl Library {
    /// Whether the server before this one did not end as it should.
    pub fn is_after_crash(&self) -> bool {
        self.lock.as_ref().is_some_and(RootLock::after_crash)
    }

    /// Notes that this server ends as it should: nothing is under way any more.
    pub fn sign_off(&self) {
        if let Some(lock) = &self.lock {
            lock.sign_off();
        }
    }

    /// Other settings for the housekeeper's next round.
    pub fn set_housekeeping(&self, settings: HousekeepingSettings) {
        *self.housekeeping.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The settings of the housekeeper.
    pub fn housekeeping(&self) -> HousekeepingSettings {
        *self.housekeeping.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what was moved to `.lost` long ago: a chore of the housekeeper.
    pub fn empty_lost(&self) -> Result<ChoreProgress> {
        let Some(keep) = self.housekeeping().lost_keep else { return Ok(ChoreProgress::Done) };
        // Files of another site must stay.
        self.metadata()?;
        let before = SystemTime::from(self.clock.now()).checked_sub(keep).unwrap_or(UNIX_EPOCH);
        for path in self.files.forget_set_aside(before.into())? {
            log::info!("removed {}: housekeeping.lost.keep is over", path.display());
        }
        Ok(ChoreProgress::Done)
    }

    /// Forgets cached rows that were not used lately: a chore of the housekeeper.
    pub fn forget_idle_rows(&self) {
        self.rows.forget_expired(Instant::now());
    }

    /// Counters of the housekeeper's work on files of media.
    pub fn chore_counts(&self) -> &ChoreCounts {
        &self.chore_counts
    }
}
