//! Connections outside the pool: the thread `cluster` has one for the lock of the stream, and the thread `notices` one that
//! listens. Like the pool's they live on threads of their own, so their owners wait for none longer than
//! [`limits::CLUSTER_ANSWER`], even if the server or the network hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use super::super::engine::{Change, Session};
use super::super::notice::{CHANNEL, Notice};
use super::connection::{Connection, prepare};
use super::fault::{fault, silence};
use super::serving;
use super::settings::PostgresSettings;
use super::thread::ConnectionThread;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// Makes connections.
#[derive(Clone)]
pub struct DedicatedConnections {
    settings: Arc<PostgresSettings>,
    /// Each connection's thread has a copy: those that were given up and still hang are counted by it.
    threads: Arc<()>,
}

impl DedicatedConnections {
    /// Connections to this database.
    pub fn new(settings: &PostgresSettings) -> Self {
        Self { settings: Arc::new(settings.clone()), threads: Arc::default() }
    }

    /// Connects. [`Kind::Unavailable`] if the database can't be reached in time.
    pub fn open(&self) -> Result<DedicatedConnection> {
        if Arc::strong_count(&self.threads) > limits::CLUSTER_CONNECTIONS {
            return Err(Error::new(Kind::Unavailable, "older connections to PostgreSQL still hang"));
        }
        let (settings, alive) = (Arc::clone(&self.settings), Arc::clone(&self.threads));
        let thread = ConnectionThread::connect(limits::CLUSTER_ANSWER, move || connect(&settings), alive)?;
        Ok(DedicatedConnection { thread })
    }
}

/// A connection whose owner alone uses it.
pub struct DedicatedConnection {
    thread: ConnectionThread,
}

impl DedicatedConnection {
    /// Runs an operation without a transaction around it.
    pub fn run<T, F>(&mut self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Session) -> Result<T> + Send + 'static,
    {
        self.on_thread(move |connection| operation(connection))
    }

    /// Runs an operation in a transaction. If the end of the commit is unknown, that is a failure like others.
    pub fn transact<T, F>(&mut self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + 'static,
    {
        self.on_thread(move |connection| Ok(connection.transact(operation)?))
    }

    /// Sends this notice at once.
    pub fn notify(&mut self, notice: Notice) -> Result<()> {
        self.run(move |session| notify(session, notice))
    }

    /// Has the server send the notices of other nodes, and this one's own, from now on. A command that must be alone knows by
    /// this connection that a node serves.
    pub fn listen(&mut self) -> Result<()> {
        self.on_thread(|connection| {
            connection.client.batch_execute(&format!("LISTEN {CHANNEL}")).map_err(fault)?;
            serving::serve(&mut connection.client)
        })
    }

    /// Hands over each notice as it comes, for about this long; then asks the server for a sign of life.
    pub fn await_notices(
        &mut self,
        period: Duration,
        mut hand_over: impl FnMut(Notice) + Send + 'static,
    ) -> Result<()> {
        let within = period + limits::CLUSTER_ANSWER;
        let job = move |connection: &mut Connection| {
            read_notices(&mut connection.client, period, &mut hand_over)?;
            connection.client.is_valid(limits::DATABASE_PING).map_err(fault)
        };
        self.thread.run(within, job).ok_or_else(silence)?
    }

    /// Whether the connection is lost.
    pub fn is_broken(&self) -> bool {
        self.thread.is_broken()
    }

    fn on_thread<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.thread.run(limits::CLUSTER_ANSWER, job).ok_or_else(silence)?
    }
}

/// Sends a notice when the transaction is committed.
pub(in crate::store) fn notify(session: &mut dyn Session, notice: Notice) -> Result<()> {
    let sql = "SELECT 1 FROM (SELECT pg_notify($1, $2)) AS sent";
    session.row(sql, &[CHANNEL.into(), notice.name().into()]).map(drop)
}

fn read_notices(client: &mut Client, period: Duration, hand_over: &mut dyn FnMut(Notice)) -> Result<()> {
    let end = Instant::now() + period;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let next = client.notifications().timeout_iter(left).next().map_err(fault)?;
        let Some(notification) = next else { return Ok(()) };
        if let Ok(notice) = notification.payload().parse() {
            hand_over(notice);
        }
    }
}

/// A commit waits for no disk here: a crash of PostgreSQL loses only hints, prompts and beats. An operation that
/// needs more sets that for its transaction.
fn connect(settings: &PostgresSettings) -> Result<Client> {
    let mut config = settings.config();
    config
        .connect_timeout(limits::CLUSTER_ANSWER)
        .tcp_user_timeout(limits::CLUSTER_ANSWER)
        .keepalives_idle(limits::CLUSTER_ANSWER)
        .keepalives_interval(limits::CLUSTER_BEAT);
    let mut client = config.connect(settings.tls()?).map_err(|cause| settings.refused(cause))?;
    let (statement, lock) = (limits::CLUSTER_STATEMENT.as_millis(), limits::CLUSTER_LOCK.as_millis());
    let more = format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {lock}; SET synchronous_commit = off; \
         SET idle_in_transaction_session_timeout = {}",
        limits::CLUSTER_ANSWER.as_millis()
    );
    prepare(&mut client, settings.schema.as_deref(), &more)?;
    Ok(client)
}
