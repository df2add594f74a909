//! A library on SQLite in a directory of its own, and a clock that stands still.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use super::{Library, New, PreviewSettings, Settings};
use crate::clock::{Clock, Timestamp};
use crate::error::{self, Error, Kind};
use crate::limits;
use crate::model::{Channel, Description, Media, MediaId, Quotas, Refusal};
use crate::store::{
    BlockCache, BlockSource, Directory, FetchError, FileList, Files, Identity, Metadata, Part, Published,
    Sealed, Sqlite, SqliteSchema, Store, StoredFile, Uploads,
};
use crate::testing::Scratch;

pub(super) struct Bench {
    pub(super) library: Arc<Library>,
    clock: Arc<HandClock>,
    scratch: Scratch,
    /// The store of [`Bench::far`].
    pub(super) store: Arc<FarStore>,
}

impl Bench {
    /// An open, empty library.
    pub(super) fn new() -> Self {
        let scratch = Scratch::new();
        let metadata = Store::new(sqlite(&scratch));
        Self::with(scratch, Box::new(metadata), false)
    }

    /// The same whose files are brought to the disk.
    pub(super) fn durable() -> Self {
        let scratch = Scratch::new();
        let metadata = Store::new(sqlite(&scratch));
        Self::with(scratch, Box::new(metadata), true)
    }

    /// The same whose files must be fetched before they are read.
    pub(super) fn far() -> Self {
        let scratch = Scratch::new();
        let metadata = Box::new(Store::new(sqlite(&scratch)));
        let store = FarStore::new(&scratch);
        let files = FarFiles::open(&scratch, Arc::clone(&store));
        let bench = Self::over(files, scratch, metadata, false);
        bench.library.open().unwrap();
        Self { store, ..bench }
    }

    /// The same over other metadata, where files are brought to the disk if `sync`.
    pub(super) fn with(scratch: Scratch, metadata: Box<dyn Metadata>, sync: bool) -> Self {
        let bench = Self::closed(scratch, metadata, sync);
        bench.library.open().unwrap();
        bench
    }

    /// The same, not yet open.
    pub(super) fn closed(scratch: Scratch, metadata: Box<dyn Metadata>, sync: bool) -> Self {
        let files = Arc::new(Directory::open(scratch.path(), sync).unwrap());
        Self::over(files, scratch, metadata, sync)
    }

    fn over(files: Arc<dyn Files>, scratch: Scratch, metadata: Box<dyn Metadata>, sync: bool) -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(Timestamp::from(SystemTime::now()).as_micros())));
        let library = library(&scratch, files, metadata, Arc::clone(&clock) as _, sync);
        let store = FarStore::new(&scratch);
        Self { library: Arc::new(library), clock, scratch, store }
    }

    /// Another node's library of the same files and metadata.
    pub(super) fn other_node(&self) -> Library {
        let path = self.scratch.join("metadata.sqlite");
        let metadata = Box::new(Store::new(Sqlite::new(&path, false)));
        let files = Arc::new(Directory::open(self.scratch.path(), false).unwrap());
        let library = library(&self.scratch, files, metadata, Arc::clone(&self.clock) as _, false);
        library.open().unwrap();
        library
    }

    /// Lets time pass.
    pub(super) fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }

    pub(super) fn sealed(&self, bytes: impl AsRef<[u8]>) -> Sealed {
        let mut upload = self.library.begin();
        upload.write_all(bytes.as_ref()).unwrap();
        upload.seal().unwrap()
    }

    pub(super) fn try_add(&self, bytes: impl AsRef<[u8]>, avatar: bool) -> Result<Media, Refusal> {
        if avatar {
            return self.library.add(self.sealed(small_picture(bytes.as_ref())), new(true));
        }
        self.library.add(self.sealed(bytes), new(false))
    }

    pub(super) fn add(&self, bytes: impl AsRef<[u8]>) -> Media {
        self.try_add(bytes, false).unwrap()
    }

    pub(super) fn add_avatar(&self, bytes: impl AsRef<[u8]>) -> Media {
        self.try_add(bytes, true).unwrap()
    }

    /// Runs SQL beside the library.
    pub(super) fn sql(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.scratch.join("metadata.sqlite")).unwrap();
        connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
    }

    /// Writes a file below the root, and the directory that it is in.
    pub(super) fn write(&self, path: &str) {
        let path = self.scratch.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "bytes").unwrap();
    }

    /// A path below the root.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.scratch.join(path)
    }

    /// The files in `.lost`, each by its channel and name.
    pub(super) fn lost(&self) -> Vec<String> {
        let entries =
            |path: PathBuf| fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
        let channels = entries(self.path(".lost")).flat_map(entries);
        let name = |path: PathBuf| {
            let names: Vec<_> = path.iter().rev().take(2).map(|name| name.to_str().unwrap()).collect();
            format!("{}/{}", names[1], names[0])
        };
        channels.flat_map(entries).map(name).collect()
    }

    /// How many rows of media there are.
    pub(super) fn rows(&self) -> usize {
        self.library.metadata().unwrap().media_rows(None, 10_000).unwrap().len()
    }

    /// The file of a media.
    pub(super) fn file(&self, media: &Media) -> PathBuf {
        self.scratch.join(&format!("{}/{}", media.channel, media.id))
    }

    /// Open files of uploads and media.
    pub(super) fn open_files(&self) -> usize {
        let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        let names = targets.filter_map(|path| Some(path.strip_prefix(self.scratch.path()).ok()?.to_owned()));
        names
            .filter(|name| name.starts_with(channel().as_str()) || name.to_string_lossy().starts_with('.'))
            .count()
    }

    /// The names of the files in the channel's directory.
    pub(super) fn files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.scratch.join(channel().as_str())) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn library(
    scratch: &Scratch,
    files: Arc<dyn Files>,
    metadata: Box<dyn Metadata>,
    clock: Arc<dyn Clock>,
    sync: bool,
) -> Library {
    let uploads = Uploads::open(scratch.path(), sync).unwrap();
    let settings = Settings { size_limit: 1000, to_disk_threshold: 10, quotas: Quotas::NONE };
    let studio = crate::preview::Settings::default();
    let previews = PreviewSettings { count: 3, jobs: 1, queue: 1, ahead: true, studio };
    let site = (Identity::new(scratch.path(), "the database".into()), None);
    Library::new(uploads, files, metadata, site, clock, settings, previews)
}

