//! The meaning of errors of SQLite.

use rusqlite::ErrorCode;

use super::super::engine::WriteError;
use crate::error::{Error, Kind};

/// The error of an operation.
pub(in crate::store) fn fault(cause: rusqlite::Error) -> Error {
    Error::caused(kind(&cause), "the embedded database failed", cause)
}

/// Whether a failed commit may have stored the data. On a full disk it stored nothing, because the last page, which
/// completes the commit, is not written; the same holds for a constraint, and for a lock that another process holds.
pub(super) fn at_commit(cause: rusqlite::Error) -> WriteError {
    let is_refused = matches!(
        cause.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::ConstraintViolation | ErrorCode::DatabaseBusy)
    );
    if is_refused { WriteError::Failed(fault(cause)) } else { WriteError::Unknown(fault(cause)) }
}

/// The writes before took too long.
pub(super) fn busy() -> Error {
    Error::new(Kind::Unavailable, "the embedded database is busy")
}

fn kind(error: &rusqlite::Error) -> Kind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Unavailable,
        Some(ErrorCode::CannotOpen | ErrorCode::OutOfMemory) => Kind::Exhausted,
        Some(ErrorCode::DiskFull) => Kind::Full,
        // The index of the log could not be made larger.
        _ if is_index_full(error) => Kind::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Corrupt,
        _ => Kind::Failure,
    }
}

fn is_index_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}
