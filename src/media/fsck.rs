//! The check of the whole store: files against rows, rows against files, sums against rows. It runs on the main thread of
//! the command `fsck`, beside a running server or without one.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Library;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, MediaId};
use crate::store::{KnownAs, Listed, Losses, MediaRow, PreviewRow, UsageKind, WrongSum};

/// A difference between files and metadata, or within one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A file that no row names: left by a crash. A repair moves it to `.lost`.
    FileWithoutRow(Channel, MediaId),
    /// A media whose file is gone. A repair deletes its row.
    RowWithoutFile(Channel, MediaId),
    /// A preview whose file or media is gone. A repair deletes its row.
    PreviewWithoutFile(String),
    /// The file of an upload that never ended. A repair removes it.
    Temporary(String),
    /// A file that is not as long as its row says. A repair leaves it.
    WrongSize(Channel, MediaId),
    /// A row whose id or channel no request can name, as they are stored. A repair leaves it.
    UnreachableRow {
        /// The channel.
        channel: String,
        /// The media.
        id: String,
    },
    /// A file that no request can name. A repair leaves it.
    ForeignFile(PathBuf),
    /// A sum of files and bytes, which quotas rely on, that is not the one of the rows. A repair corrects it.
    WrongSum(WrongSum),
}

impl Finding {
    /// The repair; `None` if there is none.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::FileWithoutRow(..) => Some("move it to .lost"),
            Self::RowWithoutFile(..) | Self::PreviewWithoutFile(_) => Some("delete the row"),
            Self::Temporary(_) => Some("remove it"),
            Self::WrongSum(_) => Some("correct it"),
            Self::WrongSize(..) | Self::UnreachableRow { .. } | Self::ForeignFile(_) => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileWithoutRow(channel, id) => write!(f, "{channel}/{id}: a file without a row"),
            Self::RowWithoutFile(channel, id) => write!(f, "{channel}/{id}: a row without a file"),
            Self::PreviewWithoutFile(id) => write!(f, "preview {id}: a row without a file or a media"),
            Self::Temporary(name) => write!(f, "{name}: the file of an unfinished upload"),
            Self::WrongSize(channel, id) => {
                write!(f, "{channel}/{id}: the file is not as long as its row says")
            }
            Self::UnreachableRow { channel, id } => {
                write!(
                    f,
                    "row {id:?} of channel {channel:?}: no request can name it{}",
                    looked_for_as(channel)
                )
            }
            Self::ForeignFile(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                write!(f, "{}: no request can name it{}", path.display(), looked_for_as(&name))
            }
            Self::WrongSum(WrongSum { kind, name, part, files, bytes }) => write!(
                f,
                "usage of {} {name:?}, part {part}: it differs from the rows by {files} files and {bytes} bytes",
                kind.name()
            ),
        }
    }
}

/// The handling of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing: it can't be repaired.
    Left,
    /// Nothing yet: a repair would do this.
    Would(&'static str),
    /// This was done.
    Did(String),
}

/// As it follows a [`Finding`] in a line.
impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => Ok(()),
            Self::Would(what) => write!(f, "; would {what}"),
            Self::Did(what) => write!(f, "; {what}"),
        }
    }
}

/// Whether [`Library::fsck`] changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It only looks.
    No,
    /// It repairs, unless it would remove suspiciously much; see [`Losses`].
    Careful,
    /// It repairs all that can be repaired.
    Forced,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether what can be repaired was repaired.
    pub repaired: bool,
    /// Findings that were repaired, or would be.
    pub repairable: u64,
    /// Findings that can't be repaired.
    pub left: u64,
    /// Files of media and files without a row; those without go to `.lost`. Previews and temporary files don't count.
    files: Losses,
    /// Rows of media; those without a file are deleted.
    rows: Losses,
}

impl Report {
    /// Fails if something is left that is not as it must be; the text says what to do.
    pub fn verdict(&self) -> Result<()> {
        let text = match (self.repaired, self.repairable, self.left) {
            (true, _, 0) | (false, 0, 0) => return Ok(()),
            (false, 1.., 0) => self.advice(),
            (true, ..) | (false, 0, _) => by_hand(self.left),
            (false, ..) => format!("{}; {}", self.advice(), by_hand(self.left)),
        };
        Err(Error::new(Kind::Failure, text))
    }

