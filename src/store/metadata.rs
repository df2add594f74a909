//! The interface of a metadata store, for either database. Any thread may call it.

use super::engine::WriteError;
use super::identity::{DatabaseState, StoreId};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Purpose, Quota, Quotas};

/// The metadata of media, avatars and previews. A media belongs to one channel; in any other it does not exist.
///
/// Every call ends within a bounded time. Its errors have [`Kind::Unavailable`](crate::error::Kind) where the
/// database can't be reached or is overloaded now.
pub trait Metadata: Send + Sync {
    /// A media of this channel.
    fn media(&self, channel: &Channel, id: &MediaId) -> Result<Option<Media>>;

    /// The channel's avatar.
    fn avatar(&self, channel: &Channel) -> Result<Option<Media>>;

    /// A part of the channel's media, newest first, ties by id descending in byte order. It ends before the media whose
    /// texts would make it longer than [`LIST_TEXT_BYTES`](crate::limits::LIST_TEXT_BYTES), but not before the first. A
    /// row that can't be read is left out and logged.
    fn list(&self, channel: &Channel, page: &Page) -> Result<MediaPage>;

    /// Stores a new media, and points the channel's avatar to it if `avatar`: both or nothing, and nothing if a
    /// quota would be exceeded, however many uploads come at once. To store the same media again changes nothing and is
    /// no error, so the call may be repeated.
    fn insert(
        &self,
        media: &Media,
        avatar: bool,
        quotas: Quotas,
    ) -> std::result::Result<MediaInsert, WriteError>;

    /// The quota, if any, that `cost` more bytes of this author in this channel would exceed now.
    fn exceeded(&self, channel: &Channel, author: &str, cost: u64, quotas: Quotas) -> Result<Option<Quota>>;

    /// Changes the description of a media, and its date of last update to `now`. Nothing changes if its texts would
    /// get longer than a quota has room for, however many updates come at once.
    fn update(
        &self,
        media: &Media,
        description: &Description,
        now: Timestamp,
        quotas: Quotas,
    ) -> Result<MediaUpdate>;

    /// Deletes a media, its previews, and the channel's avatar if that is the media, and notes a [`Removal`] of each file:
    /// all or nothing. `None` if there is no such media. The caller removes the files afterwards.
    fn delete(&self, channel: &Channel, id: &MediaId) -> Result<Option<Deleted>>;

    /// At most `max` rows of media of all channels with ids after this one; fewer only at the end. The order
    /// is the database's.
    fn media_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<MediaRow>>;

    /// At most `max` rows of previews with ids after this one, as [`Metadata::media_rows`].
    fn preview_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<PreviewRow>>;

    /// The preview of a media for a box of this height and width.
    fn preview(&self, media: &MediaId, height: u32, width: u32) -> Result<Option<Preview>>;

    /// Stores a preview of a media, and deletes those of its previews that were used longest ago where there would be more
    /// than `max`, with a [`Removal`] of each of their files: all or nothing. As [`Metadata::insert`], it may be repeated.
    fn insert_preview(
        &self,
        media: &Media,
        preview: &Preview,
        max: usize,
    ) -> std::result::Result<PreviewInsert, WriteError>;

    /// Notes that a preview was used now.
    fn use_preview(&self, id: &MediaId, now: Timestamp) -> Result<()>;

    /// Deletes the row of a preview; says whether there was one.
    fn delete_preview(&self, id: &str) -> Result<bool>;

    /// At most `max` files that must go, in the order of their ids, which are higher than `after`.
    fn removals(&self, after: i64, max: usize) -> Result<Vec<Removal>>;

    /// Deletes the removals of these ids: their files are gone, or stay.
    fn end_removals(&self, ids: &[i64]) -> Result<()>;

    /// The rows that name each of these files, in their order.
    fn known_as(&self, files: &[FileName]) -> Result<Vec<KnownAs>>;

    /// The sums of this kind that differ from what the rows say.
    fn wrong_usage(&self, kind: UsageKind) -> Result<Vec<WrongSum>>;

    /// Makes a sum what the rows say, even while others write.
    fn correct_usage(&self, wrong: &WrongSum) -> Result<()>;

    /// The cheapest query, to see whether the database answers; fails as well if its file is gone or another one.
    fn ping(&self) -> Result<()>;

    /// The version of the schema: `None` if there is none, 0 for the original's without a table of versions.
    fn schema_version(&self) -> Result<Option<i32>>;

    /// The store identity of the database.
    fn store_state(&self) -> Result<DatabaseState>;

