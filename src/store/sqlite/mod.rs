//! The engine for an embedded SQLite file. Reads run on the caller's thread; a write runs on the thread of the caller
//! whose turn it is, with all writes that wait.

mod connection;
mod fault;
mod queue;
#[cfg(test)]
mod tests;
mod write;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use r2d2::{Pool, PooledConnection};

use self::connection::Manager;
pub(super) use self::connection::{Access, create, folder, open, open_unchanging};
use self::fault::busy;
pub(super) use self::fault::fault;
use self::queue::{Completion, Queue};
use self::write::{Pending, Write, write_all};
use super::engine::{Change, Engine, Session, WriteError};
use super::metadata;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A pool of connections to a SQLite file.
pub struct Sqlite {
    pool: Pool<Manager>,
    path: PathBuf,
    /// The file of that path when it was opened.
    file: Option<FileId>,
    writes: Queue<Write, std::result::Result<(), WriteError>>,
}

impl Sqlite {
    /// A pool that opens the file, which must be there, when it is used. Without `sync`, a crash of the machine may
    /// lose what was stored.
    pub fn new(path: &Path, sync: bool) -> Self {
        let manager = Manager { path: PathBuf::from(path), sync };
        let pool = Pool::builder()
            .max_size(limits::SQLITE_CONNECTIONS)
            .min_idle(Some(0))
            .connection_timeout(limits::DATABASE_WAIT)
            .test_on_check_out(false)
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(manager);
        Self { pool, path: path.to_owned(), file: FileId::of(path), writes: Queue::new() }
    }

    fn connection(&self) -> Result<PooledConnection<Manager>> {
        self.pool.get().map_err(|cause| Error::caused(Kind::Unavailable, "no database connection", cause))
    }

    fn write_all(&self, writes: &[Write]) -> Vec<std::result::Result<(), WriteError>> {
        match self.connection() {
            Ok(mut connection) => write_all(&mut connection, writes),
            Err(error) => {
                let error = WriteError::Failed(error);
                writes.iter().map(|_| Err(error.copied())).collect()
            }
        }
    }
}

impl Engine for Sqlite {
    fn read<T, F>(&self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Session) -> Result<T> + Send + 'static,
    {
        let connection = self.connection()?;
        operation(&mut &*connection)
    }

    fn write<T, F>(&self, operation: F) -> std::result::Result<T, WriteError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + Sync + 'static,
    {
        let (write, value) = Pending::queued(operation);
        match self.writes.run(write, limits::DATABASE_LOCK, |writes| self.write_all(writes)) {
            Completion::Done(Ok(())) => value.take(),
            Completion::Done(Err(error)) => Err(error),
            Completion::Late => Err(WriteError::Failed(busy())),
            Completion::Lost => {
                Err(WriteError::Unknown(Error::new(Kind::Failure, "the thread that wrote panicked")))
            }
        }
    }

    fn pool(&self) -> metadata::Pool {
        metadata::Pool::of(&self.pool)
    }

    /// Writes the whole file anew, and empties its log, which would keep the old pages.
    fn wipe_deleted(&self) -> Result<()> {
        let connection = self.connection()?;
        connection.execute_batch("VACUUM").map_err(fault)?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_hindered = connection.query_row(checkpoint, [], |row| row.get::<_, bool>(0)).map_err(fault)?;
        if is_hindered { Err(busy()) } else { Ok(()) }
    }

    fn check_place(&self) -> Result<()> {
        if FileId::of(&self.path) == self.file {
            return Ok(());
        }
        let text = format!(
            "{} was removed or replaced while the server runs: what is stored now goes into the old file and will be lost; \
             stop the server, and put back the file or its backup",
            self.path.display()
        );
        Err(Error::new(Kind::Failure, text))
    }
}

/// Device and inode of a file: what tells it from another one of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self(metadata.dev(), metadata.ino()))
    }
}
