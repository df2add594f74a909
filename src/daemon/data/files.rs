//! The commands `list` and `delete`: files of both kinds, found by filters.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::output::{Output, minute, shown, size};
use super::{Doing, OutputForm, Stored, counted};
use crate::clock::{Clock, SystemClock};
use crate::component::file_path;
use crate::config::Config;
use crate::daemon::open;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{BareJid, Channel, FileKey, FileKind, Purpose, UploadId};
use crate::store::{FileFilter, FileRow, FileSum, FileTable};
use crate::uploads::shown_size;

/// The files that a command works on: those that match all of these filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileQuery {
    /// The uploader.
    pub user: Option<BareJid>,
    /// The channel; uploads by slot have none.
    pub channel: Option<Channel>,
    /// How long they have been stored at least.
    pub older_than: Option<Duration>,
    /// The purpose; media have none.
    pub purpose: Option<Purpose>,
    /// Media only, or uploads by slot only.
    pub kind: Option<FileKind>,
}

impl FileQuery {
    fn filter(&self) -> FileFilter {
        let Self { user, channel, older_than, purpose, kind } = self.clone();
        let before = older_than.map(|age| SystemClock.now().before(age));
        FileFilter { owner: user, channel, purpose, kind, before }
    }
}

/// A file as JSON.
#[derive(Serialize)]
struct FileJson<'a> {
    id: &'a str,
    kind: &'static str,
    channel: Option<&'a str>,
    user: Option<&'a str>,
    name: Option<&'a str>,
    #[serde(rename = "type")]
    mime_type: &'a str,
    bytes: u64,
    created: String,
    purpose: Option<&'a str>,
    expires: Option<String>,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
}

fn add(sum: &mut FileSum, row: &FileRow) {
    sum.files += 1;
    sum.bytes = sum.bytes.saturating_add(row.size);
}

fn told(sum: FileSum) -> String {
    format!("{}, {}", counted(sum.files, "file", "files"), shown_size(sum.bytes))
}

/// Prints the files of a query, newest first.
pub fn list(config: &Config, query: &FileQuery, form: OutputForm, out: &mut dyn Write) -> Result<()> {
    let table = open::file_table(config)?;
    let (mut output, mut sum) = (Output::new(out, form), FileSum::default());
    each(&*table, &query.filter(), &mut |row| {
        add(&mut sum, &row);
        tell(&mut output, &row, None);
        Ok(())
    })?;
    output.text(&told(sum));
    output.end();
    Ok(())
}

/// Deletes the files of a query, or prints which these are: rows first, each media in a transaction of its own and uploads by
/// the hundred, then the files.
///
/// # Errors
/// When something is left that should be gone; what was deleted before stays deleted.
pub fn delete(
    config: &Config,
    query: &FileQuery,
    doing: Doing,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<()> {
    let stored = Stored::open(config)?;
    let output = Output::new(out, form);
    let mut deletion =
        Deletion { stored: &stored, doing, output, uploads: Vec::new(), sum: FileSum::default(), left: 0 };
    let deleted = each(&*stored.files, &query.filter(), &mut |row| deletion.take(row));
    let deleted = deleted.and_then(|()| deletion.flush());
    deleted.map_err(|cause| so_far(&deletion, cause))?;
    deletion.end()
}

/// Hands over the files that a filter includes, newest first. They may be deleted meanwhile.
fn each(
    table: &dyn FileTable,
    filter: &FileFilter,
    visit: &mut dyn FnMut(FileRow) -> Result<()>,
) -> Result<()> {
    let mut after = None;
    loop {
        let rows = table.files(filter, after.as_ref(), limits::LISTED_FILES)?;
        let is_full = rows.len() == limits::LISTED_FILES;
        after = rows.last().map(FileRow::place);
        rows.into_iter().try_for_each(&mut *visit)?;
        if !is_full {
            return Ok(());
        }
    }
}

/// A deletion under way.
struct Deletion<'a> {
    stored: &'a Stored,
    doing: Doing,
    output: Output<'a>,
    /// Uploads that are deleted together.
    uploads: Vec<(UploadId, FileRow)>,
    sum: FileSum,
    /// Rows that no request can reach, and no deletion.
    left: u64,
}

