//! The store: files on disk and their metadata in PostgreSQL or SQLite.

#[cfg(test)]
mod conformance;
mod files;
mod hash;
mod metadata;
#[cfg(test)]
#[path = "../../tests/support/port.rs"]
mod port;
mod postgres;
#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
mod postgres_server;
mod queries;
mod schema;
mod sqlite;
mod turn;
mod walk;

pub use self::files::{Files, Published, Sealed, StoredFile, Upload, storage_error};
pub use self::metadata::{
    Deleted, InsertError, Listing, MediaInsert, MediaRow, MediaUpdate, Metadata, Pool, PreviewInsert,
    PreviewRow,
};
pub use self::postgres::{Postgres, PostgresSettings, SslMode};
pub use self::queries::list as list_statement;
pub use self::schema::{CURRENT, Schema};
pub use self::sqlite::Sqlite;
pub use self::walk::Found;
