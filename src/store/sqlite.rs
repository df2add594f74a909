//! Metadata in an embedded SQLite database: the same tables and columns in a file of its own.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use r2d2::{ManageConnection, Pool, PooledConnection};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Row, TransactionBehavior, params,
};

use super::batch::{Batch, Outcome};
use super::metadata::{
    Deleted, InsertError, Listing, MediaInsert, MediaRow, MediaUpdate, Metadata, PreviewInsert, PreviewRow,
    RawMedia, RawPreview, listing, pixels, preview_ids, signed, unsigned,
};
use super::{metadata, queries, schema};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Quota, Quotas};
use crate::sys::fs::Dir;

const SCHEMA: &str = include_str!("../../sql/sqlite.sql");

/// Whole statements are cached; this is more than there are.
const STATEMENTS: usize = 32;

/// A pool of connections to a SQLite file.
pub struct Sqlite {
    pool: Pool<Manager>,
    inserts: Batch<Insert, Inserted>,
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
        Ok(Self { pool, inserts: Batch::new() })
    }

    fn connection(&self) -> Result<PooledConnection<Manager>> {
        self.pool.get().map_err(|cause| Error::caused(Kind::Unavailable, "no database connection", cause))
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
        let outcome = self.inserts.run(insert, limits::DATABASE_LOCK, |inserts| match self.connection() {
            Ok(mut connection) => insert_all(&mut connection, inserts),
            Err(error) => inserts.iter().map(|_| Err(InsertError::Failed(copied(&error)))).collect(),
        });
        match outcome {
            Outcome::Done(inserted) => inserted,
            Outcome::Late => {
                Err(InsertError::Failed(Error::new(Kind::Unavailable, "the embedded database is busy")))
            }
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
        update(&mut *self.connection()?, media, description, now, quotas).map_err(fault)
    }

    fn delete(&self, channel: &Channel, id: &MediaId) -> Result<Option<Deleted>> {
        let previews = delete(&mut *self.connection()?, channel, id).map_err(fault)?;
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
        let mut connection = self.connection().map_err(InsertError::Failed)?;
        insert_preview(&mut connection, media, preview, most)
    }

    fn use_preview(&self, id: &MediaId, now: Timestamp) -> Result<()> {
        let params = params![id.as_str(), now.as_micros()];
        self.connection()?.execute(&numbered(queries::USE_PREVIEW), params).map(drop).map_err(fault)
    }

    fn delete_preview(&self, id: &str) -> Result<bool> {
        let deleted = self.connection()?.execute(&numbered(queries::DELETE_PREVIEW), [id]).map_err(fault)?;
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

/// A media to insert.
struct Insert {
    media: Media,
    avatar: bool,
    quotas: Quotas,
}

type Inserted = std::result::Result<MediaInsert, InsertError>;

/// Inserts one media or several: these in one transaction, which waits for the disk once. If that fails for one of them,
/// each has a transaction of its own.
fn insert_all(connection: &mut Connection, inserts: &[Insert]) -> Vec<Inserted> {
    let together = if inserts.len() > 1 { insert_together(connection, inserts) } else { None };
    together.unwrap_or_else(|| inserts.iter().map(|insert| insert_alone(connection, insert)).collect())
}

/// `None` if nothing was stored, and it is worth to try each alone.
fn insert_together(connection: &mut Connection, inserts: &[Insert]) -> Option<Vec<Inserted>> {
    let all = |error: &dyn Fn() -> InsertError| Some(inserts.iter().map(|_| Err(error())).collect());
    let transaction =
        match connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault) {
            Ok(transaction) => transaction,
            // Whoever holds the database would let each wait as long.
            Err(error) => return all(&|| InsertError::Failed(copied(&error))),
        };
    let outcomes = inserts.iter().map(|insert| insert_within(&transaction, insert));
    let inserted = outcomes.collect::<std::result::Result<Vec<_>, _>>().ok()?;
    match transaction.commit().map_err(at_commit) {
        Ok(()) => Some(inserted.into_iter().map(Ok).collect()),
        Err(InsertError::Failed(_)) => None,
        Err(InsertError::Unknown(error)) => all(&|| InsertError::Unknown(copied(&error))),
    }
}

/// What fails before the commit is not stored; what fails at it may be, after a crash.
fn insert_alone(connection: &mut Connection, insert: &Insert) -> Inserted {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| InsertError::Failed(fault(error)))?;
    let inserted = insert_within(&transaction, insert).map_err(InsertError::Failed)?;
    transaction.commit().map_err(at_commit)?;
    Ok(inserted)
}

