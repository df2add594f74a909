//! Files in a bucket of an S3 store: `CHANNEL/ID` for media and previews as in a directory, `uploads/AB/FILE` for uploads by
//! slot. (SeaweedFS keeps parts of its own below `.uploads/`.) Each attempt makes a new key, so nothing is replaced, and
//! a failed attempt removes only its own object. Only `move-storage` stores under known keys; it removes nothing after a
//! failure. Any thread may call; it waits for the store.

use std::collections::BTreeSet;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::cache::BlockCache;
use super::directory::failure;
use super::files::{
    BlockSource, FetchError, FileList, Files, Listed, Part, Presented, Published, StoredFile,
};
use super::lock::STORE;
use super::lost;
use super::upload::Sealed;
use super::upload_files::{ListedUpload, UploadFiles, UploadList};
use super::walk::TEMPORARY;
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, MediaId, UploadFile};
use crate::s3::{Client, Entry, Object, Unfinished};
use crate::sys::fs::Dir;

/// The first part of the keys of uploads. It is no channel's name, since that contains an at sign.
pub(super) const UPLOADS: &str = "uploads";

/// The files of a site in its bucket; cheap to clone.
#[derive(Clone)]
pub struct S3Files {
    client: Client,
    /// The storage root, for temporary local files.
    root: Arc<Dir>,
    /// The disk cache of a server. Commands have none, and fetch whole files.
    cache: Option<BlockCache>,
    /// The size in bytes from which clients may get a file from the store itself.
    direct_from: Option<u64>,
}

impl S3Files {
    /// The files in this bucket, with local files in `root`, which must be there.
    pub fn open(client: Client, root: &Path) -> Result<Self> {
        let root = Arc::new(Dir::open(root).map_err(failure)?);
        Ok(Self { client, root, cache: None, direct_from: None })
    }

    /// The same with a disk cache of so many bytes in the root, whose lock the process holds.
    pub fn with_cache(self, bytes: u64) -> Result<Self> {
        let source = Arc::new(BucketSource(self.client.clone()));
        let cache = BlockCache::open(self.root.path(), source, bytes)?;
        Ok(Self { cache: Some(cache), ..self })
    }

    /// The same, where clients may get files of this size and more from the store itself.
    #[must_use]
    pub fn direct_from(self, bytes: Option<u64>) -> Self {
        Self { direct_from: bytes, ..self }
    }

    /// Refuses all that would change the bucket, until [`S3Files::allow_changes`]: it may be that of another site.
    pub fn forbid_changes(&self) {
        self.client.set_may_change(false);
    }

    /// The bucket is the right one.
    pub fn allow_changes(&self) {
        self.client.set_may_change(true);
    }

    /// The disk cache of a server.
    pub fn cache(&self) -> Option<&BlockCache> {
        self.cache.as_ref()
    }

    /// The client of the bucket.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn store(&self, mut sealed: Sealed, key: &str) -> Result<()> {
        match sealed.bytes() {
            Some(bytes) if sealed.size() <= self.client.part_bytes() => {
                self.client.put_held(key, bytes, sealed.sha256())
            }
            _ => self.client.put(key, &sealed.open()?, sealed.size(), sealed.sha256()),
        }
    }

    fn store_moved(&self, mut sealed: Sealed, key: &str) -> Result<()> {
        self.client.put_lasting(key, &sealed.open()?, sealed.size(), sealed.sha256())
    }

    fn size(&self, key: &str) -> Result<Option<u64>> {
        Ok(self.client.head(key)?.map(|object| object.size))
    }

    /// Removes an object; says whether it was there. The request is sent even if the object is missing: only its response
    /// tells a missing object from a missing bucket.
    fn remove_key(&self, key: &str) -> Result<bool> {
        let was_there = self.client.head(key)?.is_some();
        self.client.remove(key)?;
        if let Some(cache) = &self.cache {
            cache.forget(key);
        }
        Ok(was_there)
    }

    /// Moves an object below `.lost`, under a name that is free there.
    fn set_key_aside(&self, key: &str, folder: &str, name: &str, now: Timestamp) -> Result<Option<PathBuf>> {
        for path in lost::paths(folder, name, now) {
            let to = path.to_string_lossy();
            if self.client.head(&to)?.is_some() {
                continue;
            }
            if !self.client.copy(key, &to)? {
                return Ok(None);
            }
            self.client.remove(key)?;
            return Ok(Some(path));
        }
        Err(Error::new(Kind::Failure, format!("no name is left in .lost for {key}")))
    }

    /// The days of `.lost`.
    fn lost_days(&self) -> Result<BTreeSet<String>> {
        let mut days = BTreeSet::new();
        for entry in self.client.list_folder(&format!("{}/", lost::LOST)) {
            if let Entry::Folder(path) = entry?
                && let Some(day) = path.trim_end_matches('/').rsplit('/').next()
                && lost::is_date(day)
            {
                days.insert(day.to_owned());
            }
        }
        Ok(days)
    }

    /// Removes all objects below this path; whether there were any.
    fn remove_below(&self, path: &Path) -> Result<bool> {
        let mut removed = false;
        for entry in self.client.list(&format!("{}/", path.display())) {
            if let Entry::Object(object) = entry? {
                self.client.remove(&object.key)?;
                removed = true;
            }
        }
        Ok(removed)
    }

    /// Aborts uploads in parts: those of this process that failed, and those that a crash has left. The latter have a key of
    /// ours, began before this time, and do not run in this process. Says how many.
    pub fn abort_unfinished(&self, before: SystemTime) -> Result<u64> {
        if !self.client.may_change() {
            return Ok(0);
        }
        let failed = self.client.take_failed();
        let left = self.client.unfinished().inspect_err(|_| self.client.remember_failed(failed.clone()))?;
        let old = left.into_iter().filter(|upload| upload.begun < before && is_ours(&upload.key));
        let all: Vec<Unfinished> = failed.into_iter().chain(old).collect();
        for (at, upload) in all.iter().enumerate() {
            if let Err(error) = self.client.abort(upload) {
                self.client.remember_failed(all[at..].iter().cloned());
                return Err(error);
            }
            log::info!("aborted the upload of {} to the store, which never ended", upload.key);
        }
        Ok(all.len() as u64)
    }

    fn opened(&self, key: &str, size: u64) -> Result<Option<StoredFile>> {
        match &self.cache {
            Some(cache) => Ok(Some(StoredFile::Blocks(cache.file(key, size)))),
            None => self.fetched(key, size),
        }
    }

    /// The whole file, as a local one that goes when it is closed.
    fn fetched(&self, key: &str, size: u64) -> Result<Option<StoredFile>> {
        let name = format!("{TEMPORARY}{}", MediaId::random());
        let mut file = self.root.open_or_create(&name).map_err(failure)?;
        self.root.remove(&name).map_err(failure)?;
        let found = self.client.get(key, 0..size, size, &mut file)?;
        file.rewind().map_err(failure)?;
        Ok(found.then_some(StoredFile::Local(file, size)))
    }
}

