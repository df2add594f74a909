//! The chore that removes files that must go: those whose deletion could not remove them, or was cut short by a crash. The
//! housekeeper's thread runs it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Library;
use crate::chore::ChoreProgress;
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

    /// Removes the files of a batch. A file that a row names stays. The next round
    /// tries again to remove the files that stayed by an error.
    /// A removal ends when its file is gone and the directory is on the disk, so that no crash brings the file back.
    pub fn run(&mut self) -> Result<ChoreProgress> {
        let last = self.remove_batch().inspect_err(|_| self.begin_round())?;
        if let Some(last) = last {
            self.after = last;
            return Ok(ChoreProgress::More(Duration::ZERO));
        }
        self.end_round();
        Ok(ChoreProgress::Done)
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
            self.library.chore_counts.removed.increment();
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
        self.library.chore_counts.set_failed(failed);
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
    // A directory has the channel's prepared name, and no other.
    let channel = folder.parse().ok().filter(|channel: &Channel| channel.as_str() == folder);
    let name = channel.zip(file.parse().ok());
    if name.is_none() {
        log::warn!("{folder}/{file} was deleted, but no file of ours can have that name: nothing is removed");
    }
    name
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::io::Errno;

    use super::super::testing::{Bench, channel};
    use super::*;
    use crate::model::Media;
    use crate::sys::faults::{self, Fault};
    use crate::sys::fs::FsCall;

    /// A whole round.
    fn round(bench: &Bench) {
        let mut remover = Remover::new(Arc::clone(&bench.library));
        while remover.run().unwrap() != ChoreProgress::Done {}
    }

    fn waiting(bench: &Bench) -> usize {
        bench.library.metadata().unwrap().removals(0, 10_000).unwrap().len()
    }

    /// The media is deleted while its file can't be removed.
    fn delete_without_its_file(bench: &Bench, media: &Media) {
        let (deleted, failed) = faults::at(1, Fault::Error(Errno::ROFS), || bench.library.delete(media));
        assert!(deleted.unwrap());
        assert_eq!(failed, Some(FsCall::Remove));
    }

    #[test]
    fn a_deletion_removes_the_file_at_once_and_a_round_ends_its_removal() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        assert!(bench.library.delete(&media).unwrap());
        assert_eq!((bench.files().len(), waiting(&bench)), (0, 1));
        round(&bench);
        assert_eq!((waiting(&bench), bench.library.chore_counts().removed.get()), (0, 0));
    }

    #[test]
    fn a_file_that_stayed_goes_with_the_next_round() {
        let bench = Bench::new();
        let (media, other) = (bench.add("bytes"), bench.add("other"));
        delete_without_its_file(&bench, &media);
        assert_eq!((bench.files().len(), waiting(&bench)), (2, 1));
        round(&bench);
        assert_eq!((bench.files(), waiting(&bench)), (vec![other.id.to_string()], 0));
        assert_eq!(bench.library.chore_counts().removed.get(), 1);
    }

    #[test]
    fn a_file_that_can_not_be_removed_keeps_its_removal_and_blocks_no_other() {
        let bench = Bench::new();
        let media = [bench.add("one"), bench.add("two"), bench.add("three")];
        media.iter().for_each(|media| delete_without_its_file(&bench, media));
        // The second call of the round removes the first file.
        let ((), failed) = faults::at(1, Fault::Error(Errno::ROFS), || round(&bench));
        assert_eq!(failed, Some(FsCall::Remove));
        assert_eq!((bench.files(), waiting(&bench)), (vec![media[0].id.to_string()], 1));
        assert_eq!(bench.library.chore_counts().failed(), 1);
        round(&bench);
        assert_eq!((bench.files().len(), waiting(&bench)), (0, 0));
        assert_eq!(bench.library.chore_counts().failed(), 0);
    }

    /// Else a crash could bring the file back, and nothing would know that it must go.
    #[test]
    fn a_removal_ends_when_the_directory_is_on_the_disk() {
        let bench = Bench::durable();
        let media = bench.add("bytes");
        delete_without_its_file(&bench, &media);
        let mut calls = 0;
        let failed = loop {
            let ((), failed) = faults::at(calls, Fault::Error(Errno::IO), || round(&bench));
            if failed == Some(FsCall::SyncDirectory) {
                break failed;
            }
            calls += 1;
            assert!(calls < 10, "the directory is not brought to the disk");
        };
        assert_eq!((failed, bench.files().len(), waiting(&bench)), (Some(FsCall::SyncDirectory), 0, 1));
        round(&bench);
        assert_eq!(waiting(&bench), 0);
    }

    #[test]
    fn a_file_that_a_row_names_or_no_removal_means_stays() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        bench.write("room@example.org/other");
        for (folder, file) in [
            (channel().as_str(), media.id.as_str()),
            // Another folder, though its name means the same channel.
            ("Room@Example.Org", "other"),
            ("no channel", "a"),
            ("a@b", "../a"),
        ] {
            bench.sql(&format!(
                "INSERT INTO removals (folder, file, reason) VALUES ('{folder}', '{file}', 'by hand')"
            ));
        }
        round(&bench);
        assert_eq!((bench.files().len(), waiting(&bench)), (2, 0));
    }

    #[test]
    fn batches_follow_one_another_however_many_fail() {
        let bench = Bench::new();
        let files = 2 * limits::HOUSEKEEPING_BATCH + 1;
        bench.sql(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {files})
             INSERT INTO removals (folder, file, reason) SELECT 'room@example.org', 'f' || i, 'by hand' FROM n"
        ));
        // Directories in the place of the first files: they can't be removed.
        for number in 1..=limits::HOUSEKEEPING_BATCH {
            bench.write(&format!("room@example.org/f{number}/file"));
        }
        bench.write(&format!("room@example.org/f{files}"));
        round(&bench);
        assert_eq!(waiting(&bench), limits::HOUSEKEEPING_BATCH);
        assert_eq!(bench.files().len(), limits::HOUSEKEEPING_BATCH);
        assert_eq!(bench.library.chore_counts().failed(), limits::HOUSEKEEPING_BATCH as u64);
        for number in 1..=limits::HOUSEKEEPING_BATCH {
            fs::remove_dir_all(bench.path(&format!("room@example.org/f{number}"))).unwrap();
        }
        round(&bench);
        assert_eq!(waiting(&bench), 0);
    }

    #[test]
    fn a_round_that_the_database_cuts_short_begins_anew() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        delete_without_its_file(&bench, &media);
        bench.sql("CREATE TRIGGER no BEFORE DELETE ON removals BEGIN SELECT RAISE(ABORT, 'no'); END");
        let mut remover = Remover::new(Arc::clone(&bench.library));
        remover.run().unwrap_err();
        assert_eq!((bench.files().len(), waiting(&bench)), (0, 1));
        bench.sql("DROP TRIGGER no");
        assert_eq!(remover.run().unwrap(), ChoreProgress::Done);
        assert_eq!(waiting(&bench), 0);
    }
}
