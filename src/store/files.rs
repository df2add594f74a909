//! The storage of complete files: media and previews, by channel and id.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use super::cache::{BlockFile, LocalFile};
use super::upload::Sealed;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::{Channel, MediaId};
use crate::remote::{NotFetched, RemoteFile};

/// A place for files. A file is there whole or not at all, and never changes.
pub trait Files: Send + Sync {
    /// Stores an upload under this name, never replacing another file. After [`Published::Done`] it outlives a crash;
    /// after an error there is no file of that name.
    fn put(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> Result<Published>;

    /// The same for a file that comes from another place and has the name in its row. The file may be here already, so an
    /// error neither removes nor damages it.
    fn put_moved(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> Result<Published> {
        self.put(sealed, channel, id)
    }

    /// Opens a media, or a preview by its own id, so that any range of it can be read; `None` if it is known that there is
    /// no such file. Does not wait for another machine. `size` is the size that its row tells, in bytes: a store that is
    /// far away is not asked for it.
    fn get(&self, channel: &Channel, id: &MediaId, size: u64) -> Result<Option<StoredFile>>;

    /// Whether reading what [`Files::get`] gives may wait for another machine.
    fn is_far(&self) -> bool {
        false
    }

    /// A URL at which clients get this file from the store itself, for at most a minute, without further rights. `None` if
    /// they must get it from us: this is so unless the operator has set it otherwise.
    fn direct_address(
        &self,
        _channel: &Channel,
        _id: &MediaId,
        _size: u64,
        _presented: &Presented,
    ) -> Option<String> {
        None
    }

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

    /// Fails if another machine keeps the files and can't be reached. The local part is tried elsewhere.
    fn try_out(&self) -> Result<()> {
        Ok(())
    }

    /// Every file, in no order.
    fn list(&self) -> Result<FileList>;

    /// Every file of this channel, in no order.
    fn list_of(&self, channel: &Channel) -> Result<FileList>;
}

/// An entry of [`Files::list`].
pub type FileList = Box<dyn Iterator<Item = Result<Listed>> + Send>;

/// The header fields that a store must send with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The value of `Content-Type`.
    pub content_type: &'a str,
    /// The value of `Content-Disposition`.
    pub content_disposition: &'a str,
}

/// A store that is far away, of which parts of files are fetched into local files. Any thread may call.
pub trait BlockSource: Send + Sync {
    /// Writes this part of a file to `sink`. Waits for the store in bounded time. An error of `sink` ends the call.
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
pub enum StoredFile {
    /// A local file, so that the kernel can send any range of it, and its size in bytes.
    Local(File, u64),
    /// A file of a store that is far away.
    Blocks(BlockFile),
}

impl StoredFile {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Local(_, size) => *size,
            Self::Blocks(blocks) => blocks.size(),
        }
    }

    /// Whether its first bytes are read without waiting for another machine.
    pub fn begins_here(&self) -> bool {
        match self {
            Self::Local(..) => true,
            Self::Blocks(blocks) => blocks.size() == 0 || blocks.kept(0).is_some(),
        }
    }

    /// Reads its first bytes into `buffer`; gives how many it has read. May wait for another machine.
    pub fn read_first(&self, buffer: &mut [u8]) -> std::result::Result<usize, NotFetched> {
        match self {
            Self::Local(file, _) => Ok(file.read_at(buffer, 0)?),
            Self::Blocks(blocks) if blocks.size() == 0 => Ok(0),
            Self::Blocks(blocks) => Ok(blocks.wait(0, None)?.file().read_at(buffer, 0)?),
        }
    }

    /// A local file with at least the first [`limits::BLOCK_BYTES`](crate::limits::BLOCK_BYTES), if there are so many. May wait
    /// for another machine, until the deadline at most.
    pub fn beginning(&self, deadline: Instant) -> std::result::Result<LocalFile<'_>, NotFetched> {
        match self {
            Self::Local(file, _) => Ok(LocalFile::Borrowed(file)),
            Self::Blocks(blocks) => blocks.beginning(Some(deadline)),
        }
    }

    /// Whether [`StoredFile::whole`] fetches more than the beginning, and copies it.
    pub fn is_copied(&self) -> bool {
        matches!(self, Self::Blocks(blocks) if blocks.is_copied())
    }

    /// The whole file as a local one. May wait for another machine.
    pub fn whole(&self) -> std::result::Result<LocalFile<'_>, NotFetched> {
        self.whole_by(None)
    }

    /// The same, until the deadline at most if there is one.
    pub fn whole_by(&self, deadline: Option<Instant>) -> std::result::Result<LocalFile<'_>, NotFetched> {
        match self {
            Self::Local(file, _) => Ok(LocalFile::Borrowed(file)),
            Self::Blocks(blocks) => blocks.whole(deadline),
        }
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
    /// An entry among our files that no request can reach: it is not a regular file or has no valid name.
    Foreign(PathBuf),
}
