//! The statements that both databases understand. Columns have the names that the original gave them.

use crate::limits;
use crate::model::{Page, Quota};

macro_rules! columns {
    () => {
        "id, fileName, author, title, description, mimeType, uploadedDate, lastUpdatedDate, \
         fileExtension, shaChecksum, fileSize, length, height, width"
    };
}

/// $1 id, $2 channel.
pub(super) const MEDIA: &str = concat!("SELECT ", columns!(), " FROM medias WHERE id = $1 AND entityId = $2");

/// $1 channel.
pub(super) const AVATAR: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM medias WHERE id = (SELECT mediaId FROM avatars WHERE entityId = $1) AND entityId = $1"
);

/// The columns in their order, then $15 channel. Nothing happens if the id is taken.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO medias (",
    columns!(),
    ", entityId) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    " ON CONFLICT (id) DO NOTHING"
);

/// Whether a media was stored by an earlier attempt. $1 id, $2 channel, $3 author, $4 date of upload, $5 SHA-1.
pub(super) const SAME: &str = "SELECT id FROM medias WHERE id = $1 AND entityId = $2 AND author = $3 \
     AND uploadedDate = $4 AND shaChecksum = $5";

/// The bytes that media take of a quota together; an index holds all that it reads. $1 channel or author. Odd sizes
/// may come to any sum, which a floating-point number always holds; it is exact up to 2^53, which is 9 PB.
pub(super) fn used(quota: Quota) -> String {
    let column = match quota {
        Quota::Channel => "entityId",
        Quota::User => "author",
    };
    let cost = limits::MEDIA_COST;
    format!(
        "SELECT COALESCE(SUM({cost} + textSize + \
         CAST(CASE WHEN fileSize > 0 THEN fileSize ELSE 0 END AS DOUBLE PRECISION)), 0) \
         FROM medias WHERE {column} = $1"
    )
}

/// $1 id, $2 channel.
pub(super) const SET_AVATAR: &str = "INSERT INTO avatars (mediaId, entityId) VALUES ($1, $2) \
     ON CONFLICT (entityId) DO UPDATE SET mediaId = EXCLUDED.mediaId";

/// Bytes of the texts of a media. $1 id, $2 channel.
pub(super) const TEXT_SIZE: &str = "SELECT textSize FROM medias WHERE id = $1 AND entityId = $2";

/// $1 id, $2 channel, $3 file name, $4 title, $5 description, $6 now. Gives the bytes of its texts after its columns.
pub(super) const UPDATE: &str = concat!(
    "UPDATE medias SET fileName = COALESCE($3, fileName), title = COALESCE($4, title), ",
    "description = COALESCE($5, description), lastUpdatedDate = $6 WHERE id = $1 AND entityId = $2 RETURNING ",
    columns!(),
    ", textSize"
);

/// Where [`UPDATE`] gives the bytes of the texts.
pub(super) const UPDATED_TEXT_SIZE: usize = 14;

/// $1 id, $2 channel.
pub(super) const EXISTS: &str = "SELECT id FROM medias WHERE id = $1 AND entityId = $2";

/// $1 media.
pub(super) const DELETE_PREVIEWS: &str = "DELETE FROM previews WHERE mediaId = $1 RETURNING id";

/// $1 media.
pub(super) const DELETE_AVATAR: &str = "DELETE FROM avatars WHERE mediaId = $1";

/// $1 id.
pub(super) const DELETE_MEDIA: &str = "DELETE FROM medias WHERE id = $1";

/// $1 last id, $2 number.
pub(super) const MEDIA_ROWS: &str =
    "SELECT id, entityId, fileSize FROM medias WHERE id > $1 ORDER BY id LIMIT $2";

/// $1 last id, $2 number.
pub(super) const PREVIEW_ROWS: &str = "SELECT previews.id, medias.entityId FROM previews \
     LEFT JOIN medias ON medias.id = previews.mediaId WHERE previews.id > $1 ORDER BY previews.id LIMIT $2";

/// Whether the channel has a preview of this id. $1 id, $2 channel.
pub(super) const HAS_PREVIEW: &str = "SELECT 1 FROM previews \
     JOIN medias ON medias.id = previews.mediaId WHERE previews.id = $1 AND medias.entityId = $2";

/// $1 id.
pub(super) const DELETE_PREVIEW: &str = "DELETE FROM previews WHERE id = $1";

/// $1 media, $2 height, $3 width.
pub(super) const PREVIEW: &str = "SELECT id, height, width, mimeType, fileSize, shaChecksum, lastUsed \
     FROM previews WHERE mediaId = $1 AND height = $2 AND width = $3";

/// Nothing happens if the id is taken, or the media has a preview of that size.
pub(super) const INSERT_PREVIEW: &str = "INSERT INTO previews \
     (id, mediaId, height, width, mimeType, fileSize, shaChecksum, lastUsed) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";

/// Whether a preview was stored by an earlier attempt. $1 id.
pub(super) const SAME_PREVIEW: &str = "SELECT id FROM previews WHERE id = $1";

/// Deletes the previews of a media that were used longest ago. $1 media, $2 a preview that stays, $3 how many
/// others stay.
pub(super) const EVICT_PREVIEWS: &str = "DELETE FROM previews WHERE id IN (SELECT id FROM previews \
     WHERE mediaId = $1 AND id <> $2 ORDER BY lastUsed DESC, id LIMIT 1000000 OFFSET $3) RETURNING id";

/// $1 id, $2 now.
pub(super) const USE_PREVIEW: &str = "UPDATE previews SET lastUsed = $2 WHERE id = $1";

/// As little as can be.
pub(super) const PING: &str = "SELECT COUNT(*) FROM schema_version";

/// $1 channel, $2 number, then the page's `after` and `before` where it has them. An id that the channel
/// doesn't have makes its row of bounds NULL, which nothing is above or below.
pub fn list(byte_order: &str, page: &Page) -> String {
    let key = format!("lastUpdatedDate, id COLLATE {byte_order}");
    let mut sql = format!("SELECT {} FROM medias WHERE entityId = $1", columns!());
    let bounds = [(">", &page.after), ("<", &page.before)];
    for (number, (sign, _)) in (3..).zip(bounds.iter().filter(|(_, bound)| bound.is_some())) {
        sql +=
            &format!(" AND ({key}) {sign} (SELECT {key} FROM medias WHERE id = ${number} AND entityId = $1)");
    }
    sql + &format!(" ORDER BY lastUpdatedDate DESC, id COLLATE {byte_order} DESC LIMIT $2")
}
