//! Opens what the configuration names: the storage root, files, metadata, the certificate.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Config, Database, Storage};
use crate::error::{Error, Kind, Result};
use crate::http;
use crate::media::Library;
use crate::s3::Client;
use crate::store::{
    BlockTable, CURRENT, Console, DatabaseState, Directory, Engine, EpochTable, FileTable, Files, Identity,
    Metadata, Postgres, RootLock, S3Files, SecretTable, Sqlite, SqliteSchema, Store, UploadDirectory,
    UploadFiles, UploadTable, Uploads, UserData, verify,
};
use crate::tickets::TicketService;
use crate::uploads::{Stores, UploadService};

/// The files and the database, as the two halves that must belong together.
pub(super) fn identity(config: &Config) -> Result<Identity> {
    let (root, database) = (&config.storage.root, config.database.to_string());
    Ok(match &config.storage.s3 {
        Some(settings) => Identity::in_bucket(&Client::new(settings)?, root, database),
        None => Identity::new(root, database),
    })
}

/// Where the files of a site are kept.
pub(super) struct Places {
    /// Media and previews.
    pub files: Arc<dyn Files>,
    /// Uploads by slot.
    pub uploads: Arc<dyn UploadFiles>,
    /// The same, if they are in a bucket.
    pub bucket: Option<S3Files>,
}

/// Opens the places of the files; the storage root must be there.
pub(super) fn files(config: &Config) -> Result<Places> {
    let Storage { root, sync, s3 } = &config.storage;
    let Some(settings) = s3 else {
        let (files, uploads) = (Directory::open(root, *sync)?, UploadDirectory::open(root, *sync)?);
        return Ok(Places { files: Arc::new(files), uploads: Arc::new(uploads), bucket: None });
    };
    let bucket = S3Files::open(Client::new(settings)?, root)?;
    let (files, uploads) = (Arc::new(bucket.clone()), Arc::new(bucket.clone()));
    Ok(Places { files, uploads, bucket: Some(bucket) })
}

/// What the database tells about the store that it belongs to. A missing SQLite file tells nothing, and is not made.
pub(super) fn database_state(config: &Config) -> Result<DatabaseState> {
    match &config.database {
        Database::Postgres(settings) => Store::new(Postgres::new(settings)?).store_state(),
        Database::Sqlite(path) => SqliteSchema::new(path).state(),
    }
}

/// Fails unless the schema is the one needed and the database belongs to the storage root. Changes nothing.
pub(super) fn verify_identity(config: &Config, state: &DatabaseState) -> Result<()> {
    let identity = identity(config)?;
    if state.version.is_none() {
        // An empty database beside files is the wrong one: then tables should not be made in it.
        identity.compare(state)?;
    }
    verify(state.version)?;
    identity.verify(state)
}

/// The lock of the storage root, for a server that starts. Before it is taken, files and database are compared if
/// both can be reached; a missing root is made for a new site.
pub(super) fn lock_root(config: &Config) -> Result<RootLock> {
    let identity = identity(config)?;
    match database_state(config).and_then(|state| check_start(config, &identity, &state)) {
        Err(error) if error.kind() == Kind::Unavailable => {
            identity.make_local_root()?;
            if !identity.root().exists() {
                let text = format!(
                    "the storage {} does not exist, and it is not known whether this is a new site",
                    identity.root().display()
                );
                return Err(Error::caused(Kind::Unavailable, text, error));
            }
        }
        result => result?,
    }
    RootLock::take(identity.root())
}

/// Compares files and database, and makes a missing root for a new site.
fn check_start(config: &Config, identity: &Identity, state: &DatabaseState) -> Result<()> {
    match &config.database {
        // It is made or upgraded under the lock.
        Database::Sqlite(path) if state.version < Some(CURRENT) => {
            SqliteSchema::new(path).may_belong_to(identity)?;
        }
        _ => verify_identity(config, state)?,
    }
    identity.make_root(state)
}

/// Media and uploads, which share files and a database, ready but for [`Library::open`] and [`UploadService::open`].
pub(super) struct Opened {
    pub library: Library,
    pub uploads: UploadService,
    pub tickets: TicketService,
    /// The rows of both, in one list.
    pub files: Arc<dyn FileTable>,
    /// The rows that name users.
    pub users: Arc<dyn UserData>,
    /// The bucket of the files, if they are in one.
    pub bucket: Option<S3Files>,
}

