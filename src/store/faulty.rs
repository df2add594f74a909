//! An engine that fails when a test wants it, on the thread that asks for it only.

use std::cell::Cell;

use super::value::Value;
use super::{Change, Engine, Pool, Session, WriteError};
use crate::error::{Error, Kind, Result};

/// How a database fails at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It does nothing.
    Refuses,
    /// It does all, and the result is lost.
    Vanishes,
    /// It does nothing, and it is not known whether it did.
    Loses,
}

/// All of them.
pub(crate) const FAILURES: [Failure; 3] = [Failure::Refuses, Failure::Vanishes, Failure::Loses];

thread_local! {
    /// Calls to come before one fails, and how it does.
    static FAILURE: Cell<Option<(usize, Failure)>> = const { Cell::new(None) };
}

/// Does this while the database fails at the call of this number, counted from 0; whether there were so many.
pub(crate) fn at<T>(number: usize, failure: Failure, work: impl FnOnce() -> T) -> (T, bool) {
    FAILURE.set(Some((number, failure)));
    let done = work();
    (done, FAILURE.take().is_none())
}

/// The failure of this call.
fn failure() -> Option<Failure> {
    match FAILURE.take() {
        Some((0, failure)) => Some(failure),
        Some((left, failure)) => {
            FAILURE.set(Some((left - 1, failure)));
            None
        }
        None => None,
    }
}

fn unavailable() -> Error {
    Error::new(Kind::Unavailable, "the connection broke")
}

fn written<T>(write: impl FnOnce() -> Written<T>) -> Written<T> {
    match failure() {
        None => write(),
        Some(Failure::Refuses) => Err(WriteError::Failed(unavailable())),
        Some(Failure::Loses) => Err(WriteError::Unknown(unavailable())),
        Some(Failure::Vanishes) => write().and(Err(WriteError::Unknown(unavailable()))),
    }
}

type Written<T> = std::result::Result<T, WriteError>;

/// An engine that fails at the moment that is asked for, below the operations.
pub(crate) struct Faulty<E>(pub(crate) E);

impl<E: Engine> Engine for Faulty<E> {
    fn read<T, F>(&self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Session) -> Result<T> + Send + 'static,
    {
        match failure() {
            None => self.0.read(operation),
            Some(Failure::Refuses | Failure::Loses) => Err(unavailable()),
            Some(Failure::Vanishes) => self.0.read(operation).and(Err(unavailable())),
        }
    }

    fn write<T, F>(&self, operation: F) -> Written<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Session) -> Result<Change<T>> + Send + Sync + 'static,
    {
        written(|| self.0.write(operation))
    }

    fn execute(&self, sql: &'static str, parameters: Vec<Value>) -> Written<u64> {
        written(|| self.0.execute(sql, parameters))
    }

    fn pool(&self) -> Pool {
        self.0.pool()
    }

    fn wipe_deleted(&self) -> Result<()> {
        self.0.wipe_deleted()
    }
}
