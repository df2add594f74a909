//! The chore of uploads: removes expired and deleted ones. The housekeeper's thread runs it, a batch at a time.

use std::sync::Arc;
use std::time::Instant;

use super::service::UploadService;
use crate::chore::ChoreProgress;
use crate::error::Result;
use crate::limits;
use crate::store::UploadRemoval;

/// Empties the rows of expired uploads, and then removes the files that must go.
pub struct Sweeper {
    service: Arc<UploadService>,
    /// The last file of this round that was looked at.
    after: String,
    /// Files that the round could not remove, and why the first could not.
    failed: u64,
    first_failure: Option<String>,
}

impl Sweeper {
    /// A chore for this service.
    pub fn new(service: Arc<UploadService>) -> Self {
        Self { service, after: String::new(), failed: 0, first_failure: None }
    }

    /// Does a batch. The pause after it is twice as long as the batch took, so that many files that go at once leave two
    /// thirds of the disk's time to others.
    pub fn run(&mut self) -> Result<ChoreProgress> {
        let begun = Instant::now();
        // While the database can't be reached, the chore waits.
        self.service.check_open()?;
        let expired = self.service.expire()?;
        let full = expired == limits::EXPIRY_BATCH || self.remove_batch()?;
        if full {
            return Ok(ChoreProgress::More(2 * begun.elapsed()));
        }
        self.end_round();
        if self.service.table.forget_slots(self.service.clock.now())? == limits::UPLOAD_BATCH as u64 {
            return Ok(ChoreProgress::More(2 * begun.elapsed()));
        }
        self.service.keys.maintain()?;
        Ok(ChoreProgress::Done)
    }

    /// Removes all files that must go now; says how many it could not remove.
    pub fn remove_files(&mut self) -> Result<u64> {
        self.service.check_open()?;
        while self.remove_batch()? {}
        let failed = self.failed;
        self.end_round();
        Ok(failed)
    }

    /// Whether there may be more.
    fn remove_batch(&mut self) -> Result<bool> {
        let batch = self.service.table.upload_removals(&self.after, limits::UPLOAD_BATCH)?;
        let Some(last) = batch.last() else { return Ok(false) };
        self.after.clone_from(&last.file);
        let full = batch.len() == limits::UPLOAD_BATCH;
        let ended = self.remove_all(&batch);
        self.service.table.end_upload_removals(&ended)?;
        Ok(full)
    }

    /// The ids of the removals whose files are gone for good, or stay.
    fn remove_all(&mut self, batch: &[UploadRemoval]) -> Vec<i64> {
        let (mut ended, mut gone) = (Vec::new(), Vec::new());
        for removal in batch {
            let Ok(file) = removal.file.parse() else {
                log::warn!("{:?} is not the name of an upload's file: nothing is removed", removal.file);
                ended.push(removal.id);
                continue;
            };
            if removal.is_named {
                log::warn!("the file {file} of an upload was to be removed, but a row names it: it stays");
                ended.push(removal.id);
                continue;
            }
            match self.service.files.remove(&file) {
                Ok(was_there) => {
                    if was_there {
                        self.service.chore_counts.removed.increment();
                    }
                    gone.push((file, removal.id));
                }
                Err(error) => self.note_failure(&removal.file, &error.to_string()),
            }
        }
        let files: Vec<_> = gone.iter().map(|(file, _)| file.clone()).collect();
        match self.service.files.settle_removals(&files) {
            Ok(()) => ended.extend(gone.into_iter().map(|(_, id)| id)),
            Err(error) => self.note_failure("a directory of uploads", &error.to_string()),
        }
        ended
    }

    fn note_failure(&mut self, file: &str, error: &str) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| format!("{file}: {error}"));
    }

    fn end_round(&mut self) {
        if let Some(failure) = self.first_failure.take() {
            let failed = self.failed;
            log::warn!(
                "{failed} files of uploads can't be removed yet and are tried again; the first: {failure}"
            );
        }
        self.service.chore_counts.set_failed(self.failed);
        (self.after, self.failed) = (String::new(), 0);
    }
}

impl UploadService {
    /// Empties the rows of a batch of expired uploads; says how many.
    fn expire(&self) -> Result<usize> {
        let expired = self.table.expire_uploads(self.clock.now())?;
        for upload in &expired {
            self.forget(&upload.id);
            log::info!("the upload {} has expired: {} bytes", upload.id, upload.size);
        }
        Ok(expired.len())
    }
}
