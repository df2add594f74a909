//! The storage of complete files: media and previews, by channel and id.

use std::fs::File;
use std::io::Write;
use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::time::SystemTime;

use super::upload::Sealed;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::{Channel, MediaId};

/// A place for files. A file is there whole or not at all, and never changes.
pub trait Files: Send + Sync {
    /// Stores an upload under this name, never replacing another file. After [`Published::Done`] it outlives a crash;
    /// after an error there is no file of that name.
    fn put(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> Result<Published>;

    /// Opens a media, or a preview by its own id, so that any range of it can be read; `None` if it is known that there is
    /// no such file. Does not wait for another machine. `size` is the size that its row tells, in bytes: a store that is
    /// far away is not asked for it.
    fn get(&self, channel: &Channel, id: &MediaId, size: u64) -> Result<Option<StoredFile>>;

    /// The size of a file in bytes; `None` if there is no such file.
    fn head(&self, channel: &Channel, id: &MediaId) -> Result<Option<u64>>;

    /// Removes a file; says whether it was there.
    fn remove(&self, channel: &Channel, id: &MediaId) -> Result<bool>;

    /// Moves a file that no row names out of the way, to where an operator finds it. Gives its new path below the storage
    /// root; `None` if it is gone already.
    fn set_aside(&self, channel: &Channel, id: &MediaId, now: Timestamp) -> Result<Option<PathBuf>>;

    /// Removes what was set aside on the days before this one (UTC). Gives what is gone, below the storage root.
    fn forget_set_aside(&self, before: Timestamp) -> Result<Vec<PathBuf>>;

    /// Removes all that was set aside of this channel. Gives what is gone, below the storage root.
    fn forget_set_aside_of(&self, channel: &Channel) -> Result<Vec<PathBuf>>;

    /// Removes the place of a channel that has no files; says whether it is gone.
    fn remove_place(&self, channel: &Channel) -> Result<bool>;

    /// Brings what [`Files::remove`] did in this channel to the disk: no crash brings those files back afterwards.
    fn settle_removals(&self, channel: &Channel) -> Result<()>;

    /// Every file, in no order.
    fn list(&self) -> Result<FileList>;

    /// Every file of this channel, in no order.
    fn list_of(&self, channel: &Channel) -> Result<FileList>;
}

/// An entry of [`Files::list`].
pub type FileList = Box<dyn Iterator<Item = Result<Listed>> + Send>;

/// A store that is far away, of which parts of files are fetched into local files. Any thread may call.
pub trait BlockSource: Send + Sync {
    /// Writes this part of a file to `sink`. Waits for the store; what bounds the wait is the source's own. An error of
    /// `sink` ends it, too.
    ///
    /// # Errors
    /// Also if the store sends fewer or more bytes than asked for, or has a file of another size under this key.
    fn fetch(&self, part: &Part, sink: &mut dyn Write) -> std::result::Result<(), FetchError>;
}

/// A part of a file in a [`BlockSource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The name of the file. No other file ever has it.
    pub key: &'a str,
    /// The bytes, at least one.
    pub range: Range<u64>,
    /// The size that the whole file must have, in bytes.
    pub size: u64,
}

/// Why a [`BlockSource`] gave no bytes.
#[derive(Debug)]
pub enum FetchError {
    /// The store has no file of this key.
    Missing,
    /// It failed. A later attempt may succeed.
    Failed(Error),
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A stored file, open for reading.
#[derive(Debug)]
pub struct StoredFile {
    file: File,
    size: u64,
}

impl StoredFile {
    /// A local file, at its start, of this size in bytes.
    pub fn local(file: File, size: u64) -> Self {
        Self { file, size }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The whole file as a local one, at its start. May wait for another machine.
    pub fn whole(&self) -> Result<WholeFile<'_>> {
        Ok(WholeFile(&self.file))
    }

    /// The file itself.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// A local file with all bytes of a [`StoredFile`].
#[derive(Debug)]
pub struct WholeFile<'a>(&'a File);

impl Deref for WholeFile<'_> {
    type Target = File;

    fn deref(&self) -> &File {
        self.0
    }
}

/// The result of [`Files::put`].
#[derive(Debug)]
pub enum Published {
    /// The file has its name, and is on the disk.
    Done,
    /// The channel has another file of that name, which is untouched; try another id.
    Taken(Sealed),
}

/// An entry of [`Files::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A media or a preview, as its name shows.
    File {
        /// The channel it belongs to.
        channel: Channel,
        /// Its name.
        id: MediaId,
        /// Its size in bytes.
        size: u64,
        /// When it was last written to.
        modified: SystemTime,
    },
    /// Something among our files that no request can reach: it is no regular file or has no valid name.
    Foreign(PathBuf),
}
