//! Files of both kinds in one list, newest first: media of channels and uploads by slot. Any thread may ask.
//!
//! Each table gives its newest rows by an index of its own; the two lists are merged here.

use super::engine::{Engine, Session};
use super::metadata::UsageKind;
use super::operations::Store;
use super::value::{Row, Value, values};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{BareJid, Channel, FileKey, FileKind, Purpose, UploadId};

/// The rows of files of both kinds, and their sums.
///
/// Every call ends within a bounded time, as those of [`Metadata`](super::Metadata).
pub trait FileTable: Send + Sync {
    /// At most `max` files after this place, newest first; fewer only at the end. Files of one date are in the order of
    /// their kind and id.
    fn files(&self, filter: &FileFilter, after: Option<&FilePlace>, max: usize) -> Result<Vec<FileRow>>;

    /// The sum of this name in the table `usage`.
    fn usage(&self, kind: UsageKind, name: &str) -> Result<FileSum>;

    /// The names with the most bytes, at most `max` of them, the largest first.
    fn largest(&self, kind: UsageKind, max: usize) -> Result<Vec<(String, FileSum)>>;
}

/// A filter of files: a file must meet all of these conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// The bare JID of the uploader.
    pub owner: Option<BareJid>,
    /// The channel; uploads have none.
    pub channel: Option<Channel>,
    /// The purpose; media have none.
    pub purpose: Option<Purpose>,
    /// Media only, or uploads only.
    pub kind: Option<FileKind>,
    /// Stored before this time.
    pub before: Option<Timestamp>,
}

impl FileFilter {
    /// All files of this user.
    pub fn of(owner: &BareJid) -> Self {
        Self { owner: Some(owner.clone()), ..Self::default() }
    }

    fn includes(&self, kind: FileKind) -> bool {
        let excluded = match kind {
            FileKind::Media => self.purpose.is_some(),
            FileKind::Upload => self.channel.is_some(),
        };
        !excluded && self.kind.is_none_or(|only| only == kind)
    }
}

/// The place of a file in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// When it was stored.
    pub created: Timestamp,
    /// Its kind.
    pub kind: FileKind,
    /// Its id.
    pub id: String,
}

/// A file of either kind. Texts are as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// Its kind.
    pub kind: FileKind,
    /// Its id.
    pub id: String,
    /// The channel of a media.
    pub channel: Option<String>,
    /// The uploader's bare JID, if it is known.
    pub owner: Option<String>,
    /// Its file name, if it has one.
    pub file_name: Option<String>,
    /// Its media type.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was stored.
    pub created: Timestamp,
    /// The purpose of an upload.
    pub purpose: Option<String>,
    /// The path of an upload to an external slot, below `/external/`.
    pub path: Option<String>,
    /// From when on an upload is gone; `None`: never.
    pub expires: Option<Timestamp>,
}

impl FileRow {
    /// Its key; `None` if its id or channel is not valid.
    pub fn key(&self) -> Option<FileKey> {
        match (self.kind, &self.channel) {
            (FileKind::Upload, _) => UploadId::stored(&self.id).ok().map(FileKey::Upload),
            (FileKind::Media, Some(channel)) => {
                Some(FileKey::Media(channel.parse().ok()?, self.id.parse().ok()?))
            }
            (FileKind::Media, None) => None,
        }
    }

    /// Its place in a list.
    pub fn place(&self) -> FilePlace {
        FilePlace { created: self.created, kind: self.kind, id: self.id.clone() }
    }

    fn order(&self) -> (Timestamp, FileKind, &str) {
        (self.created, self.kind, &self.id)
    }
}

/// How many files there are, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSum {
    /// Files.
    pub files: u64,
    /// Their bytes; of media their texts, too.
    pub bytes: u64,
}

const MEDIA: &str = "SELECT id, entityId, author, fileName, mimeType, fileSize, uploadedDate, NULL, NULL, NULL \
     FROM medias WHERE 1 = 1";
const UPLOADS: &str = "SELECT id, NULL, owner, fileName, mimeType, fileSize, created, purpose, path, expires \
     FROM uploads WHERE file IS NOT NULL";

/// $1 kind, $2 name.
const SUM: &str = super::statements::USAGE;

/// $1 kind, $2 number.
const LARGEST: &str = "SELECT name, CAST(SUM(files) AS BIGINT), CAST(SUM(bytes) AS BIGINT) FROM usage \
     WHERE kind = $1 GROUP BY name ORDER BY SUM(bytes) DESC, name LIMIT $2";

