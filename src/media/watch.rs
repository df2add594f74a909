//! The state of the library, for `/metrics` and `/healthz`.

use super::Library;
use super::preview::Origin;
use crate::error::Result;
use crate::metrics::Counter;
use crate::model::Refusal;
use crate::store::Pool;

/// Requests for previews, by their result.
#[derive(Debug, Default)]
pub struct PreviewCounts {
    /// Previews that were made.
    pub made: Counter,
    /// Previews that were stored already.
    pub stored: Counter,
    /// Requests that were refused, at once or after they had waited too long.
    pub refused: Counter,
    /// Requests for a preview of a file that can't be decoded, and other failures.
    pub failed: Counter,
}

impl PreviewCounts {
    pub(super) fn count<T>(&self, outcome: &std::result::Result<(T, Origin), Refusal>) {
        let counter = match outcome {
            Ok((_, Origin::Made)) => &self.made,
            Ok((_, Origin::Stored)) => &self.stored,
            Err(Refusal::TooManyPreviews) => &self.refused,
            Err(_) => &self.failed,
        };
        counter.increment();
    }
}

impl Library {
    /// Whether the metadata can be used. Takes as long as any other operation on a database that hangs.
    pub fn try_metadata(&self) -> Result<()> {
        self.metadata_to_read()?.ping()
    }

    /// Whether files can be stored: stores one, and removes it.
    pub fn try_storage(&self) -> Result<()> {
        self.uploads.try_out()?;
        self.files.try_out()
    }

    /// Bytes that may still be stored.
    pub fn free_space(&self) -> Result<u64> {
        self.uploads.free_space()
    }

    /// The connections to the database.
    pub fn pool(&self) -> Pool {
        self.metadata.pool()
    }

    /// Previews that are made at the moment, and requests that wait for theirs.
    pub fn preview_jobs(&self) -> (usize, usize) {
        self.jobs.activity()
    }

    /// The requests for previews, by their result.
    pub fn preview_counts(&self) -> &PreviewCounts {
        &self.preview_counts
    }
}
