//! Opens what the configuration names: files, metadata, the certificate.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Config, Database, Storage};
use crate::error::Result;
use crate::http;
use crate::media::Library;
use crate::store::{Directory, Metadata, Postgres, Sqlite, SqliteSchema, Store, Uploads, verify};

/// Files and metadata, ready but for [`Library::open`].
pub(super) fn library(config: &Config) -> Result<Library> {
    let Storage { root, sync } = &config.storage;
    let (uploads, files) = (Uploads::open(root, *sync)?, Box::new(Directory::open(root, *sync)?));
    let (media, previews) = (config.media, config.previews.clone());
    Ok(Library::new(uploads, files, metadata(config)?, Arc::new(SystemClock), media, previews))
}

fn metadata(config: &Config) -> Result<Box<dyn Metadata>> {
    let Storage { root, sync } = &config.storage;
    Ok(match &config.database {
        Database::Postgres(settings) => Box::new(Store::new(Postgres::new(settings)?)),
        Database::Sqlite(path) => {
            verify(SqliteSchema::new(path, root).version()?)?;
            Box::new(Store::new(Sqlite::new(path, *sync)))
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
