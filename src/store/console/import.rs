//! Fills an empty database with the rows of an export.

use super::{Console, EmptiedUpload, Link, StoredRow, UsageSum};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, Media, MediaId, Preview, Uploaded};
use crate::store::columns::{self, COLUMNS, SELECTED};
use crate::store::engine::Session;
use crate::store::identity::StoreId;
use crate::store::operations::{set_store_id, version};
use crate::store::postgres;
use crate::store::schema::verify;
use crate::store::statements;
use crate::store::upload_operations::{UPLOAD_COLUMNS, upload_values};
use crate::store::value::{Row, Value, values};

/// Tables that must be empty before an import.
const TABLES: [&str; 5] = ["medias", "previews", "avatars", "uploads", "blocks"];

/// $1 id.
const UPLOAD_EXISTS: &str = "SELECT 1 FROM uploads WHERE id = $1";

/// $1 user, $2 date, $3 administrator.
const INSERT_BLOCK: &str = "INSERT INTO blocks (jid, since, \"by\") VALUES ($1, $2, $3)";

/// How many sums there are.
const COUNT_SUMS: &str = "SELECT COUNT(*) FROM (SELECT kind, name FROM usage GROUP BY kind, name \
     HAVING SUM(files) <> 0 OR SUM(bytes) <> 0) AS sums";

/// The import that is under way. Each row comes with the number of its line.
pub struct Import<'a> {
    session: &'a mut dyn Session,
    /// Rows that are written together. A statement for each would cost PostgreSQL as many changes of the sums.
    media: Vec<(u64, Media)>,
    uploads: Vec<(u64, UploadValues)>,
    sums: u64,
}

/// The id of an upload, and the values of [`UPLOAD_COLUMNS`].
struct UploadValues {
    id: String,
    values: Vec<Value>,
}

impl Console {
    /// Fills the database in one transaction, in which nobody else writes: where `work` fails, nothing is written. Fails
    /// unless the tables are there and empty.
    pub fn import(&mut self, work: &mut dyn FnMut(&mut Import<'_>) -> Result<()>) -> Result<()> {
        self.alone(|session| {
            refuse_if_filled(session)?;
            let mut import = Import { session, media: Vec::new(), uploads: Vec::new(), sums: 0 };
            work(&mut import)?;
            import.finish()
        })
    }

    /// Fails unless the tables are there and empty. Changes nothing.
    pub fn may_import(&mut self) -> Result<()> {
        self.snapshot(refuse_if_filled)
    }

    /// Fails while several nodes serve with this database, wherever their storage roots are.
    pub fn refuse_serving_nodes(&mut self) -> Result<()> {
        match &mut self.0 {
            Link::Postgres(connection) => postgres::refuse_serving_nodes(&mut connection.client),
            Link::Sqlite(_) => Ok(()),
        }
    }
}

fn refuse_if_filled(session: &mut dyn Session) -> Result<()> {
    verify(version(session)?)?;
    for table in TABLES {
        if session.row(&format!("SELECT 1 FROM {table} LIMIT 1"), &[])?.is_some() {
            let text = format!(
                "the database is not empty: table {table} has rows; an import fills an empty database, such as `setup-schema` \
                 makes; nothing is changed"
            );
            return Err(Error::new(Kind::Failure, text));
        }
    }
    Ok(())
}

impl Import<'_> {
    /// Takes a row. The rows come in the order of an export: those that others refer to first.
    pub fn add(&mut self, line: u64, row: StoredRow) -> Result<()> {
        match row {
            StoredRow::Media(media) => {
                self.media.push((line, *media));
                if self.media.len() == limits::IMPORT_BATCH { self.flush_media() } else { Ok(()) }
            }
            StoredRow::Upload(upload) => self.add_upload(line, uploaded(&upload)),
            StoredRow::Emptied(upload) => self.add_upload(line, emptied(&upload)),
            row => {
                self.flush()?;
                self.add_single(line, row)
            }
        }
    }

    fn add_single(&mut self, line: u64, row: StoredRow) -> Result<()> {
        let added = match row {
            StoredRow::Store(Some(id)) => self.set_store(&id),
            StoredRow::Preview(media, preview) => self.add_preview(&media, &preview),
            StoredRow::Avatar(channel, media) => self.add_avatar(&channel, &media),
            StoredRow::Block(block) => {
                let block = values![block.jid.as_str(), block.since, block.by.as_str()];
                self.session.execute(INSERT_BLOCK, &block).map(drop)
            }
            StoredRow::Sum(sum) => self.check_sum(&sum),
            _ => Ok(()),
        };
        added.map_err(|cause| at_line(line, cause))
    }

    fn set_store(&mut self, id: &StoreId) -> Result<()> {
        let found = set_store_id(self.session, id)?;
        if found == *id {
            return Ok(());
        }
        let text = format!("the database belongs to another store (id {found}, not {id})");
        Err(Error::new(Kind::Config, text))
    }

    fn check_media(&mut self, media: &MediaId, channel: Option<&str>) -> Result<()> {
        let found = match channel {
            Some(channel) => self.session.row(statements::EXISTS, &values![media.as_str(), channel])?,
            None => self.session.row("SELECT 1 FROM medias WHERE id = $1", &values![media.as_str()])?,
        };
        let missing = || Error::new(Kind::Failure, format!("there is no such media ({media}) in the file"));
        found.map(drop).ok_or_else(missing)
    }

    fn add_avatar(&mut self, channel: &Channel, media: &MediaId) -> Result<()> {
        self.check_media(media, Some(channel.as_str()))?;
        let avatar = values![media.as_str(), channel.as_str()];
        self.session.execute(statements::SET_AVATAR, &avatar).map(drop)
    }

