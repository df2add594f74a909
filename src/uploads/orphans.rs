//! Files of uploads that no row names: a crash between the moment when a file gets its name and the commit of its row leaves
//! such a file. They are moved to `.lost`, by a chore of the housekeeper's thread or by the command `fsck`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::service::UploadService;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{UploadFile, UploadId};
use crate::store::{ListedUpload, Losses, UploadList, UploadRow};

/// The chore: a walk of all files of uploads, at the start after a crash, once more when all that the crash left is old
/// enough, and once a day.
pub struct UploadWalker {
    service: Arc<UploadService>,
    /// How old a file without a row must be: `housekeeping.orphan.age`.
    age: Box<dyn Fn() -> Duration + Send>,
    due: Instant,
    /// When all files that a crash before the start has left are old enough.
    old_enough: Option<Instant>,
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
    /// A chore for this service. `after_crash`: the process before this one did not end as it should.
    pub fn new(
        service: Arc<UploadService>,
        after_crash: bool,
        age: Box<dyn Fn() -> Duration + Send>,
    ) -> Self {
        let now = Instant::now();
        let due = if after_crash { now } else { now + limits::UPLOAD_WALK };
        let old_enough = after_crash.then(|| now + age());
        Self { service, age, due, old_enough, walk: None }
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
                self.due = self.old_enough.take_if(|time| *time > now).unwrap_or(now + limits::UPLOAD_WALK);
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
        if found.files.is_empty() {
            log::info!("walked the uploads: all {all} files are in order");
            return Ok(());
        }
        let mut moved = 0;
        for file in &found.files {
            if let Some(path) = self.move_to_lost(file)? {
                log::info!("moved the file {file} of an upload to {}: no row names it", path.display());
                moved += 1;
            }
        }
        log::warn!("walked the uploads: {moved} files without a row are in .lost now");
        Ok(())
    }

    /// Moves a file to `.lost`, unless it has got its row, or is gone, meanwhile.
    fn move_to_lost(&self, file: &UploadFile) -> Result<Option<PathBuf>> {
        match self.table.unnamed_uploads(std::slice::from_ref(file))?.is_empty() {
            true => Ok(None),
            false => self.files.set_aside(file, self.clock.now()),
        }
    }
}

/// A difference between files and rows of uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadFinding {
    /// A file that no row names. A repair moves it to `.lost`.
    FileWithoutRow(UploadFile),
    /// A row whose file is gone. A repair empties it.
    RowWithoutFile(UploadId),
    /// A file that is not as long as its row says. A repair leaves it.
    WrongSize(UploadId),
    /// A row whose id or file no request can reach. A repair leaves it.
    UnreachableRow(String),
    /// A file that no row can name. A repair leaves it.
    ForeignFile(PathBuf),
}

impl UploadFinding {
    /// What a repair would do about it; `None` if it leaves it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::FileWithoutRow(_) => Some("move it to .lost"),
            Self::RowWithoutFile(_) => Some("delete the row"),
            Self::WrongSize(_) | Self::UnreachableRow(_) | Self::ForeignFile(_) => None,
        }
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
    /// Findings that were repaired, or would be.
    pub repairable: u64,
    /// Findings that can't be repaired.
    pub left: u64,
}

/// Is told a finding, and what becomes of it, as it follows the finding in a line.
type Tell<'a> = &'a mut dyn FnMut(&UploadFinding, &str);

impl UploadService {
    /// Compares files and rows of uploads, and repairs what it can if `repair`. Files younger than [`limits::FSCK_AGE`] are
    /// left alone: a running server may be about to give them their rows. Each finding is handed to `tell`, with what
    /// becomes of it.
    pub fn fsck(&self, repair: bool, tell: Tell<'_>) -> Result<UploadReport> {
        let mut report = UploadReport::default();
        self.check_files(repair, &mut report, tell)?;
        self.each_row(&mut |row| {
            let Some(finding) = self.check_row(row)? else { return Ok(()) };
            match &finding {
                UploadFinding::RowWithoutFile(id) if repair => {
                    self.table.delete_uploads(std::slice::from_ref(id))?;
                    report.repairable += 1;
                    tell(&finding, "; deleted the row");
                }
                _ => left(&finding, &mut report, tell),
            }
            Ok(())
        })?;
        Ok(report)
    }

