//! The chore that walks the store and moves files without a row to `.lost`. A crash between the moment when a file gets its
//! name and the commit of its row leaves such a file. The housekeeper's thread runs it, a short step at a time, so that a
//! walk slows nobody down and other chores have their turn.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Library;
use crate::chore::{ChoreProgress, Claim, WalkSchedule, always};
use crate::error::Result;
use crate::limits;
use crate::store::{FileList, FileName, KnownAs, Listed, Losses};

/// Walks the store when it is time.
pub struct Walker {
    library: Arc<Library>,
    claim: Claim,
    schedule: WalkSchedule,
    walk: Option<Walk>,
}

/// A walk under way.
enum Walk {
    /// It looks for files without a row.
    Looking(Look),
    /// It moves the files that it found.
    Moving { orphans: Vec<FileName>, moved: u64 },
}

struct Look {
    entries: FileList,
    /// Files that are no previews, and those of them that are old and have no row.
    losses: Losses,
    /// The latter, but for those beyond [`limits::ORPHANS`].
    orphans: Vec<FileName>,
}

impl Walker {
    /// A chore for this library. After a start that followed a crash, a walk is due at once.
    pub fn new(library: Arc<Library>, after_crash: bool) -> Self {
        let schedule = WalkSchedule::new(after_crash, Instant::now(), library.housekeeping().orphan_age);
        Self { library, claim: always(), schedule, walk: None }
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
        let orphan_age = self.library.housekeeping().orphan_age;
        self.step(now).inspect_err(|_| self.schedule.failed(now, orphan_age))
    }

    fn step(&mut self, now: Instant) -> Result<ChoreProgress> {
        let walk = match self.walk.take() {
            Some(walk) => walk,
            None if !self.schedule.is_due(now) => return Ok(ChoreProgress::Done),
            None => {
                // While the database can't be reached, the walk waits.
                self.library.metadata()?;
                let within = self.schedule.begun(now);
                if !(self.claim)(within)? {
                    log::debug!("another node walks the store");
                    return Ok(ChoreProgress::Done);
                }
                Walk::Looking(self.begin()?)
            }
        };
        self.walk = match walk {
            Walk::Looking(look) => self.look(look)?,
            Walk::Moving { orphans, moved } => self.move_some(orphans, moved)?,
        };
        let pause = ChoreProgress::More(limits::WALK_PAUSE);
        Ok(if self.walk.is_some() { pause } else { ChoreProgress::Done })
    }

    fn begin(&self) -> Result<Look> {
        Ok(Look { entries: self.library.files.list()?, losses: Losses::default(), orphans: Vec::new() })
    }

    /// Looks at a number of files.
    fn look(&self, mut look: Look) -> Result<Option<Walk>> {
        let (mut files, mut are_old) = (Vec::new(), Vec::new());
        let entries: Result<Vec<_>> = look.entries.by_ref().take(limits::HOUSEKEEPING_BATCH).collect();
        let entries = entries?;
        let is_last = entries.len() < limits::HOUSEKEEPING_BATCH;
        for entry in entries {
            if let Listed::File { channel, id, modified, .. } = entry {
                files.push((channel, id));
                are_old.push(self.is_old(modified));
            }
        }
        let known = self.library.metadata()?.known_as(&files)?;
        for (file, (known, is_old)) in files.into_iter().zip(known.into_iter().zip(are_old)) {
            look.add(file, known, is_old);
        }
        if is_last { self.looked(look) } else { Ok(Some(Walk::Looking(look))) }
    }

    /// The step after the last file was checked.
    fn looked(&self, look: Look) -> Result<Option<Walk>> {
        self.remove_temporaries()?;
        let Look { orphans, losses, .. } = look;
        let Losses { all: files, lost } = losses;
        if losses.are_too_many() {
            log::warn!(
                "of {files} files {lost} have no row, which is too many to be left by crashes, so none is moved \
                 to .lost: check that jdbc.db.url names the database of these files, and that it was not restored from \
                 an older backup; `fsck` lists the files"
            );
            return Ok(None);
        }
        if orphans.is_empty() {
            log::info!("walked the store: all {files} files are in order");
            return Ok(None);
        }
        Ok(Some(Walk::Moving { orphans, moved: 0 }))
    }

