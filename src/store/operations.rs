//! The metadata operations, each written once, over any [`Engine`].
//!
//! A transaction changes rows first and sums last: the triggers of `medias` change the sums, in the order of their kind,
//! name and part. One that may exceed a quota first holds the names of its sums, so that no other such transaction adds to
//! them before its end, and then decides by what they are after its change. So no two transactions wait for each other.

use std::sync::{Mutex, PoisonError};

use super::columns::{self, INSERT};
use super::engine::{Change, Engine, Session, WriteError};
use super::identity::{DatabaseState, StoreId};
use super::metadata::{
    Deleted, FileName, KnownAs, MediaInsert, MediaPage, MediaRow, MediaUpdate, Metadata, Pool, PreviewInsert,
    PreviewRow, Removal, UsageKind, WrongSum,
};
use super::schema::CURRENT;
use super::statements;
use super::value::{Row, Value, values};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Quota, Quotas};

/// The metadata in a database of this engine.
pub struct Store<E>(pub(super) E);

impl<E> Store<E> {
    /// A store over this engine.
    pub fn new(engine: E) -> Self {
        Self(engine)
    }
}

impl<E: Engine> Metadata for Store<E> {
    fn media(&self, channel: &Channel, id: &MediaId) -> Result<Option<Media>> {
        let (channel, id) = (channel.clone(), id.clone());
        self.0.read(move |session| {
            let row = session.row(&statements::MEDIA, &values![id.as_str(), channel.as_str()])?;
            Ok(row.and_then(|row| readable(row, &channel)))
        })
    }

    fn avatar(&self, channel: &Channel) -> Result<Option<Media>> {
        let channel = channel.clone();
        self.0.read(move |session| {
            let row = session.row(&statements::AVATAR, &values![channel.as_str()])?;
            Ok(row.and_then(|row| readable(row, &channel)))
        })
    }

    fn list(&self, channel: &Channel, page: &Page) -> Result<MediaPage> {
        let (channel, page) = (channel.clone(), page.clone());
        self.0.read(move |session| {
            let order = session.byte_order();
            let parameters = |rows: usize| {
                let bounds = page.after.iter().chain(&page.before).map(|id| id.as_str().into());
                values![channel.as_str(), rows].into_iter().chain(bounds).collect::<Vec<_>>()
            };
            let sizes = session.rows(&statements::list_sizes(order, &page), &parameters(page.max))?;
            let max = fitting(sizes)?;
            let rows = session.rows(&statements::list(order, &page), &parameters(max.saturating_add(1)))?;
            let more = rows.len() > max;
            let entries = rows.into_iter().take(max).filter_map(|row| readable(row, &channel));
            Ok(MediaPage { entries: entries.collect(), more })
        })
    }

    fn insert(
        &self,
        media: &Media,
        avatar: bool,
        quotas: Quotas,
    ) -> std::result::Result<MediaInsert, WriteError> {
        let media = media.clone();
        if !avatar && quotas == Quotas::NONE {
            return self.insert_media_alone(&media);
        }
        self.0.write(move |session| insert(session, &media, avatar, quotas))
    }

    fn exceeded(&self, channel: &Channel, author: &str, cost: u64, quotas: Quotas) -> Result<Option<Quota>> {
        let (channel, author) = (channel.clone(), author.to_owned());
        self.0.read(move |session| exceeded(session, &channel, &author, cost, quotas))
    }

    fn update(
        &self,
        media: &Media,
        description: &Description,
        now: Timestamp,
        quotas: Quotas,
    ) -> Result<MediaUpdate> {
        let (media, new) = (media.clone(), description.clone());
        Ok(self.0.write(move |session| update(session, &media, &new, now, quotas))?)
    }

    fn delete(&self, channel: &Channel, id: &MediaId) -> Result<Option<Deleted>> {
        let (channel, id) = (channel.clone(), id.clone());
        let earlier = Mutex::new(None);
        Ok(self.0.write(move |session| delete_once(session, &channel, &id, &earlier))?)
    }

