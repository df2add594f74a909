//! The upload service: its parts, and its operations for readers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::blocks::Blocks;
use super::reservations::Reservations;
use super::settings::Settings;
use super::slot::SlotCounts;
use super::slot_token::SLOTS;
use crate::cache::Cache;
use crate::chore::ChoreCounts;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{BareJid, UploadId, Uploaded};
use crate::store::{BlockTable, SecretTable, StoredFile, UploadFiles, UploadLookup, UploadTable, Uploads};
use crate::tokens::Keys;

/// Where the service keeps what it has.
pub struct Stores {
    /// The rows of the uploads.
    pub table: Arc<dyn UploadTable>,
    /// The keys of tokens.
    pub secrets: Arc<dyn SecretTable>,
    /// The blocked users.
    pub blocks: Arc<dyn BlockTable>,
    /// The files.
    pub files: Arc<dyn UploadFiles>,
    /// Where files are until they are complete.
    pub incoming: Uploads,
}

/// Hands out slots, takes the files of their PUTs, and serves them. The component asks it for slots by [`super::Slots`].
pub struct UploadService {
    pub(super) table: Arc<dyn UploadTable>,
    pub(super) files: Arc<dyn UploadFiles>,
    pub(super) incoming: Uploads,
    pub(super) keys: Keys,
    pub(super) blocks: Blocks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reservations: Arc<Reservations>,
    settings: RwLock<Arc<Settings>>,
    /// Rows that were read a moment ago.
    rows: Mutex<Cache<UploadId, Arc<Uploaded>>>,
    /// Counters of the housekeeper's work on the files.
    pub(super) chore_counts: ChoreCounts,
    pub(super) slot_counts: SlotCounts,
    /// Whether the schema is known to be the one we need, so that rows can be read.
    readable: AtomicBool,
    /// Whether the files are known to belong to the database, too.
    open: AtomicBool,
    /// Whether other nodes may store files to slots of this one.
    pub(super) has_other_nodes: bool,
}

impl UploadService {
    /// A service that is closed: what needs the database fails as [`Kind::Unavailable`] until [`UploadService::open`].
    pub fn new(stores: Stores, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let Stores { table, secrets, blocks, files, incoming } = stores;
        Self {
            table,
            files,
            incoming,
            blocks: Blocks::new(blocks),
            keys: Keys::new(SLOTS, secrets, Arc::clone(&clock)),
            reservations: Arc::new(Reservations::new(Arc::clone(&clock))),
            clock,
            settings: RwLock::new(Arc::new(settings)),
            rows: Mutex::new(Cache::new(limits::UPLOAD_ROWS)),
            chore_counts: ChoreCounts::default(),
            slot_counts: SlotCounts::default(),
            readable: AtomicBool::new(false),
            open: AtomicBool::new(false),
            has_other_nodes: false,
        }
    }

    /// The same service as one of several nodes.
    #[must_use]
    pub fn of_cluster(self) -> Self {
        Self { has_other_nodes: true, ..self }
    }

    /// Opens the service for readers: the database has the schema that this program works with.
    pub fn open_to_read(&self) {
        self.readable.store(true, Ordering::Release);
    }

    /// Opens the service: besides, the files belong to the database.
    pub fn open(&self) {
        self.open_to_read();
        self.open.store(true, Ordering::Release);
    }

    /// Fails while the service is closed.
    pub(super) fn check_open(&self) -> Result<()> {
        match self.open.load(Ordering::Acquire) {
            true => Ok(()),
            false => {
                let text = "the database or the store of the files could not be reached yet";
                Err(Error::new(Kind::Unavailable, text))
            }
        }
    }

