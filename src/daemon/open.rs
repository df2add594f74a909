//! Opens what the configuration names: the storage root, files, metadata, the certificate.

use std::path::Path;
use std::sync::Arc;

use super::housekeeper::Claims;
use crate::clock::SystemClock;
use crate::config::{Config, Database, OldStorage, Storage};
use crate::error::{Error, Kind, Result};
use crate::http;
use crate::media::Library;
use crate::s3::{self, Client};
use crate::store::{
    BlockTable, CURRENT, ChoreTable, Console, ContentTable, DatabaseState, Directory, Engine, EpochTable,
    FileTable, Files, Identity, MOVER, Metadata, MoveLock, Moving, NearPlace, Postgres, RootLock, S3Files,
    SecretTable, Sqlite, SqliteSchema, Store, UploadDirectory, UploadFiles, UploadTable, Uploads, UserData,
    verify,
};
use crate::sys::Mount;
use crate::tickets::TicketService;
use crate::transfer::{Depot, Leaving, Mover};
use crate::uploads::{Stores, UploadService};

/// The files and the database, as the two halves that must belong together.
pub(super) fn identity(config: &Config) -> Result<Identity> {
    let Storage { root, from, s3, .. } = &config.storage;
    let (client, database) = (s3.as_ref().map(Client::new).transpose()?, config.database.to_string());
    Ok(match (&client, from) {
        (Some(client), Some(OldStorage::Bucket)) => Identity::new(root, database).moving_from_bucket(client),
        (Some(client), Some(OldStorage::Directory(old))) => {
            Identity::in_bucket(client, root, database).moving_from(old)
        }
        (Some(client), None) => Identity::in_bucket(client, root, database),
        (None, Some(OldStorage::Directory(old))) => Identity::new(root, database).moving_from(old),
        (None, _) => Identity::new(root, database),
    })
}

/// The places of the files of a site.
struct DepotPair {
    /// Where new files go.
    to: Depot,
    /// Where files still are, if they move.
    from: Option<Depot>,
    /// The one of the two that is in a bucket.
    bucket: Option<S3Files>,
}

impl DepotPair {
    /// Opens them; the storage root must be there. A server has a disk cache of the bucket.
    fn open(config: &Config, is_server: bool) -> Result<Self> {
        let Storage { root, from, s3, .. } = &config.storage;
        let bucket = s3.as_ref().map(|settings| open_bucket(config, settings, is_server)).transpose()?;
        let in_bucket = bucket
            .as_ref()
            .map(|bucket| Depot { media: Arc::new(bucket.clone()), uploads: Arc::new(bucket.clone()) });
        let (to, from) = match from {
            Some(OldStorage::Bucket) => (None, in_bucket),
            Some(OldStorage::Directory(old)) => (in_bucket, Some(directory(config, old)?)),
            None => (in_bucket, None),
        };
        Ok(Self { to: to.map_or_else(|| directory(config, root), Ok)?, from, bucket })
    }

    /// Both together while files move.
    fn together(self, near: NearPlace) -> Depot {
        let Some(from) = self.from else { return self.to };
        Depot {
            media: Arc::new(Moving::<dyn Files>::new(from.media, self.to.media, near)),
            uploads: Arc::new(Moving::<dyn UploadFiles>::new(from.uploads, self.to.uploads, near)),
        }
    }
}

/// The place of files in this directory.
fn directory(config: &Config, root: &Path) -> Result<Depot> {
    let Storage { sync, shared, .. } = config.storage;
    Ok(Depot {
        media: Arc::new(Directory::open(root, sync)?.shared(shared)),
        uploads: Arc::new(UploadDirectory::open(root, sync)?.shared(shared)),
    })
}

fn open_bucket(config: &Config, settings: &s3::Settings, is_server: bool) -> Result<S3Files> {
    let Storage { root, cache_bytes, redirect_from, .. } = &config.storage;
    let bucket = S3Files::open(Client::new(settings)?, root)?.direct_from(*redirect_from);
    if !is_server {
        return Ok(bucket);
    }
    // Until it is known to belong to the database.
    bucket.forbid_changes();
    bucket.with_cache(*cache_bytes)
}

/// Files on their way, by the name of this node or command. A bucket has the bytes before anything is answered, so what is
/// here meanwhile need not outlive a crash.
fn incoming(config: &Config, name: Option<&str>) -> Result<Uploads> {
    let Storage { root, sync, .. } = &config.storage;
    Uploads::open_as(name, root, *sync && config.storage.bucket().is_none())
}

/// The lock of a command that moves files. The database has it where it can: commands on several machines may have roots
/// of their own.
pub(super) fn move_lock(config: &Config) -> Result<MoveLock> {
    match &config.database {
        Database::Postgres(settings) => MoveLock::in_database(settings),
        Database::Sqlite(_) => MoveLock::in_root(&config.storage.root),
    }
}

/// Moves the files to their new place.
pub(super) fn mover(config: &Config, tables: Tables) -> Result<Mover> {
    let DepotPair { to, from, .. } = DepotPair::open(config, false)?;
    let Some(from) = from else {
        let text = "media.storage.from is not set: name the place there that files are moved from";
        return Err(Error::new(Kind::Config, text));
    };
    let leaving = match config.storage.from {
        Some(OldStorage::Bucket) => Leaving::AtTheEnd,
        _ => Leaving::AtOnce,
    };
    Ok(Mover { from, to, incoming: incoming(config, Some(MOVER))?, table: tables.contents, leaving })
}