    fn media_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<MediaRow>> {
        let after = after.unwrap_or_default().to_owned();
        self.0.read(move |session| {
            let rows = session.rows(statements::MEDIA_ROWS, &values![after.as_str(), max])?;
            let read =
                |mut row: Row| Ok(MediaRow { id: row.next()?, channel: row.next()?, size: row.next()? });
            rows.into_iter().map(read).collect()
        })
    }

    fn preview_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<PreviewRow>> {
        let after = after.unwrap_or_default().to_owned();
        self.0.read(move |session| {
            let rows = session.rows(statements::PREVIEW_ROWS, &values![after.as_str(), max])?;
            rows.into_iter().map(|mut row| Ok(PreviewRow { id: row.next()?, channel: row.next()? })).collect()
        })
    }

    fn preview(&self, media: &MediaId, height: u32, width: u32) -> Result<Option<Preview>> {
        let parameters = values![media.as_str(), height, width];
        self.0.read(move |session| session.row(statements::PREVIEW, &parameters)?.map_or(Ok(None), preview))
    }

    fn insert_preview(
        &self,
        media: &Media,
        preview: &Preview,
        max: usize,
    ) -> std::result::Result<PreviewInsert, WriteError> {
        let (media, preview) = (media.clone(), preview.clone());
        self.0.write(move |session| insert_preview(session, &media, &preview, max))
    }

    fn use_preview(&self, id: &MediaId, now: Timestamp) -> Result<()> {
        let parameters = values![id.as_str(), now];
        let write = move |session: &mut dyn Session| session.execute(statements::USE_PREVIEW, &parameters);
        Ok(self.0.write(move |session| write(session).map(|_| Change::Commit(())))?)
    }

    fn delete_preview(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        Ok(self.0.write(move |session| {
            let deleted = session.execute(statements::DELETE_PREVIEW, &values![id.as_str()])?;
            Ok(Change::Commit(deleted > 0))
        })?)
    }

    fn removals(&self, after: i64, max: usize) -> Result<Vec<Removal>> {
        self.0.read(move |session| {
            let rows = session.rows(statements::REMOVALS, &values![after, max])?;
            rows.into_iter().map(removal).collect()
        })
    }

    fn end_removals(&self, ids: &[i64]) -> Result<()> {
        let mut ids = ids.to_vec();
        // In one order, so that two nodes that end the same ones don't wait for each other.
        ids.sort_unstable();
        Ok(self.0.write(move |session| {
            for id in &ids {
                session.execute(statements::END_REMOVAL, &values![*id])?;
            }
            Ok(Change::Commit(()))
        })?)
    }

    fn known_as(&self, files: &[FileName]) -> Result<Vec<KnownAs>> {
        let files = files.to_vec();
        self.0.read(move |session| files.iter().map(|file| known_as(session, file)).collect())
    }

    fn wrong_usage(&self, kind: UsageKind) -> Result<Vec<WrongSum>> {
        self.0.read(move |session| {
            let rows = session.rows(statements::WRONG_USAGE, &values![kind.name()])?;
            rows.into_iter().map(|row| wrong_sum(row, kind)).collect()
        })
    }

    fn correct_usage(&self, wrong: &WrongSum) -> Result<()> {
        let WrongSum { kind, name, part, .. } = wrong.clone();
        Ok(self.0.write(move |session| {
            correct_sum(session, kind, &name, part)?;
            Ok(Change::Commit(()))
        })?)
    }

    fn ping(&self) -> Result<()> {
        self.0.check_place()?;
        self.0.read(|session| session.row(statements::PING, &[]).map(drop))
    }

    fn schema_version(&self) -> Result<Option<i32>> {
        self.0.read(version)
    }

    fn store_state(&self) -> Result<DatabaseState> {
        self.0.read(store_state)
    }

    fn set_store_id(&self, id: &StoreId) -> Result<StoreId> {
        let id = id.clone();
        Ok(self.0.write(move |session| set_store_id(session, &id).map(Change::Commit))?)
    }

    fn pool(&self) -> Pool {
        self.0.pool()
    }
}

