//! What the rest of the server asks of a metadata store, whichever database is behind it.

use std::fmt;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Quota, Quotas};

/// The metadata of media, avatars and previews. A media belongs to one channel; in any other it does not exist.
///
/// Every call ends within a bounded time. Its errors have [`Kind::Unavailable`](crate::error::Kind) where the
/// database can't be reached or is overloaded now.
pub trait Metadata: Send + Sync {
    /// A media of this channel.
    fn media(&self, channel: &Channel, id: &MediaId) -> Result<Option<Media>>;

    /// The channel's avatar.
    fn avatar(&self, channel: &Channel) -> Result<Option<Media>>;

    /// A part of the channel's media, newest first, ties by id descending in byte order. A row that is not
    /// what it must be is left out and logged.
    fn list(&self, channel: &Channel, page: &Page) -> Result<Listing>;

    /// Stores a new media, and points the channel's avatar to it if `avatar`: both or nothing, and nothing if a
    /// quota would be exceeded, however many do so at once. Stored before with the same values it is stored
    /// already, and that is no error, so the call may be repeated.
    fn insert(
        &self,
        media: &Media,
        avatar: bool,
        quotas: Quotas,
    ) -> std::result::Result<MediaInsert, InsertError>;

    /// The quota that `cost` bytes more of this author in this channel would exceed now, if there is one.
    fn exceeded(&self, channel: &Channel, author: &str, cost: u64, quotas: Quotas) -> Result<Option<Quota>>;

    /// Changes what is said of a media, and its date of last update to `now`. Nothing changes if its texts would
    /// get longer than a quota has room for, however many do so at once.
    fn update(
        &self,
        media: &Media,
        description: &Description,
        now: Timestamp,
        quotas: Quotas,
    ) -> Result<MediaUpdate>;

    /// Deletes a media, its previews, and the avatar if it is the one: all or nothing. `None` if there is no
    /// such media. The files are the caller's to remove, afterwards.
    fn delete(&self, channel: &Channel, id: &MediaId) -> Result<Option<Deleted>>;

    /// At most `max` rows of media of all channels with ids after this one; fewer only at the end. The order
    /// is the database's.
    fn media_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<MediaRow>>;

    /// At most `max` rows of previews with ids after this one, as [`Metadata::media_rows`].
    fn preview_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<PreviewRow>>;

    /// Whether the channel has a preview of this id.
    fn has_preview(&self, channel: &Channel, id: &MediaId) -> Result<bool>;

    /// The preview of a media for a box of this height and width.
    fn preview(&self, media: &MediaId, height: u32, width: u32) -> Result<Option<Preview>>;

    /// Stores a preview of a media, and deletes those of its previews that were used longest ago where there
    /// would be more than `most`: all or nothing. As [`Metadata::insert`], it may be repeated.
    fn insert_preview(
        &self,
        media: &Media,
        preview: &Preview,
        most: usize,
    ) -> std::result::Result<PreviewInsert, InsertError>;

    /// Notes that a preview was used now.
    fn use_preview(&self, id: &MediaId, now: Timestamp) -> Result<()>;

    /// Deletes the row of a preview; says whether there was one.
    fn delete_preview(&self, id: &str) -> Result<bool>;

    /// Asks the database for as little as can be, to see whether it answers.
    fn ping(&self) -> Result<()>;

    /// The connections to the database.
    fn pool(&self) -> Pool;
}

/// The connections to a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Those that are open.
    pub open: u32,
    /// Those of them that nobody uses.
    pub idle: u32,
    /// How many there may be.
    pub most: u32,
}

impl Pool {
    pub(super) fn of<M: r2d2::ManageConnection>(pool: &r2d2::Pool<M>) -> Self {
        let r2d2::State { connections, idle_connections, .. } = pool.state();
        Self { open: connections, idle: idle_connections, most: pool.max_size() }
    }
}

/// A part of a channel's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries, newest first.
    pub entries: Vec<Media>,
    /// Whether older entries would follow if the page were longer.
    pub more: bool,
}

/// What a deletion leaves to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The previews' ids, which are the names of their files in the channel's directory.
    pub previews: Vec<MediaId>,
}

/// What became of a media that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaInsert {
    /// It is stored.
    Stored,
    /// It is not: this quota would be exceeded.
    OverQuota(Quota),
}

/// What became of a media that was to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaUpdate {
    /// It is changed, and this is what it is now.
    Updated(Box<Media>),
    /// It is as before: this quota would be exceeded.
    OverQuota(Quota),
    /// It is gone.
    NoMedia,
}

/// What became of a preview that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviewInsert {
    /// It is stored; the rows of these others are gone, and their files are the caller's to remove.
    Stored(Vec<MediaId>),
    /// The media has another preview for that box.
    Taken,
    /// The media is gone.
    NoMedia,
}

