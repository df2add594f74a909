//! Files of uploads that no row names: a crash between the moment when a file gets its name and the commit of its row leaves
//! such a file. They are moved to `.lost`, by a chore of the housekeeper's thread or by the command `fsck`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::service::UploadService;
use crate::error::Result;
use crate::limits;
use crate::model::{UploadFile, UploadId};
use crate::store::{ListedUpload, Losses, UploadList, UploadRow};

/// The chore: a walk of all files of uploads, once a day and for the first time when what an earlier process has left is
/// old enough.
pub struct UploadWalker {
    service: Arc<UploadService>,
    /// How old a file without a row must be: `housekeeping.orphan.age`.
    age: Box<dyn Fn() -> Duration + Send>,
    due: Instant,
    walk: Option<Walk>,
}

struct Walk {
    entries: UploadList,
    found: Orphans,
}

/// Files without a row.
#[derive(Debug, Default)]
struct Orphans {
    /// Files that were seen, and those of them that have no row.
    losses: Losses,
    files: Vec<UploadFile>,
}

impl UploadWalker {
    /// A chore for this service.
    pub fn new(service: Arc<UploadService>, age: Box<dyn Fn() -> Duration + Send>) -> Self {
        let due = Instant::now() + age();
        Self { service, age, due, walk: None }
    }

    /// Does the next step of the walk, if one is due or under way. After that a pause is due, or `None` if all is done until
    /// the next round.
    pub fn run(&mut self) -> Result<Option<Duration>> {
        self.step(Instant::now())
    }

    fn step(&mut self, now: Instant) -> Result<Option<Duration>> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None if now < self.due => return Ok(None),
            None => {
                // While the database can't be reached, the walk waits.
                self.service.check_open()?;
                self.due = now + limits::UPLOAD_WALK;
                Walk { entries: self.service.files.list()?, found: Orphans::default() }
            }
        };
        if self.service.look(&mut walk.entries, (self.age)(), &mut walk.found)? {
            self.walk = Some(walk);
            return Ok(Some(limits::UPLOAD_WALK_PAUSE));
        }
        self.service.set_aside(&walk.found)?;
        Ok(None)
    }
}

impl UploadService {
    /// Looks at the next files of a walk; whether there may be more.
    fn look(&self, entries: &mut UploadList, age: Duration, found: &mut Orphans) -> Result<bool> {
        let now = SystemTime::from(self.clock.now());
        let (mut old, mut seen) = (Vec::new(), 0);
        for entry in entries.by_ref().take(limits::UPLOAD_BATCH) {
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
        let room = limits::UPLOAD_ORPHANS.saturating_sub(found.files.len());
        found.files.extend(unnamed.into_iter().take(room));
        Ok(seen == limits::UPLOAD_BATCH)
    }

    /// Moves files to `.lost`, unless there are more than a crash explains.
    fn set_aside(&self, found: &Orphans) -> Result<()> {
        let Losses { all, lost } = found.losses;
        if found.losses.are_too_many() {
            log::error!(
                "{lost} of {all} files of uploads have no row: that is no crash, and they stay; is it the right database?"
            );
            return Ok(());
        }
        for file in &found.files {
            // It may have got its row meanwhile.
            if !self.table.unnamed_uploads(std::slice::from_ref(file))?.is_empty()
                && let Some(path) = self.files.set_aside(file, self.clock.now())?
            {
                log::warn!("the file {file} of an upload has no row, and is moved to {}", path.display());
            }
        }
        Ok(())
    }
}

/// A difference between files and rows of uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadFinding {
    /// A file that no row names. Mended by moving it to `.lost`.
    FileWithoutRow(UploadFile),
    /// A row whose file is gone. Mended by emptying it.
    RowWithoutFile(UploadId),
    /// A file that is not as long as its row says. Nothing here can mend it.
    WrongSize(UploadId),
    /// A row whose id or file no request can reach. Nothing here can mend it.
    UnreachableRow(String),
    /// A file that no row can name. Nothing here can mend it.
    ForeignFile(PathBuf),
}

