//! A service on SQLite in a directory of its own, and a clock that goes on by hand.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::chore::ChoreProgress;
use crate::clock::{Clock, Timestamp};
use crate::model::{Refusal, UploadFile, UploadId};
use crate::store::{Engine, Sqlite, SqliteSchema, Store, UploadDirectory, Uploads};
use crate::testing::Scratch;

/// A clock that goes on by hand only.
pub(super) struct HandClock(AtomicI64);

impl Default for HandClock {
    fn default() -> Self {
        Self(AtomicI64::new(Timestamp::from(SystemTime::now()).as_micros()))
    }
}

impl HandClock {
    pub(super) fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Slots for everybody at `example.org`, for files of at most 1000 bytes.
pub(super) fn settings() -> Settings {
    Settings {
        enabled: true,
        endpoint: "https://media.example.org".to_owned(),
        size_limit: 983,
        keep: Keep {
            message: Some(Duration::from_secs(31 * 86_400)),
            profile: None,
            ephemeral: Some(Duration::from_secs(86_400)),
            permanent: None,
        },
        allow: vec!["example.org".parse().unwrap()],
        deny: Vec::new(),
        quotas: UploadQuotas::default(),
        makes_room: false,
        purpose_prefixes: false,
        external: None,
        to_disk_threshold: 100,
        cache_max_age: Duration::from_secs(3600),
    }
}

pub(super) struct Bench {
    pub(super) service: Arc<UploadService>,
    pub(super) clock: Arc<HandClock>,
    pub(super) scratch: Scratch,
}

impl Bench {
    pub(super) fn new(settings: Settings) -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("metadata.sqlite");
        SqliteSchema::new(&path).set_up().unwrap();
        Self::with(scratch, Store::new(Sqlite::new(&path, false)), settings, false)
    }

    /// The same over another engine, where files are brought to the disk if `sync`.
    pub(super) fn with<E: Engine>(scratch: Scratch, store: Store<E>, settings: Settings, sync: bool) -> Self {
        let (clock, store) = (Arc::new(HandClock::default()), Arc::new(store));
        let stores = Stores {
            table: Arc::clone(&store) as _,
            blocks: Arc::clone(&store) as _,
            secrets: store,
            files: Arc::new(UploadDirectory::open(scratch.path(), sync).unwrap()),
            incoming: Uploads::open(scratch.path(), sync).unwrap(),
        };
        let service = Arc::new(UploadService::new(stores, Arc::clone(&clock) as _, settings));
        service.open();
        Self { service, clock, scratch }
    }

    /// The service of a process that starts with these files and this database.
    pub(super) fn restarted(self, settings: Settings) -> Self {
        let path = self.scratch.join("metadata.sqlite");
        Self::with(self.scratch, Store::new(Sqlite::new(&path, false)), settings, false)
    }

    /// The service of another node with these files and this database.
    pub(super) fn node(&self, settings: Settings) -> UploadService {
        let store = Arc::new(Store::new(Sqlite::new(&self.scratch.join("metadata.sqlite"), false)));
        let stores = Stores {
            table: Arc::clone(&store) as _,
            blocks: Arc::clone(&store) as _,
            secrets: store,
            files: Arc::new(UploadDirectory::open(self.scratch.path(), false).unwrap()),
            incoming: Uploads::open(self.scratch.path(), false).unwrap(),
        };
        let service = UploadService::new(stores, Arc::clone(&self.clock) as _, settings).of_cluster();
        service.open();
        service
    }

    pub(super) fn grant(&self, request: SlotRequest) -> Result<Granted, SlotRefusal> {
        self.service.grant(request).map(|slot| Granted::of(&slot))
    }

    /// A slot for a message of Alice's of this size.
    pub(super) fn slot(&self, size: u64) -> Granted {
        self.grant(request(size)).unwrap()
    }

    /// Sends a file to a slot.
    pub(super) fn put(&self, slot: &Granted, bytes: &[u8]) -> Result<(), Refusal> {
        put_through(&self.service, slot, bytes)
    }

    /// Stores a file of Alice's.
    pub(super) fn store(&self, bytes: &[u8]) -> Granted {
        let slot = self.slot(bytes.len() as u64);
        self.put(&slot, bytes).unwrap();
        slot
    }

    /// Writes a file of an upload that no row names.
    pub(super) fn orphan(&self) -> UploadFile {
        let file = UploadFile::random();
        let folder = self.scratch.join(&format!(".uploads/{}", file.folder()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file.as_str()), "bytes").unwrap();
        file
    }

    /// How many files were moved to `.lost`.
    pub(super) fn lost(&self) -> usize {
        self.files().iter().filter(|path| path.to_string_lossy().contains(".lost")).count()
    }

    /// Whether the upload of a slot is served.
    pub(super) fn is_there(&self, slot: &Granted) -> bool {
        self.service.find(&slot.id).unwrap().is_some()
    }

    /// The sweeper, until it has nothing to do.
    pub(super) fn sweep(&self) {
        let mut sweeper = Sweeper::new(Arc::clone(&self.service));
        while sweeper.run().unwrap() != ChoreProgress::Done {}
    }

    /// Every file of an upload, complete or not.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: PathBuf, files: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(path, files) } else { files.push(path) }
            }
        }
        let mut files = Vec::new();
        walk(self.scratch.path().to_owned(), &mut files);
        files.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with("metadata.sqlite"));
        files
    }
}

/// Sends a file to a slot through this service.
pub(super) fn put_through(service: &UploadService, slot: &Granted, bytes: &[u8]) -> Result<(), Refusal> {
    let mut put = service.begin(slot.target(), Some(bytes.len() as u64))?;
    put.write_all(bytes).map_err(|error| Refusal::in_io(&error).unwrap_or(Refusal::Internal))?;
    service.commit(put)
}

/// A slot, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) id: UploadId,
    pub(super) name: String,
    pub(super) token: String,
}

impl Granted {
    pub(super) fn of(slot: &Slot) -> Self {
        let (url, token) = slot.put_url.split_once("?slot=").unwrap();
        assert_eq!(url, slot.get_url);
        let rest = url.strip_prefix("https://media.example.org/upload/").unwrap();
        let (id, name) = rest.split_once('/').unwrap();
        let name = percent_encoding::percent_decode_str(name).decode_utf8().unwrap().into_owned();
        Self { id: id.parse().unwrap(), name, token: token.to_owned() }
    }

    pub(super) fn target(&self) -> PutTarget<'_> {
        PutTarget::Slot { id: &self.id, name: &self.name, token: Some(&self.token) }
    }
}

/// A request of Alice's for a message of this size.
pub(super) fn request(size: u64) -> SlotRequest {
    SlotRequest {
        owner: "alice@example.org".parse().unwrap(),
        name: "a b.jpg".to_owned(),
        size,
        content_type: Some("image/jpeg".to_owned()),
        purpose: None,
        expire_before: None,
    }
}
