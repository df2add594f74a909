//! Where the files of a site lie, as far as the comparison with its database needs to know (see [`super::identity`]): a
//! directory or a bucket. The main thread asks, or the thread `schema`.

use std::fmt::Debug;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::identity::StoreId;
use super::lock::{self, RootLock};
use super::s3_files::UPLOADS;
use super::upload::unusable;
use crate::error::{Error, Kind, Result};
use crate::s3::{Client, Entry};
use crate::sys::fs::Dir;

/// A place of files that may be marked with the id of its store.
pub(super) trait Place: Debug + Send + Sync {
    /// Looks at it, and changes nothing.
    fn look(&self) -> Result<PlaceState>;

    /// The id that it is marked with.
    fn id(&self) -> Result<Option<StoreId>>;

    /// Marks it with this id. The lock is that of the storage root.
    fn mark(&self, id: &StoreId, lock: &RootLock) -> Result<()>;

    /// The size of the file with these names, which are valid names of files; `None` if there is no such file.
    fn size(&self, channel: &str, id: &str) -> Result<Option<u64>>;

    /// Whether the files lie in the storage root.
    fn is_root(&self) -> bool;

    /// How messages speak of it.
    fn words(&self) -> Words;
}

/// The facts that a place tells about its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PlaceState {
    /// Whether it is there.
    pub is_there: bool,
    /// The id that it is marked with.
    pub id: Option<StoreId>,
    /// A channel that has files there, if there is one; in a bucket, also the folder of uploads.
    pub channel: Option<String>,
}

/// The words of messages about a place.
pub(super) struct Words {
    /// Its name.
    pub place: String,
    /// The setting that names it.
    pub setting: &'static str,
    /// The further check where it may be the wrong place: "whether ...".
    pub right: &'static str,
    /// The same where its files are missing.
    pub there: &'static str,
}

/// A storage root.
#[derive(Debug)]
pub(super) struct DirectoryPlace {
    root: PathBuf,
}

impl DirectoryPlace {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Place for DirectoryPlace {
    /// Empty folders of channels don't count: the last media may be deleted.
    fn look(&self) -> Result<PlaceState> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(PlaceState::default()),
            Err(error) => return Err(unusable(&self.root, error)),
        };
        let channel = used_channel(entries).map_err(|cause| unusable(&self.root, cause))?;
        Ok(PlaceState { is_there: true, id: self.id()?, channel })
    }

    fn id(&self) -> Result<Option<StoreId>> {
        lock::mark(&self.root)
    }

    fn mark(&self, id: &StoreId, lock: &RootLock) -> Result<()> {
        lock.mark(id)
    }

    fn size(&self, channel: &str, id: &str) -> Result<Option<u64>> {
        let found = Dir::open(&self.root).and_then(|root| root.open_regular_in(channel, id));
        Ok(found.map_err(|cause| unusable(&self.root, cause))?.map(|(_, size)| size))
    }

    fn is_root(&self) -> bool {
        true
    }

    fn words(&self) -> Words {
        Words {
            place: format!("the storage {}", self.root.display()),
            setting: "media.storage.root",
            right: "whether the right file system is mounted there",
            there: "whether its file system is mounted",
        }
    }
}

fn used_channel(entries: fs::ReadDir) -> io::Result<Option<String>> {
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_channel(&name) && is_used(&entry.path())? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Every channel's name, and no other, holds an at sign; names of ours begin with a dot.
fn is_channel(name: &str) -> bool {
    !name.starts_with('.') && name.contains('@')
}

/// Whether this is a directory that holds something.
fn is_used(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().transpose().map(|entry| entry.is_some()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A bucket of an S3 store. Its mark is an object.
#[derive(Debug)]
pub(super) struct BucketPlace {
    client: Client,
}

impl BucketPlace {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whether a folder has objects. Some stores keep folders that are empty.
    fn is_used(&self, folder: &str) -> Result<bool> {
        for entry in self.client.list(folder) {
            if matches!(entry?, Entry::Object(object) if !object.key.ends_with('/')) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Place for BucketPlace {
    fn look(&self) -> Result<PlaceState> {
        let id = self.id()?;
        for entry in self.client.list_folder("") {
            if let Entry::Folder(name) = entry?
                && let channel = name.trim_end_matches('/')
                && (is_channel(channel) || channel == UPLOADS)
                && self.is_used(&name)?
            {
                return Ok(PlaceState { is_there: true, id, channel: Some(channel.to_owned()) });
            }
        }
        Ok(PlaceState { is_there: true, id, channel: None })
    }

    fn id(&self) -> Result<Option<StoreId>> {
        let Some(bytes) = self.client.read(lock::STORE)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let id = text.lines().next().unwrap_or_default().parse();
        id.map(Some).map_err(|()| {
            let words = self.words().place;
            Error::new(
                Kind::Config,
                format!("the first line of the object .store in {words} is no store's id; restore it from a backup"),
            )
        })
    }

    fn mark(&self, id: &StoreId, _: &RootLock) -> Result<()> {
        self.client.put_bytes(lock::STORE, format!("{id}\n").as_bytes())
    }

    fn size(&self, channel: &str, id: &str) -> Result<Option<u64>> {
        Ok(self.client.head(&format!("{channel}/{id}"))?.map(|object| object.size))
    }

    fn is_root(&self) -> bool {
        false
    }

    fn words(&self) -> Words {
        let settings = self.client.settings();
        Words {
            place: format!("the bucket {} of {}", settings.bucket, settings.endpoint),
            setting: "media.storage.s3.bucket",
            right: "whether media.storage.s3.endpoint names the right store",
            there: "whether media.storage.s3.endpoint names the right store",
        }
    }
}
