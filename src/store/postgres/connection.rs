//! Connections, the statements on them, and how the pool makes them. Each connection lives on a thread of its own: see
//! [`super::thread`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, Statement};
use r2d2::ManageConnection;
use r2d2_postgres::PostgresConnectionManager;

use super::super::engine::{Change, Session, WriteError};
use super::super::value::{Row, Value};
use super::encoding::encoding_advice;
use super::fault::{fault, silence};
use super::pooler::refuse_shared_sessions;
use super::settings::PostgresSettings;
use super::thread::ConnectionThread;
use super::tls::Tls;
use super::value::parameter;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A connection and the statements that the server knows from it already. The pool has each on a thread of its own.
pub(in crate::store) struct Connection {
    pub(in crate::store) client: Client,
    statements: HashMap<String, Statement>,
    /// Whether a statement of the transaction has failed: then the server answers COMMIT by rolling back.
    failed: bool,
}

impl Connection {
    pub(in crate::store) fn new(client: Client) -> Self {
        Self { client, statements: HashMap::new(), failed: false }
    }

    /// Fails if the server does not answer soon.
    pub(super) fn ping(&mut self) -> PgResult<()> {
        self.client.is_valid(limits::DATABASE_PING)
    }

    /// Runs a write in a transaction of its own. If it fails before the commit, nothing is stored; if the commit fails, the write may be stored.
    pub(super) fn transact<T>(
        &mut self,
        operation: impl Fn(&mut dyn Session) -> Result<Change<T>>,
    ) -> std::result::Result<T, WriteError> {
        self.client.batch_execute("BEGIN").map_err(|cause| WriteError::Failed(fault(cause)))?;
        self.failed = false;
        match operation(self) {
            Ok(Change::Commit(value)) if !self.failed => {
                self.client.batch_execute("COMMIT").map_err(at_commit)?;
                Ok(value)
            }
            Ok(Change::RollBack(value)) => {
                self.roll_back();
                Ok(value)
            }
            Ok(Change::Commit(_)) => {
                self.roll_back();
                let text = "a write went on after one of its statements had failed";
                Err(WriteError::Failed(Error::new(Kind::Failure, text)))
            }
            Err(error) => {
                self.roll_back();
                Err(WriteError::Failed(error))
            }
        }
    }

    /// Runs one statement without a transaction around it: the server commits it by itself. Nothing is stored if the statement
    /// can't be prepared.
    pub(super) fn execute_alone(
        &mut self,
        sql: &str,
        parameters: &[Value],
    ) -> std::result::Result<u64, WriteError> {
        let statement = self.prepare(sql).map_err(|cause| WriteError::Failed(fault(cause)))?;
        let owned = typed(parameters, &statement);
        self.client.execute(&statement, &borrowed(&owned)).map_err(at_commit)
    }

    /// Where this fails the connection is broken, and the server rolls back by itself.
    fn roll_back(&mut self) {
        let _ = self.client.batch_execute("ROLLBACK");
    }

    /// The prepared statement of this text.
    pub(super) fn prepare(&mut self, sql: &str) -> PgResult<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn run<T>(
        &mut self,
        sql: &str,
        parameters: &[Value],
        run: impl FnOnce(&mut Client, &Statement, &[&(dyn ToSql + Sync)]) -> PgResult<T>,
    ) -> Result<T> {
        let done = self.prepare(sql).and_then(|statement| {
            let owned = typed(parameters, &statement);
            run(&mut self.client, &statement, &borrowed(&owned))
        });
        self.failed |= done.is_err();
        done.map_err(fault)
    }
}

fn typed<'a>(parameters: &'a [Value], statement: &Statement) -> Vec<Parameter<'a>> {
    parameters.iter().zip(statement.params()).map(|(value, ty)| parameter(value, ty)).collect()
}

fn borrowed<'a>(owned: &'a [Parameter<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    owned.iter().map(|value| &**value).collect()
}

type Parameter<'a> = Box<dyn ToSql + Sync + 'a>;

type PgResult<T> = std::result::Result<T, postgres::Error>;

impl Session for Connection {
    fn rows(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        let rows = self.run(sql, parameters, |client, statement, values| client.query(statement, values))?;
        Ok(rows.iter().map(read).collect())
    }

    fn each(
        &mut self,
        sql: &str,
        parameters: &[Value],
        visit: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        let mut visited = Ok(());
        self.run(sql, parameters, |client, statement, values| {
            let mut rows = client.query_raw(statement, values.iter().copied())?;
            while let Some(row) = rows.next()? {
                visited = visit(read(&row));
                if visited.is_err() {
                    break;
                }
            }
            Ok(())
        })?;
        visited
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64> {
        self.run(sql, parameters, |client, statement, values| client.execute(statement, values))
    }

    fn lock(&mut self, sql: &str, parameters: &[Value]) -> Result<Option<Row>> {
        self.row(&format!("{sql} FOR UPDATE"), parameters)
    }

    fn hold(&mut self, name: &str) -> Result<()> {
        let sql = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended($1, 0))) AS held";
        self.row(sql, &[name.into()]).map(drop)
    }

    fn byte_order(&self) -> &'static str {
        "\"C\""
    }

    fn has_table(&mut self, name: &str) -> Result<bool> {
        Ok(self.row("SELECT 1 WHERE to_regclass($1) IS NOT NULL", &[name.into()])?.is_some())
    }
}