    fn advice(&self) -> String {
        let what = "`fsck --repair` moves files without a row to .lost, and deletes rows without a file";
        self.suspicion().map_or(what.to_owned(), |suspicion| format!("{what}, but {suspicion}"))
    }

    /// Fails if a repair would remove more than a crash explains.
    fn refuse_large_losses(&self) -> Result<()> {
        let refused = |suspicion| Error::new(Kind::Failure, format!("{suspicion}; nothing is changed"));
        self.suspicion().map_or(Ok(()), |suspicion| Err(refused(suspicion)))
    }

    fn suspicion(&self) -> Option<String> {
        let (percent, Losses { all, lost }) = (limits::LOSSES_PERCENT, self.files);
        if self.files.are_too_many() {
            return Some(format!(
                "{lost} of {all} files have no row, more than {percent} %: check jdbc.db.url, and whether the database is \
                 complete; if it is right, add --force"
            ));
        }
        let Losses { all, lost } = self.rows;
        self.rows.are_too_many().then(|| {
            format!(
                "{lost} of {all} rows have no file, more than {percent} %: check media.storage.root, and whether its file \
                 system is mounted and complete; if it is right, add --force"
            )
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repaired, repairable, left, .. } = self;
        match (repaired, repairable, left) {
            (_, 0, 0) => f.write_str("files and metadata agree"),
            (true, ..) => write!(f, "{} repaired, {left} left", problems(*repairable)),
            (false, ..) => write!(f, "{} would be repaired, {left} left", problems(*repairable)),
        }
    }
}

fn by_hand(left: u64) -> String {
    format!(
        "{} can't be repaired automatically: restore lost bytes from a backup, and correct names that no request can address",
        problems(left)
    )
}

fn problems(number: u64) -> String {
    if number == 1 { "1 problem".to_owned() } else { format!("{number} problems") }
}

impl Library {
    /// Compares files and rows, and repairs what it can where that is wanted. Files younger than [`limits::FSCK_AGE`] are
    /// left alone: a running server may be about to give them their rows. Each finding is handed to `tell`, with what
    /// becomes of it. A careful repair fails before it changes anything if it would remove suspiciously much.
    pub fn fsck(&self, repair: Repair, tell: &mut dyn FnMut(&Finding, &Deed)) -> Result<Report> {
        if repair == Repair::Careful {
            self.check(false, &mut |_, _| {})?.refuse_large_losses()?;
        }
        self.check(repair != Repair::No, tell)
    }

    fn check(&self, repair: bool, tell: &mut dyn FnMut(&Finding, &Deed)) -> Result<Report> {
        let report = Report { repaired: repair, ..Report::default() };
        let mut check = Check { library: self, tell, report };
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
    tell: &'a mut dyn FnMut(&Finding, &Deed),
    report: Report,
}

impl Check<'_> {
    fn files(&mut self) -> Result<()> {
        for entry in self.library.files.list()? {
            match entry? {
                Listed::File { channel, id, modified, .. } => self.file(&channel, &id, modified)?,
                Listed::Foreign(path) => self.left(&Finding::ForeignFile(path)),
            }
        }
        Ok(())
    }

    fn file(&mut self, channel: &Channel, id: &MediaId, modified: SystemTime) -> Result<()> {
        // A young file may be an upload's whose row comes in a moment.
        let is_old = self.is_old(modified);
        match self.known_as(channel, id)? {
            KnownAs::Nothing if is_old => {
                self.report.files.count(true);
                let finding = Finding::FileWithoutRow(channel.clone(), id.clone());
                self.repairable(&finding, |library| {
                    let moved = library.files.set_aside(channel, id, library.clock.now())?;
                    Ok(moved.map_or("it is gone already".to_owned(), |path| {
                        format!("moved to {}", path.display())
                    }))
                })
            }
            KnownAs::Media | KnownAs::Nothing => {
                self.report.files.count(false);
                Ok(())
            }
            // The housekeeper makes removals.
            KnownAs::Preview | KnownAs::Removal => Ok(()),
        }
    }

