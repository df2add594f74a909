//! The operations of uploads by slot (XEP-0363) and of tokens on either database. Any thread may ask.

use super::engine::WriteError;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{Purpose, UploadFile, UploadId, UploadLimits, UploadQuota, Uploaded};
use crate::secret::Secret;

/// The rows of uploads. A row whose file is gone is emptied, and stays as long as its slot could be used again.
///
/// Every call ends within a bounded time, as those of [`Metadata`](super::Metadata).
pub trait UploadTable: Send + Sync {
    /// The upload of this id.
    fn upload(&self, id: &UploadId) -> Result<UploadLookup>;

    /// Stores an upload whose file is on the disk, unless a quota would be exceeded, however many come at once. To store
    /// the same one again changes nothing and is no error, so the call may be repeated.
    fn insert_upload(
        &self,
        upload: &Uploaded,
        limits: UploadLimits,
    ) -> std::result::Result<UploadInsert, WriteError>;

    /// Those of these slots through which something was stored, also if it is gone by now.
    fn used_slots(&self, ids: &[UploadId]) -> Result<Vec<UploadId>>;

    /// The stored sums of an owner and of all users, as far as they have limits.
    fn upload_sums(
        &self,
        owner: Option<&str>,
        purpose: Purpose,
        now: Timestamp,
        limits: UploadLimits,
    ) -> Result<UploadSums>;

    /// When uploads expire, and their bytes, soonest first: those of an owner and of a purpose, where these are given.
    /// At most [`EXPIRIES`](crate::limits::EXPIRIES) are looked at: the oldest of an owner, the soonest of all.
    fn expiring_uploads(
        &self,
        owner: Option<&str>,
        purpose: Option<Purpose>,
    ) -> Result<Vec<(Timestamp, u64)>>;

    /// Empties the rows of at most [`EXPIRY_BATCH`](crate::limits::EXPIRY_BATCH) uploads that have expired, and
    /// notes an [`UploadRemoval`] of each file.
    fn expire_uploads(&self, now: Timestamp) -> Result<Vec<GoneUpload>>;

    /// Empties the rows of the oldest message uploads of an owner, until they come to `bytes` or to
    /// [`UPLOAD_BATCH`](crate::limits::UPLOAD_BATCH) uploads, and notes an [`UploadRemoval`] of each file.
    fn make_room(&self, owner: &str, bytes: u64) -> Result<Vec<GoneUpload>>;

    /// Empties the rows of these uploads, at most [`UPLOAD_BATCH`](crate::limits::UPLOAD_BATCH) of them, and notes an
    /// [`UploadRemoval`] of each file.
    fn delete_uploads(&self, ids: &[UploadId]) -> Result<Vec<GoneUpload>>;

    /// Deletes emptied rows whose slots can't be used any more, at most
    /// [`UPLOAD_BATCH`](crate::limits::UPLOAD_BATCH); says how many.
    fn forget_slots(&self, now: Timestamp) -> Result<u64>;

    /// At most `max` rows with ids after this one, emptied ones left out; fewer only at the end. The order is the
    /// database's.
    fn upload_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<UploadRow>>;

    /// At most `max` files that must go, in the order of their names, which come after this one.
    fn upload_removals(&self, after: &str, max: usize) -> Result<Vec<UploadRemoval>>;

    /// Deletes the removals of these ids: their files are gone, or stay.
    fn end_upload_removals(&self, ids: &[i64]) -> Result<()>;

    /// The ones of these files that no row of any table names.
    fn unnamed_uploads(&self, files: &[UploadFile]) -> Result<Vec<UploadFile>>;
}

/// The keys of tokens.
pub trait SecretTable: Send + Sync {
    /// All keys of this kind of token.
    fn secrets(&self, kind: &'static str) -> Result<Vec<StoredSecret>>;

    /// Stores a key, unless there is one of this kind and id already.
    fn add_secret(&self, kind: &'static str, secret: &StoredSecret) -> Result<()>;

    /// Deletes the keys of this kind whose ids are below this one.
    fn remove_secrets(&self, kind: &'static str, below: i64) -> Result<()>;
}

/// The key of a token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// Its id: the day on which it signs.
    pub id: i64,
    /// Its bytes, in hexadecimal.
    pub secret: Secret,
}

/// The result of [`UploadTable::upload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadLookup {
    /// Nothing was stored by this slot.
    Unknown,
    /// Something was stored by this slot, and is gone.
    Emptied,
    /// The upload.
    There(Box<Uploaded>),
}

/// The result of [`UploadTable::insert_upload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadInsert {
    /// The upload is stored.
    Stored,
    /// The same bytes were stored by this slot before.
    Same,
    /// Something else was stored by this slot before.
    Taken,
    /// Nothing is stored: this quota would be exceeded.
    OverQuota(UploadQuota),
}

/// Bytes that are stored, as far as a limit is set for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadSums {
    /// The sum of the user.
    pub user: u64,
    /// The sum of the user with the requested purpose.
    pub purpose: u64,
    /// The sums of the user within a day: when they expire and how many bytes, soonest first.
    pub day: Vec<(Timestamp, u64)>,
    /// Of the user's messages, if the user has a limit: they may go for other files.
    pub message: u64,
    /// The sum of all users.
    pub all: u64,
}

impl UploadSums {
    /// The sum that this quota limits.
    pub fn of(&self, quota: UploadQuota) -> u64 {
        match quota {
            UploadQuota::User => self.user,
            UploadQuota::Purpose => self.purpose,
            UploadQuota::Day => self.day.iter().map(|(_, bytes)| bytes).sum(),
            UploadQuota::All => self.all,
        }
    }

    /// The first limit that these sums exceed.
    pub fn exceeded(&self, limits: UploadLimits) -> Option<UploadQuota> {
        limits.each().find(|(quota, max)| self.of(*quota) > *max).map(|(quota, _)| quota)
    }
}

/// An upload whose row was emptied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneUpload {
    /// Its id.
    pub id: UploadId,
    /// Its size in bytes.
    pub size: u64,
}

/// The file of an upload that must go: a row of table `removals`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRemoval {
    /// The number of the row.
    pub id: i64,
    /// The file's name, as stored.
    pub file: String,
    /// Whether an upload has this file all the same. Then it stays.
    pub is_named: bool,
}

/// The row of an upload as `fsck` needs it. Texts are as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRow {
    /// The upload's id.
    pub id: String,
    /// The name of its file.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
}
