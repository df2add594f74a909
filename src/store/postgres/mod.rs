//! Metadata in PostgreSQL.

mod fault;
mod quota;
mod session;
mod settings;

use std::time::{Duration, SystemTime};

use postgres::Row;
use postgres::types::ToSql;
use r2d2::{Pool, PooledConnection};

pub(super) use self::fault::fault;
use self::fault::silence;
use self::quota::Sums;
pub(super) use self::session::prepare;
use self::session::{Link, Manager};
pub use self::settings::{PostgresSettings, SslMode};
use super::metadata::{
    Deleted, InsertError, Listing, MediaInsert, MediaRow, MediaUpdate, Metadata, PreviewInsert, PreviewRow,
    RawMedia, RawPreview, listing, pixels, preview_ids, signed, unsigned,
};
use super::{metadata, queries};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Quota, Quotas};

type PgResult<T> = std::result::Result<T, postgres::Error>;

/// A pool of connections to a PostgreSQL database.
pub struct Postgres {
    pool: Pool<Manager>,
    patience: Duration,
}

impl Postgres {
    /// A pool that connects when it is used, and again whenever the server is back. Fails only if TLS can't be
    /// set up as the settings want it.
    pub fn new(settings: &PostgresSettings) -> Result<Self> {
        let manager = Manager::new(settings)?;
        let pool = Pool::builder()
            .max_size(settings.pool_size.max(1))
            .min_idle(Some(1))
            .connection_timeout(limits::DATABASE_WAIT)
            .test_on_check_out(true)
            // Whoever waits for a connection is told; a line for each attempt would flood the log.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(manager);
        Ok(Self { pool, patience: settings.socket_timeout.unwrap_or(limits::DATABASE_ANSWER) })
    }

    fn connection(&self) -> Result<PooledConnection<Manager>> {
        self.pool.get().map_err(|cause| Error::caused(Kind::Unavailable, "no database connection", cause))
    }

    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Link) -> PgResult<T> + Send + 'static,
    ) -> Result<T> {
        self.connection()?.run(self.patience, job).ok_or_else(silence)?.map_err(fault)
    }

    /// At most one media.
    fn one(&self, sql: &'static str, params: Vec<String>, channel: &Channel) -> Result<Option<Media>> {
        let row = self.run(move |link| {
            let statement = link.prepare(sql)?;
            let row = link.client.query_opt(&statement, &texts(&params))?;
            row.as_ref().map(raw_media).transpose()
        })?;
        Ok(row.and_then(|row| row.into_media(channel)))
    }

    fn try_insert(
        &self,
        media: &Media,
        avatar: bool,
        quotas: Quotas,
    ) -> std::result::Result<MediaInsert, InsertError> {
        let mut connection = self.connection().map_err(InsertError::Failed)?;
        let media = media.clone();
        let answer = connection.run(self.patience, move |link| insert(link, &media, avatar, quotas));
        answer.unwrap_or_else(|| Err(InsertError::Unknown(silence())))
    }

    fn try_insert_preview(
        &self,
        media: &Media,
        preview: &Preview,
        most: usize,
    ) -> std::result::Result<PreviewInsert, InsertError> {
        let mut connection = self.connection().map_err(InsertError::Failed)?;
        let (media, preview) = (media.clone(), preview.clone());
        let answer = connection.run(self.patience, move |link| insert_preview(link, &media, &preview, most));
        answer.unwrap_or_else(|| Err(InsertError::Unknown(silence())))
    }
}

impl Metadata for Postgres {
    fn media(&self, channel: &Channel, id: &MediaId) -> Result<Option<Media>> {
        self.one(queries::MEDIA, vec![id.to_string(), channel.to_string()], channel)
    }

    fn avatar(&self, channel: &Channel) -> Result<Option<Media>> {
        self.one(queries::AVATAR, vec![channel.to_string()], channel)
    }

    fn list(&self, channel: &Channel, page: &Page) -> Result<Listing> {
        let sql = queries::list("\"C\"", page);
        let entity = channel.to_string();
        let limit = signed(page.max as u64).saturating_add(1);
        let bounds: Vec<String> = page.after.iter().chain(&page.before).map(MediaId::to_string).collect();
        let rows = self.run(move |link| {
            let statement = link.prepare(&sql)?;
            let mut params: Vec<&(dyn ToSql + Sync)> = vec![&entity, &limit];
            params.extend(texts(&bounds));
            Ok(link.client.query(&statement, &params)?.iter().map(raw_media).collect())
        })?;
        Ok(listing(rows, channel, page.max))
    }

