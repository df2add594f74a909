//! The check of the whole store: files against rows, rows against files, sums against rows. It runs on the main thread of
//! the command `fsck`, beside a running server or without one.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Library;
use crate::error::Result;
use crate::limits;
use crate::model::{Channel, MediaId};
use crate::store::{Listed, MediaRow, PreviewRow, UsageKind, WrongSum};

/// A difference between files and metadata, or within one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A file that no row knows: left by a crash. Mended by removing it.
    FileWithoutRow(Channel, MediaId),
    /// A media whose file is gone. Mended by deleting its row.
    RowWithoutFile(Channel, MediaId),
    /// A preview whose file or media is gone. Mended by deleting its row.
    PreviewWithoutFile(String),
    /// The file of an upload that never ended. Mended by removing it.
    Temporary(String),
    /// A file that is not as long as its row says. Nothing here can mend it.
    WrongSize(Channel, MediaId),
    /// A row whose id or channel no request can name. Nothing here can mend it.
    UnreachableRow(String),
    /// A file that no request can name. Nothing here can mend it.
    ForeignFile(PathBuf),
    /// A sum of files and bytes, which quotas rely on, that is not the one of the rows. Mended by correcting it.
    WrongSum(WrongSum),
}

impl Finding {
    /// Whether a repair mends it.
    pub fn can_be_mended(&self) -> bool {
        !matches!(self, Self::WrongSize(..) | Self::UnreachableRow(_) | Self::ForeignFile(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileWithoutRow(channel, id) => write!(f, "{channel}/{id}: a file without a row"),
            Self::RowWithoutFile(channel, id) => write!(f, "{channel}/{id}: a row without a file"),
            Self::PreviewWithoutFile(id) => write!(f, "preview {id}: a row without a file or a media"),
            Self::Temporary(name) => write!(f, "{name}: the file of an upload that never ended"),
            Self::WrongSize(channel, id) => {
                write!(f, "{channel}/{id}: the file is not as long as its row says")
            }
            Self::UnreachableRow(id) => write!(f, "row {id:?}: no request can name it"),
            Self::ForeignFile(path) => write!(f, "{}: no request can name it", path.display()),
            Self::WrongSum(WrongSum { kind, name, part, files, bytes }) => write!(
                f,
                "usage of {} {name:?}, part {part}: it differs from the rows by {files} files and {bytes} bytes",
                kind.name()
            ),
        }
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Findings that were mended.
    pub mended: u64,
    /// Findings that are left.
    pub left: u64,
}

impl Library {
    /// Compares files and rows, and mends what it can if `repair`. Files younger than
    /// [`limits::FSCK_AGE`] are left alone: a running server may be about to give them their rows.
    /// Each finding is handed to `tell`.
    pub fn fsck(&self, repair: bool, tell: &mut dyn FnMut(&Finding)) -> Result<Report> {
        let mut check = Check { library: self, repair, tell, report: Report::default() };
        check.files()?;
        check.temporaries()?;
        check.media_rows()?;
        check.preview_rows()?;
        check.usage()?;
        Ok(check.report)
    }
}

struct Check<'a> {
    library: &'a Library,
    repair: bool,
    tell: &'a mut dyn FnMut(&Finding),
    report: Report,
}

impl Check<'_> {
    fn files(&mut self) -> Result<()> {
        for entry in self.library.files.list()? {
            match entry? {
                Listed::File { channel, id, modified, .. } => {
                    if self.is_old(modified) && !self.has_row(&channel, &id)? {
                        let remove = |check: &Self| check.library.files.remove(&channel, &id).map(drop);
                        self.found(&Finding::FileWithoutRow(channel.clone(), id.clone()), remove)?;
                    }
                }
                Listed::Foreign(path) => self.found(&Finding::ForeignFile(path), |_| Ok(()))?,
            }
        }
        Ok(())
    }

    fn temporaries(&mut self) -> Result<()> {
        for (name, modified) in self.library.uploads.temporaries()? {
            if self.is_old(modified) {
                let remove = |check: &Self| check.library.uploads.remove_temporary(&name).map(drop);
                self.found(&Finding::Temporary(name.clone()), remove)?;
            }
        }
        Ok(())
    }

