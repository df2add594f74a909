//! The chore that walks the store and moves files without a row to `.lost`. A crash between the moment when a file gets its
//! name and the commit of its row leaves such a file. The housekeeper's thread runs it, a short step at a time, so that a
//! walk slows nobody down and other chores have their turn.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Library;
use super::housekeeping::Progress;
use crate::error::Result;
use crate::limits;
use crate::store::{FileList, FileName, Listed};

/// Walks the store when it is time.
pub struct Walker {
    library: Arc<Library>,
    schedule: Schedule,
    walk: Option<Walk>,
}

/// A walk under way.
enum Walk {
    /// It looks for files without a row.
    Looking(Look),
    /// It moves those that it found.
    Moving { orphans: Vec<FileName>, moved: u64 },
}

struct Look {
    entries: FileList,
    /// Files that were seen.
    files: u64,
    /// Those of them that are old and have no row, but for those beyond [`limits::ORPHANS`].
    orphans: Vec<FileName>,
    orphans_seen: u64,
}

impl Walker {
    /// A chore for this library. After a start that followed a crash, a walk is due at once.
    pub fn new(library: Arc<Library>, after_crash: bool) -> Self {
        let schedule = Schedule::new(after_crash, Instant::now(), library.housekeeping().orphan_age);
        Self { library, schedule, walk: None }
    }

    /// Does the next step of the walk, if one is due or under way. A walk that fails is given up; the next one comes in its
    /// time.
    pub fn run(&mut self) -> Result<Progress> {
        self.run_at(Instant::now())
    }

    fn run_at(&mut self, now: Instant) -> Result<Progress> {
        let walk = match self.walk.take() {
            Some(walk) => walk,
            None if !self.schedule.is_due(now) => return Ok(Progress::Done),
            None => {
                // While the database can't be reached, the walk waits.
                self.library.metadata()?;
                self.schedule.begun(now);
                Walk::Looking(self.begin()?)
            }
        };
        self.walk = match walk {
            Walk::Looking(look) => self.look(look)?,
            Walk::Moving { orphans, moved } => self.move_some(orphans, moved)?,
        };
        let pause = Progress::More(limits::WALK_PAUSE);
        Ok(if self.walk.is_some() { pause } else { Progress::Done })
    }

    fn begin(&self) -> Result<Look> {
        Ok(Look { entries: self.library.files.list()?, files: 0, orphans: Vec::new(), orphans_seen: 0 })
    }

    /// Looks at a number of files.
    fn look(&self, mut look: Look) -> Result<Option<Walk>> {
        let mut old = Vec::new();
        for _ in 0..limits::HOUSEKEEPING_BATCH {
            match look.entries.next().transpose()? {
                Some(Listed::File { channel, id, modified, .. }) => {
                    look.files += 1;
                    if self.is_old(modified) {
                        old.push((channel, id));
                    }
                }
                Some(Listed::Foreign(_)) => {}
                None => {
                    look.add(self.library.metadata()?.unnamed(&old)?);
                    return self.looked(look);
                }
            }
        }
        look.add(self.library.metadata()?.unnamed(&old)?);
        Ok(Some(Walk::Looking(look)))
    }

    /// What comes after the last file was looked at.
    fn looked(&self, look: Look) -> Result<Option<Walk>> {
        self.remove_temporaries()?;
        let Look { files, orphans, orphans_seen, .. } = look;
        if crate::store::too_many(orphans_seen, files) {
            log::warn!(
                "of {files} files {orphans_seen} have no row, which is too many to be left by crashes, so none is moved \
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
        for (channel, id) in self.library.metadata()?.unnamed(&orphans)? {
            if self.library.lose(&channel, &id)? {
                self.library.housekeeping_counts.lost.increment();
                log::info!("moved {channel}/{id} to .lost: no row names it");
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
                log::info!("removed {name}: the file of an upload that never ended");
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
    fn add(&mut self, orphans: Vec<FileName>) {
        self.orphans_seen += orphans.len() as u64;
        let room = limits::ORPHANS.saturating_sub(self.orphans.len());
        self.orphans.extend(orphans.into_iter().take(room));
    }
}

/// When walks are due: at the start after a crash, once when all files that the crash left are old enough, and daily.
struct Schedule {
    next: Instant,
    /// When all files that a crash before the start has left are old enough.
    old_enough: Instant,
}

impl Schedule {
    fn new(after_crash: bool, start: Instant, orphan_age: Duration) -> Self {
        let old_enough = start + orphan_age;
        Self { next: if after_crash { start } else { old_enough }, old_enough }
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    fn begun(&mut self, now: Instant) {
        self.next = if now < self.old_enough { self.old_enough } else { now + limits::WALK_INTERVAL };
    }
}
