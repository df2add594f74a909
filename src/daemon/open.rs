//! Opens what the configuration names: files, metadata, the certificate.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Config, Database, Storage};
use crate::error::Result;
use crate::http;
use crate::media::Library;
use crate::store::{
    Directory, Engine, Metadata, Postgres, SecretTable, Sqlite, SqliteSchema, Store, UploadDirectory,
    UploadTable, Uploads, verify,
};
use crate::uploads::{Stores, UploadService};

/// Media and uploads, which share files and a database, ready but for [`Library::open`] and [`UploadService::open`].
pub(super) struct Opened {
    pub library: Library,
    pub uploads: UploadService,
}

/// Opens files and metadata.
pub(super) fn stores(config: &Config) -> Result<Opened> {
    let Storage { root, sync } = &config.storage;
    let incoming = Uploads::open(root, *sync)?;
    let Tables { metadata, uploads: table, secrets } = tables(config)?;
    let stores = Stores {
        table,
        secrets,
        files: Box::new(UploadDirectory::open(root, *sync)?),
        incoming: incoming.clone(),
    };
    let uploads = UploadService::new(stores, Arc::new(SystemClock), config.uploads.clone());
    let (files, clock) = (Box::new(Directory::open(root, *sync)?), Arc::new(SystemClock));
    let (media, previews) = (config.media, config.previews.clone());
    Ok(Opened { library: Library::new(incoming, files, metadata, clock, media, previews), uploads })
}

/// The same database, as each layer knows it.
struct Tables {
    metadata: Arc<dyn Metadata>,
    uploads: Arc<dyn UploadTable>,
    secrets: Arc<dyn SecretTable>,
}

impl Tables {
    fn of(engine: impl Engine) -> Self {
        let store = Arc::new(Store::new(engine));
        Self { metadata: Arc::clone(&store) as _, uploads: Arc::clone(&store) as _, secrets: store }
    }
}

fn tables(config: &Config) -> Result<Tables> {
    let Storage { root, sync } = &config.storage;
    Ok(match &config.database {
        Database::Postgres(settings) => Tables::of(Postgres::new(settings)?),
        Database::Sqlite(path) => {
            verify(SqliteSchema::new(path, root).version()?)?;
            Tables::of(Sqlite::new(path, *sync))
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
