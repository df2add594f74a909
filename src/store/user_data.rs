//! The data of a user, for its removal, on either database. Any thread may ask.
//!
//! The columns that name a user are listed in `man/buddycloud-media-server-privacy.7`.

use super::engine::{Change, Engine, Session};
use super::file_table::FileSum;
use super::metadata::{MediaRow, UsageKind};
use super::operations::{Store, correct_sum};
use super::upload_table::UploadRow;
use super::value::{Row, Value, values};
use crate::error::Result;
use crate::model::BareJid;

/// The rows that name a user.
///
/// Every call ends within a bounded time, as those of [`Metadata`](super::Metadata).
pub trait UserData: Send + Sync {
    /// How much is stored of the user.
    fn user_totals(&self, user: &BareJid) -> Result<UserTotals>;

    /// At most `max` media with ids after this one: those that the user uploaded, and those of the channel that has the
    /// user's address. The order is that of the bytes of the ids.
    fn user_media(&self, user: &BareJid, after: &str, max: usize) -> Result<Vec<MediaRow>>;

    /// At most `max` uploads of the user with ids after this one, in the same order. Emptied ones name nobody.
    fn user_uploads(&self, user: &BareJid, after: &str, max: usize) -> Result<Vec<UploadRow>>;

    /// Sets the sums of the user to those of the rows, and removes empty sums.
    fn correct_user_sums(&self, user: &BareJid) -> Result<()>;

    /// Removes the requests that wait for the user's confirmation, or were confirmed lately, on any node.
    fn delete_user_prompts(&self, user: &BareJid) -> Result<()>;

    /// Overwrites what deleted rows have left in the file of the database, where there is one. Other writers may wait
    /// meanwhile.
    fn wipe_deleted(&self) -> Result<()>;
}

/// How much is stored of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserTotals {
    /// Media that the user uploaded, without their texts.
    pub own: FileSum,
    /// Media that others uploaded to the channel with the user's address, likewise.
    pub others: FileSum,
    /// Previews of these media.
    pub previews: u64,
    /// Channels whose avatar is one of these media.
    pub avatars: u64,
    /// Uploads by slot.
    pub uploads: FileSum,
    /// Whether the user is blocked.
    pub is_blocked: bool,
    /// Users whom the user has blocked.
    pub blocks: u64,
}

/// Whether a media is one of a user: uploaded by the user, from whichever client, or in the channel with the user's address.
/// The original server stored the uploader with a resource. $1 user, $2 and $3 what such names begin with and come before.
const IS_OWN: &str = "(author = $1 OR author COLLATE {} >= $2 AND author COLLATE {} < $3)";

fn own(byte_order: &str) -> String {
    IS_OWN.replace("{}", byte_order)
}

/// The parameters of [`IS_OWN`].
fn named(user: &BareJid) -> [Value; 3] {
    values![user.as_str(), format!("{user}/"), format!("{user}0")]
}

/// `$1` to `$3` as [`IS_OWN`].
fn media_total(byte_order: &str) -> String {
    let own = own(byte_order);
    let sum = |what: &str, condition: &str| {
        format!("CAST(COALESCE(SUM(CASE WHEN {condition} THEN {what} ELSE 0 END), 0) AS BIGINT)")
    };
    let others = format!("NOT {own}");
    format!(
        "SELECT {}, {}, {}, {} FROM medias WHERE {own} OR entityId = $1",
        sum("1", &own),
        sum("fileSize", &own),
        sum("1", &others),
        sum("fileSize", &others)
    )
}

/// How many rows of a table refer to the media of a user. `$1` to `$3` as [`IS_OWN`].
fn referring(table: &str, byte_order: &str) -> String {
    let own = own(byte_order);
    format!(
        "SELECT COUNT(*) FROM {table} WHERE mediaId IN (SELECT id FROM medias WHERE {own} OR entityId = $1)"
    )
}

/// $1 user.
const UPLOAD_TOTAL: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(fileSize), 0) AS BIGINT) FROM uploads \
     WHERE owner = $1 AND file IS NOT NULL";

/// $1 user.
const BLOCK_TOTAL: &str =
    "SELECT COUNT(CASE WHEN jid = $1 THEN 1 END), COUNT(CASE WHEN \"by\" = $1 THEN 1 END) FROM blocks";

/// Prompts of a user, who may be asked by a full JID. $1 to $3 as [`IS_OWN`].
fn prompts(byte_order: &str) -> String {
    format!(
        "DELETE FROM prompts WHERE asked = $1 OR asked COLLATE {byte_order} >= $2 AND asked COLLATE {byte_order} < $3"
    )
}