/// The source of the disk cache.
struct BucketSource(Client);

impl BlockSource for BucketSource {
    fn fetch(&self, part: &Part<'_>, sink: &mut dyn Write) -> std::result::Result<(), FetchError> {
        match self.0.get(part.key, part.range.clone(), part.size, sink)? {
            true => Ok(()),
            false => Err(FetchError::Missing),
        }
    }
}

impl Files for S3Files {
    fn put(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> Result<Published> {
        self.store(sealed, &media_key(channel, id)).map(|()| Published::Done)
    }

    fn put_moved(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> Result<Published> {
        self.store_moved(sealed, &media_key(channel, id)).map(|()| Published::Done)
    }

    fn get(&self, channel: &Channel, id: &MediaId, size: u64) -> Result<Option<StoredFile>> {
        self.opened(&media_key(channel, id), size)
    }

    fn is_far(&self) -> bool {
        true
    }

    fn direct_address(
        &self,
        channel: &Channel,
        id: &MediaId,
        size: u64,
        presented: &Presented,
    ) -> Option<String> {
        self.direct_from.filter(|least| size >= *least)?;
        let fields = [
            ("response-content-disposition", presented.content_disposition),
            ("response-content-type", presented.content_type),
        ];
        Some(self.client.presigned(&media_key(channel, id), limits::S3_PRESIGNED, &fields))
    }

    fn head(&self, channel: &Channel, id: &MediaId) -> Result<Option<u64>> {
        self.size(&media_key(channel, id))
    }

    fn remove(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        self.remove_key(&media_key(channel, id))
    }

    fn set_aside(&self, channel: &Channel, id: &MediaId, now: Timestamp) -> Result<Option<PathBuf>> {
        self.set_key_aside(&media_key(channel, id), channel.as_str(), id.as_str(), now)
    }

    fn forget_set_aside(&self, before: Timestamp) -> Result<Vec<PathBuf>> {
        let (today, mut gone) = (lost::date(before), Vec::new());
        for day in self.lost_days()?.range(..today) {
            let path = Path::new(lost::LOST).join(day);
            self.remove_below(&path)?;
            gone.push(path);
        }
        Ok(gone)
    }

    fn forget_set_aside_of(&self, channel: &Channel) -> Result<Vec<PathBuf>> {
        let mut gone = Vec::new();
        for day in self.lost_days()? {
            let path = Path::new(lost::LOST).join(day).join(channel.as_str());
            if self.remove_below(&path)? {
                gone.push(path);
            }
        }
        Ok(gone)
    }

    /// A bucket has no places without files.
    fn remove_place(&self, channel: &Channel) -> Result<bool> {
        Ok(Files::list_of(self, channel)?.next().transpose()?.is_none())
    }

    /// The store has removed a file when it confirms the removal.
    fn settle_removals(&self, _: &Channel) -> Result<()> {
        Ok(())
    }

    fn try_out(&self) -> Result<()> {
        self.client.head(STORE).map(drop)
    }

    fn list(&self) -> Result<FileList> {
        Ok(Box::new(self.client.list("").filter_map(|entry| objects(entry).and_then(listed))))
    }

    fn list_of(&self, channel: &Channel) -> Result<FileList> {
        let list = self.client.list(&format!("{channel}/"));
        Ok(Box::new(list.filter_map(|entry| objects(entry).and_then(listed))))
    }
}

impl UploadFiles for S3Files {
    fn put(&self, sealed: Sealed, file: &UploadFile) -> Result<()> {
        self.store(sealed, &upload_key(file))
    }

    fn put_moved(&self, sealed: Sealed, file: &UploadFile) -> Result<()> {
        self.store_moved(sealed, &upload_key(file))
    }

    fn get(&self, file: &UploadFile, size: u64) -> Result<Option<StoredFile>> {
        self.opened(&upload_key(file), size)
    }

    fn head(&self, file: &UploadFile) -> Result<Option<u64>> {
        self.size(&upload_key(file))
    }

    fn remove(&self, file: &UploadFile) -> Result<bool> {
        self.remove_key(&upload_key(file))
    }

    fn set_aside(&self, file: &UploadFile, now: Timestamp) -> Result<Option<PathBuf>> {
        self.set_key_aside(&upload_key(file), UPLOADS, file.as_str(), now)
    }

    fn settle_removals(&self, _: &[UploadFile]) -> Result<()> {
        Ok(())
    }

    fn list(&self) -> Result<UploadList> {
        let list = self.client.list(&format!("{UPLOADS}/"));
        Ok(Box::new(list.filter_map(|entry| objects(entry).map(|object| object.map(listed_upload)))))
    }
}

fn media_key(channel: &Channel, id: &MediaId) -> String {
    format!("{channel}/{id}")
}

fn upload_key(file: &UploadFile) -> String {
    format!("{UPLOADS}/{}/{file}", file.folder())
}

/// The object of an entry, if it is one.
fn objects(entry: Result<Entry>) -> Option<Result<Object>> {
    match entry {
        Ok(Entry::Object(object)) => Some(Ok(object)),
        Ok(Entry::Folder(_)) => None,
        Err(error) => Some(Err(error)),
    }
}

/// The entry of an object in a list of media; `None` if the object belongs to no channel.
fn listed(object: Result<Object>) -> Option<Result<Listed>> {
    let Object { key, size, modified } = match object {
        Ok(object) => object,
        Err(error) => return Some(Err(error)),
    };
    let (folder, name) = key.split_once('/')?;
    // Some stores list folders as objects with an empty name.
    if !folder.contains('@') || name.is_empty() {
        return None;
    }
    Some(Ok(match media_of(&key) {
        Some((channel, id)) => Listed::File { channel, id, size, modified },
        None => Listed::Foreign(key.into()),
    }))
}

/// The channel and the id of a key. A valid key has the prepared name of the channel.
fn media_of(key: &str) -> Option<(Channel, MediaId)> {
    let (folder, name) = key.split_once('/')?;
    let channel: Channel = folder.parse().ok()?;
    (channel.as_str() == folder).then_some((channel, name.parse().ok()?))
}

fn listed_upload(Object { key, size, modified }: Object) -> ListedUpload {
    match upload_of(&key) {
        Some(file) => ListedUpload::File { file, size, modified },
        None => ListedUpload::Foreign(key.into()),
    }
}

fn upload_of(key: &str) -> Option<UploadFile> {
    let file: UploadFile = key.rsplit('/').next()?.parse().ok()?;
    (upload_key(&file) == key).then_some(file)
}

/// Whether a key is one that this program makes. The bucket may hold objects of others, too.
fn is_ours(key: &str) -> bool {
    let aside = key.strip_prefix(lost::LOST).is_some_and(|rest| rest.starts_with('/'));
    key == STORE || aside || media_of(key).is_some() || upload_of(key).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let upload = UploadFile::random();
        for (key, expected) in [
            ("room@example.org/id", "room@example.org id"),
            ("Room@example.org/id", "foreign"),
            ("room@example.org/a/b", "foreign"),
            ("room@example.org/", "nothing"),
            (".store", "nothing"),
            (".lost/2026-11-26/room@example.org/id", "nothing"),
            ("backup/room@example.org", "nothing"),
            (upload_key(&upload).as_str(), "nothing"),
        ] {
            let object = Object { key: key.to_owned(), size: 1, modified: SystemTime::UNIX_EPOCH };
            let found = match listed(Ok(object)) {
                Some(Ok(Listed::File { channel, id, .. })) => format!("{channel} {id}"),
                Some(Ok(Listed::Foreign(_))) => "foreign".to_owned(),
                Some(Err(error)) => error.to_string(),
                None => "nothing".to_owned(),
            };
            assert_eq!(found, expected, "{key}");
        }
        for (key, ours) in [
            ("room@example.org/id", true),
            (&upload_key(&upload), true),
            (".lost/2026-11-26/uploads/a", true),
            (".lostandfound", false),
            ("uploads/zz/odd", false),
            ("backup/2026", false),
        ] {
            assert_eq!(is_ours(key), ours, "{key}");
        }
    }
}

#[cfg(test)]
#[path = "s3_tests.rs"]
mod s3_tests;
