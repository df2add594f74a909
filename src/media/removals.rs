//! The chore that removes files that must go: those whose deletion could not remove them, or was cut short by a crash. The
//! housekeeper's thread runs it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Library;
use super::housekeeping::Progress;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{Channel, MediaId};
use crate::store::Removal;

/// Goes through the table `removals` once a round, in batches.
pub struct Remover {
    library: Arc<Library>,
    /// The last row of the round that was read.
    after: i64,
    /// Files that the round could not remove.
    failed: u64,
    /// Why the first of them could not be removed.
    first_failure: Option<String>,
}

impl Remover {
    /// A chore for the files of this library.
    pub fn new(library: Arc<Library>) -> Self {
        Self { library, after: 0, failed: 0, first_failure: None }
    }

    /// Removes the files of a batch. A file that a row names stays; what can't be removed is tried again in the next round.
    /// A removal ends when its file is gone and the directory is on the disk, so that no crash brings the file back.
    pub fn run(&mut self) -> Result<Progress> {
        let last = self.remove_batch().inspect_err(|_| self.begin_round())?;
        if let Some(last) = last {
            self.after = last;
            return Ok(Progress::More(Duration::ZERO));
        }
        self.end_round();
        Ok(Progress::Done)
    }

    /// The id of the batch's last row, if there may be more.
    fn remove_batch(&mut self) -> Result<Option<i64>> {
        let batch = self.library.metadata()?.removals(self.after, limits::HOUSEKEEPING_BATCH)?;
        let ended = self.remove_all(&batch);
        if !ended.is_empty() {
            self.library.metadata()?.end_removals(&ended)?;
        }
        let is_full = batch.len() == limits::HOUSEKEEPING_BATCH;
        Ok(batch.last().filter(|_| is_full).map(|last| last.id))
    }

    /// The ids of the removals that are at their end.
    fn remove_all(&mut self, batch: &[Removal]) -> Vec<i64> {
        let mut ended = Vec::new();
        let mut gone: BTreeMap<Channel, Vec<i64>> = BTreeMap::new();
        for removal in batch {
            match file_to_remove(removal) {
                Some((channel, file)) => match self.remove(removal, &channel, &file) {
                    Ok(()) => gone.entry(channel).or_default().push(removal.id),
                    Err(error) => self.failed(1, &format!("{channel}/{file}"), &error),
                },
                None => ended.push(removal.id),
            }
        }
        for (channel, ids) in gone {
            match self.library.files.settle_removals(&channel) {
                Ok(()) => ended.extend(ids),
                Err(error) => self.failed(ids.len() as u64, channel.as_str(), &error),
            }
        }
        ended
    }

    fn remove(&self, removal: &Removal, channel: &Channel, file: &MediaId) -> Result<()> {
        // Most are gone already: their deletion has removed them.
        if self.library.files.remove(channel, file)? {
            self.library.housekeeping_counts.removed.increment();
            log::info!("removed {channel}/{file}: {}, {}", removal.reason, removal.since);
        }
        Ok(())
    }

    fn failed(&mut self, files: u64, name: &str, error: &Error) {
        self.failed += files;
        self.first_failure.get_or_insert_with(|| format!("{name}: {error}"));
    }

    fn end_round(&mut self) {
        let failed = self.failed;
        if let Some(failure) = self.first_failure.take() {
            log::warn!(
                "{failed} deleted files can't be removed yet and are tried again; the first: {failure}"
            );
        }
        self.library.housekeeping_counts.set_failed(failed);
        self.begin_round();
    }

    fn begin_round(&mut self) {
        (self.after, self.failed, self.first_failure) = (0, 0, None);
    }
}

/// The file of a removal, unless it must stay.
fn file_to_remove(removal: &Removal) -> Option<(Channel, MediaId)> {
    let Removal { folder, file, is_named, .. } = removal;
    if *is_named {
        log::warn!("{folder}/{file} was deleted, but a row names it: it stays");
        return None;
    }
    let name = folder.parse().ok().zip(file.parse().ok());
    if name.is_none() {
        log::warn!("{folder}/{file} was deleted, but no file of ours can have that name: nothing is removed");
    }
    name
}