/// The row of a media as `fsck` needs it. Texts are as stored and may be no valid id or channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRow {
    /// The media's id.
    pub id: String,
    /// The channel it belongs to.
    pub channel: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The row of a preview as `fsck` needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewRow {
    /// The preview's id.
    pub id: String,
    /// The channel of the media it shows; `None` if there is no such media.
    pub channel: Option<String>,
}

/// Why a media was not stored, or may not have been.
#[derive(Debug)]
pub enum InsertError {
    /// It is not stored, and won't be: its file can go.
    Failed(Error),
    /// The connection was lost at the wrong moment: it may be stored, now or shortly. Its file must stay; `fsck`
    /// removes it if it is not needed.
    Unknown(Error),
}

impl From<InsertError> for Error {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::Failed(error) | InsertError::Unknown(error) => error,
        }
    }
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Unknown(error) => write!(f, "it is not known whether the media was stored: {error}"),
        }
    }
}

impl std::error::Error for InsertError {}

/// A row of table `medias` before it is believed.
pub(super) struct RawMedia {
    pub(super) id: String,
    pub(super) file_name: Option<String>,
    pub(super) author: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) mime_type: String,
    pub(super) uploaded: Timestamp,
    pub(super) last_updated: Timestamp,
    pub(super) extension: Option<String>,
    pub(super) sha1: String,
    pub(super) size: i64,
    pub(super) length: Option<i64>,
    pub(super) height: Option<i64>,
    pub(super) width: Option<i64>,
}

impl RawMedia {
    /// What this row, with the values of an update, says of that.
    pub(super) fn into_update(self, channel: &Channel) -> MediaUpdate {
        self.into_media(channel).map_or(MediaUpdate::NoMedia, |media| MediaUpdate::Updated(Box::new(media)))
    }

    /// The media, unless its id is none. Numbers that can't be are as good as missing.
    pub(super) fn into_media(self, channel: &Channel) -> Option<Media> {
        let Ok(id) = self.id.parse() else {
            log::warn!("a row of {channel} is left out: its id {:?} is not valid", self.id);
            return None;
        };
        Some(Media {
            id,
            channel: channel.clone(),
            author: self.author,
            description: Description {
                file_name: self.file_name,
                title: self.title,
                description: self.description,
            },
            mime_type: self.mime_type,
            uploaded: self.uploaded,
            last_updated: self.last_updated,
            extension: self.extension,
            sha1: self.sha1,
            size: unsigned(self.size),
            length: self.length.and_then(|length| length.try_into().ok()),
            height: self.height.and_then(|height| height.try_into().ok()),
            width: self.width.and_then(|width| width.try_into().ok()),
        })
    }
}

/// The page of these rows, of which one more than `max` was asked for.
pub(super) fn listing<E: fmt::Display>(
    rows: Vec<std::result::Result<RawMedia, E>>,
    channel: &Channel,
    max: usize,
) -> Listing {
    let more = rows.len() > max;
    let readable = |row: std::result::Result<RawMedia, E>| {
        row.inspect_err(|error| log::warn!("a row of {channel} is left out: {error}")).ok()
    };
    let rows = rows.into_iter().take(max).filter_map(readable);
    Listing { entries: rows.filter_map(|row| row.into_media(channel)).collect(), more }
}

/// The ids among these texts.
pub(super) fn preview_ids(ids: Vec<String>) -> Vec<MediaId> {
    let valid = |id: String| match id.parse() {
        Ok(id) => Some(id),
        Err(_) => {
            log::warn!("a preview has an id that is not valid, its file can't be removed: {id:?}");
            None
        }
    };
    ids.into_iter().filter_map(valid).collect()
}

/// A row of table `previews` before it is believed.
pub(super) struct RawPreview {
    pub(super) id: String,
    pub(super) height: i64,
    pub(super) width: i64,
    pub(super) mime_type: String,
    pub(super) size: Option<i64>,
    pub(super) sha1: Option<String>,
    pub(super) last_used: Timestamp,
}

impl RawPreview {
    /// The preview, if it can be one. The original left out no column, and neither do we.
    pub(super) fn into_preview(self) -> Option<Preview> {
        Some(Preview {
            id: self.id.parse().ok()?,
            height: self.height.try_into().ok()?,
            width: self.width.try_into().ok()?,
            mime_type: self.mime_type,
            size: self.size?.try_into().ok()?,
            sha1: self.sha1?,
            last_used: self.last_used,
        })
    }
}

/// Pixels as the databases have them. No picture has more.
pub(super) fn pixels(side: u32) -> i32 {
    i32::try_from(side).unwrap_or(i32::MAX)
}

/// A size as stored; a negative one is none.
pub(super) fn unsigned(size: i64) -> u64 {
    size.try_into().unwrap_or(0)
}

/// The sum of [`queries::used`](super::queries::used) in bytes; as many as there can be, if it is more.
pub(super) fn used(sum: f64) -> u64 {
    sum as u64
}

/// A number as the databases have it; they can't hold more than `i64::MAX`, and no disk can.
pub(super) fn signed(number: u64) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