/// A statement that grows by conditions and their parameters.
struct Query {
    sql: String,
    parameters: Vec<Value>,
}

impl Query {
    /// The files of one kind that a filter includes, after a place, newest first.
    fn new(
        kind: FileKind,
        filter: &FileFilter,
        after: Option<&FilePlace>,
        max: usize,
        byte_order: &str,
    ) -> Self {
        let (select, date, owner) = match kind {
            FileKind::Media => (MEDIA, "uploadedDate", "author"),
            FileKind::Upload => (UPLOADS, "created", "owner"),
        };
        let mut query = Self { sql: select.to_owned(), parameters: Vec::new() };
        query.condition(&format!("{owner} ="), filter.owner.as_ref().map(BareJid::as_str));
        query.condition("entityId =", filter.channel.as_ref().map(Channel::as_str));
        query.condition("purpose =", filter.purpose.map(Purpose::name));
        query.condition(&format!("{date} <"), filter.before);
        if let Some(place) = after {
            query.after(kind, place, date, byte_order);
        }
        query.parameters.push(max.into());
        query.sql +=
            &format!(" ORDER BY {date} DESC, id COLLATE {byte_order} DESC LIMIT ${}", query.parameters.len());
        query
    }

    fn condition(&mut self, compared: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.parameters.push(value.into());
            self.sql += &format!(" AND {compared} ${}", self.parameters.len());
        }
    }

    /// Among files of one date, media are last.
    fn after(&mut self, kind: FileKind, place: &FilePlace, date: &str, byte_order: &str) {
        if kind == place.kind {
            self.parameters.extend(values![place.created, place.id.as_str()]);
            let last = self.parameters.len();
            self.sql += &format!(" AND ({date}, id COLLATE {byte_order}) < (${}, ${last})", last - 1);
        } else {
            let compared = if kind < place.kind { "<=" } else { "<" };
            self.condition(&format!("{date} {compared}"), Some(place.created));
        }
    }
}

impl<E: Engine> FileTable for Store<E> {
    fn files(&self, filter: &FileFilter, after: Option<&FilePlace>, max: usize) -> Result<Vec<FileRow>> {
        let (filter, after) = (filter.clone(), after.cloned());
        self.0.read(move |session| {
            let mut files = Vec::new();
            for kind in [FileKind::Media, FileKind::Upload] {
                if filter.includes(kind) {
                    files.extend(newest(session, kind, &filter, after.as_ref(), max)?);
                }
            }
            files.sort_by(|one, other| other.order().cmp(&one.order()));
            files.truncate(max);
            Ok(files)
        })
    }

    fn usage(&self, kind: UsageKind, name: &str) -> Result<FileSum> {
        let parameters = values![kind.name(), name];
        self.0.read(move |session| {
            let row = session.row(SUM, &parameters)?;
            row.map_or(Ok(FileSum::default()), |mut row| sum(&mut row))
        })
    }

    fn largest(&self, kind: UsageKind, max: usize) -> Result<Vec<(String, FileSum)>> {
        let parameters = values![kind.name(), max];
        self.0.read(move |session| {
            let read = |mut row: Row| Ok((row.next()?, sum(&mut row)?));
            session.rows(LARGEST, &parameters)?.into_iter().map(read).collect()
        })
    }
}

/// The statement of such a query, for tests of the database's plan.
#[cfg(test)]
pub(super) fn statement(kind: FileKind, filter: &FileFilter, after: Option<&FilePlace>) -> String {
    Query::new(kind, filter, after, 100, "BINARY").sql
}

fn newest(
    session: &mut dyn Session,
    kind: FileKind,
    filter: &FileFilter,
    after: Option<&FilePlace>,
    max: usize,
) -> Result<Vec<FileRow>> {
    let query = Query::new(kind, filter, after, max, session.byte_order());
    session.rows(&query.sql, &query.parameters)?.into_iter().map(|row| file(kind, row)).collect()
}

fn file(kind: FileKind, mut row: Row) -> Result<FileRow> {
    Ok(FileRow {
        kind,
        id: row.next()?,
        channel: row.next()?,
        owner: row.next()?,
        file_name: row.next()?,
        mime_type: row.next()?,
        size: row.next()?,
        created: row.next()?,
        purpose: row.next()?,
        path: row.next()?,
        expires: row.next()?,
    })
}

fn sum(row: &mut Row) -> Result<FileSum> {
    Ok(FileSum { files: row.next()?, bytes: row.next()? })
}