    fn insert(
        &self,
        media: &Media,
        avatar: bool,
        quotas: Quotas,
    ) -> std::result::Result<MediaInsert, InsertError> {
        match self.try_insert(media, avatar, quotas) {
            // A second attempt waits for the end of the first, if that is still under way, and finds its row.
            Err(InsertError::Unknown(error)) => {
                self.try_insert(media, avatar, quotas).map_err(|_| InsertError::Unknown(error))
            }
            result => result,
        }
    }

    fn exceeded(&self, channel: &Channel, author: &str, cost: u64, quotas: Quotas) -> Result<Option<Quota>> {
        let (channel, author) = (channel.clone(), author.to_owned());
        self.run(move |link| {
            let sums = Sums::prepare(link, quotas)?;
            sums.exceeded(&mut link.client, &channel, &author, cost)
        })
    }

    fn update(
        &self,
        media: &Media,
        description: &Description,
        now: Timestamp,
        quotas: Quotas,
    ) -> Result<MediaUpdate> {
        let (media, new) = (media.clone(), description.clone());
        self.run(move |link| update(link, &media, &new, now, quotas))
    }

    fn delete(&self, channel: &Channel, id: &MediaId) -> Result<Option<Deleted>> {
        let (id, entity) = (id.to_string(), channel.to_string());
        let previews = self.run(move |link| delete(link, &id, &entity))?;
        Ok(previews.map(|previews| Deleted { previews: preview_ids(previews) }))
    }

    fn media_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<MediaRow>> {
        self.rows(queries::MEDIA_ROWS, after, max, |row| {
            Ok(MediaRow { id: row.try_get(0)?, channel: row.try_get(1)?, size: unsigned(row.try_get(2)?) })
        })
    }

    fn preview_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<PreviewRow>> {
        self.rows(queries::PREVIEW_ROWS, after, max, |row| {
            Ok(PreviewRow { id: row.try_get(0)?, channel: row.try_get(1)? })
        })
    }

    fn has_preview(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        let params = vec![id.to_string(), channel.to_string()];
        let row = self.run(move |link| {
            let statement = link.prepare(queries::HAS_PREVIEW)?;
            link.client.query_opt(&statement, &texts(&params))
        })?;
        Ok(row.is_some())
    }

    fn preview(&self, media: &MediaId, height: u32, width: u32) -> Result<Option<Preview>> {
        let (media, height, width) = (media.to_string(), pixels(height), pixels(width));
        let row = self.run(move |link| {
            let statement = link.prepare(queries::PREVIEW)?;
            let row = link.client.query_opt(&statement, &[&media, &height, &width])?;
            row.as_ref().map(raw_preview).transpose()
        })?;
        Ok(row.and_then(RawPreview::into_preview))
    }

    fn insert_preview(
        &self,
        media: &Media,
        preview: &Preview,
        most: usize,
    ) -> std::result::Result<PreviewInsert, InsertError> {
        match self.try_insert_preview(media, preview, most) {
            // As for media.
            Err(InsertError::Unknown(error)) => {
                self.try_insert_preview(media, preview, most).map_err(|_| InsertError::Unknown(error))
            }
            result => result,
        }
    }

    fn use_preview(&self, id: &MediaId, now: Timestamp) -> Result<()> {
        let (id, now) = (id.to_string(), SystemTime::from(now));
        self.run(move |link| {
            let statement = link.prepare(queries::USE_PREVIEW)?;
            link.client.execute(&statement, &[&id, &now]).map(drop)
        })
    }

    fn delete_preview(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        let deleted = self.run(move |link| {
            let statement = link.prepare(queries::DELETE_PREVIEW)?;
            link.client.execute(&statement, &[&id])
        })?;
        Ok(deleted > 0)
    }

    fn ping(&self) -> Result<()> {
        self.run(|link| link.client.batch_execute(queries::PING))
    }

    fn pool(&self) -> metadata::Pool {
        metadata::Pool::of(&self.pool)
    }
}

impl Postgres {
    fn rows<T: Send + 'static>(
        &self,
        sql: &'static str,
        after: Option<&str>,
        max: usize,
        read: fn(&Row) -> PgResult<T>,
    ) -> Result<Vec<T>> {
        let (after, max) = (after.unwrap_or_default().to_owned(), signed(max as u64));
        self.run(move |link| {
            let statement = link.prepare(sql)?;
            link.client.query(&statement, &[&after, &max])?.iter().map(read).collect()
        })
    }
}

