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
mod tls;
mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
use super::engine::{Change, Engine, Session, WriteError};
use super::metadata;
use super::notice::Notice;
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
            .test_on_check_out(true)
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

    fn attempt<T, F>(&self, operation: Arc<F>) -> std::result::Result<T, WriteError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + Sync + 'static,
    {
        let mut connection = self.connection().map_err(WriteError::Failed)?;
        let result = connection.run(self.patience, move |connection| connection.transact(&*operation));
        result.unwrap_or_else(|| Err(WriteError::Unknown(silence())))
    }
}

impl Engine for Postgres {
    fn read<T, F>(&self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Session) -> Result<T> + Send + 'static,
    {
        let read = move |connection: &mut Connection| operation(connection);
        self.connection()?.run(self.patience, read).ok_or_else(silence)?
    }

    fn write<T, F>(&self, operation: F) -> std::result::Result<T, WriteError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + Sync + 'static,
    {
        let operation = Arc::new(operation);
        match self.attempt(Arc::clone(&operation)) {
            // The second attempt waits for the end of the first, if that is still under way, and finds what it stored.
            Err(WriteError::Unknown(error)) => {
                self.attempt(operation).map_err(|_| WriteError::Unknown(error))
            }
            result => result,
        }
    }

    fn notify(&self, notice: Notice) {
        if !self.has_nodes {
            return;
        }
        let sent = self.attempt(Arc::new(move |session: &mut dyn Session| {
            session.execute("SET LOCAL synchronous_commit = off", &[])?;
            notify(session, notice).map(Change::Commit)
        }));
        if let Err(error) = sent {
            log::warn!("other nodes are not told at once that {} have changed: {error}", notice.name());
        }
    }

    fn pool(&self) -> metadata::Pool {
        metadata::Pool::of(&self.pool)
    }
}