impl<E: Engine> Store<E> {
    /// One statement is enough. Where the id has a row and that can't be read, the row may be that of this media.
    fn insert_media_alone(&self, media: &Media) -> std::result::Result<MediaInsert, WriteError> {
        if self.0.execute(&INSERT, columns::inserted(media))? > 0 {
            return Ok(MediaInsert::Stored);
        }
        let same = same(media);
        let row = self.0.read(move |session| session.row(statements::SAME, &same));
        match row.map_err(WriteError::Unknown)? {
            Some(_) => Ok(MediaInsert::Stored),
            None => Err(WriteError::Failed(other_media(media))),
        }
    }
}

/// The version of the schema: `None` if there is none, 0 for the original's without a table of versions.
pub(super) fn version(session: &mut dyn Session) -> Result<Option<i32>> {
    if !session.has_table("medias")? {
        return Ok(None);
    }
    if !session.has_table("schema_version")? {
        return Ok(Some(0));
    }
    let row = session.row(statements::VERSION, &[])?;
    let version: i64 = row.map_or(Ok(0), Row::single)?;
    // A number that no version has is newer than all that are known.
    Ok(Some(version.try_into().unwrap_or(i32::MAX)))
}

/// The facts that the database tells about its store. Any version of the schema may be there, or none.
pub(super) fn store_state(session: &mut dyn Session) -> Result<DatabaseState> {
    let version = version(session)?;
    let id = match version {
        Some(FIRST_WITH_ID..=CURRENT) => store_id(session)?,
        _ => None,
    };
    let has_media = version.is_some() && session.row(statements::ANY_MEDIA, &[])?.is_some();
    Ok(DatabaseState { version, id, has_media })
}

/// The first version of the schema with the table `store`.
const FIRST_WITH_ID: i32 = 5;

pub(super) fn store_id(session: &mut dyn Session) -> Result<Option<StoreId>> {
    let Some(row) = session.row(statements::STORE_ID, &[])? else { return Ok(None) };
    let id: String = row.single()?;
    let corrupt =
        |()| Error::new(Kind::Corrupt, format!("{id:?} in the table store is not the id of a store"));
    id.parse().map(Some).map_err(corrupt)
}

/// Gives the database the id of its store, unless it has one; the id that it has then.
pub(super) fn set_store_id(session: &mut dyn Session, id: &StoreId) -> Result<StoreId> {
    session.execute(statements::SET_STORE_ID, &values![id.as_str()])?;
    Ok(store_id(session)?.unwrap_or_else(|| id.clone()))
}

/// Rows first: the avatar's, then the media's, whose trigger changes the sums.
pub(super) fn insert(
    session: &mut dyn Session,
    media: &Media,
    avatar: bool,
    quotas: Quotas,
) -> Result<Change<MediaInsert>> {
    let (id, entity) = (media.id.as_str(), media.channel.as_str());
    hold_sums(session, &media.channel, &media.author, quotas)?;
    if avatar {
        session.execute(statements::SET_AVATAR, &values![id, entity])?;
    }
    if session.execute(&INSERT, &columns::inserted(media))? == 0 {
        return match session.row(statements::SAME, &same(media))? {
            Some(_) => Ok(Change::Commit(MediaInsert::Stored)),
            None => Err(other_media(media)),
        };
    }
    Ok(match exceeded(session, &media.channel, &media.author, 0, quotas)? {
        Some(quota) => Change::RollBack(MediaInsert::OverQuota(quota)),
        None => Change::Commit(MediaInsert::Stored),
    })
}

/// The parameters of [`statements::SAME`].
fn same(media: &Media) -> [Value; 5] {
    let Media { id, channel, author, uploaded, sha1, .. } = media;
    values![id.as_str(), channel.as_str(), author.as_str(), *uploaded, sha1.as_str()]
}

fn other_media(media: &Media) -> Error {
    Error::new(Kind::Failure, format!("there is another media with the id {}", media.id))
}

/// Holds the names of the sums that these quotas limit, always in the same order.
fn hold_sums(session: &mut dyn Session, channel: &Channel, author: &str, quotas: Quotas) -> Result<()> {
    for (quota, _) in quotas.each() {
        session.hold(&format!("{} {}", UsageKind::of(quota).name(), quota.counted(channel, author)))?;
    }
    Ok(())
}

