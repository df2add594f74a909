//! The library: files and their metadata, kept in step.
//!
//! The order of side effects is what keeps a 201 true (see [`Library::add`]) and leaves no row without
//! its file (see [`Library::delete`]); whatever a crash leaves is a file without a row, which
//! [`Library::fsck`] finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::model::{BareJid, Channel, Description, Media, MediaId, Page};
use crate::store::{Files, InsertError, Listing, Metadata, Published, Sealed, StoredFile, Upload};

/// What the library is told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of the largest media.
    pub size_limit: u64,
    /// Bytes of an upload that are held in memory before they go to a file.
    pub to_disk_threshold: usize,
}

/// How a request names a media of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The channel's avatar.
    Avatar,
    /// The media of this id.
    Id(MediaId),
}

/// What an upload says of itself, complete and checked.
#[derive(Clone, Debug)]
pub struct New {
    /// Where it goes.
    pub channel: Channel,
    /// Who uploads it.
    pub author: BareJid,
    /// What its uploader says of it.
    pub description: Description,
    /// Its media type.
    pub mime_type: String,
    /// The extension of its file name, or the usual one of its type.
    pub extension: Option<String>,
    /// Whether it becomes the channel's avatar.
    pub avatar: bool,
}

impl New {
    fn into_media(self, sealed: &Sealed, now: Timestamp) -> Media {
        Media {
            id: MediaId::random(),
            channel: self.channel,
            author: self.author.to_string(),
            description: self.description,
            mime_type: self.mime_type,
            uploaded: now,
            last_updated: now,
            extension: self.extension,
            sha1: sealed.sha1().to_owned(),
            size: sealed.size(),
            length: None,
            height: None,
            width: None,
        }
    }
}

/// The media of all channels.
pub struct Library {
    pub(super) files: Files,
    metadata: Box<dyn Metadata>,
    pub(super) clock: Arc<dyn Clock>,
    settings: Settings,
    /// Whether the schema is known to be the one we need.
    open: AtomicBool,
}

impl Library {
    /// A library that is closed: every operation fails as [`Kind::Unavailable`] until [`Library::open`].
    pub fn new(files: Files, metadata: Box<dyn Metadata>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        Self { files, metadata, clock, settings, open: AtomicBool::new(false) }
    }

    /// Opens the library: the metadata is known to have the schema that this program works with.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Removes what the uploads of an earlier run left. Only for a server at its start.
    pub fn clean_up(&self) -> Result<()> {
        let removed = self.files.remove_temporaries()?;
        if removed > 0 {
            log::info!("removed {removed} files of uploads that never ended");
        }
        Ok(())
    }

    /// Bytes of the largest media.
    pub fn size_limit(&self) -> u64 {
        self.settings.size_limit
    }

    /// A place for the bytes of an upload. Dropped before [`Library::add`], it leaves nothing.
    pub fn begin(&self) -> Upload {
        self.files.begin(self.settings.size_limit, self.settings.to_disk_threshold)
    }

    /// Adds a media whose bytes are on disk: file first, then row; both are durable when this returns.
    ///
    /// # Errors
    /// Nothing is visible then, except when not even the database knows whether it took the row: the
    /// file then stays, for [`Library::fsck`].
    pub fn add(&self, sealed: Sealed, new: New) -> Result<Media> {
        let avatar = new.avatar;
        let metadata = self.metadata()?;
        let media = new.into_media(&sealed, self.clock.now());
        if let Published::Taken(_) = self.files.publish(sealed, &media.channel, &media.id)? {
            // 119 random bits: it takes a broken generator to come here.
            return Err(Error::new(Kind::Corrupt, format!("{}/{} exists already", media.channel, media.id)));
        }
        match metadata.insert(&media, avatar) {
            Ok(()) => Ok(media),
            Err(InsertError::Failed(error)) => {
                self.remove_file(&media.channel, &media.id);
                Err(error)
            }
            Err(error @ InsertError::Unknown(_)) => Err(error.into()),
        }
    }

    /// The media of this name in this channel.
    pub fn find(&self, channel: &Channel, name: &Name) -> Result<Option<Media>> {
        match name {
            Name::Avatar => self.metadata()?.avatar(channel),
            Name::Id(id) => self.metadata()?.media(channel, id),
        }
    }

    /// The bytes of a media; `None` if they are gone from the disk.
    pub fn bytes(&self, media: &Media) -> Result<Option<StoredFile>> {
        let file = self.files.open_file(&media.channel, &media.id)?;
        if file.is_none() {
            log::error!("{}/{} has a row but no file", media.channel, media.id);
        }
        Ok(file)
    }

    /// A part of a channel's list.
    pub fn list(&self, channel: &Channel, page: &Page) -> Result<Listing> {
        self.metadata()?.list(channel, page)
    }

    /// Changes what is said of a media; fields that are `None` stay. `None` if it is gone.
    pub fn update(&self, media: &Media, changes: &Description) -> Result<Option<Media>> {
        self.metadata()?.update(&media.channel, &media.id, changes, self.clock.now())
    }

    /// Deletes a media: its rows in one transaction, then its files. `false` if it is gone already.
    pub fn delete(&self, media: &Media) -> Result<bool> {
        self.delete_id(&media.channel, &media.id)
    }

    pub(super) fn delete_id(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        let Some(deleted) = self.metadata()?.delete(channel, id)? else { return Ok(false) };
        // The rows are gone: the media is deleted, whatever happens to the files.
        for id in deleted.previews.iter().chain([id]) {
            self.remove_file(channel, id);
        }
        Ok(true)
    }

    /// Removes a file that has no row. If that fails, `fsck` will.
    fn remove_file(&self, channel: &Channel, id: &MediaId) {
        if let Err(error) = self.files.remove(channel, id) {
            log::warn!("{channel}/{id} has no row, but its file stays until fsck --repair: {error}");
        }
    }

    /// The metadata, once the library is open.
    pub(super) fn metadata(&self) -> Result<&dyn Metadata> {
        if self.open.load(Ordering::Acquire) {
            Ok(&*self.metadata)
        } else {
            Err(Error::new(Kind::Unavailable, "the database has not been reached yet"))
        }
    }
}
