//! The statements of the metadata operations, in the SQL that both databases understand. Columns have the names that the
//! original gave them.

use std::sync::LazyLock;

use super::columns::SELECTED;
use crate::model::Page;

/// $1 id, $2 channel.
pub(super) static MEDIA: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM medias WHERE id = $1 AND entityId = $2", *SELECTED));

/// $1 channel.
pub(super) static AVATAR: LazyLock<String> = LazyLock::new(|| {
    let avatar = "id = (SELECT mediaId FROM avatars WHERE entityId = $1) AND entityId = $1";
    format!("SELECT {} FROM medias WHERE {avatar}", *SELECTED)
});

/// Whether a media was stored by an earlier attempt. $1 id, $2 channel, $3 author, $4 date of upload, $5 SHA-1.
pub(super) const SAME: &str = "SELECT 1 FROM medias WHERE id = $1 AND entityId = $2 AND author = $3 \
     AND uploadedDate = $4 AND shaChecksum = $5";

/// Files and bytes that are counted together; triggers keep them up to date. $1 kind, $2 name.
pub(super) const USAGE: &str = "SELECT CAST(COALESCE(SUM(files), 0) AS BIGINT), \
     CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM usage WHERE kind = $1 AND name = $2";

/// The excess of the sums of `usage` over the rows: only where the two differ.
macro_rules! wrong_usage {
    ($condition:literal) => {
        concat!(
            "SELECT kind, name, part, CAST(SUM(files) AS BIGINT), CAST(SUM(bytes) AS BIGINT) FROM (",
            "SELECT kind, name, part, files, bytes FROM usage ",
            "UNION ALL SELECT kind, name, part, -files, -bytes FROM usage_counted) AS compared WHERE ",
            $condition,
            " GROUP BY kind, name, part HAVING SUM(files) <> 0 OR SUM(bytes) <> 0 ORDER BY kind, name, part"
        )
    };
}

/// The condition that an upload has this file, found by an index on the name without its directory.
macro_rules! has_file {
    ($file:literal) => {
        concat!("substr(uploads.file, 3) = substr(", $file, ", 3) AND uploads.file = ", $file)
    };
}
pub(super) use has_file;

/// All of them. $1 kind.
pub(super) const WRONG_USAGE: &str = wrong_usage!("kind = $1");

/// One of them. $1 kind, $2 name, $3 part.
pub(super) const WRONG_SUM: &str = wrong_usage!("kind = $1 AND name = $2 AND part = CAST($3 AS INTEGER)");

/// Corrects a part of a sum. $1 kind, $2 name, $3 part, $4 files and $5 bytes that it has too much.
pub(super) const CORRECT_SUM: &str = "INSERT INTO usage (kind, name, part, files, bytes) \
     VALUES ($1, $2, CAST($3 AS INTEGER), -CAST($4 AS BIGINT), -CAST($5 AS BIGINT)) \
     ON CONFLICT (kind, name, part) DO UPDATE \
     SET files = usage.files + EXCLUDED.files, bytes = usage.bytes + EXCLUDED.bytes";

/// Removes a part that counts nothing. $1 kind, $2 name, $3 part.
pub(super) const REMOVE_EMPTY_SUM: &str = "DELETE FROM usage \
     WHERE kind = $1 AND name = $2 AND part = CAST($3 AS INTEGER) AND files = 0 AND bytes = 0";

/// $1 id, $2 channel.
pub(super) const SET_AVATAR: &str = "INSERT INTO avatars (mediaId, entityId) VALUES ($1, $2) \
     ON CONFLICT (entityId) DO UPDATE SET mediaId = EXCLUDED.mediaId";

/// Bytes of the texts of a media. $1 id, $2 channel.
pub(super) const TEXT_SIZE: &str = "SELECT textSize FROM medias WHERE id = $1 AND entityId = $2";

/// $1 id, $2 channel, $3 file name, $4 title, $5 description, $6 now. Gives the new row, then the bytes of its texts.
pub(super) static UPDATE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE medias SET fileName = COALESCE($3, fileName), title = COALESCE($4, title), \
         description = COALESCE($5, description), lastUpdatedDate = $6 WHERE id = $1 AND entityId = $2 \
         RETURNING {}, textSize",
        *SELECTED
    )
});

/// $1 id, $2 channel.
pub(super) const EXISTS: &str = "SELECT 1 FROM medias WHERE id = $1 AND entityId = $2";

/// Notes that the files of a media and of its previews must go. $1 media.
pub(super) const REMOVE_MEDIA: &str = "INSERT INTO removals (folder, file, reason) \
     SELECT entityId, id, 'media deleted' FROM medias WHERE id = $1 \
     UNION ALL SELECT medias.entityId, previews.id, 'preview of a deleted media' FROM previews \
     JOIN medias ON medias.id = previews.mediaId WHERE previews.mediaId = $1 ON CONFLICT DO NOTHING";