    fn add_preview(&mut self, media: &MediaId, preview: &Preview) -> Result<()> {
        self.check_media(media, None)?;
        let Preview { id, height, width, mime_type, size, sha1, last_used } = preview.clone();
        let parameters =
            values![id.as_str(), media.as_str(), height, width, mime_type, size, sha1, last_used];
        if self.session.execute(statements::INSERT_PREVIEW, &parameters)? == 0 {
            let text = format!("the media {media} has another preview of that height and width");
            return Err(Error::new(Kind::Failure, text));
        }
        Ok(())
    }

    fn add_upload(&mut self, line: u64, row: UploadValues) -> Result<()> {
        self.flush_media()?;
        self.uploads.push((line, row));
        if self.uploads.len() == limits::IMPORT_BATCH { self.flush_uploads() } else { Ok(()) }
    }

    /// The triggers keep the sums; those of the file must be the same, or it is not whole.
    fn check_sum(&mut self, sum: &UsageSum) -> Result<()> {
        let UsageSum { kind, name, files, bytes } = sum;
        let row = self.session.row(statements::USAGE, &values![kind.name(), name.as_str()])?;
        let found = match row {
            Some(mut row) => (row.next()?, row.next()?),
            None => (0, 0),
        };
        self.sums += 1;
        if found == (*files, *bytes) {
            return Ok(());
        }
        let text = format!(
            "the rows of the file come to {} files and {} bytes, but this line has other numbers: the file is not whole, or the \
             sums of the exported database were wrong; `fsck --repair` there corrects them",
            found.0, found.1
        );
        Err(Error::new(Kind::Failure, text))
    }

    fn finish(&mut self) -> Result<()> {
        self.flush()?;
        let sums: u64 = self.session.row(COUNT_SUMS, &[])?.map_or(Ok(0), Row::single)?;
        if sums == self.sums {
            return Ok(());
        }
        let text = format!("the file is incomplete: it has {} sums, and its rows come to {sums}", self.sums);
        Err(Error::new(Kind::Failure, text))
    }

    fn flush(&mut self) -> Result<()> {
        self.flush_media()?;
        self.flush_uploads()
    }

    fn flush_media(&mut self) -> Result<()> {
        let media = std::mem::take(&mut self.media);
        if media.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = media.iter().map(|(_, media)| columns::inserted(media)).collect();
        let lines: Vec<_> = media.iter().map(|(line, _)| *line).collect();
        let columns = format!("{}, entityId", *SELECTED);
        let stored = insert_all(self.session, "medias", &columns, COLUMNS.len() + 2, rows);
        stored.map(drop).map_err(|cause| within_lines(&lines, cause))
    }

    fn flush_uploads(&mut self) -> Result<()> {
        let uploads = std::mem::take(&mut self.uploads);
        if uploads.is_empty() {
            return Ok(());
        }
        let (all, lines): (_, Vec<_>) =
            (uploads.len() as u64, uploads.iter().map(|(line, _)| *line).collect());
        let rows = uploads.iter().map(|(_, row)| row.values.clone()).collect();
        let stored = insert_all(self.session, "uploads", UPLOAD_COLUMNS, 12, rows);
        if stored.map_err(|cause| within_lines(&lines, cause))? == all {
            return Ok(());
        }
        for (line, row) in &uploads {
            if self.session.row(UPLOAD_EXISTS, &values![row.id.as_str()])?.is_none() {
                let text = "another upload has that file".to_owned();
                return Err(at_line(*line, Error::new(Kind::Failure, text)));
            }
        }
        Ok(())
    }
}

/// Stores rows by as few statements as have a fixed number of rows each; says how many were stored.
fn insert_all(
    session: &mut dyn Session,
    table: &str,
    columns: &str,
    width: usize,
    rows: Vec<Vec<Value>>,
) -> Result<u64> {
    let count = rows.len();
    // Each number of rows is a statement to prepare: all at once, or one by one.
    let group = if count == limits::IMPORT_BATCH { count } else { 1 };
    let sql = insertion(table, columns, width, group);
    let (mut stored, mut rows) = (0, rows.into_iter());
    while rows.len() > 0 {
        let parameters: Vec<Value> = rows.by_ref().take(group).flatten().collect();
        stored += session.execute(&sql, &parameters)?;
    }
    Ok(stored)
}

fn insertion(table: &str, columns: &str, width: usize, rows: usize) -> String {
    let row = |row: usize| {
        let names: Vec<String> = (1..=width).map(|column| format!("${}", row * width + column)).collect();
        format!("({})", names.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!("INSERT INTO {table} ({columns}) VALUES {} ON CONFLICT DO NOTHING", rows.join(", "))
}

fn uploaded(upload: &Uploaded) -> UploadValues {
    UploadValues { id: upload.id.as_str().to_owned(), values: upload_values(upload) }
}

fn emptied(upload: &EmptiedUpload) -> UploadValues {
    let EmptiedUpload { id, purpose, created, slot_ends } = upload.clone();
    let none = || Value::Null;
    let values = values![
        id.as_str(),
        none(),
        none(),
        none(),
        none(),
        none(),
        0_u32,
        none(),
        purpose.name(),
        created,
        none(),
        slot_ends,
    ];
    UploadValues { id: id.as_str().to_owned(), values: values.to_vec() }
}

fn at_line(line: u64, cause: Error) -> Error {
    Error::caused(cause.kind(), format!("line {line}"), cause)
}

fn within_lines(lines: &[u64], cause: Error) -> Error {
    match (lines.first(), lines.last()) {
        (Some(first), Some(last)) if first != last => {
            Error::caused(cause.kind(), format!("lines {first} to {last}"), cause)
        }
        (Some(line), _) => at_line(*line, cause),
        _ => cause,
    }
}