/// The sums of a user: by name, by name and resource, and by name and time. $1 to $3 as [`IS_OWN`], $4 and $5 what names
/// with a time begin with and come before.
fn sums(byte_order: &str) -> String {
    let between = |from: &str, to: &str| {
        format!("name COLLATE {byte_order} >= {from} AND name COLLATE {byte_order} < {to}")
    };
    format!(
        "SELECT kind, name, CAST(part AS BIGINT) FROM usage WHERE name = $1 OR {} OR {}",
        between("$2", "$3"),
        between("$4", "$5")
    )
}

impl<E: Engine> UserData for Store<E> {
    fn user_totals(&self, user: &BareJid) -> Result<UserTotals> {
        let user = user.clone();
        self.0.read(move |session| totals(session, &user))
    }

    fn user_media(&self, user: &BareJid, after: &str, max: usize) -> Result<Vec<MediaRow>> {
        let parameters = [&named(user)[..], &values![after, max]].concat();
        self.0.read(move |session| {
            let order = session.byte_order();
            let sql = format!(
                "SELECT id, entityId, fileSize FROM medias WHERE id COLLATE {order} > $4 AND ({} OR entityId = $1) \
                 ORDER BY id COLLATE {order} LIMIT $5",
                own(order)
            );
            let read = |mut row: Row| Ok(MediaRow { id: row.next()?, channel: row.next()?, size: row.next()? });
            session.rows(&sql, &parameters)?.into_iter().map(read).collect()
        })
    }

    fn user_uploads(&self, user: &BareJid, after: &str, max: usize) -> Result<Vec<UploadRow>> {
        let parameters = values![user.as_str(), after, max];
        self.0.read(move |session| {
            let order = session.byte_order();
            let sql = format!(
                "SELECT id, file, fileSize FROM uploads WHERE owner = $1 AND id COLLATE {order} > $2 AND file IS NOT NULL \
                 ORDER BY id COLLATE {order} LIMIT $3"
            );
            let read = |mut row: Row| Ok(UploadRow { id: row.next()?, file: row.next()?, size: row.next()? });
            session.rows(&sql, &parameters)?.into_iter().map(read).collect()
        })
    }

    fn correct_user_sums(&self, user: &BareJid) -> Result<()> {
        let parameters = [&named(user)[..], &values![format!("{user} "), format!("{user}!")]].concat();
        Ok(self.0.write(move |session| {
            let sql = sums(session.byte_order());
            for mut row in session.rows(&sql, &parameters)? {
                let (kind, name, part): (String, String, i64) = (row.next()?, row.next()?, row.next()?);
                if let Some(kind) = UsageKind::from_name(&kind) {
                    correct_sum(session, kind, &name, part)?;
                }
            }
            Ok(Change::Commit(()))
        })?)
    }

    fn delete_user_prompts(&self, user: &BareJid) -> Result<()> {
        let parameters = named(user);
        Ok(self.0.write(move |session| {
            if session.has_table("prompts")? {
                let sql = prompts(session.byte_order());
                session.execute(&sql, &parameters)?;
            }
            Ok(Change::Commit(()))
        })?)
    }

    fn wipe_deleted(&self) -> Result<()> {
        self.0.wipe_deleted()
    }
}

fn totals(session: &mut dyn Session, user: &BareJid) -> Result<UserTotals> {
    let order = session.byte_order();
    let (named, mut totals) = (named(user), UserTotals::default());
    if let Some(mut row) = session.row(&media_total(order), &named)? {
        totals.own = FileSum { files: row.next()?, bytes: row.next()? };
        totals.others = FileSum { files: row.next()?, bytes: row.next()? };
    }
    totals.previews = session.row(&referring("previews", order), &named)?.map_or(Ok(0), Row::single)?;
    totals.avatars = session.row(&referring("avatars", order), &named)?.map_or(Ok(0), Row::single)?;
    if let Some(mut row) = session.row(UPLOAD_TOTAL, &values![user.as_str()])? {
        totals.uploads = FileSum { files: row.next()?, bytes: row.next()? };
    }
    if let Some(mut row) = session.row(BLOCK_TOTAL, &values![user.as_str()])? {
        totals.is_blocked = row.next::<u64>()? > 0;
        totals.blocks = row.next()?;
    }
    Ok(totals)
}
