//! A place for files of both kinds, as the mover sees it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::model::UploadFile;
use crate::store::{
    ContentTable, FileContent, FileName, Files, Listed, ListedUpload, Published, Sealed, StoredFile,
    UploadFiles,
};

/// A directory or another store, with files of media and of uploads.
#[derive(Clone)]
pub struct Depot {
    /// Media and previews.
    pub media: Arc<dyn Files>,
    /// Uploads by slot.
    pub uploads: Arc<dyn UploadFiles>,
}

/// The name of a file in a [`Depot`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum DepotName {
    Media(FileName),
    Upload(UploadFile),
}

/// An entry of [`Depot::list`].
pub(super) enum DepotEntry {
    File(DepotName, u64),
    /// Something that no row can name.
    Foreign(PathBuf),
}

impl fmt::Display for DepotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Media((channel, id)) => write!(f, "{channel}/{id}"),
            Self::Upload(file) => write!(f, ".uploads/{}/{file}", file.folder()),
        }
    }
}

impl DepotName {
    /// The size and hash in the row of this file; `None` if no row names it.
    pub fn content(&self, table: &dyn ContentTable) -> Result<Option<FileContent>> {
        let mut found = match self {
            Self::Media(name) => table.contents(std::slice::from_ref(name))?,
            Self::Upload(file) => table.upload_contents(std::slice::from_ref(file))?,
        };
        Ok(found.pop().flatten())
    }
}

impl Depot {
    /// The file, open for reading.
    pub(super) fn open(&self, name: &DepotName) -> Result<Option<StoredFile>> {
        let Some(size) = self.size(name)? else { return Ok(None) };
        match name {
            DepotName::Media((channel, id)) => self.media.get(channel, id, size),
            DepotName::Upload(file) => self.uploads.get(file, size),
        }
    }

    pub(super) fn size(&self, name: &DepotName) -> Result<Option<u64>> {
        match name {
            DepotName::Media((channel, id)) => self.media.head(channel, id),
            DepotName::Upload(file) => self.uploads.head(file),
        }
    }

    /// Stores a file, unless there is one of this name. A failure removes nothing.
    pub(super) fn put(&self, sealed: Sealed, name: &DepotName) -> Result<Published> {
        match name {
            DepotName::Media((channel, id)) => self.media.put_moved(sealed, channel, id),
            DepotName::Upload(file) => self.uploads.put_moved(sealed, file).map(|()| Published::Done),
        }
    }

    pub(super) fn remove(&self, name: &DepotName) -> Result<bool> {
        match name {
            DepotName::Media((channel, id)) => self.media.remove(channel, id),
            DepotName::Upload(file) => self.uploads.remove(file),
        }
    }

    /// Every file of both kinds.
    pub(super) fn list(&self) -> Result<impl Iterator<Item = Result<DepotEntry>> + use<>> {
        let of_media = |listed| match listed {
            Listed::File { channel, id, size, .. } => DepotEntry::File(DepotName::Media((channel, id)), size),
            Listed::Foreign(path) => DepotEntry::Foreign(path),
        };
        let of_upload = |listed| match listed {
            ListedUpload::File { file, size, .. } => DepotEntry::File(DepotName::Upload(file), size),
            ListedUpload::Foreign(path) => DepotEntry::Foreign(path),
        };
        let media = self.media.list()?.map(move |listed| listed.map(of_media));
        Ok(media.chain(self.uploads.list()?.map(move |listed| listed.map(of_upload))))
    }
}
