//! The engine for PostgreSQL. A caller waits for a connection of the pool, and then for its thread.

mod connection;
mod dedicated;
mod encoding;
mod fault;
mod pooler;
mod serving;
mod settings;
#[cfg(test)]
mod tests;
mod thread;
mod tls;
mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use r2d2::{Pool, PooledConnection};

use self::connection::Manager;
pub(super) use self::connection::{Connection, prepare};
pub(super) use self::dedicated::notify;
pub use self::dedicated::{DedicatedConnection, DedicatedConnections};
pub(super) use self::encoding::encoding_advice;
pub(super) use self::fault::fault;
use self::fault::silence;
pub(super) use self::pooler::refuse_shared_sessions;
pub(super) use self::serving::refuse_serving_nodes;
pub use self::settings::{PostgresSettings, SslMode};
use self::thread::{Job, Performed, take, with_value};
use super::engine::{Change, Engine, Session, WriteError};
use super::metadata;
use super::notice::Notice;
use super::value::Value;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A pool of connections to a PostgreSQL database.
pub struct Postgres {
    pool: Pool<Manager>,
    manager: Manager,
    /// Whether there has been a connection.
    is_known: AtomicBool,
    patience: Duration,
    has_nodes: bool,
}

impl Postgres {
    /// A pool that connects when it is used, and again whenever the server is back. Fails only if TLS can't be
    /// set up as the settings want it.
    pub fn new(settings: &PostgresSettings) -> Result<Self> {
        let manager = Manager::new(settings)?;
        let pool = Pool::builder()
            .max_size(settings.pool_size.max(1))
            // The first caller connects; a pool at rest keeps what it has.
            .min_idle(Some(0))
            .connection_timeout(limits::DATABASE_WAIT)
            // A job begins with that test.
            .test_on_check_out(false)
            // The callers that wait for a connection are told; a line for each attempt would flood the log.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(manager.clone());
        let is_known = AtomicBool::new(false);
        Ok(Self {
            pool,
            manager,
            is_known,
            patience: settings.socket_timeout.unwrap_or(limits::DATABASE_ANSWER),
            has_nodes: settings.has_nodes,
        })
    }

    /// A connection. A database that was never reached is tried at once, and the error says why it can't be; one that is
    /// away for a moment is waited for.
    fn connection(&self) -> Result<PooledConnection<Manager>> {
        if !self.is_known.load(Ordering::Acquire) {
            self.manager.make_ready()?;
            self.is_known.store(true, Ordering::Release);
        }
        self.pool.get().map_err(|cause| Error::caused(Kind::Unavailable, "no database connection", cause))
    }

    /// Has a write done, and again if it is not known whether it was. The second attempt waits for the end of the first, if
    /// that is still under way, and finds what it stored.
    fn write_by<T, F>(&self, write: F) -> std::result::Result<T, WriteError>
    where
        T: Send + 'static,
        F: Fn(&mut Connection) -> std::result::Result<T, WriteError> + Send + Sync + 'static,
    {
        let write = Arc::new(write);
        match self.attempt(Arc::clone(&write)) {
            Err(WriteError::Unknown(error)) => self.attempt(write).map_err(|_| WriteError::Unknown(error)),
            result => result,
        }
    }

    fn attempt<T, F>(&self, write: Arc<F>) -> std::result::Result<T, WriteError>
    where
        T: Send + 'static,
        F: Fn(&mut Connection) -> std::result::Result<T, WriteError> + Send + Sync + 'static,
    {
        let done = self.run(move |connection| write(connection)).map_err(WriteError::Failed)?;
        done.unwrap_or_else(|| Err(WriteError::Unknown(silence())))
    }

    /// Has a job done; `None` if it does not end in time.
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let (job, value) = with_value(job);
        Ok(if self.perform(job)? { take(&value) } else { None })
    }

    /// Has a job done on a connection that still answers: those of the pool may have broken while no one looked. Says whether
    /// it ended in time.
    fn perform(&self, mut job: Job) -> Result<bool> {
        let deadline = Instant::now() + limits::DATABASE_WAIT;
        loop {
            match self.connection()?.perform(self.patience, job) {
                Performed::Done => return Ok(true),
                Performed::Lost => return Ok(false),
                Performed::NotBegun(_) if Instant::now() > deadline => return Err(silence()),
                Performed::NotBegun(not_begun) => job = not_begun,
            }
        }
    }
}

impl Engine for Postgres {
    fn read<T, F>(&self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Session) -> Result<T> + Send + 'static,
    {
        self.run(move |connection| operation(connection))?.ok_or_else(silence)?
    }

    fn write<T, F>(&self, operation: F) -> std::result::Result<T, WriteError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + Sync + 'static,
    {
        self.write_by(move |connection| connection.transact(&operation))
    }

    /// One round trip instead of three.
    fn execute(&self, sql: &'static str, parameters: Vec<Value>) -> std::result::Result<u64, WriteError> {
        self.write_by(move |connection| connection.execute_alone(sql, &parameters))
    }

    fn notify(&self, notice: Notice) {
        if !self.has_nodes {
            return;
        }
        let send = move |session: &mut dyn Session| {
            session.execute("SET LOCAL synchronous_commit = off", &[])?;
            notify(session, notice).map(Change::Commit)
        };
        let sent = self.attempt(Arc::new(move |connection: &mut Connection| connection.transact(send)));
        if let Err(error) = sent {
            log::warn!("other nodes are not told at once that {} have changed: {error}", notice.name());
        }
    }

    fn pool(&self) -> metadata::Pool {
        metadata::Pool::of(&self.pool)
    }
}
