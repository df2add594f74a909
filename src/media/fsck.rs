//! The check of the whole store: files against rows, rows against files.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Library;
use crate::error::Result;
use crate::limits;
use crate::model::{Channel, MediaId};
use crate::store::{Found, MediaRow, PreviewRow};

/// Something that is not as it must be.
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
        check.media_rows()?;
        check.preview_rows()?;
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
        for found in self.library.files.walk()? {
            match found? {
                Found::Stored { channel, id, modified, .. } => {
                    if self.is_old(modified) && !self.has_row(&channel, &id)? {
                        let remove = |check: &Self| check.library.files.remove(&channel, &id).map(drop);
                        self.found(&Finding::FileWithoutRow(channel.clone(), id.clone()), remove)?;
                    }
                }
                Found::Temporary { name, modified } => {
                    if self.is_old(modified) {
                        let remove = |check: &Self| check.library.files.remove_temporary(&name).map(drop);
                        self.found(&Finding::Temporary(name.clone()), remove)?;
                    }
                }
                Found::Foreign(path) => self.found(&Finding::ForeignFile(path), |_| Ok(()))?,
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
        match self.library.files.open_file(&channel, &id)? {
            Some(file) if file.size == row.size => Ok(()),
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
            (Some(channel), Ok(id)) => Ok(self.library.files.open_file(&channel, &id)?.is_some()),
            _ => Ok(false),
        }
    }

    /// Whether a media or a preview of this id is known to the channel.
    fn has_row(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        let metadata = self.library.metadata()?;
        Ok(metadata.media(channel, id)?.is_some() || metadata.has_preview(channel, id)?)
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