    fn usage(&mut self) -> Result<()> {
        for kind in UsageKind::ALL {
            for wrong in self.library.metadata()?.wrong_usage(kind)? {
                let correct = |check: &Self| check.library.metadata()?.correct_usage(&wrong);
                self.found(&Finding::WrongSum(wrong.clone()), correct)?;
            }
        }
        Ok(())
    }

    fn media_rows(&mut self) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let rows = self.library.metadata()?.media_rows(after.as_deref(), limits::FSCK_ROWS)?;
            for row in &rows {
                self.media_row(row)?;
            }
            match rows.last() {
                Some(last) if rows.len() == limits::FSCK_ROWS => after = Some(last.id.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn media_row(&mut self, row: &MediaRow) -> Result<()> {
        let (Ok(channel), Ok(id)) = (row.channel.parse::<Channel>(), row.id.parse::<MediaId>()) else {
            return self.found(&Finding::UnreachableRow(row.id.clone()), |_| Ok(()));
        };
        match self.library.files.head(&channel, &id)? {
            Some(size) if size == row.size => Ok(()),
            Some(_) => self.found(&Finding::WrongSize(channel, id), |_| Ok(())),
            None => {
                let delete = |check: &Self| check.library.delete_id(&channel, &id).map(drop);
                self.found(&Finding::RowWithoutFile(channel.clone(), id.clone()), delete)
            }
        }
    }

    fn preview_rows(&mut self) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let rows = self.library.metadata()?.preview_rows(after.as_deref(), limits::FSCK_ROWS)?;
            for row in &rows {
                if !self.preview_has_file(row)? {
                    let delete = |check: &Self| check.library.metadata()?.delete_preview(&row.id).map(drop);
                    self.found(&Finding::PreviewWithoutFile(row.id.clone()), delete)?;
                }
            }
            match rows.last() {
                Some(last) if rows.len() == limits::FSCK_ROWS => after = Some(last.id.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn preview_has_file(&self, row: &PreviewRow) -> Result<bool> {
        let channel = row.channel.as_ref().and_then(|channel| channel.parse::<Channel>().ok());
        match (channel, row.id.parse::<MediaId>()) {
            (Some(channel), Ok(id)) => Ok(self.library.files.head(&channel, &id)?.is_some()),
            _ => Ok(false),
        }
    }

    /// Whether a row names this file: that of a media, of a preview, or of a removal, which the housekeeper makes.
    fn has_row(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        Ok(self.library.metadata()?.unnamed(&[(channel.clone(), id.clone())])?.is_empty())
    }

    fn is_old(&self, modified: SystemTime) -> bool {
        let now = SystemTime::from(self.library.clock.now());
        now.duration_since(modified).unwrap_or(Duration::ZERO) > limits::FSCK_AGE
    }

    fn found(&mut self, finding: &Finding, mend: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        (self.tell)(finding);
        if self.repair && finding.can_be_mended() {
            mend(self)?;
            self.report.mended += 1;
        } else {
            self.report.left += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{Bench, channel};
    use super::*;

    /// More than the age at which files count as left over.
    const LONG: Duration = Duration::from_secs(limits::FSCK_AGE.as_secs() + 60);
    /// Less than that.
    const SHORT: Duration = Duration::from_secs(limits::FSCK_AGE.as_secs() - 60);

    fn fsck(bench: &Bench, repair: bool) -> (Vec<Finding>, Report) {
        let mut findings = Vec::new();
        let report = bench.library.fsck(repair, &mut |finding| findings.push(finding.clone())).unwrap();
        (findings, report)
    }

    /// The finding is told by a check, which changes nothing, and by a repair, after which it is gone.
    fn assert_mended(bench: &Bench, finding: &Finding) {
        assert!(finding.can_be_mended());
        for _ in 0..2 {
            assert_eq!(fsck(bench, false), (vec![finding.clone()], Report { mended: 0, left: 1 }));
        }
        assert_eq!(fsck(bench, true), (vec![finding.clone()], Report { mended: 1, left: 0 }));
        assert_eq!(fsck(bench, false), (vec![], Report::default()));
    }

    /// The finding is told again and again, for nothing here can mend it.
    fn assert_left(bench: &Bench, finding: &Finding) {
        assert!(!finding.can_be_mended());
        for repair in [false, true, false] {
            assert_eq!(fsck(bench, repair), (vec![finding.clone()], Report { mended: 0, left: 1 }));
        }
    }

    #[test]
    fn a_store_that_is_in_step_is_left_alone() {
        let bench = Bench::new();
        let media = [bench.add("one"), bench.add_avatar("two")];
        bench.write("lost+found/file");
        bench.pass(LONG);
        assert_eq!(fsck(&bench, true), (vec![], Report::default()));
        assert!(media.iter().all(|media| bench.file(media).exists()));
    }

    #[test]
    fn d28_an_old_file_without_a_row_is_removed() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        bench.write("room@example.org/orphan");
        bench.pass(SHORT);
        assert_eq!(fsck(&bench, true), (vec![], Report::default()), "a young file is left alone");
        bench.pass(LONG - SHORT);
        assert_mended(&bench, &Finding::FileWithoutRow(channel(), "orphan".parse().unwrap()));
        assert_eq!(bench.files(), [media.id.as_str()]);
    }

    #[test]
    fn a_row_of_another_channel_does_not_keep_a_file() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        bench.write(&format!("other@example.org/{}", media.id));
        bench.pass(LONG);
        assert_mended(
            &bench,
            &Finding::FileWithoutRow("other@example.org".parse().unwrap(), media.id.clone()),
        );
        assert!(bench.file(&media).exists());
    }

    #[test]
    fn a_row_without_its_file_is_deleted_with_its_previews() {
        let bench = Bench::new();
        let media = bench.add_avatar("bytes");
        bench.write("room@example.org/preview");
        bench.sql(&format!(
            "INSERT INTO previews (id, mediaId, mimeType) VALUES ('preview', '{}', 'image/png')",
            media.id
        ));
        fs::remove_file(bench.file(&media)).unwrap();
        bench.pass(LONG);
        assert_mended(&bench, &Finding::RowWithoutFile(channel(), media.id));
        assert!(bench.files().is_empty());
    }

    #[test]
    fn a_preview_without_its_file_or_its_media_is_deleted() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        for shown in [media.id.as_str(), "gone"] {
            bench.sql(&format!(
                "INSERT INTO previews (id, mediaId, mimeType) VALUES ('preview', '{shown}', 'image/png')"
            ));
            assert_mended(&bench, &Finding::PreviewWithoutFile("preview".to_owned()));
        }
    }

    #[test]
    fn an_old_temporary_file_is_removed() {
        let bench = Bench::new();
        bench.write(".upload-1");
        bench.pass(SHORT);
        assert_eq!(fsck(&bench, true), (vec![], Report::default()), "a young file is left alone");
        bench.pass(LONG - SHORT);
        assert_mended(&bench, &Finding::Temporary(".upload-1".to_owned()));
    }

    #[test]
    fn a_file_of_another_size_is_told() {
        let bench = Bench::new();
        let media = bench.add("bytes");
        fs::write(bench.file(&media), "byte").unwrap();
        assert_left(&bench, &Finding::WrongSize(channel(), media.id));
    }

    #[test]
    fn files_and_rows_that_no_request_can_name_are_told() {
        let bench = Bench::new();
        bench.write("room@example.org/odd.name");
        let (findings, report) = fsck(&bench, true);
        assert!(matches!(&findings[..], [Finding::ForeignFile(path)] if path.ends_with("odd.name")));
        assert_eq!(report, Report { mended: 0, left: 1 });

        let bench = Bench::new();
        let media = bench.add("bytes");
        bench.sql("UPDATE medias SET entityId = 'no channel'");
        assert_left(&bench, &Finding::UnreachableRow(media.id.to_string()));
    }

    #[test]
    fn every_row_is_read_however_many_there_are() {
        let bench = Bench::new();
        let rows = limits::FSCK_ROWS + 1;
        bench.sql(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize)
             SELECT 'm' || i, 'room@example.org', 'a', 'b', 0, 0, 'c', 1 FROM n"
        ));
        let (findings, report) = fsck(&bench, true);
        assert_eq!((findings.len(), report), (rows, Report { mended: rows as u64, left: 0 }));
        assert_eq!(fsck(&bench, false), (vec![], Report::default()));
    }
}
