//! The library: files and their metadata, kept in step.
//!
//! The order of side effects keeps a 201 true (see [`Library::add`]) and leaves no row without its file (see
//! [`Library::delete`]). No id and no file name is used twice: each upload, each avatar and each preview has a random name of
//! its own, and no file is ever written again. So a file that must go can be removed at any later time. A crash may leave
//! a file without a row, which the housekeeper finds. The threads that serve HTTP call all of this.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use super::ahead::Ahead;
use super::housekeeping::HousekeepingSettings;
use super::preview::Key;
use super::refresh::Refresher;
use super::rows::{Known, Reading, Rows};
use super::watch::PreviewCounts;
use crate::chore::ChoreCounts;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::media_type;
use crate::model::{BareJid, Channel, Description, Media, MediaId, Page, Quotas, Refusal};
use crate::preview::{Format, Jobs, Properties, Sandbox, Studio};
use crate::store::{
    Files, Identity, MediaInsert, MediaPage, MediaUpdate, Metadata, Presented, Published, RootLock, Sealed,
    StoredFile, Upload, Uploads, WriteError,
};

/// The settings of uploads.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of the largest media.
    pub size_limit: u64,
    /// Bytes of an upload that are held in memory before they go to a file.
    pub to_disk_threshold: usize,
    /// Bytes that the media of a channel, and of a user, may take together.
    pub quotas: Quotas,
}

/// How many previews are made and kept.
#[derive(Clone, Debug)]
pub struct PreviewSettings {
    /// Previews of one media that are kept.
    pub count: usize,
    /// Previews that are made at a time.
    pub jobs: usize,
    /// Requests that wait for their preview to be made.
    pub queue: usize,
    /// Whether the previews of the page are made right after an upload.
    pub ahead: bool,
    /// The limits of one preview.
    pub studio: crate::preview::Settings,
}

/// How a request names a media of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// The channel's avatar.
    Avatar,
    /// The media of this id.
    Id(MediaId),
}

/// A complete and checked upload, but for its bytes.
#[derive(Clone, Debug)]
pub struct New {
    /// Where it goes.
    pub channel: Channel,
    /// The uploader.
    pub author: BareJid,
    /// The uploader's description.
    pub description: Description,
    /// Its media type.
    pub mime_type: String,
    /// The extension of its file name, or the usual one of its type.
    pub extension: Option<String>,
    /// Whether it becomes the channel's avatar.
    pub avatar: bool,
}

impl New {
    /// The same for the file that was made from the upload.
    fn made(mut self, (sealed, format): (Sealed, Format)) -> (Sealed, Self) {
        self.mime_type = format.mime_type().to_owned();
        let is_of_type = |extension: &String| media_type::type_for(extension) == Some(format.mime_type());
        if !self.extension.as_ref().is_some_and(is_of_type) {
            self.extension = media_type::extension_for(format.mime_type()).map(str::to_owned);
        }
        (sealed, self)
    }

    fn into_media(self, sealed: &Sealed, properties: Properties, now: Timestamp) -> Media {
        Media {
            id: MediaId::random(),
            channel: self.channel,
            author: self.author.to_string(),
            description: self.description,
            mime_type: self.mime_type,
            uploaded: now,
            last_updated: now,
            extension: self.extension,
            sha1: sealed.digest().to_owned(),
            sha256: Some(sealed.sha256().to_owned()),
            size: sealed.size(),
            length: properties.length,
            height: properties.height,
            width: properties.width,
        }
    }
}

/// The media of all channels.
pub struct Library {
    pub(super) uploads: Uploads,
    pub(super) files: Arc<dyn Files>,
    pub(super) metadata: Arc<dyn Metadata>,
    /// The identity that files and metadata share.
    pub(super) identity: Identity,
    /// The lock of the storage root, in a server.
    pub(super) lock: Option<RootLock>,
    pub(super) rows: Arc<Rows>,
    refresher: Arc<Refresher>,
    pub(super) clock: Arc<dyn Clock>,
    settings: RwLock<Settings>,
    pub(super) housekeeping: RwLock<HousekeepingSettings>,
    pub(super) chore_counts: ChoreCounts,
    studio: RwLock<Arc<Studio>>,
    /// The places where previews are made.
    pub(super) jobs: Jobs<Key>,
    /// The places where files are fetched whole for their previews.
    pub(super) fetches: Jobs<Key>,
    /// Previews of one media that are kept.
    pub(super) preview_count: AtomicUsize,
    pub(super) preview_counts: PreviewCounts,
    pub(super) ahead: Ahead,
    /// Whether the schema is known to be the one we need, so that rows can be read.
    pub(super) readable: AtomicBool,
    /// Whether the files are known to belong to the metadata, too.
    pub(super) open: AtomicBool,
}