impl Deletion<'_> {
    fn take(&mut self, row: FileRow) -> Result<()> {
        match (self.doing, key(&row)) {
            (_, None) => self.leave(&row),
            (Doing::Trial, Some(_)) => self.count(&row),
            (Doing::Really, Some(FileKey::Media(channel, id))) => {
                if self.stored.library.delete_id(&channel, &id)? {
                    self.count(&row);
                }
            }
            (Doing::Really, Some(FileKey::Upload(id))) => {
                self.uploads.push((id, row));
                if self.uploads.len() == limits::UPLOAD_BATCH {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let uploads = std::mem::take(&mut self.uploads);
        if uploads.is_empty() {
            return Ok(());
        }
        let ids: Vec<UploadId> = uploads.iter().map(|(id, _)| id.clone()).collect();
        let deleted = self.stored.uploads.delete(&ids)?;
        for (_, row) in uploads.iter().filter(|(id, _)| deleted.contains(id)) {
            self.count(row);
        }
        Ok(())
    }

    fn count(&mut self, row: &FileRow) {
        add(&mut self.sum, row);
        tell(&mut self.output, row, Some(self.doing == Doing::Really));
    }

    fn leave(&mut self, row: &FileRow) {
        self.left += 1;
        tell(&mut self.output, row, Some(false));
    }

    fn end(mut self) -> Result<()> {
        let told = told(self.sum);
        match self.doing {
            Doing::Trial if self.sum.files == 0 => self.output.text("no file would be deleted"),
            Doing::Trial => {
                self.output.text(&format!("{told} would be deleted; add --yes to delete them"));
            }
            Doing::Really => self.output.text(&format!("{told} deleted")),
        }
        self.output.end();
        if self.doing == Doing::Really {
            self.stored.remove_files()?;
        }
        if self.left == 0 { Ok(()) } else { Err(unreachable_rows(self.left)) }
    }
}

/// The key of a file, if a request can reach it.
fn key(row: &FileRow) -> Option<FileKey> {
    row.key().filter(|key| match key {
        FileKey::Media(channel, _) => Some(channel.as_str()) == row.channel.as_deref(),
        FileKey::Upload(_) => true,
    })
}

/// The error of rows that can't be deleted by their names.
pub(super) fn unreachable_rows(left: u64) -> Error {
    let rows = counted(left, "row has", "rows have");
    let text = format!(
        "{rows} a name that no request can have, so this command can't delete them: `fsck` prints the right name, and the manual \
         explains how to rename them"
    );
    Error::new(crate::error::Kind::Failure, text)
}

fn so_far(deletion: &Deletion<'_>, cause: Error) -> Error {
    if deletion.doing == Doing::Trial || deletion.sum.files == 0 {
        return cause;
    }
    Error::caused(cause.kind(), format!("only {} deleted", told(deletion.sum)), cause)
}

/// Prints a file; `deleted` says whether it is, in a command that deletes.
fn tell(output: &mut Output<'_>, row: &FileRow, deleted: Option<bool>) {
    let json = FileJson {
        id: &row.id,
        kind: row.kind.name(),
        channel: row.channel.as_deref(),
        user: row.owner.as_deref(),
        name: row.file_name.as_deref(),
        mime_type: &row.mime_type,
        bytes: row.size,
        created: row.created.to_string(),
        purpose: row.purpose.as_deref(),
        expires: row.expires.map(|time| time.to_string()),
        path: path(row),
        deleted,
    };
    output.result(&json, || {
        let (date, size) = (minute(row.created), size(row.size));
        let kind = row.purpose.as_deref().unwrap_or("media");
        let user = shown(row.owner.as_deref().unwrap_or("-"));
        let name = shown(row.file_name.as_deref().unwrap_or("-"));
        format!("{date} {size}  {kind:<9}  {user}  {name}\n    {}", shown(&path(row)))
    });
}

/// The path of a file below `http.endpoint`.
fn path(row: &FileRow) -> String {
    file_path(row).trim_start_matches('/').to_owned()
}
