//! Files of uploads that no row names: a crash between the moment when a file gets its name and the commit of its row leaves
//! such a file. They are moved to `.lost`, by a chore of the housekeeper's thread or by the command `fsck`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::service::UploadService;
use crate::chore::{ChoreProgress, Claim, WalkSchedule, always};
use crate::error::Result;
use crate::limits;
use crate::model::UploadFile;
use crate::store::{ListedUpload, Losses, UploadList};

/// The chore: a walk of all files of uploads, as [`WalkSchedule`] plans it.
pub struct UploadWalker {
    service: Arc<UploadService>,
    /// How old a file without a row must be: `housekeeping.orphan.age`.
    age: Box<dyn Fn() -> Duration + Send>,
    claim: Claim,
    schedule: WalkSchedule,
    walk: Option<Walk>,
}

struct Walk {
    entries: UploadList,
    found: Orphans,
}

/// Files without a row.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// Files that were seen, and those of them that have no row.
    pub(super) losses: Losses,
    pub(super) files: Vec<UploadFile>,
}

impl UploadWalker {
    /// A chore for this service. `after_crash`: the process before this one did not end as it should.
    pub fn new(
        service: Arc<UploadService>,
        after_crash: bool,
        age: Box<dyn Fn() -> Duration + Send>,
    ) -> Self {
        let schedule = WalkSchedule::new(after_crash, Instant::now(), age());
        Self { service, age, claim: always(), schedule, walk: None }
    }

    /// The same for a node that shares the store with others. One of the nodes walks for all.
    #[must_use]
    pub fn claiming(self, claim: Claim) -> Self {
        Self { claim, ..self }
    }

    /// Does the next step of the walk, if one is due or under way. A walk that fails is given up; the next one begins after
    /// `housekeeping.orphan.age`.
    pub fn run(&mut self) -> Result<ChoreProgress> {
        self.run_at(Instant::now())
    }

    fn run_at(&mut self, now: Instant) -> Result<ChoreProgress> {
        let age = (self.age)();
        self.step(now, age).inspect_err(|_| self.schedule.failed(now, age))
    }

    fn step(&mut self, now: Instant, age: Duration) -> Result<ChoreProgress> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None if !self.schedule.is_due(now) => return Ok(ChoreProgress::Done),
            None => {
                // While the database can't be reached, the walk waits.
                self.service.check_open()?;
                let within = self.schedule.begun(now);
                if !(self.claim)(within)? {
                    log::debug!("another node walks the uploads");
                    return Ok(ChoreProgress::Done);
                }
                Walk { entries: self.service.files.list()?, found: Orphans::default() }
            }
        };
        if self.service.look(&mut walk.entries, age, &mut walk.found)? {
            self.walk = Some(walk);
            return Ok(ChoreProgress::More(limits::WALK_PAUSE));
        }
        self.service.set_aside(&walk.found)?;
        Ok(ChoreProgress::Done)
    }
}

impl UploadService {
    /// Looks at the next files of a walk; whether there may be more.
    pub(super) fn look(&self, entries: &mut UploadList, age: Duration, found: &mut Orphans) -> Result<bool> {
        let now = SystemTime::from(self.clock.now());
        let (mut old, mut seen) = (Vec::new(), 0);
        for entry in entries.by_ref().take(limits::HOUSEKEEPING_BATCH) {
            seen += 1;
            if let ListedUpload::File { file, modified, .. } = entry? {
                found.losses.count(false);
                if now.duration_since(modified).unwrap_or_default() > age {
                    old.push(file);
                }
            }
        }
        let unnamed = self.table.unnamed_uploads(&old)?;
        found.losses.lost += unnamed.len() as u64;
        // Beyond, so many are lost that it is a mistake, or the next walk has its turn.
        let room = limits::ORPHANS.saturating_sub(found.files.len());
        found.files.extend(unnamed.into_iter().take(room));
        Ok(seen == limits::HOUSEKEEPING_BATCH)
    }

