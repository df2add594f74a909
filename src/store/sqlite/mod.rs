//! The engine for an embedded SQLite file. Reads run on the caller's thread; a write runs on the thread of the caller
//! whose turn it is, with all writes that wait.

mod connection;
mod fault;
mod queue;
#[cfg(test)]
mod tests;
mod write;

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
        Self { pool, writes: Queue::new() }
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
}
