//! A connection for the commands that read or fill a whole database. Unlike the pool of a server it knows no time limit but
//! that of connecting: a million rows take as long as they take. The main thread uses it, beside a running server.

mod export;
mod import;
mod sums;

use std::path::Path;

use rusqlite::Connection as SqliteConnection;

use super::block_table::Block;
use super::engine::Session;
use super::identity::StoreId;
use super::metadata::UsageKind;
use super::postgres::{self, Connection as PostgresConnection, PostgresSettings};
use super::schema::Schema;
use super::sqlite::{self, Access};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{Channel, Media, MediaId, Preview, Purpose, UploadId, Uploaded};

pub use self::import::Import;
pub use self::sums::NamedSums;

/// A connection without time limits.
pub struct Console(Link);

enum Link {
    Postgres(Box<PostgresConnection>),
    Sqlite(SqliteConnection),
}

/// A row of a table in an export. An export leaves out rows that the server can make anew, or that refer to nothing: keys
/// of tokens, removals, previews and avatars without their media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredRow {
    /// The id of the store, if it has one.
    Store(Option<StoreId>),
    /// A media.
    Media(Box<Media>),
    /// A preview of this media.
    Preview(MediaId, Preview),
    /// The avatar of this channel: one of its media.
    Avatar(Channel, MediaId),
    /// An upload by slot.
    Upload(Box<Uploaded>),
    /// An upload whose file is gone and whose slot may not be used again yet.
    Emptied(EmptiedUpload),
    /// A user who may send no files.
    Block(Block),
    /// A sum of table `usage`, all its parts together.
    Sum(UsageSum),
}

/// The row of an upload whose file is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmptiedUpload {
    /// Its id.
    pub id: UploadId,
    /// Its purpose.
    pub purpose: Purpose,
    /// When it was stored.
    pub created: Timestamp,
    /// When its slot can't be used any more; `None`: never.
    pub slot_ends: Option<Timestamp>,
}

/// A sum of table `usage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// The user or channel whose sum it is.
    pub kind: UsageKind,
    /// The name of the channel or the user; nothing for all.
    pub name: String,
    /// Files.
    pub files: u64,
    /// Their bytes; of media their texts, too.
    pub bytes: u64,
}

impl Console {
    /// Connects to a PostgreSQL database, as [`Schema::connect`].
    pub fn postgres(settings: &PostgresSettings) -> Result<Self> {
        Ok(Self(Link::Postgres(Box::new(Schema::connect(settings)?.into_connection()))))
    }

    /// Opens an SQLite file, which must be there, for reading.
    pub fn sqlite(path: &Path) -> Result<Self> {
        let opened = sqlite::open(path, Access::Read).map_err(sqlite::fault)?;
        Ok(Self(Link::Sqlite(opened)))
    }

    /// Opens an SQLite file, which must be there, to fill it. If `sync`, its rows are on the disk at the end.
    pub fn sqlite_to_fill(path: &Path, sync: bool) -> Result<Self> {
        let opened = sqlite::open(path, Access::Write { sync }).map_err(sqlite::fault)?;
        Ok(Self(Link::Sqlite(opened)))
    }

    /// Runs reads on the database as it is now, whatever others write meanwhile.
    fn snapshot<T>(&mut self, read: impl FnOnce(&mut dyn Session) -> Result<T>) -> Result<T> {
        self.within("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN", read)
    }

    /// Runs writes while nobody else writes: all of them are done, or nothing.
    fn alone<T>(&mut self, write: impl FnOnce(&mut dyn Session) -> Result<T>) -> Result<T> {
        let lock =
            "BEGIN; LOCK TABLE medias, previews, avatars, uploads, blocks, usage, store IN EXCLUSIVE MODE";
        self.within(lock, "BEGIN IMMEDIATE", write)
    }

    /// Runs statements in a transaction, which begins by this SQL of PostgreSQL or of SQLite.
    fn within<T>(
        &mut self,
        on_postgres: &str,
        on_sqlite: &str,
        work: impl FnOnce(&mut dyn Session) -> Result<T>,
    ) -> Result<T> {
        self.batch(on_postgres, on_sqlite)?;
        let done = match &mut self.0 {
            Link::Postgres(connection) => work(&mut **connection),
            Link::Sqlite(connection) => work(&mut &*connection),
        };
        // Where this fails the connection is broken, and the database rolls back by itself.
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.batch(end, end);
        done.and_then(|done| ended.map(|()| done))
    }

    fn batch(&mut self, on_postgres: &str, on_sqlite: &str) -> Result<()> {
        match &mut self.0 {
            Link::Postgres(connection) => {
                connection.client.batch_execute(on_postgres).map_err(postgres::fault)
            }
            Link::Sqlite(connection) => connection.execute_batch(on_sqlite).map_err(sqlite::fault),
        }
    }
}