/// What fails before the commit is sent is not stored; what fails at it may be.
fn insert(
    link: &mut Link,
    media: &Media,
    avatar: bool,
    quotas: Quotas,
) -> std::result::Result<MediaInsert, InsertError> {
    let failed = |error| InsertError::Failed(fault(error));
    let insert = link.prepare(queries::INSERT).map_err(failed)?;
    let same = link.prepare(queries::SAME).map_err(failed)?;
    let set_avatar = link.prepare(queries::SET_AVATAR).map_err(failed)?;
    let sums = Sums::prepare(link, quotas).map_err(failed)?;
    let (id, entity) = (media.id.as_str(), media.channel.as_str());
    let mut transaction = link.client.transaction().map_err(failed)?;
    sums.lock(&mut transaction, media).map_err(failed)?;
    let exceeded = sums.exceeded(&mut transaction, &media.channel, &media.author, media.cost());
    if let Some(quota) = exceeded.map_err(failed)? {
        let stored = is_stored(&mut transaction, &same, media).map_err(failed)?;
        return Ok(if stored { MediaInsert::Stored } else { MediaInsert::OverQuota(quota) });
    }
    if execute_insert(&mut transaction, &insert, media).map_err(failed)? == 0 {
        let stored = is_stored(&mut transaction, &same, media).map_err(failed)?;
        return if stored { Ok(MediaInsert::Stored) } else { Err(InsertError::Failed(taken(media))) };
    }
    if avatar {
        transaction.execute(&set_avatar, &[&id, &entity]).map_err(failed)?;
    }
    transaction.commit().map_err(at_commit)?;
    Ok(MediaInsert::Stored)
}

/// Whether an earlier attempt stored this media.
fn is_stored(
    transaction: &mut postgres::Transaction<'_>,
    same: &postgres::Statement,
    media: &Media,
) -> PgResult<bool> {
    let uploaded = SystemTime::from(media.uploaded);
    let params: &[&(dyn ToSql + Sync)] =
        &[&media.id.as_str(), &media.channel.as_str(), &media.author, &uploaded, &media.sha1];
    transaction.query_opt(same, params).map(|row| row.is_some())
}

/// What a commit that failed has stored: nothing where the server says so. What ends a session may come after it.
fn at_commit(cause: postgres::Error) -> InsertError {
    let severity = cause.as_db_error().and_then(postgres::error::DbError::parsed_severity);
    match severity {
        Some(postgres::error::Severity::Error) => InsertError::Failed(fault(cause)),
        _ => InsertError::Unknown(fault(cause)),
    }
}

fn execute_insert(
    transaction: &mut postgres::Transaction<'_>,
    statement: &postgres::Statement,
    media: &Media,
) -> PgResult<u64> {
    let params: &[&(dyn ToSql + Sync)] = &[
        &media.id.as_str(),
        &media.description.file_name,
        &media.author,
        &media.description.title,
        &media.description.description,
        &media.mime_type,
        &SystemTime::from(media.uploaded),
        &SystemTime::from(media.last_updated),
        &media.extension,
        &media.sha1,
        &signed(media.size),
        &media.length.map(signed),
        &media.height.map(pixels),
        &media.width.map(pixels),
        &media.channel.as_str(),
    ];
    transaction.execute(statement, params)
}

/// As [`insert`].
fn insert_preview(
    link: &mut Link,
    media: &Media,
    preview: &Preview,
    most: usize,
) -> std::result::Result<PreviewInsert, InsertError> {
    let failed = |error| InsertError::Failed(fault(error));
    // The lock keeps the media, and lets one at a time decide what has to go.
    let lock = link.prepare(&format!("{} FOR NO KEY UPDATE", queries::EXISTS)).map_err(failed)?;
    let insert = link.prepare(queries::INSERT_PREVIEW).map_err(failed)?;
    let same = link.prepare(queries::SAME_PREVIEW).map_err(failed)?;
    let evict = link.prepare(queries::EVICT_PREVIEWS).map_err(failed)?;
    let (owner, id) = (media.id.as_str(), preview.id.as_str());
    let mut transaction = link.client.transaction().map_err(failed)?;
    let found = transaction.query_opt(&lock, &[&owner, &media.channel.as_str()]).map_err(failed)?;
    if found.is_none() {
        return Ok(PreviewInsert::NoMedia);
    }
    if execute_insert_preview(&mut transaction, &insert, owner, preview).map_err(failed)? == 0
        && transaction.query_opt(&same, &[&id]).map_err(failed)?.is_none()
    {
        return Ok(PreviewInsert::Taken);
    }
    let others = signed(most.saturating_sub(1) as u64);
    let evicted = transaction.query(&evict, &[&owner, &id, &others]).map_err(failed)?;
    let evicted = evicted.iter().map(|row| row.try_get(0)).collect::<PgResult<_>>().map_err(failed)?;
    transaction.commit().map_err(at_commit)?;
    Ok(PreviewInsert::Stored(preview_ids(evicted)))
}

