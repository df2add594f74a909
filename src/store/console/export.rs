//! Every row, in the order in which an import takes them: of each table by its key, in the order of bytes, so that an
//! export of the same rows is the same on either database.

use super::{Console, EmptiedUpload, StoredRow, UsageSum};
use crate::error::{Error, Kind, Result};
use crate::model::{Channel, Purpose, UploadId, Uploaded};
use crate::store::block_table::block;
use crate::store::columns::{self, SELECTED};
use crate::store::engine::Session;
use crate::store::metadata::UsageKind;
use crate::store::operations::{preview, store_id, version};
use crate::store::schema::verify;
use crate::store::value::Row;

type Tell<'a> = &'a mut dyn FnMut(StoredRow) -> Result<()>;

impl Console {
    /// Passes every row of one moment to `tell`, one at a time.
    ///
    /// # Errors
    /// At the first row that the server can't read; the error names the row. Also if `tell` fails.
    pub fn export(&mut self, tell: Tell<'_>) -> Result<()> {
        self.snapshot(|session| {
            verify(version(session)?)?;
            tell(StoredRow::Store(store_id(session)?))?;
            media(session, tell)?;
            previews(session, tell)?;
            avatars(session, tell)?;
            uploads(session, tell)?;
            blocks(session, tell)?;
            sums(session, tell)
        })
    }
}

/// A channel as the tables hold it.
fn channel(text: &str) -> Result<Channel> {
    let parsed = text.parse().ok().filter(|channel: &Channel| channel.as_str() == text);
    parsed.ok_or_else(|| {
        let text = format!(
            "the media of {text:?} can't be exported, as no channel has that name: `buddycloud-media-server fsck` names such \
             media, and the manual says how to rename the channel"
        );
        Error::new(Kind::Corrupt, text)
    })
}

fn media(session: &mut dyn Session, tell: Tell<'_>) -> Result<()> {
    let order = session.byte_order();
    let sql = format!("SELECT entityId, {} FROM medias ORDER BY id COLLATE {order}", *SELECTED);
    session.each(&sql, &[], &mut |mut row| {
        let channel = channel(&row.next::<String>()?)?;
        tell(StoredRow::Media(Box::new(columns::media(&mut row, &channel)?)))
    })
}

/// A preview that the server can't use is left out: it is made anew when it is asked for.
fn previews(session: &mut dyn Session, tell: Tell<'_>) -> Result<()> {
    let order = session.byte_order();
    let sql = format!(
        "SELECT mediaId, id, height, width, mimeType, fileSize, shaChecksum, lastUsed FROM previews \
         WHERE mediaId IS NOT NULL ORDER BY id COLLATE {order}"
    );
    session.each(&sql, &[], &mut |mut row| {
        let Ok(media) = row.next::<String>()?.parse() else { return Ok(()) };
        match preview(row)? {
            Some(preview) => tell(StoredRow::Preview(media, preview)),
            None => Ok(()),
        }
    })
}

/// An avatar that is not a media of its channel is never shown, and is omitted.
fn avatars(session: &mut dyn Session, tell: Tell<'_>) -> Result<()> {
    let order = session.byte_order();
    let sql = format!(
        "SELECT avatars.entityId, avatars.mediaId FROM avatars \
         JOIN medias ON medias.id = avatars.mediaId AND medias.entityId = avatars.entityId \
         ORDER BY avatars.entityId COLLATE {order}"
    );
    session.each(&sql, &[], &mut |mut row| {
        let channel = channel(&row.next::<String>()?)?;
        let media: String = row.next()?;
        let media = media.parse().map_err(|_| corrupt("media", &media, "id"))?;
        tell(StoredRow::Avatar(channel, media))
    })
}

fn uploads(session: &mut dyn Session, tell: Tell<'_>) -> Result<()> {
    let order = session.byte_order();
    let sql = format!(
        "SELECT id, purpose, created, slotEnds, file, path, owner, fileName, mimeType, fileSize, sha256, expires \
         FROM uploads ORDER BY id COLLATE {order}"
    );
    session.each(&sql, &[], &mut |row| tell(upload(row)?))
}

fn upload(mut row: Row) -> Result<StoredRow> {
    let (id, purpose): (String, String) = (row.next()?, row.next()?);
    let corrupt = |what| corrupt("upload", id.get(..6).unwrap_or(&id), what);
    let emptied = EmptiedUpload {
        id: UploadId::stored(&id).map_err(|_| corrupt("id"))?,
        purpose: Purpose::from_name(&purpose).ok_or_else(|| corrupt("purpose"))?,
        created: row.next()?,
        slot_ends: row.next()?,
    };
    let Some(file) = row.next::<Option<String>>()? else { return Ok(StoredRow::Emptied(emptied)) };
    let EmptiedUpload { id: of_row, purpose, created, slot_ends } = emptied;
    Ok(StoredRow::Upload(Box::new(Uploaded {
        id: of_row,
        purpose,
        created,
        slot_ends,
        file: file.parse().map_err(|_| corrupt("file"))?,
        path: row.next()?,
        owner: row.next()?,
        file_name: row.next()?,
        mime_type: row.next()?,
        size: row.next()?,
        sha256: row.next()?,
        expires: row.next()?,
    })))
}

fn corrupt(table: &str, id: &str, what: &str) -> Error {
    Error::new(Kind::Corrupt, format!("the {table} {id:?} has no valid {what}"))
}

fn blocks(session: &mut dyn Session, tell: Tell<'_>) -> Result<()> {
    let order = session.byte_order();
    let sql = format!("SELECT jid, since, \"by\" FROM blocks ORDER BY jid COLLATE {order}");
    session.each(&sql, &[], &mut |row| tell(StoredRow::Block(block(row)?)))
}

/// PostgreSQL keeps a sum in parts, SQLite as a whole.
fn sums(session: &mut dyn Session, tell: Tell<'_>) -> Result<()> {
    let order = session.byte_order();
    let sql = format!(
        "SELECT kind, name, CAST(SUM(files) AS BIGINT), CAST(SUM(bytes) AS BIGINT) FROM usage \
         GROUP BY kind, name HAVING SUM(files) <> 0 OR SUM(bytes) <> 0 \
         ORDER BY kind COLLATE {order}, name COLLATE {order}"
    );
    session.each(&sql, &[], &mut |mut row| {
        let kind: String = row.next()?;
        let kind = UsageKind::from_name(&kind).ok_or_else(|| corrupt("sum", &kind, "kind"))?;
        let sum = UsageSum { kind, name: row.next()?, files: row.next()?, bytes: row.next()? };
        tell(StoredRow::Sum(sum))
    })
}