    /// Moves files to `.lost`, unless there are more than a crash explains.
    fn set_aside(&self, found: &Orphans) -> Result<()> {
        let Losses { all, lost } = found.losses;
        if found.losses.are_too_many() {
            log::error!(
                "{lost} of {all} files of uploads have no row: too many for a crash, so they stay; is this the right database?"
            );
            return Ok(());
        }
        if found.files.is_empty() {
            log::info!("walked the uploads: all {all} files are in order");
            return Ok(());
        }
        let mut moved = 0;
        for file in &found.files {
            if let Some(path) = self.move_to_lost(file)? {
                log::info!("moved the file {file} of an upload to {}: no row names it", path.display());
                self.chore_counts.lost.increment();
                moved += 1;
            }
        }
        log::warn!("walked the uploads: {moved} files without a row are in .lost now");
        Ok(())
    }

    /// Moves a file to `.lost`, unless it has got its row, or is gone, meanwhile.
    pub(super) fn move_to_lost(&self, file: &UploadFile) -> Result<Option<PathBuf>> {
        match self.table.unnamed_uploads(std::slice::from_ref(file))?.is_empty() {
            true => Ok(None),
            false => self.files.set_aside(file, self.clock.now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, settings};
    use super::*;

    const AGE: Duration = Duration::from_secs(3600);

    #[test]
    fn an_old_file_without_a_row_is_moved_by_a_walk() {
        let bench = Bench::new(settings());
        let kept = bench.store(b"kept");
        bench.orphan();
        let second = Duration::from_secs(1);
        let before = Instant::now();
        let mut walker = UploadWalker::new(Arc::clone(&bench.service), true, Box::new(|| AGE));
        let after = Instant::now();
        let mut run = |now: Instant| while walker.run_at(now).unwrap() != ChoreProgress::Done {};
        run(after);
        assert_eq!(bench.lost(), 0, "it is too young");
        bench.clock.pass(AGE + Duration::from_secs(60));
        run(before + AGE - second);
        assert_eq!(bench.lost(), 0, "no walk is due");
        run(after + AGE);
        assert_eq!(bench.lost(), 1);
        bench.orphan();
        bench.clock.pass(Duration::from_secs(60) + AGE);
        run(before + AGE + limits::WALK_INTERVAL - second);
        assert_eq!(bench.lost(), 1);
        run(after + AGE + limits::WALK_INTERVAL);
        assert_eq!((bench.lost(), bench.service.chore_counts().lost.get()), (2, 2));
        assert!(bench.is_there(&kept) && bench.files().len() == 3);
    }

    #[test]
    fn a_node_walks_when_it_may_claim_the_walk() {
        let bench = Bench::new(settings());
        bench.orphan();
        bench.clock.pass(2 * AGE);
        for (may, lost) in [(false, 0), (true, 1)] {
            let walker = UploadWalker::new(Arc::clone(&bench.service), true, Box::new(|| AGE));
            let mut walker = walker.claiming(Box::new(move |_| Ok(may)));
            while walker.run().unwrap() != ChoreProgress::Done {}
            assert_eq!(bench.lost(), lost);
        }
    }

    #[test]
    fn a_walk_moves_no_more_than_a_crash_leaves() {
        let bench = Bench::new(settings());
        bench.store(b"kept");
        (0..2 * limits::HOUSEKEEPING_BATCH).for_each(|_| drop(bench.orphan()));
        bench.clock.pass(2 * limits::FSCK_AGE);
        let mut walker = UploadWalker::new(Arc::clone(&bench.service), true, Box::new(|| Duration::ZERO));
        while walker.run().unwrap() != ChoreProgress::Done {}
        assert_eq!(bench.lost(), 0);
    }

    #[test]
    fn a_walk_that_failed_is_tried_again_before_the_next_day() {
        let bench = Bench::new(settings());
        bench.orphan();
        bench.clock.pass(2 * AGE);
        let mut walker = UploadWalker::new(Arc::clone(&bench.service), true, Box::new(|| AGE));
        let start = Instant::now();
        let folder = bench.scratch.join(".lost");
        std::fs::write(&folder, "no folder").unwrap();
        walker.run_at(start + AGE).unwrap_err();
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(walker.run_at(start + AGE + AGE / 2).unwrap(), ChoreProgress::Done);
        assert_eq!(bench.lost(), 0);
        while walker.run_at(start + 2 * AGE).unwrap() != ChoreProgress::Done {}
        assert_eq!(bench.lost(), 1);
    }
}
