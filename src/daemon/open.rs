//! Opens what the configuration names: the storage root, files, metadata, the certificate.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Config, Database, Storage};
use crate::error::{Error, Kind, Result};
use crate::http;
use crate::media::Library;
use crate::store::{
    BlockTable, CURRENT, Console, DatabaseState, Directory, Engine, EpochTable, FileTable, Identity,
    Metadata, Postgres, RootLock, SecretTable, Sqlite, SqliteSchema, Store, UploadDirectory, UploadTable,
    Uploads, UserData, verify,
};
use crate::tickets::TicketService;
use crate::uploads::{Stores, UploadService};

/// The storage root and the database, as the two halves that must belong together.
pub(super) fn identity(config: &Config) -> Identity {
    Identity::new(&config.storage.root, config.database.to_string())
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
    let identity = identity(config);
    if state.version.is_none() {
        // An empty database beside files is the wrong one: then tables should not be made in it.
        identity.compare(state)?;
    }
    verify(state.version)?;
    identity.verify(state)
}

/// The lock of the storage root, for a server that starts. Before it is taken, the root is compared with the database if
/// that can be reached; a missing root is made for a new site.
pub(super) fn lock_root(config: &Config) -> Result<RootLock> {
    let identity = identity(config);
    match database_state(config) {
        Ok(state) => {
            match &config.database {
                // It is made or upgraded under the lock.
                Database::Sqlite(path) if state.version < Some(CURRENT) => {
                    SqliteSchema::new(path).may_belong_to(&identity)?;
                }
                _ => verify_identity(config, &state)?,
            }
            identity.make_root(&state)?;
        }
        Err(error) if error.kind() == Kind::Unavailable && config.storage.root.exists() => {}
        Err(error) if error.kind() == Kind::Unavailable => {
            let text = format!(
                "the storage {} does not exist, and it is not known whether this is a new site",
                identity.root().display()
            );
            return Err(Error::caused(Kind::Unavailable, text, error));
        }
        Err(error) => return Err(error),
    }
    RootLock::take(identity.root())
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
}

/// Opens files and metadata. With the lock of the root they are a server's.
pub(super) fn stores(config: &Config, lock: Option<RootLock>) -> Result<Opened> {
    let Storage { root, sync, .. } = &config.storage;
    let incoming = Uploads::open(root, *sync)?;
    let Tables { metadata, uploads: table, secrets, blocks, files: rows, users, epochs } = tables(config)?;
    let tickets = TicketService::new(Arc::clone(&secrets), epochs, Arc::new(SystemClock));
    let stores = Stores {
        table,
        secrets,
        blocks,
        files: Box::new(UploadDirectory::open(root, *sync)?),
        incoming: incoming.clone(),
    };
    let uploads = UploadService::new(stores, Arc::new(SystemClock), config.uploads.clone());
    let (files, clock) = (Box::new(Directory::open(root, *sync)?), Arc::new(SystemClock));
    let (media, previews) = (config.media, config.previews.clone());
    let site = (identity(config), lock);
    let library = Library::new(incoming, files, metadata, site, clock, media, previews);
    Ok(Opened { library, uploads, tickets, files: rows, users })
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