fn read(row: &postgres::Row) -> Row {
    let value = |at: usize| row.try_get(at).unwrap_or_else(|cause| Value::Unreadable(cause.to_string()));
    Row::new((0..row.len()).map(value).collect())
}

/// The result of a commit that failed: nothing is stored if the server says so. The end of a session may come after it.
fn at_commit(cause: postgres::Error) -> WriteError {
    let severity = cause.as_db_error().and_then(postgres::error::DbError::parsed_severity);
    match severity {
        Some(postgres::error::Severity::Error) => WriteError::Failed(fault(cause)),
        _ => WriteError::Unknown(fault(cause)),
    }
}

/// Makes and tests the pool's connections.
#[derive(Clone)]
pub(super) struct Manager {
    inner: Arc<PostgresConnectionManager<Tls>>,
    settings: Arc<PostgresSettings>,
    /// Each connection's thread has a copy: those that were given up and still hang are counted by it.
    threads: Arc<()>,
    /// A connection that was made already.
    ready: Arc<Mutex<Option<ConnectionThread>>>,
}

impl Manager {
    pub(super) fn new(settings: &PostgresSettings) -> Result<Self> {
        let inner = PostgresConnectionManager::new(settings.config(), settings.tls()?);
        let settings = Arc::new(settings.clone());
        Ok(Self { inner: Arc::new(inner), settings, threads: Arc::default(), ready: Arc::default() })
    }

    /// Makes a connection at once, for the pool to take. Unlike the pool, it tells why it can't, and what is unfit in the
    /// database.
    pub(super) fn make_ready(&self) -> Result<()> {
        let connection = self.connect_by(Self::connect_checked)?;
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        Ok(())
    }

    /// Connects in bounded time. The client library bounds only the TCP connection: a proxy, or a network that loses packets,
    /// may take that and never answer.
    fn connect_by(
        &self,
        connect: impl FnOnce(&Self) -> Result<Client> + Send + 'static,
    ) -> Result<ConnectionThread> {
        let max = self.settings.pool_size as usize + limits::DATABASE_HANGING;
        if Arc::strong_count(&self.threads) > max {
            return Err(Error::new(Kind::Unavailable, "older connections to PostgreSQL still hang"));
        }
        let (manager, alive) = (self.clone(), Arc::clone(&self.threads));
        ConnectionThread::connect(self.settings.connect_time(), move || connect(&manager), alive)
    }

    fn connect_client(&self) -> Result<Client> {
        let mut client = self.inner.connect().map_err(|cause| self.settings.refused(cause))?;
        prepare(&mut client, self.settings.schema.as_deref(), &time_limits())?;
        Ok(client)
    }

    fn connect_checked(&self) -> Result<Client> {
        let mut client = self.connect_client()?;
        // Where a second connection is one too many, there is no pooler.
        if let Ok(mut other) = self.inner.connect() {
            refuse_shared_sessions(&mut client, &mut other)?;
        }
        if let Some(advice) = encoding_advice(&mut client)? {
            log::warn!("{advice}");
        }
        Ok(client)
    }
}

impl ManageConnection for Manager {
    type Connection = ConnectionThread;
    type Error = Error;

    fn connect(&self) -> Result<ConnectionThread> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        ready.map_or_else(|| self.connect_by(Self::connect_client), Ok)
    }

    fn is_valid(&self, connection: &mut ConnectionThread) -> Result<()> {
        // The limit within is the one that counts; it leaves the thread its own.
        connection.run(2 * limits::DATABASE_PING, Connection::ping).ok_or_else(silence)?.map_err(fault)
    }

    fn has_broken(&self, connection: &mut ConnectionThread) -> bool {
        connection.is_broken()
    }
}

/// Makes a new connection look for the tables where it should, speak of time as we do, and see what others committed
/// while it waited for them. Not by startup options: connection poolers in between refuse those.
pub(in crate::store) fn prepare(client: &mut Client, schema: Option<&str>, more: &str) -> Result<()> {
    let settings = "SET timezone = 'UTC'; SET default_transaction_isolation = 'read committed'";
    client.batch_execute(&format!("{settings}; {more}")).map_err(fault)?;
    if let Some(schema) = schema {
        client.execute("SELECT set_config('search_path', $1, false)", &[&schema]).map_err(fault)?;
    }
    Ok(())
}

fn time_limits() -> String {
    let statement = limits::DATABASE_STATEMENT.as_millis();
    let lock = limits::DATABASE_LOCK.as_millis();
    format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {statement}"
    )
}