/// The quota that `cost` bytes besides the sums exceed.
fn exceeded(
    session: &mut dyn Session,
    channel: &Channel,
    author: &str,
    cost: u64,
    quotas: Quotas,
) -> Result<Option<Quota>> {
    for (quota, max) in quotas.each() {
        let sum = values![UsageKind::of(quota).name(), quota.counted(channel, author)];
        let used = match session.row(statements::USAGE, &sum)? {
            Some(mut row) => used(row.next()?, row.next()?),
            None => 0,
        };
        if Quota::is_exceeded(used, cost, max) {
            return Ok(Some(quota));
        }
    }
    Ok(None)
}

/// The share of a quota that so many files of so many bytes take.
fn used(files: u64, bytes: u64) -> u64 {
    files.saturating_mul(limits::MEDIA_COST).saturating_add(bytes)
}

/// The stored row decides whether the texts grow, not the row that the caller read before.
fn update(
    session: &mut dyn Session,
    media: &Media,
    new: &Description,
    now: Timestamp,
    quotas: Quotas,
) -> Result<Change<MediaUpdate>> {
    let (id, entity) = (media.id.as_str(), media.channel.as_str());
    hold_sums(session, &media.channel, &media.author, quotas)?;
    let Some(before) = session.lock(statements::TEXT_SIZE, &values![id, entity])? else {
        return Ok(Change::RollBack(MediaUpdate::NoMedia));
    };
    let Description { file_name, title, description } = new.clone();
    let parameters = values![id, entity, file_name, title, description, now];
    let Some(mut row) = session.row(&statements::UPDATE, &parameters)? else {
        return Ok(Change::RollBack(MediaUpdate::NoMedia));
    };
    let updated = columns::media(&mut row, &media.channel)?;
    let grows = row.next::<i64>()? > before.single()?;
    let quotas = if grows { quotas } else { Quotas::NONE };
    Ok(match exceeded(session, &media.channel, &updated.author, 0, quotas)? {
        Some(quota) => Change::RollBack(MediaUpdate::OverQuota(quota)),
        None => Change::Commit(MediaUpdate::Updated(Box::new(updated))),
    })
}

/// Deletes a media in one run or another of a write. Where a later run finds no media, `earlier` says what an earlier one,
/// whose commit was unknown, has deleted.
pub(super) fn delete_once(
    session: &mut dyn Session,
    channel: &Channel,
    id: &MediaId,
    earlier: &Mutex<Option<Deleted>>,
) -> Result<Change<Option<Deleted>>> {
    let mut earlier = earlier.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(deleted) = delete(session, channel, id)? {
        *earlier = Some(deleted);
    }
    Ok(Change::Commit(earlier.clone()))
}

/// Rows first: the media's own goes last, for its trigger changes the sums.
fn delete(session: &mut dyn Session, channel: &Channel, id: &MediaId) -> Result<Option<Deleted>> {
    let id = id.as_str();
    // A preview that is being stored waits for the lock, and then finds no media.
    if session.lock(statements::EXISTS, &values![id, channel.as_str()])?.is_none() {
        return Ok(None);
    }
    session.execute(statements::REMOVE_MEDIA, &values![id])?;
    let previews = preview_ids(session.rows(statements::DELETE_PREVIEWS, &values![id])?)?;
    session.execute(statements::DELETE_AVATAR, &values![id])?;
    session.execute(statements::DELETE_MEDIA, &values![id])?;
    Ok(Some(Deleted { previews }))
}

fn insert_preview(
    session: &mut dyn Session,
    media: &Media,
    preview: &Preview,
    max: usize,
) -> Result<Change<PreviewInsert>> {
    let (owner, id) = (media.id.as_str(), preview.id.as_str());
    // The lock keeps the media, and lets one transaction at a time decide which previews go.
    if session.lock(statements::EXISTS, &values![owner, media.channel.as_str()])?.is_none() {
        return Ok(Change::RollBack(PreviewInsert::NoMedia));
    }
    let Preview { height, width, mime_type, size, sha1, last_used, .. } = preview.clone();
    let parameters = values![id, owner, height, width, mime_type, size, sha1, last_used];
    if session.execute(statements::INSERT_PREVIEW, &parameters)? == 0
        && session.row(statements::SAME_PREVIEW, &values![id])?.is_none()
    {
        return Ok(Change::RollBack(PreviewInsert::Taken));
    }
    let others = max.saturating_sub(1);
    let evicted = preview_ids(session.rows(statements::EVICT_PREVIEWS, &values![owner, id, others])?)?;
    for id in &evicted {
        session.execute(statements::REMOVE_PREVIEW, &values![media.channel.as_str(), id.as_str()])?;
    }
    Ok(Change::Commit(PreviewInsert::Stored(evicted)))
}

