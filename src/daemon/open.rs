//! Opens what the configuration names: files, metadata, the certificate.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Config, Database};
use crate::error::Result;
use crate::http;
use crate::media::Library;
use crate::store::{Files, Metadata, Postgres, Schema, Sqlite};

/// Files and metadata, ready but for [`Library::open`].
pub(super) fn library(config: &Config) -> Result<Library> {
    let files = Files::open(&config.storage.root, config.storage.sync)?;
    let (media, previews) = (config.media, config.previews.clone());
    Ok(Library::new(files, metadata(config)?, Arc::new(SystemClock), media, previews))
}

fn metadata(config: &Config) -> Result<Box<dyn Metadata>> {
    Ok(match &config.database {
        Database::Postgres(settings) => Box::new(Postgres::new(settings)?),
        Database::Sqlite(path) => Box::new(Sqlite::open(path, config.storage.sync)?),
    })
}

/// Fails unless the metadata has the schema that this program works with. [`crate::error::Kind::Unavailable`] while the
/// database can't be reached; any other kind is final.
pub(super) fn verify_schema(config: &Config) -> Result<()> {
    match &config.database {
        Database::Postgres(settings) => Schema::connect(settings)?.verify(),
        // It was verified when it was opened.
        Database::Sqlite(_) => Ok(()),
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
