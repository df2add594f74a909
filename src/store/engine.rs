//! The database interface of the metadata operations. PostgreSQL and SQLite are the two engines; the tests of failures
//! have a third. An operation is written once, in [`super::operations`], and runs on any of them.
//!
//! Any thread may call an engine. The operation itself may run on another one: PostgreSQL's connections live on
//! threads of their own, and SQLite runs the writes of several threads together.

use std::fmt;

use super::metadata::Pool;
use super::notice::Notice;
use super::value::{Row, Value};
use crate::error::{Error, Result};

/// A database.
pub trait Engine: Send + Sync + 'static {
    /// Runs a read. It sees what was committed before it began.
    fn read<T, F>(&self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Session) -> Result<T> + Send + 'static;

    /// Runs a write in a transaction: all of it is done, or nothing. The write must be idempotent: it may run again
    /// after a commit whose end is unknown, and alone after a transaction that it shared with others has failed.
    fn write<T, F>(&self, operation: F) -> std::result::Result<T, WriteError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + Sync + 'static;

    /// Runs one statement as a transaction of its own; gives the number of rows that it changed. It must be idempotent, as a
    /// [write](Self::write).
    fn execute(&self, sql: &'static str, parameters: Vec<Value>) -> std::result::Result<u64, WriteError> {
        self.write(move |session| session.execute(sql, &parameters).map(Change::Commit))
    }

    /// The connections to the database.
    fn pool(&self) -> Pool;

    /// Tells other nodes that rows have changed, where there are other nodes. A notice may be lost.
    fn notify(&self, _notice: Notice) {}

    /// Overwrites what deleted rows have left in the file of the database, where the engine has one. Other writers may
    /// wait meanwhile.
    fn wipe_deleted(&self) -> Result<()> {
        Ok(())
    }

    /// Fails if the database that is open is not the one that the next start will find.
    fn check_place(&self) -> Result<()> {
        Ok(())
    }
}

/// A connection, as an operation has it. Statements have parameters `$1`, `$2` and so on; they are prepared once for
/// each connection.
pub trait Session {
    /// Hands over the rows that a statement gives, one after the other, and holds only the one that is handed over.
    fn each(
        &mut self,
        sql: &str,
        parameters: &[Value],
        visit: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()>;

    /// The rows that a statement gives.
    fn rows(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.each(sql, parameters, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Runs a statement that gives no rows; the number of rows that it changed.
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64>;

    /// The first row of a query, which no other transaction can change or delete before this one ends.
    fn lock(&mut self, sql: &str, parameters: &[Value]) -> Result<Option<Row>>;

    /// Waits until no other transaction has this name, and keeps it to the end of this one.
    fn hold(&mut self, name: &str) -> Result<()>;

    /// The collation that compares bytes.
    fn byte_order(&self) -> &'static str;

    /// Whether the database has a table of this name.
    fn has_table(&mut self, name: &str) -> Result<bool>;

    /// The first row that a statement gives.
    fn row(&mut self, sql: &str, parameters: &[Value]) -> Result<Option<Row>> {
        Ok(self.rows(sql, parameters)?.into_iter().next())
    }
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// It is committed.
    Commit(T),
    /// It is rolled back without an error.
    RollBack(T),
}

/// Why a write was not done, or may not have been. Only an engine knows which.
#[derive(Debug)]
pub enum WriteError {
    /// Nothing is stored, and nothing will be.
    Failed(Error),
    /// The commit was sent, and its end is unknown: what was written may be stored, now or shortly.
    Unknown(Error),
}

impl WriteError {
    /// The same error for another write that shared the transaction.
    pub(super) fn copied(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(copied(error)),
            Self::Unknown(error) => Self::Unknown(copied(error)),
        }
    }
}

fn copied(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(error) | WriteError::Unknown(error) => error,
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Unknown(error) => write!(f, "it is not known whether the change was stored: {error}"),
        }
    }
}

impl std::error::Error for WriteError {}