    fn temporaries(&mut self) -> Result<()> {
        for (name, modified) in self.library.uploads.temporaries()? {
            if self.is_old(modified) {
                self.repairable(&Finding::Temporary(name.clone()), |library| {
                    library.uploads.remove_temporary(&name).map(|_| "removed".to_owned())
                })?;
            }
        }
        Ok(())
    }

    fn usage(&mut self) -> Result<()> {
        for kind in UsageKind::ALL {
            for wrong in self.library.metadata()?.wrong_usage(kind)? {
                self.repairable(&Finding::WrongSum(wrong.clone()), |library| {
                    library.metadata()?.correct_usage(&wrong).map(|()| "corrected".to_owned())
                })?;
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
        let (Some(channel), Ok(id)) = (reachable(&row.channel), row.id.parse::<MediaId>()) else {
            self.report.rows.count(false);
            self.left(&Finding::UnreachableRow { channel: row.channel.clone(), id: row.id.clone() });
            return Ok(());
        };
        let size = self.library.files.head(&channel, &id)?;
        self.report.rows.count(size.is_none());
        match size {
            Some(size) if size == row.size => {}
            Some(_) => self.left(&Finding::WrongSize(channel, id)),
            None => {
                let finding = Finding::RowWithoutFile(channel.clone(), id.clone());
                self.repairable(&finding, |library| {
                    library.delete_id(&channel, &id).map(|_| "deleted the row".to_owned())
                })?;
            }
        }
        Ok(())
    }

    fn preview_rows(&mut self) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let rows = self.library.metadata()?.preview_rows(after.as_deref(), limits::FSCK_ROWS)?;
            for row in &rows {
                if self.preview_is_lost(row)? {
                    self.repairable(&Finding::PreviewWithoutFile(row.id.clone()), |library| {
                        library.metadata()?.delete_preview(&row.id).map(|_| "deleted the row".to_owned())
                    })?;
                }
            }
            match rows.last() {
                Some(last) if rows.len() == limits::FSCK_ROWS => after = Some(last.id.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Whether the file or the media of a preview is gone. That of a media that no request can name stays with it.
    fn preview_is_lost(&self, row: &PreviewRow) -> Result<bool> {
        let Some(channel) = &row.channel else { return Ok(true) };
        match (reachable(channel), row.id.parse::<MediaId>()) {
            (Some(channel), Ok(id)) => Ok(self.library.files.head(&channel, &id)?.is_none()),
            (channel, _) => Ok(channel.is_some()),
        }
    }

    /// The row that names a file of this id in the channel.
    fn known_as(&self, channel: &Channel, id: &MediaId) -> Result<KnownAs> {
        let known = self.library.metadata()?.known_as(&[(channel.clone(), id.clone())])?;
        Ok(known.first().copied().unwrap_or(KnownAs::Nothing))
    }

    fn is_old(&self, modified: SystemTime) -> bool {
        let now = SystemTime::from(self.library.clock.now());
        now.duration_since(modified).unwrap_or(Duration::ZERO) > limits::FSCK_AGE
    }

    /// Tells of what can be repaired, and repairs it where that is wanted; `repair` says what it did.
    fn repairable(
        &mut self,
        finding: &Finding,
        repair: impl FnOnce(&Library) -> Result<String>,
    ) -> Result<()> {
        let deed = if self.report.repaired {
            Deed::Did(repair(self.library)?)
        } else {
            Deed::Would(finding.remedy().unwrap_or_default())
        };
        self.report.repairable += 1;
        (self.tell)(finding, &deed);
        Ok(())
    }

    fn left(&mut self, finding: &Finding) {
        self.report.left += 1;
        (self.tell)(finding, &Deed::Left);
    }
}

/// The channel of this name, if requests can reach it: only by the name as it is stored.
fn reachable(name: &str) -> Option<Channel> {
    name.parse::<Channel>().ok().filter(|channel| channel.as_str() == name)
}

/// The channel that requests use instead of this name: a name with upper-case letters, or with a domain in its ASCII form
/// (`xn--`), is another name in XMPP.
fn looked_for_as(name: &str) -> String {
    let prepared = name.parse::<Channel>().ok().filter(|channel| channel.as_str() != name);
    prepared.map(|channel| format!("; they mean the channel {channel}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