/// How many of the first rows a page of a list has room for, by the bytes of their texts: at least one.
fn fitting(sizes: Vec<Row>) -> Result<usize> {
    let (mut count, mut sum) = (0, 0_u64);
    for row in sizes {
        sum = sum.saturating_add(row.single()?);
        if count > 0 && sum > limits::LIST_TEXT_BYTES as u64 {
            break;
        }
        count += 1;
    }
    Ok(count)
}

/// The media of a row, unless it can't be read.
fn readable(mut row: Row, channel: &Channel) -> Option<Media> {
    let media = columns::media(&mut row, channel);
    media.inspect_err(|error| log::warn!("a row of {channel} is omitted: {error}")).ok()
}

/// The ids in rows of one column.
fn preview_ids(rows: Vec<Row>) -> Result<Vec<MediaId>> {
    let mut ids = Vec::new();
    for row in rows {
        let id: String = row.single()?;
        match id.parse() {
            Ok(id) => ids.push(id),
            Err(_) => log::warn!("the preview {id:?} has no valid id: its file can't be removed"),
        }
    }
    Ok(ids)
}

/// A preview, unless a column that it needs is missing or holds an impossible value.
pub(super) fn preview(mut row: Row) -> Result<Option<Preview>> {
    let (id, height, width): (String, i64, i64) = (row.next()?, row.next()?, row.next()?);
    let (mime_type, size, sha1): (_, Option<i64>, Option<_>) = (row.next()?, row.next()?, row.next()?);
    let last_used = row.next()?;
    let complete = || {
        Some(Preview {
            id: id.parse().ok()?,
            height: height.try_into().ok()?,
            width: width.try_into().ok()?,
            mime_type,
            size: size?.try_into().ok()?,
            sha1: sha1?,
            last_used,
        })
    };
    Ok(complete())
}

fn removal(mut row: Row) -> Result<Removal> {
    Ok(Removal {
        id: row.next()?,
        folder: row.next()?,
        file: row.next()?,
        reason: row.next()?,
        since: row.next()?,
        is_named: row.next::<i64>()? != 0,
    })
}

fn known_as(session: &mut dyn Session, (channel, id): &FileName) -> Result<KnownAs> {
    let row = session.row(statements::KNOWN_AS, &values![channel.as_str(), id.as_str()])?;
    let table: Option<String> = row.map(Row::single).transpose()?;
    Ok(match table.as_deref() {
        Some("medias") => KnownAs::Media,
        Some("previews") => KnownAs::Preview,
        Some(_) => KnownAs::Removal,
        None => KnownAs::Nothing,
    })
}

/// Makes a part of a sum what the rows say, and removes it where it counts nothing.
pub(super) fn correct_sum(session: &mut dyn Session, kind: UsageKind, name: &str, part: i64) -> Result<()> {
    let sum = values![kind.name(), name, part];
    // The difference stays the same while others write, for they change sum and rows by as much.
    if let Some(row) = session.row(statements::WRONG_SUM, &sum)? {
        let WrongSum { files, bytes, .. } = wrong_sum(row, kind)?;
        session.execute(statements::CORRECT_SUM, &values![kind.name(), name, part, files, bytes])?;
    }
    session.execute(statements::REMOVE_EMPTY_SUM, &sum).map(drop)
}

fn wrong_sum(mut row: Row, kind: UsageKind) -> Result<WrongSum> {
    let _kind: String = row.next()?;
    Ok(WrongSum { kind, name: row.next()?, part: row.next()?, files: row.next()?, bytes: row.next()? })
}