    /// Fails if a repair would remove more files or rows than a crash explains. Changes nothing.
    pub fn refuse_large_losses(&self) -> Result<()> {
        let (files, mut rows) = (self.orphans()?.losses, Losses::default());
        self.each_row(&mut |row| {
            rows.count(matches!(self.check_row(row)?, Some(UploadFinding::RowWithoutFile(_))));
            Ok(())
        })?;
        let percent = limits::LOSSES_PERCENT;
        let refused = |Losses { all, lost }: Losses, what: &str, advice: &str| {
            let text = format!(
                "{lost} of {all} {what}, more than {percent} %: check {advice}; if it is right, add --force; nothing is \
                 changed"
            );
            Err(Error::new(Kind::Failure, text))
        };
        if files.are_too_many() {
            return refused(files, "files of uploads have no row", "jdbc.db.url");
        }
        if rows.are_too_many() {
            return refused(rows, "uploads have no file", "media.storage.root");
        }
        Ok(())
    }

    fn orphans(&self) -> Result<Orphans> {
        let (mut entries, mut found) = (self.files.list()?, Orphans::default());
        while self.look(&mut entries, limits::FSCK_AGE, &mut found)? {}
        Ok(found)
    }

    fn check_files(&self, repair: bool, report: &mut UploadReport, tell: Tell<'_>) -> Result<()> {
        for entry in self.files.list()? {
            if let ListedUpload::Foreign(path) = entry? {
                left(&UploadFinding::ForeignFile(path), report, tell);
            }
        }
        for file in self.orphans()?.files {
            let finding = UploadFinding::FileWithoutRow(file.clone());
            if !repair {
                left(&finding, report, tell);
            } else if let Some(path) = self.move_to_lost(&file)? {
                report.repairable += 1;
                tell(&finding, &format!("; moved to {}", path.display()));
            }
        }
        Ok(())
    }

    fn each_row(&self, visit: &mut dyn FnMut(&UploadRow) -> Result<()>) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let rows = self.table.upload_rows(after.as_deref(), limits::FSCK_ROWS)?;
            rows.iter().try_for_each(&mut *visit)?;
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

/// Tells a finding of which nothing becomes, or nothing yet.
fn left(finding: &UploadFinding, report: &mut UploadReport, tell: Tell<'_>) {
    match finding.remedy() {
        Some(remedy) => {
            report.repairable += 1;
            tell(finding, &format!("; would {remedy}"));
        }
        None => {
            report.left += 1;
            tell(finding, "");
        }
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
        bench.write_orphan(&file);
        file
    }

    fn fsck(bench: &Bench, repair: bool) -> (Vec<UploadFinding>, UploadReport) {
        let mut findings = Vec::new();
        let report = bench.service.fsck(repair, &mut |finding, _| findings.push(finding.clone())).unwrap();
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
        let second = Duration::from_secs(1);
        let before = Instant::now();
        let mut walker = UploadWalker::new(Arc::clone(&bench.service), true, Box::new(|| AGE));
        let after = Instant::now();
        let mut run = |now: Instant| while walker.step(now).unwrap().is_some() {};
        run(after);
        assert_eq!(lost(&bench), 0, "it is too young");
        bench.clock.pass(AGE + Duration::from_secs(60));
        run(before + AGE - second);
        assert_eq!(lost(&bench), 0, "no walk is due");
        run(after + AGE);
        assert_eq!(lost(&bench), 1);
        orphan(&bench);
        bench.clock.pass(Duration::from_secs(60) + AGE);
        run(before + AGE + limits::UPLOAD_WALK - second);
        assert_eq!(lost(&bench), 1);
        run(after + AGE + limits::UPLOAD_WALK);
        assert_eq!(lost(&bench), 2);
        assert!(bench.is_there(&kept) && bench.files().len() == 3);
    }

    #[test]
    fn more_than_a_crash_leaves_is_left_alone() {
        let bench = Bench::new(settings());
        bench.store(b"kept");
        (0..2 * limits::UPLOAD_BATCH).for_each(|_| drop(orphan(&bench)));
        bench.clock.pass(2 * limits::FSCK_AGE);
        let mut walker = UploadWalker::new(Arc::clone(&bench.service), true, Box::new(|| Duration::ZERO));
        while walker.step(Instant::now()).unwrap().is_some() {}
        let error = bench.service.refuse_large_losses().unwrap_err().to_string();
        assert!(error.starts_with("200 of 201 files of uploads have no row"), "{error}");
        assert_eq!(lost(&bench), 0);
        assert_eq!(fsck(&bench, true).1, UploadReport { repairable: 200, left: 0 });
        assert_eq!(lost(&bench), 200);
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
        assert_eq!((findings.as_slice(), report), (&expected[..], UploadReport { repairable: 2, left: 2 }));
        bench.service.refuse_large_losses().unwrap();
        assert_eq!(fsck(&bench, true).1, UploadReport { repairable: 2, left: 2 });
        let (findings, report) = fsck(&bench, true);
        assert_eq!((findings.len(), report), (2, UploadReport { repairable: 0, left: 2 }));
        bench.service.forget(&without_file.id);
        assert!(!bench.is_there(&without_file) && bench.is_there(&kept));
    }
}