    /// Moves a number of files to `.lost`, unless they got a row meanwhile.
    fn move_some(&self, mut orphans: Vec<FileName>, mut moved: u64) -> Result<Option<Walk>> {
        let rest = orphans.split_off(orphans.len().min(limits::HOUSEKEEPING_BATCH));
        let known = self.library.metadata()?.known_as(&orphans)?;
        let still = orphans.into_iter().zip(known).filter(|(_, known)| *known == KnownAs::Nothing);
        for ((channel, id), _) in still {
            let now = self.library.clock.now();
            if let Some(path) = self.library.files.set_aside(&channel, &id, now)? {
                self.library.chore_counts.lost.increment();
                log::info!("moved {channel}/{id} to {}: no row names it", path.display());
                moved += 1;
            }
        }
        if !rest.is_empty() {
            return Ok(Some(Walk::Moving { orphans: rest, moved }));
        }
        log::warn!("walked the store: {moved} files without a row are in .lost now");
        Ok(None)
    }

    /// Removes temporary files whose uploads have ended long ago, and left them because they could not be removed then.
    fn remove_temporaries(&self) -> Result<()> {
        for (name, modified) in self.library.uploads.temporaries()? {
            if self.is_old(modified) && self.library.uploads.remove_temporary(&name)? {
                log::info!("removed {name}: the file of an unfinished upload");
            }
        }
        Ok(())
    }

    fn is_old(&self, modified: SystemTime) -> bool {
        let now = SystemTime::from(self.library.clock.now());
        now.duration_since(modified).unwrap_or_default() > self.library.housekeeping().orphan_age
    }
}

