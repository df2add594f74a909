//! Metadata in an embedded SQLite database: the same tables and columns in a file of its own.

mod insert;
mod previews;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use r2d2::{ManageConnection, Pool, PooledConnection};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Row, TransactionBehavior, params,
};

use self::insert::{Insert, Inserted, copied, insert_all};
use self::previews::{insert_preview, raw_preview};
use super::metadata::{
    Deleted, InsertError, Listing, MediaInsert, MediaRow, MediaUpdate, Metadata, PreviewInsert, PreviewRow,
    RawMedia, RawPreview, listing, pixels, preview_ids, signed, unsigned,
};
use super::turn::{Outcome, Turn, Turns};
use super::{metadata, queries, schema};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Quota, Quotas};
use crate::sys::fs::Dir;

const SCHEMA: &str = include_str!("../../../sql/sqlite.sql");

/// Whole statements are cached; this is more than there are.
const STATEMENTS: usize = 32;

/// A pool of connections to a SQLite file.
pub struct Sqlite {
    pool: Pool<Manager>,
    writers: Turns<Insert, Inserted>,
}

impl Sqlite {
    /// Opens the database, which is made and set up if it is missing, for the server's user alone. Without
    /// `sync`, a crash of the machine may lose what was stored.
    pub fn open(path: &Path, sync: bool) -> Result<Self> {
        let doing = || format!("can't use the database {}", path.display());
        let path = create(path).map_err(|cause| Error::io(doing(), cause))?;
        let manager = Manager { path, sync };
        let set_up = manager.connect().and_then(|mut connection| set_up(&mut connection));
        let version = set_up.map_err(|cause| Error::caused(kind(&cause), doing(), cause))?;
        schema::verdict(Some(version))?;
        let pool = Pool::builder()
            .max_size(limits::SQLITE_CONNECTIONS)
            .connection_timeout(limits::DATABASE_WAIT)
            .test_on_check_out(false)
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(manager);
        Ok(Self { pool, writers: Turns::new() })
    }

    fn connection(&self) -> Result<PooledConnection<Manager>> {
        self.pool.get().map_err(|cause| Error::caused(Kind::Unavailable, "no database connection", cause))
    }

    /// A connection for someone who writes, and has it for this turn only.
    fn writer(&self) -> Result<(PooledConnection<Manager>, Turn<'_, Insert, Inserted>)> {
        let turn = self.writers.take(limits::DATABASE_LOCK).ok_or_else(busy)?;
        Ok((self.connection()?, turn))
    }

    /// At most one media.
    fn one(&self, sql: &str, params: impl Params, channel: &Channel) -> Result<Option<Media>> {
        let connection = self.connection()?;
        let mut statement = connection.prepare_cached(&numbered(sql)).map_err(fault)?;
        let row = statement.query_row(params, raw_media).optional().map_err(fault)?;
        Ok(row.and_then(|row| row.into_media(channel)))
    }

    fn rows<T>(
        &self,
        sql: &str,
        after: Option<&str>,
        max: usize,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let connection = self.connection()?;
        let mut statement = connection.prepare_cached(&numbered(sql)).map_err(fault)?;
        let params = params![after.unwrap_or_default(), signed(max as u64)];
        statement.query_map(params, read).and_then(Iterator::collect).map_err(fault)
    }
}

impl Metadata for Sqlite {
    fn media(&self, channel: &Channel, id: &MediaId) -> Result<Option<Media>> {
        self.one(queries::MEDIA, [id.as_str(), channel.as_str()], channel)
    }

    fn avatar(&self, channel: &Channel) -> Result<Option<Media>> {
        self.one(queries::AVATAR, [channel.as_str()], channel)
    }

    fn list(&self, channel: &Channel, page: &Page) -> Result<Listing> {
        let connection = self.connection()?;
        let sql = numbered(&queries::list("BINARY", page));
        let limit = signed(page.max as u64).saturating_add(1);
        let rows = raw_rows(&connection, &sql, channel, limit, page).map_err(fault)?;
        Ok(listing(rows, channel, page.max))
    }

    fn insert(
        &self,
        media: &Media,
        avatar: bool,
        quotas: Quotas,
    ) -> std::result::Result<MediaInsert, InsertError> {
        let insert = Insert { media: media.clone(), avatar, quotas };
        let outcome = self.writers.run(insert, limits::DATABASE_LOCK, |inserts| match self.connection() {
            Ok(mut connection) => insert_all(&mut connection, inserts),
            Err(error) => inserts.iter().map(|_| Err(InsertError::Failed(copied(&error)))).collect(),
        });
        match outcome {
            Outcome::Done(inserted) => inserted,
            Outcome::Late => Err(InsertError::Failed(busy())),
            Outcome::Lost => Err(InsertError::Unknown(Error::new(Kind::Failure, "storing a media panicked"))),
        }
    }

