//! Writes, of which several may share a transaction: then these wait for the disk once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};

use super::super::engine::{Change, Session, WriteError};
use super::fault::{at_commit, fault};
use crate::error::{Error, Kind, Result};

type Written = std::result::Result<(), WriteError>;

/// A write, whatever its result is.
pub(super) type Write = Arc<dyn Run>;

/// A write that waits; the result stays in it until its owner takes it.
pub(super) trait Run: Send + Sync {
    /// Runs it; says whether its transaction is to be committed.
    fn run(&self, session: &mut dyn Session) -> Result<bool>;
}

/// An operation, and the value of its last run.
pub(super) struct Pending<T, F> {
    operation: F,
    value: Arc<Slot<T>>,
}

/// Where the owner of a write finds its value.
pub(super) struct Slot<T>(Mutex<Option<T>>);

impl<T> Slot<T> {
    pub(super) fn take(&self) -> std::result::Result<T, WriteError> {
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let missing = || WriteError::Unknown(Error::new(Kind::Failure, "a write ended without its value"));
        value.ok_or_else(missing)
    }
}

impl<T, F> Pending<T, F>
where
    T: Send + 'static,
    F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + Sync + 'static,
{
    /// The write as the queue has it, and where its value will be.
    pub(super) fn queued(operation: F) -> (Write, Arc<Slot<T>>) {
        let value = Arc::new(Slot(Mutex::new(None)));
        (Arc::new(Self { operation, value: Arc::clone(&value) }), value)
    }
}

impl<T, F> Run for Pending<T, F>
where
    T: Send,
    F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + Sync,
{
    fn run(&self, session: &mut dyn Session) -> Result<bool> {
        let (value, commit) = match (self.operation)(session)? {
            Change::Commit(value) => (value, true),
            Change::RollBack(value) => (value, false),
        };
        *self.value.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(commit)
    }
}

/// Does one write or several: these in one transaction. If that fails, each has a transaction of its own.
pub(super) fn write_all(connection: &mut Connection, writes: &[Write]) -> Vec<Written> {
    let together = if writes.len() > 1 { write_together(connection, writes) } else { None };
    together.unwrap_or_else(|| write_each(connection, writes))
}

/// If one finds the database held by another process, so would all that follow, and each would wait as long.
fn write_each(connection: &mut Connection, writes: &[Write]) -> Vec<Written> {
    let mut held: Option<WriteError> = None;
    let mut write_next = |write: &Write| {
        if let Some(error) = &held {
            return Err(error.copied());
        }
        let written = write_alone(connection, write);
        if let Err(WriteError::Failed(error)) = &written
            && error.kind() == Kind::Unavailable
        {
            held = written.as_ref().err().map(WriteError::copied);
        }
        written
    };
    writes.iter().map(&mut write_next).collect()
}

/// `None` if nothing was stored, and it is worth trying each alone.
fn write_together(connection: &mut Connection, writes: &[Write]) -> Option<Vec<Written>> {
    let all = |error: &WriteError| Some(writes.iter().map(|_| Err(error.copied())).collect());
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        // The process that holds the database would let each wait as long.
        Err(error) => return all(&WriteError::Failed(fault(error))),
    };
    let mut written = Vec::new();
    for write in writes {
        written.push(write_within(&transaction, write).ok()?);
    }
    match transaction.commit().map_err(at_commit) {
        Ok(()) => Some(written),
        Err(WriteError::Failed(_)) => None,
        Err(error) => all(&error),
    }
}

/// Does a write in a savepoint of a transaction; fails if that ends the transaction.
fn write_within(transaction: &Connection, write: &Write) -> rusqlite::Result<Written> {
    transaction.execute_batch("SAVEPOINT one")?;
    let ran = run(transaction, write);
    if !matches!(ran, Ok(true)) {
        transaction.execute_batch("ROLLBACK TO one")?;
    }
    transaction.execute_batch("RELEASE one")?;
    Ok(ran.map(drop).map_err(WriteError::Failed))
}

/// A failure before the commit stores nothing; after a failure of the commit the data may be stored, after a crash.
fn write_alone(connection: &mut Connection, write: &Write) -> Written {
    let failed = |cause| WriteError::Failed(fault(cause));
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    if run(&transaction, write).map_err(WriteError::Failed)? {
        transaction.commit().map_err(at_commit)?;
    }
    Ok(())
}

/// A write that panics costs no other.
fn run(mut connection: &Connection, write: &Write) -> Result<bool> {
    let run = || write.run(&mut connection);
    let panicked = |_| Err(Error::new(Kind::Failure, "a write panicked"));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(panicked)
}