/// Opens files and metadata. With the lock of the root they are a server's.
pub(super) fn stores(config: &Config, lock: Option<RootLock>) -> Result<Opened> {
    let Storage { root, sync, s3 } = &config.storage;
    // The store has the bytes before anything is answered; what is here meanwhile need not outlive a crash.
    let incoming = Uploads::open(root, *sync && s3.is_none())?;
    let places = files(config)?;
    let Tables { metadata, uploads: table, secrets, blocks, files: rows, users, epochs } = tables(config)?;
    let tickets = TicketService::new(Arc::clone(&secrets), epochs, Arc::new(SystemClock));
    let stores = Stores { table, secrets, blocks, files: places.uploads, incoming: incoming.clone() };
    let uploads = UploadService::new(stores, Arc::new(SystemClock), config.uploads.clone());
    let clock = Arc::new(SystemClock);
    let (media, previews) = (config.media, config.previews.clone());
    let site = (identity(config)?, lock);
    let library = Library::new(incoming, places.files, metadata, site, clock, media, previews);
    Ok(Opened { library, uploads, tickets, files: rows, users, bucket: places.bucket })
}

/// The same database, as each layer knows it.
pub(super) struct Tables {
    pub metadata: Arc<dyn Metadata>,
    pub uploads: Arc<dyn UploadTable>,
    pub secrets: Arc<dyn SecretTable>,
    pub blocks: Arc<dyn BlockTable>,
    pub files: Arc<dyn FileTable>,
    pub users: Arc<dyn UserData>,
    pub epochs: Arc<dyn EpochTable>,
}

impl Tables {
    fn of(engine: impl Engine) -> Self {
        let store = Arc::new(Store::new(engine));
        Self {
            metadata: Arc::clone(&store) as _,
            uploads: Arc::clone(&store) as _,
            secrets: Arc::clone(&store) as _,
            blocks: Arc::clone(&store) as _,
            files: Arc::clone(&store) as _,
            users: Arc::clone(&store) as _,
            epochs: store,
        }
    }
}

/// The tables of the configured database. A missing SQLite file, or one of an older version, is an error.
pub(super) fn tables(config: &Config) -> Result<Tables> {
    Ok(match &config.database {
        Database::Postgres(settings) => Tables::of(Postgres::new(settings)?),
        Database::Sqlite(path) => {
            verify(SqliteSchema::new(path).version()?)?;
            Tables::of(Sqlite::new(path, config.storage.sync))
        }
    })
}

/// The rows of all files, for a command that only reads them.
pub(super) fn file_table(config: &Config) -> Result<Arc<dyn FileTable>> {
    let Tables { metadata, files, .. } = tables(config)?;
    verify(metadata.schema_version()?)?;
    Ok(files)
}

/// A connection without time limits, for a command that reads the whole database.
pub(super) fn console(config: &Config) -> Result<Console> {
    match &config.database {
        Database::Postgres(settings) => Console::postgres(settings),
        Database::Sqlite(path) => {
            verify(SqliteSchema::new(path).version()?)?;
            Console::sqlite(path)
        }
    }
}

/// The same for one that fills it.
pub(super) fn console_to_fill(config: &Config) -> Result<Console> {
    match &config.database {
        Database::Sqlite(path) => {
            verify(SqliteSchema::new(path).version()?)?;
            Console::sqlite_to_fill(path, config.storage.sync)
        }
        Database::Postgres(_) => console(config),
    }
}

/// The HTTP server with its certificate, and as many connections as the system allows.
pub(super) fn http(config: &Config) -> Result<http::Settings> {
    Ok(http::Settings {
        https: config.keystore.as_ref().map(crate::config::Keystore::read).transpose()?,
        limits: limits(config),
        ..config.http.clone()
    })
}

/// The limits of the HTTP server, with as many connections as the system allows.
pub(super) fn limits(config: &Config) -> http::Limits {
    http::Limits { connections: super::connections(config), ..config.http.limits }
}