impl Library {
    /// A library that is closed: every operation fails as [`Kind::Unavailable`] until [`Library::open`]. With the lock of its
    /// storage root it is a server's.
    pub fn new(
        uploads: Uploads,
        files: Arc<dyn Files>,
        metadata: impl Into<Arc<dyn Metadata>>,
        (identity, lock): (Identity, Option<RootLock>),
        clock: Arc<dyn Clock>,
        settings: Settings,
        previews: PreviewSettings,
    ) -> Self {
        let studio = RwLock::new(Arc::new(Studio::new(previews.studio)));
        let jobs = Jobs::new(previews.jobs, previews.queue);
        let fetches = Jobs::new(limits::PREVIEW_FETCHES, previews.queue);
        let settings = RwLock::new(settings);
        Self {
            uploads,
            files,
            metadata: metadata.into(),
            identity,
            lock,
            rows: Arc::new(Rows::new()),
            refresher: Arc::default(),
            clock,
            settings,
            housekeeping: RwLock::default(),
            chore_counts: ChoreCounts::default(),
            studio,
            jobs,
            fetches,
            preview_count: AtomicUsize::new(previews.count),
            preview_counts: PreviewCounts::default(),
            ahead: Ahead::new(previews.ahead),
            readable: AtomicBool::new(false),
            open: AtomicBool::new(false),
        }
    }

    /// Logs which programs are missing, and what is not done without them.
    pub fn log_missing_programs(&self) {
        if let Some(missing) = self.studio().missing_for_films() {
            log::warn!("{missing}: films and sounds get no properties, films no previews");
        }
    }

    /// Logs whether pictures are decoded behind the filter that the settings want.
    pub fn log_sandbox(&self) {
        match self.studio().try_sandbox() {
            Ok(Sandbox::Required) => log::info!("pictures are decoded behind a filter of system calls"),
            Ok(Sandbox::Off) => {
                log::warn!("pictures are decoded without a filter of system calls: preview.sandbox is off");
            }
            Err(refusal) => log::error!(
                "no picture is decoded ({refusal}): the filter of preview.sandbox can't be installed"
            ),
        }
    }

    /// Other settings for the uploads to come.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Other settings for the previews to come; the programs for films are looked for anew.
    pub fn set_previews(&self, previews: PreviewSettings) {
        self.preview_count.store(previews.count, Ordering::Relaxed);
        self.ahead.set_wanted(previews.ahead);
        self.jobs.resize(previews.jobs, previews.queue);
        self.fetches.resize(limits::PREVIEW_FETCHES, previews.queue);
        let studio = Arc::new(Studio::new(previews.studio));
        *self.studio.write().unwrap_or_else(PoisonError::into_inner) = studio;
        self.log_missing_programs();
        self.log_sandbox();
    }