impl UploadFinding {
    /// Whether a repair mends it.
    pub fn can_be_mended(&self) -> bool {
        matches!(self, Self::FileWithoutRow(_) | Self::RowWithoutFile(_))
    }
}

impl fmt::Display for UploadFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileWithoutRow(file) => {
                write!(f, ".uploads/{}/{file}: a file without a row", file.folder())
            }
            Self::RowWithoutFile(id) => write!(f, "upload {id}: a row without a file"),
            Self::WrongSize(id) => write!(f, "upload {id}: the file is not as long as its row says"),
            Self::UnreachableRow(id) => write!(f, "upload {id:?}: no request can reach it"),
            Self::ForeignFile(path) => write!(f, "{}: no row can name it", path.display()),
        }
    }
}

/// What a check of uploads found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadReport {
    /// Findings that were mended.
    pub mended: u64,
    /// Findings that are left.
    pub left: u64,
}

impl UploadService {
    /// Compares files and rows of uploads, and mends what it can if `repair`, unless so much would go that it must be a
    /// mistake. Files younger than [`limits::FSCK_AGE`] are left alone. Each finding is handed to `tell`.
    pub fn fsck(&self, repair: bool, tell: &mut dyn FnMut(&UploadFinding)) -> Result<UploadReport> {
        let mut report = UploadReport::default();
        self.check_files(repair, &mut report, tell)?;
        self.check_rows(repair, &mut report, tell)?;
        Ok(report)
    }

    fn check_files(
        &self,
        repair: bool,
        report: &mut UploadReport,
        tell: &mut dyn FnMut(&UploadFinding),
    ) -> Result<()> {
        for entry in self.files.list()? {
            if let ListedUpload::Foreign(path) = entry? {
                tell(&UploadFinding::ForeignFile(path));
                report.left += 1;
            }
        }
        let (mut entries, mut found) = (self.files.list()?, Orphans::default());
        while self.look(&mut entries, limits::FSCK_AGE, &mut found)? {}
        for file in &found.files {
            tell(&UploadFinding::FileWithoutRow(file.clone()));
        }
        let lost = found.files.len() as u64;
        if repair && !found.losses.are_too_many() {
            self.set_aside(&found)?;
            report.mended += lost;
        } else {
            report.left += lost;
        }
        Ok(())
    }

    /// Twice if rows may go: the first time they are counted.
    fn check_rows(
        &self,
        repair: bool,
        report: &mut UploadReport,
        tell: &mut dyn FnMut(&UploadFinding),
    ) -> Result<()> {
        let mut losses = Losses::default();
        if repair {
            self.each_row(&mut |service, row| {
                let finding = service.check_row(row)?;
                losses.count(matches!(finding, Some(UploadFinding::RowWithoutFile(_))));
                Ok(())
            })?;
        }
        let mend = repair && !losses.are_too_many();
        self.each_row(&mut |service, row| {
            let Some(finding) = service.check_row(row)? else { return Ok(()) };
            tell(&finding);
            match &finding {
                UploadFinding::RowWithoutFile(id) if mend => {
                    service.table.delete_uploads(std::slice::from_ref(id))?;
                    report.mended += 1;
                }
                _ => report.left += 1,
            }
            Ok(())
        })
    }