    /// Fails while no row can be read.
    fn check_readable(&self) -> Result<()> {
        match self.readable.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err(Error::new(Kind::Unavailable, "the database could not be reached yet")),
        }
    }

    /// Other settings from now on.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this user may not send files.
    pub(super) fn is_denied(&self, owner: &BareJid) -> bool {
        self.settings().deny.iter().any(|rule| rule.covers(owner))
    }

    /// Counters of the housekeeper's work on files of uploads.
    pub fn chore_counts(&self) -> &ChoreCounts {
        &self.chore_counts
    }

    /// Requests for slots, by outcome.
    pub fn slot_counts(&self) -> &SlotCounts {
        &self.slot_counts
    }

    /// Bytes that the uploads of one user may take together.
    pub fn user_quota(&self) -> Option<u64> {
        self.settings().quotas.user
    }

    /// Deletes these uploads, at most [`limits::UPLOAD_BATCH`] of them; gives those that there were. Their rows are emptied
    /// now, and a [`Sweeper`](super::Sweeper) removes their files.
    pub fn delete(&self, ids: &[UploadId]) -> Result<Vec<UploadId>> {
        self.check_open()?;
        let deleted = self.table.delete_uploads(ids)?;
        ids.iter().for_each(|id| self.forget(id));
        Ok(deleted.into_iter().map(|upload| upload.id).collect())
    }

    /// Deletes those of these uploads that are this user's, at most [`limits::UPLOAD_BATCH`] of them; says how many there
    /// were. Their rows are emptied now, and a [`Sweeper`](super::Sweeper) removes their files.
    pub fn delete_of(&self, owner: &BareJid, ids: &[UploadId]) -> Result<usize> {
        self.check_open()?;
        let mut own = Vec::new();
        for id in ids.iter().take(limits::UPLOAD_BATCH) {
            if let UploadLookup::There(uploaded) = self.table.upload(id)?
                && uploaded.owner.as_deref() == Some(owner.as_str())
            {
                own.push(uploaded.id);
            }
        }
        let deleted = if own.is_empty() { Vec::new() } else { self.table.delete_uploads(&own)? };
        own.iter().for_each(|id| self.forget(id));
        Ok(deleted.len())
    }

    /// The upload of this id, if its row was read a moment ago: asking never waits.
    pub fn known(&self, id: &UploadId) -> Option<Arc<Uploaded>> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let uploaded = rows.get(Instant::now(), id)?;
        (!uploaded.is_expired(self.clock.now())).then(|| Arc::clone(uploaded))
    }

    /// The upload of this id, unless it has expired.
    pub fn find(&self, id: &UploadId) -> Result<Option<Arc<Uploaded>>> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        self.check_readable()?;
        let UploadLookup::There(uploaded) = self.table.upload(id)? else { return Ok(None) };
        if uploaded.is_expired(self.clock.now()) {
            return Ok(None);
        }
        let uploaded = Arc::new(*uploaded);
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.insert(Instant::now(), id.clone(), Arc::clone(&uploaded), limits::ROW_TTL);
        Ok(Some(uploaded))
    }

    /// Forgets cached rows that were not used lately: a chore of the housekeeper.
    pub fn forget_idle_rows(&self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).forget_expired(Instant::now());
    }

    /// The bytes of an upload; `None` if they are gone from the disk, and then its row is read again by the next reader.
    pub fn bytes(&self, uploaded: &Uploaded) -> Result<Option<StoredFile>> {
        let file = self.files.get(&uploaded.file, uploaded.size)?;
        if file.is_none() {
            self.forget(&uploaded.id);
        }
        Ok(file)
    }

    /// How long caches may keep an upload: never beyond the moment when it is gone.
    pub fn max_age(&self, uploaded: &Uploaded) -> Duration {
        let left = uploaded.expires.map(|expires| time_between(self.clock.now(), expires));
        let longest = self.settings().cache_max_age;
        left.map_or(longest, |left| left.min(longest))
    }

    /// Forgets the row of an upload that has changed.
    pub(super) fn forget(&self, id: &UploadId) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// The time from one moment to a later one; none if it is not later.
fn time_between(from: Timestamp, to: Timestamp) -> Duration {
    let micros = to.as_micros().saturating_sub(from.as_micros());
    Duration::from_micros(micros.try_into().unwrap_or(0))
}
