//! Uploads that `fsck` compares: their files and their rows.

use std::fmt;
use std::path::PathBuf;

use super::orphans::Orphans;
use super::service::UploadService;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{UploadFile, UploadId};
use crate::store::{ListedUpload, Losses, UploadRow};

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
    /// The repair; `None` if there is none.
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

/// The result of a check of uploads.
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

    fn fsck(bench: &Bench, repair: bool) -> (Vec<UploadFinding>, UploadReport) {
        let mut findings = Vec::new();
        let report = bench.service.fsck(repair, &mut |finding, _| findings.push(finding.clone())).unwrap();
        (findings, report)
    }

    #[test]
    fn a_careful_repair_moves_no_more_than_a_crash_leaves() {
        let bench = Bench::new(settings());
        bench.store(b"kept");
        (0..2 * limits::UPLOAD_BATCH).for_each(|_| drop(bench.orphan()));
        bench.clock.pass(2 * limits::FSCK_AGE);
        let error = bench.service.refuse_large_losses().unwrap_err().to_string();
        assert!(error.starts_with("200 of 201 files of uploads have no row"), "{error}");
        assert_eq!(bench.lost(), 0);
        assert_eq!(fsck(&bench, true).1, UploadReport { repairable: 200, left: 0 });
        assert_eq!(bench.lost(), 200);
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
        let orphan = bench.orphan();
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
