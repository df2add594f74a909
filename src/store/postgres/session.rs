//! Connections that can't hang us. The client library knows no time limit for a query: a server that stands
//! still holds its caller for as long as it does. So each connection lives on a thread of its own, and whoever
//! uses it waits for that thread's answer with a limit. A thread that is given up ends with its connection:
//! when the server goes on, or when the kernel finds out that it won't. As connections that hang can't be
//! replaced while the server does, there are never many more such threads than connections in the pool.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use postgres::{Client, Statement};
use postgres_native_tls::MakeTlsConnector;
use r2d2::ManageConnection;
use r2d2_postgres::PostgresConnectionManager;

use super::fault::{fault, silence};
use super::settings::PostgresSettings;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A connection and the statements that the server knows from it already.
pub(super) struct Link {
    pub(super) client: Client,
    statements: HashMap<String, Statement>,
}

impl Link {
    /// The prepared statement of this text.
    pub(super) fn prepare(&mut self, sql: &str) -> std::result::Result<Statement, postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

type Job = Box<dyn FnOnce(&mut Link) + Send>;

/// A connection as the pool has it: the way to its thread.
pub(super) struct Session {
    jobs: mpsc::Sender<Job>,
    broken: bool,
}

impl Session {
    fn start(client: Client) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let serve = move || {
            let mut link = Link { client, statements: HashMap::new() };
            for job in inbox {
                job(&mut link);
            }
        };
        thread::Builder::new().name("postgres".into()).stack_size(limits::WORKER_STACK).spawn(serve)?;
        Ok(Self { jobs, broken: false })
    }

    /// Does the job on the connection. `None` if it takes longer than this, or ends without an answer; it may
    /// have been done all the same, and the connection is given up.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        within: Duration,
        job: impl FnOnce(&mut Link) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answers) = mpsc::sync_channel(1);
        let job = move |link: &mut Link| {
            let result = job(link);
            // No one listens any more if we were given up.
            let _ = answer.send((result, link.client.is_closed()));
        };
        let sent = self.jobs.send(Box::new(job)).is_ok();
        let answer = if sent { answers.recv_timeout(within).ok() } else { None };
        self.broken |= answer.as_ref().is_none_or(|(_, closed)| *closed);
        answer.map(|(result, _)| result)
    }
}

/// Makes and tests the pool's connections.
pub(super) struct Manager {
    inner: PostgresConnectionManager<MakeTlsConnector>,
    schema: Option<String>,
}

impl Manager {
    pub(super) fn new(settings: &PostgresSettings) -> Result<Self> {
        let inner = PostgresConnectionManager::new(settings.config(), settings.tls()?);
        Ok(Self { inner, schema: settings.schema.clone() })
    }
}

impl ManageConnection for Manager {
    type Connection = Session;
    type Error = Error;

    fn connect(&self) -> Result<Session> {
        let mut client = self.inner.connect().map_err(fault)?;
        prepare(&mut client, self.schema.as_deref())?;
        client.batch_execute(&time_limits()).map_err(fault)?;
        Session::start(client).map_err(|cause| Error::caused(Kind::Unavailable, "no thread", cause))
    }

    fn is_valid(&self, session: &mut Session) -> Result<()> {
        let ping = |link: &mut Link| link.client.is_valid(limits::DATABASE_PING);
        // The limit within is the one that counts; it leaves the thread its own.
        session.run(2 * limits::DATABASE_PING, ping).ok_or_else(silence)?.map_err(fault)
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.broken
    }
}

/// Makes a new connection look where it should, speak of time as we do, and see what others committed while it waited
/// for them. Not by startup options: connection poolers in between refuse those.
pub(in crate::store) fn prepare(client: &mut Client, schema: Option<&str>) -> Result<()> {
    let settings = "SET timezone = 'UTC'; SET default_transaction_isolation = 'read committed'";
    client.batch_execute(settings).map_err(fault)?;
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