impl Look {
    fn add(&mut self, file: FileName, known: KnownAs, is_old: bool) {
        match known {
            KnownAs::Preview | KnownAs::Removal => {}
            // A young file may be an upload's whose row comes in a moment.
            KnownAs::Nothing if is_old => {
                self.losses.count(true);
                if self.orphans.len() < limits::ORPHANS {
                    self.orphans.push(file);
                }
            }
            KnownAs::Media | KnownAs::Nothing => self.losses.count(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::super::housekeeping::HousekeepingSettings;
    use super::super::testing::{Bench, sqlite};
    use super::*;
    use crate::store::Store;
    use crate::testing::Scratch;

    const AGE: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    /// A walk that is due, to its end.
    fn walk(bench: &Bench) {
        try_walk(bench).unwrap();
    }

    fn try_walk(bench: &Bench) -> Result<()> {
        let mut walker = Walker::new(Arc::clone(&bench.library), true);
        while walker.run()? != ChoreProgress::Done {}
        Ok(())
    }

    /// Makes so many files without a row.
    fn make_orphans(bench: &Bench, count: usize) {
        for number in 0..count {
            bench.write(&format!("room@example.org/orphan{number}"));
        }
    }

    #[test]
    fn a_walk_that_failed_is_tried_again_before_the_next_day() {
        let bench = Bench::new();
        bench.add("bytes");
        bench.pass(2 * AGE);
        let mut walker = Walker::new(Arc::clone(&bench.library), false);
        let start = walker.schedule.next();
        bench.sql("ALTER TABLE removals RENAME TO away");
        walker.run_at(start).unwrap_err();
        bench.sql("ALTER TABLE away RENAME TO removals");
        assert_eq!(walker.run_at(start + AGE / 2).unwrap(), ChoreProgress::Done);
        assert!(walker.walk.is_none() && walker.schedule.next() == start + AGE);
        assert_eq!(walker.run_at(start + AGE).unwrap(), ChoreProgress::Done);
        assert_eq!(walker.schedule.next(), start + AGE + limits::WALK_INTERVAL);
    }

    #[test]
    fn old_files_without_a_row_are_moved_to_lost_and_all_others_stay() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        make_orphans(&bench, 3);
        bench.sql(
            "INSERT INTO removals (folder, file, reason) VALUES ('room@example.org', 'orphan0', 'media deleted')",
        );
        bench.write("room@example.org/odd.name");
        walk(&bench);
        assert_eq!(bench.files().len(), 5, "young files stay");
        bench.pass(AGE + 60 * SECOND);
        walk(&bench);
        // The file of a removal is the remover's.
        let mut left = ["odd.name", "orphan0", media.id.as_str()];
        left.sort_unstable();
        assert_eq!(bench.files(), left);
        let mut lost = bench.lost();
        lost.sort();
        assert_eq!(lost, ["room@example.org/orphan1", "room@example.org/orphan2"]);
        assert_eq!(bench.library.chore_counts().lost.get(), 2);
        walk(&bench);
        assert_eq!(bench.lost(), lost);
    }

    #[test]
    fn a_node_walks_when_it_may_claim_the_walk() {
        let bench = Bench::new();
        let claims = Arc::new(std::sync::Mutex::new(Vec::new()));
        let asked = Arc::clone(&claims);
        let claim = move |within| {
            let mut asked = asked.lock().unwrap();
            asked.push(within);
            Ok(asked.len() > 1)
        };
        let mut walker = Walker::new(Arc::clone(&bench.library), false).claiming(Box::new(claim));
        let start = walker.schedule.next();
        assert_eq!(walker.run_at(start).unwrap(), ChoreProgress::Done);
        assert!(walker.walk.is_none() && walker.schedule.next() == start + limits::WALK_INTERVAL);
        make_orphans(&bench, 1);
        bench.pass(2 * AGE);
        let mut now = start + limits::WALK_INTERVAL;
        while walker.run_at(now).unwrap() != ChoreProgress::Done {
            now += SECOND;
        }
        assert_eq!(bench.lost().len(), 1);
        assert_eq!(*claims.lock().unwrap(), [limits::WALK_BY_OTHERS; 2]);
    }

    #[test]
    fn more_files_without_a_row_than_a_crash_explains_stay() {
        let bench = Bench::new();
        make_orphans(&bench, 11);
        bench.pass(2 * AGE);
        walk(&bench);
        assert_eq!((bench.files().len(), bench.lost().len()), (11, 0));
        // With more of the others, the same are few.
        for _ in 0..209 {
            bench.add("bytes");
        }
        walk(&bench);
        assert_eq!((bench.files().len(), bench.lost().len()), (209, 11));
    }

    #[test]
    fn a_file_that_gets_its_row_during_the_walk_stays() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        bench.pass(2 * AGE);
        bench.sql("UPDATE medias SET entityId = 'other@example.org'");
        let mut walker = Walker::new(Arc::clone(&bench.library), true);
        assert_eq!(walker.run().unwrap(), ChoreProgress::More(limits::WALK_PAUSE));
        assert!(matches!(&walker.walk, Some(Walk::Moving { orphans, .. }) if orphans.len() == 1));
        bench.sql("UPDATE medias SET entityId = 'room@example.org'");
        assert_eq!(walker.run().unwrap(), ChoreProgress::Done);
        assert_eq!((bench.files(), bench.lost().len()), (vec![media.id.to_string()], 0));
    }

    #[test]
    fn a_walk_waits_for_the_database() {
        let scratch = Scratch::new();
        let metadata = Box::new(Store::new(sqlite(&scratch)));
        let bench = Bench::closed(scratch, metadata, false);
        try_walk(&bench).unwrap_err();
        let mut walker = Walker::new(Arc::clone(&bench.library), true);
        walker.run().unwrap_err();
        bench.library.open().unwrap();
        bench.write("room@example.org/orphan");
        bench.pass(2 * AGE);
        while walker.run().unwrap() != ChoreProgress::Done {}
        assert_eq!(bench.lost(), ["room@example.org/orphan"]);
    }

    #[test]
    fn old_temporary_files_are_removed() {
        let bench = Bench::new();
        bench.write(".upload-1");
        walk(&bench);
        assert_eq!(bench.library.uploads.temporaries().unwrap().len(), 1, "its upload may be under way");
        bench.pass(AGE + 60 * SECOND);
        walk(&bench);
        assert!(bench.library.uploads.temporaries().unwrap().is_empty());
    }

    #[test]
    fn lost_files_go_when_their_time_is_over() {
        let bench = Bench::new();
        let keep = Duration::from_secs(3 * 24 * 3600);
        let settings = |lost_keep| {
            bench.library.set_housekeeping(HousekeepingSettings { lost_keep, ..Default::default() });
        };
        make_orphans(&bench, 1);
        bench.pass(AGE + SECOND);
        walk(&bench);
        settings(Some(keep));
        let empty = || assert_eq!(bench.library.empty_lost().unwrap(), ChoreProgress::Done);
        empty();
        bench.pass(keep);
        empty();
        assert_eq!(bench.lost().len(), 1, "it is kept for at least that long");
        bench.pass(Duration::from_secs(24 * 3600));
        settings(None);
        empty();
        assert_eq!(bench.lost().len(), 1, "it is kept for ever");
        settings(Some(keep));
        empty();
        assert!(bench.lost().is_empty());
    }

    #[test]
    fn the_age_of_files_is_a_setting() {
        let bench = Bench::new();
        bench.library.set_housekeeping(HousekeepingSettings { orphan_age: 5 * AGE, ..Default::default() });
        make_orphans(&bench, 1);
        let file = File::open(bench.path("room@example.org/orphan0")).unwrap();
        file.set_modified(SystemTime::now() - 4 * AGE).unwrap();
        walk(&bench);
        assert!(bench.lost().is_empty());
        file.set_modified(SystemTime::now() - 6 * AGE).unwrap();
        walk(&bench);
        assert_eq!(bench.lost().len(), 1);
        assert!(bench.files().is_empty());
    }
}