    /// Gives the database the id of its store, unless it has one; the id that it has then.
    fn set_store_id(&self, id: &StoreId) -> Result<StoreId>;

    /// The connections to the database.
    fn pool(&self) -> Pool;
}

/// The connections to a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Open connections.
    pub open: u32,
    /// Open connections that are idle.
    pub idle: u32,
    /// The limit of open connections.
    pub max: u32,
}

impl Pool {
    pub(super) fn of<M: r2d2::ManageConnection>(pool: &r2d2::Pool<M>) -> Self {
        let r2d2::State { connections, idle_connections, .. } = pool.state();
        Self { open: connections, idle: idle_connections, max: pool.max_size() }
    }
}

/// A part of a channel's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaPage {
    /// The entries, newest first.
    pub entries: Vec<Media>,
    /// Whether older entries would follow if the page were longer.
    pub more: bool,
}

/// The kinds of sums in table `usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageKind {
    /// The media of a channel.
    Channel,
    /// All media.
    Total,
    /// The uploads by slot of a user within a day: a sum for each ten minutes of each user.
    UploadDay,
    /// The uploads by slot of a user, by purpose.
    Upload(Purpose),
    /// All that was uploaded by slot.
    UploadTotal,
    /// All that a user uploaded by slot.
    UploadUser,
    /// The media that a user uploaded.
    User,
}

impl UsageKind {
    /// All kinds, in the order in which their sums change.
    pub const ALL: [Self; 10] = [
        Self::Channel,
        Self::Total,
        Self::UploadDay,
        Self::Upload(Purpose::Ephemeral),
        Self::Upload(Purpose::Message),
        Self::Upload(Purpose::Permanent),
        Self::Upload(Purpose::Profile),
        Self::UploadTotal,
        Self::UploadUser,
        Self::User,
    ];

    /// The kind of sum that this quota limits.
    pub fn of(quota: Quota) -> Self {
        match quota {
            Quota::Channel => Self::Channel,
            Quota::User => Self::User,
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Total => "total",
            Self::UploadDay => "upload-day",
            Self::Upload(Purpose::Ephemeral) => "upload-ephemeral",
            Self::Upload(Purpose::Message) => "upload-message",
            Self::Upload(Purpose::Permanent) => "upload-permanent",
            Self::Upload(Purpose::Profile) => "upload-profile",
            Self::UploadTotal => "upload-total",
            Self::UploadUser => "upload-user",
            Self::User => "user",
        }
    }
}

/// A part of a sum of table `usage` that differs from what the rows of the media say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongSum {
    /// Its kind.
    pub kind: UsageKind,
    /// The name of the channel or of the user; nothing for all media.
    pub name: String,
    /// The part's number. PostgreSQL keeps a sum in sixteen parts, so that uploads at the same time seldom wait for one
    /// another; SQLite in one.
    pub part: i64,
    /// Files that it has too much; negative if it has too few.
    pub files: i64,
    /// Bytes that it has too much; negative if it has too few.
    pub bytes: i64,
}

/// The files that a deletion leaves to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The previews' ids, which are the names of their files in the channel's directory.
    pub previews: Vec<MediaId>,
}

/// A file of a media or a preview: the channel, in whose directory it is, and its name there.
pub type FileName = (Channel, MediaId);

/// The table whose row names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownAs {
    /// It is the file of a media.
    Media,
    /// It is a preview.
    Preview,
    /// It must go.
    Removal,
    /// No row names it.
    Nothing,
}

/// A file that must go: a row of table `removals`. Texts are as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The number of the row. Later ones are higher.
    pub id: i64,
    /// The channel, in whose directory the file is.
    pub folder: String,
    /// Its name there.
    pub file: String,
    /// Why it must go, in words for the log.
    pub reason: String,
    /// When its row was deleted.
    pub since: Timestamp,
    /// Whether a media or a preview has this id all the same, at the moment when the row was read. Then the file stays.
    pub is_named: bool,
}

/// The result of [`Metadata::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaInsert {
    /// The media is stored.
    Stored,
    /// Nothing is stored: this quota would be exceeded.
    OverQuota(Quota),
}

/// The result of [`Metadata::update`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaUpdate {
    /// The media as it is now.
    Updated(Box<Media>),
    /// The media is as before: this quota would be exceeded.
    OverQuota(Quota),
    /// There is no such media.
    NoMedia,
}

/// The result of [`Metadata::insert_preview`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviewInsert {
    /// The preview is stored; the rows of these others are gone, and the caller removes their files.
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