/// A directory that is read as a store is that lies far away. A key is a channel and an id.
struct FarFiles {
    directory: Directory,
    cache: BlockCache,
}

impl FarFiles {
    fn open(scratch: &Scratch, store: Arc<FarStore>) -> Arc<Self> {
        let cache = BlockCache::open(scratch.path(), store, 4 * limits::FILM_FETCH_BYTES).unwrap();
        Arc::new(Self { directory: Directory::open(scratch.path(), false).unwrap(), cache })
    }
}

/// The store of [`FarFiles`].
pub(super) struct FarStore {
    root: PathBuf,
    /// Bytes of files from here on are not sent for now.
    silent_from: Mutex<u64>,
    changed: Condvar,
    asked: AtomicUsize,
}

impl FarStore {
    fn new(scratch: &Scratch) -> Arc<Self> {
        let (silent_from, changed) = (Mutex::new(u64::MAX), Condvar::new());
        Arc::new(Self { root: scratch.path().to_owned(), silent_from, changed, asked: AtomicUsize::new(0) })
    }

    /// Sends only the bytes of each file before this one.
    pub(super) fn be_silent_from(&self, byte: u64) {
        *self.silent_from.lock().unwrap() = byte;
        self.changed.notify_all();
    }

    /// How many blocks were asked for.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl BlockSource for FarStore {
    fn fetch(&self, part: &Part, sink: &mut dyn Write) -> Result<(), FetchError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let silent = |from: &mut u64| part.range.start >= *from;
        drop(self.changed.wait_while(self.silent_from.lock().unwrap(), silent).unwrap());
        let file = fs::File::open(self.root.join(part.key)).map_err(|_| FetchError::Missing)?;
        if file.metadata().unwrap().len() != part.size {
            let other = || Error::new(Kind::Unavailable, "the file has another size");
            return Err(FetchError::Failed(other()));
        }
        let mut bytes = vec![0; usize::try_from(part.range.end - part.range.start).unwrap()];
        file.read_exact_at(&mut bytes, part.range.start).unwrap();
        sink.write_all(&bytes).map_err(|cause| FetchError::Failed(Error::io("can't write", cause)))
    }
}

impl Files for FarFiles {
    fn get(&self, channel: &Channel, id: &MediaId, size: u64) -> error::Result<Option<StoredFile>> {
        Ok(Some(StoredFile::Blocks(self.cache.file(&format!("{channel}/{id}"), size))))
    }

    fn is_far(&self) -> bool {
        true
    }

    fn remove(&self, channel: &Channel, id: &MediaId) -> error::Result<bool> {
        self.cache.forget(&format!("{channel}/{id}"));
        self.directory.remove(channel, id)
    }

    fn put(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> error::Result<Published> {
        self.directory.put(sealed, channel, id)
    }

    fn head(&self, channel: &Channel, id: &MediaId) -> error::Result<Option<u64>> {
        self.directory.head(channel, id)
    }

    fn set_aside(&self, channel: &Channel, id: &MediaId, now: Timestamp) -> error::Result<Option<PathBuf>> {
        self.directory.set_aside(channel, id, now)
    }

    fn forget_set_aside(&self, before: Timestamp) -> error::Result<Vec<PathBuf>> {
        self.directory.forget_set_aside(before)
    }

    fn forget_set_aside_of(&self, channel: &Channel) -> error::Result<Vec<PathBuf>> {
        self.directory.forget_set_aside_of(channel)
    }

    fn remove_place(&self, channel: &Channel) -> error::Result<bool> {
        self.directory.remove_place(channel)
    }

    fn settle_removals(&self, channel: &Channel) -> error::Result<()> {
        self.directory.settle_removals(channel)
    }

    fn list(&self) -> error::Result<FileList> {
        self.directory.list()
    }

    fn list_of(&self, channel: &Channel) -> error::Result<FileList> {
        self.directory.list_of(channel)
    }
}

/// An empty embedded database.
pub(super) fn sqlite(scratch: &Scratch) -> Sqlite {
    let path = scratch.join("metadata.sqlite");
    SqliteSchema::new(&path).set_up().unwrap();
    Sqlite::new(&path, false)
}

/// The channel of every test.
pub(super) fn channel() -> Channel {
    "room@example.org".parse().unwrap()
}

/// The properties of every upload.
pub(super) fn new(avatar: bool) -> New {
    New {
        channel: channel(),
        author: "alice@example.org".parse().unwrap(),
        description: Description { title: Some("A title".into()), ..Description::default() },
        mime_type: "text/plain".into(),
        extension: Some("txt".into()),
        avatar,
    }
}

/// A clock that goes on by hand only.
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A picture whose pixels are these bytes.
fn small_picture(bytes: &[u8]) -> Vec<u8> {
    let side = u32::try_from(bytes.len()).unwrap();
    let image = image::GrayImage::from_fn(side, side, |x, _| image::Luma([bytes[x as usize]]));
    let mut encoded = std::io::Cursor::new(Vec::new());
    image.write_to(&mut encoded, image::ImageFormat::Png).unwrap();
    encoded.into_inner()
}