    fn exceeded(&self, channel: &Channel, author: &str, cost: u64, quotas: Quotas) -> Result<Option<Quota>> {
        exceeded(&*self.connection()?, channel, author, cost, quotas).map_err(fault)
    }

    fn update(
        &self,
        media: &Media,
        description: &Description,
        now: Timestamp,
        quotas: Quotas,
    ) -> Result<MediaUpdate> {
        let (mut connection, _turn) = self.writer()?;
        update(&mut connection, media, description, now, quotas).map_err(fault)
    }

    fn delete(&self, channel: &Channel, id: &MediaId) -> Result<Option<Deleted>> {
        let (mut connection, _turn) = self.writer()?;
        let previews = delete(&mut connection, channel, id).map_err(fault)?;
        Ok(previews.map(|previews| Deleted { previews: preview_ids(previews) }))
    }

    fn media_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<MediaRow>> {
        self.rows(queries::MEDIA_ROWS, after, max, |row| {
            Ok(MediaRow { id: row.get(0)?, channel: row.get(1)?, size: unsigned(row.get(2)?) })
        })
    }

    fn preview_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<PreviewRow>> {
        self.rows(queries::PREVIEW_ROWS, after, max, |row| {
            Ok(PreviewRow { id: row.get(0)?, channel: row.get(1)? })
        })
    }

    fn has_preview(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        let connection = self.connection()?;
        let mut statement = connection.prepare_cached(&numbered(queries::HAS_PREVIEW)).map_err(fault)?;
        statement.exists([id.as_str(), channel.as_str()]).map_err(fault)
    }

    fn preview(&self, media: &MediaId, height: u32, width: u32) -> Result<Option<Preview>> {
        let connection = self.connection()?;
        let mut statement = connection.prepare_cached(&numbered(queries::PREVIEW)).map_err(fault)?;
        let params = params![media.as_str(), pixels(height), pixels(width)];
        let row = statement.query_row(params, raw_preview).optional().map_err(fault)?;
        Ok(row.and_then(RawPreview::into_preview))
    }

    fn insert_preview(
        &self,
        media: &Media,
        preview: &Preview,
        most: usize,
    ) -> std::result::Result<PreviewInsert, InsertError> {
        let (mut connection, _turn) = self.writer().map_err(InsertError::Failed)?;
        insert_preview(&mut connection, media, preview, most)
    }

    fn use_preview(&self, id: &MediaId, now: Timestamp) -> Result<()> {
        let params = params![id.as_str(), now.as_micros()];
        let (connection, _turn) = self.writer()?;
        connection.execute(&numbered(queries::USE_PREVIEW), params).map(drop).map_err(fault)
    }

    fn delete_preview(&self, id: &str) -> Result<bool> {
        let (connection, _turn) = self.writer()?;
        let deleted = connection.execute(&numbered(queries::DELETE_PREVIEW), [id]).map_err(fault)?;
        Ok(deleted > 0)
    }

    fn ping(&self) -> Result<()> {
        // A statement without a table would not even look at the file.
        self.connection()?.query_row(queries::PING, [], |_| Ok(())).map_err(fault)
    }

    fn pool(&self) -> metadata::Pool {
        metadata::Pool::of(&self.pool)
    }
}

struct Manager {
    path: PathBuf,
    sync: bool,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = rusqlite::Error;

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(limits::DATABASE_LOCK)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // FULL: in WAL mode, a commit is on the disk when it returns.
        let synchronous = if self.sync { "FULL" } else { "OFF" };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON; \
             PRAGMA trusted_schema = OFF"
        ))?;
        Ok(connection)
    }

    fn is_valid(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        connection.query_row("SELECT 1", [], |_| Ok(()))
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

/// Makes the file if it is missing; SQLite itself would make it readable for everyone. Its path, which is never
/// one of the names that mean something else to SQLite.
fn create(path: &Path) -> std::io::Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidFilename)?;
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let dir = Dir::open(folder)?;
    match dir.create(name) {
        Ok(_) => dir.sync()?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(folder.join(name))
}

/// Sets up the schema if there is none; its version. Another process may be about the same.
fn set_up(connection: &mut Connection) -> rusqlite::Result<i32> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'schema_version'";
    if transaction.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
        transaction.execute_batch(SCHEMA)?;
    }
    let version =
        transaction
            .query_row("SELECT COALESCE(MAX(version), 0) FROM schema_version", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(version)
}

