//! Files in a directory: `<root>/<channel>/<id>`, put there whole or not at all. Any thread may call.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{FileList, Files, Published, StoredFile};
use super::lost;
use super::upload::Sealed;
use super::walk;
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::model::{Channel, MediaId};
use crate::sys::fs::{Dir, is_exhausted};

/// The storage root with a directory for each channel.
pub struct Directory {
    root: Arc<Dir>,
    /// Whether files and directories are brought to the disk before they count.
    sync: bool,
    /// Whether other nodes make directories here, too.
    shared: bool,
    /// Whether every channel's directory is known to be on the disk.
    settled: Mutex<bool>,
}

impl Directory {
    /// The files below `root`, which must be there. Without `sync`, a crash of the machine may lose what was stored.
    pub fn open(root: &Path, sync: bool) -> Result<Self> {
        let root = Arc::new(Dir::open(root).map_err(failure)?);
        Ok(Self { root, sync, shared: false, settled: Mutex::new(false) })
    }

    /// The same where other nodes share the root. A directory that another node made a moment ago is brought to the disk
    /// here, too.
    #[must_use]
    pub fn shared(self, shared: bool) -> Self {
        Self { shared, ..self }
    }

    /// The channel's directory. The lock is held until a new one is on the disk, so that no one else relies
    /// on it before; one that an earlier process made may not be there yet either.
    fn make_folder(&self, channel: &Channel) -> Result<Dir> {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        match self.root.make_dir(channel.as_str()) {
            Ok(()) => *settled = false,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failure(error)),
        }
        if self.sync && !*settled {
            self.root.sync().map_err(failure)?;
        }
        *settled = !self.shared;
        let no_folder = || {
            let path = self.root.path().join(channel.as_str());
            Error::new(Kind::Corrupt, format!("{} is no directory", path.display()))
        };
        self.root.open_dir(channel.as_str()).map_err(failure)?.ok_or_else(no_folder)
    }
}

impl Files for Directory {
    fn put(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> Result<Published> {
        sealed.publish(&self.make_folder(channel)?, id.as_str(), &[], self.sync)
    }

    fn get(&self, channel: &Channel, id: &MediaId, _size: u64) -> Result<Option<StoredFile>> {
        let opened = self.root.open_regular_in(channel.as_str(), id.as_str()).map_err(failure)?;
        Ok(opened.map(|(file, size)| StoredFile::Local(file, size)))
    }

    fn head(&self, channel: &Channel, id: &MediaId) -> Result<Option<u64>> {
        let opened = self.root.open_regular_in(channel.as_str(), id.as_str()).map_err(failure)?;
        Ok(opened.map(|(_, size)| size))
    }

    fn remove(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        match self.root.open_dir(channel.as_str()).map_err(failure)? {
            Some(folder) => removal(folder.remove(id.as_str())),
            None => Ok(false),
        }
    }

    fn set_aside(&self, channel: &Channel, id: &MediaId, now: Timestamp) -> Result<Option<PathBuf>> {
        lost::set_aside(&self.root, channel.as_str(), id.as_str(), now).map_err(failure)
    }

    fn forget_set_aside(&self, before: Timestamp) -> Result<Vec<PathBuf>> {
        lost::forget(&self.root, before).map_err(failure)
    }

    fn forget_set_aside_of(&self, channel: &Channel) -> Result<Vec<PathBuf>> {
        lost::forget_of(&self.root, channel.as_str()).map_err(failure)
    }

    fn remove_place(&self, channel: &Channel) -> Result<bool> {
        match std::fs::remove_dir(self.root.path().join(channel.as_str())) {
            Ok(()) if self.sync => self.root.sync().map(|()| true).map_err(failure),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failure(error)),
            _ => Ok(true),
        }
    }

    fn settle_removals(&self, channel: &Channel) -> Result<()> {
        match self.root.open_dir(channel.as_str()).map_err(failure)? {
            Some(folder) if self.sync => folder.sync().map_err(failure),
            _ => Ok(()),
        }
    }

    fn list(&self) -> Result<FileList> {
        Ok(Box::new(walk::walk(self.root.path())?))
    }

    fn list_of(&self, channel: &Channel) -> Result<FileList> {
        Ok(Box::new(walk::walk_channel(self.root.path(), channel)?))
    }
}

/// An error of the storage at the step `doing`. Its kind tells whether the process has run out of something.
pub fn storage_error(doing: &'static str, cause: io::Error) -> Error {
    if is_exhausted(&cause) { Error::caused(Kind::Exhausted, doing, cause) } else { Error::io(doing, cause) }
}

pub(super) fn failure(error: io::Error) -> Error {
    storage_error("storage failed", error)
}

pub(super) fn removal(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failure(error)),
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