fn execute_insert_preview(
    transaction: &mut postgres::Transaction<'_>,
    statement: &postgres::Statement,
    media: &str,
    preview: &Preview,
) -> PgResult<u64> {
    let params: &[&(dyn ToSql + Sync)] = &[
        &preview.id.as_str(),
        &media,
        &pixels(preview.height),
        &pixels(preview.width),
        &preview.mime_type,
        &signed(preview.size),
        &preview.sha1,
        &SystemTime::from(preview.last_used),
    ];
    transaction.execute(statement, params)
}

fn raw_preview(row: &Row) -> PgResult<RawPreview> {
    Ok(RawPreview {
        id: row.try_get(0)?,
        height: row.try_get::<_, i32>(1)?.into(),
        width: row.try_get::<_, i32>(2)?.into(),
        mime_type: row.try_get(3)?,
        size: row.try_get(4)?,
        sha1: row.try_get(5)?,
        last_used: row.try_get::<_, SystemTime>(6)?.into(),
    })
}

/// What is not committed is undone: a transaction that is dropped rolls back.
fn update(
    link: &mut Link,
    media: &Media,
    new: &Description,
    now: Timestamp,
    quotas: Quotas,
) -> PgResult<MediaUpdate> {
    // The lock keeps the row as long as it is for those without quotas, too.
    let text_size = link.prepare(&format!("{} FOR NO KEY UPDATE", queries::TEXT_SIZE))?;
    let update = link.prepare(queries::UPDATE)?;
    let sums = Sums::prepare(link, quotas)?;
    let (id, entity, now) = (media.id.as_str(), media.channel.as_str(), SystemTime::from(now));
    let mut transaction = link.client.transaction()?;
    sums.lock(&mut transaction, media)?;
    let Some(before) = transaction.query_opt(&text_size, &[&id, &entity])? else {
        return Ok(MediaUpdate::NoMedia);
    };
    let params: &[&(dyn ToSql + Sync)] = &[&id, &entity, &new.file_name, &new.title, &new.description, &now];
    let after = transaction.query_one(&update, params)?;
    let grows = after.try_get::<_, i64>(queries::UPDATED_TEXT_SIZE)? > before.try_get(0)?;
    let exceeded =
        if grows { sums.exceeded(&mut transaction, &media.channel, &media.author, 0)? } else { None };
    if let Some(quota) = exceeded {
        return Ok(MediaUpdate::OverQuota(quota));
    }
    let updated = raw_media(&after)?.into_update(&media.channel);
    transaction.commit()?;
    Ok(updated)
}

/// The ids of the previews that went with it.
fn delete(link: &mut Link, id: &str, entity: &str) -> PgResult<Option<Vec<String>>> {
    // The lock makes a preview that is being stored wait, and then fail, instead of us.
    let lock = link.prepare(&format!("{} FOR UPDATE", queries::EXISTS))?;
    let previews = link.prepare(queries::DELETE_PREVIEWS)?;
    let avatar = link.prepare(queries::DELETE_AVATAR)?;
    let media = link.prepare(queries::DELETE_MEDIA)?;
    let mut transaction = link.client.transaction()?;
    if transaction.query_opt(&lock, &[&id, &entity])?.is_none() {
        return Ok(None);
    }
    let previews = transaction.query(&previews, &[&id])?;
    transaction.execute(&avatar, &[&id])?;
    transaction.execute(&media, &[&id])?;
    transaction.commit()?;
    previews.iter().map(|row| row.try_get(0)).collect::<PgResult<_>>().map(Some)
}

fn raw_media(row: &Row) -> PgResult<RawMedia> {
    let date = |column| row.try_get::<_, SystemTime>(column).map(Timestamp::from);
    let pixels = |column| row.try_get::<_, Option<i32>>(column).map(|side| side.map(i64::from));
    Ok(RawMedia {
        id: row.try_get(0)?,
        file_name: row.try_get(1)?,
        author: row.try_get(2)?,
        title: row.try_get(3)?,
        description: row.try_get(4)?,
        mime_type: row.try_get(5)?,
        uploaded: date(6)?,
        last_updated: date(7)?,
        extension: row.try_get(8)?,
        sha1: row.try_get(9)?,
        size: row.try_get(10)?,
        length: row.try_get(11)?,
        height: pixels(12)?,
        width: pixels(13)?,
    })
}

fn texts(texts: &[String]) -> Vec<&(dyn ToSql + Sync)> {
    texts.iter().map(|text| text as _).collect()
}

fn taken(media: &Media) -> Error {
    Error::new(Kind::Failure, format!("there is another media with the id {}", media.id))
}

#[cfg(test)]
mod tests;