fn raw_rows(
    connection: &Connection,
    sql: &str,
    channel: &Channel,
    limit: i64,
    page: &Page,
) -> rusqlite::Result<Vec<rusqlite::Result<RawMedia>>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.raw_bind_parameter(1, channel.as_str())?;
    statement.raw_bind_parameter(2, limit)?;
    for (number, bound) in (3..).zip(page.after.iter().chain(&page.before)) {
        statement.raw_bind_parameter(number, bound.as_str())?;
    }
    let mut rows = statement.raw_query();
    let mut raw = Vec::new();
    // A row that can't be had ends the query; one that can't be understood does not.
    while let Some(row) = rows.next()? {
        raw.push(raw_media(row));
    }
    Ok(raw)
}

/// The quota that so many bytes more would exceed.
fn exceeded(
    connection: &Connection,
    channel: &Channel,
    author: &str,
    cost: u64,
    quotas: Quotas,
) -> rusqlite::Result<Option<Quota>> {
    for (quota, most) in quotas.each() {
        let mut statement = connection.prepare_cached(&numbered(&queries::used(quota)))?;
        let used = statement.query_row([quota.counted(channel, author)], |row| row.get(0))?;
        if Quota::is_exceeded(metadata::used(used), cost, most) {
            return Ok(Some(quota));
        }
    }
    Ok(None)
}

/// In a transaction, since the error of a commit is lost when a query that returns rows ends.
fn update(
    connection: &mut Connection,
    media: &Media,
    new: &Description,
    now: Timestamp,
    quotas: Quotas,
) -> rusqlite::Result<MediaUpdate> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (id, entity, now) = (media.id.as_str(), media.channel.as_str(), now.as_micros());
    let text_size = |row: &Row<'_>, column| row.get::<_, i64>(column);
    let before = transaction.query_row(&numbered(queries::TEXT_SIZE), [id, entity], |row| text_size(row, 0));
    let Some(before) = before.optional()? else { return Ok(MediaUpdate::NoMedia) };
    let params = params![id, entity, new.file_name, new.title, new.description, now];
    let (row, after) = transaction.query_row(&numbered(queries::UPDATE), params, |row| {
        Ok((raw_media(row)?, text_size(row, queries::UPDATED_TEXT_SIZE)?))
    })?;
    let quotas = if after > before { quotas } else { Quotas::NONE };
    if let Some(quota) = exceeded(&transaction, &media.channel, &media.author, 0, quotas)? {
        return Ok(MediaUpdate::OverQuota(quota));
    }
    transaction.commit()?;
    Ok(row.into_update(&media.channel))
}

/// The ids of the previews that went with it.
fn delete(
    connection: &mut Connection,
    channel: &Channel,
    id: &MediaId,
) -> rusqlite::Result<Option<Vec<String>>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (id, entity) = (id.as_str(), channel.as_str());
    let exists = transaction.query_row(&numbered(queries::EXISTS), [id, entity], |_| Ok(())).optional()?;
    if exists.is_none() {
        return Ok(None);
    }
    let previews = transaction
        .prepare_cached(&numbered(queries::DELETE_PREVIEWS))?
        .query_map([id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    transaction.execute(&numbered(queries::DELETE_AVATAR), [id])?;
    transaction.execute(&numbered(queries::DELETE_MEDIA), [id])?;
    transaction.commit()?;
    Ok(Some(previews))
}

fn raw_media(row: &Row<'_>) -> rusqlite::Result<RawMedia> {
    let date = |column| row.get(column).map(Timestamp::from_micros);
    Ok(RawMedia {
        id: row.get(0)?,
        file_name: row.get(1)?,
        author: row.get(2)?,
        title: row.get(3)?,
        description: row.get(4)?,
        mime_type: row.get(5)?,
        uploaded: date(6)?,
        last_updated: date(7)?,
        extension: row.get(8)?,
        sha1: row.get(9)?,
        size: row.get(10)?,
        length: row.get(11)?,
        height: row.get(12)?,
        width: row.get(13)?,
    })
}

/// The statement with parameters as SQLite numbers them; `$1` would be a name to it.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}

/// What a commit that failed has stored. On a full disk it is nothing: the last page, which makes it one, is not written.
fn at_commit(cause: rusqlite::Error) -> InsertError {
    match kind(&cause) {
        Kind::Full => InsertError::Failed(fault(cause)),
        _ => InsertError::Unknown(fault(cause)),
    }
}

/// Those before have taken too long.
fn busy() -> Error {
    Error::new(Kind::Unavailable, "the embedded database is busy")
}

fn fault(cause: rusqlite::Error) -> Error {
    Error::caused(kind(&cause), "the embedded database failed", cause)
}

fn kind(error: &rusqlite::Error) -> Kind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Unavailable,
        Some(ErrorCode::CannotOpen | ErrorCode::OutOfMemory) => Kind::Exhausted,
        Some(ErrorCode::DiskFull) => Kind::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Corrupt,
        _ => Kind::Failure,
    }
}