    fn each_row(&self, visit: &mut dyn FnMut(&Self, &UploadRow) -> Result<()>) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let rows = self.table.upload_rows(after.as_deref(), limits::FSCK_ROWS)?;
            rows.iter().try_for_each(|row| visit(self, row))?;
            match rows.last() {
                Some(last) if rows.len() == limits::FSCK_ROWS => after = Some(last.id.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn check_row(&self, row: &UploadRow) -> Result<Option<UploadFinding>> {
        let (Ok(id), Ok(file)) = (UploadId::stored(&row.id), row.file.parse::<UploadFile>()) else {
            return Ok(Some(UploadFinding::UnreachableRow(row.id.clone())));
        };
        Ok(match self.files.head(&file)? {
            Some(size) if size == row.size => None,
            Some(_) => Some(UploadFinding::WrongSize(id)),
            None => Some(UploadFinding::RowWithoutFile(id)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{Bench, settings};
    use super::*;

    const AGE: Duration = Duration::from_secs(3600);

    fn orphan(bench: &Bench) -> UploadFile {
        let file = UploadFile::random();
        let folder = bench.scratch.join(&format!(".uploads/{}", file.folder()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file.as_str()), "bytes").unwrap();
        file
    }

    fn fsck(bench: &Bench, repair: bool) -> (Vec<UploadFinding>, UploadReport) {
        let mut findings = Vec::new();
        let report = bench.service.fsck(repair, &mut |finding| findings.push(finding.clone())).unwrap();
        (findings, report)
    }

    fn lost(bench: &Bench) -> usize {
        bench.files().iter().filter(|path| path.to_string_lossy().contains(".lost")).count()
    }

    #[test]
    fn an_old_file_without_a_row_is_moved_by_a_walk() {
        let bench = Bench::new(settings());
        let kept = bench.store(b"kept");
        orphan(&bench);
        let mut walker = UploadWalker::new(Arc::clone(&bench.service), Box::new(|| AGE));
        let mut run = |now: Instant| while walker.step(now).unwrap().is_some() {};
        let start = Instant::now();
        bench.clock.pass(AGE - Duration::from_secs(60));
        run(start + AGE + Duration::from_secs(1));
        assert_eq!(lost(&bench), 0, "it is too young");
        bench.clock.pass(Duration::from_secs(120));
        run(start + AGE + Duration::from_secs(2));
        assert_eq!(lost(&bench), 0, "no walk is due");
        run(start + AGE + limits::UPLOAD_WALK + Duration::from_secs(2));
        assert_eq!(lost(&bench), 1);
        assert!(bench.is_there(&kept) && bench.files().len() == 2);
    }

    #[test]
    fn more_than_a_crash_leaves_is_left_alone() {
        let bench = Bench::new(settings());
        bench.store(b"kept");
        (0..2 * limits::UPLOAD_BATCH).for_each(|_| drop(orphan(&bench)));
        bench.clock.pass(2 * limits::FSCK_AGE);
        let mut walker = UploadWalker::new(Arc::clone(&bench.service), Box::new(|| Duration::ZERO));
        while walker.step(Instant::now() + AGE).unwrap().is_some() {}
        let (findings, report) = fsck(&bench, true);
        assert_eq!((findings.len(), report.mended, lost(&bench)), (200, 0, 0));
    }

    #[test]
    fn a_check_tells_what_differs_and_a_repair_mends_it() {
        let bench = Bench::new(settings());
        let (kept, without_file, cut) = (bench.store(b"kept"), bench.store(b"gone"), bench.store(b"other"));
        bench.clock.pass(2 * limits::FSCK_AGE);
        assert_eq!(fsck(&bench, true), (vec![], UploadReport::default()));
        let path = |slot: &super::super::testing::Granted| {
            let file = bench.service.find(&slot.id).unwrap().unwrap().file.clone();
            bench.scratch.join(&format!(".uploads/{}/{file}", file.folder()))
        };
        fs::remove_file(path(&without_file)).unwrap();
        fs::write(path(&cut), "cut").unwrap();
        let orphan = orphan(&bench);
        fs::write(bench.scratch.join(".uploads/odd"), "").unwrap();
        let (mut findings, report) = fsck(&bench, false);
        findings.sort_by_key(ToString::to_string);
        let mut expected = [
            UploadFinding::FileWithoutRow(orphan),
            UploadFinding::RowWithoutFile(without_file.id.clone()),
            UploadFinding::WrongSize(cut.id.clone()),
            UploadFinding::ForeignFile(bench.scratch.join(".uploads/odd")),
        ];
        expected.sort_by_key(ToString::to_string);
        assert_eq!((findings.as_slice(), report.left), (&expected[..], 4));
        assert_eq!(fsck(&bench, true).1, UploadReport { mended: 2, left: 2 });
        let left = fsck(&bench, true);
        assert!(left.0.iter().all(|finding| !finding.can_be_mended()) && left.1.left == 2, "{left:?}");
        bench.service.forget(&without_file.id);
        assert!(!bench.is_there(&without_file) && bench.is_there(&kept));
    }
}