/// The facts that the database tells about its store. A missing SQLite file tells nothing, and is not made. Gives
/// the tables of PostgreSQL, too, so that nobody has to connect again.
pub(super) fn look(config: &Config) -> Result<(DatabaseState, Option<Tables>)> {
    match &config.database {
        Database::Postgres(settings) => {
            let tables = Tables::of(Postgres::new(settings)?);
            Ok((tables.metadata.store_state()?, Some(tables)))
        }
        Database::Sqlite(path) => Ok((SqliteSchema::new(path).state()?, None)),
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

/// The tables of the configured database, if [`verify_identity`] has nothing against it.
pub(super) fn verified_tables(config: &Config) -> Result<Tables> {
    let (state, opened) = look(config)?;
    verify_identity(config, &state)?;
    opened.map_or_else(|| tables(config), Ok)
}

/// The storage root of a server that starts.
pub(super) struct LockedRoot {
    pub lock: RootLock,
    /// The tables of PostgreSQL, if it was reached.
    pub tables: Option<Tables>,
    /// Whether the database and the store of the files were reached, and belong together.
    pub is_compared: bool,
}

/// Locks the storage root for a server that starts. Before, files and database are compared if both can be reached, and a
/// missing root is made for a new site.
pub(super) fn lock_root(config: &Config) -> Result<LockedRoot> {
    let identity = identity(config)?;
    let compared = match look(config).and_then(|seen| check_start(config, &identity, seen)) {
        Err(error) if error.kind() == Kind::Unavailable => {
            identity.make_local_root()?;
            if !identity.root().exists() {
                let text = format!(
                    "the storage {} does not exist, and it is not known whether this is a new site",
                    identity.root().display()
                );
                return Err(Error::caused(Kind::Unavailable, text, error));
            }
            None
        }
        result => Some(result?),
    };
    let is_compared = compared.is_some();
    Ok(LockedRoot { lock: lock(config, identity.root())?, tables: compared.flatten(), is_compared })
}

/// Compares files and database, and makes a missing root for a new site.
fn check_start(
    config: &Config,
    identity: &Identity,
    (state, tables): (DatabaseState, Option<Tables>),
) -> Result<Option<Tables>> {
    match &config.database {
        // It is made or upgraded under the lock.
        Database::Sqlite(path) if state.version < Some(CURRENT) => {
            SqliteSchema::new(path).may_belong_to(identity)?;
        }
        _ => verify_identity(config, &state)?,
    }
    identity.make_root(&state)?;
    Ok(tables)
}

/// Advice for the operator if the locks of a shared root do not work between machines.
pub(super) fn local_locks(storage: &Storage) -> Option<String> {
    let mount = Mount::of(&storage.root).filter(|_| storage.shared)?;
    let option = mount.local_locks()?;
    Some(format!(
        "{} is mounted with {option}: nodes on other machines do not see its locks; mount it without that option",
        storage.root.display()
    ))
}

/// The lock of the directory that files move from: no server may run that does not know where they go.
pub(super) fn lock_old(config: &Config) -> Result<Option<RootLock>> {
    match &config.storage.from {
        Some(OldStorage::Directory(old)) if *old != config.storage.root => lock(config, old).map(Some),
        _ => Ok(None),
    }
}

fn lock(config: &Config, root: &Path) -> Result<RootLock> {
    match sharing_node(config) {
        Some(node) => RootLock::share(root, node),
        None => RootLock::take(root),
    }
}

/// The name of this node, if others share the storage root.
fn sharing_node(config: &Config) -> Option<&str> {
    config.node.as_deref().filter(|_| config.storage.shared)
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
    /// The claims of this node to chores.
    pub claims: Claims,
    /// The bucket of the files, if they are or were in one.
    pub bucket: Option<S3Files>,
}

/// Opens the files that belong to these tables. With the lock of the root they are a server's.
pub(super) fn stores(config: &Config, lock: Option<RootLock>, tables: Tables) -> Result<Opened> {
    let incoming = incoming(config, sharing_node(config))?;
    let pair = DepotPair::open(config, lock.is_some())?;
    let bucket = pair.bucket.clone();
    // A bucket may give a file that it turns out not to have.
    let near = if config.storage.from == Some(OldStorage::Bucket) { NearPlace::To } else { NearPlace::From };
    let depot = pair.together(near);
    let Tables { metadata, uploads: table, secrets, blocks, files: rows, users, epochs, chores, .. } = tables;
    let tickets = TicketService::new(Arc::clone(&secrets), epochs, Arc::new(SystemClock));
    let stores = Stores { table, secrets, blocks, files: depot.uploads, incoming: incoming.clone() };
    let uploads = UploadService::new(stores, Arc::new(SystemClock), config.uploads.clone());
    let uploads = if config.node.is_some() { uploads.of_cluster() } else { uploads };
    let clock = Arc::new(SystemClock);
    let (media, previews) = (config.media, config.previews.clone());
    let site = (identity(config)?, lock);
    let library = Library::new(incoming, depot.media, metadata, site, clock, media, previews);
    let claims = Claims::new(config.node.clone(), chores);
    Ok(Opened { library, uploads, tickets, files: rows, users, claims, bucket })
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
    pub chores: Arc<dyn ChoreTable>,
    pub contents: Arc<dyn ContentTable>,
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
            epochs: Arc::clone(&store) as _,
            chores: Arc::clone(&store) as _,
            contents: store,
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