/// Within a transaction nobody else writes, so what is summed up stays true until the commit.
fn insert_within(transaction: &Connection, insert: &Insert) -> Result<MediaInsert> {
    let Insert { media, avatar, quotas } = insert;
    let (id, entity) = (media.id.as_str(), media.channel.as_str());
    if let Some(quota) =
        exceeded(transaction, &media.channel, &media.author, media.cost(), *quotas).map_err(fault)?
    {
        let stored = is_stored(transaction, media).map_err(fault)?;
        return Ok(if stored { MediaInsert::Stored } else { MediaInsert::OverQuota(quota) });
    }
    if execute_insert(transaction, media).map_err(fault)? == 0 {
        if is_stored(transaction, media).map_err(fault)? {
            return Ok(MediaInsert::Stored);
        }
        return Err(Error::new(Kind::Failure, format!("there is another media with the id {id}")));
    }
    if *avatar {
        transaction.execute(&numbered(queries::SET_AVATAR), [id, entity]).map_err(fault)?;
    }
    Ok(MediaInsert::Stored)
}

/// The same error for another one that it concerns.
fn copied(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

/// Whether an earlier attempt stored this media.
fn is_stored(connection: &Connection, media: &Media) -> rusqlite::Result<bool> {
    let (id, entity) = (media.id.as_str(), media.channel.as_str());
    let same = params![id, entity, media.author, media.uploaded.as_micros(), media.sha1];
    connection.prepare_cached(&numbered(queries::SAME))?.exists(same)
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

fn execute_insert(connection: &Connection, media: &Media) -> rusqlite::Result<usize> {
    connection.prepare_cached(&numbered(queries::INSERT))?.execute(params![
        media.id.as_str(),
        media.description.file_name,
        media.author,
        media.description.title,
        media.description.description,
        media.mime_type,
        media.uploaded.as_micros(),
        media.last_updated.as_micros(),
        media.extension,
        media.sha1,
        signed(media.size),
        media.length.map(signed),
        media.height,
        media.width,
        media.channel.as_str(),
    ])
}

/// As [`insert`].
fn insert_preview(
    connection: &mut Connection,
    media: &Media,
    preview: &Preview,
    most: usize,
) -> std::result::Result<PreviewInsert, InsertError> {
    let failed = |error| InsertError::Failed(fault(error));
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let evicted = match execute_insert_preview(&transaction, media, preview, most).map_err(failed)? {
        PreviewInsert::Stored(evicted) => evicted,
        other => return Ok(other),
    };
    transaction.commit().map_err(at_commit)?;
    Ok(PreviewInsert::Stored(evicted))
}

fn execute_insert_preview(
    transaction: &Connection,
    media: &Media,
    preview: &Preview,
    most: usize,
) -> rusqlite::Result<PreviewInsert> {
    let (owner, id) = (media.id.as_str(), preview.id.as_str());
    let found = |sql: &str, params: &[&str]| {
        transaction.prepare_cached(&numbered(sql))?.exists(rusqlite::params_from_iter(params))
    };
    if !found(queries::EXISTS, &[owner, media.channel.as_str()])? {
        return Ok(PreviewInsert::NoMedia);
    }
    let stored = transaction.prepare_cached(&numbered(queries::INSERT_PREVIEW))?.execute(params![
        id,
        owner,
        pixels(preview.height),
        pixels(preview.width),
        preview.mime_type,
        signed(preview.size),
        preview.sha1,
        preview.last_used.as_micros(),
    ])?;
    if stored == 0 && !found(queries::SAME_PREVIEW, &[id])? {
        return Ok(PreviewInsert::Taken);
    }
    let others = signed(most.saturating_sub(1) as u64);
    let evicted = transaction
        .prepare_cached(&numbered(queries::EVICT_PREVIEWS))?
        .query_map(params![owner, id, others], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(PreviewInsert::Stored(preview_ids(evicted)))
}

fn raw_preview(row: &Row<'_>) -> rusqlite::Result<RawPreview> {
    Ok(RawPreview {
        id: row.get(0)?,
        height: row.get(1)?,
        width: row.get(2)?,
        mime_type: row.get(3)?,
        size: row.get(4)?,
        sha1: row.get(5)?,
        last_used: Timestamp::from_micros(row.get(6)?),
    })
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use rusqlite::types::Value;

    use super::super::conformance;
    use super::*;
    use crate::testing::Scratch;

    /// A database in a directory that goes away with it.
    struct Bench {
        store: Arc<Sqlite>,
        scratch: Scratch,
    }

    impl Bench {
        fn new() -> Self {
            let scratch = Scratch::new();
            let store = Arc::new(Sqlite::open(&scratch.join("metadata.sqlite"), true).unwrap());
            Self { store, scratch }
        }

        fn path(&self) -> PathBuf {
            self.scratch.join("metadata.sqlite")
        }

        fn execute(&self, sql: &str) {
            self.store.connection().unwrap().execute_batch(sql).unwrap();
        }
    }

    impl conformance::Bench for Bench {
        fn store(&self) -> &dyn Metadata {
            &*self.store
        }

        fn execute(&self, sql: &str) {
            Bench::execute(self, sql);
        }
    }

    conformance::suite!(Bench::new());

    /// However long a list is and wherever its page begins, the page is read from the index and not sorted.
    #[test]
    fn every_page_of_a_list_is_a_range_of_the_index() {
        let bench = Bench::new();
        let connection = bench.store.connection().unwrap();
        let id = || Some(MediaId::random());
        for (after, before, bounded) in
            [(None, None, ""), (id(), None, "lastUpdatedDate>?"), (None, id(), "lastUpdatedDate<?")]
        {
            let sql = queries::list("BINARY", &Page { max: 50, after, before });
            let mut statement =
                connection.prepare(&format!("EXPLAIN QUERY PLAN {}", numbered(&sql))).unwrap();
            let mut rows = statement.raw_query();
            let mut plan = String::new();
            while let Some(row) = rows.next().unwrap() {
                plan += &(row.get::<_, String>(3).unwrap() + "; ");
            }
            assert!(plan.starts_with("SEARCH medias USING INDEX medias_listing_idx (entityId=?"), "{plan}");
            assert!(plan.contains(bounded) && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }

    #[test]
    fn what_media_take_is_summed_up_from_an_index() {
        let bench = Bench::new();
        let connection = Connection::open(bench.path()).unwrap();
        for (quota, index) in
            [(Quota::Channel, "medias_channel_size_idx"), (Quota::User, "medias_author_size_idx")]
        {
            let sql = numbered(&queries::used(quota));
            let plan = format!("EXPLAIN QUERY PLAN {sql}");
            let plan: String = connection.query_row(&plan, ["any"], |row| row.get(3)).unwrap();
            assert!(plan.contains(&format!("INDEX {index}")), "{plan}");
            assert!(reads_indexes_only(&connection, &sql));
            let heap = sql.replace("textSize", "length(title)");
            assert!(!reads_indexes_only(&connection, &heap));
        }
    }

    /// Whether no column is read from a table. The plan does not say so of generated columns: it is made before it
    /// is known that the index has them.
    fn reads_indexes_only(connection: &Connection, sql: &str) -> bool {
        let mut statement = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let step = |row: &Row<'_>| Ok((row.get(1)?, row.get(2)?, row.get(5)?));
        let program: Vec<(String, i64, Value)> =
            statement.query_map(["any"], step).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        // The order of its keys is what an index is opened with, and a table is not.
        let is_index = |order: &Value| matches!(order, Value::Text(text) if text.starts_with("k("));
        let opened = program.iter().filter(|(code, ..)| code == "OpenRead");
        let indexes: Vec<i64> = opened.filter(|step| is_index(&step.2)).map(|step| step.1).collect();
        let mut columns = program.iter().filter(|(code, ..)| code == "Column");
        !indexes.is_empty() && columns.all(|column| indexes.contains(&column.1))
    }

    #[test]
    fn media_are_stored_together_as_if_one_after_the_other() {
        let bench = Bench::new();
        let media = |id, size| Media { size, ..conformance::media("room@example.org", id, 1) };
        let quotas = Quotas { channel: Some(10 * (limits::MEDIA_COST + 10)), user: None };
        let insert = |media| Insert { media, avatar: false, quotas };
        let mut connection = bench.store.connection().unwrap();
        let mut stored = |media: Vec<Media>| -> Vec<Option<MediaInsert>> {
            let inserts: Vec<_> = media.into_iter().map(insert).collect();
            insert_all(&mut connection, &inserts).into_iter().map(Inserted::ok).collect()
        };
        let full = media("b", quotas.channel.unwrap());
        let outcomes = stored(vec![media("a", 1), full, media("c", 1)]);
        let stored_both = [MediaInsert::Stored, MediaInsert::OverQuota(Quota::Channel), MediaInsert::Stored];
        assert_eq!(outcomes, stored_both.map(Some));
        let other = Media { author: "else@example.org".to_owned(), ..media("a", 1) };
        let outcomes = stored(vec![media("d", 1), other, media("c", 1), media("e", 1)]);
        let taken_once = [Some(()), None, Some(()), Some(())];
        assert_eq!(outcomes.iter().map(|one| one.as_ref().map(|_| ())).collect::<Vec<_>>(), taken_once);
        let ids: Vec<_> = bench.store.media_rows(None, 10).unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!(ids, ["a", "c", "d", "e"]);
    }

    #[test]
    fn every_file_is_for_the_servers_user_alone() {
        let bench = Bench::new();
        bench.store.insert(&conformance::media("room@example.org", "a", 1), false, Quotas::NONE).unwrap();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(bench.scratch.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["metadata.sqlite", "metadata.sqlite-shm", "metadata.sqlite-wal"]);
    }

    #[test]
    fn what_was_stored_is_there_when_it_is_opened_again() {
        let bench = Bench::new();
        let media = conformance::media("room@example.org", "a", 1);
        bench.store.insert(&media, true, Quotas::NONE).unwrap();
        let again = Sqlite::open(&bench.path(), false).unwrap();
        assert_eq!(again.avatar(&media.channel).unwrap(), Some(media));
    }

    #[test]
    fn two_processes_may_set_it_up_at_once() {
        let bench = Bench::new();
        let path = bench.scratch.join("other.sqlite");
        std::thread::scope(|scope| {
            let openings: Vec<_> = (0..4).map(|_| scope.spawn(|| Sqlite::open(&path, true))).collect();
            for opening in openings {
                opening.join().unwrap().unwrap().media_rows(None, 1).unwrap();
            }
        });
    }

    #[test]
    fn a_schema_of_a_later_program_is_refused() {
        let bench = Bench::new();
        bench.execute("INSERT INTO schema_version (version) VALUES (9)");
        let error = Sqlite::open(&bench.path(), true).err().unwrap().to_string();
        assert!(error.contains("too old"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_and_kept() {
        let bench = Bench::new();
        let path = bench.scratch.join("text");
        std::fs::write(&path, "no database, but longer than the head of one would be".repeat(10)).unwrap();
        assert_eq!(Sqlite::open(&path, true).err().unwrap().kind(), Kind::Corrupt);
        assert!(std::fs::read(&path).unwrap().starts_with(b"no database"));
        let missing = Sqlite::open(&bench.scratch.join("missing/metadata.sqlite"), true).err().unwrap();
        assert!(missing.to_string().contains("missing"), "{missing}");
    }

    #[test]
    fn a_lock_that_stays_is_not_waited_for_without_end() {
        let bench = Bench::new();
        let mut holder = bench.store.connection().unwrap();
        let held = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let started = std::time::Instant::now();
        let error = bench
            .store
            .insert(&conformance::media("room@example.org", "a", 1), false, Quotas::NONE)
            .unwrap_err();
        assert!(started.elapsed() < 2 * limits::DATABASE_LOCK);
        assert!(matches!(&error, InsertError::Failed(error) if error.kind() == Kind::Unavailable), "{error}");
        drop(held);
    }
}
