//! Opens what the configuration names: the storage root, files, metadata, the certificate.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Config, Database, Storage};
use crate::error::{Error, Kind, Result};
use crate::http;
use crate::media::Library;
use crate::store::{
    CURRENT, DatabaseState, Directory, Identity, Metadata, Postgres, RootLock, Sqlite, SqliteSchema, Store,
    Uploads, verify,
};

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
                Database::Sqlite(_) if state.version < Some(CURRENT) => identity.compare(&state).map(drop)?,
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

/// Files and metadata, ready but for [`Library::open`]. With the lock of its root it is a server's.
pub(super) fn library(config: &Config, lock: Option<RootLock>) -> Result<Library> {
    let Storage { root, sync } = &config.storage;
    let (uploads, files) = (Uploads::open(root, *sync)?, Box::new(Directory::open(root, *sync)?));
    let (media, previews) = (config.media, config.previews.clone());
    let site = (identity(config), lock);
    Ok(Library::new(uploads, files, metadata(config)?, site, Arc::new(SystemClock), media, previews))
}

fn metadata(config: &Config) -> Result<Box<dyn Metadata>> {
    Ok(match &config.database {
        Database::Postgres(settings) => Box::new(Store::new(Postgres::new(settings)?)),
        Database::Sqlite(path) => {
            verify(SqliteSchema::new(path).version()?)?;
            Box::new(Store::new(Sqlite::new(path, config.storage.sync)))
        }
    })
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