/// Notes that the file of a preview must go. $1 channel, $2 preview.
pub(super) const REMOVE_PREVIEW: &str = "INSERT INTO removals (folder, file, reason) \
     VALUES ($1, $2, 'preview that was used longest ago') ON CONFLICT DO NOTHING";

/// The files of media and previews that must go, each with 1 if a row names it all the same, else 0. $1 last id, $2 number.
pub(super) const REMOVALS: &str = "SELECT id, folder, file, reason, since, \
     CAST(CASE WHEN EXISTS (SELECT 1 FROM medias WHERE medias.id = removals.file) \
     OR EXISTS (SELECT 1 FROM previews WHERE previews.id = removals.file) THEN 1 ELSE 0 END AS BIGINT) \
     FROM removals WHERE folder <> '.uploads' AND id > $1 ORDER BY id LIMIT $2";

/// $1 id.
pub(super) const END_REMOVAL: &str = "DELETE FROM removals WHERE id = $1";

/// The table whose row names a file, if one does. $1 channel, $2 name.
pub(super) const KNOWN_AS: &str = "SELECT 'medias' FROM medias WHERE id = $2 AND entityId = $1 \
     UNION ALL SELECT 'previews' FROM previews JOIN medias ON medias.id = previews.mediaId \
     WHERE previews.id = $2 AND medias.entityId = $1 \
     UNION ALL SELECT 'removals' FROM removals WHERE folder = $1 AND file = $2 LIMIT 1";

/// $1 media.
pub(super) const DELETE_PREVIEWS: &str = "DELETE FROM previews WHERE mediaId = $1 RETURNING id";

/// $1 media.
pub(super) const DELETE_AVATAR: &str = "DELETE FROM avatars WHERE mediaId = $1";

/// $1 id.
pub(super) const DELETE_MEDIA: &str = "DELETE FROM medias WHERE id = $1";

/// The id of the store that the database belongs to.
pub(super) const STORE_ID: &str = "SELECT id FROM store";

/// Gives the database the id of its store, unless it has one. $1 id.
pub(super) const SET_STORE_ID: &str =
    "INSERT INTO store (single, id) VALUES (1, $1) ON CONFLICT (single) DO NOTHING";

/// Whether there are media.
pub(super) const ANY_MEDIA: &str = "SELECT 1 FROM medias LIMIT 1";

/// Media at random, as [`MEDIA_ROWS`] has them. $1 number.
pub(super) const SAMPLE: &str = "SELECT id, entityId, fileSize FROM medias ORDER BY random() LIMIT $1";

/// $1 last id, $2 number.
pub(super) const MEDIA_ROWS: &str =
    "SELECT id, entityId, fileSize FROM medias WHERE id > $1 ORDER BY id LIMIT $2";

/// $1 last id, $2 number.
pub(super) const PREVIEW_ROWS: &str = "SELECT previews.id, medias.entityId FROM previews \
     LEFT JOIN medias ON medias.id = previews.mediaId WHERE previews.id > $1 ORDER BY previews.id LIMIT $2";

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
pub(super) const SAME_PREVIEW: &str = "SELECT 1 FROM previews WHERE id = $1";

/// Deletes the previews of a media that were used longest ago. $1 media, $2 a preview that stays, $3 how many
/// others stay.
pub(super) const EVICT_PREVIEWS: &str = "DELETE FROM previews WHERE id IN (SELECT id FROM previews \
     WHERE mediaId = $1 AND id <> $2 ORDER BY lastUsed DESC, id LIMIT 1000000 OFFSET $3) RETURNING id";

/// $1 id, $2 now.
pub(super) const USE_PREVIEW: &str = "UPDATE previews SET lastUsed = $2 WHERE id = $1";

/// The cheapest query that reads a table: one without would not look at SQLite's file.
pub(super) const PING: &str = "SELECT COUNT(*) FROM schema_version";

/// The version of the schema.
pub(super) const VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_version";

/// The list of a channel. $1 channel, $2 number of rows, then the page's `after` and `before` where it has them. An id
/// that the channel doesn't have makes its row of bounds NULL, which nothing is above or below.
pub fn list(byte_order: &str, page: &Page) -> String {
    listed(&SELECTED, byte_order, page)
}

/// The bytes of the texts of each row of [`list`], in its order, with the same parameters.
pub(super) fn list_sizes(byte_order: &str, page: &Page) -> String {
    listed("textSize + octet_length(author)", byte_order, page)
}

fn listed(selected: &str, byte_order: &str, page: &Page) -> String {
    let key = format!("lastUpdatedDate, id COLLATE {byte_order}");
    let mut sql = format!("SELECT {selected} FROM medias WHERE entityId = $1");
    let bounds = [(">", &page.after), ("<", &page.before)];
    for (number, (sign, _)) in (3..).zip(bounds.iter().filter(|(_, bound)| bound.is_some())) {
        sql +=
            &format!(" AND ({key}) {sign} (SELECT {key} FROM medias WHERE id = ${number} AND entityId = $1)");
    }
    sql + &format!(" ORDER BY lastUpdatedDate DESC, id COLLATE {byte_order} DESC LIMIT $2")
}