    pub(super) fn studio(&self) -> Arc<Studio> {
        Arc::clone(&self.studio.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the media of a channel, and of a user, may take together.
    pub fn quotas(&self) -> Quotas {
        self.settings().quotas
    }

    /// Bytes of the largest media.
    pub fn size_limit(&self) -> u64 {
        self.settings().size_limit
    }

    /// A place for the bytes of an upload. Dropped before [`Library::add`], it leaves nothing.
    pub fn begin(&self) -> Upload {
        let Settings { size_limit, to_disk_threshold, .. } = self.settings();
        self.uploads.begin(size_limit, to_disk_threshold)
    }

    /// Refuses an upload of `size` bytes or more, its texts not counted, that a quota has no room for now.
    pub fn check_room(
        &self,
        channel: &Channel,
        author: &BareJid,
        size: u64,
    ) -> std::result::Result<(), Refusal> {
        let metadata = self.metadata()?;
        let quotas = self.settings().quotas;
        if quotas == Quotas::NONE {
            return Ok(());
        }
        let cost = limits::MEDIA_COST.saturating_add(size);
        let exceeded = metadata.exceeded(channel, author.as_str(), cost, quotas)?;
        exceeded.map_or(Ok(()), |quota| Err(quota.into()))
    }

    /// Adds a media whose bytes have come: file first, then row; both are durable when this returns. An
    /// avatar is made square and loses its metadata before.
    ///
    /// # Errors
    /// Nothing is visible then. Only where it is not known whether the database stored the row, the file stays: if it has no
    /// row, a [`Walker`](super::Walker) finds it.
    pub fn add(&self, sealed: Sealed, new: New) -> std::result::Result<Media, Refusal> {
        let avatar = new.avatar;
        let metadata = self.metadata()?;
        let (mut sealed, new) =
            if avatar { self.as_avatar(sealed).map(|made| new.made(made))? } else { (sealed, new) };
        let properties = self.properties(&mut sealed)?;
        let media = new.into_media(&sealed, properties, self.clock.now());
        if let Published::Taken(_) = self.files.put(sealed, &media.channel, &media.id)? {
            // 119 random bits: it takes a broken generator to come here.
            let text = format!("{}/{} exists already", media.channel, media.id);
            return Err(Error::new(Kind::Corrupt, text).into());
        }
        let inserted = metadata.insert(&media, avatar, self.settings().quotas);
        if avatar {
            self.rows.forget(&media.channel, &media.id);
        }
        let refusal = match inserted {
            Ok(MediaInsert::Stored) => {
                self.ahead.uploaded(&media);
                return Ok(media);
            }
            Ok(MediaInsert::OverQuota(quota)) => quota.into(),
            Err(WriteError::Failed(error)) => error.into(),
            Err(WriteError::Unknown(error)) => return Err(error.into()),
        };
        self.remove_file(&media.channel, &media.id, ORPHAN);
        Err(refusal)
    }

    /// The media of this name in this channel.
    pub fn find(&self, channel: &Channel, name: &Name) -> Result<Option<Media>> {
        find(self.metadata()?, channel, name)
    }

    /// The media of this name, if its row was read a moment ago, or if the database does not answer now and it was read a
    /// while ago: asking never waits.
    pub fn known(&self, channel: &Channel, name: &Name) -> Option<Arc<Media>> {
        let now = Instant::now();
        match self.rows.get(now, channel, name) {
            Known::Fresh(media) => Some(media),
            Known::Old(media, _) => {
                self.refresher.is_stuck(&(channel.clone(), name.clone()), now).then_some(media)
            }
            Known::Unknown(_) => None,
        }
    }

    /// The same for a request that only reads: it may see another process's change [`limits::ROW_TTL`] late, and later
    /// while the database does not answer.
    pub fn find_to_read(&self, channel: &Channel, name: &Name) -> Result<Option<Arc<Media>>> {
        match self.rows.get(Instant::now(), channel, name) {
            Known::Fresh(media) => Ok(Some(media)),
            Known::Old(media, reading) => Ok(self.refreshed(channel, name, reading).unwrap_or(Some(media))),
            Known::Unknown(reading) => {
                let media = find(self.metadata_to_read()?, channel, name)?.map(Arc::new);
                self.rows.keep(Instant::now(), reading, (channel, name), media.as_ref());
                Ok(media)
            }
        }
    }

    /// Reads an old row again; `None` if the database does not answer soon.
    fn refreshed(&self, channel: &Channel, name: &Name, reading: Reading) -> Option<Option<Arc<Media>>> {
        let (metadata, rows) = (Arc::clone(&self.metadata), Arc::clone(&self.rows));
        let wanted = (channel.clone(), name.clone());
        let (channel_read, name_read) = wanted.clone();
        let read = move || {
            let (channel, name) = (channel_read, name_read);
            if let Ok(media) = find(&*metadata, &channel, &name) {
                rows.keep(Instant::now(), reading, (&channel, &name), media.map(Arc::new).as_ref());
            }
        };
        self.refresher.refresh(&wanted, read);
        match self.rows.get(Instant::now(), channel, name) {
            Known::Fresh(media) => Some(Some(media)),
            Known::Unknown(_) => {
                find(self.metadata_to_read().ok()?, channel, name).ok().map(|media| media.map(Arc::new))
            }
            Known::Old(..) => None,
        }
    }

    /// The bytes of a media; `None` if they are gone from the disk.
    pub fn bytes(&self, media: &Media) -> Result<Option<StoredFile>> {
        let file = self.files.get(&media.channel, &media.id, media.size)?;
        if file.is_none() {
            self.rows.forget(&media.channel, &media.id);
            let name = format!("{}/{}", media.channel, media.id);
            log::error!("{name} has a row but no file, unless it was deleted a moment ago");
        }
        Ok(file)
    }

    /// Whether reading a media may wait for another machine.
    pub fn is_far(&self) -> bool {
        self.files.is_far()
    }

    /// An address at which clients get a media from the store itself, where the operator wants that.
    pub fn direct_address(&self, media: &Media, presented: &Presented) -> Option<String> {
        self.files.direct_address(&media.channel, &media.id, media.size, presented)
    }

    /// Whether the first bytes of a media can be read without waiting for another machine.
    pub fn begins_here(&self, media: &Media) -> bool {
        !self.is_far()
            || self.bytes(media).is_ok_and(|stored| stored.is_none_or(|stored| stored.begins_here()))
    }

    /// A part of a channel's list.
    pub fn list(&self, channel: &Channel, page: &Page) -> Result<MediaPage> {
        self.metadata_to_read()?.list(channel, page)
    }

    /// Changes the description of a media; fields that are `None` stay. `None` if the media is gone. Refused if that makes
    /// its texts longer than a quota has room for.
    pub fn update(
        &self,
        media: &Media,
        changes: &Description,
    ) -> std::result::Result<Option<Media>, Refusal> {
        let quotas = self.settings().quotas;
        let updated = self.metadata()?.update(media, changes, self.clock.now(), quotas);
        self.rows.forget(&media.channel, &media.id);
        match updated? {
            MediaUpdate::Updated(media) => Ok(Some(*media)),
            MediaUpdate::OverQuota(quota) => Err(quota.into()),
            MediaUpdate::NoMedia => Ok(None),
        }
    }

    /// Deletes a media: its rows in one transaction, then its files. `false` if it is gone already. A
    /// [`Remover`](super::Remover) removes the files that a failure or a crash leaves: the transaction notes which must go.
    pub fn delete(&self, media: &Media) -> Result<bool> {
        self.delete_id(&media.channel, &media.id)
    }

    /// The same for the media that has this id.
    pub fn delete_id(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        let deleted = self.metadata()?.delete(channel, id);
        self.rows.forget(channel, id);
        let Some(deleted) = deleted? else { return Ok(false) };
        // The rows are gone: the media is deleted, whatever happens to the files.
        for id in deleted.previews.iter().chain([id]) {
            self.remove_file(channel, id, REMOVAL);
        }
        Ok(true)
    }

    /// Removes a file that has no row. If that fails, `later` says what will become of it.
    pub(super) fn remove_file(&self, channel: &Channel, id: &MediaId, later: &str) {
        if let Err(error) = self.files.remove(channel, id) {
            log::warn!("the file {channel}/{id} can't be removed now, {later}: {error}");
        }
    }
}

/// The fate of a file that has a removal.
pub(super) const REMOVAL: &str = "the housekeeper tries again";
/// The fate of a file without a row or a removal.
pub(super) const ORPHAN: &str = "a walk of the store will move it to .lost";

/// The media of this name in this channel.
fn find(metadata: &dyn Metadata, channel: &Channel, name: &Name) -> Result<Option<Media>> {
    match name {
        Name::Avatar => metadata.avatar(channel),
        Name::Id(id) => metadata.media(channel, id),
    }
}

#[cfg(test)]
mod tests;
